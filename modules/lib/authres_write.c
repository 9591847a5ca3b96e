/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authres_write.c - texts of results, and the field made of them. See authres.h.
 *
 * Written so that simple readers get along with it, too: a value is quoted unless it is a token, a comment holds no
 * bracket, quote, backslash or `;`, and lines are folded between words.
 */
#include <lib/authres.h>

#include <string.h>

#include <lib/authres_private.h>

/* ---- octets into a text ---- */

static bool put(struct authres_text *t, const char *octets, size_t count)
{
    if (count >= t->room - t->len)
        return false;
    if (count > 0) /* an empty string may be NULL */
        memcpy(t->at + t->len, octets, count);
    t->len += count;
    t->at[t->len] = '\0';
    return true;
}

static bool put_str(struct authres_text *t, const char *s)
{
    return put(t, s, strlen(s));
}

/* Back to where it was. */
static bool undo(struct authres_text *t, size_t len)
{
    t->len = len;
    t->at[len] = '\0';
    return false;
}

static bool is_telling(tern_str value, bool utf8)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char u = (unsigned char)value.ptr[i];
        if (u < ' ' || u == 0x7f || (u >= 0x80 && !utf8))
            return false;
    }
    return value.len <= AUTHRES_VALUE_OCTETS_MAX;
}

static bool put_quoted(struct authres_text *t, tern_str value)
{
    bool fits = put_str(t, "\"");

    for (size_t i = 0; i < value.len && fits; i++) {
        if (value.ptr[i] == '"' || value.ptr[i] == '\\')
            fits = put_str(t, "\\");
        fits = fits && put(t, &value.ptr[i], 1);
    }
    return fits && put_str(t, "\"");
}

static bool is_token(tern_str value)
{
    for (size_t i = 0; i < value.len; i++)
        if (!authres_is_token(value.ptr[i]))
            return false;
    return value.len > 0;
}

static bool put_value(struct authres_text *t, tern_str value)
{
    return is_token(value) ? put(t, value.ptr, value.len) : put_quoted(t, value);
}

/* ---- texts ---- */

bool authres_result(struct authres_text *t, const char *method, const char *result)
{
    size_t before = t->len;

    if ((before == 0 || put_str(t, "; ")) && put_str(t, method) && put_str(t, "=") && put_str(t, result))
        return true;
    return undo(t, before);
}

bool authres_comment(struct authres_text *t, tern_str text)
{
    static const char special[] = "()\\\";", instead[] = "[]/',";
    size_t before = t->len, len = text.len < AUTHRES_COMMENT_OCTETS_MAX ? text.len : AUTHRES_COMMENT_OCTETS_MAX;
    bool fits = len == 0 || put_str(t, " (");

    for (size_t i = 0; i < len && fits; i++) {
        char c = text.ptr[i];
        const char *found = c != '\0' && !authres_is_ldh(c) && c != ' ' ? strchr(special, c) : NULL;
        if (found != NULL)
            c = instead[found - special];
        else if (c < ' ' || c > '~')
            c = '?';
        fits = put(t, &c, 1);
    }
    return fits && (len == 0 || put_str(t, ")")) ? true : undo(t, before);
}

static bool put_property(struct authres_text *t, const char *name, tern_str value, bool utf8)
{
    return is_telling(value, utf8) && put_str(t, " ") && put_str(t, name) && put_str(t, "=") && put_value(t, value);
}

bool authres_reason(struct authres_text *t, tern_str text)
{
    size_t before = t->len;

    return put_property(t, "reason", text, false) ? true : undo(t, before);
}

bool authres_property(struct authres_text *t, const char *name, tern_str value, bool utf8)
{
    size_t before = t->len;

    return put_property(t, name, value, utf8) ? true : undo(t, before);
}

/* With letters, digits and dots alone: what else may follow an `@` is an address in brackets, which is no pvalue. */
static bool is_domain(tern_str domain, bool utf8)
{
    for (size_t i = 0; i < domain.len; i++)
        if (!authres_is_ldh(domain.ptr[i]) && domain.ptr[i] != '.' && !((unsigned char)domain.ptr[i] >= 0x80 && utf8))
            return false;
    return domain.len > 0;
}

