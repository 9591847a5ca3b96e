/* SPDX-License-Identifier: Apache-2.0 */
/* notice.h - the notice of one visit to a message, between outcome.c and notice.c. */
#ifndef TERN_DELIVERY_NOTICE_H
#define TERN_DELIVERY_NOTICE_H

#include "delivery/internal.h"

#define NOTICE_DELAY_SLACK_MS 200u /* clocks of queue and wall differ by the odd millisecond */

/* A notice to the sender on its way through the policy `generated`. */
struct notice;
/* Composes it of all failed recipients and enqueues it. Later, never from inside,
 * delivery_outcome_advance(). */
struct notice *delivery_notice_new(struct message *m);
void delivery_notice_free(struct notice *n);
bool delivery_notice_ready(const struct notice *n);
bool delivery_notice_ok(const struct notice *n); /* false: the policy did not take it */
/* Puts body and message into the job that holds the bounced outcomes; nothing if it is dropped. */
void delivery_notice_fill(const struct notice *n, struct spool_job *job);
void delivery_notice_stored(const struct notice *n, const struct message *m);
/* Whether the sender is to be told what became of this recipient. */
bool delivery_notice_wanted(const struct message *m, const struct delivery_rcpt *r);
/* When the sender is to hear that this recipient is delayed; 0: never. Wall clock. */
uint64_t delivery_notice_delay_at(const struct message *m, const struct delivery_rcpt *r);

#endif
