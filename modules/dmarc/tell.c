/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tell.c - what came of a message: results, header field, reply, what reports need. See dmarc.h.
 *
 * Sources: RFC 8601 2.2, RFC 9989 9.1 (header.from, policy.dmarc), 7.2 (the reply).
 */
#include <lib/authres.h>

#include "dmarc.h"

#define tern dmarc_api

#define NOTE_OCTETS_MAX 400

static tern_str word(const char *s)
{
    return dmarc_str(s, strlen(s));
}

/* Of what is not ours to tell (the call's memory has a NUL behind it). */
static const char *text_of(tern_call *call, tern_str s)
{
    return tern->format(call, "%.*s", (int)s.len, s.len > 0 ? s.ptr : "").ptr;
}

/* ---- the decision record ---- */

void dmarc_note_answer(tern_call *call, const struct dmarc_check *check, const struct tern_dns_answer *a)
{
    const char *key = tern->format(call, "%s %s", check->name, check->type == TERN_DNS_A ? "A" : "TXT").ptr;
    unsigned told = 0;

    for (size_t i = 0; a->status == TERN_FOUND && i < a->count; i++) {
        tern_str t = a->records[i].text;
        if (check->type == TERN_DNS_TXT && !dmarc_is_record(t))
            continue;
        tern->note(call, key, dmarc_str(t.ptr, t.len < NOTE_OCTETS_MAX ? t.len : NOTE_OCTETS_MAX));
        told++;
    }
    if (told == 0)
        tern->note(call, key, a->status == TERN_FOUND ? TERN_STR("no DMARC record") : word(a->error));
}

static void note_alignment(tern_call *call, const struct dmarc_check *c)
{
    if (c->org.len > 0)
        tern->note(call, "organizational domain", tern->format(call, "%s", text_of(call, c->org)));
    for (unsigned i = 0; i < c->in.identifier_count; i++) {
        const struct dmarc_identifier *id = &c->in.identifiers[i];
        const char *says = id->aligned && !id->unknown ? "aligned" : id->unknown ? "not known" : "not aligned";
        const char *more =
            id->org.len > 0 ? tern->format(call, ", organizational domain %s", text_of(call, id->org)).ptr : "";
        tern->note(call, id->is_dkim ? "dkim" : "spf",
                   tern->format(call, "%s: %s%s", text_of(call, id->domain), says, more));
    }
    if (c->policy_seen != NULL)
        tern->note(call, "policy",
                   tern->format(call, "%s, by %s= of %s", dmarc_policy_name(c->policy), c->policy_tag,
                                text_of(call, c->policy_seen->domain)));
}

/* ---- results ---- */

static const char *comment_of(tern_call *call, const struct dmarc_work *w)
{
    const struct dmarc_check *c = w->check;
    const char *override = dmarc_override_name(w->override);

    if (w->bad_from != NULL)
        return w->bad_from;
    if (c->reason != NULL)
        return tern->format(call, "%s: %s", text_of(call, c->where), c->reason).ptr;
    const char *text = tern->format(call, "p=%s", dmarc_policy_name(c->policy_seen->record.p)).ptr;
    if (strcmp(c->policy_tag, "p") != 0)
        text = tern->format(call, "%s %s=%s", text, c->policy_tag, dmarc_policy_name(c->policy)).ptr;
    if (c->asked != c->policy)
        text = tern->format(call, "%s t=y", text).ptr;
    if (c->result == DMARC_RESULT_FAIL)
        text = tern->format(call, "%s dis=%s%s%s", text, dmarc_policy_name(w->disposition),
                            override[0] != '\0' ? " override=" : "", override).ptr;
    return text;
}

static tern_str detail_of(tern_call *call, const struct dmarc_work *w, enum dmarc_result result)
{
    tern_str text = tern->format(call, "dmarc=%s (%s)", dmarc_result_name(result).ptr, comment_of(call, w));

    if (w->author.len > 0)
        text = tern->format(call, "%s header.from=%s", text.ptr, w->author.ptr);
    if (result == DMARC_RESULT_FAIL)
        text = tern->format(call, "%s policy.dmarc=%s", text.ptr, dmarc_policy_name(w->check->asked));
    return text;
}

void dmarc_tell(tern_call *call, const struct dmarc_work *w)
{
    const struct dmarc_check *c = w->check;
    enum dmarc_result result = w->bad_from != NULL ? DMARC_RESULT_PERMERROR : c->result;
    bool has_policy = c != NULL && c->policy_seen != NULL;
    tern_str detail = detail_of(call, w, result);

    if (c != NULL)
        note_alignment(call, c);
    (void)tern->set_result(call, "dmarc", dmarc_result_name(result));
    (void)tern->set_result(call, "dmarc_policy", word(has_policy ? dmarc_policy_name(c->asked) : "none"));
    (void)tern->set_result(call, "dmarc_disposition", word(dmarc_policy_name(w->disposition)));
    (void)tern->set_result(call, "dmarc_override", word(dmarc_override_name(w->override)));
    (void)tern->set_result(call, "dmarc_domain", w->author);
    (void)tern->set_result(call, "dmarc_policy_domain",
                           has_policy ? word(text_of(call, c->policy_seen->domain)) : TERN_STR(""));
    (void)tern->set_result(call, "dmarc_detail", detail);
    tern->note(call, "result", detail);
}

/* ---- what is done ---- */

static void write_header(tern_call *call, const struct dmarc_conf *c, const struct dmarc_work *w)
{
    unsigned count = 0;

    if (c->header.len == 0)
        return;
    /* A field of that name that came with the message says nothing. */
    while (tern->header(call, c->header.ptr, count) != NULL)
        count++;
    while (count > 0)
        (void)tern->header_remove(call, c->header.ptr, --count);
    if (w->bad_from == NULL && w->disposition == DMARC_QUARANTINE)
        (void)tern->header_prepend(call, c->header.ptr, detail_of(call, w, w->check->result));
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

    if (verdict != TERN_NEXT)
        return verdict;
    write_header(call, c, w);
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

void dmarc_report(tern_call *call, const struct dmarc_conf *c, const struct dmarc_work *w)
{
    const struct dmarc_check *check = w->check;
    const char *override = dmarc_override_name(w->override);

    tern->note(call, "disposition",
               tern->format(call, "%s%s%s (dkim %s, spf %s)", dmarc_policy_name(w->disposition),
                            override[0] != '\0' ? ", " : "", override, check->dkim_aligned ? "aligned" : "not aligned",
                            check->spf_aligned ? "aligned" : "not aligned"));
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
