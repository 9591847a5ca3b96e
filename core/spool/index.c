/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.c - a row of a good hundred octets for every live message; what is longer (states of
 * many recipients, bodies in files, older copies) hangs on `extra`, which most have not.
 *
 * Rows live in slabs and are chained by number, so a million of them cost no million
 * mallocs. Keys are ours, not a client's, so a multiplication is hash enough.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "spool/internal.h"

#define SLAB_ROWS  1024u
#define HEADS_MIN  1024u
#define OVERHEAD   128 /* octets of headers that a record costs beyond its payload, about */

void spool_index_init(struct index *index)
{
    *index = (struct index){ .used = 0, .head_count = HEADS_MIN };
    index->heads = mem_zalloc(HEADS_MIN * sizeof(index->heads[0]));
}

static void free_extra(struct row *row)
{
    if (row->extra == NULL)
        return;
    free(row->extra->states);
    free(row->extra->moved);
    free(row->extra);
    row->extra = NULL;
}

void spool_index_free(struct index *index)
{
    for (uint32_t i = 1; i <= index->used; i++) {
        struct row *row = spool_index_at(index, i);
        if (row != NULL)
            free_extra(row);
    }
    for (uint32_t i = 0; i < index->slab_count; i++)
        free(index->slabs[i]);
    free(index->slabs);
    free(index->heads);
    *index = (struct index){ 0 };
}

static struct row *row_number(const struct index *index, uint32_t n)
{
    return &index->slabs[(n - 1) / SLAB_ROWS][(n - 1) % SLAB_ROWS];
}

struct row *spool_index_at(const struct index *index, uint32_t n)
{
    struct row *row = row_number(index, n);

    return row->key.group != 0 ? row : NULL;
}

static uint32_t head_of(const struct index *index, struct spool_key key)
{
    uint64_t hash = (key.txn + (uint64_t)key.group * 0x632be59bd9b4e019ull) * 0x9e3779b97f4a7c15ull;

    return (uint32_t)(hash >> 32) & (index->head_count - 1);
}

struct row *spool_index_find(const struct index *index, struct spool_key key)
{
    for (uint32_t n = index->heads[head_of(index, key)]; n != 0;) {
        struct row *row = row_number(index, n);
        if (row->key.txn == key.txn && row->key.group == key.group)
            return row;
        n = row->next;
    }
    return NULL;
}

static void grow_heads(struct index *index)
{
    free(index->heads);
    index->head_count *= 2;
    index->heads = mem_zalloc(index->head_count * sizeof(index->heads[0]));
    for (uint32_t n = 1; n <= index->used; n++) {
        struct row *row = spool_index_at(index, n);
        if (row == NULL)
            continue;
        uint32_t head = head_of(index, row->key);
        row->next = index->heads[head];
        index->heads[head] = n;
    }
}

static uint32_t new_number(struct index *index)
{
    uint32_t n = index->free_first;

    if (n != 0) {
        index->free_first = row_number(index, n)->next;
        return n;
    }
    if (index->used == index->slab_count * SLAB_ROWS) {
        index->slabs = mem_realloc(index->slabs, (index->slab_count + 1) * sizeof(index->slabs[0]));
        index->slabs[index->slab_count++] = mem_zalloc(SLAB_ROWS * sizeof(struct row));
    }
    return ++index->used;
}

struct row *spool_index_add(struct index *index, struct spool_key key)
{
    assert(key.group != 0);
    if (index->count >= index->head_count)
        grow_heads(index);
    uint32_t n = new_number(index), head = head_of(index, key);
    struct row *row = row_number(index, n);
    *row = (struct row){ .key = key, .next = index->heads[head] };
    index->heads[head] = n;
    index->count++;
    return row;
}

void spool_index_remove(struct index *index, struct row *row)
{
    uint32_t *at = &index->heads[head_of(index, row->key)];

    while (row_number(index, *at) != row)
        at = &row_number(index, *at)->next;
    uint32_t n = *at;
    *at = row->next;
    free_extra(row);
    *row = (struct row){ .next = index->free_first };
    index->free_first = n;
    index->count--;
}

/* ---- one row ---- */

const uint8_t *spool_row_states(const struct row *row)
{
    return row->rcpt_count > ROW_STATES_INLINE ? row->extra->states : row->states;
}

struct row_extra *spool_row_extra(struct row *row)
{
    if (row->extra == NULL)
        row->extra = mem_zalloc(sizeof(*row->extra));
    return row->extra;
}

/* rcpt_count is set before. */
void spool_row_set_state(struct row *row, const struct format_state *state)
{
    uint32_t octets = format_states_octets(row->rcpt_count);
    uint8_t *states = row->states;

    if (row->rcpt_count > ROW_STATES_INLINE) {
        struct row_extra *extra = spool_row_extra(row);
        if (extra->states == NULL)
            extra->states = mem_alloc(octets);
        states = extra->states;
    }
    memset(states, 0, octets);
    if (state->states.len > 0)
        memcpy(states, state->states.ptr, octets);
    row->version = state->version;
    row->attempts = state->attempts;
    row->pending = state->pending;
    row->due_ms = state->due_ms;
    row->flags = (uint16_t)((row->flags & ~(ROW_HELD | ROW_OPERATOR)) | (state->held ? ROW_HELD : 0) |
                            (state->operator_held ? ROW_OPERATOR : 0));
}

