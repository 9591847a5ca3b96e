/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.c - a due message from its row to shipments: load it, ask the policy for routes, look
 * up where they lead, ask the policy about each shipment, hand them to the scheduler.
 *
 * Recipients of equal route (and, by MX, of equal domain) are a *way*; a way is cut into
 * *chunks* of at most rcpts_max; a chunk that hook `deliver` lets pass becomes a shipment. The
 * policy is asked one question at a time. What needs no shipment (refused, deferred, discarded)
 * is settled here.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "delivery/held.h"
#include "delivery/internal.h"
#include "delivery/owed.h"
#include "delivery/visit.h"

struct way {
    struct list link;
    struct message *message;
    const struct transport *transport;
    struct tern_route route;
    struct slice domain;
    uint32_t *rcpts; /* indices in message.rcpts */
    unsigned count, size;
    struct lookup *lookup;
    struct path *path;
};

struct chunk {
    struct list link;
    struct message *message;
    struct way *way;
    struct tern_route route; /* what `deliver` may change */
    const struct transport *transport;
    const uint32_t *rcpts;
    unsigned *asked; /* the same as indices in the envelope */
    unsigned count;
    struct lookup *lookup;
};

static void prepared(struct message *m);
static void next_chunk(struct message *m);

/* ---- settling ---- */

static struct slice keep_text(struct message *m, const char *format, ...)
{
    char text[OUTCOME_TEXT_MAX + 1];
    va_list args;

    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    return slice_make(arena_dup(&m->memory->arena, slice_make(text, len)), len);
}

void delivery_rcpt_settle(struct message *m, struct delivery_rcpt *r, enum fate fate, unsigned code,
                          const char *enhanced, struct slice text)
{
    r->fate = fate;
    (void)snprintf(r->enhanced, sizeof(r->enhanced), "%s", enhanced);
    r->text =
        keep_text(m, "%u %s %.*s", code, enhanced, (int)text.len, text.len > 0 ? text.ptr : "");
}

/* A refusal of the policy or of the look-up, made here. */
static void settle_refusal(struct message *m, struct delivery_rcpt *r, bool permanent,
                           unsigned code, const char *enhanced, struct slice text)
{
    if (code / 100 != (permanent ? 5u : 4u))
        code = permanent ? 554 : 451;
    if (enhanced[0] != (permanent ? '5' : '4'))
        enhanced = permanent ? "5.3.0" : "4.3.0";
    if (text.len == 0)
        text = permanent ? SLICE("refused by policy") : SLICE("no way for now");
    delivery_rcpt_settle(m, r, permanent ? FATE_FAILED : FATE_DEFERRED, code, enhanced, text);
}

/* ---- ways ---- */

static tern_str copy_str(struct message *m, tern_str s)
{
    return tern_str_dup(&m->memory->arena, slice_of(s));
}

static struct tern_list copy_list(struct message *m, const struct tern_list *list)
{
    struct tern_list copy = { NULL, list->count };
    tern_str *items = arena_alloc(&m->memory->arena, (list->count + 1) * sizeof(*items));

    for (size_t i = 0; i < list->count; i++)
        items[i] = copy_str(m, list->items[i]);
    copy.items = items;
    return copy;
}

static struct tern_route copy_route(struct message *m, const struct tern_route *route)
{
    return (struct tern_route){
        .size = sizeof(struct tern_route),
        .transport = copy_str(m, route->transport),
        .to = copy_list(m, &route->to),
        .fallback = copy_list(m, &route->fallback),
        .source = copy_str(m, route->source),
        .discard_reason = copy_str(m, route->discard_reason),
    };
}

static bool same_list(const struct tern_list *a, const struct tern_list *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!slice_equal(slice_of(a->items[i]), slice_of(b->items[i])))
            return false;
    return true;
}

static bool same_route(const struct tern_route *a, const struct tern_route *b)
{
    return slice_equal(slice_of(a->transport), slice_of(b->transport)) &&
           same_list(&a->to, &b->to) && same_list(&a->fallback, &b->fallback) &&
           slice_equal(slice_of(a->source), slice_of(b->source));
}

