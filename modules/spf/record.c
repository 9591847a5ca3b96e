/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.c - the terms of an SPF record. See check.h. Source: RFC 7208 4.5, 4.6.1, 5, 6, 12 (the grammar).
 *
 * A record is checked as a whole before any of it counts (4.6), so it is read twice; nothing is kept of its terms.
 */
#include "check.h"

#define SLICE(literal) ((tern_str){ "" literal, sizeof(literal) - 1 })

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static tern_str from(tern_str s, size_t at)
{
    return spf_str(s.ptr + at, s.len - at);
}

static tern_str head(tern_str s, size_t count)
{
    return spf_str(s.ptr, count);
}

bool spf_is_record(tern_str text)
{
    tern_str version = SLICE("v=spf1");

    return text.len >= version.len && spf_equal_nocase(head(text, version.len), version) &&
           (text.len == version.len || text.ptr[version.len] == ' ');
}

/* Blanks alone part terms: 4.6.1. */
static bool next_word(tern_str *rest, tern_str *ret)
{
    size_t at = 0, end;

    while (at < rest->len && rest->ptr[at] == ' ')
        at++;
    for (end = at; end < rest->len && rest->ptr[end] != ' '; end++)
        ;
    *ret = spf_str(rest->ptr + at, end - at);
    *rest = from(*rest, end);
    return ret->len > 0;
}

/* ---- modifiers ---- */

/* How long the name before "=" is, or 0: it is no modifier. */
static size_t modifier_name(tern_str word)
{
    size_t n = 0;

    if (!is_alpha(word.ptr[0]))
        return 0;
    while (n < word.len && (is_alpha(word.ptr[n]) || is_digit(word.ptr[n]) || word.ptr[n] == '-' ||
                            word.ptr[n] == '_' || word.ptr[n] == '.'))
        n++;
    return n < word.len && word.ptr[n] == '=' ? n : 0;
}

static const char *parse_modifier(tern_str word, size_t name_len, struct spf_term *ret)
{
    tern_str name = head(word, name_len), value = from(word, name_len + 1);

    ret->spec = value;
    ret->kind = spf_equal_nocase(name, SLICE("redirect")) ? SPF_REDIRECT
                : spf_equal_nocase(name, SLICE("exp"))    ? SPF_EXP
                                                          : SPF_UNKNOWN_MODIFIER;
    if (ret->kind == SPF_UNKNOWN_MODIFIER)
        return spf_macro_is_valid(value, false) ? NULL : "the value of a modifier is malformed";
    if (!spf_domain_spec_is_valid(value))
        return ret->kind == SPF_REDIRECT ? "redirect= names no domain" : "exp= names no domain";
    return NULL;
}

/* ---- directives ---- */

/* Takes "/<number>" from the end of *s: 1 and the number, 0: there is none, -1: it is too large or begins with 0. */
static int take_bits(tern_str *s, unsigned max, unsigned *ret)
{
    size_t at = s->len;
    unsigned value = 0;

    while (at > 0 && is_digit(s->ptr[at - 1]))
        at--;
    if (at == s->len || at == 0 || s->ptr[at - 1] != '/')
        return 0;
    tern_str digits = from(*s, at);
    if (digits.len > 3 || (digits.len > 1 && digits.ptr[0] == '0'))
        return -1;
    for (size_t i = 0; i < digits.len; i++)
        value = value * 10 + (unsigned)(digits.ptr[i] - '0');
    if (value > max)
        return -1;
    *ret = value;
    *s = head(*s, at - 1);
    return 1;
}

/* [ "/" bits ] [ "//" bits ] */
static bool take_dual_bits(tern_str *s, struct spf_term *ret)
{
    tern_str before = *s;
    int r = take_bits(s, 128, &ret->bits6);

    if (r > 0 && s->len > 0 && s->ptr[s->len - 1] == '/') {
        *s = head(*s, s->len - 1);
    } else {
        *s = before; /* there was one slash: it was for IPv4 */
        ret->bits6 = 128;
    }
    return take_bits(s, 32, &ret->bits4) >= 0;
}

