/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_message.c - a whole message on its way into the spool: hooks message, queue and sign,
 * for the
 * transaction (ONCE steps) and then for each group, and the reply at the dot (DESIGN 3.4).
 *
 * A group owns its verdict, sender, header edits, tags and disposition. A reply stands for some
 * recipients: the one of plain SMTP for all of them, one of LMTP or PRDR for those that its RCPT
 * has become. Nothing that a reply stands for is committed when any group of it defers; what is
 * refused beside something accepted is held, never bounced.
 *
 * A group that is discarded, or refused, sees no later hook: it is not on its way into the spool.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "module/engine_private.h"

struct group {
    struct group_key key;
    const struct plan *plan;
    struct txn_facts *facts;
    struct message_head *head;
    struct refusal refusal;
    enum disposition disposition;
    tern_str hold_reason, hold_step;
};

/* A recipient that a ONCE step added: he gets one copy, whatever groups there are. */
struct added_rcpt {
    struct added_rcpt *next;
    struct tern_mailbox mailbox;
    tern_str step;
};

/* What the groups say of the recipients that one reply stands for. */
struct tally {
    const struct refusal *deferred, *rejected; /* the first of either */
    bool accepted;
};

struct passage {
    struct run run;
    struct scope scope; /* its lease is counted */
    const struct plan *plan;
    struct session_facts *session;
    struct txn_facts *txn;
    struct record *record;
    struct message_head *head; /* what ONCE steps see */
    struct group groups[ENGINE_GROUPS_MAX];
    unsigned group_count;
    struct tally *tallies; /* one for each reply */
    unsigned reply_count;
    bool too_many;
    bool full; /* an added recipient found no room */
    struct added_rcpt *added, **added_end;
    /* where it is */
    unsigned point, index;
    bool once_done;
    struct claims claims; /* of added recipients: no RCPT has asked about them */
    unsigned asked;       /* groups whose added ones were asked about */
    bool asks_added;      /* a session's message; of others the owner knows */
    bool concluding;
    struct refusal refusal; /* of a ONCE step, or of the core: for the whole message */
    int error;              /* the body could not be read */
    passage_done done;
    void *arg;
    struct passage **slot;
    struct engine_group out[ENGINE_GROUPS_MAX];
    struct engine_message_result result;
};

static struct passage *passage_of(struct run *run)
{
    return list_entry(run, struct passage, run);
}

/* ---- groups ---- */

static bool group_new(struct passage *p, const struct rcpt_facts *rcpt, const struct group_key *key)
{
    if (p->group_count == p->scope.groups_max)
        return false;
    struct group *g = &p->groups[p->group_count++];
    *g = (struct group){
        .key = *key,
        .plan = rcpt->plan,
        .disposition = rcpt->disposition,
        .hold_reason = rcpt->hold_reason,
        .hold_step = rcpt->hold_step,
    };
    return true;
}

static void collect(struct passage *p)
{
    struct group_key keys[ENGINE_GROUPS_MAX];
    unsigned *numbers = mem_alloc((p->txn->rcpt_count + 1) * sizeof(numbers[0]));

    for (unsigned i = 0; i < p->txn->rcpt_count; i++) {
        struct group_key key = group_key_of(&p->scope, p->txn->rcpts[i]);
        numbers[i] = group_find(keys, p->group_count, &key);
        if (numbers[i] < p->group_count)
            continue;
        if (!group_new(p, p->txn->rcpts[i], &key)) {
            p->too_many = true;
            break;
        }
        keys[numbers[i]] = key;
    }
    for (unsigned g = 0; g < p->group_count && !p->too_many; g++) {
        struct group *group = &p->groups[g];
        group->facts = txn_facts_subset(p->txn, NULL, 0);
        for (unsigned i = 0; i < p->txn->rcpt_count; i++)
            if (numbers[i] == g)
                txn_facts_add_rcpt(group->facts, p->txn->rcpts[i]);
        group->head = message_head_ref(p->head);
    }
    free(numbers);
}

/* ---- journals ---- */

static void edit(struct passage *p, struct message_head **head, const struct journal *journal)
{
    struct message_head *made;
    int r = message_head_edit(*head, journal, &made);

    if (r < 0) {
        p->error = r;
        return;
    }
    message_head_unref(*head);
    *head = made;
}

