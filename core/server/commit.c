/* SPDX-License-Identifier: Apache-2.0 */
#include "server/commit.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "mime/address.h"
#include "state/envelope.h"

struct commit {
    struct spool_job job;
    struct loop_task task;
    struct serve_loop *l;
    struct arena arena; /* envelopes, heads, entries */
    struct spool_entry *entries;
    uint64_t begun_us;
    bool too_long; /* an envelope that nobody could read again */
    commit_done done; /* NULL: forgotten */
    void *arg;
};

static struct slice *tag_names(struct arena *arena, const struct note *tags, unsigned *ret_count)
{
    unsigned n = 0;

    for (const struct note *t = tags; t != NULL; t = t->next)
        n++;
    struct slice *names = arena_alloc(arena, (n + 1) * sizeof(names[0]));
    *ret_count = n;
    for (const struct note *t = tags; t != NULL; t = t->next)
        names[--n] = slice_of(t->name);
    return names;
}

/* Session variables first: one of the transaction with the same name comes later and wins. */
static void fill_vars(struct arena *arena, const struct note *session, const struct note *txn,
                      struct envelope *e)
{
    const struct note *lists[2] = { session, txn };
    unsigned n = 0;

    for (unsigned i = 0; i < 2; i++)
        for (const struct note *v = lists[i]; v != NULL; v = v->next)
            n++;
    struct envelope_var *vars = arena_alloc(arena, (n + 1) * sizeof(vars[0]));
    e->vars = vars;
    e->var_count = n;
    for (unsigned i = 2; i-- > 0;)
        for (const struct note *v = lists[i]; v != NULL; v = v->next)
            vars[--n] = (struct envelope_var){ slice_of(v->name), slice_of(v->value) };
}

static void fill_rcpts(struct arena *arena, const struct txn_facts *f, struct envelope *e)
{
    struct envelope_rcpt *rcpts = arena_zalloc(arena, (f->rcpt_count + 1) * sizeof(rcpts[0]));

    for (unsigned i = 0; i < f->rcpt_count; i++) {
        const struct rcpt_facts *r = f->rcpts[i];
        rcpts[i].address = slice_of(r->view.mailbox.address);
        rcpts[i].original = slice_of(r->view.original.address);
        rcpts[i].orcpt = slice_of(r->orcpt);
        rcpts[i].notify = slice_of(r->notify);
        rcpts[i].class_ = r->view.class_;
        rcpts[i].claimed_by = slice_of(r->view.claimed_by);
        rcpts[i].tags = tag_names(arena, r->tags, &rcpts[i].tag_count);
    }
    e->rcpts = rcpts;
    e->rcpt_count = f->rcpt_count;
}

static void fill_envelope(struct arena *arena, const struct session_facts *s,
                          const struct engine_group *g, uint64_t now_ms, struct envelope *e)
{
    const struct txn_facts *f = g->facts;
    unsigned session_tags, txn_tags;
    struct slice *first = tag_names(arena, s->tags, &session_tags);
    struct slice *second = tag_names(arena, f->tags, &txn_tags);
    struct slice *tags = arena_alloc(arena, (session_tags + txn_tags + 1) * sizeof(tags[0]));

    memcpy(tags, first, session_tags * sizeof(tags[0]));
    memcpy(tags + session_tags, second, txn_tags * sizeof(tags[0]));
    *e = (struct envelope){ .origin = s->lmtp ? SLICE("lmtp") : SLICE("smtp"), .policy = slice_of(s->policy),
                            .listener = slice_of(s->listener),
                            .client_address = slice_of(s->client_text), .helo = slice_of(s->helo),
                            .user = slice_of(s->user), .body = f->body, .smtputf8 = f->smtputf8,
                            .sender = slice_of(f->sender.address),
                            .sender_original = slice_of(f->sender_original.address),
                            .envid = slice_of(f->envid), .ret = slice_of(f->ret), .arrival_ms = now_ms,
                            .tags = tags, .tag_count = session_tags + txn_tags };
    if (g->disposition == DISPOSE_HOLD) {
        e->hold_reason = g->hold_reason;
        e->hold_step = g->hold_step;
    }
    fill_vars(arena, s->vars, f->vars, e);
    fill_rcpts(arena, f, e);
}