void spool_row_entry(const struct row *row, struct spool_entry *ret)
{
    *ret = (struct spool_entry){
        .key = row->key,
        .arrival_ms = row->arrival_ms,
        .due_ms = row->due_ms,
        .octets = row->octets,
        .attempts = row->attempts,
        .rcpt_count = row->rcpt_count,
        .pending_count = row->pending,
        .held = (row->flags & ROW_HELD) != 0,
        .operator_held = (row->flags & ROW_OPERATOR) != 0,
        .bounce = (row->flags & ROW_BOUNCE) != 0,
    };
}

static uint64_t snapshot_cost(const struct row *row)
{
    return row->snap_octets + OVERHEAD + ((row->flags & ROW_BIG) != 0 ? 0 : row->octets);
}

static void count_live(struct spool *spool, uint32_t seq, uint64_t octets, int by)
{
    struct segment *segment = seq != 0 ? spool_segment_find(spool, seq) : NULL;

    if (segment == NULL)
        return;
    if (by > 0) {
        segment->live++;
        segment->live_octets += octets;
        spool->live_octets += octets;
        return;
    }
    assert(segment->live > 0 && segment->live_octets >= octets);
    segment->live--;
    segment->live_octets -= octets;
    spool->live_octets -= octets;
    if (segment->live == 0)
        atomic_store(&spool->maker_due, true);
}

static void forget_change(struct spool *spool, struct row *row)
{
    count_live(spool, row->change_seq, row->change_octets + OVERHEAD, -1);
    row->change_seq = 0;
}

void spool_row_place(struct spool *spool, struct row *row, struct segment *segment, uint64_t offset, uint64_t octets)
{
    if (row->snap_seq != 0) {
        count_live(spool, row->snap_seq, snapshot_cost(row), -1);
        if (row->snap_seq != segment->seq)
            spool_row_moved(row, spool, row->snap_seq);
    }
    forget_change(spool, row);
    row->snap_seq = segment->seq;
    row->snap_offset = (uint32_t)offset;
    row->snap_octets = (uint32_t)octets;
    count_live(spool, row->snap_seq, snapshot_cost(row), 1);
}

void spool_row_place_change(struct spool *spool, struct row *row, struct segment *segment, uint64_t offset,
                            uint64_t octets)
{
    forget_change(spool, row);
    row->change_seq = segment->seq;
    row->change_offset = (uint32_t)offset;
    row->change_octets = (uint32_t)octets;
    count_live(spool, row->change_seq, row->change_octets + OVERHEAD, 1);
}

void spool_row_unplace(struct spool *spool, struct row *row)
{
    if (row->snap_seq != 0)
        count_live(spool, row->snap_seq, snapshot_cost(row), -1);
    row->snap_seq = 0;
    forget_change(spool, row);
}

void spool_row_moved(struct row *row, struct spool *spool, uint32_t seq)
{
    struct row_extra *extra = spool_row_extra(row);
    unsigned kept = 0;

    /* Those that are gone meanwhile make room, so the list is as long as there are copies. */
    for (unsigned i = 0; i < extra->moved_count; i++)
        if (extra->moved[i] != seq && spool_segment_find(spool, extra->moved[i]) != NULL)
            extra->moved[kept++] = extra->moved[i];
    extra->moved = mem_realloc(extra->moved, (kept + 1) * sizeof(extra->moved[0]));
    extra->moved[kept] = seq;
    extra->moved_count = kept + 1;
}

void spool_row_finish(struct spool *spool, struct row *row, struct segment *outcome)
{
    struct segment *holder = spool_segment_find(spool, row->snap_seq);

    if (holder != NULL)
        spool_segment_pin(holder, outcome);
    for (unsigned i = 0; row->extra != NULL && i < row->extra->moved_count; i++) {
        holder = spool_segment_find(spool, row->extra->moved[i]);
        if (holder != NULL)
            spool_segment_pin(holder, outcome);
    }
    spool_row_unplace(spool, row);
    if (row->extra != NULL && row->extra->body != NULL)
        spool_big_unref(spool, row->extra->body);
    spool_index_remove(&spool->index, row);
}

/* ---- bodies in files ---- */

static struct slice key_slice(const struct spool_key *key, char text[SPOOL_ID_TEXT_MAX])
{
    spool_key_print(*key, text);
    return slice_cstr(text);
}

struct big_body *spool_big_ref(struct spool *spool, struct spool_key key)
{
    char text[SPOOL_ID_TEXT_MAX];
    struct slice name = key_slice(&key, text);
    struct big_body *body = table_get(&spool->bigs, name);

    if (body == NULL) {
        body = mem_zalloc(sizeof(*body));
        body->key = key;
        (void)table_put(&spool->bigs, name, body);
    }
    body->refs++;
    return body;
}

void spool_big_unref(struct spool *spool, struct big_body *body)
{
    char text[SPOOL_ID_TEXT_MAX];

    assert(body->refs > 0);
    if (--body->refs > 0)
        return;
    (void)table_remove(&spool->bigs, key_slice(&body->key, text));
    list_push(&spool->big_dead, &body->link);
    atomic_store(&spool->maker_due, true);
}
