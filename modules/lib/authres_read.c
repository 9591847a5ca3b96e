/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authres_read.c - reading Authentication-Results. See authres.h. Sources: RFC 8601 2.2, RFC 5322 3.2 (comments,
 * quoted strings), RFC 2045 5.1 (tokens), RFC 5321 4.1.2 (Keyword, Local-part), RFC 6532 3 (UTF-8).
 *
 * The same reader checks what we write (strict) and reads what others wrote.
 */
#include <lib/authres.h>

#include <string.h>

#include <lib/authres_private.h>

bool authres_is(tern_str word, const char *name)
{
    size_t i = 0;

    for (; i < word.len && name[i] != '\0'; i++)
        if (authres_lower(word.ptr[i]) != authres_lower(name[i]))
            return false;
    return i == word.len && name[i] == '\0';
}

static bool spoil(struct authres_reader *r)
{
    r->broken = true;
    return false;
}

/* Octets that may stand in comments and quoted strings, line ends apart. */
static bool is_text(const struct authres_reader *r, char c)
{
    unsigned char u = (unsigned char)c;

    return (u >= ' ' && u < 0x7f) || u == '\t' || (u >= 0x80 && (r->utf8 || !r->strict));
}

/* CR LF and a blank. */
static bool skip_line_end(struct authres_reader *r)
{
    if (r->end - r->at < 3 || r->at[0] != '\r' || r->at[1] != '\n' || (r->at[2] != ' ' && r->at[2] != '\t'))
        return spoil(r);
    r->at += 2;
    return true;
}

/* At '(': behind its ')'. */
static bool skip_comment(struct authres_reader *r)
{
    unsigned deep = 0;

    while (r->at < r->end) {
        char c = *r->at;
        if (c == '\r' || c == '\n') {
            if (!skip_line_end(r))
                return false;
            continue;
        }
        if (!is_text(r, c) || (c == '\\' && (r->end - r->at < 2 || !is_text(r, r->at[1]))))
            return spoil(r);
        r->at += c == '\\' ? 2 : 1;
        if (c == '(' && ++deep > AUTHRES_COMMENTS_DEEP_MAX)
            return spoil(r);
        if (c == ')' && --deep == 0)
            return true;
    }
    return spoil(r);
}

static bool skip_blanks(struct authres_reader *r)
{
    while (r->at < r->end) {
        char c = *r->at;
        if (c == ' ' || c == '\t')
            r->at++;
        else if (c == '(') {
            if (!skip_comment(r))
                return false;
        } else if (c == '\r' || c == '\n') {
            if (!skip_line_end(r))
                return false;
        } else
            break;
    }
    return true;
}

/* At '"': behind the next one. What we write is never folded in there. */
static bool skip_quoted(struct authres_reader *r)
{
    for (r->at++; r->at < r->end;) {
        char c = *r->at;
        if ((c == '\r' || c == '\n') && !r->strict) {
            if (!skip_line_end(r))
                return false;
            continue;
        }
        if (!is_text(r, c) || (c == '\\' && (r->end - r->at < 2 || !is_text(r, r->at[1]))))
            return spoil(r);
        r->at += c == '\\' ? 2 : 1;
        if (c == '"')
            return true;
    }
    return spoil(r);
}

static tern_str since(const struct authres_reader *r, const char *start)
{
    return (tern_str){ start, (size_t)(r->at - start) };
}

static bool is_token_octet(const struct authres_reader *r, char c)
{
    return authres_is_token(c) || ((unsigned char)c >= 0x80 && (r->utf8 || !r->strict));
}

static bool is_domain_octet(const struct authres_reader *r, char c)
{
    return authres_is_ldh(c) || c == '.' || (c == '_' && !r->strict) ||
           ((unsigned char)c >= 0x80 && (r->utf8 || !r->strict));
}

/* What others leave unquoted: anything up to what ends a value for sure. */
static bool is_loose(char c)
{
    unsigned char u = (unsigned char)c;

    return u > ' ' && u != 0x7f && c != '(' && c != ')' && c != ';' && c != '"';
}

static bool read_keyword(struct authres_reader *r, tern_str *ret)
{
    const char *start = r->at;

    while (r->at < r->end && (authres_is_ldh(*r->at) || (*r->at == '_' && !r->strict)))
        r->at++;
    *ret = since(r, start);
    return ret->len > 0 && ret->ptr[0] != '-' && ret->ptr[ret->len - 1] != '-' ? true : spoil(r);
}

static bool read_octet(struct authres_reader *r, char c)
{
    if (r->at == r->end || *r->at != c)
        return spoil(r);
    r->at++;
    return true;
}

/* A token or a quoted string. */
static bool read_value(struct authres_reader *r, tern_str *ret)
{
    const char *start = r->at;

    if (r->at < r->end && *r->at == '"') {
        if (!skip_quoted(r))
            return false;
    } else {
        while (r->at < r->end && is_token_octet(r, *r->at))
            r->at++;
    }
    *ret = since(r, start);
    return ret->len > 0 ? true : spoil(r);
}

static bool read_loose(struct authres_reader *r)
{
    while (r->at < r->end && (*r->at == '"' || is_loose(*r->at))) {
        if (*r->at != '"')
            r->at++;
        else if (!skip_quoted(r))
            return false;
    }
    return true;
}

/* A value, or [local-part] "@" domain. */
static bool read_strict(struct authres_reader *r)
{
    tern_str first;

    if (r->at < r->end && *r->at != '@' && !read_value(r, &first))
        return false;
    if (r->at == r->end || *r->at != '@')
        return true;
    const char *domain = ++r->at;
    while (r->at < r->end && is_domain_octet(r, *r->at))
        r->at++;
    return r->at > domain ? true : spoil(r);
}

