/* SPDX-License-Identifier: Apache-2.0 */
/*
 * directory.h - one question to an LDAP server: a search, or whether a password is somebody's.
 *
 * What modules by LDAP share, over libldap. A connection belongs to one thread at a time. Functions
 * come back within timeout_ms, except for the resolver's time. Failures are a negative errno and a
 * sentence without secrets: -EBADMSG for an answer that is of no use, -ECONNRESET when the server is gone.
 * Referrals are not followed: they would lead a password to whom the operator did not name.
 */
#ifndef TERN_LIB_DIRECTORY_H
#define TERN_LIB_DIRECTORY_H

#include <tern/module.h>

#define DIRECTORY_VALUE_OCTETS_MAX  65535
#define DIRECTORY_ANSWER_OCTETS_MAX (1 << 20) /* of one message of the server */

enum directory_scope { DIRECTORY_SUB, DIRECTORY_ONE, DIRECTORY_BASE };

struct directory_conf {
    tern_str uri; /* ldap://host, ldaps://host, ldapi://%2Fpath */
    bool starttls;
    tern_str ca_file;
    tern_str bind_dn, bind_password; /* empty: anonymous */
    tern_str base;
    int scope;
    tern_str filter; /* a template */
};

extern const char *const directory_scope_names[];
/* The options of a struct `s` that begins with such fields under these names. */
#define DIRECTORY_OPTIONS(s, word) \
    TERN_OPTION_STRING(s, uri, NULL, \
                       "The server: ldap://host, ldaps://host, or ldapi://%2Frun%2Fslapd%2Fldapi."), \
        TERN_OPTION_BOOL(s, starttls, "false", \
                         "ldap: turn to TLS before anything is said, or fail."), \
        TERN_OPTION_PATH_READ(s, ca_file, "", \
                         "Certificates that the server's is checked against. None: the system's."), \
        TERN_OPTION_STRING(s, bind_dn, "", "Who asks. None: anonymous."), \
        TERN_OPTION_SECRET(s, bind_password, "", "The password of `bind_dn`."), \
        TERN_OPTION_STRING(s, base, "", "Where the search begins."), \
        TERN_OPTION_ENUM(s, scope, "sub", directory_scope_names, \
                         "All below the base, one level, or the base itself."), \
        TERN_OPTION_STRING(s, filter, "", \
                           "What is searched, such as (mail=%{" word "}); also %{local} and %{domain}. " \
                           "Values are escaped.")

struct directory;
struct directory_row {
    unsigned entries; /* 0, 1, or 2 for more than one */
    char *dn;         /* of the first */
    tern_str value;   /* of the attribute that was asked for; ptr NULL: it has none */
    tern_str second;  /* of the second one */
};

/* 0, or -EINVAL with a sentence about the options. `word`: what the filter calls the key; NULL: no filter. */
int directory_check(const struct directory_conf *conf, const char *word, char *error, size_t octets);
/* Connects, and says who asks. */
int directory_open(const struct directory_conf *conf, uint64_t timeout_ms, struct directory **ret, char *error,
                   size_t octets);
/*
 * Puts the filter of `conf` with this key. Attributes may be NULL. *ret is to be given to
 * directory_row_fini(), which wipes it. Nothing fits: 0 entries.
 */
int directory_search(struct directory *d, const struct directory_conf *conf, tern_str key, const char *attribute,
                     const char *second, uint64_t timeout_ms, struct directory_row *ret, char *error, size_t octets);
void directory_row_fini(struct directory_row *row);
/*
 * Whether the password is that of `dn`: 1, 0, or negative. Takes a connection of its own: a bind changes who asks.
 * An empty password is 0 without asking: servers take it for an anonymous bind, which succeeds (RFC 4513 5.1.2).
 */
int directory_is_password(const struct directory_conf *conf, const char *dn, tern_str password, uint64_t timeout_ms,
                          char *error, size_t octets);
void directory_close(struct directory *d);

#endif
