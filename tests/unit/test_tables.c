/* SPDX-License-Identifier: Apache-2.0 */
/* test_tables.c - named look-ups: inline, from files, while files change and threads look. */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "state/snapshot.h"
#include "state/table_file.h"
#include "state/tables.h"

static struct arena arena;
static struct config_errors errors;
static char folder[] = "/tmp/tern-tables-XXXXXX";

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

static struct yaml_node *yaml(const char *text)
{
    struct yaml_node *root = yaml_load_text(&arena, slice_cstr(text), "t.yaml", folder, &errors);
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    return root;
}

static const char *path_of(const char *name, char path[128])
{
    (void)snprintf(path, 128, "%s/%s", folder, name);
    return path;
}

/* As a careful operator does it: beside, then renamed. */
static void write_file(const char *name, struct slice text)
{
    char path[128], beside[160];

    (void)path_of(name, path);
    (void)snprintf(beside, sizeof(beside), "%s.new", path);
    FILE *f = fopen(beside, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(text.ptr, 1, text.len, f), text.len);
    (void)fclose(f);
    CU_ASSERT_EQUAL(rename(beside, path), 0);
}

/* "value", "" or "(absent)". */
static const char *look(const struct tern_table *table, const char *key)
{
    static char found[70000];
    struct table_hold *hold;
    tern_str value = { "untouched", 9 };
    enum tern_status status = table_lookup(table, slice_cstr(key), &value, &hold);

    if (status != TERN_FOUND) {
        CU_ASSERT_STRING_EQUAL(value.ptr, "untouched");
        return status == TERN_ABSENT ? "(absent)" : "(failed)";
    }
    CU_ASSERT_EQUAL(value.ptr[value.len], '\0');
    (void)snprintf(found, sizeof(found), "%s", value.ptr);
    table_hold_release(hold);
    return found;
}

/* ---- nodes --------------------------------------------------------------------- */

static const struct {
    const char *name, *text, *key;
    const char *want; /* what is found; or what is said, if it begins with "t.yaml" */
} node_cases[] = {
    { "a list", "x: [a, B]", "b", "" },
    { "case does not count", "x: [User@Example.ORG]", "user@EXAMPLE.org", "" },
    { "not there", "x: [a, b]", "c", "(absent)" },
    { "an empty key is in no table", "x: [a, b]", "", "(absent)" },
    { "a map", "x: { a: One, b: two }", "A", "One" },
    { "a word", "x: example.org", "example.org", "" },
    { "an empty list", "x: []", "a", "(absent)" },
    { "an empty map", "x: {}", "a", "(absent)" },
    { "by name", "x: { table: t }", "k", "v" },
    { "by a name that is not there", "x: { table: tt }", "k",
      "t.yaml:2:13: error: there is no table \"tt\"; did you mean \"t\"?\n" },
    { "by a strange name", "x: { table: zzz }", "k",
      "t.yaml:2:13: error: there is no table \"zzz\"\n" },
    { "by a list of names", "x: { table: [t] }", "k",
      "t.yaml:2:13: error: table: expected a name from \"tables\"; got a list\n" },
    { "by name and more", "x: { table: t, b: c }", "k",
      "t.yaml:2:16: error: unknown key \"b\" beside \"table\" (an entry of that name is written in "
      "quotes)\n" },
    { "an entry called table", "x: { \"table\": t, b: c }", "table", "t" },
    { "a list of lists", "x: [[a]]", "k",
      "t.yaml:2:5: error: expected a word in the table; got a list\n" },
    { "a map of maps", "x: { a: { b: c } }", "k",
      "t.yaml:2:6: error: a table by a: no module serves tables here\n" },
    { "a list with nothing in it", "x: [a, ]", "a", "" },
    { "an empty entry", "x: [\"\"]", "k",
      "t.yaml:2:5: error: expected a word in the table; got \"\"\n" },
    { "sql", "x: { sql: \"SELECT\" }", "k",
      "t.yaml:2:11: error: sql: expected a map of options (an entry of that name is written in quotes)\n" },
    { "ldap with more", "x: { ldap: ldaps://x, base: y }", "k",
      "t.yaml:2:23: error: unknown key \"base\" beside \"ldap\" (an entry of that name is written in "
      "quotes)\n" },
    { "redis", "x: { redis: { host: y } }", "k",
      "t.yaml:2:6: error: a table by redis: no module serves tables here\n" },
    { "a table's name where it stands for itself", "x: t", "t",
      "t.yaml:2:4: warning: this is a list with the entry \"t\"; the table of that name is { table: t }\n" },
    { "the same in a map", "x: { t: a }", "t", "a" },
    { "twice but for case", "x: [a, A]", "a",
      "t.yaml:2:4: warning: 1 entries stand twice (case does not count); the first is taken\n" },
    { "a secret as value is found and not said", "x: { a: !env TERN_TEST_SECRET }", "a", "hush" },
};

