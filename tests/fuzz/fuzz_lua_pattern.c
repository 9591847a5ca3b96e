/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_lua_pattern.c - any pattern on any subject: ends within its steps, points into the subject, and with more steps
 * gives the same answer.
 *
 * Input: the pattern, a NUL, the subject.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lua/pattern.h"

#define STEPS 50000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct lua_matcher *m, struct slice subject, const char *start, const char *end)
{
    assert(start >= subject.ptr && start <= end && end <= subject.ptr + subject.len);
    assert(m->capture_count <= LUA_PATTERN_CAPTURES_MAX);
    for (unsigned i = 0; i < m->capture_count; i++) {
        const struct lua_capture *c = &m->captures[i];
        assert(c->start >= subject.ptr && c->start <= subject.ptr + subject.len);
        assert(c->len >= LUA_CAPTURE_POSITION && c->len <= subject.ptr + subject.len - c->start);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *split = size > 0 ? memchr(data, 0, size) : NULL;
    size_t pattern_len = split != NULL ? (size_t)(split - data) : size;
    size_t subject_len = split != NULL ? size - pattern_len - 1 : 0;
    /* Copies of their exact size, so that a step past an end is seen. */
    char *p = malloc(pattern_len + 1), *s = malloc(subject_len + 1);
    char *pattern = p + 1, *text = s + 1;

    memcpy(pattern, data, pattern_len);
    if (subject_len > 0)
        memcpy(text, split + 1, subject_len);
    struct slice subject = slice_make(text, subject_len);
    struct lua_matcher m, again;
    const char *start = text, *end = NULL, *start_again = text, *end_again = NULL;
    lua_matcher_init(&m, subject, slice_make(pattern, pattern_len), STEPS);
    enum lua_match r = lua_match_from(&m, &start, false, &end);
    assert(m.steps_left <= STEPS);
    assert((r == LUA_MATCH_BAD) == (m.error != NULL && m.status == LUA_MATCH_BAD));
    if (r == LUA_MATCH_YES)
        check(&m, subject, start, end);
    lua_matcher_init(&again, subject, slice_make(pattern, pattern_len), 2 * STEPS);
    enum lua_match r2 = lua_match_from(&again, &start_again, false, &end_again);
    if (r != LUA_MATCH_LIMIT)
        assert(r2 == r && (r != LUA_MATCH_YES || (start == start_again && end == end_again)));
    free(p);
    free(s);
    return 0;
}
