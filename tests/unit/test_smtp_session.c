/* SPDX-License-Identifier: Apache-2.0 */
/* test_smtp_session.c - greeting, limits, ends, pipelines and phases of a session. */
#include <CUnit/Basic.h>
#include <malloc.h>
#include <stdlib.h>

#include "smtp/data.h"
#include "smtp/reply.h"
#include "smtp_peer.h"

/* ---- Greeting ---------------------------------------------------------------- */

static void check_greeting(struct smtp_answer answer, const char *said, bool closed)
{
    struct peer p;

    peer_init(&p, NULL);
    p.connect = &answer;
    smtp_session_start(p.session);
    CU_ASSERT(slice_equal(buf_slice(&p.said), slice_cstr(said)));
    CU_ASSERT_EQUAL(p.closed, closed);
    peer_fini(&p);
}

static void test_greeting(void)
{
    check_greeting((struct smtp_answer){ 0 }, "220 mx.example.net ESMTP Tern\r\n", false);
    check_greeting((struct smtp_answer){ 550, "5.7.1", SLICE("No") }, "554 5.7.1 No\r\n", false);
    check_greeting((struct smtp_answer){ 554, NULL, SLICE("No") }, "554 5.0.0 No\r\n", false);
    check_greeting((struct smtp_answer){ 450, "4.7.1", SLICE("No") }, "421 4.7.1 No\r\n", true);
    check_greeting((struct smtp_answer){ 421, "4.7.0", SLICE("No") }, "421 4.7.0 No\r\n", true);
}

static void check_ehlo(const char *withhold, const char *said)
{
    struct peer p;

    peer_init(&p, NULL);
    smtp_session_start(p.session);
    buf_clear(&p.said);
    p.withhold = withhold;
    smtp_session_input(p.session, SLICE("EHLO x\r\n"));
    CU_ASSERT(slice_equal(buf_slice(&p.said), slice_cstr(said)));
    peer_fini(&p);
}

static void test_ehlo(void)
{
#define REST "250-CHUNKING\r\n250-BINARYMIME\r\n250-DSN\r\n250-HELP\r\n250 LIMITS RCPTMAX=1000\r\n"
    check_ehlo(NULL, "250-mx.example.net\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n"
                     "250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n" REST);
    check_ehlo("enhancedstatuscodes", "250-mx.example.net\r\n250-PIPELINING\r\n"
                                      "250-SIZE 52428800\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n" REST);
    check_ehlo("SIZE", "250-mx.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
                       "250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n" REST);
    /* RFC 3030 section 3: no BINARYMIME without CHUNKING. */
    check_ehlo("CHUNKING", "250-mx.example.net\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n"
                           "250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n"
                           "250-DSN\r\n250-HELP\r\n250 LIMITS RCPTMAX=1000\r\n");
}

