/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secrets.c - see secrets.h.
 */
#include "secrets.h"

#include <string.h>

unsigned secrets_split(tern_str text, tern_str *ret, unsigned max)
{
    unsigned count = 0;

    while (text.len > 0) {
        const char *lf = memchr(text.ptr, '\n', text.len);
        size_t len = lf != NULL ? (size_t)(lf - text.ptr) : text.len, next = len + (lf != NULL);
        tern_str line = { text.ptr, len > 0 && text.ptr[len - 1] == '\r' ? len - 1 : len };

        text = (tern_str){ text.ptr + next, text.len - next };
        if (line.len == 0)
            continue;
        if (count == max)
            return max + 1;
        ret[count++] = line;
    }
    return count;
}