static void key_list(struct buf *key, const struct tern_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        buf_add(key, slice_of(list->items[i]));
        buf_add_char(key, '\n');
    }
    buf_add_char(key, '\t');
}

static struct slice way_key(struct buf *key, const struct tern_route *route, struct slice domain)
{
    buf_clear(key);
    buf_add(key, slice_of(route->transport));
    buf_add_char(key, '\t');
    key_list(key, &route->to);
    key_list(key, &route->fallback);
    buf_add(key, slice_of(route->source));
    buf_add_char(key, '\t');
    buf_add(key, domain);
    return buf_slice(key);
}

static struct way *way_new(struct message *m, const struct tern_route *route,
                           const struct transport *transport, struct slice domain)
{
    struct way *way = ARENA_NEW(&m->memory->arena, struct way);

    way->message = m;
    way->transport = transport;
    way->route = copy_route(m, route);
    way->domain = domain;
    list_push(&m->ways, &way->link);
    return way;
}

static void way_add(struct way *way, uint32_t rcpt)
{
    if (way->count == way->size) {
        way->size = way->size > 0 ? way->size * 2 : 4;
        way->rcpts = mem_realloc(way->rcpts, way->size * sizeof(way->rcpts[0]));
    }
    way->rcpts[way->count++] = rcpt;
}

static void no_transport(struct message *m, struct delivery_rcpt *r, tern_str name)
{
    char text[256];

    (void)snprintf(text, sizeof(text), "no transport is called %.*s", (int)name.len, name.ptr);
    log_event(LOG_WARNING, LOG_EV_deferred, m->id, "%s", text);
    settle_refusal(m, r, false, 451, "4.3.5", slice_cstr(text));
}

static void add_to_way(struct message *m, struct table *ways, struct buf *key, uint32_t at,
                       const struct tern_route *route)
{
    struct delivery_rcpt *r = &m->rcpts[at];
    const struct transport *transport =
        policies_transport(m->generation.policies, slice_of(route->transport));
    struct slice domain = slice_make(NULL, 0);

    if (transport == NULL) {
        no_transport(m, r, route->transport);
        return;
    }
    if (delivery_path_by_domain(transport, route))
        domain = slice_of(m->txn->rcpts[r->index]->view.mailbox.domain);
    struct slice text = way_key(key, route, domain);
    struct way *way = table_get(ways, text);
    if (way == NULL) {
        way = way_new(m, route, transport, domain);
        (void)table_put(ways, text, way);
    }
    way_add(way, at);
}

static void on_path(void *arg, struct path *path, const struct path_failure *failure);

static void look_up(struct way *way)
{
    struct message *m = way->message;

    m->ways_open++;
    way->lookup = delivery_path_ask(m->dispatch, &m->generation, way->transport, &way->route,
                                    way->domain, on_path, way);
}

static void use_answer(struct message *m, struct table *ways, struct buf *key, uint32_t at,
                       const struct route_answer *a)
{
    struct delivery_rcpt *r = &m->rcpts[at];

    if (a->verdict == TERN_ACCEPT && a->route.discard_reason.len > 0)
        delivery_rcpt_settle(m, r, FATE_DISCARDED, 250, "2.0.0", slice_of(a->route.discard_reason));
    else if (a->verdict == TERN_ACCEPT)
        add_to_way(m, ways, key, at, &a->route);
    else
        settle_refusal(m, r, a->verdict == TERN_REJECT, a->code, a->enhanced, a->text);
}

static void on_routed(void *arg, const struct route_answer *answers)
{
    struct message *m = arg;
    struct table ways;
    struct buf key = BUF_INIT;

    table_init(&ways);
    for (uint32_t i = 0; i < m->open_count; i++)
        use_answer(m, &ways, &key, i, &answers[i]);
    buf_free(&key);
    table_free(&ways, NULL);
    m->ways_open++; /* ours, so that nothing is over before all were asked */
    list_each (link, &m->ways)
        look_up(list_entry(link, struct way, link));
    m->ways_open--;
    next_chunk(m);
}

