/* SPDX-License-Identifier: Apache-2.0 */
/* test_runner.c - the three ways to answer, time-outs, disconnects, the pool, asynchronous
 * helpers. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine_fixture.h"
#include "state/kv.h"

#define AT(point) (1 + TERN_HOOK_##point)

/* ---- WAIT ---- */

static tern_call *kept_call;
static unsigned runs;

static tern_verdict wait_for_ever(tern_call *call, const struct script *s)
{
    (void)s;
    runs++;
    kept_call = tern->call_ref(call);
    return TERN_WAIT;
}

static void late_answers_are_harmless(void)
{
    tern->complete(kept_call, TERN_REJECT);
    tern->complete(kept_call, TERN_NEXT);
    run_for_ms(5);
    tern->call_unref(kept_call);
    kept_call = NULL;
}

static const struct script waits = { .only_at = AT(MAIL), .more = wait_for_ever };

static void test_missing_completion(void)
{
    world_open("inbound", NULL);
    step("w", &meek_module, &waits)->timeout_ms = 30;
    (void)step("after", &meek_module, NULL);
    (void)step("domains", &claiming_module, &claim_local);
    begin();
    runs = 0;
    unsigned before = w.answers;
    engine_mail(w.session, txn_facts_for_test("a@example.com"), on_decided, NULL);
    CU_ASSERT_EQUAL(w.answers, before);
    run_until(&w.answers, before + 1);
    CU_ASSERT_EQUAL(w.decision.verdict, TERN_NEXT); /* kept for RCPT */
    CU_ASSERT_EQUAL(w.aborts, 1);
    CU_ASSERT_EQUAL(runs, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "mail:after"));
    late_answers_are_harmless();
    CU_ASSERT_EQUAL(w.answers, before + 1);
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_DEFER);
    CU_ASSERT_EQUAL(w.decision.code, 451);
    CU_ASSERT_PTR_NOT_NULL(strstr(record_steps().ptr, "timed out"));
    CU_ASSERT_EQUAL(w.aborts, 1);
    world_close();
}

static void test_disconnect_while_waiting(void)
{
    world_open("inbound", NULL);
    (void)step("w", &meek_module, &waits);
    begin();
    unsigned before = w.answers;
    engine_mail(w.session, txn_facts_for_test("a@example.com"), on_decided, NULL);
    engine_session_free(w.session);
    w.session = NULL;
    CU_ASSERT_EQUAL(w.aborts, 1);
    late_answers_are_harmless();
    CU_ASSERT_EQUAL(w.answers, before);
    world_close();
}

/* Answered, on its way through the loop's queue, and the client is gone: no abort, no answer. */
static void test_disconnect_while_answered(void)
{
    world_open("inbound", NULL);
    (void)step("w", &meek_module, &waits);
    begin();
    engine_mail(w.session, txn_facts_for_test("a@example.com"), on_decided, NULL);
    tern->complete(kept_call, TERN_NEXT);
    engine_session_free(w.session);
    w.session = NULL;
    late_answers_are_harmless();
    CU_ASSERT_EQUAL(w.aborts, 0);
    CU_ASSERT_EQUAL(w.answers, 0);
    world_close();
}

static tern_verdict just_wait(tern_call *call, const struct script *s)
{
    (void)call, (void)s;
    return TERN_WAIT;
}

/* One more question at once than the loop keeps runs for: that one is freed, all others are lent again. */
static void test_spare_runs(void)
{
    static const struct script s = { .only_at = AT(MAIL), .more = just_wait };
    struct engine_session *sessions[ENGINE_SPARE_RUNS_MAX + 1];

    world_open("inbound", NULL);
    (void)step("w", &meek_module, &s);
    begin();
    for (unsigned i = 0; i < ENGINE_SPARE_RUNS_MAX + 1; i++) {
        struct engine_session_options o = session_options(session_facts_for_test());
        sessions[i] = engine_session_new(w.engine, &o);
        CU_ASSERT_PTR_NULL(sessions[i]->asked); /* an idle one has none */
        engine_mail(sessions[i], txn_facts_for_test("a@example.com"), on_decided, NULL);
        CU_ASSERT_PTR_NOT_NULL(sessions[i]->asked);
    }
    CU_ASSERT_EQUAL(w.engine->spare_run_count, 0);
    for (unsigned i = 0; i < ENGINE_SPARE_RUNS_MAX + 1; i++)
        engine_session_free(sessions[i]);
    CU_ASSERT_EQUAL(w.engine->spare_run_count, ENGINE_SPARE_RUNS_MAX);
    CU_ASSERT_EQUAL(ask_connect(), TERN_NEXT);
    CU_ASSERT_PTR_NULL(w.session->asked);
    CU_ASSERT_EQUAL(w.engine->spare_run_count, ENGINE_SPARE_RUNS_MAX);
    world_close();
}

