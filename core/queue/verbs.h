/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs.h - what an operator does to a queued message: durable first, then scheduled.
 *
 * Waits for the disk: for the control thread, not for loops.
 */
#ifndef TERN_QUEUE_VERBS_H
#define TERN_QUEUE_VERBS_H

#include "queue/scheduler.h"
#include "spool/spool.h"

enum queue_verb { QUEUE_RETRY, QUEUE_HOLD, QUEUE_RELEASE, QUEUE_DELETE };

/*
 * 0; -ENOENT: no such message is live; -EALREADY: it is held (hold, retry) or not held
 * (release); else the spool's error. A delivery under way is not stopped: a recipient it reaches
 * has the mail.
 */
int queue_verb(struct spool *spool, struct scheduler *scheduler, enum queue_verb verb,
               struct spool_key key);

#endif
