/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

static bool continues(struct slice s, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (((unsigned char)s.ptr[i] & 0xc0) != 0x80)
            return false;
    return true;
}

size_t utf8_len(struct slice s)
{
    if (s.len == 0)
        return 0;
    unsigned char c = (unsigned char)s.ptr[0];
    if (c < 0x80)
        return 1;
    size_t len = c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (len == 0 || s.len < len || !continues(s, 1, len))
        return 0;
    unsigned char second = (unsigned char)s.ptr[1];
    /* RFC 3629 section 4: the second octet rules out overlong forms, surrogates, > U+10FFFF. */
    if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f) ||
        (c == 0xf0 && second < 0x90) || (c == 0xf4 && second > 0x8f))
        return 0;
    return len;
}

bool utf8_valid(struct slice s)
{
    while (s.len > 0) {
        size_t len = utf8_len(s);
        if (len == 0)
            return false;
        s = slice_from(s, len);
    }
    return true;
}

size_t utf8_shown_len(struct slice s)
{
    const unsigned char *at = (const unsigned char *)s.ptr;
    size_t len = utf8_len(s);
    bool control = (len == 1 && (at[0] < 0x20 || at[0] == 0x7f)) || (len == 2 && at[0] == 0xc2 && at[1] < 0xa0);
    bool separator = len == 3 && at[0] == 0xe2 && at[1] == 0x80 && (at[2] == 0xa8 || at[2] == 0xa9);

    return control || separator ? 0 : len;
}

bool slice_is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] >= 0x80)
            return false;
    return true;
}
