/* SPDX-License-Identifier: Apache-2.0 */
/* test_queue_plan.c - rows, retry times and the bounds of the scheduler's logic, each at the
 * bound and above. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>

#include "plan_recorder.h"

/* ---- retry ---- */

static void test_retry_table(void)
{
    static const struct {
        const char *name;
        uint32_t attempts;
        bool bounce;
        uint64_t age_ms, want_ms; /* from now; 0: expired */
    } cases[] = {
        { "first retry after 5 minutes", 0, false, 0, 5 * MINUTE },
        { "half as long again", 1, false, 0, 450000 },
        { "and again", 2, false, 0, 675000 },
        { "at most 4 hours", 30, false, 0, 4 * HOUR },
        { "four thousand million attempts are no loop", UINT32_MAX, false, 0, 4 * HOUR },
        { "the last try falls on the fifth day", 30, false, 5 * DAY - MINUTE, MINUTE },
        { "one ms before the end", 0, false, 5 * DAY - 1, 1 },
        { "expired", 0, false, 5 * DAY, 0 },
        { "long expired", 0, false, 50 * DAY, 0 },
        { "a bounce has two days", 30, true, 2 * DAY - MINUTE, MINUTE },
        { "and no more", 30, true, 2 * DAY, 0 },
    };
    const struct queue_retry retry = { .min_ms = 5 * MINUTE,
                                       .max_ms = 4 * HOUR,
                                       .expire_ms = 5 * DAY,
                                       .expire_bounce_ms = 2 * DAY,
                                       .factor_percent = 150,
                                       .jitter_percent = 0 };
    const uint64_t now_ms = 1800000000000u;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct spool_entry entry = { .key = key_of(1),
                                           .arrival_ms = now_ms - cases[i].age_ms,
                                           .attempts = cases[i].attempts,
                                           .bounce = cases[i].bounce };
        uint64_t got = queue_retry_at(&retry, &entry, now_ms);
        uint64_t want = cases[i].want_ms > 0 ? now_ms + cases[i].want_ms : 0;
        if (got != want)
            fprintf(stderr, "  case \"%s\": got %lld, want %llu\n", cases[i].name,
                    (long long)(got - now_ms), (unsigned long long)cases[i].want_ms);
        CU_ASSERT_EQUAL(got, want);
    }
}

static void test_jitter_stays_within(void)
{
    uint64_t low = UINT64_MAX, high = 0;

    for (uint64_t seed = 0; seed < 10000; seed++) {
        uint64_t ms = queue_jitter(300000, 20, seed);
        low = ms < low ? ms : low;
        high = ms > high ? ms : high;
    }
    CU_ASSERT(low >= 240000 && low < 242000);
    CU_ASSERT(high <= 360000 && high > 358000);
    CU_ASSERT_EQUAL(queue_jitter(0, 20, 7), 0);
}

/* ---- rows ---- */

static void test_rows_against_a_model(void)
{
    enum { KEYS = 3000, STEPS = 60000 };
    struct rows rows;
    static uint64_t due[KEYS]; /* 0: absent */
    uint64_t seed = 42;

    queue_rows_init(&rows);
    for (unsigned step = 0; step < STEPS; step++) {
        seed = queue_mix(seed);
        unsigned n = (unsigned)(seed % KEYS);
        uint32_t at = queue_rows_find(&rows, key_of(n));
        CU_ASSERT_EQUAL(at == ROW_NONE, due[n] == 0);
        if (at == ROW_NONE) {
            at = queue_rows_add(&rows, key_of(n));
            due[n] = 1 + (seed >> 20) % 1000;
        } else if (seed >> 60 < 8) {
            queue_rows_remove(&rows, at);
            due[n] = 0;
            continue;
        } else {
            due[n] = 1 + (seed >> 20) % 1000;
        }
        queue_row(&rows, at)->due_ms = due[n];
        queue_heap_put(&rows, at);
    }
    uint64_t last = 0;
    unsigned live = 0;
    for (uint32_t at; (at = queue_heap_first(&rows)) != ROW_NONE; live++) {
        CU_ASSERT(queue_row(&rows, at)->due_ms >= last);
        last = queue_row(&rows, at)->due_ms;
        queue_heap_take(&rows, at);
    }
    CU_ASSERT_EQUAL(live, rows.count);
    queue_rows_fini(&rows);
}

