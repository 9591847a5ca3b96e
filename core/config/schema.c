/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.c - a YAML map into a struct by a table of typed options.
 *
 * One parser a type, in one table; each says what it expected and what it got, at the
 * place of the value. A default goes through the same parser as a value of the user, so a
 * default that could not be written is found by the first test that loads the module.
 */
#include "config/schema.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>

#include "config/cidrs.h"
#include "config/paths.h"
#include "config/value.h"
#include "config/yaml_source.h"

#define NAMES_MAX       128 /* candidates for "did you mean" */
#define NAMES_SHOWN_MAX 24  /* keys listed when nothing is alike */

/* One option at one value. */
struct parse {
    const struct schema_env *env;
    const struct tern_option *option;
    const struct yaml_node *node;
    void *target;
};

const struct tern_option *schema_next(const struct tern_option *option)
{
    return (const struct tern_option *)((const char *)option + option->size);
}

/* ---- messages -------------------------------------------------------------- */

static const char *shown(const struct parse *p, char text[VALUE_SHOWN_OCTETS])
{
    if (p->option->type == TERN_TYPE_SECRET && p->node->kind == YAML_SCALAR &&
        p->node->text.len > 0)
        return "(secret)";
    if (p->node->kind == YAML_MAP && yaml_get(p->node, "table") != NULL)
        return "a table, which this option does not take";
    return value_show(p->node, text);
}

static bool fail(const struct parse *p, const char *expected)
{
    char text[VALUE_SHOWN_OCTETS];

    if (p->node->secret && p->node->text.len == 0)
        return false; /* why there is none stands above */
    config_error_at(p->env->errors, &p->node->place, "%s: expected %s; got %s", p->option->key,
                    expected, shown(p, text));
    return false;
}

static void print_bound(struct buf *out, const struct tern_option *option, int64_t bound)
{
    switch (option->type) {
    case TERN_TYPE_SECONDS: value_print_ms(out, (uint64_t)bound * 1000); break;
    case TERN_TYPE_MS: value_print_ms(out, (uint64_t)bound); break;
    case TERN_TYPE_SIZE: value_print_size(out, (uint64_t)bound); break;
    case TERN_TYPE_PERCENT: buf_printf(out, "%lld%%", (long long)bound); break;
    default: buf_printf(out, "%lld", (long long)bound);
    }
}

bool schema_print_range(const struct tern_option *option, struct buf *out)
{
    if (option->type == TERN_TYPE_PATH || (option->min == 0 && option->max == 0))
        return false; /* of a path it says what is done with it */
    if (option->max == 0 && option->min > 0) {
        buf_add_cstr(out, "at least ");
        print_bound(out, option, option->min);
        return true;
    }
    print_bound(out, option, option->min);
    buf_add_cstr(out, " to ");
    print_bound(out, option, option->max);
    return true;
}

static bool in_range(const struct tern_option *option, int64_t value)
{
    if (option->min == 0 && option->max == 0)
        return true;
    if (option->max == 0 && option->min > 0)
        return value >= option->min;
    return value >= option->min && value <= option->max;
}

static bool check_range(const struct parse *p, const char *noun, int64_t value)
{
    CLEANUP_BUF struct buf expected = BUF_INIT;

    if (in_range(p->option, value))
        return true;
    buf_printf(&expected, "%s: ", noun);
    (void)schema_print_range(p->option, &expected);
    return fail(p, expected.data);
}

static bool check_count(const struct parse *p, size_t count)
{
    CLEANUP_BUF struct buf expected = BUF_INIT;

    if (in_range(p->option, (int64_t)count))
        return true;
    (void)schema_print_range(p->option, &expected);
    config_error_at(
        p->env->errors, &p->node->place, "%s: expected %s entr%s; got %zu", p->option->key,
        expected.data,
        p->option->max == 1 || (p->option->max == 0 && p->option->min == 1) ? "y" : "ies", count);
    return false;
}

/* ---- one word --------------------------------------------------------------- */

/* The text of a scalar that is not nothing. */
static bool word(const struct parse *p, const char *expected, struct slice *ret)
{
    if (p->node->kind != YAML_SCALAR || (p->node->text.len == 0 && !p->node->quoted))
        return fail(p, expected);
    *ret = p->node->text;
    return true;
}

