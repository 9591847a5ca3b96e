/* SPDX-License-Identifier: Apache-2.0 */
/* lua_trust.h - opens a script that only those may have written who may tell Tern what to do. */
#ifndef TERN_LUA_LUA_TRUST_H
#define TERN_LUA_LUA_TRUST_H

#include <stddef.h>

/* A descriptor, or -1 with a sentence that begins with the path. */
int lua_trust_open(const char *path, char *error, size_t octets);

#endif
