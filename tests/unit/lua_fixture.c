/* SPDX-License-Identifier: Apache-2.0 */
/* lua_fixture.c - see lua_fixture.h. */
#include "lua_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lua/lua.h"

char lua_fixture_error[512];
static char folder[] = "/tmp/tern-test-lua-XXXXXX";
static char written[64][sizeof(folder) + 80];
static unsigned written_count;

void lua_fixture_start(void)
{
    struct lua_env env = { .api = &fake_api, .own_user = true };
    void *state;

    if (mkdtemp(folder) == NULL)
        abort();
    lua_setup(&env);
    if (lua_module()->init(&fake_api, &state) != 0)
        abort();
}

void lua_fixture_end(void)
{
    lua_thread_end();
    fake_conf_free();
    fake_kv_clear();
    for (unsigned i = 0; i < written_count; i++)
        (void)unlink(written[i]);
    (void)rmdir(folder);
}

const char *lua_fixture_write(const char *name, const char *text)
{
    char *path = written[written_count < 63 ? written_count++ : 63];

    (void)snprintf(path, sizeof(written[0]), "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
        abort();
    for (unsigned i = 0; i + 1 < written_count; i++)
        if (strcmp(written[i], path) == 0) {
            written_count--;
            return written[i];
        }
    return path;
}

const struct tern_module *lua_fixture_load_file(const char *path, bool trusted)
{
    const struct tern_module *script = NULL;
    tern_str s = { path, strlen(path) };

    lua_fixture_error[0] = '\0';
    if (lua_module()->script(s, trusted, &script, lua_fixture_error, sizeof(lua_fixture_error)) < 0)
        return NULL;
    return script;
}

const struct tern_module *lua_fixture_load(const char *text, bool trusted)
{
    return lua_fixture_load_file(lua_fixture_write("test.lua", text), trusted);
}

void lua_fixture_unload(const struct tern_module *script)
{
    lua_module()->script_free(script);
}
