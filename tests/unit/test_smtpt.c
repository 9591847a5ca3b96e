/* SPDX-License-Identifier: Apache-2.0 */
/* test_smtpt.c - the language of `tern test`: what parses to what, each error with its line, each bound. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/smtpt.h"

#define HEAD "config c.yaml\ntest \"t\"\n"

/* ---- files that are wrong ---- */

static const struct {
    const char *name, *text;
    unsigned line;
    const char *error; /* its beginning */
} wrong[] = {
    { "an empty file", "", 0, "no config: which policy is tested?" },
    { "comments alone", "# a\n\n  # b\n", 3, "no config: which policy is tested?" },
    { "a config and no test", "config c.yaml\n", 1, "no test" },
    { "a test and no config", "test \"x\"\n", 1, "no config: which policy is tested?" },
    { "config without a file", "config\ntest \"x\"\n", 1, "expected config FILE or config <<" },
    { "a second config", "config a\nconfig b\n", 2, "a second config" },
    { "config in a test", HEAD "config b\n", 3, "config stands before the first test" },
    { "a test without quotes", "config c\ntest name\n", 2, "expected test \"what it shows\"" },
    { "one quote is not two", "config c\ntest \"\n", 2, "expected test \"what it shows\"" },
    { "text behind the quotes", "config c\ntest \"a\" b\n", 2, "expected test \"what it shows\"" },
    { "a word that is none", HEAD "hello\n", 3, "not a word of this language: config, clock" },
    { "words are case-sensitive", HEAD "CLIENT 192.0.2.1\n", 3, "not a word of this language" },
    { "a table in a test", HEAD "table t k\n", 3, "this stands before the first test" },
    { "C: before a test", "config c\nC: EHLO x\n", 2, "this stands in a test" },
    { "S: before a test", "config c\nS: 250\n", 2, "this stands in a test" },
    { "S: expects something", HEAD "S:\n", 3, "something is missing behind this word" },
    { "verdict expects something", HEAD "verdict  \n", 3, "something is missing behind this word" },
    { "advance expects something", HEAD "advance\n", 3, "something is missing behind this word" },
    { "message without a block", HEAD "message hello\n", 3, "expected message <<" },
    { "a block that does not end", HEAD "C: DATA\nmessage <<\n  Subject: x\n", 4,
      "the block that begins here with << has no line >>" },
    { "a config block that does not end", "\nconfig <<\n a: b\n", 2, "the block that begins here with << has no line >>" },
    { "clock in a test", HEAD "clock 2026-01-01\n", 3, "clock stands before the first test; in a test say advance" },
    { "clock without a date", "clock\n" HEAD, 1, "expected clock 2026-01-31" },
    { "clock with a wrong date", "clock 2026-13-01\n" HEAD, 1, "expected clock 2026-01-31" },
    { "clock with more behind it", "clock 2026-01-01x\n" HEAD, 1, "expected clock 2026-01-31" },
    { "clock before 2000", "clock 1999-12-31\n" HEAD, 1, "expected clock 2026-01-31" },
    { "a second clock", "clock 2026-01-01\nclock 2026-01-02\n" HEAD, 2, "a second clock" },
};

static void test_wrong(void)
{
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct arena arena;
        struct smtpt_file f;
        unsigned line = 99;
        const char *error = NULL;

        arena_init(&arena);
        int r = smtpt_parse(slice_cstr(wrong[i].text), &arena, &f, &line, &error);
        if (r == 0 || line != wrong[i].line || strncmp(error, wrong[i].error, strlen(wrong[i].error)) != 0)
            fprintf(stderr, "  case \"%s\": %d, line %u, %s\n", wrong[i].name, r, line, error != NULL ? error : "-");
        CU_ASSERT_TRUE(r < 0);
        CU_ASSERT_EQUAL(line, wrong[i].line);
        CU_ASSERT_PTR_NOT_NULL_FATAL(error);
        CU_ASSERT_EQUAL(strncmp(error, wrong[i].error, strlen(wrong[i].error)), 0);
        arena_fini(&arena);
    }
}

/* ---- lines ---- */

