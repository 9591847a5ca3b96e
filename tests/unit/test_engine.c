/* SPDX-License-Identifier: Apache-2.0 */
/* test_engine.c - the main path: hooks in order, claims, refusals, dispositions, shadow, the
 * record. */
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine_fixture.h"
#include "module/crash.h"

#define AT(point) (1 + TERN_HOOK_##point)

/* ---- order ---- */

static void test_order(void)
{
    world_open("inbound", NULL);
    (void)step("a", &every_module, &claim_local);
    (void)step("b", &meek_module, NULL);
    reach_rcpt();
    CU_ASSERT_EQUAL(ask_data(), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\nbody\r\n"), TERN_NEXT);
    CU_ASSERT_EQUAL(w.result->group_count, 1);
    engine_txn_end(w.session, SLICE("06c2k3nm7d0g4"), 250);
    engine_session_free(w.session);
    w.session = NULL;
    CU_ASSERT_STRING_EQUAL(
        w.trace.data, "connect:a connect:b ehlo:a ehlo:b mail:a mail:b rcpt:a rcpt:b data:a data:b "
                      "message:a message:b queue:a queue:b sign:a sign:b close:a close:b ");
    world_close();
}

/* ---- verdicts, one step ---- */

static const struct {
    const char *what;
    struct script script;
    enum step_on_error on_error;
    bool soft_bounce;
    tern_verdict verdict; /* at rcpt, claimed by an earlier step */
    unsigned code;
    const char *enhanced;
    const char *text;
} verdicts[] = {
    { "next", { TERN_NEXT }, 0, false, TERN_NEXT, 0, "", "" },
    { "reject",
      { TERN_REJECT },
      0,
      false,
      TERN_REJECT,
      550,
      "5.7.1",
      "refused by policy [06c2k3nm7d0g4]" },
    { "defer", { TERN_DEFER }, 0, false, TERN_DEFER, 451, "4.7.1", "not now" },
    { "close", { TERN_CLOSE }, 0, false, TERN_CLOSE, 421, "4.7.0", "closing" },
    { "hold", { TERN_HOLD }, 0, false, TERN_HOLD, 0, "", "" },
    { "discard", { TERN_DISCARD }, 0, false, TERN_DISCARD, 0, "", "" },
    { "accept is not for rcpt", { TERN_ACCEPT }, 0, false, TERN_DEFER, 451, "4.3.0", "temporary" },
    { "rubbish", { (tern_verdict)77 }, 0, false, TERN_DEFER, 451, "4.3.0", "temporary" },
    { "error, defer",
      { TERN_ERROR },
      STEP_ERROR_DEFER,
      false,
      TERN_DEFER,
      451,
      "4.3.0",
      "temporary" },
    { "error, reject",
      { TERN_ERROR },
      STEP_ERROR_REJECT,
      false,
      TERN_REJECT,
      554,
      "5.3.0",
      "check" },
    { "error, skip", { TERN_ERROR }, STEP_ERROR_SKIP, false, TERN_NEXT, 0, "", "" },
    { "reply",
      { TERN_REJECT, 0, 552, "no %s here" },
      0,
      false,
      TERN_REJECT,
      552,
      "5.7.1",
      "no %s here [" },
    { "reply of another class",
      { TERN_REJECT, 0, 450, "x" },
      0,
      false,
      TERN_DEFER,
      451,
      "4.3.0",
      "temp" },
    { "reply with a line end",
      { TERN_REJECT, 0, 550, "x\r\n250 ok" },
      0,
      false,
      TERN_DEFER,
      451,
      "4.3.0",
      "t" },
    { "reply beyond ASCII",
      { TERN_DEFER, 0, 450, "sp\xc3\xa4ter" },
      0,
      false,
      TERN_DEFER,
      450,
      "4.7.1",
      "sp??ter" },
    { "soft reject", { TERN_REJECT, 0, 553, "no" }, 0, true, TERN_DEFER, 450, "4.7.1", "no [" },
    { "soft error", { TERN_ERROR }, STEP_ERROR_REJECT, true, TERN_DEFER, 450, "4.3.0", "check" },
};

static void test_verdicts(void)
{
    for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
        struct script script = verdicts[i].script;
        world_open("inbound", NULL);
        w.soft_bounce = verdicts[i].soft_bounce;
        (void)step("domains", &claiming_module, &claim_local);
        script.only_at = AT(RCPT);
        step("s", &meek_module, &script)->on_error = verdicts[i].on_error;
        reach_mail();
        tern_verdict v = ask_rcpt("r1@example.org");
        if (v != verdicts[i].verdict || w.decision.code != verdicts[i].code)
            fprintf(stderr, "%s: verdict %d code %u\n", verdicts[i].what, v, w.decision.code);
        CU_ASSERT_EQUAL(v, verdicts[i].verdict);
        CU_ASSERT_EQUAL(w.decision.code, verdicts[i].code);
        CU_ASSERT_STRING_EQUAL(w.decision.enhanced, verdicts[i].enhanced);
        if (verdicts[i].code != 0)
            CU_ASSERT_TRUE(last_text_has(verdicts[i].text));
        CU_ASSERT_EQUAL(engine_txn(w.session)->rcpt_count, verdicts[i].code == 0);
        world_close();
    }
}

