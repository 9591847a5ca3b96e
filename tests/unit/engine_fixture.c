/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_fixture.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "module/descriptor.h"
#include "state/kv.h"

struct world w;
const struct tern_api *tern;
const struct script claim_local = { .claim = TERN_CLASS_LOCAL };

/* ---- steps ---- */

static tern_verdict play(tern_call *call, const void *conf)
{
    const struct script *s = conf;

    if ((call->hook->flags & TERN_BLOCKING) == 0)
        buf_printf(&w.trace, "%s:%s ", descriptor_hook_name(call->point),
                   call->step->step->name.ptr);
    if (s == NULL || (s->only_at != 0 && s->only_at != call->point + 1))
        return TERN_NEXT;
    if (s->claim != TERN_CLASS_NONE && call->point == TERN_HOOK_RCPT)
        (void)tern->claim(call, s->claim);
    if (s->tag != NULL)
        (void)tern->tag(call, s->tag);
    if (s->more != NULL)
        return s->more(call, s);
    if (s->code != 0)
        return tern->reply(call, s->answer, s->code, NULL, "%s", s->text);
    return s->answer;
}

static void aborted(tern_call *call, const void *conf)
{
    const struct script *s = conf;

    w.aborts++;
    if (s != NULL && s->aborted != NULL)
        s->aborted(call);
}

#define RDC  (TERN_MAY_REJECT | TERN_MAY_DEFER | TERN_MAY_CLOSE)
#define LATE (TERN_MAY_REJECT | TERN_MAY_DEFER | TERN_MAY_HOLD | TERN_MAY_DISCARD)
#define ENTRY(point, may, more)                                                                    \
    {                                                                                              \
        TERN_HOOK(point, play), .answers = may, .flags = more, .on_abort = aborted                 \
    }
#define ENTRIES(name, flags, rcpt_flags, message_flags, may)                                       \
    static const struct tern_hook name[] = {                                                       \
        ENTRY(CONNECT, (may)&RDC, flags),                                                          \
        ENTRY(EHLO, (may)&RDC, flags),                                                             \
        ENTRY(MAIL, (may)&RDC, flags),                                                             \
        ENTRY(RCPT, (may) & (RDC | LATE), (flags) | (rcpt_flags)),                                 \
        ENTRY(DATA, (may)&RDC, flags),                                                             \
        ENTRY(MESSAGE, (may)&LATE, (flags) | (message_flags)),                                     \
        ENTRY(QUEUE, (may)&LATE, flags),                                                           \
        ENTRY(SIGN, (may)&TERN_MAY_DEFER, flags),                                                  \
        ENTRY(ROUTE, (may) & (TERN_MAY_ACCEPT | TERN_MAY_REJECT | TERN_MAY_DEFER), flags),         \
        ENTRY(DELIVER, (may) & (TERN_MAY_REJECT | TERN_MAY_DEFER | TERN_MAY_HOLD), flags),         \
        ENTRY(RESULT, 0, flags),                                                                   \
        ENTRY(CLOSE, 0, flags),                                                                    \
        ENTRY(VRFY, (may) & (TERN_MAY_ACCEPT | TERN_MAY_REJECT | TERN_MAY_DEFER), flags),          \
        TERN_HOOKS_END                                                                             \
    }
ENTRIES(every_hooks, 0, TERN_CLAIMS, 0, ~0u);
ENTRIES(meek_hooks, 0, 0, 0, ~0u);
ENTRIES(silent_hooks, 0, 0, 0, 0);
ENTRIES(blocking_hooks, TERN_BLOCKING, TERN_CLAIMS, 0, ~0u);
ENTRIES(once_hooks, 0, 0, TERN_ONCE, ~0u);

static const struct tern_hook claiming_hooks[] = { ENTRY(RCPT, 0, TERN_CLAIMS), TERN_HOOKS_END };

static const char *const colours[] = { "red", "green", NULL };
static const struct tern_note notes[] = { TERN_TAG("a", ""),
                                          TERN_TAG("b", ""),
                                          TERN_TAG("c", ""),
                                          TERN_RESULT("colour", colours, ""),
                                          TERN_RESULT("word", NULL, ""),
                                          TERN_NOTES_END };
