/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_dispatch.c - from a due message to its durable outcome, in the world of dispatch_world.h:
 * with one loop and with two, with a policy that answers at once and one that answers later.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "delivery/visit.h"
#include "dispatch_world.h"
#include "queue/verbs.h"

#define DAY_MS (24 * 3600000ull)

static bool async;

static void start(struct world_options options)
{
    options.async = async;
    world_start(&options);
}

static void test_one_message_many_ways(void)
{
    start((struct world_options){ 0 });
    unsigned m =
        world_send("s@sender.mx",
                   "a@box.test b@fixed.test c@good.mx bad@fixed.test later@good.mx d@discard.test");
    CU_ASSERT(world_wait(m, 1));
    CU_ASSERT_EQUAL(world_state(m, 0), SPOOL_RCPT_DELIVERED);
    CU_ASSERT_EQUAL(world_state(m, 1), SPOOL_RCPT_DELIVERED);
    CU_ASSERT_EQUAL(world_state(m, 2), SPOOL_RCPT_DELIVERED);
    CU_ASSERT_EQUAL(world_state(m, 3), SPOOL_RCPT_BOUNCED);
    CU_ASSERT_EQUAL(world_state(m, 4), SPOOL_RCPT_QUEUED);
    CU_ASSERT_EQUAL(world_state(m, 5), SPOOL_RCPT_DISCARDED);
    CU_ASSERT_STRING_EQUAL(world_text(m, 4), "451 4.2.1 full");
    CU_ASSERT_STRING_EQUAL(world_text(m, 0), "250 2.0.0 stored");
    CU_ASSERT_EQUAL_FATAL(world_notices(), 1);
    CU_ASSERT_EQUAL(world_messages[m]->attempts, 1);
    uint64_t wait_ms = world_messages[m]->due_ms - clock_wall_ms();
    CU_ASSERT(wait_ms > 290000 && wait_ms <= 300000);
    CU_ASSERT(world_wait(1, 0)); /* the notice goes its own way */
    CU_ASSERT_PTR_NOT_NULL(strstr(world_messages[1]->body, "bad@fixed.test"));
    CU_ASSERT_PTR_NULL(strstr(world_messages[1]->body, "later@good.mx"));
    CU_ASSERT_PTR_NOT_NULL(strstr(world_messages[1]->body, "Subject: test"));
    CU_ASSERT_PTR_NULL(strstr(world_messages[1]->body, "Hello."));
    world_stop();
    CU_ASSERT_EQUAL(world_results[0], 3 + 1);
    CU_ASSERT_EQUAL(world_results[1], 1);
    CU_ASSERT_EQUAL(world_results[2], 1);
}

static void test_what_dns_and_policy_say(void)
{
    static const struct {
        const char *rcpt;
        enum spool_rcpt_state want;
        const char *text;
    } cases[] = {
        { "x@good.mx", SPOOL_RCPT_DELIVERED, "250 2.0.0 taken" },
        { "x@null.mx", SPOOL_RCPT_BOUNCED, "556 5.1.10 " },
        { "x@none.mx", SPOOL_RCPT_BOUNCED, "550 5.1.2 " },
        { "x@noaddr.mx", SPOOL_RCPT_BOUNCED, "550 5.4.4 " },
        { "x@fail.mx", SPOOL_RCPT_QUEUED, "451 4.4.3 as asked for" },
        { "x@own.mx", SPOOL_RCPT_BOUNCED, "554 5.4.6 " },
        { "x@worse.mx", SPOOL_RCPT_BOUNCED, "554 5.4.6 " },
        { "x@better.mx", SPOOL_RCPT_DELIVERED, "250 2.0.0 taken" },
        { "x@[192.0.2.3]", SPOOL_RCPT_DELIVERED, "250 2.0.0 taken" },
        { "x@[192.0.2.77]", SPOOL_RCPT_BOUNCED, "554 5.4.6 " },
        { "x@reject.test", SPOOL_RCPT_BOUNCED, "550 5.7.1 no" },
        { "x@defer.test", SPOOL_RCPT_QUEUED, "451 4.7.1 later" },
        { "x@nowhere.test", SPOOL_RCPT_QUEUED, "451 4.3.5 no transport is called gone" },
        { "refuse@good.mx", SPOOL_RCPT_BOUNCED, "550 5.7.0 no" },
        { "reroute@fixed.test", SPOOL_RCPT_DELIVERED, "250 2.0.0 taken" },
        { "reroute@down.test", SPOOL_RCPT_DELIVERED, "250 2.0.0 taken" },
        { "x@fallback.test", SPOOL_RCPT_DELIVERED, "250 2.0.0 taken" },
        { "x@down.test", SPOOL_RCPT_QUEUED, "451 4.4.1 down1[" },
        { "x@busy.test", SPOOL_RCPT_QUEUED, "451 4.4.1 busy1[" },
        { "bad@box.test", SPOOL_RCPT_BOUNCED, "550 5.1.1 no such box" },
        { "later@box.test", SPOOL_RCPT_QUEUED, "451 4.3.0 box is full" },
        { "none@box.test", SPOOL_RCPT_QUEUED, "451 4.3.0 the transport gave no outcome" },
    };
    enum { COUNT = sizeof(cases) / sizeof(cases[0]) };
    unsigned numbers[COUNT];

    start((struct world_options){ 0 });
    for (unsigned i = 0; i < COUNT; i++)
        numbers[i] = world_send("", cases[i].rcpt);
    for (unsigned i = 0; i < COUNT; i++) {
        CU_ASSERT(world_wait(numbers[i], 1));
        bool same = world_state(numbers[i], 0) == cases[i].want &&
                    strncmp(world_text(numbers[i], 0), cases[i].text, strlen(cases[i].text)) == 0;
        if (!same)
            fprintf(stderr, "  %s: state %d, \"%s\"\n", cases[i].rcpt,
                    (int)world_state(numbers[i], 0), world_text(numbers[i], 0));
        CU_ASSERT(same);
    }
    CU_ASSERT_EQUAL(world_notices(), 0); /* never a bounce of a bounce */
    world_stop();
}

