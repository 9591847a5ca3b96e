/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_smtp_dialogues.c - whole dialogues in rows, and every state with every verb.
 *
 * Each row is fed in one write, one octet at a time, in threes, and with the answers given late;
 * all must say and ask the same.
 */
#include <CUnit/Basic.h>

#include "smtp_peer.h"

struct dialogue {
    const char *name;
    const char *in;
    const char *codes; /* of the replies, the banner's too: code and enhanced code */
    const char *asked; /* NULL: not looked at */
};

static const struct dialogue dialogues[] = {
    { "a mail", BEGIN "DATA\r\nSubject: hi\r\n\r\n..dot\r\n.\r\nQUIT\r\n",
      "220;250;250 2.1.0;250 2.1.5;354;250 2.0.0;221 2.0.0;",
      "connect\nehlo client.example\nmail a@example.com|a|example.com size=0 body=0 utf8=0\n"
      "rcpt b@example.org|b|example.org\ndata\nmessage 21\nclose\n" },
    { "HELO, small letters, blanks",
      "helo [192.0.2.1] \r\nmail from: <> \r\nrcpt to: <PostMaster>\t\r\ndata \r\n.\r\nquit\r\n",
      "220;250;250 2.1.0;250 2.1.5;354;250 2.0.0;221 2.0.0;",
      "connect\nhelo [192.0.2.1]\nmail || size=0 body=0 utf8=0\nrcpt PostMaster|PostMaster|\n"
      "data\nmessage 0\nclose\n" },
    { "two mails",
      BEGIN "DATA\r\none\r\n.\r\nMAIL FROM:<c@x.org>\r\nRCPT TO:<d@x.org>\r\nDATA\r\ntwo!\r\n.\r\n",
      "220;250;250 2.1.0;250 2.1.5;354;250 2.0.0;250 2.1.0;250 2.1.5;354;250 2.0.0;",
      "connect\nehlo client.example\nmail a@example.com|a|example.com size=0 body=0 utf8=0\n"
      "rcpt b@example.org|b|example.org\ndata\nmessage 5\n"
      "mail c@x.org|c|x.org size=0 body=0 utf8=0\nrcpt d@x.org|d|x.org\ndata\nmessage 6\n" },
    { "addresses",
      HELLO "MAIL FROM:<@r.org,@s.org:\"a b\\\"\"@EXAMPLE.com>\r\nRCPT TO:<a%b@x.org>\r\n"
            "RCPT TO:<h!u@[IPv6:2001:db8::1]>\r\nRCPT TO:<x@xn--BCHER-KVA.example>\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;250 2.1.5;",
      "connect\nehlo client.example\n"
      "mail \"a b\\\"\"@EXAMPLE.com|a b\"|example.com size=0 body=0 utf8=0\n"
      "rcpt a%b@x.org|a%b|x.org\nrcpt h!u@[IPv6:2001:db8::1]|h!u|[IPv6:2001:db8::1]\n"
      "rcpt x@xn--BCHER-KVA.example|x|xn--bcher-kva.example\n" },
    { "parameters", HELLO "MAIL FROM:<a@x.org> SIZE=1234 BODY=8BITMIME SMTPUTF8\r\n",
      "220;250;250 2.1.0;",
      "connect\nehlo client.example\nmail a@x.org|a|x.org size=1234 body=1 utf8=1\n" },
    { "SMTPUTF8 for sender and recipients",
      HELLO "MAIL FROM:<\303\274@b\303\274cher.example> SMTPUTF8\r\nRCPT TO:<\303\266@x.org>\r\n"
            "RSET\r\nMAIL FROM:<a@x.org>\r\nRCPT TO:<\303\266@x.org>\r\nRCPT "
            "TO:<a@b\303\274cher.example>\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.0.0;250 2.1.0;553 5.6.7;553 5.6.7;",
      "connect\nehlo client.example\n"
      "mail \303\274@b\303\274cher.example|\303\274|xn--bcher-kva.example size=0 body=0 utf8=1\n"
      "rcpt \303\266@x.org|\303\266|x.org\nabort\nmail a@x.org|a|x.org size=0 body=0 utf8=0\n" },
    { "U-label without SMTPUTF8", HELLO "MAIL FROM:<a@b\303\274cher.example>\r\n",
      "220;250;553 5.6.7;", "connect\nehlo client.example\n" },
    { "A refused SMTPUTF8 MAIL leaves nothing behind",
      HELLO
      "MAIL FROM:<refuse@x.org> SMTPUTF8\r\nMAIL FROM:<a@x.org>\r\nRCPT TO:<\303\274@x.org>\r\n",
      "220;250;550 5.7.1;250 2.1.0;553 5.6.7;", NULL },
    { "parameters refused",
      HELLO
      "MAIL FROM:<a@x.org> FOO=1\r\nMAIL FROM:<a@x.org> SIZE=x\r\nMAIL FROM:<a@x.org>SIZE=1\r\n"
      "MAIL FROM:<a@x.org> BODY=RAW\r\nMAIL FROM:<a@x.org> SIZE=52428801\r\n"
      "MAIL FROM:<a@x.org> SIZE=52428800\r\nRCPT TO:<a@x.org> SIZE=1\r\nRCPT TO:<a@x.org> "
      "=\r\n",
      "220;250;555 5.5.4;501 5.5.4;501 5.5.4;501 5.5.4;552 5.3.4;250 2.1.0;555 5.5.4;501 5.5.4;",
      "connect\nehlo client.example\nmail a@x.org|a|x.org size=52428800 body=0 utf8=0\n" },
    { "DSN",
      HELLO "MAIL FROM:<a@x.org> ret=full ENVID=a+2Bb\r\nRCPT TO:<b@x.org> notify=Never\r\n"
            "RCPT TO:<c@x.org> ORCPT=rfc822;x+2B@y.org NOTIFY=delay,success\r\nRSET\r\n"
            "MAIL FROM:<a@x.org>\r\nRCPT TO:<b@x.org>\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.1.5;250 2.0.0;250 2.1.0;250 2.1.5;",
      "connect\nehlo client.example\nmail a@x.org|a|x.org size=0 body=0 utf8=0 ret=FULL envid=a+2Bb\n"
      "rcpt b@x.org|b|x.org notify=NEVER\n"
      "rcpt c@x.org|c|x.org notify=SUCCESS,DELAY orcpt=rfc822;x+2B@y.org\nabort\n"
      "mail a@x.org|a|x.org size=0 body=0 utf8=0\nrcpt b@x.org|b|x.org\n" },
    { "syntax of MAIL and RCPT",
      HELLO
      "MAIL\r\nMAIL FROM\r\nMAIL FROM :<a@x.org>\r\nMAIL TO:<a@x.org>\r\nMAIL FROM:\r\n"
      "MAIL FROM:a@x.org\r\nMAIL FROM:<a@x.org\r\nMAIL FROM:<postmaster>\r\n"
      "MAIL FROM:<a@x.org>\r\nRCPT TO:<>\r\nRCPT TO:x\r\nRCPT FROM:<a@x.org>\r\nRCPT TO:<root>\r\n",
      "220;250;501 5.5.4;501 5.5.4;501 5.5.4;501 5.5.4;501 5.1.7;501 5.1.7;501 5.1.7;501 5.1.7;"
      "250 2.1.0;501 5.1.3;501 5.1.3;501 5.5.4;501 5.1.3;",
      NULL },
    { "HELO wants one word",
      "EHLO\r\nHELO\r\nEHLO a b\r\nEHLO b\303\274cher\r\nEHLO my_host\r\nHELO 192.0.2.1\r\n",
      "220;501 5.5.4;501 5.5.4;501 5.5.4;501 5.5.4;250;250;",
      "connect\nehlo my_host\nhelo 192.0.2.1\n" },
    { "HELO refused: the state stays",
      "EHLO refuse\r\nMAIL FROM:<a@x.org>\r\n" BEGIN "EHLO later\r\nRCPT TO:<c@x.org>\r\n",
      "220;550 5.7.1;503 5.5.1;250;250 2.1.0;250 2.1.5;451 4.7.1;250 2.1.5;", NULL },
    { "EHLO drops the transaction", BEGIN HELLO "DATA\r\nRCPT TO:<x@x.org>\r\n",
      "220;250;250 2.1.0;250 2.1.5;250;503 5.5.1;503 5.5.1;",
      "connect\nehlo client.example\nmail a@example.com|a|example.com size=0 body=0 utf8=0\n"
      "rcpt b@example.org|b|example.org\nehlo client.example\nabort\n" },
    { "RSET", BEGIN "RSET\r\nRSET\r\nDATA\r\n",
      "220;250;250 2.1.0;250 2.1.5;250 2.0.0;250 2.0.0;503 5.5.1;", NULL },
    { "refused MAIL, the rest of the pipeline",
      HELLO "MAIL FROM:<refuse@x.org>\r\nRCPT TO:<a@x.org>\r\nDATA\r\nRSET\r\n",
      "220;250;550 5.7.1;503 5.5.1;503 5.5.1;250 2.0.0;",
      "connect\nehlo client.example\nmail refuse@x.org|refuse|x.org size=0 body=0 utf8=0\n" },
    { "all RCPT refused",
      HELLO "MAIL FROM:<a@x.org>\r\nRCPT TO:<refuse@x.org>\r\nRCPT TO:<later@x.org>\r\nDATA\r\n"
            "RCPT TO:<a@x.org>\r\nDATA\r\n.\r\n",
      "220;250;250 2.1.0;550 5.7.1;451 4.7.1;554 5.5.1;250 2.1.5;354;250 2.0.0;", NULL },
    { "some RCPT refused", BEGIN "RCPT TO:<refuse@x.org>\r\nDATA\r\n.\r\n",
      "220;250;250 2.1.0;250 2.1.5;550 5.7.1;354;250 2.0.0;", NULL },
    { "421 to RCPT closes", BEGIN "RCPT TO:<close@x.org>\r\nDATA\r\n",
      "220;250;250 2.1.0;250 2.1.5;421 4.7.0;",
      "connect\nehlo client.example\nmail a@example.com|a|example.com size=0 body=0 utf8=0\n"
      "rcpt b@example.org|b|example.org\nrcpt close@x.org|close|x.org\nabort\nclose\n" },
    { "what may come before EHLO",
      "MAIL FROM:<a@x.org>\r\nRCPT TO:<a@x.org>\r\nDATA\r\nRSET\r\nNOOP\r\nVRFY a\r\nHELP\r\nEXPN "
      "a\r\nQUIT\r\n",
      "220;503 5.5.1;503 5.5.1;503 5.5.1;250 2.0.0;250 2.0.0;252 2.0.0;214 2.0.0;502 5.5.1;221 "
      "2.0.0;",
      "connect\nclose\n" },
    { "not implemented, not known, not well-formed",
      HELLO "EXPN x\r\nSTARTTLS\r\nETRN x\r\n\r\n "
            "FOO\r\nNOOP\001\r\nDATA x\r\n"
            "QUIT now\r\nVRFY\r\nGET / HTTP/1.1\r\n",
      "220;250;502 5.5.1;502 5.5.1;502 5.5.1;500 5.5.2;500 5.5.2;500 5.5.2;503 "
      "5.5.1;"
      "501 5.5.4;501 5.5.4;500 5.5.2;",
      NULL },
    { "lone CR and LF in commands",
      HELLO "NOOP\nMAIL FROM:<a@x.org>\r\nNOOP\rRSET\r\nNOOP\n\r\nNOOP\r\r\n\nNOOP\r\nNOOP\r\n",
      "220;250;500 5.5.2;500 5.5.2;500 5.5.2;500 5.5.2;500 5.5.2;250 2.0.0;",
      "connect\nehlo client.example\n" },
    { "lone CR and LF in mail", BEGIN "DATA\r\nx\n.\nMAIL FROM:<s@x.org>\r\n.\r\nNOOP\r\n",
      "220;250;250 2.1.0;250 2.1.5;354;554 5.6.0;250 2.0.0;",
      "connect\nehlo client.example\nmail a@example.com|a|example.com size=0 body=0 utf8=0\n"
      "rcpt b@example.org|b|example.org\ndata\nabort\n" },
    { "after QUIT", "QUIT\r\nNOOP\r\n", "220;221 2.0.0;", "connect\nclose\n" },
    { "QUIT in a transaction", BEGIN "QUIT\r\n", "220;250;250 2.1.0;250 2.1.5;221 2.0.0;",
      "connect\nehlo client.example\nmail a@example.com|a|example.com size=0 body=0 utf8=0\n"
      "rcpt b@example.org|b|example.org\nabort\nclose\n" },
};

