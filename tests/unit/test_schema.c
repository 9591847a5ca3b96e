/* SPDX-License-Identifier: Apache-2.0 */
/* test_schema.c - options of every type, good and bad, and exactly what is said. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/schema.h"
#include "config/value.h"

/* ---- an option table with every type ---------------------------------------- */

struct rule {
    tern_str host;
    unsigned port;
    struct tern_records inner;
};

struct leaf {
    bool on;
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

static const char *const colours[] = { "red", "green", "blue", NULL };

static const struct tern_option leaf_options[] = {
    TERN_OPTION_BOOL(struct leaf, on, NULL, "Whether."),
    TERN_OPTIONS_END,
};

static const struct tern_option rule_options[] = {
    TERN_OPTION_STRING(struct rule, host, NULL, "Where to."),
    TERN_OPTION_UINT(struct rule, port, "25", 1, 65535, "Port."),
    TERN_OPTION_RECORDS(struct rule, inner, leaf_options, struct leaf, 0, 2, "Leaves."),
    TERN_OPTIONS_END,
};

static const struct tern_option options[] = {
    TERN_OPTION_BOOL(struct all, flag, "yes", "A flag."),
    TERN_OPTION_INT(struct all, offset, "-3", -10, 10, "A number."),
    TERN_OPTION_UINT(struct all, max, "100", 1, 10000, "A count."),
    TERN_OPTION_SIZE(struct all, room, "10MB", 1024, INT64_C(1) << 30, "A size."),
    TERN_OPTION_SECONDS(struct all, delay, "5m", 1, 86400, "A delay."),
    TERN_OPTION_MS(struct all, pause, "300ms", 1, 60000, "A pause."),
    TERN_OPTION_RATE(struct all, rate, "100/1m", "A rate."),
    TERN_OPTION_PERCENT(struct all, share, "20%", "A share."),
    TERN_OPTION_STRING(struct all, name, "%{x}: y", "A name."),
    TERN_OPTION_ENUM(struct all, colour, "green", colours, "A colour."),
    TERN_OPTION_LIST(struct all, zones, "[a.example, b.example]", 1, 3, "Zones."),
    TERN_OPTION_MAP(struct all, names, "{ a: b }", "Names."),
    TERN_OPTION_CIDRS(struct all, nets, "[127.0.0.0/8, \"::1\"]", "Networks."),
    TERN_OPTION_ADDRESS(struct all, source, "", "An address."),
    TERN_OPTION_PATH(struct all, file, "", "A file."),
    TERN_OPTION_SECRET(struct all, password, "", "A secret | not shown."),
    { .size = sizeof(struct tern_option),
      .key = "pattern",
      .type = TERN_TYPE_REGEX,
      .text = "",
      .offset = offsetof(struct all, pattern),
      .doc = "Later." },
    TERN_OPTION_TABLE(struct all, users, "", "Users."),
    TERN_OPTION_RECORDS(struct all, rules, rule_options, struct rule, 0, 3, "Rules."),
    TERN_OPTIONS_END,
};

static const struct tern_option strict_options[] = {
    TERN_OPTION_UINT(struct all, max, NULL, 2, 0, "Must be there."),
    TERN_OPTIONS_END,
};

/* ---- fixture ------------------------------------------------------------------ */

static struct arena arena;
static struct config_errors errors;

static const struct tern_table *any_table(void *arg, const struct yaml_node *node)
{
    return (const struct tern_table *)(const void *)node;
}

static struct schema_env env = { .arena = &arena, .errors = &errors, .table = any_table };

static void begin(void)
{
    arena_init(&arena);
}

static void end(void)
{
    config_errors_free(&errors);
    arena_fini(&arena);
}

static const char *said(void)
{
    return errors.text.len > 0 ? errors.text.data : "";
}

static bool same(const char *name, const char *got, const char *want)
{
    if (strcmp(got, want) == 0)
        return true;
    fprintf(stderr, "  case \"%s\": got\n%s  want\n%s", name, got, want);
    return false;
}

static bool is(tern_str s, const char *want)
{
    return s.len == strlen(want) && memcmp(s.ptr, want, s.len + 1) == 0;
}

static const char *const reserved[] = { "name", "when", "mode", NULL };

/* ---- secrets --------------------------------------------------------------------------- */

#define SECRET "hunter2-s3cret"

static void test_secrets(void)
{
    struct all conf;

    begin();
    (void)setenv("TERN_TEST_SECRET", SECRET, 1);
    char path[] = "/tmp/tern-secret-XXXXXX";
    int fd = mkstemp(path);
    CU_ASSERT_EQUAL(write(fd, SECRET "\n", sizeof(SECRET)), sizeof(SECRET));
    (void)close(fd);
    const char *text =
        arena_printf(&arena, "password: !file %s\nfile: !env TERN_TEST_SECRET\n", path + 5);
    struct yaml_node *root = yaml_load_text(&arena, slice_cstr(text), "t.yaml", "/tmp", &errors);
    (void)unlink(path);
    CU_ASSERT_TRUE(same("secrets", said(), ""));
    memset(&conf, 0, sizeof(conf));
    CU_ASSERT_EQUAL(schema_parse(&env, root, root->place, options, &conf, NULL, NULL, NULL), 0);
    CU_ASSERT_TRUE(is(conf.password, SECRET));
    end();
}

/* Whatever option a secret is given to, no message repeats it; nor one in clear of type SECRET. */
static void test_secrets_are_not_printed(void)
{
    struct all conf;

    for (const struct tern_option *o = options; o->size != 0; o = schema_next(o)) {
        static const char *const forms[] = { "%s: !env TERN_TEST_SECRET\n",
                                             "%s: [!env TERN_TEST_SECRET]\n",
                                             "%s: { x: !env TERN_TEST_SECRET }\n",
                                             "%s: [[!env TERN_TEST_SECRET]]\n" };
        for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
            CLEANUP_BUF struct buf text = BUF_INIT;
            begin();
            memset(&conf, 0, sizeof(conf));
            buf_printf(&text, forms[i], o->key);
            struct yaml_node *root =
                yaml_load_text(&arena, buf_slice(&text), "t.yaml", "/tmp", &errors);
            CU_ASSERT_PTR_NOT_NULL_FATAL(root);
            (void)schema_parse(&env, root, root->place, options, &conf, NULL, NULL, NULL);
            CU_ASSERT_PTR_NULL(strstr(said(), SECRET));
            end();
        }
    }
}

