/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.c - one blob of entries, an index beside it, and the count that keeps them alive.
 *
 * An entry is two lengths, key, value, NUL; the index is open addressing over 8-octet slots
 * at most 3/4 full, so a row costs its text and 17 octets. 32 bits of the hash stand in
 * the slot, so that a probe touches the blob only where the key is.
 *
 * Taking a reference is where a pointer and a count must change in one step: between
 * reading the pointer and counting, the writer could free. So the place holds both in one
 * word, the number of the snapshot (16 bits) and how often it was taken from here (48
 * bits: at a million look-ups a second nine years). A reader adds one to the word and
 * knows what it took; when it lets go it subtracts from the snapshot's own count, which is
 * thus below zero while published. The writer exchanges the word and adds what it found to
 * that count: whoever brings it to zero after that frees. Numbers, not pointers, because
 * no standard says how many bits of a pointer are spare.
 */
#include "state/snapshot.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/table.h"
#include "state/tables.h"

#define PUBLISHED_MAX 65536
#define COUNT_BITS    48
#define COUNT_MASK    ((UINT64_C(1) << COUNT_BITS) - 1)

struct header {
    uint16_t key_octets, value_octets;
};

struct slot {
    uint32_t tag;
    uint32_t at; /* offset of the entry + 1; 0: free */
};

struct snapshot {
    _Atomic int64_t count_released; /* see above */
    unsigned number;                /* in published[]; 0: not published */
    size_t count;
    uint32_t slot_count;
    char *entries;
    struct slot *slots;
};

static struct snapshot *published[PUBLISHED_MAX]; /* 0 stays empty */
static unsigned published_last;
static pthread_mutex_t published_lock =
    PTHREAD_MUTEX_INITIALIZER; /* for numbers, not for readers */

/* ---- building ----------------------------------------------------------------- */

int snapshot_add(struct snapshot_build *build, struct slice key, struct slice value)
{
    struct header h = { (uint16_t)key.len, (uint16_t)value.len };
    size_t octets = sizeof(h) + key.len + value.len + 1;

    if (key.len == 0 || key.len > SNAPSHOT_KEY_OCTETS_MAX || value.len > SNAPSHOT_VALUE_OCTETS_MAX)
        return -EINVAL;
    if (build->count >= TABLE_ENTRIES_MAX || build->entries.len + octets > SNAPSHOT_OCTETS_MAX)
        return -ENOSPC;
    char *p = buf_reserve(&build->entries, octets);
    memcpy(p, &h, sizeof(h));
    p += sizeof(h);
    for (size_t i = 0; i < key.len; i++)
        p[i] = ascii_lower(key.ptr[i]);
    if (value.len > 0)
        memcpy(p + key.len, value.ptr, value.len);
    p[key.len + value.len] = '\0';
    build->entries.len += octets;
    build->count++;
    return 0;
}

void snapshot_drop(struct snapshot_build *build)
{
    buf_free(&build->entries);
    build->count = 0;
}

static struct slice entry_key(const struct snapshot *s, uint32_t at, tern_str *ret_value)
{
    struct header h;
    const char *p = s->entries + at;

    memcpy(&h, p, sizeof(h));
    p += sizeof(h);
    *ret_value = (tern_str){ p + h.key_octets, h.value_octets };
    return slice_make(p, h.key_octets);
}

/* The slot of the key, or the free one where it would stand. There is always a free one. */
static struct slot *find_slot(const struct snapshot *s, struct slice key, uint64_t hash)
{
    uint32_t tag = (uint32_t)hash;
    uint32_t i = (uint32_t)(((hash >> 32) * s->slot_count) >> 32);
    tern_str value;

    for (;; i = i + 1 < s->slot_count ? i + 1 : 0) {
        struct slot *slot = &s->slots[i];
        if (slot->at == 0 ||
            (slot->tag == tag && slice_equal(entry_key(s, slot->at - 1, &value), key)))
            return slot;
    }
}

