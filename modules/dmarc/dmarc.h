/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc.h - the step: its options, and what it knows of a message.
 */
#ifndef MODULES_DMARC_DMARC_H
#define MODULES_DMARC_DMARC_H

#include <tern/module.h>

#include <lib/outcomes.h>

#include "check.h"
#include "collect.h"

enum { DMARC_QUARANTINE_NONE, DMARC_QUARANTINE_HOLD };
enum { DMARC_TEMPERROR_NEXT, DMARC_TEMPERROR_DEFER };
enum { DMARC_BAD_FROM_NEXT, DMARC_BAD_FROM_REJECT };
enum { DMARC_LIST_ID_ENFORCE, DMARC_LIST_ID_QUARANTINE, DMARC_LIST_ID_NONE };
enum { DMARC_RFC9989, DMARC_RFC7489 };

struct dmarc_conf {
    bool enforce;
    int quarantine, temperror, bad_from, list_id, compat; /* enum */
    tern_str header;
    const struct tern_cidrs *exempt;
    const struct tern_table *forwarders, *domains, *lists;
    bool arc;
    uint64_t lookup_time_ms;
    unsigned cache; /* outcomes */
    uint64_t realm; /* of theirs */
    struct tern_records reports; /* none, or one struct dmarc_reports_conf */
};

/* Why the policy is not applied as it is asked for: the names of RFC 9990, and sampled_out of RFC 7489. */
enum dmarc_override {
    DMARC_OVERRIDE_NONE,
    DMARC_OVERRIDE_LOCAL_POLICY,
    DMARC_OVERRIDE_MAILING_LIST,
    DMARC_OVERRIDE_TEST_MODE,
    DMARC_OVERRIDE_TRUSTED_FORWARDER,
    DMARC_OVERRIDE_SAMPLED_OUT,
};

#define DMARC_AUTHORS_MAX 4    /* domains of one From that are judged, each by itself */
#define DMARC_REMOVED_MAX 1000 /* fields called as `header` says; a message with more of them is refused */

#define DMARC_QUESTIONS_OF_TABLES_MAX (DMARC_IDENTIFIERS_MAX + 4)

/* A look-up that may excuse a message. */
struct dmarc_excuse {
    const struct tern_table *table;
    tern_str key;
    enum dmarc_override override;
    const char *name; /* of the option */
};

/* One message. In the call's memory. */
struct dmarc_work {
    struct dmarc_input in;
    struct dmarc_check *check; /* of the author in question; in the end the one that counts */
    struct dmarc_check *worst; /* of those that have ended */
    tern_str authors[DMARC_AUTHORS_MAX];
    unsigned author_count, author_at; /* author_at: the next one */
    tern_str author;       /* the domain of From that counts; empty: there is none */
    const char *bad_from;  /* why */
    bool no_spf, no_dkim;  /* that step has not looked at the message */
    bool timed, done;
    tern_str key;                /* of the outcome, while the check is under way */
    int64_t until_ms;            /* see lib/outcomes.h */
    struct outcome_octets notes; /* what DNS has said to it */
    struct dmarc_excuse excuses[DMARC_QUESTIONS_OF_TABLES_MAX];
    unsigned excuse_count, excuse_at;
    /* the answer */
    enum dmarc_override override;
    tern_str comment; /* on it */
    enum dmarc_policy disposition;
};

extern const struct tern_api *dmarc_api;

/* ---- author.c: RFC 9989 5.3.1 ---- */

/*
 * The domains of From, A-labels in lower case, into `work`: one, or DMARC_AUTHORS_MAX at most if `several` may be.
 * NULL, or why they cannot be told.
 */
const char *dmarc_authors(tern_call *call, bool several, struct dmarc_work *work);
/* The id of the List-Id field as the client sent it, or empty. */
bool dmarc_has_list_id(tern_call *call);

/* ---- gather.c: what the steps before have found ---- */

/* Fills in identifiers, no_spf, no_dkim. */
void dmarc_gather(tern_call *call, struct dmarc_input *in, struct dmarc_work *w);
struct authres_reader;
/* The next signature of what dkim_verify said, which `reader` was opened for. */
bool dmarc_signature_next(struct authres_reader *reader, struct dmarc_judged_dkim *ret);

/* ---- outcome.c ---- */

int dmarc_outcomes_init(const struct tern_api *api);
void dmarc_outcomes_fini(void);
int dmarc_outcomes_check(struct dmarc_conf *c); /* 0, or a negative errno */
/* True: it is known from a check before, is in w->check now, and its answers are noted for the decision record. */
bool dmarc_outcome_known(tern_call *call, const struct dmarc_conf *c, struct dmarc_work *w,
                         const struct dmarc_input *in);
/* An answer to the check under way, before it hears it: notes it, and what it means for how long the outcome stands. */
void dmarc_outcome_answer(tern_call *call, struct dmarc_work *w, const struct tern_dns_answer *answer);
/* The check has ended, and is as evaluate.c left it: it is kept if it may be. */
void dmarc_outcome_keep(tern_call *call, struct dmarc_work *w);

/* ---- excuse.c ---- */

/* Tables that may excuse a message that fails; then dmarc_excuse_settle(). */
void dmarc_excuses(tern_call *call, const struct dmarc_conf *c, struct dmarc_work *w);
/* What is known without asking anybody. */
void dmarc_settle(tern_call *call, const struct dmarc_conf *c, struct dmarc_work *w);
const char *dmarc_override_name(enum dmarc_override override);

/* ---- tell.c ---- */

/* Results and the decision record. */
void dmarc_tell(tern_call *call, const struct dmarc_work *w);
/* Header field and reply that the disposition wants. */
tern_verdict dmarc_apply(tern_call *call, const struct dmarc_conf *c, const struct dmarc_work *w);
/* Fills in what a report says of the message, and hands it on. */
void dmarc_report(tern_call *call, const struct dmarc_conf *c, const struct dmarc_work *w);

/* ---- suffix.c: the public suffix list, for compat: rfc7489 ---- */

/* NULL, or why there is none. Loads it once; `file` NULL: the newer of libpsl's own and the system's. */
const char *dmarc_suffixes_load(const char *file);
tern_str dmarc_registrable(void *unused, tern_str domain);

#endif
