/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_queue_sim.c - the scheduler's logic in virtual time: tens of thousands of messages,
 * healthy, slow, flapping and dead sites, refusals, operators and restarts, in random
 * interleavings.
 *
 * What must hold: every message ends (delivered or expired), whatever happened: no wake-up is
 * lost; no bound is passed; a message is with one loop at a time; a parcel comes back exactly
 * once.
 */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "queue/plan.h"

#define MESSAGES 52000
#define SITES    40
#define LOOPS    3
#define DAY_MS   86400000u

enum what { DO_PREPARED, DO_CONNECT, DO_CARRIED, DO_IDLE, DO_DONE, DO_ADD, DO_VERB };

struct event {
    uint64_t at_ms, order;
    enum what what;
    unsigned message;
    struct slot *slot;
};

struct sim_message {
    uint32_t attempts;
    unsigned pending, out; /* recipients; parcels not yet home */
    uint64_t due_ms, arrival_ms;
    bool live, held, with_loop, deferred, busy;
    uint32_t visits;
};

struct slot {
    struct list link;
    struct site *site;
    unsigned loop_index, site_number;
    struct list parcels;
    bool opened, pulling;
    unsigned idle_events;
};

static struct queue_plan plan;
static struct sim_message messages[MESSAGES];
static struct list slots;
static struct event *heap;
static unsigned heap_count, heap_size;
static uint64_t now_ms, order, seed, handled;
static unsigned live, delivered, expired, preparing_now, turned_away, out_of_tokens;
static struct queue_retry retry;

static uint64_t rnd(uint64_t below)
{
    seed = queue_mix(seed);
    return seed % below;
}

/* ---- the agenda ---- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void swap(unsigned a, unsigned b)
{
    struct event e = heap[a];
    heap[a] = heap[b];
    heap[b] = e;
}

static void later(uint64_t ms, enum what what, unsigned message, struct slot *slot)
{
    if (heap_count == heap_size) {
        heap_size = heap_size > 0 ? heap_size * 2 : 1024;
        heap = mem_realloc(heap, heap_size * sizeof(heap[0]));
    }
    heap[heap_count] = (struct event){ now_ms + ms, order++, what, message, slot };
    for (unsigned i = heap_count++; i > 0 && before(&heap[i], &heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(i, (i - 1) / 2);
}

static struct event next_event(void)
{
    struct event first = heap[0];

    heap[0] = heap[--heap_count];
    for (unsigned i = 0;;) {
        unsigned c = 2 * i + 1;
        if (c >= heap_count)
            break;
        if (c + 1 < heap_count && before(&heap[c + 1], &heap[c]))
            c++;
        if (!before(&heap[c], &heap[i]))
            break;
        swap(c, i);
        i = c;
    }
    return first;
}

/* ---- the world ---- */

static struct spool_key key_of(unsigned n)
{
    return (struct spool_key){ 100 + n / 2, (uint16_t)(1 + n % 2) };
}

static unsigned number_of(struct spool_key key)
{
    return (unsigned)(key.txn - 100) * 2 + key.group - 1;
}

/* 0 to 4 are dead, 5 to 9 flap by quarters of an hour, 10 is slow, 11 takes two connections at
 * most. */
static bool site_is_up(unsigned site)
{
    if (site < 5)
        return false;
    if (site < 10)
        return (now_ms / 900000 + site) % 2 == 0;
    return true;
}

static unsigned site_number(struct slice name)
{
    return (unsigned)strtoul(name.ptr + 1, NULL, 10);
}

static unsigned slots_open(unsigned site)
{
    unsigned n = 0;

    list_each (link, &slots) {
        const struct slot *slot = list_entry(link, struct slot, link);
        n += slot->site_number == site && slot->opened;
    }
    return n;
}

static struct spool_entry entry_of(unsigned n)
{
    const struct sim_message *m = &messages[n];

    return (struct spool_entry){ .key = key_of(n),
                                 .arrival_ms = m->arrival_ms,
                                 .due_ms = m->due_ms,
                                 .attempts = m->attempts,
                                 .rcpt_count = 3,
                                 .pending_count = m->pending,
                                 .held = m->held,
                                 .bounce = n % 16 == 0 };
}

