/* SPDX-License-Identifier: Apache-2.0 */
#include "base/inbox.h"

#include <errno.h>
#include <time.h>

void inbox_init(struct inbox *inbox)
{
    pthread_condattr_t attr;

    (void)pthread_mutex_init(&inbox->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&inbox->filled, &attr);
    (void)pthread_condattr_destroy(&attr);
    list_init(&inbox->items);
    inbox->closed = false;
}

void inbox_fini(struct inbox *inbox)
{
    (void)pthread_cond_destroy(&inbox->filled);
    (void)pthread_mutex_destroy(&inbox->lock);
}

bool inbox_put(struct inbox *inbox, struct list *link)
{
    struct list one;

    list_init(&one);
    list_push(&one, link);
    return inbox_put_all(inbox, &one);
}

/* Woken after the lock is free: else the reader would run into it and sleep again. */
bool inbox_put_all(struct inbox *inbox, struct list *links)
{
    (void)pthread_mutex_lock(&inbox->lock);
    bool was_empty = list_empty(&inbox->items);
    list_splice(&inbox->items, links);
    (void)pthread_mutex_unlock(&inbox->lock);
    if (was_empty)
        (void)pthread_cond_signal(&inbox->filled);
    return was_empty;
}

bool inbox_take(struct inbox *inbox, struct list *to)
{
    return inbox_wait(inbox, to, 0);
}

static struct timespec deadline_after(int ms)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

bool inbox_wait(struct inbox *inbox, struct list *to, int timeout_ms)
{
    struct timespec until = { 0, 0 };
    int r = 0;

    if (timeout_ms > 0)
        until = deadline_after(timeout_ms);
    (void)pthread_mutex_lock(&inbox->lock);
    while (timeout_ms != 0 && list_empty(&inbox->items) && !inbox->closed && r != ETIMEDOUT) {
        if (timeout_ms < 0)
            r = pthread_cond_wait(&inbox->filled, &inbox->lock);
        else
            r = pthread_cond_timedwait(&inbox->filled, &inbox->lock, &until);
    }
    bool any = !list_empty(&inbox->items);
    list_splice(to, &inbox->items);
    (void)pthread_mutex_unlock(&inbox->lock);
    return any;
}

void inbox_close(struct inbox *inbox)
{
    (void)pthread_mutex_lock(&inbox->lock);
    inbox->closed = true;
    (void)pthread_cond_broadcast(&inbox->filled);
    (void)pthread_mutex_unlock(&inbox->lock);
}