static bool parse_bool(const struct parse *p)
{
    static const char expected[] = "true or false";
    struct slice text;

    return word(p, expected, &text) && (value_bool(text, p->target) || fail(p, expected));
}

static bool parse_int(const struct parse *p)
{
    static const char expected[] = "a whole number";
    struct slice text;
    int64_t number;

    if (!word(p, expected, &text))
        return false;
    if (!value_int(text, &number))
        return fail(p, expected);
    if (!check_range(p, expected, number))
        return false;
    *(int64_t *)p->target = number;
    return true;
}

static bool parse_uint(const struct parse *p)
{
    static const char expected[] = "a whole number, not negative";
    struct slice text;
    uint64_t number;

    if (!word(p, expected, &text))
        return false;
    if (!slice_to_u64(text, &number))
        return fail(p, expected);
    if (!check_range(p, "a whole number", number > INT64_MAX ? INT64_MAX : (int64_t)number))
        return false;
    if (number > UINT_MAX)
        return fail(p, "a number up to 4294967295");
    *(unsigned *)p->target = (unsigned)number;
    return true;
}

static bool parse_size(const struct parse *p)
{
    static const char expected[] = "a size such as 64KB or 10MB";
    struct slice text;
    uint64_t octets;

    if (!word(p, expected, &text))
        return false;
    if (!schema_size(text, &octets))
        return fail(p, expected);
    if (!check_range(p, "a size", (int64_t)octets))
        return false;
    *(uint64_t *)p->target = octets;
    return true;
}

static bool parse_seconds(const struct parse *p)
{
    static const char expected[] = "a duration such as 30s, 5m, 4h, 5d";
    struct slice text;
    uint64_t ms;

    if (!word(p, expected, &text))
        return false;
    if (!schema_duration_ms(text, &ms))
        return fail(p, expected);
    if (ms % 1000 != 0)
        return fail(p, "a duration in whole seconds");
    if (!check_range(p, "a duration", (int64_t)(ms / 1000)))
        return false;
    *(uint64_t *)p->target = ms / 1000;
    return true;
}

static bool parse_ms(const struct parse *p)
{
    static const char expected[] = "a duration such as 300ms, 5s, 1m";
    struct slice text;
    uint64_t ms;

    if (!word(p, expected, &text))
        return false;
    if (!schema_duration_ms(text, &ms))
        return fail(p, expected);
    if (!check_range(p, "a duration", (int64_t)ms))
        return false;
    *(uint64_t *)p->target = ms;
    return true;
}

static bool parse_rate(const struct parse *p)
{
    static const char expected[] = "a rate such as 100/1m";
    struct slice text;

    return word(p, expected, &text) && (value_rate(text, p->target) || fail(p, expected));
}

static bool parse_percent(const struct parse *p)
{
    static const char expected[] = "a percentage such as 20%";
    struct slice text;
    uint64_t number;

    if (!word(p, expected, &text))
        return false;
    if (!value_percent(text, &number))
        return fail(p, expected);
    if (number > 100)
        return fail(p, "a percentage from 0% to 100%");
    if (!check_range(p, "a percentage", (int64_t)number))
        return false;
    *(unsigned *)p->target = (unsigned)number;
    return true;
}

static tern_str keep(const struct schema_env *env, struct slice text)
{
    return (tern_str){ text.len > 0 ? arena_dup(env->arena, text) : "", text.len };
}

static bool parse_string(const struct parse *p)
{
    struct slice text;

    if (!word(p,
              p->option->type == TERN_TYPE_SECRET ? "a secret: !env NAME, !file PATH, or in clear"
                                                  : "a word or a text in quotes",
              &text))
        return false;
    *(tern_str *)p->target = keep(p->env, text);
    return true;
}

static bool parse_enum(const struct parse *p)
{
    CLEANUP_BUF struct buf expected = BUF_INIT;
    const char *const *values = p->option->values;
    size_t count = 0;
    struct slice text = { NULL, 0 };

    buf_add_cstr(&expected, "one of ");
    for (; values[count] != NULL; count++)
        buf_printf(&expected, "%s%s", count > 0 ? ", " : "", values[count]);
    if (!word(p, expected.data, &text))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!slice_equal(text, slice_cstr(values[i])))
            continue;
        *(int *)p->target = (int)i;
        return true;
    }
    const char *meant = p->node->secret ? NULL : config_did_you_mean(text, values, count);
    char found[VALUE_SHOWN_OCTETS];
    if (meant == NULL)
        return fail(p, expected.data);
    config_error_at(p->env->errors, &p->node->place,
                    "%s: expected %s; got %s; did you mean \"%s\"?", p->option->key, expected.data,
                    shown(p, found), meant);
    return false;
}