static void test_undeclared(void)
{
    static const struct script reject = { .answer = TERN_REJECT, .only_at = AT(DATA) };

    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("s", &silent_module, &reject);
    reach_rcpt();
    CU_ASSERT_EQUAL(ask_data(), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 451);
    world_close();
}

/* ---- claims ---- */

static void test_unclaimed(void)
{
    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, NULL);
    (void)step("greylist", &meek_module, NULL);
    reach_mail();
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_REJECT);
    CU_ASSERT_EQUAL(w.decision.code, 550);
    CU_ASSERT_STRING_EQUAL(w.decision.enhanced, "5.7.1");
    CU_ASSERT_TRUE(last_text_has("relaying denied [06c2k3nm7d0g4]"));
    CU_ASSERT_EQUAL(w.decision.step.len, 0);
    CU_ASSERT_PTR_NULL(
        strstr(w.trace.data, "rcpt:greylist")); /* at once: no greylist before the 550 */
    world_close();
}

static void test_no_step_at_all(void)
{
    world_open("inbound", NULL);
    reach_mail();
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_REJECT);
    world_close();
}

static void test_unclaimed_soft(void)
{
    world_open("inbound", NULL);
    w.soft_bounce = true;
    reach_mail();
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 450);
    world_close();
}

/* A claiming step that could not answer: it may have been ours. */
static void test_uncertain(void)
{
    static const struct script error = { .answer = TERN_ERROR };

    world_open("inbound", NULL);
    step("broken", &claiming_module, &error)->on_error = STEP_ERROR_SKIP;
    (void)step("domains", &claiming_module, NULL);
    reach_mail();
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 451);
    CU_ASSERT_STRING_EQUAL(w.decision.enhanced, "4.3.0");
    world_close();
}

static void test_first_claim_wins(void)
{
    static const struct script relay = { .claim = TERN_CLASS_RELAY };

    world_open("inbound", NULL);
    (void)step("one", &claiming_module, &claim_local);
    (void)step("two", &claiming_module, &relay);
    reach_rcpt();
    CU_ASSERT_EQUAL(engine_txn(w.session)->rcpts[0]->view.class_, TERN_CLASS_LOCAL);
    CU_ASSERT_STRING_EQUAL(engine_txn(w.session)->rcpts[0]->view.claimed_by.ptr, "one");
    world_close();
}

static void test_claim_undeclared(void)
{
    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("thief", &meek_module, &claim_local);
    reach_mail();
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 451);
    world_close();
}

