/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spf.h - the step: its options, and what it knows of a transaction.
 */
#ifndef MODULES_SPF_SPF_H
#define MODULES_SPF_SPF_H

#include <tern/module.h>

#include <lib/outcomes.h>

#include "check.h"

enum { SPF_IDENTITY_BOTH, SPF_IDENTITY_MAIL, SPF_IDENTITY_HELO };
enum { SPF_NEXT, SPF_REFUSE };

struct spf_conf {
    int identity; /* enum */
    int fail, softfail, permerror, temperror, helo_fail; /* enum: SPF_REFUSE is what the option calls reject or defer */
    const struct tern_cidrs *exempt;
    const struct tern_table *forwarders;
    bool explanation, header;
    unsigned void_lookups;
    uint64_t lookup_time_ms;
    unsigned cache; /* outcomes */
    uint64_t realm; /* of theirs */
};

/* What came of a check. All texts have a NUL behind them. */
struct spf_outcome {
    enum spf_result result;
    const char *reason; /* of an error, or NULL */
    bool asked;         /* there was a domain that could have a policy */
    tern_str domain;    /* as the client named it, in lower case: redirect= changes that of the check */
    tern_str where;     /* the domain that the reason is about */
    tern_str mechanism; /* that decided; empty: none matched */
    tern_str explanation;
};

/* The checks of one MAIL, one behind the other. In the call's memory. */
struct spf_work {
    struct spf_check *check; /* under way */
    bool is_helo;            /* it is about the HELO name as such */
    bool timed;              /* the clock runs */
    bool done;
    int64_t until_ms;            /* see lib/outcomes.h */
    struct outcome_octets notes; /* what DNS has said */
    const struct spf_outcome *helo, *mail; /* what has ended, or NULL */
    tern_str detail; /* of both, in the words of RFC 8601; ptr NULL: not yet */
};

extern const struct tern_api *spf_api;

/* ---- outcome.c ---- */

int spf_outcomes_init(const struct tern_api *api);
void spf_outcomes_fini(void);
int spf_outcomes_check(struct spf_conf *c); /* 0, or a negative errno */
/* True: what comes of this MAIL is known from one before, and is in `w`; its answers are noted for the record. */
bool spf_known(tern_call *call, const struct spf_conf *c, struct spf_work *w);
/* An answer to the check under way, before it hears it: notes it, and what it means for how long the outcome stands. */
void spf_outcome_answer(tern_call *call, struct spf_work *w, const struct tern_dns_answer *answer);
/* Of a check that has ended. */
const struct spf_outcome *spf_outcome_new(tern_call *call, const struct spf_check *check);
/* All of it has been told: it is kept if it may be. */
void spf_keep(tern_call *call, const struct spf_conf *c, const struct spf_work *w);

/* ---- tell.c ---- */

/* Sets the results, notes what is of use in the decision record. */
void spf_tell(tern_call *call, struct spf_work *w);
/* The refusal that the options want for it, or NEXT. */
tern_verdict spf_judge(tern_call *call, const struct spf_conf *c, const struct spf_outcome *outcome, bool helo);
/* Hook message: the field Received-SPF, from the results. */
tern_verdict spf_write_header(tern_call *call, const void *conf);

#endif