static bool parse_address(const struct parse *p)
{
    static const char expected[] =
        "an address such as 192.0.2.1, 192.0.2.1:25 or \"[2001:db8::1]:25\"";
    struct slice text;

    return word(p, expected, &text) && (value_address(text, p->target) || fail(p, expected));
}

static bool parse_path(const struct parse *p)
{
    static const char expected[] = "the path of a file or folder";
    struct slice text;

    if (!word(p, expected, &text))
        return false;
    if (text.len == 0)
        return fail(p, expected);
    if (slice_starts_nocase(text, SLICE("%{home}"))) { /* absolute, when somebody knows whose it is */
        *(tern_str *)p->target = (tern_str){ arena_dup(p->env->arena, text), text.len };
        return true;
    }
    const char *path = source_join(p->env->arena, p->node->dir, text);
    config_paths_add(path, p->option->min != TERN_PATH_READ_ONLY);
    *(tern_str *)p->target = (tern_str){ path, strlen(path) };
    return true;
}

static bool parse_regex(const struct parse *p)
{
    config_error_at(p->env->errors, &p->node->place,
                    "%s: regular expressions are not supported yet", p->option->key);
    return false;
}

/* ---- lists and maps ----------------------------------------------------------- */

/*
 * The entries of a list; a scalar where a list is expected is a list of one. False after
 * an error.
 */
static bool entries(const struct parse *p, const char *expected,
                    const struct yaml_node *const **ret, size_t *ret_count)
{
    const struct yaml_node *node = p->node;

    if (node->kind == YAML_MAP ||
        (node->kind == YAML_SCALAR && node->text.len == 0 && !node->quoted))
        return fail(p, expected);
    *ret = node->kind == YAML_LIST ? (const struct yaml_node *const *)node->items : &p->node;
    *ret_count = node->kind == YAML_LIST ? node->count : 1;
    if (node->kind == YAML_SCALAR && !node->quoted && !node->secret &&
        strstr(node->text.ptr, ", ") != NULL)
        config_warning_at(p->env->errors, &node->place,
                          "%s: this is one value; a list is written [a, b]", p->option->key);
    return true;
}

/* An entry of a list or map must be a word. */
static bool entry_word(const struct parse *p, const struct yaml_node *node, const char *expected)
{
    struct parse entry = { p->env, p->option, node, NULL };
    struct slice text;

    return word(&entry, expected, &text);
}

static bool parse_list(const struct parse *p)
{
    const struct yaml_node *const *nodes;
    size_t count;

    if (!entries(p, "a list such as [a, b]", &nodes, &count))
        return false;
    bool good = check_count(p, count);
    tern_str *items = arena_alloc(p->env->arena, (count + 1) * sizeof(items[0]));
    for (size_t i = 0; i < count; i++) {
        if (entry_word(p, nodes[i], "a word as entry of the list"))
            items[i] = keep(p->env, nodes[i]->text);
        else
            good = false;
    }
    if (good)
        *(struct tern_list *)p->target = (struct tern_list){ items, count };
    return good;
}

static bool parse_map(const struct parse *p)
{
    const struct yaml_node *node = p->node;

    if (node->kind != YAML_MAP)
        return fail(p, "a map such as { key: value }");
    bool good = check_count(p, node->count);
    tern_str *keys = arena_alloc(p->env->arena, (node->count + 1) * sizeof(keys[0]));
    tern_str *values = arena_alloc(p->env->arena, (node->count + 1) * sizeof(values[0]));
    for (unsigned i = 0; i < node->count; i++) {
        if (!entry_word(p, node->items[i], "a word as value of the map")) {
            good = false;
            continue;
        }
        keys[i] = keep(p->env, node->keys[i]->text);
        values[i] = keep(p->env, node->items[i]->text);
    }
    if (good)
        *(struct tern_map *)p->target = (struct tern_map){ keys, values, node->count };
    return good;
}

