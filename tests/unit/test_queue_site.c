/* SPDX-License-Identifier: Apache-2.0 */
/* test_queue_site.c - sites that cannot be reached, how long they are left alone, and the messages
 * that wait for room. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>

#include "plan_recorder.h"

/* ---- a failing site ---- */

static void test_back_off(void)
{
    start((struct scheduler_options){ .ready_max = 1000 });
    for (unsigned n = 0; n < 5; n++) {
        add(n, 1);
        hand_in(n, "a", 2, 1000);
    }
    CU_ASSERT_EQUAL(count_kind(OPEN), 2);
    struct site *site = events[0].kind == OPEN ? events[0].site : NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(site);
    free(opened[0]);
    free(opened[1]);
    opened[0] = opened[1] = NULL;
    queue_site_slot_done(site, false, true, SLICE("refused"), 1000);
    CU_ASSERT_EQUAL(count_back(PARCEL_SITE_FAILED), 0); /* another one still tries */
    queue_site_slot_done(site, false, true, SLICE("refused"), 1000);
    CU_ASSERT_EQUAL(count_back(PARCEL_SITE_FAILED), 3);
    queue_plan_check(&plan, 1000);
    uint64_t until_ms = site->until_ms;
    CU_ASSERT(until_ms >= 1000 + SITE_BACKOFF_MIN_MS * 8 / 10 &&
              until_ms <= 1000 + SITE_BACKOFF_MIN_MS * 12 / 10);
    add(10, 1);
    hand_in(10, "a", 2, until_ms - 1);
    CU_ASSERT_EQUAL(count_back(PARCEL_SITE_FAILED), 4); /* at once, without trying */
    for (unsigned n = 11; n < 14; n++) {
        add(n, 1);
        hand_in(n, "a", 2, until_ms);
    }
    CU_ASSERT_EQUAL(count_kind(OPEN), 3); /* one probe, though two may be */
    CU_ASSERT_PTR_NOT_NULL(open_first());
    CU_ASSERT_EQUAL(site->fails, 0);
    CU_ASSERT_EQUAL(count_kind(OPEN), 4); /* it stands: full strength again */
    queue_site_slot_done(site, true, false, SLICE(""), until_ms);
    stop();
}

/* `tern queue retry` means now, though the site backs off; what fails after it backs off again. */
static void test_retry_forgives(void)
{
    start((struct scheduler_options){ .ready_max = 1000 });
    add(0, 1);
    hand_in(0, "a", 2, 1000);
    struct site *site = events[0].site;
    free(opened[0]);
    opened[0] = NULL;
    queue_site_slot_done(site, false, true, SLICE("refused"), 1000);
    add(1, 1);
    hand_in(1, "a", 2, 1000);
    CU_ASSERT_EQUAL(count_back(PARCEL_SITE_FAILED), 1);
    add(2, 1);
    queue_plan_retry(&plan, key_of(2), 1000);
    hand_in(2, "a", 2, 2000);
    CU_ASSERT_EQUAL(count_back(PARCEL_SITE_FAILED), 1);
    CU_ASSERT_EQUAL(count_kind(OPEN), 2);
    queue_plan_check(&plan, 2000);
    stop();
}

static void test_back_off_doubles_to_a_bound(void)
{
    uint64_t now_ms = 1000, longest = 0;

    start((struct scheduler_options){ .ready_max = 1000 });
    for (unsigned n = 0; n < 12; n++) {
        unsigned at = event_count;
        add(n, 1);
        hand_in(n, "a", 2, now_ms);
        struct site *site = events[at].site;
        free(opened[at]);
        opened[at] = NULL;
        queue_site_slot_done(site, false, true, SLICE("refused"), now_ms);
        uint64_t wait = site->until_ms - now_ms;
        longest = wait > longest ? wait : longest;
        now_ms = site->until_ms;
    }
    CU_ASSERT(longest > SITE_BACKOFF_MAX_MS * 8 / 10 && longest <= SITE_BACKOFF_MAX_MS * 12 / 10);
    stop();
}