static void test_profile_lookup_fails(void)
{
    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &claim_local);
    testplan_break(w.policy, "r2@example.org");
    reach_rcpt();
    CU_ASSERT_EQUAL(ask_rcpt("r2@example.org"), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 451);
    CU_ASSERT_EQUAL(ask_rcpt("r3@example.org"), TERN_NEXT);
    testplan_break(w.policy, "");
    CU_ASSERT_EQUAL(ask_mail("b@example.com"), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 451);
    world_close();
}

/* ---- refuse_at ---- */

static const struct script no_at_connect = { TERN_REJECT, AT(CONNECT), 554, "listed" };
static const struct script no_at_mail = { TERN_DEFER, AT(MAIL), 450, "spf" };

static void test_kept(void)
{
    world_open("inbound", NULL);
    (void)step("dnsbl", &meek_module, &no_at_connect);
    (void)step("after", &meek_module, NULL);
    (void)step("domains", &claiming_module, &claim_local);
    testplan_build(w.policy);
    struct plan *off = testplan_profile(w.policy, "off@example.org", 0);
    testplan_profile_step(off, "dnsbl")->mode = STEP_OFF;
    struct plan *shadow = testplan_profile(w.policy, "shadow@example.org", 0);
    testplan_profile_step(shadow, "dnsbl")->mode = STEP_SHADOW;
    testplan_rebuild(off);
    testplan_rebuild(shadow);
    reach_mail(); /* the refusal is kept, later steps and hooks run */
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "connect:after"));
    buf_clear(&w.trace);
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_REJECT);
    CU_ASSERT_EQUAL(w.decision.code, 554);
    CU_ASSERT_TRUE(last_text_has("listed [06c2k3nm7d0g4]"));
    CU_ASSERT_TRUE(slice_equal(w.decision.step, SLICE("dnsbl")));
    CU_ASSERT_EQUAL(w.trace.len, 0); /* the rcpt chain is not run */
    CU_ASSERT_PTR_NOT_NULL(strstr(record_steps().ptr, "\"kept_from\":\"connect\""));
    CU_ASSERT_EQUAL(ask_rcpt("off@example.org"), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_rcpt("shadow@example.org"), TERN_NEXT);
    world_close();
}

/* A step in shadow mode that a profile enforces refuses there, and only there. */
static void test_kept_shadow(void)
{
    world_open("inbound", NULL);
    step("dnsbl", &meek_module, &no_at_connect)->mode = STEP_SHADOW;
    (void)step("domains", &claiming_module, &claim_local);
    testplan_build(w.policy);
    struct plan *strict = testplan_profile(w.policy, "strict@example.org", 0);
    testplan_profile_step(strict, "dnsbl")->mode = STEP_ENFORCE;
    testplan_rebuild(strict);
    reach_rcpt();
    CU_ASSERT_EQUAL(ask_rcpt("strict@example.org"), TERN_REJECT);
    world_close();
}

static void test_kept_order(void)
{
    world_open("inbound", NULL);
    (void)step("spf", &meek_module, &no_at_mail);
    step("dnsbl", &meek_module, &no_at_connect)->on_error = STEP_ERROR_SKIP;
    (void)step("domains", &claiming_module, &claim_local);
    testplan_build(w.policy);
    struct plan *off = testplan_profile(w.policy, "off@example.org", 0);
    testplan_profile_step(off, "dnsbl")->mode = STEP_OFF;
    testplan_rebuild(off);
    reach_mail();
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_REJECT); /* connect came first */
    CU_ASSERT_EQUAL(ask_rcpt("off@example.org"), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 450);
    /* What mail refused belongs to that transaction. */
    engine_txn_end(w.session, SLICE(""), 450);
    static const struct script none = { 0 };
    testplan_profile_step(off, "spf")->conf = &none;
    world_close();
}

