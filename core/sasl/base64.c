/* SPDX-License-Identifier: Apache-2.0 */
#include "sasl/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void add_group(struct buf *out, const unsigned char *at, size_t octets)
{
    uint32_t bits = (uint32_t)at[0] << 16 | (octets > 1 ? (uint32_t)at[1] << 8 : 0) |
                    (octets > 2 ? (uint32_t)at[2] : 0);

    buf_add_char(out, digits[bits >> 18]);
    buf_add_char(out, digits[bits >> 12 & 63]);
    buf_add_char(out, octets > 1 ? digits[bits >> 6 & 63] : '=');
    buf_add_char(out, octets > 2 ? digits[bits & 63] : '=');
}

void base64_add(struct buf *out, struct slice octets)
{
    const unsigned char *at = (const unsigned char *)octets.ptr;

    (void)buf_reserve(out, (octets.len + 2) / 3 * 4); /* at once: growing leaves copies behind */
    for (size_t i = 0; i < octets.len; i += 3)
        add_group(out, at + i, octets.len - i);
}

/* -1: no digit. */
static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters, of which the last `pads` are '='. Octets written, or -1. */
static int take_group(const char *at, unsigned pads, char out[3])
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < 4; i++) {
        int value = i < 4 - pads ? value_of(at[i]) : 0;
        if (value < 0)
            return -1;
        bits = bits << 6 | (uint32_t)value;
    }
    if ((pads == 1 && (bits & 0xff) != 0) || (pads == 2 && (bits & 0xffff) != 0))
        return -1;
    out[0] = (char)(bits >> 16);
    out[1] = (char)(bits >> 8);
    out[2] = (char)bits;
    return 3 - (int)pads;
}

bool base64_decode(struct buf *out, struct slice text)
{
    size_t before = out->len;

    if (text.len % 4 != 0)
        return false;
    char *to = buf_reserve(out, text.len / 4 * 3);
    for (size_t i = 0; i < text.len; i += 4) {
        const char *at = text.ptr + i;
        bool last = i + 4 == text.len;
        unsigned pads = !last || at[3] != '=' ? 0 : at[2] == '=' ? 2 : 1;
        char group[3];
        int octets = take_group(at, pads, group);
        if (octets < 0) {
            out->len = before;
            return false;
        }
        memcpy(to, group, (size_t)octets);
        to += octets;
        out->len += (size_t)octets;
    }
    out->data[out->len] = '\0';
    return true;
}
