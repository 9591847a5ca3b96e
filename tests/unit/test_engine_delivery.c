/* SPDX-License-Identifier: Apache-2.0 */
/* test_engine_delivery.c - mail of other origins, and the hooks route, deliver and result. */
#include <stdio.h>
#include <stdlib.h>

#include "engine_fixture.h"

#define AT(point) (1 + TERN_HOOK_##point)

/* ---- enqueue ---- */

static struct txn_facts *notice(void)
{
    struct txn_facts *t = txn_facts_for_test("");
    struct rcpt_facts *rcpt = ARENA_NEW(&t->memory->arena, struct rcpt_facts);

    rcpt->view.mailbox = rcpt->view.original = mailbox("a@example.com");
    txn_facts_add_rcpt(t, rcpt);
    return t;
}

static tern_verdict enqueue(tern_verdict answer, const char *policy)
{
    struct script s = { .answer = answer, .only_at = AT(QUEUE) };
    struct body *body = body_of("Subject: bounce\r\n\r\n");
    unsigned before = w.answers;

    world_open(policy, NULL);
    (void)step("s", &meek_module, &s);
    testplan_build(w.policy);
    struct engine_session_options o = session_options(session_facts_for_test());
    struct engine_enqueue *e =
        engine_enqueue(w.engine, &o, notice(), body, on_message_result, NULL);
    body_unref(body);
    run_until(&w.answers, before + 1);
    tern_verdict verdict = w.decision.verdict;
    CU_ASSERT_STRING_EQUAL(
        w.trace.data, answer == TERN_NEXT || answer == TERN_HOLD ? "queue:s sign:s " : "queue:s ");
    if (verdict == TERN_NEXT)
        CU_ASSERT_EQUAL(w.result->group_count, 1);
    engine_enqueue_free(e);
    w.answers = 0;
    world_close();
    return verdict;
}

static void test_enqueue(void)
{
    w.answers = 0;
    CU_ASSERT_EQUAL(enqueue(TERN_NEXT, "generated"), TERN_NEXT);
    CU_ASSERT_EQUAL(enqueue(TERN_DEFER, "generated"), TERN_DEFER);
    CU_ASSERT_EQUAL(enqueue(TERN_REJECT, "generated"), TERN_DEFER); /* errors of the step there */
    CU_ASSERT_EQUAL(enqueue(TERN_DISCARD, "generated"), TERN_DEFER);
    CU_ASSERT_EQUAL(enqueue(TERN_REJECT, "local"), TERN_REJECT);
    CU_ASSERT_EQUAL(enqueue(TERN_HOLD, "local"), TERN_NEXT);
    CU_ASSERT_EQUAL(enqueue(TERN_DISCARD, "local"), TERN_NEXT);
}

/* ---- delivery ---- */

static struct route_answer answers[3];
static unsigned routed;

static void on_routed(void *arg, const struct route_answer *given)
{
    (void)arg;
    memcpy(answers, given, sizeof(answers));
    routed++;
}

static tern_verdict find_route(tern_call *call, const struct script *s)
{
    static const tern_str hosts[] = { { "relay.test:25", 13 } };
    const struct tern_recipient *r = tern->rcpt(call, 0);

    (void)s;
    CU_ASSERT_EQUAL(tern->rcpt_count(call), 1);
    if (r->class_ == TERN_CLASS_NONE)
        return TERN_NEXT;
    if (r->class_ == TERN_CLASS_RELAY)
        return tern->reply(call, TERN_REJECT, 550, "5.1.2", "no such place");
    struct tern_route route = { .size = sizeof(route),
                                .transport = TERN_STR("lmtp"),
                                .to = { hosts, 1 } };
    return tern->set_route(call, &route) == 0 ? TERN_ACCEPT : TERN_ERROR;
}

static struct txn_facts *stored(void)
{
    static const unsigned classes[] = { TERN_CLASS_LOCAL, TERN_CLASS_RELAY, TERN_CLASS_NONE };
    struct txn_facts *t = txn_facts_for_test("a@example.com");

    for (unsigned i = 0; i < 3; i++) {
        struct rcpt_facts *rcpt = ARENA_NEW(&t->memory->arena, struct rcpt_facts);
        rcpt->view.mailbox = rcpt->view.original = mailbox("r1@example.org");
        rcpt->view.class_ = classes[i];
        rcpt->tags = notes_add(&t->memory->arena, NULL, SLICE("b"), SLICE("true"));
        txn_facts_add_rcpt(t, rcpt);
    }
    return t;
}

