/* SPDX-License-Identifier: Apache-2.0 */
/* owed.c - MARK, a letter for what, then status, host and reply, a TAB between them. */
#include <string.h>

#include "delivery/owed.h"

static const char letters[] = { [OWED_DELIVERED] = 'd', [OWED_RELAYED] = 'r', [OWED_DELAY] = 'w' };

void owed_encode(const struct owed *owed, struct buf *out)
{
    buf_add_char(out, OWED_MARK);
    buf_add_char(out, letters[owed->what]);
    buf_add(out, owed->status);
    buf_add_char(out, '\t');
    buf_add(out, owed->host);
    buf_add_char(out, '\t');
    buf_add(out, owed->text);
}

static struct slice take(struct slice *rest)
{
    ptrdiff_t tab = slice_find(*rest, '\t');
    struct slice word = tab < 0 ? *rest : slice_head(*rest, (size_t)tab);

    *rest = tab < 0 ? slice_make(NULL, 0) : slice_from(*rest, (size_t)tab + 1);
    return word;
}

bool owed_decode(struct slice text, struct owed *ret)
{
    const char *letter = text.len >= 2 ? memchr(letters, text.ptr[1], sizeof(letters)) : NULL;

    if (letter == NULL || text.ptr[0] != OWED_MARK)
        return false;
    struct slice rest = slice_from(text, 2);
    *ret = (struct owed){ .what = (enum owed_for)(letter - letters) };
    ret->status = take(&rest);
    ret->host = take(&rest);
    ret->text = rest;
    return true;
}
