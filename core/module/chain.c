/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain.c - the runner: DESIGN 3.2 and 3.3.
 *
 * Iterative: a step that answers at once costs no loop hop and no stack. A step that waits leaves
 * run->call and the timer behind; its answer comes back by run_answered(), through the
 * loop's queue, or the timer ends it. Of the two exactly one finds the call not yet ended.
 *
 * Not here: what a journal does to a session (engine_*.c), who may be asked what (plan.c).
 */
#include "module/chain.h"

#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "module/descriptor.h"
#include "module/engine.h"
#include "module/engine_private.h"

#define HOOK_BIT(point) (1u << TERN_HOOK_##point)
#define HOOKS_FIRST     (HOOK_BIT(AUTH) | HOOK_BIT(ROUTE))
#define HOOKS_REPORT    (HOOK_BIT(TLS) | HOOK_BIT(RESULT) | HOOK_BIT(CLOSE))
/* Refusals of these are kept until RCPT unless the step says `refuse_at: now`. */
#define HOOKS_KEPT (HOOK_BIT(CONNECT) | HOOK_BIT(EHLO) | HOOK_BIT(MAIL))

static bool is_one_of(unsigned point, unsigned hooks)
{
    return (hooks & (1u << point)) != 0;
}

/* ---- replies ---- */

struct slice refusal_step_name(const struct refusal *refusal)
{
    return refusal->step != NULL ? slice_of(refusal->step->step->name) : slice_make(NULL, 0);
}

struct refusal refusal_make(tern_verdict verdict, unsigned code, const char *enhanced,
                            struct slice text, bool soft_bounce)
{
    struct refusal r = { .verdict = verdict, .code = code, .text = text };

    (void)snprintf(r.enhanced, sizeof(r.enhanced), "%s", enhanced);
    if (soft_bounce && verdict == TERN_REJECT) {
        r.verdict = TERN_DEFER;
        r.code = code == 535 ? 454 : 450;
        r.enhanced[0] = '4';
    }
    return r;
}

struct refusal refusal_auth(tern_verdict verdict, bool soft_bounce)
{
    if (verdict == TERN_REJECT)
        return refusal_make(verdict, 535, "5.7.8", SLICE("Authentication credentials invalid"),
                            soft_bounce);
    return refusal_make(TERN_DEFER, 454, "4.7.0",
                        SLICE("Temporary authentication failure, please try again later"), false);
}

/* Octets above 127 only to who asked for SMTPUTF8 (RFC 6531 3.7.4.1). */
static struct slice keep_text(struct run *run, struct slice text)
{
    char *copy = arena_dup(&run->memory->arena, text);

    for (size_t i = 0; i < text.len && !run->smtputf8; i++)
        if ((unsigned char)copy[i] > 127)
            copy[i] = '?';
    return slice_make(copy, text.len);
}

/* The session's record has them; a refusal that is given later takes them along into that of the transaction. */
static struct slice inputs_of(struct run *run, const struct journal *journal)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    if (journal == NULL || (run->point != TERN_HOOK_CONNECT && run->point != TERN_HOOK_EHLO) ||
        !journal_print_notes(journal, &text))
        return slice_make(NULL, 0);
    return slice_make(arena_dup(&run->memory->arena, buf_slice(&text)), text.len);
}

static struct refusal refusal_of(struct run *run, const tern_call *call, tern_verdict verdict)
{
    const struct journal *j = &call->journal;
    struct refusal r;

    if (j->reply_verdict == verdict)
        r = refusal_make(verdict, j->code, j->enhanced, keep_text(run, slice_of(j->text)),
                         run->soft_bounce);
    else if (run->point == TERN_HOOK_AUTH)
        r = refusal_auth(verdict, run->soft_bounce);
    else if (verdict == TERN_REJECT)
        r = refusal_make(verdict, run->point == TERN_HOOK_CONNECT ? 554 : 550, "5.7.1",
                         SLICE("refused by policy"), run->soft_bounce);
    else if (verdict == TERN_CLOSE)
        r = refusal_make(verdict, 421, "4.7.0", SLICE("closing connection"), false);
    else
        r = refusal_make(verdict, 451, "4.7.1", SLICE("not now, please try again later"), false);
    r.step = call->step;
    r.inputs = inputs_of(run, j);
    return r;
}

/* ---- what a step's answer does to the chain ---- */

