/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.h - a filter or a DN of LDAP with places for what a client said: %{key}, %{local}, %{domain}.
 *
 * What is put in is escaped for where it stands, so that it is a value there and nothing else. %% is a
 * percent sign. Pure. Sources: RFC 4515 3 (filters), RFC 4514 2.4 (names).
 */
#ifndef TERN_LIB_TEMPLATE_H
#define TERN_LIB_TEMPLATE_H

#include <tern/module.h>

#define TEMPLATE_OCTETS_MAX 16384 /* of the text that comes out, its NUL included */

enum template_kind { TEMPLATE_FILTER, TEMPLATE_DN };

/*
 * `word` is what the whole key is called in it ("key", "user"). 0, or -EINVAL with a sentence:
 * unknown words, or no place for the key at all.
 */
int template_check(tern_str template_, const char *word, char *error, size_t octets);
/*
 * Writes the text, with a NUL, into `out` of TEMPLATE_OCTETS_MAX. -ENOENT: it wants the domain of a key that
 * has none; -E2BIG: too long. The template has been checked.
 */
int template_fill(tern_str template_, enum template_kind kind, tern_str key, char *out);

#endif
