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

#define B_OCTETS_TOLD  8   /* RFC 6008: enough to know which one is meant */
#define COMMENT_OCTETS 320 /* more than the words of one need */
#define DETAIL_OCTETS  (AUTHRES_COMMENT_OCTETS_MAX + 5 * (2 * AUTHRES_VALUE_OCTETS_MAX) + 128) /* of one signature */

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

/* Into `out`, which has room for all. */
static tern_str put_domains(const struct verify_work *w, char *out)
{
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
    out[n] = '\0';
    return dkim_str(out, n);
}

static tern_str begin_of_b(tern_str b, char out[B_OCTETS_TOLD])
{
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

/* What the words below make at most: the longest sentence, two numbers, and what stands between. */
struct comment {
    char at[COMMENT_OCTETS];
    size_t len;
};

static void add(struct comment *c, const char *text)
{
    size_t len = strlen(text), room = sizeof(c->at) - c->len;

    len = len < room ? len : room;
    memcpy(c->at + c->len, text, len);
    c->len += len;
}

static void add_number(struct comment *c, uint64_t number)
{
    char digits[24], *at = digits + sizeof(digits);

    *--at = '\0';
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    add(c, at);
}

static void put_comment(struct authres_text *t, const struct verify_look *look)
{
    bool ed25519 = look->signature.algorithm == DKIM_ED25519_SHA256;
    struct comment c;

    c.len = 0;
    if (look->reason != NULL)
        add(&c, look->reason);
    if (look->bits > 0) {
        add(&c, c.len > 0 ? ", " : "");
        add_number(&c, look->bits);
        add(&c, ed25519 ? "-bit ed25519 key" : "-bit rsa key");
        add(&c, look->bits < DKIM_RSA_BITS_GOOD && !ed25519 ? ", weak" : "");
    }
    if (look->testing)
        add(&c, ", test mode");
    if (look->outcome == VERIFY_PASS && look->unsigned_octets > 0) {
        add(&c, ", unsafe: l= leaves ");
        add_number(&c, look->unsigned_octets);
        add(&c, " octets unsigned");
    }
    (void)authres_comment(t, dkim_str(c.at, c.len));
}

static void put_property(struct authres_text *t, const char *name, tern_str value)
{
    if (value.len > 0)
        (void)authres_property(t, name, value, false);
}

static void put_look(tern_call *call, struct authres_text *t, const struct verify_look *look)
{
    const struct dkim_signature *s = &look->signature;
    char b[B_OCTETS_TOLD];

    (void)authres_result(t, "dkim", verify_outcome_name(look->outcome).ptr);
    put_comment(t, look);
    put_property(t, "header.d", s->domain);
    put_identity(call, t, s);
    put_property(t, "header.s", s->selector);
    if (s->algorithm != DKIM_ALGORITHM_COUNT) {
        const char *name = dkim_algorithm_name(s->algorithm);
        put_property(t, "header.a", dkim_str(name, strlen(name)));
    }
    put_property(t, "header.b", begin_of_b(s->b_text, b));
}

static void tell_details(tern_call *call, const struct verify_work *w)
{
    char text[VERIFY_SIGNATURES_MAX * DETAIL_OCTETS];
    struct authres_text t = { .at = text, .room = sizeof(text) };

    for (unsigned i = 0; i < w->look_count; i++) {
        size_t before = t.len > 0 ? t.len + 2 : 0; /* behind "; " */
        put_look(call, &t, &w->looks[i]);
        tern->note(call, "signature", dkim_str(text + before, t.len - before));
    }
    (void)tern->set_result(call, "dkim_detail", dkim_str(text, t.len));
}

void verify_tell(tern_call *call, const struct verify_work *w)
{
    char domains[VERIFY_SIGNATURES_MAX * (DKIM_NAME_OCTETS_MAX + 1) + 1];

    (void)tern->set_result(call, "dkim", verify_outcome_name(verify_sum(w)));
    (void)tern->set_result(call, "dkim_domains", put_domains(w, domains));
    if (w->look_count > 0)
        tell_details(call, w);
    else if (w->sum == VERIFY_PERMERROR)
        (void)tern->set_result(call, "dkim_detail", TERN_STR("dkim=permerror (the header has too many fields)"));
    else
        (void)tern->set_result(call, "dkim_detail", TERN_STR("dkim=none"));
}
