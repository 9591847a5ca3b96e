/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_reply.h - reads the replies of a server, however they are cut into packets.
 *
 * Pure: octets in, one reply out. Sources: RFC 5321 4.2 and 4.5.3.1.5, RFC 2034 and 3463
 * (enhanced codes). A line may end in a bare LF: a reply is never relayed, so nobody can be
 * smuggled past by it, and servers that do so exist.
 */
#ifndef TERN_DELIVERY_CLIENT_REPLY_H
#define TERN_DELIVERY_CLIENT_REPLY_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

#define CLIENT_LINE_MAX  2048  /* octets of a line with its CRLF; RFC 5321 4.5.3.1.5 says 512 */
#define CLIENT_LINES_MAX 100   /* of one reply */
#define CLIENT_REPLY_MAX 65536 /* octets of one reply */
#define CLIENT_TEXT_MAX  1000  /* octets of a reply's text as it is handed on */

enum client_parse {
    CLIENT_PARSE_MORE,
    CLIENT_PARSE_DONE,
    CLIENT_PARSE_NOT_SMTP, /* no reply: the connection is of no use any more */
    CLIENT_PARSE_TOO_LONG,
};

struct client_parser {
    struct buf lines; /* of the reply: what stands behind code and separator, each with '\n' */
    struct buf line;  /* the line that is not complete */
    unsigned code, line_count;
    size_t octets;
    bool done;
};

void client_parser_free(struct client_parser *parser);
/*
 * Takes octets from the front of *input until one reply is complete. The reply stays in the
 * parser until the next call that brings octets. After NOT_SMTP or TOO_LONG the parser is dead.
 */
enum client_parse client_parser_feed(struct client_parser *parser, struct slice *input);
/* Whether octets of a reply have come that is not complete. */
bool client_parser_is_midway(const struct client_parser *parser);

/*
 * A complete reply as one line, "550 5.1.1 No such user. Really": controls and octets that are not
 * UTF-8 become '?', the enhanced code of further lines goes. At most CLIENT_TEXT_MAX octets.
 */
void client_parser_text(const struct client_parser *parser, struct buf *out);
/* The enhanced code of the reply, or "X.0.0" where it has none that fits its code. */
void client_parser_enhanced(const struct client_parser *parser, char out[12]);
/* Whether it has one of its own. */
bool client_parser_has_enhanced(const struct client_parser *parser);

/* The first line as it came, without code and line end: the challenge of a 334 (RFC 4954 4). */
struct slice client_parser_first_line(const struct client_parser *parser);

enum { CLIENT_FORWARD_ADDR = 1, CLIENT_FORWARD_HELO = 2, CLIENT_FORWARD_SOURCE = 4 };
/* Of their names, with blanks between. Pure: client_forward.c. */
unsigned client_forward_read(struct slice names);

#define CLIENT_LIMIT_DIGITS_MAX 6 /* RFC 9422 4 */

/* What EHLO or LHLO announced (RFC 5321 4.1.1.1). */
struct client_features {
    bool pipelining, eight_bit, smtputf8, size, chunking, binary, starttls, auth, dsn;
    uint64_t size_max;        /* 0: not said */
    unsigned rcpts_max, mails_max; /* LIMITS (RFC 9422): RCPTMAX and MAILMAX; 0: not said */
    unsigned forward;         /* XFORWARD: attributes that we know, CLIENT_FORWARD_* */
    unsigned auth_mechanisms; /* of those we know: a bit (1 << enum sasl_mechanism) each */
};
void client_parser_features(const struct client_parser *parser, struct client_features *ret);

#endif