static void test_refuse_now(void)
{
    world_open("inbound", NULL);
    step("dnsbl", &meek_module, &no_at_connect)->refuse_at = STEP_REFUSE_NOW;
    (void)step("after", &meek_module, NULL);
    begin();
    CU_ASSERT_EQUAL(ask_connect(), TERN_REJECT);
    CU_ASSERT_EQUAL(w.decision.code, 554);
    CU_ASSERT_TRUE(last_text_has("listed [s1]"));
    CU_ASSERT_STRING_EQUAL(w.trace.data, "connect:dnsbl ");
    world_close();
}

static void test_close_now(void)
{
    static const struct script close_it = { TERN_CLOSE, AT(EHLO), 450, "go away" };

    world_open("inbound", NULL);
    (void)step("x", &meek_module, &close_it);
    begin();
    CU_ASSERT_EQUAL(ask_connect(), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_helo("c"), TERN_CLOSE);
    CU_ASSERT_EQUAL(w.decision.code, 421); /* always */
    world_close();
}

static tern_verdict refuse_first_helo(tern_call *call, const struct script *s)
{
    (void)s;
    (void)tern->withhold(call, "SIZE");
    return strcmp(tern->helo_name(call).ptr, "bad") == 0
               ? tern->reply(call, TERN_REJECT, 550, "5.5.2", "bad name")
               : TERN_NEXT;
}

static void test_second_helo(void)
{
    static const struct script s = { .only_at = AT(EHLO), .more = refuse_first_helo };

    world_open("inbound", NULL);
    (void)step("x", &meek_module, &s);
    (void)step("domains", &claiming_module, &claim_local);
    begin();
    CU_ASSERT_EQUAL(ask_connect(), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_helo("bad"), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_helo("good"), TERN_NEXT);
    CU_ASSERT_EQUAL(engine_withheld_count(w.session), 1);
    CU_ASSERT_TRUE(slice_equal(engine_withheld(w.session, 0), SLICE("SIZE")));
    CU_ASSERT_EQUAL(engine_withheld(w.session, 1).len, 0);
    CU_ASSERT_EQUAL(ask_mail("a@example.com"), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_NEXT);
    world_close();
}

/* RFC 5321 4.1.4: it may come in a transaction, which stays until somebody ends it. */
static void test_helo_in_a_transaction(void)
{
    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &claim_local);
    reach_mail();
    CU_ASSERT_EQUAL(ask_helo("again"), TERN_NEXT);
    CU_ASSERT_PTR_NOT_NULL(engine_txn(w.session));
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_helo("and again"), TERN_NEXT);
    engine_txn_end(w.session, slice_make(NULL, 0), 0);
    CU_ASSERT_PTR_NULL(engine_txn(w.session));
    CU_ASSERT_EQUAL(ask_mail("a@example.com"), TERN_NEXT);
    world_close();
}

/* ---- dispositions ---- */

static const struct {
    tern_verdict first, second, wanted;
} dispositions[] = {
    { TERN_HOLD, TERN_NEXT, TERN_HOLD },       { TERN_HOLD, TERN_DISCARD, TERN_DISCARD },
    { TERN_DISCARD, TERN_HOLD, TERN_DISCARD }, { TERN_DISCARD, TERN_REJECT, TERN_REJECT },
    { TERN_HOLD, TERN_DEFER, TERN_DEFER },     { TERN_REJECT, TERN_HOLD, TERN_REJECT },
};

static void test_dispositions(void)
{
    for (size_t i = 0; i < sizeof(dispositions) / sizeof(dispositions[0]); i++) {
        struct script one = { .answer = dispositions[i].first, .only_at = AT(RCPT) };
        struct script two = { .answer = dispositions[i].second, .only_at = AT(RCPT) };
        world_open("inbound", NULL);
        (void)step("domains", &claiming_module, &claim_local);
        (void)step("one", &meek_module, &one);
        (void)step("two", &meek_module, &two);
        reach_mail();
        CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), dispositions[i].wanted);
        if (dispositions[i].first == TERN_HOLD || dispositions[i].first == TERN_DISCARD)
            CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "rcpt:two")); /* the chain goes on */
        world_close();
    }
}