#define MODULE(name_, hooks_)                                                                      \
    const struct tern_module name_##_module = {                                                    \
        .magic = TERN_ABI_MAGIC, .name = #name_, .hooks = hooks_, .notes = notes                   \
    }
MODULE(every, every_hooks);
MODULE(meek, meek_hooks);
MODULE(silent, silent_hooks);
MODULE(blocking, blocking_hooks);
MODULE(once, once_hooks);
MODULE(claiming, claiming_hooks);

/* ---- the world ---- */

static void generation_ref(void *generation)
{
    __atomic_add_fetch((int *)generation, 1, __ATOMIC_SEQ_CST);
}

static void generation_unref(void *generation)
{
    __atomic_sub_fetch((int *)generation, 1, __ATOMIC_SEQ_CST);
}

void world_open(const char *policy, const struct pool_options *pool)
{
    static const struct pool_options small = { .threads = 4, .queue = 16 };
    char error[128];

    w = (struct world){ .split = true, .generation = 1 };
    tern = api_table();
    w.loop = loop_new(0);
    w.pool = pool_new(pool != NULL ? pool : &small);
    assert(kv_open(NULL, NULL, 1000, &w.kv, error, sizeof(error)) == 0);
    struct engine_env env = {
        .loop = w.loop, .kv = w.kv, .pool = w.pool, .hostname = "mx.test", .spool_fd = -1
    };
    w.engine = engine_new(&env);
    w.policy = testplan_new(policy);
}

struct plan_step *step(const char *name, const struct tern_module *module, const struct script *s)
{
    return testplan_add(w.policy, name, module, s);
}

struct session_facts *session_facts_for_test(void)
{
    struct session_facts *f = session_facts_new();

    f->id = TERN_STR("s1");
    f->client_text = TERN_STR("192.0.2.1");
    f->client = (tern_address){ .family = 4, .octets = { 192, 0, 2, 1 } };
    f->listener = TERN_STR("mx");
    f->policy = TERN_STR("inbound");
    return f;
}

struct tern_mailbox mailbox(const char *address)
{
    const char *at = strchr(address, '@');
    size_t len = strlen(address);
    struct tern_mailbox m = { { address, len }, { address, len }, { "", 0 } };

    if (at != NULL) {
        m.local.len = (size_t)(at - address);
        m.domain = (tern_str){ at + 1, len - m.local.len - 1 };
    }
    return m;
}

struct txn_facts *txn_facts_for_test(const char *from)
{
    struct txn_facts *f = txn_facts_new();

    f->id = TERN_STR("06c2k3nm7d0g4");
    f->sender = f->sender_original = mailbox(from);
    return f;
}

struct engine_session_options session_options(struct session_facts *facts)
{
    return (struct engine_session_options){
        .policy = w.policy,
        .generation = &w.generation,
        .generation_ref = generation_ref,
        .generation_unref = generation_unref,
        .soft_bounce = w.soft_bounce,
        .split = w.split,
        .groups_max = w.groups_max,
        .facts = facts,
    };
}

void begin(void)
{
    testplan_build(w.policy);
    struct engine_session_options o = session_options(session_facts_for_test());
    w.session = engine_session_new(w.engine, &o);
}

/* ---- the loop ---- */

static bool out_of_time;

static void stop_late(struct loop_timer *timer)
{
    (void)timer;
    out_of_time = true;
    loop_stop(w.loop);
}

void run_for_ms(unsigned ms)
{
    struct loop_timer timer;

    loop_timer_init(&timer, stop_late);
    loop_timer_start(w.loop, &timer, ms);
    loop_run(w.loop);
    loop_timer_stop(&timer);
}

static void stop_task(struct loop_task *task)
{
    (void)task;
    loop_stop(w.loop);
}

void run_until(const unsigned *count, unsigned wanted)
{
    uint64_t end = clock_now_ms() + 60000;

    while (__atomic_load_n(count, __ATOMIC_SEQ_CST) < wanted && clock_now_ms() < end)
        run_for_ms(5);
    CU_ASSERT_TRUE(__atomic_load_n(count, __ATOMIC_SEQ_CST) >= wanted);
}

