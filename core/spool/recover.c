/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recover.c - from names and octets to rows: which segments there are, where each ends,
 * which record of a message counts, what is left over. docs/queue.md sections 2 and 3.
 *
 * spool_fsck() runs the same code offline: everything is verified, nothing is changed.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "spool/internal.h"

struct found_name {
    uint64_t number;
    char suffix[8];
};

struct copy {
    struct spool_key key;
    uint32_t seq;
};

struct recovery {
    struct spool *spool;
    bool offline;
    struct found_name *names;
    size_t name_count, name_size;
    struct copy *copies;
    size_t copy_count, copy_size;
    struct segment *segment;  /* being read */
    uint64_t undecodable;
    char error[192];          /* what could not be read and why, if more can be said than the errno */
};

void spool_finding(struct spool *spool, const char *format, ...)
{
    va_list args;
    CLEANUP_BUF struct buf line = BUF_INIT;

    va_start(args, format);
    buf_vprintf(&line, format, args);
    va_end(args);
    spool->finding_count++;
    if (spool->findings != NULL) {
        buf_add(spool->findings, buf_slice(&line));
        buf_add_char(spool->findings, '\n');
    } else {
        log_event(LOG_ERROR, LOG_EV_spool, NULL, "%.*s", (int)line.len, line.data);
    }
}

/* ---- names ---- */

static bool parse_name(const char *name, struct found_name *ret)
{
    unsigned long long number;
    int end = 0;

    if (sscanf(name, "%16llx.%7[a-z]%n", &number, ret->suffix, &end) != 2 || end == 0 || name[end] != '\0' ||
        strchr(name, '.') != name + 16)
        return false;
    ret->number = number;
    return true;
}

static void on_name(void *arg, const char *name)
{
    struct recovery *v = arg;
    struct found_name found;

    if (!parse_name(name, &found))
        return;
    if (v->name_count == v->name_size) {
        v->name_size = v->name_size > 0 ? v->name_size * 2 : 64;
        v->names = mem_realloc(v->names, v->name_size * sizeof(v->names[0]));
    }
    v->names[v->name_count++] = found;
}

static bool has_suffix(const struct found_name *f, const char *suffix)
{
    return strcmp(f->suffix, suffix) == 0;
}

static void drop_name(struct recovery *v, uint64_t number, const char *suffix)
{
    char name[SPOOL_NAME_MAX];

    if (v->offline)
        return;
    (void)snprintf(name, sizeof(name), "%016llx.%s", (unsigned long long)number, suffix);
    (void)v->spool->io->unlink(v->spool->io->ctx, v->spool->dir, name);
}

static int64_t size_of(struct spool *spool, int dir, const char *name)
{
    const struct spool_io *io = spool->io;
    int fd = io->open(io->ctx, dir, name, O_RDONLY);

    if (fd < 0)
        return fd;
    int64_t size = io->size(io->ctx, fd);
    io->close(io->ctx, fd);
    return size;
}

/* Spares are any file of the right size; what else is of no use goes. */
static void take_spares(struct recovery *v)
{
    struct spool *spool = v->spool;
    char name[SPOOL_NAME_MAX];

    for (size_t i = 0; i < v->name_count; i++) {
        const struct found_name *f = &v->names[i];
        if (has_suffix(f, "tmp"))
            drop_name(v, f->number, "tmp");
        if (!has_suffix(f, "spare") || v->offline)
            continue;
        (void)snprintf(name, sizeof(name), "%016llx.spare", (unsigned long long)f->number);
        if (f->number >= spool->next_spare)
            spool->next_spare = f->number + 1;
        if (size_of(spool, spool->dir, name) == (int64_t)spool->segment_octets &&
            spool->spare_count < spool->spare_max)
            spool_spare_add(spool, f->number, spool->segment_octets);
        else
            drop_name(v, f->number, "spare");
    }
}

/* ---- segments ---- */

static bool side_head(struct spool *spool, uint32_t seq, struct side_index *head)
{
    CLEANUP_BUF struct buf file = BUF_INIT;
    char name[SPOOL_NAME_MAX];

    spool_segment_name(seq, "idx", name);
    return spool_read_file(spool, name, &file) == 0 && spool_side_head(buf_slice(&file), head) && head->seq == seq;
}

