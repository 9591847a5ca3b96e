/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_smtp_data.c - the reader of mail data: ends, dots, lone CR and LF, line lengths, hops;
 * every row whole, one octet at a time and cut at each place. With -b: how fast it is.
 */
#include <CUnit/Basic.h>
#include <jansson.h>
#include <time.h>

#include "corpora.h"
#include "smtp/data.h"

#define BARE SMTP_DATA_BARE_CR_LF
#define LONG SMTP_DATA_LONG_LINE

struct reading {
    struct smtp_data_reader reader;
    struct buf content;
    bool ended;
    size_t left; /* octets behind the end */
};

static void feed(struct reading *r, struct slice in)
{
    struct slice content;

    while (!r->ended) {
        enum smtp_data d = smtp_data_read(&r->reader, &in, &content);
        if (d == SMTP_DATA_CONTENT)
            buf_add(&r->content, content);
        r->ended = d == SMTP_DATA_END;
        if (d != SMTP_DATA_CONTENT)
            break;
    }
    r->left += in.len;
}

/* `cut`: where the input is cut in two; 0: one octet at a time. */
static void read_all(struct reading *r, struct slice in, size_t cut)
{
    *r = (struct reading){ 0 };
    smtp_data_init(&r->reader, 100);
    if (cut == 0) {
        for (size_t i = 0; i < in.len; i++)
            feed(r, slice_make(in.ptr + i, 1));
        return;
    }
    feed(r, slice_head(in, cut));
    feed(r, slice_from(in, cut));
}

static const struct {
    struct slice in, content;
    bool ended;
    unsigned flaws;
    size_t left;
} rows[] = {
    { SLICE(".\r\n"), SLICE(""), true, 0, 0 },
    { SLICE("a\r\n.\r\nQUIT\r\n"), SLICE("a\r\n"), true, 0, 6 },
    { SLICE("a\r\n..\r\n...b\r\n.c\r\n.\r\n"), SLICE("a\r\n.\r\n..b\r\nc\r\n"), true, 0, 0 },
    { SLICE("\r\n\r\n.\r\n"), SLICE("\r\n\r\n"), true, 0, 0 },
    { SLICE("a.\r\n.\r\n"), SLICE("a.\r\n"), true, 0, 0 },
    { SLICE("\0\377\r\n.\r\n"), SLICE("\0\377\r\n"), true, 0, 0 },
    { SLICE("a\r\n."), SLICE("a\r\n"), false, 0, 0 },
    { SLICE("a\r\n.\r"), SLICE("a\r\n"), false, 0, 0 },
    { SLICE("a\n.\n\r\n.\r\n"), SLICE("a\n.\n\r\n"), true, BARE, 0 },
    { SLICE("a\r.\r\r\n.\r\n"), SLICE("a\r.\r\r\n"), true, BARE, 0 },
    { SLICE("a\r\n.\nb\r\n.\r\n"), SLICE("a\r\n\nb\r\n"), true, BARE, 0 },
    { SLICE("a\r\n.\rb\r\n.\r\n"), SLICE("a\r\nb\r\n"), true, BARE, 0 },
    { SLICE("a\r\n.\r\r\n.\r\n"), SLICE("a\r\n\r\n"), true, BARE, 0 },
    { SLICE("a\n.\r\n.\r\n"), SLICE("a\n.\r\n"), true, BARE, 0 },
    { SLICE("a\r\n\0.\r\n.\r\n"), SLICE("a\r\n\0.\r\n"), true, 0, 0 },
    { SLICE("\r\r\n.\r\n"), SLICE("\r\r\n"), true, BARE, 0 },
    { SLICE("\n.\r\n.\r\n"), SLICE("\n.\r\n"), true, BARE, 0 },
};

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t cut = 0; cut <= rows[i].in.len; cut++) {
            struct reading r;
            read_all(&r, rows[i].in, cut);
            CU_ASSERT_EQUAL(r.ended, rows[i].ended);
            CU_ASSERT_EQUAL(r.reader.flaws, rows[i].flaws);
            CU_ASSERT_EQUAL(r.left, rows[i].left);
            /* What a refused mail gave before is of no use to anyone. */
            if (rows[i].flaws == 0 || cut == rows[i].in.len)
                CU_ASSERT(slice_equal(buf_slice(&r.content), rows[i].content));
            buf_free(&r.content);
        }
}

