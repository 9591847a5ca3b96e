/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage.c - builds a batch: which units may go together, where their records stand, and
 * what the rows say once it is durable.
 *
 * A message is touched by one unit of a batch only, because the state that a change leads to is
 * encoded from the row, and the row follows when the batch is durable. A unit that must wait
 * for that reason makes later ones on the same messages wait, too, so their order is kept.
 */
#include "spool/stage.h"

#include <assert.h>
#include <errno.h>
#include <xxhash.h>

static const char zeros[FORMAT_BLOCK];

static bool blocked(const struct row *row, const struct unit *unit)
{
    return row->mark != 0 && row->mark != unit->stamp;
}

/* 0; 1: must wait; negative: wrong. Marks what it sees, so that nobody overtakes it. */
static int check_changes(struct spool *spool, struct unit *unit)
{
    int result = 0;

    for (unsigned i = 0; i < unit->change_count; i++) {
        struct row *row = spool_index_find(&spool->index, unit->changes[i].key);
        if (row != NULL && blocked(row, unit)) {
            result = 1;
            continue;
        }
        if (row == NULL || (row->flags & ROW_STAGED) != 0)
            return -ENOENT;
        if (row->mark == unit->stamp)
            return -EINVAL; /* twice in one job */
        int r = spool_change_check(row, &unit->changes[i]);
        if (r < 0)
            return r;
        row->mark = unit->stamp;
    }
    return result;
}

static void unmark_key(struct spool *spool, const struct unit *unit, struct spool_key key)
{
    struct row *row = spool_index_find(&spool->index, key);

    if (row != NULL && row->mark == unit->stamp)
        row->mark = 0;
}

void spool_stage_unmark(struct spool *spool, struct unit *unit)
{
    if (unit->stamp == 0)
        return;
    if (unit->kind == UNIT_COPY)
        unmark_key(spool, unit, unit->job->messages[0].key);
    for (unsigned i = 0; i < unit->change_count; i++)
        unmark_key(spool, unit, unit->changes[i].key);
    unit->stamp = 0;
}

static int check_copy(struct spool *spool, struct unit *unit)
{
    struct row *row = spool_index_find(&spool->index, unit->job->messages[0].key);

    if (row != NULL && blocked(row, unit))
        return 1;
    if (row == NULL || row->version != unit->copy_version) {
        spool->stale_copies++;
        return -EAGAIN;
    }
    row->mark = unit->stamp;
    unit->records[unit->record_count - 1].row = row;
    return 0;
}

static void encode_changes(struct spool *spool, struct unit *unit)
{
    struct buf *out = &spool->batch.scratch;

    unit->scratch_at = out->len;
    for (unsigned i = 0; i < unit->change_count; i++) {
        struct row *row = spool_index_find(&spool->index, unit->changes[i].key);
        struct unit_record *r = &unit->records[unit->record_count++];
        size_t start = out->len;

        (void)buf_reserve(out, FORMAT_RECORD_HEADER);
        out->len += FORMAT_RECORD_HEADER;
        spool_change_encode(spool, row, &unit->changes[i], out);
        *r = (struct unit_record){ .at = unit->octets, .scratch_at = start, .row = row };
        r->header.type = FORMAT_CHANGE;
        r->header.octets = out->len - start - FORMAT_RECORD_HEADER;
        size_t pad = (size_t)(format_pad(out->len - start, 8) - (out->len - start));
        buf_add(out, slice_make(zeros, pad));
        unit->octets += out->len - start;
    }
    unit->scratch_octets = out->len - unit->scratch_at;
}

static void drop_changes(struct spool *spool, struct unit *unit)
{
    spool->batch.scratch.len = unit->scratch_at;
    unit->octets -= unit->scratch_octets;
    unit->record_count -= unit->change_count;
}

