/* SPDX-License-Identifier: Apache-2.0 */
/* held.h - who holds a message since hook `deliver`, and why, as it stands in the queue: step, TAB, reason. Pure. */
#ifndef TERN_DELIVERY_HELD_H
#define TERN_DELIVERY_HELD_H

#include "base/slice.h"
#include "state/envelope.h"

struct held {
    struct slice step, reason;
};

/* `text` is spool_loaded.held_text; without one it is what the envelope says, since it was taken. */
static inline struct held held_of(struct slice text, const struct envelope *e)
{
    ptrdiff_t tab = slice_find(text, '\t');

    if (tab < 0)
        return (struct held){ e->hold_step, e->hold_reason };
    return (struct held){ slice_head(text, (size_t)tab), slice_from(text, (size_t)tab + 1) };
}

#endif
