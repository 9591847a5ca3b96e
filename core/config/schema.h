/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - a YAML map into a struct, by a table of typed options (struct tern_option).
 *
 * The same code and tables serve the core's own keys, every module, script and transport.
 */
#ifndef TERN_CONFIG_SCHEMA_H
#define TERN_CONFIG_SCHEMA_H

#include <tern/module.h>

#include "config/yaml.h"

struct schema_env {
    struct arena *arena; /* of the generation: all that options point to */
    struct config_errors *errors;
    /*
     * Makes the table an option of type TABLE names: `node` is `{ table: NAME }`, a list, a map
     * or a scalar. Adds an error and returns NULL if there is none. (state/tables does it.)
     */
    const struct tern_table *(*table)(void *arg, const struct yaml_node *node);
    void *table_arg;
};

/*
 * Fills `conf` from `map` (NULL: defaults only): each option present is parsed and
 * checked, each absent one gets its default, a missing required one is an error at
 * `where`. Keys in `reserved` (NULL-terminated, may be NULL) are skipped; any other
 * unknown key is an error with "did you mean". Two tables may be given for one map (module
 * and script): extra may be NULL, and fills extra_conf. Returns 0, or -EINVAL after errors
 * were added.
 */
int schema_parse(const struct schema_env *env, const struct yaml_node *map, struct place where,
                 const struct tern_option *options, void *conf, const struct tern_option *extra,
                 void *extra_conf, const char *const *reserved);
/*
 * Overrides `conf` (a copy that the caller made) by the keys of `map`, a profile; absent
 * keys stay. After an error (-EINVAL) some keys may be overridden already.
 */
int schema_override(const struct schema_env *env, const struct yaml_node *map,
                    const struct tern_option *options, void *conf, const char *const *reserved);
/* The same for a map with two tables, module and script, as for schema_parse(). */
int schema_override_both(const struct schema_env *env, const struct yaml_node *map,
                         const struct tern_option *options, void *conf,
                         const struct tern_option *extra, void *extra_conf,
                         const char *const *reserved);
/* One value as text or node; for `when`, `timeout` and the like. */
bool schema_duration_ms(struct slice text, uint64_t *ret);
bool schema_size(struct slice text, uint64_t *ret);
/* Typed value as one word for docs and `tern help`: "duration", "list of strings", ... */
const char *schema_type_name(const struct tern_option *option);
/* "1 to 10000", "at least 1s"; false, and nothing printed, if any value will do. */
bool schema_print_range(const struct tern_option *option, struct buf *out);
/*
 * The table as Markdown: a row an option with key, type, default, range and doc; records
 * below it.
 */
void schema_print_markdown(const struct tern_option *options, struct buf *out);
/* Octets of the option's field in the struct; 0 for a type that this server does not have. */
size_t schema_field_octets(const struct tern_option *option);
/*
 * Whether a table of options that came with a module can be used: sizes, keys, fields
 * inside conf_size, defaults that parse. NULL is an empty table. 0, or -EINVAL with a
 * sentence in `error`. Call it once, at load.
 */
int schema_check(const struct tern_option *options, size_t conf_size, char *error,
                 size_t error_octets);
/* Options of a table, in order; the stride is the entry's own size. */
const struct tern_option *schema_next(const struct tern_option *option);

bool cidrs_match(const struct tern_cidrs *set, const tern_address *address);

#endif
