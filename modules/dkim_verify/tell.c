/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tell.c - what came of the signatures, in words. See verify.h. Source: RFC 8601 2.2, 2.7.1.
 *
 * Domains and selectors were found to be names, b= to be base64; the local part of i= is anybody's: lib/authres.h puts
 * all of it where it can be a value only.
 */
#include "verify.h"

#include <lib/authres.h>

#define tern verify_api

#define B_OCTETS_TOLD 8 /* RFC 6008: enough to know which one is meant */
#define DETAIL_OCTETS (AUTHRES_COMMENT_OCTETS_MAX + 5 * (2 * AUTHRES_VALUE_OCTETS_MAX) + 128) /* of one signature */

tern_str verify_outcome_name(enum verify_outcome outcome)
{
    static const char *const names[] = { "none", "pass", "fail", "policy", "neutral", "temperror", "permerror" };

    return dkim_str(names[outcome], strlen(names[outcome]));
}

/* A pass beats all; then what may be a pass later. */
enum verify_outcome verify_sum(const struct verify_work *w)
{
    static const enum verify_outcome order[] = { VERIFY_PASS,   VERIFY_TEMPERROR, VERIFY_FAIL,
                                                 VERIFY_POLICY, VERIFY_PERMERROR, VERIFY_NEUTRAL };

    for (unsigned o = 0; o < sizeof(order) / sizeof(order[0]); o++)
        for (unsigned i = 0; i < w->look_count; i++)
            if (w->looks[i].outcome == order[o])
                return order[o];
    return w->sum;
}

static bool is_told_before(const struct verify_work *w, unsigned index)
{
    for (unsigned i = 0; i < index; i++)
        if (w->looks[i].outcome == VERIFY_PASS &&
            dkim_equal_nocase(w->looks[i].signature.domain, w->looks[index].signature.domain))
            return true;
    return false;
}

tern_str verify_domains(tern_call *call, const struct verify_work *w)
{
    char *out = tern->alloc(call, w->look_count * (DKIM_NAME_OCTETS_MAX + 1) + 1);
    size_t n = 0;

    for (unsigned i = 0; i < w->look_count; i++) {
        tern_str d = w->looks[i].signature.domain;
        if (w->looks[i].outcome != VERIFY_PASS || is_told_before(w, i))
            continue;
        if (n > 0)
            out[n++] = ' ';
        for (size_t k = 0; k < d.len; k++)
            out[n++] = d.ptr[k] >= 'A' && d.ptr[k] <= 'Z' ? (char)(d.ptr[k] + 32) : d.ptr[k];
    }
    return dkim_str(out, n);
}

static tern_str begin_of_b(tern_call *call, tern_str b)
{
    char *out = tern->alloc(call, B_OCTETS_TOLD + 1);
    size_t n = 0;

    for (size_t i = 0; i < b.len && n < B_OCTETS_TOLD; i++)
        if (b.ptr[i] > ' ')
            out[n++] = b.ptr[i];
    return dkim_str(out, n);
}

/* The local part of i=, decoded and without quotes. */
static bool decode_local(tern_call *call, tern_str text, tern_str *ret)
{
    size_t room = text.len + 1, len;
    tern_str plain = dkim_decode(text, tern->alloc(call, room), room);
    char *out = tern->alloc(call, room);

    *ret = plain;
    if (plain.len < 2 || plain.ptr[0] != '"' || plain.ptr[plain.len - 1] != '"')
        return true;
    if (!authres_unquote(plain, out, room, &len))
        return false;
    *ret = dkim_str(out, len);
    return true;
}

static void put_identity(tern_call *call, struct authres_text *t, const struct dkim_signature *s)
{
    const char *at = s->identity.len > 0 ? memrchr(s->identity.ptr, '@', s->identity.len) : NULL;
    tern_str local;

    if (at != NULL && decode_local(call, dkim_str(s->identity.ptr, (size_t)(at - s->identity.ptr)), &local))
        (void)authres_mailbox(t, "header.i", local, s->identity_domain, tern->is_smtputf8(call));
}

static tern_str comment_of(tern_call *call, const struct verify_look *look)
{
    const char *kind = look->signature.algorithm == DKIM_ED25519_SHA256 ? "ed25519" : "rsa";
    tern_str key = TERN_STR("");

    if (look->bits > 0)
        key = tern->format(call, "%u-bit %s key%s", look->bits, kind,
                           look->bits < DKIM_RSA_BITS_GOOD && look->signature.algorithm != DKIM_ED25519_SHA256
                               ? ", weak" : "");
    if (look->testing)
        key = tern->format(call, "%s, test mode", key.ptr);
    if (look->outcome == VERIFY_PASS && look->unsigned_octets > 0)
        key = tern->format(call, "%s, unsafe: l= leaves %llu octets unsigned", key.ptr,
                           (unsigned long long)look->unsigned_octets);
    if (look->reason != NULL)
        key = tern->format(call, "%s%s%s", look->reason, key.len > 0 ? ", " : "", key.ptr);
    return key;
}

static void put_property(struct authres_text *t, const char *name, tern_str value)
{
    if (value.len > 0)
        (void)authres_property(t, name, value, false);
}

static tern_str tell(tern_call *call, const struct verify_look *look)
{
    const struct dkim_signature *s = &look->signature;
    struct authres_text t = { .at = tern->alloc(call, DETAIL_OCTETS), .room = DETAIL_OCTETS };

    (void)authres_result(&t, "dkim", verify_outcome_name(look->outcome).ptr);
    (void)authres_comment(&t, comment_of(call, look));
    put_property(&t, "header.d", s->domain);
    put_identity(call, &t, s);
    put_property(&t, "header.s", s->selector);
    if (s->algorithm != DKIM_ALGORITHM_COUNT) {
        const char *name = dkim_algorithm_name(s->algorithm);
        put_property(&t, "header.a", dkim_str(name, strlen(name)));
    }
    put_property(&t, "header.b", begin_of_b(call, s->b_text));
    return dkim_str(t.at, t.len);
}

tern_str verify_detail(tern_call *call, const struct verify_work *w)
{
    tern_str all = TERN_STR("");

    for (unsigned i = 0; i < w->look_count; i++) {
        tern_str one = tell(call, &w->looks[i]);
        tern->note(call, "signature", one);
        all = tern->format(call, "%s%s%s", all.ptr, i > 0 ? "; " : "", one.ptr);
    }
    if (w->look_count == 0)
        return w->sum == VERIFY_PERMERROR ? TERN_STR("dkim=permerror (the header has too many fields)")
                                          : TERN_STR("dkim=none");
    return all;
}
