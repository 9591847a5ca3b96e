/* SPDX-License-Identifier: Apache-2.0 */
/*
 * writer.c - the spool thread: whatever waits becomes one batch, one pwritev, one fdatasync;
 * then everybody hears of it. No timer: while a batch is synced the next one gathers.
 *
 * docs/queue.md rules 1 to 5 and 11 are kept here.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "spool/internal.h"
#include "spool/stage.h"

static uint64_t room_in(const struct segment *segment)
{
    return segment == NULL || segment->state != SEGMENT_ACTIVE ? 0 : segment->octets - segment->used;
}

static bool room_for_messages(struct spool *spool)
{
    uint64_t ready = spool_segment_ready(spool) * spool->segment_octets;
    uint64_t all = atomic_load(&spool->free_octets) + ready;

    return all >= spool->reserve + spool->segment_octets;
}

/* The next segment becomes the active one. 0 or negative errno. */
static int rotate(struct spool *spool, uint64_t batch_octets, bool outcomes)
{
    uint64_t need = FORMAT_BLOCK + format_pad(batch_octets, FORMAT_BLOCK);

    if (!outcomes && !room_for_messages(spool))
        return -ENOSPC;
    struct segment *next = spool_segment_next(spool);
    if (next == NULL || next->octets < need) {
        int r = spool_segment_prepare(spool, need);
        if (r < 0)
            return r;
        next = spool_segment_next(spool);
    }
    if (next == NULL || next->octets < need)
        return -ENOSPC; /* the maker gave ours up for somebody's larger one: try with the next batch */
    if (spool->active != NULL && spool->active->state == SEGMENT_ACTIVE)
        spool_segment_seal(spool, spool->active);
    (void)pthread_mutex_lock(&spool->lock);
    next->state = SEGMENT_ACTIVE;
    spool->active = next;
    (void)pthread_mutex_unlock(&spool->lock);
    spool_wake_maker(spool);
    return 0;
}

static void batch_begin(struct spool *spool)
{
    struct batch *b = &spool->batch;

    list_init(&b->units);
    buf_clear(&b->scratch);
    b->count = b->stamps = b->records = 0;
    b->octets = FORMAT_BATCH_HEADER;
}

static bool is_outcome(const struct unit *unit)
{
    return unit->change_count > 0 || unit->kind != UNIT_JOB;
}

/*
 * Stages one unit, in a new segment if it is the first and the active one is too small.
 * Once a batch holds something it never changes its segment.
 */
static enum stage_result stage_one(struct spool *spool, struct unit *unit)
{
    struct batch *b = &spool->batch;
    uint64_t room = room_in(spool->active);
    enum stage_result r = STAGE_FULL;

    if (b->count == BATCH_UNITS_MAX)
        return STAGE_FULL;
    if (b->count > 0)
        return spool_stage(spool, unit, room < BATCH_OCTETS_MAX ? room : BATCH_OCTETS_MAX);
    if (room > FORMAT_BATCH_HEADER)
        r = spool_stage(spool, unit, room);
    if (r != STAGE_FULL)
        return r;
    r = spool_stage(spool, unit, FORMAT_UNIT_OCTETS_MAX * 2ull);
    if (r != STAGE_TAKEN)
        return r;
    int error = rotate(spool, b->octets, is_outcome(unit));
    if (error < 0) {
        spool_stage_abort(spool);
        list_remove(&unit->link);
        batch_begin(spool);
        unit->error = error;
        return STAGE_WRONG;
    }
    return STAGE_TAKEN;
}

static void gather(struct spool *spool, struct list *failed)
{
    list_each_safe(link, &spool->waiting)
    {
        struct unit *unit = list_entry(link, struct unit, link);
        enum stage_result r = STAGE_WRONG;

        list_remove(&unit->link);
        if (unit->error == 0)
            r = stage_one(spool, unit);
        if (r == STAGE_WRONG) {
            list_push(failed, &unit->link);
        } else if (r != STAGE_TAKEN) {
            list_push(link_next, &unit->link); /* back to its place */
            if (r == STAGE_FULL)
                break;
        }
    }
    list_each(link, &spool->waiting)
        spool_stage_unmark(spool, list_entry(link, struct unit, link));
}

