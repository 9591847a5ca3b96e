/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/smtpt.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

#define CLOCK_YEAR_MIN 2000

static const struct {
    const char *word;
    enum smtpt_kind kind;
    bool in_test, in_file; /* where it may stand */
    bool needs_text;
} words[] = {
    { "client", SMTPT_CLIENT, true, false, true },
    { "listener", SMTPT_LISTENER, true, false, true },
    { "early", SMTPT_EARLY, true, false, true },
    { "dns", SMTPT_DNS, true, true, true },
    { "kv", SMTPT_KV, true, true, true },
    { "table", SMTPT_TABLE, false, true, true },
    { "C:", SMTPT_SAY, true, false, false },
    { "S:", SMTPT_EXPECT, true, false, true },
    { "S-", SMTPT_LINE, true, false, true },
    { "message", SMTPT_MESSAGE, true, false, true },
    { "advance", SMTPT_ADVANCE, true, false, true },
    { "verdict", SMTPT_VERDICT, true, false, true },
    { "header", SMTPT_HEADER, true, false, true },
    { "no-header", SMTPT_NO_HEADER, true, false, true },
    { "route", SMTPT_ROUTE, true, false, true },
    { "queued", SMTPT_QUEUED, true, false, true },
    { "held", SMTPT_HELD, true, false, true },
    { "sender", SMTPT_SENDER, true, false, true },
    { "rcpt", SMTPT_RCPT, true, false, true },
    { "disconnect", SMTPT_DISCONNECT, true, false, false },
};
#define WORDS (sizeof(words) / sizeof(words[0]))

static const char open_block[] = "the block that begins here with << has no line >>";

struct parser {
    struct slice rest;
    unsigned line_no;
    struct arena *arena;
    struct smtpt_file *file;
    struct smtpt_test *test; /* NULL before the first */
    const char *error;
};

struct slice smtpt_word(struct slice *rest)
{
    *rest = slice_trim(*rest);
    size_t n = 0;
    while (n < rest->len && rest->ptr[n] != ' ' && rest->ptr[n] != '\t')
        n++;
    struct slice word = slice_head(*rest, n);
    *rest = slice_trim(slice_from(*rest, n));
    return word;
}

bool smtpt_match(struct slice pattern, struct slice text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, resume = 0;

    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.len && (pattern.ptr[p] == '?' || pattern.ptr[p] == text.ptr[t])) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

/* The next line without its end (LF or CRLF); false at the end of the file. */
static bool next_line(struct parser *p, struct slice *ret)
{
    if (p->rest.len == 0)
        return false;
    ptrdiff_t lf = slice_find(p->rest, '\n');
    size_t len = lf >= 0 ? (size_t)lf : p->rest.len;
    *ret = slice_head(p->rest, len);
    p->rest = slice_from(p->rest, len + 1);
    p->line_no++;
    if (ret->len > 0 && ret->ptr[ret->len - 1] == '\r')
        ret->len--;
    return true;
}

static int fail(struct parser *p, const char *error)
{
    p->error = error;
    return -EINVAL;
}

static size_t indent_of(struct slice line)
{
    size_t n = 0;

    while (n < line.len && (line.ptr[n] == ' ' || line.ptr[n] == '\t'))
        n++;
    return n;
}

/* Octets up to the line >>; 0 if there is none, too. */
static size_t block_octets(struct parser p)
{
    struct slice begin = p.rest, line;

    while (next_line(&p, &line))
        if (slice_equal(slice_trim(line), SLICE(">>")))
            return begin.len - p.rest.len;
    return 0;
}

/* The lines between << and >> as they stand, so that errors in them have the right column. */
static int parse_raw_block(struct parser *p, struct slice *ret)
{
    struct slice begin = p->rest, line;

    if (block_octets(*p) == 0)
        return fail(p, open_block);
    while (next_line(p, &line) && !slice_equal(slice_trim(line), SLICE(">>")))
        continue;
    *ret = slice_head(begin, (size_t)(line.ptr - begin.ptr));
    return 0;
}

/* The lines between << and >>, without the indentation of their first. */
static int parse_block(struct parser *p, struct slice *ret)
{
    struct slice line;
    /* By the block, not by what is left of the file: many blocks would cost its square. */
    size_t octets = block_octets(*p);
    char *out = octets > 0 ? arena_alloc(p->arena, octets) : NULL;
    size_t n = 0, indent = SIZE_MAX;

    if (out == NULL)
        return fail(p, open_block);

    while (next_line(p, &line) && !slice_equal(slice_trim(line), SLICE(">>"))) {
        if (indent == SIZE_MAX && slice_trim(line).len > 0)
            indent = indent_of(line);
        size_t cut = indent_of(line) < indent ? indent_of(line) : indent;
        struct slice text = slice_from(line, cut);
        memcpy(out + n, text.ptr, text.len);
        n += text.len;
        out[n++] = '\n';
    }
    assert(n <= octets);
    *ret = slice_make(out, n);
    return 0;
}

static int add_line(struct parser *p, struct smtpt_test *to, enum smtpt_kind kind, unsigned line_no,
                    struct slice text)
{
    if (to->count == SMTPT_LINES_MAX)
        return fail(p, "more than 100000 lines in one test");
    if (to->count == to->size) {
        unsigned size = to->size > 0 ? to->size * 2 : 16;
        struct smtpt_line *lines = arena_alloc(p->arena, size * sizeof(lines[0]));
        if (to->count > 0)
            memcpy(lines, to->lines, to->count * sizeof(lines[0]));
        to->lines = lines;
        to->size = size;
    }
    to->lines[to->count++] = (struct smtpt_line){ kind, line_no, text };
    return 0;
}

