/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_parts.c - MIME leaves: shapes, broken shapes, limits, odd readers, the mails of the
 * corpora.
 */
#include <CUnit/Basic.h>
#include <errno.h>

#include "base/utf8.h"
#include "corpora.h"
#include "mime/header.h"
#include "mime/parts.h"

struct source {
    struct slice body;
    size_t step; /* octets a read gives at most */
    int error;   /* at the end instead of 0 */
};

static int64_t read_source(void *arg, uint64_t offset, void *buffer, size_t octets)
{
    struct source *s = arg;
    struct slice rest = slice_from(s->body, offset);

    if (rest.len == 0 && s->error != 0)
        return s->error;
    rest = slice_head(slice_head(rest, octets), s->step);
    if (rest.len > 0)
        memcpy(buffer, rest.ptr, rest.len);
    return (int64_t)rest.len;
}

static int parse(struct slice mail, size_t step, struct arena *arena, struct parts *ret)
{
    size_t header, body;

    (void)header_end(mail, &header, &body);
    struct source s = { slice_from(mail, body), step, 0 };
    return parts_parse(slice_head(mail, header), read_source, &s, arena, ret);
}

#define MULTI(b) "Content-Type: multipart/mixed; boundary=" b "\r\n\r\n"

static const struct {
    const char *name, *mail, *leaves; /* depth type charset encoding filename {body} */
} rows[] = {
    { "plain", "Subject: x\r\n\r\nhello\r\n", "0 text/plain - 7bit - {hello\r\n}" },
    { "no header", "\r\nhello", "0 text/plain - 7bit - {hello}" },
    { "no body", "A: b\r\n", "0 text/plain - 7bit - {}" },
    { "typed",
      "Content-Type: TEXT/Html (c); charset=\"UTF-8\"; name=a.html\r\n"
      "Content-Transfer-Encoding: (c) BASE64\r\n\r\nx",
      "0 text/html utf-8 base64 a.html {x}" },
    { "two parts",
      MULTI("b") "pre\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: a/b\r\n\r\ntwo\r\n--b--\r\npost",
      "1 text/plain - 7bit - {one}1 a/b - 7bit - {two}" },
    { "blanks behind the delimiter", MULTI("\"b c\"") "--b c \t\r\n\r\none\r\n--b c-- \r\n",
      "1 text/plain - 7bit - {one}" },
    { "empty parts", MULTI("b") "--b\r\n\r\n--b\r\n--b\r\n\r\n\r\n--b--",
      "1 text/plain - 7bit - {}1 text/plain - 7bit - {}1 text/plain - 7bit - {}" },
    { "longer boundary is another", MULTI("b") "--b\r\n\r\none\r\n--bc\r\ntwo\r\n--b--",
      "1 text/plain - 7bit - {one\r\n--bc\r\ntwo}" },
    { "nested",
      MULTI("a") "--a\r\n" MULTI("b") "--b\r\n\r\none\r\n--b--\r\nx\r\n--a\r\n\r\ntwo\r\n--a--\r\n",
      "2 text/plain - 7bit - {one}1 text/plain - 7bit - {two}" },
    { "inner not closed",
      MULTI("a") "--a\r\n" MULTI("b") "--b\r\n\r\none\r\n--a\r\n\r\ntwo\r\n--a--\r\n",
      "2 text/plain - 7bit - {one}1 text/plain - 7bit - {two}" },
    { "same boundary inside",
      MULTI("a") "--a\r\n" MULTI("a") "--a\r\n\r\none\r\n--a--\r\n--a\r\n\r\ntwo\r\n--a--",
      "2 text/plain - 7bit - {one}1 text/plain - 7bit - {two}" },
    { "never closed", MULTI("b") "--b\r\n\r\none\r\n", "1 text/plain - 7bit - {one\r\n}" },
    { "never begun", MULTI("b") "one\r\n", "" },
    { "no boundary", "Content-Type: multipart/mixed\r\n\r\n--x\r\n",
      "0 multipart/mixed - 7bit - {--x\r\n}" },
    { "ends in a part's header", MULTI("b") "--b\r\nContent-Type: a/b\r\nX: y",
      "1 a/b - 7bit - {}" },
    { "boundary in a part's header", MULTI("b") "--b\r\nContent-Type: a/b\r\n--b\r\n\r\none",
      "1 a/b - 7bit - {}1 text/plain - 7bit - {one}" },
    { "message", "Content-Type: message/rfc822\r\n\r\nSubject: x\r\nContent-Type: a/b\r\n\r\none",
      "1 a/b - 7bit - {one}" },
    { "message in parts",
      MULTI("b") "--b\r\nContent-Type: message/rfc822\r\n\r\n" MULTI(
          "c") "--c\r\n\r\none\r\n--c--\r\n--b--",
      "3 text/plain - 7bit - {one}" },
    { "encoded message",
      "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nxx",
      "0 message/rfc822 - base64 - {xx}" },
    { "digest",
      "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nA: b\r\n\r\none\r\n--b\r\n"
      "Content-Type: text/plain\r\n\r\ntwo\r\n--b--",
      "2 text/plain - 7bit - {one}1 text/plain - 7bit - {two}" },
    { "broken type", "Content-Type: what\r\n\r\nx", "0 text/plain - 7bit - {x}" },
    { "lone LF is no line end", MULTI("b") "--b\n\r\n\r\n--b\r\n\r\none\n--b--\r\n--b--",
      "1 text/plain - 7bit - {one\n--b--}" },
    { "file name", "Content-Disposition: attachment; filename=\"a \\\"b\\\".txt\"\r\n\r\n",
      "0 text/plain - 7bit a \"b\".txt {}" },
    { "bare file name with blanks",
      "Content-Disposition: attachment; filename=a b.txt ; x=y\r\n\r\n",
      "0 text/plain - 7bit a b.txt {}" },
    { "encoded word", "Content-Type: a/b; name=\"=?utf-8?q?=C3=BC.txt?=\"\r\n\r\n",
      "0 a/b - 7bit \303\274.txt {}" },
    { "RFC 2231",
      "Content-Disposition: attachment; filename*=iso-8859-1'de'%FC%20x.txt; "
      "filename=u.txt\r\n\r\n",
      "0 text/plain - 7bit \303\274 x.txt {}" },
    { "RFC 2231 continued",
      "Content-Disposition: attachment; filename*1*=%BC; filename*0*=utf-8''%C3;"
      " filename*2=\"%20.exe\"; filename*4=no\r\n\r\n",
      "0 text/plain - 7bit \303\274%20.exe {}" },
    { "RFC 2231 boundary",
      "Content-Type: multipart/mixed; boundary*0=\"b\"; boundary*1=\"c\"\r\n\r\n"
      "--bc\r\n\r\none\r\n--bc--",
      "1 text/plain - 7bit - {one}" },
    { "control in a file name", "Content-Disposition: x; filename*=utf-8''a%0D%0Ab%00c\r\n\r\n",
      "0 text/plain - 7bit a  b c {}" },
    { "folded parameters", "Content-Type: a/b;\r\n\tcharset=x;\r\n name=\"y\r\n z\"\r\n\r\n",
      "0 a/b x 7bit y z {}" },
};

