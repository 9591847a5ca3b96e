/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_rua.h - where the reports of a domain go: rua= of a DMARC record, and the size that old records put behind it.
 *
 * Forgiving as RFC 9989 4.8 wants it: what is malformed is as if it were not there. Pure.
 * Sources: RFC 9989 4.7; RFC 7489 6.4 (`!10m`, which RFC 9989 drops and records still have); RFC 6068 (mailto).
 */
#ifndef MODULES_LIB_DMARC_RUA_H
#define MODULES_LIB_DMARC_RUA_H

#include <tern/module.h>

#define DMARC_RUA_MAX         10 /* addresses of one domain that are served: RFC 9990 3.5 allows a limit */
#define DMARC_RUA_ADDRESS_MAX 320

struct dmarc_rua {
    char address[DMARC_RUA_ADDRESS_MAX + 1]; /* as written, %XX decoded; not checked for more than an '@' */
    uint64_t octets_max;                     /* `!10m`; 0: no limit */
};

/* Whether a text of DNS is a DMARC record: v=DMARC1 comes first. */
bool dmarc_text_is_record(tern_str text);
/* The value of a tag, blanks around it cut; empty: it is not there. */
tern_str dmarc_text_tag(tern_str text, const char *name);
/* The addresses of a rua= value; other URIs than mailto are passed over. How many, at most DMARC_RUA_MAX. */
unsigned dmarc_rua_parse(tern_str rua, struct dmarc_rua *ret);

#endif
