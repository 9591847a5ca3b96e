/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_smtp_bdat.c - mail in chunks (RFC 3030): each row in one write, octet by octet and in
 * threes, with answers at once and late; all must say, ask and hand on the same.
 */
#include <CUnit/Basic.h>
#include <jansson.h>

#include "corpora.h"
#include "smtp_peer.h"

#define BINARY HELLO "MAIL FROM:<a@x.org> BODY=BINARYMIME\r\nRCPT TO:<b@x.org>\r\n"

struct row {
    const char *name;
    struct slice in;
    const char *codes;  /* behind those of HELLO, MAIL and RCPT */
    struct slice body;  /* of the one message, if there is one */
    unsigned messages;
    unsigned aborts;
};

#define OPENED "220;250;250 2.1.0;250 2.1.5;"
#define X10 "xxxxxxxxxx"
#define X40 X10 X10 X10 X10
#define X50 X40 X10
#define MAIL_AGAIN "MAIL FROM:<a@x.org>\r\nRCPT TO:<b@x.org>\r\n"

static const struct row rows[] = {
    { "one chunk", SLICE(BEGIN "BDAT 7 LAST\r\nhello\r\nNOOP\r\n"), "250 2.0.0;250 2.0.0;",
      SLICE("hello\r\n"), 1, 0 },
    { "small letters, blanks", SLICE(BEGIN "bdat  7   last \r\nhello\r\n"), "250 2.0.0;",
      SLICE("hello\r\n"), 1, 0 },
    { "several chunks, the last one is empty",
      SLICE(BEGIN "BDAT 4\r\nhellBDAT 3\r\no\r\nBDAT 0 LAST\r\n"),
      "250 2.0.0;250 2.0.0;250 2.0.0;", SLICE("hello\r\n"), 1, 0 },
    { "a CRLF may lie across two chunks",
      SLICE(BEGIN "BDAT 2\r\nx\rBDAT 2\r\n\nyBDAT 2 LAST\r\n\r\n"),
      "250 2.0.0;250 2.0.0;250 2.0.0;", SLICE("x\r\ny\r\n"), 1, 0 },
    { "empty chunks say nothing",
      SLICE(BEGIN "BDAT 0\r\nBDAT 3\r\nx\r\nBDAT 0\r\nBDAT 0 LAST\r\n"),
      "250 2.0.0;250 2.0.0;250 2.0.0;250 2.0.0;", SLICE("x\r\n"), 1, 0 },
    { "an empty mail", SLICE(BEGIN "BDAT 0 LAST\r\n"), "250 2.0.0;", SLICE(""), 1, 0 },
    { "dots are octets like others", SLICE(BEGIN "BDAT 14 LAST\r\n..x\r\n.\r\n.y\r\n\r\nNOOP\r\n"),
      "250 2.0.0;250 2.0.0;", SLICE("..x\r\n.\r\n.y\r\n\r\n"), 1, 0 },
    { "a last line without its CRLF gets one", SLICE(BEGIN "BDAT 5 LAST\r\nhello"), "250 2.0.0;",
      SLICE("hello\r\n"), 1, 0 },
    { "two mails", SLICE(BEGIN "BDAT 3 LAST\r\nx\r\n" MAIL_AGAIN "DATA\r\nyy\r\n.\r\n"),
      "250 2.0.0;250 2.1.0;250 2.1.5;354;250 2.0.0;", SLICE("yy\r\n"), 2, 0 },

    { "a lone LF", SLICE(BEGIN "BDAT 4 LAST\r\nx\n\r\nNOOP\r\n"), "554 5.6.0;250 2.0.0;",
      SLICE(""), 0, 1 },
    { "a lone CR at the very end", SLICE(BEGIN "BDAT 2\r\nx\rBDAT 0 LAST\r\nNOOP\r\n"),
      "250 2.0.0;554 5.6.0;250 2.0.0;", SLICE(""), 0, 1 },
    { "a lone CR between two chunks", SLICE(BEGIN "BDAT 2\r\nx\rBDAT 3 LAST\r\ny\r\nNOOP\r\n"),
      "250 2.0.0;554 5.6.0;250 2.0.0;", SLICE(""), 0, 1 },
    { "chunks behind a refused one are read and refused",
      SLICE(BEGIN "BDAT 1\r\n\nBDAT 12\r\nMAIL FROM:<>BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"),
      "554 5.6.0;503 5.5.1;503 5.5.1;250 2.0.0;", SLICE(""), 0, 1 },

    { "DATA behind BDAT", SLICE(BEGIN "BDAT 3\r\nx\r\nDATA\r\nBDAT 3 LAST\r\ny\r\n"),
      "250 2.0.0;503 5.5.1;250 2.0.0;", SLICE("x\r\ny\r\n"), 1, 0 },
    { "MAIL and RCPT behind BDAT",
      SLICE(BEGIN "BDAT 3\r\nx\r\nMAIL FROM:<>\r\nRCPT TO:<c@x.org>\r\nRSET\r\nBDAT 6 LAST\r\nNOOP\r\n"
                  "NOOP\r\n"),
      "250 2.0.0;503 5.5.1;503 5.5.1;250 2.0.0;503 5.5.1;250 2.0.0;", SLICE("x\r\n"), 0, 1 },
    { "RSET between chunks", SLICE(BEGIN "BDAT 3\r\nx\r\nRSET\r\n" MAIL_AGAIN "BDAT 3 LAST\r\ny\r\n"),
      "250 2.0.0;250 2.0.0;250 2.1.0;250 2.1.5;250 2.0.0;", SLICE("y\r\n"), 1, 1 },
    { "EHLO between chunks", SLICE(BEGIN "BDAT 3\r\nx\r\nEHLO y\r\nBDAT 6 LAST\r\nNOOP\r\n"),
      "250 2.0.0;250;503 5.5.1;", SLICE("x\r\n"), 0, 1 },
    { "QUIT between chunks", SLICE(BEGIN "BDAT 3\r\nx\r\nQUIT\r\nBDAT 6 LAST\r\nNOOP\r\n"),
      "250 2.0.0;221 2.0.0;", SLICE("x\r\n"), 0, 1 },
    { "BDAT behind LAST", SLICE(BEGIN "BDAT 3 LAST\r\nx\r\nBDAT 6\r\nQUIT\r\nNOOP\r\n"),
      "250 2.0.0;503 5.5.1;250 2.0.0;", SLICE("x\r\n"), 1, 0 },

    { "no number", SLICE(BEGIN "BDAT\r\nNOOP\r\nBDAT 0 LAST\r\n"), "501 5.5.4;250 2.0.0;503 5.5.1;",
      SLICE(""), 0, 1 },
    { "rubbish instead of a number",
      SLICE(BEGIN "BDAT x\r\n" MAIL_AGAIN "BDAT -1\r\n" MAIL_AGAIN "BDAT LAST\r\nNOOP\r\n"),
      "501 5.5.4;250 2.1.0;250 2.1.5;501 5.5.4;250 2.1.0;250 2.1.5;501 5.5.4;250 2.0.0;",
      SLICE(""), 0, 3 },
    { "a number with rubbish: its octets are not commands",
      SLICE(BEGIN "BDAT 6 FIRST\r\nQUIT\r\nNOOP\r\n"), "501 5.5.4;250 2.0.0;", SLICE(""), 0, 1 },
    { "LAST twice", SLICE(BEGIN "BDAT 6 LAST LAST\r\nQUIT\r\nNOOP\r\n"), "501 5.5.4;250 2.0.0;",
      SLICE(""), 0, 1 },
    { "a chunk above the limit is read",
      SLICE(BEGIN "BDAT 101 LAST\r\n" X50 X40 "xxx\r\nQUIT\r\nNOOP\r\n"), "552 5.3.4;250 2.0.0;",
      SLICE(""), 0, 1 },
    { "a chunk at the limit is taken",
      SLICE(BEGIN "BDAT 100 LAST\r\n" X50 X40 "xx\r\nQUIT\r\nNOOP\r\n"), "250 2.0.0;250 2.0.0;",
      SLICE(X50 X40 "xx\r\nQUIT\r\n"), 1, 0 },
    { "chunks above the limit together",
      SLICE(BEGIN "BDAT 3\r\nx\r\nBDAT 98\r\n" X50 X40 "\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"),
      "250 2.0.0;552 5.3.4;503 5.5.1;250 2.0.0;", SLICE("x\r\n"), 0, 1 },

    { "binary: any octets", SLICE(BINARY "BDAT 15 LAST\r\nF:\r\n\r\na\n.\rb\0\n.\nNOOP\r\n"),
      "250 2.0.0;250 2.0.0;", SLICE("F:\r\n\r\na\n.\rb\0\n.\n"), 1, 0 },
    { "binary: its end stays as it is", SLICE(BINARY "BDAT 4\r\n\r\na\rBDAT 1 LAST\r\nb"),
      "250 2.0.0;250 2.0.0;", SLICE("\r\na\rb"), 1, 0 },
    { "binary: a lone LF in the header, which some would take for the end of a field",
      SLICE(BINARY "BDAT 4\r\nX:y\nBDAT 8 LAST\r\nF:b\r\n\r\nzNOOP\r\n"), "554 5.6.0;503 5.5.1;250 2.0.0;", SLICE(""),
      0, 1 },
    { "binary: a lone CR in the header", SLICE(BINARY "BDAT 13 LAST\r\nX:y\rF:b\r\n\r\nz\nNOOP\r\n"),
      "554 5.6.0;250 2.0.0;", SLICE(""), 0, 1 },
    { "binary: no DATA", SLICE(BINARY "DATA\r\nBDAT 1 LAST\r\nx"), "503 5.5.1;250 2.0.0;", SLICE("x"),
      1, 0 },
    { "binary: the next mail is not",
      SLICE(BINARY "BDAT 1 LAST\r\nx" MAIL_AGAIN "DATA\r\n\ny\r\n.\r\n"),
      "250 2.0.0;250 2.1.0;250 2.1.5;354;554 5.6.0;", SLICE(""), 1, 1 },
    { "binary: nor is it after RSET",
      SLICE(BINARY "RSET\r\n" MAIL_AGAIN "BDAT 3 LAST\r\nx\n\n"),
      "250 2.0.0;250 2.1.0;250 2.1.5;554 5.6.0;", SLICE(""), 0, 2 },
};