static void note_step(struct run *run, const struct plan_step *step, tern_verdict verdict,
                      uint64_t us, const struct refusal *refusal, const struct journal *journal,
                      const char *error)
{
    struct record_entry e = { .point = run->point,
                              .step = step,
                              .verdict = verdict,
                              .us = us,
                              .journal = journal,
                              .error = error,
                              .rcpt = run->rcpt,
                              .shadow = step->mode == STEP_SHADOW };

    if (refusal != NULL) {
        e.code = refusal->code;
        e.enhanced = refusal->enhanced;
        e.text = refusal->text;
    } else if (journal != NULL && verdict == TERN_HOLD) {
        e.text = slice_of(journal->hold_reason);
    }
    if (run->record == NULL && run->ops->record != NULL)
        run->record = run->ops->record(run, record_is_telling(&e));
    if (run->record != NULL)
        record_step(run->record, &e);
}

/* Ends the chain, or keeps the refusal for RCPT. */
static void refuse(struct run *run, const struct refusal *refusal)
{
    const struct plan_step *step = refusal->step;
    bool kept = run->ops->keep != NULL && is_one_of(run->point, HOOKS_KEPT) &&
                refusal->verdict != TERN_CLOSE && step->refuse_at == STEP_REFUSE_RCPT;

    if (step->mode == STEP_SHADOW && !kept)
        return;
    if (kept) {
        run->ops->keep(run, refusal, step->mode == STEP_SHADOW);
        return;
    }
    run->refusal = *refusal;
    run->over = true;
}

static void dispose(struct run *run, const tern_call *call, enum disposition disposition)
{
    if (disposition <= run->disposition)
        return;
    run->disposition = disposition;
    run->hold_reason = tern_str_dup(&run->memory->arena, slice_of(call->journal.hold_reason));
    run->hold_step = call->step->step->name;
}

static void log_step_error(struct run *run, const struct plan_step *step, struct slice id,
                           const char *error)
{
    struct log_line line;
    char text[64];

    (void)snprintf(text, sizeof(text), "%.*s", (int)slice_head(id, sizeof(text) - 1).len,
                   id.ptr != NULL ? id.ptr : "");
    log_begin(&line, LOG_WARNING, LOG_EV_step_error, text);
    log_str(&line, "step", slice_of(step->step->name));
    log_cstr(&line, "hook", descriptor_hook_name(run->point));
    if (step->step->place.file != NULL)
        log_textf(&line, "at", "%s:%u", step->step->place.file, step->step->place.line);
    log_cstr(&line, "error", error);
    log_end(&line);
}

/* on_error: DESIGN 3.3. `policy generated` knows no REJECT (DESIGN 7). */
static struct refusal on_error(const struct run *run, const struct plan_step *step)
{
    struct refusal r;

    if (run->point == TERN_HOOK_AUTH)
        r = refusal_auth(TERN_DEFER, false); /* permanent needs certainty, whatever on_error says */
    else if (run->point == TERN_HOOK_VRFY) /* likewise: nobody may conclude that there is no such mailbox */
        r = refusal_make(TERN_DEFER, 451, "4.3.0", SLICE("temporary failure, please try again later"), false);
    else if (step->on_error == STEP_ERROR_REJECT && !run->generated)
        r = refusal_make(TERN_REJECT, 554, "5.3.0", SLICE("a check could not be made"),
                         run->soft_bounce);
    else
        r = refusal_make(TERN_DEFER, 451, "4.3.0",
                         SLICE("temporary failure, please try again later"), false);
    r.step = step;
    r.failed = true;
    return r;
}

/* A claiming entry, or any of a "first" hook: one that might have said yes. */
static bool could_say_yes(const struct run *run, const struct tern_hook *hook)
{
    return is_one_of(run->point, HOOKS_FIRST) || (hook->flags & TERN_CLAIMS) != 0;
}

/*
 * `call` may still be at work on another thread: nothing but step, hook and id is looked at. `journal`
 * is that of a step that did answer: of it the record tells the notes, which may say what went wrong.
 */
static void step_failed(struct run *run, const tern_call *call, const char *error, uint64_t us,
                        const struct journal *journal)
{
    const struct plan_step *step = call->step;
    bool report = is_one_of(run->point, HOOKS_REPORT);

    metric_add(step->step->errors, 1);
    metric_observe_us(step->step->runs[run->point], us);
    log_step_error(run, step, call_id(call), error);
    if (could_say_yes(run, call->hook) && step->mode == STEP_ENFORCE)
        run->uncertain = true;
    if (report || step->on_error == STEP_ERROR_SKIP) {
        note_step(run, step, TERN_ERROR, us, NULL, journal, error);
        return;
    }
    struct refusal r = on_error(run, step);
    r.inputs = inputs_of(run, journal);
    note_step(run, step, TERN_ERROR, us, &r, journal, error);
    refuse(run, &r);
}