static const char *parse_network(tern_str value, struct spf_term *ret)
{
    bool four = ret->kind == SPF_IP4;
    unsigned bits = four ? 32 : 128;

    if (value.len < 2 || value.ptr[0] != ':')
        return "ip4: or ip6: without an address";
    value = from(value, 1);
    if (take_bits(&value, bits, &bits) < 0)
        return "the length of a network is malformed";
    if (!address_parse(value, four ? 4 : 6, &ret->network))
        return "ip4: or ip6: with what is no address";
    ret->bits4 = ret->bits6 = bits;
    return NULL;
}

enum { SPEC_NO, SPEC_MAY, SPEC_MUST };

static const struct mechanism {
    const char *name;
    enum spf_kind kind;
    int spec;
    bool dual_bits;
} mechanisms[] = {
    { "all", SPF_ALL, SPEC_NO, false },     { "include", SPF_INCLUDE, SPEC_MUST, false },
    { "a", SPF_A, SPEC_MAY, true },         { "mx", SPF_MX, SPEC_MAY, true },
    { "ptr", SPF_PTR, SPEC_MAY, false },    { "exists", SPF_EXISTS, SPEC_MUST, false },
    { "ip4", SPF_IP4, SPEC_NO, false },     { "ip6", SPF_IP6, SPEC_NO, false },
};

static const struct mechanism *find_mechanism(tern_str name)
{
    for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++)
        if (spf_equal_nocase(name, spf_str(mechanisms[i].name, strlen(mechanisms[i].name))))
            return &mechanisms[i];
    return NULL;
}

static const char *parse_directive(tern_str word, struct spf_term *ret)
{
    static const char qualifiers[] = "?+-~"; /* as in enum spf_result from NEUTRAL on */
    const char *qualifier = memchr(qualifiers, word.ptr[0], 4);
    size_t n = 0;

    ret->qualifier = qualifier != NULL ? (enum spf_result)(SPF_NEUTRAL + (qualifier - qualifiers)) : SPF_PASS;
    word = from(word, qualifier != NULL ? 1 : 0);
    while (n < word.len && word.ptr[n] != ':' && word.ptr[n] != '/')
        n++;
    const struct mechanism *m = find_mechanism(head(word, n));
    if (m == NULL)
        return "an unknown mechanism";
    word = from(word, n);
    ret->kind = m->kind;
    if (m->kind == SPF_IP4 || m->kind == SPF_IP6)
        return parse_network(word, ret);
    ret->bits4 = 32;
    ret->bits6 = 128;
    if (m->dual_bits && !take_dual_bits(&word, ret))
        return "the length of a network is malformed";
    if (word.len == 0)
        return m->spec == SPEC_MUST ? "a mechanism without its domain" : NULL;
    if (m->spec == SPEC_NO || word.ptr[0] != ':')
        return "a mechanism with what does not belong to it";
    ret->spec = from(word, 1);
    return spf_domain_spec_is_valid(ret->spec) ? NULL : "a mechanism names no domain";
}

static const char *parse_term(tern_str word, struct spf_term *ret)
{
    size_t name_len = modifier_name(word);

    *ret = (struct spf_term){ .text = word };
    return name_len > 0 ? parse_modifier(word, name_len, ret) : parse_directive(word, ret);
}

const char *spf_record_parse(tern_str text, struct spf_record *ret)
{
    struct spf_record record = { .terms = from(text, sizeof("v=spf1") - 1) };
    tern_str rest = record.terms, word;

    if (text.len > SPF_RECORD_OCTETS_MAX)
        return "the record is too long";
    while (next_word(&rest, &word)) {
        struct spf_term term;
        const char *wrong = parse_term(word, &term);
        if (wrong != NULL)
            return wrong;
        tern_str *once = term.kind == SPF_REDIRECT ? &record.redirect : term.kind == SPF_EXP ? &record.exp : NULL;
        if (once == NULL)
            continue;
        if (once->len > 0)
            return "redirect= or exp= stands there twice";
        *once = term.spec;
    }
    *ret = record;
    return NULL;
}

bool spf_directive_next(tern_str *rest, struct spf_term *ret)
{
    tern_str word;

    while (next_word(rest, &word))
        if (parse_term(word, ret) == NULL && ret->kind < SPF_REDIRECT)
            return true;
    return false;
}
