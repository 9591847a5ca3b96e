/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tell.c - what came of a check: results, replies, the field Received-SPF. See spf.h.
 *
 * Sources: RFC 7208 8 and 9.1, RFC 7372 3.2 (codes), RFC 8601 2.7.2 (names). Domains are names that DNS was asked for,
 * and mechanisms passed the grammar; they may hold quotes and brackets all the same, which lib/authres.h puts right.
 */
#include "spf.h"

#include <lib/authres.h>

#define tern spf_api

#define VALUE_OCTETS_MAX 320 /* of an address in the field */
#define DETAIL_OCTETS    (2 * (AUTHRES_COMMENT_OCTETS_MAX + 2 * AUTHRES_VALUE_OCTETS_MAX + 64)) /* two identities */

/* ---- results ---- */

static bool is_helo(tern_call *call, const struct spf_work *w, const struct spf_outcome *o)
{
    return o == w->helo || tern->sender_original(call)->domain.len == 0;
}

/* As much as a comment has room for. */
static void add(struct outcome_octets *o, tern_str s)
{
    outcome_put(o, s.ptr, s.len < o->room - o->len ? s.len : o->room - o->len);
}

static void add_reason(struct outcome_octets *out, const struct spf_outcome *o)
{
    if (o->reason != NULL) {
        add(out, o->where);
        add(out, TERN_STR(": "));
        add(out, spf_str(o->reason, strlen(o->reason)));
    } else if (o->result == SPF_NONE) {
        add(out, o->asked ? TERN_STR("no SPF record") : TERN_STR("no domain that could have a policy"));
    } else if (o->mechanism.len > 0) {
        add(out, o->mechanism);
        add(out, TERN_STR(" matched"));
    } else {
        add(out, TERN_STR("no mechanism matched"));
    }
}

/* One identity for Authentication-Results. */
static void put_detail(tern_call *call, struct authres_text *t, const struct spf_outcome *o, bool helo)
{
    char text[AUTHRES_COMMENT_OCTETS_MAX];
    struct outcome_octets reason = { .at = text, .room = sizeof(text) };

    add_reason(&reason, o);
    (void)authres_result(t, "spf", spf_result_name(o->result).ptr);
    (void)authres_comment(t, spf_str(text, reason.len));
    if (o->domain.len > 0)
        (void)authres_property(t, helo ? "smtp.helo" : "smtp.mailfrom", o->domain, tern->is_smtputf8(call));
}

static tern_str detail_of(tern_call *call, const struct spf_work *w)
{
    struct authres_text detail = { .at = tern->alloc(call, DETAIL_OCTETS), .room = DETAIL_OCTETS };

    if (w->mail != NULL)
        put_detail(call, &detail, w->mail, is_helo(call, w, w->mail));
    if (w->helo != NULL)
        put_detail(call, &detail, w->helo, true);
    return spf_str(detail.at, detail.len);
}

void spf_tell(tern_call *call, struct spf_work *w)
{
    const struct spf_outcome *main = w->mail != NULL ? w->mail : w->helo;

    if (w->detail.ptr == NULL)
        w->detail = detail_of(call, w);
    if (w->helo != NULL)
        (void)tern->set_result(call, "spf_helo", spf_result_name(w->helo->result));
    (void)tern->set_result(call, "spf", spf_result_name(main->result));
    (void)tern->set_result(call, "spf_identity", is_helo(call, w, main) ? TERN_STR("helo") : TERN_STR("mailfrom"));
    (void)tern->set_result(call, "spf_domain", main->domain);
    (void)tern->set_result(call, "spf_mechanism", main->mechanism);
    (void)tern->set_result(call, "spf_detail", w->detail);
    tern->note(call, "result", w->detail);
}

/* ---- replies ---- */

/* What may stand in a reply: a HELO name is anybody's. */
static const char *reply_domain(const struct spf_outcome *o)
{
    return spf_domain_is_valid(o->domain) ? o->domain.ptr : "the HELO name";
}

