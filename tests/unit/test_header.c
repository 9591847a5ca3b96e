/* SPDX-License-Identifier: Apache-2.0 */
/* test_header.c - where fields begin and end, what they say, whom they name. */
#include <CUnit/Basic.h>
#include <errno.h>

#include "base/utf8.h"
#include "corpora.h"
#include "mime/header.h"

static void test_end(void)
{
    static const struct {
        const char *text;
        bool found;
        size_t header, body;
    } rows[] = {
        { "A: 1\r\n\r\nx", true, 6, 8 },       { "\r\nx", true, 0, 2 },
        { "A: 1\r\n", false, 6, 6 },           { "", false, 0, 0 },
        { "A: 1\r\n\n\r\n\r\n", true, 9, 11 }, { "A: 1\n\nx", false, 7, 7 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t header, body;
        CU_ASSERT_EQUAL(header_end(slice_cstr(rows[i].text), &header, &body), rows[i].found);
        CU_ASSERT_EQUAL(header, rows[i].header);
        CU_ASSERT_EQUAL(body, rows[i].body);
    }
}

/* The fields of a block as "name=value|". */
static void test_next(void)
{
    static const struct {
        const char *block, *fields;
    } rows[] = {
        { "A: 1\r\nB:2\r\n", "A=1|B=2|" },
        { "A:  two\r\n", "A= two|" },
        { "A: 1\r\n 2\r\n\t3\r\nB:\r\n", "A=1\r\n 2\r\n\t3|B=|" },
        { "A:\r\n x\r\n", "A=\r\n x|" },
        { "A : 1\r\n", "A=1|" },
        { "A: 1", "A=1|" },
        { "From me Sat\r\nA: 1\r\n", "A=1|" },
        { " folded\r\nA: 1\r\n", "A=1|" },
        { ": x\r\n more\r\nA: 1\r\n", "A=1|" },
        { "A b: x\r\nA: 1\r\n", "A=1|" },
        { "no colon\r\n folded: x\r\nA: 1\r\n", "A=1|" },
        { "A: 1\nB: 2\r\nC: 3\r\n", "A=1\nB: 2|C=3|" }, /* a lone LF ends nothing */
        { "A: 1\rB: 2\r\n", "A=1\rB: 2|" },
        { "A: 1\r\n\r\nB: 2\r\n", "A=1|" },
        { "\303\274: 1\r\nA: \303\274\r\n", "A=\303\274|" },
        { "", "" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CLEANUP_BUF struct buf out = BUF_INIT;
        struct slice rest = slice_cstr(rows[i].block);
        struct header_field f;
        while (header_next(&rest, &f)) {
            buf_add(&out, f.name);
            buf_add_char(&out, '=');
            buf_add(&out, f.value);
            buf_add_char(&out, '|');
            CU_ASSERT(f.whole.len >= f.name.len + 1 + f.value.len);
        }
        CU_ASSERT(slice_equal(buf_slice(&out), slice_cstr(rows[i].fields)));
    }
}

static void test_find(void)
{
    struct slice block = SLICE("A: 1\r\nb: 2\r\na: 3\r\n");
    struct header_field f;

    CU_ASSERT(header_find(block, SLICE("a"), 0, &f) && slice_equal(f.value, SLICE("1")));
    CU_ASSERT(header_find(block, SLICE("A"), 1, &f) && slice_equal(f.value, SLICE("3")));
    CU_ASSERT(slice_equal(f.whole, SLICE("a: 3\r\n")));
    CU_ASSERT_FALSE(header_find(block, SLICE("a"), 2, &f));
    CU_ASSERT_FALSE(header_find(block, SLICE("c"), 0, &f));
}

static void test_valid(void)
{
    char name[HEADER_NAME_OCTETS_MAX + 1];
    char line[1000];

    memset(name, 'x', sizeof(name));
    memset(line, 'x', sizeof(line));
    CU_ASSERT_TRUE(header_name_is_valid(slice_make(name, HEADER_NAME_OCTETS_MAX)));
    CU_ASSERT_FALSE(header_name_is_valid(slice_make(name, HEADER_NAME_OCTETS_MAX + 1)));
    CU_ASSERT_TRUE(header_name_is_valid(SLICE("X-Foo_1!")));
    CU_ASSERT_FALSE(header_name_is_valid(SLICE("")));
    CU_ASSERT_FALSE(header_name_is_valid(SLICE("a b")));
    CU_ASSERT_FALSE(header_name_is_valid(SLICE("a:")));
    CU_ASSERT_FALSE(header_name_is_valid(SLICE("a\n")));
    CU_ASSERT_FALSE(header_name_is_valid(SLICE("\303\274")));
    CU_ASSERT_TRUE(header_value_is_valid(SLICE("")));
    CU_ASSERT_TRUE(header_value_is_valid(SLICE("a\r\n b\r\n\tc")));
    CU_ASSERT_FALSE(header_value_is_valid(SLICE("a\r\nb")));
    CU_ASSERT_FALSE(header_value_is_valid(SLICE("a\r\n")));
    CU_ASSERT_FALSE(
        header_value_is_valid(SLICE("a\r\n \r\n b"))); /* would end the header at some */
    CU_ASSERT_FALSE(header_value_is_valid(SLICE("a\nb")));
    CU_ASSERT_FALSE(header_value_is_valid(SLICE("a\r b")));
    CU_ASSERT_FALSE(header_value_is_valid(SLICE("a\0b")));
    CU_ASSERT_TRUE(header_value_is_valid(slice_make(line, 998)));
    CU_ASSERT_FALSE(header_value_is_valid(slice_make(line, 999)));
}

#define U_UML "\303\274"
#define FFFD  "\357\277\275"

static void test_decode(void)
{
    static const struct {
        const char *value, *text;
    } rows[] = {
        { "plain", "plain" },
        { "a\r\n b\r\n\tc", "a b\tc" },
        { "=?utf-8?Q?f=C3=BCr_dich?=", "f" U_UML "r dich" },
        { "=?UTF-8?b?ZsO8cg==?= x", "f" U_UML "r x" },
        { "=?iso-8859-1?q?f=FCr?=", "f" U_UML "r" },
        { "=?iso-8859-1*de?q?f=FCr?=", "f" U_UML "r" },
        { "a =?utf-8?q?b?= =?utf-8?q?c?= d", "a bc d" },
        { "=?utf-8?q?b?=\r\n =?utf-8?q?c?=", "bc" },
        { "=?utf-8?q?f=C3?= =?utf-8?q?=BCr?=", "f" U_UML "r" }, /* a character torn in two */
        { "=?utf-8?q?=C3?= =?iso-8859-1?q?=FC?=", FFFD U_UML },
        { "=?koi8-r?B?8NLJ18XU?=", "\320\237\321\200\320\270\320\262\320\265\321\202" },
        { "=?gb2312?B?xOO6ww==?=", "\344\275\240\345\245\275" },
        { "=?iso-2022-jp?B?GyRCJDMbKEI=?=", "\343\201\223" },
        { "\"=?utf-8?q?q?=\" <a@b>", "\"q\" <a@b>" },
        { "=?utf-8?q?a=0D=0Ab=00c?=", "a  b c" }, /* no line break out of an encoded word */
        { "=?no-such?q?x?=", "=?no-such?q?x?=" },
        { "=?utf-8//TRANSLIT?q?x?=", "=?utf-8//TRANSLIT?q?x?=" },
        { "=?iso-2022-cn-ext?q?x?=", "=?iso-2022-cn-ext?q?x?=" },
        { "=?utf-8?x?x?=", "=?utf-8?x?x?=" },
        { "=?utf-8?q?x", "=?utf-8?q?x" },
        { "=?utf-8?q?"
          "?=",
          "" },
        { "=?utf-8?q?=4?=", "=4" },
        { "=?utf-8?b?Z!m9v?=", "foo" },
        { "=?", "=?" },
        { "\374ber", FFFD "ber" },
        { U_UML, U_UML },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CLEANUP_BUF struct buf out = BUF_INIT;
        header_decode(slice_cstr(rows[i].value), &out, HEADER_DECODED_OCTETS_MAX);
        if (!slice_equal(buf_slice(&out), slice_cstr(rows[i].text)))
            printf("%s: %.*s\n", rows[i].value, (int)out.len, out.data);
        CU_ASSERT(slice_equal(buf_slice(&out), slice_cstr(rows[i].text)));
    }
}

static void test_decode_bound(void)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    buf_add_cstr(&out, "kept");
    header_decode(SLICE("abc" U_UML "d"), &out, 4);
    CU_ASSERT(slice_equal(buf_slice(&out), SLICE("keptabc")));
    buf_clear(&out);
    header_decode(SLICE("abc" U_UML "d"), &out, 5);
    CU_ASSERT(slice_equal(buf_slice(&out), SLICE("abc" U_UML)));
    buf_clear(&out);
    CU_ASSERT(header_charset_decode(SLICE("iso-8859-1"), SLICE("ab\374"), &out, 3));
    CU_ASSERT(slice_equal(buf_slice(&out), SLICE("ab")));
}

static void test_converter_limit(void)
{
    for (int more = 0; more < 2; more++) {
        CLEANUP_BUF struct buf value = BUF_INIT, out = BUF_INIT;
        for (int i = 0; i < HEADER_CONVERTERS_MAX + more; i++)
            buf_add_cstr(&value, "=?koi8-r?q?a?= x ");
        buf_add_cstr(&value, "=?utf-8?q?b?=");
        header_decode(buf_slice(&value), &out, HEADER_DECODED_OCTETS_MAX);
        CU_ASSERT_EQUAL(memmem(out.data, out.len, "koi8", 4) != NULL, more == 1);
        CU_ASSERT_EQUAL(out.data[out.len - 1], 'b');
    }
}

/* Addresses as "a;b;", or the error. */
static void test_mailboxes(void)
{
    static const struct {
        const char *value;
        int result;
        const char *addresses;
    } rows[] = {
        { "a@x.org", 1, "a@x.org;" },
        { "A B <a@x.org>", 1, "a@x.org;" },
        { "\"B, A\" <a@x.org>, b@y.org", 2, "a@x.org;b@y.org;" },
        { "a@x.org (A (nested) \\) comment)", 1, "a@x.org;" },
        { "(c)a(c)@(c)x(c).(c)org(c)", 1, "a@x.org;" },
        { "J. R. \"Bob\" D. <a . b @ x . org>", 1, "a.b@x.org;" },
        { "=?utf-8?q?J=C3=BC?= <a@x.org>", 1, "a@x.org;" },
        { "J" U_UML " <" U_UML "@x.org>", 1, U_UML "@x.org;" },
        { "\"a b\"@x.org", 1, "\"a b\"@x.org;" },
        { "\"a.b\"@x.org", 1, "a.b@x.org;" },
        { "<@r.org,@s.org:a@x.org>", 1, "a@x.org;" },
        { "a@[192.0.2.1]", 1, "a@[192.0.2.1];" },
        { "Group: a@x.org, B <b@y.org>;, c@z.org", 3, "a@x.org;b@y.org;c@z.org;" },
        { "undisclosed-recipients:;", 0, "" },
        { ",a@x.org,,b@y.org,", 2, "a@x.org;b@y.org;" },
        { "a@x.org,\r\n\tb@y.org\r\n", 2, "a@x.org;b@y.org;" },
        { "a@x.org b@y.org", -EBADMSG, NULL },
        { "A B a@x.org", -EBADMSG, NULL },
        { "<a@x.org", -EBADMSG, NULL },
        { "<a@x.org>> x", -EBADMSG, NULL },
        { "A <a@x.org> <b@y.org>", -EBADMSG, NULL },
        { "a@x.org <b@y.org>", -EBADMSG, NULL }, /* whom does it name? */
        { "<>", -EBADMSG, NULL },
        { "a", -EBADMSG, NULL },
        { "", -EBADMSG, NULL },
        { "(only a comment)", -EBADMSG, NULL },
        { "G: a@x.org", -EBADMSG, NULL },
        { "G: H: a@x.org;;", -EBADMSG, NULL },
        { "a@x.org;", -EBADMSG, NULL },
        { "(((", -EBADMSG, NULL },
        { "\"a", -EBADMSG, NULL },
        { "a.@x.org", -EBADMSG, NULL },
        { "a@x.org,b@y.org,c@z.org,d@z.org", -E2BIG, NULL },
    };
    struct arena arena;

    arena_init(&arena);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CLEANUP_BUF struct buf out = BUF_INIT;
        struct tern_mailbox m[3];
        int r = header_mailboxes(slice_cstr(rows[i].value), &arena, m, 3);
        if (r != rows[i].result)
            printf("%s: %d\n", rows[i].value, r);
        CU_ASSERT_EQUAL(r, rows[i].result);
        for (int k = 0; k < r; k++)
            buf_printf(&out, "%s;", m[k].address.ptr);
        if (r >= 0)
            CU_ASSERT(slice_equal(buf_slice(&out), slice_cstr(rows[i].addresses)));
    }
    arena_fini(&arena);
}

