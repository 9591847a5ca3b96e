/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tell.c - what came of a message: results, header field, reply, what reports need. See dmarc.h.
 *
 * Sources: RFC 8601 2.2, RFC 9989 9.1 (header.from, policy.dmarc), 7.2 (the reply).
 */
#include <lib/authres.h>

#include "dmarc.h"

#define tern dmarc_api

static tern_str word(const char *s)
{
    return dmarc_str(s, strlen(s));
}

/* ---- a text piece by piece: each mail needs some, and a printf for each would cost more than all the rest ---- */

#define TEXT_OCTETS_MAX (4 * DMARC_NAME_OCTETS_MAX) /* two names, and what stands around them */

struct text {
    char at[TEXT_OCTETS_MAX];
    size_t len;
};

static void begin(struct text *t)
{
    t->at[0] = '\0';
    t->len = 0;
}

/* Always has a NUL behind it. */
static void add(struct text *t, tern_str s)
{
    size_t room = sizeof(t->at) - 1 - t->len, len = s.len < room ? s.len : room;

    if (len > 0)
        memcpy(t->at + t->len, s.ptr, len);
    t->len += len;
    t->at[t->len] = '\0';
}

static void add_word(struct text *t, const char *s)
{
    add(t, word(s));
}

static tern_str str(const struct text *t)
{
    return dmarc_str(t->at, t->len);
}

/* ---- the decision record ---- */

static void note_identifier(tern_call *call, const struct dmarc_identifier *id)
{
    struct text t;

    begin(&t);
    add(&t, id->domain);
    add_word(&t, id->aligned && !id->unknown ? ": aligned" : id->unknown ? ": not known" : ": not aligned");
    if (id->org.len > 0) {
        add_word(&t, ", organizational domain ");
        add(&t, id->org);
    }
    tern->note(call, id->is_dkim ? "dkim" : "spf", str(&t));
}

static void note_alignment(tern_call *call, const struct dmarc_check *c)
{
    struct text t;

    if (c->org.len > 0)
        tern->note(call, "organizational domain", c->org);
    for (unsigned i = 0; i < c->in.identifier_count; i++)
        note_identifier(call, &c->in.identifiers[i]);
    if (c->policy_seen == NULL)
        return;
    begin(&t);
    add_word(&t, dmarc_policy_name(c->policy));
    add_word(&t, ", by ");
    add_word(&t, c->policy_tag);
    add_word(&t, "= of ");
    add(&t, c->policy_seen->domain);
    tern->note(call, "policy", str(&t));
}

/* ---- results ---- */

static void add_comment(struct text *t, const struct dmarc_work *w)
{
    const struct dmarc_check *c = w->check;
    const char *override = dmarc_override_name(w->override);

    if (w->bad_from != NULL) {
        add_word(t, w->bad_from);
        return;
    }
    if (c->reason != NULL) {
        add(t, c->where);
        add_word(t, ": ");
        add_word(t, c->reason);
        return;
    }
    add_word(t, "p=");
    add_word(t, dmarc_policy_name(c->policy_seen->record.p));
    if (strcmp(c->policy_tag, "p") != 0) {
        add_word(t, " ");
        add_word(t, c->policy_tag);
        add_word(t, "=");
        add_word(t, dmarc_policy_name(c->policy));
    }
    if (c->asked != c->policy)
        add_word(t, " t=y");
    if (c->result != DMARC_RESULT_FAIL)
        return;
    add_word(t, " dis=");
    add_word(t, dmarc_policy_name(w->disposition));
    add_word(t, override[0] != '\0' ? " override=" : "");
    add_word(t, override);
}

static void add_detail(struct text *t, const struct dmarc_work *w, enum dmarc_result result)
{
    add_word(t, "dmarc=");
    add(t, dmarc_result_name(result));
    add_word(t, " (");
    add_comment(t, w);
    add_word(t, ")");
    if (w->author.len > 0) {
        add_word(t, " header.from=");
        add(t, w->author);
    }
    if (result == DMARC_RESULT_FAIL) {
        add_word(t, " policy.dmarc=");
        add_word(t, dmarc_policy_name(w->check->asked));
    }
}

void dmarc_tell(tern_call *call, const struct dmarc_work *w)
{
    const struct dmarc_check *c = w->check;
    enum dmarc_result result = w->bad_from != NULL ? DMARC_RESULT_PERMERROR : c->result;
    bool has_policy = c != NULL && c->policy_seen != NULL;
    struct text detail;

    begin(&detail);
    add_detail(&detail, w, result);
    if (c != NULL)
        note_alignment(call, c);
    (void)tern->set_result(call, "dmarc", dmarc_result_name(result));
    (void)tern->set_result(call, "dmarc_policy", word(has_policy ? dmarc_policy_name(c->asked) : "none"));
    (void)tern->set_result(call, "dmarc_disposition", word(dmarc_policy_name(w->disposition)));
    (void)tern->set_result(call, "dmarc_override", word(dmarc_override_name(w->override)));
    (void)tern->set_result(call, "dmarc_domain", w->author);
    (void)tern->set_result(call, "dmarc_policy_domain",
                           has_policy ? c->policy_seen->domain : TERN_STR(""));
    (void)tern->set_result(call, "dmarc_detail", str(&detail));
    tern->note(call, "result", str(&detail));
}

/* ---- what is done ---- */

