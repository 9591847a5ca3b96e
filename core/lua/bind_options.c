/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind_options.c - what tern.options { } returns: the options of the running step.
 *
 * One proxy per script; each reading goes to the struct that the core filled for this step and
 * profile, so one script serves several steps. Lists and maps are views too, good as long as the
 * configuration is, which is longer than any call.
 */
#include "lua/binding.h"

#include <string.h>

struct list_view {
    const struct tern_list *list;
};
struct map_view {
    const struct tern_map *map;
};

/* ---- lists: #l, l[i], ipairs ---- */

static int list_index(lua_State *L)
{
    const struct list_view *v = lua_touserdata(L, 1);
    lua_Integer i = lua_tointeger(L, 2);

    if (i < 1 || (lua_Unsigned)i > v->list->count)
        lua_pushnil(L);
    else
        (void)lua_push_str(L, v->list->items[i - 1]);
    return 1;
}

static int list_len(lua_State *L)
{
    const struct list_view *v = lua_touserdata(L, 1);

    lua_pushinteger(L, (lua_Integer)v->list->count);
    return 1;
}

/* ---- maps: m[key], #m, pairs ---- */

static int map_index(lua_State *L)
{
    const struct map_view *v = lua_touserdata(L, 1);
    tern_str key = { "", 0 };

    if (lua_type(L, 2) == LUA_TSTRING)
        key.ptr = lua_tolstring(L, 2, &key.len);
    box_charge(L, v->map->count / 4);
    for (size_t i = 0; i < v->map->count; i++)
        if (v->map->keys[i].len == key.len && memcmp(v->map->keys[i].ptr, key.ptr, key.len) == 0)
            return lua_push_str(L, v->map->values[i]);
    lua_pushnil(L);
    return 1;
}

static int map_len(lua_State *L)
{
    const struct map_view *v = lua_touserdata(L, 1);

    lua_pushinteger(L, (lua_Integer)v->map->count);
    return 1;
}

/* Upvalues: the view, the next index. */
static int map_next(lua_State *L)
{
    const struct map_view *v = lua_touserdata(L, lua_upvalueindex(1));
    lua_Unsigned i = (lua_Unsigned)lua_tointeger(L, lua_upvalueindex(2));

    if (i >= v->map->count)
        return 0;
    lua_pushinteger(L, (lua_Integer)i + 1);
    lua_replace(L, lua_upvalueindex(2));
    (void)lua_push_str(L, v->map->keys[i]);
    (void)lua_push_str(L, v->map->values[i]);
    return 2;
}

static int map_pairs(lua_State *L)
{
    lua_settop(L, 1);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, map_next, 2);
    return 1;
}

static int refuse(lua_State *L)
{
    return luaL_error(L, "options are read only");
}

/* ---- one option ---- */

static int push_object(lua_State *L, unsigned owner, const void *ptr)
{
    struct lua_object *o = lua_object_push(L, owner, 0, 0);

    if (ptr == NULL) { /* an optional table that is not given */
        lua_pop(L, 1);
        lua_pushnil(L);
        return 1;
    }
    o->ptr = ptr;
    return 1;
}

static int push_view(lua_State *L, const char *class_, const void *at)
{
    const void **v = lua_newuserdatauv(L, sizeof(*v), 0);

    *v = at;
    luaL_setmetatable(L, class_);
    return 1;
}

static int push_option(lua_State *L, const struct tern_option *o, const void *at)
{
    switch (o->type) {
    case TERN_TYPE_BOOL: lua_pushboolean(L, *(const bool *)at); return 1;
    case TERN_TYPE_INT: lua_pushinteger(L, *(const int64_t *)at); return 1;
    case TERN_TYPE_UINT: lua_pushinteger(L, *(const unsigned *)at); return 1;
    case TERN_TYPE_SIZE:
    case TERN_TYPE_SECONDS: lua_pushinteger(L, (lua_Integer) * (const uint64_t *)at); return 1;
    case TERN_TYPE_ENUM: lua_pushstring(L, o->values[*(const int *)at]); return 1;
    case TERN_TYPE_LIST: return push_view(L, "list option", at);
    case TERN_TYPE_MAP: return push_view(L, "map option", at);
    case TERN_TYPE_TABLE: return push_object(L, OWNER_TABLE, *(const void *const *)at);
    case TERN_TYPE_CIDRS: return push_object(L, OWNER_CIDRS, *(const void *const *)at);
    default: return lua_push_str(L, *(const tern_str *)at);
    }
}

static int options_index(lua_State *L)
{
    const struct lua_run *run = lua_run_of(L);
    const char *key = lua_check_text(L, 2, 64);

    if (run == NULL)
        return luaL_error(L, "options can be read inside a hook only: each step has its own");
    const struct tern_option *o = lua_script_option(run->vm->script, key);
    if (o == NULL)
        return luaL_error(L, "the script declares no option \"%s\"", key);
    return push_option(L, o, (const char *)run->conf + o->offset);
}

static void open_view(lua_State *L, const char *class_, lua_CFunction index, lua_CFunction len,
                      lua_CFunction pairs)
{
    luaL_newmetatable(L, class_);
    lua_pushcfunction(L, index);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refuse);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    if (len != NULL) {
        lua_pushcfunction(L, len);
        lua_setfield(L, -2, "__len");
    }
    if (pairs != NULL) {
        lua_pushcfunction(L, pairs);
        lua_setfield(L, -2, "__pairs");
    }
    lua_pop(L, 1);
}

void lua_options_open(lua_State *L)
{
    open_view(L, "options", options_index, NULL, NULL);
    open_view(L, "list option", list_index, list_len, NULL);
    open_view(L, "map option", map_index, map_len, map_pairs);
}

int lua_options_push(lua_State *L)
{
    (void)lua_newuserdatauv(L, 1, 0);
    luaL_setmetatable(L, "options");
    return 1;
}