static void settle_failed(struct message *m, const uint32_t *rcpts, unsigned count,
                          const struct path_failure *f)
{
    for (unsigned i = 0; i < count; i++)
        settle_refusal(m, &m->rcpts[rcpts[i]], f->permanent, f->code, f->enhanced,
                       slice_cstr(f->text));
}

/* ---- chunks ---- */

static unsigned rcpts_max(const struct transport *transport)
{
    const struct smtp_transport_conf *conf = transport->conf;

    if (transport->module != NULL || conf->rcpts_max == 0)
        return 100;
    return conf->rcpts_max;
}

static void cut(struct way *way)
{
    struct message *m = way->message;
    struct arena *arena = &m->memory->arena;
    unsigned max = rcpts_max(way->transport);

    for (unsigned from = 0; from < way->count; from += max) {
        struct chunk *chunk = ARENA_NEW(arena, struct chunk);
        chunk->message = m;
        chunk->way = way;
        chunk->transport = way->transport;
        chunk->route = way->route;
        chunk->rcpts = way->rcpts + from;
        chunk->count = way->count - from < max ? way->count - from : max;
        chunk->asked = arena_alloc(arena, chunk->count * sizeof(chunk->asked[0]));
        for (unsigned i = 0; i < chunk->count; i++)
            chunk->asked[i] = m->rcpts[chunk->rcpts[i]].index;
        list_push(&m->chunks, &chunk->link);
    }
}

static void on_path(void *arg, struct path *path, const struct path_failure *failure)
{
    struct way *way = arg;
    struct message *m = way->message;

    way->lookup = NULL;
    m->ways_open--;
    if (path == NULL) {
        settle_failed(m, way->rcpts, way->count, failure);
    } else {
        way->path = delivery_path_ref(path);
        cut(way);
    }
    next_chunk(m);
}

static void ship(struct chunk *chunk, struct path *path)
{
    delivery_shipment_new(chunk->message, path, chunk->rcpts, chunk->count);
}

static void on_new_path(void *arg, struct path *path, const struct path_failure *failure)
{
    struct chunk *chunk = arg;
    struct message *m = chunk->message;

    chunk->lookup = NULL;
    m->asking = false;
    if (path == NULL)
        settle_failed(m, chunk->rcpts, chunk->count, failure);
    else
        ship(chunk, path);
    list_remove(&chunk->link);
    next_chunk(m);
}

/* `deliver` gave another way: looked up like the first, but not asked about again. */
static void reroute(struct chunk *chunk)
{
    struct message *m = chunk->message;
    struct slice domain = slice_of(m->txn->rcpts[chunk->asked[0]]->view.mailbox.domain);

    chunk->transport = policies_transport(m->generation.policies, slice_of(chunk->route.transport));
    if (chunk->transport == NULL) {
        const struct path_failure failure = { false, 451, "4.3.5",
                                              "the step's route names no transport" };
        on_new_path(chunk, NULL, &failure);
        return;
    }
    struct lookup *lookup = delivery_path_ask(m->dispatch, &m->generation, chunk->transport,
                                              &chunk->route, domain, on_new_path, chunk);
    if (lookup != NULL) /* else it was answered, and the message may be gone */
        chunk->lookup = lookup;
}

static void on_deliver(void *arg, const struct decision *decision)
{
    struct chunk *chunk = arg;
    struct message *m = chunk->message;
    bool permanent = decision->verdict == TERN_REJECT;

    switch (decision->verdict) {
    case TERN_NEXT:
    case TERN_ACCEPT:
        if (!same_route(&chunk->route, &chunk->way->route)) {
            chunk->route = copy_route(m, &chunk->route);
            reroute(chunk);
            return;
        }
        ship(chunk, chunk->way->path);
        break;
    case TERN_HOLD:
        m->must_hold = true;
        m->hold_reason = arena_slice(&m->memory->arena, decision->text);
        m->hold_change = (struct spool_rcpt_change){
            .rcpt = SPOOL_RCPT_NONE,
            .text = keep_text(m, "%.*s\t%.*s", (int)decision->step.len, decision->step.ptr,
                              (int)decision->text.len, decision->text.ptr),
        };
        break;
    default:
        for (unsigned i = 0; i < chunk->count; i++)
            settle_refusal(m, &m->rcpts[chunk->rcpts[i]], permanent, decision->code,
                           decision->enhanced, decision->text);
    }
    m->asking = false;
    list_remove(&chunk->link);
    next_chunk(m);
}

