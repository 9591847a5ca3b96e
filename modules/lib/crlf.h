/* SPDX-License-Identifier: Apache-2.0 */
/* crlf.h - where a line ends: at CRLF; a lone CR or LF is an octet like any other (RFC 5321 2.3.8). */
#ifndef MODULES_LIB_CRLF_H
#define MODULES_LIB_CRLF_H

#include <tern/module.h>

#include <string.h>

/* Octets of the first line with its CRLF, or all. */
static inline size_t crlf_line_octets(tern_str s)
{
    const char *at = s.ptr, *end = s.ptr + s.len;

    while (at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        at++;
        if (at - s.ptr >= 2 && at[-2] == '\r')
            return (size_t)(at - s.ptr);
    }
    return s.len;
}

#endif
