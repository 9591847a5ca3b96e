/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lua_limits.c - hostile scripts: each ends in an error of that call, and never holds the loop for long.
 *
 * The bounds in units are the same in every build; the longest hold is checked generously, since the
 * machine may be busy and sanitized code is slow.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <CUnit/Basic.h>

#include "lua/lua.h"
#include "lua_fixture.h"

#ifdef TERN_SANITIZED
#define HOLD_US_MAX 3000000
#else
#define HOLD_US_MAX 250000 /* of processor time */
#endif

#define RCPT(body) "local tern = require 'tern'\ntern.on('rcpt', function(txn)\n" body "\nend)"

static const struct {
    const char *name, *body, *error;
} cases[] = {
    { "a loop without end", RCPT("while true do end"),
      "test.lua:3: used up its 10000000 instructions" },
    { "behind pcall", RCPT("while true do pcall(function() while true do end end) end"),
      "used up its" },
    { "behind pcall without loop inside", RCPT("while true do pcall(error, 'x') end"),
      "used up its" },
    { "in a sort", RCPT("table.sort({ 3, 2, 1 }, function() while true do end end)"),
      "test.lua:3: ran for too long in a sort" },
    { "in a sort behind pcall",
      RCPT("while true do pcall(table.sort, { 3, 2, 1 }, function() while true do end end) end"),
      "" },
    { "pcall in a sort",
      RCPT("table.sort({ 3, 2, 1 }, function() while true do pcall(function() while true do end "
           "end) end end)"),
      "ran for too long in a sort" },
    { "in gsub", RCPT("('abc'):gsub('.', function() while true do end end)"),
      "ran for too long in a sort, gsub" },
    { "in gsub behind pcall",
      RCPT("while true do pcall(string.gsub, 'abc', '.', function() while true do end end) end"),
      "" },
    { "pcall in gsub in sort",
      RCPT(
          "table.sort({ 2, 1 }, function() pcall(string.gsub, 'abc', '.', function() while true do "
          "pcall(function() while true do end end) end end) while true do end end)"),
      "" },
    { "in xpcall's handler",
      RCPT("while true do xpcall(error, function() while true do end end) end"), "" },
    { "in __index",
      RCPT("local t = setmetatable({}, { __index = function() while true do end end }) return t.x"),
      "used up its" },
    { "in __tostring",
      RCPT("local t = setmetatable({}, { __tostring = function() while true do end end }) return "
           "tostring(t)"),
      "" },
    { "in __close",
      RCPT("local t <close> = setmetatable({}, { __close = function() while true do end end })"),
      "used up its" },
    { "in an iterator", RCPT("for x in function() return 1 end do end"), "used up its" },
    { "a recursion without end", RCPT("local function f() return 1 + f() end f()"),
      "test.lua:3: used up its memory" },
    { "a recursion behind pcall", RCPT("local function f() pcall(f) while true do end end f()"),
      "" },
    { "a gigabyte by rep", RCPT("local s = ('x'):rep(1000000000)"),
      "test.lua:3: resulting string too large" },
    { "a gigabyte by rep behind pcall",
      RCPT("while true do pcall(string.rep, 'x', 1000000000) end"), "used up its" },
    { "a gigabyte by ..", RCPT("local s = 'x' while true do s = s .. s end"),
      "used up its memory" },
    { "a gigabyte by .. behind pcall",
      RCPT("while true do pcall(function() local s = 'x' while true do s = s .. s end end) end"),
      "used up its memory" },
    { "a gigabyte by concat",
      RCPT(
          "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(100000) end local s = table.concat(t)"),
      "used up its memory" },
    { "a gigabyte by gsub", RCPT("local s = ('x'):rep(1000000) s = s:gsub('.', s)"), "memory" },
    { "a table that grows", RCPT("local t = {} while true do t[#t + 1] = {} end"),
      "used up its memory" },
    { "garbage", RCPT("while true do local s = ('x'):rep(100000) .. tostring({}) end"),
      "used up its" },
    { "comparing big strings",
      RCPT("local a, b = ('x'):rep(3000000) .. 'a', ('x'):rep(3000000) .. 'b' "
           "while true do local c = a < b end"),
      "" },
    { "numbers of big strings",
      RCPT("local a = (' '):rep(3000000) .. '1' while true do local c = a + 1 end"),
      "ran for longer than 300 ms" },
    { "a pathological pattern", RCPT("local s = ('a'):rep(1000) s:find(('.-'):rep(10) .. 'b')"),
      "this pattern takes too long on this text" },
    { "pathological patterns behind pcall",
      RCPT("local s, p = ('a'):rep(1000), ('.-'):rep(10) .. 'b' while true do pcall(string.find, "
           "s, p) end"),
      "used up its" },
    { "a pathological pattern in gmatch", RCPT("for w in ('a'):rep(100000):gmatch('a*b') do end"),
      "takes too long" },
    { "a pathological set",
      RCPT("local s = ('a'):rep(10000) s:match('[' .. ('b'):rep(10000) .. ']+$')"),
      "takes too long" },
    { "a sort of everything",
      RCPT("local t = {} for i = 1, 40000 do t[i] = i end table.sort(t) while true do "
           "table.sort(t) end"),
      "" },
    { "a sort of long strings",
      RCPT("local s, t = ('x'):rep(200000), {} for i = 1, 5000 do t[i] = s end table.sort(t)"),
      "too much to sort" },
    { "insert at the front", RCPT("local t = {} while true do table.insert(t, 1, 1) end"), "" },
    { "utf8", RCPT("local s = ('x'):rep(3000000) while true do utf8.len(s) end"),
      "ran for longer than 300 ms" },
    { "log lines", RCPT("while true do tern.log.debug('x') end"), "used up its" },
    { "headers", RCPT("while true do local c = txn.sender end"), "used up its" },
    { "kv", RCPT("while true do tern.kv.get('x') end"), "used up its" },
};

