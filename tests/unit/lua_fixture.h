/* SPDX-License-Identifier: Apache-2.0 */
/* lua_fixture.h - scripts from texts in a folder of their own, run with the fake ABI. */
#ifndef TEST_LUA_FIXTURE_H
#define TEST_LUA_FIXTURE_H

#include <tern/module.h>

#include "../support/fakeapi.h"

extern char lua_fixture_error[512];

void lua_fixture_start(void); /* makes the folder, sets up the module */
void lua_fixture_end(void);
const char *lua_fixture_write(const char *name, const char *text); /* the path */
/* test.lua of that text; NULL with lua_fixture_error. */
const struct tern_module *lua_fixture_load(const char *text, bool trusted);
const struct tern_module *lua_fixture_load_file(const char *path, bool trusted);
void lua_fixture_unload(const struct tern_module *script);

#endif