static void *complete_elsewhere(void *arg)
{
    (void)usleep(2000);
    (void)tern->set_result(arg, "word", TERN_STR("thread"));
    tern->complete(arg, TERN_NEXT);
    tern->complete(arg, TERN_REJECT); /* ignored */
    tern->call_unref(arg);
    return NULL;
}

static pthread_t thread;

static tern_verdict start_thread(tern_call *call, const struct script *s)
{
    (void)s;
    CU_ASSERT_EQUAL(pthread_create(&thread, NULL, complete_elsewhere, tern->call_ref(call)), 0);
    return TERN_WAIT;
}

static void test_thread_completes(void)
{
    static const struct script s = { .only_at = AT(MAIL), .more = start_thread };

    world_open("inbound", NULL);
    (void)step("t", &meek_module, &s);
    reach_mail();
    CU_ASSERT_STRING_EQUAL(notes_get(engine_txn(w.session)->results, SLICE("word")).ptr, "thread");
    CU_ASSERT_EQUAL(w.aborts, 0);
    (void)pthread_join(thread, NULL);
    world_close();
}

/* A thread of the module's own comes to the loop, as often as it likes; after the answer it is not heard. */
static pthread_t loop_of_wakes;
static _Atomic unsigned wakes;

static void on_wake(tern_call *call, const void *conf)
{
    (void)conf;
    CU_ASSERT_TRUE(pthread_equal(pthread_self(), loop_of_wakes));
    if (++wakes == 2)
        tern->complete(call, TERN_NEXT);
}

static void *wake_thrice(void *arg)
{
    for (unsigned i = 0; i < 3; i++)
        (void)tern->wake(arg, on_wake);
    tern->call_unref(arg);
    return NULL;
}

static tern_verdict start_waker(tern_call *call, const struct script *s)
{
    (void)s;
    CU_ASSERT_EQUAL(pthread_create(&thread, NULL, wake_thrice, tern->call_ref(call)), 0);
    return TERN_WAIT;
}

static void test_wake(void)
{
    static const struct script s = { .only_at = AT(MAIL), .more = start_waker };

    loop_of_wakes = pthread_self();
    world_open("inbound", NULL);
    (void)step("t", &meek_module, &s);
    reach_mail();
    CU_ASSERT_EQUAL(wakes, 2);
    (void)pthread_join(thread, NULL);
    world_close();
    CU_ASSERT_EQUAL(wakes, 2);
}

/* The session is gone before the loop comes to it. */
static void test_wake_too_late(void)
{
    static const struct script s = { .only_at = AT(MAIL), .more = start_waker };

    wakes = 0;
    world_open("inbound", NULL);
    (void)step("t", &meek_module, &s);
    begin();
    engine_mail(w.session, txn_facts_for_test("a@example.com"), on_decided, NULL);
    (void)pthread_join(thread, NULL);
    engine_session_free(w.session);
    w.session = NULL;
    world_close();
    CU_ASSERT_EQUAL(wakes, 0);
}

/* Completed before the handler returned: no hop through the loop. */
static tern_verdict complete_inside(tern_call *call, const struct script *s)
{
    (void)s;
    tern->complete(call, TERN_NEXT);
    tern->complete(call, TERN_REJECT);
    return TERN_WAIT;
}

static void test_inline_completion(void)
{
    static const struct script s = { .only_at = AT(MAIL), .more = complete_inside };

    world_open("inbound", NULL);
    (void)step("i", &meek_module, &s);
    begin();
    engine_mail(w.session, txn_facts_for_test("a@example.com"), on_decided, NULL);
    CU_ASSERT_EQUAL(w.answers, 1);
    CU_ASSERT_EQUAL(w.decision.verdict, TERN_NEXT);
    CU_ASSERT_EQUAL(w.session->txn->kept_count, 0);
    world_close();
}

