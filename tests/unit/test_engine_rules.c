/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_engine_rules.c - the rules of DESIGN 3.2 to 3.4 one by one, where breaking one would show
 * nowhere else: kept refusals, shadow mode, what counts as an answer.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine_fixture.h"

#define AT(point) (1 + TERN_HOOK_##point)

/* ---- kept refusals ---- */

static void test_kept_in_the_order_of_steps(void)
{
    static const struct script one = { TERN_REJECT, AT(CONNECT), 554, "the first" };
    static const struct script two = { TERN_REJECT, AT(CONNECT), 554, "the second" };

    world_open("inbound", NULL);
    (void)step("one", &meek_module, &one);
    (void)step("two", &meek_module, &two);
    (void)step("domains", &claiming_module, &claim_local);
    reach_mail();
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_REJECT);
    CU_ASSERT_TRUE(last_text_has("the first"));
    world_close();
}

/* All steps of a policy may refuse at connect and again at ehlo: none of it is forgotten. */
static void test_kept_by_many(void)
{
    static const struct script refuses = { .answer = TERN_REJECT };
    static const char *const names[] = { "s0",  "s1",  "s2",  "s3",  "s4",  "s5",  "s6",  "s7",
                                         "s8",  "s9",  "s10", "s11", "s12", "s13", "s14", "s15",
                                         "s16", "s17", "s18", "s19", "s20", "s21", "s22", "s23",
                                         "s24", "s25", "s26", "s27", "s28", "s29", "s30" };
    unsigned count = sizeof(names) / sizeof(names[0]);

    world_open("inbound", NULL);
    for (unsigned i = 0; i < count; i++)
        step(names[i], &meek_module, &refuses)->mode = STEP_SHADOW;
    (void)step("domains", &claiming_module, &claim_local);
    testplan_build(w.policy);
    struct plan *strict = testplan_profile(w.policy, "strict@example.org", 0);
    begin();
    CU_ASSERT_EQUAL(ask_connect(), TERN_NEXT);
    for (unsigned i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(ask_helo("again"), TERN_NEXT); /* each takes back what the last one kept */
    CU_ASSERT_EQUAL(w.session->kept_count, 2 * count);
    CU_ASSERT_TRUE(2 * 100 <= ENGINE_KEPT_MAX);
    CU_ASSERT_EQUAL(ask_mail("a@example.com"), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_NEXT);
    testplan_profile_step(strict, names[count - 1])->mode = STEP_ENFORCE;
    CU_ASSERT_EQUAL(ask_rcpt("strict@example.org"), TERN_REJECT);
    CU_ASSERT_TRUE(slice_equal(w.decision.step, slice_cstr(names[count - 1])));
    world_close();
}

/* RFC 5321 3.1: a greeting that refuses is a 554. */
static void test_refuse_connect(void)
{
    static const struct script no = { .answer = TERN_REJECT, .only_at = AT(CONNECT) };

    world_open("inbound", NULL);
    step("dnsbl", &meek_module, &no)->refuse_at = STEP_REFUSE_NOW;
    begin();
    CU_ASSERT_EQUAL(ask_connect(), TERN_REJECT);
    CU_ASSERT_EQUAL(w.decision.code, 554);
    world_close();
}

/* ---- shadow mode decides nothing ---- */

static const tern_verdict anything[] = { TERN_REJECT, TERN_DEFER,   TERN_CLOSE,
                                         TERN_HOLD,   TERN_DISCARD, TERN_ERROR };

static void test_shadow_at_rcpt(void)
{
    for (size_t i = 0; i < sizeof(anything) / sizeof(anything[0]); i++) {
        struct script s = { .answer = anything[i], .only_at = AT(RCPT) };
        world_open("inbound", NULL);
        (void)step("domains", &claiming_module, &claim_local);
        step("s", &meek_module, &s)->mode = STEP_SHADOW;
        reach_mail();
        CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_NEXT);
        world_close();
    }
}