static const struct {
    const char *line;
    enum smtpt_kind kind;
    const char *text;
} lines[] = {
    { "client 192.0.2.1", SMTPT_CLIENT, "192.0.2.1" },
    { "\tlistener  mx \t", SMTPT_LISTENER, "mx" },
    { "dns a.example A 192.0.2.1 192.0.2.2", SMTPT_DNS, "a.example A 192.0.2.1 192.0.2.2" },
    { "kv space key -3", SMTPT_KV, "space key -3" },
    { "C: EHLO client.example", SMTPT_SAY, "EHLO client.example" },
    { "C:EHLO client.example", SMTPT_SAY, "EHLO client.example" },
    { "  C:  two blanks, and one behind ", SMTPT_SAY, " two blanks, and one behind " },
    { "C:", SMTPT_SAY, "" },
    { "C: ", SMTPT_SAY, "" },
    { "c: small", SMTPT_SAY, "small" },
    { "C: # no comment\r", SMTPT_SAY, "# no comment" },
    { "S: 250 2.1.0 *", SMTPT_EXPECT, "250 2.1.0 *" },
    { "S- 250-SIZE *", SMTPT_LINE, "250-SIZE *" },
    { "advance 5m", SMTPT_ADVANCE, "5m" },
    { "verdict REJECT greylist", SMTPT_VERDICT, "REJECT greylist" },
    { "header Subject: a: b", SMTPT_HEADER, "Subject: a: b" },
    { "no-header X-Spam", SMTPT_NO_HEADER, "X-Spam" },
    { "route a@b transport=x", SMTPT_ROUTE, "a@b transport=x" },
    { "queued 2", SMTPT_QUEUED, "2" },
    { "held quarantine*", SMTPT_HELD, "quarantine*" },
    { "sender a@b", SMTPT_SENDER, "a@b" },
    { "rcpt a@b", SMTPT_RCPT, "a@b" },
    { "disconnect", SMTPT_DISCONNECT, "" },
    { "message <<\n  a\n   b\n c\n\n\t\n>>", SMTPT_MESSAGE, "a\n b\nc\n\n\n" },
    { "message <<\n>>", SMTPT_MESSAGE, "" },
    { "message <<\n\n  the first blank line has no indentation\n  >>  ", SMTPT_MESSAGE,
      "\nthe first blank line has no indentation\n" },
    { "message <<\r\n  CRLF\r\n>>\r", SMTPT_MESSAGE, "CRLF\n" },
};

static void test_lines(void)
{
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        for (int newline = 0; newline < 2; newline++) {
            struct arena arena;
            struct smtpt_file f;
            struct buf text = BUF_INIT;
            unsigned line;
            const char *error = NULL;

            arena_init(&arena);
            buf_printf(&text, "%s%s%s", HEAD, lines[i].line, newline ? "\n" : "");
            CU_ASSERT_EQUAL(smtpt_parse(buf_slice(&text), &arena, &f, &line, &error), 0);
            if (error != NULL)
                fprintf(stderr, "  \"%s\": %s\n", lines[i].line, error);
            CU_ASSERT_EQUAL_FATAL(f.count, 1);
            CU_ASSERT_EQUAL_FATAL(f.tests[0].count, 1);
            const struct smtpt_line *l = &f.tests[0].lines[0];
            CU_ASSERT_EQUAL(l->kind, lines[i].kind);
            CU_ASSERT_EQUAL(l->line_no, 3);
            CU_ASSERT_TRUE(slice_equal(l->text, slice_cstr(lines[i].text)));
            if (!slice_equal(l->text, slice_cstr(lines[i].text)))
                fprintf(stderr, "  \"%s\": got \"%.*s\"\n", lines[i].line, (int)l->text.len, l->text.ptr);
            buf_free(&text);
            arena_fini(&arena);
        }
    }
}

static void test_file(void)
{
    struct arena arena;
    struct smtpt_file f;
    unsigned line;
    const char *error = NULL;

    arena_init(&arena);
    CU_ASSERT_EQUAL_FATAL(
        smtpt_parse(SLICE("# what it is\nconfig <<\n  a:\n    - b\n>>\nclock 2026-02-03T04:05:06\ntable t k v w\n"
                          "dns x A NXDOMAIN\ntest \"one\"\n  C: NOOP\ntest \"\"\n"),
                    &arena, &f, &line, &error),
        0);
    CU_ASSERT_TRUE(slice_equal(f.config_text, SLICE("  a:\n    - b\n")));
    CU_ASSERT_EQUAL(f.config_path.len, 0);
    CU_ASSERT_EQUAL(f.config_line, 2);
    CU_ASSERT_EQUAL(f.clock_ms, 1770091506000);
    CU_ASSERT_EQUAL_FATAL(f.common.count, 2);
    CU_ASSERT_EQUAL(f.common.lines[0].kind, SMTPT_TABLE);
    CU_ASSERT_EQUAL(f.common.lines[1].kind, SMTPT_DNS);
    CU_ASSERT_EQUAL_FATAL(f.count, 2);
    CU_ASSERT_TRUE(slice_equal(f.tests[0].name, SLICE("one")));
    CU_ASSERT_EQUAL(f.tests[0].line_no, 9);
    CU_ASSERT_EQUAL(f.tests[0].count, 1);
    CU_ASSERT_EQUAL(f.tests[1].name.len, 0);
    CU_ASSERT_EQUAL(f.tests[1].count, 0);
    arena_fini(&arena);
}

