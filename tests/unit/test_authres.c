/* SPDX-License-Identifier: Apache-2.0 */
/* test_authres.c - Authentication-Results: texts, the field made of them, reading what others wrote. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lib/authres.h>

static tern_str str(const char *s)
{
    return (tern_str){ s, strlen(s) };
}

/* ---- texts ---- */

static void expect_text(const char *what, const struct authres_text *t, const char *want)
{
    if (strcmp(t->at, want) != 0)
        fprintf(stderr, "  %s: got  %s\n", what, t->at);
    CU_ASSERT_STRING_EQUAL(t->at, want);
    CU_ASSERT_EQUAL(t->len, strlen(want));
}

static void test_values(void)
{
    static const struct {
        const char *what, *value;
        bool utf8;
        const char *want; /* NULL: left out */
    } rows[] = {
        { "a token", "bob", false, "a=pass x.y=bob" },
        { "a domain", "mail.example", false, "a=pass x.y=mail.example" },
        { "an address is quoted as a value", "bob@a.example", false, "a=pass x.y=\"bob@a.example\"" },
        { "IPv6", "2001:db8::1", false, "a=pass x.y=\"2001:db8::1\"" },
        { "an empty one", "", false, "a=pass x.y=\"\"" },
        { "one that would end the result", "x; dkim=pass", false, "a=pass x.y=\"x; dkim=pass\"" },
        { "one that would begin a comment", "x(", false, "a=pass x.y=\"x(\"" },
        { "a quote", "a\"; dkim=pass \"", false, "a=pass x.y=\"a\\\"; dkim=pass \\\"\"" },
        { "a backslash at the end", "a\\", false, "a=pass x.y=\"a\\\\\"" },
        { "a line end", "a\r\nX-Evil: 1", false, NULL },
        { "a control", "a\x01", false, NULL },
        { "DEL", "a\x7f", false, NULL },
        { "more than ASCII", "b\xc3\xbc", false, NULL },
        { "more than ASCII in such a mail", "b\xc3\xbc", true, "a=pass x.y=\"b\xc3\xbc\"" },
    };
    char out[512];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct authres_text t = { .at = out, .room = sizeof(out) };
        CU_ASSERT_TRUE(authres_result(&t, "a", "pass"));
        bool told = authres_property(&t, "x.y", str(rows[i].value), rows[i].utf8);
        CU_ASSERT_EQUAL(told, rows[i].want != NULL);
        expect_text(rows[i].what, &t, rows[i].want != NULL ? rows[i].want : "a=pass");
    }
}

static void test_mailboxes(void)
{
    static const struct {
        const char *what, *local, *domain, *want;
    } rows[] = {
        { "an address", "bob", "a.example", "a=pass x.y=bob@a.example" },
        { "a domain alone", "", "a.example", "a=pass x.y=@a.example" },
        { "a local part with a blank", "b b", "a.example", "a=pass x.y=\"b b\"@a.example" },
        { "one with an at sign", "b@c", "a.example", "a=pass x.y=\"b@c\"@a.example" },
        { "one with what ends a result", "b\"; spf=pass", "a.example", "a=pass x.y=\"b\\\"; spf=pass\"@a.example" },
        { "no domain", "b", "", NULL },
        { "a literal", "b", "[192.0.2.1]", NULL },
        { "a domain that would end it", "b", "a;spf=pass", NULL },
        { "a line end", "b\r\n", "a.example", NULL },
        { "more than ASCII", "\xc3\xbc", "a.example", NULL },
    };
    char out[512];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct authres_text t = { .at = out, .room = sizeof(out) };
        CU_ASSERT_TRUE(authres_result(&t, "a", "pass"));
        bool told = authres_mailbox(&t, "x.y", str(rows[i].local), str(rows[i].domain), false);
        CU_ASSERT_EQUAL(told, rows[i].want != NULL);
        expect_text(rows[i].what, &t, rows[i].want != NULL ? rows[i].want : "a=pass");
    }
}

