/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.c - see vm.h.
 *
 * A script of a generation that is gone is noticed when any script is used in the thread the
 * next time: its state is closed then. (Nobody may touch it from another thread.)
 */
#include "lua/vm.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lua/binding.h"
#include "lua/lua.h"
#include "lua/sandbox.h"
#include "lua/when_vm.h"

static _Thread_local struct lua_thread *this_thread;
static pthread_key_t end_key;
static pthread_once_t end_once = PTHREAD_ONCE_INIT;

/* ---- require ---- */

/* Upvalue 1: what was required so far. */
static int own_require(lua_State *L)
{
    const char *name = lua_check_text(L, 1, SCRIPT_NAME_OCTETS_MAX);
    struct lua_vm *vm = lua_vm_of(L);
    char error[SCRIPT_ERROR_OCTETS];

    lua_settop(L, 1);
    if (lua_getfield(L, lua_upvalueindex(1), name) != LUA_TNIL)
        return 1;
    if (!vm->loading)
        return luaL_error(L, "\"%s\" was not required while the script was loaded", name);
    const struct script_file *file = lua_script_file(vm->script, name, error, sizeof(error));
    if (file == NULL)
        return luaL_error(L, "%s", error);
    /* A file that requires itself, over whatever detour, gets `true`, as Lua's own does not
     * loop either. */
    lua_pushboolean(L, 1);
    lua_setfield(L, lua_upvalueindex(1), name);
    if (luaL_loadbufferx(L, file->text.ptr, file->text.len, file->chunk, "t") != LUA_OK)
        return lua_error(L);
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, lua_upvalueindex(1), name);
    return 1;
}

/* ---- the making of a state ---- */

/* Without budget: what we make ourselves. */
static int open_libraries(lua_State *L)
{
    struct lua_vm *vm = lua_touserdata(L, 1);

    sandbox_open(L, vm->script->trusted);
    lua_newtable(L);
    lua_bindings_open(L);
    lua_setfield(L, -2, "tern");
    lua_pushcclosure(L, own_require, 1);
    lua_setglobal(L, "require");
    return 0;
}

static int run_top_level(lua_State *L)
{
    struct lua_vm *vm = lua_touserdata(L, 1);
    const struct script_file *file = &vm->script->files[0];

    if (luaL_loadbufferx(L, file->text.ptr, file->text.len, file->chunk, "t") != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 0);
    return 0;
}

static void load_script(struct lua_vm *vm)
{
    struct box_budget budget = {
        .units_left = BOX_LOAD_UNITS_MAX,
        .units_max = BOX_LOAD_UNITS_MAX,
        .us_left = BOX_LOAD_US_MAX,
        .us_max = BOX_LOAD_US_MAX,
        .growth_left = BOX_MEMORY_DEFAULT,
    };
    lua_State *L = vm->box.L;

    vm->loading = true;
    lua_pushcfunction(L, run_top_level);
    lua_pushlightuserdata(L, vm);
    struct box_entered before = box_enter(&vm->box, &budget, L, NULL, BOX_MEMORY_DEFAULT);
    int status = lua_pcall(L, 1, 0, 0);
    box_leave(&vm->box, before);
    vm->loading = false;
    if (budget.doom != BOX_SOUND)
        box_doom_text(&budget, BOX_MEMORY_DEFAULT, vm->broken, sizeof(vm->broken));
    else if (status != LUA_OK)
        (void)snprintf(vm->broken, sizeof(vm->broken), "%s",
                       lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1)
                                                      : "failed without a reason");
    lua_settop(L, 0);
}

struct lua_vm *lua_vm_new(struct lua_script *script)
{
    struct lua_vm *vm = mem_zalloc(sizeof(*vm));

