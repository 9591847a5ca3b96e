/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - one lock, one list of waiting jobs, threads that take the first job whose step has a
 * place left in its share.
 *
 * The scan for such a job is bounded by the queue. Not libuv's pool: its threads are
 * shared with name lookups and file calls, and one stuck step would hold them all.
 */
#include "module/pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_cond_t ended; /* a thread has left */
    struct list jobs;
    struct pool_options options;
    unsigned waiting, busy, idle, threads, started;
    bool closing;
    bool left_behind; /* pool_free() gave up: the last thread frees */
};

/* Half of the threads at most, however many are asked for: what hangs leaves the others theirs. */
static unsigned share_of(const struct pool *pool, const struct pool_job *job)
{
    unsigned most = pool->options.threads > 1 ? pool->options.threads / 2 : 1;
    unsigned share = job->share > 0 ? job->share : 1;

    return share < most ? share : most;
}

/* Under the lock, which is why plain reads of the counter would do; others read it for metrics. */
static struct pool_job *take(struct pool *pool)
{
    list_each (link, &pool->jobs) {
        struct pool_job *job = list_entry(link, struct pool_job, link);
        if (atomic_load(job->running) >= share_of(pool, job))
            continue;
        list_remove(link);
        pool->waiting--;
        atomic_fetch_add(job->running, 1);
        return job;
    }
    return NULL;
}

static void destroy(struct pool *pool)
{
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->filled);
    pthread_cond_destroy(&pool->ended);
    free(pool);
}

static void leave(struct pool *pool)
{
    pool->threads--;
    bool last = pool->left_behind && pool->threads == 0;
    pthread_cond_signal(&pool->ended);
    pthread_mutex_unlock(&pool->lock);
    if (last)
        destroy(pool);
}

static void run_one(struct pool *pool, struct pool_job *job)
{
    _Atomic unsigned *running = job->running;

    pool->busy++;
    pthread_mutex_unlock(&pool->lock);
    job->run(job);
    pthread_mutex_lock(&pool->lock);
    pool->busy--;
    (void)atomic_fetch_sub(running, 1);
    /* A job of the same step may have been passed over by the others. */
    if (pool->waiting > 0 && pool->idle > 0)
        pthread_cond_signal(&pool->filled);
    pthread_mutex_unlock(&pool->lock);
    job->done(job);
    pthread_mutex_lock(&pool->lock);
}

static void *thread_main(void *arg)
{
    struct pool *pool = arg;

    pthread_mutex_lock(&pool->lock);
    unsigned index = pool->started++;
    pthread_mutex_unlock(&pool->lock);
    if (pool->options.thread_started != NULL)
        pool->options.thread_started(pool->options.arg, index);
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        struct pool_job *job = take(pool);
        if (job != NULL) {
            run_one(pool, job);
            continue;
        }
        pool->idle++;
        pthread_cond_wait(&pool->filled, &pool->lock);
        pool->idle--;
    }
    leave(pool);
    return NULL;
}

struct pool *pool_new(const struct pool_options *options)
{
    struct pool *pool = mem_zalloc(sizeof(*pool));
    pthread_condattr_t monotonic;

    pool->options = *options;
    if (pool->options.threads == 0)
        pool->options.threads = POOL_THREADS_DEFAULT;
    if (pool->options.threads > POOL_THREADS_MAX)
        pool->options.threads = POOL_THREADS_MAX;
    if (pool->options.queue == 0)
        pool->options.queue = POOL_QUEUE_DEFAULT;
    list_init(&pool->jobs);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->filled, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return pool;
}

/* One more thread if all are busy and the bound allows. A failure is no error while there is
 * one. */
static int add_thread(struct pool *pool)
{
    pthread_t thread;
    pthread_attr_t detached;

    if (pool->idle > 0 || pool->threads >= pool->options.threads)
        return 0;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    int r = pthread_create(&thread, &detached, thread_main, pool);
    pthread_attr_destroy(&detached);
    if (r == 0)
        pool->threads++;
    return pool->threads > 0 ? 0 : -r;
}

/* Room in the queue, and in the part of it that one step may fill. */
static bool has_room(const struct pool *pool, const struct pool_job *job)
{
    unsigned part = pool->options.queue / POOL_QUEUE_PART, mine = 0;

    if (pool->waiting >= pool->options.queue)
        return false;
    if (pool->waiting < part)
        return true;
    list_each (link, &pool->jobs)
        mine += list_entry(link, struct pool_job, link)->running == job->running;
    return mine < (part > 0 ? part : 1);
}

int pool_submit(struct pool *pool, struct pool_job *job)
{
    int r = -EAGAIN;

    pthread_mutex_lock(&pool->lock);
    if (!pool->closing && has_room(pool, job)) {
        r = add_thread(pool);
        if (r == 0) {
            list_push(&pool->jobs, &job->link);
            pool->waiting++;
            pthread_cond_signal(&pool->filled);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return r;
}

bool pool_cancel(struct pool *pool, struct pool_job *job)
{
    bool found = false;

    pthread_mutex_lock(&pool->lock);
    list_each (link, &pool->jobs) {
        if (link != &job->link)
            continue;
        list_remove(link);
        pool->waiting--;
        found = true;
        break;
    }
    pthread_mutex_unlock(&pool->lock);
    return found;
}

unsigned pool_waiting(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    unsigned n = pool->waiting;
    pthread_mutex_unlock(&pool->lock);
    return n;
}

unsigned pool_busy(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    unsigned n = pool->busy;
    pthread_mutex_unlock(&pool->lock);
    return n;
}

static struct timespec deadline_in(unsigned ms)
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

unsigned pool_free(struct pool *pool, unsigned wait_ms)
{
    struct timespec until = deadline_in(wait_ms);
    struct list rest;

    list_init(&rest);
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    list_splice(&rest, &pool->jobs);
    pool->waiting = 0;
    pthread_cond_broadcast(&pool->filled);
    while (pool->threads > 0)
        if (pthread_cond_timedwait(&pool->ended, &pool->lock, &until) == ETIMEDOUT)
            break;
    unsigned stuck = pool->threads;
    pool->left_behind = stuck > 0;
    pthread_mutex_unlock(&pool->lock);
    for (struct list *link = list_pop(&rest); link != NULL; link = list_pop(&rest)) {
        struct pool_job *job = list_entry(link, struct pool_job, link);
        job->done(job);
    }
    if (stuck == 0)
        destroy(pool);
    return stuck;
}