static void test_comments(void)
{
    char out[1024], comment[AUTHRES_COMMENT_OCTETS_MAX + 2];
    struct authres_text t = { .at = out, .room = sizeof(out) };

    CU_ASSERT_TRUE(authres_result(&t, "a", "fail"));
    CU_ASSERT_TRUE(authres_comment(&t, str("")));
    CU_ASSERT_TRUE(authres_comment(&t, str("x) b=pass (\\\";\r\n\x01\xc3")));
    CU_ASSERT_TRUE(authres_reason(&t, str("because \"of\" it")));
    CU_ASSERT_TRUE(authres_result(&t, "c", "pass"));
    expect_text("comment", &t, "a=fail (x] b=pass [/',??\?\?) reason=\"because \\\"of\\\" it\"; c=pass");

    t.len = 0;
    memset(comment, 'x', sizeof(comment));
    CU_ASSERT_TRUE(authres_comment(&t, (tern_str){ comment, sizeof(comment) }));
    CU_ASSERT_EQUAL(t.len, AUTHRES_COMMENT_OCTETS_MAX + 3); /* cut */
}

/* At the last octet of room, and one beyond: all or nothing. */
static void test_room(void)
{
    char value[AUTHRES_VALUE_OCTETS_MAX + 2], out[512];

    struct authres_text t = { .at = out, .room = 7 };
    CU_ASSERT_TRUE(authres_result(&t, "a", "pass"));
    t = (struct authres_text){ .at = out, .room = 6 };
    CU_ASSERT_FALSE(authres_result(&t, "a", "pass"));
    expect_text("no room", &t, "");
    t = (struct authres_text){ .at = out, .room = 13 };
    CU_ASSERT_TRUE(authres_result(&t, "a", "pass"));
    CU_ASSERT_FALSE(authres_property(&t, "x.y", str("12"), false));
    expect_text("no room", &t, "a=pass");
    t.room = 14;
    CU_ASSERT_TRUE(authres_property(&t, "x.y", str("12"), false));

    memset(value, 'x', sizeof(value));
    t = (struct authres_text){ .at = out, .room = sizeof(out) };
    CU_ASSERT_TRUE(authres_property(&t, "x.y", (tern_str){ value, AUTHRES_VALUE_OCTETS_MAX }, false));
    CU_ASSERT_FALSE(authres_property(&t, "x.y", (tern_str){ value, AUTHRES_VALUE_OCTETS_MAX + 1 }, false));
}

/* ---- the field ---- */

static void expect_field(const char *what, const char *id, const char *const *texts, unsigned count,
                         const char *want, unsigned want_left_out)
{
    char *out = malloc(AUTHRES_FIELD_OCTETS_MAX + 1);
    tern_str list[8];
    unsigned left_out;

    for (unsigned i = 0; i < count; i++)
        list[i] = str(texts[i]);
    struct authres_field field = {
        .name = str("Authentication-Results"), .id = str(id), .texts = list, .count = count
    };
    size_t len = authres_compose(&field, out, &left_out);
    if (strcmp(out, want) != 0)
        fprintf(stderr, "  %s: got\n%s\n", what, out);
    CU_ASSERT_STRING_EQUAL(out, want);
    CU_ASSERT_EQUAL(len, strlen(want));
    CU_ASSERT_EQUAL(left_out, want_left_out);
    free(out);
}

