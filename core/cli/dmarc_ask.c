/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_ask.c - where the reports of all domains go: several are asked about at a time, each on a thread with a
 * loop and a resolver of its own, so that name servers that are dead hold nobody else's reports.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "cli/dmarc_send.h"

struct questions {
    const struct dmarc_days *days;
    dmarc_found_fn done;
    void *arg;
    pthread_mutex_t lock; /* for what is below, and while `done` runs */
    size_t at;            /* the next domain's first line */
};

struct worker {
    struct questions *questions;
    struct dmarc_asker asker;
    pthread_t thread;
};

static bool next(struct questions *q, const struct dmarc_line **ret, size_t *ret_count)
{
    (void)pthread_mutex_lock(&q->lock);
    bool more = q->at < q->days->line_count;
    if (more) {
        *ret = q->days->lines + q->at;
        *ret_count = dmarc_days_domain(q->days, q->at);
        q->at += *ret_count;
    }
    (void)pthread_mutex_unlock(&q->lock);
    return more;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct questions *q = w->questions;
    const struct dmarc_line *lines;
    struct dmarc_where where;
    size_t count;

    while (next(q, &lines, &count)) {
        w->asker.until_ms = clock_now_ms() + DMARC_LOOKUP_MS;
        enum dmarc_found found = dmarc_where_ask(&w->asker, lines[0].is.domain, &where);
        (void)pthread_mutex_lock(&q->lock);
        q->done(q->arg, lines, count, found, &where);
        (void)pthread_mutex_unlock(&q->lock);
        dmarc_where_free(&where);
    }
    return NULL;
}

/* One for each domain, up to the bound. */
static unsigned workers_for(const struct dmarc_days *days)
{
    unsigned count = 0;

    for (size_t at = 0; at < days->line_count && count < DMARC_ASKERS_MAX; count++)
        at += dmarc_days_domain(days, at);
    return count;
}

/* The first works on this thread; with fewer threads than wanted it takes longer. */
static void work_all(struct worker *workers, unsigned count)
{
    unsigned started = 1;

    while (started < count && pthread_create(&workers[started].thread, NULL, work, &workers[started]) == 0)
        started++;
    (void)work(&workers[0]);
    for (unsigned i = 1; i < started; i++)
        (void)pthread_join(workers[i].thread, NULL);
}

int dmarc_ask_all(const struct dmarc_config *config, const struct dmarc_days *days, dmarc_found_fn done, void *arg)
{
    struct questions q = { .days = days, .done = done, .arg = arg };
    struct worker workers[DMARC_ASKERS_MAX] = { { .questions = NULL } };
    unsigned wanted = workers_for(days), count = 0;
    int r = 0;

    (void)pthread_mutex_init(&q.lock, NULL);
    for (; r == 0 && count < wanted; count++) {
        workers[count] = (struct worker){ .questions = &q, .asker = { .loop = loop_new(count) } };
        r = dmarc_config_dns(config, workers[count].asker.loop, &workers[count].asker.dns);
    }
    if (r == 0 && count > 0)
        work_all(workers, count);
    for (unsigned i = 0; i < count; i++) {
        dns_free(workers[i].asker.dns);
        loop_free(workers[i].asker.loop);
    }
    (void)pthread_mutex_destroy(&q.lock);
    return r;
}
