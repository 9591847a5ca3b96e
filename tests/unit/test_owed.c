/* SPDX-License-Identifier: Apache-2.0 */
/* test_owed.c - what the queue says of a recipient whose sender is still to be told: any cut can be read. */
#include <CUnit/Basic.h>

#include "delivery/owed.h"

static void test_round_trip(void)
{
    static const struct owed rows[] = {
        { OWED_DELIVERED, SLICE("2.0.0"), SLICE(""), SLICE("250 2.0.0 stored") },
        { OWED_RELAYED, SLICE("2.1.5"), SLICE("mx.far.example[192.0.2.7]"), SLICE("250 2.1.5 Ok") },
        { OWED_RELAYED, SLICE(""), SLICE(""), SLICE("") },
        { OWED_DELIVERED, SLICE("2.0.0"), SLICE("h"), SLICE("250 with\ta tab") },
        { OWED_DELAY, SLICE("4.2.1"), SLICE("mx.far.example[192.0.2.7]"), SLICE("451 4.2.1 later") },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        struct owed got;

        owed_encode(&rows[i], &text);
        CU_ASSERT(owed_decode(buf_slice(&text), &got));
        CU_ASSERT(got.what == rows[i].what && slice_equal(got.status, rows[i].status) &&
                  slice_equal(got.host, rows[i].host) && slice_equal(got.text, rows[i].text));
        for (size_t len = 2; len <= text.len; len++) { /* 10 octets stay of each of 100,000 */
            CU_ASSERT(owed_decode(slice_head(buf_slice(&text), len), &got));
            CU_ASSERT_EQUAL(got.what, rows[i].what);
        }
    }
}

static void test_replies_are_none(void)
{
    static const struct slice rows[] = { SLICE(""), SLICE("\006"), SLICE("250 2.0.0 ok"), SLICE("d2.0.0\t\t250"),
                                         SLICE("\006x2.0.0\t\t250") };
    struct owed got;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CU_ASSERT(!owed_decode(rows[i], &got));
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("owed", NULL, NULL);
    CU_add_test(suite, "round trip, whole and cut", test_round_trip);
    CU_add_test(suite, "replies are none", test_replies_are_none);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
