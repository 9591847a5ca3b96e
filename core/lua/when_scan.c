/* SPDX-License-Identifier: Apache-2.0 */
/*
 * when_scan.c - see when_scan.h.
 *
 * It knows words, not grammar: that is Lua's. What it must rule out itself is everything that
 * could do more than compare: a name that is not on the list, a call that is not one of the
 * methods of
 * strings, a comment, a statement. After each word it remembers whether a value has ended there;
 * a "(", a string or
 * a "{" behind a value would be a call.
 */
#include "lua/when_scan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lua/binding.h"
#include "lua/when.h"

struct scan {
    struct slice rest;
    const struct when_names *names;
    unsigned depth;
    bool value;  /* a value has ended just before */
    bool method; /* ... or :match, which wants a "(" */
    char *error;
    size_t octets;
};

static bool __attribute__((format(printf, 2, 3))) wrong(struct scan *s, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(s->error, s->octets, format, args);
    va_end(args);
    return false;
}

static bool is_word(char c, bool first)
{
    return c == '_' || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') ||
           (!first && c >= '0' && c <= '9');
}

static void skip_blanks(struct scan *s)
{
    while (s->rest.len > 0 && s->rest.ptr[0] != '\0' && strchr(" \t\r\n", s->rest.ptr[0]) != NULL)
        s->rest = slice_from(s->rest, 1);
}

static struct slice take(struct scan *s, size_t len)
{
    struct slice taken = slice_head(s->rest, len);

    s->rest = slice_from(s->rest, len);
    return taken;
}

static struct slice take_word(struct scan *s)
{
    size_t len = 0;

    skip_blanks(s);
    while (len < s->rest.len && is_word(s->rest.ptr[len], len == 0))
        len++;
    return take(s, len);
}

/* A "." and a word behind it. */
static bool take_field(struct scan *s, const char *of, struct slice *ret)
{
    skip_blanks(s);
    if (s->rest.len == 0 || s->rest.ptr[0] != '.' || (s->rest.len > 1 && s->rest.ptr[1] == '.'))
        return wrong(s, "%s is not a value; write %s.NAME", of, of);
    (void)take(s, 1);
    *ret = take_word(s);
    return ret->len > 0 || wrong(s, "a name is missing behind %s.", of);
}

static bool is_among(struct slice name, const struct slice *names, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (slice_equal(name, names[i]))
            return true;
    return false;
}

static const struct lua_binding *field_of(unsigned owner, struct slice name)
{
    for (unsigned i = 0; i < lua_binding_count; i++) {
        const struct lua_binding *b = &lua_bindings[i];
        if (b->owner == owner && b->kind == KIND_FIELD && slice_equal(slice_cstr(b->name), name))
            return b;
    }
    return NULL;
}

/* Fields that need the body, or that only one hook has, are of no use in a condition for all
 * hooks. */
static bool is_usable(const struct lua_binding *b)
{
    return (b->when & AT(RCPT)) != 0 || b->run == lua_txn_size;
}

static bool read_object(struct scan *s, const char *of, unsigned owner)
{
    struct slice name;

    if (!take_field(s, of, &name))
        return false;
    const struct lua_binding *b = field_of(owner, name);
    if (b == NULL || !is_usable(b))
        return wrong(s, "%s has no field \"%.*s\"", of, (int)name.len, name.ptr);
    if (strncmp(b->result, "tern.mailbox", 12) == 0)
        return read_object(s, b->name, OWNER_MAILBOX);
    if (strncmp(b->result, "tern.", 5) == 0)
        return read_object(s, b->name, OWNER_SESSION);
    if (slice_equal(name, SLICE("results")))
        return wrong(s, "write results.NAME, without \"%s.\"", of);
    if (slice_equal(name, SLICE("vars")) && !take_field(s, "vars", &name))
        return false;
    return true;
}

static bool read_name(struct scan *s, struct slice word)
{
    static const struct {
        const char *name;
        unsigned owner;
    } roots[] = { { "session", OWNER_SESSION }, { "txn", OWNER_TXN }, { "rcpt", OWNER_RCPT } };
    struct slice name;

    for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++)
        if (slice_equal(word, slice_cstr(roots[i].name)))
            return read_object(s, roots[i].name, roots[i].owner);
    if (slice_equal(word, SLICE("results"))) {
        if (!take_field(s, "results", &name))
            return false;
        return is_among(name, s->names->results, s->names->result_count) ||
               wrong(s, "no step of the configuration sets results.%.*s", (int)name.len, name.ptr);
    }
    if (slice_equal(word, SLICE("tags"))) {
        if (!take_field(s, "tags", &name))
            return false;
        return is_among(name, s->names->tags, s->names->tag_count) ||
               wrong(s, "no step of the configuration sets the tag %.*s", (int)name.len, name.ptr);
    }
    return wrong(s, "\"%.*s\" is not known here; there are session, txn, rcpt, results and tags",
                 (int)word.len, word.ptr);
}