/* What was not offered is not known; the next EHLO offers it again. */
static void test_withheld(void)
{
    static const struct {
        const char *keyword, *line;
    } rows[] = {
        { "SIZE", "MAIL FROM:<> SIZE=1\r\n" },
        { "8BITMIME", "MAIL FROM:<> BODY=8BITMIME\r\n" },
        { "BINARYMIME", "MAIL FROM:<> BODY=BINARYMIME\r\n" },
        { "CHUNKING", "MAIL FROM:<> BODY=BINARYMIME\r\n" },
        { "DSN", "MAIL FROM:<> RET=FULL\r\n" },
        { "DSN", "MAIL FROM:<> ENVID=x\r\n" },
        { "SMTPUTF8", "MAIL FROM:<> SMTPUTF8\r\n" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer p;
        peer_init(&p, NULL);
        p.withhold = rows[i].keyword;
        peer_converse(&p, SLICE("EHLO x\r\n"), 0, false);
        buf_clear(&p.said);
        smtp_session_input(p.session, slice_cstr(rows[i].line));
        peer_check_code(&p, rows[i].line, 555);
        p.withhold = NULL;
        smtp_session_input(p.session, SLICE("EHLO refuse\r\n")); /* changes nothing */
        buf_clear(&p.said);
        smtp_session_input(p.session, slice_cstr(rows[i].line));
        peer_check_code(&p, rows[i].line, 555);
        smtp_session_input(p.session, SLICE("EHLO x\r\n"));
        buf_clear(&p.said);
        smtp_session_input(p.session, slice_cstr(rows[i].line));
        peer_check_code(&p, rows[i].line, 250);
        peer_fini(&p);
    }
    struct peer p;
    peer_init(&p, NULL);
    p.withhold = "ENHANCEDSTATUSCODES";
    peer_converse(&p, SLICE("EHLO x\r\n"), 0, false);
    buf_clear(&p.said);
    smtp_session_input(p.session, SLICE("NOOP\r\n"));
    CU_ASSERT(slice_equal(buf_slice(&p.said), SLICE("250 Ok\r\n")));
    peer_fini(&p);
}

/* ---- Limits ------------------------------------------------------------------ */

/* Feeds `in` with these limits and compares the codes, in one write and octet by octet. */
static void check_limited(const struct smtp_limits *limits, struct slice in, const char *expected)
{
    for (size_t step = 0; step < 2; step++) {
        CLEANUP_BUF struct buf codes = BUF_INIT;
        struct peer p;
        peer_init(&p, limits);
        peer_converse(&p, in, step, false);
        peer_summarize(buf_slice(&p.said), &codes);
        if (strcmp(codes.data, expected) != 0)
            printf("%s\n", codes.data);
        CU_ASSERT_STRING_EQUAL(codes.data, expected);
        peer_fini(&p);
    }
}

static void test_command_line_limit(void)
{
    struct smtp_limits limits = peer_limits;

    limits.command_line_octets = 20;
    /* 20 octets with CRLF, then 21; then far more, with lone CR and LF and a CR before the CRLF. */
    check_limited(&limits, SLICE("NOOP xxxxxxxxxxxxx\r\nNOOP xxxxxxxxxxxxxx\r\nNOOP\r\n"),
                  "220;250 2.0.0;500 5.5.2;250 2.0.0;");
    check_limited(&limits, SLICE("xxxxxxxxxxxxxxxxxxxxxxxxxxxx\rxxxxxxxxxx\nQUIT\r\r\nNOOP\r\n"),
                  "220;500 5.5.2;250 2.0.0;");
    check_limited(&limits, SLICE("xxxxxxxxxxxxxxxxxxx\r\nxxxxxxxxxxxxxxxxxxxx\r\nNOOP\r\n"),
                  "220;500 5.5.2;500 5.5.2;250 2.0.0;");
}

static void test_rcpt_limit(void)
{
    struct smtp_limits limits = peer_limits;

    limits.rcpts = 2;
    check_limited(&limits,
                  SLICE(BEGIN "RCPT TO:<refuse@x.org>\r\nRCPT TO:<c@x.org>\r\nRCPT TO:<d@x.org>\r\n"
                              "DATA\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<d@x.org>\r\n"),
                  "220;250;250 2.1.0;250 2.1.5;550 5.7.1;250 2.1.5;452 4.5.3;354;250 2.0.0;250 "
                  "2.1.0;250 2.1.5;");
}

static void test_message_limit(void)
{
    struct smtp_limits limits = peer_limits;

    limits.messages = 2;
    check_limited(&limits,
                  SLICE(HELLO "MAIL FROM:<refuse@x.org>\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\n"
                              "RSET\r\nMAIL FROM:<>\r\nNOOP\r\n"),
                  "220;250;550 5.7.1;250 2.1.0;250 2.0.0;250 2.1.0;250 2.0.0;421 4.7.0;");
}

static void test_error_limit(void)
{
    struct smtp_limits limits = peer_limits;

    limits.errors = 2;
    check_limited(&limits, SLICE("X\r\nNOOP\r\nY\r\nNOOP\r\nZ\r\nNOOP\r\n"),
                  "220;500 5.5.2;250 2.0.0;500 5.5.2;250 2.0.0;421 4.7.0;");
    /* A mail's verdict is given as it is; 4xx do not count. */
    check_limited(
        &limits,
        SLICE("X\r\nY\r\n" BEGIN "RCPT TO:<later@x.org>\r\nDATA\r\nx\ny\r\n.\r\nNOOP\r\nX\r\n"),
        "220;500 5.5.2;500 5.5.2;250;250 2.1.0;250 2.1.5;451 4.7.1;354;554 5.6.0;250 2.0.0;421 "
        "4.7.0;");
}

static void test_command_limit(void)
{
    struct smtp_limits limits = peer_limits;

    limits.commands = 3;
    check_limited(&limits, SLICE("NOOP\r\nRSET\r\nVRFY x\r\nNOOP\r\nNOOP\r\n"),
                  "220;250 2.0.0;250 2.0.0;252 2.0.0;421 4.7.0;");
    check_limited(&limits, SLICE("NOOP\r\nRSET\r\nVRFY x\r\nQUIT\r\n"),
                  "220;250 2.0.0;250 2.0.0;252 2.0.0;221 2.0.0;");
    /* Accepted MAIL, RCPT and DATA are free, and a message sets it back. */
    check_limited(&limits,
                  SLICE(BEGIN "RCPT TO:<c@x.org>\r\nRCPT TO:<d@x.org>\r\nNOOP\r\nDATA\r\n.\r\n"
                              "NOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\n"),
                  "220;250;250 2.1.0;250 2.1.5;250 2.1.5;250 2.1.5;250 2.0.0;354;250 2.0.0;"
                  "250 2.0.0;250 2.0.0;250 2.0.0;421 4.7.0;");
    check_limited(&limits,
                  SLICE(HELLO "MAIL FROM:<>\r\nRCPT TO:<later@x.org>\r\nRCPT TO:<later@x.org>\r\n"
                              "RCPT TO:<later@x.org>\r\n"),
                  "220;250;250 2.1.0;451 4.7.1;451 4.7.1;421 4.7.0;");
}

static void test_data_limits(void)
{
    struct smtp_limits limits = peer_limits;

    limits.data_line_octets = 12;
    limits.message_octets = 60;
    limits.received_fields = 2;
#define START "220;250;250 2.1.0;250 2.1.5;354;"
    check_limited(&limits, SLICE(BEGIN "DATA\r\n.xxxxxxxxxx\r\n.\r\nNOOP\r\n"),
                  START "250 2.0.0;250 2.0.0;");
    check_limited(&limits, SLICE(BEGIN "DATA\r\nxxxxxxxxxxx\r\n.\r\nNOOP\r\n"),
                  START "554 5.6.0;250 2.0.0;");
#define LINE "012345678\r\n" /* 11 */
    check_limited(&limits, SLICE(BEGIN "DATA\r\n" LINE LINE LINE LINE LINE "678\r\n.\r\n"),
                  START "250 2.0.0;");
    check_limited(&limits, SLICE(BEGIN "DATA\r\n" LINE LINE LINE LINE LINE "5678\r\n.\r\nNOOP\r\n"),
                  START "552 5.3.4;250 2.0.0;");
#define HOP "Received:\r\n"
    check_limited(&limits, SLICE(BEGIN "DATA\r\n" HOP HOP "\r\n" HOP ".\r\n"), START "250 2.0.0;");
    check_limited(&limits, SLICE(BEGIN "DATA\r\n" HOP HOP HOP ".\r\n"), START "554 5.4.6;");
    /* Of several faults the reply is one, however it is cut. */
    check_limited(
        &limits,
        SLICE(BEGIN "DATA\r\n" HOP HOP HOP LINE LINE LINE LINE "xxxxxxxxxxxxx\r\n\n\r\n.\r\n"),
        START "554 5.6.0;");
}

/* `count` fields of `octets` each, and whether the mail was taken. */
static bool takes_header(unsigned count, unsigned octets, const char *line)
{
    CLEANUP_BUF struct buf mail = BUF_INIT;
    struct peer p;

    buf_add(&mail, SLICE(BEGIN "DATA\r\n"));
    for (unsigned i = 0; i < count; i++) {
        size_t end = mail.len + octets - 2;
        buf_add_cstr(&mail, line);
        while (mail.len < end)
            buf_add_char(&mail, 'x');
        buf_add(&mail, SLICE("\r\n"));
    }
    buf_add(&mail, SLICE("\r\nbody\r\n.\r\n"));
    peer_init(&p, NULL);
    peer_converse(&p, buf_slice(&mail), 0, false);
    bool taken = p.messages == 1;
    CU_ASSERT(taken || memmem(p.said.data, p.said.len, "552 5.3.4 Message header too big", 32) != NULL);
    peer_fini(&p);
    return taken;
}

/* Steps see so much of a header: a field behind it would go unchecked. */
static void test_header_bounds(void)
{
    CU_ASSERT(takes_header(SMTP_HEADER_FIELDS_MAX, 4, "a:"));
    CU_ASSERT_FALSE(takes_header(SMTP_HEADER_FIELDS_MAX + 1, 4, "a:"));
    CU_ASSERT(takes_header(SMTP_HEADER_FIELDS_MAX + 1, 4, " a")); /* folded: not fields */
    CU_ASSERT(takes_header((SMTP_HEADER_OCTETS_MAX - 2) / 1022, 1022, "a:"));
    CU_ASSERT_FALSE(takes_header((SMTP_HEADER_OCTETS_MAX - 2) / 1022 + 1, 1022, "a:"));
}

static void test_storage(void)
{
    struct peer p;

    peer_init(&p, NULL);
    peer_converse(&p, SLICE(BEGIN "DATA\r\n"), 0, false);
    p.storage_fails = true;
    smtp_session_input(p.session, SLICE("one\r\n"));
    smtp_session_input(p.session, SLICE("two\r\n"));
    CU_ASSERT_EQUAL(p.bodies, 1); /* nothing more is handed on */
    buf_clear(&p.said);
    smtp_session_input(p.session, SLICE(".\r\n"));
    CU_ASSERT(slice_starts_nocase(buf_slice(&p.said), SLICE("452 4.3.1 ")));
    CU_ASSERT_EQUAL(p.messages, 0);
    CU_ASSERT_EQUAL(p.aborts, 1);
    p.storage_fails = false; /* and it recovers */
    buf_clear(&p.said);
    smtp_session_input(p.session, SLICE("MAIL FROM:<>\r\nRCPT TO:<a@x.org>\r\nDATA\r\nx\r\n.\r\n"));
    CU_ASSERT_EQUAL(p.messages, 1);
    CU_ASSERT_EQUAL(p.aborts, 1);
    peer_fini(&p);
}

/* ---- The end of a message ----------------------------------------------------- */

static void check_verdict(struct smtp_answer answer, const char *said, bool closed)
{
    struct peer p;

    peer_init(&p, NULL);
    p.message = &answer;
    peer_converse(&p, SLICE(BEGIN "DATA\r\n"), 0, false);
    buf_clear(&p.said);
    smtp_session_input(p.session, SLICE("x\r\n.\r\n"));
    CU_ASSERT(slice_equal(buf_slice(&p.said), slice_cstr(said)));
    CU_ASSERT_EQUAL(p.closed, closed);
    if (!closed)
        CU_ASSERT_STRING_EQUAL(smtp_session_state_name(p.session), "ready");
    CU_ASSERT_EQUAL(p.aborts, closed ? 1 : 0);
    peer_fini(&p);
}

static void test_verdicts(void)
{
    check_verdict((struct smtp_answer){ 0 }, "250 2.0.0 Ok: queued\r\n", false);
    check_verdict((struct smtp_answer){ 250, "2.0.0", SLICE("Ok: queued as X") },
                  "250 2.0.0 Ok: queued as X\r\n", false);
    check_verdict((struct smtp_answer){ 451, "4.3.0", SLICE("Later") }, "451 4.3.0 Later\r\n",
                  false);
    check_verdict((struct smtp_answer){ 554, "5.7.1", SLICE("Spam\r\n250 no") },
                  "554 5.7.1 Spam??250 no\r\n", false);
    check_verdict((struct smtp_answer){ 421, "4.3.2", SLICE("Bye") }, "421 4.3.2 Bye\r\n", true);
}

/* RFC 6531 3.7.4.2: UTF-8 in replies only while the client has said SMTPUTF8. */
static void check_utf8_reply(const char *before, const char *line, const char *said)
{
    struct peer p;

    peer_init(&p, NULL);
    peer_converse(&p, slice_cstr(before), 0, false);
    buf_clear(&p.said);
    smtp_session_input(p.session, slice_cstr(line));
    CU_ASSERT(slice_equal(buf_slice(&p.said), slice_cstr(said)));
    peer_fini(&p);
}

static void test_utf8_replies(void)
{
#define U8MAIL HELLO "MAIL FROM:<a@x.org> SMTPUTF8\r\n"
    static const char rcpt[] = "RCPT TO:<umlaut@x.org>\r\n", helo[] = "EHLO umlaut\r\n";
    static const char good[] = "550 5.7.1 N\303\266\r\n", plain[] = "550 5.7.1 N??\r\n";

    check_utf8_reply(U8MAIL, rcpt, good);
    check_utf8_reply(HELLO "MAIL FROM:<>\r\n", rcpt, plain);
    check_utf8_reply(U8MAIL "RSET\r\n", helo, plain);
    check_utf8_reply(U8MAIL "RCPT TO:<b@x.org>\r\nDATA\r\n.\r\n", helo, plain);
    check_utf8_reply(HELLO "MAIL FROM:<refuse@x.org> SMTPUTF8\r\n", helo, plain);
    check_utf8_reply(HELLO, "MAIL FROM:<umlaut@x.org> SMTPUTF8\r\n", good);
}

static void test_data_refused(void)
{
    static const struct smtp_answer later = { 451, "4.7.1", SLICE("Later") };
    struct peer p;

    peer_init(&p, NULL);
    p.data = &later;
    peer_converse(&p, SLICE(BEGIN "DATA\r\n"), 0, false);
    CU_ASSERT_STRING_EQUAL(smtp_session_state_name(p.session), "rcpt");
    CU_ASSERT_EQUAL(p.aborts, 0);
    p.data = NULL;
    smtp_session_input(p.session, SLICE("DATA\r\nx\r\n.\r\n"));
    CU_ASSERT_EQUAL(p.messages, 1);
    peer_fini(&p);
}

/* ---- Pipelines ---------------------------------------------------------------- */

static void test_pipeline(bool deferred, size_t step)
{
    CLEANUP_BUF struct buf in = BUF_INIT;
    struct peer p;
    unsigned replies = 0;

    buf_add_cstr(&in, HELLO "MAIL FROM:<a@x.org>\r\n");
    for (int i = 0; i < 1000; i++)
        buf_printf(&in, "RCPT TO:<r%d@x.org>\r\n", i);
    buf_add_cstr(&in, "DATA\r\n");
    peer_init(&p, NULL);
    peer_converse(&p, buf_slice(&in), step, deferred);
    CU_ASSERT_STRING_EQUAL(smtp_session_state_name(p.session), "data");
    for (struct slice rest = buf_slice(&p.said); rest.len > 0;) {
        replies += rest.ptr[3] == ' ';
        rest = slice_from(rest, (size_t)slice_find(rest, '\n') + 1);
    }
    CU_ASSERT_EQUAL(replies, 1 + 1 + 1 + 1000 + 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(p.asked.data, "rcpt r999@x.org|r999|x.org\ndata\n"));
    peer_fini(&p);
}

static void test_pipelines(void)
{
    test_pipeline(false, 0);
    test_pipeline(false, 1);
    test_pipeline(true, 0);
    test_pipeline(true, 1000);
}

/* What waits behind a question is not looked at before the answer, and has a bound. */
static void test_held(void)
{
    static char octets[SMTP_HELD_OCTETS_MAX + 1];
    struct peer p;

    for (size_t i = 0; i < 2; i++) {
        peer_init(&p, NULL);
        peer_converse(&p, SLICE("EHLO x\r\n"), 0, false);
        p.deferred = true;
        buf_clear(&p.said);
        memset(octets, 'x', sizeof(octets));
        smtp_session_input(p.session, SLICE("MAIL FROM:<>\r\n"));
        CU_ASSERT_TRUE(smtp_session_waiting(p.session));
        smtp_session_input(p.session, slice_make(octets, SMTP_HELD_OCTETS_MAX + i));
        CU_ASSERT_EQUAL(p.said.len > 0, i == 1);
        CU_ASSERT_EQUAL(p.closed, i == 1);
        if (i == 1)
            CU_ASSERT(slice_starts_nocase(buf_slice(&p.said), SLICE("421 4.7.0 ")));
        peer_fini(&p);
    }
}

/* ---- Phases, ends and frees --------------------------------------------------- */

static void check_phase(struct peer *p, const char *in, enum smtp_phase phase, unsigned expects)
{
    p->expects = 0;
    smtp_session_input(p->session, slice_cstr(in));
    CU_ASSERT_EQUAL(p->phase, phase);
    CU_ASSERT_EQUAL(p->expects, expects);
}

static void test_phases(void)
{
    struct peer p;

    peer_init(&p, NULL);
    smtp_session_start(p.session);
    CU_ASSERT_EQUAL(p.phase, SMTP_PHASE_COMMAND);
    CU_ASSERT_EQUAL(p.expects, 1);
    check_phase(&p, "EH", SMTP_PHASE_LINE, 1);
    check_phase(&p, "LO", SMTP_PHASE_LINE, 0); /* octets that complete nothing prolong nothing */
    check_phase(&p, " x\r\nNO", SMTP_PHASE_LINE, 1);
    check_phase(&p, "OP\r\n", SMTP_PHASE_COMMAND, 1);
    check_phase(&p, "MAIL FROM:<>\r\nRCPT TO:<a@x.org>\r\n", SMTP_PHASE_COMMAND, 1);
    check_phase(&p, "DATA\r\n", SMTP_PHASE_DATA_START, 1);
    check_phase(&p, "x", SMTP_PHASE_DATA_BLOCK, 1);
    check_phase(&p, "x", SMTP_PHASE_DATA_BLOCK, 1);
    p.deferred = true;
    check_phase(&p, "\r\n.\r\n", SMTP_PHASE_ANSWER, 1);
    check_phase(&p, "NOOP\r\n", SMTP_PHASE_ANSWER, 0);
    p.expects = 0;
    peer_answer(&p);
    CU_ASSERT_EQUAL(p.phase, SMTP_PHASE_COMMAND);
    CU_ASSERT_EQUAL(p.expects, 1);
    peer_fini(&p);
}

/* What happened to the peer that can be slow; one test at a time. */
static struct {
    unsigned pauses, paused_ms;
    size_t full_at; /* octets said and not taken from which it is full; 0: never */
} slow;

static void slow_pause(void *owner, uint32_t ms)
{
    slow.pauses++;
    slow.paused_ms += ms;
    peer_decide(owner, NULL);
}

static bool slow_full(void *owner)
{
    return slow.full_at > 0 && ((struct peer *)owner)->said.len >= slow.full_at;
}

static void slow_init(struct peer *p, const struct smtp_limits *limits)
{
    static struct smtp_ops ops;

    memset(&slow, 0, sizeof(slow));
    ops = peer_ops;
    ops.pause = slow_pause;
    ops.full = slow_full;
    peer_init(p, limits);
    smtp_session_free(p->session);
    p->session = smtp_session_new(&(struct smtp_session_options){
        .hostname = "mx.example.net", .limits = limits, .ops = &ops, .owner = p });
}

/* Behind the free ones each error is followed by a pause, longer each time up to a bound. */
static void test_pauses(void)
{
    struct smtp_limits limits = peer_limits;
    struct peer p;

    limits.errors = 100;
    limits.errors_free = 2;
    limits.error_delay_ms = 100;
    slow_init(&p, &limits);
    peer_converse(&p, SLICE("EHLO x\r\nX\r\nX\r\n"), 0, false);
    CU_ASSERT_EQUAL(slow.pauses, 0);
    smtp_session_input(p.session, SLICE("X\r\nX\r\n"));
    CU_ASSERT_EQUAL(slow.pauses, 2);
    CU_ASSERT_EQUAL(slow.paused_ms, 100 + 200);
    smtp_session_input(p.session, SLICE("NOOP\r\n"));
    CU_ASSERT_EQUAL(slow.pauses, 2); /* what is no error waits for nothing */
    for (unsigned i = 0; i < SMTP_PAUSES_MAX; i++)
        smtp_session_input(p.session, SLICE("X\r\n"));
    CU_ASSERT_EQUAL(slow.paused_ms, 100 * (1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 10 + 10 + 10));
    /* The reply has been said, what is pipelined waits. */
    p.deferred = true;
    buf_clear(&p.said);
    smtp_session_input(p.session, SLICE("X\r\nNOOP\r\n"));
    CU_ASSERT_TRUE(smtp_session_waiting(p.session));
    CU_ASSERT_EQUAL(p.phase, SMTP_PHASE_ANSWER);
    CU_ASSERT_TRUE(slice_starts_nocase(buf_slice(&p.said), SLICE("500 ")));
    CU_ASSERT_TRUE(slice_find(buf_slice(&p.said), '\n') == (ptrdiff_t)p.said.len - 1);
    peer_answer(&p);
    CU_ASSERT_TRUE(slice_starts_nocase(slice_from(buf_slice(&p.said), p.said.len - 10), SLICE("2.0.0 Ok")));
    /* The end may come in the midst of it. */
    smtp_session_input(p.session, SLICE("X\r\n"));
    smtp_session_end(p.session, 421, "4.3.2", "Enough");
    CU_ASSERT_TRUE(p.closed);
    peer_answer(&p);
    peer_fini(&p);
}

/* While replies are not taken no command is read, so that they do not pile up. */
static void test_full(void)
{
    CLEANUP_BUF struct buf in = BUF_INIT;
    struct peer p;

    for (unsigned i = 0; i < 900; i++)
        buf_add_cstr(&in, "NOOP\r\n");
    slow_init(&p, &peer_limits);
    peer_converse(&p, SLICE("EHLO x\r\n"), 0, false);
    buf_clear(&p.said);
    slow.full_at = 100;
    smtp_session_input(p.session, buf_slice(&in));
    CU_ASSERT_TRUE(smtp_session_stalled(p.session));
    CU_ASSERT_EQUAL(p.phase, SMTP_PHASE_COMMAND);
    CU_ASSERT_TRUE(p.said.len >= 100 && p.said.len < 100 + SMTP_REPLY_LINE_OCTETS_MAX);
    unsigned rounds = 0;
    size_t said = 0;
    while (smtp_session_stalled(p.session)) {
        said += p.said.len;
        buf_clear(&p.said);
        smtp_session_go_on(p.session);
        rounds++;
    }
    CU_ASSERT_EQUAL(said + p.said.len, 900 * strlen("250 2.0.0 Ok\r\n"));
    CU_ASSERT_TRUE(rounds > 100);
    smtp_session_go_on(p.session); /* nothing waits: nothing happens */
    peer_fini(&p);
}

static void test_end(void)
{
    static const char *const before[] = { "", HELLO, BEGIN, BEGIN "DATA\r\n",
                                          BEGIN "DATA\r\nx\r\n.\r\n" };

    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        struct peer p;
        bool last = i + 1 == sizeof(before) / sizeof(before[0]);
        peer_init(&p, NULL);
        peer_converse(&p, slice_head(slice_cstr(before[i]), strlen(before[i]) - (last ? 3 : 0)), 0,
                      false);
        p.deferred = true;
        smtp_session_input(p.session, last ? SLICE(".\r\n") : SLICE(""));
        CU_ASSERT_EQUAL(smtp_session_waiting(p.session), last);
        buf_clear(&p.said);
        smtp_session_end(p.session, 421, "4.3.2", "Shutting down");
        CU_ASSERT(slice_equal(buf_slice(&p.said), SLICE("421 4.3.2 Shutting down\r\n")));
        CU_ASSERT_TRUE(p.closed);
        CU_ASSERT_EQUAL(p.aborts, i >= 2);
        CU_ASSERT_FALSE(smtp_session_waiting(p.session));
        /* Nothing that comes late does anything. */
        peer_answer(&p);
        smtp_session_input(p.session, SLICE("NOOP\r\n"));
        smtp_session_end(p.session, 421, "4.3.2", "Shutting down");
        CU_ASSERT_EQUAL(p.said.len, strlen("421 4.3.2 Shutting down\r\n"));
        CU_ASSERT_EQUAL(p.aborts, i >= 2);
        peer_fini(&p);
    }
}