static void test_shadow_of_messages(void)
{
    static const unsigned hooks[] = { AT(MESSAGE), AT(QUEUE), AT(SIGN) };

    for (size_t h = 0; h < sizeof(hooks) / sizeof(hooks[0]); h++)
        for (size_t i = 0; i < sizeof(anything) / sizeof(anything[0]); i++) {
            struct script s = { .answer = anything[i], .only_at = hooks[h] };
            world_open("inbound", NULL);
            (void)step("domains", &claiming_module, &claim_local);
            step("s", &meek_module, &s)->mode = STEP_SHADOW;
            reach_rcpt();
            CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\n"), TERN_NEXT);
            CU_ASSERT_EQUAL_FATAL(w.result->group_count, 1);
            CU_ASSERT_EQUAL(w.result->groups[0].disposition, DISPOSE_DELIVER);
            world_close();
        }
}

/* The load refuses it; should it come so far, it takes nobody's certainty away. */
static void test_shadow_claims_nothing(void)
{
    static const struct script fails = { .answer = TERN_ERROR };

    for (int i = 0; i < 2; i++) {
        world_open("inbound", NULL);
        step("s", &claiming_module, i == 0 ? &fails : &claim_local)->mode = STEP_SHADOW;
        reach_mail();
        CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_REJECT);
        CU_ASSERT_TRUE(last_text_has("relaying denied"));
        world_close();
    }
}

/* ---- route: the first answer ---- */

static struct route_answer answer;
static unsigned answers;

static void on_routed(void *arg, const struct route_answer *given)
{
    (void)arg;
    answer = *given;
    answers++;
}

static tern_verdict route_to(tern_call *call, const struct script *s)
{
    struct tern_route route = { .size = sizeof(route), .transport = { s->text, strlen(s->text) } };

    return tern->set_route(call, &route) == 0 ? TERN_ACCEPT : TERN_ERROR;
}

static const struct script to_one = { .only_at = AT(ROUTE), .text = "one", .more = route_to };
static const struct script to_two = { .only_at = AT(ROUTE), .text = "two", .more = route_to };
static const struct script nowhere = { .only_at = AT(ROUTE), .answer = TERN_ACCEPT };

/* Two steps, asked for the way of one recipient. */
static void route(const struct script *one, enum step_mode mode, const struct script *two)
{
    static const unsigned rcpts[] = { 0 };
    struct txn_facts *t = txn_facts_for_test("a@example.com");
    struct rcpt_facts *rcpt = ARENA_NEW(&t->memory->arena, struct rcpt_facts);

    rcpt->view.mailbox = rcpt->view.original = mailbox("r1@example.org");
    txn_facts_add_rcpt(t, rcpt);
    step("one", &meek_module, one)->mode = mode;
    (void)step("two", &meek_module, two);
    testplan_build(w.policy);
    struct engine_session_options o = session_options(session_facts_for_test());
    struct engine_delivery *d = engine_delivery_new(w.engine, &o, t);
    answers = 0;
    engine_route(d, rcpts, 1, on_routed, NULL);
    CU_ASSERT_EQUAL(answers, 1);
    engine_delivery_free(d);
}

static void test_first_route_wins(void)
{
    world_open("inbound", NULL);
    route(&to_one, STEP_ENFORCE, &to_two);
    CU_ASSERT_EQUAL(answer.verdict, TERN_ACCEPT);
    CU_ASSERT_TRUE(slice_equal(answer.step, SLICE("one")));
    CU_ASSERT_STRING_EQUAL(w.trace.data, "route:one "); /* nobody is asked after the answer */
    world_close();

    world_open("inbound", NULL);
    route(&to_one, STEP_SHADOW, &to_two);
    CU_ASSERT_EQUAL(answer.verdict, TERN_ACCEPT);
    CU_ASSERT_TRUE(slice_equal(answer.step, SLICE("two")));
    world_close();
}

static void test_accept_without_a_route(void)
{
    world_open("inbound", NULL);
    route(&nowhere, STEP_ENFORCE, &to_two);
    CU_ASSERT_EQUAL(answer.verdict, TERN_DEFER);
    CU_ASSERT_EQUAL(answer.code, 451);
    world_close();
}

/* ---- deliver ---- */