static void check_dialogue(const struct dialogue *d, size_t step, bool deferred)
{
    CLEANUP_BUF struct buf codes = BUF_INIT;
    struct peer p;

    peer_init(&p, NULL);
    peer_converse(&p, slice_cstr(d->in), step, deferred);
    peer_summarize(buf_slice(&p.said), &codes);
    if (strcmp(codes.data, d->codes) != 0)
        printf("%s (step %zu): %s\n", d->name, step, codes.data);
    CU_ASSERT_STRING_EQUAL(codes.data, d->codes);
    if (d->asked != NULL && strcmp(p.asked.data, d->asked) != 0)
        printf("%s (step %zu): %s\n", d->name, step, p.asked.data);
    if (d->asked != NULL)
        CU_ASSERT_STRING_EQUAL(p.asked.data, d->asked);
    peer_fini(&p);
}

static void test_dialogues(void)
{
    for (size_t i = 0; i < sizeof(dialogues) / sizeof(dialogues[0]); i++)
        for (int deferred = 0; deferred < 2; deferred++) {
            check_dialogue(&dialogues[i], 0, deferred);
            check_dialogue(&dialogues[i], 1, deferred);
            check_dialogue(&dialogues[i], 3, deferred);
        }
}

/* ---- Every state with every verb --------------------------------------------- */