static const struct smtp_limits *small_limits(void)
{
    static struct smtp_limits limits;

    limits = peer_limits;
    limits.message_octets = 100;
    return &limits;
}

static void check_row(const struct row *row, size_t step, bool deferred)
{
    CLEANUP_BUF struct buf codes = BUF_INIT, want = BUF_INIT;
    struct peer p;

    buf_printf(&want, "%s%s", OPENED, row->codes);
    buf_add_char(&want, '\0');
    peer_init(&p, small_limits());
    peer_converse(&p, row->in, step, deferred);
    peer_summarize(buf_slice(&p.said), &codes);
    if (strcmp(codes.data, want.data) != 0)
        printf("%s (step %zu): %s\n", row->name, step, codes.data);
    CU_ASSERT_STRING_EQUAL(codes.data, want.data);
    if (!slice_equal(buf_slice(&p.body), row->body) && row->messages > 0)
        printf("%s (step %zu): %.*s\n", row->name, step, (int)p.body.len, p.body.data);
    CU_ASSERT(row->messages == 0 || slice_equal(buf_slice(&p.body), row->body));
    CU_ASSERT_EQUAL(p.messages, row->messages);
    CU_ASSERT_EQUAL(p.aborts, row->aborts);
    peer_fini(&p);
}

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int deferred = 0; deferred < 2; deferred++) {
            check_row(&rows[i], 0, deferred);
            check_row(&rows[i], 1, deferred);
            check_row(&rows[i], 3, deferred);
        }
}

