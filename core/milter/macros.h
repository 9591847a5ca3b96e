/* SPDX-License-Identifier: Apache-2.0 */
/*
 * macros.h - what the MTA says beside its commands: {auth_authen}, {tls_version}, i ...
 *
 * Only names of the list are kept, each once, cut at MILTER_MACRO_OCTETS_MAX. A value lives until the same
 * command sends macros again, and with those of a mail until its end.
 */
#ifndef TERN_MILTER_MACROS_H
#define TERN_MILTER_MACROS_H

#include "base/buf.h"
#include "milter/wire.h"

#define MILTER_MACRO_OCTETS_MAX 512

enum milter_macro {
    MILTER_MACRO_j,
    MILTER_MACRO_v,
    MILTER_MACRO_i,
    MILTER_MACRO_daemon_name,
    MILTER_MACRO_daemon_addr,
    MILTER_MACRO_if_addr,
    MILTER_MACRO_client_addr,
    MILTER_MACRO_client_resolve,
    MILTER_MACRO_tls_version,
    MILTER_MACRO_cipher,
    MILTER_MACRO_cert_subject,
    MILTER_MACRO_auth_authen,
    MILTER_MACRO_COUNT,
};

struct milter_macros {
    char *values[MILTER_MACRO_COUNT]; /* NULL: not said */
    char stages[MILTER_MACRO_COUNT];  /* the command that it came with */
};

/* The data of one packet of macros. False: it is malformed. */
bool milter_macros_take(struct milter_macros *m, struct slice data);
const char *milter_macro(const struct milter_macros *m, enum milter_macro which); /* "" if it was not said */
/*
 * A login, or the subject of a certificate, as it is meant: Sendmail tells those with escapes ("carol+2Bx@...", as
 * xtext of RFC 3461), Postfix as they are. Appended to `out`.
 */
void milter_macro_name(const struct milter_macros *m, enum milter_macro which, struct buf *out);
void milter_macros_end_mail(struct milter_macros *m); /* forgets those of MAIL and what follows it */
void milter_macros_clear(struct milter_macros *m);

#endif