static bool parse_cidrs(const struct parse *p)
{
    static const char expected[] = "a list of networks such as [192.0.2.0/24, \"2001:db8::/32\"]";
    const struct yaml_node *const *nodes;
    char error[CIDR_ERROR_OCTETS], text[VALUE_SHOWN_OCTETS];
    size_t count;

    if (!entries(p, expected, &nodes, &count))
        return false;
    bool good = check_count(p, count);
    struct tern_cidrs *set = cidrs_new(p->env->arena, count);
    for (size_t i = 0; i < count; i++) {
        if (!entry_word(p, nodes[i], "a network")) {
            good = false;
        } else if (!cidrs_add(set, nodes[i]->text, error)) {
            config_error_at(p->env->errors, &nodes[i]->place, "%s: %s; got %s", p->option->key,
                            nodes[i]->secret ? "not a network" : error, value_show(nodes[i], text));
            good = false;
        }
    }
    cidrs_finish(set);
    if (good)
        *(const struct tern_cidrs **)p->target = set;
    return good;
}

static bool parse_table(const struct parse *p)
{
    if (p->env->table == NULL) {
        config_error_at(p->env->errors, &p->node->place, "%s: tables cannot be used here",
                        p->option->key);
        return false;
    }
    if (p->node->kind == YAML_SCALAR && p->node->text.len == 0 && !p->node->quoted)
        return fail(p, "a list, a map, a word or { table: NAME }");
    const struct tern_table *table = p->env->table(p->env->table_arg, p->node);
    if (table != NULL)
        *(const struct tern_table **)p->target = table;
    return table != NULL;
}

static bool parse_records(const struct parse *p)
{
    const struct tern_option *option = p->option;
    const struct yaml_node *const one[1] = { p->node };
    const struct yaml_node *const *nodes = one;
    size_t count = 1;

    assert(option->records != NULL && option->record_size > 0);
    if (p->node->kind == YAML_SCALAR)
        return fail(p, "a list of maps such as [{ key: value }]");
    if (p->node->kind == YAML_LIST) {
        nodes = (const struct yaml_node *const *)p->node->items;
        count = p->node->count;
    }
    bool good = check_count(p, count);
    char *items = arena_zalloc(p->env->arena, count * option->record_size + 1);
    for (size_t i = 0; i < count; i++) {
        struct parse entry = { p->env, option, nodes[i], NULL };
        if (nodes[i]->kind != YAML_MAP)
            good = fail(&entry, "a map as entry of the list");
        else if (schema_parse(p->env, nodes[i], nodes[i]->place, option->records,
                              items + i * option->record_size, NULL, NULL, NULL) < 0)
            good = false;
    }
    if (good)
        *(struct tern_records *)p->target = (struct tern_records){ items, count };
    return good;
}

/* ---- the table of types --------------------------------------------------------- */

static const struct type {
    bool (*parse)(const struct parse *p);
    size_t octets; /* of the field */
    const char *name;
    bool one_word;
} types[] = {
    [TERN_TYPE_BOOL] = { parse_bool, sizeof(bool), "true or false", true },
    [TERN_TYPE_INT] = { parse_int, sizeof(int64_t), "number", true },
    [TERN_TYPE_UINT] = { parse_uint, sizeof(unsigned), "number", true },
    [TERN_TYPE_SIZE] = { parse_size, sizeof(uint64_t), "size", true },
    [TERN_TYPE_SECONDS] = { parse_seconds, sizeof(uint64_t), "duration", true },
    [TERN_TYPE_MS] = { parse_ms, sizeof(uint64_t), "duration", true },
    [TERN_TYPE_RATE] = { parse_rate, sizeof(struct tern_rate), "rate", true },
    [TERN_TYPE_PERCENT] = { parse_percent, sizeof(unsigned), "percentage", true },
    [TERN_TYPE_STRING] = { parse_string, sizeof(tern_str), "string", true },
    [TERN_TYPE_ENUM] = { parse_enum, sizeof(int), "one of", true },
    [TERN_TYPE_LIST] = { parse_list, sizeof(struct tern_list), "list of strings", false },
    [TERN_TYPE_MAP] = { parse_map, sizeof(struct tern_map), "map of strings", false },
    [TERN_TYPE_CIDRS] = { parse_cidrs, sizeof(void *), "list of networks", false },
    [TERN_TYPE_ADDRESS] = { parse_address, sizeof(tern_address), "address", true },
    [TERN_TYPE_PATH] = { parse_path, sizeof(tern_str), "path", true },
    [TERN_TYPE_SECRET] = { parse_string, sizeof(tern_str), "secret", true },
    [TERN_TYPE_REGEX] = { parse_regex, 0, "regular expression", true },
    [TERN_TYPE_TABLE] = { parse_table, sizeof(void *), "table", false },
    [TERN_TYPE_RECORDS] = { parse_records, sizeof(struct tern_records), "list of records", false },
};
#define TYPE_COUNT (sizeof(types) / sizeof(types[0]))

