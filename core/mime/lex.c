/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lex.c - blanks, comments, atoms, quoted strings.
 *
 * Comments nest; they are counted, not recursed into. Source: RFC 5322 3.2, 4.1; RFC 2045 5.1.
 */
#include "mime/lex.h"

#include "mime/header.h"

static bool skip_comment(struct slice *s)
{
    size_t depth = 0;

    for (size_t i = 0; i < s->len; i++) {
        char c = s->ptr[i];
        if (c == '\\') {
            i++;
        } else if (c == '(') {
            if (++depth > HEADER_COMMENT_DEPTH_MAX)
                return false;
        } else if (c == ')' && --depth == 0) {
            *s = slice_from(*s, i + 1);
            return true;
        }
    }
    return false;
}

bool lex_skip_blank(struct slice *s)
{
    while (s->len > 0) {
        char c = s->ptr[0];
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            *s = slice_from(*s, 1);
        else if (c != '(')
            return true;
        else if (!skip_comment(s))
            return false;
    }
    return true;
}

bool lex_take(struct slice *s, char c)
{
    if (s->len == 0 || s->ptr[0] != c)
        return false;
    *s = slice_from(*s, 1);
    return true;
}

static bool is_atext(char c)
{
    return (unsigned char)c >= 0x80 ||
           (c > ' ' && c < 0x7f && strchr("()<>[]:;@\\,.\"", c) == NULL);
}

static bool is_token_char(char c)
{
    return c > ' ' && c < 0x7f && strchr("()<>@,;:\\\"/[]?=", c) == NULL;
}

static struct slice take_while(struct slice *s, bool (*is)(char c))
{
    size_t len = 0;

    while (len < s->len && is(s->ptr[len]))
        len++;
    struct slice word = slice_head(*s, len);
    *s = slice_from(*s, len);
    return word;
}

struct slice lex_atom(struct slice *s)
{
    return take_while(s, is_atext);
}

struct slice lex_token(struct slice *s)
{
    return take_while(s, is_token_char);
}

bool lex_quoted(struct slice *s, struct buf *out)
{
    for (size_t i = 1; i < s->len; i++) {
        char c = s->ptr[i];
        if (c == '"') {
            *s = slice_from(*s, i + 1);
            return true;
        }
        if (c == '\r' && i + 1 < s->len && s->ptr[i + 1] == '\n') {
            i++; /* folding */
            continue;
        }
        if (c == '\\' && ++i == s->len)
            return false;
        buf_add_char(out, s->ptr[i]);
    }
    return false;
}
