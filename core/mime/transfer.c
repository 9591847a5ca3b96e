/* SPDX-License-Identifier: Apache-2.0 */
/* transfer.c - see transfer.h. Source: RFC 2045 6.7 (quoted-printable), 6.8 (base64). */
#include "mime/transfer.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static void decode_base64(struct slice s, struct buf *out)
{
    unsigned bits = 0, count = 0;
    char *at = buf_reserve(out, s.len / 4 * 3 + 3);
    size_t n = 0;

    for (size_t i = 0; i < s.len && s.ptr[i] != '='; i++) {
        int digit = base64_digit(s.ptr[i]);
        if (digit < 0)
            continue;
        bits = (bits << 6 | (unsigned)digit) & 0xffffffu;
        if (++count % 4 != 1) /* the first digit of four is no octet yet */
            at[n++] = (char)(bits >> (6 - 2 * ((count - 1) % 4)));
    }
    out->len += n;
}

/* Octets of a soft line break at s[i] == '=': blanks may stand before the line end. 0: it is none. */
static size_t soft_break(struct slice s, size_t i)
{
    size_t at = i + 1;

    while (at < s.len && (s.ptr[at] == ' ' || s.ptr[at] == '\t'))
        at++;
    if (at < s.len && s.ptr[at] == '\r')
        at++;
    return at < s.len && s.ptr[at] == '\n' ? at + 1 - i : 0;
}

static void decode_quoted(struct slice s, struct buf *out)
{
    for (size_t i = 0; i < s.len; i++) {
        size_t soft = s.ptr[i] == '=' ? soft_break(s, i) : 0;
        if (soft > 0) {
            i += soft - 1;
        } else if (s.ptr[i] == '=' && i + 2 < s.len && hex_digit(s.ptr[i + 1]) >= 0 && hex_digit(s.ptr[i + 2]) >= 0) {
            buf_add_char(out, (char)(hex_digit(s.ptr[i + 1]) * 16 + hex_digit(s.ptr[i + 2])));
            i += 2;
        } else {
            buf_add_char(out, s.ptr[i]);
        }
    }
}

void transfer_decode(struct slice encoding, struct slice octets, struct buf *out)
{
    if (slice_equal_nocase(encoding, SLICE("base64")))
        decode_base64(octets, out);
    else if (slice_equal_nocase(encoding, SLICE("quoted-printable")))
        decode_quoted(octets, out);
    else
        buf_add(out, octets);
}
