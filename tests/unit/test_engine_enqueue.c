/* SPDX-License-Identifier: Apache-2.0 */
/* test_engine_enqueue.c - mail that no session brought: whose its recipients are. */
#include <stdio.h>
#include <stdlib.h>

#include "engine_fixture.h"

#define AT(point) (1 + TERN_HOOK_##point)

static struct policy *asked; /* the policy of the message that a notice is about */
static struct script claimer;

static tern_verdict claim_client(tern_call *call, const struct script *s)
{
    (void)s;
    CU_ASSERT_EQUAL(tern->client_address(call)->family, 0);
    CU_ASSERT_EQUAL(tern->client_address_text(call).len, 0);
    return tern->claim(call, TERN_CLASS_CLIENT) == 0 ? TERN_NEXT : TERN_ERROR;
}

static tern_verdict rewrite(tern_call *call, const struct script *s)
{
    (void)s;
    CU_ASSERT_STRING_EQUAL(tern->current_rcpt(call)->mailbox.address.ptr, "a@example.com");
    CU_ASSERT_EQUAL(tern->sender(call)->address.len, 0);
    return tern->rewrite_rcpt(call, TERN_STR("b@example.net")) == 0 ? TERN_NEXT : TERN_ERROR;
}

static tern_verdict expand(tern_call *call, unsigned count)
{
    char address[32];

    for (unsigned i = 0; i < count; i++) {
        int len = snprintf(address, sizeof(address), "c%u@example.net", i);
        if (tern->expand_rcpt(call, (tern_str){ address, (size_t)len }) < 0)
            return TERN_ERROR;
    }
    return TERN_NEXT;
}

static tern_verdict expand_two(tern_call *call, const struct script *s)
{
    (void)s;
    return expand(call, 2);
}

static tern_verdict expand_most(tern_call *call, const struct script *s)
{
    (void)s;
    return expand(call, JOURNAL_CHILDREN_MAX);
}

static tern_verdict expand_one(tern_call *call, const struct script *s)
{
    (void)s;
    return expand(call, 1);
}

/* ---- the form of a test: steps of `asked`, then a notice to a@example.com ---- */

static struct script queue_step;
static struct engine_enqueue *under_way;

static void open_world(void)
{
    world_open("generated", NULL);
    w.answers = 0;
    (void)step("q", &meek_module, &queue_step);
    testplan_build(w.policy);
    asked = testplan_new("inbound");
}

static struct plan_step *ask(const struct tern_module *module, const struct script *s)
{
    return testplan_add(asked, "domains", module, s);
}

static void start(enum tern_class class_)
{
    struct txn_facts *t = txn_facts_for_test("");
    struct rcpt_facts *rcpt = ARENA_NEW(&t->memory->arena, struct rcpt_facts);
    struct session_facts *session = session_facts_new();
    struct body *body = body_of("Subject: bounce\r\n\r\n");

    rcpt->view.mailbox = rcpt->view.original = mailbox("a@example.com");
    rcpt->view.class_ = class_;
    rcpt->view.claimed_by = rcpt->orcpt = rcpt->notify = TERN_STR("");
    txn_facts_add_rcpt(t, rcpt);
    testplan_build(asked);
    session->id = session->client_text = session->user = TERN_STR("");
    struct engine_session_options o = session_options(session);
    o.claims = asked;
    under_way = engine_enqueue(w.engine, &o, t, body, on_message_result, NULL);
    body_unref(body);
}

static tern_verdict enqueue(void)
{
    start(TERN_CLASS_NONE);
    run_until(&w.answers, 1);
    CU_ASSERT_EQUAL(w.answers, 1);
    return w.decision.verdict;
}

static const struct tern_recipient *rcpt_of(unsigned n)
{
    CU_ASSERT_EQUAL_FATAL(w.result->group_count, 1);
    CU_ASSERT_TRUE_FATAL(n < w.result->groups[0].facts->rcpt_count);
    return &w.result->groups[0].facts->rcpts[n]->view;
}

static void close_world(void)
{
    engine_enqueue_free(under_way);
    under_way = NULL;
    world_close();
    testplan_free(asked);
}

/* ---- tests ---- */

