/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_smtp_each.c - a reply for each recipient: LMTP (RFC 2033) and PRDR (draft-hall-prdr-00), as far as the
 * session makes them. Whose verdict is what: tests/dialogue/lmtp.smtpt, prdr.smtpt.
 */
#include <CUnit/Basic.h>

#include "smtp_peer.h"

#define GREET  "LHLO client.example\r\n"
#define RCPT   "RCPT TO:<b@example.org>\r\n"
#define LETTER GREET "MAIL FROM:<a@example.com>\r\n"

static const struct smtp_answer two[] = { { 250, "2.0.0", SLICE("Ok: queued as Q1") },
                                          { 550, "5.7.1", SLICE("No") } };
static const struct smtp_answer mixed = { 250, "2.0.0", SLICE("Ok: queued as Q1"), two, 2 };
static const struct smtp_answer refused = { 550, "5.7.1", SLICE("No") };
static const struct smtp_answer closed = { 421, "4.3.2", SLICE("Gone") };
static const struct smtp_limits tight = {
    .command_line_octets = 2048, .data_line_octets = 1000, .message_octets = 10, .rcpts = 1000,
    .errors = 3, .commands = 1000, .received_fields = 1,
};

struct row {
    const char *name;
    bool lmtp, prdr;
    const struct smtp_limits *limits;
    const struct smtp_answer *message;
    const char *in, *codes;
};

