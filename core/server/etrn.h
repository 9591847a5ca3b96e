/* SPDX-License-Identifier: Apache-2.0 */
/* etrn.h - makes due what waits in the queue for one domain (ETRN, RFC 1985). */
#ifndef TERN_SERVER_ETRN_H
#define TERN_SERVER_ETRN_H

#include "server/serve.h"

#define ETRN_GAP_MS 5000u /* one after another, and none sooner after the last began */

/*
 * Looks through the queue on a thread of the pool, later. 0; -EBUSY: one is under way or was just now;
 * -EAGAIN: the pool is full. `client` is for the log. Any thread.
 */
int etrn_start(struct serve *serve, struct slice client, struct slice domain, bool or_below);

#endif
