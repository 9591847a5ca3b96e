/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maker.c - what must not hold up the spool thread: segments made ready ahead of use, side
 * indexes, finished segments taken back, messages copied forward, big bodies synced and removed.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "spool/internal.h"

#define RETRY_MS       1000
#define EMPTY_AGAIN_MS 60000 /* a segment with a message that cannot be read */
#define COPY_ROWS      4096u /* looked at under one lock: some 20 us */

/* ---- ready segments ---- */

void spool_look_at_disk(struct spool *spool)
{
    uint64_t octets;

    if (spool->io->free_octets(spool->io->ctx, spool->dir, &octets) == 0)
        atomic_store(&spool->free_octets, octets);
}

static bool prepare_due(struct spool *spool)
{
    unsigned ready = spool_segment_ready(spool);
    unsigned low = spool->spare_max < READY_LOW ? spool->spare_max : READY_LOW;

    (void)pthread_mutex_lock(&spool->make_lock);
    bool due = ready < low || (spool->spare_count > 0 && ready < spool->spare_max);
    if (spool->prepare_failed_ms != 0 && clock_now_ms() + 1 < spool->prepare_failed_ms + RETRY_MS)
        due = false;
    /* Fresh ones never eat what is kept back for outcomes; the last one for them is made on demand. */
    if (spool->spare_count == 0 && atomic_load(&spool->free_octets) < spool->reserve + spool->segment_octets)
        due = false;
    (void)pthread_mutex_unlock(&spool->make_lock);
    return due;
}

bool spool_maker_prepare(struct spool *spool)
{
    bool any = false;

    while (prepare_due(spool)) {
        if (spool_segment_prepare(spool, 0) < 0)
            break;
        any = true;
    }
    return any;
}

/* ---- side indexes ---- */

static int write_file(struct spool *spool, const char *name, struct slice octets)
{
    const struct spool_io *io = spool->io;
    struct iovec iov = { (void *)octets.ptr, octets.len };
    int fd = io->open(io->ctx, spool->dir, name, O_RDWR | O_CREAT | O_TRUNC);

    if (fd < 0)
        return fd;
    ssize_t n = io->pwritev(io->ctx, fd, &iov, 1, 0);
    int r = n == (ssize_t)octets.len ? io->fdatasync(io->ctx, fd) : n < 0 ? (int)n : -EIO;
    io->close(io->ctx, fd);
    return r;
}

int spool_maker_index(struct spool *spool, struct segment *segment)
{
    const struct spool_io *io = spool->io;
    CLEANUP_BUF struct buf file = BUF_INIT;
    char tmp[SPOOL_NAME_MAX], name[SPOOL_NAME_MAX];

    spool_segment_name(segment->seq, "tmp", tmp);
    spool_segment_name(segment->seq, "idx", name);
    int r = spool_side_build(spool, segment, false, &file);
    if (r == 0)
        r = write_file(spool, tmp, buf_slice(&file));
    if (r == 0)
        r = io->rename(io->ctx, spool->dir, tmp, name);
    if (r == 0)
        r = io->sync_dir(io->ctx, spool->dir);
    if (r < 0)
        (void)io->unlink(io->ctx, spool->dir, tmp);
    return r;
}

/* Sealed, not indexed, and old enough that it will probably stay. Marked as used, so that it does. */
static struct segment *index_due(struct spool *spool)
{
    struct segment *found = NULL;
    uint64_t now = clock_now_ms();

    (void)pthread_mutex_lock(&spool->lock);
    for (unsigned i = 0; i < spool->segment_count && found == NULL; i++) {
        struct segment *s = spool->segments[i];
        if (s->state == SEGMENT_SEALED && !s->indexed && now >= s->sealed_ms + spool->index_delay_ms)
            found = s;
    }
    if (found != NULL)
        found->users++;
    (void)pthread_mutex_unlock(&spool->lock);
    return found;
}

static bool write_indexes(struct spool *spool)
{
    bool any = false;
    struct segment *segment;

    while ((segment = index_due(spool)) != NULL) {
        int r = spool_maker_index(spool, segment);
        (void)pthread_mutex_lock(&spool->lock);
        segment->indexed = r == 0;
        if (r < 0)
            segment->sealed_ms = clock_now_ms() + RETRY_MS; /* later */
        (void)pthread_mutex_unlock(&spool->lock);
        spool_segment_unuse(spool, segment);
        if (r < 0) {
            log_event(LOG_WARNING, LOG_EV_disk, NULL, "no side index for segment %u: %s", segment->seq, strerror(-r));
            return any;
        }
        any = true;
    }
    return any;
}

/* ---- finished segments ---- */