bool authres_mailbox(struct authres_text *t, const char *name, tern_str local, tern_str domain, bool utf8)
{
    size_t before = t->len;

    if (is_telling(local, utf8) && is_telling(domain, utf8) && is_domain(domain, utf8) && put_str(t, " ") &&
        put_str(t, name) && put_str(t, "=") && (local.len == 0 || put_value(t, local)) && put_str(t, "@") &&
        put(t, domain.ptr, domain.len))
        return true;
    return undo(t, before);
}

/* ---- the field ---- */

bool authres_id_is_valid(tern_str id)
{
    for (size_t i = 0; i < id.len; i++)
        if (id.ptr[i] <= ' ' || id.ptr[i] >= 0x7f)
            return false;
    return id.len > 0 && id.len <= 255;
}

struct folding {
    struct authres_text text;
    size_t column; /* octets in this line */
};

/* A word in this line or the next; `last`: a `;` must fit behind it. */
static bool put_word(struct folding *f, tern_str word, bool first)
{
    bool fold = first || f->column + 1 + word.len + 1 > AUTHRES_LINE_OCTETS;

    if (word.len > AUTHRES_WORD_OCTETS_MAX || !put_str(&f->text, fold ? "\r\n\t" : " "))
        return false;
    f->column = (fold ? 0 : f->column) + 1 + word.len;
    return put(&f->text, word.ptr, word.len);
}

/*
 * The next word: up to a blank outside of quotes; comments are made of words. Outside of comments quotes hold
 * words together, inside they mean nothing.
 */
static tern_str next_word(tern_str *rest, unsigned *deep)
{
    const char *p = rest->ptr, *end = p + rest->len;
    bool quoted = false;

    while (p < end && authres_is_blank(*p))
        p++;
    const char *start = p;
    for (; p < end && (quoted || !authres_is_blank(*p)); p++) {
        if (*p == '\\' && p + 1 < end && (quoted || *deep > 0))
            p++;
        else if (*p == '"' && *deep == 0)
            quoted = !quoted;
        else if (!quoted && *p == '(')
            ++*deep;
        else if (!quoted && *p == ')')
            --*deep;
    }
    *rest = (tern_str){ p, (size_t)(end - p) };
    return (tern_str){ start, (size_t)(p - start) };
}

static bool put_result(struct folding *f, tern_str whole)
{
    struct folding before = *f;
    unsigned deep = 0;

    if (put_str(&f->text, ";"))
        for (tern_str rest = whole, word = next_word(&rest, &deep);; word = next_word(&rest, &deep)) {
            if (word.len == 0)
                return true;
            if (!put_word(f, word, word.ptr == whole.ptr))
                break;
        }
    *f = before;
    return undo(&f->text, before.text.len);
}

/* What is no result does not get out, whoever has made it. Returns how many were put. */
static unsigned put_text(struct folding *f, tern_str text, bool utf8, unsigned *left_out)
{
    struct authres_read_result result;
    struct authres_reader r;
    unsigned put_count = 0;

    authres_open_text(&r, text, true, utf8);
    while (authres_next(&r, &result)) {
        if (put_result(f, result.whole))
            put_count++;
        else
            ++*left_out;
    }
    *left_out += r.broken;
    return put_count;
}

/* A fold is three octets where there were a blank or two: so each octet of a text may become two. */
size_t authres_room(const struct authres_field *field)
{
    size_t room = field->before.len + 2 * field->id.len + sizeof("\"\"; none");

    for (unsigned i = 0; i < field->count && room <= AUTHRES_FIELD_OCTETS_MAX; i++)
        room += 2 * field->texts[i].len + sizeof(";\r\n\t");
    return room <= AUTHRES_FIELD_OCTETS_MAX ? room : AUTHRES_FIELD_OCTETS_MAX + 1;
}

size_t authres_compose(const struct authres_field *field, char *out, unsigned *ret_left_out)
{
    size_t room = field->room > 0 ? field->room : AUTHRES_FIELD_OCTETS_MAX + 1;
    struct folding f = { .text = { .at = out, .room = room } };
    unsigned left_out = 0, results = 0;

    out[0] = '\0';
    (void)put(&f.text, field->before.ptr, field->before.len);
    (void)put_value(&f.text, field->id);
    f.column = field->name.len + 2 + f.text.len;
    for (unsigned i = 0; i < field->count; i++)
        if (field->texts[i].len > 0)
            results += put_text(&f, field->texts[i], field->utf8, &left_out);
    if (results == 0)
        (void)put_str(&f.text, "; none");
    *ret_left_out = left_out;
    return f.text.len;
}
