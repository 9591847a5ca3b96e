/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - the decision record: what each step decided about one session, transaction or
 * delivery attempt, and why. One JSON object, written once at the end by log_decision().
 *
 * NEXT is a counter, unless the step gave inputs, claimed, or is in shadow mode and wished
 * something.
 * At most RECORD_OCTETS_MAX, then entries are left out and "truncated" is true.
 */
#ifndef TERN_MODULE_RECORD_H
#define TERN_MODULE_RECORD_H

#include <tern/module.h>

#include "base/buf.h"
#include "module/journal.h"
#include "module/plan.h"
#include "state/facts.h"

#define RECORD_OCTETS_MAX 16384

struct record {
    uint64_t wall_ms; /* of its beginning: the day it is filed under */
    struct buf steps; /* one JSON object a line */
    unsigned next;    /* steps that answered NEXT and had nothing to say */
    bool truncated;
    unsigned last_code; /* of the last refusal told, and its line */
    struct buf last_reply;
    struct buf refused; /* as steps: recipients that heard another reply at the dot than the rest */
};

void record_init(struct record *r);
void record_fini(struct record *r);

struct record_entry {
    unsigned point;
    const struct plan_step *step; /* NULL: the core itself */
    tern_verdict verdict;
    unsigned code; /* 0: no reply */
    const char *enhanced;
    struct slice text;
    uint64_t us;
    const struct journal *journal; /* or NULL */
    bool shadow;
    const char *kept_from; /* a refusal kept from that hook, or NULL */
    struct slice inputs;   /* of that one: printed notes, or empty */
    struct slice rcpt;     /* or empty */
    const char *error;     /* or NULL */
};
/* Whether the step's answer is worth a line, or a counter is enough. */
bool record_is_telling(const struct record_entry *entry);
void record_step(struct record *r, const struct record_entry *entry);
/* The reply that the client heard: code, enhanced code, text. */
void record_reply(struct record *r, unsigned code, const char *enhanced, struct slice text);

/* With txn_facts.each: the reply that this RCPT heard at the dot. */
void record_refused(struct record *r, struct slice rcpt, unsigned code, const char *enhanced, struct slice text);

void record_write_session(struct record *r, const struct session_facts *session);
/* reply_code: the last reply of the transaction, 0 if it was given up. */
void record_write_txn(struct record *r, const struct session_facts *session,
                      const struct txn_facts *txn, struct slice stored_id, unsigned reply_code);
/* `outcomes`: JSON objects, one a line: what engine_result() was told. */
void record_write_delivery(struct record *r, const struct session_facts *session,
                           const struct txn_facts *txn, struct slice outcomes);

#endif
