/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib_string.c - find, match, gmatch, gsub on our own matcher; rep and format bounded.
 *
 * They take, return and raise what Lua 5.4's do. The one thing more: "this pattern takes
 * too long on this text", after BOX_MATCH_STEPS_MAX steps or when the call's budget is used up.
 */
#include "lua/sandbox.h"

#include <stdio.h>
#include <string.h>

#include "lua/pattern.h"

static struct slice check_slice(lua_State *L, int arg)
{
    struct slice s;

    s.ptr = luaL_checklstring(L, arg, &s.len);
    return s;
}

/* Where a position argument points to, from 0; Lua counts from 1, or from the end if negative. */
static size_t start_of(lua_State *L, int arg, size_t len)
{
    lua_Integer at = luaL_optinteger(L, arg, 1);

    if (at > 0)
        return (lua_Unsigned)at - 1 > len ? len + 1 : (size_t)at - 1;
    if (at == 0 || at < -(lua_Integer)len)
        return 0;
    return len - (size_t)-at;
}

/* After each use of the matcher: takes the steps off the budget and raises if it failed. */
static void settle(lua_State *L, struct lua_matcher *m, uint64_t steps_before, enum lua_match r)
{
    box_charge(L, steps_before - m->steps_left);
    if (r == LUA_MATCH_BAD)
        luaL_error(L, m->error, m->error_number);
    if (r == LUA_MATCH_LIMIT)
        luaL_error(L, "this pattern takes too long on this text");
}

static bool take_anchor(struct slice *pattern)
{
    if (pattern->len == 0 || pattern->ptr[0] != '^')
        return false;
    *pattern = slice_make(pattern->ptr + 1, pattern->len - 1);
    return true;
}

static void push_capture(lua_State *L, const struct lua_matcher *m, unsigned i, const char *start,
                         const char *end)
{
    if (i >= m->capture_count) {
        if (i != 0)
            luaL_error(L, "invalid capture index %%%d", (int)i + 1);
        lua_pushlstring(L, start, (size_t)(end - start));
        return;
    }
    const struct lua_capture *c = &m->captures[i];
    if (c->len == LUA_CAPTURE_OPEN)
        luaL_error(L, "unfinished capture");
    else if (c->len == LUA_CAPTURE_POSITION)
        lua_pushinteger(L, c->start - m->subject.ptr + 1);
    else
        lua_pushlstring(L, c->start, (size_t)c->len);
}

/* All captures, or the whole match if there are none. `start` NULL: no whole match. */
static int push_captures(lua_State *L, const struct lua_matcher *m, const char *start,
                         const char *end)
{
    unsigned count = m->capture_count == 0 && start != NULL ? 1 : m->capture_count;

    luaL_checkstack(L, (int)count, "too many captures");
    for (unsigned i = 0; i < count; i++)
        push_capture(L, m, i, start, end);
    return (int)count;
}

static int find_plain(lua_State *L, struct slice subject, struct slice what, size_t from)
{
    const char *at = memmem(subject.ptr + from, subject.len - from, what.ptr, what.len);

    box_charge(L, (subject.len - from) / 8);
    if (at == NULL) {
        luaL_pushfail(L);
        return 1;
    }
    lua_pushinteger(L, at - subject.ptr + 1);
    lua_pushinteger(L, at - subject.ptr + (lua_Integer)what.len);
    return 2;
}

static int find_or_match(lua_State *L, bool find)
{
    struct slice subject = check_slice(L, 1), pattern = check_slice(L, 2);
    size_t from = start_of(L, 3, subject.len);
    struct lua_matcher m;

    if (from > subject.len) {
        luaL_pushfail(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || lua_pattern_is_plain(pattern)))
        return find_plain(L, subject, pattern, from);
    bool anchored = take_anchor(&pattern);
    uint64_t steps = box_steps(L);
    lua_matcher_init(&m, subject, pattern, steps);
    const char *start = subject.ptr + from, *end;
    enum lua_match r = lua_match_from(&m, &start, anchored, &end);
    settle(L, &m, steps, r);
    if (r != LUA_MATCH_YES) {
        luaL_pushfail(L);
        return 1;
    }
    if (!find)
        return push_captures(L, &m, start, end);
    lua_pushinteger(L, start - subject.ptr + 1);
    lua_pushinteger(L, end - subject.ptr);
    return push_captures(L, &m, NULL, NULL) + 2;
}

static int own_find(lua_State *L)
{
    return find_or_match(L, true);
}

static int own_match(lua_State *L)
{
    return find_or_match(L, false);
}

/* ---- gmatch ---- */

struct gmatch {
    size_t at;       /* where to go on */
    size_t last_end; /* of the last match: an empty one there is skipped; SIZE_MAX: none */
};

/* Upvalues: subject, pattern, struct gmatch. */
static int gmatch_next(lua_State *L)
{
    struct slice subject, pattern;
    struct gmatch *g = lua_touserdata(L, lua_upvalueindex(3));
    struct lua_matcher m;

    subject.ptr = lua_tolstring(L, lua_upvalueindex(1), &subject.len);
    pattern.ptr = lua_tolstring(L, lua_upvalueindex(2), &pattern.len);
    uint64_t steps = box_steps(L);
    lua_matcher_init(&m, subject, pattern, steps);
    for (; g->at <= subject.len; g->at++) {
        const char *start = subject.ptr + g->at, *end;
        enum lua_match r = lua_match_at(&m, start, &end);

        if (r == LUA_MATCH_NO)
            continue;
        if (r == LUA_MATCH_YES && (size_t)(end - subject.ptr) == g->last_end)
            continue;
        settle(L, &m, steps, r);
        g->at = g->last_end = (size_t)(end - subject.ptr);
        return push_captures(L, &m, start, end);
    }
    settle(L, &m, steps, LUA_MATCH_NO);
    return 0;
}