static tern_verdict change_way(tern_call *call, const struct script *s)
{
    static const tern_str to[] = { { "other.test", 10 } }, fallback[] = { { "last.test", 9 } };
    struct tern_route route = { .size = sizeof(route),
                                .transport = TERN_STR("relay"),
                                .to = { to, 1 },
                                .fallback = { fallback, 1 } };

    if (tern->set_route(call, &route) < 0)
        return TERN_ERROR;
    return s->answer == TERN_HOLD ? tern->hold(call, "look at it") : s->answer;
}

static void test_deliver_changes_the_way(void)
{
    static const tern_verdict verdicts[] = { TERN_NEXT, TERN_HOLD };
    static const unsigned rcpts[] = { 0 };

    for (size_t i = 0; i < 2; i++) {
        struct script change = { .answer = verdicts[i],
                                 .only_at = AT(DELIVER),
                                 .more = change_way };
        struct tern_route way = { .size = sizeof(way),
                                  .transport = TERN_STR("smtp"),
                                  .source = TERN_STR("192.0.2.9") };
        struct txn_facts *t = txn_facts_for_test("a@example.com");
        struct rcpt_facts *rcpt = ARENA_NEW(&t->memory->arena, struct rcpt_facts);

        world_open("inbound", NULL);
        rcpt->view.mailbox = rcpt->view.original = mailbox("r1@example.org");
        txn_facts_add_rcpt(t, rcpt);
        (void)step("c", &meek_module, &change);
        testplan_build(w.policy);
        struct engine_session_options o = session_options(session_facts_for_test());
        struct engine_delivery *d = engine_delivery_new(w.engine, &o, t);
        engine_deliver(d, rcpts, 1, &way, on_decided, NULL);
        CU_ASSERT_EQUAL(w.decision.verdict, verdicts[i]);
        if (verdicts[i] == TERN_HOLD) {
            CU_ASSERT_TRUE(last_text_has("look at it"));
            CU_ASSERT_TRUE(slice_equal(w.decision.step, SLICE("c")));
        }
        CU_ASSERT_STRING_EQUAL(way.transport.ptr, "relay");
        CU_ASSERT_STRING_EQUAL(way.to.items[0].ptr, "other.test");
        CU_ASSERT_STRING_EQUAL(way.fallback.items[0].ptr, "last.test");
        CU_ASSERT_STRING_EQUAL(way.source.ptr, "192.0.2.9"); /* what is not said stays */
        engine_delivery_free(d);
        world_close();
    }
}

/* ---- groups ---- */

static tern_verdict tag_some(tern_call *call, const struct script *s)
{
    (void)s;
    const char *local = tern->current_rcpt(call)->mailbox.local.ptr;
    return local[0] != 't' || tern->tag(call, "a") == 0 ? TERN_NEXT : TERN_ERROR;
}

/* The client sends it all again: nobody need be asked for the other group. */
static void test_a_deferred_group_ends_it(void)
{
    static const struct script at_rcpt = { .only_at = AT(RCPT), .more = tag_some };
    static const struct script at_message = { .only_at = AT(MESSAGE), .answer = TERN_DEFER };

    world_open("inbound", NULL);
    w.split = false;
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("t", &meek_module, &at_rcpt);
    (void)step("d", &meek_module, &at_message);
    reach_rcpt();
    CU_ASSERT_EQUAL(ask_rcpt("t@example.org"), TERN_NEXT);
    buf_clear(&w.trace);
    CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\n"), TERN_DEFER);
    CU_ASSERT_EQUAL(w.result->group_count, 0);
    CU_ASSERT_STRING_EQUAL(w.trace.data, "message:t message:d ");
    world_close();
}

static tern_verdict hold_for_all(tern_call *call, const struct script *s)
{
    CU_ASSERT_FALSE(tern->has_tag(call, "a")); /* tags of recipients are none of the message's */
    CU_ASSERT_EQUAL(tern->rcpt_count(call), 2);
    return s->answer == TERN_HOLD ? tern->hold(call, "for a look") : s->answer;
}