/* ---- shadow, when ---- */

static tern_verdict do_everything(tern_call *call, const struct script *s)
{
    (void)s;
    CU_ASSERT_EQUAL(tern->tag(call, "a"), 0);
    CU_ASSERT_EQUAL(tern->set_result(call, "colour", TERN_STR("red")), 0);
    CU_ASSERT_EQUAL(tern->set_var(call, "v", TERN_STR("1")), 0);
    CU_ASSERT_EQUAL(tern->rewrite_rcpt(call, TERN_STR("other@example.org")), 0);
    return tern->reply(call, TERN_REJECT, 550, "5.1.1", "never");
}

static void test_shadow(void)
{
    static const struct script s = { .only_at = AT(RCPT), .more = do_everything };

    world_open("inbound", NULL);
    step("s", &meek_module, &s)->mode = STEP_SHADOW;
    (void)step("domains", &claiming_module, &claim_local);
    reach_mail();
    struct chain *chain = (struct chain *)&policy_plan(w.policy)->chains[TERN_HOOK_RCPT];
    chain->claims_until = chain->count;
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_NEXT);
    const struct txn_facts *t = engine_txn(w.session);
    CU_ASSERT_STRING_EQUAL(t->rcpts[0]->view.mailbox.address.ptr, "r1@example.org");
    CU_ASSERT_PTR_NULL(t->rcpts[0]->tags);
    CU_ASSERT_PTR_NULL(t->results);
    CU_ASSERT_PTR_NULL(t->vars);
    const char *steps = record_steps().ptr;
    CU_ASSERT_PTR_NOT_NULL(
        strstr(steps, "\"verdict\":\"REJECT\",\"reply\":\"550 5.1.1 never\",\"shadow\":true"));
    CU_ASSERT_PTR_NOT_NULL(strstr(steps, "\"tag a\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(steps, "\"rewrite recipient other@example.org\""));
    world_close();
}

static int evaluate(struct engine *engine, const void *compiled, const tern_call *call,
                    const char **error)
{
    (void)engine;
    (void)call;
    *error = "when:1: no such thing";
    return *(const int *)compiled;
}

static void test_when(void)
{
    static const int results[] = { 0, 1, -1 };
    static const struct script reject = { .answer = TERN_REJECT, .only_at = AT(RCPT) };

    world_open("inbound", NULL);
    w.engine->env.when = evaluate;
    struct plan_step *s[3];
    for (int i = 0; i < 3; i++) {
        s[i] = step(i == 0 ? "no" : i == 1 ? "yes" : "broken", &meek_module, NULL);
        s[i]->when = &results[i];
        s[i]->on_error = STEP_ERROR_SKIP;
    }
    s[0]->conf = &reject;
    (void)step("domains", &claiming_module, &claim_local);
    reach_rcpt();
    CU_ASSERT_PTR_NULL(strstr(w.trace.data, ":no "));
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "rcpt:yes "));
    CU_ASSERT_PTR_NULL(strstr(w.trace.data, ":broken "));
    CU_ASSERT_PTR_NOT_NULL(strstr(record_steps().ptr, "when: when:1: no such thing"));
    w.engine->env.when = NULL; /* nobody can evaluate: an error too, never a pass */
    s[1]->on_error = STEP_ERROR_DEFER;
    CU_ASSERT_EQUAL(ask_rcpt("r2@example.org"), TERN_DEFER);
    world_close();
}

/* ---- notes: scope and view ---- */

static tern_verdict look(tern_call *call, const struct script *s)
{
    const struct tern_recipient *r = tern->current_rcpt(call);

    (void)s;
    buf_printf(&w.trace, "[%s%s%s %s %s %u%s%s] ", tern->has_tag(call, "a") ? "a" : "",
               tern->has_tag(call, "b") ? "b" : "", tern->has_tag(call, "c") ? "c" : "",
               tern->result(call, "colour").ptr, tern->var(call, "v").ptr, tern->rcpt_count(call),
               r != NULL ? " " : "", r != NULL ? r->mailbox.local.ptr : "");
    return TERN_NEXT;
}

