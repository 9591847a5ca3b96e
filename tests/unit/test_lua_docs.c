/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lua_docs.c - docs/lua.md and lua/tern.d.lua say what the table of bindings says; every code block is good.
 *
 * With TERN_UPDATE=1 in the environment the generated parts are written instead.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <CUnit/Basic.h>

#include "../support/lua_reference.h"
#include "config/yaml.h"
#include "lua/when.h"
#include "lua_fixture.h"

#define BEGIN "<!-- reference: begin -->\n"
#define END   "<!-- reference: end -->\n"

static const char docs[] = TERN_SOURCE_DIR "/docs/lua.md";
static const char stub[] = TERN_SOURCE_DIR "/lua/tern.d.lua";

static void read_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "r");
    size_t n;

    if (f == NULL)
        return;
    while ((n = fread(buf_reserve(out, 4096), 1, 4096, f)) > 0)
        out->len += n;
    (void)fclose(f);
    buf_add_char(out, '\0');
    out->len--;
}

static void check_file(const char *path, const struct buf *want)
{
    struct buf have = BUF_INIT;

    read_file(path, &have);
    if (slice_equal(buf_slice(&have), buf_slice(want))) {
        buf_free(&have);
        return;
    }
    buf_free(&have);
    if (getenv("TERN_UPDATE") != NULL) {
        FILE *f = fopen(path, "w");
        CU_ASSERT_PTR_NOT_NULL_FATAL(f);
        CU_ASSERT_EQUAL(fwrite(want->data, 1, want->len, f), want->len);
        CU_ASSERT_EQUAL(fclose(f), 0);
        return;
    }
    fprintf(stderr, "  %s is out of date: run this test with TERN_UPDATE=1\n", path);
    CU_FAIL("out of date");
}

static void test_reference(void)
{
    struct buf text = BUF_INIT, want = BUF_INIT;

    read_file(docs, &text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text.data);
    char *begin = strstr(text.data, BEGIN), *end = strstr(text.data, END);
    CU_ASSERT_PTR_NOT_NULL_FATAL(begin);
    CU_ASSERT_PTR_NOT_NULL_FATAL(end);
    buf_add(&want, slice_make(text.data, (size_t)(begin - text.data) + strlen(BEGIN)));
    lua_reference_markdown(&want);
    buf_add_cstr(&want, end);
    check_file(docs, &want);
    buf_clear(&want);
    lua_reference_stub(&want);
    check_file(stub, &want);
    buf_free(&text);
    buf_free(&want);
}

static void check_lua(const char *block)
{
    const struct tern_module *script = lua_fixture_load(block, false);

    if (script == NULL)
        fprintf(stderr, "  %s in:\n%s", lua_fixture_error, block);
    CU_ASSERT_PTR_NOT_NULL_FATAL(script);
    CU_ASSERT_TRUE(script->hooks[0].size != 0);
    if (script->options[5].size == 0 || script->options[5].text != NULL)
        CU_ASSERT_PTR_NOT_NULL(fake_conf(script, NULL));
    lua_fixture_unload(script);
}

static void check_yaml(struct arena *arena, const char *block)
{
    struct config_errors errors = { 0 };

    CU_ASSERT_PTR_NOT_NULL(yaml_load_text(arena, slice_cstr(block), "lua.md", ".", &errors));
    CU_ASSERT_EQUAL(errors.errors, 0);
    config_errors_free(&errors);
}

static void check_when(struct arena *arena, char *block)
{
    static const struct slice results[] = { { "spf", 3 } }, tags[] = { { "vip", 3 } };
    char error[256];

    for (char *line = strtok(block, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        const void *compiled =
            when_compile(arena, slice_cstr(line), results, 1, tags, 1, error, sizeof(error));
        if (compiled == NULL)
            fprintf(stderr, "  %s: %s\n", line, error);
        CU_ASSERT_PTR_NOT_NULL(compiled);
    }
}

static void test_blocks(void)
{
    struct buf text = BUF_INIT;
    struct arena arena;
    unsigned count = 0;

    arena_init(&arena);
    read_file(docs, &text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text.data);
    for (char *at = text.data; (at = strstr(at, "\n```")) != NULL; count++) {
        char *kind = at + 4, *body = strchr(kind, '\n') + 1, *end = strstr(body, "\n```");

        CU_ASSERT_PTR_NOT_NULL_FATAL(end);
        end[1] = '\0';
        if (strncmp(kind, "lua\n", 4) == 0)
            check_lua(body);
        else if (strncmp(kind, "yaml\n", 5) == 0)
            check_yaml(&arena, body);
        else if (strncmp(kind, "when\n", 5) == 0)
            check_when(&arena, body);
        else
            CU_FAIL("a block of unknown kind");
        at = end + 4;
    }
    CU_ASSERT_TRUE(count >= 8);
    arena_fini(&arena);
    buf_free(&text);
}

int main(void)
{
    lua_fixture_start();
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("lua docs", NULL, NULL);
    CU_add_test(suite, "the reference", test_reference);
    CU_add_test(suite, "every code block", test_blocks);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    int failed = CU_get_number_of_failures() != 0;
    CU_cleanup_registry();
    lua_fixture_end();
    return failed;
}