static const struct {
    const char *name;
    struct script script;
    tern_verdict verdict;
    enum tern_class class_;
} answers[] = {
    { "local", { .claim = TERN_CLASS_LOCAL }, TERN_NEXT, TERN_CLASS_LOCAL },
    { "relay", { .claim = TERN_CLASS_RELAY }, TERN_NEXT, TERN_CLASS_RELAY },
    { "forward", { .claim = TERN_CLASS_FORWARD }, TERN_NEXT, TERN_CLASS_FORWARD },
    { "client", { .more = claim_client }, TERN_NEXT, TERN_CLASS_NONE },
    { "nobody", { .answer = TERN_NEXT }, TERN_NEXT, TERN_CLASS_NONE },
    { "held", { .claim = TERN_CLASS_LOCAL, .answer = TERN_HOLD }, TERN_NEXT, TERN_CLASS_LOCAL },
    { "dropped",
      { .claim = TERN_CLASS_LOCAL, .answer = TERN_DISCARD },
      TERN_NEXT,
      TERN_CLASS_LOCAL },
    { "refused",
      { .answer = TERN_REJECT, .code = 550, .text = "no such mailbox" },
      TERN_REJECT,
      0 },
    { "put off", { .answer = TERN_DEFER, .code = 450, .text = "later" }, TERN_DEFER, 0 },
    { "closed", { .answer = TERN_CLOSE }, TERN_DEFER, 0 },
    { "error", { .answer = TERN_ERROR }, TERN_DEFER, 0 },
    { "claimed, then an error",
      { .claim = TERN_CLASS_LOCAL, .answer = TERN_ERROR },
      TERN_DEFER,
      0 },
};

static void check_answer(size_t i, const struct tern_module *module)
{
    open_world();
    (void)ask(module, &answers[i].script);
    CU_ASSERT_EQUAL(enqueue(), answers[i].verdict);
    if (answers[i].verdict == TERN_NEXT) {
        CU_ASSERT_EQUAL(rcpt_of(0)->class_, answers[i].class_);
        CU_ASSERT_STRING_EQUAL(rcpt_of(0)->claimed_by.ptr,
                               answers[i].class_ != TERN_CLASS_NONE ? "domains" : "");
        CU_ASSERT_EQUAL(w.result->groups[0].disposition, DISPOSE_DELIVER);
    } else {
        CU_ASSERT_EQUAL(w.result->group_count, 0);
        CU_ASSERT_EQUAL(w.decision.code, answers[i].verdict == TERN_REJECT ? 550 : 451);
        CU_ASSERT_PTR_NULL(strstr(w.trace.data != NULL ? w.trace.data : "", "queue:"));
    }
    close_world();
}

/* On the loop, and on the pool: an answer from inside the question, and one that comes later. */
static void test_answers(void)
{
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        check_answer(i, &every_module);
        check_answer(i, &blocking_module);
    }
}

/* A refusal by on_error is no certainty. */
static void test_error_is_no_refusal(void)
{
    const struct script failing = { .answer = TERN_ERROR };

    for (int on_error = STEP_ERROR_DEFER; on_error <= STEP_ERROR_REJECT; on_error++) {
        open_world();
        ask(&every_module, &failing)->on_error = (enum step_on_error)on_error;
        CU_ASSERT_EQUAL(enqueue(), TERN_DEFER);
        CU_ASSERT_EQUAL(w.decision.code, 451);
        close_world();
    }
}

/* `generated` knows no REJECT, not even by on_error. */
static void test_generated_knows_no_reject(void)
{
    world_open("generated", NULL);
    queue_step = (struct script){ .answer = TERN_ERROR, .only_at = AT(QUEUE) };
    step("q", &meek_module, &queue_step)->on_error = STEP_ERROR_REJECT;
    testplan_build(w.policy);
    asked = testplan_new("inbound");
    CU_ASSERT_EQUAL(enqueue(), TERN_DEFER);
    queue_step = (struct script){ 0 };
    close_world();
}

static void test_only_claiming_steps(void)
{
    const struct script refuses = { .answer = TERN_REJECT };

    open_world();
    (void)ask(&meek_module, &refuses);
    (void)ask(&claiming_module, &claim_local);
    (void)ask(&meek_module, &refuses);
    CU_ASSERT_EQUAL(enqueue(), TERN_NEXT);
    CU_ASSERT_STRING_EQUAL(w.trace.data, "rcpt:domains queue:q sign:q ");
    CU_ASSERT_EQUAL(rcpt_of(0)->class_, TERN_CLASS_LOCAL);
    close_world();
}

static void test_first_claim_wins(void)
{
    const struct script relay = { .claim = TERN_CLASS_RELAY };

    open_world();
    (void)ask(&claiming_module, &relay);
    (void)ask(&claiming_module, &claim_local);
    CU_ASSERT_EQUAL(enqueue(), TERN_NEXT);
    CU_ASSERT_EQUAL(rcpt_of(0)->class_, TERN_CLASS_RELAY);
    close_world();
}

