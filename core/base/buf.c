/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"

#define BUF_OCTETS_MIN       64
#define PRINT_OCTETS_GUESSED 60 /* what most that is printed needs */

void buf_free(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf)BUF_INIT;
}

void buf_wipe(struct buf *buf)
{
    if (buf->data != NULL)
        explicit_bzero(buf->data, buf->size);
    buf_free(buf);
}

char *buf_reserve(struct buf *buf, size_t octets)
{
    size_t need = buf->len + octets + 1;

    if (need > buf->size) {
        size_t size = buf->size > 0 ? buf->size : BUF_OCTETS_MIN;
        while (size < need)
            size *= 2;
        buf->data = mem_realloc(buf->data, size);
        buf->size = size;
    }
    return buf->data + buf->len;
}

void buf_add_grow(struct buf *buf, struct slice s)
{
    char *at = buf_reserve(buf, s.len);

    if (s.len > 0)
        memcpy(at, s.ptr, s.len);
    buf->len += s.len;
    buf->data[buf->len] = '\0';
}

void buf_add_uint(struct buf *buf, uint64_t number)
{
    char digits[U64_DIGITS_MAX];

    buf_add(buf, slice_make(digits, u64_print(digits, number)));
}

/* Into the room that is there; again only where it was too little. */
void buf_vprintf(struct buf *buf, const char *format, va_list args)
{
    char *at = buf_reserve(buf, PRINT_OCTETS_GUESSED);
    size_t room = buf->size - buf->len;
    va_list again;

    va_copy(again, args);
    int len = vsnprintf(at, room, format, args);
    if (len > 0 && (size_t)len >= room)
        (void)vsnprintf(buf_reserve(buf, (size_t)len), (size_t)len + 1, format, again);
    if (len > 0)
        buf->len += (size_t)len;
    buf->data[buf->len] = '\0';
    va_end(again);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vprintf(buf, format, args);
    va_end(args);
}

void buf_consume(struct buf *buf, size_t octets)
{
    if (octets >= buf->len) {
        buf->len = 0;
        return;
    }
    buf->len -= octets;
    memmove(buf->data, buf->data + octets, buf->len + 1);
}

/* Octets at the start of `s` that stand in a JSON string as they are: most of all that is logged. */
static size_t plain_run(struct slice s)
{
    static const bool plain[256] = {
        [' '] = true, ['!'] = true, ['#' ... '['] = true, [']' ... '~'] = true,
    };
    size_t n = 0;

    while (n < s.len && plain[(unsigned char)s.ptr[n]])
        n++;
    return n;
}

/* Of a character that is not to be shown; all of them are below U+10000. */
static unsigned code_of(struct slice s, size_t len)
{
    unsigned char last = (unsigned char)s.ptr[len - 1];

    return len == 3 ? 0x2000u + (last & 0x3f) : last;
}

void buf_add_escaped(struct buf *buf, struct slice s)
{
    while (s.len > 0) {
        size_t run = plain_run(s);
        unsigned char c = run < s.len ? (unsigned char)s.ptr[run] : 0;
        buf_add(buf, slice_head(s, run));
        s = slice_from(s, run);
        if (s.len == 0)
            break;
        size_t len = utf8_len(s);
        if (len == 0)
            buf_add_cstr(buf, "\xef\xbf\xbd");
        else if (c == '"' || c == '\\')
            buf_printf(buf, "\\%c", c);
        else if (utf8_shown_len(s) == 0)
            buf_printf(buf, "\\u%04x", code_of(s, len));
        else
            buf_add(buf, slice_head(s, len));
        s = slice_from(s, len > 0 ? len : 1);
    }
}

void buf_add_json(struct buf *buf, struct slice s)
{
    buf_add_char(buf, '"');
    buf_add_escaped(buf, s);
    buf_add_char(buf, '"');
}