    list_init(&vm->link);
    vm->script = script;
    lua_script_ref(script);
    for (int i = 0; i < TERN_HOOK_COUNT; i++)
        vm->hook_refs[i] = LUA_NOREF;
    bool fine = box_init(&vm->box, BOX_MEMORY_DEFAULT);
    vm->box.owner = vm;
    if (!fine || box_protected(&vm->box, open_libraries, vm) != LUA_OK)
        (void)snprintf(vm->broken, sizeof(vm->broken), "%s.lua: out of memory", script->name);
    else
        load_script(vm);
    return vm;
}

void lua_vm_free(struct lua_vm *vm)
{
    list_remove(&vm->link);
    box_fini(&vm->box);
    lua_script_unref(vm->script);
    free(vm);
}

struct lua_vm *lua_vm_of(lua_State *L)
{
    return box_of(L)->owner;
}

/* ---- coroutines ---- */

struct new_coroutine {
    lua_State *L;
    int ref;
};

static int make_coroutine(lua_State *L)
{
    struct new_coroutine *c = lua_touserdata(L, 1);

    c->L = lua_newthread(L);
    c->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

lua_State *lua_vm_coroutine(struct lua_vm *vm, int *ret_ref)
{
    struct new_coroutine c = { NULL, LUA_NOREF };

    if (vm->spare_count > 0) {
        vm->spare_count--;
        *ret_ref = vm->spare[vm->spare_count].ref;
        return vm->spare[vm->spare_count].L;
    }
    if (box_protected(&vm->box, make_coroutine, &c) != LUA_OK)
        return NULL;
    *ret_ref = c.ref;
    return c.L;
}

static int drop_coroutine(lua_State *L)
{
    luaL_unref(L, LUA_REGISTRYINDEX, *(int *)lua_touserdata(L, 1));
    return 0;
}

void lua_vm_coroutine_done(struct lua_vm *vm, lua_State *L, int ref, bool clean)
{
    if (clean && vm->spare_count < VM_SPARE_COROUTINES_MAX) {
        lua_settop(L, 0);
        vm->spare[vm->spare_count].L = L;
        vm->spare[vm->spare_count++].ref = ref;
        return;
    }
    /* Not lua_resetthread(): it would run what the script marked <close>, without a budget. */
    (void)box_protected(&vm->box, drop_coroutine, &ref);
}

/* ---- threads ---- */

static void end_thread(void *arg)
{
    struct lua_thread *thread = arg;

    list_each_safe (link, &thread->vms)
        lua_vm_free(list_entry(link, struct lua_vm, link));
    when_vm_free(thread->when);
    table_free(&thread->waiting, NULL);
    buf_free(&thread->scratch);
    free(thread);
}

static void make_end_key(void)
{
    (void)pthread_key_create(&end_key, end_thread);
}

struct lua_thread *lua_thread(void)
{
    if (this_thread != NULL)
        return this_thread;
    (void)pthread_once(&end_once, make_end_key);
    this_thread = mem_zalloc(sizeof(*this_thread));
    list_init(&this_thread->vms);
    table_init(&this_thread->waiting);
    (void)pthread_setspecific(end_key, this_thread);
    return this_thread;
}

void lua_thread_end(void)
{
    if (this_thread == NULL)
        return;
    (void)pthread_setspecific(end_key, NULL);
    end_thread(this_thread);
    this_thread = NULL;
}

/* Closes the states of scripts whose generation is gone. */
static void sweep(struct lua_thread *thread)
{
    list_each_safe (link, &thread->vms) {
        struct lua_vm *vm = list_entry(link, struct lua_vm, link);
        if (vm->running == 0 && atomic_load_explicit(&vm->script->gone, memory_order_relaxed))
            lua_vm_free(vm);
    }
}

struct lua_vm *lua_vm_get(struct lua_thread *thread, struct lua_script *script)
{
    list_each (link, &thread->vms) {
        struct lua_vm *vm = list_entry(link, struct lua_vm, link);
        if (vm->script == script)
            return vm;
    }
    sweep(thread); /* a script that is new here came with a new generation */
    struct lua_vm *vm = lua_vm_new(script);
    list_push_front(&thread->vms, &vm->link);
    return vm;
}
