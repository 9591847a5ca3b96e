/* SPDX-License-Identifier: Apache-2.0 */
/* test_yaml.c - good and bad YAML, its bounds and includes, and exactly what is said. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/yaml.h"

/* ---- fixture ------------------------------------------------------------------ */

static struct arena arena;
static struct config_errors errors;

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

/* ---- YAML as such ---------------------------------------------------------------- */

static const struct {
    const char *name;
    struct slice text;
    const char *want; /* all that is said; "" = good */
} yaml_cases[] = {
    { "a map is good", SLICE("a: 1\nb: [x, y]\nc: { d: e }\n"), "" },
    { "an empty file is an empty map", SLICE(""), "" },
    { "comments alone are an empty map", SLICE("# nothing\n---\n"), "" },
    { "a byte order mark is skipped",
      SLICE("\xef\xbb\xbf"
            "a: 1\n"),
      "" },
    { "a key twice", SLICE("a: 1\nb: 2\na: 3\n"),
      "t.yaml:3:1: error: \"a\" stands twice; first in line 1\n" },
    { "a key three times", SLICE("a: 1\na: 2\n'a': 3\n"),
      "t.yaml:2:1: error: \"a\" stands twice; first in line 1\n"
      "t.yaml:3:1: error: \"a\" stands twice; first in line 1\n" },
    { "a tab", SLICE("a:\n\tb: 1\n"), "t.yaml:2:1: error: a tab cannot indent here; use blanks\n" },
    { "a tab behind blanks", SLICE("a:\n  \tb: 1\n"),
      "t.yaml:2:3: error: a tab cannot indent here; use blanks\n" },
    { "NUL", SLICE("a: 1\nb: \0\n"),
      "t.yaml:2:4: error: the file holds the control character 0x00\n" },
    { "NUL by escape", SLICE("a: \"x\\0y\"\n"), "t.yaml:1:4: error: a value cannot hold NUL\n" },
    { "escape", SLICE("a: \x1b[2J\n"),
      "t.yaml:1:4: error: the file holds the control character 0x1b\n" },
    { "a control character in two octets", SLICE("a: \xc2\x9b\n"),
      "t.yaml:1:4: error: the file holds a control character (0xc2 ...)\n" },
    { "Latin-1", SLICE("name: M\xfcller\n"), "t.yaml:1:8: error: octet 0xfc is not UTF-8 here\n" },
    { "columns count characters", SLICE("\xc3\xa4: \xff\n"),
      "t.yaml:1:4: error: octet 0xff is not UTF-8 here\n" },
    { "merge key", SLICE("a: &x { b: 1 }\nc:\n  <<: *x\n"),
      "t.yaml:3:3: error: merge keys (<<) are not supported\n" },
    { "a quoted << is a key", SLICE("\"<<\": 1\n"), "" },
    { "alias", SLICE("a: &x [1, 2]\nb: *x\n"), "" },
    { "alias before its anchor", SLICE("a: *x\n"),
      "t.yaml:1:4: error: alias *x has no anchor &x before it\n" },
    { "alias of itself", SLICE("a: &x [*x]\n"),
      "t.yaml:1:8: error: alias *x has no anchor &x before it\n" },
    { "unknown tag", SLICE("a: !int 5\nb: !!str x\nc: !x [1]\nd: !y {e: 1}\n"),
      "t.yaml:1:4: error: tag !int is not supported; only !env and !file are, before a word\n"
      "t.yaml:2:4: error: tag tag:yaml.org,2002:str is not supported; only !env and !file are, "
      "before a word\n"
      "t.yaml:3:4: error: tag !x is not supported; only !env and !file are, before a word\n"
      "t.yaml:4:4: error: tag !y is not supported; only !env and !file are, before a word\n" },
    { "!env before a list", SLICE("a: !env [B]\n"),
      "t.yaml:1:4: error: tag !env is not supported; only !env and !file are, before a word\n" },
    { "a secret as key", SLICE("!env TERN_TEST_SECRET : 1\n"),
      "t.yaml:1:1: error: a key cannot be a secret\n" },
    { "a list as key", SLICE("? [a]\n: b\n"),
      "t.yaml:1:3: error: a key must be a word, not a list\n" },
    { "an empty key", SLICE("\"\": b\n"), "t.yaml:1:1: error: a key is empty\n" },
    { "two documents", SLICE("a: 1\n---\nb: 2\n"),
      "t.yaml:2:1: error: a second document begins here; one file holds one\n" },
    { "a list that does not end", SLICE("a: [1,\nb: 2\n"),
      "t.yaml:3:1: error: did not find expected ',' or ']' (while parsing a flow sequence that "
      "began at line 1)\n" },
    { "a line that is indented less than its map", SLICE("a:\n  b: 1\n c: 2\n"),
      "t.yaml:3:2: error: this line is not indented as the others of its map (while parsing a block mapping that "
      "began at line 1)\n" },
    { "a line that is indented more", SLICE("a: x\n  b: 1\n"),
      "t.yaml:2:4: error: a \":\" cannot stand here: is this line indented too far, or is there no blank behind a "
      "\":\" above?\n" },
    { "a key without a colon", SLICE("a: 1\nb\nc: 2\n"),
      "t.yaml:3:1: error: expected key: value; is there no \":\", or no blank behind it? (while scanning a simple key "
      "that began at line 2)\n" },
    { "an item without its dash", SLICE("a:\n  - x\n  b: y\n"),
      "t.yaml:3:3: error: this line is not indented as its list, or begins without \"- \" (while parsing a block "
      "collection that began at line 2)\n" },
    { "an address without quotes", SLICE("a: { b: [::]:25 }\n"),
      "t.yaml:1:10: error: a value is missing, or needs quotes: [, {, *, & and ! at its beginning mean something else "
      "(while parsing a flow node)\n" },
    { "a percent sign without quotes", SLICE("a: %x\n"),
      "t.yaml:1:4: error: a value that begins with this character needs quotes (while scanning for the next token)\n" },
    { "variable not set", SLICE("a: !env TERN_TEST_UNSET\n"),
      "t.yaml:1:4: error: environment variable TERN_TEST_UNSET is not set\n" },
    { "variable empty", SLICE("a: !env TERN_TEST_EMPTY\n"),
      "t.yaml:1:4: error: environment variable TERN_TEST_EMPTY is empty\n" },
    { "no such secret file", SLICE("a: !file /nonexistent/x\n"),
      "t.yaml:1:4: error: cannot read !file /nonexistent/x: No such file or directory\n" },
    { "a folder as secret file", SLICE("a: !file /\n"),
      "t.yaml:1:4: error: cannot read !file /: Is a directory\n" },
    { "a device as secret file", SLICE("a: !file /dev/zero\n"),
      "t.yaml:1:4: error: cannot read !file /dev/zero: it is not a regular file\n" },
    { "include of a map", SLICE("include: { a: b }\n"),
      "t.yaml:1:10: error: include: expected a list of files; got a map\n" },
    { "include of a list", SLICE("include: [[x]]\n"),
      "t.yaml:1:11: error: include: expected the name of a file\n" },
    { "include of nothing", SLICE("include: no-such.yaml\n"),
      "t.yaml:1:10: error: cannot read no-such.yaml: No such file or directory\n" },
};