static void test_route(void)
{
    static const struct script s = { .only_at = AT(ROUTE), .more = find_route };
    static const unsigned rcpts[] = { 0, 1, 2 };

    for (int soft = 0; soft < 2; soft++) {
        world_open("inbound", NULL);
        w.soft_bounce = soft;
        (void)step("routes", &meek_module, &s);
        testplan_build(w.policy);
        struct engine_session_options o = session_options(session_facts_for_test());
        struct engine_delivery *d = engine_delivery_new(w.engine, &o, stored());
        routed = 0;
        engine_route(d, rcpts, 3, on_routed, NULL);
        CU_ASSERT_EQUAL(routed, 1);
        CU_ASSERT_EQUAL(answers[0].verdict, TERN_ACCEPT);
        CU_ASSERT_STRING_EQUAL(answers[0].route.transport.ptr, "lmtp");
        CU_ASSERT_STRING_EQUAL(answers[0].route.to.items[0].ptr, "relay.test:25");
        CU_ASSERT_EQUAL(answers[1].verdict, soft ? TERN_DEFER : TERN_REJECT);
        CU_ASSERT_EQUAL(answers[1].code, soft ? 450 : 550);
        CU_ASSERT_EQUAL(answers[2].verdict, TERN_DEFER); /* nobody knows: nothing goes anywhere */
        CU_ASSERT_EQUAL(answers[2].code, 451);
        CU_ASSERT_STRING_EQUAL(answers[2].enhanced, "4.3.5");
        engine_delivery_free(d);
        world_close();
    }
}

static tern_verdict change_route(tern_call *call, const struct script *s)
{
    struct tern_route route = { .size = sizeof(route), .source = TERN_STR("192.0.2.9") };

    (void)s;
    CU_ASSERT_EQUAL(tern->rcpt_count(call), 2);
    return tern->set_route(call, &route) == 0 ? TERN_NEXT : TERN_ERROR;
}

static tern_verdict see_outcome(tern_call *call, const struct script *s)
{
    (void)s;
    buf_printf(&w.trace, "<%s %s %u> ", tern->outcome(call).ptr, tern->outcome_text(call).ptr,
               tern->rcpt_count(call));
    CU_ASSERT_EQUAL(tern->tag(call, "a"), -EPERM);
    CU_ASSERT_TRUE(tern->has_tag(call, "b")); /* what a recipient was given at rcpt */
    return TERN_NEXT;
}

static void route_later(tern_call *call, const void *conf)
{
    tern->complete(call, find_route(call, conf));
}
static tern_verdict route_waits(tern_call *call, const struct script *s)
{
    (void)s;
    return tern->after_ms(call, 1, route_later);
}

static void test_deliver(void)
{
    static const struct script route = { .only_at = AT(ROUTE), .more = route_waits };
    static const struct script change = { .only_at = AT(DELIVER), .more = change_route };
    static const struct script outcome = { .only_at = AT(RESULT), .more = see_outcome };
    static const struct script defer = { .answer = TERN_DEFER, .only_at = AT(DELIVER) };
    static const unsigned rcpts[] = { 0, 1, 2 };
    struct tern_route way = { .size = sizeof(way), .transport = TERN_STR("smtp") };

    for (int deferring = 0; deferring < 2; deferring++) {
        world_open("inbound", NULL);
        (void)step("c", &meek_module, &change);
        (void)step("o", &meek_module, &outcome);
        (void)step("routes", &meek_module, &route);
        if (deferring)
            (void)step("d", &meek_module, &defer);
        testplan_build(w.policy);
        struct engine_session_options o = session_options(session_facts_for_test());
        struct engine_delivery *d = engine_delivery_new(w.engine, &o, stored());
        routed = 0;
        engine_route(d, rcpts, 3, on_routed, NULL);
        run_until(&routed, 1);
        CU_ASSERT_EQUAL(answers[0].verdict, TERN_ACCEPT);
        CU_ASSERT_EQUAL(answers[2].verdict, TERN_DEFER);
        engine_deliver(d, rcpts, 2, &way, on_decided, NULL);
        CU_ASSERT_EQUAL(w.decision.verdict, deferring ? TERN_DEFER : TERN_NEXT);
        CU_ASSERT_STRING_EQUAL(way.source.ptr, "192.0.2.9");
        CU_ASSERT_STRING_EQUAL(way.transport.ptr, "smtp");
        engine_result(d, rcpts, 1, &(struct engine_outcome){ SLICE("delivered"), SLICE("250 ok"), { 0 }, { 0 }, { 0 } });
        CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "<delivered 250 ok 1>"));
        engine_delivery_free(d);
        world_close();
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("engine, delivery", NULL, NULL);
    CU_add_test(s, "enqueue", test_enqueue);
    CU_add_test(s, "route", test_route);
    CU_add_test(s, "deliver and result", test_deliver);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