/* Attempts that come sooner than the site would be tried would be none. */
static void test_back_off_follows_retry(void)
{
    uint64_t now_ms = 1000;

    start((struct scheduler_options){
        .ready_max = 1000, .retry_min_ms = 1000, .retry_max_ms = 3000 });
    for (unsigned n = 0; n < 5; n++) {
        unsigned at = event_count;
        add(n, 1);
        hand_in(n, "a", 2, now_ms);
        struct site *site = events[at].site;
        free(opened[at]);
        opened[at] = NULL;
        queue_site_slot_done(site, false, true, SLICE("refused"), now_ms);
        uint64_t wait = site->until_ms - now_ms, want = n == 0 ? 1000 : n == 1 ? 2000 : 3000;
        CU_ASSERT(wait >= want * 8 / 10 && wait <= want * 12 / 10);
        now_ms = site->until_ms;
    }
    stop();
}

static void test_remembered_sites_are_bounded(void)
{
    char name[32];

    start((struct scheduler_options){ .ready_max = 1000 });
    for (unsigned n = 0; n < SITES_REMEMBERED_MAX + 50; n++) {
        (void)snprintf(name, sizeof(name), "site%u", n);
        event_count = 0;
        add(n, 1);
        hand_in(n, name, 1, 5);
        free(opened[0]);
        opened[0] = NULL;
        queue_site_slot_done(events[0].site, false, true, SLICE("refused"), 5);
    }
    CU_ASSERT_EQUAL(plan.site_count, SITES_REMEMBERED_MAX);
    CU_ASSERT_PTR_NULL(table_get(&plan.sites, SLICE("site49")));
    CU_ASSERT_PTR_NOT_NULL(table_get(&plan.sites, SLICE("site50")));
    event_count = 0;
    stop();
}

/* ---- parking ---- */

static void test_parked_are_woken(void)
{
    int slot;

    start((struct scheduler_options){ .preparing_max = 1000, .ready_max = 20 });
    for (unsigned n = 0; n < 30; n++) {
        add(n, 1);
        queue_plan_run(&plan, 1);
        hand_in(n, "a", 1, 1);
    }
    CU_ASSERT_EQUAL(plan.ready, 10);
    unsigned parked = count_back(PARCEL_BUSY);
    CU_ASSERT_EQUAL(parked, 19);
    for (unsigned i = 0; i < event_count; i++)
        if (events[i].kind == PARCELS && events[i].back == PARCEL_BUSY)
            queue_plan_done(&plan, events[i].key, 1, 0, 1000000, false, 1);
    queue_plan_check(&plan, 1);
    CU_ASSERT_EQUAL(queue_plan_next_ms(&plan, 1), 1000000);
    struct site *site = open_first();
    queue_site_pull(site, &slot, 0, 16, 2);
    queue_plan_check(&plan, 2);
    CU_ASSERT(queue_plan_next_ms(&plan, 2) <= 2); /* some are due now */
    unsigned before = count_kind(PREPARE);
    queue_plan_run(&plan, 2);
    CU_ASSERT(count_kind(PREPARE) > before);
    queue_site_slot_done(site, true, false, SLICE(""), 2);
    stop();
}

static void test_vain_preparing_is_slowed(void)
{
    start((struct scheduler_options){ .preparing_max = 100000, .ready_max = 4 });
    plan.busy_tokens = 2;
    plan.busy_filled_ms = 1000;
    for (unsigned n = 0; n < 5; n++) {
        add(n, 1);
        queue_plan_run(&plan, 1000);
        hand_in(n, "a", 1, 1000);
    }
    CU_ASSERT_EQUAL(count_back(PARCEL_BUSY), 2);
    CU_ASSERT_EQUAL(count_kind(PREPARE), 5);
    add(50, 1);
    queue_plan_run(&plan, 1000);
    CU_ASSERT_EQUAL(count_kind(PREPARE), 5);
    uint64_t next_ms = queue_plan_next_ms(&plan, 1000);
    CU_ASSERT(next_ms > 1000 && next_ms <= 1002);
    queue_plan_run(&plan, next_ms);
    CU_ASSERT_EQUAL(count_kind(PREPARE), 6);
    stop();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("queue site", NULL, NULL);

    CU_add_test(suite, "back-off", test_back_off);
    CU_add_test(suite, "retry forgives a site", test_retry_forgives);
    CU_add_test(suite, "back-off doubles to a bound", test_back_off_doubles_to_a_bound);
    CU_add_test(suite, "back-off is no longer than retry", test_back_off_follows_retry);
    CU_add_test(suite, "remembered sites are bounded", test_remembered_sites_are_bounded);
    CU_add_test(suite, "parked are woken", test_parked_are_woken);
    CU_add_test(suite, "vain preparing is slowed", test_vain_preparing_is_slowed);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