static void print(struct slice mail, const struct parts *p, struct buf *out)
{
    size_t header, body;

    (void)header_end(mail, &header, &body);
    for (unsigned i = 0; i < p->count; i++) {
        const struct tern_part *l = &p->items[i];
        buf_printf(out, "%u %s %s %s %s {", l->depth, l->type.ptr,
                   l->charset.len > 0 ? l->charset.ptr : "-", l->encoding.ptr,
                   l->filename.len > 0 ? l->filename.ptr : "-");
        buf_add(out, slice_head(slice_from(slice_from(mail, body), l->offset), l->size));
        buf_add_char(out, '}');
    }
    buf_add_char(out, '\0');
}

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t step = 1; step < 65536; step *= 5) {
            CLEANUP_BUF struct buf out = BUF_INIT;
            struct slice mail = slice_cstr(rows[i].mail);
            struct arena arena;
            struct parts p;
            arena_init(&arena);
            CU_ASSERT_EQUAL(parse(mail, step, &arena, &p), 0);
            CU_ASSERT_FALSE(p.truncated);
            print(mail, &p, &out);
            if (strcmp(out.data, rows[i].leaves) != 0)
                printf("%s: %s\n", rows[i].name, out.data);
            CU_ASSERT_STRING_EQUAL(out.data, rows[i].leaves);
            arena_fini(&arena);
        }
}

