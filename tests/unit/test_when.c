/* SPDX-License-Identifier: Apache-2.0 */
/* test_when.c - conditions: what they mean, and what is refused when they are loaded. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <CUnit/Basic.h>

#include "lua/when.h"
#include "lua_fixture.h"

static const struct slice results[] = { { "spf", 3 }, { "dkim", 4 } };
static const struct slice tags[] = { { "vip", 3 }, { "bulk", 4 } };
static struct arena arena;
static char error[256];

static const void *compile(const char *text)
{
    error[0] = '\0';
    return when_compile(&arena, slice_cstr(text), results, 2, tags, 2, error, sizeof(error));
}

static void fill(tern_call *call)
{
    fake_call_init(call, NULL);
    call->rcpt = "bob@example.org";
    call->results[0] = (struct fake_note){ "spf", "pass" };
    call->vars[0] = (struct fake_note){ "score", "5" };
    call->tags = " vip ";
    call->octets = 2000;
}

static const struct {
    const char *text;
    int want;
} cases[] = {
    { "true", 1 },
    { "false", 0 },
    { "results.spf ~= 'pass'", 0 },
    { "results.spf == \"pass\"", 1 },
    { "results.dkim == 'not_run'", 1 },
    { "tags.vip and not tags.bulk", 1 },
    { "session.client == '192.0.2.1'", 1 },
    { "session.user == ''", 1 },
    { "not (session.tls)", 1 },
    { "session.helo:match('%.example$')", 1 },
    { "session.helo:match('^(%w+)') == 'client'", 1 },
    { "session.helo:upper():find('CLIENT', 1, true) ~= nil", -1 },
    { "session.helo:upper():find('CLIENT', 1, true) == 1", 1 },
    { "rcpt.domain == 'example.org' and rcpt.local_part ~= 'alice'", 1 },
    { "txn.sender.domain == 'example.net'", 1 },
    { "txn.size > 1000 and txn.rcpt_count + 1 < 5", 1 },
    { "txn.vars.score == '5' and txn.vars.never == ''", 1 },
    { "txn.session.helo == session.helo", 1 },
    { "rcpt.original.address == rcpt.address", 1 },
    { "#session.helo == 14", 1 },
    { "'a' .. 'b' == 'ab' and 1 .. 2 == '12'", 1 },
    { "2 * (3 + 4) - 1 == 13 and 7 // 2 == 3 and 7 % 2 == 1 and 1/2 == .5 and 0x10 == 16", -1 },
    { "2 * (3 + 4) - 1 == 13 and 7 // 2 == 3 and 7 % 2 == 1 and 1/2 == 0.5 and 0x10 == 16 and 1e3 "
      "> 999",
      1 },
    { "session.helo == 5 or rcpt.class == ''", 1 },
    { "  \n true \t ", 1 },
    { "session.helo < 5", -2 },
    { "('x'):len() == 1", 1 },
    { "session.helo:match('[')", -2 },
};

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const void *compiled = compile(cases[i].text);
        const char *why = "";
        tern_call call;
        int got = -1;

        fill(&call);
        if (compiled != NULL) {
            got = when_eval(NULL, compiled, &call, &why);
            if (got < 0)
                got = -2;
        }
        if (got != cases[i].want)
            fprintf(stderr, "  %s: %d %s%s\n", cases[i].text, got, error, why);
        CU_ASSERT_EQUAL(got, cases[i].want);
        if (got == -2)
            CU_ASSERT_TRUE(why[0] != '\0' && strncmp(why, "when:", 5) != 0);
        fake_call_fini(&call);
    }
}

/* What is not known yet is empty, at connect for instance; so conditions do not fail there. */
static void test_nothing_known(void)
{
    const void *compiled = compile(
        "session.helo:match('x') or rcpt.domain == 'x' or txn.sender.domain == 'x' or txn.id ~= '' "
        "or rcpt.class ~= '' or rcpt.original.domain ~= ''");
    const char *why = "";
    tern_call call;

    fake_call_init(&call, NULL);
    call.helo = call.sender = call.id = NULL;
    CU_ASSERT_EQUAL(when_eval(NULL, compiled, &call, &why), 0);
    fake_call_fini(&call);
}

