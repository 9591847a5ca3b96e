/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lua_pattern.c - our find, match, gmatch and gsub against Lua's own, on random input.
 *
 * Patterns are put together from a small alphabet full of what means something, subjects from one
 * that they are likely to match. Both must agree on every value and on every error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <CUnit/Basic.h>
#include <lauxlib.h>
#include <lualib.h>

#include "lua/box.h"
#include "lua/pattern.h"
#include "lua/sandbox.h"
#include "lua_fixture.h"

static struct lua_box own; /* with our functions */
static lua_State *stock;   /* with Lua's */

static const char compare_text[] =
    "local s, p, r, init = ... "
    "local function pack(...) local n, t = select('#', ...), {} for i = 1, n do t[i] = "
    "tostring((select(i, ...))) end "
    "return n .. ':' .. table.concat(t, ',') end "
    "local out = {} "
    "local function try(f, ...) local t = pack(pcall(f, ...)) t = t:gsub('%(command line%):%d+: ', "
    "'') out[#out + 1] = t end "
    "try(string.find, s, p, init) try(string.find, s, p, init, true) try(string.match, s, p, init) "
    "try(string.gsub, s, p, r) try(string.gsub, s, p, r, 2) try(string.gsub, s, p, function(a, b) "
    "return b or a end) "
    "try(string.gsub, s, p, { a = 'X', ab = false, [''] = 'E', [1] = 'one' }) "
    "try(function() local l = {} for a, b in string.gmatch(s, p, init) do l[#l + 1] = tostring(a) "
    ".. '/' .. tostring(b) end "
    "return table.concat(l, ';') end) "
    "return table.concat(out, '\\n')";

static int open_own(lua_State *L)
{
    sandbox_open(L, false);
    return 0;
}

static int run_chunk(lua_State *L, const char *s, size_t s_len, const char *p, size_t p_len,
                     const char *r, size_t r_len, int init)
{
    lua_settop(L, 0);
    if (luaL_loadbuffer(L, compare_text, strlen(compare_text), "=x") != LUA_OK)
        return -1;
    lua_pushlstring(L, s, s_len);
    lua_pushlstring(L, p, p_len);
    lua_pushlstring(L, r, r_len);
    lua_pushinteger(L, init);
    return lua_pcall(L, 4, 1, 0);
}

static unsigned long long state = 88172645463325252ull;
static unsigned pick(unsigned n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state % n);
}

static size_t random_text(char *to, size_t max, const char *const *pieces, unsigned count)
{
    size_t len = 0;

    for (unsigned n = pick(8); n > 0; n--) {
        const char *piece = pieces[pick(count)];
        size_t octets = piece[0] == '\0' ? 1 : strlen(piece); /* the empty one stands for a NUL */
        if (len + octets > max)
            break;
        memcpy(to + len, piece, octets);
        len += octets;
    }
    return len;
}

static void compare_once(const char *s, size_t s_len, const char *p, size_t p_len, const char *r,
                         size_t r_len, int init, unsigned *differences)
{
    int a = run_chunk(own.L, s, s_len, p, p_len, r, r_len, init);
    int b = run_chunk(stock, s, s_len, p, p_len, r, r_len, init);
    const char *x = lua_tostring(own.L, -1), *y = lua_tostring(stock, -1);

    if (a == b && x != NULL && y != NULL && strcmp(x, y) == 0)
        return;
    if ((*differences)++ < 5)
        fprintf(stderr,
                "  subject \"%.*s\" pattern \"%.*s\" replacement \"%.*s\" from %d:\n--- "
                "own\n%s\n--- stock\n%s\n",
                (int)s_len, s, (int)p_len, p, (int)r_len, r, init, x, y);
}

