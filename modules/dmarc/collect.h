/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collect.h - what is known of a message once DMARC has judged it, for aggregate reports (RFC 9990).
 */
#ifndef MODULES_DMARC_COLLECT_H
#define MODULES_DMARC_COLLECT_H

#include <tern/module.h>

#include "check.h"

#define DMARC_REPORTED_SIGNATURES_MAX 8

/* A signature as dkim_verify judged it. */
struct dmarc_judged_dkim {
    tern_str domain, selector; /* d=, s= */
    tern_str result;           /* RFC 8601: "pass" */
    tern_str comment;          /* human_result */
};

/* One message of whose domain there is a record. All texts live until dmarc_collect() returns. */
struct dmarc_judged {
    int64_t now_s;
    /* row */
    const tern_address *client;
    tern_str client_text;        /* source_ip */
    enum dmarc_policy disposition; /* what was done: NONE, QUARANTINE, REJECT */
    bool pass, dkim_aligned, spf_aligned; /* policy_evaluated */
    const char *override;        /* reason/type of RFC 9990, or "" */
    tern_str override_comment;   /* or empty */
    /* identifiers */
    tern_str header_from;        /* the author's domain */
    tern_str envelope_from;      /* domain of MAIL FROM, or empty */
    tern_str helo;
    tern_str envelope_to;        /* domain of the first recipient, or empty */
    /* policy_published */
    tern_str policy_domain;      /* where the record is */
    tern_str org_domain;         /* of the author; empty: it did not matter */
    const struct dmarc_record *record;
    tern_str record_text;
    enum dmarc_policy policy;    /* p, sp or np, whichever counts for the author */
    bool by_suffix_list;         /* discovery_method: psl, else treewalk */
    /* auth_results */
    tern_str spf_domain, spf_scope, spf_result; /* scope "mfrom" or "helo"; domain empty: SPF was not asked */
    struct dmarc_judged_dkim dkim[DMARC_REPORTED_SIGNATURES_MAX];
    unsigned dkim_count;
};

/*
 * For each message with a record and result pass or fail, behind the decision and before the step answers, on the
 * call's loop thread. Whether there is somebody to report to, and if so, once: must not block and must not answer.
 */
struct dmarc_conf;
bool dmarc_is_collected(const tern_call *call, const struct dmarc_conf *c, const struct dmarc_record *record);
void dmarc_collect(tern_call *call, const struct dmarc_conf *c, const struct dmarc_judged *judged);
void dmarc_collect_init(const struct tern_api *api);
/* What is wrong with the option `reports`. */
void dmarc_collect_check(const struct dmarc_conf *c, struct tern_config *config);

#endif