static tern_verdict tag_by_hook(tern_call *call, const struct script *s)
{
    (void)s;
    switch (call->point) {
    case TERN_HOOK_CONNECT:
        (void)tern->set_var(call, "v", TERN_STR("1"));
        return tern->tag(call, "a") == 0 ? TERN_NEXT : TERN_ERROR;
    case TERN_HOOK_MAIL:
        (void)tern->set_result(call, "colour", TERN_STR("green"));
        return TERN_NEXT;
    case TERN_HOOK_RCPT:
        if (strcmp(tern->current_rcpt(call)->mailbox.address.ptr, "r1@example.org") == 0)
            return tern->tag(call, "b") == 0 ? TERN_NEXT : TERN_ERROR;
        return TERN_NEXT;
    case TERN_HOOK_DATA: return tern->tag(call, "c") == 0 ? TERN_NEXT : TERN_ERROR;
    default: return TERN_NEXT;
    }
}

static void test_scopes(void)
{
    static const struct script tags = { .more = tag_by_hook }, looks = { .more = look };

    world_open("inbound", NULL);
    w.split = false;
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("t", &meek_module, &tags);
    (void)step("l", &meek_module, &looks);
    reach_rcpt();
    CU_ASSERT_EQUAL(ask_rcpt("r2@example.org"), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_data(), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_message("Subject: x\r\n\r\n"), TERN_NEXT);
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "connect:l [a not_run 1 0] "));
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "mail:l [a green 1 0] "));
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "rcpt:l [ab green 1 0 r1] "));
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "rcpt:l [a green 1 1 r2] "));
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "data:l [ac green 1 2] "));
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "message:l [abc green 1 1] "));
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "message:l [ac green 1 1] "));
    CU_ASSERT_EQUAL(w.result->group_count, 2);
    /* Session's tags and variables travel with the message. */
    CU_ASSERT_PTR_NOT_NULL(notes_get(w.result->groups[0].facts->tags, SLICE("a")).ptr);
    CU_ASSERT_PTR_NOT_NULL(notes_get(w.result->groups[1].facts->vars, SLICE("v")).ptr);
    world_close();
}

static tern_verdict rewrite(tern_call *call, const struct script *s)
{
    (void)s;
    if (call->point == TERN_HOOK_MAIL)
        return tern->rewrite_sender(call, TERN_STR("new@example.net")) == 0 ? TERN_NEXT
                                                                            : TERN_ERROR;
    return tern->rewrite_rcpt(call, TERN_STR("box@Example.NET")) == 0 ? TERN_NEXT : TERN_ERROR;
}

static void test_rewrite(void)
{
    static const struct script at_mail = { .only_at = AT(MAIL), .more = rewrite };
    static const struct script at_rcpt = { .only_at = AT(RCPT), .more = rewrite };

    world_open("inbound", NULL);
    (void)step("m", &meek_module, &at_mail);
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("r", &meek_module, &at_rcpt);
    reach_rcpt();
    const struct txn_facts *t = engine_txn(w.session);
    CU_ASSERT_STRING_EQUAL(t->sender.address.ptr, "new@example.net");
    CU_ASSERT_STRING_EQUAL(t->sender_original.address.ptr, "a@example.com");
    CU_ASSERT_STRING_EQUAL(t->rcpts[0]->view.mailbox.domain.ptr, "example.net");
    CU_ASSERT_STRING_EQUAL(t->rcpts[0]->view.original.address.ptr, "r1@example.org");
    CU_ASSERT_EQUAL(t->rcpts[0]->view.class_, TERN_CLASS_LOCAL);
    world_close();
}

/* ---- the record ---- */

