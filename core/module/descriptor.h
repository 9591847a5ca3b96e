/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descriptor.h - reads what a module says of itself, and believes none of it unseen.
 *
 * The copy that comes out has our sizes throughout: a shorter struct of an older module is filled
 * with zeros, what a newer one has more is left out. So nobody else ever looks at a stride.
 */
#ifndef TERN_MODULE_DESCRIPTOR_H
#define TERN_MODULE_DESCRIPTOR_H

#include <tern/module.h>

#include "base/arena.h"

/* Bounds of one descriptor: far above what a module needs, far below what hurts. */
#define DESCRIPTOR_OPTIONS_MAX      200
#define DESCRIPTOR_HOOKS_MAX        32
#define DESCRIPTOR_NOTES_MAX        64
#define DESCRIPTOR_NAMES_MAX        64 /* after, before, transports */
#define DESCRIPTOR_RECORDS_DEEP_MAX 4
#define DESCRIPTOR_MECHANISMS_MAX   16 /* of one entry for hook auth */
#define DESCRIPTOR_MECHANISM_OCTETS_MAX 20 /* RFC 4422 3.1 */
#define DESCRIPTOR_CONF_OCTETS_MAX  (1u << 20)

/*
 * Checks `raw` and copies it into `arena`. `name` is what the module must call itself; NULL
 * for a script, which is named by its file. NULL with one sentence in error.
 */
const struct tern_module *descriptor_read(struct arena *arena, const struct tern_module *raw,
                                          const char *name, char *error, size_t octets);
/* [a-z][a-z0-9_]*, at most 64 octets: modules, options, results, tags. */
bool descriptor_is_name(struct slice name);
/* What the table of hooks (docs/modules.md) lets an entry answer there. */
unsigned descriptor_allowed_answers(unsigned hook);
const char *descriptor_hook_name(unsigned hook);
const char *descriptor_verdict_name(unsigned verdict);

#endif