static void test_yaml(void)
{
    for (size_t i = 0; i < sizeof(yaml_cases) / sizeof(yaml_cases[0]); i++) {
        begin();
        (void)yaml_load_text(&arena, yaml_cases[i].text, "t.yaml", "/tmp", &errors);
        CU_ASSERT_TRUE(same(yaml_cases[i].name, said(), yaml_cases[i].want));
        end();
    }
}

static void test_places(void)
{
    begin();
    struct yaml_node *root =
        yaml_load_text(&arena, SLICE("a:\n  - x\n  - { b: \"no\" }\n"), "t.yaml", "/etc", &errors);
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    const struct yaml_node *a = yaml_get(root, "a");
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_EQUAL(a->kind, YAML_LIST);
    CU_ASSERT_EQUAL(a->count, 2);
    CU_ASSERT_EQUAL(a->items[0]->place.line, 2);
    CU_ASSERT_EQUAL(a->items[0]->place.col, 5);
    const struct yaml_node *b = yaml_get(a->items[1], "b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(b);
    CU_ASSERT_TRUE(b->quoted);
    CU_ASSERT_EQUAL(b->place.line, 3);
    CU_ASSERT_EQUAL(b->place.col, 10);
    CU_ASSERT_STRING_EQUAL(b->dir, "/etc");
    CU_ASSERT_PTR_NULL(yaml_get(b, "x"));
    CU_ASSERT_PTR_NULL(yaml_get(NULL, "x"));
    end();
}

/* ---- bounds ----------------------------------------------------------------------- */

static const char *load_said(struct buf *text)
{
    (void)yaml_load_text(&arena, buf_slice(text), "t.yaml", "/tmp", &errors);
    return said();
}

static void nest(struct buf *text, unsigned depth)
{
    buf_add_cstr(text, "a: ");
    for (unsigned i = 1; i < depth; i++)
        buf_add_char(text, '[');
    for (unsigned i = 1; i < depth; i++)
        buf_add_char(text, ']');
    buf_add_char(text, '\n');
}

static void test_depth(void)
{
    for (unsigned depth = 32; depth <= 100000; depth = depth == 32 ? 33 : depth * 20) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        begin();
        nest(&text, depth);
        CU_ASSERT_TRUE(
            same("depth", load_said(&text),
                 depth == 32 ? "" : "t.yaml:1:35: error: lists and maps more than 32 deep\n"));
        end();
    }
}