static void test_a_million_rows_are_small(void)
{
    struct rows rows;

    queue_rows_init(&rows);
    for (unsigned n = 0; n < 1000000; n++) {
        uint32_t at = queue_rows_add(&rows, key_of(n));
        queue_row(&rows, at)->due_ms = queue_mix(n) % 1000000;
        queue_heap_put(&rows, at);
    }
    fprintf(stderr, "  %.1f octets a row\n", (double)queue_rows_octets(&rows) / 1e6);
    CU_ASSERT(queue_rows_octets(&rows) <= 200u * 1000000u);
    queue_rows_fini(&rows);
}

/* ---- bounds ---- */

static void test_preparing_max(void)
{
    start((struct scheduler_options){ .preparing_max = 7, .ready_max = 100 });
    for (unsigned n = 0; n < 10; n++)
        add(n, 5);
    queue_plan_run(&plan, 4);
    CU_ASSERT_EQUAL(event_count, 0); /* not due */
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, 4), 5);
    queue_plan_run(&plan, 5);
    CU_ASSERT_EQUAL(event_count, 7);
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, 5), UINT64_MAX);
    queue_plan_done(&plan, events[0].key, 0, 0, 0, false, 5);
    queue_plan_run(&plan, 5);
    CU_ASSERT_EQUAL(event_count, 8); /* one went, one came */
    stop();
}

static void test_ready_max_counts_what_is_being_prepared(void)
{
    start((struct scheduler_options){ .preparing_max = 100, .ready_max = 6 });
    for (unsigned n = 0; n < 20; n++)
        add(n, 1);
    queue_plan_run(&plan, 1);
    CU_ASSERT_EQUAL(count_kind(PREPARE), 6);
    /* One connection: the first goes out at once, the others wait; a single site gets half of
     * what is free. */
    for (unsigned n = 0; n < 6; n++)
        hand_in(n, "a", 1, 1);
    queue_plan_check(&plan, 1);
    CU_ASSERT_EQUAL(count_kind(OPEN), 1);
    CU_ASSERT_EQUAL(plan.ready, 3);
    CU_ASSERT_EQUAL(count_back(PARCEL_BUSY), 2);
    queue_plan_run(&plan, 1);
    CU_ASSERT_EQUAL(count_kind(PREPARE), 6 + 3); /* ready 3 + preparing 3 = 6 */
    stop();
}

static void test_a_slow_site_leaves_room_for_others(void)
{
    start((struct scheduler_options){ .preparing_max = 1000, .ready_max = 100 });
    for (unsigned n = 0; n < 200; n++) {
        add(n, 1);
        hand_in(n, "slow", 1, 1);
    }
    CU_ASSERT_EQUAL(plan.ready, 50);
    add(500, 1);
    hand_in(500, "other", 1, 1);
    CU_ASSERT_EQUAL(events[event_count - 1].kind, OPEN);
    CU_ASSERT_EQUAL(queue_key_compare(events[event_count - 1].key, key_of(500)), 0);
    stop();
}

static void test_connections_max(void)
{
    start((struct scheduler_options){ .ready_max = 100 });
    for (unsigned n = 0; n < 4; n++) {
        add(n, 1);
        hand_in(n, "a", 3, 1);
    }
    CU_ASSERT_EQUAL(count_kind(OPEN), 3);
    CU_ASSERT_EQUAL(plan.ready, 1);
    queue_plan_check(&plan, 1);
    stop();
}