static bool read_word(struct scan *s)
{
    static const struct slice operators[] = { { "and", 3 }, { "or", 2 }, { "not", 3 } };
    static const struct slice values[] = { { "true", 4 }, { "false", 5 } };
    struct slice word = take_word(s);

    if (is_among(word, operators, 3)) {
        s->value = false;
        return true;
    }
    if (s->value)
        return wrong(s, "\"%.*s\" stands behind a value; an operator is missing", (int)word.len,
                     word.ptr);
    s->value = true;
    return is_among(word, values, 2) || read_name(s, word);
}

/* Lua's escapes may not reach over the end; what they mean is Lua's. */
static bool read_string(struct scan *s)
{
    char quote = s->rest.ptr[0];

    if (s->value)
        return wrong(s, "a string stands behind a value; an operator is missing");
    for (size_t i = 1; i < s->rest.len; i++) {
        char c = s->rest.ptr[i];
        if (c == '\n' || c == '\0')
            break;
        if (c == quote) {
            (void)take(s, i + 1);
            s->value = true;
            return true;
        }
        if (c == '\\')
            i++;
    }
    return wrong(s, "a string has no end");
}

static bool read_number(struct scan *s)
{
    size_t len = 0;

    if (s->value)
        return wrong(s, "a number stands behind a value; an operator is missing");
    while (len < s->rest.len && (is_word(s->rest.ptr[len], false) || s->rest.ptr[len] == '.') &&
           !(s->rest.ptr[len] == '.' && len + 1 < s->rest.len && s->rest.ptr[len + 1] == '.'))
        len++;
    (void)take(s, len);
    s->value = true;
    return true;
}

static bool read_method(struct scan *s)
{
    static const struct slice methods[] = { { "find", 4 },  { "len", 3 }, { "lower", 5 },
                                            { "match", 5 }, { "sub", 3 }, { "upper", 5 } };

    (void)take(s, 1);
    struct slice name = take_word(s);
    if (!s->value || !is_among(name, methods, 6))
        return wrong(
            s, "\":%.*s\" is not known; strings have :find, :len, :lower, :match, :sub and :upper",
            (int)name.len, name.ptr);
    skip_blanks(s);
    if (s->rest.len == 0 || s->rest.ptr[0] != '(')
        return wrong(s, "a \"(\" is missing behind :%.*s", (int)name.len, name.ptr);
    (void)take(s, 1);
    s->depth++;
    s->value = false;
    return true;
}

static bool read_bracket(struct scan *s)
{
    bool open = take(s, 1).ptr[0] == '(';

    if (open) {
        if (s->value)
            return wrong(s, "only methods of strings can be called");
        if (++s->depth > WHEN_DEPTH_MAX)
            return wrong(s, "more than %d parentheses deep", WHEN_DEPTH_MAX);
        return true;
    }
    if (s->depth == 0)
        return wrong(s, "a \")\" without a \"(\"");
    s->depth--;
    s->value = true;
    return true;
}

static bool read_operator(struct scan *s)
{
    static const char *const operators[] = { "==", "~=", "<=", ">=", "//", "..", "<", ">",
                                             "+",  "-",  "*",  "/",  "%",  ",",  "#" };

    if (s->rest.len >= 2 && memcmp(s->rest.ptr, "--", 2) == 0)
        return wrong(s, "comments are not allowed");
    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
        size_t len = strlen(operators[i]);
        if (s->rest.len < len || memcmp(s->rest.ptr, operators[i], len) != 0)
            continue;
        (void)take(s, len);
        if (operators[i][0] == ',' && s->depth == 0)
            return wrong(s, "a \",\" stands between arguments only");
        s->value = false;
        return true;
    }
    if (s->rest.len >= 2 && memcmp(s->rest.ptr, "!=", 2) == 0)
        return wrong(s, "\"not equal\" is written ~=");
    if (s->rest.ptr[0] == '=')
        return wrong(s, "equality is written ==");
    return wrong(s, "\"%c\" has no place in a condition",
                 s->rest.ptr[0] > 32 && s->rest.ptr[0] < 127 ? s->rest.ptr[0] : '?');
}

static bool read_next(struct scan *s)
{
    char c = s->rest.ptr[0];

    if (is_word(c, true))
        return read_word(s);
    if (c >= '0' && c <= '9')
        return read_number(s);
    if (c == '"' || c == '\'')
        return read_string(s);
    if (c == ':')
        return read_method(s);
    if (c == '(' || c == ')')
        return read_bracket(s);
    return read_operator(s);
}

bool when_scan(struct slice text, const struct when_names *names, char *error, size_t octets)
{
    struct scan s = { .rest = text, .names = names, .error = error, .octets = octets };

    if (text.len > WHEN_OCTETS_MAX)
        return wrong(&s, "a condition is at most %d octets long", WHEN_OCTETS_MAX);
    skip_blanks(&s);
    if (s.rest.len == 0)
        return wrong(&s, "a condition is empty");
    while (s.rest.len > 0) {
        if (!read_next(&s))
            return false;
        skip_blanks(&s);
    }
    return s.depth == 0 || wrong(&s, "a \")\" is missing");
}
