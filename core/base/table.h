/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - octets -> pointer, a hash table keyed by SipHash, so that a client who
 * chooses the keys cannot choose the collisions. Copies its keys. One thread at a time.
 */
#ifndef TERN_BASE_TABLE_H
#define TERN_BASE_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct table_row;

struct table {
    struct table_row **rows;
    size_t count, size; /* size: a power of two, or 0 */
};

void table_init(struct table *table);
void table_free(struct table *table, void (*free_value)(void *value)); /* NULL: values stay */
void *table_get(const struct table *table, struct slice key);          /* NULL if absent */
/* Returns the value that was there before, or NULL. `value` is not NULL. */
void *table_put(struct table *table, struct slice key, void *value);
void *table_remove(struct table *table, struct slice key); /* the value, or NULL */
/* Calls `each` for every row, in no order; it may not change the table. */
void table_each(const struct table *table,
                void (*each)(void *arg, struct slice key, void *value), void *arg);
/* The hash itself, keyed once per process. */
uint64_t table_hash(struct slice key);

#endif
