/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_session.c - a connection's side of the engine: hooks connect, ehlo and close, kept
 * refusals.
 *
 * Not here: the transaction (engine_txn.c, engine_rcpt.c), the message (engine_message.c).
 */
#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "module/api.h"
#include "module/engine_auth.h"
#include "module/engine_private.h"

/* ---- questions and answers ---- */

static struct shared_arena *memory_of(const struct engine_session *s)
{
    return s->txn != NULL ? s->txn->facts->memory : s->facts->memory;
}

struct record *session_record(struct engine_session *s)
{
    if (s->record == NULL) {
        s->record = mem_alloc(sizeof(*s->record));
        *s->record = (struct record){ .wall_ms = s->begun_wall_ms, .next = s->quiet_steps };
    }
    return s->record;
}

static struct record *record_of(struct engine_session *s)
{
    return s->txn != NULL ? &s->txn->record : session_record(s);
}

/* Most sessions have a few steps that say nothing, and need no record for that. */
struct record *session_record_late(struct run *run, bool telling)
{
    struct engine_session *s = session_of_run(run);

    if (telling || s->quiet_steps == UINT16_MAX)
        return session_record(s);
    s->quiet_steps++;
    return NULL;
}

struct session_run *session_question(struct engine_session *s, engine_done done, void *arg)
{
    struct session_run *r = run_borrow(s);

    r->done = done;
    r->done_arg = arg;
    return r;
}

void session_ask(struct engine_session *s, const struct plan *plan, unsigned point,
                 const struct run_ops *ops, engine_done done, void *arg)
{
    assert(!session_is_asked(s));
    struct run *run = &session_question(s, done, arg)->run;
    scope_lend(&s->scope, run, plan, point, RUN_ALL);
    run->ops = ops;
    run->record = s->txn != NULL ? &s->txn->record : s->record;
    run->memory = memory_of(s);
    run->smtputf8 = s->txn != NULL && s->txn->facts->smtputf8;
    if (s->txn != NULL && s->txn->rcpt != NULL)
        run->rcpt = slice_of(s->txn->rcpt->view.mailbox.address);
    run_start(run);
}

/* The last thing that is done with the session: the owner may free it. */
static void tell(struct engine_session *s, const struct decision *decision)
{
    engine_done done = s->asked->done;
    void *arg = s->asked->done_arg;

    run_give_back(s);
    done(arg, decision);
}

void session_answer(struct engine_session *s, const struct refusal *refusal)
{
    tern_str id = s->txn != NULL ? s->txn->facts->id : s->facts->id;
    struct decision d = decision_of(refusal, slice_of(id), memory_of(s));

    record_reply(record_of(s), d.code, d.enhanced, d.text);
    tell(s, &d);
}

void session_answer_next(struct engine_session *s)
{
    struct decision d = decision_next(s->asked->run.disposition, &s->asked->run);

    tell(s, &d);
}

void session_view(struct run *run, struct call_view *ret)
{
    struct engine_session *s = session_of_run(run);

    ret->session = session_facts_ref(s->facts);
    if (s->txn == NULL)
        return;
    ret->txn = txn_facts_ref(s->txn->facts);
    ret->current = s->txn->rcpt;
    ret->tags = s->txn->rcpt != NULL ? s->txn->rcpt->tags : NULL;
}

void session_keep(struct kept_refusal **first, uint16_t *count, struct shared_arena *memory,
                  const struct run *run, const struct refusal *refusal, bool shadow)
{
    assert(*count < ENGINE_KEPT_MAX);
    struct kept_refusal *kept = ARENA_NEW(&memory->arena, struct kept_refusal);
    kept->refusal = *refusal;
    kept->point = run->point;
    kept->shadow = shadow;
    while (*first != NULL)
        first = &(*first)->next;
    *first = kept;
    (*count)++;
}

static void keep(struct run *run, const struct refusal *refusal, bool shadow)
{
    struct engine_session *s = session_of_run(run);

    session_keep(&s->kept, &s->kept_count, s->facts->memory, run, refusal, shadow);
}

/* ---- journals of connect and ehlo ---- */

void session_apply_notes(struct engine_session *s, const tern_call *call)
{
    for (const struct journal_item *i = call->journal.first; i != NULL; i = i->next) {
        if (i->kind > JOURNAL_VAR)
            continue;
        s->facts = session_facts_own(s->facts);
        const struct note **list = i->kind == JOURNAL_TAG      ? &s->facts->tags
                                   : i->kind == JOURNAL_RESULT ? &s->facts->results
                                                               : &s->facts->vars;
        *list = notes_add(&s->facts->memory->arena, *list, slice_of(i->name), slice_of(i->value));
    }
}

static void withhold(struct engine_session *s, struct slice name)
{
    struct arena *arena = &s->facts->memory->arena;

    if (s->withheld_count >= ENGINE_WITHHELD_MAX)
        return;
    if (s->withheld == NULL)
        s->withheld = arena_alloc(arena, ENGINE_WITHHELD_MAX * sizeof(s->withheld[0]));
    s->withheld[s->withheld_count++] = arena_slice(arena, name);
}