/* Lines of the limit and one more, with CRLF; a stuffed dot does not count. */
static void test_line_length(void)
{
    for (size_t dot = 0; dot < 2; dot++)
        for (size_t len = 98; len <= 99; len++)
            for (size_t cut = 0; cut < 110; cut++) {
                CLEANUP_BUF struct buf in = BUF_INIT;
                struct reading r;
                buf_add_cstr(&in, dot ? ".." : "x");
                while (in.len < len + dot)
                    buf_add_char(&in, 'x');
                buf_add_cstr(&in, "\r\n.\r\n");
                read_all(&r, buf_slice(&in), cut);
                CU_ASSERT_TRUE(r.ended);
                CU_ASSERT_EQUAL(r.reader.flaws, len == 99 ? LONG : 0);
                CU_ASSERT_EQUAL(r.content.len, len + 2);
                buf_free(&r.content);
            }
}

/* Content comes in runs as long as the input, cut at stuffed dots only, and not copied. */
static void test_runs(void)
{
    struct slice in = SLICE("one\r\ntwo\r\n..three\r\nfour\r\n.\r\n"), content, rest = in;
    struct smtp_data_reader r;

    smtp_data_init(&r, 1000);
    CU_ASSERT_EQUAL(smtp_data_read(&r, &rest, &content), SMTP_DATA_CONTENT);
    CU_ASSERT(content.ptr == in.ptr && content.len == 10);
    CU_ASSERT_EQUAL(smtp_data_read(&r, &rest, &content), SMTP_DATA_CONTENT);
    CU_ASSERT(content.ptr == in.ptr + 11 && content.len == 14);
    CU_ASSERT_EQUAL(smtp_data_read(&r, &rest, &content), SMTP_DATA_END);
    CU_ASSERT_EQUAL(rest.len, 0);
}

static void test_hops(void)
{
    static const struct {
        struct slice header;
        uint32_t count;
    } hops[] = {
        { SLICE("Received: a\r\nreceived: b\r\n by c\r\nRECEIVED:\r\n\r\nReceived: body\r\n"), 3 },
        { SLICE("\r\nReceived: body\r\n"), 0 },
        { SLICE("X-Received: a\r\nReceivedX: b\r\n Received: c\r\nReceived\r\n"), 0 },
        { SLICE("Re\r\nReceived: a\r\n"), 1 },
        { SLICE("Received : a\r\nreceived \t: b\r\nReceived x: c\r\nRecei ved: d\r\n"), 2 },
        { SLICE(""), 0 },
    };

    for (size_t i = 0; i < sizeof(hops) / sizeof(hops[0]); i++)
        for (size_t cut = 0; cut <= hops[i].header.len; cut++) {
            struct smtp_hops h = SMTP_HOPS_INIT;
            smtp_hops_read(&h, slice_head(hops[i].header, cut));
            smtp_hops_read(&h, slice_from(hops[i].header, cut));
            CU_ASSERT_EQUAL(h.count, hops[i].count);
        }
}

/* ---- Corpora ----------------------------------------------------------------- */

static void check_sequence(const char *name, const char *hex, bool is_end)
{
    CLEANUP_BUF struct buf in = BUF_INIT;

    buf_add_cstr(&in, "Subject: x\r\n\r\nbody");
    for (; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
        unsigned octet;
        CU_ASSERT_EQUAL_FATAL(sscanf(hex, "%2x", &octet), 1);
        buf_add_char(&in, (char)octet);
    }
    size_t end = in.len;
    buf_add_cstr(&in, "MAIL FROM:<smuggled@example.com>\r\n\r\n.\r\n");
    for (size_t cut = 0; cut < in.len; cut++) {
        struct reading r;
        read_all(&r, buf_slice(&in), cut);
        CU_ASSERT_TRUE(r.ended);
        if ((r.left == in.len - end) != is_end)
            printf("%s, cut at %zu: %zu left\n", name, cut, r.left);
        CU_ASSERT_EQUAL(r.left, is_end ? in.len - end : 0);
        buf_free(&r.content);
    }
}

static void test_false_ends(void)
{
    CLEANUP_BUF struct buf file = BUF_INIT;
    size_t i;
    json_t *row;

    if (!corpora_read("smtp/end-of-data-sequences.json", &file))
        return;
    json_t *rows_json = json_loadb(file.data, file.len, 0, NULL);
    CU_ASSERT(json_array_size(rows_json) >= 11);
    json_array_foreach(rows_json, i, row)
        check_sequence(json_string_value(json_object_get(row, "name")),
                       json_string_value(json_object_get(row, "bytes_hex")),
                       json_is_true(json_object_get(row, "is_end_of_data")));
    json_decref(rows_json);
}

