/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler.h - which message is due when, and which loop may talk to which site.
 *
 * Two levels (DESIGN 8). *Scheduled*: a row of at most 200 octets a message, with a due time; nothing
 * is read from disk. *Ready*: parcels wait per site; a site grants slots (connections) to loops, a loop with a free
 * connection pulls up to 16 parcels. The logic is pure given a clock (queue/plan.h, simulated with virtual time
 * by tests); this is its thread. All functions here are for any thread: they post to the scheduler's inbox.
 */
#ifndef TERN_QUEUE_SCHEDULER_H
#define TERN_QUEUE_SCHEDULER_H

#include "base/buf.h"
#include "base/list.h"
#include "base/slice.h"
#include "spool/spool.h"

struct scheduler;
struct site; /* a next hop: transport, MX set or fixed host, source; made by the scheduler, never freed while used */

/* Recipients of one message on one way. Made by a loop in prepare(), lives until scheduler_parcel_done(). */
struct parcel {
    struct list link;
    struct spool_key key;
    unsigned loop_index; /* the loop that made it; any loop may carry it */
    void *owner;         /* delivery's: message, recipients, hosts */
};

struct scheduler_ops {
    /* A message is due: load it, route it, hand its parcels to scheduler_ready(), then scheduler_prepared(). */
    void (*prepare)(void *arg, unsigned loop_index, const struct spool_entry *entry);
    /* A slot of the site is granted to the loop: connect, then scheduler_pull(). */
    void (*open)(void *arg, unsigned loop_index, struct site *site);
    /* The answer of scheduler_pull(): parcels (list of struct parcel, maybe empty: nothing more, close or wait). */
    void (*parcels)(void *arg, unsigned loop_index, struct site *site, void *slot, struct list *parcels);
};

struct scheduler_options {
    unsigned loops;
    uint64_t retry_min_ms, retry_max_ms; /* 5 min, 4 h */
    unsigned retry_factor_percent;       /* 150 */
    unsigned retry_jitter_percent;       /* 20 */
    uint64_t expire_ms, expire_bounce_ms; /* 5 d, 2 d */
    unsigned preparing_max;              /* messages being routed at once: 500 */
    unsigned ready_max;                  /* parcels waiting at sites in all: 5000; beyond that nothing is prepared */
    const struct scheduler_ops *ops;
    void *arg;
    bool stopped; /* deliver nothing (`delivery: off`, bench) */
};

struct scheduler *scheduler_new(const struct scheduler_options *options);
int scheduler_start(struct scheduler *s); /* its thread */
void scheduler_stop(struct scheduler *s); /* grants nothing more, joins the thread */
void scheduler_free(struct scheduler *s);
void scheduler_set_options(struct scheduler *s, const struct scheduler_options *options); /* reload */

/* A message is durable in the spool (or was found there). Held ones are known, never due. */
void scheduler_add(struct scheduler *s, const struct spool_entry *entry);
/* Delivery of the due recipients of `key` has begun: this many parcels were handed in. */
void scheduler_prepared(struct scheduler *s, struct spool_key key, unsigned parcels);
void scheduler_ready(struct scheduler *s, struct slice site_name, unsigned connections_max, struct parcel *parcel);
void scheduler_pull(struct scheduler *s, struct site *site, void *slot, unsigned loop_index, unsigned max);
/* The slot is given back. failed: could not connect or was refused: the site backs off and its waiting parcels
 * are given to `ops->parcels` of their loop with slot NULL, to be deferred with `text`. */
void scheduler_slot_done(struct scheduler *s, struct site *site, bool failed, struct slice text);
/* What became of a message's attempt is durable: pending 0 = finished, else due again at due_ms. */
void scheduler_done(struct scheduler *s, struct spool_key key, uint32_t pending, uint32_t attempts,
                    uint64_t due_ms, bool held);
/* When the next attempt of a message should be, given its attempts so far; 0: it has expired. Pure, any thread. */
uint64_t scheduler_retry_at(const struct scheduler *s, const struct spool_entry *entry, uint64_t now_ms);
const char *site_name(const struct site *site);
/* An operator: due now. */
void scheduler_retry(struct scheduler *s, struct spool_key key);
void scheduler_remove(struct scheduler *s, struct spool_key key);
void scheduler_hold(struct scheduler *s, struct spool_key key, bool held);

struct scheduler_stats {
    uint64_t messages, held, preparing, ready, sites, slots;
};
void scheduler_get_stats(struct scheduler *s, struct scheduler_stats *ret);
/* Keys of messages in order of arrival, for `tern queue list`: up to `max` after `after`. Blocks the caller until the
 * scheduler has answered; not for loops. Returns how many. */
unsigned scheduler_list(struct scheduler *s, struct spool_key after, struct spool_entry *out, unsigned max);

#endif