/* 0, or the errno of a failed or short write or sync. */
static int write_batch(struct spool *spool, struct segment *segment, uint64_t *ret_octets)
{
    const struct spool_io *io = spool->io;
    uint64_t whole = spool_stage_place(spool, segment);
    ssize_t n = io->pwritev(io->ctx, segment->fd, spool->batch.iov, spool->batch.iov_count, segment->used);

    if (n != (ssize_t)whole)
        return n < 0 ? (int)n : -EIO;
    *ret_octets = whole;
    return io->fdatasync(io->ctx, segment->fd);
}

static void condemn(struct spool *spool, int error)
{
    log_event(LOG_ERROR, LOG_EV_disk, NULL, "segment %u is condemned at %llu octets: %s", spool->active->seq,
              (unsigned long long)spool->active->used, strerror(-error));
    spool->active->condemned = true;
    spool_segment_seal(spool, spool->active);
}

static bool batch_has_outcome(const struct batch *b)
{
    list_each(link, &b->units)
        if (is_outcome(list_entry(link, struct unit, link)))
            return true;
    return false;
}

static int write_durably(struct spool *spool, uint64_t *ret_octets)
{
    int r = write_batch(spool, spool->active, ret_octets);

    if (r == 0)
        return 0;
    condemn(spool, r);
    int again = rotate(spool, spool->batch.octets, batch_has_outcome(&spool->batch));
    if (again < 0)
        return r;
    again = write_batch(spool, spool->active, ret_octets);
    if (again < 0)
        condemn(spool, again);
    return again;
}

static void advance(struct spool *spool, uint64_t octets)
{
    struct segment *segment = spool->active;

    (void)pthread_mutex_lock(&spool->lock);
    segment->used += octets;
    segment->last_batch = spool->next_batch++;
    spool->last_good = segment;
    (void)pthread_mutex_unlock(&spool->lock);
    atomic_store(&spool->durable_ceiling, segment->id_ceiling);
}

static void finish_unit(struct spool *spool, struct unit *unit, int status)
{
    struct spool_job *job = unit->job;

    if (unit->kind == UNIT_CEILING)
        atomic_store(&spool->ceiling_under_way, false);
    if (status < 0 && unit->big) {
        /* Its body may have a name by now. If a record of it may be on disk the file waits for the next start. */
        (void)pthread_mutex_lock(&spool->lock);
        if (!unit->placed)
            spool_big_unref(spool, spool_big_ref(spool, job->messages[0].key));
        (void)pthread_mutex_unlock(&spool->lock);
    }
    spool_unit_free(unit);
    if (job == NULL)
        return;
    job->spool_private = NULL;
    job->status = status;
    job->done(job);
}

static void finish_all(struct spool *spool, struct list *units, int status)
{
    while (!list_empty(units)) {
        struct unit *unit = list_entry(units->next, struct unit, link);
        list_remove(&unit->link);
        finish_unit(spool, unit, status != 0 ? status : unit->error);
    }
}

static void run_batch(struct spool *spool)
{
    uint64_t octets = 0, began = clock_now_us();

    int r = write_durably(spool, &octets);
    if (r < 0) {
        spool_stage_abort(spool);
        finish_all(spool, &spool->batch.units, r);
        return;
    }
    metric_observe_us(spool->metric_commit_us, clock_now_us() - began);
    metric_add(spool->metric_batches, 1);
    metric_add(spool->metric_units, spool->batch.count);
    spool_stage_commit(spool, spool->active);
    advance(spool, octets);
    finish_all(spool, &spool->batch.units, 0);
}

bool spool_writer_run(struct spool *spool)
{
    struct list failed;

    (void)inbox_take(&spool->inbox, &spool->waiting);
    if (list_empty(&spool->waiting))
        return false;
    list_init(&failed);
    batch_begin(spool);
    gather(spool, &failed);
    if (spool->batch.count > 0)
        run_batch(spool);
    finish_all(spool, &failed, 0);
    if (atomic_load(&spool->maker_due))
        spool_wake_maker(spool);
    return true;
}