/*
 * Asks about the chunks one after another. Answers may come from inside the question: then the
 * loop below goes on, instead of a recursion as deep as there are chunks.
 */
static void next_chunk(struct message *m)
{
    if (m->in_chunks)
        return;
    m->in_chunks = true;
    while (!m->asking && !list_empty(&m->chunks)) {
        struct chunk *chunk = list_entry(m->chunks.next, struct chunk, link);
        m->asking = true;
        engine_deliver(m->delivery, chunk->asked, chunk->count, &chunk->route, on_deliver, chunk);
    }
    m->in_chunks = false;
    if (!m->asking && m->ways_open == 0 && !m->prepared)
        prepared(m);
}

static void free_ways(struct message *m)
{
    list_each (link, &m->chunks) {
        struct chunk *chunk = list_entry(link, struct chunk, link);
        if (chunk->lookup != NULL)
            delivery_path_cancel(chunk->lookup);
    }
    list_each (link, &m->ways) {
        struct way *way = list_entry(link, struct way, link);
        if (way->lookup != NULL)
            delivery_path_cancel(way->lookup);
        delivery_path_unref(way->path);
        free(way->rcpts);
    }
    list_init(&m->chunks);
    list_init(&m->ways);
}

static void prepared(struct message *m)
{
    struct list parcels;

    m->prepared = true;
    free_ways(m);
    list_init(&parcels);
    list_each (link, &m->shipments)
        list_push(&parcels, &list_entry(link, struct shipment, link)->parcel.link);
    scheduler_prepared(m->dispatch->set->scheduler, m->entry.key, &parcels);
    delivery_outcome_advance(m);
}

/* ---- beginning and end ---- */

static void choose_policy(struct message *m)
{
    struct dispatch_set *set = m->dispatch->set;
    struct slice name = m->envelope.policy;
    bool first;

    m->policy = policies_find(m->generation.policies, name);
    if (m->policy != NULL)
        return;
    m->policy = policies_find(m->generation.policies, SLICE("generated"));
    (void)pthread_mutex_lock(&set->lock);
    first = table_get(&set->unknown, name) == NULL && set->unknown.count < 1000;
    if (first)
        (void)table_put(&set->unknown, name, set);
    (void)pthread_mutex_unlock(&set->lock);
    if (first)
        log_event(LOG_WARNING, LOG_EV_config, m->id,
                  "policy %.*s is gone: its mail goes by routes: alone", (int)name.len, name.ptr);
}

/*
 * The pending recipients of this visit. Of a very long list a window is taken that moves with
 * the attempts, so that those who keep failing do not stand before the others for ever.
 */
static void choose_rcpts(struct message *m)
{
    const struct spool_loaded *loaded = m->loaded;
    uint32_t pending = 0, skip, taken = 0, window = visit_rcpts(loaded->entry.rcpt_count);

    for (uint32_t i = 0; i < loaded->entry.rcpt_count; i++)
        pending += loaded->rcpts[i].state == SPOOL_RCPT_QUEUED;
    m->entry.pending_count = pending;
    m->rcpt_count = pending < window ? pending : window;
    m->unvisited = pending - m->rcpt_count;
    m->rcpts = arena_zalloc(&m->memory->arena, (m->rcpt_count + 1) * sizeof(m->rcpts[0]));
    skip =
        m->unvisited > 0 ? (uint32_t)((uint64_t)m->entry.attempts * window % pending) : 0;
    for (uint32_t i = 0, seen = 0; taken < m->rcpt_count; i = (i + 1) % loaded->entry.rcpt_count) {
        if (loaded->rcpts[i].state != SPOOL_RCPT_QUEUED || m->rcpt_count == 0)
            continue;
        if (seen++ >= skip)
            m->rcpts[taken++].index = i;
    }
}

