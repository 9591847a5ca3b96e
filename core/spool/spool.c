/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.c - opening, the three threads, closing. What they do is in writer.c and maker.c; tests
 * drive the same functions by spool_step() instead.
 */
#include "spool/spool.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "spool/internal.h"

#define SEGMENT_OCTETS     (64ull << 20)
#define SEGMENT_OCTETS_MIN (64ull << 10)
#define SEGMENT_OCTETS_MAX (1ull << 30)
#define SPARE_MAX          3
#define LOCK_POLL_MS       50
#define MAKER_POLL_MS      1000

/* ---- mounting: the folder, the lock, the empty index ---- */

static int wait_for_lock(struct spool *spool, unsigned wait_ms)
{
    uint64_t until = clock_now_us() / 1000 + wait_ms;
    const struct timespec pause = { 0, LOCK_POLL_MS * 1000000l };

    for (;;) {
        int fd = spool->io->lock(spool->io->ctx, spool->dir, "lock");
        if (fd >= 0 || fd != -EWOULDBLOCK || clock_now_us() / 1000 >= until)
            return fd;
        (void)nanosleep(&pause, NULL);
    }
}

static int open_folders(struct spool *spool, const struct spool_options *o, char *error, size_t octets)
{
    const struct spool_io *io = spool->io;

    spool->dir = io->open_dir(io->ctx, o->path);
    if (spool->dir < 0) {
        (void)snprintf(error, octets, "cannot open %s: %s", o->path, strerror(-spool->dir));
        return spool->dir;
    }
    spool->lock_fd = wait_for_lock(spool, o->lock_wait_ms);
    if (spool->lock_fd < 0) {
        (void)snprintf(error, octets, "cannot lock %s: %s", o->path,
                       spool->lock_fd == -EWOULDBLOCK ? "another server has it" : strerror(-spool->lock_fd));
        return spool->lock_fd;
    }
    spool->big_dir = io->open_subdir(io->ctx, spool->dir, "big");
    if (spool->big_dir < 0) {
        (void)snprintf(error, octets, "cannot open %s/big: %s", o->path, strerror(-spool->big_dir));
        return spool->big_dir;
    }
    return 0;
}

static void set_options(struct spool *spool, const struct spool_options *o)
{
    spool->io = o->io != NULL ? o->io : spool_io_real();
    spool->segment_octets = o->segment_octets != 0 ? o->segment_octets : SEGMENT_OCTETS;
    spool->segment_octets = format_pad(spool->segment_octets, FORMAT_BLOCK);
    spool->spare_max = o->spare_max != 0 ? o->spare_max : SPARE_MAX;
    spool->min_free = o->min_free_octets;
    spool->reserve = o->reserve_octets;
    spool->node = o->node;
    spool->index_delay_ms = INDEX_DELAY_MS;
    spool->copy_slack_segments = COPY_SLACK_SEGMENTS;
    spool->copy_slack_factor = COPY_SLACK_FACTOR;
    spool->next_seq = spool->next_batch = spool->next_spare = 1;
}

