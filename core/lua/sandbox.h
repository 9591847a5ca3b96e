/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.h - the libraries a script sees: what cannot hurt, and nothing else.
 */
#ifndef TERN_LUA_SANDBOX_H
#define TERN_LUA_SANDBOX_H

#include "lua/box.h"

#define SANDBOX_SOURCE_OCTETS_MAX (64u << 10) /* of load("...") */
#define SANDBOX_SORT_UNITS_MAX    1000000 /* comparisons of one table.sort, weighted by length */
#define SANDBOX_MOVE_MAX          1000000 /* elements of one table.move */

/* Opens them as globals; may raise. `trusted` adds io and the whole of os. */
void sandbox_open(lua_State *L, bool trusted);

/* Own find, match, gmatch, gsub, rep and guarded table functions; the stock libraries are on top
 * of the
 * stack as one table each. lib_string.c, lib_table.c */
void sandbox_string(lua_State *L);
void sandbox_table(lua_State *L);

#endif
