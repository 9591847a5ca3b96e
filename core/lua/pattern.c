/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pattern.c - see pattern.h.
 *
 * A backtracking matcher by recursive descent over the pattern. Every comparison of an
 * octet, every member of a [set] looked at, and every try at a pattern item costs one step.
 * Recursion
 * ends at LUA_PATTERN_DEPTH_MAX. A failure other than "no match" is kept in m->status and
 * ends every loop, so nothing here needs to jump.
 */
#include "lua/pattern.h"

#include <string.h>

static const char *match(struct lua_matcher *m, const char *s, const char *p);

/* Behind the end of either text there is a NUL, as there is in Lua. */
static unsigned char octet(const char *at, const char *end)
{
    return at < end ? (unsigned char)*at : 0;
}

static const char *subject_end(const struct lua_matcher *m)
{
    return m->subject.ptr + m->subject.len;
}

static const char *pattern_end(const struct lua_matcher *m)
{
    return m->pattern.ptr + m->pattern.len;
}

static const char *bad(struct lua_matcher *m, const char *error, int number)
{
    m->status = LUA_MATCH_BAD;
    m->error = error;
    m->error_number = number;
    return NULL;
}

static bool spend(struct lua_matcher *m, uint64_t steps)
{
    if (m->steps_left >= steps) {
        m->steps_left -= steps;
        return true;
    }
    m->steps_left = 0;
    m->status = LUA_MATCH_LIMIT;
    return false;
}

static bool in_range(unsigned char c, char low, char high)
{
    return c >= (unsigned char)low && c <= (unsigned char)high;
}

static bool is_alpha(unsigned char c)
{
    return in_range(c, 'a', 'z') || in_range(c, 'A', 'Z');
}

static bool is_graph(unsigned char c)
{
    return c > 32 && c < 127;
}

static bool is_class(unsigned char c, char class_)
{
    bool digit = in_range(c, '0', '9');

    switch (class_) {
    case 'a': return is_alpha(c);
    case 'c': return c < 32 || c == 127;
    case 'd': return digit;
    case 'g': return is_graph(c);
    case 'l': return in_range(c, 'a', 'z');
    case 'p': return is_graph(c) && !is_alpha(c) && !digit;
    case 's': return c == ' ' || in_range(c, '\t', '\r');
    case 'u': return in_range(c, 'A', 'Z');
    case 'w': return is_alpha(c) || digit;
    case 'z': return c == 0; /* no longer in the manual, still in Lua */
    default: return digit || in_range(c, 'a', 'f') || in_range(c, 'A', 'F'); /* x */
    }
}

/* `letter` is what stood behind %: a class, its complement in upper case, or itself. */
static bool matches_escape(unsigned char c, unsigned char letter)
{
    char lower = ascii_lower((char)letter);

    if (lower == '\0' || strchr("acdglpsuwxz", lower) == NULL)
        return letter == c;
    return is_class(c, lower) != in_range(letter, 'A', 'Z');
}

/* `p` at '[', `last` at its ']'. */
static bool matches_set(struct lua_matcher *m, unsigned char c, const char *p, const char *last)
{
    bool found = true;

    if (octet(p + 1, pattern_end(m)) == '^') {
        found = false;
        p++;
    }
    while (++p < last) {
        if (!spend(m, 1))
            return false;
        if (*p == '%') {
            p++;
            if (matches_escape(c, octet(p, pattern_end(m))))
                return found;
        } else if (p[1] == '-' && p + 2 < last) {
            p += 2;
            if (in_range(c, p[-2], *p))
                return found;
        } else if ((unsigned char)*p == c) {
            return found;
        }
    }
    return !found;
}

/* Behind the single item that begins at `p`: a character, an escape, a set. NULL: malformed. */
static const char *item_end(struct lua_matcher *m, const char *p)
{
    const char *end = pattern_end(m);

    switch (*p++) {
    case '%':
        if (p == end)
            return bad(m, "malformed pattern (ends with '%%')", 0);
        return p + 1;
    case '[':
        if (octet(p, end) == '^')
            p++;
        do {
            if (p == end)
                return bad(m, "malformed pattern (missing ']')", 0);
            if (!spend(m, 1))
                return NULL;
            if (*p++ == '%' && p < end)
                p++;
        } while (octet(p, end) != ']');
        return p + 1;
    default: return p;
    }
}