static uint64_t longest_us;

static uint64_t cpu_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* As fake_run(), but measuring how long each stretch on the loop takes. */
static tern_verdict run_measured(tern_call *call, const struct tern_module *script)
{
    uint64_t began = cpu_us();

    call->verdict = script->hooks[0].run(call, call->conf);
    for (bool more = true; more && call->verdict == TERN_WAIT;) {
        uint64_t now = cpu_us();
        if (now - began > longest_us)
            longest_us = now - began;
        began = now;
        more = fake_step(call);
    }
    uint64_t now = cpu_us();
    if (now - began > longest_us)
        longest_us = now - began;
    return call->verdict;
}

static void test_hostile(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct tern_module *script = lua_fixture_load(cases[i].body, false);
        tern_call call;

        if (script == NULL)
            fprintf(stderr, "  case \"%s\": %s\n", cases[i].name, lua_fixture_error);
        CU_ASSERT_PTR_NOT_NULL_FATAL(script);
        bool slow = strstr(cases[i].error, "longer") != NULL;
        fake_call_init(&call, fake_conf(script, slow ? "time: 300ms" : "time: 60s"));
        longest_us = 0;
        tern_verdict verdict = run_measured(&call, script);
        const char *logged = call.logged.data != NULL ? call.logged.data : "";
        if (verdict != TERN_ERROR || strstr(logged, cases[i].error) == NULL ||
            longest_us > HOLD_US_MAX || getenv("SHOW") != NULL)
            fprintf(stderr, "  case \"%s\": %d, held the loop for %llu us: %.200s\n", cases[i].name,
                    (int)verdict, (unsigned long long)longest_us, logged);
        CU_ASSERT_EQUAL(verdict, TERN_ERROR);
        CU_ASSERT_PTR_NOT_NULL(strstr(logged, cases[i].error));
        CU_ASSERT_TRUE(longest_us <= HOLD_US_MAX);
        fake_call_fini(&call);
        /* The state is as good as new for the next call. */
        lua_fixture_unload(script);
    }
}

