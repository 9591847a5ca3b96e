/* SPDX-License-Identifier: Apache-2.0 */
/* bind_tern.c - the small functions of `tern` itself: log, note, now, contains. */
#include "lua/binding.h"

#include <arpa/inet.h>
#include <string.h>
#include <time.h>

#define LOG_TEXT_OCTETS_MAX 2000
#define NOTE_OCTETS_MAX     1000
#define LOG_UNITS           10000 /* so a call in a loop writes a thousand lines, not a million */

void lua_binding_log(lua_State *L, enum tern_log_level level, const char *text)
{
    const struct lua_run *run = lua_run_of(L);
    const struct lua_vm *vm = lua_vm_of(L);

    box_charge(L, LOG_UNITS);
    lua_api->log(run != NULL ? run->call : NULL, level, "%s.lua: %.*s",
                 vm != NULL ? vm->script->name : "when", LOG_TEXT_OCTETS_MAX, text);
}

int64_t lua_binding_now(lua_State *L)
{
    const struct lua_run *run = lua_run_of(L);

    return run != NULL ? lua_api->now_s(run->call) : (int64_t)time(NULL);
}

static int log_at(lua_State *L, enum tern_log_level level)
{
    lua_binding_log(L, level, luaL_tolstring(L, 1, NULL));
    return 0;
}

int lua_log_error(lua_State *L)
{
    return log_at(L, TERN_LOG_ERROR);
}

int lua_log_warning(lua_State *L)
{
    return log_at(L, TERN_LOG_WARNING);
}

int lua_log_info(lua_State *L)
{
    return log_at(L, TERN_LOG_INFO);
}

int lua_log_debug(lua_State *L)
{
    return log_at(L, TERN_LOG_DEBUG);
}

int lua_tern_note(lua_State *L)
{
    const char *key = lua_check_text(L, 1, 64);
    tern_str value;

    value.ptr = luaL_tolstring(L, 2, &value.len);
    if (value.len > NOTE_OCTETS_MAX)
        value.len = NOTE_OCTETS_MAX;
    box_charge(L, 200);
    lua_api->note(lua_run_of(L)->call, key, value);
    return 0;
}

int lua_tern_now(lua_State *L)
{
    lua_pushinteger(L, lua_binding_now(L));
    return 1;
}

int lua_tern_hostname(lua_State *L)
{
    return lua_push_str(L, lua_api->hostname());
}

int lua_tern_set_result(lua_State *L)
{
    const char *name = lua_check_text(L, 1, 64);
    tern_str value = lua_check_octets(L, 2, 256);
    const struct lua_run *run = lua_run_of(L);
    const struct tern_note *note = lua_script_note(run->vm->script, TERN_NOTE_RESULT, name);

    if (note == NULL)
        return luaL_error(
            L, "the result \"%s\" was not declared with tern.result { name = \"%s\" }", name, name);
    bool known = note->values == NULL;
    for (unsigned i = 0; !known && note->values[i] != NULL; i++)
        known = strcmp(note->values[i], value.ptr) == 0;
    if (!known)
        return luaL_error(L, "\"%s\" is not among the declared values of the result \"%s\"",
                          value.ptr, name);
    lua_check_result(L, "tern.set_result", lua_api->set_result(run->call, name, value));
    return 0;
}

/* Works on plain tables and on lists of options; compares as == does. */
int lua_tern_contains(lua_State *L)
{
    luaL_argexpected(L, lua_istable(L, 1) || lua_isuserdata(L, 1), 1, "list");
    lua_settop(L, 2);
    lua_Integer count = luaL_len(L, 1);
    for (lua_Integer i = 1; i <= count; i++) {
        (void)lua_geti(L, 1, i);
        if (lua_rawequal(L, -1, 2)) {
            lua_pushboolean(L, 1);
            return 1;
        }
        lua_pop(L, 1);
        box_charge(L, 2);
    }
    lua_pushboolean(L, 0);
    return 1;
}

/* opt.networks:contains("192.0.2.1"): no address at all is in no network. */
int lua_cidrs_contains(lua_State *L)
{
    const struct lua_object *o = lua_touserdata(L, 1);
    tern_address address = { .family = 0 };
    const char *text = luaL_optstring(L, 2, "");

    if (inet_pton(AF_INET, text, address.octets) == 1)
        address.family = 4;
    else if (inet_pton(AF_INET6, text, address.octets) == 1)
        address.family = 6;
    lua_pushboolean(L, address.family != 0 && lua_api->cidrs_match(o->ptr, &address));
    return 1;
}
