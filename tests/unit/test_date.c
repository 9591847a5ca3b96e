/* SPDX-License-Identifier: Apache-2.0 */
/* test_date.c - dates printed, read, and both ways again. */
#include <CUnit/Basic.h>

#include "mime/date.h"

static void test_print(void)
{
    static const struct {
        int64_t unix_s;
        int offset;
        const char *text;
    } rows[] = {
        { 0, 0, "Thu, 1 Jan 1970 00:00:00 +0000" },
        { -1, 0, "Wed, 31 Dec 1969 23:59:59 +0000" },
        { 1709210096, 0, "Thu, 29 Feb 2024 12:34:56 +0000" },
        { 1709210096, 330, "Thu, 29 Feb 2024 18:04:56 +0530" },
        { 1709210096, -765, "Wed, 28 Feb 2024 23:49:56 -1245" },
        { 951782400, 0, "Tue, 29 Feb 2000 00:00:00 +0000" },
        { 253402300799, 0, "Fri, 31 Dec 9999 23:59:59 +0000" },
        { 253402300800, 0, "Fri, 31 Dec 9999 23:59:59 +0000" },
        { INT64_MAX, 1440, "Fri, 31 Dec 9999 23:59:59 +2359" },
        { INT64_MIN, -1440, "Mon, 1 Jan 0001 00:00:00 -2359" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[DATE_SIZE];
        CU_ASSERT_EQUAL(date_print(out, rows[i].unix_s, rows[i].offset), strlen(rows[i].text));
        CU_ASSERT_STRING_EQUAL(out, rows[i].text);
    }
}

static void test_parse(void)
{
    static const struct {
        const char *text;
        bool good;
        int64_t unix_s;
        int offset;
    } rows[] = {
        { "Thu, 29 Feb 2024 12:34:56 +0000", true, 1709210096, 0 },
        { "29 Feb 2024 12:34 -0000", true, 1709210040, 0 },
        { "thu,29 feb 2024 18:04:56 +0530", true, 1709210096, 330 },
        { " (a (b)) Thu , 29\r\n Feb (c) 2024 12 : 34 : 56 +0000 (UTC)", true, 1709210096, 0 },
        { "Thu, 29 Feb 24 12:34:56 GMT", true, 1709210096, 0 },
        { "1 Jan 70 00:00:00 UT", true, 0, 0 },
        { "1 Jan 100 00:00:00 UT", true, 946684800, 0 }, /* three digits count from 1900 */
        { "1 Jan 1970 00:00:00 EST", true, 18000, -300 },
        { "1 Jan 1970 00:00:00 PDT", true, 25200, -420 },
        { "1 Jan 1970 00:00:00 Z", true, 0, 0 },
        { "31 Dec 2016 23:59:60 +0000", true, 1483228800, 0 }, /* leap second */
        { "30 Feb 2024 12:00:00 +0000", false, 0, 0 },
        { "29 Feb 2023 12:00:00 +0000", false, 0, 0 },
        { "0 Feb 2023 12:00:00 +0000", false, 0, 0 },
        { "1 Foo 2023 12:00:00 +0000", false, 0, 0 },
        { "1 Jan 2023 24:00:00 +0000", false, 0, 0 },
        { "1 Jan 2023 12:60:00 +0000", false, 0, 0 },
        { "1 Jan 2023 12:00:61 +0000", false, 0, 0 },
        { "1 Jan 2023 12:00:00", false, 0, 0 },
        { "1 Jan 2023 12:00:00 +000", false, 0, 0 },
        { "1 Jan 2023 12:00:00 +0060", false, 0, 0 },
        { "1 Jan 2023 12:00:00 +0000 x", false, 0, 0 },
        { "1 Jan 12023 12:00:00 +0000", false, 0, 0 },
        { "1 Jan 1899 12:00:00 +0000", false, 0, 0 },
        { "Thu 1 Jan 1970 00:00:00 +0000", false, 0, 0 },
        { "1 Jan 1970 00:00:00 (", false, 0, 0 },
        { "", false, 0, 0 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t s = 42;
        int offset = 42;
        bool good = date_parse(slice_cstr(rows[i].text), &s, &offset);
        if (good != rows[i].good || (good && s != rows[i].unix_s))
            printf("%s: %d %lld\n", rows[i].text, good, (long long)s);
        CU_ASSERT_EQUAL(good, rows[i].good);
        CU_ASSERT_EQUAL(s, good ? rows[i].unix_s : 42);
        CU_ASSERT_EQUAL(offset, good ? rows[i].offset : 42);
    }
}

static void test_both_ways(void)
{
    for (int64_t t = -2208988800; t < 253402300799; t += 86400 * 97 + 12345) {
        char out[DATE_SIZE];
        int64_t s;
        int offset;
        size_t len = date_print(out, t, 120);
        if (t > 253402300799 - 7200)
            break;
        CU_ASSERT_TRUE_FATAL(date_parse(slice_make(out, len), &s, &offset));
        CU_ASSERT_EQUAL_FATAL(s, t);
        CU_ASSERT_EQUAL_FATAL(offset, 120);
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("date", NULL, NULL);
    CU_add_test(suite, "print", test_print);
    CU_add_test(suite, "parse", test_parse);
    CU_add_test(suite, "both ways", test_both_ways);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