/* In any state the octets that were announced are no commands. */
static void test_any_state(void)
{
    static const struct smtp_answer away = { 550, "5.7.1", SLICE("No") };
    static const struct {
        const char *before;
        const struct smtp_answer *connect;
        unsigned code;
    } states[] = {
        { "", &away, 503 },
        { "", NULL, 503 },
        { HELLO, NULL, 503 },
        { HELLO "MAIL FROM:<>\r\n", NULL, 554 },
    };

    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        struct peer p;
        peer_init(&p, NULL);
        p.connect = states[i].connect;
        peer_converse(&p, slice_cstr(states[i].before), 0, false);
        buf_clear(&p.said);
        smtp_session_input(p.session, SLICE("BDAT 6\r\nQUIT\r"));
        CU_ASSERT_EQUAL(p.said.len, 0);
        smtp_session_input(p.session, SLICE("\n"));
        peer_check_code(&p, states[i].before, states[i].code);
        CU_ASSERT_FALSE(p.closed);
        peer_fini(&p);
    }
}

/* Not offered, not taken; but a client that sends it all the same stays in step. */
static void test_withheld(void)
{
    struct peer p;

    peer_init(&p, NULL);
    p.withhold = "chunking";
    peer_converse(&p, SLICE(BEGIN), 0, false);
    buf_clear(&p.said);
    smtp_session_input(p.session, SLICE("BDAT 6 LAST\r\nQUIT\r\nDATA\r\nx\r\n.\r\n"));
    peer_check_code(&p, "BDAT", 502);
    CU_ASSERT_FALSE(p.closed);
    CU_ASSERT_EQUAL(p.messages, 1);
    peer_fini(&p);
}

