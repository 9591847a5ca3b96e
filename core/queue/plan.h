/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h - the logic of the scheduler: no thread, no clock, no lock.
 *
 * Every function gets the time; what is to be done comes out as calls of struct scheduler_ops,
 * from inside the call. The thread of scheduler.c feeds it; tests feed it with virtual time.
 */
#ifndef TERN_QUEUE_PLAN_H
#define TERN_QUEUE_PLAN_H

#include "base/table.h"
#include "queue/rows.h"
#include "queue/scheduler.h"

/* When a message is tried again. */
struct queue_retry {
    uint64_t min_ms, max_ms, expire_ms, expire_bounce_ms;
    unsigned factor_percent, jitter_percent;
};
uint64_t queue_retry_at(const struct queue_retry *r, const struct spool_entry *entry,
                        uint64_t now_ms);
/* `ms` up to `percent` sooner or later, by a hash of `seed`. */
uint64_t queue_jitter(uint64_t ms, unsigned percent, uint64_t seed);
uint64_t queue_mix(uint64_t x);

/* A site is left alone so long after the first failure, and twice as long after each further one;
 * but not longer than retry_min_ms and retry_max_ms, or attempts would pass without trying. */
#define SITE_BACKOFF_MIN_MS  60000u
#define SITE_BACKOFF_MAX_MS  (30u * 60000u)
#define SITES_REMEMBERED_MAX 10000 /* sites without work of which a failure is remembered */
#define SITE_TURN_MS         1000  /* a parcel older than this goes before others */
#define SITE_ERROR_OCTETS    256
/* Messages per second that may be prepared in vain, for a site that turns them away. */
#define PLAN_BUSY_PER_S 500
/* A message is put off for so long at most, or for retry_max_ms with its jitter if that is more. */
#define PLAN_WAIT_MS_MAX (4 * 3600000u)

struct site {
    struct list link; /* in plan->busy while it has work, else in plan->remembered */
    bool is_remembered;
    struct queue_plan *plan;
    char *name;
    unsigned connections_max;
    unsigned limit;    /* slots it may have now: 1 after a failure, doubled by each success */
    unsigned slots;    /* granted and not given back */
    unsigned opening;  /* of these: not yet connected */
    unsigned fails;    /* in a row */
    uint64_t failed_ms, until_ms; /* backs off since then, until then */
    struct list waits; /* unanswered pulls */
    unsigned ready_count;
    uint32_t parked_first, parked_last; /* rows that were turned away */
    unsigned parked_count;
    char error[SITE_ERROR_OCTETS];
    struct list ready[]; /* parcels, by the loop that made them */
};

struct queue_plan {
    struct rows rows;
    struct scheduler_options options; /* with the defaults filled in */
    int64_t wall_offset_ms;           /* wall clock minus the plan's clock */
    struct table sites;
    struct list busy;
    struct list remembered; /* sites without work, the longest so first */
    unsigned remembered_count;
    unsigned site_count, slot_count, preparing, ready, held;
    unsigned next_loop;
    unsigned busy_tokens;
    uint64_t busy_filled_ms;
    uint64_t forgiven_ms; /* sites that failed before are tried without waiting */
    unsigned paused; /* enum scheduler_pause_reason, or'ed */
};

static inline bool queue_plan_idle(const struct queue_plan *p)
{
    return p->paused != 0 || p->options.stopped;
}

void queue_plan_init(struct queue_plan *p, const struct scheduler_options *options);
void queue_plan_fini(struct queue_plan *p); /* no slot is out, no parcel waits */
void queue_plan_set_options(struct queue_plan *p, const struct scheduler_options *options,
                            uint64_t now_ms);
void queue_plan_pause(struct queue_plan *p, unsigned why, bool paused, uint64_t now_ms);

void queue_plan_add(struct queue_plan *p, const struct spool_entry *entry, uint64_t now_ms);
void queue_plan_prepared(struct queue_plan *p, struct spool_key key, struct list *parcels,
                         uint64_t now_ms);
void queue_plan_done(struct queue_plan *p, struct spool_key key, uint32_t pending,
                     uint32_t attempts, uint64_t due_wall_ms, bool held, uint64_t now_ms);
void queue_plan_retry(struct queue_plan *p, struct spool_key key, uint64_t now_ms);
void queue_plan_remove(struct queue_plan *p, struct spool_key key);
void queue_plan_hold(struct queue_plan *p, struct spool_key key, bool held, uint64_t now_ms);
/* Prepares what is due, as far as the bounds allow. */
void queue_plan_run(struct queue_plan *p, uint64_t now_ms);
/* When run() has something to do though nothing else happens; UINT64_MAX: never. */
uint64_t queue_plan_next_ms(const struct queue_plan *p, uint64_t now_ms);
unsigned queue_plan_list(const struct queue_plan *p, struct spool_key after,
                         struct spool_entry *out, unsigned max);
/* Tests: asserts that every count is right and everything that waits has something to wait for. */
void queue_plan_check(const struct queue_plan *p, uint64_t now_ms);

/* ---- site.c ---- */

struct site *queue_site_get(struct queue_plan *p, struct slice name, unsigned connections_max);
/* Takes the parcel, or hands it back to its loop. Returns whether it was turned away as busy. */
/* serve() must follow */
bool queue_site_ready(struct site *site, struct parcel *parcel, uint64_t now_ms);
/* answers pulls, grants slots, wakes rows, may free it */
void queue_site_serve(struct site *site, uint64_t now_ms);
void queue_site_opened(struct site *site, uint64_t now_ms);
void queue_site_pull(struct site *site, void *slot, unsigned loop_index, unsigned max,
                     uint64_t now_ms);
void queue_site_pull_cancel(struct site *site, const void *slot);
void queue_site_slot_done(struct site *site, bool opened, bool failed, struct slice text,
                          uint64_t now_ms);
/* Hands all parcels back and wakes all rows; stop: answers pulls with none, too. */
void queue_site_empty(struct site *site, bool stop, uint64_t now_ms);
void queue_site_park(struct site *site, uint32_t row);
void queue_site_unpark(struct queue_plan *p, uint32_t row);
void queue_parcel_return(struct queue_plan *p, struct parcel *parcel, enum parcel_back back,
                         struct slice text);

#endif