static void test_fields(void)
{
    static const char *const none[] = { "" };
    static const char *const one[] = { "spf=pass smtp.mailfrom=a.example" };
    static const char *const two[] = { "spf=pass (ip4:192.0.2.1 matched) smtp.mailfrom=a.example; spf=none smtp.helo=b",
                                       "dkim=none" };
    static const char *const long_one[] = {
        "dkim=fail (the body was changed after it had been signed by somebody (or on the way), 2048-bit key) "
        "header.d=a.example header.i=\"a b  (c\"@a.example header.s=selector header.a=rsa-sha256 header.b=\"abcdefgh\""
    };
    static const char *const broken[] = { "spf=pass\r\nX-Evil: yes", "spf=pass (", "dkim=pass; ; x=y", "x",
                                          "dkim=pass\r\n\r\nBody" };
    static const char *const odd[] = { "spf/1 = pass  reason = \"x y\"\r\n smtp . mailfrom = \"a;b\"" };

    expect_field("nothing", "mx.example", none, 1, "mx.example; none", 0);
    expect_field("no text", "mx.example", none, 0, "mx.example; none", 0);
    expect_field("one", "mx.example", one, 1, "mx.example;\r\n\tspf=pass smtp.mailfrom=a.example", 0);
    expect_field("an id that must be quoted", "mx/1", one, 1, "\"mx/1\";\r\n\tspf=pass smtp.mailfrom=a.example", 0);
    expect_field("two", "mx.example", two, 2,
                 "mx.example;\r\n\tspf=pass (ip4:192.0.2.1 matched) smtp.mailfrom=a.example;\r\n"
                 "\tspf=none smtp.helo=b;\r\n\tdkim=none", 0);
    expect_field("a long one", "mx.example", long_one, 1,
                 "mx.example;\r\n"
                 "\tdkim=fail (the body was changed after it had been signed by somebody (or on\r\n"
                 "\tthe way), 2048-bit key) header.d=a.example header.i=\"a b  (c\"@a.example\r\n"
                 "\theader.s=selector header.a=rsa-sha256 header.b=\"abcdefgh\"", 0);
    expect_field("what is no text", "mx.example", broken, 5, "mx.example;\r\n\tdkim=pass", 5);
    expect_field("oddly written", "mx.example", odd, 1,
                 "mx.example;\r\n\tspf/1 = pass reason = \"x y\" smtp . mailfrom = \"a;b\"", 0);
}

static unsigned longest_line(const char *value)
{
    unsigned longest = 0, n = (unsigned)strlen("Authentication-Results: ");

    for (; *value != '\0'; value++) {
        n = *value == '\n' ? 0 : n + (*value != '\r');
        longest = n > longest ? n : longest;
    }
    return longest;
}

static void test_bounds(void)
{
    char *out = malloc(AUTHRES_FIELD_OCTETS_MAX + 1), *text = malloc(40000);
    tern_str one = { text, 0 };
    struct authres_field field = {
        .name = str("Authentication-Results"), .id = str("mx.example"), .texts = &one, .count = 1
    };
    unsigned left_out;

    /* A word as long as may be, and one longer. */
    for (unsigned extra = 0; extra < 2; extra++) {
        size_t n = (size_t)sprintf(text, "a=pass x.y=");
        memset(text + n, 'v', AUTHRES_WORD_OCTETS_MAX);
        one.len = n + AUTHRES_WORD_OCTETS_MAX - strlen("x.y=") + extra;
        size_t len = authres_compose(&field, out, &left_out);
        CU_ASSERT_EQUAL(left_out, extra);
        CU_ASSERT_EQUAL(len == strlen("mx.example; none"), extra == 1);
        CU_ASSERT_TRUE(longest_line(out) < 998);
    }
    /* Results as many as may be, and more: whole ones are left out. */
    for (unsigned results = AUTHRES_RESULTS_MAX; results <= AUTHRES_RESULTS_MAX + 1; results++) {
        one.len = 0;
        for (unsigned i = 0; i < results; i++)
            one.len += (size_t)sprintf(text + one.len, "%sdkim=pass header.d=d%u.example", i > 0 ? "; " : "", i);
        authres_compose(&field, out, &left_out);
        CU_ASSERT_EQUAL(left_out, results - AUTHRES_RESULTS_MAX);
        CU_ASSERT_TRUE(longest_line(out) <= AUTHRES_LINE_OCTETS);
    }
    /* More than the field holds. */
    one.len = 0;
    for (unsigned i = 0; i < 60; i++)
        one.len += (size_t)sprintf(text + one.len, "%sdkim=pass (%0300u) header.d=d%u.example", i > 0 ? "; " : "", 0, i);
    size_t len = authres_compose(&field, out, &left_out);
    CU_ASSERT_TRUE(len > AUTHRES_FIELD_OCTETS_MAX - 400 && len <= AUTHRES_FIELD_OCTETS_MAX);
    CU_ASSERT_TRUE(left_out > 0 && left_out < 60);
    tern_str id;
    unsigned version;
    struct authres_read_result result;
    struct authres_reader r;
    CU_ASSERT_TRUE(authres_open(&r, (tern_str){ out, len }, true, false, &id, &version));
    while (authres_next(&r, &result))
        continue;
    CU_ASSERT_FALSE(r.broken);
    CU_ASSERT_EQUAL(r.results, 60 - left_out);
    free(text);
    free(out);
}

