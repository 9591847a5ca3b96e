/* SPDX-License-Identifier: Apache-2.0 */
/*
 * owed.h - a recipient who has the mail, but whose sender is still owed the report that he asked for
 * (RFC 3461: NOTIFY=SUCCESS), as it stands in the queue.
 *
 * On disk he is still pending, so that the message stays; his text (struct spool_rcpt_change) begins with
 * OWED_MARK, which no reply does, and says what the report has to. The next visit makes the report
 * and does not deliver again. Pure.
 */
#ifndef TERN_DELIVERY_OWED_H
#define TERN_DELIVERY_OWED_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

#define OWED_MARK '\006'

struct owed {
    bool relayed;        /* handed to a server that will not tell; else it is in the mailbox */
    struct slice status; /* "2.0.0" */
    struct slice host;   /* who took it; empty: ourselves */
    struct slice text;   /* the reply */
};

/* Appends to `out`. What does not fit a text of the queue is cut from the end, the mark never is. */
void owed_encode(const struct owed *owed, struct buf *out);
/* False: `text` is a reply like any other. Slices point into `text`; what was cut is empty. */
bool owed_decode(struct slice text, struct owed *ret);

#endif
