/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - whether a table of options, as a module brings it, can be used at all.
 *
 * The parser trusts its tables: a field outside the struct would be written all the same. A table
 * from a foreign module is looked at once, when the module is loaded.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "config/schema.h"

#define OPTIONS_MAX 256
#define NESTING_MAX 8 /* records in records; a table that names itself would go on for ever */
#define KEY_OCTETS  64

static const struct tern_table *any_table(void *arg, const struct yaml_node *node)
{
    return (const struct tern_table *)(const void *)node;
}

static bool good_key(const char *key)
{
    if (key == NULL || key[0] < 'a' || key[0] > 'z' || strlen(key) > KEY_OCTETS)
        return false;
    for (; *key != '\0'; key++)
        if ((*key < 'a' || *key > 'z') && (*key < '0' || *key > '9') && *key != '_')
            return false;
    return true;
}

/* A default is parsed as if the user had written it, into memory that is thrown away. */
static bool good_default(const struct tern_option *option, size_t conf_size, char *error,
                         size_t error_octets)
{
    struct arena arena;
    struct config_errors errors = { .errors = 0 };
    struct schema_env env = { .arena = &arena, .errors = &errors, .table = any_table };
    struct {
        struct tern_option option, end;
    } table = { .option = *option, .end = { .size = 0 } };
    CLEANUP_FREE void *conf = mem_zalloc(conf_size);

    if (option->text == NULL || option->text[0] == '\0')
        return true;
    arena_init(&arena);
    table.option.size = sizeof(table.option);
    int r = schema_parse(&env, NULL, (struct place){ NULL, 0, 0 }, &table.option, conf, NULL, NULL,
                         NULL);
    if (r < 0)
        (void)snprintf(error, error_octets, "default of option %.*s", (int)(errors.text.len - 1),
                       errors.text.data);
    config_errors_free(&errors);
    arena_fini(&arena);
    return r == 0;
}

static bool appears_before(const struct tern_option *options, const struct tern_option *option)
{
    for (const struct tern_option *o = options; o != option; o = schema_next(o))
        if (strcmp(o->key, option->key) == 0)
            return true;
    return false;
}

static const char *what_is_wrong(const struct tern_option *options,
                                 const struct tern_option *option, size_t conf_size)
{
    size_t octets = schema_field_octets(option);

    if (!good_key(option->key))
        return "its key is not a word of a-z, 0-9 and _";
    if (appears_before(options, option))
        return "it stands twice";
    if (octets == 0)
        return "its type is unknown or not supported yet";
    if (octets > conf_size || option->offset > conf_size - octets)
        return "its field lies outside the struct";
    if (option->type == TERN_TYPE_ENUM && (option->values == NULL || option->values[0] == NULL))
        return "it has no values";
    if (option->type == TERN_TYPE_RECORDS && (option->records == NULL || option->record_size == 0))
        return "it has no table of records";
    if (option->max != 0 && option->max < option->min)
        return "its range is empty";
    return NULL;
}

static int check(const struct tern_option *options, size_t conf_size, unsigned nesting, char *error,
                 size_t error_octets)
{
    unsigned count = 0;

    for (const struct tern_option *o = options; o->size != 0; o = schema_next(o), count++) {
        const char *wrong = NULL;
        if (count == OPTIONS_MAX || nesting > NESTING_MAX)
            wrong = count == OPTIONS_MAX ? "there are too many" : "records lie too deep";
        else if (o->size < sizeof(*o) || o->size % _Alignof(struct tern_option) != 0)
            wrong = "its entry has a wrong size";
        if (wrong != NULL) {
            (void)snprintf(error, error_octets, "option %u: %s", count + 1, wrong);
            return -EINVAL;
        }
        wrong = what_is_wrong(options, o, conf_size);
        if (wrong != NULL) {
            (void)snprintf(error, error_octets, "option %u (%.64s): %s", count + 1,
                           o->key != NULL ? o->key : "", wrong);
            return -EINVAL;
        }
        if (o->type == TERN_TYPE_RECORDS &&
            check(o->records, o->record_size, nesting + 1, error, error_octets) < 0)
            return -EINVAL;
        if (!good_default(o, conf_size, error, error_octets))
            return -EINVAL;
    }
    return 0;
}

int schema_check(const struct tern_option *options, size_t conf_size, char *error,
                 size_t error_octets)
{
    return options != NULL ? check(options, conf_size, 1, error, error_octets) : 0;
}