static void on_prepare(void *arg, unsigned loop_index, const struct spool_entry *entry)
{
    struct sim_message *m = &messages[number_of(entry->key)];

    (void)arg;
    CU_ASSERT_FATAL(m->live && !m->with_loop && loop_index < LOOPS);
    m->with_loop = true;
    m->deferred = m->busy = false;
    m->visits++;
    preparing_now++;
    later(rnd(5), DO_PREPARED, number_of(entry->key), NULL);
}

static void on_open(void *arg, unsigned loop_index, struct site *site, struct parcel *first)
{
    struct slot *slot = mem_zalloc(sizeof(*slot));

    (void)arg;
    CU_ASSERT_FATAL(loop_index == first->loop_index);
    slot->site = site;
    slot->site_number = site_number(slice_cstr(site_name(site)));
    slot->loop_index = loop_index;
    list_init(&slot->parcels);
    list_push(&slot->parcels, &first->link);
    list_push(&slots, &slot->link);
    later(site_is_up(slot->site_number) ? rnd(50) : rnd(30000), DO_CONNECT, 0, slot);
}

const char *site_name(const struct site *site) /* that of scheduler.c, which is not linked here */
{
    return site->name;
}

static void home(struct parcel *parcel, bool was_tried)
{
    unsigned n = number_of(parcel->key);
    struct sim_message *m = &messages[n];

    CU_ASSERT_FATAL(m->out > 0);
    if (was_tried && rnd(10) > 0) {
        m->pending--;
        delivered++;
    } else if (was_tried) {
        m->deferred = true;
    }
    free(parcel);
    if (--m->out == 0)
        later(rnd(10), DO_DONE, n, NULL);
}

static void on_parcels(void *arg, unsigned loop_index, struct site *site, void *slot_,
                       struct list *parcels, struct slice text)
{
    struct slot *slot = slot_;
    struct list *at;

    (void)arg;
    (void)text;
    if (slot != NULL) {
        CU_ASSERT_FATAL(slot->pulling && slot->site == site && slot->loop_index == loop_index);
        slot->pulling = false;
        list_splice(&slot->parcels, parcels);
        later(slot->site_number == 10 ? 2000 : rnd(20), DO_CARRIED, 0, slot);
        return;
    }
    while ((at = list_pop(parcels)) != NULL) {
        struct parcel *parcel = list_entry(at, struct parcel, link);
        struct sim_message *m = &messages[number_of(parcel->key)];
        CU_ASSERT_FATAL(parcel->loop_index == loop_index);
        m->deferred |= parcel->back == PARCEL_SITE_FAILED;
        m->busy |= parcel->back == PARCEL_BUSY;
        turned_away += parcel->back == PARCEL_BUSY;
        out_of_tokens += plan.busy_tokens == 0;
        home(parcel, false);
    }
}

static const struct scheduler_ops ops = { .prepare = on_prepare,
                                          .open = on_open,
                                          .parcels = on_parcels };

/* ---- what the loops do ---- */

static void prepared(unsigned n)
{
    struct sim_message *m = &messages[n];
    struct list parcels;
    char name[16];

    preparing_now--;
    list_init(&parcels);
    m->out = m->pending;
    for (unsigned i = 0; i < m->pending; i++) {
        struct parcel *parcel = mem_zalloc(sizeof(*parcel) + sizeof(name));
        char *site = (char *)(parcel + 1);
        /* Each message keeps its sites; a tenth of all mail goes to one. */
        (void)snprintf(site, sizeof(name), "s%u",
                       n % 10 == 3 ? 20 : (unsigned)(queue_mix(n + 7 * i) % SITES));
        parcel->key = key_of(n);
        parcel->site_name = slice_cstr(site);
        parcel->connections_max = 1 + n % 5;
        parcel->loop_index = n % LOOPS;
        list_push(&parcels, &parcel->link);
    }
    if (m->out == 0)
        later(0, DO_DONE, n, NULL);
    queue_plan_prepared(&plan, key_of(n), &parcels, now_ms);
}

static void done(unsigned n)
{
    struct sim_message *m = &messages[n];
    const struct spool_entry entry = entry_of(n);
    uint64_t due_ms = queue_retry_at(&retry, &entry, now_ms);

    m->with_loop = false;
    if (m->deferred && due_ms == 0) {
        expired += m->pending;
        m->pending = 0;
    }
    m->attempts += m->deferred;
    m->due_ms = m->deferred ? due_ms : m->busy ? now_ms + 1800000 : now_ms;
    m->held = m->held && m->pending > 0;
    if (m->pending == 0) {
        m->live = false;
        live--;
    }
    queue_plan_done(&plan, key_of(n), m->pending, m->attempts, m->due_ms, m->held, now_ms);
}