static void add_rcpt(struct passage *p, struct group *g, const struct tern_mailbox *mailbox,
                     tern_str step)
{
    struct arena *arena = &g->facts->memory->arena;
    struct rcpt_facts *rcpt = ARENA_NEW(arena, struct rcpt_facts);

    if (g->facts->rcpt_count >= ENGINE_TXN_RCPTS_MAX) {
        p->full = true;
        return;
    }
    rcpt->view.mailbox = rcpt->view.original = mailbox_dup(arena, mailbox);
    rcpt->view.class_ = TERN_CLASS_NONE; /* until the claiming steps are asked */
    rcpt->view.claimed_by = tern_str_dup(arena, slice_of(step));
    rcpt->orcpt = rcpt->notify = rcpt->hold_reason = rcpt->hold_step = (tern_str){ "", 0 };
    rcpt->plan = g->plan;
    rcpt->tags = g->key.tags;
    rcpt->family = RCPT_FAMILY_ADDED;
    g->facts = txn_facts_own(g->facts);
    txn_facts_add_rcpt(g->facts, rcpt);
}

static void apply_to_group(struct passage *p, struct group *g, const tern_call *call)
{
    bool once = p->run.pick == RUN_ONCE_STEPS;

    txn_apply_notes(&g->facts, call);
    for (const struct journal_item *i = call->journal.first; i != NULL; i = i->next) {
        if (i->kind == JOURNAL_REWRITE_SENDER) {
            g->facts = txn_facts_own(g->facts);
            g->facts->sender = mailbox_dup(&g->facts->memory->arena, i->mailbox);
        } else if (i->kind == JOURNAL_ADD_RCPT && !once) {
            add_rcpt(p, g, i->mailbox, call->step->step->name);
        }
    }
}

static void keep_added(struct passage *p, const tern_call *call)
{
    struct arena *arena = &p->txn->memory->arena;

    for (const struct journal_item *i = call->journal.first; i != NULL; i = i->next) {
        if (i->kind != JOURNAL_ADD_RCPT)
            continue;
        struct added_rcpt *added = ARENA_NEW(arena, struct added_rcpt);
        added->mailbox = mailbox_dup(arena, i->mailbox);
        added->step = tern_str_dup(arena, slice_of(call->step->step->name));
        *p->added_end = added;
        p->added_end = &added->next;
    }
}

/* A ONCE step works for all groups; heads that were one stay one. */
static void apply_to_all(struct passage *p, tern_call *call)
{
    txn_apply_notes(&p->txn, call);
    edit(p, &p->head, &call->journal);
    keep_added(p, call);
    for (unsigned g = 0; g < p->group_count; g++) {
        apply_to_group(p, &p->groups[g], call);
        message_head_unref(p->groups[g].head);
        p->groups[g].head = message_head_ref(p->head);
    }
}

static void apply(struct run *run, tern_call *call)
{
    struct passage *p = passage_of(run);

    if (run->pick == RUN_ONCE_STEPS) {
        apply_to_all(p, call);
        return;
    }
    apply_to_group(p, &p->groups[p->index], call);
    edit(p, &p->groups[p->index].head, &call->journal);
}

static void view(struct run *run, struct call_view *ret)
{
    struct passage *p = passage_of(run);
    struct group *g = &p->groups[p->index];
    bool once = run->pick == RUN_ONCE_STEPS;

    ret->session = session_facts_ref(p->session);
    ret->txn = txn_facts_ref(once ? p->txn : g->facts);
    ret->message = message_head_ref(once ? p->head : g->head);
    ret->tags = once ? NULL : g->key.tags;
}

/* ---- the end ---- */

static bool any_defers(const struct passage *p)
{
    for (unsigned g = 0; g < p->group_count; g++)
        if (p->groups[g].refusal.verdict == TERN_DEFER)
            return true;
    return false;
}

/* The reply that a recipient hears of; one that a step has added hears of none. */
static struct tally *tally_of(const struct passage *p, const struct rcpt_facts *rcpt)
{
    if (rcpt->family == RCPT_FAMILY_ADDED)
        return NULL;
    return &p->tallies[p->txn->each ? rcpt->family : 0];
}

static void tally(struct passage *p)
{
    p->reply_count = p->txn->each ? p->txn->rcpts[p->txn->rcpt_count - 1]->family + 1 : 1;
    p->tallies =
        arena_zalloc(&p->txn->memory->arena, p->reply_count * sizeof(p->tallies[0]));
    for (unsigned g = 0; g < p->group_count && !p->too_many; g++) {
        const struct group *group = &p->groups[g];
        for (unsigned i = 0; i < group->facts->rcpt_count; i++) {
            struct tally *t = tally_of(p, group->facts->rcpts[i]);
            if (t == NULL)
                continue;
            t->accepted |= group->refusal.verdict == TERN_NEXT;
            if (group->refusal.verdict == TERN_DEFER && t->deferred == NULL)
                t->deferred = &group->refusal;
            if (group->refusal.verdict == TERN_REJECT && t->rejected == NULL)
                t->rejected = &group->refusal;
        }
    }
}

