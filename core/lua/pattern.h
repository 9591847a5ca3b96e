/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pattern.h - Lua's pattern syntax, matched in a bounded number of steps.
 *
 * Lua's own matcher runs inside one instruction: no count hook sees it, and a
 * pattern like ".-.-.-.-x" on hostile input takes minutes. This one counts and gives up.
 * It answers as Lua 5.4's does, errors included (tests/unit/test_lua_pattern.c compares them).
 * Letters are ASCII, whatever the locale. Pure; any thread.
 * Source: Lua 5.4 reference manual 6.4.1.
 */
#ifndef TERN_LUA_PATTERN_H
#define TERN_LUA_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#define LUA_PATTERN_CAPTURES_MAX 32
#define LUA_PATTERN_DEPTH_MAX    200 /* as LUAI_MAXCCALLS in lstrlib.c */

enum lua_match {
    LUA_MATCH_NO,
    LUA_MATCH_YES,
    LUA_MATCH_BAD,   /* the pattern is malformed: error */
    LUA_MATCH_LIMIT, /* out of steps */
};

#define LUA_CAPTURE_OPEN     (-1) /* not closed (yet) */
#define LUA_CAPTURE_POSITION (-2) /* "()" */

struct lua_capture {
    const char *start;
    ptrdiff_t len; /* or one of the above */
};

struct lua_matcher {
    struct slice subject;
    struct slice pattern; /* without the anchor */
    uint64_t steps_left;
    enum lua_match status; /* why a match failed: NO, BAD or LIMIT */
    const char *error;     /* BAD; with at most one %d for error_number */
    int error_number;
    unsigned depth_left;
    unsigned capture_count;
    struct lua_capture captures[LUA_PATTERN_CAPTURES_MAX];
};

void lua_matcher_init(struct lua_matcher *m, struct slice subject, struct slice pattern,
                      uint64_t steps);
/* Matches at exactly `at`. YES sets *ret_end and the captures. */
enum lua_match lua_match_at(struct lua_matcher *m, const char *at, const char **ret_end);
/* The first match at *at or behind it (`anchored`: there only); moves *at to where it begins. */
enum lua_match lua_match_from(struct lua_matcher *m, const char **at, bool anchored,
                              const char **ret_end);
/* Whether the pattern is plain text, so that a search for octets will do. */
bool lua_pattern_is_plain(struct slice pattern);

#endif
