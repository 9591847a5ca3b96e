/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_cache.c - a table of sets of four places; a hash names its set. No lists, no allocation after the
 * start: what an attacker can do is push others out, which costs them a hash.
 */
#include "auth_cache.h"

#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define WAYS          4
#define DIGEST_OCTETS 32

struct place {
    uint8_t digest[DIGEST_OCTETS];
    int64_t expires_s; /* 0: free */
    char login[AUTH_CACHE_LOGIN_OCTETS + 1];
};

struct auth_cache {
    pthread_mutex_t lock;
    uint8_t key[crypto_generichash_KEYBYTES];
    unsigned sets; /* a power of two */
    struct place places[];
};

struct auth_cache *auth_cache_new(unsigned entries)
{
    unsigned sets = 1;

    if (entries > AUTH_CACHE_ENTRIES_MAX)
        entries = AUTH_CACHE_ENTRIES_MAX;
    while (sets * WAYS < entries)
        sets *= 2;
    struct auth_cache *cache = calloc(1, sizeof(*cache) + (size_t)sets * WAYS * sizeof(cache->places[0]));
    if (cache == NULL)
        return NULL;
    pthread_mutex_init(&cache->lock, NULL);
    randombytes_buf(cache->key, sizeof(cache->key));
    cache->sets = sets;
    return cache;
}

void auth_cache_free(struct auth_cache *cache)
{
    if (cache == NULL)
        return;
    sodium_memzero(cache->key, sizeof(cache->key));
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

uint64_t auth_cache_realm(void)
{
    static _Atomic uint64_t last;

    return atomic_fetch_add(&last, 1) + 1;
}

/* The length before each part: "ab" and "c" are not "a" and "bc". */
static void add(crypto_generichash_state *state, tern_str part)
{
    uint64_t len = part.len;

    (void)crypto_generichash_update(state, (const uint8_t *)&len, sizeof(len));
    (void)crypto_generichash_update(state, (const uint8_t *)part.ptr, part.len);
}

static void digest_of(const struct auth_cache *cache, const struct auth_cache_key *key, uint8_t ret[DIGEST_OCTETS])
{
    crypto_generichash_state state;

    (void)crypto_generichash_init(&state, cache->key, sizeof(cache->key), DIGEST_OCTETS);
    (void)crypto_generichash_update(&state, (const uint8_t *)&key->realm, sizeof(key->realm));
    add(&state, key->user);
    add(&state, key->password);
    add(&state, key->entry);
    (void)crypto_generichash_final(&state, ret, DIGEST_OCTETS);
    sodium_memzero(&state, sizeof(state));
}

static struct place *set_of(struct auth_cache *cache, const uint8_t *digest)
{
    uint32_t n;

    memcpy(&n, digest, sizeof(n));
    return &cache->places[(size_t)(n & (cache->sets - 1)) * WAYS];
}

bool auth_cache_find(struct auth_cache *cache, const struct auth_cache_key *key, int64_t now_s,
                     char ret_login[AUTH_CACHE_LOGIN_OCTETS + 1])
{
    uint8_t digest[DIGEST_OCTETS];
    bool found = false;

    digest_of(cache, key, digest);
    pthread_mutex_lock(&cache->lock);
    struct place *set = set_of(cache, digest);
    for (unsigned i = 0; i < WAYS && !found; i++) {
        found = set[i].expires_s > now_s && sodium_memcmp(set[i].digest, digest, DIGEST_OCTETS) == 0;
        if (found)
            memcpy(ret_login, set[i].login, sizeof(set[i].login));
    }
    pthread_mutex_unlock(&cache->lock);
    return found;
}

void auth_cache_put(struct auth_cache *cache, const struct auth_cache_key *key, int64_t now_s, uint64_t ttl_s,
                    tern_str login)
{
    uint8_t digest[DIGEST_OCTETS];

    if (ttl_s == 0 || login.len > AUTH_CACHE_LOGIN_OCTETS)
        return;
    digest_of(cache, key, digest);
    pthread_mutex_lock(&cache->lock);
    struct place *set = set_of(cache, digest), *best = set;
    for (unsigned i = 0; i < WAYS; i++) {
        if (memcmp(set[i].digest, digest, DIGEST_OCTETS) == 0) {
            best = &set[i];
            break;
        }
        if (set[i].expires_s < best->expires_s)
            best = &set[i];
    }
    memcpy(best->digest, digest, DIGEST_OCTETS);
    best->expires_s = now_s + (int64_t)ttl_s;
    if (login.len > 0)
        memcpy(best->login, login.ptr, login.len);
    best->login[login.len] = '\0';
    pthread_mutex_unlock(&cache->lock);
}

void auth_cache_clear(struct auth_cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    sodium_memzero(cache->places, (size_t)cache->sets * WAYS * sizeof(cache->places[0]));
    pthread_mutex_unlock(&cache->lock);
}
