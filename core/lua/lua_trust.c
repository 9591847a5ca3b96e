/* SPDX-License-Identifier: Apache-2.0 */
/* lua_trust.c - see lua_trust.h. The rules are the loader's, module/trust.h; here is only who
 * we are. */
#include "lua/lua_trust.h"

#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#include "lua/lua.h"
#include "lua/run.h"
#include "module/trust.h"

static bool is_set_up, own_user;

void lua_setup(const struct lua_env *env)
{
    lua_api = env->api;
    own_user = env->own_user;
    is_set_up = true;
}

int lua_trust_open(const char *path, char *error, size_t octets)
{
    /* A program that is not the server (a test) and has not said who it is: whoever is not root. */
    int fd = trust_open(path, is_set_up ? own_user : geteuid() != 0, error, octets);

    if (fd >= 0 && error[0] != '\0' && lua_api != NULL)
        lua_api->log(NULL, TERN_LOG_WARNING, "%s", error);
    return fd;
}
