/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_cache.h - remembers for a while who logged in with what, so that a client which opens ten
 * sessions costs one hash, or one question to a backend.
 *
 * Success only: a wrong password is never remembered, and never cheaper than the first time. What is kept is
 * a hash under a random key that lives with the process, never a password. Whatever is part of the
 * truth goes into the key: the step's options (see auth_cache_realm) and, where the module knows it, the
 * stored entry, so that a changed one does not fit any more. Bounded; any thread.
 */
#ifndef MODULES_LIB_AUTH_CACHE_H
#define MODULES_LIB_AUTH_CACHE_H

#include <tern/module.h>

#define AUTH_CACHE_ENTRIES_DEFAULT 4096
#define AUTH_CACHE_ENTRIES_MAX     (1u << 20)
#define AUTH_CACHE_LOGIN_OCTETS    320 /* a user name with its domain; longer ones are not cached */

struct auth_cache;

/* Who asks, as what, with what. `entry` may be empty. Borrowed during the call. */
struct auth_cache_key {
    uint64_t realm;
    tern_str user, password, entry;
};

/* NULL without memory. entries: 1 to AUTH_CACHE_ENTRIES_MAX, rounded up to a power of two. */
struct auth_cache *auth_cache_new(unsigned entries);
void auth_cache_free(struct auth_cache *cache);

/* A number that no step had before: drawn in check(), so that a reload begins with an empty cache. */
uint64_t auth_cache_realm(void);

/* True if it was put in and has not expired; the login name (see auth_login()) is copied to ret_login. */
bool auth_cache_find(struct auth_cache *cache, const struct auth_cache_key *key, int64_t now_s,
                     char ret_login[AUTH_CACHE_LOGIN_OCTETS + 1]);
/* ttl_s 0: nothing is kept. When its place is taken, what expires first goes. */
void auth_cache_put(struct auth_cache *cache, const struct auth_cache_key *key, int64_t now_s, uint64_t ttl_s,
                    tern_str login);
/* Forgets everything. */
void auth_cache_clear(struct auth_cache *cache);

#endif