static void test_nodes(void)
{
    for (size_t i = 0; i < sizeof(node_cases) / sizeof(node_cases[0]); i++) {
        begin();
        struct yaml_node *root =
            yaml(arena_printf(&arena, "tables: { t: { k: v } }\n%s\n", node_cases[i].text));
        struct tables *tables = tables_new(&arena, yaml_get(root, "tables"), NULL, &errors);
        const struct tern_table *x = tables_resolve(tables, yaml_get(root, "x"));
        bool bad = strncmp(node_cases[i].want, "t.yaml", 6) == 0;
        CU_ASSERT_TRUE(same(node_cases[i].name, bad ? said() : look(x, node_cases[i].key),
                            node_cases[i].want));
        CU_ASSERT_TRUE(bad || errors.errors == 0);
        CU_ASSERT_EQUAL(x == NULL, bad && errors.errors > 0);
        CU_ASSERT_PTR_EQUAL(tables_resolve(tables, yaml_get(root, "x")),
                            x); /* the same node, the same table */
        tables_free(tables);
        end();
    }
}

static const struct {
    const char *name, *text, *want;
} tables_cases[] = {
    { "nothing", "tables:\n", "" },
    { "no map", "tables: [a]\n", "t.yaml:1:9: error: tables: expected a map of names\n" },
    { "one without contents", "tables: { a: }\n",
      "t.yaml:1:14: error: the table has no contents; an empty one is []\n" },
    { "one for another", "tables: { a: [x], b: { table: a } }\n",
      "t.yaml:1:24: error: a table cannot stand for another one\n" },
    { "sql, with the line", "tables:\n  a: [x]\n  b: { sql: y }\n",
      "t.yaml:3:13: error: sql: expected a map of options (an entry of that name is written in quotes)\n" },
    { "file without path", "tables: { a: { file: [x] } }\n",
      "t.yaml:1:22: error: file: expected the path of a file\n" },
    { "file with more", "tables: { a: { file: x, reload: 5 } }\n",
      "t.yaml:1:25: error: unknown key \"reload\" beside \"file\" (an entry of that name is "
      "written in quotes)\n" },
    { "a device", "tables: { a: { file: /dev/null } }\n",
      "t.yaml:1:22: error: cannot read the table /dev/null: not a regular file\n" },
    { "no such file", "tables: { a: { file: /nonexistent/x } }\n",
      "t.yaml:1:22: error: cannot read the table /nonexistent/x: No such file or directory\n" },
};

static void test_tables(void)
{
    for (size_t i = 0; i < sizeof(tables_cases) / sizeof(tables_cases[0]); i++) {
        begin();
        struct tables *tables =
            tables_new(&arena, yaml_get(yaml(tables_cases[i].text), "tables"), NULL, &errors);
        CU_ASSERT_TRUE(same(tables_cases[i].name, said(), tables_cases[i].want));
        tables_free(tables);
        end();
    }
    CU_ASSERT_TRUE(table_is_empty(NULL));
    tables_free(NULL);
}

/* ---- lines ------------------------------------------------------------------------- */

