/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared.h - the page that supervisor and worker share: heartbeats of the loops, and what
 * each thread of the worker is doing, so that the log can name who hung or crashed.
 */
#ifndef TERN_SERVER_SHARED_H
#define TERN_SERVER_SHARED_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "module/crash.h"

#define SHARED_LOOPS_MAX   64
#define SHARED_THREADS_MAX 512

struct shared_page {
    _Atomic uint64_t watchdog_ms; /* 0: nobody watches; set by the worker when it is ready */
    _Atomic uint32_t loops;
    _Atomic uint32_t slots_used;
    _Atomic uint64_t beats[SHARED_LOOPS_MAX];
    _Atomic pid_t threads[SHARED_LOOPS_MAX]; /* of the loops, by their kernel ids */
    struct crash_slot slots[SHARED_THREADS_MAX];
};

/* Mapped shared and zeroed; NULL if there is no memory. Before fork. */
struct shared_page *shared_page_new(void);
/* Gives the calling thread a slot of the page. */
void shared_page_use(struct shared_page *page);
/* A new worker begins with a clean page. */
void shared_page_clear(struct shared_page *page);

#endif