static unsigned count_fields(const tern_call *call, tern_str name)
{
    unsigned count = 0, all = tern->header_count(call);

    for (unsigned i = 0; i < all; i++)
        count += dmarc_equal_nocase(tern->header_at(call, i)->name, name);
    return count;
}

static tern_verdict write_header(tern_call *call, const struct dmarc_conf *c, const struct dmarc_work *w)
{
    struct text detail;

    if (c->header.len == 0)
        return TERN_NEXT;
    /* A field of that name that came with the message says nothing. */
    unsigned count = count_fields(call, c->header);
    if (count > DMARC_REMOVED_MAX)
        return tern->reply(call, TERN_REJECT, 550, "5.7.1", "More than %u fields %s that are not for you to write",
                           DMARC_REMOVED_MAX, c->header.ptr);
    while (count > 0)
        (void)tern->header_remove(call, c->header.ptr, --count);
    if (w->bad_from != NULL || w->disposition != DMARC_QUARANTINE)
        return TERN_NEXT;
    begin(&detail);
    add_detail(&detail, w, w->check->result);
    (void)tern->header_prepend(call, c->header.ptr, str(&detail));
    return TERN_NEXT;
}

/* NEXT: it is taken. */
static tern_verdict refuse(tern_call *call, const struct dmarc_conf *c, const struct dmarc_work *w)
{
    if (w->bad_from != NULL && c->bad_from == DMARC_BAD_FROM_REJECT)
        return tern->reply(call, TERN_REJECT, 550, "5.7.1", "DMARC needs one From with one domain: %s", w->bad_from);
    if (w->bad_from != NULL)
        return TERN_NEXT;
    if (w->check->result == DMARC_RESULT_TEMPERROR && c->temperror == DMARC_TEMPERROR_DEFER)
        return tern->reply(call, TERN_DEFER, 451, "4.7.1",
                           "The DMARC policy of %s cannot be looked up now, try again later", w->author.ptr);
    if (w->disposition == DMARC_REJECT)
        return tern->reply(call, TERN_REJECT, 550, "5.7.1", "Email rejected per DMARC policy for %s", w->author.ptr);
    return TERN_NEXT;
}

tern_verdict dmarc_apply(tern_call *call, const struct dmarc_conf *c, const struct dmarc_work *w)
{
    tern_verdict verdict = refuse(call, c, w);

    if (verdict == TERN_NEXT)
        verdict = write_header(call, c, w);
    if (verdict != TERN_NEXT)
        return verdict;
    if (w->disposition == DMARC_QUARANTINE && c->enforce && c->quarantine == DMARC_QUARANTINE_HOLD)
        return tern->hold(call, "DMARC policy of %s", w->author.ptr);
    return TERN_NEXT;
}

/* ---- for reports ---- */

static void add_signatures(tern_call *call, struct dmarc_judged *j)
{
    struct authres_reader reader;

    authres_open_text(&reader, tern->result(call, "dkim_detail"), false, true);
    while (j->dkim_count < DMARC_REPORTED_SIGNATURES_MAX && dmarc_signature_next(&reader, &j->dkim[j->dkim_count]))
        j->dkim_count++;
}

static void add_spf(tern_call *call, struct dmarc_judged *j)
{
    tern_str result = tern->result(call, "spf"), identity = tern->result(call, "spf_identity");

    j->spf_result = result;
    if (strcmp(result.ptr, "not_run") == 0)
        return;
    j->spf_domain = tern->result(call, "spf_domain");
    j->spf_scope = strcmp(identity.ptr, "helo") == 0 ? TERN_STR("helo") : TERN_STR("mfrom");
}

static void note_disposition(tern_call *call, const struct dmarc_work *w)
{
    const char *override = dmarc_override_name(w->override);
    struct text t;

    begin(&t);
    add_word(&t, dmarc_policy_name(w->disposition));
    add_word(&t, override[0] != '\0' ? ", " : "");
    add_word(&t, override);
    add_word(&t, w->check->dkim_aligned ? " (dkim aligned, spf " : " (dkim not aligned, spf ");
    add_word(&t, w->check->spf_aligned ? "aligned)" : "not aligned)");
    tern->note(call, "disposition", str(&t));
}

void dmarc_report(tern_call *call, const struct dmarc_conf *c, const struct dmarc_work *w)
{
    const struct dmarc_check *check = w->check;
    const char *override = dmarc_override_name(w->override);

    note_disposition(call, w);
    if (!dmarc_is_collected(call, c, &check->policy_seen->record))
        return;
    struct dmarc_judged j = {
        .now_s = tern->now_s(call),
        .client = tern->client_address(call),
        .client_text = tern->client_address_text(call),
        .disposition = w->disposition,
        .pass = check->result == DMARC_RESULT_PASS,
        .dkim_aligned = check->dkim_aligned,
        .spf_aligned = check->spf_aligned,
        .override = override,
        .override_comment = w->comment,
        .header_from = w->author,
        .envelope_from = tern->sender_original(call)->domain,
        .helo = tern->helo_name(call),
        .policy_domain = check->policy_seen->domain,
        .org_domain = check->org,
        .record = &check->policy_seen->record,
        .record_text = check->policy_seen->text,
        .policy = check->policy,
        .by_suffix_list = c->compat == DMARC_RFC7489,
    };

    if (tern->rcpt_count(call) > 0)
        j.envelope_to = tern->rcpt(call, 0)->original.domain;
    add_spf(call, &j);
    add_signatures(call, &j);
    dmarc_collect(call, c, &j);
}