/* Does the octet at `s` match the item from `p` to `end`? */
static bool matches_item(struct lua_matcher *m, const char *s, const char *p, const char *end)
{
    if (s >= subject_end(m) || !spend(m, 1))
        return false;
    unsigned char c = (unsigned char)*s;
    switch (*p) {
    case '.': return true;
    case '%': return matches_escape(c, (unsigned char)p[1]);
    case '[': return matches_set(m, c, p, end - 1);
    default: return (unsigned char)*p == c;
    }
}

/* ---- the items that take more than one octet ---- */

static const char *match_balance(struct lua_matcher *m, const char *s, const char *p)
{
    if (pattern_end(m) - p < 2)
        return bad(m, "malformed pattern (missing arguments to '%%b')", 0);
    if (s >= subject_end(m) || *s != *p)
        return NULL;
    size_t open = 1;
    while (++s < subject_end(m) && spend(m, 1)) {
        if (*s == p[1]) {
            if (--open == 0)
                return s + 1;
        } else if (*s == *p) {
            open++;
        }
    }
    return NULL;
}

static const char *longest(struct lua_matcher *m, const char *s, const char *p, const char *end)
{
    ptrdiff_t count = 0;

    while (matches_item(m, s + count, p, end))
        count++;
    for (; count >= 0 && m->status == LUA_MATCH_NO; count--) {
        const char *done = match(m, s + count, end + 1);
        if (done != NULL)
            return done;
    }
    return NULL;
}

static const char *shortest(struct lua_matcher *m, const char *s, const char *p, const char *end)
{
    while (m->status == LUA_MATCH_NO) {
        const char *done = match(m, s, end + 1);
        if (done != NULL)
            return done;
        if (m->status != LUA_MATCH_NO || !matches_item(m, s, p, end))
            return NULL;
        s++;
    }
    return NULL;
}

static const char *open_capture(struct lua_matcher *m, const char *s, const char *p, ptrdiff_t kind)
{
    if (m->capture_count >= LUA_PATTERN_CAPTURES_MAX)
        return bad(m, "too many captures", 0);
    m->captures[m->capture_count++] = (struct lua_capture){ s, kind };
    const char *done = match(m, s, p);
    if (done == NULL)
        m->capture_count--;
    return done;
}

static const char *close_capture(struct lua_matcher *m, const char *s, const char *p)
{
    unsigned i = m->capture_count;

    while (i > 0 && m->captures[i - 1].len != LUA_CAPTURE_OPEN)
        i--;
    if (i == 0)
        return bad(m, "invalid pattern capture", 0);
    struct lua_capture *capture = &m->captures[i - 1];
    capture->len = s - capture->start;
    const char *done = match(m, s, p);
    if (done == NULL)
        capture->len = LUA_CAPTURE_OPEN;
    return done;
}

/* %1: what capture 1 took, again. */
static const char *match_back(struct lua_matcher *m, const char *s, unsigned char digit)
{
    int i = digit - '1';

    if (i < 0 || (unsigned)i >= m->capture_count || m->captures[i].len == LUA_CAPTURE_OPEN)
        return bad(m, "invalid capture index %%%d", i + 1);
    const struct lua_capture *capture = &m->captures[i];
    if (capture->len == LUA_CAPTURE_POSITION || subject_end(m) - s < capture->len ||
        !spend(m, (uint64_t)capture->len / 16))
        return NULL;
    if (memcmp(capture->start, s, (size_t)capture->len) != 0)
        return NULL;
    return s + capture->len;
}

/* %f[set]: between an octet that is not in the set and one that is. `p` behind the f. */
static const char *frontier(struct lua_matcher *m, const char *s, const char *p)
{
    if (octet(p, pattern_end(m)) != '[')
        return bad(m, "missing '[' after '%%f' in pattern", 0);
    const char *end = item_end(m, p);
    if (end == NULL)
        return NULL;
    unsigned char before = s == m->subject.ptr ? 0 : (unsigned char)s[-1];
    if (matches_set(m, before, p, end - 1) || m->status != LUA_MATCH_NO)
        return NULL;
    return matches_set(m, octet(s, subject_end(m)), p, end - 1) ? end : NULL;
}

/* ---- one item after the other ---- */

/*
 * Where the match stands. The functions below try the item at p. They either move both
 * on and return true, or set `s` to the end of the whole match (NULL: none) and return false.
 */
struct place_in_match {
    const char *s, *p;
};

static bool ends_with(struct place_in_match *at, const char *result)
{
    at->s = result;
    return false;
}

