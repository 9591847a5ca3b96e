/* SPDX-License-Identifier: Apache-2.0 */
/* test_bounce.c - notices: one as it should look, and a well-formed one from whatever texts. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "delivery/bounce.h"

#define LINE_MAX_OCTETS 998
#define ROUNDS          1000

static const struct bounce_rcpt two[] = {
    { SLICE("bob@example.org"), SLICE("robert@example.com"), BOUNCE_FAILED, SLICE("5.1.1"),
      SLICE("550 5.1.1 No such user here"), SLICE("mx.example.org[192.0.2.7]:25") },
    { SLICE("eve@example.org"),
      { NULL, 0 },
      BOUNCE_DELAYED,
      SLICE("4.4.1"),
      SLICE("451 4.4.1 mx2.example.org (192.0.2.1:25): could not connect: Connection refused"),
      { NULL, 0 } },
};

static struct bounce plain(void)
{
    return (struct bounce){
        .hostname = SLICE("mail.example.net"),
        .queue_id = SLICE("Q1"),
        .notice_id = SLICE("Q2"),
        .sender = SLICE("me@example.net"),
        .arrival_wall_ms = 1795298000000,
        .now_wall_ms = 1795298400000,
        .retry_until_wall_ms = 1795730000000,
        .headers = SLICE("Subject: hello\r\nFrom: me@example.net\r\n\r\nbody\r\n"),
        .rcpts = two,
        .rcpt_count = 2,
    };
}

static const char golden[] =
    "Date: Sat, 21 Nov 2026 22:00:00 +0000\r\n"
    "From: Mail Delivery System <MAILER-DAEMON@mail.example.net>\r\n"
    "To: <me@example.net>\r\n"
    "Subject: Your message could not be delivered\r\n"
    "Message-ID: <Q2.1795298400000.notice@mail.example.net>\r\n"
    "Auto-Submitted: auto-replied\r\n"
    "MIME-Version: 1.0\r\n"
    "Content-Type: multipart/report; report-type=delivery-status;\r\n"
    " boundary=\"=_Q2_0\"\r\n"
    "\r\n"
    "--=_Q2_0\r\n"
    "Content-Type: text/plain; charset=us-ascii\r\n"
    "\r\n"
    "This is the mail server at mail.example.net.\r\n"
    "\r\n"
    "Your message could not be delivered to the following recipients,\r\n"
    "and no further attempt will be made:\r\n"
    "\r\n"
    "  <robert@example.com>\r\n"
    "    There is no such address. Please check how it is spelled.\r\n"
    "    mx.example.org[192.0.2.7]:25 said: 550 5.1.1 No such user here\r\n"
    "\r\n"
    "Your message could not yet be delivered to the following recipients.\r\n"
    "It is being tried again; you need not send it once more:\r\n"
    "\r\n"
    "  <eve@example.org>\r\n"
    "    The mail server of this address cannot be reached at present.\r\n"
    "    Reason: 451 4.4.1 mx2.example.org (192.0.2.1:25): could not connect:\r\n"
    "    Connection refused\r\n"
    "\r\n"
    "Attempts end at Thu, 26 Nov 2026 21:53:20 +0000\r\n"
    "The headers of your message follow, so that you can see which one it is.\r\n"
    "\r\n"
    "--=_Q2_0\r\n"
    "Content-Type: message/delivery-status\r\n"
    "\r\n"
    "Reporting-MTA: dns; mail.example.net\r\n"
    "X-Tern-Queue-ID: Q1\r\n"
    "Arrival-Date: Sat, 21 Nov 2026 21:53:20 +0000\r\n"
    "\r\n"
    "Final-Recipient: rfc822; bob@example.org\r\n"
    "Action: failed\r\n"
    "Status: 5.1.1\r\n"
    "Remote-MTA: dns; mx.example.org\r\n"
    "Diagnostic-Code: smtp; 550 5.1.1 No such user here\r\n"
    "\r\n"
    "Final-Recipient: rfc822; eve@example.org\r\n"
    "Action: delayed\r\n"
    "Status: 4.4.1\r\n"
    "Diagnostic-Code: x-tern; 451 4.4.1 mx2.example.org (192.0.2.1:25): could not\r\n"
    " connect: Connection refused\r\n"
    "Will-Retry-Until: Thu, 26 Nov 2026 21:53:20 +0000\r\n"
    "\r\n"
    "--=_Q2_0\r\n"
    "Content-Type: text/rfc822-headers\r\n"
    "\r\n"
    "Subject: hello\r\n"
    "From: me@example.net\r\n"
    "\r\n"
    "--=_Q2_0--\r\n";

static void test_golden(void)
{
    struct bounce b = plain();
    struct buf out CLEANUP_BUF = BUF_INIT;

    bounce_compose(&b, &out);
    if (strcmp(out.data, golden) != 0)
        fprintf(stderr, "%s", out.data);
    CU_ASSERT_STRING_EQUAL(out.data, golden);
}

/* ---- well-formed? ---- */