/* NULL if the answer may stand. */
static const char *fault_of(const struct run *run, tern_call *call, tern_verdict verdict)
{
    const struct journal *j = &call->journal;
    unsigned may = call->hook->answers & descriptor_allowed_answers(run->point);

    if (j->error != NULL)
        return j->error;
    if (verdict == TERN_ERROR)
        return "the step reported an error";
    if (verdict == TERN_NEXT)
        return NULL;
    if ((unsigned)verdict > TERN_ERROR || (may & (1u << verdict)) == 0)
        return arena_printf(&call->arena, "answered %s, which it did not declare for this hook",
                            (unsigned)verdict > TERN_ERROR ? "something unknown"
                                                           : descriptor_verdict_name(verdict));
    if (run->generated &&
        (verdict == TERN_REJECT || verdict == TERN_HOLD || verdict == TERN_DISCARD))
        return "refuses or holds a message of Tern's own";
    if (j->reply_verdict != TERN_NEXT && j->reply_verdict != verdict && verdict != TERN_HOLD &&
        verdict != TERN_DISCARD && verdict != TERN_ACCEPT)
        return "answered something else than its reply says";
    if (verdict == TERN_ACCEPT && run->point == TERN_HOOK_VRFY && j->reply_verdict != TERN_ACCEPT)
        return "accepts without a reply";
    if (verdict == TERN_ACCEPT && run->point == TERN_HOOK_ROUTE && !j->routed)
        return "accepts without a route";
    if (verdict == TERN_ACCEPT && call->hook->auth_form == TERN_AUTH_LOOKUP && j->keys == NULL)
        return "accepts without keys";
    return NULL;
}

static void take_verdict(struct run *run, tern_call *call, tern_verdict verdict, uint64_t us)
{
    bool enforce = call->step->mode == STEP_ENFORCE;
    struct refusal refusal = { 0 };

    switch (verdict) {
    case TERN_REJECT:
    case TERN_DEFER:
    case TERN_CLOSE: refusal = refusal_of(run, call, verdict); break;
    case TERN_ACCEPT:
        if (run->point == TERN_HOOK_VRFY)
            refusal = refusal_of(run, call, verdict); /* a reply like any other */
        break;
    case TERN_HOLD:
        if (enforce)
            dispose(run, call, DISPOSE_HOLD);
        break;
    case TERN_DISCARD:
        if (enforce)
            dispose(run, call, DISPOSE_DISCARD);
        break;
    default: break;
    }
    note_step(run, call->step, verdict, us, refusal.code != 0 ? &refusal : NULL, &call->journal,
              NULL);
    if (refusal.code != 0) {
        refuse(run, &refusal);
    } else if (verdict == TERN_ACCEPT && enforce) {
        run->refusal = (struct refusal){ .verdict = TERN_ACCEPT, .step = call->step };
        run->over = true;
    }
}

/* Nobody else looks at the view: without its references the facts need not be cloned to be
 * changed. */
static void lend_back(tern_call *call)
{
    if (atomic_load_explicit(&call->refs, memory_order_acquire) > 1)
        return;
    session_facts_unref(call->view.session);
    txn_facts_unref(call->view.txn);
    call->view.session = NULL;
    call->view.txn = NULL;
}

/* The answer has come in time and the call has ended: the loop holds it alone, or nobody writes
 * to it. */
static void settle(struct run *run, tern_call *call, tern_verdict verdict, uint64_t us)
{
    const char *fault = fault_of(run, call, verdict);

    if (fault != NULL) {
        step_failed(run, call, fault, us, &call->journal);
        return;
    }
    metric_observe_us(call->step->step->runs[run->point], us);
    metric_add(call->step->step->verdicts[verdict], 1);
    if (call->step->mode == STEP_ENFORCE) {
        lend_back(call);
        run->ops->apply(run, call);
    }
    take_verdict(run, call, verdict, us);
}

/* ---- one step ---- */

static void run_on_pool(struct pool_job *job)
{
    tern_call *call = list_entry(job, tern_call, job);

    if (call_has_ended(call))
        return;
    tern_handler offloaded = atomic_load(&call->offloaded);
    uint64_t began_us = call_enter(call);
    tern_verdict verdict = (offloaded != NULL ? offloaded : call->hook->run)(call, call_conf(call));
    (void)call_leave(call, began_us);
    if (offloaded != NULL)
        call_complete(call, verdict); /* the handler has said WAIT, or is about to */
    else
        call_returned_elsewhere(call, verdict);
}

