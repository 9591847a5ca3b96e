/* SPDX-License-Identifier: Apache-2.0 */
#include "smtp/xclient.h"

#include <arpa/inet.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "mime/xtext.h"

static const struct slice names[SMTP_XATTR_COUNT] = {
    [SMTP_XATTR_NAME] = SLICE("NAME"),
    [SMTP_XATTR_ADDR] = SLICE("ADDR"),
    [SMTP_XATTR_PORT] = SLICE("PORT"),
    [SMTP_XATTR_PROTO] = SLICE("PROTO"),
    [SMTP_XATTR_HELO] = SLICE("HELO"),
    [SMTP_XATTR_LOGIN] = SLICE("LOGIN"),
    [SMTP_XATTR_DESTADDR] = SLICE("DESTADDR"),
    [SMTP_XATTR_DESTPORT] = SLICE("DESTPORT"),
    [SMTP_XATTR_REVERSE_NAME] = SLICE("REVERSE_NAME"),
    [SMTP_XATTR_IDENT] = SLICE("IDENT"),
    [SMTP_XATTR_SOURCE] = SLICE("SOURCE"),
};

const char *smtp_xattr_name(enum smtp_xattr attr)
{
    return names[attr].ptr;
}

/* False: no xtext, or too long. */
static bool decode(struct slice in, struct arena *memory, struct slice *ret)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    if (!xtext_decode(in, &out) || out.len > SMTP_XATTR_OCTETS_MAX)
        return false;
    *ret = arena_slice(memory, buf_slice(&out));
    return true;
}

/* These go into logs, records and Received. UTF-8 may stand where users are named. */
static bool is_printable(struct slice text, bool utf8)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c <= 0x20 || c == 0x7f || (c >= 0x80 && !utf8))
            return false;
    }
    return text.len > 0 && (!utf8 || utf8_valid(text));
}

static bool take(struct slice word, unsigned allowed, struct arena *memory, struct smtp_xattrs *x)
{
    ptrdiff_t equals = slice_find(word, '=');
    struct slice name = slice_head(word, equals > 0 ? (size_t)equals : 0);
    struct slice value = slice_from(word, name.len + 1);
    unsigned attr = 0;

    while (attr < SMTP_XATTR_COUNT && !slice_equal_nocase(name, names[attr]))
        attr++;
    if (attr == SMTP_XATTR_COUNT || (allowed & 1u << attr) == 0 || (x->given & 1u << attr) != 0)
        return false;
    x->given |= 1u << attr;
    if (!decode(value, memory, &x->text[attr]) || !is_printable(x->text[attr], attr == SMTP_XATTR_LOGIN))
        return false;
    if (slice_equal_nocase(x->text[attr], SLICE("[UNAVAILABLE]")) ||
        slice_equal_nocase(x->text[attr], SLICE("[TEMPUNAVAIL]"))) {
        x->unavailable |= 1u << attr;
        x->text[attr] = SLICE("");
    }
    return true;
}

bool smtp_xattrs_parse(struct slice arg, unsigned allowed, struct arena *memory, struct smtp_xattrs *ret)
{
    struct smtp_xattrs x = { 0 };

    for (unsigned i = 0; i < SMTP_XATTR_COUNT; i++)
        x.text[i] = SLICE("");
    for (struct slice rest = slice_trim(arg); rest.len > 0; rest = slice_trim(rest)) {
        ptrdiff_t blank = slice_find(rest, ' ');
        struct slice word = slice_head(rest, blank >= 0 ? (size_t)blank : rest.len);
        if (!take(word, allowed, memory, &x))
            return false;
        rest = slice_from(rest, word.len);
    }
    if (x.given == 0)
        return false;
    *ret = x;
    return true;
}

/* ---- what XCLIENT makes of them ---- */

/* "192.0.2.1", "IPV6:2001:db8::1", and the latter without its prefix. */
static bool read_address(struct slice text, tern_address *a)
{
    static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
    char copy[INET6_ADDRSTRLEN];

    if (slice_starts_nocase(text, SLICE("IPV6:")))
        text = slice_from(text, 5);
    if (text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *a = (tern_address){ .family = 4 };
    if (inet_pton(AF_INET, copy, a->octets) == 1)
        return true;
    *a = (tern_address){ .family = 6 };
    if (inet_pton(AF_INET6, copy, a->octets) != 1)
        return false;
    if (memcmp(a->octets, mapped, sizeof(mapped)) == 0) {
        tern_address four = { .family = 4 };
        memcpy(four.octets, a->octets + sizeof(mapped), 4);
        *a = four;
    }
    return true;
}

static bool read_port(struct slice text, uint16_t *ret)
{
    uint64_t port;

    if (text.len > 5 || !slice_to_u64(text, &port) || port > 65535)
        return false;
    *ret = (uint16_t)port;
    return true;
}

static bool is_there(const struct smtp_xattrs *x, unsigned bit)
{
    return (x->given & ~x->unavailable & bit) != 0;
}

bool smtp_xclient_read(const struct smtp_xattrs *x, struct smtp_xclient *ret)
{
    struct smtp_xclient c = { .given = x->given, .name = x->text[SMTP_XATTR_NAME], .helo = x->text[SMTP_XATTR_HELO],
                              .login = x->text[SMTP_XATTR_LOGIN] };
    struct slice proto = x->text[SMTP_XATTR_PROTO];

    if (c.name.len == 0) {
        c.name = x->text[SMTP_XATTR_REVERSE_NAME];
        c.name_forged = c.name.len > 0;
    }
    if (is_there(x, SMTP_XATTR_BIT(ADDR)) && !read_address(x->text[SMTP_XATTR_ADDR], &c.client))
        return false;
    if (is_there(x, SMTP_XATTR_BIT(DESTADDR)) && !read_address(x->text[SMTP_XATTR_DESTADDR], &c.local))
        return false;
    if (is_there(x, SMTP_XATTR_BIT(PORT)) && !read_port(x->text[SMTP_XATTR_PORT], &c.client.port))
        return false;
    if (is_there(x, SMTP_XATTR_BIT(DESTPORT)) && !read_port(x->text[SMTP_XATTR_DESTPORT], &c.local.port))
        return false;
    c.esmtp = slice_equal_nocase(proto, SLICE("ESMTP"));
    if (is_there(x, SMTP_XATTR_BIT(PROTO)) && !c.esmtp && !slice_equal_nocase(proto, SLICE("SMTP")))
        return false;
    *ret = c;
    return true;
}