static struct slice take_line(struct slice *rest)
{
    ptrdiff_t lf = slice_find(*rest, '\n');
    struct slice line = slice_head(*rest, lf >= 0 ? (size_t)lf + 1 : rest->len);

    *rest = slice_from(*rest, line.len);
    return line;
}

static bool octets_are_fine(struct slice line, bool utf8)
{
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f || (c >= 0x80 && !utf8))
            return false;
    }
    return utf8_valid(line);
}

static bool is_field(struct slice line)
{
    ptrdiff_t colon = slice_find(line, ':');

    if (line.len > 0 && line.ptr[0] == ' ')
        return slice_trim(line).len > 0;
    for (ptrdiff_t i = 0; i < colon; i++)
        if (line.ptr[i] <= ' ' || line.ptr[i] >= 0x7f)
            return false;
    return colon > 0;
}

static const char *what_is_wrong(struct slice text, const struct bounce *b)
{
    char boundary[90] = "";
    unsigned part = 0, finals = 0, states = 0, recipients = 0;
    bool in_head = true, closed = false;
    size_t header_octets = 0;

    while (text.len > 0) {
        struct slice line = take_line(&text);
        if (line.len < 2 || memcmp(line.ptr + line.len - 2, "\r\n", 2) != 0)
            return "a line without CRLF";
        line.len -= 2;
        if (line.len > LINE_MAX_OCTETS)
            return "a long line";
        if (!octets_are_fine(line, b->smtputf8))
            return "an octet";
        if (closed)
            return "text behind the end";
        if (part == 0 && in_head && slice_starts_nocase(line, SLICE(" boundary=\"")))
            snprintf(boundary, sizeof(boundary), "--%.*s", (int)(line.len - 12), line.ptr + 11);
        if (part == 0 && !in_head && boundary[0] == '\0')
            return "no boundary";
        if (boundary[0] != '\0' && line.len >= strlen(boundary) &&
            memcmp(line.ptr, boundary, strlen(boundary)) == 0) {
            closed = line.len == strlen(boundary) + 2;
            if (!closed && line.len != strlen(boundary))
                return "a line that looks like the boundary";
            part++;
            in_head = true;
            continue;
        }
        if (in_head && line.len == 0) {
            in_head = false;
            continue;
        }
        if (in_head && !is_field(line))
            return "a header line";
        if (part == 2 && !in_head) {
            if (line.len > 0 && !is_field(line))
                return "a status field";
            finals += slice_starts_nocase(line, SLICE("Final-Recipient:"));
            states += slice_starts_nocase(line, SLICE("Status:"));
            recipients += slice_starts_nocase(line, SLICE("Action:"));
        }
        if (part == 3 && !in_head)
            header_octets += line.len + 2;
    }
    unsigned want = b->rcpt_count < BOUNCE_RCPTS_MAX ? b->rcpt_count : BOUNCE_RCPTS_MAX;
    if (!closed || part != 4)
        return "parts";
    if (states != want || recipients != want || finals > want)
        return "a forged recipient";
    return header_octets > BOUNCE_HEADERS_MAX + 2 ? "too much of the headers" : NULL;
}

static void check(const struct bounce *b, const char *name)
{
    struct buf out CLEANUP_BUF = BUF_INIT;

    bounce_compose(b, &out);
    const char *wrong = what_is_wrong(buf_slice(&out), b);
    if (wrong != NULL)
        fprintf(stderr, "  %s: %s\n", name, wrong);
    CU_ASSERT_PTR_NULL(wrong);
}

/* ---- whatever texts ---- */

static uint64_t seed;

