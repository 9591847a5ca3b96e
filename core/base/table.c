/* SPDX-License-Identifier: Apache-2.0 */
#include "base/table.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/mem.h"

#define SIZE_MIN 16

struct table_row {
    struct table_row *next;
    uint64_t hash;
    void *value;
    size_t len;
    char key[];
};

static unsigned char hash_key[crypto_shorthash_KEYBYTES];
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static void make_key(void)
{
    if (sodium_init() < 0)
        abort(); /* no randomness: nothing here would be safe */
    crypto_shorthash_keygen(hash_key);
}

uint64_t table_hash(struct slice key)
{
    uint64_t hash;

    (void)pthread_once(&hash_once, make_key);
    (void)crypto_shorthash((unsigned char *)&hash, (const unsigned char *)key.ptr, key.len, hash_key);
    return hash;
}

void table_init(struct table *table)
{
    *table = (struct table){ NULL, 0, 0 };
}

void table_free(struct table *table, void (*free_value)(void *value))
{
    for (size_t i = 0; i < table->size; i++) {
        for (struct table_row *row = table->rows[i]; row != NULL;) {
            struct table_row *next = row->next;
            if (free_value != NULL)
                free_value(row->value);
            free(row);
            row = next;
        }
    }
    free(table->rows);
    table_init(table);
}

static struct table_row **slot(const struct table *table, struct slice key, uint64_t hash)
{
    struct table_row **at = &table->rows[hash & (table->size - 1)];

    while (*at != NULL && ((*at)->hash != hash || (*at)->len != key.len ||
                           memcmp((*at)->key, key.ptr, key.len) != 0))
        at = &(*at)->next;
    return at;
}

void *table_get(const struct table *table, struct slice key)
{
    if (table->count == 0)
        return NULL;
    struct table_row *row = *slot(table, key, table_hash(key));
    return row != NULL ? row->value : NULL;
}

static void grow(struct table *table)
{
    size_t size = table->size > 0 ? table->size * 2 : SIZE_MIN;
    struct table_row **rows = mem_zalloc(size * sizeof(rows[0]));

    for (size_t i = 0; i < table->size; i++) {
        for (struct table_row *row = table->rows[i]; row != NULL;) {
            struct table_row *next = row->next;
            row->next = rows[row->hash & (size - 1)];
            rows[row->hash & (size - 1)] = row;
            row = next;
        }
    }
    free(table->rows);
    table->rows = rows;
    table->size = size;
}

void *table_put(struct table *table, struct slice key, void *value)
{
    uint64_t hash = table_hash(key);

    if (table->count >= table->size)
        grow(table);
    struct table_row **at = slot(table, key, hash);
    if (*at != NULL) {
        void *old = (*at)->value;
        (*at)->value = value;
        return old;
    }
    struct table_row *row = mem_alloc(sizeof(*row) + key.len + 1);
    *row = (struct table_row){ .next = NULL, .hash = hash, .value = value, .len = key.len };
    if (key.len > 0)
        memcpy(row->key, key.ptr, key.len);
    row->key[key.len] = '\0';
    *at = row;
    table->count++;
    return NULL;
}

void *table_remove(struct table *table, struct slice key)
{
    if (table->count == 0)
        return NULL;
    struct table_row **at = slot(table, key, table_hash(key));
    struct table_row *row = *at;
    if (row == NULL)
        return NULL;
    void *value = row->value;
    *at = row->next;
    free(row);
    table->count--;
    return value;
}

void table_each(const struct table *table,
                void (*each)(void *arg, struct slice key, void *value), void *arg)
{
    for (size_t i = 0; i < table->size; i++)
        for (struct table_row *row = table->rows[i]; row != NULL; row = row->next)
            each(arg, slice_make(row->key, row->len), row->value);
}