/* He has it since an earlier visit; what is left is to tell the sender. */
static bool take_owed(struct message *m, struct delivery_rcpt *r)
{
    struct owed owed;

    if (!owed_decode(m->loaded->rcpts[r->index].text, &owed))
        return false;
    r->late = owed.what == OWED_DELAY;
    if (r->late)
        return false;
    r->fate = FATE_DELIVERED;
    r->owed = r->told = true;
    r->handed = owed.what == OWED_RELAYED ? HANDED_ON : HANDED_OVER;
    (void)snprintf(r->enhanced, sizeof(r->enhanced), "%.*s", (int)owed.status.len,
                   owed.status.len > 0 ? owed.status.ptr : "");
    r->text = arena_slice(&m->memory->arena, owed.text);
    r->host = arena_slice(&m->memory->arena, owed.host);
    return true;
}

/* Those who are still to be delivered to first. */
static void sort_rcpts(struct message *m)
{
    m->open_count = m->rcpt_count;
    for (unsigned i = 0; i < m->open_count;) {
        struct delivery_rcpt *r = &m->rcpts[i];
        if (!take_owed(m, r)) {
            i++;
            continue;
        }
        struct delivery_rcpt last = m->rcpts[--m->open_count];
        m->rcpts[m->open_count] = *r;
        *r = last;
    }
}

static void begin_delivery(struct message *m)
{
    struct engine_session_options options = {
        .policy = m->policy,
        .generation_ref = m->generation.ref,
        .generation_unref = m->generation.unref,
        .generation = m->generation.generation,
        .soft_bounce = m->generation.soft_bounce,
        .facts = delivery_session_facts(m),
    };

    m->delivery =
        engine_delivery_new(m->dispatch->engine, &options, txn_facts_ref(delivery_txn_facts(m)));
}

static void ask_routes(struct message *m)
{
    unsigned *asked = arena_alloc(&m->memory->arena, (m->open_count + 1) * sizeof(*asked));

    for (unsigned i = 0; i < m->open_count; i++)
        asked[i] = m->rcpts[i].index;
    engine_route(m->delivery, asked, m->open_count, on_routed, m);
}

/* Nobody released it in time. The words go to the log, and to the sender if he is told. */
static void end_hold(struct message *m)
{
    const struct envelope *e = &m->envelope;
    bool by_operator = m->loaded->entry.operator_held;
    const struct held held = held_of(m->loaded->held_text, e);
    struct slice who = by_operator ? SLICE("the operator") : held.step;
    struct slice why = by_operator ? SLICE("") : held.reason;
    bool bounce = m->generation.hold_bounce;
    struct slice text;

    if (who.len == 0)
        who = SLICE("policy");
    text = keep_text(m, "held by %.*s%s%.*s; not released in time", (int)who.len, who.ptr,
                     why.len > 0 ? ": " : "", (int)why.len, why.len > 0 ? why.ptr : "");
    m->hold_over = true;
    for (unsigned i = 0; i < m->open_count; i++) {
        struct delivery_rcpt *r = &m->rcpts[i];
        r->expired = bounce;
        /* RFC 3463 3.8: delivery not authorized, message refused */
        delivery_rcpt_settle(m, r, bounce ? FATE_FAILED : FATE_DISCARDED, bounce ? 550 : 250,
                             bounce ? "5.7.1" : "2.0.0", text);
    }
    prepared(m);
}

static struct message *message_new(struct dispatch *d, const struct spool_entry *entry,
                                   struct spool_loaded *loaded)
{
    struct message *m = mem_zalloc(sizeof(*m));