static unsigned any(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static struct slice any_text(struct buf *store, size_t max)
{
    static const char *const pieces[] = {
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        " ",
        "\t",
        "--=_Q2_0",
        "--=_Q2_0--",
        "=_Q2_1",
        "\r\nStatus: 2.0.0\r\n",
        "\r\nFinal-Recipient: rfc822; x\r\n\r\nAction: failed",
        "\r\nBcc: x@y",
        "\xc3\xa4",
        "\xff",
        "\xe2\x82",
        "a",
        "word",
        "@",
        "<",
        ">",
        "\"",
        ";",
        ".",
        "(",
        "\x7f",
        "\x1b[2J",
        "550 5.1.1 ",
        "user@example.org",
    };
    size_t want = any(4) == 0 ? any((unsigned)max) : any(60), start = store->len;

    while (store->len - start < want) {
        unsigned kind = any(10);
        if (kind == 0) {
            buf_add_char(store, (char)any(256));
        } else if (kind == 1) {
            for (unsigned n = any(1500); n > 0; n--)
                buf_add_char(store, 'x');
        } else {
            buf_add_cstr(store, pieces[any(sizeof(pieces) / sizeof(pieces[0]))]);
        }
    }
    return slice_make(NULL, store->len - start);
}

static void test_whatever(void)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct bounce_rcpt rcpts[4];
        struct buf store CLEANUP_BUF = BUF_INIT;
        struct slice *texts[4 * 6 + 6];
        struct bounce b = plain();
        unsigned n = 0;
        char name[40];

        seed = round;
        snprintf(name, sizeof(name), "round %u", round);
        b.rcpts = rcpts;
        b.rcpt_count = 1 + any(4);
        b.smtputf8 = any(2) != 0;
        b.retry_until_wall_ms = any(2) ? UINT64_MAX : 0;
        texts[n++] = &b.hostname;
        texts[n++] = &b.queue_id;
        if (any(2) != 0)
            texts[n++] = &b.notice_id;
        texts[n++] = &b.sender;
        texts[n++] = &b.headers;
        texts[n++] = &b.envid;
        for (unsigned i = 0; i < b.rcpt_count; i++) {
            rcpts[i].action = (enum bounce_action)any(BOUNCE_RELAYED + 1);
            texts[n++] = &rcpts[i].orcpt;
            texts[n++] = &rcpts[i].address;
            texts[n++] = &rcpts[i].original;
            texts[n++] = &rcpts[i].status;
            texts[n++] = &rcpts[i].diagnostic;
            texts[n++] = &rcpts[i].remote_mta;
        }
        for (unsigned i = 0; i < n; i++)
            *texts[i] = any_text(&store, texts[i] == &b.headers ? 100000 : 3000);
        size_t at = 0;
        for (unsigned i = 0; i < n; i++) { /* the store has stopped moving */
            texts[i]->ptr = store.data + at;
            at += texts[i]->len;
        }
        if (b.sender.len == 0)
            b.sender = SLICE("x");
        check(&b, name);
    }
}

