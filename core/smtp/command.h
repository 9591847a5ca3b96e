/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - one command line into verb and argument. Pure. */
#ifndef TERN_SMTP_COMMAND_H
#define TERN_SMTP_COMMAND_H

#include "base/slice.h"

enum smtp_verb {
    SMTP_VERB_EHLO,
    SMTP_VERB_HELO,
    SMTP_VERB_LHLO,
    SMTP_VERB_MAIL,
    SMTP_VERB_RCPT,
    SMTP_VERB_DATA,
    SMTP_VERB_RSET,
    SMTP_VERB_NOOP,
    SMTP_VERB_QUIT,
    SMTP_VERB_VRFY,
    SMTP_VERB_HELP,
    SMTP_VERB_AUTH,
    SMTP_VERB_EXPN,
    SMTP_VERB_STARTTLS,
    SMTP_VERB_BDAT,
    SMTP_VERB_XCLIENT,
    SMTP_VERB_XFORWARD,
    SMTP_VERB_ETRN,
    SMTP_VERB_COUNT,
};

enum smtp_parse {
    SMTP_PARSE_OK,
    SMTP_PARSE_BAD_OCTET, /* a control, among them a lone CR or LF, or NUL: 500 */
    SMTP_PARSE_UNKNOWN,   /* no such verb: 500 */
    SMTP_PARSE_BAD_ARG,   /* an argument where none may be, or none where one must: 501 */
};

struct smtp_command {
    enum smtp_verb verb;
    struct slice arg; /* without blanks around it; may hold octets above 127 */
};

/* `line` without its CRLF. ret->verb is set with OK and BAD_ARG, ret->arg with OK. */
enum smtp_parse smtp_command_parse(struct slice line, struct smtp_command *ret);
const char *smtp_verb_name(enum smtp_verb verb);
/* What follows `word` ("FROM:") in the argument, blanks cut off; false if it does not begin so. */
bool smtp_command_after(struct slice arg, struct slice word, struct slice *ret);

#endif
