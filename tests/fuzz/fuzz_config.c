/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_config.c - any octets as a configuration file, read by a table with every type.
 *
 * Promised: what parses without an error is inside its range; strings end in NUL and hold
 * none; a failure says something; messages are lines of printable text and never repeat a
 * secret.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "config/schema.h"

#define SECRET "c4nary-of-the-fuzzer"

struct rule {
    tern_str host;
    unsigned port;
};

struct all {
    bool flag;
    int64_t offset;
    unsigned max;
    uint64_t room;
    uint64_t delay_s;
    uint64_t pause_ms;
    struct tern_rate rate;
    unsigned share;
    tern_str name;
    int colour;
    struct tern_list zones;
    struct tern_map names;
    const struct tern_cidrs *nets;
    tern_address source;
    tern_str file;
    tern_str password;
    tern_str pattern;
    const struct tern_table *users;
    struct tern_records rules;
};

static const char *const colours[] = { "red", "green", NULL };

static const struct tern_option rule_options[] = {
    TERN_OPTION_STRING(struct rule, host, NULL, ""),
    TERN_OPTION_UINT(struct rule, port, "25", 1, 65535, ""),
    TERN_OPTIONS_END,
};

static const struct tern_option options[] = {
    TERN_OPTION_BOOL(struct all, flag, "yes", ""),
    TERN_OPTION_INT(struct all, offset, "-3", -10, 10, ""),
    TERN_OPTION_UINT(struct all, max, "100", 1, 10000, ""),
    TERN_OPTION_SIZE(struct all, room, "10MB", 1024, INT64_C(1) << 30, ""),
    TERN_OPTION_SECONDS(struct all, delay, "5m", 1, 86400, ""),
    TERN_OPTION_MS(struct all, pause, "300ms", 1, 60000, ""),
    TERN_OPTION_RATE(struct all, rate, "100/1m", ""),
    TERN_OPTION_PERCENT(struct all, share, "20%", ""),
    TERN_OPTION_STRING(struct all, name, "x", ""),
    TERN_OPTION_ENUM(struct all, colour, "green", colours, ""),
    TERN_OPTION_LIST(struct all, zones, "[a, b]", 1, 3, ""),
    TERN_OPTION_MAP(struct all, names, "{ a: b }", ""),
    TERN_OPTION_CIDRS(struct all, nets, "[127.0.0.0/8, \"::1\"]", ""),
    TERN_OPTION_ADDRESS(struct all, source, "", ""),
    TERN_OPTION_PATH(struct all, file, "", ""),
    TERN_OPTION_SECRET(struct all, password, "", ""),
    { .size = sizeof(struct tern_option),
      .key = "pattern",
      .type = TERN_TYPE_REGEX,
      .text = "",
      .offset = offsetof(struct all, pattern),
      .doc = "" },
    TERN_OPTION_TABLE(struct all, users, "", ""),
    TERN_OPTION_RECORDS(struct all, rules, rule_options, struct rule, 0, 3, ""),
    TERN_OPTIONS_END,
};

static const struct tern_table *any_table(void *arg, const struct yaml_node *node)
{
    return (const struct tern_table *)(const void *)node;
}

static void check_string(tern_str s)
{
    assert(s.ptr != NULL && strlen(s.ptr) == s.len);
}

static void check_values(const struct all *c)
{
    assert(c->offset >= -10 && c->offset <= 10);
    assert(c->max >= 1 && c->max <= 10000);
    assert(c->room >= 1024 && c->room <= 1u << 30);
    assert(c->delay_s >= 1 && c->delay_s <= 86400);
    assert(c->pause_ms >= 1 && c->pause_ms <= 60000);
    assert(c->rate.count > 0 && c->rate.per_ms > 0);
    assert(c->share <= 100);
    assert(c->colour == 0 || c->colour == 1);
    check_string(c->name);
    check_string(c->file);
    check_string(c->password);
    assert(c->file.len == 0 || c->file.ptr[0] == '/');
    assert(c->zones.count >= 1 && c->zones.count <= 3);
    for (size_t i = 0; i < c->zones.count; i++)
        check_string(c->zones.items[i]);
    for (size_t i = 0; i < c->names.count; i++) {
        check_string(c->names.keys[i]);
        check_string(c->names.values[i]);
    }
    assert(c->source.family == 0 || c->source.family == 4 || c->source.family == 6);
    (void)cidrs_match(c->nets, &(tern_address){ .family = 4 });
    assert(c->rules.count <= 3);
    for (size_t i = 0; i < c->rules.count; i++) {
        const struct rule *rule = (const struct rule *)c->rules.items + i;
        check_string(rule->host);
        assert(rule->port >= 1 && rule->port <= 65535);
    }
}

/* `known`: the fuzzer wrote the secret into the file itself. */
static void check_messages(const struct config_errors *e, bool known)
{
    unsigned lines = 0;

    for (size_t i = 0; i < e->text.len; i++) {
        unsigned char c = (unsigned char)e->text.data[i];
        lines += c == '\n';
        assert(c == '\n' || (c >= 0x20 && c != 0x7f));
    }
    assert(lines <= 2 * CONFIG_ERRORS_MAX + 2);
    assert((e->errors + e->warnings > 0) == (lines > 0));
    assert(lines == 0 || known || strstr(e->text.data, SECRET) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct config_errors errors = { .errors = 0 };
    struct all conf;

    (void)setenv("S", SECRET, 1);
    arena_init(&arena);
    memset(&conf, 0, sizeof(conf));
    struct schema_env env = { .arena = &arena, .errors = &errors, .table = any_table };
    struct yaml_node *root = yaml_load_text(&arena, slice_make((const char *)data, size),
                                            "fuzz.yaml", "/nonexistent", &errors);
    assert(root != NULL || errors.errors > 0);
    if (root != NULL) {
        unsigned before = errors.errors;
        int r = schema_parse(&env, root, root->place, options, &conf, NULL, NULL, NULL);
        assert(r < 0 || errors.errors == before);
        assert(r == 0 || errors.errors > 0); /* a secret that is not there was told by the loader, and only there */
        if (r == 0)
            check_values(&conf);
        /* A profile over it: all stays in range whatever the profile says. */
        if (r == 0 && schema_override(&env, root, options, &conf, NULL) == 0)
            check_values(&conf);
    }
    check_messages(&errors, memmem(data, size, SECRET, strlen(SECRET)) != NULL);
    config_errors_free(&errors);
    arena_fini(&arena);
    return 0;
}