static void test_once_disposes_of_all(void)
{
    static const struct script at_rcpt = { .only_at = AT(RCPT), .more = tag_some };
    static const struct script once[] = {
        { .only_at = AT(MESSAGE), .answer = TERN_HOLD, .more = hold_for_all },
        { .only_at = AT(MESSAGE), .answer = TERN_DISCARD, .more = hold_for_all },
    };

    for (size_t i = 0; i < 2; i++) {
        world_open("inbound", NULL);
        w.split = false;
        (void)step("domains", &claiming_module, &claim_local);
        (void)step("t", &meek_module, &at_rcpt);
        (void)step("once", &once_module, &once[i]);
        reach_mail();
        CU_ASSERT_EQUAL(ask_rcpt("t@example.org"), TERN_NEXT);
        CU_ASSERT_EQUAL(ask_rcpt("u@example.org"), TERN_NEXT);
        CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\n"), TERN_NEXT);
        CU_ASSERT_EQUAL_FATAL(w.result->group_count, 2);
        for (unsigned g = 0; g < 2; g++) {
            CU_ASSERT_EQUAL(w.result->groups[g].disposition,
                            i == 0 ? DISPOSE_HOLD : DISPOSE_DISCARD);
            if (i == 0)
                CU_ASSERT_TRUE(slice_equal(w.result->groups[g].hold_reason, SLICE("for a look")));
        }
        world_close();
    }
}

static tern_verdict expand(tern_call *call, const struct script *s)
{
    unsigned count =
        tern->current_rcpt(call)->mailbox.local.ptr[0] == 'm' ? JOURNAL_CHILDREN_MAX : 1;

    (void)s;
    for (unsigned i = 0; i < count; i++)
        if (tern->expand_rcpt(call, TERN_STR("c@example.net")) < 0)
            return TERN_ERROR;
    return TERN_NEXT;
}

static void test_most_recipients(void)
{
    static const struct script s = { .only_at = AT(RCPT), .more = expand };

    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("alias", &meek_module, &s);
    reach_mail();
    for (unsigned i = 0; i < ENGINE_TXN_RCPTS_MAX / JOURNAL_CHILDREN_MAX; i++)
        CU_ASSERT_EQUAL(ask_rcpt("many@example.org"), TERN_NEXT);
    CU_ASSERT_EQUAL(engine_txn(w.session)->rcpt_count, ENGINE_TXN_RCPTS_MAX);
    CU_ASSERT_EQUAL(ask_rcpt("one@example.org"), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 452);
    CU_ASSERT_EQUAL(engine_txn(w.session)->rcpt_count, ENGINE_TXN_RCPTS_MAX);
    world_close();
}

/* ---- added recipients ---- */

static tern_verdict add_named(tern_call *call, const struct script *s)
{
    return tern->add_rcpt(call, (tern_str){ s->text, strlen(s->text) }) == 0 ? TERN_NEXT
                                                                             : TERN_ERROR;
}

static tern_verdict wait_for_added(tern_call *call, const struct script *s)
{
    (void)s;
    if (strncmp(tern->current_rcpt(call)->mailbox.address.ptr, "slow@", 5) == 0)
        return TERN_WAIT;
    return tern->claim(call, TERN_CLASS_LOCAL) == 0 ? TERN_NEXT : TERN_ERROR;
}

/* The step that should say whose it is hangs: time-out, or the client goes. */
static void test_added_waits(void)
{
    static const struct script claims = { .only_at = AT(RCPT), .more = wait_for_added };
    static const struct script adds = { .only_at = AT(MESSAGE),
                                        .more = add_named,
                                        .text = "slow@example.org" };
    const struct tern_module *modules[] = { &meek_module, &once_module };

    for (unsigned i = 0; i < 4; i++) {
        world_open("inbound", NULL);
        step("domains", &every_module, &claims)->timeout_ms = i % 2 == 0 ? 20 : 30000;
        (void)step("archive", modules[i / 2], &adds);
        reach_rcpt();
        if (i % 2 == 0) {
            CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\n"), TERN_DEFER);
            CU_ASSERT_EQUAL(w.decision.code, 451);
        } else {
            struct body *body = body_of("Subject: x\r\n\r\n");
            unsigned before = w.answers;
            engine_message(w.session, body, SLICE("Received: here\r\n"), on_message_result, NULL);
            body_unref(body);
            run_for_ms(5);
            engine_session_free(w.session);
            w.session = NULL;
            CU_ASSERT_EQUAL(w.answers, before);
        }
        CU_ASSERT_EQUAL(w.aborts, 1);
        world_close();
    }
}

