/* SPDX-License-Identifier: Apache-2.0 */
/* line_ends.h - CRLF to LF, block by block: for files and programs of this machine. */
#ifndef LIB_LINE_ENDS_H
#define LIB_LINE_ENDS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * CRLF becomes LF; a CR that is not before LF stays. *held, false at first: the last block ended in CR, which goes
 * before what follows, or at the end. `out` has place for len + 1. Returns the octets in out.
 */
static inline size_t line_ends_lf(const char *data, size_t len, bool *held, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (*held && data[i] != '\n')
            out[n++] = '\r';
        *held = data[i] == '\r';
        if (!*held)
            out[n++] = data[i];
    }
    return n;
}

#endif
