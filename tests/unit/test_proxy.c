/* SPDX-License-Identifier: Apache-2.0 */
/* test_proxy.c - PROXY headers in rows, each fed whole and octet by octet, and the bounds of both versions. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/conn.h"
#include "net/proxy.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define FOUR      "\xc0\x00\x02\x01\x7f\0\0\1\x9c\x40\0\x19" /* 192.0.2.1:40000 to 127.0.0.1:25 */
#define MAPPED    "\0\0\0\0\0\0\0\0\0\0\xff\xff"
#define SIX       "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1" MAPPED "\x7f\0\0\1\x9c\x40\0\x19"
#define UNIX      "/run/x" "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901" \
                  "/run/y" "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901"

/* `want`: the client and whom it meant, "-" for the connection's own, or the error. */
static const struct {
    const char *name;
    struct slice in;
    enum proxy_parse r;
    const char *want;
} rows[] = {
    { "IPv4", SLICE("PROXY TCP4 192.0.2.1 127.0.0.1 40000 25\r\n"), PROXY_DONE, "192.0.2.1:40000 127.0.0.1:25" },
    { "IPv6", SLICE("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"), PROXY_DONE, "[2001:db8::1]:1 [::1]:65535" },
    { "a mapped address is IPv4", SLICE("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), PROXY_DONE, "192.0.2.1:1 [::1]:2" },
    { "unknown", SLICE("PROXY UNKNOWN\r\n"), PROXY_DONE, "-" },
    { "unknown, with what nobody reads", SLICE("PROXY UNKNOWN ffff::1 ?? 99999\r\n"), PROXY_DONE, "-" },
    { "port 0", SLICE("PROXY TCP4 192.0.2.1 127.0.0.1 0 0\r\n"), PROXY_DONE, "192.0.2.1:0 127.0.0.1:0" },
    { "a beginning", SLICE("PROXY TCP4 192.0.2.1 127.0.0.1 40000 25\r"), PROXY_MORE, "" },
    { "no header", SLICE("EHLO client.example\r\n"), PROXY_BAD, "something that is no PROXY header" },
    { "small letters", SLICE("proxy TCP4 192.0.2.1 127.0.0.1 40000 25\r\n"), PROXY_BAD,
      "something that is no PROXY header" },
    { "an unknown family", SLICE("PROXY TCP5 192.0.2.1 127.0.0.1 1 2\r\n"), PROXY_BAD, "neither TCP4, TCP6 nor UNKNOWN" },
    { "no family", SLICE("PROXY \r\n"), PROXY_BAD, "neither TCP4, TCP6 nor UNKNOWN" },
    { "the wrong family", SLICE("PROXY TCP4 ::1 ::1 1 2\r\n"), PROXY_BAD, "an address that is none" },
    { "half an address", SLICE("PROXY TCP4 192.0.2 127.0.0.1 1 2\r\n"), PROXY_BAD, "an address that is none" },
    { "a name", SLICE("PROXY TCP4 localhost 127.0.0.1 1 2\r\n"), PROXY_BAD, "an address that is none" },
    { "NUL behind an address", SLICE("PROXY TCP4 192.0.2.1\0 127.0.0.1 1 2\r\n"), PROXY_BAD, "an address that is none" },
    { "two blanks", SLICE("PROXY TCP4  192.0.2.1 127.0.0.1 1 2\r\n"), PROXY_BAD, "an address that is none" },
    { "a port too high", SLICE("PROXY TCP4 192.0.2.1 127.0.0.1 65536 2\r\n"), PROXY_BAD, "a port that is none" },
    { "a port with a sign", SLICE("PROXY TCP4 192.0.2.1 127.0.0.1 1 +2\r\n"), PROXY_BAD, "a port that is none" },
    { "a port with zeros", SLICE("PROXY TCP4 192.0.2.1 127.0.0.1 01 2\r\n"), PROXY_BAD, "a port that is none" },
    { "a word too few", SLICE("PROXY TCP4 192.0.2.1 127.0.0.1 1\r\n"), PROXY_BAD, "a port that is none" },
    { "a word too many", SLICE("PROXY TCP4 192.0.2.1 127.0.0.1 1 2 3\r\n"), PROXY_BAD, "a port that is none" },
    { "a blank at the end", SLICE("PROXY TCP4 192.0.2.1 127.0.0.1 1 2 \r\n"), PROXY_BAD, "a port that is none" },
    { "a bare LF", SLICE("PROXY TCP4 192.0.2.1 127.0.0.1 1 2\n"), PROXY_BAD, "a line that does not end in CRLF" },
    { "a bare CR", SLICE("PROXY TCP4 192.0.2.1 127.0.0.1 1 2\rX"), PROXY_BAD, "a line that does not end in CRLF" },

    { "2: IPv4", SLICE(SIGNATURE "\x21\x11\0\x0c" FOUR), PROXY_DONE, "192.0.2.1:40000 127.0.0.1:25" },
    { "2: IPv6, mapped", SLICE(SIGNATURE "\x21\x21\0\x24" SIX), PROXY_DONE, "[2001:db8::1]:40000 127.0.0.1:25" },
    { "2: a unix socket", SLICE(SIGNATURE "\x21\x31\0\xd8" UNIX), PROXY_DONE, "-" },
    { "2: unspecified, with octets", SLICE(SIGNATURE "\x21\0\0\x07\x04\0\4abcd"), PROXY_DONE, "-" },
    { "2: the proxy itself", SLICE(SIGNATURE "\x20\0\0\0"), PROXY_DONE, "-" },
    { "2: the proxy itself, with what nobody reads", SLICE(SIGNATURE "\x20\x99\0\x03\x03\0\4"), PROXY_DONE, "-" },
    { "2: TLVs are skipped", SLICE(SIGNATURE "\x21\x11\0\x13" FOUR "\xee\0\4abcd"), PROXY_DONE,
      "192.0.2.1:40000 127.0.0.1:25" },
    { "2: an empty TLV", SLICE(SIGNATURE "\x21\x11\0\x0f" FOUR "\xee\0\0"), PROXY_DONE, "192.0.2.1:40000 127.0.0.1:25" },
    { "2: the checksum", SLICE(SIGNATURE "\x21\x11\0\x1a" FOUR "\x02\0\4host\x03\0\4\x05\x14\x21\x44"), PROXY_DONE,
      "192.0.2.1:40000 127.0.0.1:25" },
    { "2: a wrong checksum", SLICE(SIGNATURE "\x21\x11\0\x1a" FOUR "\x02\0\4hosT\x03\0\4\x05\x14\x21\x44"), PROXY_BAD,
      "a checksum that is wrong" },
    { "2: a short checksum", SLICE(SIGNATURE "\x21\x11\0\x11" FOUR "\x03\0\2ab"), PROXY_BAD,
      "a checksum that has not four octets" },
    { "2: a TLV that ends behind the header", SLICE(SIGNATURE "\x21\x11\0\x12" FOUR "\xee\0\4abc"), PROXY_BAD,
      "a TLV that is cut off" },
    { "2: two octets of a TLV", SLICE(SIGNATURE "\x21\x11\0\x0e" FOUR "\xee\0"), PROXY_BAD, "a TLV that is cut off" },
    { "2: addresses that do not fit", SLICE(SIGNATURE "\x21\x21\0\x0c" FOUR), PROXY_BAD, "addresses that are cut off" },
    { "2: a datagram", SLICE(SIGNATURE "\x21\x12\0\x0c" FOUR), PROXY_BAD,
      "an address family that is no stream of IPv4, IPv6 or unix" },
    { "2: a family that is none", SLICE(SIGNATURE "\x21\x41\0\0"), PROXY_BAD,
      "an address family that is no stream of IPv4, IPv6 or unix" },
    { "2: version 3", SLICE(SIGNATURE "\x31\x11\0\x0c" FOUR), PROXY_BAD, "a version that is not 2" },
    { "2: a command that is none", SLICE(SIGNATURE "\x22\x11\0\x0c" FOUR), PROXY_BAD,
      "a command that is neither LOCAL nor PROXY" },
    { "2: a signature that is none", SLICE("\r\n\r\n\0\r\nQUIT\r"), PROXY_BAD, "something that is no PROXY header" },
    { "2: a beginning", SLICE(SIGNATURE "\x21\x11\0\x0c"), PROXY_MORE, "" },
};

static void print(const struct proxy_header *h, char out[160])
{
    char client[NET_ADDRESS_TEXT_MAX], local[NET_ADDRESS_TEXT_MAX];

    net_address_print(&h->client, true, client);
    net_address_print(&h->local, true, local);
    (void)snprintf(out, 160, h->has_addresses ? "%s %s" : "-", client, local);
}

static void check(size_t i, size_t step)
{
    struct proxy_header h = { .octets = 4242 };
    enum proxy_parse r = PROXY_MORE;
    const char *error = NULL;
    char got[160] = "";

    for (size_t len = step; r == PROXY_MORE; len += step) {
        r = proxy_parse(slice_head(rows[i].in, len), &h, &error);
        if (len >= rows[i].in.len)
            break;
    }
    if (r == PROXY_DONE)
        print(&h, got);
    else if (r == PROXY_BAD)
        (void)snprintf(got, sizeof(got), "%s", error);
    if (r != rows[i].r || strcmp(got, rows[i].want) != 0)
        printf("%s (step %zu): %d \"%s\"\n", rows[i].name, step, (int)r, got);
    CU_ASSERT_EQUAL(r, rows[i].r);
    CU_ASSERT_STRING_EQUAL(got, rows[i].want);
    CU_ASSERT_EQUAL(h.octets, r == PROXY_DONE ? rows[i].in.len : 4242);
}

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check(i, rows[i].in.len);
        check(i, 1);
    }
}

