/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify.h - what is known of each signature of a message, from its field to its result.
 */
#ifndef MODULES_DKIM_VERIFY_VERIFY_H
#define MODULES_DKIM_VERIFY_VERIFY_H

#include <tern/module.h>

#include <stdio.h>
#include <string.h>

#include <lib/dkim.h>
#include <lib/dkim_lookup.h>
#include <lib/dkim_message.h>

#define VERIFY_SIGNATURES_MAX 8

/* RFC 8601 2.7.1. NONE: not decided, or there is no signature. */
enum verify_outcome {
    VERIFY_NONE,
    VERIFY_PASS,
    VERIFY_FAIL,
    VERIFY_POLICY,
    VERIFY_NEUTRAL,
    VERIFY_TEMPERROR,
    VERIFY_PERMERROR,
    VERIFY_OUTCOME_COUNT,
};

struct verify_conf {
    unsigned signatures, min_bits;
    int partial_body; /* enum */
    uint64_t clock_skew_s;
    int temperror; /* enum */
    uint64_t lookup_time_ms;
};
enum { VERIFY_PARTIAL_POLICY, VERIFY_PARTIAL_PASS };
enum { VERIFY_NEXT, VERIFY_DEFER };

/* One signature. In the call's memory. */
struct verify_look {
    const struct dkim_field *field;
    struct dkim_signature signature;
    enum verify_outcome outcome;
    const char *reason; /* of an outcome that is not PASS; a comment for PASS, or NULL */
    struct dkim_lookup lookup;
    bool waits; /* for its key */
    bool testing; /* t=y */
    unsigned bits;
    uint64_t unsigned_octets; /* of the body: l= */
};

struct verify_work {
    tern_str header;
    struct dkim_field *fields;
    size_t field_count;
    struct verify_look *looks; /* as many as are looked at */
    unsigned look_count, waiting;
    enum verify_outcome sum; /* without looks: what is told */
};

extern const struct tern_api *verify_api;
extern struct dkim_keys *verify_keys;

/* Decides what is undecided. 0, or a negative errno: the body cannot be read. Loop or pool thread. */
int verify_evaluate(tern_call *call, const struct verify_conf *c, struct verify_work *w);

enum verify_outcome verify_sum(const struct verify_work *w);
tern_str verify_outcome_name(enum verify_outcome outcome);
/* Sets the results, and notes each signature for the decision record. */
void verify_tell(tern_call *call, const struct verify_work *w);

#endif
