/* SPDX-License-Identifier: Apache-2.0 */
/* test_watch.c - who hangs and who was not let run, by a clock; and what /proc says of a thread. */
#include <CUnit/Basic.h>
#include <unistd.h>

#include "base/slice.h"
#include "server/watch.h"

#define LIMIT_MS 2000
#define NS       1000000

/*
 * One step a word. "beat@N": a beat at N ms. "r+N", "w+N": the thread has run, or has waited for a processor, for N ms
 * more. "S@N" (R, D, T ...): a look at N ms finds it in that state; "?@N" finds nothing out; "-@N" none is due. "=N":
 * so much counts as hung. "HANGS", and the end of the row: it hangs by the last look, and by none before.
 */
static const struct {
    const char *name, *steps;
} rows[] = {
    { "it beats", "beat@100 -@600 -@1100 beat@1100 -@2100 beat@2100 -@2600" },
    { "late by a little", "beat@100 S@1101 beat@1150 =0 -@2150 S@2151 =0" },
    { "asleep", "beat@100 S@1500 =0 S@2000 =500 S@2500 S@3000 S@3499 =1999 -@3500 S@3749 HANGS" },
    { "asleep in the kernel", "beat@100 D@1500 D@2500 D@3500 HANGS" },
    { "busy", "beat@100 R@1500 r+500 R@2000 =500 r+1000 R@3000 =1500 r+500 R@3500 HANGS" },
    { "busy with half a processor",
      "beat@100 R@1500 r+500 w+500 R@2500 =500 r+500 w+500 R@3500 =1000 r+500 w+500 R@4500 =1500 r+500 w+500 R@5500 HANGS" },
    { "waits for a processor, and none comes", "beat@100 R@1500 R@2500 R@9500 R@10500 =0" },
    { "gets one at last", "beat@100 R@1500 R@2500 R@3500 r+2 w+2300 R@4000 =0 r+1 w+499 S@4500 =1 beat@4501 S@5600 =0" },
    { "hangs once it has got one", "beat@100 R@1500 R@2500 =0 S@3500 =1000 S@4500 HANGS" },
    { "stopped", "beat@100 T@1500 T@2500 T@9000 =0 R@9500 =0 r+1 S@10000 =500 beat@10001 S@11500 =0" },
    { "a debugger", "beat@100 S@1500 t@2500 t@3500 t@4500 =0" },
    { "stopped while it hung", "beat@100 S@1500 S@2500 =1000 T@3500 T@9500 S@10500 =1000 S@11500 HANGS" },
    { "nobody looked for a while", "beat@100 S@1500 S@60000 =1000 beat@60001 S@61500 =0" },
    { "a late first look counts for nothing", "beat@100 S@60000 =0 S@60500 =500" },
    { "looks in quick succession", "beat@100 R@1500 -@1501 -@1749 r+200 R@1750 =250" },
    { "the kernel does not tell", "beat@100 ?@1500 =0 ?@2500 =1000 ?@3500 HANGS" },
    { "no longer tells", "beat@100 S@1500 ?@2500 =1000 S@3500 HANGS" },
    { "has not begun", "-@5000" },
};

struct world {
    struct watch watch;
    struct watch_look look;
    uint64_t beat_ms;
    bool hangs;
};

static uint64_t number(struct slice word)
{
    uint64_t n = 0;

    CU_ASSERT_FATAL(slice_to_u64(word, &n));
    return n;
}

static bool look(struct world *w, char state, uint64_t now_ms)
{
    bool due = watch_is_due(&w->watch, w->beat_ms, now_ms);

    if (state == '-')
        return !due;
    w->look.known = state != '?';
    w->look.state = state;
    w->hangs = watch_hangs(&w->watch, now_ms, &w->look, LIMIT_MS);
    return due;
}

static bool step(struct world *w, struct slice word)
{
    bool hung = w->hangs;

    if (slice_equal(word, SLICE("HANGS"))) {
        w->hangs = false;
        return hung;
    }
    if (slice_starts_nocase(word, SLICE("beat@")))
        w->beat_ms = number(slice_from(word, 5));
    else if (slice_starts_nocase(word, SLICE("r+")))
        w->look.ran_ns += number(slice_from(word, 2)) * NS;
    else if (slice_starts_nocase(word, SLICE("w+")))
        w->look.waited_ns += number(slice_from(word, 2)) * NS;
    else if (word.ptr[0] == '=')
        return w->watch.hung_ms == number(slice_from(word, 1));
    else
        return !hung && look(w, word.ptr[0], number(slice_from(word, 2)));
    return !hung;
}

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world w = { .look = { .ran_ns = 5 * NS } };
        struct slice rest = slice_cstr(rows[i].steps);
        while (rest.len > 0) {
            ptrdiff_t blank = slice_find(rest, ' ');
            struct slice word = blank < 0 ? rest : slice_head(rest, (size_t)blank);
            bool good = step(&w, word);
            if (!good)
                printf("%s: %.*s (%llu ms)\n", rows[i].name, (int)rest.len, rest.ptr,
                       (unsigned long long)w.watch.hung_ms);
            CU_ASSERT(good);
            rest = slice_from(rest, word.len + (blank >= 0));
        }
        CU_ASSERT_FALSE(w.hangs);
    }
}

static void test_parse(void)
{
    static const struct {
        const char *stat, *schedstat;
        struct watch_look want;
    } texts[] = {
        { "7 (tern-loop0) S 1 7 7", "183786 309636 2\n", { true, 'S', 183786, 309636 } },
        { "7 (a (b) c) R 1", "1 0 1\n", { true, 'R', 1, 0 } },
        { "7 (x) T 1", "18446744073709551615 18446744073709551615 1\n", { true, 'T', UINT64_MAX, UINT64_MAX } },
        { "7 (x) S 1", "0 0 0\n", { .known = false } }, /* a kernel that does not count */
        { "7 (x) S 1", "", { .known = false } },
        { "7 (x) S 1", "12\n", { .known = false } },
        { "7 (x) S 1", "x y z\n", { .known = false } },
        { "", "1 1 1\n", { .known = false } },
        { "7 (x)", "1 1 1\n", { .known = false } },
        { "7 (x) ", "1 1 1\n", { .known = false } },
        { "7 (x", "1 1 1\n", { .known = false } },
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct watch_look got = { .known = true };
        watch_parse(texts[i].stat, texts[i].schedstat, &got);
        CU_ASSERT_EQUAL(got.known, texts[i].want.known);
        CU_ASSERT_EQUAL(got.state, texts[i].want.state);
        CU_ASSERT_EQUAL(got.ran_ns, texts[i].want.ran_ns);
        CU_ASSERT_EQUAL(got.waited_ns, texts[i].want.waited_ns);
    }
}

/* Ourselves, who run now; and nobody. */
static void test_read(void)
{
    struct watch_look l;

    watch_read(getpid(), gettid(), &l);
    if (l.known)
        CU_ASSERT(l.state == 'R' && l.ran_ns > 0);
    if (!l.known)
        printf("this kernel does not tell how long a thread waited\n");
    watch_read(getpid(), 0, &l);
    CU_ASSERT_FALSE(l.known);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        { "rows", test_rows }, { "parse", test_parse }, { "read", test_read }, CU_TEST_INFO_NULL };
    CU_SuiteInfo suites[] = { { "watch", NULL, NULL, NULL, NULL, (CU_TestInfo *)tests }, CU_SUITE_INFO_NULL };

    CU_initialize_registry();
    CU_register_suites(suites);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
