/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_new.c - what `tern new module` writes builds against the header alone, passes its own test and is
 * loaded; so does modules/hello, by the one command of its page.
 */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lua/lua.h"
#include "module/api.h"
#include "module/plan.h"
#include "policy_fixture.h"

static char folder[64] = "/tmp/tern-new-XXXXXX";

/* Runs in the temporary folder; its output is shown when it fails. */
static int shell(const char *format, const char *a, const char *b)
{
    char command[1024], wrapped[1200];

    (void)snprintf(command, sizeof(command), format, a, b);
    (void)snprintf(wrapped, sizeof(wrapped),
                   "cd %s && { %s; } >log 2>&1 || { cat log >&2; false; }", folder, command);
    return system(wrapped);
}

static int run_new(const char *kind, const char *name)
{
    char *argv[] = { (char *)"new", (char *)kind, (char *)name, NULL };

    return cmd_new(3, argv);
}

static void test_module(void)
{
    struct fixture f;
    char error[512], from[128];

    CU_ASSERT_EQUAL(run_new("module", "sample"), 0);
    /* As is printed: where the header and the modules of the installed tern are, it knows by itself. */
    CU_ASSERT_EQUAL_FATAL(shell("cd sample && cmake -S . -B build && cmake --build build && "
                                "ctest --test-dir build --output-on-failure%s%s", "", ""), 0);
    CU_ASSERT_EQUAL(shell("DESTDIR=%s/dest cmake --install sample/build && test -f dest%s/sample.so", folder,
                          TERN_INSTALL_MODULE_DIR), 0);
    (void)snprintf(from, sizeof(from), "%s/sample/build", folder);
    fixture_begin(&f, NULL);
    CU_ASSERT_TRUE_FATAL(fixture_copy(&f, from, "sample"));
    const struct tern_module *m = modules_get(f.modules, "sample", error, sizeof(error));
    CU_ASSERT_PTR_NOT_NULL(m);
    CU_ASSERT_STRING_EQUAL(error, "");
    fixture_end(&f);
    CU_ASSERT_EQUAL(run_new("module", "sample"), CLI_NO); /* never over anything */
}

static void test_hello(void)
{
    struct fixture f;
    char error[512];

    CU_ASSERT_EQUAL_FATAL(shell("cc -std=gnu17 -Iinclude -Wall -Wextra -Werror -shared -fPIC -o "
                                "hello.so %s/modules/hello/hello.c%s",
                                TERN_SOURCE_DIR, ""),
                          0);
    fixture_begin(&f, NULL);
    CU_ASSERT_TRUE_FATAL(fixture_copy(&f, folder, "hello"));
    CU_ASSERT_PTR_NOT_NULL(modules_get(f.modules, "hello", error, sizeof(error)));
    fixture_end(&f);
    CU_ASSERT_EQUAL(shell("test $(wc -l < %s/modules/hello/hello.c) -lt 80%s", TERN_SOURCE_DIR, ""),
                    0);
}

/* What `tern new filter` writes is a step, with the option it declares. */
static void test_filter(void)
{
    const struct tern_module *const builtin[] = { lua_module(), NULL };
    struct lua_env lua = { .api = api_table(), .own_user = true };
    struct fixture f;
    struct generation g;
    char yaml[512];

    lua_setup(&lua);
    fixture_api = *api_table();
    fixture_begin(&f, builtin);
    CU_ASSERT_EQUAL(run_new("filter", "policy"), 0);
    (void)snprintf(yaml, sizeof(yaml),
                   "policies: { in: [ lua: { script: %s/policy/policy.lua, domains: [a, b] } ] }\n",
                   folder);
    generation_build(&g, &f, yaml);
    if (g.policies == NULL)
        fprintf(stderr, "%s", g.errors.text.data);
    CU_ASSERT_PTR_NOT_NULL_FATAL(g.policies);
    const struct plan *plan = policy_plan(policies_find(g.policies, SLICE("in")));
    CU_ASSERT_STRING_EQUAL(plan->steps[0].step->name.ptr, "policy");
    CU_ASSERT_EQUAL(plan->chains[TERN_HOOK_MAIL].count, 1);
    generation_end(&g);
    fixture_end(&f);
    lua_thread_end();
}

static void test_usage(void)
{
    char *none[] = { (char *)"new", NULL };

    CU_ASSERT_EQUAL(run_new("module", "../up"), CLI_USAGE);
    CU_ASSERT_EQUAL(run_new("module", "Big"), CLI_USAGE);
    CU_ASSERT_EQUAL(run_new("planet", "x"), CLI_USAGE);
    CU_ASSERT_EQUAL(cmd_new(1, none), CLI_USAGE);
}

int main(void)
{
    if (mkdtemp(folder) == NULL || chdir(folder) < 0 || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    /* The installed header, and nothing else of the source tree. */
    if (shell("mkdir -p include && cp -r %s/core/include/tern include/%s", TERN_SOURCE_DIR, "") !=
        0)
        return 1;
    CU_pSuite suite = CU_add_suite("new", NULL, NULL);
    CU_add_test(suite, "a new module builds, passes its test and is loaded", test_module);
    CU_add_test(suite, "a new filter is a step", test_filter);
    CU_add_test(suite, "hello, out of tree", test_hello);
    CU_add_test(suite, "names and words that are refused", test_usage);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    char remove[128];
    (void)snprintf(remove, sizeof(remove), "rm -rf %s", folder);
    (void)chdir("/");
    return system(remove) != 0 || failures != 0;
}
