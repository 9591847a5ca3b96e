/* SPDX-License-Identifier: Apache-2.0 */
/*
 * when.h - `when:` of a step: a condition over what is known, checked word by word at load.
 *
 * An expression of Lua, of: session.*, txn.*, rcpt.*, results.NAME, tags.NAME; and, or, not,
 * comparisons, arithmetic, "..", strings, numbers, parentheses; and methods of strings (find,
 * len, lower,
 * match, sub, upper). What is not known yet is "" (a result: "not_run"); so nothing is nil. Any
 * other
 * word is an error when the configuration is loaded.
 */
#ifndef TERN_LUA_WHEN_H
#define TERN_LUA_WHEN_H

#include <tern/module.h>

#include "base/arena.h"
#include "base/slice.h"

#define WHEN_OCTETS_MAX 4096
#define WHEN_DEPTH_MAX  50      /* parentheses */
#define WHEN_UNITS_MAX  1000000 /* of work for one evaluation (lua/box.h) */

struct engine;

/* For policies_env.when_compile. NULL with a sentence in error. The thread that builds the
 * generation. */
const void *when_compile(struct arena *arena, struct slice text, const struct slice *results,
                         unsigned result_count, const struct slice *tags, unsigned tag_count,
                         char *error, size_t octets);
/* For engine_env.when: 1, 0, or negative with a sentence that is good until the next call in
 * this thread. */
int when_eval(struct engine *engine, const void *compiled, const tern_call *call,
              const char **ret_error);

#endif