/* Rule 7. Caller holds lock. */
static bool is_finished(struct spool *spool, unsigned at)
{
    struct segment *s = spool->segments[at];

    if (s->users > 0 || s->live > 0 || s->pinned_by > 0 || s == spool->last_good || s == spool->active)
        return false;
    if (s->state == SEGMENT_VOID)
        return true;
    if (s->state != SEGMENT_SEALED)
        return false;
    for (unsigned i = at; i > 0 && s->prev_seq != 0 && spool->segments[i - 1]->seq >= s->prev_seq; i--)
        if (!spool->segments[i - 1]->indexed)
            return false;
    return true;
}

struct finished {
    struct segment *segment;
    uint64_t spare;
};

#define FINISHED_MAX 64 /* at a time */

static unsigned collect_finished(struct spool *spool, struct finished *out)
{
    unsigned count = 0;
    uint64_t now = clock_now_ms();

    (void)pthread_mutex_lock(&spool->lock);
    for (unsigned i = 0; i < spool->segment_count && count < FINISHED_MAX; i++) {
        struct segment *s = spool->segments[i];
        if (s->sealed_ms > now || !is_finished(spool, i))
            continue;
        s->users++; /* ours: nobody else finds a row that leads here */
        out[count++] = (struct finished){ s, 0 };
    }
    (void)pthread_mutex_unlock(&spool->lock);
    return count;
}

/* What could not be renamed stays; it is tried again a second later. */
static unsigned discard_all(struct spool *spool, struct finished *f, unsigned count)
{
    unsigned kept = 0, spares = 0;

    for (unsigned i = 0; i < count; i++) {
        struct finished one = f[i];
        int r = spool_segment_discard(spool, one.segment, spares, &one.spare);
        if (r == 0) {
            spares += one.spare != 0;
            f[kept++] = one;
            continue;
        }
        log_event(LOG_WARNING, LOG_EV_disk, NULL, "segment %u stays: %s", one.segment->seq, strerror(-r));
        (void)pthread_mutex_lock(&spool->lock);
        one.segment->users--;
        one.segment->sealed_ms = clock_now_ms() + RETRY_MS;
        (void)pthread_mutex_unlock(&spool->lock);
    }
    return kept;
}

static void let_go(struct spool *spool, const struct finished *f)
{
    char name[SPOOL_NAME_MAX];
    uint64_t octets = f->segment->octets;

    spool_segment_name(f->segment->seq, "idx", name);
    (void)spool->io->unlink(spool->io->ctx, spool->dir, name);
    (void)pthread_mutex_lock(&spool->lock);
    f->segment->users--;
    spool_segment_remove(spool, f->segment);
    (void)pthread_mutex_unlock(&spool->lock);
    if (f->spare == 0)
        return;
    (void)pthread_mutex_lock(&spool->make_lock);
    spool_spare_add(spool, f->spare, octets);
    (void)pthread_mutex_unlock(&spool->make_lock);
}

static bool reclaim(struct spool *spool)
{
    struct finished f[FINISHED_MAX];
    unsigned count = discard_all(spool, f, collect_finished(spool, f));

    if (count == 0)
        return false;
    int r = spool->io->sync_dir(spool->io->ctx, spool->dir);
    if (r < 0)
        log_event(LOG_ERROR, LOG_EV_disk, NULL, "the spool's folder cannot be synced: %s", strerror(-r));
    for (unsigned i = 0; i < count; i++) {
        if (r == 0) {
            let_go(spool, &f[i]);
            continue;
        }
        /* Rule 8: nobody knows whether the names are gone, so what they pin stays pinned. */
        (void)pthread_mutex_lock(&spool->lock);
        f[i].segment->state = SEGMENT_LIMBO;
        for (unsigned n = 0; n < f[i].segment->pin_count; n++)
            f[i].segment->pins[n]->stuck = true;
        (void)pthread_mutex_unlock(&spool->lock);
    }
    spool_look_at_disk(spool);
    return true;
}

/* ---- copy-forward (rule 9) ---- */

static bool too_sparse(struct spool *spool)
{
    uint64_t all = 0;

    /* Only what copying can free: not what is finished and waits to be taken back, and not what is stuck. Else a
     * folder that cannot be written to would make us copy for ever. */
    for (unsigned i = 0; i < spool->segment_count; i++) {
        const struct segment *s = spool->segments[i];
        if (s->state == SEGMENT_SEALED && !s->stuck && (s->live > 0 || s->pinned_by > 0))
            all += s->octets;
    }
    return all > spool->copy_slack_segments * spool->segment_octets + spool->copy_slack_factor * spool->live_octets;
}