/* NULL: what the reply stands for is taken. */
static const struct refusal *refusal_of(const struct tally *t)
{
    if (t->deferred != NULL)
        return t->deferred;
    return t->accepted ? NULL : t->rejected;
}

static bool any_taken(const struct passage *p)
{
    for (unsigned i = 0; i < p->reply_count; i++)
        if (refusal_of(&p->tallies[i]) == NULL)
            return true;
    return false;
}

/*
 * Whether it is stored: it has recipients whose reply is positive. What one RCPT has become is all in
 * one group (engine_rcpt.c), so that these are all or none.
 */
static bool is_wanted(const struct passage *p, const struct group *g)
{
    for (unsigned i = 0; i < g->facts->rcpt_count; i++) {
        const struct tally *t = tally_of(p, g->facts->rcpts[i]);
        if (t != NULL)
            return refusal_of(t) == NULL;
    }
    return false;
}

/* Session's tags and variables go with the message: delivery knows no session. */
static void adopt_session_notes(struct passage *p, struct group *g)
{
    const struct session_facts *s = p->session;

    if (s->tags == NULL && s->vars == NULL)
        return;
    g->facts = txn_facts_own(g->facts);
    struct arena *arena = &g->facts->memory->arena;
    for (const struct note *n = s->tags; n != NULL; n = n->next)
        if (notes_get(g->facts->tags, slice_of(n->name)).ptr == NULL)
            g->facts->tags =
                notes_add(arena, g->facts->tags, slice_of(n->name), slice_of(n->value));
    for (const struct note *n = s->vars; n != NULL; n = n->next)
        if (notes_get(g->facts->vars, slice_of(n->name)).ptr == NULL)
            g->facts->vars =
                notes_add(arena, g->facts->vars, slice_of(n->name), slice_of(n->value));
}

static void put_group(struct passage *p, struct group *g)
{
    struct engine_group *out = &p->out[p->result.group_count];

    if (g->refusal.verdict != TERN_NEXT) {
        g->disposition = DISPOSE_HOLD;
        g->hold_reason = (tern_str){ "late-refusal", 12 };
        g->hold_step = tern_str_dup(&p->txn->memory->arena, refusal_step_name(&g->refusal));
    }
    adopt_session_notes(p, g);
    *out = (struct engine_group){
        .number = ++p->result.group_count,
        .facts = g->facts,
        .disposition = g->disposition,
        .hold_reason = slice_of(g->hold_reason),
        .hold_step = slice_of(g->hold_step),
    };
    out->head = message_head_octets(g->head, &out->body_offset);
    out->edited = g->head;
}

/* The first group that goes out; else one that is held, for it may go out; else all is discarded. */
static struct group *group_for_added(struct passage *p)
{
    struct group *held = NULL;

    for (unsigned i = 0; i < p->group_count; i++) {
        struct group *g = &p->groups[i];
        bool accepted = g->refusal.verdict == TERN_NEXT;
        if (!is_wanted(p, g))
            continue;
        if (accepted && g->disposition == DISPOSE_DELIVER)
            return g;
        if (held == NULL && (!accepted || g->disposition == DISPOSE_HOLD))
            held = g;
    }
    return held;
}

static void give_added(struct passage *p)
{
    struct group *g = group_for_added(p);

    for (const struct added_rcpt *a = p->added; a != NULL && g != NULL; a = a->next)
        add_rcpt(p, g, &a->mailbox, a->step);
}

/*
 * Stored groups first, so that their numbers have no gap. One that defers has nobody left whose reply
 * is positive.
 */
static void put_groups(struct passage *p)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < p->group_count; i++) {
            struct group *g = &p->groups[i];
            bool discarded = g->refusal.verdict == TERN_NEXT && g->disposition == DISPOSE_DISCARD;
            if (discarded == (pass == 1) && is_wanted(p, g))
                put_group(p, g);
        }
    }
    p->result.groups = p->out;
}

static struct decision tell(const struct passage *p, const struct refusal *refusal)
{
    if (refusal == NULL)
        return (struct decision){ .verdict = TERN_NEXT };
    return decision_of(refusal, slice_of(p->txn->id), p->txn->memory);
}