static struct parts parse_buf(struct buf *mail, struct arena *arena)
{
    struct parts p = { 0 };

    CU_ASSERT_EQUAL(parse(buf_slice(mail), 1000, arena, &p), 0);
    return p;
}

static void test_count_limit(void)
{
    for (unsigned count = PARTS_MAX; count <= PARTS_MAX + 1; count++) {
        CLEANUP_BUF struct buf mail = BUF_INIT;
        struct arena arena;
        arena_init(&arena);
        buf_add_cstr(&mail, MULTI("b"));
        for (unsigned i = 0; i < count; i++)
            buf_add_cstr(&mail, "--b\r\n\r\nx\r\n");
        buf_add_cstr(&mail, "--b--\r\n");
        struct parts p = parse_buf(&mail, &arena);
        CU_ASSERT_EQUAL(p.count, PARTS_MAX);
        CU_ASSERT_EQUAL(p.truncated, count > PARTS_MAX);
        CU_ASSERT_EQUAL(p.items[PARTS_MAX - 1].size, 1);
        arena_fini(&arena);
    }
}

static void test_depth_limit(void)
{
    for (unsigned depth = PARTS_DEPTH_MAX; depth <= PARTS_DEPTH_MAX + 1; depth++) {
        CLEANUP_BUF struct buf mail = BUF_INIT, messages = BUF_INIT;
        struct arena arena;
        arena_init(&arena);
        for (unsigned i = 0; i < depth; i++) {
            buf_printf(&mail, "Content-Type: multipart/mixed; boundary=b%u\r\n\r\n--b%u\r\n", i, i);
            buf_add_cstr(&messages, "Content-Type: message/rfc822\r\n\r\n");
        }
        buf_add_cstr(&mail, "\r\none");
        buf_add_cstr(&messages, "\r\none");
        for (int k = 0; k < 2; k++) {
            struct parts p = parse_buf(k == 0 ? &mail : &messages, &arena);
            CU_ASSERT_EQUAL(p.count, 1);
            CU_ASSERT_EQUAL(p.items[0].depth, PARTS_DEPTH_MAX);
            CU_ASSERT_EQUAL(p.truncated, depth > PARTS_DEPTH_MAX);
        }
        arena_fini(&arena);
    }
}

static void test_other_limits(void)
{
    for (unsigned more = 0; more < 2; more++) {
        CLEANUP_BUF struct buf boundary = BUF_INIT, params = BUF_INIT, header = BUF_INIT;
        struct arena arena;
        arena_init(&arena);

        char name[PARTS_BOUNDARY_MAX + 2] = "";
        memset(name, 'x', PARTS_BOUNDARY_MAX + more);
        buf_printf(&boundary, MULTI("%s") "--%s\r\n\r\none", name, name);
        struct parts p = parse_buf(&boundary, &arena);
        CU_ASSERT_STRING_EQUAL(p.items[0].type.ptr, more ? "multipart/mixed" : "text/plain");

        buf_add_cstr(&params, "Content-Type: a/b");
        for (unsigned i = 1; i < PARTS_PARAMS_MAX + more; i++)
            buf_printf(&params, "; x%u=y", i);
        buf_add_cstr(&params, "; charset=z\r\n\r\n");
        p = parse_buf(&params, &arena);
        CU_ASSERT_STRING_EQUAL(p.items[0].charset.ptr, more ? "" : "z");
        CU_ASSERT_EQUAL(p.truncated, more);

        /* "X-Long: xxx...\r\n" up to the bound, then a type that counts or not. */
        static const char type[] = "Content-Type: a/b\r\n";
        buf_add_cstr(&header, MULTI("b") "--b\r\nX-Long: ");
        size_t start = header.len - strlen("X-Long: ");
        while (header.len - start < PARTS_HEADER_OCTETS_MAX - sizeof(type) + 1 - 2 + more)
            buf_add_char(&header, 'x');
        buf_printf(&header, "\r\n%s\r\none", type);
        p = parse_buf(&header, &arena);
        CU_ASSERT_STRING_EQUAL(p.items[0].type.ptr, more ? "text/plain" : "a/b");
        CU_ASSERT_EQUAL(p.truncated, more);
        CU_ASSERT_EQUAL(p.items[0].size, 3);
        arena_fini(&arena);
    }
}