/* An owner that frees, or ends, the session inside of any op. */
static struct {
    unsigned countdown;
    bool end;
} trap;

static void spring(void *owner)
{
    struct peer *p = owner;

    if (trap.countdown == 0 || --trap.countdown > 0)
        return;
    if (trap.end) {
        smtp_session_end(p->session, 421, "4.3.2", "Now");
        return;
    }
    smtp_session_free(p->session);
    p->session = NULL;
}

static bool gone(struct peer *p)
{
    return p->session == NULL || p->closed;
}

static void trap_send(void *owner, struct slice octets)
{
    (void)octets;
    spring(owner);
}
static void trap_close(void *owner)
{
    ((struct peer *)owner)->closed = true;
    spring(owner);
}
static void trap_expect(void *owner, enum smtp_phase phase)
{
    (void)phase;
    spring(owner);
}
static void trap_question(void *owner)
{
    struct peer *p = owner;

    spring(p);
    if (!gone(p))
        peer_answer(p);
}
static void trap_helo(void *owner, struct slice name, bool esmtp)
{
    (void)name, (void)esmtp;
    trap_question(owner);
}
static void trap_mail(void *owner, const struct smtp_mail_params *m)
{
    (void)m;
    trap_question(owner);
}
static void trap_rcpt(void *owner, const struct tern_mailbox *m, struct slice orcpt,
                      struct slice notify)
{
    (void)m, (void)orcpt, (void)notify;
    trap_question(owner);
}
static int trap_body(void *owner, struct slice octets)
{
    (void)octets;
    spring(owner);
    return 0;
}

