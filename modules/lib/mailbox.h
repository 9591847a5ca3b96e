/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox.h - an address of a local part and a domain, as it is sent. Pure.
 */
#ifndef MODULES_LIB_MAILBOX_H
#define MODULES_LIB_MAILBOX_H

#include <tern/module.h>

#define MAILBOX_OCTETS_MAX       254 /* RFC 5321 4.5.3.1.3: a path of 256 without its angle brackets */
#define MAILBOX_LOCAL_OCTETS_MAX 64  /* RFC 5321 4.5.3.1.1; what everybody has to take */

struct mailbox_text {
    char text[MAILBOX_OCTETS_MAX + 1]; /* with a NUL */
    size_t len, local_len;             /* octets in all; of the local part as it is sent, quotes included */
};

/*
 * local@domain; `local` is what is meant, and gets quotes where the grammar wants them (RFC 5321 4.1.2). False: it
 * is empty, or too long for a path.
 */
bool mailbox_compose(tern_str local, tern_str domain, struct mailbox_text *ret);

#endif
