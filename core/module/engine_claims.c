/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_claims.c - whose a recipient is that no RCPT has asked about: of a notice, or added by a
 * step.
 *
 * Without a class such a one would miss { class: local }, leave by MX and come back as a loop. So
 * the claiming steps are asked at hook rcpt, and only they: what else refuses there judges
 * clients. Of their journals claims, rewrites and expansions count.
 */
#include "base/log.h"
#include "module/engine_private.h"

static struct claims *claims_of(struct run *run)
{
    return list_entry(run, struct claims, run);
}

static struct arena *arena_of(struct claims *c)
{
    return &(*c->txn)->memory->arena;
}

static void view(struct run *run, struct call_view *ret)
{
    struct claims *c = claims_of(run);

    ret->session = session_facts_ref(c->session);
    ret->txn = txn_facts_ref(*c->txn);
    ret->current = c->rcpt;
}

static void add_child(struct claims *c, const struct tern_mailbox *mailbox)
{
    if (c->children == NULL)
        c->children = arena_alloc(arena_of(c), JOURNAL_CHILDREN_MAX * sizeof(c->children[0]));
    if (c->child_count < JOURNAL_CHILDREN_MAX)
        c->children[c->child_count] = mailbox_dup(arena_of(c), mailbox);
    c->child_count++; /* one too many is refused when the chain has ended */
}

/* A copy for each journal: earlier calls may still look at the one before. */
static void apply(struct run *run, tern_call *call)
{
    struct claims *c = claims_of(run);
    struct rcpt_facts *rcpt = ARENA_NEW(arena_of(c), struct rcpt_facts);
    enum tern_class class_ = call->journal.claim;

    *rcpt = *c->rcpt;
    /* No client asks for this one, so none of a client's rights counts. */
    if (!run->claimed && class_ != TERN_CLASS_NONE && class_ != TERN_CLASS_CLIENT) {
        rcpt->view.class_ = class_;
        rcpt->view.claimed_by = tern_str_dup(arena_of(c), slice_of(call->step->step->name));
        run->claimed = true;
    }
    for (const struct journal_item *i = call->journal.first; i != NULL; i = i->next) {
        if (i->kind == JOURNAL_REWRITE_RCPT)
            rcpt->view.mailbox = mailbox_dup(arena_of(c), i->mailbox);
        else if (i->kind == JOURNAL_EXPAND_RCPT)
            add_child(c, i->mailbox);
    }
    c->rcpt = rcpt;
}

/* The recipient, or its children in its place. */
static void put_rcpt(struct claims *c)
{
    struct txn_facts *txn = *c->txn = txn_facts_own(*c->txn);

    if (!c->run.claimed)
        c->rcpt->view.class_ = c->otherwise;
    for (unsigned i = 0; i < c->child_count; i++) {
        struct rcpt_facts *child = ARENA_NEW(arena_of(c), struct rcpt_facts);
        *child = *c->rcpt;
        child->view.mailbox = c->children[i];
        if (i == 0)
            txn->rcpts[c->at] = child;
        else
            txn_facts_add_rcpt(txn, child);
    }
    if (c->child_count == 0)
        txn->rcpts[c->at] = c->rcpt;
    c->at++;
}

static void drop_rcpt(struct claims *c, const struct refusal *refusal)
{
    struct txn_facts *txn = *c->txn = txn_facts_own(*c->txn);
    struct log_line line;

    log_begin(&line, LOG_WARNING, LOG_EV_undeliverable, txn->id.ptr);
    log_str(&line, "to", slice_of(c->rcpt->view.original.address));
    log_str(&line, "added_by", slice_of(c->rcpt->view.claimed_by));
    log_textf(&line, "reply", "%u %s %.*s", refusal->code, refusal->enhanced,
              (int)refusal->text.len, refusal->text.len > 0 ? refusal->text.ptr : "");
    log_end(&line);
    txn->rcpt_count--;
    for (unsigned i = c->at; i < txn->rcpt_count; i++)
        txn->rcpts[i] = txn->rcpts[i + 1];
    c->count--;
}

static bool put_off(struct claims *c, const char *text)
{
    struct refusal refusal = refusal_make(TERN_DEFER, 451, "4.3.0", slice_cstr(text), false);

    c->done(c, &refusal); /* may free c */
    return false;
}

/*
 * False: that was the end, and c may be gone. Permanent needs certainty: a step that could not
 * answer might have known the mailbox, whatever its on_error says.
 */
static bool take_answer(struct claims *c)
{
    const struct refusal *refusal = &c->run.refusal;

    if (c->run.uncertain || (refusal->verdict != TERN_NEXT && refusal->verdict != TERN_REJECT))
        return put_off(c, "whose the recipient is cannot be told now");
    if (refusal->verdict == TERN_REJECT) {
        if (c->drop_refused) {
            drop_rcpt(c, refusal);
            return true;
        }
        c->done(c, refusal);
        return false;
    }
    if (c->child_count > JOURNAL_CHILDREN_MAX ||
        (*c->txn)->rcpt_count + c->child_count > ENGINE_TXN_RCPTS_MAX)
        return put_off(c, "too many recipients");
    put_rcpt(c);
    return true;
}

static void ask(struct claims *c);

static void answered(struct run *run)
{
    struct claims *c = claims_of(run);

    c->answered = true;
    if (!c->asking && take_answer(c))
        ask(c);
}

static const struct run_ops claims_ops = { .view = view, .apply = apply, .done = answered };

static void ask_one(struct claims *c, const struct plan *plan)
{
    c->rcpt = ARENA_NEW(arena_of(c), struct rcpt_facts);
    *c->rcpt = *(*c->txn)->rcpts[c->at];
    c->children = NULL;
    c->child_count = 0;
    scope_lend(c->scope, &c->run, plan, TERN_HOOK_RCPT, RUN_CLAIMS);
    c->run.ops = &claims_ops;
    c->run.generated = false; /* here a refusal is an answer, not an error */
    c->run.record = c->record;
    c->run.memory = (*c->txn)->memory;
    c->run.smtputf8 = true; /* nobody but the log reads it */
    c->run.rcpt = slice_of(c->rcpt->view.original.address);
    c->asking = true;
    c->answered = false;
    run_start(&c->run);
    c->asking = false;
}

static void go_on(void *arg);

/* One recipient after another, until one waits. A loop, not a recursion. */
static void ask(struct claims *c)
{
    const struct plan *plan;

    while (c->at < c->count) {
        const struct tern_recipient *rcpt = &(*c->txn)->rcpts[c->at]->view;
        if (rcpt->class_ != TERN_CLASS_NONE) {
            c->at++;
            continue;
        }
        if (c->fetched <= c->at && !profiles_fetch(&c->profiles, c->scope, slice_of(c->session->user),
                                                   &(*c->txn)->rcpts[c->at], 1, go_on, c)) {
            c->fetched = c->at + 1;
            return;
        }
        if (plan_for(c->policy, slice_of(c->session->user), &rcpt->original, &plan) < 0) {
            (void)put_off(c, "profile lookup failed");
            return;
        }
        ask_one(c, plan);
        if (!c->answered || !take_answer(c))
            return;
    }
    c->done(c, NULL);
}

static void go_on(void *arg)
{
    ask(arg);
}

void claims_init(struct claims *c)
{
    *c = (struct claims){ 0 };
    run_init(&c->run);
}

void claims_start(struct claims *c)
{
    c->at = c->fetched = 0;
    c->count = (*c->txn)->rcpt_count;
    ask(c);
}

void claims_abort(struct claims *c)
{
    profiles_cancel(&c->profiles);
    run_abort(&c->run);
}