static const struct {
    const char *name;
    struct slice line;
    enum table_line want;
    const char *key, *value; /* or, for a bad one, why */
} line_cases[] = {
    { "a key", SLICE("example.org"), TABLE_LINE_ENTRY, "example.org", "" },
    { "key: value", SLICE("example.org: strict"), TABLE_LINE_ENTRY, "example.org", "strict" },
    { "key value", SLICE("example.org   strict mode "), TABLE_LINE_ENTRY, "example.org",
      "strict mode" },
    { "key : value", SLICE("example.org : strict"), TABLE_LINE_ENTRY, "example.org", "strict" },
    { "key:", SLICE("example.org:"), TABLE_LINE_ENTRY, "example.org", "" },
    { "a tab between", SLICE("\texample.org\tstrict\r"), TABLE_LINE_ENTRY, "example.org",
      "strict" },
    { "nothing", SLICE("  \t "), TABLE_LINE_EMPTY, NULL, NULL },
    { "a comment", SLICE("  # x"), TABLE_LINE_EMPTY, NULL, NULL },
    { "a comment behind", SLICE("a: b # c"), TABLE_LINE_ENTRY, "a", "b" },
    { "a comment behind a key", SLICE("a # c"), TABLE_LINE_ENTRY, "a", "" },
    { "# in a local part", SLICE("a#b@example.org: c#d"), TABLE_LINE_ENTRY, "a#b@example.org",
      "c#d" },
    { "a quoted local part", SLICE("\"john doe\"@example.org: x"), TABLE_LINE_ENTRY,
      "\"john doe\"@example.org", "x" },
    { "a quoted quote", SLICE("\"a\\\" b\"@x y"), TABLE_LINE_ENTRY, "\"a\\\" b\"@x", "y" },
    { "a quote that does not end", SLICE("\"john doe@example.org: x"), TABLE_LINE_BAD, NULL,
      "quote that does not end" },
    { "a backslash at the end", SLICE("\"a\\"), TABLE_LINE_BAD, NULL, "quote that does not end" },
    { "an IPv6 address", SLICE("2001:db8::1: x"), TABLE_LINE_ENTRY, "2001:db8::1", "x" },
    { "an IPv6 network", SLICE("2001:db8:: x"), TABLE_LINE_ENTRY, "2001:db8::", "x" },
    { "NUL", SLICE("a\0b"), TABLE_LINE_BAD, NULL, "control character" },
    { "CR inside", SLICE("a\rb"), TABLE_LINE_BAD, NULL, "control character" },
    { "Latin-1", SLICE("m\xfcller@example.org"), TABLE_LINE_BAD, NULL, "not UTF-8" },
    { "UTF-8", SLICE("m\xc3\xbcller@example.org"), TABLE_LINE_ENTRY, "m\xc3\xbcller@example.org",
      "" },
    { "a lone colon", SLICE(": x"), TABLE_LINE_ENTRY, ":", "x" },
};

static void test_lines(void)
{
    for (size_t i = 0; i < sizeof(line_cases) / sizeof(line_cases[0]); i++) {
        struct slice key = SLICE(""), value = SLICE("");
        const char *why = "";
        enum table_line got = table_line_parse(line_cases[i].line, &key, &value, &why);
        if (got != line_cases[i].want)
            fprintf(stderr, "  case \"%s\": got %d\n", line_cases[i].name, got);
        CU_ASSERT_EQUAL(got, line_cases[i].want);
        if (got == TABLE_LINE_BAD)
            CU_ASSERT_TRUE(same(line_cases[i].name, why, line_cases[i].value));
        if (got != TABLE_LINE_ENTRY)
            continue;
        CU_ASSERT_TRUE(slice_equal(key, slice_cstr(line_cases[i].key)));
        CU_ASSERT_TRUE(slice_equal(value, slice_cstr(line_cases[i].value)));
    }
}

