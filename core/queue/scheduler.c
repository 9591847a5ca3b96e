/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler.c - the thread around plan.c.
 *
 * Every function posts an order; the thread takes all that wait at once, carries them out in the
 * order they came, and then prepares what is due. It keeps its own time (monotonic), so that a
 * wall clock that is set delays nothing and hurries nothing; wall times are converted on the way
 * in and out.
 */
#include "queue/scheduler.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/inbox.h"
#include "base/mem.h"
#include "queue/plan.h"

#define SLEEP_MS_MAX 60000

enum order_kind {
    ORDER_ADD,
    ORDER_PREPARED,
    ORDER_DONE,
    ORDER_PULL,
    ORDER_PULL_CANCEL,
    ORDER_OPENED,
    ORDER_SLOT_DONE,
    ORDER_RETRY,
    ORDER_REMOVE,
    ORDER_HOLD,
    ORDER_PAUSE,
    ORDER_OPTIONS,
    ORDER_LIST,
};

struct listing {
    struct spool_key after;
    struct spool_entry *out;
    unsigned max, count;
    bool answered;
    pthread_cond_t done;
};

struct order {
    struct list link;
    enum order_kind kind;
    union {
        struct spool_entry entry;
        struct {
            struct spool_key key;
            struct list parcels;
        } prepared;
        struct {
            struct spool_key key;
            uint64_t due_ms;
            uint32_t pending, attempts;
            bool held;
        } done;
        struct {
            struct site *site;
            void *slot;
            char *text;
            unsigned loop_index, max;
            bool opened, failed;
        } slot;
        struct {
            struct spool_key key;
            unsigned why;
            bool on;
        } verb;
        struct scheduler_options *options;
        struct listing *listing;
    };
};

/* The numbers of scheduler_retry_at(), which any thread asks for while a reload changes them. */
struct shared_retry {
    _Atomic uint64_t min_ms, max_ms, expire_ms, expire_bounce_ms;
    _Atomic unsigned factor_percent, jitter_percent;
};

struct scheduler {
    struct inbox inbox;
    struct queue_plan plan; /* the thread's, once it runs */
    struct shared_retry retry;
    pthread_t thread;
    pthread_mutex_t lock; /* over `running` and the answers to listings */
    bool running;
    _Atomic bool stopping;
    struct {
        _Atomic uint64_t messages, held, preparing, ready, sites, slots, row_octets;
    } stats;
};

static void share_retry(struct scheduler *s)
{
    const struct scheduler_options *o = &s->plan.options;

    atomic_store(&s->retry.min_ms, o->retry_min_ms);
    atomic_store(&s->retry.max_ms, o->retry_max_ms);
    atomic_store(&s->retry.expire_ms, o->expire_ms);
    atomic_store(&s->retry.expire_bounce_ms, o->expire_bounce_ms);
    atomic_store(&s->retry.factor_percent, o->retry_factor_percent);
    atomic_store(&s->retry.jitter_percent, o->retry_jitter_percent);
}

static void publish(struct scheduler *s)
{
    const struct queue_plan *p = &s->plan;

    atomic_store_explicit(&s->stats.messages, p->rows.count, memory_order_relaxed);
    atomic_store_explicit(&s->stats.held, p->held, memory_order_relaxed);
    atomic_store_explicit(&s->stats.preparing, p->preparing, memory_order_relaxed);
    atomic_store_explicit(&s->stats.ready, p->ready, memory_order_relaxed);
    atomic_store_explicit(&s->stats.sites, p->site_count, memory_order_relaxed);
    atomic_store_explicit(&s->stats.slots, p->slot_count, memory_order_relaxed);
    atomic_store_explicit(&s->stats.row_octets, queue_rows_octets(&p->rows), memory_order_relaxed);
}

struct scheduler *scheduler_new(const struct scheduler_options *options)
{
    struct scheduler *s = mem_zalloc(sizeof(*s));

    assert(options->ops != NULL);
    inbox_init(&s->inbox);
    (void)pthread_mutex_init(&s->lock, NULL);
    queue_plan_init(&s->plan, options);
    share_retry(s);
    return s;
}

static void order_free(struct order *order)
{
    switch (order->kind) {
    case ORDER_SLOT_DONE: free(order->slot.text); break;
    case ORDER_OPTIONS: free(order->options); break;
    default: break;
    }
    free(order);
}

static void answer_listing(struct scheduler *s, struct listing *listing)
{
    listing->count = queue_plan_list(&s->plan, listing->after, listing->out, listing->max);
    (void)pthread_mutex_lock(&s->lock);
    listing->answered = true;
    (void)pthread_cond_signal(&listing->done);
    (void)pthread_mutex_unlock(&s->lock);
}

static void carry_out_site(const struct order *o, uint64_t now_ms)
{
    struct site *site = o->slot.site;

    switch (o->kind) {
    case ORDER_PULL:
        queue_site_pull(site, o->slot.slot, o->slot.loop_index, o->slot.max, now_ms);
        break;
    case ORDER_PULL_CANCEL: queue_site_pull_cancel(site, o->slot.slot); break;
    case ORDER_OPENED: queue_site_opened(site, now_ms); break;
    default:
        queue_site_slot_done(site, o->slot.opened, o->slot.failed, slice_cstr(o->slot.text),
                             now_ms);
        break;
    }
}