static json_t *read_records(const char *folder)
{
    json_t *list = json_array();
    DIR *dir = opendir(folder);
    char path[512], line[40000];

    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        FILE *f = fopen(path, "r");
        while (fgets(line, sizeof(line), f) != NULL) {
            CU_ASSERT_TRUE(strlen(line) <= RECORD_OCTETS_MAX + 1);
            json_error_t error;
            json_t *record = json_loads(line, 0, &error);
            CU_ASSERT_PTR_NOT_NULL_FATAL(record);
            (void)json_array_append_new(list, record);
        }
        (void)fclose(f);
        (void)unlink(path);
    }
    (void)closedir(dir);
    return list;
}

static tern_verdict note_and_refuse(tern_call *call, const struct script *s)
{
    (void)s;
    tern->note(call, "zone", TERN_STR("bl.example"));
    tern->note(call, "answer", TERN_STR("127.0.0.3"));
    tern->note(call, "answer", TERN_STR("127.0.0.2 \"\n\xff"));
    return tern->reply(call, TERN_REJECT, 550, "5.7.1", "listed");
}

static void refuse_many(unsigned count)
{
    reach_mail();
    for (unsigned i = 0; i < count; i++)
        CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_REJECT);
    engine_txn_end(w.session, SLICE(""), 550);
}

static json_t *find_record(json_t *list, const char *type)
{
    size_t i;
    json_t *record;

    json_array_foreach(list, i,
                       record) if (strcmp(json_string_value(json_object_get(record, "type")),
                                          type) == 0) return record;
    return NULL;
}

static void check_record(unsigned count, bool truncated)
{
    static const struct script s = { .only_at = AT(RCPT), .more = note_and_refuse };
    char folder[] = "/tmp/tern-record-XXXXXX";
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    struct log_options log = { .level = LOG_ERROR,
                               .path = "/dev/null",
                               .decisions_path = folder,
                               .decisions_octets_max = 1 << 30,
                               .decisions_days_max = 30 };

    world_open("inbound", NULL);
    CU_ASSERT_EQUAL(log_start(&log), 0);
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("dnsbl", &meek_module, &s);
    refuse_many(count);
    engine_session_free(w.session);
    w.session = NULL;
    log_stop();
    world_close();
    json_t *list = read_records(folder);
    json_t *t = find_record(list, "transaction");
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    CU_ASSERT_PTR_NOT_NULL(find_record(list, "session"));
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(t, "id")), "06c2k3nm7d0g4");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(t, "client")), "192.0.2.1");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(t, "from")), "a@example.com");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(t, "reply")),
                           "550 5.7.1 listed [06c2k3nm7d0g4]");
    CU_ASSERT_EQUAL(json_is_true(json_object_get(t, "truncated")), truncated);
    json_t *refused = json_array_get(json_object_get(t, "steps"), 1);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(refused, "hook")), "rcpt");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(refused, "step")), "dnsbl");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(refused, "at")), "test.yaml:11");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(refused, "rcpt")), "r1@example.org");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(refused, "verdict")), "REJECT");
    CU_ASSERT_STRING_EQUAL(
        json_string_value(json_object_get(json_object_get(refused, "inputs"), "zone")),
        "bl.example");
    CU_ASSERT_EQUAL(json_array_size(json_object_get(json_object_get(refused, "inputs"), "answer")),
                    2);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(t, "next")), 1); /* dnsbl at mail */
    if (!truncated)
        CU_ASSERT_EQUAL(json_array_size(json_object_get(t, "steps")), 2 * count);
    json_decref(list);
    (void)rmdir(folder);
}

static void test_record(void)
{
    check_record(3, false);
    check_record(500, true);
}

