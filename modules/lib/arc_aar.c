/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arc_aar.c - the ARC-Authentication-Results field: its instance, in front of what every field with results has. See
 * arc.h. Source: RFC 8617 4.1.1, 4.2.1.
 */
#include "arc.h"

#include <string.h>

static void step(tern_str *rest, size_t octets)
{
    rest->ptr += octets;
    rest->len -= octets;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Over a comment or a quoted string at the beginning; false: it does not end. */
static bool skip_enclosed(tern_str *rest)
{
    bool quoted = rest->ptr[0] == '"';
    unsigned deep = 1;

    for (size_t i = 1; i < rest->len; i++) {
        char c = rest->ptr[i];
        if (c == '\\')
            i++;
        else if (!quoted && c == '(' && ++deep > ARC_COMMENTS_DEEP_MAX)
            return false;
        else if ((quoted ? c == '"' : c == ')') && --deep == 0) {
            step(rest, i + 1);
            return true;
        }
    }
    return false;
}

/* Blanks and comments. */
static bool skip_blanks(tern_str *rest)
{
    while (rest->len > 0) {
        if (rest->ptr[0] == '(') {
            if (!skip_enclosed(rest))
                return false;
        } else if (is_blank(rest->ptr[0])) {
            step(rest, 1);
        } else {
            break;
        }
    }
    return true;
}

static bool skip_char(tern_str *rest, char c)
{
    if (!skip_blanks(rest) || rest->len == 0 || rest->ptr[0] != c)
        return false;
    step(rest, 1);
    return skip_blanks(rest);
}

const char *arc_aar_parse(tern_str value, unsigned *ret_instance, tern_str *ret_results)
{
    unsigned n = 0;
    size_t digits = 0;

    *ret_instance = 0;
    *ret_results = TERN_STR("");
    if (!skip_char(&value, 'i') || !skip_char(&value, '='))
        return "it does not begin with i=";
    for (; digits < value.len && value.ptr[digits] >= '0' && value.ptr[digits] <= '9'; digits++)
        if (digits < 4)
            n = n * 10 + (unsigned)(value.ptr[digits] - '0');
    if (digits == 0 || digits > 4 || n == 0)
        return "i= is not a number from 1 to 50";
    *ret_instance = n;
    step(&value, digits);
    if (!skip_char(&value, ';'))
        return "no semicolon behind i=";
    *ret_results = value;
    return n <= ARC_SETS_MAX ? NULL : "i= is not a number from 1 to 50";
}
