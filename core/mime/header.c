/* SPDX-License-Identifier: Apache-2.0 */
/*
 * header.c - where fields begin and end. The policy for malformed lines stands in header.h.
 */
#include "mime/header.h"

#define LINE_OCTETS_MAX 998 /* RFC 5322 2.1.1 */

bool header_end(struct slice octets, size_t *ret_header, size_t *ret_body)
{
    if (octets.len >= 2 && memcmp(octets.ptr, "\r\n", 2) == 0) {
        *ret_header = 0;
        *ret_body = 2;
        return true;
    }
    for (struct slice rest = octets;;) {
        ptrdiff_t line = slice_find_crlf(rest);
        rest = line < 0 ? slice_make(NULL, 0) : slice_from(rest, (size_t)line + 2);
        if (line < 0 || (rest.len >= 2 && memcmp(rest.ptr, "\r\n", 2) == 0)) {
            *ret_header = line < 0 ? octets.len : (size_t)(rest.ptr - octets.ptr);
            *ret_body = line < 0 ? octets.len : *ret_header + 2;
            return line >= 0;
        }
    }
}

/* Octets of the first line with its CRLF, or all. */
static size_t line_octets(struct slice s)
{
    ptrdiff_t line = slice_find_crlf(s);

    return line >= 0 ? (size_t)line + 2 : s.len;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The first line and the folded ones behind it. */
static size_t field_octets(struct slice s)
{
    size_t octets = line_octets(s);

    while (octets < s.len && is_blank(s.ptr[octets]))
        octets += line_octets(slice_from(s, octets));
    return octets;
}

static bool parse_field(struct slice whole, struct header_field *ret)
{
    ptrdiff_t colon = slice_find(slice_head(whole, line_octets(whole)), ':');

    if (colon <= 0 || is_blank(whole.ptr[0]))
        return false;
    struct slice name = slice_trim(slice_head(whole, (size_t)colon));
    if (!header_name_is_valid(name))
        return false;
    struct slice value = slice_from(whole, (size_t)colon + 1);
    if (value.len >= 2 && memcmp(value.ptr + value.len - 2, "\r\n", 2) == 0)
        value.len -= 2;
    if (value.len > 0 && is_blank(value.ptr[0]))
        value = slice_from(value, 1);
    *ret = (struct header_field){ .name = name, .value = value, .whole = whole };
    return true;
}

bool header_next(struct slice *rest, struct header_field *ret)
{
    while (rest->len > 0) {
        if (rest->len >= 2 && memcmp(rest->ptr, "\r\n", 2) == 0)
            break; /* the empty line: what follows is no header */
        struct slice whole = slice_head(*rest, field_octets(*rest));
        *rest = slice_from(*rest, whole.len);
        if (parse_field(whole, ret))
            return true;
    }
    return false;
}

bool header_find(struct slice block, struct slice name, unsigned nth, struct header_field *ret)
{
    struct header_field f;

    while (header_next(&block, &f)) {
        if (!slice_equal_nocase(f.name, name))
            continue;
        if (nth-- == 0) {
            *ret = f;
            return true;
        }
    }
    return false;
}

bool header_name_is_valid(struct slice name)
{
    if (name.len == 0 || name.len > HEADER_NAME_OCTETS_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] < 33 || name.ptr[i] > 126 || name.ptr[i] == ':')
            return false;
    return true;
}

static bool line_is_valid(struct slice line, bool folded)
{
    if (line.len > LINE_OCTETS_MAX)
        return false;
    for (size_t i = 0; i < line.len; i++)
        if (line.ptr[i] == '\0' || line.ptr[i] == '\r' || line.ptr[i] == '\n')
            return false;
    return !folded || (line.len > 0 && is_blank(line.ptr[0]) && slice_trim(line).len > 0);
}

bool header_value_is_valid(struct slice value)
{
    for (bool folded = false;; folded = true) {
        ptrdiff_t line = slice_find_crlf(value);
        size_t len = line >= 0 ? (size_t)line : value.len;
        if (!line_is_valid(slice_head(value, len), folded))
            return false;
        if (line < 0)
            return true;
        value = slice_from(value, len + 2);
    }
}

void header_unfold(struct slice value, struct buf *out)
{
    while (value.len > 0) {
        ptrdiff_t line = slice_find_crlf(value);
        size_t len = line >= 0 ? (size_t)line : value.len;
        bool fold = len + 2 < value.len && is_blank(value.ptr[len + 2]);
        buf_add(out, slice_head(value, line >= 0 && !fold ? len + 2 : len));
        value = slice_from(value, line >= 0 ? len + 2 : len);
    }
}
