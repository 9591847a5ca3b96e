/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_delivery.c - one attempt for one message: hooks route (a recipient at a time), deliver (a
 * parcel), result (detached), and the attempt's decision record.
 *
 * No route, no mail: what no step answers for is deferred, whatever its class (DESIGN 3.2).
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "module/engine_private.h"

#define OUTCOME_TEXT_OCTETS_MAX 256
#define OUTCOME_TRIED_OCTETS_MAX 1000 /* several hosts, and what each said */

struct engine_delivery {
    struct run run;
    struct scope scope;
    struct session_facts *session;
    struct txn_facts *txn;
    struct record record;
    struct buf outcomes;     /* lines of JSON for the record */
    struct txn_facts *asked; /* what the present question concerns; counted */
    /* route */
    unsigned *rcpts;
    unsigned count, at;
    struct profile_fetch *profiles;
    unsigned fetched; /* of `count`: whose profiles were asked for */
    bool asking; /* inside ask_routes(): an answer that comes now goes on there */
    struct route_answer *answers;
    route_done route_done;
    /* deliver */
    struct tern_route *route;
    engine_done deliver_done;
    void *arg;
    struct tern_route found; /* what the step that answered has set */
};

static struct engine_delivery *delivery_of(struct run *run)
{
    return list_entry(run, struct engine_delivery, run);
}

static struct arena *arena_of(struct engine_delivery *d)
{
    return &d->txn->memory->arena;
}

static void view(struct run *run, struct call_view *ret)
{
    struct engine_delivery *d = delivery_of(run);

    ret->session = session_facts_ref(d->session);
    ret->txn = txn_facts_ref(d->asked);
    ret->tags = d->asked->rcpt_count > 0 ? d->asked->rcpts[0]->tags : NULL;
}

/* The route of one answer; what a deliver step leaves empty stays as it was. */
static void apply(struct run *run, tern_call *call)
{
    struct engine_delivery *d = delivery_of(run);

    if (call->journal.routed)
        d->found = journal_route_dup(arena_of(d), &call->journal.route);
    if (!call->journal.routed || run->point != TERN_HOOK_DELIVER)
        return;
    if (d->found.transport.len > 0)
        d->route->transport = d->found.transport;
    if (d->found.to.count > 0)
        d->route->to = d->found.to;
    if (d->found.fallback.count > 0)
        d->route->fallback = d->found.fallback;
    if (d->found.source.len > 0)
        d->route->source = d->found.source;
}

static void concern(struct engine_delivery *d, const unsigned *rcpts, unsigned count)
{
    txn_facts_unref(d->asked);
    d->asked = txn_facts_subset(d->txn, rcpts, count);
}

static void ask(struct engine_delivery *d, const struct plan *plan, unsigned point,
                const struct run_ops *ops)
{
    scope_lend(&d->scope, &d->run, plan, point, RUN_ALL);
    d->run.ops = ops;
    d->run.record = &d->record;
    d->run.memory = d->txn->memory;
    d->run.smtputf8 = true; /* nobody but the log and a bounce reads it */
    if (d->asked->rcpt_count > 0)
        d->run.rcpt = slice_of(d->asked->rcpts[0]->view.mailbox.address);
    run_start(&d->run);
}

/* The plan of the recipients concerned if they have the same, else the policy's. */
static int plan_of(struct engine_delivery *d, const struct plan **ret)
{
    const struct plan *plan = NULL, *other;

    for (unsigned i = 0; i < d->asked->rcpt_count; i++) {
        const struct rcpt_facts *rcpt = d->asked->rcpts[i];
        int r = plan_for(d->scope.policy, slice_of(d->session->user), &rcpt->view.original, &other);
        if (r < 0)
            return r;
        if (plan != NULL && plan != other)
            return plan_for(d->scope.policy, slice_of(d->session->user), NULL, ret);
        plan = other;
    }
    *ret = plan;
    return 0;
}

/* ---- route ---- */

static const struct run_ops route_ops;
static void go_on(void *arg);