static void set_aside(struct recovery *v, uint32_t seq)
{
    char from[SPOOL_NAME_MAX], to[SPOOL_NAME_MAX];

    spool_finding(v->spool, "segment %u: its header does not verify, set aside", seq);
    v->spool->stats.damaged_batches++;
    if (v->offline)
        return;
    spool_segment_name(seq, "seg", from);
    spool_segment_name(seq, "bad", to);
    (void)v->spool->io->rename(v->spool->io->ctx, v->spool->dir, from, to);
}

static int read_header(struct recovery *v, uint32_t seq)
{
    struct spool *spool = v->spool;
    const struct spool_io *io = spool->io;
    char name[SPOOL_NAME_MAX], block[FORMAT_BLOCK];
    struct format_segment header;
    struct side_index side;
    bool damaged = false;

    spool_segment_name(seq, "seg", name);
    int fd = io->open(io->ctx, spool->dir, name, O_RDONLY);
    if (fd < 0)
        return fd;
    ssize_t n = io->pread(io->ctx, fd, block, sizeof(block), 0);
    int64_t size = io->size(io->ctx, fd);
    io->close(io->ctx, fd);
    if (n < 0 || size < 0)
        return n < 0 ? (int)n : (int)size;
    if (n != (ssize_t)sizeof(block) || !format_segment_decode(block, &header) || header.seq != seq) {
        if (!side_head(spool, seq, &side)) {
            set_aside(v, seq);
            return 0;
        }
        spool_finding(spool, "segment %u: its header does not verify, its side index serves", seq);
        spool->stats.damaged_batches++;
        damaged = true;
        header = (struct format_segment){ seq, side.seed, side.octets, 0 };
    }
    struct segment *segment = spool_segment_new(spool, &header);
    segment->octets = (uint64_t)size;
    segment->damaged = damaged;
    segment->state = SEGMENT_SEALED;
    spool_segment_insert(spool, segment);
    return 0;
}

