/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notice.c - the bounce of one visit: composed (bounce.c, RFC 3464), offered to the claiming
 * steps of the message's policy, led through the policy `generated`, then part of the append unit
 * of the failures it tells of.
 *
 * A sender that our own policy refuses for good (no such mailbox here) has nobody behind it: the
 * notice is dropped, never bounced in its turn, and the log says so once the failures are durable.
 *
 * What is told is what NOTIFY asks for (RFC 3461 4.1), without it failures. Never for a message with
 * a null reverse-path (RFC 5321 6.1).
 *
 * A delay is told by the one attempt that crosses the line: the first that ends behind it, known by
 * having been due before it (outcome.c sees to it that one is). So nothing need be remembered, but of a notice that
 * the policy did not take: it is owed then (owed.h), and told by the next attempt that does not end the waiting.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "delivery/bounce.h"
#include "delivery/notice.h"
#include "mime/address.h"

struct notice {
    struct message *message;
    struct port_item item;
    struct engine_enqueue *enqueue;
    struct body *body;  /* as composed */
    struct body *final; /* as the policy left it */
    struct buf envelope, head;
    struct spool_message stored;
    char id[SPOOL_ID_TEXT_MAX];
    bool inside; /* delivery_notice_new() runs */
    bool ready, ok;
    bool eight_bit;
    struct buf dropped; /* why: the refusal of its recipient; empty: it is stored */
};

static bool asks_for(const struct message *m, const struct delivery_rcpt *r, struct slice what)
{
    struct slice rest = m->envelope.rcpts[r->index].notify;

    if (m->envelope.sender.len == 0 || m->entry.bounce)
        return false;
    if (rest.len == 0)
        return slice_equal(what, SLICE("FAILURE"));
    for (;;) {
        ptrdiff_t comma = slice_find(rest, ',');
        if (slice_equal_nocase(comma < 0 ? rest : slice_head(rest, (size_t)comma), what))
            return true;
        if (comma < 0)
            return false;
        rest = slice_from(rest, (size_t)comma + 1);
    }
}

uint64_t delivery_notice_delay_at(const struct message *m, const struct delivery_rcpt *r)
{
    if (m->generation.notice_delay_ms == 0 || !asks_for(m, r, SLICE("DELAY")))
        return 0;
    return m->entry.arrival_ms + m->generation.notice_delay_ms;
}

static bool is_late_now(const struct message *m, const struct delivery_rcpt *r)
{
    uint64_t at_ms = delivery_notice_delay_at(m, r);

    return at_ms != 0 && (r->late || (m->entry.due_ms <= at_ms + NOTICE_DELAY_SLACK_MS &&
                                      m->decided_ms + NOTICE_DELAY_SLACK_MS >= at_ms));
}

bool delivery_notice_wanted(const struct message *m, const struct delivery_rcpt *r)
{
    switch (r->fate) {
    case FATE_FAILED: return asks_for(m, r, SLICE("FAILURE"));
    case FATE_DELIVERED: return r->handed != HANDED_WITH_DSN && asks_for(m, r, SLICE("SUCCESS"));
    case FATE_DEFERRED: return is_late_now(m, r);
    default: return false;
    }
}

static enum bounce_action action_of(const struct delivery_rcpt *r)
{
    if (r->fate == FATE_FAILED)
        return BOUNCE_FAILED;
    if (r->fate == FATE_DEFERRED)
        return BOUNCE_DELAYED;
    return r->handed == HANDED_ON ? BOUNCE_RELAYED : BOUNCE_DELIVERED;
}

/* ---- composing ---- */

/* RET=FULL is for notices that tell of a failure (RFC 3461 4.3). */
static bool wants_full(const struct message *m)
{
    bool failed = false;

    for (unsigned i = 0; i < m->rcpt_count; i++)
        failed |= m->rcpts[i].fate == FATE_FAILED && delivery_notice_wanted(m, &m->rcpts[i]);
    return failed && slice_equal_nocase(m->envelope.ret, SLICE("FULL")) &&
           m->envelope.body != BODY_BINARYMIME &&
           spool_loaded_octets(m->loaded) <= BOUNCE_FULL_MAX;
}