/* ---- kv, tables, time ---- */

static bool in_handler;

static void stored(tern_call *call, const void *conf, const struct tern_kv_answer *answer)
{
    (void)conf;
    CU_ASSERT_FALSE(in_handler); /* never from inside the function that asked */
    buf_printf(&w.trace, "<%u %lld> ", answer->status, (long long)answer->number);
    tern->complete(call, answer->status == TERN_ABSENT ? TERN_DEFER : TERN_NEXT);
}

static tern_verdict greylist(tern_call *call, const struct script *s)
{
    (void)s;
    in_handler = true;
    tern_verdict v = tern->kv_put_new(call, "greylist", TERN_STR("key"), 7, 60, stored);
    in_handler = false;
    return v;
}

static const struct script greylists = { .only_at = AT(RCPT), .more = greylist };

static void test_kv(void)
{
    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("greylist", &meek_module, &greylists);
    reach_mail();
    unsigned before = w.answers;
    struct tern_mailbox m = mailbox("r1@example.org");
    engine_rcpt(w.session, &m, SLICE(""), SLICE(""), on_decided, NULL);
    CU_ASSERT_EQUAL(w.answers, before + 1); /* no hop either */
    CU_ASSERT_EQUAL(w.decision.verdict, TERN_DEFER);
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_NEXT);
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "<0 7>"));
    world_close();
}

static unsigned kv_found;
static void see_kv(void *arg, const struct tern_kv_answer *answer)
{
    (void)arg;
    kv_found = answer->status == TERN_FOUND;
}

static void test_kv_shadow(void)
{
    static const char key[] = "greylist\0key";
    struct kv_request enforced = { .op = KV_GET, .space = SLICE("greylist"), .key = SLICE("key") };
    struct kv_request shadow = { .op = KV_GET,
                                 .space = SLICE("shadow.grey"),
                                 .key = { key, sizeof(key) - 1 } };

    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &claim_local);
    step("grey", &meek_module, &greylists)->mode = STEP_SHADOW;
    reach_rcpt(); /* DEFER, dropped */
    kv_do(w.kv, &enforced, see_kv, NULL);
    CU_ASSERT_EQUAL(kv_found, 0);
    kv_do(w.kv, &shadow, see_kv, NULL);
    CU_ASSERT_EQUAL(kv_found, 1);
    world_close();
}

static unsigned ticks;

static void on_tick(tern_call *call, const void *conf)
{
    (void)conf;
    if (++ticks == 3)
        tern->complete(call, TERN_NEXT);
}

static tern_verdict several_timers(tern_call *call, const struct script *s)
{
    (void)s;
    for (int i = 0; i < 5; i++)
        (void)tern->after_ms(call, (uint64_t)(1 + 20 * i), on_tick);
    return TERN_WAIT;
}

/* The third of five completes: the other two never ring. */
static void test_timers(void)
{
    static const struct script s = { .only_at = AT(MAIL), .more = several_timers };

    ticks = 0;
    world_open("inbound", NULL);
    (void)step("t", &meek_module, &s);
    reach_mail();
    run_for_ms(120);
    CU_ASSERT_EQUAL(ticks, 3);
    world_close();
}

static tern_verdict too_many_timers(tern_call *call, const struct script *s)
{
    (void)s;
    for (unsigned i = 0; i < CALL_OPS_MAX; i++)
        CU_ASSERT_EQUAL(tern->after_ms(call, 1000, on_tick), TERN_WAIT);
    return tern->after_ms(call, 1000, on_tick);
}

static void test_too_many_timers(void)
{
    static const struct script s = { .only_at = AT(MAIL), .more = too_many_timers };

    world_open("inbound", NULL);
    (void)step("t", &meek_module, &s);
    begin();
    CU_ASSERT_EQUAL(ask_mail("a@example.com"), TERN_NEXT);
    CU_ASSERT_EQUAL(w.session->txn->kept_count, 1); /* an error of the step */
    world_close();
}

/* ---- DNS ---- */

static bool dns_stub_answer(void *arg, const char *name, unsigned type, struct tern_dns_answer *ret)
{
    static const struct tern_dns_record record = { .text = { "127.0.0.2", 9 }, .ttl_s = 60 };

    (void)arg;
    (void)type;
    if (strcmp(name, "listed.test") != 0)
        return false;
    *ret = (struct tern_dns_answer){ .status = TERN_FOUND, .records = &record, .count = 1 };
    return true;
}