const char *schema_type_name(const struct tern_option *option)
{
    return option->type < TYPE_COUNT ? types[option->type].name : "unknown";
}

size_t schema_field_octets(const struct tern_option *option)
{
    return option->type < TYPE_COUNT ? types[option->type].octets : 0;
}

static bool parse_value(const struct schema_env *env, const struct tern_option *option,
                        const struct yaml_node *node, void *conf)
{
    struct parse p = { env, option, node, (char *)conf + option->offset };

    if (option->type >= TYPE_COUNT) {
        config_error_at(env->errors, &node->place,
                        "%s: this server does not know the option's type (%u)", option->key,
                        option->type);
        return false;
    }
    return types[option->type].parse(&p);
}

/* ---- defaults --------------------------------------------------------------------- */

static void set_none(const struct tern_option *option, void *conf)
{
    char *target = (char *)conf + option->offset;

    memset(target, 0, types[option->type].octets);
    if (option->type == TERN_TYPE_STRING || option->type == TERN_TYPE_PATH ||
        option->type == TERN_TYPE_SECRET)
        *(tern_str *)target = (tern_str){ "", 0 };
}

/* The default as a node: a word, or YAML such as "[a, b]" where the type is a list or map. */
static const struct yaml_node *default_node(const struct schema_env *env,
                                            const struct tern_option *option,
                                            const struct place *where, const char *dir)
{
    struct config_errors ignored = { .errors = 0 };
    struct yaml_node *node;

    if (types[option->type].one_word || strpbrk(option->text, "[]{},:#&*!|>'\"%@`") == NULL) {
        node = ARENA_NEW(env->arena, struct yaml_node);
        *node = (struct yaml_node){ .kind = YAML_SCALAR,
                                    .place = *where,
                                    .quoted = true,
                                    .text = slice_cstr(option->text),
                                    .dir = dir };
        return node;
    }
    node = yaml_load_text(env->arena, slice_cstr(option->text), option->key, dir, &ignored);
    if (node == NULL || ignored.errors > 0)
        config_error_at(env->errors, where, "the default of %s is not valid YAML: %s", option->key,
                        option->text);
    config_errors_free(&ignored);
    return node;
}

static bool set_default(const struct schema_env *env, const struct tern_option *option,
                        const struct place *where, const char *dir, void *conf)
{
    if (option->type >= TYPE_COUNT)
        return true; /* said where it is used */
    if (option->text == NULL) {
        config_error_at(env->errors, where, "option \"%s\" is missing (%s)", option->key,
                        schema_type_name(option));
        set_none(option, conf);
        return false;
    }
    set_none(option, conf);
    if (option->text[0] == '\0')
        return true;
    const struct yaml_node *node = default_node(env, option, where, dir);
    return node != NULL && parse_value(env, option, node, conf);
}

/* ---- maps into structs --------------------------------------------------------------- */

static const struct tern_option *find(const struct tern_option *options, struct slice key)
{
    if (options == NULL)
        return NULL;
    for (const struct tern_option *o = options; o->size != 0; o = schema_next(o))
        if (slice_equal(key, slice_cstr(o->key)))
            return o;
    return NULL;
}

static bool is_reserved(const char *const *reserved, struct slice key)
{
    for (; reserved != NULL && *reserved != NULL; reserved++)
        if (slice_equal(key, slice_cstr(*reserved)))
            return true;
    return false;
}

