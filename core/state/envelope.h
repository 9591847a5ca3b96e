/* SPDX-License-Identifier: Apache-2.0 */
/*
 * envelope.h - what the spool stores of a message besides its octets: names and values
 * only, nothing of a generation (DESIGN 7). Encoded as tagged, length-prefixed fields, so that
 * a later version can add some; unknown tags are skipped. Pure.
 */
#ifndef TERN_STATE_ENVELOPE_H
#define TERN_STATE_ENVELOPE_H

#include <tern/module.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

/* Room for ENVELOPE_RCPTS_MAX paths of 256 octets (RFC 5321 4.5.3.1.3), as they are and as they were. */
#define ENVELOPE_OCTETS_MAX (64u << 20)
#define ENVELOPE_RCPTS_MAX  100000

struct envelope_rcpt {
    struct slice address, original; /* local@domain */
    struct slice orcpt, notify;
    unsigned class_; /* enum tern_class */
    struct slice claimed_by;
    const struct slice *tags;
    unsigned tag_count;
};

struct envelope_var {
    struct slice name, value;
};

struct envelope {
    struct slice origin; /* smtp, lmtp, local, http, dsn, alias */
    struct slice policy, listener;
    struct slice client_address, helo, user;
    unsigned body; /* enum body_type */
    bool smtputf8;
    struct slice sender, sender_original; /* empty: null reverse-path */
    struct slice envid, ret;
    uint64_t arrival_ms;
    struct slice hold_reason, hold_step; /* empty: not held on arrival */
    const struct slice *tags;
    unsigned tag_count;
    const struct envelope_var *vars;
    unsigned var_count;
    const struct envelope_rcpt *rcpts;
    unsigned rcpt_count;
};

/* Does not look at ENVELOPE_OCTETS_MAX: what is longer must not be stored, since nobody could read it. */
void envelope_encode(const struct envelope *e, struct buf *out);
/* Slices point into `octets`, arrays into `arena`. 0, or -EBADMSG. */
int envelope_decode(struct slice octets, struct arena *arena, struct envelope *ret);

#endif