static bool read_pvalue(struct authres_reader *r, tern_str *ret)
{
    const char *start = r->at;

    if (!(r->strict ? read_strict(r) : read_loose(r)))
        return false;
    *ret = since(r, start);
    return ret->len > 0 ? true : spoil(r);
}

static bool read_number(struct authres_reader *r, unsigned *ret)
{
    unsigned value = 0, digits = 0;

    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++, digits++)
        value = value * 10 + (unsigned)(*r->at - '0');
    if (digits == 0 || digits > 9)
        return spoil(r);
    *ret = value;
    return true;
}

/* ---- the parts of a result ---- */

static bool read_method(struct authres_reader *r, struct authres_read_result *ret)
{
    ret->version = 1;
    if (!read_keyword(r, &ret->method) || !skip_blanks(r))
        return false;
    if (r->at < r->end && *r->at == '/') {
        r->at++;
        if (!skip_blanks(r) || !read_number(r, &ret->version) || !skip_blanks(r))
            return false;
    }
    return read_octet(r, '=') && skip_blanks(r) && read_keyword(r, &ret->result);
}

/* "reason" was read. */
static bool read_reason(struct authres_reader *r, struct authres_read_result *ret)
{
    if (!read_octet(r, '=') || !skip_blanks(r))
        return false;
    return r->strict ? read_value(r, &ret->reason) : read_pvalue(r, &ret->reason);
}

/* Behind a keyword that was read. */
static bool read_property(struct authres_reader *r, tern_str ptype, struct authres_read_result *ret)
{
    if (ret->count == AUTHRES_PROPERTIES_MAX)
        return spoil(r);
    struct authres_property *p = &ret->properties[ret->count];
    p->ptype = ptype;
    if (!read_octet(r, '.') || !skip_blanks(r) || !read_keyword(r, &p->property) || !skip_blanks(r) ||
        !read_octet(r, '=') || !skip_blanks(r) || !read_pvalue(r, &p->value))
        return false;
    ret->count++;
    return true;
}

static bool at_end(const struct authres_reader *r)
{
    return r->at == r->end || *r->at == ';';
}

static bool read_result(struct authres_reader *r, struct authres_read_result *ret)
{
    const char *start = r->at, *end = r->at;

    memset(ret, 0, offsetof(struct authres_read_result, properties));
    ret->count = 0;
    if (!read_method(r, ret))
        return false;
    for (;;) {
        const char *before = r->at;
        tern_str word;
        if (!skip_blanks(r))
            return false;
        end = r->at;
        if (at_end(r))
            break;
        if (before == r->at || !read_keyword(r, &word) || !skip_blanks(r))
            return spoil(r);
        bool reason = ret->count == 0 && ret->reason.len == 0 && authres_is(word, "reason");
        if (!(reason ? read_reason(r, ret) : read_property(r, word, ret)))
            return false;
    }
    while (end > start && authres_is_blank(end[-1]))
        end--;
    ret->whole = (tern_str){ start, (size_t)(end - start) };
    return true;
}

/* ---- the field ---- */

/* At the end of a part: behind its `;`. */
static void next_part(struct authres_reader *r)
{
    r->more = r->at < r->end;
    r->at += r->more;
}

void authres_open_text(struct authres_reader *r, tern_str text, bool strict, bool utf8)
{
    *r = (struct authres_reader){
        .at = text.ptr, .end = text.ptr + text.len, .strict = strict, .utf8 = utf8, .more = true
    };
}

bool authres_open(struct authres_reader *r, tern_str value, bool strict, bool utf8, tern_str *ret_id,
                  unsigned *ret_version)
{
    tern_str id;
    unsigned version = 1;

    authres_open_text(r, value, strict, utf8);
    if (!skip_blanks(r) || !read_value(r, &id) || !skip_blanks(r))
        return false;
    if (!at_end(r) && (!read_number(r, &version) || !skip_blanks(r)))
        return false;
    if (!at_end(r) || (strict && r->at == r->end))
        return spoil(r);
    next_part(r);
    *ret_id = id;
    *ret_version = version;
    return true;
}

/* "none" alone, and nothing behind it. */
static bool is_none(struct authres_reader *r)
{
    struct authres_reader ahead = *r;
    tern_str word;

    if (r->results > 0 || !read_keyword(&ahead, &word) || !authres_is(word, "none") || !skip_blanks(&ahead))
        return false;
    return ahead.at == ahead.end;
}

bool authres_next(struct authres_reader *r, struct authres_read_result *ret)
{
    if (r->broken || r->none || !skip_blanks(r))
        return false;
    if (r->at == r->end) /* a `;` at the end is taken from others */
        return r->strict && r->more ? spoil(r) : false;
    if (is_none(r)) {
        r->none = true;
        return false;
    }
    if (r->results == AUTHRES_RESULTS_MAX || !read_result(r, ret))
        return spoil(r);
    r->results++;
    next_part(r);
    return true;
}

bool authres_unquote(tern_str value, char *out, size_t room, size_t *ret_len)
{
    bool quoted = false;
    size_t n = 0;

    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '"') {
            quoted = !quoted;
            continue;
        }
        if (quoted && (c == '\r' || c == '\n'))
            continue;
        if (quoted && c == '\\' && i + 1 < value.len)
            c = value.ptr[++i];
        if (n + 1 >= room)
            return false;
        out[n++] = c;
    }
    if (room == 0)
        return false;
    out[n] = '\0';
    *ret_len = n;
    return true;
}