static int begin_test(struct parser *p, struct slice name)
{
    struct smtpt_file *f = p->file;

    if (name.len < 2 || name.ptr[0] != '"' || name.ptr[name.len - 1] != '"')
        return fail(p, "expected test \"what it shows\"");
    if (f->count == SMTPT_TESTS_MAX)
        return fail(p, "more than 10000 tests in one file");
    if (f->count == f->size) {
        unsigned size = f->size > 0 ? f->size * 2 : 16;
        struct smtpt_test *tests = arena_zalloc(p->arena, size * sizeof(tests[0]));
        if (f->count > 0)
            memcpy(tests, f->tests, f->count * sizeof(tests[0]));
        f->tests = tests;
        f->size = size;
    }
    p->test = &f->tests[f->count++];
    p->test->name = slice_make(name.ptr + 1, name.len - 2);
    p->test->line_no = p->line_no;
    return 0;
}

static int parse_config(struct parser *p, struct slice text)
{
    if (p->test != NULL)
        return fail(p, "config stands before the first test");
    if (p->file->config_line != 0)
        return fail(p, "a second config");
    p->file->config_line = p->line_no;
    if (slice_equal(text, SLICE("<<")))
        return parse_raw_block(p, &p->file->config_text);
    if (text.len == 0)
        return fail(p, "expected config FILE or config <<");
    p->file->config_path = text;
    return 0;
}

static int parse_clock(struct parser *p, struct slice text)
{
    char copy[32];
    struct tm tm = { 0 };

    if (p->test != NULL)
        return fail(p, "clock stands before the first test; in a test say advance");
    if (p->file->clock_ms != 0)
        return fail(p, "a second clock");
    if (text.len > 0 && text.len < sizeof(copy)) {
        memcpy(copy, text.ptr, text.len);
        copy[text.len] = '\0';
        const char *end = strptime(copy, "%Y-%m-%d", &tm);
        if (end != NULL && *end != '\0')
            end = strptime(end, "T%H:%M:%S", &tm);
        if (end == copy + text.len && tm.tm_year >= CLOCK_YEAR_MIN - 1900) {
            p->file->clock_ms = (uint64_t)timegm(&tm) * 1000;
            return 0;
        }
    }
    return fail(p, "expected clock 2026-01-31 or clock 2026-01-31T12:00:00 (UTC), from the year 2000 on");
}

static int parse_word(struct parser *p, struct slice word, struct slice text)
{
    for (size_t i = 0; i < WORDS; i++) {
        if (!slice_equal(word, slice_cstr(words[i].word)))
            continue;
        if (p->test != NULL ? !words[i].in_test : !words[i].in_file)
            return fail(p, p->test != NULL ? "this stands before the first test" : "this stands in a test");
        if (words[i].needs_text && text.len == 0)
            return fail(p, "something is missing behind this word");
        unsigned at = p->line_no;
        if (words[i].kind == SMTPT_MESSAGE) {
            if (!slice_equal(text, SLICE("<<")))
                return fail(p, "expected message <<");
            if (parse_block(p, &text) < 0)
                return -EINVAL;
        }
        return add_line(p, p->test != NULL ? p->test : &p->file->common, words[i].kind, at, text);
    }
    return fail(p, "not a word of this language: config, clock, table, test, client, listener, early, dns, kv, C:, S:, "
                   "S-, message, advance, verdict, header, no-header, route, queued, held, sender, rcpt, disconnect");
}

static int parse_line(struct parser *p, struct slice line)
{
    struct slice rest = slice_trim(line);

    if (rest.len == 0 || rest.ptr[0] == '#')
        return 0;
    /* What the client says keeps its blanks: "C: MAIL FROM:<> " is another line than without the last one. */
    if (slice_starts_nocase(rest, SLICE("C:"))) {
        struct slice said = slice_from(line, (size_t)(rest.ptr - line.ptr) + 2);
        return parse_word(p, SLICE("C:"), said.len > 0 && said.ptr[0] == ' ' ? slice_from(said, 1) : said);
    }
    struct slice word = smtpt_word(&rest);
    if (slice_equal(word, SLICE("test")))
        return begin_test(p, rest);
    if (slice_equal(word, SLICE("config")))
        return parse_config(p, rest);
    if (slice_equal(word, SLICE("clock")))
        return parse_clock(p, rest);
    return parse_word(p, word, rest);
}

int smtpt_parse(struct slice text, struct arena *arena, struct smtpt_file *ret, unsigned *ret_line,
                const char **ret_error)
{
    struct parser p = { .rest = text, .arena = arena, .file = ret };
    struct slice line;
    int r = 0;

    memset(ret, 0, sizeof(*ret));
    if (text.len > SMTPT_FILE_OCTETS_MAX)
        r = fail(&p, "the file is larger than 16 MB");
    while (r == 0 && next_line(&p, &line))
        r = parse_line(&p, line);
    if (r == 0 && ret->config_line == 0)
        r = fail(&p, "no config: which policy is tested?");
    if (r == 0 && ret->count == 0)
        r = fail(&p, "no test");
    *ret_line = p.line_no;
    *ret_error = p.error;
    return r;
}