/* ---- bounds ---- */

static void parse_bound(struct buf *text, const char *want)
{
    struct arena arena;
    struct smtpt_file f;
    unsigned line;
    const char *error = NULL;

    arena_init(&arena);
    int r = smtpt_parse(buf_slice(text), &arena, &f, &line, &error);
    CU_ASSERT_EQUAL(r == 0, want == NULL);
    if (want != NULL && error != NULL)
        CU_ASSERT_STRING_EQUAL(error, want);
    arena_fini(&arena);
}

static void repeat(struct buf *text, const char *line, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        buf_add_cstr(text, line);
}

static void test_bounds(void)
{
    struct buf text = BUF_INIT;

    buf_add_cstr(&text, "config c\n");
    repeat(&text, "test \"t\"\n", SMTPT_TESTS_MAX);
    parse_bound(&text, NULL);
    repeat(&text, "test \"t\"\n", 1);
    parse_bound(&text, "more than 10000 tests in one file");
    buf_clear(&text);

    buf_add_cstr(&text, HEAD);
    repeat(&text, "C:\n", SMTPT_LINES_MAX);
    parse_bound(&text, NULL);
    repeat(&text, "C:\n", 1);
    parse_bound(&text, "more than 100000 lines in one test");
    buf_clear(&text);

    buf_add_cstr(&text, HEAD "#");
    while (text.len < SMTPT_FILE_OCTETS_MAX)
        buf_add_char(&text, '#');
    parse_bound(&text, NULL);
    buf_add_char(&text, '#');
    parse_bound(&text, "the file is larger than 16 MB");
    buf_free(&text);
}

/* Many blocks cost memory by their own size, not each by what follows: else this needs 20 GB. */
static void test_many_blocks(void)
{
    struct buf text = BUF_INIT;

    buf_add_cstr(&text, HEAD);
    repeat(&text, "message <<\nabcdefgh\n>>\n", 50000);
    parse_bound(&text, NULL);
    buf_free(&text);
}

/* ---- patterns ---- */

static const struct {
    const char *pattern, *text;
    bool match;
} patterns[] = {
    { "", "", true },          { "", "a", false },       { "*", "", true },          { "**", "abc", true },
    { "?", "", false },        { "?", "a", true },       { "a*c", "abbc", true },    { "a*c", "abbcd", false },
    { "*a*b*", "xaxb", true }, { "*ab", "aab", true },   { "*ab", "aba", false },    { "A", "a", false },
    { "a?c*", "abc", true },   { "?*?", "a", false },    { "?*?", "ab", true },      { "250 *", "250 ok", true },
};

static void test_match(void)
{
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        bool got = smtpt_match(slice_cstr(patterns[i].pattern), slice_cstr(patterns[i].text));

        if (got != patterns[i].match)
            fprintf(stderr, "  \"%s\" on \"%s\"\n", patterns[i].pattern, patterns[i].text);
        CU_ASSERT_EQUAL(got, patterns[i].match);
    }
}

/* The pattern that is slow by backtracking: pattern times text here, at most. */
static void test_match_is_bounded(void)
{
    struct buf pattern = BUF_INIT, text = BUF_INIT;

    repeat(&pattern, "*a", 500);
    buf_add_char(&pattern, 'b');
    repeat(&text, "a", 20000);
    CU_ASSERT_FALSE(smtpt_match(buf_slice(&pattern), buf_slice(&text)));
    buf_free(&pattern);
    buf_free(&text);
}

static void test_word(void)
{
    struct slice rest = SLICE(" \tone  two\tthree ");

    CU_ASSERT_TRUE(slice_equal(smtpt_word(&rest), SLICE("one")));
    CU_ASSERT_TRUE(slice_equal(smtpt_word(&rest), SLICE("two")));
    CU_ASSERT_TRUE(slice_equal(rest, SLICE("three")));
    CU_ASSERT_TRUE(slice_equal(smtpt_word(&rest), SLICE("three")));
    CU_ASSERT_EQUAL(smtpt_word(&rest).len, 0);
    CU_ASSERT_EQUAL(smtpt_word(&rest).len, 0);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("smtpt", NULL, NULL);
    CU_add_test(suite, "wrong files, with line and sentence", test_wrong);
    CU_add_test(suite, "each word", test_lines);
    CU_add_test(suite, "a whole file", test_file);
    CU_add_test(suite, "bounds, at and above", test_bounds);
    CU_add_test(suite, "many blocks", test_many_blocks);
    CU_add_test(suite, "patterns", test_match);
    CU_add_test(suite, "patterns are bounded", test_match_is_bounded);
    CU_add_test(suite, "words", test_word);
    (void)CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
