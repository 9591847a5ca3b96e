/* SPDX-License-Identifier: Apache-2.0 */
#include "net/proxy.h"

#include <arpa/inet.h>

#define SIGNATURE_OCTETS 12
#define V2_HEAD_OCTETS   16
#define TLV_HEAD_OCTETS  3
#define TLV_CRC32C       0x03

static const struct slice signature = SLICE("\r\n\r\n\0\r\nQUIT\n");
static const struct slice word = SLICE("PROXY ");

static enum proxy_parse bad(const char **ret_error, const char *text)
{
    *ret_error = text;
    return PROXY_BAD;
}

/* True as far as both go. */
static bool agree(struct slice in, struct slice want)
{
    size_t n = in.len < want.len ? in.len : want.len;

    return memcmp(in.ptr, want.ptr, n) == 0;
}

/* tern_address knows no mapped addresses. */
static void set_address(tern_address *a, uint8_t family, const void *octets, uint16_t port)
{
    static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
    const uint8_t *from = octets;

    *a = (tern_address){ .family = family, .port = port };
    if (family == 6 && memcmp(from, mapped, sizeof(mapped)) == 0) {
        a->family = 4;
        from += sizeof(mapped);
    }
    memcpy(a->octets, from, a->family == 4 ? 4 : 16);
}

/* ---- version 1: one line of text ---- */

/* Exactly one blank between words; the last one has none behind it. */
static struct slice next_word(struct slice *rest)
{
    ptrdiff_t blank = slice_find(*rest, ' ');
    struct slice w = slice_head(*rest, blank >= 0 ? (size_t)blank : rest->len);

    *rest = slice_from(*rest, blank >= 0 ? w.len + 1 : w.len);
    return w;
}

