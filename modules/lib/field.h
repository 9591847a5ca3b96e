/* SPDX-License-Identifier: Apache-2.0 */
/*
 * field.h - a header field by its name, for who needs no other: without cutting the whole header. Pure.
 *
 * What a field is, and its name, is as dkim_fields_cut() (dkim.h) has it, so that DMARC judges what DKIM has signed; a
 * fuzz target holds the two against each other.
 */
#ifndef MODULES_LIB_FIELD_H
#define MODULES_LIB_FIELD_H

#include <tern/module.h>

/*
 * How many fields of that name there are, at most 2: more are not looked for; *ret is the first, with its final CRLF.
 * -E2BIG: the header has more fields than DKIM_FIELDS_MAX. `name`: lower case.
 */
int field_only(tern_str header, const char *name, tern_str *ret);

#endif