    m->dispatch = d;
    m->entry = *entry;
    m->loaded = loaded;
    m->txn = txn_facts_new();
    m->memory = shared_arena_ref(m->txn->memory);
    spool_key_print(entry->key, m->id);
    list_init(&m->ways);
    list_init(&m->chunks);
    list_init(&m->shipments);
    list_push(&d->messages, &m->link);
    atomic_fetch_add_explicit(&d->set->message_count, 1, memory_order_relaxed);
    d->set->options.generation(d->set->options.arg, &m->generation);
    return m;
}

void delivery_message_free(struct message *m)
{
    struct dispatch *d = m->dispatch;

    free_ways(m);
    while (!list_empty(&m->shipments))
        delivery_shipment_free(list_entry(m->shipments.next, struct shipment, link));
    delivery_outcome_free(m);
    if (m->delivery != NULL)
        engine_delivery_free(m->delivery);
    txn_facts_unref(m->txn);
    shared_arena_unref(m->memory);
    spool_unload(m->loaded);
    if (m->generation.unref != NULL)
        m->generation.unref(m->generation.generation);
    list_remove(&m->link);
    atomic_fetch_sub_explicit(&d->set->message_count, 1, memory_order_relaxed);
    free(m);
    delivery_check_drained(d);
}

/* The row goes on without a visit: removed since, or it cannot be read now. It is no attempt, and expires nobody:
 * who restores the file, or deletes the message, is the operator. */
static void refuse_visit(struct dispatch *d, const struct spool_entry *entry, int r, const char *why)
{
    char id[SPOOL_ID_TEXT_MAX];
    struct list none;
    uint64_t now_ms = clock_wall_ms();
    uint64_t due_ms = scheduler_retry_at(d->set->scheduler, entry, now_ms);

    spool_key_print(entry->key, id);
    if (r != -ENOENT)
        log_event(LOG_ERROR, LOG_EV_spool, id, "a due message cannot be read: %s", why);
    list_init(&none);
    scheduler_prepared(d->set->scheduler, entry->key, &none);
    scheduler_done(d->set->scheduler, entry->key, r == -ENOENT ? 0 : entry->pending_count,
                   entry->attempts, due_ms > now_ms ? due_ms : now_ms + 4 * 3600000u, entry->held);
}

/* Not due after all: held since an operator said so. */
static void stay_held(struct dispatch *d, const struct spool_entry *entry)
{
    struct list none;

    list_init(&none);
    scheduler_prepared(d->set->scheduler, entry->key, &none);
    scheduler_done(d->set->scheduler, entry->key, entry->pending_count, entry->attempts,
                   entry->due_ms, true);
}

static int look_at_body(struct spool_loaded *loaded, char why[SPOOL_WHY_MAX])
{
    int r = spool_body_open(loaded, why);

    if (r == 0)
        spool_body_close(loaded);
    return r;
}

void delivery_message_prepare(struct dispatch *d, const struct spool_entry *entry)
{
    struct spool_loaded *loaded;
    char why[SPOOL_WHY_MAX];
    int r = spool_load(d->set->options.spool, entry->key, &loaded);

    if (r < 0) {
        refuse_visit(d, entry, r, strerror(-r));
        return;
    }
    if (loaded->entry.held && !entry->held) { /* an operator was quicker: the spool knows best */
        spool_unload(loaded);
        stay_held(d, entry);
        return;
    }
    r = look_at_body(loaded, why);
    if (r < 0) {
        spool_unload(loaded);
        refuse_visit(d, entry, -EIO, why);
        return;
    }
    struct message *m = message_new(d, entry, loaded);
    r = envelope_decode(loaded->envelope, &m->memory->arena, &m->envelope);
    if (r < 0 || m->envelope.rcpt_count != loaded->entry.rcpt_count) {
        r = r < 0 ? r : -EBADMSG;
        refuse_visit(d, entry, r, strerror(-r));
        delivery_message_free(m);
        return;
    }
    choose_policy(m);
    choose_rcpts(m);
    sort_rcpts(m);
    if (m->open_count == 0) {
        m->hold_over = loaded->entry.held;
        prepared(m);
        return;
    }
    begin_delivery(m);
    if (loaded->entry.held)
        end_hold(m);
    else
        ask_routes(m);
}