static void test_alias_depth(void)
{
    for (unsigned more = 0; more < 2; more++) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        begin();
        buf_add_cstr(&text, "a: &x ");
        for (unsigned i = 0; i < 15; i++)
            buf_add_char(&text, '[');
        for (unsigned i = 0; i < 15; i++)
            buf_add_char(&text, ']');
        buf_add_cstr(&text, "\nb: ");
        for (unsigned i = 0; i < 16 + more; i++)
            buf_add_char(&text, '[');
        buf_add_cstr(&text, "*x");
        for (unsigned i = 0; i < 16 + more; i++)
            buf_add_char(&text, ']');
        CU_ASSERT_TRUE(
            same("alias depth", load_said(&text),
                 more == 0 ? "" : "t.yaml:2:21: error: lists and maps more than 32 deep\n"));
        end();
    }
}

static void test_aliases(void)
{
    for (unsigned count = 64; count <= 65; count++) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        begin();
        buf_add_cstr(&text, "a: &x y\n");
        for (unsigned i = 0; i < count; i++)
            buf_printf(&text, "b%u: *x\n", i);
        CU_ASSERT_TRUE(same("aliases", load_said(&text),
                            count == 64 ? "" : "t.yaml:66:6: error: more than 64 aliases\n"));
        end();
    }
}

static void test_billion_laughs(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    begin();
    buf_add_cstr(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (unsigned i = 1; i < 7; i++) {
        buf_printf(&text, "a%u: &a%u [", i, i);
        for (unsigned j = 0; j < 9; j++)
            buf_printf(&text, "%s*a%u", j > 0 ? ", " : "", i - 1);
        buf_add_cstr(&text, "]\n");
    }
    CU_ASSERT_TRUE(strstr(load_said(&text), "aliases stand for more than 100000 values") != NULL);
    end();
}

static void test_nodes(void)
{
    for (unsigned more = 0; more < 2; more++) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        begin();
        buf_add_cstr(&text, "a:\n"); /* the map, the key and the list are three */
        for (unsigned i = 0; i < 1000000 - 3 + more; i++)
            buf_add_cstr(&text, "- x\n");
        CU_ASSERT_TRUE(same("nodes", load_said(&text),
                            more == 0 ? "" : "t.yaml:999999:3: error: more than 1000000 values\n"));
        end();
    }
}

static void test_octets(void)
{
    for (unsigned more = 0; more < 2; more++) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        size_t octets = (16u << 20) + more;
        begin();
        memset(buf_reserve(&text, octets), '\n', octets);
        text.len = octets;
        CU_ASSERT_TRUE(same("octets", load_said(&text),
                            more == 0 ? "" : "t.yaml: error: the text is longer than 16 MB\n"));
        end();
    }
}

static void test_error_count(void)
{
    for (unsigned count = 19; count <= 22; count++) {
        CLEANUP_BUF struct buf text = BUF_INIT, want = BUF_INIT;
        begin();
        buf_add_cstr(&text, "a: 1\n");
        for (unsigned i = 0; i < count; i++)
            buf_add_cstr(&text, "a: 2\n");
        for (unsigned i = 0; i < count && i < 20; i++)
            buf_printf(&want, "t.yaml:%u:1: error: \"a\" stands twice; first in line 1\n", i + 2);
        if (count > 20)
            buf_printf(&want, "and %u more error%s\n", count - 20, count == 21 ? "" : "s");
        CU_ASSERT_TRUE(same("20 errors", load_said(&text), want.data));
        CU_ASSERT_EQUAL(errors.errors, count);
        end();
    }
}