static void test_pull(void)
{
    int slot;

    start((struct scheduler_options){ .ready_max = 1000 });
    for (unsigned n = 0; n < 41; n++) {
        add(n, 1);
        hand_in(n, "a", 1, 1);
    }
    struct site *site = open_first();
    queue_site_pull(site, &slot, 0, 0, 1);
    CU_ASSERT_EQUAL(events[event_count - 1].count, SCHEDULER_PULL_MAX);             /* at most 16 */
    CU_ASSERT_EQUAL(queue_key_compare(events[event_count - 1].key, key_of(16)), 0); /* in order */
    queue_site_pull(site, &slot, 0, 1000, 1);
    CU_ASSERT_EQUAL(events[event_count - 1].count, SCHEDULER_PULL_MAX);
    queue_site_pull(site, &slot, 0, 3, 1);
    CU_ASSERT_EQUAL(events[event_count - 1].count, 3);
    queue_site_pull(site, &slot, 0, 16, 1);
    CU_ASSERT_EQUAL(events[event_count - 1].count, 5);
    unsigned before = event_count;
    queue_site_pull(site, &slot, 0, 16, 1); /* waits */
    CU_ASSERT_EQUAL(event_count, before);
    add(50, 1);
    hand_in(50, "a", 1, 1); /* is given to who waits, not to a new connection */
    CU_ASSERT_EQUAL(event_count, before + 1);
    CU_ASSERT_EQUAL(events[before].slot, &slot);
    queue_site_pull(site, &slot, 0, 16, 1);
    queue_site_pull_cancel(site, &slot);
    CU_ASSERT_EQUAL(events[event_count - 1].count, 0);
    CU_ASSERT_EQUAL(events[event_count - 1].slot, &slot);
    queue_site_pull_cancel(site, &slot); /* nothing to cancel: nothing happens */
    CU_ASSERT_EQUAL(event_count, before + 2);
    queue_site_slot_done(site, true, false, SLICE(""), 1);
    CU_ASSERT_EQUAL(plan.site_count, 0);
    stop();
}

static void test_oldest_goes_first_after_a_second(void)
{
    struct list parcels;
    int slot;

    start((struct scheduler_options){ .loops = 2, .ready_max = 1000 });
    for (unsigned n = 0; n < 4; n++) {
        struct parcel *p = parcel_new(n, "a", 1);
        p->loop_index = n == 0 ? 0 : n % 2; /* 1: 1, 2: 0, 3: 1 */
        add(n, 1);
        list_init(&parcels);
        list_push(&parcels, &p->link);
        queue_plan_prepared(&plan, key_of(n), &parcels, 1);
    }
    struct site *site = open_first();
    queue_site_pull(site, &slot, 0, 1, 1 + SITE_TURN_MS - 1);
    /* the loop's own */
    CU_ASSERT_EQUAL(queue_key_compare(events[event_count - 1].key, key_of(2)), 0);
    queue_site_pull(site, &slot, 0, 1, 1 + SITE_TURN_MS);
    /* who waits longest */
    CU_ASSERT_EQUAL(queue_key_compare(events[event_count - 1].key, key_of(1)), 0);
    queue_site_pull(site, &slot, 0, 1, 5);
    /* none of its own */
    CU_ASSERT_EQUAL(queue_key_compare(events[event_count - 1].key, key_of(3)), 0);
    queue_site_slot_done(site, true, false, SLICE(""), 1);
    stop();
}

/* ---- operators ---- */

static void test_verbs_while_a_loop_has_it(void)
{
    start((struct scheduler_options){ .ready_max = 10 });
    add(1, 1);
    add(2, 1);
    add(3, 1);
    queue_plan_run(&plan, 1);
    CU_ASSERT_EQUAL(event_count, 3);
    queue_plan_remove(&plan, key_of(1));
    queue_plan_hold(&plan, key_of(2), true, 1);
    queue_plan_retry(&plan, key_of(3), 1);
    hand_in(1, "a", 1, 1);
    hand_in(2, "a", 1, 1);
    hand_in(3, "a", 1, 1);
    CU_ASSERT_EQUAL(count_back(PARCEL_STOPPED), 2); /* removed and held are not carried */
    CU_ASSERT_EQUAL(count_kind(OPEN), 1);
    for (unsigned n = 1; n <= 3; n++)
        queue_plan_done(&plan, key_of(n), 1, 1, 9999999, false, 10);
    queue_plan_check(&plan, 10);
    CU_ASSERT_EQUAL(queue_rows_find(&plan.rows, key_of(1)), ROW_NONE);
    CU_ASSERT_EQUAL(plan.held, 1);
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, 10), 10); /* the third, as the operator wished */
    queue_plan_hold(&plan, key_of(2), false, 11);
    queue_plan_run(&plan, 11);
    CU_ASSERT_EQUAL(count_kind(PREPARE), 5);
    queue_plan_remove(&plan, key_of(77)); /* unknown ones are nobody's fault */
    queue_plan_done(&plan, key_of(77), 0, 0, 0, false, 11);
    stop();
}