/* ---- options ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    const char *text;
    const char *want;
} option_cases[] = {
    { "nothing is all defaults", "", "" },
    { "reserved keys are skipped", "name: [x]\nwhen: y\n", "" },
    { "bool", "flag: maybe\n", "flag: expected true or false; got \"maybe\"" },
    { "bool without a value", "flag:\n", "flag: expected true or false; got nothing" },
    { "bool as a list", "flag: [yes]\n", "flag: expected true or false; got a list" },
    { "int at the bound", "offset: -10\n", "" },
    { "int one below", "offset: -11\n", "offset: expected a whole number: -10 to 10; got \"-11\"" },
    { "int as a fraction", "offset: 1.5\n", "offset: expected a whole number; got \"1.5\"" },
    { "int too large for any", "offset: 9223372036854775808\n",
      "offset: expected a whole number; got \"9223372036854775808\"" },
    { "uint at the bound", "max: 10000\n", "" },
    { "uint one above", "max: 10001\n", "max: expected a whole number: 1 to 10000; got \"10001\"" },
    { "uint zero", "max: 0\n", "max: expected a whole number: 1 to 10000; got \"0\"" },
    { "uint negative", "max: -1\n", "max: expected a whole number, not negative; got \"-1\"" },
    { "uint hexadecimal", "max: 0x10\n",
      "max: expected a whole number, not negative; got \"0x10\"" },
    { "uint enormous", "max: 18446744073709551615\n",
      "max: expected a whole number: 1 to 10000; got \"18446744073709551615\"" },
    { "size with unit", "room: 64KB\n", "" },
    { "size at the bound", "room: 1GB\n", "" },
    { "size one above", "room: 1073741825\n",
      "room: expected a size: 1KB to 1GB; got \"1073741825\"" },
    { "size of another unit", "room: 5 bananas\n",
      "room: expected a size such as 64KB or 10MB; got \"5 bananas\"" },
    { "size that overflows", "room: 99999999999TB\n",
      "room: expected a size such as 64KB or 10MB; got \"99999999999TB\"" },
    { "duration in words", "delay: 5 minutes\n",
      "delay: expected a duration such as 30s, 5m, 4h, 5d; got \"5 minutes\"" },
    { "duration in quotes", "delay: \"90\"\n", "" },
    { "duration at the bound", "delay: 1d\n", "" },
    { "duration one above", "delay: 86401\n",
      "delay: expected a duration: 1s to 1d; got \"86401\"" },
    { "duration below a second", "delay: 1500ms\n",
      "delay: expected a duration in whole seconds; got \"1500ms\"" },
    { "duration that overflows", "delay: 99999999999999d\n",
      "delay: expected a duration such as 30s, 5m, 4h, 5d; got \"99999999999999d\"" },
    { "pause too long", "pause: 61\n", "pause: expected a duration: 1ms to 1m; got \"61\"" },
    { "pause in another unit", "pause: 5y\n",
      "pause: expected a duration such as 300ms, 5s, 1m; got \"5y\"" },
    { "rate", "rate: 5/s\n", "" },
    { "rate without time", "rate: 5\n", "rate: expected a rate such as 100/1m; got \"5\"" },
    { "rate over no time", "rate: 5/0s\n", "rate: expected a rate such as 100/1m; got \"5/0s\"" },
    { "rate of none", "rate: 0/1s\n", "rate: expected a rate such as 100/1m; got \"0/1s\"" },
    { "percent at the bound", "share: 100%\n", "" },
    { "percent one above", "share: 101%\n",
      "share: expected a percentage from 0% to 100%; got \"101%\"" },
    { "percent that is none", "share: many\n",
      "share: expected a percentage such as 20%; got \"many\"" },
    { "enum", "colour: blue\n", "" },
    { "enum almost", "colour: gren\n",
      "colour: expected one of red, green, blue; got \"gren\"; did you mean \"green\"?" },
    { "enum not at all", "colour: mauve\n",
      "colour: expected one of red, green, blue; got \"mauve\"" },
    { "list of one", "zones: x.example\n", "" },
    { "list at the bound", "zones: [a, b, c]\n", "" },
    { "list one above", "zones: [a, b, c, d]\n", "zones: expected 1 to 3 entries; got 4" },
    { "list empty", "zones: []\n", "zones: expected 1 to 3 entries; got 0" },
    { "list as a map", "zones: { a: b }\n", "zones: expected a list such as [a, b]; got a map" },
    { "list as a table", "zones: { table: x }\n",
      "zones: expected a list such as [a, b]; got a table, which this option does not take" },
    { "list without a value", "zones:\n", "zones: expected a list such as [a, b]; got nothing" },
    { "list with a list", "zones: [[a]]\n",
      "zones: expected a word as entry of the list; got a list" },
    { "map as a list", "names: [a]\n", "names: expected a map such as { key: value }; got a list" },
    { "map of maps", "names: { a: { b: c } }\n",
      "names: expected a word as value of the map; got a map" },
    { "networks", "nets: [10.0.0.0/8, \"2001:db8::/32\", 192.0.2.1]\n", "" },
    { "host bits", "nets: [10.0.0.1/8]\n",
      "nets: the address has bits set behind its prefix; the network is 10.0.0.0/8; got "
      "\"10.0.0.1/8\"" },
    { "host bits of IPv6", "nets: \"2001:db8::1/32\"\n",
      "nets: the address has bits set behind its prefix; the network is 2001:db8::/32; got "
      "\"2001:db8::1/32\"" },
    { "prefix too long", "nets: 10.0.0.0/33\n",
      "nets: expected a prefix length from 0 to 32 behind the slash; got \"10.0.0.0/33\"" },
    { "prefix with a zero", "nets: 10.0.0.0/08\n",
      "nets: expected a prefix length from 0 to 32 behind the slash; got \"10.0.0.0/08\"" },
    { "not a network", "nets: localhost\n",
      "nets: expected a network such as 192.0.2.0/24 or 2001:db8::/32, or an address; got "
      "\"localhost\"" },
    { "address", "source: \"[2001:db8::1]:25\"\n", "" },
    { "address with port 0", "source: 192.0.2.1:0\n",
      "source: expected an address such as 192.0.2.1, 192.0.2.1:25 or \"[2001:db8::1]:25\"; got "
      "\"192.0.2.1:0\"" },
    { "address that is a name", "source: mx.example\n",
      "source: expected an address such as 192.0.2.1, 192.0.2.1:25 or \"[2001:db8::1]:25\"; got "
      "\"mx.example\"" },
    { "path empty", "file: \"\"\n", "file: expected the path of a file or folder; got \"\"" },
    { "secret as a map", "password: { a: b }\n",
      "password: expected a secret: !env NAME, !file PATH, or in clear; got a map" },
    { "regex", "pattern: a.*\n", "pattern: regular expressions are not supported yet" },
    { "records", "rules: [{ host: a, port: 1 }, { host: b, inner: { on: no } }]\n", "" },
    { "one record", "rules: { host: a }\n", "" },
    { "record without host", "rules: [{ port: 26 }]\n",
      "@1:9 option \"host\" is missing (string)" },
    { "record that is a word", "rules: [x]\n",
      "rules: expected a map as entry of the list; got \"x\"" },
    { "records that are a word", "rules: x\n",
      "rules: expected a list of maps such as [{ key: value }]; got \"x\"" },
    { "one record too many", "rules: [{ host: a }, { host: a }, { host: a }, { host: a }]\n",
      "rules: expected 0 to 3 entries; got 4" },
    { "record with a bad value", "rules: [{ host: a }, { host: b, port: 0 }]\n",
      "@1:39 port: expected a whole number: 1 to 65535; got \"0\"" },
    { "record in a record", "rules:\n  - host: a\n    inner: [{ on: 5 }]\n",
      "@3:19 on: expected true or false; got \"5\"" },
    { "unknown key of a record", "rules: [{ host: a, prot: 1 }]\n",
      "@1:20 unknown option \"prot\"; did you mean \"port\"?" },
    { "unknown key, almost", "dealy: 5m\n",
      "@1:1 unknown option \"dealy\"; did you mean \"delay\"?" },
    { "unknown key, dash for underscore", "pass-word: x\n",
      "@1:1 unknown option \"pass-word\"; did you mean \"password\"?" },
    { "unknown key like a reserved one", "whem: x\n",
      "@1:1 unknown option \"whem\"; did you mean \"when\"?" },
    { "long values are cut",
      "flag: aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1\n",
      "flag: expected true or false; got "
      "\"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff...\"" },
};

static bool parse_text(const char *text, struct all *conf)
{
    struct place where = { "t.yaml", 9, 9 };
    struct yaml_node *root =
        yaml_load_text(&arena, slice_cstr(text), "t.yaml", "/etc/tern", &errors);

    memset(conf, 0, sizeof(*conf));
    if (root == NULL)
        return false;
    return schema_parse(&env, root, where, options, conf, NULL, NULL, reserved) == 0;
}

/* The want of a case begins with @line:col, or the value's place is taken as it is. */
static void check_said(const char *name, const char *want)
{
    const char *got = said();

    if (want[0] == '\0') {
        CU_ASSERT_TRUE(same(name, got, ""));
        return;
    }
    const char *error = strstr(got, " error: ");
    CU_ASSERT_PTR_NOT_NULL_FATAL(error);
    CLEANUP_BUF struct buf whole = BUF_INIT;
    if (want[0] == '@') {
        const char *blank = strchr(want, ' ');
        buf_printf(&whole, "t.yaml:%.*s: error:%s\n", (int)(blank - want - 1), want + 1, blank);
        CU_ASSERT_TRUE(same(name, got, whole.data));
    } else {
        buf_printf(&whole, " error: %s\n", want);
        CU_ASSERT_TRUE(same(name, error, whole.data));
        CU_ASSERT_EQUAL(strncmp(got, "t.yaml:1:", 9), 0);
    }
}

