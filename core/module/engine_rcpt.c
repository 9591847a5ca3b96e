/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_rcpt.c - one RCPT: kept refusals by the recipient's profile, the rcpt chain with claiming,
 * rewriting and expanding, and whether the recipient may join this transaction's groups.
 *
 * A recipient becomes part of the transaction after its positive outcome only; until then it is
 * txn->rcpt, replaced (never changed) by each journal, since earlier calls may look at it.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "module/descriptor.h"
#include "module/engine_private.h"

static struct arena *arena_of(struct engine_txn *txn)
{
    return &txn->facts->memory->arena;
}

/* ---- journals ---- */

/* A copy that may be changed until the next call sees it. */
static struct rcpt_facts *renew(struct engine_txn *txn)
{
    struct rcpt_facts *mine = ARENA_NEW(arena_of(txn), struct rcpt_facts);

    *mine = *txn->rcpt;
    txn->rcpt = mine;
    return mine;
}

static void claim(struct run *run, struct engine_txn *txn, const tern_call *call)
{
    if (run->claimed || call->journal.claim == TERN_CLASS_NONE)
        return;
    struct rcpt_facts *rcpt = renew(txn);
    rcpt->view.class_ = call->journal.claim;
    rcpt->view.claimed_by = tern_str_dup(arena_of(txn), slice_of(call->step->step->name));
    run->claimed = true;
}

static void add_child(struct engine_txn *txn, const struct tern_mailbox *mailbox)
{
    if (txn->child_boxes == NULL)
        txn->child_boxes =
            arena_alloc(arena_of(txn), JOURNAL_CHILDREN_MAX * sizeof(txn->child_boxes[0]));
    if (txn->child_count < JOURNAL_CHILDREN_MAX)
        txn->child_boxes[txn->child_count] = mailbox_dup(arena_of(txn), mailbox);
    txn->child_count++; /* one too many is refused when the chain has ended */
}

static void apply_note(struct engine_txn *txn, const struct journal_item *i)
{
    struct arena *arena = arena_of(txn);
    struct rcpt_facts *rcpt;

    switch (i->kind) {
    case JOURNAL_TAG: /* belongs to the recipient */
        rcpt = renew(txn);
        rcpt->tags = notes_add(arena, rcpt->tags, slice_of(i->name), slice_of(i->value));
        break;
    case JOURNAL_RESULT:
        txn->facts = txn_facts_own(txn->facts);
        txn->facts->results =
            notes_add(arena, txn->facts->results, slice_of(i->name), slice_of(i->value));
        break;
    case JOURNAL_VAR:
        txn->facts = txn_facts_own(txn->facts);
        txn->facts->vars =
            notes_add(arena, txn->facts->vars, slice_of(i->name), slice_of(i->value));
        break;
    case JOURNAL_REWRITE_RCPT:
        rcpt = renew(txn);
        rcpt->view.mailbox = mailbox_dup(arena, i->mailbox);
        break;
    case JOURNAL_EXPAND_RCPT: add_child(txn, i->mailbox); break;
    default: break;
    }
}

static void apply(struct run *run, tern_call *call)
{
    struct engine_txn *txn = session_of_run(run)->txn;

    claim(run, txn, call);
    for (const struct journal_item *i = call->journal.first; i != NULL; i = i->next)
        apply_note(txn, i);
}

/* ---- the end of the chain ---- */

static void forget(struct engine_txn *txn)
{
    txn->rcpt = NULL;
    txn->rcpt_plan = NULL;
    txn->child_boxes = NULL;
    txn->child_count = 0;
}

static void refuse(struct engine_session *s, const struct refusal *refusal)
{
    forget(s->txn);
    session_answer(s, refusal);
}

static void refuse_by_core(struct engine_session *s, unsigned code, const char *enhanced,
                           struct slice text)
{
    struct refusal refusal = refusal_make(TERN_DEFER, code, enhanced, text, false);
    struct record_entry e = { .point = TERN_HOOK_RCPT,
                              .verdict = TERN_DEFER,
                              .code = code,
                              .enhanced = enhanced,
                              .text = text,
                              .rcpt = slice_of(s->txn->rcpt->view.original.address) };

    record_step(&s->txn->record, &e);
    refuse(s, &refusal);
}

/*
 * The group of the recipient in question: one of those there are, or a new one if the
 * transaction may have another. False: it may not.
 */
static bool join_group(struct engine_session *s)
{
    struct engine_txn *txn = s->txn;
    struct group_key key = group_key_of(&s->scope, txn->rcpt);
    bool split = s->scope.split && !txn->facts->each; /* there each group can have its reply */
    unsigned max = split ? 1 : s->scope.groups_max;

    unsigned at = group_find(txn->groups, txn->group_count, &key);
    if (at < txn->group_count)
        return true;
    if (txn->group_count >= max)
        return false;
    txn->groups[txn->group_count++] = key;
    return true;
}

