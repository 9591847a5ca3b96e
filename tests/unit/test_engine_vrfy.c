/* SPDX-License-Identifier: Apache-2.0 */
/* test_engine_vrfy.c - hook vrfy: who answers, what an error is, that a transaction and a kept refusal stay. */
#include <stdlib.h>
#include <string.h>

#include "engine_fixture.h"

#define AT(point) (1 + TERN_HOOK_##point)

static const struct script silent = { .answer = TERN_NEXT };
static const struct script found = { .answer = TERN_ACCEPT, .only_at = AT(VRFY), .code = 250, .text = "<a@x>\n<b@x>" };
static const struct script unknown = { .answer = TERN_REJECT, .only_at = AT(VRFY), .code = 550, .text = "nobody" };
static const struct script later = { .answer = TERN_DEFER, .only_at = AT(VRFY), .code = 450, .text = "busy" };
static const struct script broken = { .answer = TERN_ERROR, .only_at = AT(VRFY) };
static const struct script bare = { .answer = TERN_ACCEPT, .only_at = AT(VRFY) };
static const struct script wrong_code = { .answer = TERN_ACCEPT, .only_at = AT(VRFY), .code = 220, .text = "x" };
static const struct script not_a_line = { .answer = TERN_ACCEPT, .only_at = AT(VRFY), .code = 250, .text = "x\r\ny" };
static const struct script no_text = { .answer = TERN_ACCEPT, .only_at = AT(VRFY), .code = 250, .text = "" };
static const struct script tagging = { .answer = TERN_NEXT, .only_at = AT(VRFY), .tag = "a" };

static tern_verdict ask(bool expand)
{
    unsigned before = w.answers;
    struct tern_mailbox m = mailbox("a@x.example");

    engine_vrfy(w.session, expand, SLICE("a@x.example"), &m, on_decided, NULL);
    run_until(&w.answers, before + 1);
    CU_ASSERT_EQUAL(w.answers, before + 1);
    return w.decision.verdict;
}

