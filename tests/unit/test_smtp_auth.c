/* SPDX-License-Identifier: Apache-2.0 */
/* test_smtp_auth.c - AUTH and what stands behind its challenges, in one write, octet by octet, in threes. */
#include <CUnit/Basic.h>

#include "smtp_peer.h"

#define OK   "b2s="     /* ok */
#define NO   "bm8="     /* no */
#define MORE "bW9yZQ==" /* more */
#define MAIL "MAIL FROM:<a@example.com>\r\n"

static const struct {
    const char *what, *in, *codes, *asked; /* asked behind the EHLO */
} rows[] = {
    { "an initial response", HELLO "AUTH PLAIN " OK "\r\n", "220;250;235 2.7.0;", "auth PLAIN 2\n" },
    { "a mechanism in small letters", HELLO "auth plain " OK "\r\n", "220;250;235 2.7.0;", "auth plain 2\n" },
    { "a challenge", HELLO "AUTH LOGIN\r\n" MORE "\r\n" OK "\r\n", "220;250;334;334;235 2.7.0;",
      "auth LOGIN\nresponse 4\nresponse 2\n" },
    { "wrong, and again", HELLO "AUTH PLAIN " NO "\r\nAUTH PLAIN " OK "\r\n", "220;250;535 5.7.8;235 2.7.0;",
      "auth PLAIN 2\nauth PLAIN 2\n" },
    { "an empty initial response", HELLO "AUTH PLAIN =\r\n", "220;250;535 5.7.8;", "auth PLAIN 0\n" },
    { "an empty response", HELLO "AUTH PLAIN\r\n\r\n", "220;250;334;535 5.7.8;", "auth PLAIN\nresponse 0\n" },
    { "'=' is no response", HELLO "AUTH PLAIN\r\n=\r\nNOOP\r\n", "220;250;334;501 5.5.2;250 2.0.0;",
      "auth PLAIN\ncancel\n" },
    { "cancelled", HELLO "AUTH PLAIN\r\n*\r\nNOOP\r\n", "220;250;334;501 5.7.0;250 2.0.0;", "auth PLAIN\ncancel\n" },
    { "not base64", HELLO "AUTH PLAIN\r\n!\r\nAUTH PLAIN !\r\nNOOP\r\n", "220;250;334;501 5.5.2;501 5.5.2;250 2.0.0;",
      "auth PLAIN\ncancel\n" },
    { "a control in it", HELLO "AUTH PLAIN\r\nb2\001s=\r\n", "220;250;334;501 5.5.2;", "auth PLAIN\ncancel\n" },
    { "a command is no answer to a challenge", HELLO "AUTH PLAIN\r\nQUIT\r\nQUIT\r\n",
      "220;250;334;535 5.7.8;221 2.0.0;", "auth PLAIN\nresponse 3\nclose\n" },
    { "three words", HELLO "AUTH PLAIN a b\r\n", "220;250;501 5.5.4;", "" },
    { "no word", HELLO "AUTH\r\n", "220;250;501 5.5.4;", "" },
    { "before EHLO", "AUTH PLAIN " OK "\r\n", "220;503 5.5.1;", "" },
    { "behind HELO", "HELO x\r\nAUTH PLAIN " OK "\r\n", "220;250;503 5.5.1;", "" },
    { "twice", HELLO "AUTH PLAIN " OK "\r\nAUTH PLAIN " OK "\r\nEHLO y\r\nAUTH PLAIN " OK "\r\n",
      "220;250;235 2.7.0;503 5.5.1;250;503 5.5.1;", NULL },
    { "in a transaction", HELLO MAIL "AUTH PLAIN " OK "\r\nRSET\r\nAUTH PLAIN " OK "\r\n",
      "220;250;250 2.1.0;503 5.5.1;250 2.0.0;235 2.7.0;", NULL },
    { "pipelined behind a challenge: no command overtakes", HELLO "AUTH PLAIN\r\n" OK "\r\n" MAIL,
      "220;250;334;235 2.7.0;250 2.1.0;", NULL },
};

static void check(const char *what, const char *in, const char *codes, const char *asked, size_t step, bool deferred)
{
    struct buf summary = BUF_INIT;
    struct peer p;

    peer_init(&p, NULL);
    p.mechanisms = "PLAIN LOGIN";
    peer_converse(&p, slice_cstr(in), step, deferred);
    peer_summarize(buf_slice(&p.said), &summary);
    bool right = strcmp(summary.data, codes) == 0;
    if (!right)
        fprintf(stderr, "  %s (%zu): %s\n", what, step, summary.data);
    CU_ASSERT_TRUE(right);
    const char *behind = strstr(p.asked.data, "client.example\n");
    if (asked != NULL && asked[0] != '\0') {
        CU_ASSERT_PTR_NOT_NULL_FATAL(behind);
        if (strcmp(strchr(behind, '\n') + 1, asked) != 0)
            fprintf(stderr, "  %s: asked %s", what, p.asked.data);
        CU_ASSERT_STRING_EQUAL(strchr(behind, '\n') + 1, asked);
    }
    buf_free(&summary);
    peer_fini(&p);
}

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t step = 0; step < 4; step++)
            for (int deferred = 0; deferred < 2; deferred++)
                check(rows[i].what, rows[i].in, rows[i].codes, rows[i].asked, step, deferred);
}