/* A refusal by hook data comes behind the octets, and what is behind them is not the mail's rest. */
static void test_refused(const struct smtp_answer *answer, const char *said, unsigned aborts)
{
    struct peer p;

    for (int deferred = 0; deferred < 2; deferred++) {
        peer_init(&p, NULL);
        peer_converse(&p, SLICE(BEGIN), 0, deferred);
        p.deferred = deferred;
        p.data = answer;
        buf_clear(&p.said);
        smtp_session_input(p.session, SLICE("BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\n"));
        while (smtp_session_waiting(p.session))
            peer_answer(&p);
        CU_ASSERT(slice_equal(buf_slice(&p.said), slice_cstr(said)));
        CU_ASSERT_EQUAL(p.aborts, aborts);
        CU_ASSERT_EQUAL(p.messages, 0);
        CU_ASSERT_EQUAL(p.body.len, 0);
        peer_fini(&p);
    }
}

static void test_refused_by_policy(void)
{
    static const struct smtp_answer later = { 451, "4.7.1", SLICE("Later") };
    static const struct smtp_answer plain = { 554, NULL, SLICE("No") };
    static const struct smtp_answer close_it = { 421, "4.7.0", SLICE("Go") };

    test_refused(&later, "451 4.7.1 Later\r\n503 5.5.1 Need MAIL command\r\n", 1);
    test_refused(&plain, "554 5.0.0 No\r\n503 5.5.1 Need MAIL command\r\n", 1);
    test_refused(&close_it, "421 4.7.0 Go\r\n", 1);
}

static void test_no_storage(void)
{
    struct peer p;

    peer_init(&p, NULL);
    peer_converse(&p, SLICE(BEGIN), 0, false);
    p.storage_fails = true;
    buf_clear(&p.said);
    smtp_session_input(p.session, SLICE("BDAT 6\r\nQUIT\r\nNOOP\r\n"));
    CU_ASSERT(slice_starts_nocase(buf_slice(&p.said), SLICE("452 4.3.1 ")));
    CU_ASSERT_EQUAL(p.aborts, 1);
    CU_ASSERT_FALSE(p.closed);
    peer_fini(&p);
}

/* Chunks with octets are not counted as commands, empty ones are. */
static void test_command_limit(void)
{
    static const struct {
        const char *chunk;
        bool closed;
    } cases[] = { { "BDAT 1\r\nx", false }, { "BDAT 0\r\n", true } };

    for (size_t i = 0; i < 2; i++) {
        struct smtp_limits limits = peer_limits;
        struct peer p;
        limits.commands = 10;
        peer_init(&p, &limits);
        peer_converse(&p, SLICE(BEGIN), 0, false);
        for (int k = 0; k < 20; k++)
            smtp_session_input(p.session, slice_cstr(cases[i].chunk));
        CU_ASSERT_EQUAL(p.closed, cases[i].closed);
        peer_fini(&p);
    }
}

/* More than 64 bits can hold: everything that comes is skipped, nothing of it is a command. */
static void test_huge(void)
{
    struct peer p;

    peer_init(&p, NULL);
    peer_converse(&p, SLICE(BEGIN "BDAT 99999999999999999999\r\nQUIT\r\nNOOP\r\n"), 0, false);
    CU_ASSERT_FALSE(p.closed);
    CU_ASSERT_EQUAL(p.phase, SMTP_PHASE_DATA_BLOCK);
    buf_clear(&p.said);
    smtp_session_input(p.session, SLICE("QUIT\r\n"));
    CU_ASSERT_EQUAL(p.said.len, 0);
    peer_fini(&p);
}

