/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tables.h - named look-ups key -> value: inline in the YAML, or a file that is watched.
 *
 * A table belongs to the process, not to a generation: the same `{ file: x }` in two
 * generations is one table, re-read within 2 s of a change of the file (stat; a broken
 * file keeps the old contents and logs it), and freed when the last generation that names
 * it goes. Look-ups take no lock: contents are an immutable snapshot behind a counted
 * pointer. Keys are compared in ASCII lower case. A file has one entry a line, "key" or
 * "key: value" or "key value"; # at the start or behind a blank begins a comment; the
 * local part of an address may be quoted and hold blanks. Of a key that stands twice the
 * first counts. A key "*" or ".example.org" has no special meaning here.
 */
#ifndef TERN_STATE_TABLES_H
#define TERN_STATE_TABLES_H

#include <tern/module.h>

#include "config/schema.h"

#define TABLE_ENTRIES_MAX 10000000

struct tables; /* those of one generation, by name */

/* Parses `tables:` (may be NULL). Keys sql:, ldap: etc. are "not supported yet". */
struct tables *tables_new(struct arena *arena, const struct yaml_node *node,
                          struct config_errors *e);
/* Once the generation is built: errors of later tables_resolve() calls go nowhere, `e` may end. */
void tables_quiet(struct tables *tables);
void tables_free(struct tables *tables); /* with the generation */
/*
 * For schema_env.table: arg is the struct tables. `node` is { table: NAME } or { file: PATH },
 * a list, a map or a word; nodes that say the same give the same table. Any thread.
 */
const struct tern_table *tables_resolve(void *tables, const struct yaml_node *node);
const struct tern_table *tables_get(struct tables *tables, struct slice name);

/*
 * Found: the value is borrowed until `*ret_hold` is released (NULL is allowed: nothing to
 * release). An inline table's value lives as long as the generation. ABSENT: ret_value is
 * left as it was. Any thread; never waits.
 */
struct table_hold;
enum tern_status table_lookup(const struct tern_table *table, struct slice key, tern_str *ret_value,
                              struct table_hold **ret_hold);
void table_hold_release(struct table_hold *hold);
bool table_is_empty(const struct tern_table *table); /* true for NULL */
/*
 * Re-reads changed files; called every 2 s by the control thread. A file that has lost more
 * than half of its entries within the last second is probably half written: the next call
 * takes it.
 */
void tables_poll(void);

#endif
