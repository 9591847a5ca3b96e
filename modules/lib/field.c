/* SPDX-License-Identifier: Apache-2.0 */
/* field.c - see field.h. Source: RFC 5322 2.2, 4.5.8 (blanks before the colon). */
#include "field.h"

#include <string.h>

#include "crlf.h"
#include "dkim.h"

#define FIELD_OCTETS_MIN 4 /* "a:" and its line end, which the last one may lack */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* Behind the CRLF of this line. */
static const char *line_end(const char *at, const char *end)
{
    return at + crlf_line_octets((tern_str){ at, (size_t)(end - at) });
}

static bool is_named(const char *at, const char *end, const char *name)
{
    for (; *name != '\0'; name++, at++)
        if (at == end || lower(*at) != *name)
            return false;
    while (at < end && is_blank(*at))
        at++;
    return at < end && *at == ':';
}

/* Has a name of printable octets, and a colon behind it. */
static bool is_field(const char *at, const char *end)
{
    const char *colon = memchr(at, ':', (size_t)(end - at));

    while (colon != NULL && colon > at && is_blank(colon[-1]))
        colon--;
    if (colon == NULL || colon == at)
        return false;
    for (; at < colon; at++)
        if (*at < 33 || *at > 126)
            return false;
    return true;
}

int field_only(tern_str header, const char *name, tern_str *ret)
{
    const char *at = header.ptr, *end = header.ptr + header.len, *next;
    bool counts = header.len >= (size_t)DKIM_FIELDS_MAX * FIELD_OCTETS_MIN; /* else there cannot be too many */
    unsigned found = 0, fields = 0;

    for (; at < end && (counts || found < 2); at = next) {
        next = line_end(at, end);
        while (next < end && is_blank(*next))
            next = line_end(next, end);
        if (counts && is_field(at, next) && ++fields > DKIM_FIELDS_MAX)
            return -E2BIG;
        if (is_named(at, next, name) && found++ == 0)
            *ret = (tern_str){ at, (size_t)(next - at) };
    }
    return found < 2 ? (int)found : 2;
}
