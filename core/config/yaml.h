/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml.h - a YAML file as a tree in which every node knows file, line and column.
 *
 * Scalars are untyped text: the schema decides (`no` is a country code). Duplicate keys,
 * merge keys, too many aliases (64, 100,000 nodes by them), maps and lists more than 32
 * deep, more than 1,000,000 nodes and files over 16 MB are errors, and so are control
 * characters and what is not UTF-8. `include: [file, ...]` at the top level merges the
 * top-level maps of other files: a key that both have must be a map in both, and their
 * entries are put together. `!env NAME` and `!file PATH` scalars are resolved here and
 * marked secret.
 */
#ifndef TERN_CONFIG_YAML_H
#define TERN_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

struct place {
    const char *file;   /* as the user named it */
    unsigned line, col; /* from 1 */
};

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    struct place place;
    bool secret; /* came by !env or !file: never printed */
    bool quoted;
    struct slice text;        /* SCALAR, with a NUL behind it */
    struct yaml_node **items; /* LIST; MAP: the values */
    struct yaml_node **keys;  /* MAP: scalars */
    unsigned count;
    const char *dir; /* folder of the file it is written in: relative paths start here */
};

/* What is wrong, collected: the first CONFIG_ERRORS_MAX, then a count. */
#define CONFIG_ERRORS_MAX 20
struct config_errors {
    struct buf
        text; /* "conf/tern.yaml:12:5: error: ...\n"; ends in "and 3 more errors\n" if need be */
    unsigned errors, warnings;
    unsigned repeated; /* of these errors: told already, in the same words and at the same place */
    size_t shown;      /* octets of text before that last line */
};
void config_error_at(struct config_errors *e, const struct place *place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void config_warning_at(struct config_errors *e, const struct place *place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void config_errors_free(struct config_errors *e);
/*
 * The best of `count` candidates for what was meant by `word`, or NULL: within 2 edits
 * (1 for short words).
 */
const char *config_did_you_mean(struct slice word, const char *const *candidates, size_t count);

/*
 * The top-level map; an empty file is an empty map. NULL after errors that leave no tree.
 * Errors that do (a duplicate key, a bad tag, a missing secret) come together with the
 * tree, so that one run shows all that is wrong: who is done with the tree checks
 * e->errors. Nodes live in `arena`.
 */
struct yaml_node *yaml_load_file(struct arena *arena, const char *path, struct config_errors *e);
struct yaml_node *yaml_load_text(struct arena *arena, struct slice text, const char *name,
                                 const char *dir, struct config_errors *e);
/* The value of a key of a map; NULL if absent or not a map. */
struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

#endif
