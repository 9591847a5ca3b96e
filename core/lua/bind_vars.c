/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind_vars.c - session.vars, txn.vars and results: keys that nobody declared to Lua.
 *
 * Variables are kept by the core as text, so that a C module, a spool record and `when` can read
 * them. Numbers are written as Lua writes them, booleans as true and false. A string that
 * would read as one of those, or that is empty or begins with ', gets a ' in front (as
 * in a spreadsheet), so that what was assigned is what is read.
 */
#include "lua/binding.h"

#include <stdio.h>
#include <string.h>

#define VAR_OCTETS_MAX 4096

struct vars {
    uint64_t serial;
    bool session;
};

static void push_proxy(lua_State *L, const char *class_, bool session)
{
    struct vars *v = lua_newuserdatauv(L, sizeof(*v), 0);

    *v = (struct vars){ lua_run_of(L)->serial, session };
    luaL_setmetatable(L, class_);
}

/* The functions below are reached through the metatable only: argument 1 is right. */
static struct lua_run *check_call(lua_State *L)
{
    const struct vars *v = lua_touserdata(L, 1);
    struct lua_run *run = lua_run_of(L);

    if (run == NULL || run->serial != v->serial)
        luaL_error(L, "these variables belong to a call that has ended");
    return run;
}

static void push_var(lua_State *L, tern_str text)
{
    if (text.len == 4 && memcmp(text.ptr, "true", 4) == 0)
        lua_pushboolean(L, 1);
    else if (text.len == 5 && memcmp(text.ptr, "false", 5) == 0)
        lua_pushboolean(L, 0);
    else if (text.len > 0 && text.ptr[0] == '\'')
        lua_pushlstring(L, text.ptr + 1, text.len - 1);
    else if (text.len > 0 && text.len < 64 && lua_stringtonumber(L, text.ptr) == text.len + 1)
        return;
    else
        lua_pushlstring(L, text.ptr, text.len);
}

static int read_var(lua_State *L)
{
    struct lua_run *run = check_call(L);
    tern_str text = lua_api->var(run->call, lua_check_text(L, 2, 64));

    if (run->hook == TERN_HOOK_COUNT)
        return lua_push_str(L, text);
    if (text.len == 0)
        lua_pushnil(L);
    else
        push_var(L, text);
    return 1;
}

static bool reads_as_other(lua_State *L, tern_str s)
{
    if (s.len == 0 || s.ptr[0] == '\'')
        return true;
    if ((s.len == 4 && memcmp(s.ptr, "true", 4) == 0) ||
        (s.len == 5 && memcmp(s.ptr, "false", 5) == 0))
        return true;
    if (s.len >= 64 || lua_stringtonumber(L, s.ptr) == 0)
        return false;
    lua_pop(L, 1);
    return true;
}

/* Leaves the text to store on the stack. */
static tern_str var_text(lua_State *L, int arg)
{
    tern_str s;

    switch (lua_type(L, arg)) {
    case LUA_TNIL: return (tern_str){ "", 0 };
    case LUA_TBOOLEAN: s = lua_toboolean(L, arg) ? TERN_STR("true") : TERN_STR("false"); return s;
    case LUA_TNUMBER: s.ptr = luaL_tolstring(L, arg, &s.len); return s;
    case LUA_TSTRING:
        s = lua_check_octets(L, arg, VAR_OCTETS_MAX);
        if (!reads_as_other(L, s))
            return s;
        lua_pushliteral(L, "'");
        lua_pushvalue(L, arg);
        lua_concat(L, 2);
        s.ptr = lua_tolstring(L, -1, &s.len);
        return s;
    default:
        luaL_error(L, "a variable holds a string, a number, a boolean or nil, not a %s",
                   luaL_typename(L, arg));
        return (tern_str){ "", 0 };
    }
}

static int assign_var(lua_State *L)
{
    const struct vars *v = lua_touserdata(L, 1);
    struct lua_run *run = check_call(L);
    const char *name = lua_check_text(L, 2, 64);
    bool at_session = (AT_SESSION & (1u << run->hook)) != 0;

    if (v->session != at_session)
        return luaL_error(
            L,
            v->session ? "session.vars can be assigned at connect and ehlo only; at %s use txn.vars"
                       : "txn.vars cannot be assigned at %s",
            lua_hook_name(run->hook));
    if (((AT(CLOSE) | AT(RESULT)) & (1u << run->hook)) != 0)
        return luaL_error(L, "variables cannot be assigned at %s", lua_hook_name(run->hook));
    box_charge(L, 300);
    lua_check_result(L, "vars", lua_api->set_var(run->call, name, var_text(L, 3)));
    return 0;
}

int lua_vars_push(lua_State *L, bool session)
{
    push_proxy(L, "vars", session);
    return 1;
}

/* ---- results ---- */

static int read_result(lua_State *L)
{
    struct lua_run *run = check_call(L);

    return lua_push_str(L, lua_api->result(run->call, lua_check_text(L, 2, 64)));
}

static int refuse_result(lua_State *L)
{
    return luaL_error(
        L, "results are read only; a script sets its own with tern.set_result(name, value)");
}

static int read_tag(lua_State *L)
{
    struct lua_run *run = check_call(L);

    lua_pushboolean(L, lua_api->has_tag(run->call, lua_check_text(L, 2, 64)));
    return 1;
}

int lua_results_push(lua_State *L)
{
    push_proxy(L, "results", false);
    return 1;
}

int lua_tags_push(lua_State *L)
{
    push_proxy(L, "tags", false);
    return 1;
}

static void open_proxy(lua_State *L, const char *name, lua_CFunction read, lua_CFunction assign)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, read);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, assign);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void lua_vars_open(lua_State *L)
{
    open_proxy(L, "vars", read_var, assign_var);
    open_proxy(L, "results", read_result, refuse_result);
    open_proxy(L, "tags", read_tag, refuse_result);
}
