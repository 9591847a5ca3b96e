/* SPDX-License-Identifier: Apache-2.0 */
/* buf.h - a growable run of octets. Its owner says how long it may get. */
#ifndef TERN_BASE_BUF_H
#define TERN_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct buf {
    char *data; /* a NUL stands behind len once anything was added */
    size_t len, size;
};

#define BUF_INIT { NULL, 0, 0 }

void buf_free(struct buf *buf); /* frees and empties */
void buf_wipe(struct buf *buf); /* of a secret: overwrites, frees and empties */
/* Takes back what was added behind the first `len` octets. */
static inline void buf_cut(struct buf *buf, size_t len)
{
    buf->len = len;
    if (buf->data != NULL)
        buf->data[len] = '\0';
}
static inline void buf_clear(struct buf *buf)
{
    buf->len = 0;
}
/* Room for `octets` more; returns where they go; the caller adds to len. */
char *buf_reserve(struct buf *buf, size_t octets);
void buf_add_grow(struct buf *buf, struct slice s); /* buf_add() where room is missing */
/* Inline: a record is put together from hundreds of texts, and of most the length is known when it is compiled. */
static inline void buf_add(struct buf *buf, struct slice s)
{
    if (s.len >= buf->size - buf->len) {
        buf_add_grow(buf, s);
        return;
    }
    if (s.len > 0)
        memcpy(buf->data + buf->len, s.ptr, s.len);
    buf->len += s.len;
    buf->data[buf->len] = '\0';
}
static inline void buf_add_cstr(struct buf *buf, const char *text)
{
    buf_add(buf, slice_cstr(text));
}
static inline void buf_add_char(struct buf *buf, char c)
{
    if (buf->size - buf->len < 2)
        (void)buf_reserve(buf, 1);
    buf->data[buf->len] = c;
    buf->data[++buf->len] = '\0';
}
void buf_add_uint(struct buf *buf, uint64_t number); /* decimal */
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *buf, const char *format, va_list args);
void buf_consume(struct buf *buf, size_t octets); /* drops from the front */
/* `s` as a JSON string with quotes; octets that are not UTF-8 become U+FFFD. */
void buf_add_json(struct buf *buf, struct slice s);
void buf_add_escaped(struct buf *buf, struct slice s); /* the same without quotes: a part of a string */
static inline struct slice buf_slice(const struct buf *buf)
{
    return slice_make(buf->data, buf->len);
}

#define CLEANUP_BUF    __attribute__((cleanup(buf_free)))
#define CLEANUP_SECRET __attribute__((cleanup(buf_wipe)))

#endif
