/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_txn.c - a transaction: hooks mail and data, its facts, its end and its record.
 *
 * Not here: recipients (engine_rcpt.c), the whole message (engine_message.c).
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "module/engine_private.h"

struct tern_mailbox mailbox_dup(struct arena *arena, const struct tern_mailbox *m)
{
    return (struct tern_mailbox){ tern_str_dup(arena, slice_of(m->address)),
                                  tern_str_dup(arena, slice_of(m->local)),
                                  tern_str_dup(arena, slice_of(m->domain)) };
}

struct txn_facts *txn_facts_subset(struct txn_facts *facts, const unsigned *rcpts, unsigned count)
{
    struct txn_facts *mine = txn_facts_own(txn_facts_ref(facts)); /* two references: a clone */

    mine->rcpt_count = 0;
    for (unsigned i = 0; i < count; i++) {
        assert(rcpts[i] < facts->rcpt_count);
        txn_facts_add_rcpt(mine, facts->rcpts[rcpts[i]]);
    }
    return mine;
}

/* ---- journals ---- */

void txn_apply_notes(struct txn_facts **facts, const tern_call *call)
{
    for (const struct journal_item *i = call->journal.first; i != NULL; i = i->next) {
        if (i->kind > JOURNAL_VAR)
            continue;
        *facts = txn_facts_own(*facts);
        struct txn_facts *f = *facts;
        const struct note **list = i->kind == JOURNAL_TAG      ? &f->tags
                                   : i->kind == JOURNAL_RESULT ? &f->results
                                                               : &f->vars;
        *list = notes_add(&f->memory->arena, *list, slice_of(i->name), slice_of(i->value));
    }
}

static void apply(struct run *run, tern_call *call)
{
    struct txn_facts **facts = &session_of_run(run)->txn->facts;

    txn_apply_notes(facts, call);
    for (const struct journal_item *i = call->journal.first; i != NULL; i = i->next) {
        if (i->kind != JOURNAL_REWRITE_SENDER)
            continue;
        *facts = txn_facts_own(*facts);
        (*facts)->sender = mailbox_dup(&(*facts)->memory->arena, i->mailbox);
    }
}

static void keep(struct run *run, const struct refusal *refusal, bool shadow)
{
    struct engine_txn *txn = session_of_run(run)->txn;

    session_keep(&txn->kept, &txn->kept_count, txn->facts->memory, run, refusal, shadow);
}

static void done(struct run *run)
{
    struct engine_session *s = session_of_run(run);

    if (run->refusal.verdict != TERN_NEXT)
        session_answer(s, &run->refusal);
    else
        session_answer_next(s);
}

static const struct run_ops mail_ops = {
    .view = session_view, .apply = apply, .keep = keep, .done = done
};
static const struct run_ops data_ops = { .view = session_view, .apply = apply, .done = done };

/* ---- the door ---- */

static struct engine_txn *txn_new(struct txn_facts *facts)
{
    struct engine_txn *txn = mem_zalloc(sizeof(*txn));

    txn->facts = facts;
    record_init(&txn->record);
    return txn;
}

/* The user's profile is known, or cannot be. */
static void begin(void *arg)
{
    struct engine_session *s = arg;

    if (plan_for(s->scope.policy, slice_of(s->facts->user), NULL, &s->txn->plan) < 0) {
        /* Without knowing the profile nothing may be decided: fail closed. */
        struct refusal refusal =
            refusal_make(TERN_DEFER, 451, "4.3.0",
                         SLICE("profile lookup failed, please try again later"), false);
        session_answer(s, &refusal);
        return;
    }
    session_ask(s, s->txn->plan, TERN_HOOK_MAIL, &mail_ops, s->asked->done, s->asked->done_arg);
}

void engine_mail(struct engine_session *s, struct txn_facts *facts, engine_done done_, void *arg)
{
    engine_txn_end(s, slice_make(NULL, 0), 0);
    s->txn = txn_new(facts);
    s->txn->plan = policy_plan(s->scope.policy);
    struct session_run *asked = session_question(s, done_, arg);
    if (profiles_fetch(&asked->profiles, &s->scope, slice_of(s->facts->user), NULL, 0, begin, s))
        begin(s);
}

void engine_data(struct engine_session *s, engine_done done_, void *arg)
{
    assert(s->txn != NULL);
    session_ask(s, s->txn->plan, TERN_HOOK_DATA, &data_ops, done_, arg);
}

const struct txn_facts *engine_txn(const struct engine_session *session)
{
    return session->txn != NULL ? session->txn->facts : NULL;
}

void engine_txn_end(struct engine_session *s, struct slice stored_id, unsigned reply_code)
{
    struct engine_txn *txn = s->txn;

    if (txn == NULL)
        return;
    run_give_back(s);
    record_write_txn(&txn->record, s->facts, txn->facts, stored_id, reply_code);
    passage_free(txn->passage);
    record_fini(&txn->record);
    txn_facts_unref(txn->facts);
    free(txn);
    s->txn = NULL;
}