static void apply(struct run *run, tern_call *call)
{
    struct engine_session *s = session_of_run(run);

    session_apply_notes(s, call);
    for (const struct journal_item *i = call->journal.first; i != NULL; i = i->next)
        if (i->kind == JOURNAL_WITHHOLD)
            withhold(s, slice_of(i->name));
}

static void done(struct run *run)
{
    struct engine_session *s = session_of_run(run);

    if (run->refusal.verdict != TERN_NEXT)
        session_answer(s, &run->refusal);
    else
        session_answer_next(s);
}

static const struct run_ops session_ops = {
    .view = session_view, .apply = apply, .keep = keep, .record = session_record_late, .done = done
};

/* ---- the door ---- */

struct engine_session *engine_session_new(struct engine *engine,
                                          const struct engine_session_options *options)
{
    struct engine_session *s = mem_zalloc(sizeof(*s));

    scope_init(&s->scope, engine, options);
    s->facts = options->facts;
    s->early = options->early;
    s->early_arg = options->early_arg;
    s->auth_options = options->auth;
    s->begun_wall_ms = clock_wall_ms();
    return s;
}

void engine_session_free(struct engine_session *s)
{
    engine_auth_cancel(s);
    run_give_back(s);
    engine_txn_end(s, slice_make(NULL, 0), 0);
    struct detached_facts facts = { .session = s->facts };
    detached_start(&s->scope, policy_plan(s->scope.policy), TERN_HOOK_CLOSE, &facts);
    struct record empty = { .wall_ms = s->begun_wall_ms, .next = s->quiet_steps };
    record_write_session(s->record != NULL ? s->record : &empty, s->facts);
    if (s->record != NULL)
        record_fini(s->record);
    free(s->record);
    session_facts_unref(s->facts);
    scope_fini(&s->scope);
    free(s);
}

const struct session_facts *engine_session_facts(const struct engine_session *session)
{
    return session->facts;
}

/* Only engine_connect() asks at that point, by the run of a session. */
uint64_t api_early_octets(const tern_call *call)
{
    const struct run *run = call->run != NULL ? call->run : call->asker;

    if (call->point != TERN_HOOK_CONNECT || (call->hook->flags & TERN_BLOCKING) != 0 || run == NULL)
        return 0;
    const struct engine_session *s = session_of_run(run);
    return s->early != NULL ? s->early(s->early_arg) : 0;
}

void engine_connect(struct engine_session *s, engine_done done_, void *arg)
{
    session_ask(s, policy_plan(s->scope.policy), TERN_HOOK_CONNECT, &session_ops, done_, arg);
}

/* A new greeting takes back what the last one had brought about. Those of ehlo stand behind those of connect. */
static struct kept_refusal *forget_helo(struct engine_session *s)
{
    struct kept_refusal **at = &s->kept;

    s->withheld_count = 0;
    while (*at != NULL && (*at)->point != TERN_HOOK_EHLO)
        at = &(*at)->next;
    struct kept_refusal *kept = *at;
    *at = NULL;
    for (const struct kept_refusal *k = kept; k != NULL; k = k->next)
        s->kept_count--;
    return kept;
}

static void remember_before(struct engine_session *s)
{
    if (s->has_greeted)
        return;
    s->has_greeted = true;
    s->tags_before = s->facts->tags;
    s->results_before = s->facts->results;
    s->vars_before = s->facts->vars;
}

/* The greeting that is in force, taken out of the session. */
static struct greeting take_greeting(struct engine_session *s)
{
    const struct session_facts *f = s->facts;

    return (struct greeting){ f->helo, f->esmtp, f->tags, f->results, f->vars, forget_helo(s) };
}

/* RFC 5321 4.1.4: behind a greeting that is refused all is as it was, and nothing as that one would have it. */
static void bring_back(struct engine_session *s, const struct greeting *g)
{
    struct kept_refusal **at = &s->kept;

    (void)forget_helo(s);
    while (*at != NULL)
        at = &(*at)->next;
    *at = g->kept;
    for (const struct kept_refusal *k = g->kept; k != NULL; k = k->next)
        s->kept_count++;
    s->facts = session_facts_own(s->facts);
    s->facts->helo = g->helo;
    s->facts->esmtp = g->esmtp;
    s->facts->tags = g->tags;
    s->facts->results = g->results;
    s->facts->vars = g->vars;
}

/* A session that was never greeted keeps the name that was refused, for the record: no mail can come of it. */
static void helo_done(struct run *run)
{
    struct engine_session *s = session_of_run(run);

    if (run->refusal.verdict == TERN_NEXT)
        s->is_greeted = true;
    else if (s->is_greeted)
        bring_back(s, &s->asked->in_force);
    done(run);
}

static const struct run_ops helo_ops = {
    .view = session_view, .apply = apply, .keep = keep, .record = session_record_late, .done = helo_done
};

