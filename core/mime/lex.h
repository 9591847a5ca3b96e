/* SPDX-License-Identifier: Apache-2.0 */
/* lex.h - the tokens that structured header fields share (RFC 5322 3.2). For this folder. Pure. */
#ifndef TERN_MIME_LEX_H
#define TERN_MIME_LEX_H

#include "base/buf.h"
#include "base/slice.h"

/* Cuts blanks, tabs, CR, LF and comments off the front. False: a comment is not closed, or nested
 * deeper than HEADER_COMMENT_DEPTH_MAX. */
bool lex_skip_blank(struct slice *s);
/* Cuts `c` off the front if it stands there. */
bool lex_take(struct slice *s, char c);
/* Cuts an atom (RFC 5322 atext and octets above 127) off; empty if there is none. */
struct slice lex_atom(struct slice *s);
/* Cuts a MIME token (RFC 2045 5.1) off; empty if there is none. */
struct slice lex_token(struct slice *s);
/* Cuts a quoted string off and appends what it says, CRLF taken out. False if it does not end. */
bool lex_quoted(struct slice *s, struct buf *out);

#endif