static size_t add_names(const struct tern_option *options, const char **names, size_t count)
{
    for (const struct tern_option *o = options; o != NULL && o->size != 0; o = schema_next(o))
        if (count < NAMES_MAX)
            names[count++] = o->key;
    return count;
}

static void say_unknown(const struct schema_env *env, const struct yaml_node *key,
                        const struct tern_option *options, const struct tern_option *extra,
                        const char *const *reserved)
{
    CLEANUP_BUF struct buf list = BUF_INIT;
    const char *names[NAMES_MAX];
    size_t count = add_names(extra, names, add_names(options, names, 0));
    size_t own = count;
    char text[VALUE_SHOWN_OCTETS];

    for (; reserved != NULL && *reserved != NULL && count < NAMES_MAX; reserved++)
        names[count++] = *reserved;
    const char *meant = config_did_you_mean(key->text, names, count);
    if (meant != NULL) {
        config_error_at(env->errors, &key->place, "unknown option %s; did you mean \"%s\"?",
                        value_show(key, text), meant);
        return;
    }
    if (own == 0 || own > NAMES_SHOWN_MAX)
        own = own == 0 ? count : own;
    for (size_t i = 0; i < own && i < NAMES_SHOWN_MAX; i++)
        buf_printf(&list, "%s%s", i > 0 ? ", " : "", names[i]);
    config_error_at(env->errors, &key->place, "unknown option %s; known here: %s%s",
                    value_show(key, text), own > 0 ? list.data : "none",
                    own > NAMES_SHOWN_MAX ? ", ..." : "");
}

/* Both tables of a map, and what they fill. */
struct pair {
    const struct tern_option *options, *extra;
    void *conf, *extra_conf;
    const char *const *reserved;
};

/* The values that are there. */
static bool parse_present(const struct schema_env *env, const struct yaml_node *map,
                          const struct pair *t)
{
    bool good = true;

    if (map == NULL || (map->kind == YAML_SCALAR && map->text.len == 0 && !map->quoted))
        return true;
    if (map->kind != YAML_MAP) {
        char text[VALUE_SHOWN_OCTETS];
        config_error_at(env->errors, &map->place, "expected a map of options (key: value); got %s",
                        value_show(map, text));
        return false;
    }
    for (unsigned i = 0; i < map->count; i++) {
        struct slice key = map->keys[i]->text;
        if (is_reserved(t->reserved, key))
            continue;
        const struct tern_option *option = find(t->options, key);
        void *conf = t->conf;
        if (option == NULL) {
            option = find(t->extra, key);
            conf = t->extra_conf;
        }
        if (option == NULL)
            say_unknown(env, map->keys[i], t->options, t->extra, t->reserved);
        good &= option != NULL && parse_value(env, option, map->items[i], conf);
    }
    return good;
}

static bool fill_absent(const struct schema_env *env, const struct yaml_node *map,
                        const struct place *where, const struct tern_option *options, void *conf)
{
    bool good = true;

    for (const struct tern_option *o = options; o != NULL && o->size != 0; o = schema_next(o))
        if (yaml_get(map, o->key) == NULL)
            good &= set_default(env, o, where, map != NULL ? map->dir : NULL, conf);
    return good;
}

int schema_parse(const struct schema_env *env, const struct yaml_node *map, struct place where,
                 const struct tern_option *options, void *conf, const struct tern_option *extra,
                 void *extra_conf, const char *const *reserved)
{
    struct pair t = { options, extra, conf, extra_conf, reserved };
    bool good = parse_present(env, map, &t);

    good &= fill_absent(env, map, &where, options, conf);
    good &= fill_absent(env, map, &where, extra, extra_conf);
    return good ? 0 : -EINVAL;
}

int schema_override_both(const struct schema_env *env, const struct yaml_node *map,
                         const struct tern_option *options, void *conf,
                         const struct tern_option *extra, void *extra_conf,
                         const char *const *reserved)
{
    struct pair t = { options, extra, conf, extra_conf, reserved };
    return parse_present(env, map, &t) ? 0 : -EINVAL;
}

int schema_override(const struct schema_env *env, const struct yaml_node *map,
                    const struct tern_option *options, void *conf, const char *const *reserved)
{
    return schema_override_both(env, map, options, conf, NULL, NULL, reserved);
}