/*
 * In a transaction, too: whether the greeting ends it depends on the answer (RFC 5321 4.1.4), so
 * that it is set aside until then. The question is about the session alone.
 */
void engine_helo(struct engine_session *s, struct slice name, bool esmtp, engine_done done_,
                 void *arg)
{
    struct session_run *asked = session_question(s, done_, arg);

    asked->aside = s->txn;
    s->txn = NULL;
    remember_before(s);
    s->facts = session_facts_own(s->facts);
    asked->in_force = take_greeting(s);
    if (!slice_equal(slice_of(s->facts->helo), name)) /* the same again and again takes no memory */
        s->facts->helo = tern_str_dup(&s->facts->memory->arena, name);
    s->facts->esmtp = esmtp;
    session_ask(s, policy_plan(s->scope.policy), TERN_HOOK_EHLO, &helo_ops, done_, arg);
}

void engine_reconnect(struct engine_session *s, const struct engine_client *c, engine_done done_, void *arg)
{
    assert(s->txn == NULL && !session_is_asked(s));
    s->facts = session_facts_own(s->facts);
    struct session_facts *f = s->facts;
    struct arena *arena = &f->memory->arena;
    f->client = c->client;
    f->local = c->local;
    f->client_text = tern_str_dup(arena, c->client_text);
    struct relayed_facts *relayed = ARENA_NEW(arena, struct relayed_facts);
    relayed->client_name = tern_str_dup(arena, c->name);
    relayed->client_name_forged = c->name_forged;
    relayed->via = tern_str_dup(arena, c->via);
    f->relayed = relayed;
    f->helo = tern_str_dup(arena, c->helo);
    f->user = tern_str_dup(arena, c->user);
    f->esmtp = c->esmtp;
    /* The certificate is that of the client who speaks for this one: nobody is to log in by it. */
    struct handshake_facts *handshake = ARENA_NEW(arena, struct handshake_facts);
    *handshake = *f->handshake;
    handshake->client = handshake->subject = handshake->fingerprint = handshake->error = (tern_str){ "", 0 };
    handshake->names = NULL;
    f->handshake = handshake;
    f->tags = f->results = f->vars = NULL;
    s->has_greeted = s->is_greeted = false;
    s->kept = NULL;
    s->kept_count = s->withheld_count = 0;
    engine_connect(s, done_, arg);
}

static void set_tls_facts(struct session_facts *f, const struct engine_tls *tls)
{
    struct arena *arena = &f->memory->arena;
    struct handshake_facts *h = ARENA_NEW(arena, struct handshake_facts);

    h->version = tern_str_dup(arena, tls->version);
    h->cipher = tern_str_dup(arena, tls->cipher);
    h->sni = tern_str_dup(arena, tls->sni);
    h->client = tern_str_dup(arena, tls->client);
    h->subject = tern_str_dup(arena, tls->subject);
    h->fingerprint = tern_str_dup(arena, tls->fingerprint);
    h->error = tern_str_dup(arena, tls->error);
    for (unsigned i = tls->name_count; i-- > 0;) /* the newest link comes first */
        h->names = notes_add(arena, h->names, tls->names[i], SLICE(""));
    f->tls = true;
    f->handshake = h;
}

void engine_tls(struct engine_session *s, const struct engine_tls *tls)
{
    assert(s->txn == NULL && !session_is_asked(s));
    s->facts = session_facts_own(s->facts);
    if (s->has_greeted) {
        s->facts->tags = s->tags_before;
        s->facts->results = s->results_before;
        s->facts->vars = s->vars_before;
        s->facts->helo = s->facts->user = (tern_str){ "", 0 };
        s->facts->esmtp = false;
        s->has_greeted = s->is_greeted = false;
        (void)forget_helo(s);
    }
    set_tls_facts(s->facts, tls);
    struct detached_facts facts = { .session = s->facts };
    detached_start(&s->scope, policy_plan(s->scope.policy), TERN_HOOK_TLS, &facts);
}

void engine_set_user(struct engine_session *s, struct slice user)
{
    assert(!session_is_asked(s));
    if (slice_equal(slice_of(s->facts->user), user))
        return;
    s->facts = session_facts_own(s->facts);
    s->facts->user = tern_str_dup(&s->facts->memory->arena, user);
}

void engine_set_var(struct engine_session *s, struct slice name, struct slice value)
{
    assert(!session_is_asked(s));
    if (s->txn == NULL) {
        s->facts = session_facts_own(s->facts);
        s->facts->vars = notes_add(&s->facts->memory->arena, s->facts->vars, name, value);
        return;
    }
    struct txn_facts *f = s->txn->facts = txn_facts_own(s->txn->facts);
    f->vars = notes_add(&f->memory->arena, f->vars, name, value);
}

unsigned engine_withheld_count(const struct engine_session *session)
{
    return session->withheld_count;
}

struct slice engine_withheld(const struct engine_session *session, unsigned index)
{
    return index < session->withheld_count ? session->withheld[index] : slice_make(NULL, 0);
}
