/* SPDX-License-Identifier: Apache-2.0 */
/* reply.h - the session's own replies in one table, and how a reply is laid out on lines. Pure. */
#ifndef TERN_SMTP_REPLY_H
#define TERN_SMTP_REPLY_H

#include "base/buf.h"
#include "base/slice.h"

#define SMTP_REPLY_LINE_OCTETS_MAX 512  /* RFC 5321 4.5.3.1.5, with the CRLF */
#define SMTP_REPLY_TEXT_OCTETS_MAX 4096 /* longer texts of the owner are cut */

enum smtp_reply_id {
    SMTP_REPLY_OK,
    SMTP_REPLY_SENDER_OK,
    SMTP_REPLY_RCPT_OK,
    SMTP_REPLY_QUEUED,
    SMTP_REPLY_START_DATA,
    SMTP_REPLY_EACH_FOLLOWS,
    SMTP_REPLY_BYE,
    SMTP_REPLY_HELP,
    SMTP_REPLY_VRFY,
    SMTP_REPLY_BAD_OCTET,
    SMTP_REPLY_LONG_COMMAND,
    SMTP_REPLY_UNKNOWN,
    SMTP_REPLY_BAD_ARG,
    SMTP_REPLY_XCLIENT_SYNTAX,
    SMTP_REPLY_NOT_TRUSTED,
    SMTP_REPLY_NOT_IMPLEMENTED,
    SMTP_REPLY_TURNED_AWAY,
    SMTP_REPLY_BAD_HELO,
    SMTP_REPLY_NEED_HELO,
    SMTP_REPLY_NEED_LHLO,
    SMTP_REPLY_NOT_LMTP,
    SMTP_REPLY_NESTED_MAIL,
    SMTP_REPLY_NEED_MAIL,
    SMTP_REPLY_NEED_RCPT,
    SMTP_REPLY_NEED_RCPT_LMTP,
    SMTP_REPLY_ETRN_SYNTAX,
    SMTP_REPLY_ETRN_CANNOT,
    SMTP_REPLY_ETRN_FORBIDDEN,
    SMTP_REPLY_NEED_BDAT,
    SMTP_REPLY_BDAT_SYNTAX,
    SMTP_REPLY_BAD_SEQUENCE,
    SMTP_REPLY_MAIL_SYNTAX,
    SMTP_REPLY_RCPT_SYNTAX,
    SMTP_REPLY_BAD_SENDER,
    SMTP_REPLY_BAD_RCPT,
    SMTP_REPLY_LONG_SENDER,
    SMTP_REPLY_LONG_RCPT,
    SMTP_REPLY_NEED_SMTPUTF8,
    SMTP_REPLY_PARAM_SYNTAX,
    SMTP_REPLY_PARAM_UNKNOWN,
    SMTP_REPLY_TOO_BIG_DECLARED,
    SMTP_REPLY_TOO_MANY_RCPTS,
    SMTP_REPLY_BARE_CR_LF,
    SMTP_REPLY_LONG_DATA_LINE,
    SMTP_REPLY_LOOP,
    SMTP_REPLY_BIG_HEADER,
    SMTP_REPLY_TOO_BIG,
    SMTP_REPLY_NO_STORAGE,
    SMTP_REPLY_TOO_MANY_ERRORS,
    SMTP_REPLY_TOO_MANY_COMMANDS,
    SMTP_REPLY_TOO_MANY_MESSAGES,
    SMTP_REPLY_TOO_MUCH_INPUT,
    SMTP_REPLY_NEED_EHLO,
    SMTP_REPLY_AUTH_SYNTAX,
    SMTP_REPLY_AUTH_OK,
    SMTP_REPLY_AUTH_AGAIN,
    SMTP_REPLY_AUTH_NEEDED,
    SMTP_REPLY_AUTH_CANCELLED,
    SMTP_REPLY_AUTH_BASE64,
    SMTP_REPLY_AUTH_LONG,
    SMTP_REPLY_START_TLS,
    SMTP_REPLY_TLS_NOT_NOW,
    SMTP_REPLY_TLS_ALREADY,
    SMTP_REPLY_TLS_NOT_LAST,
    SMTP_REPLY_NEED_TLS,
    SMTP_REPLY_COUNT,
};

struct smtp_reply {
    unsigned code;
    const char *enhanced; /* "" where there is none: 220, 353, 354, EHLO */
    const char *text;
};

const struct smtp_reply *smtp_reply_get(enum smtp_reply_id id);
/* 2xx, 4xx or 5xx with an enhanced code "c.d.d" of the same class or "", or 353 or 354 with "". */
bool smtp_reply_is_coherent(unsigned code, const char *enhanced);
/*
 * Appends "code enhanced text", on as many lines as RFC 5321 4.2.1 and the line limit want. A
 * control becomes '?', and so does an octet above 127 unless `utf8` is set and the text
 * well-formed.
 */
void smtp_reply_print(struct buf *out, unsigned code, const char *enhanced, struct slice text,
                      bool utf8);
/* The same in ASCII, and a \n in the text begins another line. */
void smtp_reply_print_list(struct buf *out, unsigned code, const char *enhanced, struct slice text);

#endif
