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

/* The forms of one parameter: name, name*, and name*0, name*1* ... by section. */
struct forms {
    const struct mime_param *plain, *extended;
    const struct mime_param *sections[PARTS_PARAMS_MAX];
    bool section_extended[PARTS_PARAMS_MAX];
};

static void keep_first(const struct mime_param **form, const struct mime_param *param)
{
    if (*form == NULL)
        *form = param;
}

/* "*0" or "*0*" behind the name. */
static void take_section(struct forms *f, const struct mime_param *param, struct slice suffix)
{
    bool extended = suffix.ptr[suffix.len - 1] == '*';
    uint64_t n;

    if (extended)
        suffix.len--;
    if (!slice_to_u64(slice_from(suffix, 1), &n) || n >= PARTS_PARAMS_MAX)
        return;
    if (f->sections[n] == NULL)
        f->section_extended[n] = extended;
    keep_first(&f->sections[n], param);
}

static void find_forms(const struct mime_params *p, struct slice name, struct forms *ret)
{
    *ret = (struct forms){ 0 };
    for (unsigned i = 0; i < p->count; i++) {
        const struct mime_param *param = &p->items[i];
        if (!slice_starts_nocase(param->name, name))
            continue;
        struct slice suffix = slice_from(param->name, name.len);
        if (suffix.len == 0)
            keep_first(&ret->plain, param);
        else if (slice_equal(suffix, SLICE("*")))
            keep_first(&ret->extended, param);
        else if (suffix.ptr[0] == '*')
            take_section(ret, param, suffix);
    }
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
static bool gather(const struct forms *f, struct buf *out, struct slice *ret_charset)
{
    if (f->extended != NULL) {
        struct slice value = f->extended->value;
        *ret_charset = take_charset(&value);
        add_percent_decoded(out, value);
        return true;
    }
    for (unsigned n = 0; n < PARTS_PARAMS_MAX && f->sections[n] != NULL; n++) {
        struct slice value = f->sections[n]->value;
        if (f->section_extended[n] && n == 0)
            *ret_charset = take_charset(&value);
        if (f->section_extended[n])
            add_percent_decoded(out, value);
        else
            buf_add(out, value);
    }
    return f->sections[0] != NULL;
}

struct slice mime_params_raw(const struct mime_params *p, struct slice name, struct arena *arena)
{
    CLEANUP_BUF struct buf octets = BUF_INIT;
    struct slice charset;
    struct forms f;

    find_forms(p, name, &f);
    if (f.plain != NULL)
        return f.plain->value;
    if (!gather(&f, &octets, &charset))
        return SLICE("");
    return arena_slice(arena, buf_slice(&octets));
}

struct slice mime_params_text(const struct mime_params *p, struct slice name, struct arena *arena)
{
    CLEANUP_BUF struct buf octets = BUF_INIT, utf8 = BUF_INIT, text = BUF_INIT;
    struct slice charset = SLICE("");
    struct forms f;

    find_forms(p, name, &f);
    if (!gather(&f, &octets, &charset)) {
        if (f.plain == NULL)
            return SLICE("");
        header_decode(f.plain->value, &text, PARTS_TEXT_OCTETS_MAX);
    } else {
        struct slice raw = buf_slice(&octets);
        bool known =
            charset.len > 0 && header_charset_decode(charset, raw, &utf8, PARTS_TEXT_OCTETS_MAX);
        /* Through the same door, for its controls and its bound. */
        header_decode(known ? buf_slice(&utf8) : raw, &text, PARTS_TEXT_OCTETS_MAX);
    }
    return arena_slice(arena, buf_slice(&text));
}