/* ---- reading ---- */

/* "id|version|method=result ptype.property=value ...|..." or NULL. */
static bool print_field(const char *value, bool strict, char *out)
{
    struct authres_read_result result;
    struct authres_reader r;
    char text[256];
    tern_str id;
    unsigned version;
    size_t len;

    out[0] = '\0';
    if (!authres_open(&r, str(value), strict, false, &id, &version))
        return false;
    CU_ASSERT_TRUE(authres_unquote(id, text, sizeof(text), &len));
    out += sprintf(out, "%s|%u", text, version);
    while (authres_next(&r, &result)) {
        out += sprintf(out, "|%.*s=%.*s", (int)result.method.len, result.method.ptr, (int)result.result.len,
                       result.result.ptr);
        for (unsigned i = 0; i < result.count; i++) {
            const struct authres_property *p = &result.properties[i];
            CU_ASSERT_TRUE(authres_unquote(p->value, text, sizeof(text), &len));
            out += sprintf(out, " %.*s.%.*s=%s", (int)p->ptype.len, p->ptype.ptr, (int)p->property.len,
                           p->property.ptr, text);
        }
    }
    if (r.none)
        strcpy(out, "|none");
    return !r.broken;
}

static void test_reading(void)
{
    static const struct {
        const char *what, *value, *strict, *loose; /* NULL: broken */
    } rows[] = {
        { "RFC 8601 B.2", "example.org 1; none", "example.org|1|none", "example.org|1|none" },
        { "B.3", "example.com;\r\n spf=pass smtp.mailfrom=example.net", "example.com|1|spf=pass smtp.mailfrom=example.net",
          "example.com|1|spf=pass smtp.mailfrom=example.net" },
        { "B.4", "example.com;\r\n\tauth=pass (cram-md5) smtp.auth=sender@example.net;\r\n\tspf=pass "
                 "smtp.mailfrom=example.net",
          "example.com|1|auth=pass smtp.auth=sender@example.net|spf=pass smtp.mailfrom=example.net",
          "example.com|1|auth=pass smtp.auth=sender@example.net|spf=pass smtp.mailfrom=example.net" },
        { "B.6", "foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n"
                 " policy (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I wasn't expecting it) "
                 "1362471462",
          "foo.example.net|1|dkim=fail policy.expired=1362471462", "foo.example.net|1|dkim=fail policy.expired=1362471462" },
        { "a quoted id", "\"mx\\\" .example\"; none", "mx\" .example|1|none", "mx\" .example|1|none" },
        { "another version", "mx.example 2; none", "mx.example|2|none", "mx.example|2|none" },
        { "unquoted values", "mx.example; dkim=pass header.b=a/b+c== policy.iprev=2001:db8::1", NULL,
          "mx.example|1|dkim=pass header.b=a/b+c== policy.iprev=2001:db8::1" },
        { "an id alone", "mx.example", NULL, "mx.example|1" },
        { "a `;` at the end", "mx.example; spf=pass;", NULL, "mx.example|1|spf=pass" },
        { "a quoted local part", "a; x=pass y.z=\"b ;c\"@d.example", "a|1|x=pass y.z=b ;c@d.example",
          "a|1|x=pass y.z=b ;c@d.example" },
        { "a reason", "a; x=fail reason=\"no; not\" y.z=1", "a|1|x=fail y.z=1", "a|1|x=fail y.z=1" },
        { "none and more", "a; none; x=pass", NULL, NULL },
        { "results and none", "a; x=pass; none", NULL, NULL },
        { "nothing", "", NULL, NULL },
        { "blanks", "  ", NULL, NULL },
        { "a comment alone", "(a)", NULL, NULL },
        { "a comment without end", "a (b; spf=pass", NULL, NULL },
        { "a quote without end", "\"a; spf=pass", NULL, NULL },
        { "no version where one stands", "a b; none", NULL, NULL },
        { "no result", "a; spf", NULL, NULL },
        { "no method", "a; =pass", NULL, NULL },
        { "words behind the result", "a; spf=pass x", NULL, NULL },
        { "a NUL is the end of nothing", "a; spf=pa\001ss", NULL, NULL },
        { "a line end without blank", "a;\r\nspf=pass", NULL, NULL },
        { "a bare LF", "a;\n spf=pass", NULL, NULL },
        { "properties that touch", "a; x=pass y.z=\"1\"w.v=2", NULL, "a|1|x=pass y.z=1w.v=2" },
    };
    char got[1024];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int strict = 0; strict < 2; strict++) {
            const char *want = strict ? rows[i].strict : rows[i].loose;
            bool fine = print_field(rows[i].value, strict, got);
            if (fine != (want != NULL) || (fine && strcmp(got, want) != 0))
                fprintf(stderr, "  %s (%s): %d %s\n", rows[i].what, strict ? "strict" : "loose", fine, got);
            CU_ASSERT_EQUAL(fine, want != NULL);
            if (fine && want != NULL)
                CU_ASSERT_STRING_EQUAL(got, want);
        }
}