/* One script, good and bad calls by turns: a bad one does not spoil the state for the good ones. */
static void test_state_survives(void)
{
    const struct tern_module *script = lua_fixture_load(
        RCPT("local n = txn.sender.local_part if n == 'loop' then while true do end "
             "elseif n == 'memory' then local t = {} while true do t[#t + 1] = {} end "
             "elseif n == 'error' then error('x') end return tern.reject('fine')"),
        false);
    static const char *const senders[] = { "loop@x", "good@x",  "memory@x",
                                           "good@x", "error@x", "good@x" };

    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < 6; i++) {
            tern_call call;

            fake_call_init(&call, fake_conf(script, "instructions: 200000"));
            call.sender = senders[i];
            CU_ASSERT_EQUAL(fake_run(&call, script, TERN_HOOK_RCPT),
                            i % 2 == 0 ? TERN_ERROR : TERN_REJECT);
            fake_call_fini(&call);
        }
    lua_fixture_unload(script);
}

/* At the bound a call goes through, one turn above it does not. */
static void test_instruction_bound(void)
{
    const struct tern_module *script =
        lua_fixture_load(RCPT("for i = 1, tonumber(txn.sender.local_part) do end"), false);
    static const struct {
        const char *sender;
        tern_verdict verdict;
    } rows[] = { { "1000@x", TERN_NEXT }, { "95000@x", TERN_NEXT }, { "105000@x", TERN_ERROR } };

    for (size_t i = 0; i < 3; i++) {
        tern_call call;

        fake_call_init(&call, fake_conf(script, "{ instructions: 100000, time: 60s }"));
        call.sender = rows[i].sender;
        CU_ASSERT_EQUAL(fake_run(&call, script, TERN_HOOK_RCPT), rows[i].verdict);
        fake_call_fini(&call);
    }
    lua_fixture_unload(script);
}

static void test_time_bound(void)
{
    const struct tern_module *script = lua_fixture_load(RCPT("while true do end"), false);
    tern_call call;

    fake_call_init(&call, fake_conf(script, "{ instructions: 1000000000, time: 20ms }"));
    CU_ASSERT_EQUAL(fake_run(&call, script, TERN_HOOK_RCPT), TERN_ERROR);
    CU_ASSERT_PTR_NOT_NULL(strstr(call.logged.data, "test.lua:3: ran for longer than 20 ms"));
    fake_call_fini(&call);
    lua_fixture_unload(script);
}

/* A call that works hard gives the loop back in between. */
static void test_slices(void)
{
    const struct tern_module *script =
        lua_fixture_load(RCPT("for i = 1, 3000000 do end return tern.reject('done')"), false);
    tern_call call;
    int turns = 0;

    fake_call_init(&call, fake_conf(script, "time: 60s"));
    call.verdict = script->hooks[0].run(&call, call.conf);
    while (call.verdict == TERN_WAIT && fake_step(&call))
        turns++;
    CU_ASSERT_EQUAL(call.verdict, TERN_REJECT);
    CU_ASSERT_TRUE(turns >= 10);
    fake_call_fini(&call);
    lua_fixture_unload(script);
}

int main(void)
{
    lua_fixture_start();
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("lua limits", NULL, NULL);
    CU_add_test(suite, "hostile scripts", test_hostile);
    CU_add_test(suite, "the state survives", test_state_survives);
    CU_add_test(suite, "the bound of instructions", test_instruction_bound);
    CU_add_test(suite, "the bound of time", test_time_bound);
    CU_add_test(suite, "slices", test_slices);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    int failed = CU_get_number_of_failures() != 0;
    CU_cleanup_registry();
    lua_fixture_end();
    return failed;
}
