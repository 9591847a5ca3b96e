/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.h - what a step wants done, until its answer comes: then all of it, or nothing.
 *
 * Written by the one thread that holds the call, in the call's memory; read by the loop
 * after the answer. Whatever a step may not do here (the table of DESIGN 3.1) is refused with
 * -EPERM and remembered, so that the answer counts as an error of the step.
 */
#ifndef TERN_MODULE_JOURNAL_H
#define TERN_MODULE_JOURNAL_H

#include <tern/module.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

#define AUTH_USER_OCTETS_MAX     512
#define AUTH_SALT_OCTETS_MAX     1024
#define AUTH_KEY_OCTETS_MAX      64 /* the longest hash */
#define AUTH_PASSWORD_OCTETS_MAX 4096
#define AUTH_ITERATIONS_MAX      10000000
#define JOURNAL_ITEMS_MAX        2000  /* tags, edits, children ... of one answer */
#define JOURNAL_VARS_MAX         2000  /* of a session or transaction: each is looked for among all of them */
#define JOURNAL_CHILDREN_MAX     1000  /* expand_rcpt: DESIGN 8 */
#define JOURNAL_ADDED_RCPTS_MAX  100   /* add_rcpt */
#define JOURNAL_VALUE_OCTETS_MAX 65536 /* of a header field, variable, result */
#define JOURNAL_NOTE_OCTETS_MAX  512   /* longer ones are cut */
#define JOURNAL_LIST_OCTETS_MAX  4000  /* hook vrfy: of all lines together */
#define JOURNAL_REPLY_OCTETS_MAX 400   /* RFC 5321 4.5.3.1.5: 512 with code and transaction id */

enum journal_kind {
    JOURNAL_TAG,
    JOURNAL_RESULT,
    JOURNAL_VAR,
    JOURNAL_NOTE,
    JOURNAL_REWRITE_SENDER,
    JOURNAL_REWRITE_RCPT,
    JOURNAL_EXPAND_RCPT,
    JOURNAL_ADD_RCPT,
    JOURNAL_WITHHOLD,
    JOURNAL_HEADER_PREPEND, /* the header edits are the last four */
    JOURNAL_HEADER_APPEND,
    JOURNAL_HEADER_REPLACE,
    JOURNAL_HEADER_REMOVE,
    JOURNAL_KIND_COUNT,
};

struct journal_item {
    const struct journal_item *next;
    enum journal_kind kind;
    unsigned nth; /* HEADER_REPLACE, HEADER_REMOVE */
    tern_str name, value;
    const struct tern_mailbox *mailbox; /* of the rewriting kinds */
};

struct journal {
    const char *error;          /* the first misuse, or NULL */
    tern_verdict reply_verdict; /* NEXT: no reply was set */
    unsigned code;
    char enhanced[12];
    tern_str text;
    tern_str hold_reason;
    enum tern_class claim; /* NONE: none */
    bool routed;
    struct tern_route route;
    tern_str login;                    /* hook auth; empty: as asked for */
    const struct tern_auth_keys *keys; /* hook auth; a secret, see journal_wipe() */
    const struct journal_item *first;
    struct journal_item *last;
    unsigned count;
    unsigned new_vars; /* of names that were not there */
};

/* Where an operation is allowed: a mask of 1 << TERN_HOOK_*. */
unsigned journal_hooks(enum journal_kind kind);

/* The calling step: what decides whether it may. */
struct journal_writer {
    struct journal *journal;
    struct arena *arena;
    unsigned point;
    const struct tern_hook *hook;
    const struct tern_module *module;
};

/* Each returns 0 or a negative errno; on failure journal->error is set unless it was already. */
int journal_add(const struct journal_writer *w, enum journal_kind kind, unsigned nth,
                struct slice name, struct slice value);
int journal_add_address(const struct journal_writer *w, enum journal_kind kind,
                        struct slice address);
int journal_claim(const struct journal_writer *w, enum tern_class class_);
int journal_route(const struct journal_writer *w, const struct tern_route *route);
void journal_note(const struct journal_writer *w, struct slice key, struct slice value);
/* `text` in the arena. The verdict comes back, or ERROR. */
tern_verdict journal_reply(const struct journal_writer *w, tern_verdict verdict, unsigned code,
                           const char *enhanced, const char *text);
tern_verdict journal_hold(const struct journal_writer *w, const char *text);
void journal_fail(const struct journal_writer *w, const char *sentence);
/* The step says itself what failed: cut, and without control characters. */
void journal_report(const struct journal_writer *w, const char *text);

int journal_login(const struct journal_writer *w, struct slice user);
int journal_keys(const struct journal_writer *w, struct slice mechanism,
                 const struct tern_auth_keys *keys);
void journal_wipe(struct journal *j); /* before its memory is given back */
/* A name that may be a user's: 1 to AUTH_USER_OCTETS_MAX octets of UTF-8 without controls. */
bool journal_user_is_valid(struct slice user);

bool journal_has_edits(const struct journal *j);
/* A copy that lives in `arena`. */
struct tern_route journal_route_dup(struct arena *arena, const struct tern_route *route);
/* "d.d.d" of RFC 3463, beginning with the class `first`. */
bool journal_enhanced_is_valid(const char *enhanced, char first);
/* A JSON list of what the journal asks for, ["claim local","tag x"]; nothing if there is
 * nothing. */
bool journal_print(const struct journal *j, struct buf *out);
/* The notes as members of a JSON object; nothing if there are none. */
bool journal_print_notes(const struct journal *j, struct buf *out);
const char *journal_class_name(enum tern_class class_);

#endif
