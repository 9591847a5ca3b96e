/* SPDX-License-Identifier: Apache-2.0 */
/*
 * id.c - queue ids: 40 bits of milliseconds since 2026-01-01, 8 of node, 16 of counter.
 *
 * An id is never drawn twice, whatever the clock does: within the process by one atomic,
 * over restarts by the ceiling that every batch carries (docs/queue.md rule 12).
 */
#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "spool/internal.h"

#define EPOCH_MS 1767225600000ull /* 2026-01-01 UTC */
#define TEXT_LEN 13

static const char digits[33] = "0123456789abcdefghjkmnpqrstvwxyz"; /* Crockford */

void spool_key_print(struct spool_key key, char out[SPOOL_ID_TEXT_MAX])
{
    for (int i = 0; i < TEXT_LEN; i++)
        out[i] = digits[(key.txn >> (5 * (TEXT_LEN - 1 - i))) & 31];
    out[TEXT_LEN] = '\0';
    if (key.group > 1)
        (void)snprintf(out + TEXT_LEN, SPOOL_ID_TEXT_MAX - TEXT_LEN, ".%u", key.group);
}

static int digit_value(char c)
{
    const char *at = c != '\0' ? strchr(digits, ascii_lower(c)) : NULL;

    return at != NULL ? (int)(at - digits) : -1;
}

bool spool_key_parse(struct slice text, struct spool_key *ret)
{
    struct spool_key key = { 0, 1 };
    uint64_t group;

    if (text.len < TEXT_LEN || digit_value(text.ptr[0]) > 15)
        return false;
    for (int i = 0; i < TEXT_LEN; i++) {
        int v = digit_value(text.ptr[i]);
        if (v < 0)
            return false;
        key.txn = key.txn << 5 | (unsigned)v;
    }
    struct slice rest = slice_from(text, TEXT_LEN);
    if (rest.len > 0) {
        /* One spelling only: no ".1", no leading zero. */
        if (rest.len < 2 || rest.ptr[0] != '.' || rest.ptr[1] == '0' || !slice_to_u64(slice_from(rest, 1), &group) ||
            group < 2 || group > UINT16_MAX)
            return false;
        key.group = (uint16_t)group;
    }
    *ret = key;
    return true;
}

uint64_t spool_key_wall_ms(struct spool_key key)
{
    return EPOCH_MS + (key.txn >> 24);
}

/* The smallest id above `last` that is not before `now_ms`. */
static uint64_t id_after(uint64_t last, uint64_t now_ms, unsigned node)
{
    uint64_t ms = last >> 24, counter = (last & 0xffff) + 1;

    if (now_ms > ms) {
        ms = now_ms;
        counter = 0;
    } else if (counter > 0xffff) {
        ms++;
        counter = 0;
    }
    return (ms & ((1ull << 40) - 1)) << 24 | (uint64_t)(node & 0xff) << 16 | counter;
}

static uint64_t now_since_epoch(void)
{
    uint64_t wall = clock_wall_ms();

    return wall > EPOCH_MS ? wall - EPOCH_MS : 0;
}

uint64_t spool_id_draw(_Atomic uint64_t *last_id, unsigned node)
{
    uint64_t now_ms = now_since_epoch();
    uint64_t last = atomic_load_explicit(last_id, memory_order_relaxed), id;

    do
        id = id_after(last, now_ms, node);
    while (!atomic_compare_exchange_weak(last_id, &last, id));
    return id;
}

uint64_t spool_id_new(struct spool *spool)
{
    return spool_id_draw(&spool->last_id, spool->node);
}

void spool_key_raise(struct spool *spool, uint64_t txn)
{
    if (txn > atomic_load(&spool->last_id))
        atomic_store(&spool->last_id, txn);
}

uint64_t spool_id_ceiling(struct spool *spool)
{
    uint64_t last = atomic_load(&spool->last_id), now = now_since_epoch() << 24;

    if (atomic_load(&spool->closing))
        return last;
    return (last > now ? last : now) + ((uint64_t)ID_RESERVE_MS << 24);
}
