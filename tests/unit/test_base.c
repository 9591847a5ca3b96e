/* SPDX-License-Identifier: Apache-2.0 */
/* test_base.c - the small tools everything stands on. */
#include <CUnit/Basic.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/slice.h"
#include "base/table.h"
#include "base/utf8.h"

static const struct {
    const char *name;
    struct slice text;
    bool ok;
    uint64_t value;
} numbers[] = {
    { "zero", SLICE("0"), true, 0 },
    { "the largest", SLICE("18446744073709551615"), true, UINT64_MAX },
    { "one more overflows", SLICE("18446744073709551616"), false, 0 },
    { "empty", SLICE(""), false, 0 },
    { "a sign is no digit", SLICE("-1"), false, 0 },
    { "a blank is no digit", SLICE("1 "), false, 0 },
};

static void test_numbers(void)
{
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint64_t got = 0;
        CU_ASSERT_EQUAL(slice_to_u64(numbers[i].text, &got), numbers[i].ok);
        CU_ASSERT_EQUAL(got, numbers[i].value);
    }
}

static const struct {
    const char *name;
    struct slice text;
    bool ok;
} utf8_cases[] = {
    { "ASCII", SLICE("abc"), true },
    { "two octets", SLICE("\xc3\xbc"), true },
    { "four octets", SLICE("\xf0\x9f\x90\xa6"), true },
    { "overlong slash", SLICE("\xc0\xaf"), false },
    { "overlong three", SLICE("\xe0\x80\xaf"), false },
    { "surrogate", SLICE("\xed\xa0\x80"), false },
    { "past U+10FFFF", SLICE("\xf4\x90\x80\x80"), false },
    { "cut short", SLICE("\xe2\x82"), false },
    { "a lone continuation", SLICE("\x80"), false },
};

static void test_utf8(void)
{
    for (size_t i = 0; i < sizeof(utf8_cases) / sizeof(utf8_cases[0]); i++)
        CU_ASSERT_EQUAL(utf8_valid(utf8_cases[i].text), utf8_cases[i].ok);
}

static void test_json_escapes(void)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    buf_add_json(&out, SLICE("a\"b\\\n\x7f\xff\xc3\xbc"));
    CU_ASSERT_STRING_EQUAL(out.data, "\"a\\\"b\\\\\\u000a\\u007f\xef\xbf\xbd\xc3\xbc\"");
}

static const struct {
    const char *name;
    struct slice text;
    ptrdiff_t octets;
} line_ends[] = {
    { "at the end", SLICE("abc\r\n"), 3 },
    { "the first of two", SLICE("a\r\nb\r\n"), 1 },
    { "at once", SLICE("\r\nb"), 0 },
    { "behind bare ones", SLICE("\na\rb\n\r\n"), 5 },
    { "behind a CR", SLICE("a\r\r\n"), 2 },
    { "only the other way round", SLICE("a\n\r"), -1 },
    { "cut between the two", SLICE("a\r"), -1 },
    { "a lone LF", SLICE("\n"), -1 },
    { "nothing", SLICE(""), -1 },
};

static void test_line_ends(void)
{
    for (size_t i = 0; i < sizeof(line_ends) / sizeof(line_ends[0]); i++)
        if (slice_find_crlf(line_ends[i].text) != line_ends[i].octets)
            CU_FAIL(line_ends[i].name);
    CU_ASSERT_EQUAL(slice_find_crlf(slice_make(NULL, 0)), -1);
}

static unsigned cleaned;
static void count_up(void *arg)
{
    CU_ASSERT_EQUAL(cleaned, *(unsigned *)arg);
    cleaned++;
}

static void test_arena(void)
{
    static unsigned order[] = { 1, 0 };
    struct arena a;

    arena_init(&a);
    arena_on_fini(&a, count_up, &order[0]);
    arena_on_fini(&a, count_up, &order[1]);
    for (unsigned i = 0; i < 1000; i++) {
        char *p = arena_alloc(&a, i);
        CU_ASSERT_EQUAL((uintptr_t)p % 16, 0);
        memset(p, (int)i, i);
    }
    CU_ASSERT_STRING_EQUAL(arena_printf(&a, "%s-%d", "x", 7), "x-7");
    cleaned = 0;
    arena_fini(&a);
    CU_ASSERT_EQUAL(cleaned, 2); /* newest first */
}