static int own_gmatch(lua_State *L)
{
    struct slice subject = check_slice(L, 1);

    (void)check_slice(L, 2);
    size_t from = start_of(L, 3, subject.len);
    lua_settop(L, 2);
    struct gmatch *g = lua_newuserdatauv(L, sizeof(*g), 0);
    *g = (struct gmatch){ from > subject.len ? subject.len + 1 : from, SIZE_MAX };
    lua_pushcclosure(L, gmatch_next, 3);
    return 1;
}

/* ---- gsub ---- */

/* Adds the replacement string (argument 3) with its %0 to %9 filled in. */
static void add_template(lua_State *L, luaL_Buffer *b, const struct lua_matcher *m,
                         const char *start, const char *end)
{
    struct slice s;

    s.ptr = lua_tolstring(L, 3, &s.len);
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '%') {
            luaL_addchar(b, s.ptr[i]);
            continue;
        }
        char c = ++i < s.len ? s.ptr[i] : '\0';
        if (c == '%') {
            luaL_addchar(b, c);
        } else if (c == '0') {
            luaL_addlstring(b, start, (size_t)(end - start));
        } else if (c >= '1' && c <= '9') {
            push_capture(L, m, (unsigned)(c - '1'), start, end);
            luaL_tolstring(L, -1, NULL);
            lua_remove(L, -2);
            luaL_addvalue(b);
        } else {
            luaL_error(L, "invalid use of '%%' in replacement string");
        }
    }
}

/* Adds what stands for one match. False: the original. */
static bool add_replacement(lua_State *L, luaL_Buffer *b, const struct lua_matcher *m,
                            const char *start, const char *end)
{
    switch (lua_type(L, 3)) {
    case LUA_TFUNCTION:
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(L, m, start, end), 1);
        break;
    case LUA_TTABLE:
        push_capture(L, m, 0, start, end);
        lua_gettable(L, 3);
        break;
    default: add_template(L, b, m, start, end); return true;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(b, start, (size_t)(end - start));
        return false;
    }
    if (!lua_isstring(L, -1))
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    luaL_addvalue(b);
    return true;
}

static void check_replacement(lua_State *L)
{
    int type = lua_type(L, 3);

    if (type != LUA_TNUMBER && type != LUA_TSTRING && type != LUA_TFUNCTION && type != LUA_TTABLE)
        luaL_typeerror(L, 3, "string/function/table");
    if (type == LUA_TNUMBER)
        (void)lua_tostring(L, 3); /* in place, so that nothing converts it under the buffer */
}

static int own_gsub(lua_State *L)
{
    struct slice subject = check_slice(L, 1), pattern = check_slice(L, 2);
    const char *at = subject.ptr, *last_end = NULL, *stop = subject.ptr + subject.len;
    bool anchored = take_anchor(&pattern), changed = false;

    check_replacement(L);
    lua_Integer count_max = luaL_optinteger(L, 4, (lua_Integer)subject.len + 1), count = 0;
    uint64_t steps_all = box_steps(L);
    struct lua_matcher m;
    luaL_Buffer b;
    lua_matcher_init(&m, subject, pattern, steps_all);
    luaL_buffinit(L, &b);
    while (count < count_max) {
        uint64_t steps = m.steps_left;
        const char *end = NULL;
        enum lua_match r = lua_match_at(&m, at, &end);

        settle(L, &m, steps, r);
        if (r == LUA_MATCH_YES && end != last_end) {
            count++;
            changed |= add_replacement(L, &b, &m, at, end);
            at = last_end = end;
        } else if (at < stop) {
            luaL_addchar(&b, *at++);
        } else {
            break;
        }
        if (anchored)
            break;
    }
    if (!changed) {
        lua_pushvalue(L, 1);
    } else {
        luaL_addlstring(&b, at, (size_t)(stop - at));
        luaL_pushresult(&b);
    }
    lua_pushinteger(L, count);
    return 2;
}

/* ---- bounded ---- */

/* Stock rep would loop 10^15 times over an empty string, and ask for any amount of memory. */
static int own_rep(lua_State *L)
{
    struct slice s = check_slice(L, 1);
    lua_Integer count = luaL_checkinteger(L, 2);
    size_t separator;

    (void)luaL_optlstring(L, 3, "", &separator);
    size_t each = s.len + separator;
    if (count <= 0 || each == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if ((lua_Unsigned)count > box_of(L)->octets_max / each)
        return luaL_error(L, "resulting string too large");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

void sandbox_string(lua_State *L)
{
    static const struct luaL_Reg own[] = {
        { "find", own_find }, { "match", own_match }, { "gmatch", own_gmatch },
        { "gsub", own_gsub }, { NULL, NULL },
    };

    luaL_setfuncs(L, own, 0);
    lua_getfield(L, -1, "rep");
    lua_pushcclosure(L, own_rep, 1);
    lua_setfield(L, -2, "rep");
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    /* The metatable of all strings: its __index is this very table, and stays. */
    lua_pushliteral(L, "");
    if (lua_getmetatable(L, -1)) {
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}