static bool take_plain(struct lua_matcher *m, struct place_in_match *at)
{
    const char *s = at->s, *p = at->p;
    const char *end = item_end(m, p);

    if (end == NULL)
        return ends_with(at, NULL);
    unsigned char suffix = octet(end, pattern_end(m));
    if (suffix == '*')
        return ends_with(at, longest(m, s, p, end));
    if (suffix == '-')
        return ends_with(at, shortest(m, s, p, end));
    bool here = matches_item(m, s, p, end);
    if (suffix == '+')
        return ends_with(at, here ? longest(m, s + 1, p, end) : NULL);
    if (suffix == '?') {
        const char *done = here ? match(m, s + 1, end + 1) : NULL;
        if (done != NULL || m->status != LUA_MATCH_NO)
            return ends_with(at, done);
        at->p = end + 1;
        return true;
    }
    if (!here)
        return ends_with(at, NULL);
    *at = (struct place_in_match){ s + 1, end };
    return true;
}

static bool take_escape(struct lua_matcher *m, struct place_in_match *at)
{
    unsigned char letter = octet(at->p + 1, pattern_end(m));
    const char *next;

    if (letter == 'f') {
        next = frontier(m, at->s, at->p + 2);
        if (next == NULL)
            return ends_with(at, NULL);
        at->p = next;
        return true;
    }
    if (letter == 'b')
        next = match_balance(m, at->s, at->p + 2);
    else if (in_range(letter, '0', '9'))
        next = match_back(m, at->s, letter);
    else
        return take_plain(m, at);
    if (next == NULL)
        return ends_with(at, NULL);
    at->s = next;
    at->p += letter == 'b' ? 4 : 2;
    return true;
}

static bool take_item(struct lua_matcher *m, struct place_in_match *at)
{
    const char *end = pattern_end(m);

    switch (*at->p) {
    case '(':
        if (octet(at->p + 1, end) == ')')
            return ends_with(at, open_capture(m, at->s, at->p + 2, LUA_CAPTURE_POSITION));
        return ends_with(at, open_capture(m, at->s, at->p + 1, LUA_CAPTURE_OPEN));
    case ')': return ends_with(at, close_capture(m, at->s, at->p + 1));
    case '$':
        if (at->p + 1 == end)
            return ends_with(at, at->s == subject_end(m) ? at->s : NULL);
        return take_plain(m, at);
    case '%': return take_escape(m, at);
    default: return take_plain(m, at);
    }
}

static const char *match(struct lua_matcher *m, const char *s, const char *p)
{
    struct place_in_match at = { s, p };

    if (m->depth_left == 0)
        return bad(m, "pattern too complex", 0);
    m->depth_left--;
    while (at.p != pattern_end(m)) {
        if (!spend(m, 1)) {
            at.s = NULL;
            break;
        }
        if (!take_item(m, &at))
            break;
    }
    m->depth_left++;
    return m->status == LUA_MATCH_NO ? at.s : NULL;
}

/* ---- the doors ---- */

void lua_matcher_init(struct lua_matcher *m, struct slice subject, struct slice pattern,
                      uint64_t steps)
{
    m->subject = subject;
    m->pattern = pattern;
    m->steps_left = steps;
    m->status = LUA_MATCH_NO;
    m->error = NULL;
    m->error_number = 0;
    m->depth_left = LUA_PATTERN_DEPTH_MAX;
    m->capture_count = 0;
}

enum lua_match lua_match_at(struct lua_matcher *m, const char *at, const char **ret_end)
{
    m->capture_count = 0;
    m->depth_left = LUA_PATTERN_DEPTH_MAX;
    m->status = LUA_MATCH_NO;
    const char *end = match(m, at, m->pattern.ptr);
    if (end == NULL)
        return m->status;
    *ret_end = end;
    return LUA_MATCH_YES;
}

enum lua_match lua_match_from(struct lua_matcher *m, const char **at, bool anchored,
                              const char **ret_end)
{
    for (const char *s = *at;; s++) {
        enum lua_match r = lua_match_at(m, s, ret_end);

        if (r != LUA_MATCH_NO) {
            *at = s;
            return r;
        }
        if (anchored || s >= subject_end(m))
            return LUA_MATCH_NO;
    }
}

bool lua_pattern_is_plain(struct slice pattern)
{
    for (size_t i = 0; i < pattern.len; i++)
        if (pattern.ptr[i] != '\0' && strchr("^$*+?.([%-", pattern.ptr[i]) != NULL)
            return false;
    return true;
}
