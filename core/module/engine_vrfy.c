/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_vrfy.c - VRFY and EXPN: hook vrfy, asked apart from any transaction.
 *
 * A hook of its own, as the chain of rcpt has effects: greylisting counts, limits are used up. What is asked for
 * and what is answered lives as long as the question, so that a client who asks a thousand times costs no memory.
 *
 * Sources: RFC 5321 3.5, 7.3.
 */
#include <assert.h>

#include "module/api.h"
#include "module/engine_private.h"

#define VRFY_MEMORY_FIRST 512

const struct tern_vrfy *api_vrfy(const tern_call *call)
{
    return call->view.vrfy;
}

static void view(struct run *run, struct call_view *ret)
{
    const struct session_run *asked = session_of_run(run)->asked;

    session_view(run, ret);
    ret->vrfy_memory = shared_arena_ref(asked->vrfy_memory);
    ret->vrfy = asked->vrfy;
}

/* Nothing but notes can be wished for here, and those are the record's. */
static void apply(struct run *run, tern_call *call)
{
    (void)run;
    (void)call;
}

/* The last thing that is done with the session: the owner may free it. */
static void tell(struct engine_session *s, const struct decision *d)
{
    struct shared_arena *memory = shared_arena_ref(s->asked->vrfy_memory);
    engine_done told = s->asked->done;
    void *arg = s->asked->done_arg;

    run_give_back(s);
    told(arg, d);
    shared_arena_unref(memory);
}

/*
 * A step that failed is 451 to EXPN. To VRFY it is no answer: the client hears what he hears from a server that
 * does not look at all (3.5.3).
 */
static void done(struct run *run)
{
    struct engine_session *s = session_of_run(run);
    const struct refusal *r = &run->refusal;
    struct decision d = { .verdict = TERN_NEXT };

    if (r->verdict == TERN_ACCEPT)
        d = decision_of(r, SLICE(""), s->asked->vrfy_memory);
    else if (r->verdict != TERN_NEXT && (s->asked->vrfy->expand || !r->failed))
        d = decision_of(r, slice_of(s->facts->id), s->asked->vrfy_memory);
    tell(s, &d);
}

static const struct run_ops vrfy_ops = { .view = view, .apply = apply, .record = session_record_late, .done = done };

static const struct tern_vrfy *keep(struct arena *arena, bool expand, struct slice argument,
                                    const struct tern_mailbox *mailbox)
{
    struct tern_vrfy *v = ARENA_NEW(arena, struct tern_vrfy);

    v->expand = expand;
    v->argument = tern_str_dup(arena, argument);
    v->mailbox = mailbox_dup(arena, mailbox);
    return v;
}

/* The profile is known, or cannot be: then nobody was asked, which is as if one had failed. */
static void begin(void *arg)
{
    struct engine_session *s = arg;
    struct session_run *asked = s->asked;
    const struct tern_mailbox *mailbox = asked->vrfy->mailbox.domain.len > 0 ? &asked->vrfy->mailbox : NULL;
    struct refusal failed = refusal_make(TERN_DEFER, 451, "4.3.0",
                                         SLICE("profile lookup failed, please try again later"), false);
    struct decision nothing = { .verdict = TERN_NEXT };
    const struct plan *plan;

    if (plan_for(s->scope.policy, slice_of(s->facts->user), mailbox, &plan) < 0) {
        if (asked->vrfy->expand)
            nothing = decision_of(&failed, slice_of(s->facts->id), asked->vrfy_memory);
        tell(s, &nothing);
        return;
    }
    if (kept_first(s->kept, plan) != NULL) {
        tell(s, &nothing);
        return;
    }
    struct run *run = &asked->run;
    scope_lend(&s->scope, run, plan, TERN_HOOK_VRFY, RUN_ALL);
    run->ops = &vrfy_ops;
    run->record = s->record;
    run->memory = asked->vrfy_memory;
    run->smtputf8 = false;
    run->rcpt = slice_of(asked->vrfy->argument);
    run_start(run);
}

/*
 * In a transaction, too, which is set aside until the answer. Who would be refused at RCPT for what he is is not
 * told who lives here, either: no step is asked. As at RCPT the profile is that of who asks, else of the address.
 */
void engine_vrfy(struct engine_session *s, bool expand, struct slice argument, const struct tern_mailbox *mailbox,
                 engine_done done_, void *arg)
{
    assert(!session_is_asked(s));
    struct session_run *asked = session_question(s, done_, arg);
    asked->aside = s->txn;
    s->txn = NULL;
    asked->vrfy_memory = shared_arena_new(VRFY_MEMORY_FIRST);
    asked->vrfy = keep(&asked->vrfy_memory->arena, expand, argument, mailbox);
    struct rcpt_facts *rcpt = ARENA_NEW(&asked->vrfy_memory->arena, struct rcpt_facts); /* as profiles are asked for */
    const struct rcpt_facts *const one = rcpt;
    rcpt->view.original = asked->vrfy->mailbox;
    if (profiles_fetch(&asked->profiles, &s->scope, slice_of(s->facts->user), &one, 1, begin, s))
        begin(s);
}
