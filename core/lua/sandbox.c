/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.c - see sandbox.h.
 *
 * Built up from nothing, by name; a function of a newer Lua is missing until somebody has
 * thought about it. What is left out, and why:
 *   io, package, debug, dofile, loadfile   reach files, C code, other scripts' values
 *   coroutine       a wrapped coroutine would run outside the budget's hook
 *   load            of text only; bytecode can crash the interpreter
 *   collectgarbage  only "count"
 *   __gc            finalizers run with hooks switched off: a loop in one never ends
 *   xpcall          runs its handler after the error is caught, see there
 *   getmetatable("").__index = ...          would change the string functions of all hooks
 */
#include "lua/sandbox.h"

#include <string.h>

#include <lualib.h>

#include "lua/binding.h"

static int safe_setmetatable(lua_State *L)
{
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        lua_rawget(L, 2);
        if (!lua_isnil(L, -1))
            return luaL_error(L, "a metatable with __gc is not allowed here");
        lua_pop(L, 1);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* The handler's turn, with hooks on and the stack unwound. Its own error becomes the result. */
static int xpcall_handled(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

/* Stack: handler, then what the function returned or its error. */
static int xpcall_done(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    if (status == LUA_OK || status == LUA_YIELD) {
        lua_pushboolean(L, 1);
        lua_replace(L, 1);
        return lua_gettop(L);
    }
    lua_pushvalue(L, 1);
    lua_insert(L, -2);
    return xpcall_handled(L, lua_pcallk(L, 1, 1, 0, 0, xpcall_handled), 0);
}

/*
 * Lua runs the handler where the error was raised. If that was in our count hook, hooks are off
 * there, and a handler that loops is never stopped. So ours runs after the error has been caught.
 */
static int safe_xpcall(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 1);
    lua_replace(L, 2);
    lua_replace(L, 1); /* handler, function, arguments */
    return xpcall_done(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, xpcall_done), 0);
}

static int safe_load(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    const char *name = luaL_optstring(L, 2, "=(load)");

    if (len > SANDBOX_SOURCE_OCTETS_MAX)
        return luaL_error(L, "load takes at most %d octets", (int)SANDBOX_SOURCE_OCTETS_MAX);
    box_charge(L, 4 * len);
    if (luaL_loadbufferx(L, text, len, name, "t") != LUA_OK) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (lua_gettop(L) >= 5) { /* load(text, name, mode, env) and the function on top */
        lua_pushvalue(L, 4);
        lua_setupvalue(L, -2, 1);
    }
    return 1;
}

static int safe_collectgarbage(lua_State *L)
{
    if (strcmp(luaL_optstring(L, 1, "collect"), "count") != 0)
        return luaL_error(L, "only collectgarbage(\"count\") is allowed here");
    lua_pushnumber(L, (lua_Number)lua_gc(L, LUA_GCCOUNT) + lua_gc(L, LUA_GCCOUNTB) / 1024.0);
    return 1;
}

static int log_print(lua_State *L)
{
    luaL_Buffer b;
    int n = lua_gettop(L);

    luaL_buffinit(L, &b);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&b, ' ');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    lua_binding_log(L, TERN_LOG_INFO, lua_tostring(L, -1));
    return 0;
}

/* os.time() and os.date() go by the call's clock, which `tern test` sets. */
static int os_time(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_pushinteger(L, lua_binding_now(L));
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static int os_date(lua_State *L)
{
    const char *format = luaL_optstring(L, 1, "%c");
    lua_Integer when = luaL_opt(L, luaL_checkinteger, 2, lua_binding_now(L));

    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushstring(L, format);
    lua_pushinteger(L, when);
    lua_call(L, 2, 1);
    return 1;
}

/* Replaces the function `name` of the table on top by `fn`, which has the stock one as upvalue. */
static void wrap(lua_State *L, const char *name, lua_CFunction fn)
{
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, fn, 1);
    lua_setfield(L, -2, name);
}

static void keep_only(lua_State *L, const char *const *names)
{
    lua_newtable(L);
    for (; *names != NULL; names++) {
        lua_getfield(L, -2, *names);
        lua_setfield(L, -2, *names);
    }
    lua_remove(L, -2);
}

static void open_base(lua_State *L)
{
    static const char *const gone[] = { "dofile", "loadfile", "warn", "require", NULL };

    luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
    for (size_t i = 0; gone[i] != NULL; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, gone[i]);
    }
    wrap(L, "setmetatable", safe_setmetatable);
    wrap(L, "xpcall", safe_xpcall);
    wrap(L, "load", safe_load);
    wrap(L, "collectgarbage", safe_collectgarbage);
    wrap(L, "print", log_print);
    lua_pop(L, 1);
}

static void open_os(lua_State *L, bool trusted)
{
    static const char *const harmless[] = { "time", "date", "clock", "difftime", NULL };

    luaL_requiref(L, LUA_OSLIBNAME, luaopen_os, 0);
    if (trusted) {
        lua_pushnil(L);
        lua_setfield(L, -2, "exit"); /* would end the server */
    } else {
        keep_only(L, harmless);
    }
    wrap(L, "time", os_time);
    wrap(L, "date", os_date);
    lua_setglobal(L, LUA_OSLIBNAME);
}

void sandbox_open(lua_State *L, bool trusted)
{
    open_base(L);
    open_os(L, trusted);
    luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
    luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 1);
    lua_pop(L, 2);
    luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
    sandbox_table(L);
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
    sandbox_string(L);
    lua_pop(L, 2);
    if (trusted) {
        luaL_requiref(L, LUA_IOLIBNAME, luaopen_io, 1);
        lua_pop(L, 1);
    }
    /* luaL_requiref() keeps what it opened in the registry, stock os included; no script gets
     * there. */
}
