/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.c - session, txn, rcpt and the like: userdata without data, built from the table of
 * bindings.
 *
 * An object carries the serial of its call. It is good while that very call is the one at work,
 * and a
 * clear error at any other time; so a script may keep one as long as it likes.
 */
#include "lua/binding.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define BINDING_UNITS 100 /* what asking the core costs, in memory of the call too */

static const char *const class_names[OWNER_COUNT] = {
    [OWNER_TERN] = "tern",          [OWNER_LOG] = "tern.log", [OWNER_KV] = "tern.kv",
    [OWNER_SESSION] = "session",    [OWNER_TXN] = "txn",      [OWNER_RCPT] = "rcpt",
    [OWNER_MAILBOX] = "mailbox",    [OWNER_PART] = "part",    [OWNER_TABLE] = "table option",
    [OWNER_CIDRS] = "cidrs option", [OWNER_CREDENTIALS] = "credentials",
    [OWNER_ASKED] = "asked",
};

struct lua_run *lua_run_of(lua_State *L)
{
    return box_of(L)->run;
}

/* ---- may it be used here? ---- */

static const char *full_name(lua_State *L, const struct lua_binding *b)
{
    return lua_pushfstring(L, "%s%s%s", class_names[b->owner], b->kind == KIND_METHOD ? ":" : ".",
                           b->name);
}

static void check_place(lua_State *L, const struct lua_binding *b)
{
    const struct lua_run *run = lua_run_of(L);

    if (run == NULL) {
        const struct lua_vm *vm = lua_vm_of(L);
        if ((b->when & AT_LOAD) == 0)
            luaL_error(L, "%s can be used inside a hook only", full_name(L, b));
        if ((b->when & AT_HOOKS) == 0 && vm != NULL && !vm->loading)
            luaL_error(L, "%s can be used while the script is loaded only", full_name(L, b));
        return;
    }
    if (run->hook == TERN_HOOK_COUNT)
        return; /* `when` was checked word by word */
    if ((b->when & (1u << run->hook)) == 0) {
        if ((b->when & AT_HOOKS) == 0)
            luaL_error(L, "%s can be used while the script is loaded only, not inside a hook",
                       full_name(L, b));
        luaL_error(L, "%s is not allowed at %s", full_name(L, b), lua_hook_name(run->hook));
    }
}

static void check_alive(lua_State *L, const struct lua_object *o)
{
    const struct lua_run *run = lua_run_of(L);

    if (o->ptr == NULL && (run == NULL || run->serial != o->serial))
        luaL_error(L, "this %s belongs to a call that has ended", class_names[o->owner]);
}

struct lua_object *lua_object_check(lua_State *L, int arg, unsigned owner)
{
    struct lua_object *o = luaL_checkudata(L, arg, class_names[owner]);

    check_alive(L, o);
    return o;
}

struct lua_object *lua_object_push(lua_State *L, unsigned owner, unsigned index, unsigned which)
{
    const struct lua_run *run = lua_run_of(L);
    struct lua_object *o = lua_newuserdatauv(L, sizeof(*o), 0);

    *o = (struct lua_object){ run->serial, owner, index, which, NULL };
    luaL_setmetatable(L, class_names[owner]);
    return o;
}

/* ---- iterators ---- */

int lua_iterator_push(lua_State *L, lua_CFunction next, int more)
{
    lua_pushinteger(L, 0);
    lua_pushinteger(L, (lua_Integer)lua_run_of(L)->serial);
    lua_rotate(L, -2 - more, 2);
    lua_pushcclosure(L, next, 2 + more);
    return 1;
}

unsigned lua_iterator_step(lua_State *L)
{
    const struct lua_run *run = lua_run_of(L);
    lua_Integer index = lua_tointeger(L, lua_upvalueindex(1));

    if (run == NULL || (lua_Integer)run->serial != lua_tointeger(L, lua_upvalueindex(2)))
        luaL_error(L, "this iterator belongs to a call that has ended");
    lua_pushinteger(L, index + 1);
    lua_replace(L, lua_upvalueindex(1));
    return (unsigned)index;
}

/* ---- calling through the table ---- */

/* Upvalue: the binding. */
static int call_binding(lua_State *L)
{
    const struct lua_binding *b = lua_touserdata(L, lua_upvalueindex(1));

    if (b->kind == KIND_METHOD)
        (void)lua_object_check(L, 1, b->owner);
    check_place(L, b);
    box_charge(L, BINDING_UNITS);
    return b->run(L);
}