static void left_pool(struct pool_job *job)
{
    call_unref(list_entry(job, tern_call, job));
}

int run_submit(tern_call *call)
{
    struct step *step = call->step->step;
    struct pool *pool = call->engine->env.pool;

    if (pool == NULL)
        return -EAGAIN;
    call->job = (struct pool_job){
        .running = &step->in_pool, .share = step->pool_share, .run = run_on_pool, .done = left_pool
    };
    int r = pool_submit(pool, &call_ref(call)->job);
    if (r < 0)
        call_unref(call);
    return r;
}

static void wait_for(struct run *run, tern_call *call)
{
    run->call = call;
    call->run = run;
    metric_shift(run->engine->calls_waiting, 1);
    if (call->challenge_op != NULL)
        run_challenge(run);
    else
        loop_timer_start(run->engine->env.loop, &run->timer, call->step->timeout_ms);
}

/* False: it waits. */
static bool run_blocking(struct run *run, tern_call *call)
{
    call->started_us = clock_now_us();
    if (run_submit(call) == 0) {
        wait_for(run, call);
        return false;
    }
    call_end(call);
    step_failed(run, call, "the pool of threads is full", 0, NULL);
    return true;
}

static bool run_plain(struct run *run, tern_call *call)
{
    call->started_us = call_enter(call);
    call->asker = run;
    tern_verdict verdict = call->hook->run(call, call_conf(call));
    uint64_t us = call_leave(call, call->started_us);
    bool asked_for_more = verdict == TERN_WAIT, answered = call_returned(call, verdict, &verdict);

    call->asker = NULL;
    if (!answered) {
        wait_for(run, call);
        return false;
    }
    if (asked_for_more) /* and had its answers at once */
        us = clock_now_us() - call->started_us;
    call_end(call);
    settle(run, call, verdict, us);
    return true;
}

/* 1: runs. 0: passed over. Negative: an error, told. */
static int asked(struct run *run, tern_call *call)
{
    const char *error = NULL;
    int r = 1;

    if (call->step->when == NULL)
        return 1;
    if (run->engine->env.when == NULL) {
        r = -ENOSYS;
        error = "nothing here can evaluate `when`";
    } else {
        r = run->engine->env.when(run->engine, call->step->when, call, &error);
    }
    if (r >= 0)
        return r;
    CLEANUP_BUF struct buf text = BUF_INIT;
    buf_printf(&text, "when: %s", error != NULL ? error : "failed");
    step_failed(run, call, text.data, 0, NULL);
    return r;
}

/* True: the chain may go on. False: the step waits. */
static bool run_step(struct run *run, const struct chain_entry *entry)
{
    tern_call *call = call_new(run->engine, run->lease, entry, run->point);
    bool answered = true;

    run->ops->view(run, &call->view);
    if (asked(run, call) <= 0) {
        call_end(call);
        call_unref(call);
        return true;
    }
    if ((entry->hook->flags & TERN_BLOCKING) != 0)
        answered = run_blocking(run, call);
    else
        answered = run_plain(run, call);
    if (answered)
        call_unref(call);
    return answered;
}

/* ---- the walk ---- */

bool run_auth_serves(const struct run_auth *auth, const struct chain_entry *entry)
{
    static const char *const verify[] = { "PLAIN", "LOGIN", NULL };
    static const char *const lookup[] = {
        "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "CRAM-MD5", NULL,
    };
    const struct tern_hook *hook = entry->hook;
    const char *const *names = hook->mechanisms;

    if ((auth->forms & (1u << hook->auth_form)) == 0)
        return false;
    if (names == NULL)
        names = hook->auth_form == TERN_AUTH_VERIFY ? verify : lookup;
    for (; *names != NULL; names++)
        if (slice_equal(slice_cstr(*names), auth->mechanism))
            return hook->serves == NULL || hook->serves(entry->step->conf, *names);
    return false;
}

static bool is_picked(enum run_pick pick, const struct chain_entry *entry)
{
    bool once = (entry->hook->flags & TERN_ONCE) != 0;

    if (pick == RUN_CLAIMS)
        return (entry->hook->flags & TERN_CLAIMS) != 0;
    return pick == RUN_ALL || (pick == RUN_ONCE_STEPS) == once;
}

bool run_has(const struct chain *chain, enum run_pick pick)
{
    for (unsigned i = 0; i < chain->count; i++)
        if (is_picked(pick, &chain->entries[i]))
            return true;
    return false;
}

/*
 * Every step that could have claimed the recipient has been asked. Permanent needs certainty:
 * if one of them could not answer, it may have been ours.
 */
