/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_enqueue.c - mail that does not come from a session: hooks queue and sign, one door for
 * all (DESIGN 7).
 *
 * Bounces, released messages, mail of the HTTP and local entrances. No client hears a reply, yet
 * the outcome has the same form: the owner decides what a refusal means to it.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "module/engine_private.h"

struct engine_enqueue {
    struct scope scope;
    struct session_facts *session;
    struct txn_facts *txn;
    struct body *body;
    struct record record;
    struct passage *passage;
    bool told;
    unsigned reply_code;
    engine_message_done done;
    void *arg;
};

/* Every recipient gets the plan of its profile. False: a profile could not be looked up. */
static bool add_plans(struct engine_enqueue *e)
{
    struct arena *arena = &e->txn->memory->arena;

    e->txn = txn_facts_own(e->txn);
    for (unsigned i = 0; i < e->txn->rcpt_count; i++) {
        struct rcpt_facts *mine = ARENA_NEW(arena, struct rcpt_facts);
        const struct plan *plan;
        *mine = *e->txn->rcpts[i];
        if (plan_for(e->scope.policy, slice_of(e->session->user), &mine->view.original, &plan) < 0)
            return false;
        mine->plan = plan;
        e->txn->rcpts[i] = mine;
    }
    return true;
}

static void told(void *arg, const struct engine_message_result *result)
{
    struct engine_enqueue *e = arg;

    e->told = true;
    e->reply_code = result->decision.code != 0 ? result->decision.code : 250;
    e->done(e->arg, result); /* may free e */
}

static void put_off(struct engine_enqueue *e)
{
    struct refusal refusal =
        refusal_make(TERN_DEFER, 451, "4.3.0", SLICE("profile lookup failed"), false);
    struct engine_message_result result = { .body = e->body };

    result.decision = decision_of(&refusal, slice_of(e->txn->id), e->txn->memory);
    told(e, &result);
}

struct engine_enqueue *engine_enqueue(struct engine *engine,
                                      const struct engine_session_options *options,
                                      struct txn_facts *txn, struct body *body,
                                      engine_message_done done, void *arg)
{
    struct engine_enqueue *e = mem_zalloc(sizeof(*e));
    struct passage_options o = { 0 };

    scope_init(&e->scope, engine, options);
    e->session = options->facts;
    e->txn = txn;
    e->body = body_ref(body);
    e->done = done;
    e->arg = arg;
    record_init(&e->record);
    if (plan_for(e->scope.policy, slice_of(e->session->user), NULL, &o.plan) < 0 || !add_plans(e)) {
        put_off(e);
        return e;
    }
    o.scope = &e->scope;
    o.session = e->session;
    o.txn = e->txn;
    o.record = &e->record;
    o.body = e->body;
    o.first_hook = TERN_HOOK_QUEUE;
    o.done = told;
    o.arg = e;
    (void)passage_start(&o, &e->passage);
    return e;
}

void engine_enqueue_free(struct engine_enqueue *e)
{
    struct slice stored = slice_make(NULL, 0);

    if (e->told && e->reply_code == 250)
        stored = slice_of(e->txn->id);
    record_write_txn(&e->record, e->session, e->txn, stored, e->told ? e->reply_code : 0);
    passage_free(e->passage);
    record_fini(&e->record);
    body_unref(e->body);
    txn_facts_unref(e->txn);
    session_facts_unref(e->session);
    scope_fini(&e->scope);
    free(e);
}
