/* SPDX-License-Identifier: Apache-2.0 */
/*
 * when.c - see when.h.
 *
 * A compiled condition is its text and a number. Each thread turns it into a function of Lua
 * when it first
 * meets the number; the functions are few and small, and when there are WHEN_FUNCTIONS_MAX (after
 * many reloads) the thread starts over with a fresh state.
 */
#include "lua/when.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lua/binding.h"
#include "lua/sandbox.h"
#include "lua/when_scan.h"
#include "lua/when_vm.h"

#define WHEN_FUNCTIONS_MAX 1024
#define WHEN_MEMORY_MAX    (4u << 20)
#define WHEN_US_MAX        50000
#define WHEN_SERIAL        1

struct when {
    uint64_t id;
    struct slice text;
};

struct when_vm {
    struct lua_box box;
    unsigned functions; /* in the table "functions" of the registry, by id */
    char error[256];
};

static _Atomic uint64_t last_id;

/* ---- the state ---- */

static int read_nothing(lua_State *L)
{
    return luaL_error(L, "\"%s\" is not known here", luaL_tolstring(L, 2, NULL));
}

static int open_state(lua_State *L)
{
    struct when_vm *vm = lua_touserdata(L, 1);
    struct lua_run run = { .hook = TERN_HOOK_COUNT, .serial = WHEN_SERIAL };

    sandbox_open(L, false);
    lua_bindings_open(L);
    lua_newtable(L); /* functions by id */
    lua_setfield(L, LUA_REGISTRYINDEX, "functions");
    vm->box.run = &run;
    lua_newtable(L); /* what the conditions can name */
    (void)lua_object_push(L, OWNER_SESSION, 0, 0);
    lua_setfield(L, -2, "session");
    (void)lua_object_push(L, OWNER_TXN, 0, 0);
    lua_setfield(L, -2, "txn");
    (void)lua_object_push(L, OWNER_RCPT, 0, RCPT_CURRENT);
    lua_setfield(L, -2, "rcpt");
    (void)lua_results_push(L);
    lua_setfield(L, -2, "results");
    (void)lua_tags_push(L);
    lua_setfield(L, -2, "tags");
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, read_nothing);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, LUA_REGISTRYINDEX, "names");
    vm->box.run = NULL;
    return 0;
}

static struct when_vm *vm_new(void)
{
    struct when_vm *vm = mem_zalloc(sizeof(*vm));

    if (box_init(&vm->box, WHEN_MEMORY_MAX) && box_protected(&vm->box, open_state, vm) == LUA_OK)
        return vm;
    when_vm_free(vm);
    return NULL;
}

void when_vm_free(struct when_vm *vm)
{
    if (vm == NULL)
        return;
    box_fini(&vm->box);
    free(vm);
}

/* ---- compiling ---- */

/* Leaves the function on the stack; raises. */
static void push_function(lua_State *L, struct slice text)
{
    lua_pushliteral(L, "return (");
    lua_pushlstring(L, text.ptr, text.len);
    lua_pushliteral(L, "\n)");
    lua_concat(L, 3);
    size_t len;
    const char *chunk = lua_tolstring(L, -1, &len);
    if (luaL_loadbufferx(L, chunk, len, "=when", "t") != LUA_OK)
        lua_error(L);
    lua_remove(L, -2);
    lua_getfield(L, LUA_REGISTRYINDEX, "names");
    if (lua_setupvalue(L, -2, 1) == NULL)
        lua_pop(L, 1); /* names nothing at all: "true" */
}

static int try_compile(lua_State *L)
{
    const struct slice *text = lua_touserdata(L, 1);

    push_function(L, *text);
    return 0;
}

/* "when:1: unexpected symbol near ..." without the place, which is that of the key. */
static void take_error(lua_State *L, char *error, size_t octets)
{
    const char *text =
        lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "failed without a reason";
    size_t skip = strncmp(text, "when:", 5) == 0 ? 5 + strspn(text + 5, "0123456789: ") : 0;

    (void)snprintf(error, octets, "%s", text + skip);
}

const void *when_compile(struct arena *arena, struct slice text, const struct slice *results,
                         unsigned result_count, const struct slice *tags, unsigned tag_count,
                         char *error, size_t octets)
{
    struct when_names names = { results, tags, result_count, tag_count };

    if (!when_scan(text, &names, error, octets))
        return NULL;
    struct when_vm *vm = vm_new();
    if (vm == NULL) {
        (void)snprintf(error, octets, "out of memory");
        return NULL;
    }
    lua_pushcfunction(vm->box.L, try_compile);
    lua_pushlightuserdata(vm->box.L, &text);
    bool fine = lua_pcall(vm->box.L, 1, 0, 0) == LUA_OK;
    if (!fine)
        take_error(vm->box.L, error, octets);
    when_vm_free(vm);
    if (!fine)
        return NULL;
    struct when *when = ARENA_NEW(arena, struct when);
    when->id = atomic_fetch_add(&last_id, 1) + 1;
    when->text = arena_slice(arena, text);
    return when;
}

/* ---- evaluating ---- */

struct evaluation {
    struct when_vm *vm;
    const struct when *when;
};

static int evaluate(lua_State *L)
{
    struct evaluation *e = lua_touserdata(L, 1);

    lua_getfield(L, LUA_REGISTRYINDEX, "functions");
    if (lua_rawgeti(L, -1, (lua_Integer)e->when->id) == LUA_TNIL) {
        lua_pop(L, 1);
        push_function(L, e->when->text);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, (lua_Integer)e->when->id);
        e->vm->functions++;
    }
    lua_call(L, 0, 1);
    lua_pushboolean(L, lua_toboolean(L, -1));
    return 1;
}

/* The thread's state, with room for one function more; NULL: out of memory. */
static struct when_vm *this_vm(void)
{
    struct lua_thread *thread = lua_thread();

    if (thread->when != NULL && thread->when->functions >= WHEN_FUNCTIONS_MAX) {
        when_vm_free(thread->when);
        thread->when = NULL;
    }
    if (thread->when == NULL)
        thread->when = vm_new();
    return thread->when;
}

int when_eval(struct engine *engine, const void *compiled, const tern_call *call,
              const char **ret_error)
{
    struct when_vm *vm = this_vm();
    struct evaluation e = { vm, compiled };
    /* Nothing that a condition can name changes the call. */
    struct lua_run run = { .call = (tern_call *)call,
                           .hook = TERN_HOOK_COUNT,
                           .serial = WHEN_SERIAL };
    struct box_budget budget = {
        .units_left = WHEN_UNITS_MAX,
        .units_max = WHEN_UNITS_MAX,
        .us_left = WHEN_US_MAX,
        .us_max = WHEN_US_MAX,
        .growth_left = WHEN_MEMORY_MAX,
    };

    (void)engine;
    if (vm == NULL) {
        *ret_error = "out of memory";
        return -ENOMEM;
    }
    lua_State *L = vm->box.L;
    lua_pushcfunction(L, evaluate);
    lua_pushlightuserdata(L, &e);
    struct box_entered before = box_enter(&vm->box, &budget, L, &run, WHEN_MEMORY_MAX);
    int status = lua_pcall(L, 1, 1, 0);
    box_leave(&vm->box, before);
    int answer = status == LUA_OK && lua_toboolean(L, -1);
    if (budget.doom != BOX_SOUND || status != LUA_OK) {
        take_error(L, vm->error, sizeof(vm->error));
        *ret_error = budget.doom != BOX_SOUND ? "used up what a condition may use" : vm->error;
        answer = -EINVAL;
    }
    lua_settop(L, 0);
    return answer;
}