static const struct {
    const char *text, *error;
} wrong[] = {
    { "", "a condition is empty" },
    { "  ", "a condition is empty" },
    { "result.spf == 'x'", "\"result\" is not known here" },
    { "results.dmarc == 'x'", "no step of the configuration sets results.dmarc" },
    { "tags.spam", "no step of the configuration sets the tag spam" },
    { "results", "write results.NAME" },
    { "session", "write session.NAME" },
    { "session.hello == 'x'", "session has no field \"hello\"" },
    { "session.", "a name is missing" },
    { "session.withhold", "session has no field" },
    { "txn.body", "txn has no field \"body\"" },
    { "txn.sender == 'x'", "sender is not a value; write sender.NAME" },
    { "txn.outcome == 'x'", "txn has no field" },
    { "txn.results.spf == 'x'", "write results.NAME" },
    { "session.vars == 'x'", "write vars.NAME" },
    { "os.exit()", "\"os\" is not known here" },
    { "require 'tern'", "\"require\" is not known here" },
    { "print('x')", "\"print\" is not known here" },
    { "_G.x", "\"_G\" is not known here" },
    { "nil == 1", "\"nil\" is not known here" },
    { "function() end", "\"function\" is not known here" },
    { "while true do end", "\"while\" is not known here" },
    { "true) os.exit() (", "a \")\" without a \"(\"" },
    { "true; true", "\";\" has no place" },
    { "session.helo = 'x'", "equality is written ==" },
    { "session.helo != 'x'", "\"not equal\" is written ~=" },
    { "session.helo('x')", "only methods of strings can be called" },
    { "session.helo 'x'", "a string stands behind a value" },
    { "('x')('y')", "only methods of strings can be called" },
    { "session.helo{}", "\"{\" has no place" },
    { "session['helo']", "write session.NAME" },
    { "session.helo['x']", "\"[\" has no place" },
    { "[[x]] == 'x'", "\"[\" has no place" },
    { "session.helo:rep(1000000)", "\":rep\" is not known" },
    { "session.helo:gsub('a', 'b')", "\":gsub\" is not known" },
    { "session.helo:match", "a \"(\" is missing behind :match" },
    { "session.helo:match'x'", "a \"(\" is missing behind :match" },
    { "true -- always", "comments are not allowed" },
    { "'x", "a string has no end" },
    { "'x\\'", "a string has no end" },
    { "'x\ny'", "a string has no end" },
    { "1 2", "a number stands behind a value" },
    { "true false", "\"false\" stands behind a value" },
    { "true, false", "a \",\" stands between arguments only" },
    { "(true, false)", "expected" },
    { "(true", "a \")\" is missing" },
    { "true)", "a \")\" without a \"(\"" },
    { "==", "unexpected symbol" },
    { "true and", "unexpected symbol" },
    { "'\\q'", "invalid escape sequence" },
    { "0x", "malformed number" },
    { "caf\xc3\xa9", "is not known here" },
    { "true\xff", "has no place" },
    { "session...helo", "write session.NAME" },
    { "goto x", "\"goto\" is not known here" },
};

static void test_wrong(void)
{
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const void *compiled = compile(wrong[i].text);

        if (compiled != NULL || strstr(error, wrong[i].error) == NULL)
            fprintf(stderr, "  %s: %s\n", wrong[i].text, compiled != NULL ? "went through" : error);
        CU_ASSERT_PTR_NULL(compiled);
        CU_ASSERT_PTR_NOT_NULL(strstr(error, wrong[i].error));
    }
    CU_ASSERT_PTR_NULL(
        when_compile(&arena, slice_make("true\0", 5), results, 2, tags, 2, error, sizeof(error)));
}

