/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inbox.h - what crosses threads: a list with one lock, many writers, one reader.
 *
 * The reader takes everything at once, so the lock is held for a few instructions.
 */
#ifndef TERN_BASE_INBOX_H
#define TERN_BASE_INBOX_H

#include <pthread.h>
#include <stdbool.h>

#include "base/list.h"

struct inbox {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct list items;
    bool closed;
};

void inbox_init(struct inbox *inbox);
void inbox_fini(struct inbox *inbox); /* nobody is inside of any of these any more */
/* Returns true if the inbox was empty, so that only the first writer wakes the reader. Any thread. */
bool inbox_put(struct inbox *inbox, struct list *link);
bool inbox_put_all(struct inbox *inbox, struct list *links); /* at least one; leaves `links` empty */
/* Moves all that is there to `to` (an initialised list). Returns whether there was anything. */
bool inbox_take(struct inbox *inbox, struct list *to);
/* The same, but waits up to timeout_ms (negative: for ever) for something. */
bool inbox_wait(struct inbox *inbox, struct list *to, int timeout_ms);
/* Wakes the reader for good: inbox_wait returns at once from now on. Any thread. */
void inbox_close(struct inbox *inbox);

#endif