/*
 * mox's rows for its writer and reader. "check" are good there and lone LFs are among them, as it
 * lets them through; we refuse them (RFC 5321 2.3.8), so good here means good there and no lone
 * CR or LF.
 */
static void test_mox(void)
{
    CLEANUP_BUF struct buf file = BUF_INIT;
    size_t i;
    json_t *row;

    if (!corpora_read("smtp/mox/mox-smtp-data.part.json", &file))
        return;
    json_t *rows_json = json_loadb(file.data, file.len, 0, NULL);
    CU_ASSERT(json_array_size(rows_json) >= 12);
    json_array_foreach(rows_json, i, row)
    {
        json_t *args = json_object_get(row, "args");
        const char *in = json_string_value(json_array_get(args, 0));
        bool refused = strcmp(json_string_value(json_array_get(args, json_array_size(args) - 1)),
                              "ErrCRLF") == 0;
        bool lone_lf = json_object_get(row, "note") != NULL;
        struct reading r;
        read_all(&r, slice_cstr(in), 0);
        CU_ASSERT_EQUAL(r.reader.flaws != 0, refused || lone_lf);
        if (!refused && !lone_lf)
            CU_ASSERT(slice_equal(buf_slice(&r.content),
                                  slice_cstr(json_string_value(json_array_get(args, 1)))));
        buf_free(&r.content);
    }
    json_decref(rows_json);
}

static void stuff(struct slice mail, struct buf *out)
{
    bool start = true;

    for (size_t i = 0; i < mail.len; i++) {
        if (start && mail.ptr[i] == '.')
            buf_add_char(out, '.');
        buf_add_char(out, mail.ptr[i]);
        start = mail.ptr[i] == '\n';
    }
    if (!start)
        buf_add_cstr(out, "\r\n");
    buf_add_cstr(out, ".\r\n");
}

static void each_mail(const char *path, struct slice octets)
{
    CLEANUP_BUF struct buf mail = BUF_INIT, stuffed = BUF_INIT;
    static const size_t steps[] = { 1, 7, 1460, 65536 };

    corpora_to_crlf(octets, &mail);
    stuff(buf_slice(&mail), &stuffed);
    for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
        struct reading r = { 0 };
        smtp_data_init(&r.reader, 65536);
        for (size_t i = 0; i < stuffed.len; i += steps[k])
            feed(&r, slice_head(slice_from(buf_slice(&stuffed), i), steps[k]));
        CU_ASSERT_TRUE(r.ended);
        CU_ASSERT_EQUAL(r.left, 0);
        CU_ASSERT_EQUAL(r.reader.flaws, 0);
        CU_ASSERT(slice_equal(slice_head(buf_slice(&r.content), mail.len), buf_slice(&mail)));
        CU_ASSERT(r.content.len - mail.len <= 2); /* a last line without its end got one */
        buf_free(&r.content);
    }
}

static void test_mails(void)
{
    char path[4096];

    corpora_path(path, sizeof(path), "messages");
    unsigned count = corpora_walk(path, each_mail);
    printf(count > 0 ? "%u mails byte for byte\n" : "%u mails; SKIPPED: no corpora\n", count);
}

/* ---- Speed --------------------------------------------------------------------- */

static void bench(void)
{
    CLEANUP_BUF struct buf mail = BUF_INIT;
    uint64_t octets = 0;
    struct timespec from, to;

    while (mail.len < 65536 - 80)
        buf_printf(&mail, "%074d\r\n", 7);
    buf_add_cstr(&mail, ".\r\n");
    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < 16000; i++) {
        struct smtp_data_reader r;
        struct slice in = buf_slice(&mail), content;
        smtp_data_init(&r, 65536);
        while (smtp_data_read(&r, &in, &content) == SMTP_DATA_CONTENT)
            octets += content.len;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    double s = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    printf("%.2f GB/s\n", (double)octets / s / 1e9);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "-b") == 0) {
        bench();
        return 0;
    }
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("smtp data", NULL, NULL);
    CU_add_test(suite, "rows", test_rows);
    CU_add_test(suite, "line length", test_line_length);
    CU_add_test(suite, "runs", test_runs);
    CU_add_test(suite, "hops", test_hops);
    CU_add_test(suite, "false ends", test_false_ends);
    CU_add_test(suite, "mox's rows", test_mox);
    CU_add_test(suite, "mails", test_mails);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