static void test_notify_never(void)
{
    start((struct world_options){ 0 });
    unsigned m = world_send_aged("s@sender.mx", "bad@fixed.test", 0, "NEVER");
    CU_ASSERT(world_wait(m, 0));
    CU_ASSERT_EQUAL(world_notices(), 0);
    world_stop();
}

/* Nobody is behind the sender: the outcome is stored all the same, without a notice. */
static void test_dropped_notice(void)
{
    start((struct world_options){ .notice = TERN_REJECT });
    unsigned m = world_send("nobody@here.test", "bad@fixed.test ok@fixed.test");
    CU_ASSERT(world_wait(m, 0));
    CU_ASSERT_EQUAL(world_state(m, 0), SPOOL_RCPT_BOUNCED);
    CU_ASSERT_EQUAL(world_state(m, 1), SPOOL_RCPT_DELIVERED);
    CU_ASSERT_EQUAL(world_notices(), 0);
    world_stop();
}

static void test_notice_refused_means_no_bounce(void)
{
    start((struct world_options){ .notice = TERN_DEFER });
    unsigned m = world_send("s@sender.mx", "bad@fixed.test ok@fixed.test");
    CU_ASSERT(world_wait(m, 1));
    CU_ASSERT_EQUAL(world_state(m, 0), SPOOL_RCPT_QUEUED);
    CU_ASSERT_EQUAL(world_state(m, 1), SPOOL_RCPT_DELIVERED);
    CU_ASSERT_EQUAL(world_notices(), 0);
    world_stop();
}

static bool visit_is_over(void)
{
    struct dispatch_stats stats;

    world_stats(&stats);
    return stats.messages == 0 && world_has_text(0, 0);
}

/*
 * NOTIFY=SUCCESS: that the sender is to be told is as durable as that it was delivered. Until the notice is
 * stored the recipient stays, marked, and is never delivered to again.
 */