/* What limits.min_data_rate is reckoned by: octets of mail alone, and whether more chunks are to come. */
static void test_octets_between_chunks(void)
{
    static const struct {
        const char *in;
        uint64_t octets; /* in all */
        bool in_chunks;
    } steps[] = {
        { BEGIN, 0, false },
        { "BDAT 2\r\nx", 1, true },
        { "y", 2, true },
        { "BD", 2, true }, /* between two chunks, a command that is not whole or another one */
        { "AT 1\r\nz", 3, true },
        { "NOOP\r\nDATA\r\nMAIL FROM:<>\r\n", 3, true },
        { "BDAT 0\r\n", 3, true },
        { "BDAT 2 LAST\r\n\r\n", 5, false },
        { MAIL_AGAIN "BDAT 1\r\nx", 6, true },
        { "RSET\r\n", 6, false },
        { "BDAT 3\r\nno\n", 9, false }, /* refused, and read all the same */
        { MAIL_AGAIN "BDAT 1\r\n\nBDAT 1\r\nx", 11, false },
        { MAIL_AGAIN "DATA\r\n", 11, false },
        { "..x\r\n.\r\nNOOP\r\n", 19, false }, /* as they came, with the dots; not the command behind them */
    };

    for (int deferred = 0; deferred < 2; deferred++) {
        struct peer p;
        peer_init(&p, NULL);
        p.deferred = deferred;
        smtp_session_start(p.session);
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
            while (smtp_session_waiting(p.session))
                peer_answer(&p);
            smtp_session_input(p.session, slice_cstr(steps[i].in));
            while (smtp_session_waiting(p.session))
                peer_answer(&p);
            if (smtp_session_mail_octets(p.session) != steps[i].octets)
                printf("%zu: %llu octets\n", i, (unsigned long long)smtp_session_mail_octets(p.session));
            CU_ASSERT_EQUAL(smtp_session_mail_octets(p.session), steps[i].octets);
            CU_ASSERT_EQUAL(smtp_session_in_chunks(p.session), steps[i].in_chunks);
        }
        CU_ASSERT_EQUAL(p.messages, 2);
        peer_fini(&p);
    }
}

/* ---- ends of data that are none, as chunks ------------------------------------- */

static void check_sequence(const char *name, const char *hex, size_t step)
{
    static const char smuggled[] = "MAIL FROM:<smuggled@example.com>\r\n";
    CLEANUP_BUF struct buf in = BUF_INIT, body = BUF_INIT;
    struct peer p;

    buf_add_cstr(&body, "Subject: x\r\n\r\nbody");
    for (; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
        unsigned octet;
        CU_ASSERT_EQUAL_FATAL(sscanf(hex, "%2x", &octet), 1);
        buf_add_char(&body, (char)octet);
    }
    buf_add_cstr(&body, smuggled);
    buf_printf(&in, "%sBDAT %zu LAST\r\n", BEGIN, body.len);
    buf_add(&in, buf_slice(&body));
    buf_add_cstr(&in, "NOOP\r\n");
    peer_init(&p, NULL);
    peer_converse(&p, buf_slice(&in), step, false);
    if (strstr(p.asked.data, "mail smuggled") != NULL)
        printf("%s: smuggled\n", name);
    CU_ASSERT_PTR_NULL(strstr(p.asked.data, "mail smuggled"));
    CU_ASSERT(p.messages == 0 || slice_equal(buf_slice(&p.body), buf_slice(&body)));
    /* Taken only if every CR and LF of it is part of a CRLF. */
    bool lone = strstr(name, "lf.lf") != NULL;
    CU_ASSERT(!lone || p.messages == 0);
    CU_ASSERT(p.messages + p.aborts == 1);
    CU_ASSERT_STRING_EQUAL(smtp_session_state_name(p.session), "ready");
    peer_fini(&p);
}

static void test_false_ends(void)
{
    CLEANUP_BUF struct buf file = BUF_INIT;
    size_t i;
    json_t *row;

    if (!corpora_read("smtp/end-of-data-sequences.json", &file))
        return;
    json_t *sequences = json_loadb(file.data, file.len, 0, NULL);
    CU_ASSERT(json_array_size(sequences) >= 11);
    json_array_foreach(sequences, i, row)
        for (size_t step = 0; step < 2; step++)
            check_sequence(json_string_value(json_object_get(row, "name")),
                           json_string_value(json_object_get(row, "bytes_hex")), step);
    json_decref(sequences);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("smtp bdat", NULL, NULL);
    CU_add_test(suite, "rows", test_rows);
    CU_add_test(suite, "any state", test_any_state);
    CU_add_test(suite, "withheld", test_withheld);
    CU_add_test(suite, "refused by policy", test_refused_by_policy);
    CU_add_test(suite, "no storage", test_no_storage);
    CU_add_test(suite, "command limit", test_command_limit);
    CU_add_test(suite, "huge", test_huge);
    CU_add_test(suite, "octets between chunks", test_octets_between_chunks);
    CU_add_test(suite, "false ends", test_false_ends);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