static unsigned dns_answers;

static void on_dns(tern_call *call, const void *conf, const struct tern_dns_answer *answer,
                   void *arg)
{
    (void)conf;
    CU_ASSERT_FALSE(in_handler);
    dns_answers++;
    if (answer->status == TERN_FOUND && arg == &dns_answers)
        tern->complete(call, tern->reply(call, TERN_REJECT, 550, "5.7.1", "listed as %s",
                                         answer->records[0].text.ptr));
}

static tern_verdict ask_dns(tern_call *call, const struct script *s)
{
    (void)s;
    in_handler = true;
    (void)tern->dns(call, "clean.test", TERN_DNS_A, on_dns, NULL);
    (void)tern->dns(call, "listed.test", TERN_DNS_A, on_dns, &dns_answers);
    (void)tern->dns(call, "also.clean.test", TERN_DNS_A, on_dns, NULL);
    in_handler = false;
    return TERN_WAIT;
}

static struct dns *open_dns(void)
{
    struct dns_options options = {
        .servers = &(tern_address){ .family = 4, .octets = { 127, 0, 0, 1 }, .port = 1 },
        .server_count = 1
    };
    struct dns *dns = NULL;

    dns_set_stub(dns_stub_answer, NULL);
    CU_ASSERT_EQUAL_FATAL(dns_new(w.loop, &options, &dns), 0);
    w.engine->env.dns = dns;
    return dns;
}

static void test_dns(void)
{
    static const struct script s = { .only_at = AT(RCPT), .more = ask_dns };

    world_open("inbound", NULL);
    (void)step("domains", &claiming_module, &claim_local);
    (void)step("dnsbl", &meek_module, &s);
    struct dns *dns = open_dns();
    reach_mail();
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_REJECT);
    CU_ASSERT_TRUE(last_text_has("listed as 127.0.0.2"));
    /* A disconnect with questions under way. */
    unsigned before = w.answers, told = dns_answers;
    struct tern_mailbox m = mailbox("r2@example.org");
    engine_rcpt(w.session, &m, SLICE(""), SLICE(""), on_decided, NULL);
    engine_session_free(w.session);
    w.session = NULL;
    run_for_ms(5);
    CU_ASSERT_EQUAL(w.answers, before);
    CU_ASSERT_EQUAL(dns_answers, told);
    w.engine->env.dns = NULL;
    dns_free(dns);
    dns_set_stub(NULL, NULL);
    world_close();
}

/* ---- BLOCKING ---- */

static _Atomic unsigned blocked; /* handlers inside */
static _Atomic bool let_go;
static pthread_t loop_thread;

static tern_verdict block(tern_call *call, const struct script *s)
{
    (void)s;
    atomic_fetch_add(&blocked, 1);
    while (!atomic_load(&let_go))
        (void)usleep(500);
    (void)tern->set_result(call, "word", TERN_STR("late"));
    (void)tern->tag(call, "a");
    atomic_fetch_sub(&blocked, 1);
    return TERN_REJECT;
}

static tern_verdict work(tern_call *call, const struct script *s)
{
    struct tern_kv_answer answer;
    struct tern_dns_answer dns;

    (void)s;
    CU_ASSERT_FALSE(pthread_equal(pthread_self(), loop_thread));
    CU_ASSERT_STRING_EQUAL(tern->helo_name(call).ptr, "client.test");
    CU_ASSERT_EQUAL(tern->kv_put_sync(call, "s", TERN_STR("k"), 5, TERN_STR("v"), 60), 0);
    CU_ASSERT_EQUAL(tern->kv_get_sync(call, "s", TERN_STR("k"), &answer), 0);
    CU_ASSERT_EQUAL(answer.number, 5);
    CU_ASSERT_STRING_EQUAL(answer.value.ptr, "v");
    CU_ASSERT_EQUAL(tern->dns_sync(call, "listed.test", TERN_DNS_A, &dns), 0);
    CU_ASSERT_EQUAL(dns.status, TERN_FOUND);
    CU_ASSERT_STRING_EQUAL(dns.records[0].text.ptr, "127.0.0.2");
    CU_ASSERT_EQUAL(tern->set_result(call, "word", TERN_STR("pool")), 0);
    return TERN_NEXT;
}

