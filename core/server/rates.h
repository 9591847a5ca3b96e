/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rates.h - how often a client network may do something: connect, begin a message, name a recipient.
 *
 * One table per process over all loops, before any hook. Any thread. A network is an address under the
 * masks of `limits:`. Nothing is kept of a network that has been quiet for the length of its rate.
 */
#ifndef TERN_SERVER_RATES_H
#define TERN_SERVER_RATES_H

#include <stdbool.h>

#include <tern/module.h>

#define RATES_NETWORKS_MAX 200000 /* about 20 MB; then all is forgotten and counted anew */

enum rate_kind { RATE_CONNECTIONS, RATE_MESSAGES, RATE_RECIPIENTS };

struct rates;

struct rates *rates_new(void);
void rates_free(struct rates *rates);
/*
 * Counts one more, unless it is one too many: of `count` in `per_ms`, all at once or spread (a bucket that
 * refills steadily). A rate with count 0 is none. `network` has been masked. `now_us` never goes back.
 */
bool rates_take(struct rates *rates, enum rate_kind kind, const tern_address *network, struct tern_rate rate,
                uint64_t now_us);
unsigned rates_count(struct rates *rates);

/* The address under its mask, without port: what limits count by. */
tern_address rates_network(const tern_address *address, unsigned ipv4_mask, unsigned ipv6_mask);

#endif
