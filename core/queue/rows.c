/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows.c - rows in chunks that never move, a chained hash and a 4-ary heap over their numbers.
 *
 * Chunks instead of one array: growing copies nothing, so that a million rows have no peak of
 * twice their size. The hash needs no secret: queue ids are ours, not a client's.
 */
#include "queue/rows.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

#define HEAP_ARITY 4

void queue_rows_init(struct rows *rows)
{
    *rows = (struct rows){ .free_head = ROW_NONE };
}

void queue_rows_fini(struct rows *rows)
{
    for (uint32_t i = 0; i < rows->chunk_count; i++)
        free(rows->chunks[i]);
    free(rows->chunks);
    free(rows->buckets);
    free(rows->heap);
    queue_rows_init(rows);
}

int queue_key_compare(struct spool_key a, struct spool_key b)
{
    if (a.txn != b.txn)
        return a.txn < b.txn ? -1 : 1;
    return a.group == b.group ? 0 : a.group < b.group ? -1 : 1;
}

static uint32_t bucket_of(const struct rows *rows, struct spool_key key)
{
    uint64_t x = key.txn * 0x9e3779b97f4a7c15u + key.group;

    x = (x ^ (x >> 31)) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(x >> 32) & (rows->bucket_count - 1);
}

uint32_t queue_rows_find(const struct rows *rows, struct spool_key key)
{
    if (rows->bucket_count == 0)
        return ROW_NONE;
    uint32_t at = rows->buckets[bucket_of(rows, key)];
    while (at != ROW_NONE) {
        const struct row *row = queue_row(rows, at);
        if (row->txn == key.txn && row->group == key.group)
            break;
        at = row->hash_next;
    }
    return at;
}

static void link_bucket(struct rows *rows, uint32_t at)
{
    struct row *row = queue_row(rows, at);
    uint32_t *bucket = &rows->buckets[bucket_of(rows, queue_row_key(row))];

    row->hash_next = *bucket;
    *bucket = at;
}

static void grow_buckets(struct rows *rows)
{
    rows->bucket_count = rows->bucket_count > 0 ? rows->bucket_count * 2 : 256;
    free(rows->buckets);
    rows->buckets = mem_alloc(rows->bucket_count * sizeof(rows->buckets[0]));
    memset(rows->buckets, 0xff, rows->bucket_count * sizeof(rows->buckets[0]));
    for (uint32_t at = 0; at < rows->used; at++)
        if (queue_row(rows, at)->state != ROW_FREE)
            link_bucket(rows, at);
}

static uint32_t take_free(struct rows *rows)
{
    uint32_t at = rows->free_head;

    if (at != ROW_NONE) {
        rows->free_head = queue_row(rows, at)->hash_next;
        return at;
    }
    if (rows->used == rows->chunk_count * ROWS_CHUNK) {
        if (rows->chunk_count == rows->chunk_size) {
            rows->chunk_size = rows->chunk_size > 0 ? rows->chunk_size * 2 : 16;
            rows->chunks = mem_realloc(rows->chunks, rows->chunk_size * sizeof(rows->chunks[0]));
        }
        rows->chunks[rows->chunk_count++] = mem_zalloc(ROWS_CHUNK * sizeof(struct row));
    }
    return rows->used++;
}

uint32_t queue_rows_add(struct rows *rows, struct spool_key key)
{
    assert(rows->count < ROW_NONE - ROWS_CHUNK);
    if (rows->count >= rows->bucket_count)
        grow_buckets(rows);
    uint32_t at = take_free(rows);
    struct row *row = queue_row(rows, at);
    *row = (struct row){ .txn = key.txn,
                         .group = key.group,
                         .state = ROW_HELD,
                         .heap_at = ROW_NONE,
                         .parked_prev = ROW_NONE,
                         .parked_next = ROW_NONE };
    link_bucket(rows, at);
    rows->count++;
    return at;
}

void queue_rows_remove(struct rows *rows, uint32_t at)
{
    struct row *row = queue_row(rows, at);
    uint32_t *link = &rows->buckets[bucket_of(rows, queue_row_key(row))];

    assert(row->state != ROW_FREE && !row->parked);
    queue_heap_take(rows, at);
    while (*link != at)
        link = &queue_row(rows, *link)->hash_next;
    *link = row->hash_next;
    row->state = ROW_FREE;
    row->hash_next = rows->free_head;
    rows->free_head = at;
    rows->count--;
}

uint64_t queue_rows_octets(const struct rows *rows)
{
    return (uint64_t)rows->chunk_count * ROWS_CHUNK * sizeof(struct row) +
           (uint64_t)rows->chunk_size * sizeof(rows->chunks[0]) +
           ((uint64_t)rows->bucket_count + rows->heap_size) * sizeof(uint32_t);
}

static bool earlier(const struct rows *rows, uint32_t a, uint32_t b)
{
    const struct row *x = queue_row(rows, a), *y = queue_row(rows, b);

    if (x->due_ms != y->due_ms)
        return x->due_ms < y->due_ms;
    return queue_key_compare(queue_row_key(x), queue_row_key(y)) < 0;
}

static void put_at(struct rows *rows, uint32_t place, uint32_t at)
{
    rows->heap[place] = at;
    queue_row(rows, at)->heap_at = place;
}

static uint32_t sift_up(struct rows *rows, uint32_t place, uint32_t at)
{
    while (place > 0) {
        uint32_t parent = (place - 1) / HEAP_ARITY;
        if (!earlier(rows, at, rows->heap[parent]))
            break;
        put_at(rows, place, rows->heap[parent]);
        place = parent;
    }
    return place;
}

static uint32_t sift_down(struct rows *rows, uint32_t place, uint32_t at)
{
    for (;;) {
        uint64_t child = (uint64_t)place * HEAP_ARITY + 1;
        uint64_t end = child + HEAP_ARITY;
        uint64_t best = child;
        if (child >= rows->heap_count)
            return place;
        for (uint64_t c = child + 1; c < end && c < rows->heap_count; c++)
            if (earlier(rows, rows->heap[c], rows->heap[best]))
                best = c;
        if (!earlier(rows, rows->heap[best], at))
            return place;
        put_at(rows, place, rows->heap[best]);
        place = (uint32_t)best;
    }
}

static void settle(struct rows *rows, uint32_t place, uint32_t at)
{
    place = sift_up(rows, place, at);
    put_at(rows, sift_down(rows, place, at), at);
}

void queue_heap_put(struct rows *rows, uint32_t at)
{
    uint32_t place = queue_row(rows, at)->heap_at;

    if (place == ROW_NONE) {
        if (rows->heap_count == rows->heap_size) {
            rows->heap_size = rows->heap_size > 0 ? rows->heap_size * 2 : 256;
            rows->heap = mem_realloc(rows->heap, rows->heap_size * sizeof(rows->heap[0]));
        }
        place = rows->heap_count++;
    }
    settle(rows, place, at);
}

void queue_heap_take(struct rows *rows, uint32_t at)
{
    uint32_t place = queue_row(rows, at)->heap_at;

    if (place == ROW_NONE)
        return;
    assert(rows->heap[place] == at);
    uint32_t last = rows->heap[--rows->heap_count];
    queue_row(rows, at)->heap_at = ROW_NONE;
    if (last != at)
        settle(rows, place, last);
}

uint32_t queue_heap_first(const struct rows *rows)
{
    return rows->heap_count > 0 ? rows->heap[0] : ROW_NONE;
}