static void test_who_said_it(void)
{
    static const struct {
        const char *said_by, *want, *not_there;
    } cases[] = {
        { "mx.example[192.0.2.1]:25", "\r\nRemote-MTA: dns; mx.example\r\nDiagnostic-Code: smtp; 550 ", "[192" },
        { "[192.0.2.1]:25", "\r\nRemote-MTA: dns; [192.0.2.1]\r\nDiagnostic-Code: smtp; 550 ", "]:25\r" },
        { "[2001:db8::1]:25", "\r\nRemote-MTA: dns; [IPv6:2001:db8::1]\r\nDiagnostic-Code: smtp; 550 ", "]:25\r" },
        { "/run/dovecot/lmtp", "\r\nDiagnostic-Code: smtp; 550 ", "Remote-MTA" },
        { "mailboxes", "\r\nDiagnostic-Code: x-tern; 550 ", "Remote-MTA" },
        { "", "\r\nDiagnostic-Code: x-tern; 550 ", "Remote-MTA" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bounce_rcpt one = two[0];
        struct bounce b = plain();
        struct buf out CLEANUP_BUF = BUF_INIT;
        one.remote_mta = slice_cstr(cases[i].said_by);
        b.rcpts = &one;
        b.rcpt_count = 1;
        bounce_compose(&b, &out);
        const char *fields = strstr(out.data, "message/delivery-status\r\n");
        CU_ASSERT_PTR_NOT_NULL_FATAL(fields);
        bool fine = strstr(fields, cases[i].want) != NULL && strstr(fields, cases[i].not_there) == NULL;
        if (!fine)
            fprintf(stderr, "  \"%s\": %s\n", cases[i].said_by, fields);
        CU_ASSERT(fine);
    }
}

static void test_statuses(void)
{
    static const struct {
        const char *status, *want;
        enum bounce_action action;
    } cases[] = {
        { "5.1.1", "5.1.1", BOUNCE_FAILED },         { "4.4.7", "4.4.7", BOUNCE_FAILED },
        { "5.123.123", "5.123.123", BOUNCE_FAILED }, { "5.1234.1", "5.0.0", BOUNCE_FAILED },
        { "5.1", "5.0.0", BOUNCE_FAILED },           { "5..1.", "5.0.0", BOUNCE_FAILED },
        { "2.0.0", "5.0.0", BOUNCE_FAILED },         { "", "4.0.0", BOUNCE_DELAYED },
        { "5.1.1\r\n", "5.0.0", BOUNCE_FAILED },     { "5.1.1.1", "5.0.0", BOUNCE_FAILED },
        { "2.1.5", "2.1.5", BOUNCE_DELIVERED },      { "2.6.0", "2.6.0", BOUNCE_RELAYED },
        { "5.1.1", "2.0.0", BOUNCE_DELIVERED },      { "", "2.0.0", BOUNCE_RELAYED },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bounce_rcpt r = two[0];
        struct bounce b = plain();
        struct buf out CLEANUP_BUF = BUF_INIT;
        char want[40];
        r.status = slice_cstr(cases[i].status);
        r.action = cases[i].action;
        b.rcpts = &r;
        b.rcpt_count = 1;
        bounce_compose(&b, &out);
        snprintf(want, sizeof(want), "\r\nStatus: %s\r\n", cases[i].want);
        CU_ASSERT_PTR_NOT_NULL(strstr(out.data, want));
    }
}

/* RFC 3461 6.3: what came as xtext is told decoded; it ends no line. */
static void test_dsn_fields(void)
{
    static const struct {
        const char *envid, *orcpt, *wants[2], *never;
    } cases[] = {
        { "QQ+2B1", "rfc822;a+2Bb@x.org",
          { "\r\nOriginal-Envelope-Id: QQ+1\r\n", "\r\nOriginal-Recipient: rfc822; a+b@x.org\r\n" },
          "robert" },
        { "", "", { "\r\n\r\nFinal-Recipient: rfc822; bob@example.org\r\n", "failed" }, "Original-" },
        { "a+0D+0AStatus:+202", "rf\r\nc;x+0D+0Ay", { "Envelope-Id: a Status: 2", "Original-Recipient: rfc; x y\r\n" },
          "\nStatus: 2" },
        { "+", "rfc822;+", { "\r\nFinal-Recipient: rfc822; bob@example.org\r\n", "failed" }, "Original-" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bounce_rcpt r = two[0];
        struct bounce b = plain();
        struct buf out CLEANUP_BUF = BUF_INIT;
        b.envid = slice_cstr(cases[i].envid);
        r.orcpt = slice_cstr(cases[i].orcpt);
        b.rcpts = &r;
        b.rcpt_count = 1;
        bounce_compose(&b, &out);
        char *fields = strstr(out.data, "Content-Type: message/delivery-status");
        CU_ASSERT_PTR_NOT_NULL_FATAL(fields);
        for (unsigned k = 0; k < 2; k++) {
            if (strstr(fields, cases[i].wants[k]) == NULL)
                fprintf(stderr, "%s", fields);
            CU_ASSERT_PTR_NOT_NULL(strstr(fields, cases[i].wants[k]));
        }
        CU_ASSERT_PTR_NULL(strstr(fields, cases[i].never));
    }
}

static void test_full(void)
{
    static const struct {
        struct slice original;
        bool may, eight_bit;
    } cases[] = {
        { SLICE("A: b\r\n\r\nx\r\n"), true, false },   { SLICE("A: b\r\n\r\n\303\274\r\n"), true, true },
        { SLICE("A: b\r\n\r\nx"), false, false },      { SLICE("A: b\n\r\n"), false, false },
        { SLICE("A: b\r\n\r\nx\ry\r\n"), false, false }, { SLICE("A: b\r\n\r\n\0\r\n"), false, false },
        { SLICE(""), false, false },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bounce b = plain();
        struct buf out CLEANUP_BUF = BUF_INIT;
        bool eight_bit = false;
        CU_ASSERT_EQUAL(bounce_may_return(cases[i].original, &eight_bit), cases[i].may);
        if (!cases[i].may)
            continue;
        CU_ASSERT_EQUAL(eight_bit, cases[i].eight_bit);
        b.full = cases[i].original;
        bounce_compose(&b, &out);
        CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "\r\nContent-Type: message/rfc822\r\n"));
        CU_ASSERT_EQUAL(strstr(out.data, "Content-Transfer-Encoding: 8bit") != NULL, eight_bit);
        CU_ASSERT_PTR_NOT_NULL(memmem(out.data, out.len, b.full.ptr, b.full.len));
    }
    for (size_t more = 0; more < 2; more++) { /* a line of 998 octets, and one more */
        CLEANUP_BUF struct buf line = BUF_INIT;
        bool eight_bit;
        for (size_t i = 0; i < LINE_MAX_OCTETS + more; i++)
            buf_add_char(&line, 'x');
        buf_add_cstr(&line, "\r\n");
        CU_ASSERT_EQUAL(bounce_may_return(buf_slice(&line), &eight_bit), more == 0);
    }
    for (size_t more = 0; more < 2; more++) { /* the most octets, and one more */
        CLEANUP_BUF struct buf text = BUF_INIT;
        bool eight_bit;
        buf_add_cstr(&text, more == 0 ? "\r\n" : "x\r\n");
        while (text.len < BOUNCE_FULL_MAX)
            buf_add_cstr(&text, "\r\n");
        CU_ASSERT_EQUAL(bounce_may_return(buf_slice(&text), &eight_bit), more == 0);
    }
}

