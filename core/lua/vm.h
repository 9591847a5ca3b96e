/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.h - a script made to run in one thread: its state, functions and spare coroutines.
 */
#ifndef TERN_LUA_VM_H
#define TERN_LUA_VM_H

#include "base/buf.h"
#include "base/list.h"
#include "base/table.h"
#include "lua/box.h"
#include "lua/script.h"

#define VM_SPARE_COROUTINES_MAX 64

struct lua_vm {
    struct list link; /* of the thread's */
    struct lua_box box;
    struct lua_script *script;      /* counted */
    int hook_refs[TERN_HOOK_COUNT]; /* the functions; LUA_NOREF */
    bool loading;                   /* the top level runs */
    bool has_options;
    char broken[SCRIPT_ERROR_OCTETS]; /* not empty: the top level failed here */
    uint64_t serial;                  /* of the newest call */
    unsigned running;                 /* calls that have not ended */
    struct {
        lua_State *L;
        int ref;
    } spare[VM_SPARE_COROUTINES_MAX];
    unsigned spare_count;
};

/* What a thread has. */
struct lua_thread {
    struct list vms;      /* last used first */
    struct table waiting; /* address of a call -> struct lua_run */
    struct when_vm *when;
    struct buf scratch; /* for what is made before Lua gets it */
};
struct lua_thread *lua_thread(void); /* made on first use */

/* A state of its own that has run the script's top level; `broken` says if that failed. */
struct lua_vm *lua_vm_new(struct lua_script *script);
void lua_vm_free(struct lua_vm *vm);
/* The thread's state for a script. */
struct lua_vm *lua_vm_get(struct lua_thread *thread, struct lua_script *script);
struct lua_vm *lua_vm_of(lua_State *L); /* NULL in a state for `when` */

/* An empty coroutine and its anchor; NULL: out of memory. */
lua_State *lua_vm_coroutine(struct lua_vm *vm, int *ret_ref);
/* Back to the spares if it ended well (`clean`), else to the collector. */
void lua_vm_coroutine_done(struct lua_vm *vm, lua_State *L, int ref, bool clean);

#endif
