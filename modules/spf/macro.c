/* SPDX-License-Identifier: Apache-2.0 */
/*
 * macro.c - the macros of SPF. See check.h. Source: RFC 7208 7.
 */
#include <stdio.h>

#include "check.h"

#define KEEP_MAX 128 /* RFC 7208 7.3: up to 127 must be told apart */

/* A macro, or an octet that stands for itself. */
struct piece {
    char letter; /* '\0': an octet */
    char octet;
    const char *fixed; /* what %%, %_ and %- stand for, or NULL */
    bool escape, reverse;
    unsigned keep; /* parts from the right; 0: all */
    tern_str delimiters;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c);
}

/* Behind "%{". False: it is malformed. */
static bool read_braces(tern_str text, size_t *at, struct piece *ret)
{
    size_t i = *at;

    if (i >= text.len || memchr("slodipvhcrt", spf_lower(text.ptr[i]), 11) == NULL)
        return false;
    ret->letter = spf_lower(text.ptr[i]);
    ret->escape = text.ptr[i] != ret->letter;
    i++;
    if (i < text.len && is_digit(text.ptr[i])) {
        for (; i < text.len && is_digit(text.ptr[i]); i++)
            if (ret->keep < KEEP_MAX)
                ret->keep = ret->keep * 10 + (unsigned)(text.ptr[i] - '0');
        if (ret->keep == 0)
            return false;
    }
    if (i < text.len && spf_lower(text.ptr[i]) == 'r') {
        ret->reverse = true;
        i++;
    }
    size_t begin = i;
    while (i < text.len && text.ptr[i] != '\0' && strchr(".-+,/_=", text.ptr[i]) != NULL)
        i++;
    ret->delimiters = spf_str(text.ptr + begin, i - begin);
    if (i >= text.len || text.ptr[i] != '}')
        return false;
    *at = i + 1;
    return true;
}

/* False: it is malformed. */
static bool read_piece(tern_str text, size_t *at, struct piece *ret)
{
    char c = text.ptr[*at];

    *ret = (struct piece){ .octet = c };
    *at += 1;
    if (c != '%')
        return true;
    if (*at >= text.len)
        return false;
    c = text.ptr[*at];
    *at += 1;
    ret->fixed = c == '%' ? "%" : c == '_' ? " " : c == '-' ? "%20" : NULL;
    return ret->fixed != NULL || (c == '{' && read_braces(text, at, ret));
}

bool spf_macro_is_valid(tern_str text, bool explanation)
{
    for (size_t at = 0; at < text.len;) {
        struct piece p;
        if (!read_piece(text, &at, &p))
            return false;
        if (p.letter == '\0' && p.fixed == NULL && (p.octet <= ' ' || p.octet > '~') &&
            !(explanation && p.octet == ' '))
            return false;
        if (!explanation && p.letter != '\0' && memchr("crt", p.letter, 3) != NULL)
            return false;
    }
    return true;
}

/* toplabel = ( *alphanum ALPHA *alphanum ) / ( 1*alphanum "-" *( alphanum / "-" ) alphanum ) */
static bool is_top_label(tern_str label)
{
    bool digits = true;

    if (label.len == 0 || !is_alnum(label.ptr[0]) || !is_alnum(label.ptr[label.len - 1]))
        return false;
    for (size_t i = 0; i < label.len; i++) {
        if (!is_alnum(label.ptr[i]) && label.ptr[i] != '-')
            return false;
        digits = digits && is_digit(label.ptr[i]);
    }
    return !digits;
}

bool spf_domain_spec_is_valid(tern_str text)
{
    size_t tail = 0; /* behind the last macro */

    if (text.len == 0 || text.len > SPF_SPEC_OCTETS_MAX || !spf_macro_is_valid(text, false))
        return false;
    for (size_t at = 0; at < text.len;) {
        struct piece p;
        (void)read_piece(text, &at, &p);
        if (p.letter != '\0' || p.fixed != NULL)
            tail = at;
    }
    if (tail == text.len)
        return true;
    tern_str end = { text.ptr + tail, text.len - tail };
    if (end.ptr[end.len - 1] == '.')
        end.len--;
    const char *dot = memrchr(end.ptr, '.', end.len);
    return dot != NULL && is_top_label(spf_str(dot + 1, (size_t)(end.ptr + end.len - dot - 1)));
}

static bool uses(tern_str text, const char *letters)
{
    for (size_t at = 0; at < text.len;) {
        struct piece p;
        if (read_piece(text, &at, &p) && p.letter != '\0' && strchr(letters, p.letter) != NULL)
            return true;
    }
    return false;
}

bool spf_macro_uses_name(tern_str text)
{
    return uses(text, "p");
}

bool spf_macro_uses_local(tern_str text)
{
    return uses(text, "sl");
}

bool spf_macro_is_personal(tern_str text)
{
    /* Whatever stands there, in a record or beside one: "%%{s}" is taken for one, too. */
    for (const char *at = text.ptr, *end = text.ptr + text.len; at + 2 < end; at++) {
        at = memchr(at, '%', (size_t)(end - at));
        if (at == NULL || at + 2 >= end)
            return false;
        if (at[1] == '{' && memchr("slrt", spf_lower(at[2]), 4) != NULL)
            return true;
    }
    return false;
}

