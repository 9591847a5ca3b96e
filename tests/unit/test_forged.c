/* SPDX-License-Identifier: Apache-2.0 */
/* test_forged.c - fields Authentication-Results of others: which are taken for ours, and which fields they are. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#include "../../modules/auth_results/forged.h"

static tern_str str(const char *s)
{
    return (tern_str){ s, strlen(s) };
}

static void test_values(void)
{
    static const struct {
        const char *what, *value;
        bool ours;
    } rows[] = {
        { "our name", "mx.example; spf=pass", true },
        { "in capitals", "MX.EXAMPLE; spf=pass", true },
        { "quoted", "\"mx.example\"; spf=pass", true },
        { "with a backslash", "\"m\\x.example\"; spf=pass", true },
        { "behind a comment", "(x) mx.example; spf=pass", true },
        { "behind a comment with a `;`", "(x;) mx.example; spf=pass", true },
        { "folded", "\r\n\tmx.example\r\n\t; spf=pass", true },
        { "with a final dot", "mx.example.; spf=pass", true },
        { "with a version", "mx.example 1; spf=pass", true },
        { "with a version nobody has", "mx.example 99999; spf=pass", true },
        { "with a version that is none", "mx.example one; spf=pass", true },
        { "behind a version", "1 mx.example; spf=pass", true },
        { "behind a slash", "x/mx.example; spf=pass", true },
        { "without results", "mx.example", true },
        { "none", "mx.example; none", true },
        { "one more of ours", "mx2.example; spf=pass", true },
        { "below a domain of ours", "a.b.example.org; spf=pass", true },
        { "a domain of ours itself is not below it", "example.org; spf=pass", false },
        { "one that ends like it", "badexample.org; spf=pass", false },
        { "another", "mx.other.example; spf=pass", false },
        { "one that begins like ours", "mx.example.net; spf=pass", false },
        { "one that ends like ours", "a-mx.example; spf=pass", false },
        { "another that names us in a result", "mx.other.example; x=pass y.z=mx.example", false },
        { "another that names us in a comment in front", "mx.other.example (for mx.example); x=pass", true },
        { "another whose results are rubbish", "mx.other.example; (((", false },
        { "nothing", "", true },
        { "a blank", " ", true },
        { "a `;`", ";", true },
        { "a comment alone", "(x)", true },
        { "a comment without end", "(mx.other.example; spf=pass", true },
        { "a quoted string without end", "\"mx.other.example; spf=pass", true },
        { "a control", "\001mx.other.example; spf=pass", true },
        { "two words", "mx.other.example mx.third.example; spf=pass", true },
        { "U-labels of a name of ours", "b\xc3\xbc" "cher.example; spf=pass", true },
        { "the same in capitals", "B\xc3\x9c" "CHER.example; spf=pass", true },
        { "its A-label", "xn--bcher-kva.example; spf=pass", true },
        { "U-labels of another's", "k\xc3\xa4se.example; spf=pass", false },
        { "no UTF-8", "mx\xff.example; spf=pass", true },
        { "words beyond ASCII in a comment in front", "(\xc3\xa4 \xc3\xb6 \xc3\xbc \xc3\x9f) a.example; spf=pass", false },
        { "more of them than are looked at", "(\xc3\xa4 \xc3\xb6 \xc3\xbc \xc3\x9f \xc3\xa9) a.example; spf=pass", true },
        { "behind the `;` nobody counts them", "a.example; (\xc3\xa4 \xc3\xb6 \xc3\xbc \xc3\x9f \xc3\xa9) x=pass", false },
    };
    tern_str others[] = { TERN_STR("mx2.example"), TERN_STR("*.example.org"), TERN_STR("xn--bcher-kva.example") };
    struct tern_list list = { others, 3 };
    struct forged_names names = { TERN_STR("mx.example"), &list };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool ours = forged_is_ours(str(rows[i].value), &names);
        if (ours != rows[i].ours)
            fprintf(stderr, "  %s: %d\n", rows[i].what, ours);
        CU_ASSERT_EQUAL(ours, rows[i].ours);
    }
}

/* An authserv-id as long as is read, and one octet more: nobody knows whose that is. */
static void test_long_ids(void)
{
    struct forged_names names = { TERN_STR("mx.example"), NULL };
    char value[600];

    for (size_t len = 511; len <= 512; len++) {
        memset(value, 'x', len);
        strcpy(value + len, "; none");
        CU_ASSERT_EQUAL(forged_is_ours(str(value), &names), len == 512);
    }
}

static void test_fields(void)
{
    tern_str rest = str("Received: x\r\n"
                        "authentication-results :one\r\n"
                        "\tmore\r\n"
                        "ARC-Authentication-Results: no\r\n"
                        "Authentication-Results-Not: no\r\n"
                        "AUTHENTICATION-RESULTS:\ttwo\r\n"
                        "X: \r\n"
                        " Authentication-Results: folded\r\n"
                        "Authentication-Results\r\n"
                        " : no colon in its line\r\n"
                        "Authentication-Results:");
    static const char *const want[] = { "one\r\n\tmore", "\ttwo", "" };
    tern_str value;
    unsigned n = 0;

    for (; forged_next(&rest, &value); n++) {
        CU_ASSERT_FATAL(n < 3);
        CU_ASSERT_EQUAL(value.len, strlen(want[n]));
        CU_ASSERT_EQUAL(strncmp(value.ptr, want[n], value.len), 0);
    }
    CU_ASSERT_EQUAL(n, 3);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return CU_get_error();
    CU_pSuite suite = CU_add_suite("forged", NULL, NULL);
    CU_add_test(suite, "values", test_values);
    CU_add_test(suite, "long ids", test_long_ids);
    CU_add_test(suite, "fields", test_fields);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed > 0;
}