/* The replies, and what they come to: taken if any is; else temporary if any is. `all` is for all of them. */
static void put_replies(struct passage *p, const struct refusal *all)
{
    struct decision *replies =
        arena_alloc(&p->txn->memory->arena, p->reply_count * sizeof(replies[0]));
    const struct decision *sum = NULL;

    for (unsigned i = 0; i < p->reply_count; i++) {
        const struct refusal *own = refusal_of(&p->tallies[i]);
        replies[i] = tell(p, all != NULL ? all : own);
        bool better = sum == NULL || replies[i].verdict == TERN_NEXT ||
                      (replies[i].verdict == TERN_DEFER && sum->verdict == TERN_REJECT);
        if (better && (sum == NULL || sum->verdict != TERN_NEXT))
            sum = &replies[i];
    }
    for (unsigned i = 0; i < p->txn->rcpt_count && p->txn->each; i++) {
        const struct rcpt_facts *rcpt = p->txn->rcpts[i];
        const struct decision *d = &replies[rcpt->family];
        bool first = i == 0 || p->txn->rcpts[i - 1]->family != rcpt->family;
        if (first && d->verdict != TERN_NEXT)
            record_refused(p->record, slice_of(rcpt->view.original.address), d->code, d->enhanced, d->text);
    }
    p->result.replies = replies;
    p->result.reply_count = p->reply_count;
    p->result.decision = *sum;
}

static void finish(struct passage *p)
{
    const struct refusal *all = p->refusal.verdict != TERN_NEXT ? &p->refusal : NULL;
    const struct decision *d = &p->result.decision;
    struct refusal broken;

    if (p->error < 0) {
        broken =
            refusal_make(TERN_DEFER, 451, "4.3.0", SLICE("the message could not be read"), false);
        all = &broken;
    } else if (all == NULL && p->full && any_taken(p)) {
        broken = refusal_make(TERN_DEFER, 452, "4.5.3", SLICE("too many recipients"), false);
        all = &broken;
    }
    p->result.body = message_head_body(p->head);
    put_replies(p, all);
    if (d->verdict != TERN_NEXT)
        record_reply(p->record, d->code, d->enhanced, d->text);
    else
        put_groups(p);
    p->done(p->arg, &p->result); /* may free p */
}

/* ---- the way ---- */

static bool is_live(const struct passage *p, const struct group *g)
{
    return g->refusal.verdict == TERN_NEXT &&
           (p->point == TERN_HOOK_MESSAGE || g->disposition != DISPOSE_DISCARD);
}

static bool wants(const struct passage *p, const struct group *g)
{
    return is_live(p, g) && run_has(&g->plan->chains[p->point], RUN_GROUP_STEPS);
}

static bool is_over(const struct passage *p)
{
    if (p->error < 0 || p->refusal.verdict != TERN_NEXT)
        return true;
    return !p->txn->each && any_defers(p); /* then the others' answers count for nothing */
}

static const struct run_ops passage_ops;
static void go_on(struct passage *p);
static void conclude(struct passage *p);

static void ask(struct passage *p, const struct plan *plan, enum run_pick pick)
{
    scope_lend(&p->scope, &p->run, plan, p->point, pick);
    p->run.ops = &passage_ops;
    p->run.record = p->record;
    p->run.memory = p->txn->memory;
    p->run.smtputf8 = p->txn->smtputf8;
    run_start(&p->run);
}

static bool has_added(const struct group *g)
{
    if (g->refusal.verdict == TERN_NEXT && g->disposition == DISPOSE_DISCARD)
        return false; /* nobody will get it */
    if (g->refusal.verdict == TERN_DEFER)
        return false; /* nor this */
    for (unsigned i = 0; i < g->facts->rcpt_count; i++)
        if (g->facts->rcpts[i]->view.class_ == TERN_CLASS_NONE)
            return true;
    return false;
}

static void claimed(struct claims *claims, const struct refusal *refusal)
{
    struct passage *p = list_entry(claims, struct passage, claims);

    if (refusal != NULL)
        p->refusal = *refusal;
    p->asked++;
    if (p->concluding)
        conclude(p);
    else
        go_on(p);
}

/* True: it goes on with the answer, and p may be gone. */
static bool ask_added(struct passage *p)
{
    while (p->asked < p->group_count && !has_added(&p->groups[p->asked]))
        p->asked++;
    if (p->asked == p->group_count || !p->asks_added || p->refusal.verdict != TERN_NEXT)
        return false;
    p->claims.scope = &p->scope;
    p->claims.policy = p->scope.policy;
    p->claims.session = p->session;
    p->claims.txn = &p->groups[p->asked].facts;
    p->claims.record = p->record;
    p->claims.otherwise = TERN_CLASS_FORWARD; /* a policy wants it sent */
    p->claims.drop_refused = true;
    p->claims.done = claimed;
    claims_start(&p->claims);
    return true;
}