static void test_a_report_is_owed(void)
{
    start((struct world_options){ .notice = TERN_DEFER });
    unsigned m = world_send_aged("s@sender.mx", "m1001.0@fixed.test", 0, "SUCCESS");
    CU_ASSERT(world_wait_for(visit_is_over));
    CU_ASSERT_EQUAL(world_state(m, 0), SPOOL_RCPT_QUEUED);
    CU_ASSERT_EQUAL(world_text(m, 0)[0], '\006');
    CU_ASSERT_PTR_NOT_NULL(strstr(world_text(m, 0), "\t250 2.0.0 taken"));
    atomic_store(&world_notice_verdict, TERN_NEXT);
    CU_ASSERT_EQUAL(
        queue_verb(world_spool(), world_scheduler(), QUEUE_RETRY, world_messages[m]->key), 0);
    CU_ASSERT(world_wait(m, 0));
    CU_ASSERT_EQUAL(world_state(m, 0), SPOOL_RCPT_DELIVERED);
    CU_ASSERT_EQUAL(world_messages[m]->carried[0], 1);
    CU_ASSERT_EQUAL(world_notices(), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(world_notice(), "\r\nAction: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(world_notice(), "250 2.0.0 taken"));
    CU_ASSERT(world_wait(1, 0));
    world_stop();
    CU_ASSERT_EQUAL(world_results[0], 1 + 1); /* hook `result` hears of each delivery once */
}

/* Not for ever: with the age at which mail expires the report is given up, and nothing else. */
static void test_an_owed_report_expires(void)
{
    start((struct world_options){ .notice = TERN_DEFER });
    unsigned m = world_send_aged("s@sender.mx", "ok@fixed.test", 5 * DAY_MS, "SUCCESS");
    CU_ASSERT(world_wait(m, 0));
    CU_ASSERT_EQUAL(world_state(m, 0), SPOOL_RCPT_DELIVERED);
    CU_ASSERT_EQUAL(world_notices(), 0);
    world_stop();
}

static void test_soft_bounce(void)
{
    start((struct world_options){ .soft_bounce = true });
    unsigned m = world_send("s@sender.mx", "bad@fixed.test x@reject.test");
    CU_ASSERT(world_wait(m, 1));
    CU_ASSERT_EQUAL(world_state(m, 0), SPOOL_RCPT_QUEUED);
    CU_ASSERT_EQUAL(world_state(m, 1), SPOOL_RCPT_QUEUED);
    world_stop();
}

static void test_expiry(void)
{
    start((struct world_options){ 0 });
    unsigned old = world_send_aged("s@sender.mx", "later@fixed.test ok@fixed.test", 5 * DAY_MS, "");
    unsigned young = world_send_aged("s@sender.mx", "later@fixed.test", 5 * DAY_MS - 60000, "");
    unsigned bounce = world_send_aged("", "later@fixed.test", 2 * DAY_MS, "");
    CU_ASSERT(world_wait(old, 0));
    CU_ASSERT(world_wait(young, 1));
    CU_ASSERT(world_wait(bounce, 0));
    CU_ASSERT_EQUAL(world_state(old, 0), SPOOL_RCPT_BOUNCED);
    CU_ASSERT_EQUAL(world_state(young, 0), SPOOL_RCPT_QUEUED);
    /* a last time at the end of the fifth day */
    CU_ASSERT(world_messages[young]->due_ms <= clock_wall_ms() + 60000);
    CU_ASSERT_EQUAL(world_state(bounce, 0), SPOOL_RCPT_BOUNCED);
    CU_ASSERT_EQUAL_FATAL(world_notices(), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(world_notice(), "Status: 4.4.7"));
    world_stop();
    CU_ASSERT_EQUAL(world_results[3], 2);
}

static void test_hold_by_hook(void)
{
    start((struct world_options){ 0 });
    unsigned m = world_send("s@sender.mx", "hold@good.mx ok@fixed.test");
    /* two ways, and each takes its time */
    for (unsigned i = 0; i < 60000 && !(world_held(m) && world_state(m, 1) == SPOOL_RCPT_DELIVERED); i++)
        (void)usleep(1000);
    CU_ASSERT(world_held(m));
    CU_ASSERT_PTR_NOT_NULL(strchr(world_messages[m]->held_text, '\t')); /* step and reason */
    CU_ASSERT_EQUAL(world_state(m, 0), SPOOL_RCPT_QUEUED);
    CU_ASSERT_EQUAL(world_state(m, 1), SPOOL_RCPT_DELIVERED);
    world_stop();
}

static void send_many(struct buf *rcpts, unsigned count, const char *domain)
{
    buf_clear(rcpts);
    for (unsigned i = 0; i < count; i++)
        buf_printf(rcpts, "u%u@%s ", i, domain);
}

static void test_recipients_of_a_transaction(void)
{
    struct buf rcpts = BUF_INIT;

    start((struct world_options){ .rcpts_max = 100 });
    send_many(&rcpts, 100, "fixed.test");
    CU_ASSERT(world_wait(world_send("", rcpts.data), 0));
    CU_ASSERT_EQUAL(world_transactions, 1);
    CU_ASSERT_EQUAL(world_parcel_rcpts_max, 100);
    send_many(&rcpts, 101, "fixed.test");
    CU_ASSERT(world_wait(world_send("", rcpts.data), 0));
    CU_ASSERT_EQUAL(world_transactions, 3);
    CU_ASSERT_EQUAL(world_parcel_rcpts_max, 100);
    world_stop();
    buf_free(&rcpts);
}

static void test_recipients_of_a_visit(void)
{
    struct buf rcpts = BUF_INIT;

    start((struct world_options){ 0 });
    send_many(&rcpts, 2501, "fixed.test"); /* three visits of at most 1000 */
    unsigned m = world_send("", rcpts.data);
    CU_ASSERT(world_wait(m, 0));
    CU_ASSERT_EQUAL(world_messages[m]->attempts, 0);
    world_stop();
    buf_free(&rcpts);
}

static void test_a_connection_is_reused(void)
{
    start((struct world_options){ .connections_max = 1, .messages_max = 7, .idle_ms = 60000 });
    for (unsigned i = 0; i < 21; i++)
        CU_ASSERT(world_wait(world_send("", "a@fixed.test"), 0));
    CU_ASSERT_EQUAL(world_transactions, 21);
    CU_ASSERT_EQUAL(world_connections, 3);
    world_stop();
}

static bool no_links(void)
{
    struct dispatch_stats stats;

    world_stats(&stats);
    return stats.links == 0;
}

static void test_an_idle_connection_ends(void)
{
    start((struct world_options){ .connections_max = 1, .idle_ms = 50 });
    CU_ASSERT(world_wait(world_send("", "a@fixed.test"), 0));
    CU_ASSERT(world_wait_for(no_links));
    CU_ASSERT(world_wait(world_send("", "a@fixed.test"), 0));
    CU_ASSERT_EQUAL(world_connections, 2);
    world_stop();
}

static void test_a_dropped_connection_costs_no_attempt(void)
{
    start((struct world_options){ .connections_max = 1, .idle_ms = 60000 });
    for (unsigned i = 0; i < 5; i++) {
        unsigned m = world_send("", "a@drop.test");
        CU_ASSERT(world_wait(m, 0));
        CU_ASSERT_EQUAL(world_messages[m]->attempts, 0);
    }
    CU_ASSERT_EQUAL(world_connections, 5);
    world_stop();
}

/* Nor one that ends with 421 because it has carried enough. */
static void test_enough_of_a_connection_costs_no_attempt(void)
{
    start((struct world_options){ .connections_max = 1, .idle_ms = 60000 });
    for (unsigned i = 0; i < 5; i++) {
        unsigned m = world_send("", "a@last.test");
        CU_ASSERT(world_wait(m, 0));
        CU_ASSERT_EQUAL(world_messages[m]->attempts, 0);
    }
    CU_ASSERT_EQUAL(world_connections, 5);
    world_stop();
}

/* 421 to each message, on fresh connections, too: the next host, not the next attempt. */
static void test_a_host_that_gives_up(void)
{
    start((struct world_options){ .connections_max = 1, .idle_ms = 0 });
    for (unsigned i = 0; i < 5; i++) {
        unsigned m = world_send("", "a@quits.test b@quits.test");
        CU_ASSERT(world_wait(m, 0));
        CU_ASSERT_EQUAL(world_messages[m]->attempts, 0);
    }
    CU_ASSERT_EQUAL(world_connections, 6); /* for a while the first one is not asked again */
    unsigned m = world_send("", "a@hangs.test");
    CU_ASSERT(world_wait(m, 1));
    CU_ASSERT_STRING_EQUAL(world_text(m, 0), "421 4.4.2 enough");
    CU_ASSERT(world_connections <= 8); /* each once */
    world_stop();
}

/* RFC 5321 5.1: whom one host puts off is brought to the next one in the same attempt, and nobody else is. */
static void test_the_next_host_for_those_put_off(void)
{
    start((struct world_options){ .connections_max = 1, .idle_ms = 60000 });
    unsigned m = world_send("s@sender.mx", "m1001.0@soft.test m1001.1@soft.test soft@soft.test bad@soft.test");
    CU_ASSERT(world_wait(m, 0));
    CU_ASSERT_EQUAL(world_messages[m]->attempts, 1); /* for the bounce */
    CU_ASSERT_EQUAL(world_state(m, 3), SPOOL_RCPT_BOUNCED);
    for (unsigned i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(world_state(m, i), SPOOL_RCPT_DELIVERED);
    CU_ASSERT_EQUAL(world_messages[m]->carried[0], 1);
    CU_ASSERT_EQUAL(world_messages[m]->carried[1], 1);
    CU_ASSERT(world_wait(1, 0)); /* the notice */
    CU_ASSERT_EQUAL(world_transactions, 3 + 1);
    CU_ASSERT_EQUAL(world_connecting_failed, 1);
    /* The next message begins where it should. */
    CU_ASSERT(world_wait(world_send("", "a@soft.test"), 0));
    CU_ASSERT_EQUAL(world_transactions, 3 + 1 + 1);
    world_stop();
}

static void test_all_hosts_put_off(void)
{
    start((struct world_options){ .connections_max = 1, .idle_ms = 60000 });
    unsigned m = world_send("", "soft@softer.test ok@softer.test");
    CU_ASSERT(world_wait(m, 1));
    CU_ASSERT_EQUAL(world_state(m, 0), SPOOL_RCPT_QUEUED);
    CU_ASSERT_STRING_EQUAL(world_text(m, 0), "450 4.2.0 soft2 says later");
    CU_ASSERT_EQUAL(world_transactions, 2);
    CU_ASSERT_EQUAL(world_connections, 2);
    world_stop();
}

/* SHIPMENT_HOSTS_MAX, and one more than that. */
static void test_ten_hosts_at_most(void)
{
    start((struct world_options){ .connections_max = 1, .idle_ms = 60000 });
    CU_ASSERT(world_wait(world_send("", "soft@ten.test"), 1));
    CU_ASSERT_EQUAL(world_transactions, 10);
    CU_ASSERT(world_wait(world_send("", "soft@eleven.test"), 1));
    CU_ASSERT_EQUAL(world_transactions, 20);
    world_stop();
}

/* That the other host is down is no news of the site, and no answer. */
static void test_the_next_host_is_down(void)
{
    start((struct world_options){ .connections_max = 1, .idle_ms = 60000 });
    for (unsigned i = 0; i < 3; i++) {
        unsigned m = world_send("", "soft@softdown.test ok@softdown.test");
        CU_ASSERT(world_wait(m, 1));
        CU_ASSERT_STRING_EQUAL(world_text(m, 0), "450 4.2.0 soft1 says later");
        CU_ASSERT_EQUAL(world_state(m, 1), SPOOL_RCPT_DELIVERED);
    }
    CU_ASSERT(world_wait(world_send("", "ok@softdown.test"), 0));
    CU_ASSERT_EQUAL(world_connecting_failed, 1);
    CU_ASSERT_EQUAL(world_transactions, 4);
    world_stop();
}

/* RFC 5321 4.5.3.1.10: one recipient at a time, if that is how it wants them, and at once. */
static void test_few_recipients_at_a_time(void)
{
    start((struct world_options){ .connections_max = 1, .idle_ms = 60000 });
    unsigned m = world_send("s@sender.mx", "few1@fixed.test few2@fixed.test few3@fixed.test bad@fixed.test "
                                           "few4@fixed.test few5@fixed.test");
    CU_ASSERT(world_wait(m, 0));
    CU_ASSERT_EQUAL(world_state(m, 3), SPOOL_RCPT_BOUNCED);
    CU_ASSERT_EQUAL(world_state(m, 5), SPOOL_RCPT_DELIVERED);
    CU_ASSERT_EQUAL_FATAL(world_notices(), 1);
    CU_ASSERT(world_wait(1, 0));
    CU_ASSERT_EQUAL(world_transactions, 5 + 1);
    m = world_send("", "later@fixed.test few@fixed.test"); /* none was taken: it waits like others */
    CU_ASSERT(world_wait(m, 1));
    CU_ASSERT_STRING_EQUAL(world_text(m, 1), "452 4.5.3 too many");
    world_stop();
}

/* RFC 9422: RCPTMAX of the next hop, and one more; MAILMAX ends the connection. */
static void test_limits_of_a_next_hop(void)
{
    start((struct world_options){ .connections_max = 1, .idle_ms = 60000 });
    CU_ASSERT(world_wait(world_send("", "a@limits.test b@limits.test c@limits.test"), 0));
    CU_ASSERT_EQUAL(world_transactions, 1);
    unsigned m = world_send("s@sender.mx", "m1002.0@limits.test bad@limits.test later@limits.test m1002.3@limits.test");
    CU_ASSERT(world_wait(m, 1));
    CU_ASSERT_EQUAL(world_messages[m]->carried[0], 1);
    CU_ASSERT_EQUAL(world_state(m, 1), SPOOL_RCPT_BOUNCED);
    CU_ASSERT_EQUAL(world_state(m, 2), SPOOL_RCPT_QUEUED);
    CU_ASSERT_EQUAL(world_messages[m]->carried[3], 1);
    CU_ASSERT_EQUAL(world_parcel_rcpts_max, 3);
    CU_ASSERT(world_wait(2, 0)); /* the notice, to another hop */
    CU_ASSERT_EQUAL(world_transactions, 1 + 2 + 1);
    CU_ASSERT_EQUAL(world_connections, 2 + 1);
    world_stop();
}

static void test_a_dead_site_is_not_asked_again(void)
{
    start((struct world_options){ .connections_max = 1 });
    CU_ASSERT(world_wait(world_send("", "a@down.test"), 1));
    for (unsigned i = 0; i < 50; i++)
        CU_ASSERT(world_wait(world_send("", "a@down.test"), 1));
    CU_ASSERT_EQUAL(world_connecting_failed, 1);
    world_stop();
}

static void test_a_dead_host_is_tried_last(void)
{
    start((struct world_options){ .connections_max = 1, .idle_ms = 0 });
    for (unsigned i = 0; i < 10; i++)
        CU_ASSERT(world_wait(world_send("", "a@fallback.test"), 0));
    CU_ASSERT_EQUAL(world_connecting_failed, 1);
    world_stop();
}

static bool two_failures(void)
{
    return world_jobs_failed >= 2;
}

static bool is_undurable(void)
{
    struct dispatch_stats stats;

    world_stats(&stats);
    return stats.undurable > 0;
}

static void test_a_full_disk_makes_no_duplicate(void)
{
    struct dispatch_stats stats;
    char rcpt[64];

    start((struct world_options){ 0 });
    atomic_store(&world_disk_full, true);
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(rcpt, sizeof(rcpt), "m%u.0@fixed.test", 1001 + i);
        (void)world_send("s@sender.mx", rcpt);
    }
    CU_ASSERT(world_wait_for(two_failures));
    CU_ASSERT(world_wait_for(is_undurable));
    unsigned sent = world_transactions;
    unsigned late = world_send("s@sender.mx", "m1021.0@fixed.test");
    (void)usleep(100000);
    world_stats(&stats);
    CU_ASSERT(stats.undurable > 0);
    CU_ASSERT_EQUAL(atomic_load(&world_messages[late]->carried[0]), 0); /* nothing new is tried */
    CU_ASSERT(world_transactions <= sent + 5);                          /* but what was under way */
    atomic_store(&world_disk_full, false);
    for (unsigned i = 0; i <= 20; i++) {
        CU_ASSERT(world_wait(i, 0));
        CU_ASSERT_EQUAL(atomic_load(&world_messages[i]->carried[0]), 1);
    }
    world_stats(&stats);
    CU_ASSERT_EQUAL(stats.undurable, 0);
    world_stop();
}

static void test_a_disk_that_stays_full_loses_nothing(void)
{
    start((struct world_options){ 0 });
    atomic_store(&world_disk_full, true);
    unsigned m = world_send("s@sender.mx", "bad@fixed.test");
    CU_ASSERT(world_wait_for(two_failures));
    CU_ASSERT_EQUAL(world_state(m, 0), SPOOL_RCPT_QUEUED);
    CU_ASSERT_EQUAL(world_notices(), 0); /* notice and outcome, both or none */
    world_stop();
}

static void test_a_stuck_module_harms_nobody(void)
{
    start((struct world_options){ .module_timeout_ms = 2000 });
    unsigned stuck = world_send("", "stuck@box.test");
    CU_ASSERT(world_wait(stuck, 1));
    CU_ASSERT_STRING_EQUAL(world_text(stuck, 0), "451 4.3.0 the transport took too long");
    CU_ASSERT(world_wait(world_send("", "a@box.test"), 0));
    atomic_store(&world_stuck_released, true);
    world_stop();
}

/* The transport's own bound goes before the server's. */
static void test_delivery_timeout(void)
{
    start((struct world_options){ .module_timeout_ms = 600000, .box_timeout_ms = 200 });
    unsigned stuck = world_send("", "stuck@box.test");
    CU_ASSERT(world_wait(stuck, 1));
    CU_ASSERT_STRING_EQUAL(world_text(stuck, 0), "451 4.3.0 the transport took too long");
    atomic_store(&world_stuck_released, true);
    world_stop();
}

/* What is not waited for any more gets no mail: it is delivered by the next attempt. */
static void test_late_is_not_twice(void)
{
    start((struct world_options){ .box_timeout_ms = 2000 });
    unsigned m = world_send("", "stuck@box.test m1001.1@box.test");
    CU_ASSERT(world_wait(m, 1));
    CU_ASSERT_EQUAL(world_state(m, 1), SPOOL_RCPT_QUEUED);
    atomic_store(&world_stuck_released, true);
    CU_ASSERT_EQUAL(queue_verb(world_spool(), world_scheduler(), QUEUE_RETRY, world_messages[m]->key), 0);
    CU_ASSERT(world_wait(m, 0));
    CU_ASSERT_EQUAL(atomic_load(&world_messages[m]->carried[1]), 1);
    world_stop();
}

/* However long the list, all of it is read VISITS_MAX times at most. */
static void test_visits_of_a_long_list(void)
{
    CU_ASSERT_EQUAL(visit_rcpts(1), VISIT_RCPTS_MAX);
    CU_ASSERT_EQUAL(visit_rcpts(VISITS_MAX * VISIT_RCPTS_MAX - 1), VISIT_RCPTS_MAX);
    CU_ASSERT_EQUAL(visit_rcpts(VISITS_MAX * VISIT_RCPTS_MAX), VISIT_RCPTS_MAX + 1);
    CU_ASSERT_EQUAL(visit_rcpts(100000), 100000 / VISITS_MAX + 1);
}

static void test_verbs(void)
{
    start((struct world_options){ 0 });
    unsigned m = world_send("", "later@fixed.test");
    struct spool_key key = world_messages[m]->key;
    CU_ASSERT(world_wait(m, 1));
    CU_ASSERT_EQUAL(queue_verb(world_spool(), world_scheduler(), QUEUE_RELEASE, key), -EALREADY);
    CU_ASSERT_EQUAL(queue_verb(world_spool(), world_scheduler(), QUEUE_RETRY, key), 0);
    CU_ASSERT(world_wait(m, 2));
    CU_ASSERT_EQUAL(queue_verb(world_spool(), world_scheduler(), QUEUE_HOLD, key), 0);
    CU_ASSERT_EQUAL(queue_verb(world_spool(), world_scheduler(), QUEUE_HOLD, key), -EALREADY);
    CU_ASSERT_EQUAL(queue_verb(world_spool(), world_scheduler(), QUEUE_RETRY, key), -EALREADY);
    CU_ASSERT_EQUAL(queue_verb(world_spool(), world_scheduler(), QUEUE_RELEASE, key), 0);
    CU_ASSERT(world_wait(m, 3));
    CU_ASSERT_EQUAL(queue_verb(world_spool(), world_scheduler(), QUEUE_DELETE, key), 0);
    CU_ASSERT_EQUAL(queue_verb(world_spool(), world_scheduler(), QUEUE_DELETE, key), -ENOENT);
    world_stop();
}

/* An operator removes mail while it is delivered, refused and its sender about to be told. */
static void test_removed_under_way(void)
{
    enum { SOME = 300 };
    struct dispatch_stats stats;

    start((struct world_options){ .loops = 2, .async = true });
    for (unsigned i = 0; i < SOME; i++) {
        unsigned m = world_send("a@fixed.test", "one@fixed.test bad@fixed.test two@good.mx");
        for (unsigned wait = 0; wait < i % 16; wait++)
            (void)usleep(100);
        int r = queue_verb(world_spool(), world_scheduler(), QUEUE_DELETE, world_messages[m]->key);
        CU_ASSERT(r == 0 || r == -ENOENT);
        CU_ASSERT(world_wait(m, 0));
    }
    for (unsigned i = 0; i < 6000; i++) {
        world_stats(&stats);
        if (stats.messages == 0)
            break;
        (void)usleep(10000);
    }
    CU_ASSERT_EQUAL(stats.messages, 0); /* notices, too, went their way */
    CU_ASSERT_EQUAL(stats.undurable, 0);
    world_stop();
}

/* Many messages over two loops and few connections: each recipient gets its copy once. */
static void test_many(void)
{
    enum { MANY = 3000 };
    static const char *const domains[] = { "fixed.test", "good.mx",   "box.test", "fallback.test",
                                           "drop.test",  "soft.test" };
    char rcpts[200];

    start((struct world_options){
        .loops = 2, .connections_max = 3, .messages_max = 20, .ready_max = 60, .idle_ms = 20 });
    for (unsigned i = 0; i < MANY; i++) {
        const char *a = domains[i % 6], *b = domains[i / 6 % 6];
        (void)snprintf(rcpts, sizeof(rcpts), "m%u.0@%s m%u.1@%s", 1001 + i, a, 1001 + i, b);
        (void)world_send("", rcpts);
    }
    unsigned late = 0, twice = 0;
    for (unsigned i = 0; i < MANY; i++)
        late += !world_wait(i, 0);
    for (unsigned i = 0; i < MANY; i++)
        twice += atomic_load(&world_messages[i]->carried[0]) != 1 ||
                 atomic_load(&world_messages[i]->carried[1]) != 1;
    CU_ASSERT_EQUAL(late, 0);
    CU_ASSERT_EQUAL(twice, 0);
    world_stop();
}

static bool no_visit(void)
{
    struct dispatch_stats stats;

    world_stats(&stats);
    return stats.messages == 0 && atomic_load(&world_body_opens) > 0;
}

static void retry_and_finish(unsigned m)
{
    CU_ASSERT_EQUAL(queue_verb(world_spool(), world_scheduler(), QUEUE_RETRY, world_messages[m]->key), 0);
    CU_ASSERT(world_wait(m, UINT32_MAX));
    CU_ASSERT_EQUAL(world_state(m, 0), SPOOL_RCPT_DELIVERED);
    CU_ASSERT_EQUAL(world_notices(), 0);
    world_stop();
    CU_ASSERT_EQUAL(atomic_load(&world_bodies_open), 0);
}

/* No descriptor is left at the first look, or just as it goes out: that attempt fails, nobody is told anything else. */
static void test_a_body_that_cannot_be_opened(void)
{
    static const char *const rcpts[] = { "m1001.0@fixed.test", "ok@box.test" };

    for (unsigned i = 0; i < 2; i++) {
        start((struct world_options){ 0 });
        atomic_store(&world_body_open_fails, 1);
        unsigned m = world_send("s@sender.mx", rcpts[i]);
        CU_ASSERT(world_wait_for(no_visit));
        CU_ASSERT_EQUAL(world_messages[m]->attempts, 0); /* nobody was asked: no attempt, and no expiry */
        retry_and_finish(m);
        start((struct world_options){ 0 });
        atomic_store(&world_body_open_fails, 2);
        m = world_send("s@sender.mx", rcpts[i]);
        CU_ASSERT(world_wait(m, 1));
        CU_ASSERT_EQUAL(world_state(m, 0), SPOOL_RCPT_QUEUED);
        CU_ASSERT_STRING_EQUAL(world_text(m, 0),
                               "451 4.3.0 the message cannot be read here: big/x: Too many open files");
        retry_and_finish(m);
    }
}

/* The server ends in the middle of it: nothing hangs, nothing leaks, nothing is carried twice. */
static void test_drain_in_the_middle(void)
{
    char rcpt[64];

    for (unsigned round = 0; round < 5; round++) {
        start((struct world_options){ .loops = 2, .connections_max = 2, .idle_ms = 1000 });
        for (unsigned i = 0; i < 500; i++) {
            (void)snprintf(rcpt, sizeof(rcpt), "m%u.0@fixed.test", 1001 + i);
            (void)world_send("", rcpt);
        }
        (void)usleep(round * 3000);
        world_stop();
    }
}

static void add_tests(CU_pSuite suite)
{
    CU_add_test(suite, "one message, many ways", test_one_message_many_ways);
    CU_add_test(suite, "what DNS and policy say", test_what_dns_and_policy_say);
    CU_add_test(suite, "NOTIFY=NEVER", test_notify_never);
    CU_add_test(suite, "a notice to nobody is dropped", test_dropped_notice);
    CU_add_test(suite, "a refused notice means no bounce", test_notice_refused_means_no_bounce);
    CU_add_test(suite, "a report is owed", test_a_report_is_owed);
    CU_add_test(suite, "an owed report expires", test_an_owed_report_expires);
    CU_add_test(suite, "soft_bounce", test_soft_bounce);
    CU_add_test(suite, "expiry", test_expiry);
    CU_add_test(suite, "hold by hook deliver", test_hold_by_hook);
    CU_add_test(suite, "recipients of a transaction", test_recipients_of_a_transaction);
    CU_add_test(suite, "recipients of a visit", test_recipients_of_a_visit);
    CU_add_test(suite, "a connection is reused", test_a_connection_is_reused);
    CU_add_test(suite, "an idle connection ends", test_an_idle_connection_ends);
    CU_add_test(suite, "a dropped connection costs no attempt",
                test_a_dropped_connection_costs_no_attempt);
    CU_add_test(suite, "enough of a connection costs no attempt",
                test_enough_of_a_connection_costs_no_attempt);
    CU_add_test(suite, "a host that gives up", test_a_host_that_gives_up);
    CU_add_test(suite, "the next host for those put off", test_the_next_host_for_those_put_off);
    CU_add_test(suite, "all hosts put off", test_all_hosts_put_off);
    CU_add_test(suite, "ten hosts at most", test_ten_hosts_at_most);
    CU_add_test(suite, "the next host is down", test_the_next_host_is_down);
    CU_add_test(suite, "few recipients at a time", test_few_recipients_at_a_time);
    CU_add_test(suite, "limits of a next hop", test_limits_of_a_next_hop);
    CU_add_test(suite, "a dead site is not asked again", test_a_dead_site_is_not_asked_again);
    CU_add_test(suite, "a dead host is tried last", test_a_dead_host_is_tried_last);
    CU_add_test(suite, "a full disk makes no duplicate", test_a_full_disk_makes_no_duplicate);
    CU_add_test(suite, "a disk that stays full loses nothing",
                test_a_disk_that_stays_full_loses_nothing);
    CU_add_test(suite, "a stuck module harms nobody", test_a_stuck_module_harms_nobody);
    CU_add_test(suite, "delivery_timeout", test_delivery_timeout);
    CU_add_test(suite, "late is not twice", test_late_is_not_twice);
    CU_add_test(suite, "visits of a long list", test_visits_of_a_long_list);
    CU_add_test(suite, "verbs", test_verbs);
    CU_add_test(suite, "removed under way", test_removed_under_way);
    CU_add_test(suite, "a body that cannot be opened", test_a_body_that_cannot_be_opened);
    CU_add_test(suite, "many", test_many);
    CU_add_test(suite, "drain in the middle", test_drain_in_the_middle);
}

static int be_async(void)
{
    async = true;
    return 0;
}

int main(void)
{
    CU_initialize_registry();
    add_tests(CU_add_suite("dispatch", NULL, NULL));
    add_tests(CU_add_suite("dispatch, all answers come later", be_async, NULL));
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
