/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.h - the users of one file: names and their stored passwords, immutable once read, counted.
 *
 * Two formats. Lines, as in passwd(5) and Dovecot's passwd-file: `user:entry` and fields that do not
 * count; blank lines and those that begin with # are skipped. YAML: `user: entry`, or
 * `user: [entry, entry]`. What an entry may be: <lib/password.h>. Names are compared without regard to
 * the case of ASCII letters. A file with one wrong line is refused whole: half a list would lock out the
 * other half.
 */
#ifndef AUTH_FILE_USERS_H
#define AUTH_FILE_USERS_H

#include <tern/module.h>

#define USERS_FILE_OCTETS_MAX (64u << 20)
#define USERS_MAX             1000000
#define USERS_NAME_OCTETS_MAX 255
#define USERS_ENTRIES_MAX     4 /* of one user */

enum users_format { USERS_LINES, USERS_YAML };

struct users;
struct users_entry {
    size_t name_at;
    unsigned name_octets, line, count;
    struct {
        size_t at;
        unsigned octets;
    } stored[USERS_ENTRIES_MAX];
};

/* What is wrong, and where; `what` never holds a part of an entry. */
struct users_error {
    unsigned line; /* from 1; 0: the file as a whole */
    char what[160];
};

/* One reference, or NULL and *reterr. Pure but for memory. */
struct users *users_parse(const char *text, size_t octets, enum users_format format, struct users_error *reterr);
struct users *users_ref(struct users *users);
void users_unref(struct users *users); /* wiped with the last one; NULL is allowed */

size_t users_count(const struct users *users);
/* NULL: there is no such user. */
const struct users_entry *users_find(const struct users *users, tern_str name);
/* Some user who stands for one that does not exist: always the same for a name. NULL: the file is empty. */
const struct users_entry *users_decoy(const struct users *users, tern_str name);
tern_str users_name(const struct users *users, const struct users_entry *entry);
tern_str users_stored(const struct users *users, const struct users_entry *entry, unsigned index);

/* ---- for the parsers ---- */

/* Adds a user, or an entry to the one added last (again). False: *reterr says why. */
bool users_add(struct users *users, tern_str name, tern_str stored, unsigned line, bool again,
               struct users_error *reterr);
bool users_parse_yaml(struct users *users, const char *text, size_t octets, struct users_error *reterr);

#endif