static void test_blocking(void)
{
    static const struct script s = { .only_at = AT(MAIL), .more = work };

    loop_thread = pthread_self();
    world_open("inbound", NULL);
    (void)step("b", &blocking_module, &s);
    struct dns *dns = open_dns();
    reach_mail();
    CU_ASSERT_STRING_EQUAL(notes_get(engine_txn(w.session)->results, SLICE("word")).ptr, "pool");
    CU_ASSERT_EQUAL(w.session->txn->kept_count, 0);
    w.engine->env.dns = NULL;
    dns_free(dns);
    dns_set_stub(NULL, NULL);
    world_close();
}

/* ---- the loop first, then the pool ---- */

static tern_verdict work_there(tern_call *call, const void *conf)
{
    (void)conf;
    return work(call, NULL);
}

static tern_verdict offload(tern_call *call, const struct script *s)
{
    (void)s;
    return tern->offload(call, work_there);
}

static void then_offload(tern_call *call, const void *conf, const struct tern_dns_answer *answer, void *arg)
{
    (void)conf;
    (void)arg;
    CU_ASSERT_TRUE(pthread_equal(pthread_self(), loop_thread));
    CU_ASSERT_EQUAL(answer->status, TERN_FOUND);
    CU_ASSERT_EQUAL(tern->offload(call, work_there), TERN_WAIT);
}

static tern_verdict ask_then_offload(tern_call *call, const struct script *s)
{
    (void)s;
    (void)tern->after_ms(call, 60000, NULL); /* it and the second answer are let go of */
    (void)tern->dns(call, "listed.test", TERN_DNS_A, then_offload, NULL);
    return tern->dns(call, "listed.test", TERN_DNS_A, then_offload, NULL);
}

static tern_verdict offload_too_early(tern_call *call, const struct script *s)
{
    (void)s;
    (void)tern->kv_put_new(call, "greylist", TERN_STR("key"), 7, 60, stored);
    return tern->offload(call, work_there); /* an answer is under way that cannot be called back */
}

static void test_offload(void)
{
    static const struct {
        struct script s;
        unsigned failures;
    } rows[] = {
        { { .only_at = AT(MAIL), .more = offload }, 0 },
        { { .only_at = AT(MAIL), .more = ask_then_offload }, 0 },
        { { .only_at = AT(MAIL), .more = offload_too_early }, 1 },
    };

    loop_thread = pthread_self();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        world_open("inbound", NULL);
        (void)step("o", &meek_module, &rows[i].s);
        struct dns *dns = open_dns();
        reach_mail();
        tern_str word = notes_get(engine_txn(w.session)->results, SLICE("word"));
        CU_ASSERT_EQUAL(word.ptr != NULL && strcmp(word.ptr, "pool") == 0, rows[i].failures == 0);
        CU_ASSERT_EQUAL(w.session->txn->kept_count, rows[i].failures);
        w.engine->env.dns = NULL;
        dns_free(dns);
        dns_set_stub(NULL, NULL);
        world_close();
    }
}

static tern_verdict block_there(tern_call *call, const void *conf)
{
    (void)conf;
    return block(call, NULL);
}

static tern_verdict offload_block(tern_call *call, const struct script *s)
{
    (void)s;
    return tern->offload(call, block_there);
}

static tern_verdict misuse(tern_call *call, const struct script *s)
{
    struct tern_kv_answer answer;

    (void)s;
    if ((call->hook->flags & TERN_BLOCKING) != 0)
        return tern->after_ms(call, 1, on_tick); /* ERROR: not from the pool */
    CU_ASSERT_EQUAL(tern->kv_get_sync(call, "s", TERN_STR("k"), &answer), -EPERM);
    return TERN_NEXT;
}

static void test_misuse(void)
{
    static const struct script s = { .only_at = AT(MAIL), .more = misuse };

    world_open("inbound", NULL);
    (void)step("b", &blocking_module, &s);
    (void)step("p", &meek_module, &s);
    reach_mail();
    CU_ASSERT_EQUAL(w.session->txn->kept_count, 2);
    world_close();
}

static const struct script blocks = { .only_at = AT(MAIL), .more = block };

