/* SPDX-License-Identifier: Apache-2.0 */
/* lua_reference.h - the reference part of docs/lua.md and the stub lua/tern.d.lua, from the table of bindings. */
#ifndef TEST_LUA_REFERENCE_H
#define TEST_LUA_REFERENCE_H

#include "base/buf.h"

void lua_reference_markdown(struct buf *out);
void lua_reference_stub(struct buf *out);

#endif
