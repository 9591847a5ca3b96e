/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lua.h - the step named `lua`: scripts as steps, through the module ABI.
 *
 * What a script sees is in docs/lua.md. The per-thread states are made on first use by a hook
 * and belong to the loop thread that made them.
 */
#ifndef TERN_LUA_LUA_H
#define TERN_LUA_LUA_H

#include <stdbool.h>

#include <tern/module.h>

/* The built-in descriptor, for modules_env.builtin. */
const struct tern_module *lua_module(void);

struct lua_env {
    const struct tern_api
        *api;      /* what init() of the module would get; `when` needs it without a script */
    bool own_user; /* Tern was started without root: its user may own scripts (module/trust.h) */
};
/* Once per process, before modules_new() and any other call here. */
void lua_setup(const struct lua_env *env);

/* Closes the states of the calling loop thread; it has no sessions any more. (A thread that ends
 * does
 * this by itself; for the main thread and tests.) */
void lua_thread_end(void);

#endif