/* A control character in a name may not reach the terminal. */
static void test_errors_escape(void)
{
    struct place place = { "a\x1b.yaml", 1, 2 };

    begin();
    config_error_at(&errors, &place, "x\ny %s", "\x1b[2J");
    CU_ASSERT_STRING_EQUAL(said(), "a\\x1b.yaml:1:2: error: x\\x0ay \\x1b[2J\n");
    config_error_at(NULL, &place, "nobody listens");
    end();
}

/* ---- includes ------------------------------------------------------------------------ */

static char folder[] = "/tmp/tern-config-XXXXXX";

static const char *path_of(const char *name)
{
    return arena_printf(&arena, "%s/%s", folder, name);
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    (void)fputs(text, f);
    (void)fclose(f);
}

static struct yaml_node *load(const char *name)
{
    return yaml_load_file(&arena, path_of(name), &errors);
}

static void test_include(void)
{
    begin();
    (void)mkdir(path_of("sub"), 0700);
    write_file("main.yaml", "include: [sub/one.yaml, ./two.yaml]\nhost: x\nmap: { a: 1 }\n");
    write_file("sub/one.yaml", "map: { b: key.pem }\nother: [1]\n");
    write_file("two.yaml", "map: { c: 3 }\n");
    struct yaml_node *root = load("main.yaml");
    CU_ASSERT_TRUE(same("include", said(), ""));
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    const struct yaml_node *map = yaml_get(root, "map");
    CU_ASSERT_EQUAL(map->count, 3);
    CU_ASSERT_PTR_NOT_NULL(yaml_get(map, "c"));
    CU_ASSERT_STRING_EQUAL(yaml_get(map, "b")->dir, path_of("sub")); /* of the file it stands in */
    CU_ASSERT_STRING_EQUAL(yaml_get(map, "b")->place.file, path_of("sub/one.yaml"));
    CU_ASSERT_PTR_NOT_NULL(yaml_get(root, "other"));
    CU_ASSERT_PTR_NULL(yaml_get(root, "include"));
    end();
}

static void test_include_conflicts(void)
{
    begin();
    write_file("c1.yaml", "include: c2.yaml\nhost: x\nmap: { a: 1 }\nlist: [1]\n");
    write_file("c2.yaml", "host: y\nmap: { a: 2 }\nlist: [2]\n");
    (void)load("c1.yaml");
    CLEANUP_BUF struct buf want = BUF_INIT;
    const char *c1 = path_of("c1.yaml"), *c2 = path_of("c2.yaml");
    buf_printf(&want, "%s:1:1: error: \"host\" stands twice; first in %s:2\n", c2, c1);
    buf_printf(&want, "%s:3:1: error: \"list\" stands twice; first in %s:4\n", c2, c1);
    buf_printf(&want, "%s:2:8: error: \"a\" stands twice; first in %s:3\n", c2, c1);
    CU_ASSERT_TRUE(same("conflicts", said(), want.data));
    end();
}

static void test_include_cycle(void)
{
    begin();
    write_file("l1.yaml", "include: [l2.yaml]\n");
    write_file("l2.yaml", "include: [l3.yaml]\n");
    write_file("l3.yaml", "a: 1\ninclude: [l1.yaml]\n");
    CU_ASSERT_PTR_NULL(load("l1.yaml"));
    CU_ASSERT_STRING_EQUAL(said(), arena_printf(&arena, "%s:2:11: error: %s includes itself\n",
                                                path_of("l3.yaml"), path_of("l1.yaml")));
    end();
    begin();
    write_file("d.yaml", "include: [e.yaml, e.yaml]\n");
    write_file("e.yaml", "a: 1\n");
    CU_ASSERT_PTR_NULL(load("d.yaml"));
    CU_ASSERT_STRING_EQUAL(said(), arena_printf(&arena, "%s:1:19: error: %s is included twice\n",
                                                path_of("d.yaml"), path_of("e.yaml")));
    end();
}