static void test_line_bounds(void)
{
    static const struct {
        size_t key, value;
        bool good;
    } cases[] = { { 1024, 65535, true },
                  { 1025, 1, false },
                  { 1024, 65536, false },
                  { 1, 70000, false },
                  { 300000, 1, false } };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf text = BUF_INIT;
        struct snapshot *s = NULL;
        struct stat st;
        size_t twice;
        char path[128], error[TABLE_ERROR_OCTETS] = "";
        buf_add_cstr(&text, "first\n");
        for (size_t j = 0; j < cases[i].key; j++)
            buf_add_char(&text, 'k');
        buf_add_cstr(&text, ": ");
        for (size_t j = 0; j < cases[i].value; j++)
            buf_add_char(&text, 'v');
        write_file("long", buf_slice(&text));
        int r = table_file_read(path_of("long", path), &s, &twice, &st, error);
        CU_ASSERT_EQUAL(r == 0, cases[i].good);
        CU_ASSERT_EQUAL(strstr(error, "line 2") != NULL, !cases[i].good);
        if (r == 0)
            CU_ASSERT_EQUAL(snapshot_count(s), 2);
        snapshot_free(s);
        buf_free(&text);
    }
}

static void test_snapshot_bounds(void)
{
    struct snapshot_build build = SNAPSHOT_BUILD_INIT;

    CU_ASSERT_EQUAL(snapshot_add(&build, SLICE(""), SLICE("x")), -EINVAL);
    build.count = TABLE_ENTRIES_MAX - 1; /* as if so many were there */
    CU_ASSERT_EQUAL(snapshot_add(&build, SLICE("a"), SLICE("x")), 0);
    CU_ASSERT_EQUAL(snapshot_add(&build, SLICE("b"), SLICE("x")), -ENOSPC);
    snapshot_drop(&build);
}

/* ---- files -------------------------------------------------------------------------- */

static struct tables *one_file(const char *name, const struct tern_table **ret)
{
    struct yaml_node *root = yaml(arena_printf(&arena, "tables: { f: { file: %s } }\n", name));
    struct tables *tables = tables_new(&arena, yaml_get(root, "tables"), NULL, &errors);

    *ret = tables_get(tables, SLICE("f"));
    return tables;
}

static void test_file_changes(void)
{
    const struct tern_table *f;
    struct table_hold *hold;
    char path[128];
    tern_str old;

    begin();
    write_file("users", SLICE("a: 1\nb: 2\nA: 3\n"));
    struct tables *tables = one_file("users", &f);
    CU_ASSERT_TRUE(same("file", said(), ""));
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_STRING_EQUAL(look(f, "A"), "1");
    CU_ASSERT_EQUAL(table_lookup(f, SLICE("a"), &old, &hold), TERN_FOUND);
    write_file("users", SLICE("a: 9\nc: 2\n"));
    CU_ASSERT_STRING_EQUAL(look(f, "a"), "1"); /* not before the poll */
    tables_poll();
    CU_ASSERT_STRING_EQUAL(look(f, "a"), "9");
    CU_ASSERT_STRING_EQUAL(look(f, "b"), "(absent)");
    CU_ASSERT_STRING_EQUAL(old.ptr, "1"); /* who holds the old contents keeps them */
    table_hold_release(hold);
    write_file("users", SLICE("a: 1\nbad\x01line\n"));
    tables_poll();
    CU_ASSERT_STRING_EQUAL(look(f, "a"), "9"); /* broken: the old contents stay */
    (void)unlink(path_of("users", path));
    tables_poll();
    tables_poll();
    CU_ASSERT_STRING_EQUAL(look(f, "c"), "2");
    write_file("users", SLICE("a: 7\nc: 3\n"));
    tables_poll();
    CU_ASSERT_STRING_EQUAL(look(f, "a"), "7");
    CU_ASSERT_FALSE(table_is_empty(f));
    tables_free(tables);
    end();
}

/* Same size, same second, same inode: the change time tells. */
static void test_file_written_in_place(void)
{
    const struct tern_table *f;
    char path[128], text[8];

    begin();
    write_file("place", SLICE("a: 0\n"));
    struct tables *tables = one_file("place", &f);
    for (unsigned i = 1; i < 10; i++) {
        FILE *file = fopen(path_of("place", path), "r+");
        CU_ASSERT_PTR_NOT_NULL_FATAL(file);
        (void)fprintf(file, "a: %u\n", i);
        (void)fclose(file);
        tables_poll();
        (void)snprintf(text, sizeof(text), "%u", i);
        CU_ASSERT_STRING_EQUAL(look(f, "a"), text);
    }
    tables_free(tables);
    end();
}

static bool is_within_a_second(uint64_t began)
{
    return clock_now_us() < began + 900000;
}

