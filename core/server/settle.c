/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settle.c - waits until every loop has ended the turn that it is in.
 *
 * A loop tells the scheduler at the end of its turn what became durable in it, and the client a moment before. Whoever
 * asks for the queue then must find what has been acknowledged.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "server/serve.h"

#define SETTLE_MS_MAX 1000 /* a loop that is held by a step is not waited for */

struct settling {
    pthread_mutex_t lock;
    pthread_cond_t all;
    unsigned left;    /* loops */
    _Atomic unsigned refs;
};

struct turn {
    struct loop_task task;
    struct settling *settling;
};

static void unref(struct settling *s)
{
    if (atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    (void)pthread_cond_destroy(&s->all);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

static void on_turn(struct loop_task *task)
{
    struct turn *t = list_entry(task, struct turn, task);
    struct settling *s = t->settling;

    (void)pthread_mutex_lock(&s->lock);
    if (--s->left == 0)
        (void)pthread_cond_signal(&s->all);
    (void)pthread_mutex_unlock(&s->lock);
    unref(s);
    free(t);
}

static struct timespec deadline(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += SETTLE_MS_MAX / 1000;
    return t;
}

void serve_settle(struct serve *serve)
{
    struct settling *s = mem_zalloc(sizeof(*s));
    const struct timespec until = deadline();
    int r = 0;

    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->all, NULL);
    s->left = serve->loop_count;
    s->refs = serve->loop_count + 1;
    for (unsigned i = 0; i < serve->loop_count; i++) {
        struct turn *t = mem_zalloc(sizeof(*t));
        t->task.run = on_turn;
        t->settling = s;
        loop_post(serve->loops[i]->loop, &t->task);
    }
    (void)pthread_mutex_lock(&s->lock);
    while (s->left > 0 && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&s->all, &s->lock, &until);
    (void)pthread_mutex_unlock(&s->lock);
    unref(s);
}
