/* SPDX-License-Identifier: Apache-2.0 */
/* when_scan.h - reads a `when` expression word by word: whether each is one that is known. Pure. */
#ifndef TERN_LUA_WHEN_SCAN_H
#define TERN_LUA_WHEN_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct when_names {
    const struct slice *results, *tags;
    unsigned result_count, tag_count;
};
/* False with a sentence in error. What it lets through is either an expression without effects,
 * or wrong
 * syntax in Lua's own judgement. */
bool when_scan(struct slice text, const struct when_names *names, char *error, size_t octets);

#endif
