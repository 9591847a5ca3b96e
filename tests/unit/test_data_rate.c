/* SPDX-License-Identifier: Apache-2.0 */
/* test_data_rate.c - limits.min_data_rate by a clock: 10 octets a second over windows of 2 s. */
#include <CUnit/Basic.h>

#include "base/slice.h"
#include "server/data_rate.h"

#define RATE      10
#define WINDOW_MS 2000

/*
 * One step a word: "run", "hold", "end" as the functions; "+N" octets come; "@N" it is N ms now; "=N" so much is left,
 * "=-" no time counts; "ok" it is enough; "slow:N" it is not, N octets came.
 */
static const struct {
    const char *name, *steps;
} rows[] = {
    { "nothing has begun", "=- @5000 =-" },
    { "the window", "run =2000 @1999 =1 ok @2000 =0 slow:0" },
    { "one octet too few", "run +19 @2000 slow:19" },
    { "just enough, and another window", "run +20 @2000 ok =2000 @4000 slow:0" },
    { "octets before the window are not of it", "+100 run +19 @2000 slow:19" },
    { "what came in the last window does not count in this one", "run +100 @2000 ok +19 @4000 slow:19" },
    { "chunks of one octet, with commands between them", "+1 run @500 +1 run @1000 +1 run @1500 +1 run @2000 slow:3" },
    { "chunks that are quick enough", "+10 run @500 +10 run @1000 +10 run @2000 ok @2500 =1500" },
    { "kept waiting", "run @500 hold =- @60000 =- run =1500 @61499 =1 @61500 slow:0" },
    { "kept waiting twice", "run @500 hold @1000 hold @1500 run @2000 run =1000 @3000 slow:0" },
    { "another message", "run @1999 end =- run =2000 @3998 =1 @3999 slow:0" },
    { "the end of one that is kept waiting", "run @1999 hold end @2500 run =2000" },
    { "looked at late: we stood still ourselves", "run @3000 slow:0" },
    { "later", "run @3001 ok =2000 @5001 slow:0" },
    { "late, but enough", "run +20 @9000 ok =2000" },
    { "a clock that goes back", "@5000 run @4000 =2000 @7000 slow:0" },
};

static uint64_t number(struct slice word)
{
    uint64_t n = 0;

    CU_ASSERT_FATAL(slice_to_u64(word, &n));
    return n;
}

struct world {
    struct data_rate rate;
    uint64_t now_ms, octets;
};

static bool ends_as(struct world *w, const char *want_name, uint64_t want_octets)
{
    uint64_t octets = 0;
    bool enough = data_rate_is_enough(&w->rate, w->now_ms, w->octets, RATE, &octets);

    return enough ? want_name[0] == 'o' : want_name[0] == 's' && octets == want_octets;
}

static bool step(struct world *w, struct slice word)
{
    if (slice_equal(word, SLICE("run")))
        data_rate_run(&w->rate, w->now_ms, w->octets, WINDOW_MS);
    else if (slice_equal(word, SLICE("hold")))
        data_rate_hold(&w->rate, w->now_ms);
    else if (slice_equal(word, SLICE("end")))
        data_rate_end(&w->rate);
    else if (word.ptr[0] == '+')
        w->octets += number(slice_from(word, 1));
    else if (word.ptr[0] == '@')
        w->now_ms = number(slice_from(word, 1));
    else if (slice_equal(word, SLICE("=-")))
        return data_rate_left_ms(&w->rate, w->now_ms) == UINT64_MAX;
    else if (word.ptr[0] == '=')
        return data_rate_left_ms(&w->rate, w->now_ms) == number(slice_from(word, 1));
    else if (slice_equal(word, SLICE("ok")))
        return ends_as(w, "ok", 0);
    else if (slice_starts_nocase(word, SLICE("slow:")))
        return ends_as(w, "slow", number(slice_from(word, 5)));
    else
        return false;
    return true;
}

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world w = { 0 };
        struct slice rest = slice_cstr(rows[i].steps);
        while (rest.len > 0) {
            ptrdiff_t blank = slice_find(rest, ' ');
            struct slice word = blank < 0 ? rest : slice_head(rest, (size_t)blank);
            bool good = step(&w, word);
            if (!good)
                printf("%s: %.*s\n", rows[i].name, (int)rest.len, rest.ptr);
            CU_ASSERT(good);
            rest = slice_from(rest, word.len + (blank >= 0));
        }
    }
}

int main(void)
{
    static const CU_TestInfo tests[] = { { "rows", test_rows }, CU_TEST_INFO_NULL };
    CU_SuiteInfo suites[] = { { "data rate", NULL, NULL, NULL, NULL, (CU_TestInfo *)tests }, CU_SUITE_INFO_NULL };

    CU_initialize_registry();
    CU_register_suites(suites);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