/* An editor truncates, then writes: for a second nobody's mailbox is gone. What a busy machine makes longer proves nothing. */
static void test_file_truncated(void)
{
    const struct tern_table *f;
    char path[128];

    begin();
    write_file("trunc", SLICE("a\nb\nc\nd\n"));
    struct tables *tables = one_file("trunc", &f);
    uint64_t began = clock_now_us();
    FILE *file = fopen(path_of("trunc", path), "w");
    (void)fflush(file);
    tables_poll();
    const char *said_of_a = look(f, "a");
    CU_ASSERT_TRUE(strcmp(said_of_a, "") == 0 || !is_within_a_second(began));
    (void)fprintf(file, "a\nb\nc\ne\n");
    (void)fclose(file);
    tables_poll();
    CU_ASSERT_STRING_EQUAL(look(f, "e"), "");
    CU_ASSERT_STRING_EQUAL(look(f, "d"), "(absent)");
    began = clock_now_us();
    write_file("trunc", SLICE("# empty on purpose\n"));
    tables_poll();
    bool empty = table_is_empty(f);
    CU_ASSERT_TRUE(!empty || !is_within_a_second(began));
    (void)usleep(1100000);
    tables_poll();
    CU_ASSERT_TRUE(table_is_empty(f));
    tables_free(tables);
    end();
}

static void test_file_is_one(void)
{
    const struct tern_table *f, *g, *h;

    begin();
    write_file("one", SLICE("a: 1\n"));
    struct tables *first = one_file("one", &f);
    struct tables *second = one_file("./one", &g);
    CU_ASSERT_PTR_EQUAL(f, g); /* two generations, one table */
    tables_free(first);
    CU_ASSERT_STRING_EQUAL(look(g, "a"), "1");
    write_file("one", SLICE("a: \x02\n"));
    struct tables *third = one_file("one", &h); /* a reload finds it broken: refused */
    CU_ASSERT_PTR_NULL(h);
    CU_ASSERT_EQUAL(errors.errors, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(said(), "/one: control character in line 1\n"));
    CU_ASSERT_STRING_EQUAL(look(g, "a"), "1");
    tables_free(third);
    tables_free(second);
    end();
}

/* The node of an option's default is gone after the call, and the next may lie at its address. */
static void test_same_address(void)
{
    struct yaml_node item = { .kind = YAML_SCALAR, .text = SLICE("a"), .dir = "/tmp" };
    struct yaml_node key = item;
    struct yaml_node *items[] = { &item }, *keys[] = { &key };
    struct yaml_node list = { .kind = YAML_LIST, .items = items, .count = 1, .dir = "/tmp" };
    struct yaml_node map = {
        .kind = YAML_MAP, .items = items, .keys = keys, .count = 1, .dir = "/tmp"
    };

    begin();
    struct tables *tables = tables_new(&arena, NULL, NULL, &errors);
    const struct tern_table *a = tables_resolve(tables, &list);
    item.text = SLICE("b");
    const struct tern_table *b = tables_resolve(tables, &list);
    CU_ASSERT_PTR_NOT_EQUAL(a, b);
    CU_ASSERT_STRING_EQUAL(look(a, "a"), "");
    CU_ASSERT_STRING_EQUAL(look(b, "a"), "(absent)");
    CU_ASSERT_STRING_EQUAL(look(tables_resolve(tables, &map), "a"), "b");
    item.text = SLICE("a");
    CU_ASSERT_PTR_EQUAL(tables_resolve(tables, &list), a); /* the same said again */
    key.text = SLICE("table");
    CU_ASSERT_PTR_NULL(tables_resolve(tables, &map));
    key.quoted = true;
    CU_ASSERT_STRING_EQUAL(look(tables_resolve(tables, &map), "table"), "a");
    tables_free(tables);
    end();
}

static void test_error_sinks(void)
{
    begin();
    struct yaml_node *root = yaml("x: { table: t }\n");
    struct tables *tables = tables_new(&arena, NULL, NULL, &errors);
    tables_quiet(tables);
    CU_ASSERT_PTR_NULL(tables_resolve(tables, yaml_get(root, "x")));
    CU_ASSERT_EQUAL(errors.errors, 0);
    tables_free(tables);
    end();
}

