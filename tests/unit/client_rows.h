/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_rows.h - what a server does, and the whole of what the owner of the client must hear.
 *
 * Script, one step a line:
 *   > TEXT   send a line            < TEXT   a line that begins so must come
 *   | TEXT   send a line together with the one before (in one packet)
 *   =N       send N octets of 'a'   .        read the message up to its dot
 *   oN       read N octets of the message
 *   r        read once, whatever comes (the first words of TLS)
 *   ~        read one octet of the message and stop reading
 *   x        close                  !        close with a reset
 *   h        read to the end        ?        nothing more may come: the client closes
 *   w        read nothing until the client has ended, a minute at most
 *   w1       the same for one and a half of the time-outs that are tested
 *   #        wait 30 ms
 */
#ifndef TERN_TESTS_CLIENT_ROWS_H
#define TERN_TESTS_CLIENT_ROWS_H

#include "delivery/client.h"

enum { FREE_NEVER, FREE_IN_RCPT, FREE_IN_SENT, FREE_IN_READY, FREE_IN_END };

/* What a row's message is. */
enum shape {
    PLAIN, /* two recipients */
    ONE,
    THREE,
    EIGHT_BIT,
    UTF8, /* in the body */
    UTF8_ALONE, /* the same, and its client said nothing of 8BITMIME */
    UTF8_HEADER,
    UTF8_PART, /* in the header of a part */
    BAD_RCPT,
    ALL_BAD,
    BAD_SENDER,
    SHORT,   /* ends before its size */
    FAILING, /* cannot be read */
    BIG,     /* more than fits into socket buffers */
    NO_CRLF,
    BINARY, /* with octets that no line may have */
    BINARY_ONE,
    DSN, /* with what RFC 3461 passes on */
    ASCII, /* said to be 8-bit and UTF-8, and is neither */
    ASCII_BIG,
    ASCII_UNREAD,
    UTF8_RCPT, /* the same to an address that is UTF-8 */
};

/* How the client may say who it is: user, secret. */
enum { AUTH_NONE, AUTH_CLEAR, AUTH_CAREFUL, AUTH_LONG /* 255 octets each */ };

struct row {
    const char *name;
    const char *script;
    const char *heard;
    enum client_protocol protocol;
    unsigned messages;
    enum shape shape;
    bool command_late, data_late, tls_late; /* a time-out that is tested: TIMEOUT_TESTED_MS */
    unsigned free_in;
    unsigned auth;
    enum client_tls tls;
    bool implicit;
    enum client_cause cause; /* of the end; looked at where there is TLS */
    bool chunking;
    const char *forward; /* whose the messages are: his address; NULL: no XFORWARD */
    bool idle;        /* the owner does not quit */
    const char *text; /* stands in one of the replies' texts */
};

#define HI "> 220 mx ESMTP\n< EHLO client.test\n"
#define PIPE                                                                                       \
    HI "> 250-mx\n> 250-PIPELINING\n> 250-8BITMIME\n> 250-SMTPUTF8\n> 250 SIZE 1000000000\n"
#define BIN     HI "> 250-mx\n> 250-PIPELINING\n> 250-CHUNKING\n> 250 BINARYMIME\n"
#define FWD     HI "> 250-mx\n> 250-PIPELINING\n> 250 XFORWARD NAME ADDR proto HELO SOURCE\n"
#define TLS     HI "> 250-mx\n> 250 STARTTLS\n"
#define PLAINLY HI "> 250 mx\n"
#define LHI     "> 220 mx LMTP\n< LHLO client.test\n> 250-mx\n> 250 PIPELINING\n"
#define GROUP2                                                                                     \
    "< MAIL FROM:<me@example.net>\n< RCPT TO:<a@example.org>\n< RCPT TO:<b@example.org>\n< DATA\n"

