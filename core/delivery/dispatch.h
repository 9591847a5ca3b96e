/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch.h - the loop side of delivery: everything between "a message is due" and "its outcome
 * is durable".
 *
 * One struct dispatch per loop, all of them in one struct dispatch_set, which is the `arg` of the
 * scheduler's ops. The order of wiring:
 *
 *     set = dispatch_set_new(&options);
 *     scheduler_new() with .ops = dispatch_set_ops(), .arg = set
 *     dispatch_set_scheduler(set, scheduler);
 *     dispatch_new(set, index, loop, engine, dns) for each loop, before it runs
 *     spool_each(... scheduler_add ...), spool_start(), scheduler_start(), loops run
 *
 * and of ending: scheduler_pause(SCHEDULER_DRAINS); dispatch_drain() on each loop, wait for its
 * `done` or for the deadline; end the loops' threads; pool_free(); scheduler_stop();
 * spool_close(); dispatch_free() of all, before any engine, dns or loop is freed;
 * dispatch_set_free(); scheduler_free(). If pool_free() left a thread behind, do not free the
 * spool and the rest, but _exit.
 */
#ifndef TERN_DELIVERY_DISPATCH_H
#define TERN_DELIVERY_DISPATCH_H

#include <tern/module.h>

#include "dns/dns.h"
#include "module/engine.h"
#include "module/policy.h"
#include "module/pool.h"
#include "net/loop.h"
#include "queue/scheduler.h"
#include "spool/spool.h"

struct dispatch;
struct dispatch_set;

/* What the present configuration gives; `unref` and `ref` are for any thread. */
struct dispatch_generation {
    const struct policies *policies;
    bool soft_bounce;
    bool hold_bounce; /* a hold that expires ends in a notice to the sender, else in silence */
    /* Age at which a sender who asked for it hears of a delay (RFC 3461), and at which it is given
     * up (0: not said in the notice). */
    uint64_t notice_delay_ms, expire_ms;
    void *generation;
    void (*ref)(void *generation);
    void (*unref)(void *generation);
};

struct dispatch_set_options {
    unsigned loops;
    struct spool *spool;
    const char *hostname; /* copied */
    /* Addresses this server takes mail on, with ports: an MX that leads to one of them is
     * ourselves. A family of 4 or 6 with all octets 0 means every address of the machine.
     * Copied. */
    const tern_address *own;
    unsigned own_count;
    /* Fills *ret with the present generation, a reference taken (the set gives it back by
     * `unref`). Loop thread. */
    void (*generation)(void *arg, struct dispatch_generation *ret);
    void *arg;
    struct pool *pool;          /* for transports of modules */
    unsigned module_parallel;   /* deliveries of one such transport at once; 0: 4 */
    uint64_t module_timeout_ms; /* of one such delivery; 0: 5 min */
};

struct dispatch_set *dispatch_set_new(const struct dispatch_set_options *options);
void dispatch_set_scheduler(struct dispatch_set *set, struct scheduler *scheduler);
const struct scheduler_ops *dispatch_set_ops(void);
/* All its dispatches are gone. */
void dispatch_set_free(struct dispatch_set *set);

struct dispatch *dispatch_new(struct dispatch_set *set, unsigned index, struct loop *loop,
                              struct engine *engine, struct dns *dns);
/* Begins nothing more; calls `done` once no connection and no message is left. Loop thread. */
void dispatch_drain(struct dispatch *d, void (*done)(void *arg), void *arg);
/* Closes at once what is left; its messages stay queued. No loop of the set runs any more. */
void dispatch_free(struct dispatch *d);

struct dispatch_stats {
    uint64_t messages;  /* between prepare and durable outcome */
    uint64_t links;     /* slots held */
    uint64_t undurable; /* messages whose outcome could not be made durable yet */
};
void dispatch_set_stats(struct dispatch_set *set, struct dispatch_stats *ret); /* any thread */

#endif
