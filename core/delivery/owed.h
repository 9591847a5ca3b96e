/* SPDX-License-Identifier: Apache-2.0 */
/*
 * owed.h - a recipient whose sender is still owed a report that he asked for (RFC 3461: NOTIFY=SUCCESS, NOTIFY=DELAY),
 * as it stands in the queue.
 *
 * On disk he is still pending, so that the message stays; his text (struct spool_rcpt_change) begins with
 * OWED_MARK, which no reply does, and says what the report has to. For one who has the mail the next visit makes the
 * report and does not deliver again. One who has not is tried like any other; if that does not end his waiting the
 * sender hears of the delay then. Pure.
 */
#ifndef TERN_DELIVERY_OWED_H
#define TERN_DELIVERY_OWED_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

#define OWED_MARK '\006'

enum owed_for {
    OWED_DELIVERED, /* it is in the mailbox */
    OWED_RELAYED,   /* handed to a server that will not tell */
    OWED_DELAY,     /* he does not have it yet */
};

struct owed {
    enum owed_for what;
    struct slice status; /* "2.0.0" */
    struct slice host;   /* who said so; empty: ourselves */
    struct slice text;   /* the reply */
};

/* Appends to `out`. What does not fit a text of the queue is cut from the end, the mark never is. */
void owed_encode(const struct owed *owed, struct buf *out);
/* False: `text` is a reply like any other. Slices point into `text`; what was cut is empty. */
bool owed_decode(struct slice text, struct owed *ret);

#endif
