/* SPDX-License-Identifier: Apache-2.0 */
/* slice.h - a piece of input: pointer and length, never NUL-terminated, passed by value. */
#ifndef TERN_BASE_SLICE_H
#define TERN_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *ptr;
    size_t len;
};

#define SLICE(literal) ((struct slice){ ("" literal), sizeof(literal) - 1 })

static inline struct slice slice_make(const char *ptr, size_t len)
{
    return (struct slice){ ptr, len };
}

static inline struct slice slice_cstr(const char *text)
{
    return (struct slice){ text, text != NULL ? strlen(text) : 0 };
}

/* The rest from `offset`; empty past the end. */
static inline struct slice slice_from(struct slice s, size_t offset)
{
    if (offset >= s.len)
        return (struct slice){ s.len > 0 ? s.ptr + s.len : s.ptr, 0 }; /* NULL + 0 is undefined */
    return (struct slice){ s.ptr + offset, s.len - offset };
}

static inline struct slice slice_head(struct slice s, size_t len)
{
    return (struct slice){ s.ptr, len < s.len ? len : s.len };
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* ASCII case only, whatever the locale. */
bool slice_equal_nocase(struct slice a, struct slice b);
bool slice_starts_nocase(struct slice s, struct slice prefix);
struct slice slice_trim(struct slice s); /* blanks and tabs at both ends */
/* Index of the first `c`, or -1. */
ptrdiff_t slice_find(struct slice s, char c);
/* Octets before the first CRLF; -1 if there is none. */
ptrdiff_t slice_find_crlf(struct slice s);
/* A decimal number without sign; false on anything else or overflow. */
bool slice_to_u64(struct slice s, uint64_t *ret);
#define U64_DIGITS_MAX 20
size_t u64_print(char out[U64_DIGITS_MAX], uint64_t number); /* decimal, no NUL; returns the digits */

static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

#endif