static void add_rcpts(struct engine_txn *txn)
{
    unsigned family = txn->families++;

    txn->facts = txn_facts_own(txn->facts);
    txn->rcpt->family = family;
    if (txn->child_count == 0)
        txn_facts_add_rcpt(txn->facts, txn->rcpt);
    for (unsigned i = 0; i < txn->child_count; i++) {
        struct rcpt_facts *child = ARENA_NEW(arena_of(txn), struct rcpt_facts);
        *child = *txn->rcpt; /* class, tags, disposition, plan of the parent */
        child->view.mailbox = txn->child_boxes[i];
        txn_facts_add_rcpt(txn->facts, child);
    }
}

static void accept(struct engine_session *s)
{
    struct engine_txn *txn = s->txn;
    const struct run *run = &s->asked->run;
    struct rcpt_facts *rcpt = renew(txn);
    unsigned more = txn->child_count > 0 ? txn->child_count : 1;

    rcpt->disposition = run->disposition;
    rcpt->hold_reason = run->hold_reason;
    rcpt->hold_step = tern_str_dup(arena_of(txn), slice_of(run->hold_step));
    if (txn->child_count > JOURNAL_CHILDREN_MAX ||
        txn->facts->rcpt_count + more > ENGINE_TXN_RCPTS_MAX)
        refuse_by_core(s, 452, "4.5.3", SLICE("too many recipients"));
    else if (!join_group(s))
        refuse_by_core(s, 452, "4.5.3",
                       SLICE("too many recipients of different kinds, please send the rest apart"));
    else {
        add_rcpts(txn);
        forget(txn);
        session_answer_next(s);
    }
}

static void done(struct run *run)
{
    struct engine_session *s = session_of_run(run);

    if (run->refusal.verdict != TERN_NEXT)
        refuse(s, &run->refusal);
    else
        accept(s);
}

static const struct run_ops rcpt_ops = { .view = session_view, .apply = apply, .done = done };

/* ---- kept refusals ---- */

/* The first that counts for this recipient: its profile enforces the step. */
const struct kept_refusal *kept_first(const struct kept_refusal *kept, const struct plan *plan)
{
    for (; kept != NULL; kept = kept->next) {
        unsigned index = kept->refusal.step->step->index;
        if (index < plan->step_count && plan->steps[index].mode == STEP_ENFORCE)
            return kept;
    }
    return NULL;
}

static bool give_kept(struct engine_session *s)
{
    const struct kept_refusal *kept = kept_first(s->kept, s->txn->rcpt_plan);

    if (kept == NULL)
        kept = kept_first(s->txn->kept, s->txn->rcpt_plan);
    if (kept == NULL)
        return false;
    struct record_entry e = { .point = TERN_HOOK_RCPT,
                              .step = kept->refusal.step,
                              .verdict = kept->refusal.verdict,
                              .code = kept->refusal.code,
                              .enhanced = kept->refusal.enhanced,
                              .text = kept->refusal.text,
                              .kept_from = descriptor_hook_name(kept->point),
                              .inputs = s->txn->kept_told ? slice_make(NULL, 0) : kept->refusal.inputs,
                              .rcpt = slice_of(s->txn->rcpt->view.original.address) };
    record_step(&s->txn->record, &e);
    s->txn->kept_told = true;
    refuse(s, &kept->refusal);
    return true;
}

/* ---- the door ---- */

static struct rcpt_facts *rcpt_new(struct engine_txn *txn, const struct tern_mailbox *mailbox,
                                   struct slice orcpt, struct slice notify)
{
    struct arena *arena = arena_of(txn);
    struct rcpt_facts *rcpt = ARENA_NEW(arena, struct rcpt_facts);

    rcpt->view.mailbox = rcpt->view.original = mailbox_dup(arena, mailbox);
    rcpt->view.claimed_by = rcpt->hold_reason = rcpt->hold_step = (tern_str){ "", 0 };
    rcpt->orcpt = tern_str_dup(arena, orcpt);
    rcpt->notify = tern_str_dup(arena, notify);
    return rcpt;
}

/* Its profile is known, or cannot be. */
static void begin(void *arg)
{
    struct engine_session *s = arg;
    struct engine_txn *txn = s->txn;

    if (plan_for(s->scope.policy, slice_of(s->facts->user), &txn->rcpt->view.original, &txn->rcpt_plan) < 0) {
        refuse_by_core(s, 451, "4.3.0", SLICE("profile lookup failed, please try again later"));
        return;
    }
    txn->rcpt->plan = txn->rcpt_plan;
    if (!give_kept(s))
        session_ask(s, txn->rcpt_plan, TERN_HOOK_RCPT, &rcpt_ops, s->asked->done, s->asked->done_arg);
}

void engine_rcpt(struct engine_session *s, const struct tern_mailbox *mailbox, struct slice orcpt,
                 struct slice notify, engine_done done_, void *arg)
{
    struct engine_txn *txn = s->txn;

    assert(txn != NULL && txn->rcpt == NULL);
    txn->rcpt = rcpt_new(txn, mailbox, orcpt, notify);
    const struct rcpt_facts *rcpt = txn->rcpt;
    struct session_run *asked = session_question(s, done_, arg);
    if (profiles_fetch(&asked->profiles, &s->scope, slice_of(s->facts->user), &rcpt, 1, begin, s))
        begin(s);
}