/* What ONCE steps have added finds its group only now. */
static void conclude(struct passage *p)
{
    if (!p->concluding) {
        tally(p);
        if (!is_over(p) && any_taken(p)) {
            p->concluding = true;
            p->asked = 0;
            give_added(p);
        }
    }
    if (!p->concluding || p->full || !ask_added(p))
        finish(p);
}

/* The next chain to ask, or the end. Recursion is bounded by hooks and groups: 2 * 16 + 3 * (1 + 16). */
static void go_on(struct passage *p)
{
    for (; !is_over(p) && p->point <= TERN_HOOK_SIGN;
         p->point++, p->once_done = false, p->index = 0) {
        if (p->point == TERN_HOOK_QUEUE && ask_added(p))
            return;
        if (!p->once_done) {
            p->once_done = true;
            if (run_has(&p->plan->chains[p->point], RUN_ONCE_STEPS)) {
                ask(p, p->plan, RUN_ONCE_STEPS);
                return;
            }
        }
        while (p->index < p->group_count && !wants(p, &p->groups[p->index]))
            p->index++;
        if (p->index < p->group_count) {
            ask(p, p->groups[p->index].plan, RUN_GROUP_STEPS);
            return;
        }
    }
    conclude(p);
}

static void take_disposition(struct group *g, const struct run *run)
{
    if (run->disposition <= g->disposition)
        return;
    g->disposition = run->disposition;
    g->hold_reason = run->hold_reason;
    g->hold_step = run->hold_step;
}

static void run_done(struct run *run)
{
    struct passage *p = passage_of(run);

    if (run->pick == RUN_ONCE_STEPS) {
        p->refusal = run->refusal;
        for (unsigned g = 0; g < p->group_count; g++)
            take_disposition(&p->groups[g], run);
    } else {
        struct group *g = &p->groups[p->index++];
        g->refusal = run->refusal;
        take_disposition(g, run);
    }
    go_on(p);
}

static const struct run_ops passage_ops = { .view = view, .apply = apply, .done = run_done };

struct passage *passage_start(const struct passage_options *o, struct passage **slot)
{
    struct passage *p = mem_zalloc(sizeof(*p));

    assert(TERN_HOOK_MESSAGE < TERN_HOOK_QUEUE && TERN_HOOK_QUEUE < TERN_HOOK_SIGN);
    *slot = p;
    p->scope = *o->scope;
    (void)lease_ref(p->scope.lease);
    p->plan = o->plan;
    p->session = session_facts_ref(o->session);
    p->txn = txn_facts_ref(o->txn);
    p->record = o->record;
    p->point = o->first_hook;
    p->asks_added = o->first_hook == TERN_HOOK_MESSAGE && !p->scope.others_deliver;
    p->done = o->done;
    p->arg = o->arg;
    p->added_end = &p->added;
    p->head = message_head_new(o->body, o->received);
    run_init(&p->run);
    claims_init(&p->claims);
    collect(p);
    if (p->too_many)
        p->refusal = refusal_make(TERN_DEFER, 452, "4.5.3",
                                  SLICE("too many recipients of different kinds"), false);
    go_on(p);
    return p;
}

void passage_free(struct passage *p)
{
    if (p == NULL)
        return;
    run_abort(&p->run);
    claims_abort(&p->claims);
    for (unsigned g = 0; g < p->group_count; g++) {
        txn_facts_unref(p->groups[g].facts);
        message_head_unref(p->groups[g].head);
    }
    message_head_unref(p->head);
    txn_facts_unref(p->txn);
    session_facts_unref(p->session);
    scope_fini(&p->scope);
    free(p);
}

void engine_message(struct engine_session *s, struct body *body, struct slice received,
                    engine_message_done done, void *arg)
{
    struct engine_txn *txn = s->txn;

    assert(txn != NULL && txn->passage == NULL && txn->facts->rcpt_count > 0);
    struct passage_options o = {
        .scope = &s->scope,
        .plan = txn->plan,
        .session = s->facts,
        .txn = txn->facts,
        .record = &txn->record,
        .body = body,
        .received = received,
        .first_hook = TERN_HOOK_MESSAGE,
        .done = done,
        .arg = arg,
    };
    (void)passage_start(&o, &txn->passage);
}