static void test_include_bounds(void)
{
    for (unsigned depth = 8; depth <= 9; depth++) {
        begin();
        for (unsigned i = 0; i <= depth; i++)
            write_file(arena_printf(&arena, "n%u.yaml", i),
                       i < depth ? arena_printf(&arena, "include: n%u.yaml\n", i + 1) : "a: 1\n");
        (void)load("n0.yaml");
        CU_ASSERT_EQUAL(errors.errors, depth == 9);
        CU_ASSERT_EQUAL(strstr(said(), "includes more than 8 deep") != NULL, depth == 9);
        end();
    }
    for (unsigned count = 64; count <= 65; count++) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        begin();
        buf_add_cstr(&text, "include:\n");
        for (unsigned i = 0; i < count; i++) {
            buf_printf(&text, "  - w%u.yaml\n", i);
            write_file(arena_printf(&arena, "w%u.yaml", i), arena_printf(&arena, "k%u: 1\n", i));
        }
        write_file("wide.yaml", text.data);
        (void)load("wide.yaml");
        CU_ASSERT_EQUAL(errors.errors, count == 65);
        CU_ASSERT_EQUAL(strstr(said(), "more than 64 included files") != NULL, count == 65);
        end();
    }
}

static void test_include_bad(void)
{
    begin();
    write_file("i.yaml", "include: [list.yaml, broken.yaml]\nb: 1\n");
    write_file("list.yaml", "- a\n");
    write_file("broken.yaml", "a: [\n");
    CU_ASSERT_PTR_NULL(load("i.yaml"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(said(), "list.yaml:1:1: error: the file must hold a map (key: value)\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(said(), "broken.yaml:2:1: error: "));
    CU_ASSERT_EQUAL(errors.errors, 2);
    end();
    begin();
    CU_ASSERT_PTR_NULL(yaml_load_file(&arena, "/nonexistent/t.yaml", &errors));
    CU_ASSERT_STRING_EQUAL(
        said(),
        "/nonexistent/t.yaml: error: cannot read /nonexistent/t.yaml: No such file or directory\n");
    end();
}

static void test_did_you_mean(void)
{
    static const char *const words[] = { "to", "from", "spool", "listeners", "max_size" };
    static const struct {
        const char *word, *want;
    } cases[] = {
        { "listener", "listeners" },
        { "spol", "spool" },
        { "frmo", "from" },
        { "fxyz", NULL },
        { "x", NULL },
        { "max-size", "max_size" },
        { "MAX_SIZE", "max_size" },
        { "", NULL },
        { "listenersandmuchmorethanfortyoctetsofatext", NULL },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *got = config_did_you_mean(slice_cstr(cases[i].word), words, 5);
        CU_ASSERT_TRUE(same(cases[i].word, got != NULL ? got : "-",
                            cases[i].want != NULL ? cases[i].want : "-"));
    }
}

static void remove_folder(void)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

int main(void)
{
    (void)setenv("TERN_TEST_EMPTY", "", 1);
    (void)setenv("TERN_TEST_SECRET", "x", 1);
    (void)unsetenv("TERN_TEST_UNSET");
    if (mkdtemp(folder) == NULL || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("yaml", NULL, NULL);
    CU_add_test(suite, "yaml", test_yaml);
    CU_add_test(suite, "places", test_places);
    CU_add_test(suite, "depth", test_depth);
    CU_add_test(suite, "depth by an alias", test_alias_depth);
    CU_add_test(suite, "aliases", test_aliases);
    CU_add_test(suite, "billion laughs", test_billion_laughs);
    CU_add_test(suite, "nodes", test_nodes);
    CU_add_test(suite, "octets", test_octets);
    CU_add_test(suite, "20 errors", test_error_count);
    CU_add_test(suite, "messages are escaped", test_errors_escape);
    CU_add_test(suite, "include", test_include);
    CU_add_test(suite, "include: conflicts", test_include_conflicts);
    CU_add_test(suite, "include: circles", test_include_cycle);
    CU_add_test(suite, "include: bounds", test_include_bounds);
    CU_add_test(suite, "include: bad files", test_include_bad);
    CU_add_test(suite, "did you mean", test_did_you_mean);
    CU_add_test(suite, "clean up", remove_folder);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    (void)CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