static bool read_address(struct slice text, int family, uint8_t octets[16])
{
    char copy[INET6_ADDRSTRLEN];

    if (text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return strlen(copy) == text.len && inet_pton(family, copy, octets) == 1;
}

static bool read_port(struct slice text, uint16_t *ret)
{
    uint64_t port;

    if (text.len > 5 || (text.len > 1 && text.ptr[0] == '0') || !slice_to_u64(text, &port) || port > 65535)
        return false;
    *ret = (uint16_t)port;
    return true;
}

static enum proxy_parse parse_line(struct slice rest, struct proxy_header *h, const char **ret_error)
{
    struct slice family = next_word(&rest);
    bool six = slice_equal(family, SLICE("TCP6"));
    uint8_t from[16], to[16];
    uint16_t from_port = 0, to_port = 0;

    if (slice_equal(family, SLICE("UNKNOWN")))
        return PROXY_DONE; /* 2.1: the rest of the line means nothing */
    if (!six && !slice_equal(family, SLICE("TCP4")))
        return bad(ret_error, "neither TCP4, TCP6 nor UNKNOWN");
    if (!read_address(next_word(&rest), six ? AF_INET6 : AF_INET, from) ||
        !read_address(next_word(&rest), six ? AF_INET6 : AF_INET, to))
        return bad(ret_error, "an address that is none");
    if (!read_port(next_word(&rest), &from_port))
        return bad(ret_error, "a port that is none");
    bool ends = slice_find(rest, ' ') < 0;
    if (!ends || !read_port(next_word(&rest), &to_port))
        return bad(ret_error, "a port that is none");
    h->has_addresses = true;
    set_address(&h->client, six ? 6 : 4, from, from_port);
    set_address(&h->local, six ? 6 : 4, to, to_port);
    return PROXY_DONE;
}

static enum proxy_parse parse_v1(struct slice in, struct proxy_header *h, const char **ret_error)
{
    struct slice head = slice_head(in, PROXY_V1_OCTETS_MAX);
    ptrdiff_t cr = slice_find(head, '\r');
    ptrdiff_t lf = slice_find(head, '\n');

    if (lf >= 0 && (cr < 0 || lf < cr))
        return bad(ret_error, "a line that does not end in CRLF");
    if (cr < 0 || (size_t)cr + 1 >= PROXY_V1_OCTETS_MAX)
        return in.len < PROXY_V1_OCTETS_MAX ? PROXY_MORE : bad(ret_error, "a line above 107 octets");
    if ((size_t)cr + 1 == in.len)
        return PROXY_MORE;
    if (in.ptr[cr + 1] != '\n')
        return bad(ret_error, "a line that does not end in CRLF");
    h->octets = (size_t)cr + 2;
    return parse_line(slice_from(slice_head(in, (size_t)cr), word.len), h, ret_error);
}

/* ---- version 2: octets ---- */

static unsigned get16(const char *p)
{
    return (unsigned)(unsigned char)p[0] << 8 | (unsigned char)p[1];
}

/* CRC-32C (RFC 4960 appendix B); `hole`: four octets that count as zero. */
static uint32_t crc32c(struct slice in, size_t hole)
{
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < in.len; i++) {
        crc ^= i - hole < 4 ? 0 : (unsigned char)in.ptr[i];
        for (int k = 0; k < 8; k++)
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

/* `whole`: the header; from `at` on there are only TLVs. What they say is not used, but for the checksum. */
static enum proxy_parse check_tlvs(struct slice whole, size_t at, const char **ret_error)
{
    while (at < whole.len) {
        if (whole.len - at < TLV_HEAD_OCTETS)
            return bad(ret_error, "a TLV that is cut off");
        size_t octets = get16(whole.ptr + at + 1), value = at + TLV_HEAD_OCTETS;
        if (octets > whole.len - value)
            return bad(ret_error, "a TLV that is cut off");
        if (whole.ptr[at] == TLV_CRC32C) {
            if (octets != 4)
                return bad(ret_error, "a checksum that has not four octets");
            uint32_t said = get16(whole.ptr + value) << 16 | get16(whole.ptr + value + 2);
            if (said != crc32c(whole, value))
                return bad(ret_error, "a checksum that is wrong");
        }
        at = value + octets;
    }
    return PROXY_DONE;
}

static enum proxy_parse parse_addresses(struct slice whole, struct proxy_header *h, const char **ret_error)
{
    static const struct {
        unsigned family, octets; /* transport protocol in the low half: 1 is a stream */
        uint8_t ip;
    } families[] = { { 0x00, 0, 0 }, { 0x11, 12, 4 }, { 0x21, 36, 6 }, { 0x31, 216, 0 } };
    const char *a = whole.ptr + V2_HEAD_OCTETS;
    size_t i = 0;

    while (i < 4 && families[i].family != (unsigned char)whole.ptr[13])
        i++;
    if (i == 4)
        return bad(ret_error, "an address family that is no stream of IPv4, IPv6 or unix");
    if (whole.len - V2_HEAD_OCTETS < families[i].octets)
        return bad(ret_error, "addresses that are cut off");
    h->has_addresses = families[i].ip != 0;
    if (families[i].ip != 0) {
        size_t n = families[i].ip == 4 ? 4 : 16;
        set_address(&h->client, families[i].ip, a, (uint16_t)get16(a + 2 * n));
        set_address(&h->local, families[i].ip, a + n, (uint16_t)get16(a + 2 * n + 2));
    }
    return check_tlvs(whole, V2_HEAD_OCTETS + families[i].octets, ret_error);
}

static enum proxy_parse parse_v2(struct slice in, struct proxy_header *h, const char **ret_error)
{
    if (in.len > SIGNATURE_OCTETS && ((unsigned char)in.ptr[12] >> 4) != 2)
        return bad(ret_error, "a version that is not 2");
    if (in.len > SIGNATURE_OCTETS && ((unsigned char)in.ptr[12] & 15) > 1)
        return bad(ret_error, "a command that is neither LOCAL nor PROXY");
    if (in.len < V2_HEAD_OCTETS)
        return PROXY_MORE;
    h->octets = V2_HEAD_OCTETS + get16(in.ptr + 14);
    if (h->octets > PROXY_V2_OCTETS_MAX)
        return bad(ret_error, "a header above 4096 octets");
    if (in.len < h->octets)
        return PROXY_MORE;
    if (((unsigned char)in.ptr[12] & 15) == 0)
        return PROXY_DONE; /* LOCAL: a health check; family and the rest are skipped (2.2) */
    return parse_addresses(slice_head(in, h->octets), h, ret_error);
}

enum proxy_parse proxy_parse(struct slice in, struct proxy_header *ret, const char **ret_error)
{
    struct proxy_header h = { 0 };
    enum proxy_parse r;

    if (in.len == 0)
        return PROXY_MORE;
    if (agree(in, word))
        r = in.len < word.len ? PROXY_MORE : parse_v1(in, &h, ret_error);
    else if (agree(in, signature))
        r = in.len < signature.len ? PROXY_MORE : parse_v2(in, &h, ret_error);
    else
        return bad(ret_error, "something that is no PROXY header");
    if (r == PROXY_DONE)
        *ret = h;
    return r;
}
