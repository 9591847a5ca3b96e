/* SPDX-License-Identifier: Apache-2.0 */
/*
 * facts.h - what is known of a session, a transaction and its recipients.
 *
 * Facts are read by steps, possibly from a pool thread that outlives its time-out, so
 * they are never changed while anyone else holds them: the owner (the loop) calls
 * facts_*_own() before a change, which clones when there is a second reference.
 * Strings and recipients are shared between clones; they live in the arena, which
 * goes with the last reference. Only the owning loop allocates in the arena.
 */
#ifndef TERN_STATE_FACTS_H
#define TERN_STATE_FACTS_H

#include <stdalign.h>
#include <stdatomic.h>

#include <tern/module.h>

#include "base/arena.h"
#include "base/slice.h"

/* An arena with a count, so that views can outlive the session. */
struct shared_arena {
    _Atomic unsigned refs;
    struct arena arena;
    alignas(16) char first[]; /* its first chunk: one malloc for both */
};
struct shared_arena *shared_arena_new(size_t octets); /* so much fits without another malloc */
struct shared_arena *shared_arena_ref(struct shared_arena *a);
void shared_arena_unref(struct shared_arena *a);

/* A short list of name -> value; a later entry of the same name wins. Immutable links, newest first. */
struct note {
    const struct note *next;
    tern_str name, value;
    unsigned names; /* different ones from here on */
};
static inline unsigned notes_names(const struct note *first)
{
    return first != NULL ? first->names : 0;
}
tern_str notes_get(const struct note *first, struct slice name); /* ptr NULL if absent */
const struct note *notes_add(struct arena *arena, const struct note *first, struct slice name,
                             struct slice value);

tern_str tern_str_dup(struct arena *arena, struct slice s);
static inline struct slice slice_of(tern_str s)
{
    return slice_make(s.ptr, s.len);
}

/* What a TLS handshake left; empty without. */
struct handshake_facts {
    tern_str version, cipher, sni;
    tern_str client;               /* name of a client's certificate that was verified: see names */
    tern_str subject, fingerprint; /* of any certificate it showed */
    tern_str error;                /* why that was not verified */
    const struct note *names;      /* of a verified one, "dns:" and "email:"; values are empty */
};

/* What others said of the client, which few sessions have: empty without. */
struct relayed_facts {
    tern_str client_name;         /* by XCLIENT */
    bool client_name_forged;      /* it does not lead back to the address */
    tern_str via;                 /* who connected, where that is another than client: a proxy */
};

struct session_facts {
    _Atomic unsigned refs;
    struct shared_arena *memory;
    tern_str id;                  /* session id, unique per worker */
    tern_address client, local;
    tern_str client_text;
    tern_str listener, policy;
    tern_str helo;
    tern_str user;
    bool esmtp, tls, lmtp;
    const struct note *tags, *results, *vars;
    /* Never NULL; in the arena with `tls`, as an idle session without should not pay for it. */
    const struct handshake_facts *handshake;
    const struct relayed_facts *relayed; /* likewise */
};
/*
 * What lies in the memory of a session while it is idle: id, client, the name it greets with. Listener and policy are
 * the generation's, which whoever holds the facts holds, too.
 */
#define SESSION_MEMORY_FIRST 112
struct session_facts *session_facts_new(void);
struct session_facts *session_facts_ref(struct session_facts *f);
void session_facts_unref(struct session_facts *f);
/* Returns facts that only the caller holds: the same, or a clone (the old reference is given back). */
struct session_facts *session_facts_own(struct session_facts *f);

enum body_type { BODY_7BIT, BODY_8BITMIME, BODY_BINARYMIME };

/* Dispositions in the order in which one beats another (DESIGN 3.2). */
enum disposition { DISPOSE_DELIVER, DISPOSE_HOLD, DISPOSE_DISCARD };

struct rcpt_facts {
    struct tern_recipient view;   /* what steps see: mailbox, original, class, claimed_by */
    const struct note *tags;
    enum disposition disposition;
    tern_str hold_reason, hold_step;
    tern_str orcpt, notify;       /* as given, or empty */
    const void *plan;             /* effective options (module layer) */
    unsigned family;              /* children of one RCPT share it; counts from 0 */
#define RCPT_FAMILY_ADDED UINT32_MAX /* no RCPT: a step has added it */
};

struct txn_facts {
    _Atomic unsigned refs;
    struct shared_arena *memory;
    tern_str id;                  /* queue id */
    struct tern_mailbox sender, sender_original;
    enum body_type body;
    bool smtputf8;
    bool each;                    /* each RCPT gets its own reply at the dot: LMTP, PRDR */
    uint64_t declared_octets;     /* SIZE=, 0 if none */
    tern_str forwarded;           /* what XFORWARD said of the first client, or empty */
    tern_str envid, ret;          /* RFC 3461: xtext; FULL or HDRS; or empty */
    const struct rcpt_facts **rcpts; /* immutable once in here; the array is cloned */
    unsigned rcpt_count, rcpt_size;
    const struct note *tags, *results, *vars;
};
#define TXN_MEMORY_FIRST 960 /* a mail to one recipient fits, and a malloc of this size is still a quick one */
struct txn_facts *txn_facts_new(void);
struct txn_facts *txn_facts_ref(struct txn_facts *f);
void txn_facts_unref(struct txn_facts *f);
struct txn_facts *txn_facts_own(struct txn_facts *f);
void txn_facts_add_rcpt(struct txn_facts *f, const struct rcpt_facts *rcpt); /* owned facts only */

#endif