static void test_list_is_in_order(void)
{
    struct spool_entry out[64];
    struct spool_key after = { 0, 0 };
    unsigned seen = 0, count;

    start((struct scheduler_options){ .ready_max = 10 });
    for (unsigned i = 0; i < 1000; i++)
        add((unsigned)(queue_mix(i) % 100000), 1 + i);
    while ((count = queue_plan_list(&plan, after, out, 64)) > 0) {
        for (unsigned i = 0; i < count; i++) {
            CU_ASSERT(queue_key_compare(after, out[i].key) < 0);
            after = out[i].key;
            seen++;
        }
    }
    CU_ASSERT_EQUAL(seen, plan.rows.count);
    CU_ASSERT_EQUAL(queue_plan_list(&plan, (struct spool_key){ 0, 0 }, out, 0), 0);
    CU_ASSERT_EQUAL(queue_plan_list(&plan, (struct spool_key){ 0, 0 }, out, 1), 1);
    stop();
}

static void test_a_reload_hands_parcels_back(void)
{
    int slot;

    start((struct scheduler_options){ .preparing_max = 1000, .ready_max = 20 });
    for (unsigned n = 0; n < 30; n++) {
        add(n, 1);
        queue_plan_run(&plan, 1);
        hand_in(n, "a", 1, 1);
    }
    for (unsigned i = 0; i < event_count; i++)
        if (events[i].kind == PARCELS && events[i].back == PARCEL_BUSY)
            queue_plan_done(&plan, events[i].key, 1, 0, 1000000, false, 1);
    struct site *site = open_first();
    struct scheduler_options options = plan.options;
    unsigned ready = plan.ready;
    queue_plan_set_options(&plan, &options, 2);
    CU_ASSERT_EQUAL(count_back(PARCEL_STOPPED), ready);
    CU_ASSERT_EQUAL(plan.ready, 0);
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, 2), 2); /* those turned away come again, too */
    queue_site_pull(site, &slot, 0, 16, 2);
    unsigned before = event_count;
    queue_plan_set_options(&plan, &options, 2);
    CU_ASSERT_EQUAL(event_count, before); /* connections stay */
    queue_site_pull_cancel(site, &slot);
    queue_site_slot_done(site, true, false, SLICE(""), 2);
    stop();
}

static void test_stopped(void)
{
    start((struct scheduler_options){ .stopped = true });
    add(1, 1);
    queue_plan_run(&plan, 1);
    CU_ASSERT_EQUAL(event_count, 0);
    struct scheduler_options options = plan.options;
    options.stopped = false;
    queue_plan_set_options(&plan, &options, 1);
    queue_plan_run(&plan, 1);
    CU_ASSERT_EQUAL(event_count, 1);
    queue_plan_pause(&plan, SCHEDULER_UNDURABLE, true, 1);
    queue_plan_pause(&plan, SCHEDULER_DRAINS, true, 1);
    queue_plan_pause(&plan, SCHEDULER_UNDURABLE, false, 1);
    hand_in(1, "a", 1, 1);
    CU_ASSERT_EQUAL(count_back(PARCEL_STOPPED), 1); /* one reason is left */
    stop();
}

/* The queue was written in 2026, the machine starts in 1970: the wait is bounded all the same. */
static void test_due_by_another_clock(void)
{
    start((struct scheduler_options){ .retry_max_ms = HOUR });
    add(1, PLAN_WAIT_MS_MAX);     /* as far as anybody puts it off: kept */
    add(2, PLAN_WAIT_MS_MAX + 2); /* from 1 on: one above */
    add(3, 50 * 365 * DAY);
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, 1), PLAN_WAIT_MS_MAX);
    queue_plan_run(&plan, PLAN_WAIT_MS_MAX);
    CU_ASSERT_EQUAL(event_count, 1);
    queue_plan_run(&plan, PLAN_WAIT_MS_MAX + 1);
    CU_ASSERT_EQUAL(event_count, 3);
    /* The clock is set back while a loop has it. */
    uint64_t now_ms = PLAN_WAIT_MS_MAX + 1;
    for (unsigned n = 1; n <= 3; n++)
        queue_plan_done(&plan, key_of(n), 1, 1, 50 * 365 * DAY, false, now_ms);
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, now_ms), now_ms + PLAN_WAIT_MS_MAX);
    stop();

    /* Of a retry_max that is longer, and its jitter. */
    start((struct scheduler_options){ .retry_max_ms = 10 * HOUR, .retry_jitter_percent = 20 });
    add(1, 50 * 365 * DAY);
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, 1), 12 * HOUR + 1);
    stop();
}