/* ---- many --------------------------------------------------------------------------- */

static unsigned long resident_kb(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (f == NULL || fscanf(f, "%lu %lu", &pages, &resident) != 2)
        resident = 0;
    if (f != NULL)
        (void)fclose(f);
    return resident * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

static void test_million(void)
{
    const unsigned rows = 1000000;
    struct buf text = BUF_INIT;
    const struct tern_table *f;
    char key[64];

    begin();
    for (unsigned i = 0; i < rows; i++)
        buf_printf(&text, "user%u@customer%u.example\n", i, i % 5000);
    write_file("million", buf_slice(&text));
    buf_free(&text);
    unsigned long before_kb = resident_kb();
    uint64_t began = clock_now_us();
    struct tables *tables = one_file("million", &f);
    CU_ASSERT_TRUE_FATAL(same("million", said(), ""));
    uint64_t loaded = clock_now_us();
    unsigned found = 0;
    for (unsigned i = 0; i < rows; i++) {
        struct table_hold *hold;
        tern_str value;
        int n = snprintf(key, sizeof(key), "user%u@customer%u.EXAMPLE", i, i % 5000);
        found += table_lookup(f, slice_make(key, (size_t)n), &value, &hold) == TERN_FOUND;
        table_hold_release(hold);
    }
    CU_ASSERT_EQUAL(found, rows);
    printf("(a million rows: %llu ms, %lu KB more; a look-up %llu ns) ",
           (unsigned long long)(loaded - began) / 1000, resident_kb() - before_kb,
           (unsigned long long)(clock_now_us() - loaded) / 1000);
    tables_free(tables);
    end();
}

/* ---- threads ------------------------------------------------------------------------- */

struct looker {
    const struct tern_table *table;
    _Atomic bool *stop;
    _Atomic unsigned long looks;
    unsigned long bad;
};

static void *look_on(void *arg)
{
    struct looker *l = arg;

    while (!atomic_load(l->stop)) {
        struct table_hold *first, *second;
        tern_str a, b;
        bool good = table_lookup(l->table, SLICE("a"), &a, &first) == TERN_FOUND;
        good = table_lookup(l->table, SLICE("b"), &b, &second) == TERN_FOUND && good;
        /* In each version of the file a's value is one letter 64 times: a torn one would show. */
        for (size_t i = 1; good && i < a.len; i++)
            good = a.ptr[i] == a.ptr[0];
        l->bad += !good || a.len != 64;
        table_hold_release(second);
        table_hold_release(first);
        l->looks++;
    }
    return NULL;
}

static void test_threads(void)
{
    const struct tern_table *f;
    _Atomic bool stop = false;
    pthread_t threads[3];
    struct looker lookers[3];
    char text[128];

    begin();
    memset(text, 'a', sizeof(text));
    (void)snprintf(text, sizeof(text), "b\na: %064d\n", 0);
    write_file("busy", slice_cstr(text));
    struct tables *tables = one_file("busy", &f);
    for (unsigned i = 0; i < 3; i++) {
        lookers[i] = (struct looker){ f, &stop, 0, 0 };
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, look_on, &lookers[i]), 0);
        while (atomic_load(&lookers[i].looks) == 0)
            (void)usleep(1000);
    }
    for (unsigned i = 0; i < 500; i++) {
        char value[65];
        memset(value, 'a' + (int)(i % 26), 64);
        value[64] = '\0';
        (void)snprintf(text, sizeof(text), "a: %s\nb # %u\n", value, i);
        write_file("busy", slice_cstr(text));
        tables_poll();
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 3; i++) {
        (void)pthread_join(threads[i], NULL);
        CU_ASSERT_EQUAL(lookers[i].bad, 0);
        CU_ASSERT_TRUE(lookers[i].looks > 0);
    }
    tables_free(tables);
    end();
}

