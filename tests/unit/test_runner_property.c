/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_runner_property.c - random chains of plain, blocking and waiting steps, driven by
 * sessions that may
 * hang up at any moment.
 *
 * For every seed: each question is answered exactly once and in order; nothing is heard of a
 * session that is gone; no step on the loop runs outside its question; a WAIT that is never
 * completed
 * is aborted exactly once; everything that counts a generation lets go; a stuck
 * pool thread stops nobody. The seed is printed; TERN_SEED repeats one, TERN_ROUNDS sets how many.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine_fixture.h"

#define SESSIONS        6
#define QUESTIONS       40
#define ROUNDS_DEFAULT  25
#define STEP_TIMEOUT_MS 10
#define ROUND_LIMIT_MS  60000

static _Atomic uint64_t random_state;

/* splitmix64 over a shared counter: any thread, repeatable as far as the schedule is. */
static uint64_t dice(uint64_t sides)
{
    uint64_t z = atomic_fetch_add(&random_state, 0x9e3779b97f4a7c15u) + 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % sides;
}

/* ---- sessions ---- */

enum stage { DO_CONNECT, DO_HELO, DO_MAIL, DO_RCPT, DO_DATA, DO_MESSAGE };

struct driver {
    struct engine_session *session; /* NULL: gone */
    char id[8];
    enum stage stage;
    bool asked;                     /* a question is open */
    unsigned hook_first, hook_last; /* hooks that may run for it */
    unsigned questions, answers;
    struct loop_task next;
    bool next_posted;
    struct loop_timer hang_up;
};
static struct driver drivers[SESSIONS];
static unsigned finished;
static unsigned wrong; /* broken promises; counted from any thread */

static void broken(const char *what)
{
    (void)__atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
    fprintf(stderr, "broken: %s\n", what);
}

static struct driver *driver_of(const tern_call *call)
{
    return &drivers[atoi(tern->session_id(call).ptr + 1)];
}

static void end_session(struct driver *d)
{
    if (d->session == NULL)
        return;
    struct engine_session *s = d->session;
    d->session = NULL; /* before: nothing may be heard from inside */
    loop_timer_stop(&d->hang_up);
    engine_session_free(s);
    d->asked = false;
    finished++;
}

static void on_hang_up(struct loop_timer *timer)
{
    end_session(list_entry(timer, struct driver, hang_up));
}

static enum stage stage_after(struct driver *d, tern_verdict verdict)
{
    bool yes = verdict == TERN_NEXT || verdict == TERN_HOLD || verdict == TERN_DISCARD;

    switch (d->stage) {
    case DO_CONNECT: return DO_HELO;
    case DO_HELO: return dice(4) == 0 ? DO_HELO : DO_MAIL;
    case DO_MAIL: return yes ? DO_RCPT : DO_MAIL;
    case DO_RCPT: return engine_txn(d->session)->rcpt_count > 0 && dice(3) == 0 ? DO_DATA : DO_RCPT;
    case DO_DATA: return yes ? DO_MESSAGE : DO_RCPT;
    default: engine_txn_end(d->session, SLICE(""), 250); return dice(5) == 0 ? DO_HELO : DO_MAIL;
    }
}

static void answered(void *arg, const struct decision *decision)
{
    struct driver *d = arg;
    tern_verdict verdict = decision->verdict; /* it goes with the transaction */

    if (d->session == NULL || !d->asked)
        broken("an answer that nobody waits for");
    if (d->session == NULL)
        return;
    d->asked = false;
    d->answers++;
    if (verdict > TERN_DISCARD || verdict == TERN_ACCEPT)
        broken("a verdict that is none");
    if (decision->code != 0 && decision->text.len == 0)
        broken("a refusal without text");
    d->stage = stage_after(d, verdict);
    if (verdict == TERN_CLOSE || d->questions >= QUESTIONS) {
        end_session(d); /* from inside the answer */
        return;
    }
    loop_at_end(w.loop, &d->next);
}

static void message_answered(void *arg, const struct engine_message_result *result)
{
    struct driver *d = arg;

    if (d->session != NULL && result->decision.verdict == TERN_NEXT && result->group_count == 0)
        broken("accepted without a group");
    for (unsigned i = 0; i < result->group_count; i++)
        if (result->groups[i].head.len == 0 || result->groups[i].facts->rcpt_count == 0)
            broken("an empty group");
    answered(arg, &result->decision);
}

static void open_question(struct driver *d, unsigned first, unsigned last)
{
    d->asked = true;
    d->questions++;
    d->hook_first = first;
    d->hook_last = last;
    if (dice(30) == 0)
        loop_timer_start(w.loop, &d->hang_up, dice(40));
}