/* A thread that hangs: time-out, its late answer is dropped, others of the pool go on. */
static void stuck_of(const struct tern_module *module, const struct script *script)
{
    static const struct script fine = { .only_at = AT(DATA) };

    world_open("inbound", NULL);
    struct plan_step *stuck = step("stuck", module, script);
    stuck->timeout_ms = 30;
    (void)step("fine", &blocking_module, &fine);
    (void)step("domains", &claiming_module, &claim_local);
    atomic_store(&let_go, false);
    reach_mail();
    CU_ASSERT_EQUAL(w.session->txn->kept_count, 1);
    CU_ASSERT_EQUAL(atomic_load(&stuck->step->in_pool), 1); /* the share stays taken */
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_DEFER);
    CU_ASSERT_EQUAL(ask_data(), TERN_NEXT); /* `fine` runs on another thread */
    atomic_store(&let_go, true);
    while (atomic_load(&stuck->step->in_pool) != 0)
        (void)usleep(500);
    run_for_ms(5);
    CU_ASSERT_PTR_NULL(engine_txn(w.session)->results);
    CU_ASSERT_PTR_NULL(engine_txn(w.session)->tags);
    CU_ASSERT_EQUAL(w.aborts, 0); /* it never waited */
    world_close();
}

static void test_stuck(void)
{
    static const struct script offloads = { .only_at = AT(MAIL), .more = offload_block };

    stuck_of(&blocking_module, &blocks);
    stuck_of(&meek_module, &offloads);
}

/* The session, and even the engine, go while a thread is stuck in their call. */
static void test_stuck_beyond_the_session(void)
{
    world_open("inbound", NULL);
    struct plan_step *stuck = step("stuck", &blocking_module, &blocks);
    atomic_store(&let_go, false);
    begin();
    engine_mail(w.session, txn_facts_for_test("a@example.com"), on_decided, NULL);
    while (atomic_load(&blocked) == 0)
        (void)usleep(500);
    engine_session_free(w.session);
    w.session = NULL;
    CU_ASSERT_TRUE(w.generation > 1); /* the call holds it */
    engine_free(w.engine);
    atomic_store(&let_go, true);
    while (atomic_load(&stuck->step->in_pool) != 0)
        (void)usleep(500);
    struct engine_env env = { .loop = w.loop, .spool_fd = -1 };
    w.engine = engine_new(&env);
    world_close();
}

/* Share 1: the second call waits in the queue; its time-out takes it out again. */
static void test_share(void)
{
    struct engine_session *other;

    world_open("inbound", NULL);
    struct plan_step *stuck = step("stuck", &blocking_module, &blocks);
    stuck->timeout_ms = 40;
    stuck->step->pool_share = 1;
    atomic_store(&let_go, false);
    begin();
    struct engine_session_options o = session_options(session_facts_for_test());
    other = engine_session_new(w.engine, &o);
    engine_mail(w.session, txn_facts_for_test("a@example.com"), on_decided, NULL);
    engine_mail(other, txn_facts_for_test("a@example.com"), on_decided, NULL);
    while (atomic_load(&blocked) == 0)
        (void)usleep(500);
    CU_ASSERT_EQUAL(pool_waiting(w.pool), 1);
    run_until(&w.answers, 2);
    CU_ASSERT_EQUAL(pool_waiting(w.pool), 0);
    CU_ASSERT_EQUAL(pool_busy(w.pool), 1);
    engine_session_free(other);
    atomic_store(&let_go, true);
    world_close();
}

/* Queue of 8, of which one step may fill 2: at the bound, and one above. */
static void test_full_queue(void)
{
    static const struct pool_options tiny = { .threads = 2, .queue = 8 };
    struct engine_session *others[4];

    world_open("inbound", &tiny);
    struct plan_step *stuck = step("stuck", &blocking_module, &blocks);
    stuck->step->pool_share = 1;
    atomic_store(&let_go, false);
    begin();
    for (int i = 0; i < 4; i++) {
        struct engine_session_options o = session_options(session_facts_for_test());
        others[i] = engine_session_new(w.engine, &o);
        engine_mail(others[i], txn_facts_for_test("a@example.com"), on_decided, NULL);
        while (i == 0 && atomic_load(&blocked) == 0)
            (void)usleep(500);
        CU_ASSERT_EQUAL(w.answers, i == 3); /* one runs, two wait, the fourth is an error at once */
    }
    CU_ASSERT_EQUAL(others[3]->txn->kept_count, 1);
    for (int i = 0; i < 4; i++)
        engine_txn_end(others[i], SLICE(""), 0);
    CU_ASSERT_EQUAL(pool_waiting(w.pool), 0);
    for (int i = 0; i < 4; i++)
        engine_session_free(others[i]);
    atomic_store(&let_go, true);
    world_close();
}