/* What one step, or two, make of VRFY and of EXPN: the code, 0 is "nobody knows". */
static void test_answers(void)
{
    static const struct {
        const char *name;
        const struct script *first, *second;
        unsigned vrfy, expn;
    } rows[] = {
        { "nobody", &silent, &silent, 0, 0 },
        { "found", &found, &unknown, 250, 250 },
        { "the second knows", &silent, &unknown, 550, 550 },
        { "later", &later, &found, 450, 450 },
        { "an error is no answer, and ends it", &broken, &found, 0, 451 },
        { "a yes without a reply", &bare, &found, 0, 451 },
        { "a code that says no yes", &wrong_code, &found, 0, 451 },
        { "a carriage return", &not_a_line, &found, 0, 451 },
        { "an empty yes", &no_text, &found, 0, 451 },
        { "tags are for those who send", &tagging, &found, 0, 451 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        world_open("inbound", NULL);
        (void)step("one", &meek_module, rows[i].first);
        (void)step("two", &meek_module, rows[i].second);
        begin();
        (void)ask(false);
        CU_ASSERT_EQUAL(w.decision.code, rows[i].vrfy);
        (void)ask(true);
        CU_ASSERT_EQUAL(w.decision.code, rows[i].expn);
        world_close();
    }
}

static void test_on_error(void)
{
    world_open("inbound", NULL);
    step("one", &meek_module, &broken)->on_error = STEP_ERROR_SKIP;
    (void)step("two", &meek_module, &found);
    begin();
    CU_ASSERT_EQUAL(ask(false), TERN_ACCEPT);
    CU_ASSERT(last_text_has("<a@x>\n<b@x>"));
    world_close();

    world_open("inbound", NULL); /* a failure says of nobody that he is not there */
    step("one", &meek_module, &broken)->on_error = STEP_ERROR_REJECT;
    begin();
    CU_ASSERT_EQUAL(ask(false), TERN_NEXT);
    CU_ASSERT_EQUAL(ask(true), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 451);
    world_close();
}

static void test_shadow_and_pool(void)
{
    world_open("inbound", NULL);
    step("shadow", &meek_module, &unknown)->mode = STEP_SHADOW;
    (void)step("pool", &blocking_module, &found);
    begin();
    CU_ASSERT_EQUAL(ask(true), TERN_ACCEPT);
    CU_ASSERT_EQUAL(w.decision.code, 250);
    world_close();
}

static tern_verdict look(tern_call *call, const struct script *s)
{
    const struct tern_vrfy *v = tern->vrfy(call);

    (void)s;
    if (call->point != TERN_HOOK_VRFY) {
        CU_ASSERT_PTR_NULL(v);
        return TERN_NEXT;
    }
    CU_ASSERT_PTR_NOT_NULL_FATAL(v);
    CU_ASSERT_STRING_EQUAL(v->argument.ptr, "a@x.example");
    CU_ASSERT_STRING_EQUAL(v->mailbox.domain.ptr, "x.example");
    CU_ASSERT_EQUAL(tern->rcpt_count(call), 0); /* of no transaction */
    return tern->reply(call, TERN_ACCEPT, 250, NULL, "%s", v->expand ? "expn" : "vrfy");
}

static void test_view_in_a_transaction(void)
{
    static const struct script looking = { .more = look };

    world_open("inbound", NULL);
    (void)step("claim", &claiming_module, &claim_local);
    (void)step("look", &meek_module, &looking);
    reach_rcpt();
    CU_ASSERT_EQUAL(ask(false), TERN_ACCEPT);
    CU_ASSERT(last_text_has("vrfy"));
    CU_ASSERT_STRING_EQUAL(w.decision.enhanced, "2.1.5");
    CU_ASSERT_EQUAL(ask(true), TERN_ACCEPT);
    CU_ASSERT(last_text_has("expn"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(engine_txn(w.session));
    CU_ASSERT_EQUAL(engine_txn(w.session)->rcpt_count, 1);
    CU_ASSERT_EQUAL(ask_rcpt("r2@example.org"), TERN_NEXT);
    CU_ASSERT_EQUAL(engine_txn(w.session)->rcpt_count, 2);
    world_close();
}

static void test_kept_refusal(void)
{
    static const struct script no_greeting = { .answer = TERN_REJECT, .only_at = AT(EHLO), .code = 550, .text = "no" };

    world_open("inbound", NULL);
    (void)step("greeting", &meek_module, &no_greeting);
    (void)step("known", &meek_module, &found);
    begin();
    CU_ASSERT_EQUAL(ask(false), TERN_ACCEPT);
    CU_ASSERT_EQUAL(ask_helo("client.test"), TERN_NEXT); /* kept until RCPT */
    CU_ASSERT_EQUAL(ask(false), TERN_NEXT);
    CU_ASSERT_EQUAL(ask(true), TERN_NEXT);
    world_close();
}

/* A list as long as may be, and one octet above. */
static char list[JOURNAL_LIST_OCTETS_MAX + 2];

static void test_list_bound(void)
{
    static const struct script long_list = { .answer = TERN_ACCEPT, .only_at = AT(VRFY), .code = 250, .text = list };

    for (unsigned more = 0; more < 2; more++) {
        memset(list, 'x', JOURNAL_LIST_OCTETS_MAX + more);
        world_open("inbound", NULL);
        (void)step("list", &meek_module, &long_list);
        begin();
        CU_ASSERT_EQUAL(ask(true), more == 0 ? TERN_ACCEPT : TERN_DEFER);
        CU_ASSERT(more != 0 || w.decision.text.len == JOURNAL_LIST_OCTETS_MAX);
        world_close();
    }
}

/* Who asks and asks costs no memory: nothing of it stays in the session. */
static void test_memory(void)
{
    world_open("inbound", NULL);
    (void)step("known", &meek_module, &found);
    begin();
    (void)ask(false);
    size_t before = engine_session_facts(w.session)->memory->arena.octets;
    for (unsigned i = 0; i < 1000; i++)
        (void)ask(i % 2 != 0);
    CU_ASSERT_EQUAL(engine_session_facts(w.session)->memory->arena.octets, before);
    world_close();
}

static tern_verdict wait_for_ever(tern_call *call, const struct script *s)
{
    (void)call;
    (void)s;
    return TERN_WAIT;
}

static void test_hang_up(void)
{
    static const struct script waiting = { .only_at = AT(VRFY), .more = wait_for_ever };
    struct tern_mailbox none = { { "", 0 }, { "", 0 }, { "", 0 } };

    world_open("inbound", NULL);
    (void)step("claim", &claiming_module, &claim_local);
    (void)step("wait", &meek_module, &waiting);
    reach_rcpt();
    unsigned before = w.answers;
    engine_vrfy(w.session, true, SLICE("list"), &none, on_decided, NULL);
    world_close(); /* the session goes in the midst of it, and the transaction with it */
    CU_ASSERT_EQUAL(w.aborts, 1);
    CU_ASSERT_EQUAL(w.answers, before);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite s = CU_add_suite("vrfy", NULL, NULL);
    CU_add_test(s, "answers", test_answers);
    CU_add_test(s, "on_error", test_on_error);
    CU_add_test(s, "shadow, pool", test_shadow_and_pool);
    CU_add_test(s, "what a step sees, in a transaction", test_view_in_a_transaction);
    CU_add_test(s, "who is refused anyway hears nothing", test_kept_refusal);
    CU_add_test(s, "bound of a list", test_list_bound);
    CU_add_test(s, "memory", test_memory);
    CU_add_test(s, "hang-up", test_hang_up);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