void world_close(void)
{
    struct loop_task last = { .run = stop_task };

    if (w.session != NULL)
        engine_session_free(w.session);
    engine_free(w.engine);
    list_init(&last.link);
    loop_post(w.loop, &last); /* behind whatever the port has posted */
    loop_run(w.loop);
    CU_ASSERT_EQUAL(pool_free(w.pool, 60000), 0);
    loop_free(w.loop);
    kv_close(w.kv);
    testplan_free(w.policy);
    buf_free(&w.trace);
    buf_free(&w.text);
    CU_ASSERT_EQUAL(w.generation, 1); /* every call, lease and session has let go */
}

/* ---- questions ---- */

void on_decided(void *arg, const struct decision *decision)
{
    (void)arg;
    w.decision = *decision;
    buf_clear(&w.text);
    buf_add(&w.text, decision->text);
    w.answers++;
}

void on_message_result(void *arg, const struct engine_message_result *result)
{
    w.result = result;
    on_decided(arg, &result->decision);
}

static tern_verdict wait_answer(unsigned before)
{
    run_until(&w.answers, before + 1);
    CU_ASSERT_EQUAL(w.answers, before + 1);
    return w.decision.verdict;
}

tern_verdict ask_connect(void)
{
    unsigned before = w.answers;

    engine_connect(w.session, on_decided, NULL);
    return wait_answer(before);
}

tern_verdict ask_helo(const char *name)
{
    unsigned before = w.answers;

    engine_helo(w.session, slice_cstr(name), true, on_decided, NULL);
    return wait_answer(before);
}

tern_verdict ask_mail(const char *from)
{
    unsigned before = w.answers;

    engine_mail(w.session, txn_facts_for_test(from), on_decided, NULL);
    return wait_answer(before);
}

tern_verdict ask_rcpt(const char *to)
{
    unsigned before = w.answers;
    struct tern_mailbox m = mailbox(to);

    engine_rcpt(w.session, &m, SLICE(""), SLICE(""), on_decided, NULL);
    return wait_answer(before);
}

tern_verdict ask_data(void)
{
    unsigned before = w.answers;

    engine_data(w.session, on_decided, NULL);
    return wait_answer(before);
}

struct body *body_of(const char *text)
{
    struct body *body = body_new(-1);

    assert(body_append(body, slice_cstr(text)) == 0);
    return body;
}

tern_verdict ask_message(const char *text)
{
    unsigned before = w.answers;
    struct body *body = body_of(text);

    w.result = NULL;
    engine_message(w.session, body, SLICE("Received: here\r\n"), on_message_result, NULL);
    body_unref(body);
    return wait_answer(before);
}

void reach_mail(void)
{
    begin();
    CU_ASSERT_EQUAL(ask_connect(), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_helo("client.test"), TERN_NEXT);
    CU_ASSERT_EQUAL(ask_mail("a@example.com"), TERN_NEXT);
}

void reach_rcpt(void)
{
    reach_mail();
    CU_ASSERT_EQUAL(ask_rcpt("r1@example.org"), TERN_NEXT);
}

bool last_text_has(const char *part)
{
    return w.text.data != NULL && strstr(w.text.data, part) != NULL;
}

struct slice record_steps(void)
{
    struct record *r = w.session->txn != NULL ? &w.session->txn->record : session_record(w.session);

    buf_add_cstr(&r->steps, "");
    return r->steps.data != NULL ? buf_slice(&r->steps) : SLICE("");
}

static void take_number(void *arg, const struct tern_kv_answer *answer)
{
    *(int64_t *)arg = answer->status == TERN_FOUND ? answer->number : 0;
}

int64_t world_kv(const char *space, struct slice key, enum kv_op op, int64_t number)
{
    struct kv_request r = { .op = op, .number = number, .space = slice_cstr(space), .key = key, .expire_s = 600 };

    kv_do(w.kv, &r, take_number, &number);
    return number;
}
