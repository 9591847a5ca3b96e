/* SPDX-License-Identifier: Apache-2.0 */
/*
 * header.h - reading a header block: fields, folding, encoded words, addresses in From.
 *
 * For looking at mail, not for repairing it: what is malformed stays in the message as it is, and
 * here:
 *   - lines end in CRLF; a lone CR or LF is an octet like any other (none gets in by SMTP);
 *   - the header ends at the first empty line, or at the end of the octets, and nowhere else;
 *   - a line without colon, with an empty or impossible name, or a folded line before the first
 *     field, is skipped together with the folded lines that follow it;
 *   - blanks between name and colon (RFC 5322 4.5.3) are allowed and cut off;
 *   - octets above 127 and NUL in values are kept.
 * Pure; any thread. Sources: RFC 5322 2.2, 3.6, 4.5; RFC 2047; RFC 6532.
 */
#ifndef TERN_MIME_HEADER_H
#define TERN_MIME_HEADER_H

#include <tern/module.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

#define HEADER_NAME_OCTETS_MAX    256   /* of a name that we take for one; RFC 5322 allows 998 */
#define HEADER_DECODED_OCTETS_MAX 65536 /* a usual bound for header_decode() */
#define HEADER_MAILBOXES_MAX      100   /* a usual bound for header_mailboxes() */
#define HEADER_COMMENT_DEPTH_MAX  32
#define HEADER_CONVERTERS_MAX     200 /* changes of charset in one header_decode() */

struct header_field {
    struct slice name; /* as written */
    struct slice
        value; /* raw: folding kept, without the final CRLF and one blank behind the colon */
    struct slice whole; /* all lines of it, with the final CRLF if that is there */
};

/*
 * Where the header ends in `octets` (the start of a message or part). True if the empty line is
 * there: *ret_header = octets of the fields (0 if the first line is empty), *ret_body = offset
 * behind the empty line. False: no empty line so far; both are octets.len.
 */
bool header_end(struct slice octets, size_t *ret_header, size_t *ret_body);
/* The next field of a header block; *rest moves behind it. False at the end. */
bool header_next(struct slice *rest, struct header_field *ret);
/* The nth field of that name, from 0, case ignored. */
bool header_find(struct slice block, struct slice name, unsigned nth, struct header_field *ret);
/* RFC 5322 3.6.8 ftext: 33 to 126 without the colon, at most HEADER_NAME_OCTETS_MAX. */
bool header_name_is_valid(struct slice name);
/* Whether `value` can stand behind "name: ": no NUL, CR and LF only as CRLF + blank or tab, not
 * all blank on a folded line, no line above 998 octets. */
bool header_value_is_valid(struct slice value);

/* Appends `value` on one line: CRLF before a blank or tab goes (RFC 5322 2.2.3). */
void header_unfold(struct slice value, struct buf *out);
/*
 * Appends `value` as people read it: unfolded, encoded words (RFC 2047) decoded, always
 * well-formed UTF-8 (other octets become U+FFFD, controls but tab a blank), at most octets_max
 * octets, cut at a whole character. An encoded word of an unknown charset or encoding is left as
 * it stands.
 */
void header_decode(struct slice value, struct buf *out, size_t octets_max);
/*
 * Octets in `charset` to UTF-8, appended, at most octets_max; what does not decode becomes U+FFFD.
 * False if the charset is not one of those known (see charset.c): nothing is added.
 */
bool header_charset_decode(struct slice charset, struct slice octets, struct buf *out,
                           size_t octets_max);
/*
 * The mailboxes of From, To, Cc ... (RFC 5322 3.4 with groups, comments, quoted display names and
 * the obsolete route). Returns how many, at most count_max, or -EBADMSG if the value does not
 * parse or -E2BIG if there are more. Addresses as address_parse() with ADDRESS_SMTPUTF8.
 */
int header_mailboxes(struct slice value, struct arena *arena, struct tern_mailbox *ret,
                     size_t count_max);

#endif
