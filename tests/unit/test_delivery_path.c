/* SPDX-License-Identifier: Apache-2.0 */
/* test_delivery_path.c - how a next hop is written, and which addresses are ourselves. */
#include <CUnit/Basic.h>
#include <stdio.h>

#include "delivery/internal.h"

static const struct {
    const char *text;
    bool ok;
    enum hop_kind kind;
    const char *name;
    unsigned port;
} cases[] = {
    { "mx.example", true, HOP_HOST, "mx.example", 25 },
    { "mx.example:2525", true, HOP_HOST, "mx.example", 2525 },
    { "under_score.example", true, HOP_HOST, "under_score.example", 25 },
    { "[mx.example]:587", true, HOP_HOST, "mx.example", 587 },
    { "192.0.2.1", true, HOP_ADDRESS, NULL, 25 },
    { "192.0.2.1:10025", true, HOP_ADDRESS, NULL, 10025 },
    { "[192.0.2.1]:10025", true, HOP_ADDRESS, NULL, 10025 },
    { "[192.0.2.1]", true, HOP_ADDRESS, NULL, 25 },
    { "2001:db8::1", true, HOP_ADDRESS, NULL, 25 },
    { "[2001:db8::1]:24", true, HOP_ADDRESS, NULL, 24 },
    { "mx.example:65535", true, HOP_HOST, "mx.example", 65535 },
    { "mx.example:65536", false, 0, NULL, 0 },
    { "mx.example:0", false, 0, NULL, 0 },
    { "mx.example:", false, 0, NULL, 0 },
    { "mx.example:25x", false, 0, NULL, 0 },
    { "[mx.example", false, 0, NULL, 0 },
    { "[mx.example]25", false, 0, NULL, 0 },
    { "mx example", false, 0, NULL, 0 },
    { "", false, 0, NULL, 0 },
    { "[]", false, 0, NULL, 0 },
    { "unix:/run/dovecot/lmtp", true, HOP_UNIX, "/run/dovecot/lmtp", 25 },
    { "unix:run/lmtp", false, 0, NULL, 0 },
    { "unix:", false, 0, NULL, 0 },
    { "unix:/", false, 0, NULL, 0 },
};

static void test_hop_table(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hop hop = { .port = 4711 };
        bool ok = delivery_hop_parse(slice_cstr(cases[i].text), 25, &hop);
        if (ok != cases[i].ok)
            fprintf(stderr, "  case \"%s\": %d\n", cases[i].text, ok);
        CU_ASSERT_EQUAL(ok, cases[i].ok);
        if (!ok || !cases[i].ok) {
            CU_ASSERT_EQUAL(hop.port, 4711); /* untouched on failure */
            continue;
        }
        CU_ASSERT_EQUAL(hop.kind, cases[i].kind);
        if (hop.kind == HOP_ADDRESS)
            CU_ASSERT_EQUAL(hop.address.port, cases[i].port)
        else
            CU_ASSERT(slice_equal(hop.name, slice_cstr(cases[i].name)));
        if (hop.kind == HOP_HOST)
            CU_ASSERT_EQUAL(hop.port, cases[i].port);
    }
}

static void test_lengths(void)
{
    char path[5 + 108 + 1] = "unix:/";
    char host[255];
    struct hop hop;

    memset(path + 6, 'x', 106); /* sun_path holds 107 and a NUL */
    CU_ASSERT(delivery_hop_parse(slice_make(path, 5 + 107), 25, &hop));
    path[5 + 107] = 'x';
    CU_ASSERT_FALSE(delivery_hop_parse(slice_make(path, 5 + 108), 25, &hop));
    memset(host, 'a', sizeof(host));
    CU_ASSERT(delivery_hop_parse(slice_make(host, 253), 25, &hop));
    CU_ASSERT_FALSE(delivery_hop_parse(slice_make(host, 254), 25, &hop));
}

static void test_ourselves(void)
{
    tern_address own[] = {
        { .family = 4, .octets = { 192, 0, 2, 1 }, .port = 25 },
        { .family = 4, .octets = { 127, 0, 0, 1 }, .port = 2525 },
        { .family = 6, .octets = { 0x20, 1, 0xd, 0xb8 }, .port = 25 },
    };
    const struct dispatch_set set = { .own = own, .own_count = 3 };
    const struct {
        tern_address address;
        bool want;
    } table[] = {
        { { .family = 4, .octets = { 192, 0, 2, 1 }, .port = 25 }, true },
        { { .family = 4, .octets = { 192, 0, 2, 1 }, .port = 26 }, false },
        { { .family = 4, .octets = { 192, 0, 2, 2 }, .port = 25 }, false },
        { { .family = 4, .octets = { 127, 9, 9, 9 }, .port = 2525 }, true },
        { { .family = 6, .octets = { 0x20, 1, 0xd, 0xb8 }, .port = 25 }, true },
        { { .family = 6, .octets = { 0x20, 1, 0xd, 0xb9 }, .port = 25 }, false },
        /* A connection to these ends here, too. */
        { { .family = 4, .port = 25 }, true },
        { { .family = 4, .port = 26 }, false },
        { { .family = 6, .port = 2525 }, true },
        { { .family = 6, .octets = { [10] = 0xff, 0xff, 192, 0, 2, 1 }, .port = 25 }, true },
        { { .family = 6, .octets = { [10] = 0xff, 0xff, 192, 0, 2, 2 }, .port = 25 }, false },
        { { .family = 6, .octets = { [10] = 0xff, 0xff, 127, 9, 9, 9 }, .port = 2525 }, true },
        { { .family = 6, .octets = { [10] = 0xff, 0xff }, .port = 25 }, true },
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        CU_ASSERT_EQUAL(delivery_is_own(&set, &table[i].address), table[i].want);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("paths", NULL, NULL);

    CU_add_test(suite, "how a hop is written", test_hop_table);
    CU_add_test(suite, "its lengths", test_lengths);
    CU_add_test(suite, "ourselves", test_ourselves);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
