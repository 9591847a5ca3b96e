/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xtext.c - "+" and two hex digits stand for an octet; the digits are upper case (RFC 3461 section 4
 * defines no others, and who reads "+2b" otherwise than we do reads another address).
 */
#include "mime/xtext.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The octet at the front, its length in *ret_len; -1: bad syntax. */
static int next(struct slice s, size_t *ret_len)
{
    unsigned char c = (unsigned char)s.ptr[0];

    *ret_len = 1;
    if (c != '+')
        return c > 0x20 && c < 0x7f && c != '=' ? c : -1;
    *ret_len = 3;
    if (s.len < 3 || hex(s.ptr[1]) < 0 || hex(s.ptr[2]) < 0)
        return -1;
    return hex(s.ptr[1]) * 16 + hex(s.ptr[2]);
}

bool xtext_decode(struct slice text, struct buf *out)
{
    size_t len;

    for (; text.len > 0; text = slice_from(text, len)) {
        int c = next(text, &len);
        if (c < 0)
            return false;
        buf_add_char(out, (char)c);
    }
    return true;
}

/* Whether all octets that it stands for are from `first` to `last`. */
static bool stands_for(struct slice text, int first, int last)
{
    size_t len;

    for (; text.len > 0; text = slice_from(text, len)) {
        int c = next(text, &len);
        if (c < first || c > last)
            return false;
    }
    return true;
}

bool xtext_is_valid(struct slice text)
{
    return stands_for(text, 0, 0xff);
}

bool xtext_is_printable(struct slice text)
{
    return stands_for(text, 0x20, 0x7e);
}