static void test_arena_in(void)
{
    alignas(16) char memory[ARENA_LENT_OVERHEAD + 64];
    struct arena a;

    arena_init_in(&a, memory, sizeof(memory));
    for (unsigned i = 0; i < 4; i++) { /* just fits */
        char *p = arena_alloc(&a, 16);
        CU_ASSERT_EQUAL(p, memory + ARENA_LENT_OVERHEAD + (ptrdiff_t)i * 16);
    }
    char *p = arena_dup(&a, SLICE("one more"));
    CU_ASSERT_TRUE(p < memory || p >= memory + sizeof(memory));
    p = arena_alloc(&a, 100000); /* larger than a chunk */
    memset(p, 1, 100000);
    CU_ASSERT_EQUAL(a.octets, 4 * 16 + 9 + 100000);
    arena_fini(&a);
    for (unsigned i = 1; i < 300; i++) { /* strings and the rest meet in the middle */
        char *text = arena_printf(&a, "%0*u", (int)i, 7);
        char *other = arena_alloc(&a, i % 40);
        memset(other, 255, i % 40);
        CU_ASSERT_EQUAL((uintptr_t)other % 16, 0);
        CU_ASSERT_EQUAL(strlen(text), i);
        CU_ASSERT_EQUAL(text[i - 1], '7');
    }
    arena_fini(&a);
    p = arena_alloc(&a, 1); /* what was lent is the caller's again */
    CU_ASSERT_TRUE(p < memory || p >= memory + sizeof(memory));
    arena_fini(&a);
}

static void test_table(void)
{
    struct table t;
    static int values[5000];

    table_init(&t);
    for (unsigned i = 0; i < 5000; i++) {
        char key[16];
        int n = snprintf(key, sizeof(key), "k%u", i);
        CU_ASSERT_PTR_NULL(table_put(&t, slice_make(key, (size_t)n), &values[i]));
    }
    CU_ASSERT_EQUAL(t.count, 5000);
    CU_ASSERT_PTR_EQUAL(table_get(&t, SLICE("k4999")), &values[4999]);
    CU_ASSERT_PTR_NULL(table_get(&t, SLICE("k5000")));
    CU_ASSERT_PTR_EQUAL(table_put(&t, SLICE("k7"), &values[8]), &values[7]);
    CU_ASSERT_PTR_EQUAL(table_remove(&t, SLICE("k7")), &values[8]);
    CU_ASSERT_PTR_NULL(table_remove(&t, SLICE("k7")));
    CU_ASSERT_EQUAL(t.count, 4999);
    table_free(&t, NULL);
}

static void test_metrics(void)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct metric *c = metric_counter("tern_test_total", "kind=\"a\"", "A test.");
    struct metric *h = metric_histogram("tern_test_seconds", "", "A test.");

    CU_ASSERT_PTR_EQUAL(c, metric_counter("tern_test_total", "kind=\"a\"", "A test."));
    metric_add(c, 3);
    metric_observe_us(h, 60);
    metrics_print(&out);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "tern_test_total{kind=\"a\"} 3\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "tern_test_seconds_bucket{le=\"0.0001\"} 1\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "tern_test_seconds_bucket{le=\"5e-05\"} 0\n"));
}

static void test_printing(void)
{
    static const uint64_t printed[] = { 0, 7, 10, 4096, UINT64_MAX };
    static const char long_word[] = "0123456789012345678901234567890123456789012345678901234567890123456789";
    CLEANUP_BUF struct buf out = BUF_INIT;
    char when[CLOCK_TEXT_SIZE];

    for (size_t i = 0; i < sizeof(printed) / sizeof(printed[0]); i++) {
        buf_add_uint(&out, printed[i]);
        buf_add_char(&out, ' ');
    }
    CU_ASSERT_STRING_EQUAL(out.data, "0 7 10 4096 18446744073709551615 ");
    for (size_t cut = 0; cut < sizeof(long_word); cut++) { /* fits, fills, and is too long for the first guess */
        buf_free(&out);
        buf_printf(&out, "%.*s", (int)cut, long_word);
        CU_ASSERT_EQUAL(out.len, cut);
        CU_ASSERT_NSTRING_EQUAL(out.data, long_word, cut);
        CU_ASSERT_EQUAL(out.data[cut], '\0');
    }
    clock_print(when, 1795323843021);
    CU_ASSERT_STRING_EQUAL(when, "2026-11-22T05:04:03.021Z");
    clock_print(when, 1795323843999);
    CU_ASSERT_STRING_EQUAL(when, "2026-11-22T05:04:03.999Z");
    clock_print(when, 0);
    CU_ASSERT_STRING_EQUAL(when, "1970-01-01T00:00:00.000Z");
}

static void test_virtual_clock(void)
{
    clock_virtual_start(5000);
    clock_virtual_advance(300000);
    CU_ASSERT_EQUAL(clock_wall_ms(), 305000);
    CU_ASSERT_EQUAL(clock_now_ms(), 305000);
    clock_virtual_stop();
    CU_ASSERT_TRUE(clock_wall_ms() > 305000);
}

int main(void)
{
    CU_pSuite suite;

    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    suite = CU_add_suite("base", NULL, NULL);
    CU_add_test(suite, "numbers", test_numbers);
    CU_add_test(suite, "utf8", test_utf8);
    CU_add_test(suite, "json escapes", test_json_escapes);
    CU_add_test(suite, "line ends", test_line_ends);
    CU_add_test(suite, "arena", test_arena);
    CU_add_test(suite, "arena in memory of the caller", test_arena_in);
    CU_add_test(suite, "table", test_table);
    CU_add_test(suite, "metrics", test_metrics);
    CU_add_test(suite, "printing", test_printing);
    CU_add_test(suite, "virtual clock", test_virtual_clock);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    (void)CU_basic_run_tests();
    int failed = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