/* A step that says nothing costs the session no record, and is counted all the same. */
static void test_quiet_steps(void)
{
    static const struct script s = { .only_at = AT(EHLO), .answer = TERN_REJECT, .code = 550, .text = "no" };

    world_open("inbound", NULL);
    (void)step("refuses", &meek_module, &s);
    begin();
    CU_ASSERT_EQUAL(ask_connect(), TERN_NEXT);
    CU_ASSERT_PTR_NULL(w.session->record);
    CU_ASSERT_EQUAL(w.session->quiet_steps, 1);
    CU_ASSERT_EQUAL(ask_helo("client.example"), TERN_NEXT); /* kept */
    CU_ASSERT_PTR_NOT_NULL_FATAL(w.session->record);
    CU_ASSERT_EQUAL(w.session->record->next, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(record_steps().ptr, "refuses"));
    CU_ASSERT_EQUAL(ask_connect(), TERN_NEXT);
    CU_ASSERT_EQUAL(w.session->record->next, 2);
    w.session->quiet_steps = UINT16_MAX; /* as many as are counted without */
    CU_ASSERT_EQUAL(ask_connect(), TERN_NEXT);
    CU_ASSERT_EQUAL(w.session->record->next, 3);
    world_close();
    world_open("inbound", NULL);
    (void)step("quiet", &meek_module, NULL);
    begin();
    w.session->quiet_steps = UINT16_MAX - 1;
    CU_ASSERT_EQUAL(ask_connect(), TERN_NEXT);
    CU_ASSERT_PTR_NULL(w.session->record);
    CU_ASSERT_EQUAL(ask_connect(), TERN_NEXT);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w.session->record);
    CU_ASSERT_EQUAL(w.session->record->next, UINT16_MAX + 1);
    world_close();
}

/* ---- the crash page ---- */

static struct crash_slot slot;

static tern_verdict look_at_slot(tern_call *call, const struct script *s)
{
    (void)call;
    (void)s;
    CU_ASSERT_STRING_EQUAL(slot.hook, "mail");
    CU_ASSERT_STRING_EQUAL(slot.step, "fragile");
    CU_ASSERT_STRING_EQUAL(slot.id, "06c2k3nm7d0g4");
    return TERN_NEXT;
}

static void test_crash_slot(void)
{
    static const struct script s = { .only_at = AT(MAIL), .more = look_at_slot };

    crash_slot_use(&slot);
    world_open("inbound", NULL);
    (void)step("fragile", &meek_module, &s);
    reach_mail();
    CU_ASSERT_STRING_EQUAL(slot.hook, "");
    world_close();
    crash_slot_use(NULL);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("engine", NULL, NULL);
    CU_add_test(s, "hooks in order", test_order);
    CU_add_test(s, "verdicts", test_verdicts);
    CU_add_test(s, "a verdict that was not declared", test_undeclared);
    CU_add_test(s, "nobody claims", test_unclaimed);
    CU_add_test(s, "no step at all", test_no_step_at_all);
    CU_add_test(s, "nobody claims, softly", test_unclaimed_soft);
    CU_add_test(s, "permanent needs certainty", test_uncertain);
    CU_add_test(s, "the first claim wins", test_first_claim_wins);
    CU_add_test(s, "a claim that was not declared", test_claim_undeclared);
    CU_add_test(s, "a profile look-up fails", test_profile_lookup_fails);
    CU_add_test(s, "refusals kept for RCPT", test_kept);
    CU_add_test(s, "kept shadow refusals", test_kept_shadow);
    CU_add_test(s, "the first kept refusal that counts", test_kept_order);
    CU_add_test(s, "refuse_at: now", test_refuse_now);
    CU_add_test(s, "CLOSE acts at once", test_close_now);
    CU_add_test(s, "a second EHLO", test_second_helo);
    CU_add_test(s, "EHLO in a transaction", test_helo_in_a_transaction);
    CU_add_test(s, "dispositions", test_dispositions);
    CU_add_test(s, "shadow", test_shadow);
    CU_add_test(s, "when", test_when);
    CU_add_test(s, "scopes of tags, results, variables", test_scopes);
    CU_add_test(s, "rewriting", test_rewrite);
    CU_add_test(s, "the decision record", test_record);
    CU_add_test(s, "steps that say nothing", test_quiet_steps);
    CU_add_test(s, "the crash page", test_crash_slot);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
