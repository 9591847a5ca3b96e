/* SPDX-License-Identifier: Apache-2.0 */
/*
 * domain.c - one spelling for every mail domain.
 *
 * ASCII domains never reach libidn2: they are checked and lowered here. U-labels are mapped by
 * UTS 46 (non-transitional), which is IDNA2008 plus case folding, so that what people type in
 * capitals is the same domain. The result is checked again with our own grammar: a mapping
 * must not bring in a character that the grammar forbids (a full-width '[' or '@').
 *
 * Sources: RFC 5321 4.1.2, 4.1.3; RFC 5890; RFC 6531 3.3.
 */
#include "mime/domain.h"

#include <arpa/inet.h>
#include <errno.h>
#include <idn2.h>

#include "base/utf8.h"

static bool is_let_dig(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* An underscore is none of the grammar, but of many names of hosts that send mail; nobody is served by refusing it. */
static bool label_is_valid(struct slice label)
{
    if (label.len == 0 || label.len > DOMAIN_LABEL_OCTETS_MAX)
        return false;
    for (size_t i = 0; i < label.len; i++)
        if (!is_let_dig(label.ptr[i]) && label.ptr[i] != '-' && label.ptr[i] != '_')
            return false;
    return label.ptr[0] != '-' && label.ptr[label.len - 1] != '-';
}

bool domain_is_valid(struct slice text)
{
    if (text.len == 0 || text.len > DOMAIN_OCTETS_MAX)
        return false;
    for (struct slice rest = text;;) {
        ptrdiff_t dot = slice_find(rest, '.');
        if (!label_is_valid(dot < 0 ? rest : slice_head(rest, (size_t)dot)))
            return false;
        if (dot < 0)
            return true;
        rest = slice_from(rest, (size_t)dot + 1);
    }
}

bool domain_is_literal(struct slice text)
{
    char inside[INET6_ADDRSTRLEN];
    unsigned char octets[16];
    int family = AF_INET;

    if (text.len < 2 || text.ptr[0] != '[' || text.ptr[text.len - 1] != ']')
        return false;
    struct slice s = slice_make(text.ptr + 1, text.len - 2);
    if (slice_starts_nocase(s, SLICE("IPv6:"))) {
        s = slice_from(s, 5);
        family = AF_INET6;
    }
    if (s.len >= sizeof(inside) || (s.len > 0 && memchr(s.ptr, '\0', s.len) != NULL))
        return false;
    memcpy(inside, s.ptr, s.len);
    inside[s.len] = '\0';
    return inet_pton(family, inside, octets) == 1;
}

static tern_str lowered(struct slice text, struct arena *arena)
{
    char *copy = arena_dup(arena, text);

    for (size_t i = 0; i < text.len; i++)
        copy[i] = ascii_lower(copy[i]);
    return (tern_str){ copy, text.len };
}

/* UTS 46 would take these for dots; RFC 6531 has but one dot. */
static bool has_foreign_dot(struct slice text)
{
    static const struct slice dots[] = { SLICE("\xe3\x80\x82"), SLICE("\xef\xbc\x8e"),
                                         SLICE("\xef\xbd\xa1") };

    for (size_t i = 0; i < sizeof(dots) / sizeof(dots[0]); i++)
        if (memmem(text.ptr, text.len, dots[i].ptr, dots[i].len) != NULL)
            return true;
    return false;
}

static bool ascii_part_is_valid(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if ((unsigned char)c < 0x80 && !is_let_dig(c) && c != '-' && c != '.')
            return false;
    }
    return true;
}

static int from_unicode(struct slice text, struct arena *arena, tern_str *ret)
{
    uint8_t *ascii = NULL;

    if (!utf8_valid(text) || !ascii_part_is_valid(text) || has_foreign_dot(text))
        return -EBADMSG;
    /*
     * Not IDN2_USE_STD3_ASCII_RULES: with it libidn2 leaves out what stands for an octet that no name may have, so
     * that "b<full-width />.example" would be b.example. Without it the octet is there, and what is looked at below.
     */
    int r = idn2_lookup_u8((const uint8_t *)arena_dup(arena, text), &ascii,
                           IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (r == IDN2_TOO_BIG_DOMAIN || r == IDN2_TOO_BIG_LABEL || r == IDN2_PUNYCODE_BIG_OUTPUT)
        return -ENAMETOOLONG;
    if (r != IDN2_OK)
        return -EBADMSG;
    struct slice s = slice_cstr((const char *)ascii);
    r = domain_is_valid(s) ? 0 : -EBADMSG;
    if (r == 0)
        *ret = lowered(s, arena);
    idn2_free(ascii);
    return r;
}

int domain_parse(struct slice text, bool utf8, struct arena *arena, tern_str *ret)
{
    if (text.len > DOMAIN_OCTETS_MAX)
        return -ENAMETOOLONG;
    if (text.len > 0 && text.ptr[0] == '[') {
        if (!domain_is_literal(text))
            return -EBADMSG;
        *ret = (tern_str){ arena_dup(arena, text), text.len };
        return 0;
    }
    if (!slice_is_ascii(text))
        return utf8 ? from_unicode(text, arena, ret) : utf8_valid(text) ? -EILSEQ : -EBADMSG;
    if (!domain_is_valid(text))
        return -EBADMSG;
    *ret = lowered(text, arena);
    return 0;
}

tern_str domain_to_unicode(struct slice domain, struct arena *arena)
{
    char *unicode = NULL;
    struct slice s = domain;

    if (domain_is_valid(domain) &&
        idn2_to_unicode_8z8z(arena_dup(arena, domain), &unicode, 0) == IDN2_OK)
        s = slice_cstr(unicode);
    tern_str result = { arena_dup(arena, s), s.len };
    idn2_free(unicode);
    return result;
}