/* ---- expansion ---- */

static void put(struct spf_text *out, char c)
{
    if (out->len == out->room) {
        if (!out->tail)
            return;
        size_t keep = out->room / 2;
        memmove(out->at, out->at + out->room - keep, keep);
        out->len = keep;
    }
    out->at[out->len++] = c;
}

static void put_escaped(struct spf_text *out, char c)
{
    static const char hex[] = "0123456789ABCDEF";
    unsigned char u = (unsigned char)c;

    if (is_alnum(c) || (c != '\0' && strchr("-._~", c) != NULL)) {
        put(out, c);
        return;
    }
    put(out, '%');
    put(out, hex[u >> 4]);
    put(out, hex[u & 15]);
}

static tern_str value_of(char letter, const struct spf_macros *m, char buffer[SPF_VALUE_OCTETS_MAX])
{
    int n = 0;

    switch (letter) {
    case 's':
        n = snprintf(buffer, SPF_VALUE_OCTETS_MAX, "%.*s@%.*s", (int)m->local.len, m->local.ptr,
                     (int)m->sender_domain.len, m->sender_domain.ptr);
        break;
    case 'l': return m->local;
    case 'o': return m->sender_domain;
    case 'd': return m->domain;
    case 'i': return spf_str(buffer, address_dotted(&m->client, false, buffer));
    case 'c': return spf_str(buffer, address_text(&m->client, buffer));
    case 'p': return m->client_name;
    case 'v': return m->client.family == 4 ? TERN_STR("in-addr") : TERN_STR("ip6");
    case 'h': return m->helo;
    case 'r': return m->receiver.len > 0 ? m->receiver : TERN_STR("unknown");
    case 't': n = snprintf(buffer, SPF_VALUE_OCTETS_MAX, "%lld", (long long)m->now_s); break;
    default: break;
    }
    return spf_str(buffer, n < SPF_VALUE_OCTETS_MAX ? (size_t)n : SPF_VALUE_OCTETS_MAX - 1);
}

/* Splits at the delimiters; ends[i] is where part i ends. Returns how many. */
static size_t split(tern_str value, tern_str delimiters, uint16_t ends[SPF_VALUE_OCTETS_MAX + 1])
{
    size_t count = 0;

    for (size_t i = 0; i < value.len; i++)
        if (memchr(delimiters.ptr, value.ptr[i], delimiters.len) != NULL)
            ends[count++] = (uint16_t)i;
    ends[count++] = (uint16_t)value.len;
    return count;
}

static void expand(const struct piece *p, const struct spf_macros *m, struct spf_text *out)
{
    char buffer[SPF_VALUE_OCTETS_MAX];
    uint16_t ends[SPF_VALUE_OCTETS_MAX + 1];
    tern_str value = value_of(p->letter, m, buffer);

    if (value.len > SPF_VALUE_OCTETS_MAX)
        value.len = SPF_VALUE_OCTETS_MAX;
    size_t count = split(value, p->delimiters.len > 0 ? p->delimiters : TERN_STR("."), ends);
    size_t keep = p->keep == 0 || p->keep > count ? count : p->keep;
    for (size_t k = 0; k < keep; k++) {
        size_t part = p->reverse ? keep - 1 - k : count - keep + k;
        if (k > 0)
            put(out, '.');
        for (size_t i = part == 0 ? 0 : ends[part - 1] + 1u; i < ends[part]; i++)
            p->escape ? put_escaped(out, value.ptr[i]) : put(out, value.ptr[i]);
    }
}

void spf_macro_expand(tern_str text, const struct spf_macros *m, struct spf_text *out)
{
    for (size_t at = 0; at < text.len;) {
        struct piece p;
        if (!read_piece(text, &at, &p))
            return;
        if (p.letter != '\0')
            expand(&p, m, out);
        else if (p.fixed == NULL)
            put(out, p.octet);
        for (const char *c = p.fixed; c != NULL && *c != '\0'; c++)
            put(out, *c);
    }
}

bool spf_macro_expand_name(tern_str text, const struct spf_macros *m, char out[SPF_NAME_OCTETS_MAX + 1])
{
    char buffer[4 * (SPF_NAME_OCTETS_MAX + 1)];
    struct spf_text t = { .at = buffer, .room = sizeof(buffer), .tail = true };

    spf_macro_expand(text, m, &t);
    tern_str name = { buffer, t.len };
    if (name.len > 0 && name.ptr[name.len - 1] == '.')
        name.len--;
    while (name.len > SPF_NAME_OCTETS_MAX) { /* 7.3: whole labels go, from the left */
        const char *dot = memchr(name.ptr, '.', name.len);
        if (dot == NULL)
            return false;
        name = spf_str(dot + 1, name.len - (size_t)(dot + 1 - name.ptr));
    }
    if (!address_name_is_valid(name))
        return false;
    for (size_t i = 0; i < name.len; i++)
        out[i] = spf_lower(name.ptr[i]);
    out[name.len] = '\0';
    return true;
}
