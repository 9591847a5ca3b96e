/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_tags.c - tag=value lists and what stands in them. See dkim.h. Source: RFC 6376 3.2, 2.8, 2.11.
 */
#include "dkim.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

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

/* A line end inside must be a fold (RFC 6376 2.8): else the value is more than one field. */
static bool is_tag_value(tern_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c == '\r') {
            if (i + 2 >= s.len || s.ptr[i + 1] != '\n' || (s.ptr[i + 2] != ' ' && s.ptr[i + 2] != '\t'))
                return false;
            i++;
        } else if (c != '\t' && (c < ' ' || c == 0x7f)) {
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
            if (ret->items[i].name.len == name.len && memcmp(ret->items[i].name.ptr, name.ptr, name.len) == 0)
                return "a tag stands there twice";
        if (ret->count == DKIM_TAGS_MAX)
            return "too many tags";
        ret->items[ret->count++] = (struct dkim_tag){ name, trim(raw), raw };
    }
    return ret->count > 0 ? NULL : "no tags";
}

const struct dkim_tag *dkim_tags_find(const struct dkim_tags *tags, const char *name)
{
    for (unsigned i = 0; i < tags->count; i++)
        if (tags->items[i].name.len == strlen(name) && memcmp(tags->items[i].name.ptr, name, strlen(name)) == 0)
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

int dkim_base64_decode(tern_str text, uint8_t *out, size_t octets)
{
    size_t n;

    errno = 0;
    if (sodium_base642bin(out, octets, text.ptr, text.len, " \t\r\n", &n, NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
        return errno == ERANGE ? -E2BIG : -EBADMSG;
    return (int)n;
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