static void test_reading_bounds(void)
{
    char value[8192], got[16384];

    for (unsigned extra = 0; extra < 2; extra++) {
        char *p = value;
        for (unsigned i = 0; i < AUTHRES_COMMENTS_DEEP_MAX + extra; i++)
            *p++ = '(';
        for (unsigned i = 0; i < AUTHRES_COMMENTS_DEEP_MAX + extra; i++)
            *p++ = ')';
        strcpy(p, " a; none");
        CU_ASSERT_EQUAL(print_field(value, true, got), extra == 0);

        p = value + sprintf(value, "a; x=pass");
        for (unsigned i = 0; i < AUTHRES_PROPERTIES_MAX + extra; i++)
            p += sprintf(p, " y.z=%u", i);
        CU_ASSERT_EQUAL(print_field(value, true, got), extra == 0);

        p = value + sprintf(value, "a");
        for (unsigned i = 0; i < AUTHRES_RESULTS_MAX + extra; i++)
            p += sprintf(p, "; x=pass y.z=%u", i);
        CU_ASSERT_EQUAL(print_field(value, true, got), extra == 0);
    }
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return CU_get_error();
    CU_pSuite suite = CU_add_suite("authres", NULL, NULL);
    CU_add_test(suite, "values in a text", test_values);
    CU_add_test(suite, "mailboxes in a text", test_mailboxes);
    CU_add_test(suite, "comments and reasons", test_comments);
    CU_add_test(suite, "a text's room", test_room);
    CU_add_test(suite, "the field", test_fields);
    CU_add_test(suite, "bounds of the field", test_bounds);
    CU_add_test(suite, "reading", test_reading);
    CU_add_test(suite, "bounds of reading", test_reading_bounds);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed > 0;
}
