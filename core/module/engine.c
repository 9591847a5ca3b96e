/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.c - the engine of one loop, and the runs that nobody waits for: `result` and `close`.
 *
 * Sessions, transactions, messages and deliveries have a file each (engine_*.c).
 */
#include "module/engine.h"

#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "module/api.h"
#include "module/engine_private.h"

/* A report hook at work: its own facts, its own record, no owner. */
struct detached {
    struct list link; /* in the engine */
    struct scope scope;
    struct run run;
    struct session_facts *session;
    struct txn_facts *txn;
    struct shared_arena *memory;
    tern_str outcome, text;
};

static void detached_free(struct detached *d)
{
    run_abort(&d->run);
    list_remove(&d->link);
    d->scope.engine->detached_count--;
    session_facts_unref(d->session);
    txn_facts_unref(d->txn);
    shared_arena_unref(d->memory);
    scope_fini(&d->scope);
    free(d);
}

struct engine *engine_new(const struct engine_env *env)
{
    struct engine *engine = mem_zalloc(sizeof(*engine));

    assert(env->loop != NULL);
    engine->env = *env;
    engine->port = port_new(env->loop);
    if (env->hostname != NULL)
        api_set_hostname(env->hostname);
    engine->calls_waiting =
        metric_gauge("tern_calls_waiting", "", "steps that were asked and have not answered");
    list_init(&engine->detached);
    return engine;
}

void engine_free(struct engine *engine)
{
    while (!list_empty(&engine->detached))
        detached_free(list_entry(engine->detached.next, struct detached, link));
    spare_runs_free(engine);
    port_close(engine->port);
    free(engine);
}

const struct engine_env *engine_env_of(const struct engine *engine)
{
    return &engine->env;
}

struct engine *engine_of_call(const tern_call *call)
{
    return call->engine;
}

/* ---- scope ---- */

void scope_init(struct scope *scope, struct engine *engine,
                const struct engine_session_options *options)
{
    unsigned groups = options->groups_max > 0 ? options->groups_max : ENGINE_GROUPS_MAX;
    tern_str name = policy_name_of(options->policy);

    *scope = (struct scope){
        .engine = engine,
        .lease = lease_new(engine->port, options->generation_ref, options->generation_unref,
                           options->generation),
        .policy = options->policy,
        .soft_bounce = options->soft_bounce,
        .split = options->split,
        .generated = slice_equal(slice_of(name), SLICE("generated")),
        .others_deliver = options->others_deliver,
        .groups_max = groups < ENGINE_GROUPS_MAX ? groups : ENGINE_GROUPS_MAX,
    };
}

void scope_fini(struct scope *scope)
{
    lease_unref(scope->lease);
    scope->lease = NULL;
}

void scope_lend(const struct scope *scope, struct run *run, const struct plan *plan, unsigned point,
                enum run_pick pick)
{
    run->engine = scope->engine;
    run->lease = scope->lease;
    run->soft_bounce = scope->soft_bounce;
    run->generated = scope->generated;
    run->others_deliver = scope->others_deliver;
    run->chain = &plan->chains[point];
    run->point = point;
    run->pick = pick;
    run->rcpt = slice_make(NULL, 0);
}

struct decision decision_of(const struct refusal *refusal, struct slice id,
                            struct shared_arena *memory)
{
    struct decision d = { .verdict = refusal->verdict, .code = refusal->code };

    memcpy(d.enhanced, refusal->enhanced, sizeof(d.enhanced));
    d.step = refusal_step_name(refusal);
    if (id.len == 0)
        d.text = arena_slice(&memory->arena, refusal->text);
    else
        d.text = slice_cstr(arena_printf(&memory->arena, "%.*s [%.*s]", (int)refusal->text.len,
                                         refusal->text.ptr, (int)id.len, id.ptr));
    return d;
}

struct decision decision_next(enum disposition disposition, const struct run *run)
{
    struct decision d = { .verdict = TERN_NEXT };

    if (disposition == DISPOSE_HOLD)
        d.verdict = TERN_HOLD;
    else if (disposition == DISPOSE_DISCARD)
        d.verdict = TERN_DISCARD;
    if (disposition != DISPOSE_DELIVER && run != NULL) {
        d.text = slice_of(run->hold_reason);
        d.step = slice_of(run->hold_step);
    }
    return d;
}

/* ---- detached runs ---- */

static void detached_view(struct run *run, struct call_view *ret)
{
    struct detached *d = list_entry(run, struct detached, run);

    ret->session = session_facts_ref(d->session);
    ret->txn = d->txn != NULL ? txn_facts_ref(d->txn) : NULL;
    /* Those of one message have the same: tags make groups. */
    if (d->txn != NULL && d->txn->rcpt_count > 0)
        ret->tags = d->txn->rcpts[0]->tags;
    ret->outcome = d->outcome;
    ret->outcome_text = d->text;
}

/* Reports change nothing; the journal refuses everything but notes. */
static void detached_apply(struct run *run, tern_call *call)
{
    (void)run;
    (void)call;
}

static void detached_done(struct run *run)
{
    detached_free(list_entry(run, struct detached, run));
}

static const struct run_ops detached_ops = { .view = detached_view,
                                             .apply = detached_apply,
                                             .done = detached_done };

void detached_start(const struct scope *scope, const struct plan *plan, unsigned point,
                    const struct detached_facts *facts)
{
    struct engine *engine = scope->engine;

    if (plan->chains[point].count == 0)
        return;
    if (engine->detached_count >= ENGINE_DETACHED_MAX) {
        metric_add(metric_counter("tern_reports_dropped_total", "",
                                  "result and close hooks not run: too many were under way"),
                   1);
        return;
    }
    struct detached *d = mem_zalloc(sizeof(*d));
    d->scope = *scope;
    (void)lease_ref(scope->lease);
    d->session = session_facts_ref(facts->session);
    d->txn = facts->txn != NULL ? txn_facts_ref(facts->txn) : NULL;
    d->memory = shared_arena_new(SESSION_MEMORY_FIRST);
    d->outcome = tern_str_dup(&d->memory->arena, facts->outcome);
    d->text = tern_str_dup(&d->memory->arena, facts->text);
    list_push(&engine->detached, &d->link);
    engine->detached_count++;
    run_init(&d->run);
    scope_lend(&d->scope, &d->run, plan, point, RUN_ALL);
    d->run.ops = &detached_ops;
    d->run.memory = d->memory;
    run_start(&d->run);
}
