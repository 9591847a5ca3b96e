/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spf.h - the step: its options, and what it knows of a transaction.
 */
#ifndef MODULES_SPF_SPF_H
#define MODULES_SPF_SPF_H

#include <tern/module.h>

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
};

/* The checks of one MAIL, one behind the other. In the call's memory. */
struct spf_work {
    struct spf_check *check; /* under way */
    bool is_helo;            /* it is about the HELO name as such */
    bool timed;              /* the clock runs */
    bool done;
    const struct spf_check *helo, *mail; /* what has ended, or NULL */
};

extern const struct tern_api *spf_api;

/* ---- tell.c ---- */

/* Sets the results, notes what is of use in the decision record. */
void spf_tell(tern_call *call, const struct spf_work *w);
void spf_note_answer(tern_call *call, const struct spf_check *check, const struct tern_dns_answer *answer);
/* The refusal that the options want for it, or NEXT. */
tern_verdict spf_judge(tern_call *call, const struct spf_conf *c, const struct spf_check *check, bool helo);
/* Hook message: the field Received-SPF, from the results. */
tern_verdict spf_write_header(tern_call *call, const void *conf);

#endif