static int no_such_field(lua_State *L, unsigned owner)
{
    return luaL_error(L, "%s has no field \"%s\"", class_names[owner],
                      lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2));
}

/* __index of objects. Upvalue: name -> method, or the number of the field's binding. */
static int index_object(lua_State *L)
{
    const struct lua_object *o = lua_touserdata(L, 1); /* no script can get at this function */

    lua_pushvalue(L, 2);
    switch (lua_rawget(L, lua_upvalueindex(1))) {
    case LUA_TFUNCTION: return 1;
    case LUA_TNUMBER: break;
    default: return no_such_field(L, o->owner);
    }
    const struct lua_binding *b = &lua_bindings[lua_tointeger(L, -1)];
    lua_pop(L, 1);
    check_alive(L, o);
    check_place(L, b);
    return b->run(L);
}

static int refuse_assignment(lua_State *L)
{
    const struct lua_object *o = lua_touserdata(L, 1);

    return luaL_error(L, "%s.%s cannot be assigned to", class_names[o->owner],
                      lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

static int object_to_string(lua_State *L)
{
    const struct lua_object *o = lua_touserdata(L, 1);

    lua_pushstring(L, class_names[o->owner]);
    return 1;
}

/* ---- building it ---- */

static void push_binding(lua_State *L, const struct lua_binding *b)
{
    if (b->kind == KIND_FIELD) {
        lua_pushinteger(L, b - lua_bindings);
        return;
    }
    lua_pushlightuserdata(L, (void *)b);
    lua_pushcclosure(L, call_binding, 1);
}

static void fill(lua_State *L, unsigned owner)
{
    for (unsigned i = 0; i < lua_binding_count; i++) {
        if (lua_bindings[i].owner != owner)
            continue;
        push_binding(L, &lua_bindings[i]);
        lua_setfield(L, -2, lua_bindings[i].name);
    }
}

static void open_class(lua_State *L, unsigned owner)
{
    luaL_newmetatable(L, class_names[owner]);
    lua_newtable(L);
    fill(L, owner);
    lua_pushcclosure(L, index_object, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refuse_assignment);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, object_to_string);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

static int no_such_function(lua_State *L)
{
    return luaL_error(L, "tern has no function \"%s\"",
                      lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2));
}

void lua_bindings_open(lua_State *L)
{
    for (unsigned owner = OWNER_SESSION; owner < OWNER_COUNT; owner++)
        open_class(L, owner);
    lua_answer_open(L);
    lua_vars_open(L);
    lua_options_open(L);
    lua_newtable(L);
    fill(L, OWNER_TERN);
    lua_newtable(L);
    fill(L, OWNER_LOG);
    lua_setfield(L, -2, "log");
    lua_newtable(L);
    fill(L, OWNER_KV);
    lua_setfield(L, -2, "kv");
    lua_newtable(L); /* tern.rejct(...) says so, instead of "attempt to call a nil value" */
    lua_pushcfunction(L, no_such_function);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

/* ---- values ---- */

int lua_push_str(lua_State *L, tern_str s)
{
    lua_pushlstring(L, s.ptr != NULL ? s.ptr : "", s.len);
    return 1;
}

int lua_push_text(lua_State *L, tern_str s)
{
    const struct lua_run *run = lua_run_of(L);

    if (s.len == 0 && run->hook != TERN_HOOK_COUNT) {
        lua_pushnil(L);
        return 1;
    }
    return lua_push_str(L, s);
}

tern_str lua_check_octets(lua_State *L, int arg, size_t octets_max)
{
    tern_str s;

    s.ptr = luaL_checklstring(L, arg, &s.len);
    if (s.len > octets_max)
        luaL_argerror(L, arg, lua_pushfstring(L, "longer than %d octets", (int)octets_max));
    return s;
}

const char *lua_check_text(lua_State *L, int arg, size_t octets_max)
{
    tern_str s = lua_check_octets(L, arg, octets_max);

    if (strlen(s.ptr) != s.len)
        luaL_argerror(L, arg, "has a NUL in it");
    return s.ptr;
}

void lua_check_result(lua_State *L, const char *what, int r)
{
    if (r < 0)
        luaL_error(L, "%s: %s", what, strerror(-r));
}