static void deny_unclaimed(struct run *run)
{
    if (run->uncertain)
        run->refusal = refusal_make(TERN_DEFER, 451, "4.3.0",
                                    SLICE("temporary failure, please try again later"), false);
    else
        run->refusal =
            refusal_make(TERN_REJECT, 550, "5.7.1", SLICE("relaying denied"), run->soft_bounce);
    run->over = true;
    struct record_entry e = { .point = run->point,
                              .verdict = run->refusal.verdict,
                              .code = run->refusal.code,
                              .enhanced = run->refusal.enhanced,
                              .text = run->refusal.text,
                              .rcpt = run->rcpt };
    if (run->record != NULL)
        record_step(run->record, &e);
}

static bool must_deny(const struct run *run)
{
    return run->point == TERN_HOOK_RCPT && run->pick != RUN_CLAIMS && !run->others_deliver && !run->claimed &&
           !run->over && run->next >= run->chain->claims_until;
}

static void walk(struct run *run)
{
    while (!run->over && run->next < run->chain->count) {
        if (must_deny(run))
            break;
        const struct chain_entry *entry = &run->chain->entries[run->next++];
        bool picked = run->pick == RUN_AUTH ? run_auth_serves(run->auth, entry)
                                            : is_picked(run->pick, entry);
        if (picked && !run_step(run, entry))
            return;
    }
    if (must_deny(run))
        deny_unclaimed(run);
    run->active = false;
    run->ops->done(run);
}

/* The step waits no more: its call ends here, the caller holds the reference. */
static tern_call *stop_waiting(struct run *run)
{
    tern_call *call = run->call;

    run->call = NULL;
    loop_timer_stop(&run->timer);
    metric_shift(run->engine->calls_waiting, -1);
    call_end(call);
    return call;
}

void run_answered(tern_call *call, tern_verdict verdict)
{
    struct run *run = call->run;

    assert(run != NULL && run->call == call);
    if (call->challenge_op != NULL)
        return; /* out of turn: the client is told when it has spoken, by run_auth_response() */
    (void)stop_waiting(run);
    settle(run, call, verdict, clock_now_us() - call->started_us);
    call_unref(call);
    walk(run);
}

/* A job that has not begun is taken back, so that the dead do not fill the queue. */
static void take_back_job(struct run *run, tern_call *call)
{
    if (call_is_pooled(call) && run->engine->env.pool != NULL &&
        pool_cancel(run->engine->env.pool, &call->job))
        call_unref(call);
}

static void on_timeout(struct loop_timer *timer)
{
    struct run *run = list_entry(timer, struct run, timer);
    tern_call *call = run->call;

    if ((atomic_load(&call->state) & CALL_ANSWERED) != 0)
        return; /* the answer is on its way to us */
    take_back_job(run, call);
    uint64_t us = clock_now_us() - call->started_us;
    (void)stop_waiting(run);
    step_failed(run, call, "timed out", us, NULL);
    call_unref(call);
    walk(run);
}

/* ---- the exchange of a step with the client: hook auth ---- */

void run_challenge(struct run *run)
{
    assert(run->call != NULL && run->call->challenge_op != NULL && run->ops->challenge != NULL);
    loop_timer_stop(&run->timer); /* the client's time, not the step's */
    run->ops->challenge(run, run->call->challenge);
}

void run_auth_response(struct run *run, struct slice response)
{
    tern_call *call = run->call;
    struct call_op *op = call != NULL ? call->challenge_op : NULL;
    struct slice none = SLICE("");

    if (op == NULL)
        return;
    auth_secret_unref(call->answer);
    call->answer = auth_secret_new(none, none, none, &response);
    call->challenge_op = NULL;
    if (!call_wants_answers(call)) {
        call->journal.error = "answered while the client was asked";
        run_answered(call, TERN_ERROR);
        return;
    }
    loop_timer_start(run->engine->env.loop, &run->timer, call->step->timeout_ms);
    call_op_answer(op);
}

void run_init(struct run *run)
{
    loop_timer_init(&run->timer, on_timeout);
}

void run_start(struct run *run)
{
    assert(!run->active);
    run->active = true;
    run->over = run->claimed = run->uncertain = false;
    run->next = 0;
    run->refusal = (struct refusal){ .verdict = TERN_NEXT };
    run->disposition = DISPOSE_DELIVER;
    run->hold_reason = run->hold_step = (tern_str){ "", 0 };
    walk(run);
}

void run_abort(struct run *run)
{
    if (!run->active)
        return;
    run->active = false;
    take_back_job(run, run->call);
    call_unref(stop_waiting(run));
}
