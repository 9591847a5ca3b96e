/* SPDX-License-Identifier: Apache-2.0 */
/*
 * params.c - parameters of MIME fields.
 *
 * If a name comes in several forms the extended one (name*, name*0*) beats the plain one, as RFC
 * 6266 4.3 has it for the same syntax; of two of one form the first counts. A missing section
 * ends a continuation. Sources: RFC 2045 5.1, RFC 2231 3 and 4, RFC 2047 (in quoted values,
 * against the letter of it, because that is what many mailers write).
 */
#include "mime/params.h"

#include <stdio.h>

#include "mime/header.h"
#include "mime/lex.h"
#include "mime/parts.h"

/* A value without quotes: up to ';', because file names with blanks go unquoted. */
static struct slice bare_value(struct slice *s)
{
    ptrdiff_t end = slice_find(*s, ';');
    struct slice value = end < 0 ? *s : slice_head(*s, (size_t)end);
    struct slice token = value, word;

    *s = slice_from(*s, value.len);
    word = lex_token(&token);
    if (lex_skip_blank(&token) && token.len == 0)
        return word; /* a token, and perhaps a comment */
    while (value.len > 0 && strchr(" \t\r\n", value.ptr[value.len - 1]) != NULL)
        value.len--;
    return value;
}

static bool parse_one(struct slice *s, struct arena *arena, struct mime_param *ret)
{
    if (!lex_skip_blank(s))
        return false;
    ret->name = lex_token(s);
    if (ret->name.len == 0 || !lex_skip_blank(s) || !lex_take(s, '=') || !lex_skip_blank(s))
        return false;
    if (s->len == 0 || s->ptr[0] != '"') {
        ret->value = bare_value(s);
        return true;
    }
    struct buf text = BUF_INIT;
    bool ended = lex_quoted(s, &text);
    ret->value = arena_slice(arena, buf_slice(&text));
    buf_free(&text);
    return ended;
}

void mime_params_parse(struct slice rest, struct arena *arena, struct mime_params *ret)
{
    *ret = (struct mime_params){
        .items = arena_alloc(arena, PARTS_PARAMS_MAX * sizeof(struct mime_param)),
    };
    for (;;) {
        ptrdiff_t next = slice_find(rest, ';'); /* what stands before it is done, or rubbish */
        if (next < 0)
            return;
        rest = slice_from(rest, (size_t)next + 1);
        if (ret->count == PARTS_PARAMS_MAX) {
            ret->truncated = true;
            return;
        }
        if (parse_one(&rest, arena, &ret->items[ret->count]))
            ret->count++;
    }
}

static const struct mime_param *find(const struct mime_params *p, struct slice name)
{
    for (unsigned i = 0; i < p->count; i++)
        if (slice_equal_nocase(p->items[i].name, name))
            return &p->items[i];
    return NULL;
}

/* "name" and what `suffix` says: "*", "*0", "*0*". */
static const struct mime_param *find_form(const struct mime_params *p, struct slice name,
                                          int section, bool extended)
{
    char form[80];

    if (name.len > 32)
        return NULL;
    int len = section < 0
                  ? snprintf(form, sizeof(form), "%.*s", (int)name.len, name.ptr)
                  : snprintf(form, sizeof(form), "%.*s*%d", (int)name.len, name.ptr, section);
    if (extended)
        form[len++] = '*';
    return find(p, slice_make(form, (size_t)len));
}

static int hex_digit(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void add_percent_decoded(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '%' && i + 2 < s.len && hex_digit(s.ptr[i + 1]) >= 0 &&
            hex_digit(s.ptr[i + 2]) >= 0) {
            c = (char)(hex_digit(s.ptr[i + 1]) * 16 + hex_digit(s.ptr[i + 2]));
            i += 2;
        }
        buf_add_char(out, c);
    }
}

/* Cuts "charset'language'" off an extended value. */
static struct slice take_charset(struct slice *s)
{
    ptrdiff_t first = slice_find(*s, '\'');
    ptrdiff_t second = first < 0 ? -1 : slice_find(slice_from(*s, (size_t)first + 1), '\'');

    if (second < 0)
        return SLICE("");
    struct slice charset = slice_head(*s, (size_t)first);
    *s = slice_from(*s, (size_t)first + (size_t)second + 2);
    return charset;
}

/* Appends the octets of an extended or continued value. False if there is none. */
static bool gather(const struct mime_params *p, struct slice name, struct buf *out,
                   struct slice *ret_charset)
{
    const struct mime_param *param = find_form(p, name, -1, true);

    if (param != NULL) {
        struct slice value = param->value;
        *ret_charset = take_charset(&value);
        add_percent_decoded(out, value);
        return true;
    }
    for (int section = 0; section < PARTS_PARAMS_MAX; section++) {
        bool extended = (param = find_form(p, name, section, true)) != NULL;
        if (!extended && (param = find_form(p, name, section, false)) == NULL)
            return section > 0;
        struct slice value = param->value;
        if (extended && section == 0)
            *ret_charset = take_charset(&value);
        if (extended)
            add_percent_decoded(out, value);
        else
            buf_add(out, value);
    }
    return true;
}

struct slice mime_params_raw(const struct mime_params *p, struct slice name, struct arena *arena)
{
    CLEANUP_BUF struct buf octets = BUF_INIT;
    const struct mime_param *param = find_form(p, name, -1, false);
    struct slice charset;

    if (param != NULL)
        return param->value;
    if (!gather(p, name, &octets, &charset))
        return SLICE("");
    return arena_slice(arena, buf_slice(&octets));
}

struct slice mime_params_text(const struct mime_params *p, struct slice name, struct arena *arena)
{
    CLEANUP_BUF struct buf octets = BUF_INIT, utf8 = BUF_INIT, text = BUF_INIT;
    const struct mime_param *param = find_form(p, name, -1, false);
    struct slice charset = SLICE("");

    if (!gather(p, name, &octets, &charset)) {
        if (param == NULL)
            return SLICE("");
        header_decode(param->value, &text, PARTS_TEXT_OCTETS_MAX);
    } else {
        struct slice raw = buf_slice(&octets);
        bool known =
            charset.len > 0 && header_charset_decode(charset, raw, &utf8, PARTS_TEXT_OCTETS_MAX);
        /* Through the same door, for its controls and its bound. */
        header_decode(known ? buf_slice(&utf8) : raw, &text, PARTS_TEXT_OCTETS_MAX);
    }
    return arena_slice(arena, buf_slice(&text));
}
