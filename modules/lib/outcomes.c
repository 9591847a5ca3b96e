/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outcomes.c - a table of sets of four places; a hash under a secret names the set. See outcomes.h.
 *
 * The lock is held for the look at four places and a copy. Memory is asked for and given back outside of it.
 */
#include "outcomes.h"

#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define WAYS 4

struct place {
    uint64_t hash, used;
    int64_t until_ms;
    uint32_t key_len, len;
    char *octets; /* the key, then the outcome; NULL: free */
};

struct outcomes {
    pthread_mutex_t lock;
    uint8_t secret[crypto_shorthash_KEYBYTES];
    unsigned sets, ways; /* ways: below WAYS where there are fewer places in all */
    uint64_t clock;
    struct place *places;
};

/* ---- until when ---- */

int64_t outcomes_now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void outcome_until(int64_t *until_ms, const struct tern_dns_answer *answer)
{
    int64_t end_ms = OUTCOME_NOT_KEPT;

    if (answer->status != TERN_FAILED && answer->ttl_s > 0)
        end_ms = outcomes_now_ms() + (int64_t)answer->ttl_s * 1000;
    if (end_ms < *until_ms)
        *until_ms = end_ms;
}

/* ---- life ---- */

struct outcomes *outcomes_new(void)
{
    struct outcomes *o = sodium_init() >= 0 ? calloc(1, sizeof(*o)) : NULL;

    if (o == NULL)
        return NULL;
    pthread_mutex_init(&o->lock, NULL);
    crypto_shorthash_keygen(o->secret);
    return o;
}

static void free_places(struct place *places, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(places[i].octets);
    free(places);
}

void outcomes_free(struct outcomes *o)
{
    if (o == NULL)
        return;
    free_places(o->places, (size_t)o->sets * o->ways);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

bool outcomes_reserve(struct outcomes *o, unsigned entries)
{
    if (entries > OUTCOMES_ENTRIES_MAX)
        entries = OUTCOMES_ENTRIES_MAX;
    unsigned ways = entries < WAYS ? entries : WAYS, sets = ways > 0 ? (entries + ways - 1) / ways : 0;

    pthread_mutex_lock(&o->lock);
    size_t now = (size_t)o->sets * o->ways, wanted = (size_t)sets * ways;
    struct place *old = o->places, *places = wanted > now ? calloc(wanted, sizeof(*places)) : NULL;
    if (places != NULL) {
        o->places = places;
        o->sets = sets;
        o->ways = ways;
    }
    pthread_mutex_unlock(&o->lock);
    if (places != NULL)
        free_places(old, now);
    return places != NULL || wanted <= now;
}

uint64_t outcomes_realm(void)
{
    static _Atomic uint64_t last;

    return atomic_fetch_add(&last, 1) + 1;
}

/* ---- finding and putting ---- */

static uint64_t hash_of(const struct outcomes *o, tern_str key)
{
    uint64_t hash;

    _Static_assert(sizeof(hash) == crypto_shorthash_BYTES, "a hash is one word");
    (void)crypto_shorthash((uint8_t *)&hash, (const uint8_t *)key.ptr, key.len, o->secret);
    return hash;
}

/* Caller holds the lock. NULL: there is no room at all. */
static struct place *set_of(const struct outcomes *o, uint64_t hash)
{
    return o->sets > 0 ? &o->places[(size_t)(hash % o->sets) * o->ways] : NULL;
}

static bool holds(const struct place *p, uint64_t hash, tern_str key)
{
    return p->octets != NULL && p->hash == hash && p->key_len == key.len && memcmp(p->octets, key.ptr, key.len) == 0;
}

bool outcomes_find(struct outcomes *o, tern_str key, int64_t now_ms, void *(*alloc)(void *arg, size_t octets),
                   void *arg, tern_str *ret)
{
    uint64_t hash = hash_of(o, key);
    char *copy = NULL;

    pthread_mutex_lock(&o->lock);
    struct place *set = set_of(o, hash);
    for (unsigned i = 0; i < o->ways; i++) {
        struct place *p = &set[i];
        if (!holds(p, hash, key))
            continue;
        if (now_ms < p->until_ms && (copy = alloc(arg, p->len + 1)) != NULL) {
            memcpy(copy, p->octets + p->key_len, p->len);
            *ret = (tern_str){ copy, p->len };
            p->used = ++o->clock;
        }
        break;
    }
    pthread_mutex_unlock(&o->lock);
    return copy != NULL;
}

/* The one with that key, else one that is free or over, else the one used longest ago. */
static struct place *choose(struct place *set, unsigned ways, uint64_t hash, tern_str key, int64_t now_ms)
{
    struct place *best = &set[0];

    for (unsigned i = 0; i < ways; i++) {
        if (holds(&set[i], hash, key))
            return &set[i];
        if (set[i].octets == NULL || set[i].until_ms <= now_ms)
            set[i].used = 0;
        if (set[i].used < best->used)
            best = &set[i];
    }
    return best;
}

void outcomes_put(struct outcomes *o, tern_str key, int64_t now_ms, int64_t until_ms, tern_str outcome)
{
    uint64_t hash = hash_of(o, key);
    char *octets = NULL;

    if (until_ms == OUTCOME_ASKED_NOBODY || until_ms <= now_ms || key.len + outcome.len > OUTCOME_OCTETS_MAX ||
        (octets = malloc(key.len + outcome.len + 1)) == NULL)
        return;
    memcpy(octets, key.ptr, key.len);
    memcpy(octets + key.len, outcome.ptr, outcome.len);
    pthread_mutex_lock(&o->lock);
    struct place *set = set_of(o, hash);
    if (set != NULL) {
        struct place *p = choose(set, o->ways, hash, key, now_ms);
        char *old = p->octets;
        *p = (struct place){ .hash = hash, .used = ++o->clock, .until_ms = until_ms, .key_len = (uint32_t)key.len,
                             .len = (uint32_t)outcome.len, .octets = octets };
        octets = old;
    }
    pthread_mutex_unlock(&o->lock);
    free(octets);
}