static void test_announced(void)
{
    struct peer p;

    peer_init(&p, NULL);
    p.mechanisms = "PLAIN LOGIN";
    peer_converse(&p, SLICE(HELLO), 0, false);
    CU_ASSERT_PTR_NOT_NULL(strstr(p.said.data, "AUTH PLAIN LOGIN\r\n"));
    peer_fini(&p);

    peer_init(&p, NULL);
    peer_converse(&p, SLICE(HELLO "MAIL FROM:<a@b.example> AUTH=<>\r\n"), 0, false);
    CU_ASSERT_PTR_NULL(strstr(p.said.data, "AUTH"));
    CU_ASSERT_PTR_NOT_NULL(strstr(p.said.data, "555 5.5.4"));
    peer_fini(&p);

    peer_init(&p, NULL);
    p.mechanisms = "PLAIN";
    p.withhold = "AUTH";
    peer_converse(&p, SLICE(HELLO "AUTH PLAIN " OK "\r\n"), 0, false);
    CU_ASSERT_PTR_NULL(strstr(p.said.data, "AUTH PLAIN"));
    CU_ASSERT_PTR_NOT_NULL(strstr(p.said.data, "502 5.5.1"));
    peer_fini(&p);
}

/* RFC 4954 4: 12288 octets, whatever other commands may have. The bound, and one above. */
static void test_long_lines(void)
{
    for (int initial = 0; initial < 2; initial++)
        for (int over = 0; over < 2; over++)
            for (size_t step = 0; step < 2000; step += 999) {
                struct buf in = BUF_INIT, summary = BUF_INIT;
                struct peer p;

                buf_add_cstr(&in, HELLO);
                buf_add_cstr(&in, initial ? "AUTH PLAIN  " : "AUTH PLAIN\r\n");
                size_t line = initial ? in.len - strlen("AUTH PLAIN  ") : in.len;
                while (in.len - line < 12288)
                    buf_add_char(&in, 'A');
                if (over)
                    buf_add_char(&in, 'A');
                buf_add_cstr(&in, "\r\nNOOP\r\n");
                peer_init(&p, NULL);
                p.mechanisms = "PLAIN";
                peer_converse(&p, buf_slice(&in), step, false);
                peer_summarize(buf_slice(&p.said), &summary);
                const char *want = over ? (initial ? "220;250;500 5.5.2;250 2.0.0;" : "220;250;334;500 5.5.6;250 2.0.0;")
                                        : (initial ? "220;250;535 5.7.8;250 2.0.0;" : "220;250;334;535 5.7.8;250 2.0.0;");
                if (strcmp(summary.data, want) != 0)
                    fprintf(stderr, "  %d %d %zu: %s\n", initial, over, step, summary.data);
                CU_ASSERT_STRING_EQUAL(summary.data, want);
                buf_free(&in);
                buf_free(&summary);
                peer_fini(&p);
            }
}

static void test_required(void)
{
    struct buf summary = BUF_INIT;
    struct peer p = { 0 };

    p.session = smtp_session_new(&(struct smtp_session_options){
        .hostname = "mx", .limits = &peer_limits, .auth_required = true, .ops = &peer_ops, .owner = &p });
    p.mechanisms = "PLAIN";
    peer_converse(&p, SLICE(HELLO MAIL "VRFY a\r\nNOOP\r\nRSET\r\nHELP\r\nRCPT TO:<b@x.org>\r\nAUTH PLAIN " NO "\r\n" MAIL
                            "AUTH PLAIN " OK "\r\n" MAIL "RCPT TO:<b@x.org>\r\n"),
                  0, false);
    peer_summarize(buf_slice(&p.said), &summary);
    CU_ASSERT_STRING_EQUAL(summary.data, "220;250;530 5.7.0;530 5.7.0;250 2.0.0;250 2.0.0;214 2.0.0;503 5.5.1;535 5.7.8;"
                                     "530 5.7.0;235 2.7.0;250 2.1.0;250 2.1.5;");
    CU_ASSERT_PTR_NULL(strstr(p.asked.data, "mail|")); /* nobody was asked before */
    buf_free(&summary);
    peer_fini(&p);
}

/* Who guesses hits the limit of errors like everybody. */
static void test_error_limit(void)
{
    struct smtp_limits limits = peer_limits;
    struct buf summary = BUF_INIT;
    struct peer p;

    limits.errors = 2;
    peer_init(&p, &limits);
    p.mechanisms = "PLAIN";
    peer_converse(&p, SLICE(HELLO "AUTH PLAIN " NO "\r\nAUTH PLAIN " NO "\r\nAUTH PLAIN " NO "\r\n"), 0, false);
    peer_summarize(buf_slice(&p.said), &summary);
    CU_ASSERT_STRING_EQUAL(summary.data, "220;250;535 5.7.8;535 5.7.8;421 4.7.0;");
    CU_ASSERT_TRUE(p.closed);
    buf_free(&summary);
    peer_fini(&p);
}

/* The owner hears that there was something to wipe, once. */
static void test_secret(void)
{
    struct peer p;

    peer_init(&p, NULL);
    p.mechanisms = "PLAIN";
    peer_converse(&p, SLICE(HELLO "NOOP\r\n"), 0, false);
    CU_ASSERT_FALSE(smtp_session_take_secret(p.session));
    smtp_session_input(p.session, SLICE("AUTH PLAIN\r\n"));
    (void)smtp_session_take_secret(p.session);
    smtp_session_input(p.session, SLICE(OK "\r\n"));
    CU_ASSERT_TRUE(smtp_session_take_secret(p.session));
    CU_ASSERT_FALSE(smtp_session_take_secret(p.session));
    peer_fini(&p);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("smtp auth", NULL, NULL);
    CU_add_test(suite, "dialogues", test_rows);
    CU_add_test(suite, "announced", test_announced);
    CU_add_test(suite, "long lines", test_long_lines);
    CU_add_test(suite, "required", test_required);
    CU_add_test(suite, "error limit", test_error_limit);
    CU_add_test(suite, "secrets", test_secret);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