struct snapshot *snapshot_finish(struct snapshot_build *build)
{
    struct snapshot *s = mem_zalloc(sizeof(*s));
    size_t octets = build->entries.len;

    build->twice = 0;
    s->slot_count = (uint32_t)(build->count + build->count / 3 + 1);
    s->slots = mem_zalloc(s->slot_count * sizeof(s->slots[0]));
    s->entries = mem_realloc(build->entries.data, octets > 0 ? octets : 1);
    for (size_t at = 0; at < octets;) {
        tern_str value;
        struct slice key = entry_key(s, (uint32_t)at, &value);
        uint64_t hash = table_hash(key);
        struct slot *slot = find_slot(s, key, hash);
        if (slot->at == 0) {
            *slot = (struct slot){ (uint32_t)hash, (uint32_t)at + 1 };
            s->count++;
        } else {
            build->twice++;
        }
        at += sizeof(struct header) + key.len + value.len + 1;
    }
    build->entries = (struct buf)BUF_INIT;
    build->count = 0;
    return s;
}

void snapshot_free(struct snapshot *s)
{
    if (s == NULL)
        return;
    free(s->slots);
    free(s->entries);
    free(s);
}

/* ---- looking up ----------------------------------------------------------------- */

size_t snapshot_count(const struct snapshot *s)
{
    return s->count;
}

bool snapshot_fold(struct slice key, char folded[SNAPSHOT_KEY_OCTETS_MAX], struct slice *ret)
{
    if (key.len == 0 || key.len > SNAPSHOT_KEY_OCTETS_MAX)
        return false;
    for (size_t i = 0; i < key.len; i++)
        folded[i] = ascii_lower(key.ptr[i]);
    *ret = slice_make(folded, key.len);
    return true;
}

bool snapshot_find(const struct snapshot *s, struct slice folded, tern_str *ret)
{
    const struct slot *slot = find_slot(s, folded, table_hash(folded));

    if (slot->at == 0)
        return false;
    (void)entry_key(s, slot->at - 1, ret);
    return true;
}

/* ---- counting -------------------------------------------------------------------- */

static bool set_number(struct snapshot *s)
{
    (void)pthread_mutex_lock(&published_lock);
    for (unsigned tries = 1; tries < PUBLISHED_MAX && s->number == 0; tries++) {
        published_last = published_last + 1 < PUBLISHED_MAX ? published_last + 1 : 1;
        if (published[published_last] != NULL)
            continue;
        s->number = published_last;
        published[s->number] = s;
    }
    (void)pthread_mutex_unlock(&published_lock);
    return s->number != 0;
}

static void free_published(struct snapshot *s)
{
    (void)pthread_mutex_lock(&published_lock);
    published[s->number] = NULL;
    (void)pthread_mutex_unlock(&published_lock);
    snapshot_free(s);
}

int snapshot_publish(struct snapshot_place *place, struct snapshot *s)
{
    if (s != NULL && !set_number(s))
        return -ENOSPC;
    uint64_t word = s != NULL ? (uint64_t)s->number << COUNT_BITS : 0;
    uint64_t before = atomic_exchange_explicit(&place->word, word, memory_order_acq_rel);
    struct snapshot *old = published[before >> COUNT_BITS];
    if (old == NULL)
        return 0;
    int64_t taken = (int64_t)(before & COUNT_MASK);
    if (atomic_fetch_add_explicit(&old->count_released, taken, memory_order_acq_rel) + taken == 0)
        free_published(old);
    return 0;
}

struct snapshot *snapshot_take(struct snapshot_place *place)
{
    uint64_t word = atomic_fetch_add_explicit(&place->word, 1, memory_order_acq_rel);
    return published[word >> COUNT_BITS];
}

void snapshot_release(struct snapshot *s)
{
    if (s == NULL)
        return;
    if (atomic_fetch_sub_explicit(&s->count_released, 1, memory_order_acq_rel) - 1 == 0)
        free_published(s);
}
