/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tell.c - what came of the chain, in words. See verify.h. Source: RFC 8617 10.1, 10.2 (arc in RFC 8601's words).
 *
 * Domains and selectors were found to be names, and what is wrong is said in words of our own: nothing here needs
 * quoting.
 */
#include "verify.h"

#define tern verify_api

tern_str verify_domains(tern_call *call, const struct verify_work *w)
{
    char *out = tern->alloc(call, w->chain.count * (DKIM_NAME_OCTETS_MAX + 1) + 1);
    size_t n = 0;

    for (unsigned i = 0; w->result == ARC_CV_PASS && i < w->chain.count; i++) {
        tern_str d = w->chain.sets[i].seal.s.domain;
        if (n > 0)
            out[n++] = ' ';
        for (size_t k = 0; k < d.len; k++)
            out[n++] = d.ptr[k] >= 'A' && d.ptr[k] <= 'Z' ? (char)(d.ptr[k] + 32) : d.ptr[k];
    }
    return dkim_str(out, n);
}

/* "i=2: ARC-Seal: there is no key" */
static tern_str trouble_of(tern_call *call, const struct verify_work *w)
{
    const struct arc_chain *chain = &w->chain;

    if (chain->wrong != NULL && chain->wrong_instance == 0)
        return tern->format(call, "%s: %s", arc_kind_name(chain->wrong_kind), chain->wrong);
    if (chain->wrong != NULL)
        return tern->format(call, "i=%u: %s: %s", chain->wrong_instance, arc_kind_name(chain->wrong_kind),
                            chain->wrong);
    for (unsigned i = chain->count; i-- > 0;) {
        const struct verify_look *look = &w->seals[i];
        bool is_seal = look->looked_at && look->trouble != NULL;
        if (!is_seal && i + 1 == chain->count)
            look = &w->ams[i];
        if (look->looked_at && look->trouble != NULL)
            return tern->format(call, "i=%u: %s: %s", i + 1, arc_kind_name(is_seal ? ARC_SEAL : ARC_AMS),
                                look->trouble);
    }
    return TERN_STR("the header has too many fields");
}

/* An IPv6 address is no token of RFC 2045. */
static tern_str remote_ip(tern_call *call)
{
    tern_str address = tern->client_address_text(call);
    const tern_address *a = tern->client_address(call);

    if (a == NULL || (a->family != 4 && a->family != 6))
        return TERN_STR("");
    const char *quote = a->family == 6 ? "\"" : "";
    return tern->format(call, " smtp.remote-ip=%s%.*s%s", quote, (int)address.len, address.ptr, quote);
}

tern_str verify_detail(tern_call *call, const struct verify_work *w)
{
    tern_str ip = remote_ip(call);

    if (w->result == ARC_CV_NONE)
        return tern->format(call, "arc=none%s", ip.ptr);
    if (w->result == ARC_CV_FAIL)
        return tern->format(call, "arc=fail (%s)%s", trouble_of(call, w).ptr, ip.ptr);
    return tern->format(call, "arc=pass (i=%u) header.oldest-pass=%u%s", w->chain.count, w->oldest_pass, ip.ptr);
}

static tern_str tell_look(tern_call *call, const struct verify_look *look, enum arc_kind kind)
{
    tern_str key = TERN_STR("");

    if (!look->looked_at)
        return tern->format(call, "%s not looked at", arc_kind_name(kind));
    if (look->bits > 0)
        key = tern->format(call, "%u-bit key%s", look->bits,
                           look->signature->s.algorithm != DKIM_ED25519_SHA256 && look->bits < DKIM_RSA_BITS_GOOD
                               ? ", weak" : "");
    if (look->trouble != NULL)
        key = tern->format(call, "%s%s%s", look->trouble, key.len > 0 ? ", " : "", key.ptr);
    return tern->format(call, "%s %s (%s) d=%.*s s=%.*s", arc_kind_name(kind), look->trouble == NULL ? "pass" : "fail",
                        key.ptr, (int)look->signature->s.domain.len, look->signature->s.domain.ptr,
                        (int)look->signature->s.selector.len, look->signature->s.selector.ptr);
}

void verify_note(tern_call *call, const struct verify_work *w)
{
    if (w->result == ARC_CV_FAIL)
        tern->note(call, "chain", trouble_of(call, w));
    if (w->chain.wrong != NULL || w->fields == NULL)
        return;
    for (unsigned i = w->chain.count; i-- > 0;)
        tern->note(call, "set", tern->format(call, "i=%u: %s; %s", i + 1, tell_look(call, &w->seals[i], ARC_SEAL).ptr,
                                             tell_look(call, &w->ams[i], ARC_AMS).ptr));
    if (w->result == ARC_CV_PASS)
        tern->note(call, "trusted", w->distrust != NULL ? tern->format(call, "no: %s", w->distrust) : TERN_STR("yes"));
}