static void read_original(struct message *m, struct buf *out, size_t max)
{
    uint64_t total = spool_loaded_octets(m->loaded);
    size_t want = total < max ? (size_t)total : max;
    char *at = buf_reserve(out, want);

    while (out->len < want) {
        int64_t n = spool_read(m->loaded, out->len, at + out->len, want - out->len);
        if (n <= 0)
            break; /* the notice goes out with what could be read */
        out->len += (size_t)n;
    }
}

static struct slice header_of(struct slice original)
{
    const char *end = original.len > 0 ? memmem(original.ptr, original.len, "\r\n\r\n", 4) : NULL;

    return end != NULL ? slice_head(original, (size_t)(end - original.ptr) + 2) : original;
}

static unsigned fill_rcpts(const struct message *m, struct bounce_rcpt *out)
{
    unsigned count = 0;

    for (unsigned i = 0; i < m->rcpt_count; i++) {
        const struct delivery_rcpt *r = &m->rcpts[i];
        const struct envelope_rcpt *e = &m->envelope.rcpts[r->index];
        if (!delivery_notice_wanted(m, r))
            continue;
        out[count++] = (struct bounce_rcpt){ .address = e->address,
                                             .original = e->original,
                                             .orcpt = e->orcpt,
                                             .action = action_of(r),
                                             .status = slice_cstr(r->enhanced),
                                             .diagnostic = r->text,
                                             .remote_mta = r->host };
    }
    return count;
}

static struct body *compose(struct notice *n)
{
    struct message *m = n->message;
    struct buf original = BUF_INIT, text = BUF_INIT;
    bool full = wants_full(m), eight_bit = false;
    struct bounce_rcpt *rcpts = mem_alloc((m->rcpt_count + 1) * sizeof(*rcpts));
    struct body *body = body_new(-1);

    read_original(m, &original, full ? BOUNCE_FULL_MAX : BOUNCE_HEADERS_MAX);
    full = full && original.len == spool_loaded_octets(m->loaded) &&
           bounce_may_return(buf_slice(&original), &eight_bit);
    n->eight_bit = full && eight_bit;
    const struct bounce bounce = {
        .hostname = slice_cstr(m->dispatch->set->hostname),
        .queue_id = slice_cstr(m->id),
        .notice_id = slice_cstr(n->id),
        .sender = m->envelope.sender,
        .arrival_wall_ms = m->entry.arrival_ms,
        .now_wall_ms = clock_wall_ms(),
        .smtputf8 = m->envelope.smtputf8,
        .envid = m->envelope.envid,
        .retry_until_wall_ms =
            m->generation.expire_ms > 0 ? m->entry.arrival_ms + m->generation.expire_ms : 0,
        .headers = header_of(buf_slice(&original)),
        .full = full ? buf_slice(&original) : SLICE(""),
        .rcpts = rcpts,
        .rcpt_count = fill_rcpts(m, rcpts),
    };
    bounce_compose(&bounce, &text);
    (void)body_append(body, buf_slice(&text));
    buf_free(&original);
    buf_free(&text);
    free(rcpts);
    return body;
}

/* ---- through the policy ---- */

static struct txn_facts *facts_of(struct notice *n)
{
    const struct message *m = n->message;
    struct txn_facts *txn = txn_facts_new();
    struct arena *arena = &txn->memory->arena;
    struct rcpt_facts *rcpt = ARENA_NEW(arena, struct rcpt_facts);
    struct slice sender = m->envelope.sender;
    tern_str empty = tern_str_dup(arena, slice_make(NULL, 0));

    txn->id = tern_str_dup(arena, slice_cstr(n->id));
    txn->sender = txn->sender_original = (struct tern_mailbox){ empty, empty, empty };
    txn->body = m->envelope.smtputf8 || n->eight_bit ? BODY_8BITMIME : BODY_7BIT;
    txn->smtputf8 = m->envelope.smtputf8;
    txn->envid = txn->ret = empty;
    rcpt->view.mailbox = (struct tern_mailbox){ tern_str_dup(arena, sender), empty, empty };
    (void)address_parse(sender, ADDRESS_SMTPUTF8 | ADDRESS_ALLOW_ANY_LOCAL, arena,
                        &rcpt->view.mailbox);
    rcpt->view.original = rcpt->view.mailbox;
    rcpt->view.claimed_by = empty;
    rcpt->orcpt = rcpt->notify = empty;
    txn_facts_add_rcpt(txn, rcpt);
    return txn;
}