static void ask_rcpt_of(struct driver *d)
{
    static const char *const to[] = { "r1@example.org", "r2@example.org", "r3@example.org" };
    struct tern_mailbox m = mailbox(to[dice(3)]);

    open_question(d, TERN_HOOK_RCPT, TERN_HOOK_RCPT);
    engine_rcpt(d->session, &m, SLICE(""), SLICE(""), answered, d);
}

static void ask_message_of(struct driver *d)
{
    struct body *body = body_of("Subject: x\r\nTo: y\r\n\r\nbody\r\n");

    open_question(d, TERN_HOOK_MESSAGE, TERN_HOOK_SIGN);
    engine_message(d->session, body, SLICE("Received: here\r\n"), message_answered, d);
    body_unref(body);
}

static void drive(struct loop_task *task)
{
    struct driver *d = list_entry(task, struct driver, next);

    if (d->session == NULL)
        return;
    switch (d->stage) {
    case DO_CONNECT:
        open_question(d, TERN_HOOK_CONNECT, TERN_HOOK_CONNECT);
        engine_connect(d->session, answered, d);
        return;
    case DO_HELO:
        open_question(d, TERN_HOOK_EHLO, TERN_HOOK_EHLO);
        engine_helo(d->session, SLICE("client.test"), true, answered, d);
        return;
    case DO_MAIL:
        open_question(d, TERN_HOOK_MAIL, TERN_HOOK_MAIL);
        engine_mail(d->session, txn_facts_for_test("a@example.com"), answered, d);
        return;
    case DO_RCPT: ask_rcpt_of(d); return;
    case DO_DATA:
        open_question(d, TERN_HOOK_DATA, TERN_HOOK_DATA);
        engine_data(d->session, answered, d);
        return;
    case DO_MESSAGE: ask_message_of(d); return;
    }
}

/* ---- foreign threads ---- */

struct completion {
    struct list link;
    tern_call *call;
    uint64_t due_us;
    unsigned times;
    tern_verdict verdict;
};
static struct list completions;
static pthread_mutex_t completions_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool completers_stop;

static tern_verdict random_verdict(void)
{
    static const tern_verdict some[] = { TERN_NEXT,  TERN_NEXT,    TERN_NEXT,  TERN_NEXT,
                                         TERN_NEXT,  TERN_REJECT,  TERN_DEFER, TERN_HOLD,
                                         TERN_ERROR, TERN_DISCARD, TERN_NEXT,  TERN_NEXT };
    if (dice(40) == 0)
        return (tern_verdict)(dice(2) == 0 ? 77 : TERN_ACCEPT);
    if (dice(60) == 0)
        return TERN_CLOSE;
    return some[dice(sizeof(some) / sizeof(some[0]))];
}

static void complete_one(struct completion *c)
{
    if (dice(2) == 0)
        (void)tern->set_result(c->call, "word", TERN_STR("far"));
    for (unsigned i = 0; i < c->times; i++)
        tern->complete(c->call, c->verdict);
    tern->call_unref(c->call);
    free(c);
}

static struct completion *take_due(bool all)
{
    struct completion *found = NULL;

    pthread_mutex_lock(&completions_lock);
    list_each (link, &completions) {
        struct completion *c = list_entry(link, struct completion, link);
        if (!all && c->due_us > clock_now_us())
            continue;
        list_remove(link);
        found = c;
        break;
    }
    pthread_mutex_unlock(&completions_lock);
    return found;
}

static void *completer(void *arg)
{
    (void)arg;
    while (!atomic_load(&completers_stop)) {
        struct completion *c = take_due(false);
        if (c != NULL)
            complete_one(c);
        else
            (void)usleep(200);
    }
    return NULL;
}

static void complete_later(tern_call *call)
{
    struct completion *c = mem_zalloc(sizeof(*c));

    c->call = tern->call_ref(call);
    c->due_us = clock_now_us() + dice(10) * dice(5000); /* some after the time-out */
    c->times = 1 + (unsigned)dice(3);
    c->verdict = random_verdict();
    pthread_mutex_lock(&completions_lock);
    list_push(&completions, &c->link);
    pthread_mutex_unlock(&completions_lock);
}

/* ---- steps ---- */

/* Calls that nobody will complete: each leaves by exactly one on_abort. Loop thread. */
static const tern_call *never[SESSIONS + ENGINE_DETACHED_MAX];
static unsigned never_count, never_completed, aborts_of_never;
static _Atomic bool stuck_may_go;

static void write_journal(tern_call *call)
{
    switch (dice(8)) {
    case 0: (void)tern->tag(call, "a"); break;
    case 1: (void)tern->set_result(call, "word", TERN_STR("x")); break;
    case 2:
        (void)tern->header_prepend(call, "X",
                                   TERN_STR("y")); /* an error of the step at most hooks */
        break;
    case 3: tern->note(call, "k", TERN_STR("v")); break;
    case 4: (void)tern->expand_rcpt(call, TERN_STR("child@example.org")); break;
    default: break;
    }
}