static const struct row rows[] = {
    { "LMTP: one reply for each", true, false, NULL, &mixed, LETTER RCPT RCPT "DATA\r\n.\r\nNOOP\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;354;250 2.0.0;550 5.7.1;250 2.0.0;" },
    { "LMTP: one that holds for all is said to each", true, false, NULL, &refused,
      LETTER RCPT "RCPT TO:<refuse@x.org>\r\n" RCPT "DATA\r\n.\r\nNOOP\r\n",
      "220;250;250 2.1.0;250 2.1.5;550 5.7.1;250 2.1.5;354;550 5.7.1;550 5.7.1;250 2.0.0;" },
    { "LMTP: queued, to each", true, false, NULL, NULL, LETTER RCPT RCPT "DATA\r\n.\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;354;250 2.0.0;250 2.0.0;" },
    { "LMTP: what the session refuses is said to each", true, false, &tight, NULL,
      LETTER RCPT RCPT "DATA\r\n12345678901\r\n.\r\nNOOP\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;354;552 5.3.4;552 5.3.4;250 2.0.0;" },
    { "LMTP: a message refused for many is one error", true, false, &tight, &refused,
      LETTER RCPT RCPT RCPT RCPT RCPT "DATA\r\n.\r\nFOO\r\nFOO\r\nFOO\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;250 2.1.5;250 2.1.5;250 2.1.5;354;550 5.7.1;550 "
      "5.7.1;550 5.7.1;550 5.7.1;550 5.7.1;500 5.5.2;500 5.5.2;421 4.7.0;" },
    { "LMTP: BDAT has one reply, and behind LAST one for each", true, false, NULL, &mixed,
      LETTER RCPT RCPT "BDAT 3\r\nx\r\nBDAT 2 LAST\r\n\r\nNOOP\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;250 2.0.0;250 2.0.0;550 5.7.1;250 2.0.0;" },
    { "LMTP: BDAT LAST to nobody has no reply", true, false, NULL, NULL,
      LETTER "RCPT TO:<refuse@x.org>\r\nBDAT 3 LAST\r\nx\r\nNOOP\r\nMAIL FROM:<>\r\n",
      "220;250;250 2.1.0;550 5.7.1;250 2.0.0;250 2.1.0;" },
    { "LMTP: another chunk to nobody has one", true, false, NULL, NULL,
      LETTER "BDAT 3\r\nx\r\nBDAT 0 LAST\r\nRSET\r\n", "220;250;250 2.1.0;503 5.5.1;250 2.0.0;" },
    { "LMTP: BDAT LAST without MAIL", true, false, NULL, NULL, GREET "BDAT 3 LAST\r\nx\r\nNOOP\r\n",
      "220;250;503 5.5.1;250 2.0.0;" },
    { "LMTP: BDAT LAST refused for many is one error", true, false, &tight, NULL,
      LETTER RCPT RCPT RCPT RCPT RCPT "BDAT 11 LAST\r\n12345678901FOO\r\nFOO\r\nFOO\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;250 2.1.5;250 2.1.5;250 2.1.5;552 5.3.4;552 5.3.4;552 "
      "5.3.4;552 5.3.4;552 5.3.4;500 5.5.2;500 5.5.2;421 4.7.0;" },
    { "LMTP: LAST behind a refused chunk has one for each, once", true, false, &tight, NULL,
      LETTER RCPT RCPT "BDAT 11\r\n12345678901BDAT 2\r\n\r\nBDAT 2 LAST\r\n\r\nBDAT 0 LAST\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;552 5.3.4;503 5.5.1;503 5.5.1;503 5.5.1;421 4.7.0;" },
    { "LMTP: but not behind another command", true, false, &tight, NULL,
      LETTER RCPT RCPT "BDAT 11\r\n12345678901RSET\r\nBDAT 2 LAST\r\n\r\nNOOP\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;552 5.3.4;250 2.0.0;503 5.5.1;250 2.0.0;" },
    { "SMTP: BDAT LAST to nobody, and behind a refused chunk", false, false, &tight, NULL,
      HELLO "MAIL FROM:<a@x.org>\r\nBDAT 3 LAST\r\nx\r\n" RCPT RCPT "BDAT 11\r\n12345678901BDAT 2 LAST\r\n\r\nNOOP\r\n",
      "220;250;250 2.1.0;554 5.5.1;250 2.1.5;250 2.1.5;552 5.3.4;503 5.5.1;250 2.0.0;" },
    { "PRDR: the same by BDAT", false, true, NULL, &mixed,
      HELLO "MAIL FROM:<a@x.org> PRDR\r\n" RCPT RCPT "BDAT 5 LAST\r\nabc\r\nNOOP\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;353;250 2.0.0;550 5.7.1;250 2.0.0;250 2.0.0;" },
    { "LMTP: 421 is for the session", true, false, NULL, &closed, LETTER RCPT RCPT "DATA\r\n.\r\nNOOP\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;354;421 4.3.2;" },
    { "LMTP: neither HELO nor EHLO, DATA needs a recipient, 503", true, false, NULL, NULL,
      "HELO x\r\nEHLO x\r\nNOOP\r\nLHLO\r\nMAIL FROM:<>\r\n" LETTER "DATA\r\nEHLO x\r\n" RCPT "LHLO x\r\nDATA\r\n",
      "220;500 5.5.1;500 5.5.1;250 2.0.0;501 5.5.4;503 5.5.1;250;250 2.1.0;503 5.5.1;500 5.5.1;250 "
      "2.1.5;250;503 5.5.1;" },
    { "LMTP: PRDR is not known", true, true, NULL, NULL, GREET "MAIL FROM:<a@x.org> PRDR\r\n",
      "220;250;555 5.5.4;" },
    { "SMTP: LHLO is not known", false, false, NULL, NULL, GREET, "220;500 5.5.2;" },
    { "PRDR: 353, each, and the whole", false, true, NULL, &mixed,
      HELLO "MAIL FROM:<a@x.org> PRDR\r\n" RCPT RCPT "DATA\r\n.\r\nNOOP\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;354;353;250 2.0.0;550 5.7.1;250 2.0.0;250 2.0.0;" },
    { "PRDR: one answer for all is one reply", false, true, NULL, &refused,
      HELLO "MAIL FROM:<a@x.org> prdr\r\n" RCPT RCPT "DATA\r\n.\r\nNOOP\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;354;550 5.7.1;250 2.0.0;" },
    { "PRDR: what the session refuses is one reply", false, true, &tight, NULL,
      HELLO "MAIL FROM:<a@x.org> PRDR\r\n" RCPT RCPT "DATA\r\n12345678901\r\n.\r\nNOOP\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;354;552 5.3.4;250 2.0.0;" },
    { "PRDR: holds for its transaction only", false, true, NULL, NULL,
      HELLO "MAIL FROM:<a@x.org> PRDR\r\nRSET\r\nMAIL FROM:<a@x.org>\r\n" RCPT RCPT "DATA\r\n.\r\n",
      "220;250;250 2.1.0;250 2.0.0;250 2.1.0;250 2.1.5;250 2.1.5;354;250 2.0.0;" },
    { "PRDR: not offered, not known", false, false, NULL, NULL, HELLO "MAIL FROM:<a@x.org> PRDR\r\n",
      "220;250;555 5.5.4;" },
    { "PRDR: syntax", false, true, NULL, NULL, HELLO "MAIL FROM:<a@x.org> PRDR=x\r\nMAIL FROM:<> PRDR PRDR\r\n",
      "220;250;501 5.5.4;501 5.5.4;" },
};

static void check(const struct row *row, size_t step, bool deferred)
{
    CLEANUP_BUF struct buf codes = BUF_INIT;
    struct peer p = { .message = row->message };

    p.session = smtp_session_new(&(struct smtp_session_options){
        .hostname = "mx.example.net",
        .limits = row->limits != NULL ? row->limits : &peer_limits,
        .lmtp = row->lmtp,
        .prdr = row->prdr,
        .ops = &peer_ops,
        .owner = &p,
    });
    peer_converse(&p, slice_cstr(row->in), step, deferred);
    peer_summarize(buf_slice(&p.said), &codes);
    if (strcmp(codes.data, row->codes) != 0)
        printf("%s (step %zu): %s\n", row->name, step, codes.data);
    CU_ASSERT_STRING_EQUAL(codes.data, row->codes);
    peer_fini(&p);
}

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int deferred = 0; deferred < 2; deferred++) {
            check(&rows[i], 0, deferred);
            check(&rows[i], 1, deferred);
        }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("smtp each", NULL, NULL);
    CU_add_test(suite, "rows", test_rows);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