static struct session_facts *session_of(void)
{
    struct session_facts *s = session_facts_new();
    struct arena *arena = &s->memory->arena;
    tern_str empty = tern_str_dup(arena, slice_make(NULL, 0));

    s->id = s->client_text = s->listener = s->helo = s->user = empty;
    s->policy = tern_str_dup(arena, SLICE("generated"));
    return s;
}

static unsigned tags_of(const struct note *first, struct arena *arena, const struct slice **ret)
{
    struct slice *tags;
    unsigned count = 0, i = 0;

    for (const struct note *t = first; t != NULL; t = t->next)
        count++;
    tags = arena_alloc(arena, (count + 1) * sizeof(*tags));
    for (const struct note *t = first; t != NULL; t = t->next)
        tags[i++] = slice_of(t->name);
    *ret = tags;
    return count;
}

static unsigned vars_of(const struct note *first, struct arena *arena,
                        const struct envelope_var **ret)
{
    struct envelope_var *vars;
    unsigned count = 0, i = 0;

    for (const struct note *v = first; v != NULL; v = v->next)
        count++;
    vars = arena_alloc(arena, (count + 1) * sizeof(*vars));
    for (const struct note *v = first; v != NULL;
         v = v->next) /* newest first; the decoder adds them again */
        vars[count - ++i] = (struct envelope_var){ slice_of(v->name), slice_of(v->value) };
    *ret = vars;
    return count;
}

static void encode(struct notice *n, const struct txn_facts *facts)
{
    struct arena arena;
    struct envelope_rcpt *rcpts;

    arena_init(&arena);
    rcpts = arena_zalloc(&arena, (facts->rcpt_count + 1) * sizeof(*rcpts));
    for (unsigned i = 0; i < facts->rcpt_count; i++) {
        const struct rcpt_facts *r = facts->rcpts[i];
        rcpts[i].address = slice_of(r->view.mailbox.address);
        rcpts[i].original = slice_of(r->view.original.address);
        rcpts[i].class_ = r->view.class_;
        rcpts[i].claimed_by = slice_of(r->view.claimed_by);
        rcpts[i].tag_count = tags_of(r->tags, &arena, &rcpts[i].tags);
    }
    struct envelope e = {
        .origin = SLICE("dsn"),
        .policy = SLICE("generated"),
        .body = facts->body,
        .smtputf8 = facts->smtputf8,
        .sender = slice_of(facts->sender.address),
        .sender_original = slice_of(facts->sender_original.address),
        .arrival_ms = n->stored.arrival_ms,
        .rcpts = rcpts,
        .rcpt_count = facts->rcpt_count,
    };
    e.tag_count = tags_of(facts->tags, &arena, &e.tags);
    e.var_count = vars_of(facts->vars, &arena, &e.vars);
    envelope_encode(&e, &n->envelope);
    n->stored.rcpt_count = facts->rcpt_count;
    arena_fini(&arena);
}

/* Only now is it ready: as long as the item is on its way nobody may free the notice. */
static void go_on(struct port_item *item, bool gone)
{
    struct notice *n = list_entry(item, struct notice, item);

    if (gone)
        return;
    n->ready = true;
    delivery_outcome_advance(n->message);
}

static void drop(struct notice *n, const struct decision *d)
{
    buf_printf(&n->dropped, "%u %s %.*s", d->code, d->enhanced, (int)d->text.len,
               d->text.len > 0 ? d->text.ptr : "");
    n->ok = true;
}

/* In `generated` REJECT, DISCARD and HOLD are errors: the notice is made again later, like after
 * a DEFER. So a REJECT comes from who was asked whose the sender is. */