/* The sealed segment with the smallest live share, if there is too much air in the log. */
static uint32_t sparsest(struct spool *spool)
{
    struct segment *best = NULL;

    (void)pthread_mutex_lock(&spool->lock);
    bool due = too_sparse(spool);
    for (unsigned i = 0; due && i < spool->segment_count; i++) {
        struct segment *s = spool->segments[i];
        if (s->state != SEGMENT_SEALED || s->live == 0 || s == spool->last_good || s->sealed_ms > clock_now_ms())
            continue;
        if (s->live_octets * 2 > s->octets && s->pin_count == 0)
            continue; /* dense, and holds nobody up: nothing to be won */
        if (best == NULL || s->live_octets * best->octets < best->live_octets * s->octets)
            best = s;
    }
    uint32_t seq = best != NULL ? best->seq : 0;
    (void)pthread_mutex_unlock(&spool->lock);
    return seq;
}

struct copy_job {
    struct spool_job job; /* first */
    struct spool *spool;
    struct spool_message message;
    struct spool_change change;
};

static void on_copied(struct spool_job *job)
{
    struct copy_job *c = (struct copy_job *)job;

    body_unref(job->body);
    atomic_fetch_sub(&c->spool->copies_under_way, 1);
    if (job->status == 0)
        atomic_store(&c->spool->maker_due, true); /* there may be more; what failed waits for the next second */
    free(c);
}

/* The whole body into memory, as it stands in the log. */
static int read_body(struct spool_loaded *loaded, uint64_t octets, struct body **ret)
{
    CLEANUP_FREE char *chunk = mem_alloc(65536);
    struct body *body = body_new(-1);
    uint64_t at = loaded->head.len, end = at + octets;

    while (at < end) {
        int64_t n = spool_read(loaded, at, chunk, 65536);
        if (n <= 0) {
            body_unref(body);
            return n < 0 ? (int)n : -EIO;
        }
        (void)body_append(body, slice_make(chunk, (size_t)n));
        at += (uint64_t)n;
    }
    *ret = body;
    return 0;
}

static void submit_snapshot(struct spool *spool, struct spool_loaded *loaded, struct body *body)
{
    struct copy_job *c = mem_zalloc(sizeof(*c));
    struct unit_copy copy;
    struct format_state state;

    spool_loaded_copy(loaded, &copy, &state);
    c->spool = spool;
    c->message = (struct spool_message){
        .key = loaded->entry.key,
        .envelope = loaded->envelope,
        .head = loaded->head,
        .body_offset = copy.big ? spool_loaded_body_offset(loaded) : 0, /* what is in front of it is not copied */
        .rcpt_count = loaded->entry.rcpt_count,
        .arrival_ms = loaded->entry.arrival_ms,
        .bounce = loaded->entry.bounce,
    };
    c->job = (struct spool_job){ .body = body, .messages = &c->message, .message_count = 1, .done = on_copied };
    atomic_fetch_add(&spool->copies_under_way, 1);
    spool_submit_copy(spool, &c->job, &copy);
}

/* The newest state alone, again: what another has changed in it since is not taken back. */
static void submit_change(struct spool *spool, const struct spool_entry *entry)
{
    struct copy_job *c = mem_zalloc(sizeof(*c));

    c->spool = spool;
    c->change = (struct spool_change){ .key = entry->key, .kind = SPOOL_RETRY };
    c->job = (struct spool_job){ .changes = &c->change, .change_count = 1, .done = on_copied };
    atomic_fetch_add(&spool->copies_under_way, 1);
    spool_submit(spool, &c->job);
}

static int copy_message(struct spool *spool, struct spool_key key)
{
    struct spool_loaded *loaded;
    struct body *body = NULL;
    struct unit_copy copy;
    struct format_state state;
    int r = spool_load(spool, key, &loaded);

    if (r < 0)
        return r;
    spool_loaded_copy(loaded, &copy, &state);
    if (!copy.big && loaded->body_octets > 0)
        r = read_body(loaded, loaded->body_octets, &body);
    if (r == 0)
        submit_snapshot(spool, loaded, body);
    spool_unload(loaded);
    return r;
}

struct copy_list {
    struct spool_entry entries[COPY_MESSAGES_MAX];
    bool whole[COPY_MESSAGES_MAX];
    unsigned count;
};

/* False: that was the last row. Caller holds lock. */
static bool list_some(struct spool *spool, uint32_t seq, struct copy_list *list)
{
    uint32_t left = COPY_ROWS;

    for (; spool->copy_at <= spool->index.used && left > 0 && list->count < COPY_MESSAGES_MAX; left--) {
        const struct row *row = spool_index_at(&spool->index, spool->copy_at++);
        if (row == NULL || (row->flags & ROW_STAGED) != 0 || (row->snap_seq != seq && row->change_seq != seq))
            continue;
        spool_row_entry(row, &list->entries[list->count]);
        list->whole[list->count++] = row->snap_seq == seq;
    }
    return spool->copy_at <= spool->index.used;
}