static void slot_free(struct slot *slot, bool failed)
{
    bool opened = slot->opened;
    struct site *site = slot->site;

    list_remove(&slot->link);
    for (unsigned i = 0; i < heap_count; i++)
        if (heap[i].slot == slot)
            heap[i].slot = NULL;
    free(slot);
    queue_site_slot_done(site, opened, failed, SLICE("connection refused"), now_ms);
}

static void connected(struct slot *slot)
{
    struct list *at;

    if (site_is_up(slot->site_number) && !(slot->site_number == 11 && slots_open(11) >= 2)) {
        slot->opened = true;
        queue_site_opened(slot->site, now_ms);
        later(slot->site_number == 10 ? 2000 : rnd(20), DO_CARRIED, 0, slot);
        return;
    }
    while ((at = list_pop(&slot->parcels)) != NULL) {
        struct parcel *parcel = list_entry(at, struct parcel, link);
        messages[number_of(parcel->key)].deferred = true;
        home(parcel, false);
    }
    slot_free(slot, true);
}

static void carried(struct slot *slot)
{
    struct list *at = list_pop(&slot->parcels);

    if (at != NULL)
        home(list_entry(at, struct parcel, link), true);
    if (!list_empty(&slot->parcels)) {
        later(slot->site_number == 10 ? 2000 : rnd(20), DO_CARRIED, 0, slot);
        return;
    }
    if (at == NULL || !site_is_up(slot->site_number)) { /* answered with none, or lost */
        slot_free(slot, false);
        return;
    }
    slot->pulling = true;
    queue_site_pull(slot->site, slot, slot->loop_index, 1 + (unsigned)rnd(20), now_ms);
    if (slot->pulling) {
        slot->idle_events++;
        later(rnd(2) == 0 ? 0 : 5000, DO_IDLE, 0, slot);
    }
}

/* Hold and release, retry, of anyone at any time. */
static void verb(void)
{
    unsigned n = (unsigned)rnd(MESSAGES);
    struct sim_message *m = &messages[n];

    if (!m->live)
        return;
    if (m->held) {
        m->held = false;
        m->due_ms = now_ms;
        queue_plan_hold(&plan, key_of(n), false, now_ms);
    } else if (rnd(3) == 0) {
        m->held = true;
        queue_plan_hold(&plan, key_of(n), true, now_ms);
    } else {
        queue_plan_retry(&plan, key_of(n), now_ms);
    }
}

static void add(unsigned n)
{
    struct sim_message *m = &messages[n];

    *m = (struct sim_message){
        .pending = 1 + n % 3, .due_ms = now_ms, .arrival_ms = now_ms, .live = true
    };
    live++;
    const struct spool_entry entry = entry_of(n);
    queue_plan_add(&plan, &entry, now_ms);
}

static void handle(struct event e)
{
    switch (e.what) {
    case DO_PREPARED: prepared(e.message); break;
    case DO_CONNECT: connected(e.slot); break;
    case DO_CARRIED: carried(e.slot); break;
    case DO_IDLE: queue_site_pull_cancel(e.slot->site, e.slot); break;
    case DO_DONE: done(e.message); break;
    case DO_ADD: add(e.message); break;
    case DO_VERB: verb(); break;
    }
    handled++;
}

/* ---- a crash: what was with loops is as the spool has it ---- */

static void restart(void)
{
    unsigned kept = 0;

    queue_plan_pause(&plan, SCHEDULER_DRAINS, true, now_ms);
    while (!list_empty(&slots)) {
        struct slot *slot = list_entry(slots.next, struct slot, link);
        for (struct list *at; (at = list_pop(&slot->parcels)) != NULL;)
            free(list_entry(at, struct parcel, link));
        slot_free(slot, false);
    }
    for (unsigned i = 0; i < heap_count; i++)
        if (heap[i].what == DO_ADD || heap[i].what == DO_VERB)
            heap[kept++] = heap[i];
    heap_count = 0;
    for (unsigned i = 0; i < kept; i++) {
        struct event e = heap[i];
        uint64_t at_ms = e.at_ms;
        later(at_ms > now_ms ? at_ms - now_ms : 0, e.what, e.message, NULL);
    }
    struct scheduler_options options = plan.options;
    queue_plan_fini(&plan);
    queue_plan_init(&plan, &options);
    preparing_now = 0;
    for (unsigned n = 0; n < MESSAGES; n++) {
        struct sim_message *m = &messages[n];
        m->with_loop = false;
        m->out = 0;
        if (m->live && m->pending == 0) { /* its last outcome was durable */
            m->live = false;
            live--;
        }
        const struct spool_entry entry = entry_of(n);
        if (m->live)
            queue_plan_add(&plan, &entry, now_ms);
    }
}

