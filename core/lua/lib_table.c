/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib_table.c - the functions of `table` whose loops run inside one instruction, guarded.
 *
 * What they do is Lua's own; before, the work is counted and bounded. A __len that
 * answers 10^15 would make insert, remove, concat and sort loop for ever, so tables with one are
 * refused.
 */
#include "lua/sandbox.h"

#include <string.h>

static void check_length(lua_State *L, const char *name)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (luaL_getmetafield(L, 1, "__len") != LUA_TNIL)
        luaL_error(L, "table.%s does not take a table with __len here", name);
}

static int call_stock(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int safe_insert(lua_State *L)
{
    check_length(L, "insert");
    if (lua_gettop(L) > 2) /* shifts what is behind */
        box_charge(L, lua_rawlen(L, 1));
    return call_stock(L);
}

static int safe_remove(lua_State *L)
{
    check_length(L, "remove");
    if (lua_gettop(L) > 1)
        box_charge(L, lua_rawlen(L, 1));
    return call_stock(L);
}

static int safe_concat(lua_State *L)
{
    check_length(L, "concat");
    lua_Integer from = luaL_optinteger(L, 3, 1);
    lua_Integer to = luaL_opt(L, luaL_checkinteger, 4, (lua_Integer)lua_rawlen(L, 1));
    if (to >= from)
        box_charge(L, (uint64_t)to - (uint64_t)from);
    return call_stock(L);
}

static int safe_move(lua_State *L)
{
    lua_Integer from = luaL_checkinteger(L, 2), to = luaL_checkinteger(L, 3);

    if (to >= from && (uint64_t)to - (uint64_t)from >= SANDBOX_MOVE_MAX)
        return luaL_error(L, "table.move takes at most %d elements here", SANDBOX_MOVE_MAX);
    if (to >= from)
        box_charge(L, (uint64_t)to - (uint64_t)from + 1);
    return call_stock(L);
}

/* Sum over the elements of what one comparison of each may cost. */
static uint64_t weigh(lua_State *L, lua_Unsigned count)
{
    uint64_t units = 0;

    for (lua_Unsigned i = 1; i <= count && units < SANDBOX_SORT_UNITS_MAX; i++) {
        units += 1;
        if (lua_rawgeti(L, 1, (lua_Integer)i) == LUA_TSTRING)
            units += lua_rawlen(L, -1) / BOX_ALLOC_OCTETS_PER_UNIT;
        lua_pop(L, 1);
    }
    return units;
}

static int safe_sort(lua_State *L)
{
    check_length(L, "sort");
    lua_Unsigned count = lua_rawlen(L, 1);
    uint64_t units = weigh(L, count), turns = 1;
    for (lua_Unsigned n = count; n > 1; n /= 2)
        turns++;
    if (units * turns > SANDBOX_SORT_UNITS_MAX)
        return luaL_error(L, "too much to sort at once (%d elements)", (int)count);
    box_charge(L, units * turns);
    return call_stock(L);
}

void sandbox_table(lua_State *L)
{
    static const struct luaL_Reg guarded[] = {
        { "insert", safe_insert }, { "remove", safe_remove }, { "concat", safe_concat },
        { "move", safe_move },     { "sort", safe_sort },     { NULL, NULL },
    };

    for (const struct luaL_Reg *r = guarded; r->name != NULL; r++) {
        lua_getfield(L, -1, r->name);
        lua_pushcclosure(L, r->func, 1);
        lua_setfield(L, -2, r->name);
    }
}
