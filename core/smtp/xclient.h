/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xclient.h - the attributes of XCLIENT and XFORWARD (Postfix's XCLIENT_README and XFORWARD_README):
 * what a trusted client says of the client it speaks for. Pure.
 */
#ifndef TERN_SMTP_XCLIENT_H
#define TERN_SMTP_XCLIENT_H

#include <tern/module.h>

#include "base/arena.h"
#include "base/slice.h"

#define SMTP_XATTR_OCTETS_MAX 255 /* of one value, decoded */

enum smtp_xattr {
    SMTP_XATTR_NAME,
    SMTP_XATTR_ADDR,
    SMTP_XATTR_PORT,
    SMTP_XATTR_PROTO,
    SMTP_XATTR_HELO,
    SMTP_XATTR_LOGIN,
    SMTP_XATTR_DESTADDR,
    SMTP_XATTR_DESTPORT,
    SMTP_XATTR_REVERSE_NAME,
    SMTP_XATTR_IDENT,
    SMTP_XATTR_SOURCE,
    SMTP_XATTR_COUNT,
};
#define SMTP_XATTR_BIT(name) (1u << SMTP_XATTR_##name)
#define SMTP_XCLIENT_ATTRS                                                                         \
    (SMTP_XATTR_BIT(NAME) | SMTP_XATTR_BIT(ADDR) | SMTP_XATTR_BIT(PORT) | SMTP_XATTR_BIT(PROTO) |  \
     SMTP_XATTR_BIT(HELO) | SMTP_XATTR_BIT(LOGIN) | SMTP_XATTR_BIT(DESTADDR) |                     \
     SMTP_XATTR_BIT(DESTPORT) | SMTP_XATTR_BIT(REVERSE_NAME))
#define SMTP_XFORWARD_ATTRS                                                                        \
    (SMTP_XATTR_BIT(NAME) | SMTP_XATTR_BIT(ADDR) | SMTP_XATTR_BIT(PORT) | SMTP_XATTR_BIT(PROTO) |  \
     SMTP_XATTR_BIT(HELO) | SMTP_XATTR_BIT(IDENT) | SMTP_XATTR_BIT(SOURCE))

const char *smtp_xattr_name(enum smtp_xattr attr);

struct smtp_xattrs {
    unsigned given;       /* SMTP_XATTR_BIT of those named */
    unsigned unavailable; /* of these: [UNAVAILABLE] or [TEMPUNAVAIL] */
    struct slice text[SMTP_XATTR_COUNT]; /* decoded, printable; empty unless given and available */
};

/* "NAME=value ..." with one attribute at least, each once, of those in `allowed`; false: bad syntax. */
bool smtp_xattrs_parse(struct slice arg, unsigned allowed, struct arena *memory, struct smtp_xattrs *ret);

/* What XCLIENT changes. What is not `given` stays as it was. */
struct smtp_xclient {
    unsigned given;
    tern_address client, local; /* family 0: unavailable. The ports by PORT and DESTPORT */
    struct slice name, helo, login; /* empty: unavailable. Name: NAME, else REVERSE_NAME */
    bool name_forged; /* it is REVERSE_NAME, which does not lead back to the address */
    bool esmtp;
};
/* False: an address, port or protocol that is none. */
bool smtp_xclient_read(const struct smtp_xattrs *attrs, struct smtp_xclient *ret);

#endif
