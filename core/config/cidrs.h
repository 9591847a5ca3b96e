/* SPDX-License-Identifier: Apache-2.0 */
/* cidrs.h - builds the set of networks behind an option of type CIDRS. */
#ifndef TERN_CONFIG_CIDRS_H
#define TERN_CONFIG_CIDRS_H

#include <tern/module.h>

#include "base/arena.h"
#include "base/slice.h"

#define CIDR_ERROR_OCTETS 160

/* An empty set with room for `count` networks, all in `arena`. */
struct tern_cidrs *cidrs_new(struct arena *arena, size_t count);
/*
 * Adds "10.0.0.0/8", "2001:db8::/32" or a single address. On failure returns false with a
 * sentence in `error` that does not repeat the text.
 */
bool cidrs_add(struct tern_cidrs *set, struct slice text, char error[CIDR_ERROR_OCTETS]);
/* Makes it ready for cidrs_match() (config/schema.h): sorts, and drops networks inside others. */
void cidrs_finish(struct tern_cidrs *set);
bool cidrs_are_none(const struct tern_cidrs *set); /* NULL: none */

#endif
