/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_enqueue.c - mail that does not come from a session: whose its recipients are, then hooks
 * queue and sign, one door for all (DESIGN 7).
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
    struct claims claims;
    struct profile_fetch *profiles;
};

static struct arena *arena_of(struct engine_enqueue *e)
{
    return &e->txn->memory->arena;
}

/* ---- the end ---- */

static void told(void *arg, const struct engine_message_result *result)
{
    struct engine_enqueue *e = arg;

    e->told = true;
    e->reply_code = result->decision.code != 0 ? result->decision.code : 250;
    e->done(e->arg, result); /* may free e */
}

static void refuse(struct engine_enqueue *e, const struct refusal *refusal)
{
    struct engine_message_result result = { .body = e->body };

    result.decision = decision_of(refusal, slice_of(e->txn->id), e->txn->memory);
    record_reply(&e->record, refusal->code, refusal->enhanced, result.decision.text);
    told(e, &result);
}

static void put_off(struct engine_enqueue *e, struct slice text)
{
    struct refusal refusal = refusal_make(TERN_DEFER, 451, "4.3.0", text, false);

    refuse(e, &refusal);
}

/* ---- hooks queue and sign ---- */

/* Every recipient gets the plan of its profile. False: a profile could not be looked up. */
static bool add_plans(struct engine_enqueue *e)
{
    e->txn = txn_facts_own(e->txn);
    for (unsigned i = 0; i < e->txn->rcpt_count; i++) {
        struct rcpt_facts *mine = ARENA_NEW(arena_of(e), struct rcpt_facts);
        const struct plan *plan;
        *mine = *e->txn->rcpts[i];
        if (plan_for(e->scope.policy, slice_of(e->session->user), &mine->view.original, &plan) < 0)
            return false;
        mine->plan = plan;
        e->txn->rcpts[i] = mine;
    }
    return true;
}

/* The profiles of all recipients are known, or cannot be. */
static void pass_on(void *arg)
{
    struct engine_enqueue *e = arg;
    struct passage_options o = { 0 };

    if (plan_for(e->scope.policy, slice_of(e->session->user), NULL, &o.plan) < 0 || !add_plans(e)) {
        put_off(e, SLICE("profile lookup failed"));
        return;
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
}

static void pass(struct engine_enqueue *e)
{
    if (profiles_fetch(&e->profiles, &e->scope, slice_of(e->session->user), e->txn->rcpts, e->txn->rcpt_count,
                       pass_on, e))
        pass_on(e);
}

/* ---- whose the recipients are ---- */

static void claimed(struct claims *claims, const struct refusal *refusal)
{
    struct engine_enqueue *e = list_entry(claims, struct engine_enqueue, claims);

    if (refusal != NULL)
        refuse(e, refusal);
    else
        pass(e);
}

static void ask_claims(struct engine_enqueue *e, const struct policy *policy)
{
    e->claims.scope = &e->scope;
    e->claims.policy = policy;
    e->claims.session = e->session;
    e->claims.txn = &e->txn;
    e->claims.record = &e->record;
    e->claims.done = claimed;
    claims_start(&e->claims);
}

/* ---- the door ---- */

struct engine_enqueue *engine_enqueue(struct engine *engine,
                                      const struct engine_session_options *options,
                                      struct txn_facts *txn, struct body *body,
                                      engine_message_done done, void *arg)
{
    struct engine_enqueue *e = mem_zalloc(sizeof(*e));

    scope_init(&e->scope, engine, options);
    e->session = options->facts;
    e->txn = txn;
    e->body = body_ref(body);
    e->done = done;
    e->arg = arg;
    record_init(&e->record);
    claims_init(&e->claims);
    if (options->claims != NULL)
        ask_claims(e, options->claims);
    else
        pass(e);
    return e;
}

void engine_enqueue_free(struct engine_enqueue *e)
{
    struct slice stored = slice_make(NULL, 0);

    if (e->told && e->reply_code == 250)
        stored = slice_of(e->txn->id);
    profiles_cancel(&e->profiles);
    claims_abort(&e->claims);
    record_write_txn(&e->record, e->session, e->txn, stored, e->told ? e->reply_code : 0);
    passage_free(e->passage);
    record_fini(&e->record);
    body_unref(e->body);
    txn_facts_unref(e->txn);
    session_facts_unref(e->session);
    scope_fini(&e->scope);
    free(e);
}