/* What comes behind is not looked at. */
static void test_behind(void)
{
    struct proxy_header h;
    const char *error;

    CU_ASSERT_EQUAL(proxy_parse(SLICE("PROXY UNKNOWN\r\nPROXY TCP4 x"), &h, &error), PROXY_DONE);
    CU_ASSERT_EQUAL(h.octets, 15);
    CU_ASSERT_EQUAL(proxy_parse(SLICE(SIGNATURE "\x20\0\0\0\x16\x03\x01"), &h, &error), PROXY_DONE);
    CU_ASSERT_EQUAL(h.octets, 16);
}

static void test_bounds(void)
{
    static char text[PROXY_V2_OCTETS_MAX + 1];
    struct proxy_header h;
    const char *error;

    /* A line of 107 octets, and of 108. */
    memset(text, 'x', sizeof(text));
    memcpy(text, "PROXY UNKNOWN ", 14);
    memcpy(text + PROXY_V1_OCTETS_MAX - 2, "\r\n", 2);
    CU_ASSERT_EQUAL(proxy_parse(slice_make(text, PROXY_V1_OCTETS_MAX), &h, &error), PROXY_DONE);
    CU_ASSERT_EQUAL(proxy_parse(slice_make(text, PROXY_V1_OCTETS_MAX - 1), &h, &error), PROXY_MORE);
    memcpy(text + PROXY_V1_OCTETS_MAX - 2, "x\r\n", 3);
    CU_ASSERT_EQUAL(proxy_parse(slice_make(text, PROXY_V1_OCTETS_MAX + 1), &h, &error), PROXY_BAD);
    CU_ASSERT_EQUAL(proxy_parse(slice_make(text, PROXY_V1_OCTETS_MAX), &h, &error), PROXY_BAD);
    CU_ASSERT_EQUAL(proxy_parse(slice_make(text, PROXY_V1_OCTETS_MAX - 1), &h, &error), PROXY_MORE);
    /* A header of 4096 octets, and of 4097. */
    memset(text, 0, sizeof(text));
    memcpy(text, SIGNATURE "\x20\0", 14);
    text[14] = (char)((PROXY_V2_OCTETS_MAX - 16) >> 8);
    text[15] = (char)((PROXY_V2_OCTETS_MAX - 16) & 255);
    CU_ASSERT_EQUAL(proxy_parse(slice_make(text, PROXY_V2_OCTETS_MAX), &h, &error), PROXY_DONE);
    text[15]++;
    CU_ASSERT_EQUAL(proxy_parse(slice_make(text, 16), &h, &error), PROXY_BAD);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("proxy", NULL, NULL);
    CU_add_test(suite, "rows", test_rows);
    CU_add_test(suite, "what comes behind", test_behind);
    CU_add_test(suite, "bounds", test_bounds);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
