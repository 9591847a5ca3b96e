/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.c - the files of the log: made ready ahead of use, kept while anything needs them,
 * taken back as spares. docs/queue.md sections 2 and 3 (states S1 to S10).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "spool/internal.h"

struct segment *spool_segment_new(struct spool *spool, const struct format_segment *header)
{
    struct segment *segment = mem_zalloc(sizeof(*segment));

    segment->seq = (uint32_t)header->seq;
    segment->seed = header->seed;
    segment->octets = header->octets;
    segment->used = FORMAT_BLOCK;
    segment->state = SEGMENT_READY;
    segment->fd = -1;
    return segment;
}

void spool_segment_free(struct segment *segment)
{
    if (segment == NULL)
        return;
    free(segment->pins);
    free(segment);
}

/* The place of `seq`, or where it would go. */
static unsigned place_of(const struct spool *spool, uint32_t seq)
{
    unsigned low = 0, high = spool->segment_count;

    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        if (spool->segments[mid]->seq < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct segment *spool_segment_find(struct spool *spool, uint32_t seq)
{
    unsigned at = place_of(spool, seq);

    return at < spool->segment_count && spool->segments[at]->seq == seq ? spool->segments[at] : NULL;
}

void spool_segment_insert(struct spool *spool, struct segment *segment)
{
    unsigned at = place_of(spool, segment->seq);

    if (spool->segment_count == spool->segment_size) {
        spool->segment_size = spool->segment_size > 0 ? spool->segment_size * 2 : 16;
        spool->segments = mem_realloc(spool->segments, spool->segment_size * sizeof(spool->segments[0]));
    }
    memmove(&spool->segments[at + 1], &spool->segments[at],
            (spool->segment_count - at) * sizeof(spool->segments[0]));
    spool->segments[at] = segment;
    spool->segment_count++;
}

void spool_segment_remove(struct spool *spool, struct segment *segment)
{
    unsigned at = place_of(spool, segment->seq);

    assert(segment->live == 0 && segment->pinned_by == 0 && segment->users == 0);
    for (unsigned i = 0; i < segment->pin_count; i++) {
        assert(segment->pins[i]->pinned_by > 0);
        segment->pins[i]->pinned_by--;
    }
    if (segment->fd >= 0)
        spool->io->close(spool->io->ctx, segment->fd);
    memmove(&spool->segments[at], &spool->segments[at + 1],
            (spool->segment_count - at - 1) * sizeof(spool->segments[0]));
    spool->segment_count--;
    spool_segment_free(segment);
}

void spool_segment_pin(struct segment *holder, struct segment *outcome)
{
    if (holder == outcome)
        return;
    /* Outcomes come in order, so the one looked for is nearly always the last. */
    for (unsigned i = holder->pin_count; i > 0; i--)
        if (holder->pins[i - 1] == outcome)
            return;
    if (holder->pin_count == holder->pin_size) {
        holder->pin_size = holder->pin_size > 0 ? holder->pin_size * 2 : 4;
        holder->pins = mem_realloc(holder->pins, holder->pin_size * sizeof(holder->pins[0]));
    }
    holder->pins[holder->pin_count++] = outcome;
    outcome->pinned_by++;
}

void spool_segment_name(uint32_t seq, const char *suffix, char out[SPOOL_NAME_MAX])
{
    (void)snprintf(out, SPOOL_NAME_MAX, "%016x.%s", seq, suffix);
}

static void spare_name(uint64_t number, char out[SPOOL_NAME_MAX])
{
    (void)snprintf(out, SPOOL_NAME_MAX, "%016llx.spare", (unsigned long long)number);
}

int spool_segment_use(struct spool *spool, struct segment *segment)
{
    char name[SPOOL_NAME_MAX];

    (void)pthread_mutex_lock(&spool->lock);
    if (segment->fd < 0) {
        spool_segment_name(segment->seq, "seg", name);
        segment->fd = spool->io->open(spool->io->ctx, spool->dir, name, O_RDONLY);
    }
    int fd = segment->fd;
    if (fd >= 0)
        segment->users++;
    else
        segment->fd = -1;
    (void)pthread_mutex_unlock(&spool->lock);
    return fd;
}

static void close_idle(struct spool *spool, struct segment *segment)
{
    if (segment->users > 0 || segment->fd < 0 || segment->state == SEGMENT_ACTIVE || segment->state == SEGMENT_READY)
        return;
    spool->io->close(spool->io->ctx, segment->fd);
    segment->fd = -1;
}

void spool_segment_unuse(struct spool *spool, struct segment *segment)
{
    (void)pthread_mutex_lock(&spool->lock);
    assert(segment->users > 0);
    segment->users--;
    close_idle(spool, segment);
    (void)pthread_mutex_unlock(&spool->lock);
}

void spool_segment_seal(struct spool *spool, struct segment *segment)
{
    (void)pthread_mutex_lock(&spool->lock);
    segment->state = segment->used > FORMAT_BLOCK ? SEGMENT_SEALED : SEGMENT_VOID;
    segment->sealed_ms = clock_now_ms();
    close_idle(spool, segment);
    (void)pthread_mutex_unlock(&spool->lock);
}

struct segment *spool_segment_next(struct spool *spool)
{
    struct segment *found = NULL;

    (void)pthread_mutex_lock(&spool->lock);
    /* Ready ones are at the end, so this looks at three or so. */
    for (unsigned i = spool->segment_count; i > 0 && spool->segments[i - 1]->state == SEGMENT_READY; i--)
        found = spool->segments[i - 1];
    (void)pthread_mutex_unlock(&spool->lock);
    return found;
}

unsigned spool_segment_ready(struct spool *spool)
{
    unsigned count = 0;

    (void)pthread_mutex_lock(&spool->lock);
    for (unsigned i = spool->segment_count; i > 0 && spool->segments[i - 1]->state == SEGMENT_READY; i--)
        count++;
    (void)pthread_mutex_unlock(&spool->lock);
    return count;
}

/* ---- making ready ---- */

void spool_spare_add(struct spool *spool, uint64_t number, uint64_t octets)
{
    spool->spares = mem_realloc(spool->spares, (spool->spare_count + 1) * sizeof(spool->spares[0]));
    spool->spares[spool->spare_count++] = (struct spare){ number, octets };
    if (number >= spool->next_spare)
        spool->next_spare = number + 1;
}

/* A spare of exactly `octets`, or a fresh file. Returns the descriptor, the name in `name`. */
static int take_spare(struct spool *spool, uint64_t octets, char name[SPOOL_NAME_MAX])
{
    const struct spool_io *io = spool->io;

    for (unsigned i = 0; i < spool->spare_count; i++) {
        if (spool->spares[i].octets != octets)
            continue;
        spare_name(spool->spares[i].number, name);
        spool->spares[i] = spool->spares[--spool->spare_count];
        return io->open(io->ctx, spool->dir, name, O_RDWR);
    }
    spare_name(spool->next_spare++, name);
    int fd = io->open(io->ctx, spool->dir, name, O_RDWR | O_CREAT | O_EXCL);
    if (fd < 0)
        return fd;
    int r = io->allocate(io->ctx, fd, octets);
    if (r < 0) {
        io->close(io->ctx, fd);
        return r;
    }
    return fd;
}

static int write_header(struct spool *spool, int fd, const struct format_segment *header)
{
    char block[FORMAT_BLOCK];
    struct iovec iov = { block, sizeof(block) };

    format_segment_encode(header, block);
    ssize_t n = spool->io->pwritev(spool->io->ctx, fd, &iov, 1, 0);
    if (n != (ssize_t)sizeof(block))
        return n < 0 ? (int)n : -EIO;
    return spool->io->fdatasync(spool->io->ctx, fd);
}

/* Caller holds make_lock. */
static int prepare(struct spool *spool, uint64_t octets)
{
    const struct spool_io *io = spool->io;
    char from[SPOOL_NAME_MAX], to[SPOOL_NAME_MAX];
    struct format_segment header = { spool->next_seq, 0, octets, clock_wall_ms() };

    if (header.seq > UINT32_MAX)
        return -EOVERFLOW;
    io->random(io->ctx, &header.seed, sizeof(header.seed));
    spool_segment_name((uint32_t)header.seq, "seg", to);
    int fd = take_spare(spool, octets, from);
    int r = fd < 0 ? fd : write_header(spool, fd, &header);
    if (r < 0)
        goto drop;
    /* The seq is spent even if the rename fails: it may have reached the disk all the same. */
    spool->next_seq++;
    r = io->rename(io->ctx, spool->dir, from, to);
    if (r < 0)
        goto drop;
    r = io->sync_dir(io->ctx, spool->dir);
    if (r < 0) {
        (void)io->unlink(io->ctx, spool->dir, to);
        goto drop;
    }
    struct segment *segment = spool_segment_new(spool, &header);
    segment->fd = fd;
    (void)pthread_mutex_lock(&spool->lock);
    spool_segment_insert(spool, segment);
    (void)pthread_mutex_unlock(&spool->lock);
    return 0;

drop:
    if (fd >= 0)
        io->close(io->ctx, fd);
    (void)io->unlink(io->ctx, spool->dir, from);
    return r;
}

/* Ready segments that are too small make room: their numbers come before the large one's. */
static void give_up_ready(struct spool *spool)
{
    struct segment *segment;

    while ((segment = spool_segment_next(spool)) != NULL) {
        (void)pthread_mutex_lock(&spool->lock);
        segment->state = SEGMENT_VOID;
        close_idle(spool, segment);
        (void)pthread_mutex_unlock(&spool->lock);
    }
}

int spool_segment_prepare(struct spool *spool, uint64_t octets)
{
    (void)pthread_mutex_lock(&spool->make_lock);
    if (octets > spool->segment_octets)
        give_up_ready(spool);
    int r = prepare(spool, octets > spool->segment_octets ? format_pad(octets, FORMAT_BLOCK) : spool->segment_octets);
    if (r < 0) {
        spool->prepare_failed_ms = clock_now_ms() + 1;
        log_event(LOG_ERROR, LOG_EV_disk, NULL, "cannot make a segment: %s", strerror(-r));
    }
    (void)pthread_mutex_unlock(&spool->make_lock);
    spool_look_at_disk(spool);
    return r;
}

/* ---- taking back ---- */

static bool recyclable(const struct spool *spool, const struct segment *segment, unsigned kept)
{
    return !segment->condemned && segment->octets == spool->segment_octets &&
           spool->spare_count + kept < spool->spare_max;
}

int spool_segment_discard(struct spool *spool, struct segment *segment, unsigned to_add, uint64_t *ret_spare)
{
    const struct spool_io *io = spool->io;
    char from[SPOOL_NAME_MAX], to[SPOOL_NAME_MAX];
    unsigned kept = spool_segment_ready(spool) + to_add;

    *ret_spare = 0;
    spool_segment_name(segment->seq, "seg", from);
    if (segment->damaged) {
        spool_segment_name(segment->seq, "bad", to);
        return io->rename(io->ctx, spool->dir, from, to);
    }
    (void)pthread_mutex_lock(&spool->make_lock);
    if (recyclable(spool, segment, kept))
        *ret_spare = spool->next_spare++;
    (void)pthread_mutex_unlock(&spool->make_lock);
    if (*ret_spare == 0)
        return io->unlink(io->ctx, spool->dir, from);
    spare_name(*ret_spare, to);
    return io->rename(io->ctx, spool->dir, from, to);
}