static const struct row rows[] = {
    /* greeting */
    { "a 5xx greeting", "> 554 5.3.2 no service\n?\n", "end: 554 5.3.2\n" },
    { "a 4xx greeting of several lines", "> 451-later\n> 451 please\n?\n", "end: 451 4.0.0\n",
      .text = "451 later please\n" },
    { "an early 421", "> 421 4.3.2 busy\n?\n", "end: 421 4.3.2\n" },
    { "closed before the greeting", "x\n", "end: own 451 4.4.2\n",
      .text = "waiting for the greeting" },
    { "reset before the greeting", "#\n!\nx\n", "end: own 451 4.4.2\n" },
    { "no greeting", "h\n", "end: own 451 4.4.2\n", .command_late = true, .text = "time-out" },
    { "a greeting that is no SMTP", "> SSH-2.0-OpenSSH\n?\n", "end: own 451 4.5.0\n",
      .text = "not SMTP" },
    { "a 3xx greeting", "> 354 go ahead\n?\n", "end: own 451 4.5.0\n" },
    { "an endless line", "=3000\n?\n", "end: own 451 4.5.0\n", .text = "endless" },
    { "an octet now and then is no greeting", "=5\nh\n", "end: own 451 4.4.2\n",
      .command_late = true },
    { "two greetings at once", "> 220 a\n| 220 b\nh\n", "end: own 451 4.5.0\n",
      .text = "nothing that was asked" },
    /* EHLO */
    { "HELO where EHLO is refused",
      HI "> 502 what\n< HELO client.test\n> 250 mx\n< MAIL FROM:<me@example.net>\r\n> 250 ok\n"
         "< RCPT TO:<a@example.org>\n> 250 ok\n< DATA\n> 354 go\n.\n> 250 2.0.0 done\n?\n",
      "ready\n0: 250 2.0.0\nsent\n", .messages = 1, .shape = ONE },
    { "HELO refused too", HI "> 500 what\n< HELO\n> 550 5.7.1 you\n?\n", "end: 550 5.7.1\n" },
    { "EHLO put off", HI "> 450 4.7.0 later\n?\n", "end: 450 4.7.0\n" },
    { "closed after EHLO", HI "x\n", "end: own 451 4.4.2\n", .text = "reply to EHLO" },
    { "LHLO refused: no HELO", "> 220 x\n< LHLO\n> 500 no\n?\n", "end: 500 5.0.0\n",
      .protocol = CLIENT_LMTP },
    { "EHLO answered with another code in its last line", HI "> 250-mx\n> 251 PIPELINING\n?\n",
      "end: own 451 4.5.0\n" },
    /* a message, pipelined */
    { "pipelined",
      PIPE GROUP2 "> 250 2.1.0 ok\n> 250 2.1.5 ok\n> 250 ok\n> 354 go\n.\n> 250 2.0.0 as X\n?\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .text = "250 2.0.0 as X\n" },
    { "pipelined, all replies in one packet but the last",
      PIPE GROUP2 "> 250 ok\n| 250 ok\n| 250 ok\n| 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1 },
    { "one recipient refused, one put off",
      PIPE "< MAIL\n< RCPT\n< RCPT\n< RCPT\n< DATA\n> 250 ok\n> 550 5.1.1 no\n> 250 ok\n> 450 "
           "4.2.1 later\n"
           "> 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 550 5.1.1\n2: 450 4.2.1\n1: 250 2.0.0\nsent\n", .messages = 1, .shape = THREE },
    { "all recipients refused and DATA refused",
      PIPE GROUP2 "> 250 ok\n> 550 5.1.1 no\n> 550 5.1.1 no\n> 554 5.5.1 no recipients\n?\n",
      "ready\n0: 550 5.1.1\n1: 550 5.1.1\nsent\n", .messages = 1 },
    { "all recipients refused and yet 354: a lone dot",
      PIPE GROUP2 "> 250 ok\n> 550 5.1.1 no\n> 451 4.1.1 no\n> 354 go\n< .\r\n> 554 nobody\n?\n",
      "ready\n0: 550 5.1.1\n1: 451 4.1.1\nsent\n", .messages = 1 },
    { "a lone dot that is accepted is a delivery to nobody",
      PIPE GROUP2 "> 250 ok\n> 550 5.1.1 no\n> 550 5.1.1 no\n> 354 go\n< .\r\n> 250 queued\n?\n",
      "ready\n0: 550 5.1.1\n1: 550 5.1.1\nsent\n", .messages = 1 },
    { "MAIL refused",
      PIPE GROUP2 "> 550 5.7.1 not you\n> 503 mail first\n> 503 mail first\n> 503 rcpt first\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1 },
    { "MAIL refused, the rest accepted: nothing is sent",
      PIPE GROUP2 "> 450 4.7.1 not now\n> 250 ok\n> 250 ok\n> 354 go\n< .\r\n> 250 ok\n?\n",
      "ready\n0: 450 4.7.1\n1: 450 4.7.1\nsent\n", .messages = 1 },
    { "DATA refused", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 451 4.3.1 disk\n?\n",
      "ready\n0: 451 4.3.1\n1: 451 4.3.1\nsent\n", .messages = 1 },
    { "the message refused",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 550 5.1.1 no\n> 354 go\n.\n> 554 5.7.1 spam\n?\n",
      "ready\n1: 550 5.1.1\n0: 554 5.7.1\nsent\n", .messages = 1 },
    { "552 for a recipient without more is 452",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 552 too many\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n1: 452 4.5.3\n0: 250 2.0.0\nsent\n", .messages = 1 },
    { "452 without more behind a good recipient is one too many",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 452 too many\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n1: 452 4.5.3\n0: 250 2.0.0\nsent\n", .messages = 1 },
    { "452 for the first recipient says nothing of their number",
      PIPE GROUP2 "> 250 ok\n> 452 not now\n> 452 4.2.2 full\n> 503 no\n?\n",
      "ready\n0: 452 4.0.0\n1: 452 4.2.2\nsent\n", .messages = 1 },
    { "552 5.2.2 for a recipient is a full mailbox",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 552 5.2.2 full\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n1: 552 5.2.2\n0: 250 2.0.0\nsent\n", .messages = 1 },
    /* not pipelined */
    { "step by step",
      PLAINLY "< MAIL FROM:<me@example.net>\r\n> 250 ok\n< RCPT TO:<a@\n> 250 ok\n< RCPT TO:<b@\n> "
              "550 5.1.1 no\n"
              "< DATA\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n1: 550 5.1.1\n0: 250 2.0.0\nsent\n", .messages = 1 },
    { "step by step, MAIL refused, then another message without RSET",
      PLAINLY "< MAIL\n> 550 5.7.1 no\n< MAIL\n> 250 ok\n< RCPT\n> 250 ok\n< DATA\n> 354 go\n.\n> "
              "250 ok\n?\n",
      "ready\n0: 550 5.7.1\nsent\n0: 250 2.0.0\nsent\n", .messages = 2, .shape = ONE },
    { "step by step, all recipients refused: no DATA, RSET before the next",
      PLAINLY "< MAIL\n> 250 ok\n< RCPT\n> 550 5.1.1 no\n< RSET\n> 250 ok\n< MAIL\n> 250 ok\n< "
              "RCPT\n> 250 ok\n"
              "< DATA\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 550 5.1.1\nsent\n0: 250 2.0.0\nsent\n", .messages = 2, .shape = ONE },
    /* reuse */
    { "three messages, no RSET between them",
      PIPE "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n"
           "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 554 5.7.1 no\n"
           "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n< QUIT\nh\n",
      "ready\n0: 250 2.0.0\nsent\n0: 554 5.7.1\nsent\n0: 250 2.0.0\nsent\n", .messages = 3,
      .shape = ONE },
    { "RSET after a refused DATA",
      PIPE
      "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 451 4.3.0 no\n< RSET\n< MAIL\n< RCPT\n< DATA\n"
      "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 451 4.3.0\nsent\n0: 250 2.0.0\nsent\n", .messages = 2, .shape = ONE },
    { "RSET refused",
      PIPE "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 550 5.1.1 no\n> 554 no\n< RSET\n> 500 what\nh\n",
      "ready\n0: 550 5.1.1\nsent\n0: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 2,
      .shape = ONE },
    { "closed between two messages",
      PIPE "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n<\nx\n",
      "ready\n0: 250 2.0.0\nsent\n0: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 2,
      .shape = ONE },
    /* lost */
    { "closed at MAIL", PIPE "< MAIL\nx\n",
      "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1 },
    { "closed after one recipient was refused", PIPE GROUP2 "> 250 ok\n> 550 5.1.1 no\nx\n",
      "ready\n0: 550 5.1.1\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1,
      .text = "reply to RCPT" },
    { "closed at DATA", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\nx\n",
      "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1,
      .text = "reply to DATA" },
    { "closed in the message", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n~\n!\nx\n",
      "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1,
      .shape = BIG },
    { "closed after the dot: deferred, may be there twice",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 550 5.1.1 no\n> 354 go\n.\nx\n",
      "ready\n1: 550 5.1.1\n0: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1,
      .text = "arrive twice" },
    { "half a reply after the dot",
      PIPE "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 354 go\n.\n=0\n> 250-ok\nx\n",
      "ready\n0: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1, .shape = ONE },
    /* 421 */
    { "421 to MAIL", PIPE GROUP2 "> 421 4.3.2 bye\nx\n",
      "ready\n0: 421 4.3.2\n1: 421 4.3.2\nend: 421 4.3.2\n", .messages = 1 },
    { "421 after one recipient was refused",
      PIPE GROUP2 "> 250 ok\n> 550 5.1.1 no\n> 421 4.7.0 bye\nx\n",
      "ready\n0: 550 5.1.1\n1: 421 4.7.0\nend: 421 4.7.0\n", .messages = 1 },
    { "421 in the message",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n~\n> 421 4.3.2 bye\nh\n",
      "ready\n0: 421 4.3.2\n1: 421 4.3.2\nend: 421 4.3.2\n", .messages = 1, .shape = BIG },
    { "refused in the message, then reset",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n~\n> 552 5.3.4 too big\nx\n",
      "ready\n0: 552 5.3.4\n1: 552 5.3.4\nend: 552 5.3.4\n", .messages = 1, .shape = BIG },
    { "421 after the dot",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 421 4.3.2 bye\nx\n",
      "ready\n0: 421 4.3.2\n1: 421 4.3.2\nend: 421 4.3.2\n", .messages = 1 },
    /* garbage */
    { "250 in the message is no delivery",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n~\n> 250 ok\nh\n",
      "ready\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1,
      .shape = BIG },
    { "more replies than commands: none is kept for later",
      PLAINLY "< MAIL\n> 250 ok\n| 250 ok\n| 250 ok\n| 354 go\n| 250 delivered\nh\n",
      "ready\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1 },
    { "the reply to the dot sent along with 354",
      PIPE "< MAIL\n< RCPT\n< DATA\n> 250 ok\n| 250 ok\n| 354 go\n| 250 delivered\nh\n",
      "ready\n0: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1, .shape = ONE },
    { "354 to MAIL", PIPE GROUP2 "> 354 go\nh\n",
      "ready\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1 },
    { "250 to DATA", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 250 ok\nh\n",
      "ready\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1 },
    { "354 to the dot", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 354 more\nh\n",
      "ready\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1 },
    { "no SMTP in the middle", PIPE GROUP2 "> 250 ok\n> hello\nh\n",
      "ready\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1 },
    { "a reply with controls and octets that are not UTF-8",
      PIPE GROUP2 "> 550 5.7.1 \x1b[2J\xff\xc3\xa4\n> 503 x\n> 503 x\n> 503 x\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1,
      .text = "550 5.7.1 ?[2J?\xc3\xa4\n" },
    /* time-outs */
    { "no reply to MAIL", PIPE GROUP2 "h\n",
      "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1,
      .command_late = true },
    { "no reply to DATA", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\nh\n",
      "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1,
      .command_late = true, .text = "reply to DATA" },
    { "a message that is not taken", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n~\nw\n",
      "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1,
      .shape = BIG, .command_late = true, .text = "message to be taken" },
    { "no reply to the dot", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\nh\n",
      "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1,
      .data_late = true, .text = "arrive twice" },
    /* what is offered */
    { "SIZE is declared",
      PIPE "< MAIL FROM:<me@example.net> SIZE=32\r\n< RCPT\n< RCPT\n< DATA\n> 552 5.3.4 too big\n> "
           "503 x\n> 503 x\n> 503 x\n?\n",
      "ready\n0: 552 5.3.4\n1: 552 5.3.4\nsent\n", .messages = 1 },
    { "larger than the limit: nothing is said", HI "> 250-mx\n> 250 size 31\n?\n",
      "ready\n0: own 552 5.3.4\n1: own 552 5.3.4\nsent\n", .messages = 1 },
    { "exactly the limit is sent",
      HI "> 250-mx\n> 250 SIZE 32\n< MAIL FROM:<me@example.net> SIZE=32\r\n> 550 5.7.1 no\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1 },
    { "SIZE 0 and SIZE without a number are no limit",
      HI "> 250-mx\n> 250-SIZE x\n> 250 SIZE 0\n< MAIL FROM:<me@example.net> SIZE=32\r\n> 550 "
         "5.7.1 no\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1 },
    { "8BITMIME is used",
      PIPE "< MAIL FROM:<me@example.net> SIZE=32 BODY=8BITMIME\r\n< RCPT\n< RCPT\n< DATA\n> 550 "
           "5.7.1 x\n> 503 x\n> 503 x\n> 503 x\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1, .shape = EIGHT_BIT },
    { "8BITMIME is missing", PLAINLY "?\n", "ready\n0: own 554 5.6.3\n1: own 554 5.6.3\nsent\n",
      .messages = 1, .shape = EIGHT_BIT },
    { "SMTPUTF8 is used",
      PIPE "< MAIL FROM:<me@example.net> SIZE=32 BODY=8BITMIME SMTPUTF8\r\n< RCPT\n< RCPT\n< "
           "DATA\n> 550 5.7.1 x\n> 503 x\n> 503 x\n> 503 x\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1, .shape = UTF8 },
    { "SMTPUTF8 is missing, twice on one connection", HI "> 250-mx\n> 250 8BITMIME\n?\n",
      "ready\n0: own 553 5.6.7\n1: own 553 5.6.7\nsent\n0: own 553 5.6.7\n1: own 553 5.6.7\nsent\n",
      .messages = 2, .shape = UTF8_HEADER },
    { "the same, and it is needed in the header of a part only", HI "> 250-mx\n> 250 8BITMIME\n?\n",
      "ready\n0: own 553 5.6.7\n1: own 553 5.6.7\nsent\n", .messages = 1, .shape = UTF8_PART },
    { "SMTPUTF8 is missing, and only the body is 8-bit",
      HI "> 250-mx\n> 250-PIPELINING\n> 250 8BITMIME\n< MAIL FROM:<me@example.net> BODY=8BITMIME\r\n< RCPT\n< RCPT\n< DATA\n"
         "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 2.0.0 ok\n?\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .shape = UTF8 },
    { "the same where its client said SMTPUTF8 alone",
      HI "> 250-mx\n> 250 8BITMIME\n< MAIL FROM:<me@example.net> BODY=8BITMIME\r\n> 550 5.7.1 no\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1, .shape = UTF8_ALONE },
    { "8BITMIME and SMTPUTF8 are missing, and only the body is 8-bit", PLAINLY "?\n",
      "ready\n0: own 554 5.6.3\n1: own 554 5.6.3\nsent\n", .messages = 1, .shape = UTF8 },
    { "the same where its client said SMTPUTF8 alone, and nothing is offered", PLAINLY "?\n",
      "ready\n0: own 554 5.6.3\n1: own 554 5.6.3\nsent\n", .messages = 1, .shape = UTF8_ALONE },
    { "8BITMIME and SMTPUTF8 are missing, and the message is ASCII",
      PLAINLY "< MAIL FROM:<me@example.net>\r\n> 250 ok\n< RCPT\n> 250 ok\n< RCPT\n> 250 ok\n< DATA\n"
              "> 354 go\n.\n> 250 2.0.0 ok\n?\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .shape = ASCII },
    { "the same in more than one look",
      PLAINLY "< MAIL FROM:<me@example.net>\r\n> 550 5.7.1 no\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1, .shape = ASCII_BIG },
    { "the same and an address that is not", PLAINLY "?\n",
      "ready\n0: own 553 5.6.7\n1: own 553 5.6.7\nsent\n", .messages = 1, .shape = UTF8_RCPT },
    { "the same and it cannot be looked at", PLAINLY "?\n",
      "ready\n0: own 451 4.3.0\n1: own 451 4.3.0\nsent\n", .messages = 1, .shape = ASCII_UNREAD },
    { "DSN is passed on",
      HI "> 250-mx\n> 250 DSN\n< MAIL FROM:<me@example.net> RET=HDRS ENVID=e+2B1\r\n> 250 ok\n"
         "< RCPT TO:<a@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@z.org\r\n> 250 ok\n"
         "< RCPT TO:<b@example.org> NOTIFY=NEVER\r\n> 250 ok\n< DATA\n> 354 go\n.\n> 250 ok\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .shape = DSN },
    { "DSN is not offered",
      PLAINLY "< MAIL FROM:<me@example.net>\r\n> 250 ok\n< RCPT TO:<a@example.org>\r\n> 250 ok\n"
              "< RCPT TO:<b@example.org>\r\n> 250 ok\n< DATA\n> 354 go\n.\n> 250 ok\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .shape = DSN },
    { "BINARYMIME goes by BDAT, one chunk",
      BIN "< MAIL FROM:<me@example.net> BODY=BINARYMIME\r\n< RCPT\n< RCPT\n> 250 ok\n> 250 ok\n> 250 "
          "ok\n< BDAT 17 LAST\r\no17\n> 250 2.0.0 ok\n?\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .shape = BINARY },
    { "BINARYMIME is missing", HI "> 250-mx\n> 250-8BITMIME\n> 250 CHUNKING\n?\n",
      "ready\n0: own 554 5.6.3\n1: own 554 5.6.3\nsent\n", .messages = 1, .shape = BINARY,
      .text = "needs BINARYMIME" },
    { "BINARYMIME without CHUNKING is nothing", HI "> 250-mx\n> 250 BINARYMIME\n?\n",
      "ready\n0: own 554 5.6.3\n1: own 554 5.6.3\nsent\n", .messages = 1, .shape = BINARY },
    { "BDAT without pipelining",
      HI "> 250-mx\n> 250-CHUNKING\n> 250 BINARYMIME\n< MAIL\n> 250 ok\n< RCPT\n> 250 ok\n< BDAT "
         "17 LAST\r\no17\n> 554 5.7.1 no\n< MAIL\n> 250 ok\n< RCPT\n> 250 ok\n< BDAT 17 LAST\r\n"
         "o17\n> 250 ok\n?\n",
      "ready\n0: 554 5.7.1\nsent\n0: 250 2.0.0\nsent\n", .messages = 2, .shape = BINARY_ONE },
    { "no BDAT where nobody is to get it",
      BIN "< MAIL\n< RCPT\n< RCPT\n> 250 ok\n> 550 5.1.1 no\n> 550 5.1.1 no\n?\n",
      "ready\n0: 550 5.1.1\n1: 550 5.1.1\nsent\n", .messages = 1, .shape = BINARY },
    { "no BDAT behind a MAIL that was refused",
      BIN "< MAIL\n< RCPT\n< RCPT\n> 550 5.7.1 no\n> 503 x\n> 503 x\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1, .shape = BINARY },
    { "closed after BDAT: deferred, may be there twice",
      BIN "< MAIL\n< RCPT\n< RCPT\n> 250 ok\n> 250 ok\n> 250 ok\n< BDAT\no17\nx\n",
      "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1,
      .shape = BINARY, .text = "arrive twice" },
    { "refused in the chunk",
      BIN "< MAIL\n< RCPT\n< RCPT\n> 250 ok\n> 250 ok\n> 250 ok\n< BDAT\n~\n> 552 5.3.4 too big\nx\n",
      "ready\n0: 552 5.3.4\n1: 552 5.3.4\nend: 552 5.3.4\n", .messages = 1, .shape = BIG,
      .chunking = true },
    { "chunking: BDAT for plain mail",
      BIN "< MAIL FROM:<me@example.net>\r\n< RCPT\n< RCPT\n> 250 ok\n> 250 ok\n> 250 ok\n< BDAT 32 "
          "LAST\r\no32\n> 250 ok\n?\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .chunking = true },
    { "chunking: DATA where CHUNKING is not offered",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .chunking = true },
    { "CHUNKING alone changes nothing", BIN GROUP2 "> 550 5.7.1 x\n> 503 x\n> 503 x\n> 503 x\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1 },
    { "LMTP: a reply for each accepted recipient of BDAT",
      "> 220 mx LMTP\n< LHLO client.test\n> 250-mx\n> 250-PIPELINING\n> 250 CHUNKING\n< MAIL\n< "
      "RCPT\n< RCPT\n< RCPT\n> 250 ok\n> 250 ok\n> 550 5.1.1 no\n> 250 ok\n< BDAT 32 LAST\r\no32\n"
      "> 250 2.0.0 a\n> 452 4.2.2 full\n?\n",
      "ready\n1: 550 5.1.1\n0: 250 2.0.0\n2: 452 4.2.2\nsent\n", .messages = 1, .shape = THREE,
      .protocol = CLIENT_LMTP, .chunking = true },
    /* XFORWARD */
    { "XFORWARD: before MAIL, and nothing in it ends it",
      FWD "< XFORWARD ADDR=192.0.2.9 HELO=a+20b+3D+2B+0D+0A SOURCE=REMOTE\r\n" GROUP2
          "> 250 ok\n> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .forward = "192.0.2.9" },
    { "XFORWARD refused changes nothing; each message has its own",
      FWD "< XFORWARD ADDR=IPV6:2001:db8::9\n" GROUP2 "> 501 what\n> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n"
          "< XFORWARD ADDR=IPV6:2001:db8::9\n" GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 2,
      .forward = "2001:db8::9" },
    { "XFORWARD of what came by no network",
      FWD "< XFORWARD ADDR=[UNAVAILABLE] HELO=a+20b+3D+2B+0D+0A SOURCE=LOCAL\r\n< MAIL\n< RCPT\n< RCPT\n< DATA\n> 250 ok\n> 550 5.7.1 x\n"
          "> 503 x\n> 503 x\n> 503 x\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1, .forward = "unix" },
    { "XFORWARD without pipelining, and only what is offered",
      HI "> 250-mx\n> 250 XFORWARD HELO\n< XFORWARD HELO=a+20b+3D+2B+0D+0A\r\n> 250 ok\n< MAIL\n> 550 5.7.1 x\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1, .forward = "192.0.2.9" },
    { "XFORWARD that is not offered", PIPE GROUP2 "> 550 5.7.1 x\n> 503 x\n> 503 x\n> 503 x\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1, .forward = "192.0.2.9" },
    { "XFORWARD that is offered and not wanted", FWD GROUP2 "> 550 5.7.1 x\n> 503 x\n> 503 x\n> 503 x\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1 },
    /* TLS, as far as it comes without a handshake that succeeds */
    { "STARTTLS refused: may goes on in clear",
      TLS "< STARTTLS\r\n> 454 4.7.0 not now\n< MAIL\n> 550 5.7.1 no\n?\n",
      "ready\n0: 550 5.7.1\nsent\n", .messages = 1, .shape = ONE, .tls = CLIENT_TLS_MAY },
    { "STARTTLS refused, and then it wants TLS all the same: put off",
      TLS "< STARTTLS\r\n> 454 4.7.0 not now\n< MAIL\n> 530 5.7.0 STARTTLS first\n?\n",
      "ready\n0: 451 4.7.4\nsent\n", .messages = 1, .shape = ONE, .tls = CLIENT_TLS_MAY },
    { "the same at RCPT in words of its own",
      TLS "< STARTTLS\r\n> 454 4.7.0 not now\n< MAIL\n> 250 ok\n< RCPT\n> 550 5.7.10 encrypt\n?\n",
      "ready\n0: 451 4.7.4\nsent\n", .messages = 1, .shape = ONE, .tls = CLIENT_TLS_MAY },
    { "530 of a server that never offered it is what it is",
      PLAINLY "< MAIL\n> 530 5.7.0 log in\n?\n", "ready\n0: 530 5.7.0\nsent\n", .messages = 1, .shape = ONE,
      .tls = CLIENT_TLS_MAY },
    { "STARTTLS refused: required does not", TLS "< STARTTLS\r\n> 454 4.7.0 not now\n?\n",
      "end: own 451 4.7.4\n", .tls = CLIENT_TLS_REQUIRED, .cause = CLIENT_CAUSE_TLS,
      .text = "refused: 454 4.7.0 not now" },
    { "STARTTLS not offered: may goes on", PLAINLY "< MAIL\n> 550 5.7.1 no\n?\n",
      "ready\n0: 550 5.7.1\nsent\n", .messages = 1, .shape = ONE, .tls = CLIENT_TLS_MAY },
    { "STARTTLS not offered: required does not", PLAINLY "?\n", "end: own 451 4.7.4\n",
      .tls = CLIENT_TLS_REQUIRED, .cause = CLIENT_CAUSE_TLS, .text = "not offered" },
    { "HELO knows no TLS", HI "> 502 what\n< HELO client.test\n> 250 mx\n?\n", "end: own 451 4.7.4\n",
      .tls = CLIENT_TLS_REQUIRED, .cause = CLIENT_CAUSE_TLS },
    { "STARTTLS offered: off does not ask", TLS "< MAIL\n> 550 5.7.1 no\n?\n",
      "ready\n0: 550 5.7.1\nsent\n", .messages = 1, .shape = ONE },
    { "a reply behind the 220, in its packet", TLS "< STARTTLS\r\n> 220 go\n| 250 injected\nh\n",
      "end: own 451 4.7.5\n", .tls = CLIENT_TLS_MAY, .cause = CLIENT_CAUSE_TLS,
      .text = "in clear behind the reply" },
    { "250 to STARTTLS", TLS "< STARTTLS\r\n> 250 go\nh\n", "end: own 451 4.5.0\n",
      .tls = CLIENT_TLS_MAY, .cause = CLIENT_CAUSE_TLS },
    { "421 to STARTTLS", TLS "< STARTTLS\r\n> 421 4.3.2 bye\nx\n", "end: 421 4.3.2\n",
      .tls = CLIENT_TLS_MAY, .cause = CLIENT_CAUSE_TLS },
    { "closed at STARTTLS", TLS "< STARTTLS\r\nx\n", "end: own 451 4.4.2\n", .tls = CLIENT_TLS_MAY,
      .cause = CLIENT_CAUSE_TLS, .text = "reply to STARTTLS" },
    { "no answer to STARTTLS", TLS "< STARTTLS\r\nh\n", "end: own 451 4.4.2\n", .tls = CLIENT_TLS_MAY,
      .cause = CLIENT_CAUSE_TLS, .command_late = true, .text = "reply to STARTTLS" },
    { "closed in the handshake", TLS "< STARTTLS\r\n> 220 go\nr\nx\n", "end: own 451 4.7.5\n",
      .tls = CLIENT_TLS_MAY, .cause = CLIENT_CAUSE_TLS, .text = "TLS failed" },
    { "reset in the handshake", TLS "< STARTTLS\r\n> 220 go\nr\n!\nx\n", "end: own 451 4.7.5\n",
      .tls = CLIENT_TLS_REQUIRED, .cause = CLIENT_CAUSE_TLS, .text = "TLS failed" },
    { "a handshake answered in clear", TLS "< STARTTLS\r\n> 220 go\nr\n> 250 what do you want?\nh\n",
      "end: own 451 4.7.5\n", .tls = CLIENT_TLS_MAY, .cause = CLIENT_CAUSE_TLS, .text = "TLS failed" },
    { "a handshake that is not answered", TLS "< STARTTLS\r\n> 220 go\nr\nh\n", "end: own 451 4.4.2\n",
      .tls = CLIENT_TLS_MAY, .cause = CLIENT_CAUSE_TLS, .tls_late = true,
      .text = "waiting for the TLS handshake" },
    { "implicit: a greeting in clear", "> 220 mx ESMTP\nh\n", "end: own 451 4.7.5\n",
      .tls = CLIENT_TLS_MAY, .implicit = true, .cause = CLIENT_CAUSE_TLS },
    { "421 before TLS is asked for is none of its business", "> 421 4.3.2 busy\nx\n",
      "end: 421 4.3.2\n", .tls = CLIENT_TLS_REQUIRED },
    /* AUTH */
    { "AUTH PLAIN, its response along with it",
      HI "> 250-mx\n> 250 AUTH LOGIN PLAIN GSSAPI\n< AUTH PLAIN AHVzZXIAc2VjcmV0\r\n> 235 2.7.0 ok\nh\n",
      "ready\n", .auth = AUTH_CLEAR },
    { "AUTH LOGIN",
      HI "> 250-mx\n> 250 AUTH login\n< AUTH LOGIN\r\n> 334 VXNlcm5hbWU6\n< dXNlcg==\r\n> 334 "
         "UGFzc3dvcmQ6\n< c2VjcmV0\r\n> 235 2.7.0 ok\nh\n",
      "ready\n", .auth = AUTH_CLEAR },
    { "AUTH LOGIN that never has enough",
      HI "> 250-mx\n> 250 AUTH LOGIN\n< AUTH LOGIN\r\n> 334 VXNlcm5hbWU6\n< dXNlcg==\r\n> 334 "
         "UGFzc3dvcmQ6\n< c2VjcmV0\r\n> 334 TW9yZTo=\n< *\r\n?\n",
      "end: own 451 4.7.0\n", .auth = AUTH_CLEAR, .text = "not of this mechanism" },
    { "AUTH SCRAM before all others, and refused for good: the operator's to mend",
      HI "> 250-mx\n> 250 AUTH PLAIN SCRAM-SHA-1 SCRAM-SHA-256\n< AUTH SCRAM-SHA-256 "
         "biwsbj11c2VyLHI9\n> 535 5.7.8 who?\n?\n",
      "end: own 451 4.7.8\n", .auth = AUTH_CAREFUL, .text = "refused: 535 5.7.8 who?" },
    { "AUTH refused with the response in its words: nobody else shall read it",
      HI "> 250-mx\n> 250 AUTH PLAIN\n< AUTH PLAIN\n> 500 what? AUTH PLAIN AHVzZXIAc2VjcmV0\n?\n",
      "end: own 451 4.7.8\n", .auth = AUTH_CLEAR, .text = "refused: 500 (what it said repeats the secret" },
    { "AUTH ended with the password in its words",
      HI "> 250-mx\n> 250 AUTH LOGIN\n< AUTH LOGIN\r\n> 334 VXNlcm5hbWU6\n< dXNlcg==\r\n> 334 "
         "UGFzc3dvcmQ6\n< c2VjcmV0\r\n> 421 4.7.0 \"secret\" is none of ours\n?\n",
      "end: 421 4.7.0\n", .auth = AUTH_CLEAR, .text = "421 (what it said repeats the secret" },
    { "AUTH put off", HI "> 250-mx\n> 250 AUTH PLAIN\n< AUTH PLAIN\n> 454 4.7.0 later\n?\n",
      "end: own 451 4.7.0\n", .auth = AUTH_CLEAR },
    { "AUTH: 421", HI "> 250-mx\n> 250 AUTH PLAIN\n< AUTH PLAIN\n> 421 4.3.2 bye\n?\n",
      "end: 421 4.3.2\n", .auth = AUTH_CLEAR },
    { "AUTH: 250 is no yes", HI "> 250-mx\n> 250 AUTH PLAIN\n< AUTH PLAIN\n> 250 ok\n?\n",
      "end: own 451 4.5.0\n", .auth = AUTH_CLEAR },
    { "AUTH: closed", HI "> 250-mx\n> 250 AUTH PLAIN\n< AUTH PLAIN\nx\n", "end: own 451 4.4.2\n",
      .auth = AUTH_CLEAR, .text = "reply to AUTH" },
    { "AUTH: no answer", HI "> 250-mx\n> 250 AUTH PLAIN\n< AUTH PLAIN\nh\n", "end: own 451 4.4.2\n",
      .auth = AUTH_CLEAR, .command_late = true, .text = "time-out" },
    { "AUTH PLAIN, asked for its response once more, and then again",
      HI "> 250-mx\n> 250 AUTH PLAIN\n< AUTH PLAIN\n> 334 \n< AHVzZXIAc2VjcmV0\r\n> 334 \n< *\r\n?\n",
      "end: own 451 4.7.0\n", .auth = AUTH_CLEAR },
    { "AUTH PLAIN too long for the line: its response waits for a challenge",
      HI "> 250-mx\n> 250 AUTH PLAIN\n< AUTH PLAIN\r\n> 334 \n< AHV1dXV1dXV1\n> 235 2.7.0 ok\nh\n",
      "ready\n", .auth = AUTH_LONG },
    { "AUTH=<> of a mail where we logged in: nobody is trusted to say another (RFC 4954 5)",
      HI "> 250-mx\n> 250 AUTH PLAIN\n< AUTH PLAIN\n> 235 2.7.0 ok\n< MAIL FROM:<me@example.net> AUTH=<>\r\n"
         "> 550 5.7.1 no\nh\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .auth = AUTH_CLEAR, .messages = 1 },
    { "no password in clear without TLS", HI "> 250-mx\n> 250 AUTH PLAIN LOGIN\n?\n",
      "end: own 451 4.7.0\n", .auth = AUTH_CAREFUL, .text = "not encrypted" },
    { "no AUTH is offered", PIPE "?\n", "end: own 451 4.7.0\n", .auth = AUTH_CLEAR,
      .text = "does not offer AUTH" },
    { "HELO knows no AUTH", HI "> 502 what\n< HELO client.test\n> 250 mx\n?\n",
      "end: own 451 4.7.0\n", .auth = AUTH_CLEAR, .text = "does not offer AUTH" },
    { "no AUTH of ours", HI "> 250-mx\n> 250 AUTH GSSAPI CRAM-MD5\n?\n", "end: own 451 4.7.0\n",
      .auth = AUTH_CLEAR, .text = "no AUTH mechanism" },
    { "SCRAM: yes without a proof is no",
      HI "> 250-mx\n> 250 AUTH SCRAM-SHA-256\n< AUTH SCRAM-SHA-256 b\n> 235 2.7.0 welcome\n?\n",
      "end: own 451 4.7.0\n", .auth = AUTH_CAREFUL, .text = "before it showed" },
    { "SCRAM: a challenge that is no base64",
      HI "> 250-mx\n> 250 AUTH SCRAM-SHA-256\n< AUTH SCRAM-SHA-256 b\n> 334 r=x,s=y\n< *\r\n?\n",
      "end: own 451 4.7.0\n", .auth = AUTH_CAREFUL, .text = "not of this mechanism" },
    { "SCRAM: a nonce that is not ours", /* r=x,s=YWJj,i=4096 */
      HI "> 250-mx\n> 250 AUTH SCRAM-SHA-256\n< AUTH SCRAM-SHA-256 b\n> 334 cj14LHM9WVdKaixpPTQwOTY=\n< *\r\n?\n",
      "end: own 451 4.7.0\n", .auth = AUTH_CAREFUL, .text = "not of this mechanism" },
    /* addresses */
    { "a recipient that would end the path is not sent",
      PIPE "< MAIL\n< RCPT TO:<a@example.org>\r\n< RCPT TO:<\"c >\"@example.org>\r\n< DATA\n> 250 "
           "ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n1: own 553 5.1.3\n0: 250 2.0.0\n2: 250 2.0.0\nsent\n", .messages = 1,
      .shape = BAD_RCPT },
    { "no recipient can be sent", PIPE "?\n", "ready\n0: own 553 5.1.3\n1: own 553 5.1.3\nsent\n",
      .messages = 1, .shape = ALL_BAD },
    { "a sender that would end the path", PIPE "?\n",
      "ready\n0: own 501 5.1.7\n1: own 501 5.1.7\nsent\n", .messages = 1, .shape = BAD_SENDER },
    /* the message */
    { "a message that cannot be read is not ended by a dot",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\nh\n",
      "ready\n0: own 451 4.3.0\n1: own 451 4.3.0\nend: own 451 4.3.0\n", .messages = 1,
      .shape = FAILING },
    { "a message shorter than it said", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\nh\n",
      "ready\n0: own 451 4.3.0\n1: own 451 4.3.0\nend: own 451 4.3.0\n", .messages = 1,
      .shape = SHORT },
    { "a big message", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .shape = BIG },
    /* LMTP */
    { "LMTP: a reply for each accepted recipient",
      LHI "< MAIL\n< RCPT\n< RCPT\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 550 5.1.1 no\n> 250 ok\n> "
          "354 go\n.\n"
          "> 250 2.0.0 a\n> 452 4.2.2 full\n?\n",
      "ready\n1: 550 5.1.1\n0: 250 2.0.0\n2: 452 4.2.2\nsent\n", .messages = 1, .shape = THREE,
      .protocol = CLIENT_LMTP },
    { "LMTP: lost after the first of two replies",
      LHI "< MAIL\n< RCPT\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 2.0.0 "
          "a\nx\n",
      "ready\n0: 250 2.0.0\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1,
      .protocol = CLIENT_LMTP },
    { "LMTP: one reply too many",
      LHI "< MAIL\n< RCPT\n< RCPT\n< DATA\n> 250 ok\n> 550 5.1.1 no\n> 250 ok\n> 354 go\n.\n> 250 "
          "2.0.0 b\n| 250 c\nh\n",
      "ready\n0: 550 5.1.1\n1: 250 2.0.0\nsent\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 "
      "4.5.0\n",
      .messages = 2, .protocol = CLIENT_LMTP },
    { "LMTP: 354 without recipients",
      LHI "< MAIL\n< RCPT\n< RCPT\n< DATA\n> 250 ok\n> 550 5.1.1 no\n> 550 5.1.1 no\n> 354 go\nh\n",
      "ready\n0: 550 5.1.1\n1: 550 5.1.1\nend: own 451 4.5.0\n", .messages = 1,
      .protocol = CLIENT_LMTP },
    /* between messages */
    { "421 while nothing is asked",
      PIPE
      "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n#\n> 421 4.4.2 bye\nx\n",
      "ready\n0: 250 2.0.0\nsent\nend: 421 4.4.2\n", .messages = 1, .shape = ONE, .idle = true },
    { "closed while nothing is asked", PIPE "#\nx\n", "ready\nend: own 451 4.4.2\n", .idle = true,
      .text = "waiting for another message" },
    { "an answer while nothing is asked", PIPE "#\n> 250 ok\n?\n", "ready\nend: own 451 4.5.0\n",
      .idle = true },
    { "no time-out while nothing is asked",
      PIPE "w1\nx\n",
      "ready\nend: own 451 4.4.2\n", .idle = true, .command_late = true,
      .text = "closed by the other side" },
    /* the owner lets go from inside */
    { "freed when ready", PIPE "h\n", "ready\n", .messages = 1, .free_in = FREE_IN_READY },
    { "freed at the first recipient", PIPE GROUP2 "> 550 5.7.1 no\nh\n", "ready\n0: 550 5.7.1\n",
      .messages = 1, .free_in = FREE_IN_RCPT },
    { "freed at a recipient while lost", PIPE "< MAIL\nx\n", "ready\n0: own 451 4.4.2\n",
      .messages = 1, .free_in = FREE_IN_RCPT },
    { "freed when sent", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\nh\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .free_in = FREE_IN_SENT },
    { "freed in a refusal of our own", PLAINLY "h\n", "ready\n0: own 554 5.6.3\n", .messages = 1,
      .shape = EIGHT_BIT, .free_in = FREE_IN_RCPT },
};

#endif