/* New messages get their rows now, invisible, so that a key cannot be taken twice. */
static int reserve_rows(struct spool *spool, struct unit *unit)
{
    unsigned first = unit->record_count - unit->change_count - unit->message_count;
    int r = 0;

    (void)pthread_mutex_lock(&spool->lock);
    for (unsigned i = 0; i < unit->message_count && r == 0; i++) {
        struct spool_key key = unit->job->messages[i].key;
        struct unit_record *record = &unit->records[first + i];
        if (spool_index_find(&spool->index, key) != NULL) {
            r = -EEXIST;
            break;
        }
        record->row = spool_index_add(&spool->index, key);
        record->row->flags = ROW_STAGED;
        record->row->mark = unit->stamp;
    }
    for (unsigned i = 0; r < 0 && i < unit->message_count; i++) {
        if (unit->records[first + i].row != NULL)
            spool_index_remove(&spool->index, unit->records[first + i].row);
        unit->records[first + i].row = NULL;
    }
    (void)pthread_mutex_unlock(&spool->lock);
    return r;
}

static enum stage_result wrong(struct spool *spool, struct unit *unit, int error)
{
    spool_stage_unmark(spool, unit);
    unit->error = error;
    return STAGE_WRONG;
}

enum stage_result spool_stage(struct spool *spool, struct unit *unit, uint64_t room)
{
    struct batch *b = &spool->batch;

    unit->stamp = ++b->stamps;
    int r = unit->kind == UNIT_COPY ? check_copy(spool, unit) : check_changes(spool, unit);
    if (r < 0)
        return wrong(spool, unit, r);
    if (r > 0)
        return STAGE_BLOCKED; /* its marks stay until the batch is over: nobody overtakes it */
    encode_changes(spool, unit);
    if (b->octets + unit->octets > room) {
        drop_changes(spool, unit);
        spool_stage_unmark(spool, unit);
        return STAGE_FULL;
    }
    r = unit->kind == UNIT_JOB ? reserve_rows(spool, unit) : 0;
    if (r < 0) {
        drop_changes(spool, unit);
        return wrong(spool, unit, r);
    }
    b->octets += unit->octets;
    b->records += unit->record_count;
    unit->number = b->count++;
    list_push(&b->units, &unit->link);
    return STAGE_TAKEN;
}

/* ---- placing ---- */

static void add_piece(struct batch *b, const void *octets, size_t len)
{
    if (len > 0)
        b->iov[b->iov_count++] = (struct iovec){ (void *)octets, len };
}

static void place_record(struct batch *b, struct unit *unit, struct unit_record *r, unsigned index, uint64_t seed)
{
    char *octets = r->octets != NULL ? r->octets : b->scratch.data + r->scratch_at;
    uint64_t offset = unit->offset + r->at;
    const void *payload = r->header.type == FORMAT_BODY ? unit->body_octets.ptr : octets + FORMAT_RECORD_HEADER;

    r->header.unit = unit->number;
    r->header.index = (uint16_t)index;
    r->header.count = (uint16_t)unit->record_count;
    r->header.payload_check = format_check(seed, offset + FORMAT_RECORD_HEADER, payload, r->header.octets);
    format_record_encode(&r->header, seed, offset, octets);
}

static void place_unit(struct batch *b, struct unit *unit, uint64_t seed)
{
    unit->placed = true;
    for (unsigned i = 0; i < unit->record_count; i++)
        place_record(b, unit, &unit->records[i], i, seed);
    if (unit->record_count > 0 && unit->records[0].header.type == FORMAT_BODY) {
        add_piece(b, unit->data, FORMAT_RECORD_HEADER);
        add_piece(b, unit->body_octets.ptr, unit->body_octets.len);
        add_piece(b, unit->data + FORMAT_RECORD_HEADER, unit->data_octets - FORMAT_RECORD_HEADER);
    } else {
        add_piece(b, unit->data, unit->data_octets);
    }
    if (unit->scratch_octets > 0)
        add_piece(b, b->scratch.data + unit->scratch_at, unit->scratch_octets);
}

