/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tables.h - named look-ups key -> value: inline in the YAML, a file that is watched, or served
 * by a module (sql:, ldap:), see provided.h.
 *
 * A table belongs to the process, not to a generation: the same `{ file: x }` in two
 * generations is one table, re-read within 2 s of a change of the file (stat; a broken
 * file keeps the old contents and logs it), and freed when the last generation that names
 * it goes. Look-ups in memory take no lock: contents are an immutable snapshot behind a counted
 * pointer. Keys are compared in ASCII lower case. A file has one entry a line, "key" or
 * "key: value" or "key value"; # at the start or behind a blank begins a comment; the
 * local part of an address may be quoted and hold blanks. Of a key that stands twice the
 * first counts. A key "*" or ".example.org" has no special meaning here.
 */
#ifndef TERN_STATE_TABLES_H
#define TERN_STATE_TABLES_H

#include <tern/module.h>

#include "base/list.h"
#include "config/schema.h"

#define TABLE_ENTRIES_MAX 10000000

struct tables; /* those of one generation, by name */

/* Where `{ WORD: { ... } }` finds who serves it; NULL with a sentence. Modules are a layer above. */
struct tables_env {
    const struct tern_table_provider *(*provider)(void *arg, const char *word, char *error, size_t octets);
    void *arg;
    bool empty; /* `tern test`: options are checked, but nobody is asked and nothing is found */
};
/* Parses `tables:` (may be NULL). `env` may be NULL: then no module serves tables. */
struct tables *tables_new(struct arena *arena, const struct yaml_node *node, const struct tables_env *env,
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

/* Whether contents are elsewhere ({ table: }, { file: }, a module's): not words of the configuration. */
bool tables_is_elsewhere(const struct yaml_node *node);
/* The options that every table of a module has beside its own. */
const struct tern_option *tables_provided_options(void);
/* Two hashes that are equal for nodes that say the same. */
void tables_node_digest(const char *word, const struct yaml_node *node, uint64_t ret[2]);

/*
 * Found: the value is borrowed until `*ret_hold` is released (NULL is allowed: nothing to
 * release). An inline table's value lives as long as the generation. ABSENT: ret_value is
 * left as it was. Any thread; never waits: of a table that a module serves it finds what is kept,
 * and has FAILED if nothing is.
 */
struct table_hold;
enum tern_status table_lookup(const struct tern_table *table, struct slice key, tern_str *ret_value,
                              struct table_hold **ret_hold);
void table_hold_release(struct table_hold *hold); /* NULL is allowed */
/* The same, but 0 with *ret, or -EAGAIN: it is not known yet, table_ask(). */
int table_try(const struct tern_table *table, struct slice key, enum tern_status *ret, tern_str *ret_value,
               struct table_hold **ret_hold);
/*
 * Asks who serves the table. `done` is called once, from inside or later, by any thread; the value
 * is good until `hold` is released (may be NULL). The caller keeps the generation until then.
 */
struct table_wait {
    struct list link;
    void (*done)(struct table_wait *wait, enum tern_status status, tern_str value, struct table_hold *hold);
};
void table_ask(const struct tern_table *table, struct slice key, struct table_wait *wait);
struct provided_answer;
struct table_hold *tables_hold_of(struct provided_answer *answer);
bool table_is_empty(const struct tern_table *table); /* true for NULL */
bool table_is_provided(const struct tern_table *table); /* by a module; false for NULL */
/*
 * Re-reads changed files; called every 2 s by the control thread. A file that has lost more
 * than half of its entries within the last second is probably half written: the next call
 * takes it.
 */
void tables_poll(void);

#endif
