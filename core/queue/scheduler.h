/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler.h - which message is due when, and which loop may talk to which site.
 *
 * Two levels (DESIGN 8). *Scheduled*: a row of at most 200 octets a message, with a due time;
 * nothing is read from disk. *Ready*: parcels wait per site; a site grants slots (connections) to
 * loops, with the first parcel to carry; a loop with a free connection pulls up to 16 more. The
 * logic is pure given a clock (queue/plan.h, simulated with virtual time by tests); this is its
 * thread. All functions here are for any thread: they post to the scheduler's inbox.
 */
#ifndef TERN_QUEUE_SCHEDULER_H
#define TERN_QUEUE_SCHEDULER_H

#include "base/buf.h"
#include "base/list.h"
#include "base/slice.h"
#include "spool/spool.h"

#define SCHEDULER_PULL_MAX 16 /* parcels a pull brings at most */

struct scheduler;
/* a next hop: transport, MX set or fixed host, source; made by the scheduler, never freed while
 * used */
struct site;

/* Why a parcel came back without a slot. Only SITE_FAILED is an attempt. */
enum parcel_back {
    PARCEL_CARRIED,     /* it did not: it is to be carried */
    PARCEL_SITE_FAILED, /* the site could not be reached and backs off: defer with `text` */
    PARCEL_BUSY,        /* too many wait for the site; its message is woken when some have gone */
    PARCEL_STOPPED,     /* delivery was stopped or paused */
};

/* Recipients of one message on one way. Made by a loop in prepare(); the scheduler's from
 * scheduler_prepared() until it comes back by open() or parcels(). */
struct parcel {
    struct list link;
    struct spool_key key;
    struct slice site_name;   /* lives as long as the parcel */
    unsigned connections_max; /* of the site, as the present configuration has it */
    unsigned loop_index;      /* the loop that made it; any loop may carry it */
    enum parcel_back back;
    uint64_t ready_ms; /* the scheduler's: since when it waits */
    void *owner;       /* delivery's: message, recipients, hosts */
};

/* Called on the scheduler's thread: they post to the loop and return. */
struct scheduler_ops {
    /* A message is due: load it, route it, then scheduler_prepared() with its parcels, in the
     * end scheduler_done(). entry->held: its hold has expired, and is to be ended (due_ms is when
     * it began); scheduler_done() with `held` puts that off till due_ms. */
    void (*prepare)(void *arg, unsigned loop_index, const struct spool_entry *entry);
    /* A slot of the site is granted to the loop that made `first`: connect and carry it, then
     * scheduler_pull() or scheduler_slot_done(). */
    void (*open)(void *arg, unsigned loop_index, struct site *site, struct parcel *first);
    /*
     * slot not NULL: the one answer to scheduler_pull(); an empty list: nothing more, give the
     * slot back. slot NULL: parcels that nobody carries; parcel->back says why, `text` is for
     * people. Their loop is loop_index.
     */
    void (*parcels)(void *arg, unsigned loop_index, struct site *site, void *slot,
                    struct list *parcels, struct slice text);
};

struct scheduler_options {
    unsigned loops;
    uint64_t retry_min_ms, retry_max_ms;  /* 0: 5 min, 4 h */
    unsigned retry_factor_percent;        /* 0: 150 */
    unsigned retry_jitter_percent;        /* up and down; taken as given */
    uint64_t expire_ms, expire_bounce_ms; /* 0: 5 d, 2 d */
    uint64_t hold_expire_ms;              /* 0: 30 d */
    unsigned preparing_max;               /* messages being routed at once; 0: 500 */
    /* parcels waiting at sites in all; 0: 5000; beyond that nothing is prepared */
    unsigned ready_max;
    const struct scheduler_ops *ops;
    void *arg;
    bool stopped; /* deliver nothing (`delivery: off`, bench) */
};

struct scheduler *scheduler_new(const struct scheduler_options *options);
int scheduler_start(struct scheduler *s); /* its thread; rows may be added before */
/* Hands back all parcels, answers all pulls with none, joins the thread. Later posts are
 * dropped. */
void scheduler_stop(struct scheduler *s);
void scheduler_free(struct scheduler *s);
/*
 * Reload: all but loops, ops and arg. Waiting parcels go back, to be routed by the new
 * configuration. `stopped` answers pulls with none, too.
 */
void scheduler_set_options(struct scheduler *s, const struct scheduler_options *options);
/* Like `stopped`, until unpaused for every reason. */
enum scheduler_pause_reason { SCHEDULER_DRAINS = 1, SCHEDULER_UNDURABLE = 2 };
void scheduler_pause(struct scheduler *s, enum scheduler_pause_reason why, bool paused);

/* A message is durable in the spool (or was found there). Of a held one due_ms
 * is when its hold began. */
void scheduler_add(struct scheduler *s, const struct spool_entry *entry);
/* The same for many with one wake-up: gathered in a list of the caller's, then handed over (at least one). */
void scheduler_gather(struct list *orders, const struct spool_entry *entry);
void scheduler_add_all(struct scheduler *s, struct list *orders);
/* The answer to prepare(): the parcels of the message, maybe none; the list is emptied. */
void scheduler_prepared(struct scheduler *s, struct spool_key key, struct list *parcels);
/* What became of a message's attempt is durable: pending 0 = finished, else due again at due_ms
 * (wall). */
void scheduler_done(struct scheduler *s, struct spool_key key, uint32_t pending, uint32_t attempts,
                    uint64_t due_ms, bool held);

/* More for this slot. One answer by ops->parcels, as soon as there is something. */
void scheduler_pull(struct scheduler *s, struct site *site, void *slot, unsigned loop_index,
                    unsigned max);
/* An unanswered pull is answered with none now; one already answered is not touched. */
void scheduler_pull_cancel(struct scheduler *s, struct site *site, void *slot);
/* The slot's connection stands: the site works. Once a slot, before the first pull. */
void scheduler_slot_opened(struct scheduler *s, struct site *site);
/*
 * The slot is given back; `site` is not touched by the caller any more. opened:
 * scheduler_slot_opened() was called for it. failed: no connection could be made (again). The
 * site backs off if no other slot of it is held.
 */
void scheduler_slot_done(struct scheduler *s, struct site *site, bool opened, bool failed,
                         struct slice text);
const char *site_name(const struct site *site); /* while a slot of it is held */

/* When the next attempt of a message should be (wall), given its attempts so far; 0: it has
 * expired. Pure. */
uint64_t scheduler_retry_at(const struct scheduler *s, const struct spool_entry *entry,
                            uint64_t now_ms);

/* An operator. The spool was told first (queue/verbs.h). */
void scheduler_retry(struct scheduler *s, struct spool_key key); /* due now */
void scheduler_remove(struct scheduler *s, struct spool_key key);
void scheduler_hold(struct scheduler *s, struct spool_key key, bool held); /* false: due now */

struct scheduler_stats {
    uint64_t messages, held, preparing, ready, sites, slots;
    uint64_t row_octets; /* memory of all rows and indices */
};
/* as of the last batch */
void scheduler_get_stats(struct scheduler *s, struct scheduler_stats *ret);
/* Messages in order of arrival, for `tern queue list`: up to `max` behind `after` ({0, 0}: from
 * the first). Waits for the scheduler's answer: not for loops. Returns how many. Before start
 * and after stop: 0. */
unsigned scheduler_list(struct scheduler *s, struct spool_key after, struct spool_entry *out,
                        unsigned max);

#endif