static void test_options(void)
{
    for (size_t i = 0; i < sizeof(option_cases) / sizeof(option_cases[0]); i++) {
        struct all conf;
        begin();
        bool good = parse_text(option_cases[i].text, &conf);
        check_said(option_cases[i].name, option_cases[i].want);
        CU_ASSERT_EQUAL(good, option_cases[i].want[0] == '\0');
        CU_ASSERT_EQUAL(errors.errors, !good);
        end();
    }
}

static void test_defaults(void)
{
    struct all c;

    begin();
    CU_ASSERT_EQUAL(schema_parse(&env, NULL, (struct place){ "t", 1, 1 }, options,
                                 memset(&c, 0xff, sizeof(c)), NULL, NULL, NULL),
                    0);
    CU_ASSERT_TRUE(same("defaults", said(), ""));
    CU_ASSERT_TRUE(c.flag);
    CU_ASSERT_EQUAL(c.offset, -3);
    CU_ASSERT_EQUAL(c.max, 100);
    CU_ASSERT_EQUAL(c.room, 10u << 20);
    CU_ASSERT_EQUAL(c.delay_s, 300);
    CU_ASSERT_EQUAL(c.pause_ms, 300);
    CU_ASSERT_EQUAL(c.rate.count, 100);
    CU_ASSERT_EQUAL(c.rate.per_ms, 60000);
    CU_ASSERT_EQUAL(c.share, 20);
    CU_ASSERT_TRUE(is(c.name, "%{x}: y"));
    CU_ASSERT_EQUAL(c.colour, 1);
    CU_ASSERT_EQUAL(c.zones.count, 2);
    CU_ASSERT_TRUE(is(c.zones.items[1], "b.example"));
    CU_ASSERT_EQUAL(c.names.count, 1);
    CU_ASSERT_TRUE(is(c.names.keys[0], "a"));
    CU_ASSERT_TRUE(is(c.names.values[0], "b"));
    CU_ASSERT_TRUE(cidrs_match(c.nets, &(tern_address){ .family = 4, .octets = { 127, 9, 9, 9 } }));
    CU_ASSERT_EQUAL(c.source.family, 0);
    CU_ASSERT_TRUE(is(c.file, ""));
    CU_ASSERT_TRUE(is(c.password, ""));
    CU_ASSERT_PTR_NULL(c.users);
    CU_ASSERT_EQUAL(c.rules.count, 0);
    end();
}