static void init_parts(struct spool *spool)
{
    pthread_condattr_t attr;

    (void)pthread_mutex_init(&spool->lock, NULL);
    (void)pthread_mutex_init(&spool->make_lock, NULL);
    (void)pthread_mutex_init(&spool->maker_lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&spool->maker_wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    spool_index_init(&spool->index);
    table_init(&spool->bigs);
    list_init(&spool->big_dead);
    list_init(&spool->waiting);
    list_init(&spool->syncing);
    list_init(&spool->batch.units);
    inbox_init(&spool->inbox);
    inbox_init(&spool->big_inbox);
    spool->metric_batches = metric_counter("tern_spool_batches_total", "", "Batches written and synced.");
    spool->metric_units = metric_counter("tern_spool_units_total", "", "Append units made durable.");
    spool->metric_commit_us = metric_histogram("tern_spool_commit_seconds", "", "One write and sync of the log.");
}

int spool_mount(const struct spool_options *options, struct spool **ret, char *error, size_t octets)
{
    struct spool *spool = mem_zalloc(sizeof(*spool));

    set_options(spool, options);
    spool->dir = spool->big_dir = spool->lock_fd = -1;
    init_parts(spool);
    int r = open_folders(spool, options, error, octets);
    if (r < 0) {
        spool_unmount(spool);
        return r;
    }
    *ret = spool;
    return 0;
}

static void free_bodies(struct spool *spool)
{
    while (!list_empty(&spool->big_dead)) {
        struct list *link = spool->big_dead.next;
        list_remove(link);
        free(list_entry(link, struct big_body, link));
    }
    table_free(&spool->bigs, free);
}

void spool_unmount(struct spool *spool)
{
    const struct spool_io *io = spool->io;

    for (unsigned i = 0; i < spool->segment_count; i++) {
        if (spool->segments[i]->fd >= 0)
            io->close(io->ctx, spool->segments[i]->fd);
        spool_segment_free(spool->segments[i]);
    }
    free(spool->segments);
    free(spool->spares);
    spool_index_free(&spool->index);
    free_bodies(spool);
    buf_free(&spool->batch.scratch);
    inbox_fini(&spool->inbox);
    inbox_fini(&spool->big_inbox);
    if (spool->big_dir >= 0)
        io->close(io->ctx, spool->big_dir);
    if (spool->lock_fd >= 0)
        io->close(io->ctx, spool->lock_fd);
    if (spool->dir >= 0)
        io->close(io->ctx, spool->dir);
    (void)pthread_cond_destroy(&spool->maker_wake);
    (void)pthread_mutex_destroy(&spool->maker_lock);
    (void)pthread_mutex_destroy(&spool->make_lock);
    (void)pthread_mutex_destroy(&spool->lock);
    free(spool);
}

int spool_open(const struct spool_options *options, struct spool **ret, char *error, size_t octets)
{
    struct spool *spool;
    uint64_t free_now;

    if (options->segment_octets != 0 &&
        (options->segment_octets < SEGMENT_OCTETS_MIN || options->segment_octets > SEGMENT_OCTETS_MAX)) {
        (void)snprintf(error, octets, "segment_size must be 64 KB to 1 GB");
        return -EINVAL;
    }
    int r = spool_mount(options, &spool, error, octets);
    if (r < 0)
        return r;
    r = spool_recover(spool, false, error, octets);
    if (r == 0) {
        r = spool->io->free_octets(spool->io->ctx, spool->dir, &free_now);
        if (r < 0)
            (void)snprintf(error, octets, "cannot see how full %s is: %s", options->path, strerror(-r));
    }
    if (r < 0) {
        spool_unmount(spool);
        return r;
    }
    atomic_store(&spool->free_octets, free_now);
    /* Ids drawn from now on are above what a crash at once would begin with. A full disk is no reason not to
     * start, though: what is queued can still be read, and sent once there is room again. */
    (void)spool_maker_prepare(spool);
    spool_submit_ceiling(spool);
    (void)spool_writer_run(spool);
    *ret = spool;
    return 0;
}

/* ---- threads ---- */

void spool_wake_maker(struct spool *spool)
{
    atomic_store(&spool->maker_due, true);
    (void)pthread_mutex_lock(&spool->maker_lock);
    (void)pthread_cond_signal(&spool->maker_wake);
    (void)pthread_mutex_unlock(&spool->maker_lock);
}

static void *writer_main(void *arg)
{
    struct spool *spool = arg;

    while (inbox_wait(&spool->inbox, &spool->waiting, -1))
        while (spool_writer_run(spool))
            ;
    return NULL;
}

static void *syncer_main(void *arg)
{
    struct spool *spool = arg;

    while (inbox_wait(&spool->big_inbox, &spool->syncing, -1))
        (void)spool_syncer_run(spool);
    return NULL;
}

static struct timespec maker_deadline(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += MAKER_POLL_MS / 1000;
    return t;
}

static void *maker_main(void *arg)
{
    struct spool *spool = arg;

    (void)pthread_mutex_lock(&spool->maker_lock);
    while (!spool->maker_stop) {
        (void)pthread_mutex_unlock(&spool->maker_lock);
        spool_look_at_disk(spool);
        (void)spool_maker_run(spool);
        (void)pthread_mutex_lock(&spool->maker_lock);
        struct timespec until = maker_deadline();
        int r = 0;
        while (!spool->maker_stop && !atomic_load(&spool->maker_due) && r != ETIMEDOUT)
            r = pthread_cond_timedwait(&spool->maker_wake, &spool->maker_lock, &until);
    }
    (void)pthread_mutex_unlock(&spool->maker_lock);
    return NULL;
}

int spool_start(struct spool *spool)
{
    assert(!spool->started);
    int r = pthread_create(&spool->writer, NULL, writer_main, spool);
    if (r != 0)
        return -r;
    r = pthread_create(&spool->syncer, NULL, syncer_main, spool);
    if (r != 0)
        goto stop_writer;
    r = pthread_create(&spool->maker, NULL, maker_main, spool);
    if (r != 0)
        goto stop_syncer;
    spool->started = true;
    return 0;

stop_syncer:
    inbox_close(&spool->big_inbox);
    (void)pthread_join(spool->syncer, NULL);
stop_writer:
    inbox_close(&spool->inbox);
    (void)pthread_join(spool->writer, NULL);
    return -r;
}

bool spool_step(struct spool *spool)
{
    assert(!spool->started);
    bool any = spool_syncer_run(spool);

    any |= spool_writer_run(spool);
    any |= spool_maker_run(spool);
    return any;
}

static void stop_threads(struct spool *spool)
{
    (void)pthread_mutex_lock(&spool->maker_lock);
    spool->maker_stop = true;
    (void)pthread_cond_signal(&spool->maker_wake);
    (void)pthread_mutex_unlock(&spool->maker_lock);
    (void)pthread_join(spool->maker, NULL);
    inbox_close(&spool->big_inbox); /* what it holds goes on to the writer */
    (void)pthread_join(spool->syncer, NULL);
    inbox_close(&spool->inbox);
    (void)pthread_join(spool->writer, NULL);
    spool->started = false;
}

bool spool_finish(struct spool *spool)
{
    bool any = false;

    if (spool->started)
        stop_threads(spool);
    atomic_store(&spool->closing, true);
    while (spool_syncer_run(spool) || spool_writer_run(spool))
        any = true;
    /* From here on the ceiling is the last id itself: the next start need not skip a minute. */
    if (atomic_load(&spool->last_id) != atomic_load(&spool->durable_ceiling)) {
        spool_submit_ceiling(spool);
        while (spool_writer_run(spool))
            ;
    }
    return any;
}

void spool_close(struct spool *spool)
{
    (void)spool_finish(spool);
    spool_unmount(spool);
}

/* ---- small answers ---- */

void spool_get_stats(struct spool *spool, struct spool_stats *ret)
{
    (void)pthread_mutex_lock(&spool->lock);
    *ret = spool->stats;
    ret->messages = spool->index.count;
    ret->segments = spool->segment_count;
    (void)pthread_mutex_unlock(&spool->lock);
}

#define OLDEST_ROWS 4096u /* under one lock: some 20 us */

static uint64_t oldest_of(struct spool *spool, uint32_t from, bool *ret_more)
{
    uint64_t oldest_ms = UINT64_MAX;
    uint32_t n = from;

    (void)pthread_mutex_lock(&spool->lock);
    for (; n <= spool->index.used && n - from < OLDEST_ROWS; n++) {
        const struct row *row = spool_index_at(&spool->index, n);
        if (row != NULL && (row->flags & ROW_STAGED) == 0 && row->arrival_ms < oldest_ms)
            oldest_ms = row->arrival_ms;
    }
    *ret_more = n <= spool->index.used;
    (void)pthread_mutex_unlock(&spool->lock);
    return oldest_ms;
}

uint64_t spool_oldest_ms(struct spool *spool)
{
    uint64_t oldest_ms = UINT64_MAX;
    bool more = true;

    for (uint32_t from = 1; more; from += OLDEST_ROWS) {
        uint64_t ms = oldest_of(spool, from, &more);
        oldest_ms = ms < oldest_ms ? ms : oldest_ms;
    }
    return oldest_ms == UINT64_MAX ? 0 : oldest_ms;
}

bool spool_has_room(struct spool *spool)
{
    return atomic_load_explicit(&spool->free_octets, memory_order_relaxed) >= spool->min_free;
}

int spool_tmp_dir(struct spool *spool)
{
    return spool->big_dir;
}

void spool_each(struct spool *spool, void (*each)(void *arg, const struct spool_entry *e), void *arg)
{
    assert(!spool->started);
    for (uint32_t n = 1; n <= spool->index.used; n++) {
        const struct row *row = spool_index_at(&spool->index, n);
        struct spool_entry entry;
        if (row == NULL)
            continue;
        spool_row_entry(row, &entry);
        each(arg, &entry);
    }
}
