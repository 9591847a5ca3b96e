/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_entry.h - from a stored password that a backend found to the answer of an auth step: verify and lookup,
 * what is remembered, and what an unknown user costs. Shared by auth_sql and auth_ldap. Pool threads.
 */
#ifndef TERN_LIB_AUTH_ENTRY_H
#define TERN_LIB_AUTH_ENTRY_H

#include <tern/module.h>

#include <lib/auth_cache.h>
#include <lib/password.h>

/* Of a module: made by init(). */
struct auth_entries {
    const struct tern_api *tern;
    struct auth_cache *cache;
    struct password_decoy decoy;
};

/* Of a step. */
struct auth_entry_conf {
    tern_str domain;
    struct tern_list mechanisms;
    uint64_t cache_s;
    uint64_t realm; /* drawn by check() */
};

/* What the backend found. */
struct auth_entry {
    bool known;
    tern_str stored; /* ptr NULL or empty: nothing fits */
    tern_str login;  /* the session's user, or empty: as given */
};

extern const char *const auth_entry_plain[]; /* mechanisms of the verify entry */
extern const char *const auth_entry_keyed[]; /* of the lookup entry */

int auth_entries_init(struct auth_entries *entries, const struct tern_api *api);
/* Adds errors; draws the realm. */
void auth_entry_check(const struct auth_entries *entries, struct auth_entry_conf *conf, struct tern_config *config);
/* Whether `mechanisms` has it; SCRAM-SHA-256 stands for its -PLUS form, too. */
bool auth_entry_serves(const struct auth_entry_conf *conf, const char *mechanism);
/* The name as the backend knows it: with the domain, if it came without. */
tern_str auth_entry_user(const struct auth_entries *entries, tern_call *call, const struct auth_entry_conf *conf);

tern_verdict auth_entry_verify(struct auth_entries *entries, tern_call *call, const struct auth_entry_conf *conf,
                               tern_str user, const struct auth_entry *found);
tern_verdict auth_entry_lookup(struct auth_entries *entries, tern_call *call, tern_str user,
                               const struct auth_entry *found);

#endif