static void fill_message(struct commit *c, const struct session_facts *s, const struct engine_group *g,
                         struct body *body, struct spool_message *m, struct spool_entry *entry)
{
    struct envelope e;
    struct buf encoded = BUF_INIT;
    uint64_t now_ms = clock_wall_ms();

    fill_envelope(&c->arena, s, g, now_ms, &e);
    envelope_encode(&e, &encoded);
    c->too_long |= encoded.len > ENVELOPE_OCTETS_MAX;
    *m = (struct spool_message){ .envelope = arena_slice(&c->arena, buf_slice(&encoded)),
                                 .head = arena_slice(&c->arena, g->head),
                                 .body_offset = g->body_offset, .rcpt_count = g->facts->rcpt_count,
                                 .arrival_ms = now_ms, .due_ms = now_ms,
                                 .held = g->disposition == DISPOSE_HOLD,
                                 .bounce = g->facts->sender.address.len == 0 };
    buf_free(&encoded);
    (void)spool_key_parse(slice_of(g->facts->id), &m->key);
    m->key.group = (uint16_t)g->number;
    *entry = (struct spool_entry){ .key = m->key, .arrival_ms = now_ms, .due_ms = now_ms,
                                   .octets = g->head.len + body_octets(body) - g->body_offset,
                                   .rcpt_count = m->rcpt_count, .pending_count = m->rcpt_count,
                                   .held = m->held, .bounce = m->bounce };
}

struct commit *commit_new(struct serve_loop *l, const struct session_facts *session,
                          const struct engine_message_result *result)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < result->group_count; i++)
        kept += result->groups[i].disposition != DISPOSE_DISCARD && result->groups[i].facts->rcpt_count > 0;
    assert(kept > 0);
    struct commit *c = mem_zalloc(sizeof(*c));
    arena_init(&c->arena);
    c->l = l;
    struct spool_message *messages = arena_zalloc(&c->arena, kept * sizeof(messages[0]));
    c->entries = arena_zalloc(&c->arena, kept * sizeof(c->entries[0]));
    kept = 0;
    for (unsigned i = 0; i < result->group_count; i++) {
        const struct engine_group *g = &result->groups[i];
        if (g->disposition == DISPOSE_DISCARD || g->facts->rcpt_count == 0)
            continue;
        fill_message(c, session, g, result->body, &messages[kept], &c->entries[kept]);
        kept++;
    }
    c->job.body = body_ref(result->body);
    c->job.messages = messages;
    c->job.message_count = kept;
    return c;
}

/* At the end of a turn of the loop: the scheduler is woken once for all of it. */
static void schedule(struct loop_task *task)
{
    struct serve_loop *l = list_entry(task, struct serve_loop, schedule);

    scheduler_add_all(l->serve->scheduler, &l->stored);
}

static void hand_over(struct commit *c)
{
    struct serve_loop *l = c->l;

    if (list_empty(&l->stored)) {
        l->schedule.run = schedule;
        loop_at_end(l->loop, &l->schedule);
    }
    for (unsigned i = 0; i < c->job.message_count; i++)
        scheduler_gather(&l->stored, &c->entries[i]);
}

static void on_loop(struct loop_task *task)
{
    struct commit *c = list_entry(task, struct commit, task);

    metric_observe_us(c->l->serve->metrics.commit_us, clock_now_us() - c->begun_us);
    if (c->job.status == 0)
        hand_over(c);
    if (c->done != NULL)
        c->done(c->arg, c->job.status);
    body_unref(c->job.body);
    arena_fini(&c->arena);
    free(c);
}

/* On the spool thread: short. */
static void on_durable(struct spool_job *job)
{
    struct commit *c = list_entry(job, struct commit, job);

    loop_post(c->l->loop, &c->task);
}

void commit_submit(struct commit *c, commit_done done, void *arg)
{
    c->done = done;
    c->arg = arg;
    c->begun_us = clock_now_us();
    c->job.done = on_durable;
    c->task.run = on_loop;
    if (c->too_long) {
        c->job.status = -EMSGSIZE;
        loop_post(c->l->loop, &c->task);
        return;
    }
    spool_submit(c->l->serve->spool, &c->job);
}

void commit_forget(struct commit *c)
{
    c->done = NULL;
}
