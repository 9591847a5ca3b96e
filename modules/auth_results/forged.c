/* SPDX-License-Identifier: Apache-2.0 */
/* forged.c - see forged.h. Sources: RFC 8601 2.2 (grammar), 5 (what to remove), RFC 5890 (a name in two spellings). */
#include "forged.h"

#include <lib/authres.h>
#include <lib/crlf.h>
#include <lib/idn.h>

#define ID_OCTETS_MAX     512 /* of an authserv-id that is read; a longer one is not known to be another's */
#define FOREIGN_WORDS_MAX 4   /* beyond ASCII, in front of a `;`: each costs microseconds */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool equal(tern_str a, tern_str b)
{
    for (size_t i = 0; i < a.len && i < b.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return false;
    return a.len == b.len;
}

static bool matches(tern_str name, tern_str ours)
{
    if (ours.len < 2 || ours.ptr[0] != '*' || ours.ptr[1] != '.')
        return equal(name, ours);
    tern_str end = { ours.ptr + 1, ours.len - 1 }; /* ".example.org" */
    return name.len > end.len && equal((tern_str){ name.ptr + name.len - end.len, end.len }, end);
}

/* In any spelling: with U-labels, and with the dot of the root. */
static bool is_name_of_ours(tern_str name, const struct forged_names *names)
{
    char ascii[IDN_NAME_OCTETS_MAX + 1];

    if (!idn_is_ascii(name) && !idn_to_ascii(name, ascii, &name))
        return true; /* a reader may know better */
    if (name.len > 1 && name.ptr[name.len - 1] == '.')
        name.len--;
    if (matches(name, names->id))
        return true;
    for (size_t i = 0; names->others != NULL && i < names->others->count; i++)
        if (matches(name, names->others->items[i]))
            return true;
    return false;
}

static bool is_of_name(char c)
{
    char l = lower(c);

    return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
           (unsigned char)c >= 0x80;
}

/*
 * Readers that know nothing of comments and quotes look for the name up to the first `;`. An id of ours that is
 * no name ("mx/1") is found by those that read the grammar only.
 */
static bool names_us_in_front(tern_str value, const struct forged_names *names)
{
    const char *semicolon = value.len > 0 ? memchr(value.ptr, ';', value.len) : NULL;
    const char *p = value.ptr, *end = semicolon != NULL ? semicolon : p + value.len;
    unsigned foreign = 0;

    while (p < end) {
        const char *start = p;
        while (p < end && is_of_name(*p))
            p++;
        tern_str word = { start, (size_t)(p - start) };
        foreign += !idn_is_ascii(word);
        if (foreign > FOREIGN_WORDS_MAX || (word.len > 0 && is_name_of_ours(word, names)))
            return true;
        p += p == start;
    }
    return false;
}

bool forged_is_ours(tern_str value, const struct forged_names *names)
{
    struct authres_reader reader;
    char id[ID_OCTETS_MAX];
    tern_str written;
    unsigned version;
    size_t len;

    if (!authres_open(&reader, value, false, true, &written, &version) ||
        !authres_unquote(written, id, sizeof(id), &len))
        return true;
    return is_name_of_ours((tern_str){ id, len }, names) || names_us_in_front(value, names);
}

/* ---- fields ---- */

static tern_str from(tern_str s, size_t octets)
{
    return (tern_str){ s.ptr + octets, s.len - octets };
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Where the value begins if the line is the first one of such a field; else 0. */
static size_t value_of(tern_str line)
{
    size_t n = sizeof(FORGED_NAME) - 1;

    if (line.len <= n || !equal((tern_str){ line.ptr, n }, TERN_STR(FORGED_NAME)))
        return 0;
    while (n < line.len && is_blank(line.ptr[n])) /* RFC 5322 4.5 */
        n++;
    return n < line.len && line.ptr[n] == ':' ? n + 1 : 0;
}

bool forged_next(tern_str *rest, tern_str *ret_value)
{
    while (rest->len > 0) {
        size_t octets = crlf_line_octets(*rest), value = value_of((tern_str){ rest->ptr, octets });
        while (octets < rest->len && is_blank(rest->ptr[octets]))
            octets += crlf_line_octets(from(*rest, octets));
        tern_str whole = { rest->ptr, octets };
        *rest = from(*rest, octets);
        if (value == 0)
            continue;
        if (whole.len >= value + 2 && memcmp(whole.ptr + whole.len - 2, "\r\n", 2) == 0)
            whole.len -= 2;
        *ret_value = from(whole, value);
        return true;
    }
    return false;
}
