/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_entry.h - from a stored password that a backend found to the answer of an auth step: verify and lookup,
 * what is remembered, and what an unknown user costs. Shared by auth_file, auth_sql and auth_ldap. Pool threads.
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

/* Hands out the keys that the stored entry has for the mechanism of this call. False: it has none. */
bool auth_entry_give(const struct auth_entries *entries, tern_call *call, const struct password_stored *stored);

tern_verdict auth_entry_verify(struct auth_entries *entries, tern_call *call, const struct auth_entry_conf *conf,
                               tern_str user, const struct auth_entry *found);
tern_verdict auth_entry_lookup(struct auth_entries *entries, tern_call *call, tern_str user,
                               const struct auth_entry *found);

/* The options of a step whose configuration has a `struct auth_entry_conf entry`. */
#define AUTH_ENTRY_OPTIONS(conf, mechanisms_doc, cache_default, cache_doc)                                        \
    TERN_OPTION_("domain", TERN_TYPE_STRING, conf, entry.domain, tern_str, "", 0, 0,                              \
                 "Put behind user names without @, before they are looked up."),                                  \
        TERN_OPTION_("mechanisms", TERN_TYPE_LIST, conf, entry.mechanisms, struct tern_list, "[PLAIN, LOGIN]", 1, \
                     5, mechanisms_doc),                                                                          \
        TERN_OPTION_("cache", TERN_TYPE_SECONDS, conf, entry.cache_s, uint64_t, cache_default, 0, 86400, cache_doc)

/* Its entries in hook auth. */
#define AUTH_ENTRY_HOOKS(verify, lookup, serves_)                                                                \
    { TERN_HOOK(AUTH, verify), .answers = TERN_MAY_ACCEPT | TERN_MAY_REJECT, .flags = TERN_BLOCKING,              \
      .auth_form = TERN_AUTH_VERIFY, .mechanisms = auth_entry_plain, .serves = serves_ },                         \
        { TERN_HOOK(AUTH, lookup), .answers = TERN_MAY_ACCEPT | TERN_MAY_REJECT, .flags = TERN_BLOCKING,          \
          .auth_form = TERN_AUTH_LOOKUP, .mechanisms = auth_entry_keyed, .serves = serves_ }, TERN_HOOKS_END

#endif