static tern_verdict see_class(tern_call *call, const struct script *s)
{
    (void)s;
    CU_ASSERT_EQUAL_FATAL(tern->rcpt_count(call), 2);
    CU_ASSERT_EQUAL(tern->rcpt(call, 1)->class_, TERN_CLASS_RELAY);
    return TERN_NEXT;
}

/* SRS and the like decide by the class: it is there at hook queue. */
static void test_queue_sees_the_class_of_the_added(void)
{
    static const struct script relay = { .claim = TERN_CLASS_RELAY };
    static const struct script adds = { .only_at = AT(MESSAGE),
                                        .more = add_named,
                                        .text = "x@example.org" };
    static const struct script sees = { .only_at = AT(QUEUE), .more = see_class };

    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &relay);
    (void)step("archive", &meek_module, &adds);
    (void)step("srs", &meek_module, &sees);
    reach_rcpt();
    CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\n"), TERN_NEXT);
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "queue:srs"));
    world_close();
}

/* ---- the record ---- */

static void test_record_of_the_core(void)
{
    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, NULL);
    reach_mail();
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_REJECT);
    CU_ASSERT_PTR_NOT_NULL(strstr(record_steps().ptr, "\"hook\":\"rcpt\",\"step\":\"tern\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(record_steps().ptr, "550 5.7.1 relaying denied"));
    for (unsigned i = 0; i < 500; i++)
        (void)ask_rcpt("r1@example.org");
    CU_ASSERT_TRUE(w.session->txn->record.truncated);
    CU_ASSERT_TRUE(record_steps().len <= RECORD_OCTETS_MAX);
    world_close();
}

/* ---- what counts as an answer ---- */

static tern_verdict say_one_do_another(tern_call *call, const struct script *s)
{
    (void)tern->reply(call, TERN_REJECT, 550, "5.7.1", "never");
    return s->answer;
}

static void test_reply_of_another_verdict(void)
{
    static const struct script s = { .answer = TERN_CLOSE,
                                     .only_at = AT(DATA),
                                     .more = say_one_do_another };

    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("s", &meek_module, &s);
    reach_rcpt();
    CU_ASSERT_EQUAL(ask_data(), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 451);
    world_close();
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite s = CU_add_suite("rules", NULL, NULL);
    CU_add_test(s, "kept refusals come in the order of steps", test_kept_in_the_order_of_steps);
    CU_add_test(s, "no kept refusal is forgotten", test_kept_by_many);
    CU_add_test(s, "a refused connection", test_refuse_connect);
    CU_add_test(s, "shadow at rcpt", test_shadow_at_rcpt);
    CU_add_test(s, "shadow at message, queue and sign", test_shadow_of_messages);
    CU_add_test(s, "shadow claims nothing", test_shadow_claims_nothing);
    CU_add_test(s, "the first route wins", test_first_route_wins);
    CU_add_test(s, "ACCEPT without a route", test_accept_without_a_route);
    CU_add_test(s, "deliver changes the way", test_deliver_changes_the_way);
    CU_add_test(s, "a deferred group ends it", test_a_deferred_group_ends_it);
    CU_add_test(s, "a ONCE step disposes of all", test_once_disposes_of_all);
    CU_add_test(s, "100000 recipients, not one more", test_most_recipients);
    CU_add_test(s, "whose an added recipient is cannot be told", test_added_waits);
    CU_add_test(s, "hook queue sees the class of the added",
                test_queue_sees_the_class_of_the_added);
    CU_add_test(s, "the record of the core", test_record_of_the_core);
    CU_add_test(s, "a reply of another verdict", test_reply_of_another_verdict);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