/* False: go_on() comes when the profiles of those concerned are known. */
static bool fetch_profiles(struct engine_delivery *d, void (*done)(void *arg))
{
    return profiles_fetch(&d->profiles, &d->scope, slice_of(d->session->user), d->asked->rcpts,
                          d->asked->rcpt_count, done, d);
}

static void put_answer(struct engine_delivery *d, const struct refusal *refusal)
{
    struct route_answer *a = &d->answers[d->at++];

    *a = (struct route_answer){ .verdict = refusal->verdict,
                                .code = refusal->code,
                                .text = arena_slice(arena_of(d), refusal->text),
                                .step = refusal_step_name(refusal) };
    memcpy(a->enhanced, refusal->enhanced, sizeof(a->enhanced));
    if (refusal->verdict == TERN_ACCEPT)
        a->route = d->found;
}

/* Asks for the next recipients until one waits, or gives the answers. A loop, not a recursion:
 * a message may have very many recipients. */
static void ask_routes(struct engine_delivery *d)
{
    const struct plan *plan;

    while (d->at < d->count) {
        unsigned before = d->at;
        concern(d, &d->rcpts[d->at], 1);
        if (d->fetched <= d->at && !fetch_profiles(d, go_on)) {
            d->fetched = d->at + 1;
            return;
        }
        if (plan_of(d, &plan) < 0) {
            struct refusal refusal =
                refusal_make(TERN_DEFER, 451, "4.3.0", SLICE("profile lookup failed"), false);
            put_answer(d, &refusal);
            continue;
        }
        d->found = (struct tern_route){ 0 };
        d->asking = true;
        ask(d, plan, TERN_HOOK_ROUTE, &route_ops);
        d->asking = false;
        if (d->at == before)
            return; /* it waits: routed() goes on */
    }
    route_done done = d->route_done;
    d->route_done = NULL;
    done(d->arg, d->answers); /* may free d */
}

static void go_on(void *arg)
{
    ask_routes(arg);
}

static void routed(struct run *run)
{
    struct engine_delivery *d = delivery_of(run);
    struct refusal nobody =
        refusal_make(TERN_DEFER, 451, "4.3.5", SLICE("no route for this recipient"), false);

    put_answer(d, run->refusal.verdict != TERN_NEXT ? &run->refusal : &nobody);
    if (!d->asking)
        ask_routes(d);
}

static const struct run_ops route_ops = { .view = view, .apply = apply, .done = routed };

void engine_route(struct engine_delivery *d, const unsigned *rcpts, unsigned count, route_done done,
                  void *arg)
{
    assert(!d->run.active);
    d->rcpts = arena_alloc(arena_of(d), (count + 1) * sizeof(rcpts[0]));
    if (count > 0)
        memcpy(d->rcpts, rcpts, count * sizeof(rcpts[0]));
    d->count = count;
    d->at = d->fetched = 0;
    d->answers = arena_zalloc(arena_of(d), (count + 1) * sizeof(d->answers[0]));
    d->route_done = done;
    d->arg = arg;
    ask_routes(d);
}

/* ---- deliver ---- */

static void tell(struct engine_delivery *d, const struct decision *decision)
{
    engine_done done = d->deliver_done;

    d->deliver_done = NULL;
    done(d->arg, decision); /* may free d */
}

static void delivered(struct run *run)
{
    struct engine_delivery *d = delivery_of(run);
    struct decision decision;

    if (run->refusal.verdict != TERN_NEXT)
        decision = decision_of(&run->refusal, slice_make(NULL, 0), d->txn->memory);
    else
        decision = decision_next(run->disposition, run);
    tell(d, &decision);
}

static const struct run_ops deliver_ops = { .view = view, .apply = apply, .done = delivered };

