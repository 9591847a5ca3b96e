/* SPDX-License-Identifier: Apache-2.0 */
/* module.c - the descriptor of the step named `lua`: it has no hooks of its own, its scripts
 * have. */
#include "lua/lua.h"

#include <stdio.h>

#include "lua/run.h"
#include "lua/script.h"

static int init(const struct tern_api *api, void **ret_state)
{
    lua_api = api;
    *ret_state = NULL;
    return 0;
}

static int load_script(tern_str path, bool trusted, const struct tern_module **ret, char *error,
                       size_t octets)
{
    struct lua_script *script = lua_script_new(path, trusted, error, octets);

    if (script == NULL)
        return -EINVAL;
    *ret = &script->module;
    return 0;
}

static void free_script(const struct tern_module *script)
{
    lua_script_retire(script->user);
}

const struct tern_module *lua_module(void)
{
    static const struct tern_option options[] = { TERN_OPTIONS_END };
    static const struct tern_hook hooks[] = { TERN_HOOKS_END };
    static const struct tern_module module = {
        .magic = TERN_ABI_MAGIC,
        .size = sizeof(struct tern_module),
        .abi_major = TERN_ABI_MAJOR,
        .abi_minor = TERN_ABI_MINOR,
        .name = "lua",
        .summary = "Run a Lua script as a step.",
        .options = options,
        .hooks = hooks,
        .init = init,
        .script = load_script,
        .script_free = free_script,
    };

    return &module;
}