static void carry_out(struct scheduler *s, struct order *o, uint64_t now_ms)
{
    struct queue_plan *p = &s->plan;

    switch (o->kind) {
    case ORDER_ADD: queue_plan_add(p, &o->entry, now_ms); break;
    case ORDER_PREPARED:
        queue_plan_prepared(p, o->prepared.key, &o->prepared.parcels, now_ms);
        break;
    case ORDER_DONE:
        queue_plan_done(p, o->done.key, o->done.pending, o->done.attempts, o->done.due_ms,
                        o->done.held, now_ms);
        break;
    case ORDER_PULL:
    case ORDER_PULL_CANCEL:
    case ORDER_OPENED:
    case ORDER_SLOT_DONE: carry_out_site(o, now_ms); break;
    case ORDER_RETRY: queue_plan_retry(p, o->verb.key, now_ms); break;
    case ORDER_REMOVE: queue_plan_remove(p, o->verb.key); break;
    case ORDER_HOLD: queue_plan_hold(p, o->verb.key, o->verb.on, now_ms); break;
    case ORDER_PAUSE: queue_plan_pause(p, o->verb.why, o->verb.on, now_ms); break;
    case ORDER_OPTIONS:
        queue_plan_set_options(p, o->options, now_ms);
        share_retry(s);
        break;
    case ORDER_LIST: answer_listing(s, o->listing); break;
    }
    order_free(o);
}

static int sleep_ms(const struct queue_plan *p, uint64_t now_ms)
{
    uint64_t next_ms = queue_plan_next_ms(p, now_ms);

    if (next_ms == UINT64_MAX || next_ms - now_ms > SLEEP_MS_MAX)
        return SLEEP_MS_MAX;
    return (int)(next_ms - now_ms);
}

static void *run(void *arg)
{
    struct scheduler *s = arg;
    struct list orders;
    struct list *link;

    (void)pthread_setname_np(pthread_self(), "tern-scheduler");
    list_init(&orders);
    for (bool last = false; !last;) {
        last = atomic_load(&s->stopping);
        uint64_t now_ms = clock_now_ms();
        (void)inbox_wait(&s->inbox, &orders, sleep_ms(&s->plan, now_ms));
        now_ms = clock_now_ms();
        s->plan.wall_offset_ms = (int64_t)clock_wall_ms() - (int64_t)now_ms;
        while ((link = list_pop(&orders)) != NULL)
            carry_out(s, list_entry(link, struct order, link), now_ms);
        queue_plan_run(&s->plan, now_ms);
        publish(s);
    }
    queue_plan_pause(&s->plan, SCHEDULER_DRAINS, true, clock_now_ms());
    return NULL;
}

int scheduler_start(struct scheduler *s)
{
    (void)pthread_mutex_lock(&s->lock);
    int r = pthread_create(&s->thread, NULL, run, s);
    s->running = r == 0;
    (void)pthread_mutex_unlock(&s->lock);
    return -r;
}

void scheduler_stop(struct scheduler *s)
{
    (void)pthread_mutex_lock(&s->lock);
    bool was_running = s->running;
    s->running = false; /* no listing is posted from now on */
    (void)pthread_mutex_unlock(&s->lock);
    if (!was_running)
        return;
    atomic_store(&s->stopping, true);
    inbox_close(&s->inbox);
    (void)pthread_join(s->thread, NULL);
    publish(s);
}