static void test_every_pair(void)
{
    static const struct smtp_answer away = { 550, "5.7.1", SLICE("No") };
    static const char *const verbs[] = { "EHLO x",
                                         "HELO x",
                                         "MAIL FROM:<a@x.org>",
                                         "RCPT TO:<a@x.org>",
                                         "DATA",
                                         "RSET",
                                         "NOOP",
                                         "QUIT",
                                         "VRFY x",
                                         "HELP",
                                         "EXPN x",
                                         "AUTH PLAIN",
                                         "STARTTLS",
                                         "BDAT 0",
                                         "WHAT" };
    static const struct {
        const char *state, *before;
        unsigned codes[15];
    } states[] = {
        { "turned-away",
          "",
          { 503, 503, 503, 503, 503, 503, 503, 221, 503, 503, 502, 503, 502, 503, 500 } },
        { "greeted",
          "",
          { 250, 250, 503, 503, 503, 250, 250, 221, 252, 214, 502, 503, 502, 503, 500 } },
        { "ready",
          "EHLO x\r\n",
          { 250, 250, 250, 503, 503, 250, 250, 221, 252, 214, 502, 334, 502, 503, 500 } },
        { "mail",
          "EHLO x\r\nMAIL FROM:<>\r\n",
          { 250, 250, 503, 250, 554, 250, 250, 221, 252, 214, 502, 503, 502, 554, 500 } },
        { "rcpt",
          "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@x.org>\r\n",
          { 250, 250, 503, 250, 354, 250, 250, 221, 252, 214, 502, 503, 502, 250, 500 } },
        { "bdat",
          "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@x.org>\r\nBDAT 1\r\nx",
          { 250, 250, 503, 503, 503, 250, 250, 221, 252, 214, 502, 503, 502, 250, 500 } },
    };

    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        for (size_t k = 0; k < 15; k++) {
            struct peer p;
            peer_init(&p, NULL);
            p.connect = i == 0 ? &away : NULL;
            peer_converse(&p, slice_cstr(states[i].before), 0, false);
            CU_ASSERT_STRING_EQUAL(smtp_session_state_name(p.session), states[i].state);
            buf_clear(&p.said);
            smtp_session_input(p.session, slice_cstr(verbs[k]));
            CU_ASSERT_EQUAL(p.said.len, 0);
            smtp_session_input(p.session, SLICE("\r\n"));
            peer_check_code(&p, verbs[k], states[i].codes[k]);
            peer_fini(&p);
        }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("smtp dialogues", NULL, NULL);
    CU_add_test(suite, "dialogues", test_dialogues);
    CU_add_test(suite, "every state and verb", test_every_pair);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