static void test_against_stock(void)
{
    static const char *const subjects[] = { "a", "b",  "ab", "aab", "(", ")", "x1", "9",    " ",
                                            "%", "\n", "Z",  "[",   "]", "-", "",   "\xe9", "." };
    static const char *const patterns[] = { "a",      "b",       ".",
                                            "%a",     "%d",      "%s",
                                            "%w",     "%W",      "%A",
                                            "%u",     "%l",      "%p",
                                            "%x",     "%c",      "%g",
                                            "%z",     "%%",      "%.",
                                            "[ab]",   "[^ab]",   "[a-z]",
                                            "[%d_]",  "[]a]",    "[^]]",
                                            "[a-]",   "[%a-z]",  "[",
                                            "]",      "(",       ")",
                                            "()",     "(a)",     "(.)",
                                            "*",      "+",       "-",
                                            "?",      ".-",      ".*",
                                            "a*",     "a+",      "a-",
                                            "a?",     "^",       "$",
                                            "%b()",   "%bxx",    "%b",
                                            "%f[%a]", "%f[^%w]", "%f",
                                            "%1",     "%2",      "%0",
                                            "%",      "",        "(a*(.)%w(%s*))",
                                            "x",      "1",       "%f[%z]" };
    static const char *const replacements[] = { "x",    "%0", "%1", "%2", "%%",
                                                "<%1>", "%",  "%a", "",   "yy" };
    unsigned seed = getenv("SEED") != NULL ? (unsigned)atoi(getenv("SEED")) : (unsigned)time(NULL),
             differences = 0;

    printf("seed %u ", seed);
    state ^= (unsigned long long)seed * 2654435761u;
    for (int i = 0; i < 20000 && differences == 0; i++) {
        char s[64], p[64], r[32];
        size_t s_len = random_text(s, sizeof(s), subjects, 18);
        size_t p_len = random_text(p, sizeof(p), patterns, sizeof(patterns) / sizeof(patterns[0]));
        size_t r_len = random_text(r, sizeof(r), replacements, 10);

        compare_once(s, s_len, p, p_len, r, r_len, (int)pick(12) - 5, &differences);
    }
    CU_ASSERT_EQUAL(differences, 0);
}

/* Bounds of the syntax, at and above. */
static void test_edges(void)
{
    unsigned differences = 0;
    char text[2048];

    for (int n = 30; n <= 34; n++) { /* captures */
        text[0] = '\0';
        for (int i = 0; i < n; i++)
            strcat(text, "()");
        compare_once("abc", 3, text, strlen(text), "%1", 2, 1, &differences);
    }
    for (int n = 190; n <= 210; n++) { /* depth */
        memset(text, 0, sizeof(text));
        for (int i = 0; i < n; i++)
            strcat(text, "a?");
        compare_once("aaaaaaaaaa", 10, text, strlen(text), "x", 1, 1, &differences);
    }
    compare_once("", 0, "", 0, "", 0, 1, &differences);
    compare_once("abc", 3, "", 0, "-", 1, 4, &differences);
    compare_once("abc", 3, "", 0, "-", 1, 5, &differences);
    compare_once("abc", 3, "", 0, "-", 1, -100, &differences);
    CU_ASSERT_EQUAL(differences, 0);
}

/* With n steps a match that needs n goes through, with n - 1 it does not. */
static void test_steps(void)
{
    struct slice subject = SLICE("aaaaaaaaaaaaaaaaaaab"), pattern = SLICE("a-b");
    struct lua_matcher m;
    const char *at, *end;
    uint64_t need;

    at = subject.ptr;
    lua_matcher_init(&m, subject, pattern, 1000);
    CU_ASSERT_EQUAL(lua_match_from(&m, &at, false, &end), LUA_MATCH_YES);
    need = 1000 - m.steps_left;
    for (uint64_t steps = 0; steps <= need; steps++) {
        at = subject.ptr;
        lua_matcher_init(&m, subject, pattern, steps);
        CU_ASSERT_EQUAL(lua_match_from(&m, &at, false, &end),
                        steps < need ? LUA_MATCH_LIMIT : LUA_MATCH_YES);
    }
}

int main(void)
{
    lua_fixture_start();
    stock = luaL_newstate();
    luaL_openlibs(stock);
    if (!box_init(&own, BOX_MEMORY_DEFAULT) || box_protected(&own, open_own, NULL) != LUA_OK)
        return 1;
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("lua pattern", NULL, NULL);
    CU_add_test(suite, "as Lua's own on random input", test_against_stock);
    CU_add_test(suite, "as Lua's own at its bounds", test_edges);
    CU_add_test(suite, "steps", test_steps);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    int failed = CU_get_number_of_failures() != 0;
    CU_cleanup_registry();
    box_fini(&own);
    lua_close(stock);
    lua_fixture_end();
    return failed;
}