void scheduler_free(struct scheduler *s)
{
    struct list orders;
    struct list *link;

    scheduler_stop(s);
    list_init(&orders);
    (void)inbox_take(&s->inbox, &orders);
    while ((link = list_pop(&orders)) != NULL)
        order_free(list_entry(link, struct order, link));
    queue_plan_fini(&s->plan);
    inbox_fini(&s->inbox);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- posting ---- */

static struct order *order_new(enum order_kind kind)
{
    struct order *order = mem_alloc(sizeof(*order));

    order->kind = kind;
    return order;
}

static void post(struct scheduler *s, struct order *order)
{
    (void)inbox_put(&s->inbox, &order->link);
}

void scheduler_set_options(struct scheduler *s, const struct scheduler_options *options)
{
    struct order *order = order_new(ORDER_OPTIONS);

    order->options = mem_alloc(sizeof(*options));
    *order->options = *options;
    post(s, order);
}

static void post_verb(struct scheduler *s, enum order_kind kind, struct spool_key key, bool on)
{
    struct order *order = order_new(kind);

    order->verb.key = key;
    order->verb.on = on;
    post(s, order);
}

void scheduler_pause(struct scheduler *s, enum scheduler_pause_reason why, bool paused)
{
    struct order *order = order_new(ORDER_PAUSE);

    order->verb.why = why;
    order->verb.on = paused;
    post(s, order);
}

void scheduler_retry(struct scheduler *s, struct spool_key key)
{
    post_verb(s, ORDER_RETRY, key, true);
}

void scheduler_remove(struct scheduler *s, struct spool_key key)
{
    post_verb(s, ORDER_REMOVE, key, true);
}

void scheduler_hold(struct scheduler *s, struct spool_key key, bool held)
{
    post_verb(s, ORDER_HOLD, key, held);
}

void scheduler_add(struct scheduler *s, const struct spool_entry *entry)
{
    struct list orders;

    list_init(&orders);
    scheduler_gather(&orders, entry);
    scheduler_add_all(s, &orders);
}

void scheduler_gather(struct list *orders, const struct spool_entry *entry)
{
    struct order *order = order_new(ORDER_ADD);

    order->entry = *entry;
    list_push(orders, &order->link);
}

void scheduler_add_all(struct scheduler *s, struct list *orders)
{
    (void)inbox_put_all(&s->inbox, orders);
}

void scheduler_prepared(struct scheduler *s, struct spool_key key, struct list *parcels)
{
    struct order *order = order_new(ORDER_PREPARED);

    order->prepared.key = key;
    list_init(&order->prepared.parcels);
    list_splice(&order->prepared.parcels, parcels);
    post(s, order);
}

void scheduler_done(struct scheduler *s, struct spool_key key, uint32_t pending, uint32_t attempts,
                    uint64_t due_ms, bool held)
{
    struct order *order = order_new(ORDER_DONE);

    order->done.key = key;
    order->done.pending = pending;
    order->done.attempts = attempts;
    order->done.due_ms = due_ms;
    order->done.held = held;
    post(s, order);
}

static struct order *slot_order(enum order_kind kind, struct site *site, void *slot)
{
    struct order *order = order_new(kind);

    order->slot.site = site;
    order->slot.slot = slot;
    order->slot.text = NULL;
    return order;
}

void scheduler_pull(struct scheduler *s, struct site *site, void *slot, unsigned loop_index,
                    unsigned max)
{
    struct order *order = slot_order(ORDER_PULL, site, slot);

    order->slot.loop_index = loop_index;
    order->slot.max = max;
    post(s, order);
}

void scheduler_pull_cancel(struct scheduler *s, struct site *site, void *slot)
{
    post(s, slot_order(ORDER_PULL_CANCEL, site, slot));
}

void scheduler_slot_opened(struct scheduler *s, struct site *site)
{
    post(s, slot_order(ORDER_OPENED, site, NULL));
}

void scheduler_slot_done(struct scheduler *s, struct site *site, bool opened, bool failed,
                         struct slice text)
{
    struct order *order = slot_order(ORDER_SLOT_DONE, site, NULL);

    order->slot.opened = opened;
    order->slot.failed = failed;
    if (failed)
        order->slot.text =
            mem_dup(text.ptr, text.len < SITE_ERROR_OCTETS ? text.len : SITE_ERROR_OCTETS - 1);
    post(s, order);
}

const char *site_name(const struct site *site)
{
    return site->name;
}

/* ---- asking ---- */

uint64_t scheduler_retry_at(const struct scheduler *s, const struct spool_entry *entry,
                            uint64_t now_ms)
{
    const struct queue_retry retry = {
        .min_ms = atomic_load(&s->retry.min_ms),
        .max_ms = atomic_load(&s->retry.max_ms),
        .expire_ms = atomic_load(&s->retry.expire_ms),
        .expire_bounce_ms = atomic_load(&s->retry.expire_bounce_ms),
        .factor_percent = atomic_load(&s->retry.factor_percent),
        .jitter_percent = atomic_load(&s->retry.jitter_percent),
    };

    return queue_retry_at(&retry, entry, now_ms);
}

void scheduler_get_stats(struct scheduler *s, struct scheduler_stats *ret)
{
    ret->messages = atomic_load_explicit(&s->stats.messages, memory_order_relaxed);
    ret->held = atomic_load_explicit(&s->stats.held, memory_order_relaxed);
    ret->preparing = atomic_load_explicit(&s->stats.preparing, memory_order_relaxed);
    ret->ready = atomic_load_explicit(&s->stats.ready, memory_order_relaxed);
    ret->sites = atomic_load_explicit(&s->stats.sites, memory_order_relaxed);
    ret->slots = atomic_load_explicit(&s->stats.slots, memory_order_relaxed);
    ret->row_octets = atomic_load_explicit(&s->stats.row_octets, memory_order_relaxed);
}

unsigned scheduler_list(struct scheduler *s, struct spool_key after, struct spool_entry *out,
                        unsigned max)
{
    struct listing listing = { .after = after, .out = out, .max = max };

    (void)pthread_cond_init(&listing.done, NULL);
    (void)pthread_mutex_lock(&s->lock);
    if (s->running) {
        struct order *order = order_new(ORDER_LIST);
        order->listing = &listing;
        post(s, order);
        while (!listing.answered)
            (void)pthread_cond_wait(&listing.done, &s->lock);
    }
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_cond_destroy(&listing.done);
    return listing.count;
}
