/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_tags.c - tag=value lists and what stands in them. See dkim.h. Source: RFC 6376 3.2, 2.8, 2.11.
 */
#include "dkim.h"

#include <errno.h>
#include <string.h>

#include "dkim_run.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool dkim_equal_nocase(tern_str a, tern_str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return false;
    return true;
}

static tern_str trim(tern_str s)
{
    while (s.len > 0 && is_blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* Up to the separator; *rest goes behind it. */
static tern_str cut(tern_str *rest, char separator)
{
    const char *end = rest->len > 0 ? memchr(rest->ptr, separator, rest->len) : NULL;
    tern_str head = { rest->ptr, end != NULL ? (size_t)(end - rest->ptr) : rest->len };
    size_t gone = head.len + (end != NULL);

    rest->ptr += gone;
    rest->len -= gone;
    return head;
}

static bool is_letter(char c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

static bool is_tag_name(tern_str s)
{
    if (s.len == 0 || s.len > 32 || !is_letter(s.ptr[0]))
        return false;
    for (size_t i = 1; i < s.len; i++)
        if (!is_letter(s.ptr[i]) && (s.ptr[i] < '0' || s.ptr[i] > '9') && s.ptr[i] != '_')
            return false;
    return true;
}

/* Most differ in their first letter. */
static bool is_name(tern_str a, tern_str b)
{
    return a.len == b.len && a.ptr[0] == b.ptr[0] && memcmp(a.ptr, b.ptr, a.len) == 0;
}

/* A line end inside must be a fold (RFC 6376 2.8): else the value is more than one field. */
static bool is_tag_value(tern_str s)
{
    for (size_t i = dkim_run_printable(s.ptr, s.len); i < s.len; i += dkim_run_printable(s.ptr + i, s.len - i)) {
        if (s.ptr[i] == '\r') {
            if (i + 2 >= s.len || s.ptr[i + 1] != '\n' || (s.ptr[i + 2] != ' ' && s.ptr[i + 2] != '\t'))
                return false;
            i += 2;
        } else if (s.ptr[i++] != '\t') {
            return false;
        }
    }
    return true;
}

const char *dkim_tags_parse(tern_str text, struct dkim_tags *ret)
{
    ret->count = 0;
    while (text.len > 0) {
        tern_str spec = cut(&text, ';');
        if (text.len == 0 && trim(spec).len == 0)
            break; /* behind the last ";" */
        const char *equals = spec.len > 0 ? memchr(spec.ptr, '=', spec.len) : NULL;
        if (equals == NULL)
            return "a tag without \"=\"";
        tern_str name = trim(dkim_str(spec.ptr, (size_t)(equals - spec.ptr)));
        tern_str raw = dkim_str(equals + 1, spec.len - (size_t)(equals + 1 - spec.ptr));
        if (!is_tag_name(name))
            return "the name of a tag is malformed";
        if (!is_tag_value(trim(raw)))
            return "the value of a tag holds what it may not";
        for (unsigned i = 0; i < ret->count; i++)
            if (is_name(ret->items[i].name, name))
                return "a tag stands there twice";
        if (ret->count == DKIM_TAGS_MAX)
            return "too many tags";
        ret->items[ret->count++] = (struct dkim_tag){ name, trim(raw), raw };
    }
    return ret->count > 0 ? NULL : "no tags";
}

const struct dkim_tag *dkim_tags_find(const struct dkim_tags *tags, const char *name)
{
    tern_str wanted = { name, strlen(name) };

    for (unsigned i = 0; i < tags->count; i++)
        if (is_name(tags->items[i].name, wanted))
            return &tags->items[i];
    return NULL;
}

bool dkim_list_next(tern_str *rest, char separator, tern_str *ret)
{
    if (rest->ptr == NULL)
        return false;
    tern_str whole = *rest;
    tern_str item = cut(rest, separator);
    if (item.len == whole.len)
        *rest = dkim_str(NULL, 0); /* that was the last one */
    *ret = trim(item);
    return true;
}

/* ---- base64: RFC 4648 4, of what everybody may see; secrets are libsodium's ---- */

#define DIGIT 0x80
#define BLANK 0x40
static const uint8_t base64[256] = {
    [' '] = BLANK, ['\t'] = BLANK, ['\r'] = BLANK, ['\n'] = BLANK,
    ['A'] = DIGIT | 0, ['B'] = DIGIT | 1, ['C'] = DIGIT | 2, ['D'] = DIGIT | 3, ['E'] = DIGIT | 4,
    ['F'] = DIGIT | 5, ['G'] = DIGIT | 6, ['H'] = DIGIT | 7, ['I'] = DIGIT | 8, ['J'] = DIGIT | 9,
    ['K'] = DIGIT | 10, ['L'] = DIGIT | 11, ['M'] = DIGIT | 12, ['N'] = DIGIT | 13, ['O'] = DIGIT | 14,
    ['P'] = DIGIT | 15, ['Q'] = DIGIT | 16, ['R'] = DIGIT | 17, ['S'] = DIGIT | 18, ['T'] = DIGIT | 19,
    ['U'] = DIGIT | 20, ['V'] = DIGIT | 21, ['W'] = DIGIT | 22, ['X'] = DIGIT | 23, ['Y'] = DIGIT | 24,
    ['Z'] = DIGIT | 25, ['a'] = DIGIT | 26, ['b'] = DIGIT | 27, ['c'] = DIGIT | 28, ['d'] = DIGIT | 29,
    ['e'] = DIGIT | 30, ['f'] = DIGIT | 31, ['g'] = DIGIT | 32, ['h'] = DIGIT | 33, ['i'] = DIGIT | 34,
    ['j'] = DIGIT | 35, ['k'] = DIGIT | 36, ['l'] = DIGIT | 37, ['m'] = DIGIT | 38, ['n'] = DIGIT | 39,
    ['o'] = DIGIT | 40, ['p'] = DIGIT | 41, ['q'] = DIGIT | 42, ['r'] = DIGIT | 43, ['s'] = DIGIT | 44,
    ['t'] = DIGIT | 45, ['u'] = DIGIT | 46, ['v'] = DIGIT | 47, ['w'] = DIGIT | 48, ['x'] = DIGIT | 49,
    ['y'] = DIGIT | 50, ['z'] = DIGIT | 51, ['0'] = DIGIT | 52, ['1'] = DIGIT | 53, ['2'] = DIGIT | 54,
    ['3'] = DIGIT | 55, ['4'] = DIGIT | 56, ['5'] = DIGIT | 57, ['6'] = DIGIT | 58, ['7'] = DIGIT | 59,
    ['8'] = DIGIT | 60, ['9'] = DIGIT | 61, ['+'] = DIGIT | 62, ['/'] = DIGIT | 63,
};

/* Where decoding is. */
struct base64 {
    const uint8_t *at, *end;
    uint8_t *out;
    size_t room;
    uint32_t bits; /* that make no octet yet */
    unsigned bit_count;
};

/* Digits by fours, as long as nothing stands between them. */
static void decode_fours(struct base64 *d)
{
    while (d->end - d->at >= 4 && d->room >= 3) {
        uint8_t a = base64[d->at[0]], b = base64[d->at[1]], c = base64[d->at[2]], e = base64[d->at[3]];
        if ((a & b & c & e & DIGIT) == 0)
            return;
        uint32_t bits = (uint32_t)(a & 63) << 18 | (uint32_t)(b & 63) << 12 | (uint32_t)(c & 63) << 6 | (e & 63);
        d->out[0] = (uint8_t)(bits >> 16);
        d->out[1] = (uint8_t)(bits >> 8);
        d->out[2] = (uint8_t)bits;
        d->out += 3;
        d->room -= 3;
        d->at += 4;
    }
}

static bool decode_digit(struct base64 *d, unsigned digit)
{
    d->bits = d->bits << 6 | digit;
    d->bit_count += 6;
    if (d->bit_count < 8)
        return true;
    if (d->room == 0)
        return false;
    d->bit_count -= 8;
    *d->out++ = (uint8_t)(d->bits >> d->bit_count);
    d->room--;
    return true;
}

/* As many "=" as there have to be, and blanks. */
static bool is_padding(struct base64 *d)
{
    unsigned wanted = d->bit_count / 2;

    if (d->bit_count > 4 || (d->bits & ((1u << d->bit_count) - 1)) != 0)
        return false;
    for (; d->at < d->end; d->at++) {
        if (*d->at == '=' && wanted > 0)
            wanted--;
        else if (base64[*d->at] != BLANK)
            return false;
    }
    return wanted == 0;
}

int dkim_base64_decode(tern_str text, uint8_t *out, size_t octets)
{
    const uint8_t *at = (const uint8_t *)text.ptr;
    struct base64 d = { .at = at, .end = at + text.len, .out = out, .room = octets };

    while (d.at < d.end) {
        if (d.bit_count == 0)
            decode_fours(&d);
        uint8_t found = d.at < d.end ? base64[*d.at] : 0;
        if (found == 0)
            break;
        d.at++;
        if ((found & DIGIT) != 0 && !decode_digit(&d, found & 63))
            return -E2BIG;
    }
    return is_padding(&d) ? (int)(d.out - out) : -EBADMSG;
}

bool dkim_name_is_valid(tern_str name, unsigned labels_min)
{
    unsigned labels = 1;
    size_t label = 0;

    if (name.len == 0 || name.len > DKIM_NAME_OCTETS_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool plain = is_letter(c) || (c >= '0' && c <= '9') || c == '_';
        bool edge = label == 0 || i + 1 == name.len || name.ptr[i + 1] == '.';
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
            labels++;
        } else if ((!plain && (c != '-' || edge)) || ++label > 63) {
            return false;
        }
    }
    return label > 0 && labels >= labels_min;
}