static const struct smtp_ops trap_ops = {
    trap_send, trap_close,    trap_expect,   trap_question, trap_helo, trap_mail,
    trap_rcpt, trap_question, trap_question, trap_body,     spring,
};

/* Returns how many ops were called before the trap, or in all. */
static unsigned run_trap(unsigned at, bool end)
{
    static const char in[] =
        BEGIN "RSET\r\nX\r\nMAIL FROM:<>\r\nRCPT TO:<a@x.org>\r\nDATA\r\nx\r\n.\r\n"
              "MAIL FROM:<>\r\n" HELLO "QUIT\r\n";
    struct peer p = { 0 };

    p.session = smtp_session_new(&(struct smtp_session_options){
        .hostname = "mx", .limits = &peer_limits, .ops = &trap_ops, .owner = &p });
    trap.countdown = at;
    trap.end = end;
    smtp_session_start(p.session);
    if (!gone(&p))
        smtp_session_input(p.session, slice_cstr(in));
    CU_ASSERT(gone(&p));
    smtp_session_free(p.session);
    return at - trap.countdown;
}

static void test_traps(void)
{
    unsigned all = run_trap(1000, false);

    CU_ASSERT(all > 25);
    for (unsigned at = 1; at <= all; at++) {
        CU_ASSERT_EQUAL(run_trap(at, false), at);
        CU_ASSERT_EQUAL(run_trap(at, true), at);
    }
}

