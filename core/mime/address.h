/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.h - mailboxes and paths of the envelope: RFC 5321 4.1.2 with RFC 6531 3.3.
 *
 * The grammar of MAIL and RCPT, not that of header fields (mime/header.h). Percent hack and bang
 * path are plain local parts. Pure: results live in the caller's arena; on failure *ret is left
 * as it was.
 *
 * Errors: -EBADMSG not an address; -EILSEQ needs SMTPUTF8 and has not got it (553 5.6.7);
 * -ENAMETOOLONG a part or the whole is longer than its limit.
 */
#ifndef TERN_MIME_ADDRESS_H
#define TERN_MIME_ADDRESS_H

#include <tern/module.h>

#include "base/arena.h"
#include "base/slice.h"

#define ADDRESS_PATH_OCTETS_MAX  256 /* RFC 5321 4.5.3.1.3, with the angle brackets */
/*
 * With the quotes. RFC 5321 4.5.3.1.1 wants 64 taken at least; senders by VERP, BATV and SRS have more, so that
 * only the path bounds it.
 */
#define ADDRESS_LOCAL_OCTETS_MAX (ADDRESS_PATH_OCTETS_MAX - 4)
#define ADDRESS_ROUTE_OCTETS_MAX                                                                   \
    512 /* a source route to skip; bounded by the command line anyway */

enum address_flag {
    ADDRESS_SMTPUTF8 = 1u << 0, /* UTF-8 in the local part, U-labels in the domain */
    ADDRESS_ALLOW_NO_DOMAIN =
        1u << 1, /* "postmaster" in any case, and only that (RFC 5321 4.1.1.3) */
    ADDRESS_ALLOW_ANY_LOCAL = 1u << 2, /* any local part without a domain (tests, command line) */
    ADDRESS_ALLOW_NULL = 1u << 3,      /* empty text, or "<>": all three strings empty */
};

/* `text` is local@domain without angle brackets. */
int address_parse(struct slice text, unsigned flags, struct arena *arena, struct tern_mailbox *ret);
/*
 * "<[@a,@b:]local@domain>" at the start of `text`; the route is checked and dropped (RFC 5321
 * 4.1.1.3). *ret_rest is what stands behind '>'.
 */
int address_parse_path(struct slice text, unsigned flags, struct arena *arena,
                       struct tern_mailbox *ret, struct slice *ret_rest);
/* Octets from '<' to '>' at the start of `text`, quoted strings respected; 0 if there is no end. */
size_t address_path_octets(struct slice text);
/*
 * local@domain with quotes where the grammar wants them; `local` is unquoted, may be empty. For
 * rewrites.
 */
tern_str address_compose(struct slice local, struct slice domain, struct arena *arena);
/* Whether sending it needs SMTPUTF8 at the next hop: an octet above 127 in the local part. */
bool address_needs_smtputf8(const struct tern_mailbox *mailbox);

#endif