/* Length and depth, at the bound and one above. */
static void test_bounds(void)
{
    char text[WHEN_OCTETS_MAX + 2];

    memset(text, ' ', sizeof(text));
    memcpy(text, "true", 4);
    text[WHEN_OCTETS_MAX] = '\0';
    CU_ASSERT_PTR_NOT_NULL(compile(text));
    text[WHEN_OCTETS_MAX] = ' ';
    text[WHEN_OCTETS_MAX + 1] = '\0';
    CU_ASSERT_PTR_NULL(compile(text));
    for (int depth = WHEN_DEPTH_MAX; depth <= WHEN_DEPTH_MAX + 1; depth++) {
        memset(text, '(', (size_t)depth);
        memcpy(text + depth, "true", 4);
        memset(text + depth + 4, ')', (size_t)depth);
        text[2 * depth + 4] = '\0';
        CU_ASSERT_EQUAL(compile(text) != NULL, depth == WHEN_DEPTH_MAX);
    }
    for (size_t i = 0; i + 2 < sizeof(text); i += 2)
        memcpy(text + i, "((", 2);
    text[sizeof(text) - 2] = '\0';
    CU_ASSERT_PTR_NULL(compile(text));
}

/* A pattern that would take for ever is an error of the step. */
static void test_pathological(void)
{
    const void *compiled = compile("session.helo:match('.-.-.-.-.-.-.-.-b')");
    static char helo[2001];
    const char *why = "";
    tern_call call;

    memset(helo, 'a', 2000);
    fake_call_init(&call, NULL);
    call.helo = helo;
    CU_ASSERT_TRUE(when_eval(NULL, compiled, &call, &why) < 0);
    CU_ASSERT_TRUE(why[0] != '\0');
    call.helo = "b";
    CU_ASSERT_EQUAL(when_eval(NULL, compiled, &call, &why), 1);
    fake_call_fini(&call);
}

/* More conditions than a thread keeps: it starts over, and all go on to work. */
static void test_many(void)
{
    for (int i = 0; i < 2500; i++) {
        const char *why = "";
        tern_call call;
        char text[64];

        (void)snprintf(text, sizeof(text), "rcpt.address == 'user%d@example.org'", i);
        const void *compiled = compile(text);
        fake_call_init(&call, NULL);
        (void)snprintf(text, sizeof(text), "user%d@example.org", i);
        call.rcpt = text;
        CU_ASSERT_EQUAL(when_eval(NULL, compiled, &call, &why), 1);
        call.rcpt = "x@y";
        CU_ASSERT_EQUAL(when_eval(NULL, compiled, &call, &why), 0);
        fake_call_fini(&call);
    }
}

static void *evaluate(void *compiled)
{
    intptr_t wrong_count = 0;

    for (int i = 0; i < 2000; i++) {
        const char *why = "";
        tern_call call;

        fill(&call);
        wrong_count += when_eval(NULL, compiled, &call, &why) != 1;
        fake_call_fini(&call);
    }
    return (void *)wrong_count;
}

/* One compiled condition, evaluated by several loops at once. */
static void test_threads(void)
{
    const void *compiled = compile("results.spf == 'pass' and session.helo:match('client')");
    pthread_t threads[4];
    void *wrong_count;

    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, evaluate, (void *)compiled), 0);
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(pthread_join(threads[i], &wrong_count), 0);
        CU_ASSERT_PTR_NULL(wrong_count);
    }
}

int main(void)
{
    lua_fixture_start();
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("when", NULL, NULL);
    CU_add_test(suite, "what conditions mean", test_cases);
    CU_add_test(suite, "nothing is known yet", test_nothing_known);
    CU_add_test(suite, "what is refused", test_wrong);
    CU_add_test(suite, "bounds", test_bounds);
    CU_add_test(suite, "a pathological pattern", test_pathological);
    CU_add_test(suite, "many conditions", test_many);
    CU_add_test(suite, "several threads", test_threads);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    int failed = CU_get_number_of_failures() != 0;
    CU_cleanup_registry();
    arena_fini(&arena);
    lua_fixture_end();
    return failed;
}