/* What an idle session costs is part of the contract: 2,000 of them at 2 KB each with socket. */
static void test_size(void)
{
    struct peer p;

    peer_init(&p, NULL);
    CU_ASSERT(malloc_usable_size(p.session) < 512);
    printf("a session is %zu octets\n", malloc_usable_size(p.session));
    peer_fini(&p);
}

int main(void)
{
    static const CU_TestInfo tests[] = {
        { "greeting", test_greeting },
        { "ehlo", test_ehlo },
        { "withheld", test_withheld },
        { "command line limit", test_command_line_limit },
        { "rcpt limit", test_rcpt_limit },
        { "message limit", test_message_limit },
        { "error limit", test_error_limit },
        { "command limit", test_command_limit },
        { "data limits", test_data_limits },
        { "header bounds", test_header_bounds },
        { "storage", test_storage },
        { "verdicts", test_verdicts },
        { "utf8 replies", test_utf8_replies },
        { "data refused", test_data_refused },
        { "pipelines", test_pipelines },
        { "held", test_held },
        { "phases", test_phases },
        { "pauses behind errors", test_pauses },
        { "replies that are not taken", test_full },
        { "end", test_end },
        { "traps", test_traps },
        { "size", test_size },
        CU_TEST_INFO_NULL,
    };
    CU_SuiteInfo suites[] = { { "smtp session", NULL, NULL, NULL, NULL, (CU_TestInfo *)tests },
                              CU_SUITE_INFO_NULL };

    CU_initialize_registry();
    CU_register_suites(suites);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