static tern_verdict refuse_fail(tern_call *call, const struct spf_outcome *o, bool helo)
{
    const char *domain = reply_domain(o);
    const char *who = helo ? "say it is" : "send mail for";
    tern_str client = tern->client_address_text(call);

    if (o->explanation.len == 0)
        return tern->reply(call, TERN_REJECT, 550, "5.7.23", "SPF: %s is not allowed to %s %s", client.ptr, who,
                           domain);
    return tern->reply(call, TERN_REJECT, 550, "5.7.23", "SPF: %s is not allowed to %s %s. That domain says: %s",
                       client.ptr, who, domain, o->explanation.ptr);
}

tern_verdict spf_judge(tern_call *call, const struct spf_conf *c, const struct spf_outcome *o, bool helo)
{
    enum spf_result r = o->result;

    if (helo)
        return r == SPF_FAIL && c->helo_fail == SPF_REFUSE ? refuse_fail(call, o, true) : TERN_NEXT;
    if ((r == SPF_FAIL && c->fail == SPF_REFUSE) || (r == SPF_SOFTFAIL && c->softfail == SPF_REFUSE))
        return refuse_fail(call, o, false);
    if (r == SPF_PERMERROR && c->permerror == SPF_REFUSE)
        return tern->reply(call, TERN_REJECT, 550, "5.7.24", "SPF: the record of %s is broken: %s", o->where.ptr,
                           o->reason);
    if (r == SPF_TEMPERROR && c->temperror == SPF_REFUSE)
        return tern->reply(call, TERN_DEFER, 451, "4.7.24", "SPF: DNS does not answer for %s now, try again later",
                           o->where.ptr);
    return TERN_NEXT;
}

/* ---- Received-SPF ---- */

static bool is_strange(tern_call *call, unsigned char c)
{
    return c < ' ' || c == 0x7f || (c > 0x7f && !tern->is_smtputf8(call));
}

/* A quoted-string. */
static tern_str quoted(tern_call *call, tern_str text)
{
    size_t len = text.len < VALUE_OCTETS_MAX ? text.len : VALUE_OCTETS_MAX, n = 0;
    char *out = tern->alloc(call, 2 * len + 3);

    out[n++] = '"';
    for (size_t i = 0; i < len; i++) {
        char c = text.ptr[i];
        if (c == '"' || c == '\\')
            out[n++] = '\\';
        out[n++] = is_strange(call, (unsigned char)c) ? '?' : c;
    }
    out[n++] = '"';
    return spf_str(out, n);
}

static const char *says(tern_str result)
{
    static const struct {
        const char *result, *text;
    } texts[] = {
        { "pass", "lets this client send" },
        { "fail", "does not let this client send" },
        { "softfail", "does not expect this client to send" },
        { "neutral", "says nothing about this client" },
        { "temperror", "could not be looked up" },
        { "permerror", "has a policy that is broken" },
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strcmp(result.ptr, texts[i].result) == 0)
            return texts[i].text;
    return "has no policy";
}

tern_verdict spf_write_header(tern_call *call, const void *conf)
{
    const struct spf_conf *c = conf;
    tern_str result = tern->result(call, "spf");

    if (!c->header || strcmp(result.ptr, "not_run") == 0)
        return TERN_NEXT;
    tern_str mechanism = tern->result(call, "spf_mechanism");
    tern_str value = tern->format(
        call, "%s (%s: the domain %s)\r\n\treceiver=%s; client-ip=%s; identity=%s;\r\n\thelo=%s;\r\n\tenvelope-from=%s",
        result.ptr, tern->hostname().ptr, says(result), tern->hostname().ptr,
        quoted(call, tern->client_address_text(call)).ptr, tern->result(call, "spf_identity").ptr,
        quoted(call, tern->helo_name(call)).ptr, quoted(call, tern->sender_original(call)->address).ptr);
    if (mechanism.len > 0)
        value = tern->format(call, "%s;\r\n\tmechanism=%s", value.ptr, quoted(call, mechanism).ptr);
    (void)tern->header_prepend(call, "Received-SPF", value);
    return TERN_NEXT;
}
