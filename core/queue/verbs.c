/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.c - one change of the spool, waited for, then the scheduler's turn. */
#include "queue/verbs.h"

#include <errno.h>
#include <pthread.h>

#include "base/clock.h"
#include "base/log.h"

struct waiter {
    struct spool_job job;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
};

static void on_done(struct spool_job *job)
{
    struct waiter *w = job->arg;

    (void)pthread_mutex_lock(&w->lock);
    w->is_done = true;
    (void)pthread_cond_signal(&w->done);
    (void)pthread_mutex_unlock(&w->lock);
}

static int submit_and_wait(struct spool *spool, const struct spool_change *change)
{
    struct waiter w = { .job = { .changes = change, .change_count = 1, .done = on_done } };

    w.job.arg = &w;
    (void)pthread_mutex_init(&w.lock, NULL);
    (void)pthread_cond_init(&w.done, NULL);
    spool_submit(spool, &w.job);
    (void)pthread_mutex_lock(&w.lock);
    while (!w.is_done)
        (void)pthread_cond_wait(&w.done, &w.lock);
    (void)pthread_mutex_unlock(&w.lock);
    (void)pthread_cond_destroy(&w.done);
    (void)pthread_mutex_destroy(&w.lock);
    return w.job.status;
}

static const enum spool_change_kind kinds[] = {
    [QUEUE_RETRY] = SPOOL_RETRY,
    [QUEUE_HOLD] = SPOOL_HELD,
    [QUEUE_RELEASE] = SPOOL_RELEASED,
    [QUEUE_DELETE] = SPOOL_DELETED,
};

static void tell(struct scheduler *scheduler, enum queue_verb verb, struct spool_key key)
{
    char id[SPOOL_ID_TEXT_MAX];

    spool_key_print(key, id);
    switch (verb) {
    case QUEUE_RETRY: scheduler_retry(scheduler, key); break;
    case QUEUE_HOLD:
        scheduler_hold(scheduler, key, true);
        log_event(LOG_INFO, LOG_EV_held, id, "by the operator");
        break;
    case QUEUE_RELEASE:
        scheduler_hold(scheduler, key, false);
        log_event(LOG_INFO, LOG_EV_released, id, "by the operator");
        break;
    case QUEUE_DELETE:
        scheduler_remove(scheduler, key);
        log_event(LOG_INFO, LOG_EV_removed, id, "by the operator");
        break;
    }
}

int queue_verb(struct spool *spool, struct scheduler *scheduler, enum queue_verb verb,
               struct spool_key key)
{
    struct spool_entry entry;

    if (!spool_entry_of(spool, key, &entry))
        return -ENOENT;
    if ((entry.held && (verb == QUEUE_HOLD || verb == QUEUE_RETRY)) ||
        (!entry.held && verb == QUEUE_RELEASE))
        return -EALREADY;
    const struct spool_change change = {
        .key = key, .kind = kinds[verb], .due_ms = clock_wall_ms(),
        .operator_held = verb == QUEUE_HOLD, .attempts = entry.attempts
    };
    int r = submit_and_wait(spool, &change);
    if (r == 0)
        tell(scheduler, verb, key);
    return r;
}