static void deliver(void *arg)
{
    struct engine_delivery *d = arg;
    const struct plan *plan;

    if (plan_of(d, &plan) < 0) {
        struct refusal refusal =
            refusal_make(TERN_DEFER, 451, "4.3.0", SLICE("profile lookup failed"), false);
        struct decision decision = decision_of(&refusal, slice_make(NULL, 0), d->txn->memory);
        tell(d, &decision);
        return;
    }
    ask(d, plan, TERN_HOOK_DELIVER, &deliver_ops);
}

void engine_deliver(struct engine_delivery *d, const unsigned *rcpts, unsigned count,
                    struct tern_route *route, engine_done done, void *arg)
{
    assert(!d->run.active && count > 0);
    d->route = route;
    d->deliver_done = done;
    d->arg = arg;
    concern(d, rcpts, count);
    if (fetch_profiles(d, deliver))
        deliver(d);
}

/* ---- result ---- */

static void note_word(struct buf *out, const char *key, struct slice text, size_t octets_max)
{
    if (text.len == 0)
        return;
    buf_printf(out, ",\"%s\":", key);
    buf_add_json(out, slice_head(text, octets_max));
}

static void note_outcome(struct engine_delivery *d, const struct rcpt_facts *rcpt,
                         const struct engine_outcome *outcome)
{
    struct buf *out = &d->outcomes;

    if (out->len > RECORD_OCTETS_MAX)
        return; /* the record says that it is cut */
    buf_add_cstr(out, "{\"to\":");
    buf_add_json(out, slice_head(slice_of(rcpt->view.mailbox.address), 256));
    buf_add_cstr(out, ",\"outcome\":");
    buf_add_json(out, slice_head(outcome->name, 64));
    buf_add_cstr(out, ",\"text\":");
    buf_add_json(out, slice_head(outcome->text, OUTCOME_TEXT_OCTETS_MAX));
    note_word(out, "host", outcome->host, OUTCOME_TEXT_OCTETS_MAX);
    note_word(out, "tls", outcome->tls, OUTCOME_TEXT_OCTETS_MAX);
    note_word(out, "tried", outcome->tried, OUTCOME_TRIED_OCTETS_MAX);
    buf_add_cstr(out, "}\n");
}

void engine_result(struct engine_delivery *d, const unsigned *rcpts, unsigned count,
                   const struct engine_outcome *outcome)
{
    struct txn_facts *concerned = txn_facts_subset(d->txn, rcpts, count);
    struct detached_facts facts = {
        .session = d->session, .txn = concerned, .outcome = outcome->name, .text = outcome->text
    };
    const struct plan *plan;

    for (unsigned i = 0; i < count; i++)
        note_outcome(d, concerned->rcpts[i], outcome);
    if (slice_equal(outcome->name, SLICE("discarded"))) { /* none of the outcomes of the hook */
        txn_facts_unref(concerned);
        return;
    }
    /* A report needs no profile: where that cannot be looked up the policy's own plan does. */
    if (plan_for(d->scope.policy, slice_of(d->session->user),
                 count == 1 ? &concerned->rcpts[0]->view.original : NULL, &plan) < 0)
        plan = policy_plan(d->scope.policy);
    detached_start(&d->scope, plan, TERN_HOOK_RESULT, &facts);
    txn_facts_unref(concerned);
}

/* ---- the object ---- */

struct engine_delivery *engine_delivery_new(struct engine *engine,
                                            const struct engine_session_options *options,
                                            struct txn_facts *txn)
{
    struct engine_delivery *d = mem_zalloc(sizeof(*d));

    scope_init(&d->scope, engine, options);
    d->session = options->facts;
    d->txn = txn;
    record_init(&d->record);
    run_init(&d->run);
    return d;
}

void engine_delivery_free(struct engine_delivery *d)
{
    profiles_cancel(&d->profiles);
    run_abort(&d->run);
    record_write_delivery(&d->record, d->session, d->txn, buf_slice(&d->outcomes));
    record_fini(&d->record);
    buf_free(&d->outcomes);
    txn_facts_unref(d->asked);
    txn_facts_unref(d->txn);
    session_facts_unref(d->session);
    scope_fini(&d->scope);
    free(d);
}