/* ---- holds ---- */

static void add_held(unsigned n, uint64_t since_ms, uint64_t now_ms)
{
    const struct spool_entry entry = { .key = key_of(n), .arrival_ms = 1, .due_ms = since_ms,
                                       .rcpt_count = 1, .pending_count = 1, .held = true };

    queue_plan_add(&plan, &entry, now_ms);
}

static void no_parcels(unsigned n, uint64_t now_ms)
{
    struct list none;

    list_init(&none);
    queue_plan_prepared(&plan, key_of(n), &none, now_ms);
}

static void test_a_hold_expires(void)
{
    start((struct scheduler_options){ .hold_expire_ms = HOUR });
    CU_ASSERT_TRUE(sizeof(struct row) <= 80);
    add_held(1, 1000, 5000);
    add_held(2, 2000, 5000);
    CU_ASSERT_EQUAL(plan.held, 2);
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, 5000), HOUR + 1000);
    queue_plan_run(&plan, HOUR + 999);
    CU_ASSERT_EQUAL(event_count, 0);
    queue_plan_run(&plan, HOUR + 1000);
    CU_ASSERT_EQUAL(event_count, 1);
    CU_ASSERT_TRUE(events[0].held && events[0].due_ms == 1000 && events[0].key.txn == 1001);
    CU_ASSERT_EQUAL(plan.held, 1);
    no_parcels(1, HOUR + 1001);
    queue_plan_check(&plan, HOUR + 1001);
    /* It could not be ended: tried again when delivery says, and held since the same time. */
    queue_plan_done(&plan, key_of(1), 1, 0, HOUR + 5000, true, HOUR + 1001);
    CU_ASSERT_EQUAL(plan.held, 2);
    queue_plan_run(&plan, HOUR + 4999); /* the second in between */
    CU_ASSERT_EQUAL(event_count, 2);
    queue_plan_run(&plan, HOUR + 5000);
    CU_ASSERT_TRUE(event_count == 3 && events[2].held && events[2].due_ms == 1000);
    no_parcels(1, HOUR + 5000);
    queue_plan_done(&plan, key_of(1), 0, 0, 0, true, HOUR + 5000);
    CU_ASSERT_EQUAL(queue_rows_find(&plan.rows, key_of(1)), ROW_NONE);
    queue_plan_check(&plan, HOUR + 5000);
    stop();

    start((struct scheduler_options){ 0 }); /* by default 30 days */
    add_held(1, 1000, 5000);
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, 5000), 30 * DAY + 1000);
    stop();
}

/* The operator holds an old message: his hold counts from then. */
static void test_a_hold_counts_from_its_beginning(void)
{
    start((struct scheduler_options){ .hold_expire_ms = HOUR });
    add(1, DAY);
    queue_plan_hold(&plan, key_of(1), true, 5 * HOUR);
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, 5 * HOUR), 6 * HOUR);
    queue_plan_hold(&plan, key_of(1), true, 5 * HOUR + 9); /* no second beginning */
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, 5 * HOUR), 6 * HOUR);
    queue_plan_hold(&plan, key_of(1), false, 5 * HOUR + 10);
    queue_plan_run(&plan, 5 * HOUR + 10);
    CU_ASSERT_TRUE(event_count == 1 && !events[0].held);
    queue_plan_hold(&plan, key_of(1), true, 5 * HOUR + 11); /* while a loop has it */
    no_parcels(1, 5 * HOUR + 12);
    queue_plan_done(&plan, key_of(1), 1, 1, DAY, false, 5 * HOUR + 20);
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, 5 * HOUR + 20), 6 * HOUR + 20);
    queue_plan_check(&plan, 5 * HOUR + 20);
    stop();
}