/* At the bounds, and one above. */
static void test_bounds(void)
{
    struct bounce b = plain();
    struct buf headers CLEANUP_BUF = BUF_INIT;
    struct buf out CLEANUP_BUF = BUF_INIT;
    struct bounce_rcpt *many = mem_zalloc((BOUNCE_RCPTS_MAX + 1) * sizeof(*many));

    while (headers.len < BOUNCE_HEADERS_MAX)
        buf_add_cstr(&headers, "X-123456789012: 123456789012345\r\n"); /* 33 */
    headers.len = BOUNCE_HEADERS_MAX - 2;
    buf_add_cstr(&headers, "\r\n");
    b.headers = buf_slice(&headers);
    bounce_compose(&b, &out);
    CU_ASSERT_PTR_NOT_NULL(memmem(out.data, out.len, headers.data, headers.len));
    buf_clear(&out);
    headers.len -= 2;
    buf_add_cstr(&headers, "x\r\n");
    b.headers = buf_slice(&headers);
    bounce_compose(&b, &out);
    CU_ASSERT_PTR_NULL(memmem(out.data, out.len, headers.data, headers.len));
    check(&b, "headers");

    b = plain();
    for (unsigned i = 0; i <= BOUNCE_RCPTS_MAX; i++)
        many[i] = two[0];
    b.rcpts = many;
    b.rcpt_count = BOUNCE_RCPTS_MAX;
    buf_clear(&out);
    bounce_compose(&b, &out);
    CU_ASSERT_PTR_NULL(strstr(out.data, "more"));
    b.rcpt_count++;
    buf_clear(&out);
    bounce_compose(&b, &out);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "and 1 more"));
    check(&b, "recipients");
    free(many);
}

static void test_utf8(void)
{
    struct bounce b = plain();
    struct bounce_rcpt r = two[0];
    struct buf out CLEANUP_BUF = BUF_INIT;

    r.address = SLICE("b\xc3\xb6\x62@example.org");
    b.rcpts = &r;
    b.rcpt_count = 1;
    b.headers = SLICE("Subject: gr\xc3\xbc\xc3\x9f dich\r\n");
    bounce_compose(&b, &out);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "Final-Recipient: rfc822; b??b@example.org\r\n"));
    b.smtputf8 = true;
    buf_clear(&out);
    bounce_compose(&b, &out);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(out.data, "Final-Recipient: utf-8; b\xc3\xb6\x62@example.org\r\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "Content-Type: message/global-headers\r\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "Subject: gr\xc3\xbc\xc3\x9f dich\r\n"));
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("bounce", NULL, NULL);
    CU_add_test(suite, "fields of DSN", test_dsn_fields);
    CU_add_test(suite, "the whole message", test_full);
    CU_add_test(suite, "as it should look", test_golden);
    CU_add_test(suite, "who said it", test_who_said_it);
    CU_add_test(suite, "statuses", test_statuses);
    CU_add_test(suite, "bounds", test_bounds);
    CU_add_test(suite, "UTF-8", test_utf8);
    CU_add_test(suite, "whatever texts", test_whatever);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