static void test_values(void)
{
    struct all c;

    begin();
    CU_ASSERT_TRUE(parse_text(
        "flag: off\npause: 2\nsource: 192.0.2.1:26\nfile: ./keys/a.pem\nusers: [a]\n"
        "rules:\n  - { host: a, inner: [{ on: yes }, { on: no }] }\n  - { host: b, port: 26 }\n"
        "zones: \"a, b\"\n",
        &c));
    CU_ASSERT_TRUE(same("values", said(), ""));
    CU_ASSERT_FALSE(c.flag);
    CU_ASSERT_EQUAL(c.pause_ms, 2000); /* no unit: seconds */
    CU_ASSERT_EQUAL(c.source.family, 4);
    CU_ASSERT_EQUAL(c.source.port, 26);
    CU_ASSERT_TRUE(is(c.file, "/etc/tern/keys/a.pem"));
    CU_ASSERT_PTR_NOT_NULL(c.users);
    CU_ASSERT_EQUAL(c.rules.count, 2);
    const struct rule *rules = c.rules.items;
    CU_ASSERT_TRUE(is(rules[0].host, "a"));
    CU_ASSERT_EQUAL(rules[0].port, 25);
    CU_ASSERT_EQUAL(rules[0].inner.count, 2);
    CU_ASSERT_TRUE(((const struct leaf *)rules[0].inner.items)[0].on);
    CU_ASSERT_EQUAL(rules[1].port, 26);
    end();
    begin();
    CU_ASSERT_TRUE(parse_text("zones: a, b\n", &c)); /* probably a list; said, not guessed */
    CU_ASSERT_STRING_EQUAL(
        said(), "t.yaml:1:8: warning: zones: this is one value; a list is written [a, b]\n");
    CU_ASSERT_EQUAL(c.zones.count, 1);
    end();
}

