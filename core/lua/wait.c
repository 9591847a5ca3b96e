/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - tern.dns, tern.kv, tables and tern.challenge: they look synchronous, and give the coroutine up
 * underneath.
 *
 * The core's answer is copied in its callback, where nothing of Lua is touched, and turned into
 * Lua's values
 * when the coroutine runs again. "Certainly not there" is nil; "could not find out" is an error
 * for kv and
 * tables, so that a script that does not think of it fails closed; dns says which by its third
 * value.
 */
#include "lua/binding.h"

#include <string.h>

#define KV_KEY_OCTETS_MAX    1024
#define KV_VALUE_OCTETS_MAX  65536
#define KV_EXPIRE_DEFAULT_S  3600
#define KV_EXPIRE_MAX_S      (366 * 86400)
#define TABLE_KEY_OCTETS_MAX 1024
#define CHALLENGE_OCTETS_MAX 9000 /* the core's own bound is nearer */
#define DNS_NAME_OCTETS_MAX  254
#define DNS_RECORDS_MAX                                                                            \
    256 /* of one answer; a message of 64 KB can hold more, no honest one does */

/* What is there for the continuation; from now on the run waits for nothing. */
static struct lua_answered *take_answer(lua_State *L)
{
    struct lua_run *run = lua_run_of(L);

    run->answered.kind = WAIT_NOTHING;
    return &run->answered;
}

/* ---- kv ---- */

static void kv_done(tern_call *call, const void *conf, const struct tern_kv_answer *answer)
{
    struct lua_run *run = lua_run_waiting(call);

    (void)conf;
    if (run == NULL)
        return;
    run->answered.status = answer->status;
    run->answered.number = answer->number;
    run->answered.value = slice_make(answer->value.ptr, answer->value.len);
    if (answer->value.len > 0)
        run->answered.value = arena_slice(&run->arena, run->answered.value);
    lua_run_answered(run);
}

/* What was stored: a string if there is one, else the number; nil if absent. */
static int kv_value(lua_State *L, int status, lua_KContext context)
{
    const struct lua_answered *a = take_answer(L);

    (void)status;
    (void)context;
    if (a->status == TERN_FAILED)
        return luaL_error(L, "tern.kv: the store does not answer");
    if (a->status == TERN_ABSENT)
        lua_pushnil(L);
    else if (a->value.len > 0)
        lua_pushlstring(L, a->value.ptr, a->value.len);
    else
        lua_pushinteger(L, a->number);
    return 1;
}

/* put and remove: nothing to tell. */
static int kv_stored(lua_State *L, int status, lua_KContext context)
{
    const struct lua_answered *a = take_answer(L);

    (void)status;
    (void)context;
    if (a->status == TERN_FAILED)
        return luaL_error(L, "tern.kv: the store does not answer");
    return 0;
}

static tern_str check_key(lua_State *L)
{
    tern_str key = lua_check_octets(L, 1, KV_KEY_OCTETS_MAX);

    luaL_argcheck(L, key.len > 0, 1, "a key is not empty");
    return key;
}

static uint64_t check_expire(lua_State *L, int arg)
{
    lua_Integer seconds = luaL_optinteger(L, arg, KV_EXPIRE_DEFAULT_S);

    luaL_argcheck(L, seconds > 0 && seconds <= KV_EXPIRE_MAX_S, arg, "seconds, from 1 to a year");
    return (uint64_t)seconds;
}

int lua_kv_get(lua_State *L)
{
    tern_str key = check_key(L);
    struct lua_run *run = lua_run_begin_wait(L, WAIT_KV);

    return lua_run_wait(L, run, lua_api->kv_get(run->call, run->vm->script->kv_space, key, kv_done),
                        kv_value);
}

int lua_kv_put(lua_State *L)
{
    tern_str key = check_key(L), value = { "", 0 };
    lua_Integer number = 0;
    uint64_t expire_s = check_expire(L, 3);

    if (lua_type(L, 2) == LUA_TSTRING) {
        value = lua_check_octets(L, 2, KV_VALUE_OCTETS_MAX);
        luaL_argcheck(L, value.len > 0, 2, "an empty string cannot be stored");
    } else {
        number = luaL_checkinteger(L, 2);
    }
    struct lua_run *run = lua_run_begin_wait(L, WAIT_KV);
    return lua_run_wait(L, run,
                        lua_api->kv_put(run->call, run->vm->script->kv_space, key, number, value,
                                        expire_s, kv_done),
                        kv_stored);
}

int lua_kv_put_new(lua_State *L)
{
    tern_str key = check_key(L);
    lua_Integer number = luaL_checkinteger(L, 2);
    uint64_t expire_s = check_expire(L, 3);
    struct lua_run *run = lua_run_begin_wait(L, WAIT_KV);

    return lua_run_wait(
        L, run,
        lua_api->kv_put_new(run->call, run->vm->script->kv_space, key, number, expire_s, kv_done),
        kv_value);
}

int lua_kv_add(lua_State *L)
{
    tern_str key = check_key(L);
    lua_Integer amount = luaL_checkinteger(L, 2);
    uint64_t expire_s = check_expire(L, 3);
    struct lua_run *run = lua_run_begin_wait(L, WAIT_KV);

    return lua_run_wait(
        L, run,
        lua_api->kv_add(run->call, run->vm->script->kv_space, key, amount, expire_s, kv_done),
        kv_value);
}

int lua_kv_remove(lua_State *L)
{
    tern_str key = check_key(L);
    struct lua_run *run = lua_run_begin_wait(L, WAIT_KV);

    return lua_run_wait(
        L, run, lua_api->kv_remove(run->call, run->vm->script->kv_space, key, kv_done), kv_stored);
}