static void on_enqueued(void *arg, const struct engine_message_result *result)
{
    struct notice *n = arg;
    const struct engine_group *g = result->groups;

    n->ok = result->decision.verdict == TERN_NEXT && result->group_count == 1 &&
            g->disposition == DISPOSE_DELIVER && g->facts->rcpt_count > 0;
    if (result->decision.verdict == TERN_REJECT) {
        drop(n, &result->decision);
    } else if (n->ok) {
        encode(n, g->facts);
        buf_add(&n->head, g->head);
        n->stored.body_offset = g->body_offset;
        n->final = body_ref(result->body);
        n->ok = n->envelope.len <= ENVELOPE_OCTETS_MAX; /* else nobody could read it again */
    }
    if (n->inside) {
        n->ready = true; /* the message is in the middle of advancing, and goes on with it */
        return;
    }
    n->item.run = go_on;
    (void)port_put(n->message->dispatch->port, &n->item);
}

struct notice *delivery_notice_new(struct message *m)
{
    struct notice *n = mem_zalloc(sizeof(*n));
    struct dispatch *d = m->dispatch;
    const struct engine_session_options options = {
        .policy = policies_find(m->generation.policies, SLICE("generated")),
        .claims = m->policy,
        .generation_ref = m->generation.ref,
        .generation_unref = m->generation.unref,
        .generation = m->generation.generation,
        .facts = session_of(),
    };

    n->message = m;
    n->stored.key = (struct spool_key){ spool_id_new(d->set->options.spool), 1 };
    n->stored.arrival_ms = n->stored.due_ms = clock_wall_ms();
    n->stored.bounce = true;
    spool_key_print(n->stored.key, n->id);
    n->body = compose(n);
    n->inside = true;
    n->enqueue = engine_enqueue(d->engine, &options, facts_of(n), n->body, on_enqueued, n);
    n->inside = false;
    return n;
}

void delivery_notice_free(struct notice *n)
{
    if (n == NULL)
        return;
    if (n->enqueue != NULL)
        engine_enqueue_free(n->enqueue);
    body_unref(n->body);
    body_unref(n->final);
    buf_free(&n->envelope);
    buf_free(&n->head);
    buf_free(&n->dropped);
    free(n);
}

bool delivery_notice_ready(const struct notice *n)
{
    return n->ready;
}

bool delivery_notice_ok(const struct notice *n)
{
    return n->ok;
}

void delivery_notice_fill(const struct notice *n, struct spool_job *job)
{
    struct notice *own = (struct notice *)n;

    assert(n->ready && n->ok);
    if (n->dropped.len > 0)
        return;
    own->stored.envelope = buf_slice(&n->envelope);
    own->stored.head = buf_slice(&n->head);
    job->body = n->final;
    job->messages = &n->stored;
    job->message_count = 1;
}

static void tell_dropped(const struct notice *n, const struct message *m)
{
    struct log_line line;

    log_begin(&line, LOG_WARNING, LOG_EV_undeliverable, n->id);
    log_str(&line, "to", m->envelope.sender);
    log_cstr(&line, "of", m->id);
    log_str(&line, "reply", buf_slice(&n->dropped));
    log_end(&line);
}

void delivery_notice_stored(const struct notice *n, const struct message *m)
{
    if (n->dropped.len > 0) {
        tell_dropped(n, m);
        return;
    }
    const struct spool_entry entry = {
        .key = n->stored.key,
        .arrival_ms = n->stored.arrival_ms,
        .due_ms = n->stored.due_ms,
        .octets = n->stored.head.len + body_octets(n->final) - n->stored.body_offset,
        .rcpt_count = n->stored.rcpt_count,
        .pending_count = n->stored.rcpt_count,
        .bounce = true,
    };
    struct log_line line;

    log_begin(&line, LOG_INFO, LOG_EV_accepted, n->id);
    log_cstr(&line, "from", "");
    log_str(&line, "to", m->envelope.sender);
    log_cstr(&line, "origin", "dsn");
    log_cstr(&line, "of", m->id);
    log_uint(&line, "size", entry.octets);
    log_end(&line);
    scheduler_add(m->dispatch->set->scheduler, &entry);
}