static void test_all_errors_at_once(void)
{
    struct all c;

    begin();
    CU_ASSERT_FALSE(
        parse_text("flag: maybe\nmax: 0\nmax: 1\nfoo: bar\nnets: [1.2.3.4/5, x]\n", &c));
    CU_ASSERT_EQUAL(errors.errors, 6);
    end();
}

static void test_missing(void)
{
    struct all c;
    struct place where = { "t.yaml", 7, 5 };

    begin();
    CU_ASSERT_EQUAL(schema_parse(&env, NULL, where, strict_options, &c, NULL, NULL, NULL), -EINVAL);
    CU_ASSERT_STRING_EQUAL(said(), "t.yaml:7:5: error: option \"max\" is missing (number)\n");
    end();
    begin();
    struct yaml_node *root = yaml_load_text(&arena, SLICE("max: 1\n"), "t.yaml", NULL, &errors);
    CU_ASSERT_EQUAL(schema_parse(&env, root, where, strict_options, &c, NULL, NULL, NULL), -EINVAL);
    CU_ASSERT_STRING_EQUAL(
        said(), "t.yaml:1:6: error: max: expected a whole number: at least 2; got \"1\"\n");
    end();
    begin();
    root = yaml_load_text(&arena, SLICE("a: [x]\n"), "t.yaml", NULL, &errors);
    CU_ASSERT_EQUAL(
        schema_parse(&env, yaml_get(root, "a"), where, strict_options, &c, NULL, NULL, NULL),
        -EINVAL);
    CU_ASSERT_STRING_EQUAL(said(),
                           "t.yaml:1:4: error: expected a map of options (key: value); got a list\n"
                           "t.yaml:7:5: error: option \"max\" is missing (number)\n");
    end();
    begin();
    root = yaml_load_text(&arena, SLICE("max: 3\nzzzzzz: 1\n"), "t.yaml", NULL, &errors);
    CU_ASSERT_EQUAL(schema_parse(&env, root, where, strict_options, &c, NULL, NULL, NULL), -EINVAL);
    CU_ASSERT_STRING_EQUAL(said(),
                           "t.yaml:2:1: error: unknown option \"zzzzzz\"; known here: max\n");
    end();
}