/* Lines about as long as a block, with delimiters at every place around its end. */
static void test_block_edges(void)
{
    for (size_t len = 65536 - 12; len < 65536 + 4; len++) {
        CLEANUP_BUF struct buf mail = BUF_INIT;
        struct arena arena;
        arena_init(&arena);
        buf_add_cstr(&mail, MULTI("b") "--b\r\n\r\n");
        size_t start = mail.len;
        for (size_t i = 0; i < len; i++)
            buf_add_char(&mail, 'x');
        buf_add_cstr(&mail, "--b\r\n--b\r\n\r\ntwo\r\n--b--");
        struct parts p = parse_buf(&mail, &arena);
        CU_ASSERT_EQUAL(p.count, 2);
        CU_ASSERT_EQUAL(p.items[0].size, len + 3); /* a delimiter within a line is none */
        CU_ASSERT_EQUAL(p.items[1].size, 3);
        CU_ASSERT_EQUAL(p.items[1].offset, start - strlen(MULTI("b")) + len + 5 + 7);
        arena_fini(&arena);
    }
}

static void test_read_error(void)
{
    struct source s = { SLICE("x"), 1, -EIO };
    struct parts p = { .count = 42 };
    struct arena arena;

    arena_init(&arena);
    CU_ASSERT_EQUAL(parts_parse(SLICE(""), read_source, &s, &arena, &p), -EIO);
    CU_ASSERT_EQUAL(p.count, 42);
    arena_fini(&arena);
}

static unsigned leaves, named;

static void each_mail(const char *path, struct slice octets)
{
    CLEANUP_BUF struct buf mail = BUF_INIT;
    struct arena arena;
    struct parts p, again;
    uint64_t end = 0;

    corpora_to_crlf(octets, &mail);
    arena_init(&arena);
    CU_ASSERT_EQUAL(parse(buf_slice(&mail), 65536, &arena, &p), 0);
    CU_ASSERT_EQUAL(parse(buf_slice(&mail), 777, &arena, &again), 0);
    CU_ASSERT_EQUAL_FATAL(p.count, again.count);
    for (unsigned i = 0; i < p.count; i++) {
        CU_ASSERT(p.items[i].offset >= end);
        end = p.items[i].offset + p.items[i].size;
        CU_ASSERT(end <= mail.len);
        CU_ASSERT_EQUAL(p.items[i].size, again.items[i].size);
        CU_ASSERT(utf8_valid(slice_make(p.items[i].filename.ptr, p.items[i].filename.len)));
        named += p.items[i].filename.len > 0;
    }
    leaves += p.count;
    arena_fini(&arena);
}

static void test_mails(void)
{
    char path[4096];

    corpora_path(path, sizeof(path), "messages");
    unsigned count = corpora_walk(path, each_mail);
    if (count == 0)
        printf("SKIPPED: no %s\n", path);
    else
        printf("%u mails, %u leaves, %u with a file name\n", count, leaves, named);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("parts", NULL, NULL);
    CU_add_test(suite, "rows", test_rows);
    CU_add_test(suite, "count limit", test_count_limit);
    CU_add_test(suite, "depth limit", test_depth_limit);
    CU_add_test(suite, "other limits", test_other_limits);
    CU_add_test(suite, "block edges", test_block_edges);
    CU_add_test(suite, "read error", test_read_error);
    CU_add_test(suite, "mails", test_mails);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
