/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_enqueue.c - mail that does not come from a session: whose its recipients are, then hooks
 * queue and sign, one door for all (DESIGN 7).
 *
 * Bounces, released messages, mail of the HTTP and local entrances. No client hears a reply, yet
 * the outcome has the same form: the owner decides what a refusal means to it.
 *
 * A recipient that no session has asked about has no class, and without one a notice to a
 * mailbox of ours would leave by MX. So the claiming steps are asked here, and only they: what
 * else refuses at RCPT judges clients. Of their journals claims, rewrites and expansions count.
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
    /* claiming */
    const struct policy *claims; /* NULL: nobody is asked */
    struct run run;
    struct rcpt_facts *rcpt; /* the one in question */
    struct tern_mailbox *children;
    unsigned child_count;
    unsigned at, count; /* recipients as they were given */
    bool asking;        /* inside ask_claims(): an answer that comes now goes on there */
    bool answered;
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

static void pass(struct engine_enqueue *e)
{
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

/* ---- whose the recipients are ---- */

static struct engine_enqueue *enqueue_of(struct run *run)
{
    return list_entry(run, struct engine_enqueue, run);
}

static void view(struct run *run, struct call_view *ret)
{
    struct engine_enqueue *e = enqueue_of(run);

    ret->session = session_facts_ref(e->session);
    ret->txn = txn_facts_ref(e->txn);
    ret->current = e->rcpt;
}

static void add_child(struct engine_enqueue *e, const struct tern_mailbox *mailbox)
{
    if (e->children == NULL)
        e->children = arena_alloc(arena_of(e), JOURNAL_CHILDREN_MAX * sizeof(e->children[0]));
    if (e->child_count < JOURNAL_CHILDREN_MAX)
        e->children[e->child_count] = mailbox_dup(arena_of(e), mailbox);
    e->child_count++; /* one too many is refused when the chain has ended */
}

/* A copy for each journal: earlier calls may still look at the one before. */
static void apply(struct run *run, tern_call *call)
{
    struct engine_enqueue *e = enqueue_of(run);
    struct rcpt_facts *rcpt = ARENA_NEW(arena_of(e), struct rcpt_facts);
    enum tern_class class_ = call->journal.claim;

    *rcpt = *e->rcpt;
    /* No client, no client's right: whoever claims so looked at something else. */
    if (!run->claimed && class_ != TERN_CLASS_NONE && class_ != TERN_CLASS_CLIENT) {
        rcpt->view.class_ = class_;
        rcpt->view.claimed_by = tern_str_dup(arena_of(e), slice_of(call->step->step->name));
        run->claimed = true;
    }
    for (const struct journal_item *i = call->journal.first; i != NULL; i = i->next) {
        if (i->kind == JOURNAL_REWRITE_RCPT)
            rcpt->view.mailbox = mailbox_dup(arena_of(e), i->mailbox);
        else if (i->kind == JOURNAL_EXPAND_RCPT)
            add_child(e, i->mailbox);
    }
    e->rcpt = rcpt;
}

/* The recipient, or its children in its place. */
static void put_rcpt(struct engine_enqueue *e)
{
    e->txn = txn_facts_own(e->txn);
    for (unsigned i = 0; i < e->child_count; i++) {
        struct rcpt_facts *child = ARENA_NEW(arena_of(e), struct rcpt_facts);
        *child = *e->rcpt;
        child->view.mailbox = e->children[i];
        if (i == 0)
            e->txn->rcpts[e->at] = child;
        else
            txn_facts_add_rcpt(e->txn, child);
    }
    if (e->child_count == 0)
        e->txn->rcpts[e->at] = e->rcpt;
    e->at++;
}

/*
 * False: the message was refused, and e may be gone. Permanent needs certainty: a step that could
 * not answer might have known the mailbox, whatever its on_error says.
 */
static bool take_answer(struct engine_enqueue *e)
{
    const struct refusal *refusal = &e->run.refusal;

    if (e->run.uncertain || (refusal->verdict != TERN_NEXT && refusal->verdict != TERN_REJECT))
        put_off(e, SLICE("whose the recipient is cannot be told now"));
    else if (refusal->verdict == TERN_REJECT)
        refuse(e, refusal);
    else if (e->child_count > JOURNAL_CHILDREN_MAX ||
             e->txn->rcpt_count + e->child_count > ENGINE_TXN_RCPTS_MAX)
        put_off(e, SLICE("too many recipients"));
    else {
        put_rcpt(e);
        return true;
    }
    return false;
}

static void ask_claims(struct engine_enqueue *e);

static void claims_done(struct run *run)
{
    struct engine_enqueue *e = enqueue_of(run);

    e->answered = true;
    if (!e->asking && take_answer(e))
        ask_claims(e);
}

static const struct run_ops claims_ops = { .view = view, .apply = apply, .done = claims_done };

static void ask_one(struct engine_enqueue *e, const struct plan *plan)
{
    e->rcpt = ARENA_NEW(arena_of(e), struct rcpt_facts);
    *e->rcpt = *e->txn->rcpts[e->at];
    e->children = NULL;
    e->child_count = 0;
    scope_lend(&e->scope, &e->run, plan, TERN_HOOK_RCPT, RUN_CLAIMS);
    e->run.ops = &claims_ops;
    e->run.generated = false; /* here a refusal is an answer, not an error */
    e->run.record = &e->record;
    e->run.memory = e->txn->memory;
    e->run.smtputf8 = true; /* nobody but the log reads it */
    e->run.rcpt = slice_of(e->rcpt->view.original.address);
    e->asking = true;
    e->answered = false;
    run_start(&e->run);
    e->asking = false;
}

/* One recipient after another, until one waits; then the hooks. A loop, not a recursion. */
static void ask_claims(struct engine_enqueue *e)
{
    const struct plan *plan;

    while (e->at < e->count) {
        const struct tern_recipient *rcpt = &e->txn->rcpts[e->at]->view;
        if (e->claims == NULL || rcpt->class_ != TERN_CLASS_NONE) {
            e->at++;
            continue;
        }
        if (plan_for(e->claims, slice_of(e->session->user), &rcpt->original, &plan) < 0) {
            put_off(e, SLICE("profile lookup failed"));
            return;
        }
        ask_one(e, plan);
        if (!e->answered || !take_answer(e))
            return;
    }
    pass(e);
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
    e->claims = options->claims;
    e->count = txn->rcpt_count;
    record_init(&e->record);
    run_init(&e->run);
    ask_claims(e);
    return e;
}

void engine_enqueue_free(struct engine_enqueue *e)
{
    struct slice stored = slice_make(NULL, 0);

    if (e->told && e->reply_code == 250)
        stored = slice_of(e->txn->id);
    run_abort(&e->run);
    record_write_txn(&e->record, e->session, e->txn, stored, e->told ? e->reply_code : 0);
    passage_free(e->passage);
    record_fini(&e->record);
    body_unref(e->body);
    txn_facts_unref(e->txn);
    session_facts_unref(e->session);
    scope_fini(&e->scope);
    free(e);
}
