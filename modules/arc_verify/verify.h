/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify.h - what is known of the chain of a message, from its fields to its result.
 */
#ifndef MODULES_ARC_VERIFY_VERIFY_H
#define MODULES_ARC_VERIFY_VERIFY_H

#include <tern/module.h>

#include <stdio.h>
#include <string.h>

#include <lib/arc.h>
#include <lib/authres.h>
#include <lib/dkim_lookup.h>
#include <lib/dkim_message.h>

#define VERIFY_LOOKUPS_MAX     (2 * ARC_SETS_MAX) /* the keys of a chain, if no two are the same */
#define VERIFY_WORD_OCTETS_MAX 16                 /* of a result: "permerror" has 9 */

enum verify_method { VERIFY_DMARC, VERIFY_SPF, VERIFY_DKIM, VERIFY_METHOD_COUNT };

enum { VERIFY_NEXT, VERIFY_DEFER_TRUSTED, VERIFY_DEFER };
struct verify_conf {
    const struct tern_table *trusted_sealers;
    unsigned min_bits;
    uint64_t clock_skew_s;
    int temperror; /* enum */
};

/* One ARC-Message-Signature, or one ARC-Seal. */
struct verify_look {
    struct arc_signature *signature;
    struct dkim_lookup *lookup; /* shared by those with the same key */
    const char *trouble;        /* why it is not good */
    bool looked_at;
    unsigned bits;
};

/* In the call's memory. */
struct verify_work {
    tern_str header;
    struct dkim_field *fields;
    size_t field_count;
    struct arc_chain chain;
    struct verify_look ams[ARC_SETS_MAX], seals[ARC_SETS_MAX];
    struct dkim_lookup lookups[VERIFY_LOOKUPS_MAX];
    unsigned lookup_count, waiting;
    bool on_pool;
    /* what came of it */
    enum arc_cv result;
    bool temporary;        /* it failed because DNS did not answer */
    unsigned oldest_pass;  /* of a chain that passes: RFC 8617 5.2 step 5 */
    const char *distrust;  /* why a chain is not trusted, if it passes; NULL: it is */
    uint64_t unsigned_octets; /* of the body, by the newest signature */
    char words[VERIFY_METHOD_COUNT][VERIFY_WORD_OCTETS_MAX + 1]; /* of the oldest set; empty: it says nothing of it */
};

extern const struct tern_api *verify_api;
extern struct dkim_keys *verify_keys;

/* Decides, from keys that have been looked up. 0, or a negative errno: the body cannot be read. Loop or pool thread. */
int verify_evaluate(tern_call *call, const struct verify_conf *c, struct verify_work *w);

/* NULL, or why this chain, which passes, could be trusted for nothing whoever has sealed it. */
const char *verify_distrust(const struct verify_work *w);

tern_str verify_domains(tern_call *call, const struct verify_work *w);
tern_str verify_detail(tern_call *call, const struct verify_work *w);
/* For the decision record. */
void verify_note(tern_call *call, const struct verify_work *w);

#endif