uint64_t spool_stage_place(struct spool *spool, struct segment *segment)
{
    struct batch *b = &spool->batch;
    bool first = segment->used == FORMAT_BLOCK;
    struct format_batch header = {
        .records = b->records,
        .number = spool->next_batch,
        .octets = b->octets,
        .id_ceiling = spool_id_ceiling(spool),
        .prev_seq = first && spool->last_good != NULL ? spool->last_good->seq : 0,
        .prev_octets = first && spool->last_good != NULL ? spool->last_good->used : 0,
    };
    uint64_t at = segment->used + FORMAT_BATCH_HEADER;

    b->iov_count = 0;
    add_piece(b, b->header, FORMAT_BATCH_HEADER);
    list_each(link, &b->units)
    {
        struct unit *unit = list_entry(link, struct unit, link);
        unit->offset = at;
        place_unit(b, unit, segment->seed);
        at += unit->octets;
    }
    assert(at - segment->used == b->octets);
    format_batch_encode(&header, segment->seed, segment->used, b->header);
    segment->id_ceiling = header.id_ceiling;
    if (first) {
        segment->first_batch = header.number;
        segment->prev_seq = (uint32_t)header.prev_seq;
        segment->prev_octets = header.prev_octets;
    }
    uint64_t whole = format_pad(b->octets, FORMAT_BLOCK);
    add_piece(b, zeros, (size_t)(whole - b->octets));
    return whole;
}

/* ---- afterwards ---- */

static void commit_message(struct spool *spool, struct segment *segment, const struct unit *unit,
                           const struct unit_record *r)
{
    struct format_message m;
    struct row *row = r->row;
    bool valid = format_message_decode(slice_make(r->octets + FORMAT_RECORD_HEADER, r->header.octets), false, &m);

    assert(valid); /* we wrote it */
    if (unit->kind == UNIT_JOB) {
        row->flags = (uint16_t)(((m.flags & FORMAT_BOUNCE) != 0 ? ROW_BOUNCE : 0) |
                                ((m.flags & FORMAT_BIG) != 0 ? ROW_BIG : 0));
        row->arrival_ms = m.arrival_ms;
        row->octets = m.octets;
        row->rcpt_count = m.rcpt_count;
        if ((m.flags & FORMAT_BIG) != 0) {
            spool_row_extra(row)->body_key = m.body_key;
            row->extra->body = spool_big_ref(spool, m.body_key);
        }
    }
    spool->copied += unit->kind == UNIT_COPY;
    spool_row_set_state(row, &m.state);
    spool_row_place(spool, row, segment, unit->offset + r->at, r->header.octets);
}

static void commit_change(struct spool *spool, struct segment *segment, const struct unit *unit,
                          const struct unit_record *r)
{
    struct format_change c;
    const char *octets = spool->batch.scratch.data + r->scratch_at + FORMAT_RECORD_HEADER;
    bool valid = format_change_decode(slice_make(octets, r->header.octets), &c);

    assert(valid);
    spool_row_set_state(r->row, &c.state);
    spool_row_place_change(spool, r->row, segment, unit->offset + r->at, r->header.octets);
    if (r->row->pending == 0)
        spool_row_finish(spool, r->row, segment);
}

void spool_stage_commit(struct spool *spool, struct segment *segment)
{
    (void)pthread_mutex_lock(&spool->lock);
    list_each(link, &spool->batch.units)
    {
        struct unit *unit = list_entry(link, struct unit, link);
        for (unsigned i = 0; i < unit->record_count; i++) {
            struct unit_record *r = &unit->records[i];
            if (r->row != NULL)
                r->row->mark = 0;
            if (r->header.type == FORMAT_MESSAGE)
                commit_message(spool, segment, unit, r);
            else if (r->header.type == FORMAT_CHANGE)
                commit_change(spool, segment, unit, r);
        }
    }
    (void)pthread_mutex_unlock(&spool->lock);
}

void spool_stage_abort(struct spool *spool)
{
    (void)pthread_mutex_lock(&spool->lock);
    list_each(link, &spool->batch.units)
    {
        struct unit *unit = list_entry(link, struct unit, link);
        for (unsigned i = 0; i < unit->record_count; i++) {
            struct row *row = unit->records[i].row;
            if (row == NULL)
                continue;
            row->mark = 0;
            if ((row->flags & ROW_STAGED) != 0)
                spool_index_remove(&spool->index, row);
        }
    }
    (void)pthread_mutex_unlock(&spool->lock);
}