static int find_segments(struct recovery *v)
{
    for (size_t i = 0; i < v->name_count; i++) {
        const struct found_name *f = &v->names[i];
        if (has_suffix(f, "spare") || has_suffix(f, "tmp"))
            continue;
        if (f->number >= v->spool->next_seq)
            v->spool->next_seq = f->number + 1;
        if (has_suffix(f, "seg") && f->number <= UINT32_MAX) {
            int r = read_header(v, (uint32_t)f->number);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* The first batch of `segment` says where the one before ended; those between are void. */
static int read_first(struct spool *spool, struct segment *segment, struct format_batch *ret)
{
    char header[FORMAT_BATCH_HEADER];
    int fd = spool_segment_use(spool, segment);

    if (fd < 0)
        return fd;
    ssize_t n = spool->io->pread(spool->io->ctx, fd, header, sizeof(header), FORMAT_BLOCK);
    spool_segment_unuse(spool, segment);
    if (n < 0)
        return (int)n;
    if (n != (ssize_t)sizeof(header) || !format_batch_decode(header, segment->seed, FORMAT_BLOCK, ret))
        *ret = (struct format_batch){ 0 };
    return 0;
}

static int find_limits(struct recovery *v, uint64_t *limits)
{
    struct spool *spool = v->spool;

    for (unsigned i = spool->segment_count; i > 0; i--) {
        struct segment *segment = spool->segments[i - 1];
        struct format_batch first;
        if (segment->state == SEGMENT_VOID)
            continue;
        int r = read_first(spool, segment, &first);
        if (r < 0)
            return r;
        if (first.number == 0)
            continue;
        for (unsigned p = i - 1; p > 0 && spool->segments[p - 1]->seq >= first.prev_seq; p--) {
            if (first.prev_seq == 0)
                break;
            if (spool->segments[p - 1]->seq > first.prev_seq)
                spool->segments[p - 1]->state = SEGMENT_VOID;
            else
                limits[p - 1] = first.prev_octets;
        }
    }
    return 0;
}

/* ---- records ---- */

static struct row *row_for(struct recovery *v, struct spool_key key, uint32_t rcpt_count)
{
    struct row *row = spool_index_find(&v->spool->index, key);

    spool_key_raise(v->spool, key.txn);
    v->spool->stats.replayed_records++;
    if (row == NULL) {
        row = spool_index_add(&v->spool->index, key);
        row->rcpt_count = rcpt_count;
    }
    return row->rcpt_count == rcpt_count ? row : NULL;
}

static void add_copy(struct recovery *v, struct spool_key key)
{
    if (v->copy_count == v->copy_size) {
        v->copy_size = v->copy_size > 0 ? v->copy_size * 2 : 1024;
        v->copies = mem_realloc(v->copies, v->copy_size * sizeof(v->copies[0]));
    }
    v->copies[v->copy_count++] = (struct copy){ key, v->segment->seq };
}

/* While recovering, `mark` is the version of the snapshot that counts so far. */
static void take_message(struct recovery *v, const struct format_message *m, const struct scan_record *r)
{
    struct row *row = row_for(v, m->key, m->rcpt_count);

    if (row == NULL) {
        v->undecodable++;
        return;
    }
    add_copy(v, m->key);
    if (m->state.version <= row->mark)
        return;
    row->mark = m->state.version;
    row->snap_seq = v->segment->seq;
    row->snap_offset = (uint32_t)r->offset;
    row->snap_octets = (uint32_t)r->header.octets;
    row->arrival_ms = m->arrival_ms;
    row->octets = m->octets;
    if ((m->flags & FORMAT_BIG) != 0)
        spool_row_extra(row)->body_key = m->body_key;
    if (m->state.version > row->version)
        spool_row_set_state(row, &m->state);
    row->flags = (uint16_t)((row->flags & (ROW_HELD | ROW_OPERATOR)) | ROW_SNAPSHOT |
                            ((m->flags & FORMAT_BOUNCE) != 0 ? ROW_BOUNCE : 0) |
                            ((m->flags & FORMAT_BIG) != 0 ? ROW_BIG : 0));
}

static void take_change(struct recovery *v, const struct format_change *c, const struct scan_record *r)
{
    struct row *row = row_for(v, c->key, c->rcpt_count);

    if (row == NULL) {
        v->undecodable++;
        return;
    }
    if (c->state.version <= row->version)
        return;
    spool_row_set_state(row, &c->state);
    row->change_seq = v->segment->seq;
    row->change_offset = (uint32_t)r->offset;
    row->change_octets = (uint32_t)r->header.octets;
}

static void on_record(struct recovery *v, const struct scan_record *r, bool summary)
{
    struct format_message m;
    struct format_change c;

    if (r->header.type == FORMAT_MESSAGE) {
        if (format_message_decode(r->payload, summary, &m))
            take_message(v, &m, r);
        else
            v->undecodable++;
    } else if (r->header.type == FORMAT_CHANGE) {
        if (format_change_decode(r->payload, &c))
            take_change(v, &c, r);
        else
            v->undecodable++;
    }
}

static void on_scanned(void *arg, const struct scan_record *r)
{
    on_record(arg, r, false);
}

static void on_indexed(void *arg, const struct scan_record *r)
{
    on_record(arg, r, true);
}

static void report_damage(struct recovery *v, struct segment *segment, uint64_t batches)
{
    if (batches == 0)
        return;
    segment->damaged = true;
    v->spool->stats.damaged_batches += batches;
    spool_finding(v->spool, "segment %u: %llu damaged batches", segment->seq, (unsigned long long)batches);
}

/* The side index, if it is there, verifies and agrees with what is known. */
static bool replay_side(struct recovery *v, struct segment *segment, uint64_t limit)
{
    CLEANUP_BUF struct buf file = BUF_INIT;
    char name[SPOOL_NAME_MAX];
    struct side_index side;

    spool_segment_name(segment->seq, "idx", name);
    if (spool_read_file(v->spool, name, &file) < 0)
        return false;
    if (!spool_side_head(buf_slice(&file), &side) || side.seq != segment->seq || side.seed != segment->seed ||
        (limit != 0 && side.used != limit) || side.used > segment->octets) {
        if (v->offline)
            spool_finding(v->spool, "segment %u: its side index does not verify", segment->seq);
        return false;
    }
    segment->used = side.used;
    segment->first_batch = side.first_batch;
    segment->last_batch = side.last_batch;
    segment->id_ceiling = side.id_ceiling;
    segment->prev_seq = (uint32_t)side.prev_seq;
    segment->prev_octets = side.prev_octets;
    segment->indexed = true;
    if (v->offline)
        return false; /* fsck reads the segment itself, and compares later */
    report_damage(v, segment, side.damaged);
    return spool_side_each(buf_slice(&file), on_indexed, v);
}

static int replay_segment(struct recovery *v, struct segment *segment, uint64_t limit)
{
    struct spool *spool = v->spool;

    v->segment = segment;
    if (replay_side(v, segment, limit))
        return 0;
    if (limit == 0 && segment->indexed)
        limit = segment->used;
    int fd = spool_segment_use(spool, segment);
    if (fd < 0)
        return fd;
    /* Without a side index it is one of the last, so there are few: bodies are read, and damage is told now. */
    struct scan scan = {
        .io = spool->io, .fd = fd, .seed = segment->seed, .octets = segment->octets, .limit = limit,
        .verify_bodies = true, .record = on_scanned, .arg = v,
    };
    int r = spool_scan(&scan);
    spool_segment_unuse(spool, segment);
    spool_scan_free(&scan);
    if (r < 0)
        return r;
    segment->used = scan.used;
    segment->first_batch = scan.first_batch;
    segment->last_batch = scan.last_batch;
    segment->id_ceiling = scan.id_ceiling;
    segment->prev_seq = (uint32_t)scan.prev_seq;
    segment->prev_octets = scan.prev_octets;
    spool->stats.torn_octets += scan.torn_octets;
    report_damage(v, segment, scan.damaged);
    return 0;
}

static int replay_all(struct recovery *v)
{
    struct spool *spool = v->spool;
    CLEANUP_FREE uint64_t *limits = mem_zalloc((spool->segment_count + 1) * sizeof(limits[0]));
    int r = find_limits(v, limits);

    for (unsigned i = 0; r == 0 && i < spool->segment_count; i++) {
        struct segment *segment = spool->segments[i];
        if (segment->state == SEGMENT_VOID)
            continue;
        r = replay_segment(v, segment, limits[i]);
        if (r == 0 && segment->last_batch == 0 && !segment->damaged)
            segment->state = SEGMENT_READY; /* unused */
        if (segment->last_batch != 0 && segment->last_batch >= spool->next_batch) {
            spool->next_batch = segment->last_batch + 1;
            spool->last_good = segment;
        }
    }
    return r;
}

/* ---- rows ---- */

static bool finished(const struct row *row)
{
    return (row->flags & ROW_SNAPSHOT) != 0 && row->pending == 0;
}

/* Every copy either belongs to a finished message, whose outcome it pins, or to a live one. */
static void settle_copies(struct recovery *v)
{
    struct spool *spool = v->spool;

    for (size_t i = 0; i < v->copy_count; i++) {
        struct row *row = spool_index_find(&spool->index, v->copies[i].key);
        struct segment *holder = spool_segment_find(spool, v->copies[i].seq);
        if (finished(row)) {
            struct segment *outcome = spool_segment_find(spool, row->change_seq);
            if (outcome != NULL)
                spool_segment_pin(holder, outcome);
        } else if (v->copies[i].seq != row->snap_seq) {
            spool_row_moved(row, spool, v->copies[i].seq);
        }
    }
}

/*
 * A body in a file that is gone, or not as long as the message says, is told; the message stays, for the operator to
 * restore the file or to give it up. 0, or what keeps us from knowing: then the start is refused.
 */
static int check_big(struct recovery *v, const struct row *row)
{
    char id[SPOOL_ID_TEXT_MAX], why[SPOOL_WHY_MAX];
    struct spool_loaded *loaded;

    spool_key_print(row->key, id);
    int r = spool_load(v->spool, row->key, &loaded);
    if (r < 0) {
        (void)snprintf(why, sizeof(why), "%s", r == -EBADMSG ? "its record does not verify" : strerror(-r));
    } else {
        r = spool_body_open(loaded, why);
        if (r == 0)
            spool_body_close(loaded);
        spool_unload(loaded);
    }
    if (r == -ENOENT || r == -EBADMSG) {
        spool_finding(v->spool, "message %s cannot be read: %s; it stays until it can be, or is deleted", id, why);
        return 0;
    }
    if (r < 0)
        (void)snprintf(v->error, sizeof(v->error), "message %s: %s", id, why);
    return r;
}

/* Live counts as they are at run time; 1, 0 if the row is not live, or what keeps us from knowing. */
static int settle_row(struct recovery *v, struct row *row)
{
    struct spool *spool = v->spool;
    struct row was = *row;

    if ((row->flags & ROW_SNAPSHOT) == 0 || row->pending == 0)
        return 0;
    row->snap_seq = row->change_seq = 0;
    row->flags &= (uint16_t)~ROW_SNAPSHOT;
    spool_row_place(spool, row, spool_segment_find(spool, was.snap_seq), was.snap_offset, was.snap_octets);
    if (was.change_seq != 0 && was.version != was.mark)
        spool_row_place_change(spool, row, spool_segment_find(spool, was.change_seq), was.change_offset,
                               was.change_octets);
    row->mark = 0;
    if ((row->flags & ROW_BIG) == 0)
        return 1;
    row->extra->body = spool_big_ref(spool, row->extra->body_key);
    int r = v->offline ? 0 : check_big(v, row); /* fsck looks at the bodies of all */
    return r < 0 ? r : 1;
}

static int settle_rows(struct recovery *v)
{
    struct spool *spool = v->spool;
    int r = 0;

    settle_copies(v);
    for (uint32_t n = 1; r >= 0 && n <= spool->index.used; n++) {
        struct row *row = spool_index_at(&spool->index, n);
        if (row != NULL && (r = settle_row(v, row)) != 1)
            spool_index_remove(&spool->index, row);
    }
    return r < 0 ? r : 0;
}

/* ---- what is left over ---- */

static void on_big(void *arg, const char *name)
{
    struct recovery *v = arg;
    struct spool_key key;

    if (!spool_key_parse(slice_cstr(name), &key) || table_get(&v->spool->bigs, slice_cstr(name)) != NULL)
        return;
    struct big_body *body = mem_zalloc(sizeof(*body));
    body->key = key;
    list_push(&v->spool->big_dead, &body->link);
}

/*
 * After kill -9 the page cache holds what the disk may not: the newest batch and the newest
 * names. They are made durable before anything relies on them. The length tells where the log ended.
 */
static int settle_tail(struct spool *spool)
{
    const struct spool_io *io = spool->io;
    struct segment *tail = spool->last_good;
    char name[SPOOL_NAME_MAX];
    int r = io->sync_dir(io->ctx, spool->dir);

    if (r == 0)
        r = io->sync_dir(io->ctx, spool->big_dir);
    if (r < 0 || tail == NULL)
        return r;
    spool_segment_name(tail->seq, "seg", name);
    int fd = io->open(io->ctx, spool->dir, name, O_RDWR);
    if (fd < 0)
        return fd;
    if (tail->used < tail->octets && !tail->damaged)
        r = io->truncate(io->ctx, fd, tail->used);
    if (r == 0)
        r = io->fdatasync(io->ctx, fd);
    io->close(io->ctx, fd);
    if (r == 0 && !tail->damaged)
        tail->octets = tail->used;
    return r;
}

/* Segments that were made ready but not used become spares; their seed is not used again. */
static void release_unused(struct recovery *v)
{
    struct spool *spool = v->spool;

    for (unsigned i = 0; i < spool->segment_count; i++)
        if (spool->segments[i]->state == SEGMENT_READY)
            spool->segments[i]->state = SEGMENT_VOID; /* the maker takes them back */
    for (size_t i = 0; i < v->name_count; i++)
        if (has_suffix(&v->names[i], "idx") &&
            (v->names[i].number > UINT32_MAX || spool_segment_find(spool, (uint32_t)v->names[i].number) == NULL))
            drop_name(v, v->names[i].number, "idx");
}

/* A record that cannot be read may name any body. */
static bool may_be_named(const struct recovery *v)
{
    if (v->spool->stats.damaged_batches > 0)
        return true;
    for (size_t i = 0; i < v->name_count; i++)
        if (has_suffix(&v->names[i], "bad"))
            return true;
    return false;
}

static int clean_up(struct recovery *v)
{
    struct spool *spool = v->spool;

    release_unused(v);
    int r = settle_tail(spool);
    if (r < 0 || may_be_named(v))
        return r;
    return spool->io->list(spool->io->ctx, spool->big_dir, on_big, v);
}

static void free_recovery(struct recovery *v)
{
    free(v->names);
    free(v->copies);
}

int spool_recover(struct spool *spool, bool offline, char *error, size_t octets)
{
    struct recovery v = { .spool = spool, .offline = offline };

    int r = spool->io->list(spool->io->ctx, spool->dir, on_name, &v);
    if (r == 0) {
        take_spares(&v);
        r = find_segments(&v);
    }
    if (r == 0)
        r = replay_all(&v);
    if (r == 0)
        r = settle_rows(&v);
    if (r == 0) {
        if (v.undecodable > 0)
            spool_finding(spool, "%llu records verify but do not parse", (unsigned long long)v.undecodable);
        if (spool->last_good != NULL)
            spool_key_raise(spool, spool->last_good->id_ceiling);
        atomic_store(&spool->durable_ceiling, atomic_load(&spool->last_id));
        r = offline ? 0 : clean_up(&v);
    }
    if (r < 0)
        (void)snprintf(error, octets, "cannot read the queue: %s", v.error[0] != '\0' ? v.error : strerror(-r));
    free_recovery(&v);
    return r;
}
