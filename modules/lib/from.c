/* SPDX-License-Identifier: Apache-2.0 */
#include "from.h"

#include <string.h>

/* One mailbox as it is read: its words without blanks and comments. */
struct reading {
    const char *at, *end;
    char address[FROM_ADDRESS_OCTETS_MAX + 1];
    size_t len;
    bool cut;           /* more than that: of a name, no harm */
    bool angle, closed; /* inside of <>, behind it */
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* At '(': behind its ')'. RFC 5322 3.2.2. */
static bool skip_comment(struct reading *r)
{
    unsigned deep = 0;

    for (; r->at < r->end; r->at++) {
        if (*r->at == '\\' && r->at + 1 < r->end)
            r->at++;
        else if (*r->at == '(' && ++deep > FROM_COMMENTS_DEEP_MAX)
            return false;
        else if (*r->at == ')' && --deep == 0) {
            r->at++;
            return true;
        }
    }
    return false;
}

static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

static bool keep(struct reading *r, char c)
{
    if (is_control(c) || r->closed)
        return false;
    if (r->len == FROM_ADDRESS_OCTETS_MAX)
        r->cut = true;
    else
        r->address[r->len++] = c;
    return true;
}

/* At '"': behind the next one; the words of a display name are read, too, and dropped at '<'. */
static bool take_quoted(struct reading *r)
{
    if (!keep(r, *r->at++))
        return false;
    for (; r->at < r->end; r->at++) {
        if (*r->at == '\\' && r->at + 1 < r->end) {
            if (!keep(r, *r->at++) || !keep(r, *r->at))
                return false;
            continue;
        }
        if (*r->at != '\r' && *r->at != '\n' && !keep(r, *r->at))
            return false;
        if (*r->at == '"') {
            r->at++;
            return true;
        }
    }
    return false;
}

/* Exactly one '@' outside of quotes with something on both sides; nothing that lists or groups. */
static bool is_address(const struct reading *r)
{
    bool quoted = false;
    size_t at = 0, count = 0;

    for (size_t i = 0; i < r->len; i++) {
        if (r->address[i] == '\\' && quoted)
            i++;
        else if (r->address[i] == '"')
            quoted = !quoted;
        else if (!quoted && r->address[i] == '@') {
            at = i;
            count++;
        } else if (!quoted && strchr("<>,;:()[]\\", r->address[i]) != NULL)
            return false;
    }
    return count == 1 && at > 0 && at + 1 < r->len && !quoted && !r->cut;
}

static bool open_angle(struct reading *r)
{
    if (r->angle || r->closed)
        return false;
    r->angle = true;
    r->len = 0; /* what came so far was the name */
    r->cut = false;
    return true;
}

static bool close_angle(struct reading *r)
{
    if (!r->angle)
        return false;
    r->angle = false;
    r->closed = true;
    return true;
}

/*
 * One octet or token. A name without quotes may hold anything but what has a meaning; too long a one
 * is cut, as it is dropped at '<'.
 */
static bool take(struct reading *r)
{
    char c = *r->at;

    if (c == '(')
        return skip_comment(r);
    if (c == '"' && !r->closed)
        return take_quoted(r);
    r->at++;
    if (c == '<')
        return open_angle(r);
    if (c == '>')
        return close_angle(r);
    if (is_blank(c)) /* between words of a name; inside of an address it is folding that is obsolete */
        return !r->angle || r->len == 0 || r->at == r->end || *r->at == '>' || is_blank(*r->at);
    return keep(r, c);
}

static bool one(struct reading *r)
{
    bool blank_before = false, words = false;

    r->len = 0;
    r->cut = r->angle = r->closed = false;
    while (r->at < r->end && (*r->at != ',' || r->angle)) {
        /* Two words and no angle: "alice @ b.example", or a name without an address. */
        words |= blank_before && r->len > 0 && !is_blank(*r->at) && *r->at != '<' && *r->at != '(' && !r->closed;
        blank_before = is_blank(*r->at);
        if (!take(r))
            return false;
        words &= !r->angle;
    }
    return !r->angle && (r->closed || !words) && is_address(r);
}

bool from_each(tern_str value, bool (*each)(void *arg, tern_str address), void *arg)
{
    struct reading r = { .at = value.ptr, .end = value.ptr + value.len };

    for (unsigned count = 0; count < FROM_ADDRESSES_MAX; count++) {
        if (!one(&r))
            return false;
        r.address[r.len] = '\0';
        if (!each(arg, (tern_str){ r.address, r.len }))
            return false;
        if (r.at == r.end)
            return true;
        r.at++; /* the comma */
    }
    return false;
}

/* ---- patterns ---- */

/* Glob with '*' alone, without recursion: back to the last star when it does not go on. */
static bool matches(const char *p, const char *p_end, const char *s, const char *s_end)
{
    const char *star = NULL, *mark = s;

    while (s < s_end) {
        if (p < p_end && *p == '*') {
            star = ++p;
            mark = s;
        } else if (p < p_end && lower(*p) == lower(*s)) {
            p++;
            s++;
        } else if (star != NULL) {
            p = star;
            s = ++mark;
        } else {
            return false;
        }
    }
    while (p < p_end && *p == '*')
        p++;
    return p == p_end;
}

static const char *last_at(const char *s, const char *end)
{
    while (end > s && end[-1] != '@')
        end--;
    return end > s ? end - 1 : NULL;
}

static bool allows(const char *p, const char *p_end, tern_str address)
{
    const char *end = address.ptr + address.len;
    const char *at = last_at(address.ptr, end), *p_at = last_at(p, p_end);

    if (p_end - p == 1 && *p == '*')
        return true;
    if (at == NULL || p_at == NULL)
        return false;
    return matches(p, p_at, address.ptr, at) && matches(p_at + 1, p_end, at + 1, end);
}

bool from_is_allowed(tern_str patterns, tern_str address)
{
    const char *at = patterns.ptr, *end = patterns.ptr + patterns.len;

    if (patterns.len > FROM_PATTERNS_OCTETS_MAX)
        return false;
    while (at < end) {
        const char *word = at;
        while (at < end && *at != ',' && !is_blank(*at))
            at++;
        if (at > word && allows(word, at, address))
            return true;
        at++;
    }
    return false;
}