/* Goes on where the last look for this segment ended, so that all rows are looked at once to empty it. */
static void list_copies(struct spool *spool, uint32_t seq, struct copy_list *list)
{
    bool more = true;

    list->count = 0;
    if (spool->copy_seq != seq)
        spool->copy_at = 1;
    while (more && list->count < COPY_MESSAGES_MAX) {
        (void)pthread_mutex_lock(&spool->lock);
        more = list_some(spool, seq, list);
        (void)pthread_mutex_unlock(&spool->lock);
    }
    spool->copy_seq = more ? seq : 0;
}

static void postpone(struct spool *spool, uint32_t seq)
{
    (void)pthread_mutex_lock(&spool->lock);
    struct segment *segment = spool_segment_find(spool, seq);
    if (segment != NULL)
        segment->sealed_ms = clock_now_ms() + EMPTY_AGAIN_MS;
    (void)pthread_mutex_unlock(&spool->lock);
}

static bool copy_forward(struct spool *spool)
{
    struct copy_list list;
    int failed = 0;

    if (atomic_load(&spool->copies_under_way) > 0 || atomic_load(&spool->closing))
        return false;
    uint32_t seq = sparsest(spool);
    if (seq == 0)
        return false;
    list_copies(spool, seq, &list);
    for (unsigned i = 0; i < list.count; i++) {
        int r = 0;
        if (list.whole[i])
            r = copy_message(spool, list.entries[i].key);
        else
            submit_change(spool, &list.entries[i]);
        if (r < 0 && r != -ENOENT)
            failed = r; /* the others are none the worse for it */
    }
    if (failed < 0) {
        postpone(spool, seq);
        log_event(LOG_WARNING, LOG_EV_disk, NULL, "segment %u cannot be emptied: %s", seq, strerror(-failed));
    }
    return list.count > 0;
}

/* ---- big bodies ---- */

static void remove_bodies(struct spool *spool)
{
    struct list dead;
    char name[SPOOL_ID_TEXT_MAX];

    list_init(&dead);
    (void)pthread_mutex_lock(&spool->lock);
    list_splice(&dead, &spool->big_dead);
    (void)pthread_mutex_unlock(&spool->lock);
    while (!list_empty(&dead)) {
        struct big_body *body = list_entry(dead.next, struct big_body, link);
        list_remove(&body->link);
        spool_key_print(body->key, name);
        (void)spool->io->unlink(spool->io->ctx, spool->big_dir, name);
        free(body);
    }
}

static bool is_live(struct spool *spool, const char *name)
{
    (void)pthread_mutex_lock(&spool->lock);
    bool live = table_get(&spool->bigs, slice_cstr(name)) != NULL;
    (void)pthread_mutex_unlock(&spool->lock);
    return live;
}

static int name_body(struct spool *spool, const struct unit *unit)
{
    const struct spool_io *io = spool->io;
    char name[SPOOL_ID_TEXT_MAX];
    int fd = body_file(unit->body);

    spool_key_print(unit->job->messages[0].key, name);
    int r = io->fdatasync(io->ctx, fd);
    if (r < 0)
        return r;
    r = io->link_unnamed(io->ctx, fd, spool->big_dir, name);
    if (r != -EEXIST || is_live(spool, name))
        return r;
    /* Left by a commit that failed. */
    r = io->unlink(io->ctx, spool->big_dir, name);
    return r < 0 ? r : io->link_unnamed(io->ctx, fd, spool->big_dir, name);
}

bool spool_syncer_run(struct spool *spool)
{
    struct list *units = &spool->syncing;

    (void)inbox_take(&spool->big_inbox, units);
    if (list_empty(units))
        return false;
    list_each(link, units)
    {
        struct unit *unit = list_entry(link, struct unit, link);
        unit->error = name_body(spool, unit);
    }
    int r = spool->io->sync_dir(spool->io->ctx, spool->big_dir);
    while (!list_empty(units)) {
        struct unit *unit = list_entry(units->next, struct unit, link);
        list_remove(&unit->link);
        if (unit->error == 0)
            unit->error = r;
        (void)inbox_put(&spool->inbox, &unit->link);
    }
    return true;
}

/* ---- ids ---- */

/* Ids drawn while nothing is written come near the ceiling: an empty batch raises it. */
static void raise_ceiling(struct spool *spool)
{
    uint64_t last = atomic_load(&spool->last_id), ceiling = atomic_load(&spool->durable_ceiling);

    if (last + ((uint64_t)(ID_RESERVE_MS / 2) << 24) >= ceiling)
        spool_submit_ceiling(spool);
}

bool spool_maker_run(struct spool *spool)
{
    atomic_store(&spool->maker_due, false);
    bool any = spool_maker_prepare(spool);
    any |= reclaim(spool);
    any |= write_indexes(spool);
    any |= copy_forward(spool);
    remove_bodies(spool);
    raise_ceiling(spool);
    return any;
}