static void test_override(void)
{
    struct all c;
    struct rule script = { .port = 1 };

    begin();
    CU_ASSERT_TRUE(parse_text("max: 7\ndelay: 1m\n", &c));
    struct yaml_node *profile =
        yaml_load_text(&arena, SLICE("delay: 15m\nmode: x\n"), "t.yaml", NULL, &errors);
    CU_ASSERT_EQUAL(schema_override(&env, profile, options, &c, reserved), 0);
    CU_ASSERT_EQUAL(c.delay_s, 900);
    CU_ASSERT_EQUAL(c.max, 7); /* absent keys stay, defaults are not put back */
    profile = yaml_load_text(&arena, SLICE("delay: 16m\nport: 99\n"), "t.yaml", NULL, &errors);
    CU_ASSERT_EQUAL(
        schema_override_both(&env, profile, options, &c, rule_options, &script, reserved), 0);
    CU_ASSERT_EQUAL(c.delay_s, 960);
    CU_ASSERT_EQUAL(script.port, 99);
    CU_ASSERT_EQUAL(schema_override(&env, profile, options, &c, reserved), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(said(), "t.yaml:2:1: error: unknown option \"port\""));
    end();
}

static void test_two_tables(void)
{
    struct all c;
    struct rule script;

    begin();
    struct yaml_node *root =
        yaml_load_text(&arena, SLICE("max: 3\nhost: h\n"), "t.yaml", NULL, &errors);
    CU_ASSERT_EQUAL(
        schema_parse(&env, root, root->place, strict_options, &c, rule_options, &script, NULL), 0);
    CU_ASSERT_EQUAL(c.max, 3);
    CU_ASSERT_TRUE(is(script.host, "h"));
    CU_ASSERT_EQUAL(script.port, 25);
    end();
}

/* Entries of a newer module may be larger than ours: the stride is the entry's. */
static void test_stride(void)
{
    struct wide_option {
        struct tern_option option;
        uint64_t later[3];
    } wide[3] = { { .option = strict_options[0] },
                  { .option = options[4] },
                  { .option = { .size = 0 } } };
    struct all c;

    begin();
    wide[0].option.size = wide[1].option.size = sizeof(wide[0]);
    struct yaml_node *root =
        yaml_load_text(&arena, SLICE("max: 3\ndelay: 9s\n"), "t.yaml", NULL, &errors);
    CU_ASSERT_EQUAL(schema_parse(&env, root, root->place, &wide[0].option, &c, NULL, NULL, NULL),
                    0);
    CU_ASSERT_EQUAL(c.max, 3);
    CU_ASSERT_EQUAL(c.delay_s, 9);
    end();
}

/* ---- tables of modules that cannot be used ------------------------------------------------- */

static const struct tern_option endless_options[] = {
    TERN_OPTION_RECORDS(struct rule, inner, endless_options, struct rule, 0, 0, ""),
    TERN_OPTIONS_END,
};

#define BAD_TABLE(...)                                                                             \
    (const struct tern_option[])                                                                   \
    {                                                                                              \
        { __VA_ARGS__ }, TERN_OPTIONS_END                                                          \
    }
#define ENTRY(k, t) .size = sizeof(struct tern_option), .key = k, .type = t, .text = ""