/* More versions than numbers for them: each is freed as its last reader lets go. */
static void test_many_versions(void)
{
    struct snapshot_place place = { 0 };

    for (unsigned i = 0; i < 200000; i++) {
        struct snapshot_build build = SNAPSHOT_BUILD_INIT;
        (void)snapshot_add(&build, SLICE("k"), SLICE("v"));
        CU_ASSERT_EQUAL_FATAL(snapshot_publish(&place, snapshot_finish(&build)), 0);
        struct snapshot *s = snapshot_take(&place);
        CU_ASSERT_EQUAL(snapshot_count(s), 1);
        snapshot_release(s);
    }
    struct snapshot *last = snapshot_take(&place);
    CU_ASSERT_EQUAL(snapshot_publish(&place, NULL), 0);
    CU_ASSERT_PTR_NULL(snapshot_take(&place));
    CU_ASSERT_EQUAL(snapshot_count(last), 1);
    snapshot_release(last);
}

/* As many snapshots as there are numbers, and one more. */
static void test_numbers_end(void)
{
    const unsigned count = 65535;
    struct snapshot_place *places = calloc(count + 1, sizeof(places[0]));
    int r = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(places);
    for (unsigned i = 0; i < count && r == 0; i++) {
        struct snapshot_build build = SNAPSHOT_BUILD_INIT;
        r = snapshot_publish(&places[i], snapshot_finish(&build));
    }
    CU_ASSERT_EQUAL(r, 0);
    struct snapshot_build build = SNAPSHOT_BUILD_INIT;
    struct snapshot *s = snapshot_finish(&build);
    CU_ASSERT_EQUAL(snapshot_publish(&places[count], s), -ENOSPC);
    CU_ASSERT_PTR_NULL(snapshot_take(&places[count]));
    CU_ASSERT_EQUAL(snapshot_publish(&places[7], NULL), 0);
    CU_ASSERT_EQUAL(snapshot_publish(&places[count], s), 0);
    for (unsigned i = 0; i <= count; i++)
        CU_ASSERT_EQUAL(snapshot_publish(&places[i], NULL), 0);
    free(places);
}

static void test_many_files(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    char name[32], path[128];

    begin();
    buf_add_cstr(&text, "tables:\n");
    for (unsigned i = 0; i <= 4096; i++) {
        (void)snprintf(name, sizeof(name), "many%u", i);
        write_file(name, SLICE("a\n"));
        buf_printf(&text, "  t%u: { file: %s }\n", i, name);
    }
    struct tables *tables = tables_new(&arena, yaml_get(yaml(text.data), "tables"), NULL, &errors);
    (void)snprintf(path, sizeof(path), "%s/many4096", folder);
    CU_ASSERT_STRING_EQUAL(said(), arena_printf(&arena,
                                                "t.yaml:4098:18: error: cannot read the table %s: "
                                                "more than 4096 table files\n",
                                                path));
    CU_ASSERT_PTR_NOT_NULL(tables_get(tables, SLICE("t4095")));
    tables_poll();
    tables_free(tables);
    tables_poll();
    end();
}

static void remove_folder(void)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

int main(void)
{
    (void)setenv("TERN_TEST_SECRET", "hush", 1);
    if (mkdtemp(folder) == NULL || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("tables", NULL, NULL);
    CU_add_test(suite, "nodes", test_nodes);
    CU_add_test(suite, "tables", test_tables);
    CU_add_test(suite, "lines", test_lines);
    CU_add_test(suite, "bounds of a line", test_line_bounds);
    CU_add_test(suite, "bounds of a snapshot", test_snapshot_bounds);
    CU_add_test(suite, "a file changes", test_file_changes);
    CU_add_test(suite, "a file is written in place", test_file_written_in_place);
    CU_add_test(suite, "a file is truncated", test_file_truncated);
    CU_add_test(suite, "a file is one table", test_file_is_one);
    CU_add_test(suite, "nodes at one address", test_same_address);
    CU_add_test(suite, "errors have an end", test_error_sinks);
    CU_add_test(suite, "a million rows", test_million);
    CU_add_test(suite, "threads", test_threads);
    CU_add_test(suite, "many versions", test_many_versions);
    CU_add_test(suite, "snapshots at once", test_numbers_end);
    CU_add_test(suite, "many files", test_many_files);
    CU_add_test(suite, "clean up", remove_folder);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    (void)CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