static void on_kv(tern_call *call, const void *conf, const struct tern_kv_answer *answer)
{
    (void)conf;
    (void)answer;
    if (dice(2) == 0)
        tern->complete(call, random_verdict());
    else
        complete_later(call);
}

static void on_timer(tern_call *call, const void *conf)
{
    (void)conf;
    tern->complete(call, random_verdict());
}

static tern_verdict never_complete(const tern_call *call)
{
    never[never_count++] = call;
    never_completed++;
    return TERN_WAIT;
}

static void check_in_question(tern_call *call)
{
    const struct driver *d = driver_of(call);

    if (call->point == TERN_HOOK_CLOSE)
        return;
    if (d->session == NULL || !d->asked || call->point < d->hook_first ||
        call->point > d->hook_last)
        broken("a step runs outside its question");
}

static tern_verdict play_plain(tern_call *call, const void *conf)
{
    (void)conf;
    check_in_question(call);
    if (dice(3) == 0)
        write_journal(call);
    switch (dice(12)) {
    case 0: complete_later(call); return TERN_WAIT;
    case 1:
        tern->complete(call, random_verdict());
        return dice(2) == 0 ? TERN_WAIT : random_verdict();
    case 2: return tern->kv_add(call, "p", TERN_STR("k"), 1, 60, on_kv);
    case 3:
        (void)tern->after_ms(call, 200, on_timer);
        return tern->after_ms(call, dice(4), on_timer);
    case 4: return dice(3) == 0 ? never_complete(call) : TERN_NEXT;
    default: return random_verdict();
    }
}

static void on_abort(tern_call *call, const void *conf)
{
    (void)conf;
    for (unsigned i = 0; i < never_count; i++) {
        if (never[i] != call)
            continue;
        never[i] = never[--never_count];
        aborts_of_never++;
        return;
    }
}

static tern_verdict play_blocking(tern_call *call, const void *conf)
{
    const bool *stuck = conf;

    if (stuck != NULL) {
        while (!atomic_load(&stuck_may_go))
            (void)usleep(500);
        return random_verdict();
    }
    (void)usleep((useconds_t)(dice(8) == 0 ? dice(25000) : dice(500)));
    if (dice(3) == 0)
        (void)tern->tag(call, "b");
    if (dice(10) == 0) {
        tern->complete(call, random_verdict());
        return TERN_WAIT;
    }
    if (dice(20) == 0) {
        complete_later(call);
        return TERN_WAIT;
    }
    return random_verdict();
}

#define RDC  (TERN_MAY_REJECT | TERN_MAY_DEFER | TERN_MAY_CLOSE)
#define LATE (TERN_MAY_REJECT | TERN_MAY_DEFER | TERN_MAY_HOLD | TERN_MAY_DISCARD)
#define ENTRY(point, fn, may, more)                                                                \
    {                                                                                              \
        TERN_HOOK(point, fn), .answers = may, .flags = more, .on_abort = on_abort                  \
    }
#define HOOKS(name, fn, flags)                                                                     \
    static const struct tern_hook name[] = {                                                       \
        ENTRY(CONNECT, fn, RDC, flags), ENTRY(EHLO, fn, RDC, flags),                               \
        ENTRY(MAIL, fn, RDC, flags),    ENTRY(RCPT, fn, RDC | LATE, flags),                        \
        ENTRY(DATA, fn, RDC, flags),    ENTRY(MESSAGE, fn, LATE, flags),                           \
        ENTRY(QUEUE, fn, LATE, flags),  ENTRY(SIGN, fn, TERN_MAY_DEFER, flags),                    \
        ENTRY(CLOSE, fn, 0, flags),     TERN_HOOKS_END                                             \
    }
HOOKS(plain_hooks, play_plain, 0);
HOOKS(pool_hooks, play_blocking, TERN_BLOCKING);
static const struct tern_hook stuck_hooks[] = { ENTRY(RCPT, play_blocking, RDC, TERN_BLOCKING),
                                                TERN_HOOKS_END };

static const struct tern_note notes[] = { TERN_TAG("a", ""), TERN_TAG("b", ""),
                                          TERN_RESULT("word", NULL, ""), TERN_NOTES_END };
static const struct tern_module plain = { .name = "plain", .hooks = plain_hooks, .notes = notes };
static const struct tern_module pool = { .name = "pool", .hooks = pool_hooks, .notes = notes };
static const struct tern_module stuck = { .name = "stuck", .hooks = stuck_hooks, .notes = notes };