static void test_check(void)
{
    const struct {
        const char *name;
        const struct tern_option *options;
        size_t conf_size;
        const char *want; /* "": good */
    } cases[] = {
        { "no table", NULL, 0, "" },
        { "a rule", rule_options, sizeof(struct rule), "" },
        { "a later type", options, sizeof(struct all),
          "option 17 (pattern): its type is unknown or not supported yet" },
        { "a field behind the end", rule_options, sizeof(struct rule) - 1,
          "option 3 (inner): its field lies outside the struct" },
        { "no struct", rule_options, 0, "option 1 (host): its field lies outside the struct" },
        { "records in themselves", endless_options, sizeof(struct rule),
          "option 1: records lie too deep" },
        { "no key", BAD_TABLE(ENTRY(NULL, TERN_TYPE_BOOL)), 8,
          "option 1 (): its key is not a word of a-z, 0-9 and _" },
        { "a strange key", BAD_TABLE(ENTRY("a-b", TERN_TYPE_BOOL)), 8,
          "option 1 (a-b): its key is not a word of a-z, 0-9 and _" },
        { "a type of a later server", BAD_TABLE(ENTRY("a", 99)), 8,
          "option 1 (a): its type is unknown or not supported yet" },
        { "no values", BAD_TABLE(ENTRY("a", TERN_TYPE_ENUM)), 8, "option 1 (a): it has no values" },
        { "no records", BAD_TABLE(ENTRY("a", TERN_TYPE_RECORDS)), 16,
          "option 1 (a): it has no table of records" },
        { "a range without numbers", BAD_TABLE(ENTRY("a", TERN_TYPE_INT), .min = 5, .max = 4), 8,
          "option 1 (a): its range is empty" },
        { "a wrong offset", BAD_TABLE(ENTRY("a", TERN_TYPE_INT), .offset = SIZE_MAX), 8,
          "option 1 (a): its field lies outside the struct" },
        { "too small an entry", BAD_TABLE(.size = 8, .key = "a"), 8,
          "option 1: its entry has a wrong size" },
        { "a default of another type",
          BAD_TABLE(.size = sizeof(struct tern_option), .key = "a", .type = TERN_TYPE_SECONDS,
                    .text = "soon"),
          8,
          "default of option error: a: expected a duration such as 30s, 5m, 4h, 5d; got \"soon\"" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char error[200] = "";
        int r = schema_check(cases[i].options, cases[i].conf_size, error, sizeof(error));
        CU_ASSERT_TRUE(same(cases[i].name, error, cases[i].want));
        CU_ASSERT_EQUAL(r, cases[i].want[0] == '\0' ? 0 : -EINVAL);
    }
}

/* ---- networks --------------------------------------------------------------------------- */

static tern_address address(const char *text)
{
    tern_address a = { .family = 0 };

    CU_ASSERT_TRUE(value_host(slice_cstr(text), &a));
    return a;
}

static void test_cidrs(void)
{
    struct all c;
    static const struct {
        const char *address;
        bool in;
    } cases[] = {
        { "10.0.0.0", true },        { "10.255.255.255", true },
        { "9.255.255.255", false },  { "11.0.0.0", false },
        { "10.1.2.3", true },        { "192.0.2.1", true },
        { "192.0.2.2", false },      { "0.0.0.0", false },
        { "2001:db8::", true },      { "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true },
        { "2001:db9::", false },     { "::", false },
        { "255.255.255.255", true }, { "::ffff:10.1.2.3", true },
        { "::10.0.0.1", false },     { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true },
    };

    begin();
    CU_ASSERT_TRUE(parse_text(
        "nets: [255.255.255.255, 10.1.0.0/16, 10.0.0.0/8, 10.0.0.0/9, 192.0.2.1, 192.0.2.1/32,"
        " \"2001:db8::/32\", \"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\"]\n",
        &c));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tern_address a = address(cases[i].address);
        if (cidrs_match(c.nets, &a) != cases[i].in)
            fprintf(stderr, "  %s\n", cases[i].address);
        CU_ASSERT_EQUAL(cidrs_match(c.nets, &a), cases[i].in);
    }
    CU_ASSERT_FALSE(cidrs_match(c.nets, &(tern_address){ .family = 0 }));
    CU_ASSERT_FALSE(cidrs_match(NULL, &(tern_address){ .family = 4 }));
    CU_ASSERT_TRUE(parse_text("nets: [0.0.0.0/0]\n", &c));
    CU_ASSERT_TRUE(cidrs_match(c.nets, &(tern_address){ .family = 4 }));
    CU_ASSERT_FALSE(cidrs_match(c.nets, &(tern_address){ .family = 6 }));
    CU_ASSERT_TRUE(parse_text("nets: [\"::/0\"]\n", &c));
    CU_ASSERT_TRUE(cidrs_match(c.nets, &(tern_address){ .family = 6 }));
    end();
}

static void test_many_cidrs(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct all c;

    begin();
    buf_add_cstr(&text, "nets:\n");
    for (unsigned i = 0; i < 100000; i++)
        buf_printf(&text, "- %u.%u.%u.0/24\n", 1 + i / 65536 * 2, i / 256 % 256, i % 256);
    CU_ASSERT_TRUE_FATAL(parse_text(text.data, &c));
    uint64_t began = clock_now_us();
    unsigned found = 0;
    for (unsigned i = 0; i < 200000; i++) {
        tern_address a = {
            .family = 4, .octets = { (uint8_t)(1 + i / 65536), (uint8_t)(i / 256), (uint8_t)i, 9 }
        };
        found += cidrs_match(c.nets, &a);
    }
    CU_ASSERT_EQUAL(found, 100000);
    printf("(200000 look-ups in 100000 networks: %llu us) ",
           (unsigned long long)(clock_now_us() - began));
    end();
}

/* ---- words ---------------------------------------------------------------------------------- */

static void test_addresses(void)
{
    static const struct {
        const char *text;
        bool good;
        uint8_t family;
        uint16_t port;
    } cases[] = {
        { "192.0.2.1", true, 4, 0 },
        { "192.0.2.1:65535", true, 4, 65535 },
        { "192.0.2.1:65536", false, 0, 0 },
        { "192.0.2.1:", false, 0, 0 },
        { "::1", true, 6, 0 },
        { "[::1]", true, 6, 0 },
        { "[::1]:25", true, 6, 25 },
        { "[::1]:", false, 0, 0 },
        { "[::1", false, 0, 0 },
        { "[::1]25", false, 0, 0 },
        { "[192.0.2.1]:25", false, 0, 0 },
        { "01.2.3.4", false, 0, 0 },
        { "1.2.3", false, 0, 0 },
        { "fe80::1%eth0", false, 0, 0 },
        { "", false, 0, 0 },
        { "[]", false, 0, 0 },
        { "[]:25", false, 0, 0 },
        { ":25", false, 0, 0 },
        { "::ffff:192.0.2.1", true, 4, 0 },
        { "1.2.3.4:5:6", false, 0, 0 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        tern_address a = { .family = 0 };
        bool good = value_address(slice_cstr(cases[i].text), &a);
        if (good != cases[i].good)
            fprintf(stderr, "  address %s\n", cases[i].text);
        CU_ASSERT_EQUAL(good, cases[i].good);
        CU_ASSERT_EQUAL(a.family, cases[i].family);
        CU_ASSERT_EQUAL(a.port, cases[i].port);
    }
}

static void test_amounts(void)
{
    static const struct {
        const char *text;
        uint64_t ms; /* UINT64_MAX: bad */
    } durations[] = {
        { "90", 90000 },
        { "300ms", 300 },
        { "5m", 300000 },
        { "4h", 14400000 },
        { "5d", 432000000 },
        { "1w", 604800000 },
        { "0", 0 },
        { "36500d", VALUE_DURATION_MS_MAX },
        { "36501d", UINT64_MAX },
        { "-5s", UINT64_MAX },
        { "5 s", UINT64_MAX },
        { "s", UINT64_MAX },
        { "", UINT64_MAX },
        { "1h30m", UINT64_MAX },
    };
    static const struct {
        const char *text;
        uint64_t octets;
    } sizes[] = {
        { "64KB", 65536 },
        { "10mb", 10485760 },
        { "1G", 1u << 30 },
        { "2TB", UINT64_C(2) << 40 },
        { "7", 7 },
        { "9223372036854775807", INT64_MAX },
        { "9223372036854775808", UINT64_MAX },
        { "1.5MB", UINT64_MAX },
    };

    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
        uint64_t got = UINT64_MAX;
        (void)schema_duration_ms(slice_cstr(durations[i].text), &got);
        CU_ASSERT_EQUAL(got, durations[i].ms);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t got = UINT64_MAX;
        (void)schema_size(slice_cstr(sizes[i].text), &got);
        CU_ASSERT_EQUAL(got, sizes[i].octets);
    }
}

static void test_markdown(void)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    schema_print_markdown(options, &out);
    static const char *const rows[] = {
        "| `max` | number | `100` | 1 to 10000 | A count. |\n",
        "| `room` | size | `10MB` | 1KB to 1GB | A size. |\n",
        "| `delay` | duration | `5m` | 1s to 1d | A delay. |\n",
        "| `colour` | one of `red`, `green`, `blue` | `green` |  | A colour. |\n",
        "| `password` | secret |  |  | A secret \\| not shown. |\n",
        "| `rules[].inner[].on` | true or false | required |  | Whether. |\n",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CU_ASSERT_PTR_NOT_NULL(strstr(out.data, rows[i]));
    for (const struct tern_option *o = options; o->size != 0; o = schema_next(o))
        CU_ASSERT_STRING_NOT_EQUAL(schema_type_name(o), "unknown");
}

int main(void)
{
    (void)setenv("TERN_TEST_SECRET", SECRET, 1);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("schema", NULL, NULL);
    CU_add_test(suite, "secrets", test_secrets);
    CU_add_test(suite, "secrets are not printed", test_secrets_are_not_printed);
    CU_add_test(suite, "options", test_options);
    CU_add_test(suite, "defaults", test_defaults);
    CU_add_test(suite, "values", test_values);
    CU_add_test(suite, "all errors at once", test_all_errors_at_once);
    CU_add_test(suite, "missing options", test_missing);
    CU_add_test(suite, "override", test_override);
    CU_add_test(suite, "two tables", test_two_tables);
    CU_add_test(suite, "stride", test_stride);
    CU_add_test(suite, "tables of modules", test_check);
    CU_add_test(suite, "networks", test_cidrs);
    CU_add_test(suite, "100,000 networks", test_many_cidrs);
    CU_add_test(suite, "addresses", test_addresses);
    CU_add_test(suite, "amounts", test_amounts);
    CU_add_test(suite, "markdown", test_markdown);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    (void)CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
