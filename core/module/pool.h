/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h - the threads that run what may block: BLOCKING steps, transports of modules.
 *
 * Bounded in threads, in waiting jobs, and per user: a job names the counter of its step
 * and how many may run at once (its share). A thread that never comes back keeps its
 * place of that share, and nobody else loses anything (a bulkhead).
 */
#ifndef TERN_MODULE_POOL_H
#define TERN_MODULE_POOL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/list.h"

#define POOL_THREADS_DEFAULT 16
#define POOL_THREADS_MAX     256
#define POOL_QUEUE_DEFAULT   1024
/* One step may fill at most this part of the queue, so that a stuck one does not shut out the
 * rest. */
#define POOL_QUEUE_PART 4

struct pool;

struct pool_options {
    unsigned threads; /* 0: POOL_THREADS_DEFAULT. They are started when they are first needed */
    unsigned queue;   /* jobs that may wait; 0: POOL_QUEUE_DEFAULT */
    void (*thread_started)(void *arg, unsigned index); /* for crash_slot_use(); may be NULL */
    void *arg;
};

/* The memory is the poster's until `done` was called, or pool_cancel() returned true. */
struct pool_job {
    struct list link;
    _Atomic unsigned *running; /* of its step: how many run now */
    unsigned share;            /* at most so many at once, and half of the threads; 0 counts as 1 */
    void (*run)(struct pool_job *job);
    void (*done)(struct pool_job *job); /* the place in the share is given back; may free the job */
};

struct pool *pool_new(const struct pool_options *options);
/* 0, or -EAGAIN: the queue, or this step's part of it, is full. Any thread. */
int pool_submit(struct pool *pool, struct pool_job *job);
/* True if the job had not begun: it is the caller's again, `run` and `done` are not called. Any
 * thread. */
bool pool_cancel(struct pool *pool, struct pool_job *job);
unsigned pool_waiting(struct pool *pool);
unsigned pool_busy(struct pool *pool);
/*
 * Waits at most `wait_ms` for running jobs, then frees. Returns the number of threads that are
 * stuck: they
 * are left behind with the pool's memory and must find everything they use alive; jobs still
 * waiting are done without having run.
 */
unsigned pool_free(struct pool *pool, unsigned wait_ms);

#endif