/* ---- a round ---- */

static void add_steps(void)
{
    static const char *const names[] = { "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7" };
    static const bool yes = true;
    unsigned count = 1 + (unsigned)dice(6);

    (void)testplan_add(w.policy, "domains", &claiming_module, &claim_local);
    for (unsigned i = 0; i < count; i++) {
        struct plan_step *s = testplan_add(w.policy, names[i], dice(3) == 0 ? &pool : &plain, NULL);
        s->timeout_ms = STEP_TIMEOUT_MS;
        s->mode = dice(5) == 0 ? STEP_SHADOW : STEP_ENFORCE;
        s->on_error = dice(3) == 0 ? STEP_ERROR_DEFER : STEP_ERROR_SKIP;
        s->refuse_at = dice(4) == 0 ? STEP_REFUSE_NOW : STEP_REFUSE_RCPT;
        s->step->pool_share = 1 + (unsigned)dice(4);
    }
    if (dice(3) == 0) {
        struct plan_step *s = testplan_add(w.policy, "stuck", &stuck, &yes);
        s->timeout_ms = STEP_TIMEOUT_MS;
        s->step->pool_share = 2;
    }
    testplan_build(w.policy);
    (void)testplan_profile(w.policy, "r2@example.org", 1);
}

static void start_session(unsigned i)
{
    struct driver *d = &drivers[i];
    struct session_facts *facts = session_facts_for_test();

    *d = (struct driver){ .stage = DO_CONNECT };
    (void)snprintf(d->id, sizeof(d->id), "d%u", i);
    facts->id = (tern_str){ d->id, strlen(d->id) };
    w.split = dice(2) == 0;
    w.soft_bounce = dice(4) == 0;
    struct engine_session_options o = session_options(facts);
    d->session = engine_session_new(w.engine, &o);
    d->next.run = drive;
    loop_timer_init(&d->hang_up, on_hang_up);
    loop_at_end(w.loop, &d->next);
}

static void run_round(uint64_t seed)
{
    static const struct pool_options small = { .threads = 6, .queue = 24 };
    uint64_t end = clock_now_ms() + ROUND_LIMIT_MS;
    pthread_t threads[2];

    atomic_store(&random_state, seed);
    finished = never_count = never_completed = aborts_of_never = 0;
    atomic_store(&stuck_may_go, false);
    atomic_store(&completers_stop, false);
    list_init(&completions);
    world_open("inbound", &small);
    add_steps();
    for (unsigned i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(pthread_create(&threads[i], NULL, completer, NULL), 0);
    for (unsigned i = 0; i < SESSIONS; i++)
        start_session(i);
    while (finished < SESSIONS && clock_now_ms() < end)
        run_for_ms(5);
    CU_ASSERT_EQUAL(finished, SESSIONS); /* stuck or not, everybody got through */
    for (unsigned i = 0; i < SESSIONS; i++)
        CU_ASSERT_TRUE(drivers[i].answers == drivers[i].questions ||
                       drivers[i].answers + 1 == drivers[i].questions);
    atomic_store(&completers_stop, true);
    for (unsigned i = 0; i < 2; i++)
        (void)pthread_join(threads[i], NULL);
    engine_free(w.engine);
    struct engine_env env = { .loop = w.loop, .spool_fd = -1 };
    w.engine = engine_new(&env); /* world_close() frees one */
    atomic_store(&stuck_may_go, true);
    while (pool_busy(w.pool) > 0)
        (void)usleep(500);
    for (struct completion *c = take_due(true); c != NULL; c = take_due(true))
        complete_one(c); /* answers after the engine's end */
    world_close();
    CU_ASSERT_EQUAL(aborts_of_never, never_completed);
    CU_ASSERT_EQUAL(wrong, 0);
}

static void test_property(void)
{
    const char *given = getenv("TERN_SEED"), *rounds = getenv("TERN_ROUNDS");
    unsigned count = given != NULL ? 1 : rounds != NULL ? (unsigned)atoi(rounds) : ROUNDS_DEFAULT;
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : clock_now_us();

    for (unsigned i = 0; i < count; i++, seed += 0x632be59bd9b4e019u) {
        unsigned before = CU_get_number_of_failures();
        run_round(seed);
        if (CU_get_number_of_failures() != before || wrong != 0) {
            printf("\nfailed with TERN_SEED=0x%llx\n", (unsigned long long)seed);
            return;
        }
        if (i == 0)
            printf("\nfirst seed 0x%llx\n", (unsigned long long)seed);
    }
}

int main(void)
{
    log_set_level(LOG_ERROR); /* errors of steps are what this is made of */
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("runner, properties", NULL, NULL);
    CU_add_test(s, "random chains", test_property);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
