/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_signature.h - parts of the signature field that DKIM and ARC have in common (RFC 8617 4.1.2, 4.1.3). See dkim.h.
 *
 * Each reads its tags into *ret and returns NULL, or what is wrong with them. Pure.
 */
#ifndef MODULES_LIB_DKIM_SIGNATURE_H
#define MODULES_LIB_DKIM_SIGNATURE_H

#include "dkim.h"

void dkim_signature_clear(struct dkim_signature *ret);
/* d=, s=; `utf8` as of dkim_signature_parse() */
const char *dkim_signature_names(const struct dkim_tags *tags, bool utf8, struct dkim_signature *ret);
const char *dkim_signature_algorithm(const struct dkim_tags *tags, struct dkim_signature *ret); /* a= */
const char *dkim_signature_canons(const struct dkim_tags *tags, struct dkim_signature *ret);    /* c= */
/* h=; `ret_from`: it names From. */
const char *dkim_signature_headers(const struct dkim_tags *tags, struct dkim_signature *ret, bool *ret_from);
const char *dkim_signature_times(const struct dkim_tags *tags, struct dkim_signature *ret); /* t=, x= */
const char *dkim_signature_query(const struct dkim_tags *tags);                             /* q= */
const char *dkim_signature_b(const struct dkim_tags *tags, struct dkim_signature *ret);
const char *dkim_signature_body(const struct dkim_tags *tags, struct dkim_signature *ret);  /* bh=, l= */

#endif