/* ---- tables ---- */

static void table_done(tern_call *call, const void *conf, const struct tern_table_answer *answer)
{
    struct lua_run *run = lua_run_waiting(call);

    (void)conf;
    if (run == NULL)
        return;
    run->answered.status = answer->status;
    run->answered.value = slice_make(answer->value.ptr, answer->value.len);
    if (answer->value.len > 0)
        run->answered.value = arena_slice(&run->arena, run->answered.value);
    lua_run_answered(run);
}

static int push_table_value(lua_State *L, unsigned status, struct slice value)
{
    if (status == TERN_FAILED)
        return luaL_error(L, "the table cannot be asked at the moment");
    if (status == TERN_ABSENT)
        lua_pushnil(L);
    else
        lua_pushlstring(L, value.ptr != NULL ? value.ptr : "", value.len);
    return 1;
}

static int table_value(lua_State *L, int status, lua_KContext context)
{
    const struct lua_answered *a = take_answer(L);

    (void)status;
    (void)context;
    return push_table_value(L, a->status, a->value);
}

int lua_table_find(lua_State *L)
{
    const struct lua_object *o = lua_touserdata(L, 1);
    tern_str key = lua_check_octets(L, 2, TABLE_KEY_OCTETS_MAX);
    struct tern_table_answer answer;
    int r = lua_api->table_peek(lua_run_of(L)->call, o->ptr, key, &answer);

    if (r == 0)
        return push_table_value(L, answer.status, slice_make(answer.value.ptr, answer.value.len));
    if (r != -EAGAIN)
        lua_check_result(L, "find", r);
    struct lua_run *run = lua_run_begin_wait(L, WAIT_TABLE);
    return lua_run_wait(L, run, lua_api->table_find(run->call, o->ptr, key, table_done),
                        table_value);
}

int lua_table_empty(lua_State *L)
{
    const struct lua_object *o = lua_touserdata(L, 1);

    lua_pushboolean(L, lua_api->table_empty(o->ptr));
    return 1;
}

/* ---- the client, at auth ---- */

static int client_value(lua_State *L, int status, lua_KContext context)
{
    const struct lua_answered *a = take_answer(L);

    (void)status;
    (void)context;
    lua_pushlstring(L, a->value.len > 0 ? a->value.ptr : "", a->value.len);
    return 1;
}

int lua_tern_challenge(lua_State *L)
{
    if (lua_auth_form(L) != TERN_AUTH_EXCHANGE)
        return luaL_error(L, "tern.challenge needs tern.on(\"auth\", f, { form = \"exchange\", "
                             "mechanisms = { ... } })");
    return lua_run_ask_client(L, lua_check_octets(L, 1, CHALLENGE_OCTETS_MAX), client_value);
}

/* ---- dns ---- */

static void dns_done(tern_call *call, const void *conf, const struct tern_dns_answer *answer,
                     void *arg)
{
    struct lua_run *run = lua_run_waiting(call);

    (void)conf;
    (void)arg;
    if (run == NULL)
        return;
    struct lua_answered *a = &run->answered;
    a->status = answer->status;
    a->authentic = answer->authentic;
    a->error = arena_dup(&run->arena, slice_cstr(answer->error));
    a->count = answer->count < DNS_RECORDS_MAX ? answer->count : DNS_RECORDS_MAX;
    struct tern_dns_record *records = arena_alloc(&run->arena, (a->count + 1) * sizeof(*records));
    for (size_t i = 0; i < a->count; i++) {
        records[i] = answer->records[i];
        struct slice text = slice_make(answer->records[i].text.ptr, answer->records[i].text.len);
        records[i].text.ptr = arena_dup(&run->arena, text);
    }
    a->records = records;
    lua_run_answered(run);
}

static int dns_value(lua_State *L, int status, lua_KContext context)
{
    const struct lua_answered *a = take_answer(L);

    (void)status;
    (void)context;
    if (a->status != TERN_FOUND) {
        lua_pushnil(L);
        lua_pushstring(L, a->error);
        lua_pushboolean(L, a->status == TERN_FAILED);
        return 3;
    }
    lua_createtable(L, (int)a->count, 1);
    for (size_t i = 0; i < a->count; i++) {
        if (a->dns_type == TERN_DNS_MX) {
            lua_createtable(L, 0, 2);
            (void)lua_push_str(L, a->records[i].text);
            lua_setfield(L, -2, "host");
            lua_pushinteger(L, a->records[i].number);
            lua_setfield(L, -2, "preference");
        } else {
            (void)lua_push_str(L, a->records[i].text);
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_pushboolean(L, a->authentic);
    lua_setfield(L, -2, "authentic");
    return 1;
}

int lua_tern_dns(lua_State *L)
{
    static const char *const names[] = { "A",  "AAAA",  "MX",   "TXT", "PTR",
                                         "NS", "CNAME", "TLSA", NULL };
    static const unsigned types[] = { TERN_DNS_A,   TERN_DNS_AAAA, TERN_DNS_MX,    TERN_DNS_TXT,
                                      TERN_DNS_PTR, TERN_DNS_NS,   TERN_DNS_CNAME, TERN_DNS_TLSA };
    const char *name = lua_check_text(L, 1, DNS_NAME_OCTETS_MAX);
    unsigned type = types[luaL_checkoption(L, 2, "A", names)];
    struct lua_run *run = lua_run_begin_wait(L, WAIT_DNS);

    run->answered.dns_type = type;
    return lua_run_wait(L, run, lua_api->dns(run->call, name, type, dns_done, NULL), dns_value);
}
