/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows.h - every live message as a row of fixed size: found by key, ordered by due time.
 *
 * A row is named by a number of 4 octets, so that a million of them with both indices cost
 * about 100 octets each. Pure memory, one thread.
 */
#ifndef TERN_QUEUE_ROWS_H
#define TERN_QUEUE_ROWS_H

#include "spool/spool.h"

#define ROW_NONE UINT32_MAX

struct site;

enum row_state {
    ROW_FREE,
    ROW_HELD,      /* in the heap, due when its hold expires */
    ROW_SCHEDULED, /* in the heap */
    ROW_PREPARING, /* with a loop, that routes it */
    ROW_ACTIVE,    /* its parcels were handed in; the outcome will come */
};

struct row {
    uint64_t txn;
    uint64_t due_ms;     /* the plan's clock */
    uint64_t arrival_ms; /* wall */
    uint64_t octets;
    union {
        struct site *site; /* where it waits to be woken, if parked */
        uint64_t held_ms;  /* wall; since when, if held or `over` */
    };
    uint32_t attempts, rcpt_count, pending_count;
    uint32_t heap_at;   /* its place in the heap */
    uint32_t hash_next; /* free rows: the next free one */
    uint32_t parked_prev, parked_next;
    uint16_t group;
    uint8_t state; /* enum row_state */
    bool bounce : 1;
    bool parked : 1;  /* in the list of `site` */
    bool woken : 1;   /* due at once when its attempt ends */
    bool hold : 1;    /* becomes HELD when its attempt ends */
    bool removed : 1; /* goes when its attempt ends */
    bool over : 1;    /* its attempt is the end of its hold */
    bool released : 1; /* by an operator, during its attempt */
};
_Static_assert(sizeof(struct row) <= 96,
               "a row stays small: 100,000 of them are an everyday queue");

#define ROWS_CHUNK 1024

struct rows {
    struct row **chunks;
    uint32_t chunk_count, chunk_size;
    uint32_t used;      /* rows ever handed out */
    uint32_t free_head; /* rows given back */
    uint32_t count;
    uint32_t *buckets;
    uint32_t bucket_count; /* a power of two, or 0 */
    uint32_t *heap;
    uint32_t heap_count, heap_size;
};

void queue_rows_init(struct rows *rows);
void queue_rows_fini(struct rows *rows);
static inline struct row *queue_row(const struct rows *rows, uint32_t at)
{
    return &rows->chunks[at / ROWS_CHUNK][at % ROWS_CHUNK];
}
uint32_t queue_rows_find(const struct rows *rows, struct spool_key key); /* ROW_NONE if absent */
/* A zeroed row of that key, not in the heap. The key is not there yet. */
uint32_t queue_rows_add(struct rows *rows, struct spool_key key);
void queue_rows_remove(struct rows *rows, uint32_t at); /* out of the heap, too */
uint64_t queue_rows_octets(const struct rows *rows);

/* The heap: earliest due first, then the earlier key. */
void queue_heap_put(struct rows *rows, uint32_t at); /* or moves it after a change of due_ms */
void queue_heap_take(struct rows *rows, uint32_t at);
uint32_t queue_heap_first(const struct rows *rows); /* ROW_NONE if empty */

static inline struct spool_key queue_row_key(const struct row *row)
{
    return (struct spool_key){ row->txn, row->group };
}
int queue_key_compare(struct spool_key a, struct spool_key b);

#endif
