/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gather.c - domains that SPF and DKIM vouch for, from the results of the steps before. See dmarc.h.
 *
 * Of SPF the identity of MAIL FROM alone counts (RFC 9989 4.4.2), which is the HELO name where the sender is null
 * (RFC 7208 2.4). Of DKIM each signature that passes.
 */
#include <lib/authres.h>
#include <lib/dkim.h>

#include "dmarc.h"

#define tern dmarc_api

static bool is(tern_str s, const char *word)
{
    return s.len == strlen(word) && memcmp(s.ptr, word, s.len) == 0;
}

static tern_str lowered(tern_call *call, tern_str s)
{
    char *out = tern->alloc(call, s.len + 1);

    for (size_t i = 0; i < s.len; i++)
        out[i] = s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? (char)(s.ptr[i] + 32) : s.ptr[i];
    return dmarc_str(out, s.len);
}

static void add(struct dmarc_input *in, tern_str domain, bool is_dkim, bool unknown)
{
    if (domain.len == 0 || domain.len > DMARC_NAME_OCTETS_MAX || in->identifier_count == DMARC_IDENTIFIERS_MAX)
        return;
    in->identifiers[in->identifier_count++] =
        (struct dmarc_identifier){ .domain = domain, .is_dkim = is_dkim, .unknown = unknown };
}

/* Whether SPF has looked at the identity that counts. */
static bool has_spf(tern_call *call)
{
    bool null_sender = tern->sender_original(call)->domain.len == 0;

    return !is(tern->result(call, "spf"), "not_run") &&
           (null_sender || is(tern->result(call, "spf_identity"), "mailfrom"));
}

static void gather_spf(tern_call *call, struct dmarc_input *in)
{
    tern_str result = tern->result(call, "spf");

    if (is(result, "pass") || is(result, "temperror"))
        add(in, tern->result(call, "spf_domain"), false, is(result, "temperror"));
}

bool dmarc_signature_next(struct authres_reader *reader, struct dmarc_judged_dkim *ret)
{
    struct authres_read_result r;

    while (authres_next(reader, &r)) {
        *ret = (struct dmarc_judged_dkim){ .result = r.result };
        for (unsigned i = 0; i < r.count; i++) {
            if (!authres_is(r.properties[i].ptype, "header"))
                continue;
            if (authres_is(r.properties[i].property, "d"))
                ret->domain = r.properties[i].value;
            else if (authres_is(r.properties[i].property, "s"))
                ret->selector = r.properties[i].value;
        }
        const char *open = memchr(r.whole.ptr, '(', r.whole.len), *end = r.whole.ptr + r.whole.len;
        const char *close = open != NULL ? memchr(open, ')', (size_t)(end - open)) : NULL;
        if (close != NULL)
            ret->comment = dmarc_str(open + 1, (size_t)(close - open - 1));
        if (authres_is(r.method, "dkim") && dkim_name_is_valid(ret->domain, 1))
            return true;
    }
    return false;
}

/* Most mails have one signature, and it passes: then its domain is the only one that passes, and need not be read. */
static bool gather_only(tern_call *call, struct dmarc_input *in, tern_str detail)
{
    tern_str domains = tern->result(call, "dkim_domains");

    if (memchr(detail.ptr, ';', detail.len) != NULL || !is(tern->result(call, "dkim"), "pass") ||
        is(domains, "not_run") || !dkim_name_is_valid(domains, 1))
        return false;
    add(in, domains, true, false);
    return true;
}

static void gather_dkim(tern_call *call, struct dmarc_input *in)
{
    struct authres_reader reader;
    struct dmarc_judged_dkim one;
    tern_str detail = tern->result(call, "dkim_detail");

    if (gather_only(call, in, detail))
        return;
    authres_open_text(&reader, detail, false, true);
    while (dmarc_signature_next(&reader, &one))
        if (is(one.result, "pass") || is(one.result, "temperror"))
            add(in, lowered(call, one.domain), true, is(one.result, "temperror"));
}

void dmarc_gather(tern_call *call, struct dmarc_input *in, struct dmarc_work *w)
{
    w->no_spf = !has_spf(call);
    w->no_dkim = is(tern->result(call, "dkim"), "not_run");
    if (!w->no_spf)
        gather_spf(call, in);
    if (!w->no_dkim)
        gather_dkim(call, in);
}