static void test_released_while_its_hold_ends(void)
{
    start((struct scheduler_options){ .hold_expire_ms = HOUR });
    add_held(1, 1000, 5000);
    queue_plan_run(&plan, 2 * HOUR);
    CU_ASSERT_TRUE(event_count == 1 && events[0].held);
    queue_plan_hold(&plan, key_of(1), false, 2 * HOUR);
    no_parcels(1, 2 * HOUR);
    queue_plan_done(&plan, key_of(1), 1, 0, DAY, true, 2 * HOUR); /* delivery knew nothing of it */
    CU_ASSERT_EQUAL(plan.held, 0);
    queue_plan_run(&plan, 2 * HOUR);
    CU_ASSERT_TRUE(event_count == 2 && !events[1].held);
    queue_plan_check(&plan, 2 * HOUR);
    stop();
}

static void test_a_reload_changes_holds(void)
{
    struct scheduler_options options = { .hold_expire_ms = DAY };

    start(options);
    for (unsigned n = 1; n <= 50; n++)
        add_held(n, (n * 37 % 50 + 1) * MINUTE, 51 * MINUTE);
    add(60, 2 * MINUTE);
    options.hold_expire_ms = HOUR;
    queue_plan_set_options(&plan, &options, 51 * MINUTE);
    queue_plan_check(&plan, 51 * MINUTE);
    queue_plan_run(&plan, HOUR + MINUTE);
    CU_ASSERT_TRUE(event_count == 2 && !events[0].held && events[1].held);
    for (unsigned m = 2; m <= 50; m++) {
        queue_plan_run(&plan, HOUR + m * MINUTE - 1);
        CU_ASSERT_EQUAL(event_count, m);
        queue_plan_run(&plan, HOUR + m * MINUTE);
        CU_ASSERT_EQUAL(event_count, m + 1);
    }
    stop();
}

/* Nothing ends while nothing is delivered; and a clock of 1970 puts no end off for longer than
 * a hold lasts. */
static void test_holds_stopped_and_by_another_clock(void)
{
    start((struct scheduler_options){ .hold_expire_ms = DAY });
    add_held(1, 50 * 365 * DAY, 1);
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, 1), DAY + 1);
    queue_plan_pause(&plan, SCHEDULER_UNDURABLE, true, 2);
    queue_plan_run(&plan, 2 * DAY);
    CU_ASSERT_EQUAL(event_count, 0);
    queue_plan_pause(&plan, SCHEDULER_UNDURABLE, false, 2 * DAY);
    queue_plan_run(&plan, 2 * DAY);
    CU_ASSERT_EQUAL(event_count, 1);
    stop();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("queue plan", NULL, NULL);

    CU_add_test(suite, "retry table", test_retry_table);
    CU_add_test(suite, "jitter stays within", test_jitter_stays_within);
    CU_add_test(suite, "rows against a model", test_rows_against_a_model);
    CU_add_test(suite, "a million rows are small", test_a_million_rows_are_small);
    CU_add_test(suite, "preparing_max", test_preparing_max);
    CU_add_test(suite, "ready_max counts what is being prepared",
                test_ready_max_counts_what_is_being_prepared);
    CU_add_test(suite, "a slow site leaves room for others",
                test_a_slow_site_leaves_room_for_others);
    CU_add_test(suite, "connections_max", test_connections_max);
    CU_add_test(suite, "pull", test_pull);
    CU_add_test(suite, "oldest goes first after a second", test_oldest_goes_first_after_a_second);
    CU_add_test(suite, "verbs while a loop has it", test_verbs_while_a_loop_has_it);
    CU_add_test(suite, "list is in order", test_list_is_in_order);
    CU_add_test(suite, "a reload hands parcels back", test_a_reload_hands_parcels_back);
    CU_add_test(suite, "stopped", test_stopped);
    CU_add_test(suite, "due by another clock", test_due_by_another_clock);
    CU_add_test(suite, "a hold expires", test_a_hold_expires);
    CU_add_test(suite, "a hold counts from its beginning", test_a_hold_counts_from_its_beginning);
    CU_add_test(suite, "released while its hold ends", test_released_while_its_hold_ends);
    CU_add_test(suite, "a reload changes holds", test_a_reload_changes_holds);
    CU_add_test(suite, "holds: stopped, and by another clock",
                test_holds_stopped_and_by_another_clock);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