static void test_comment_depth(void)
{
    for (int more = 0; more < 2; more++) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        struct arena arena;
        struct tern_mailbox m;
        arena_init(&arena);
        for (int i = 0; i < HEADER_COMMENT_DEPTH_MAX + more; i++)
            buf_add_char(&text, '(');
        for (int i = 0; i < HEADER_COMMENT_DEPTH_MAX + more; i++)
            buf_add_char(&text, ')');
        buf_add_cstr(&text, "a@x.org");
        CU_ASSERT_EQUAL(header_mailboxes(buf_slice(&text), &arena, &m, 1), more ? -EBADMSG : 1);
        arena_fini(&arena);
    }
}

/* ---- All mails of the corpora ------------------------------------------------ */

static unsigned mails_with_from, mails_with_mailbox;

static void each_mail(const char *path, struct slice octets)
{
    CLEANUP_BUF struct buf mail = BUF_INIT;
    size_t header, body, fields = 0;
    struct header_field f;
    struct arena arena;
    struct tern_mailbox m[HEADER_MAILBOXES_MAX];

    corpora_to_crlf(octets, &mail);
    (void)header_end(buf_slice(&mail), &header, &body);
    struct slice block = slice_head(buf_slice(&mail), header);
    struct slice rest = block;
    arena_init(&arena);
    while (header_next(&rest, &f)) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        header_decode(f.value, &text, HEADER_DECODED_OCTETS_MAX);
        CU_ASSERT_TRUE(utf8_valid(buf_slice(&text)));
        fields += f.whole.len;
    }
    CU_ASSERT(fields <= header);
    if (header_find(block, SLICE("From"), 0, &f)) {
        mails_with_from++;
        mails_with_mailbox += header_mailboxes(f.value, &arena, m, HEADER_MAILBOXES_MAX) > 0;
    }
    arena_fini(&arena);
}

static void test_mails(void)
{
    char path[4096];

    corpora_path(path, sizeof(path), "messages");
    unsigned count = corpora_walk(path, each_mail);
    if (count == 0) {
        printf("SKIPPED: no %s\n", path);
        return;
    }
    printf("%u mails, %u with From, %u of these with a mailbox\n", count, mails_with_from,
           mails_with_mailbox);
    CU_ASSERT(mails_with_mailbox * 10 > mails_with_from * 9);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("header", NULL, NULL);
    CU_add_test(suite, "end", test_end);
    CU_add_test(suite, "next", test_next);
    CU_add_test(suite, "find", test_find);
    CU_add_test(suite, "valid", test_valid);
    CU_add_test(suite, "decode", test_decode);
    CU_add_test(suite, "decode bound", test_decode_bound);
    CU_add_test(suite, "converter limit", test_converter_limit);
    CU_add_test(suite, "mailboxes", test_mailboxes);
    CU_add_test(suite, "comment depth", test_comment_depth);
    CU_add_test(suite, "mails", test_mails);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