static bool step(void)
{
    uint64_t due_ms;

    queue_plan_run(&plan, now_ms);
    due_ms = queue_plan_next_ms(&plan, now_ms);
    if (heap_count > 0 && heap[0].at_ms <= due_ms) {
        struct event e = next_event();
        now_ms = e.at_ms;
        if (e.slot != NULL || (e.what != DO_CONNECT && e.what != DO_CARRIED && e.what != DO_IDLE))
            handle(e);
        return true;
    }
    if (due_ms == UINT64_MAX)
        return false;
    now_ms = due_ms > now_ms ? due_ms : now_ms;
    return true;
}

static void simulate(uint64_t first_seed, bool restarts)
{
    struct scheduler_options options = { .loops = LOOPS,
                                         .preparing_max = 50,
                                         .ready_max = 400,
                                         .ops = &ops,
                                         .retry_jitter_percent = 20 };
    uint64_t steps = 0, held_rounds = 0;

    seed = first_seed;
    now_ms = DAY_MS;
    heap_count = 0;
    handled = live = delivered = expired = preparing_now = turned_away = out_of_tokens = 0;
    list_init(&slots);
    queue_plan_init(&plan, &options);
    retry = (struct queue_retry){
        plan.options.retry_min_ms,     plan.options.retry_max_ms,         plan.options.expire_ms,
        plan.options.expire_bounce_ms, plan.options.retry_factor_percent, 20
    };
    for (unsigned n = 0; n < MESSAGES; n++)
        later(n % 2 == 0 ? rnd(DAY_MS) : rnd(10000), DO_ADD, n, NULL); /* half of them in a burst */
    for (unsigned i = 0; i < 2000; i++)
        later(rnd(2 * DAY_MS), DO_VERB, 0, NULL);
    while (step() || plan.held > 0) {
        CU_ASSERT_FATAL(preparing_now <= options.preparing_max);
        if (++steps % 50000 == 0)
            queue_plan_check(&plan, now_ms);
        if (restarts && steps % 60000 == 0)
            restart();
        else if (restarts && steps % 7000 == 0)
            queue_plan_set_options(&plan, &options, now_ms); /* a reload */
        if (heap_count == 0 && plan.held > 0 && plan.rows.count == plan.held) {
            held_rounds++;
            for (unsigned n = 0; n < MESSAGES; n++) /* the operator lets go of all at last */
                if (messages[n].live && messages[n].held) {
                    messages[n].held = false;
                    queue_plan_hold(&plan, key_of(n), false, now_ms);
                }
        }
        CU_ASSERT_FATAL(steps < 50000000);
    }
    fprintf(stderr,
            "  seed %llu: %llu events, %u recipients delivered, %u expired, %u turned away, %.1f "
            "virtual days\n",
            (unsigned long long)first_seed, (unsigned long long)handled, delivered, expired,
            turned_away, (double)(now_ms - DAY_MS) / DAY_MS);
    queue_plan_check(&plan, now_ms);
    CU_ASSERT_EQUAL(live, 0);
    CU_ASSERT_EQUAL(plan.rows.count, 0);
    CU_ASSERT_EQUAL(plan.ready, 0);
    CU_ASSERT_EQUAL(plan.slot_count, 0);
    CU_ASSERT(delivered > MESSAGES);
    CU_ASSERT(expired > 0);
    CU_ASSERT(turned_away > 0 && out_of_tokens > 0);
    queue_plan_fini(&plan);
    free(heap);
    heap = NULL;
    heap_size = 0;
}

static void test_everything_ends(void)
{
    simulate(1, false);
}

static void test_everything_ends_with_restarts(void)
{
    simulate(2, true);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("queue simulation", NULL, NULL);

    CU_add_test(suite, "every message ends", test_everything_ends);
    CU_add_test(suite, "every message ends, with restarts", test_everything_ends_with_restarts);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