static void test_rewrites_and_children(void)
{
    claimer = (struct script){ .claim = TERN_CLASS_LOCAL, .more = rewrite };
    open_world();
    (void)ask(&every_module, &claimer);
    CU_ASSERT_EQUAL(enqueue(), TERN_NEXT);
    CU_ASSERT_STRING_EQUAL(rcpt_of(0)->mailbox.address.ptr, "b@example.net");
    CU_ASSERT_STRING_EQUAL(rcpt_of(0)->original.address.ptr, "a@example.com");
    close_world();

    claimer.more = expand_two;
    open_world();
    (void)ask(&every_module, &claimer);
    CU_ASSERT_EQUAL(enqueue(), TERN_NEXT);
    CU_ASSERT_EQUAL(w.result->groups[0].facts->rcpt_count, 2);
    for (unsigned i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(rcpt_of(i)->class_, TERN_CLASS_LOCAL);
    CU_ASSERT_STRING_EQUAL(rcpt_of(0)->mailbox.address.ptr, "c0@example.net");
    CU_ASSERT_STRING_EQUAL(rcpt_of(1)->mailbox.address.ptr, "c1@example.net");
    close_world();
}

/* Each answer is bounded by the journal; several steps together are bounded here. */
static void test_children_bound(void)
{
    const struct script most = { .claim = TERN_CLASS_LOCAL, .more = expand_most };
    const struct script one = { .more = expand_one };

    open_world();
    (void)ask(&every_module, &most);
    CU_ASSERT_EQUAL(enqueue(), TERN_NEXT);
    CU_ASSERT_EQUAL(w.result->groups[0].facts->rcpt_count, JOURNAL_CHILDREN_MAX);
    close_world();

    open_world();
    (void)ask(&every_module, &most);
    (void)ask(&every_module, &one);
    CU_ASSERT_EQUAL(enqueue(), TERN_DEFER);
    close_world();
}

static void test_class_is_kept(void)
{
    const struct script refuses = { .answer = TERN_REJECT };

    open_world();
    (void)ask(&every_module, &refuses);
    start(TERN_CLASS_RELAY);
    run_until(&w.answers, 1);
    CU_ASSERT_EQUAL(w.decision.verdict, TERN_NEXT);
    CU_ASSERT_EQUAL(rcpt_of(0)->class_, TERN_CLASS_RELAY);
    close_world();
}

static void test_profile_not_known(void)
{
    open_world();
    (void)ask(&every_module, &claim_local);
    testplan_break(asked, "a@example.com");
    CU_ASSERT_EQUAL(enqueue(), TERN_DEFER);
    close_world();
}

static tern_verdict wait_for_ever(tern_call *call, const struct script *s)
{
    (void)call;
    (void)s;
    return TERN_WAIT;
}

static void test_timeout_and_abort(void)
{
    const struct script hangs = { .more = wait_for_ever };

    open_world();
    ask(&every_module, &hangs)->timeout_ms = 20;
    CU_ASSERT_EQUAL(enqueue(), TERN_DEFER);
    CU_ASSERT_EQUAL(w.aborts, 1);
    close_world();

    open_world();
    (void)ask(&every_module, &hangs);
    start(TERN_CLASS_NONE);
    CU_ASSERT_EQUAL(w.answers, 0);
    engine_enqueue_free(under_way); /* given up while a step is at work */
    run_for_ms(20);
    CU_ASSERT_EQUAL(w.aborts, 1);
    CU_ASSERT_EQUAL(w.answers, 0);
    world_close();
    testplan_free(asked);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite s = CU_add_suite("enqueue", NULL, NULL);
    CU_add_test(s, "what the claiming step says", test_answers);
    CU_add_test(s, "an error is no refusal", test_error_is_no_refusal);
    CU_add_test(s, "generated knows no REJECT", test_generated_knows_no_reject);
    CU_add_test(s, "only claiming steps are asked", test_only_claiming_steps);
    CU_add_test(s, "the first claim wins", test_first_claim_wins);
    CU_add_test(s, "rewrites and children", test_rewrites_and_children);
    CU_add_test(s, "bound of children", test_children_bound);
    CU_add_test(s, "a class is kept", test_class_is_kept);
    CU_add_test(s, "the profile cannot be known", test_profile_not_known);
    CU_add_test(s, "time-out, abort", test_timeout_and_abort);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