static tern_verdict wait_on_pool(tern_call *call, const struct script *s)
{
    (void)call;
    (void)s;
    atomic_fetch_add(&blocked, 1);
    while (!atomic_load(&let_go))
        (void)usleep(500);
    atomic_fetch_sub(&blocked, 1);
    return TERN_WAIT;
}

/* A pool handler that returns WAIT when its step is long over: told once, on the loop. */
static void test_late_wait(void)
{
    static const struct script s = { .only_at = AT(MAIL), .more = wait_on_pool };

    world_open("inbound", NULL);
    struct plan_step *late = step("late", &blocking_module, &s);
    late->timeout_ms = 30;
    atomic_store(&let_go, false);
    reach_mail();
    CU_ASSERT_EQUAL(w.aborts, 0);
    atomic_store(&let_go, true);
    run_until(&w.aborts, 1);
    run_for_ms(5);
    CU_ASSERT_EQUAL(w.aborts, 1);
    CU_ASSERT_EQUAL(atomic_load(&late->step->in_pool), 0);
    world_close();
}

/* ---- detached ---- */

static const struct script close_waits = { .only_at = AT(CLOSE), .more = wait_for_ever };

static void test_detached(void)
{
    world_open("inbound", NULL);
    step("w", &meek_module, &close_waits)->timeout_ms = 20;
    (void)step("after", &meek_module, NULL);
    begin();
    engine_session_free(w.session);
    w.session = NULL;
    CU_ASSERT_EQUAL(w.engine->detached_count, 1);
    run_until(&w.aborts, 1);
    CU_ASSERT_EQUAL(w.engine->detached_count, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(w.trace.data, "close:after"));
    late_answers_are_harmless();
    world_close();
}

static void test_detached_bound(void)
{
    struct engine_session_options o;
    static const struct script s = { .only_at = AT(CLOSE), .answer = TERN_WAIT };

    world_open("inbound", NULL);
    (void)step("w", &meek_module, &s);
    testplan_build(w.policy);
    for (unsigned i = 0; i <= ENGINE_DETACHED_MAX; i++) {
        o = session_options(session_facts_for_test());
        engine_session_free(engine_session_new(w.engine, &o));
    }
    CU_ASSERT_EQUAL(w.engine->detached_count, ENGINE_DETACHED_MAX);
    world_close();
    CU_ASSERT_EQUAL(w.aborts, ENGINE_DETACHED_MAX);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("runner", NULL, NULL);
    CU_add_test(s, "a missing completion", test_missing_completion);
    CU_add_test(s, "a disconnect while it waits", test_disconnect_while_waiting);
    CU_add_test(s, "runs that are lent", test_spare_runs);
    CU_add_test(s, "a disconnect while the answer travels", test_disconnect_while_answered);
    CU_add_test(s, "a thread completes", test_thread_completes);
    CU_add_test(s, "a thread wakes the loop", test_wake);
    CU_add_test(s, "a thread wakes the loop too late", test_wake_too_late);
    CU_add_test(s, "completed inside the handler", test_inline_completion);
    CU_add_test(s, "kv", test_kv);
    CU_add_test(s, "kv in shadow mode", test_kv_shadow);
    CU_add_test(s, "timers", test_timers);
    CU_add_test(s, "too many timers", test_too_many_timers);
    CU_add_test(s, "dns", test_dns);
    CU_add_test(s, "BLOCKING", test_blocking);
    CU_add_test(s, "the loop first, then the pool", test_offload);
    CU_add_test(s, "the wrong thread for it", test_misuse);
    CU_add_test(s, "a stuck thread", test_stuck);
    CU_add_test(s, "a stuck thread beyond session and engine", test_stuck_beyond_the_session);
    CU_add_test(s, "the share of a step", test_share);
    CU_add_test(s, "a full queue", test_full_queue);
    CU_add_test(s, "WAIT from the pool, too late", test_late_wait);
    CU_add_test(s, "detached hooks", test_detached);
    CU_add_test(s, "detached hooks are bounded", test_detached_bound);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
