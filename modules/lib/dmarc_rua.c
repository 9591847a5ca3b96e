/* SPDX-License-Identifier: Apache-2.0 */
/* dmarc_rua.c - see dmarc_rua.h. */
#include "dmarc_rua.h"

#include <string.h>
#include <strings.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static tern_str trim(tern_str s)
{
    while (s.len > 0 && is_blank(s.ptr[0]))
        s = (tern_str){ s.ptr + 1, s.len - 1 };
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* What stands before the separator; *rest moves behind it. */
static tern_str cut(tern_str *rest, char separator)
{
    const char *end = memchr(rest->ptr, separator, rest->len);
    size_t len = end != NULL ? (size_t)(end - rest->ptr) : rest->len;
    tern_str head = { rest->ptr, len };

    *rest = (tern_str){ rest->ptr + len + (end != NULL), rest->len - len - (end != NULL) };
    return trim(head);
}

/* "name = value" */
static bool is_tag(tern_str spec, const char *name, tern_str *ret)
{
    tern_str key = cut(&spec, '=');

    *ret = trim(spec);
    return key.len == strlen(name) && strncasecmp(key.ptr, name, key.len) == 0;
}

bool dmarc_text_is_record(tern_str text)
{
    tern_str rest = text, value;

    if (text.len == 0 || is_blank(text.ptr[0]))
        return false;
    return is_tag(cut(&rest, ';'), "v", &value) && value.len == 6 && memcmp(value.ptr, "DMARC1", 6) == 0;
}

tern_str dmarc_text_tag(tern_str text, const char *name)
{
    tern_str value;

    while (text.len > 0)
        if (is_tag(cut(&text, ';'), name, &value))
            return value;
    return (tern_str){ "", 0 };
}

/* ---- addresses ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "!10m" at the end is cut off. False: there is something else behind the "!". */
static bool take_size(tern_str *uri, uint64_t *ret)
{
    static const char units[] = "kmgt";
    const char *mark = memrchr(uri->ptr, '!', uri->len);
    uint64_t n = 0;

    *ret = 0;
    if (mark == NULL)
        return true;
    tern_str size = { mark + 1, uri->len - (size_t)(mark + 1 - uri->ptr) };
    const char *unit = size.len > 0 ? memchr(units, size.ptr[size.len - 1] | 0x20, 4) : NULL;
    size_t digits = size.len - (unit != NULL);
    if (digits == 0 || digits > 9)
        return false;
    for (size_t i = 0; i < digits; i++) {
        if (size.ptr[i] < '0' || size.ptr[i] > '9')
            return false;
        n = n * 10 + (unsigned)(size.ptr[i] - '0');
    }
    *ret = unit != NULL ? n << (10 * (unit - units + 1)) : n;
    uri->len = (size_t)(mark - uri->ptr);
    return *ret > 0;
}

static bool take_address(tern_str uri, struct dmarc_rua *ret)
{
    size_t len = 0;

    if (uri.len < 8 || strncasecmp(uri.ptr, "mailto:", 7) != 0 || !take_size(&uri, &ret->octets_max))
        return false;
    for (size_t i = 7; i < uri.len && uri.ptr[i] != '?'; i++) {
        char c = uri.ptr[i];
        if (c == '%') {
            int high = i + 2 < uri.len ? hex_digit(uri.ptr[i + 1]) : -1,
                low = i + 2 < uri.len ? hex_digit(uri.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (len == DMARC_RUA_ADDRESS_MAX || (unsigned char)c <= 0x20 || c == 0x7f)
            return false;
        ret->address[len++] = c;
    }
    ret->address[len] = '\0';
    return strchr(ret->address, '@') != NULL;
}

unsigned dmarc_rua_parse(tern_str rua, struct dmarc_rua *ret)
{
    unsigned count = 0;

    while (rua.len > 0 && count < DMARC_RUA_MAX) {
        tern_str uri = cut(&rua, ',');
        if (take_address(uri, &ret[count]))
            count++;
    }
    return count;
}
