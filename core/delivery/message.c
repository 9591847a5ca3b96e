/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.c - a due message from its row to shipments: load it, ask the policy for routes, look up where
 * they lead, ask the policy about each shipment, hand them to the scheduler.
 *
 * Recipients of equal route (and, by MX, of equal domain) are a *way*; a way is cut into *chunks* of at
 * most rcpts_max; a chunk that hook `deliver` lets pass becomes a shipment. The policy is asked one question
 * at a time. What needs no shipment (refused, deferred, discarded) is settled here.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "delivery/internal.h"
#include "mime/address.h"

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
    struct tern_route route;  /* what `deliver` may change */
    const struct transport *transport;
    const uint32_t *rcpts;
    unsigned *asked;          /* the same as indices in the envelope */
    unsigned count;
    struct lookup *lookup;
};

static void prepared(struct message *m);
static void next_chunk(struct message *m);

/* ---- facts ---- */

static tern_str text_of(struct message *m, struct slice s)
{
    return tern_str_dup(&m->memory->arena, s);
}

/* What is stored was an address once; if today's grammar refuses it, it is cut at the last @. */
static struct tern_mailbox mailbox_of(struct message *m, struct slice address)
{
    struct tern_mailbox mailbox = { TERN_STR(""), TERN_STR(""), TERN_STR("") };
    const char *at = address.len > 0 ? memrchr(address.ptr, '@', address.len) : NULL;

    if (address.len == 0 ||
        address_parse(address, ADDRESS_SMTPUTF8 | ADDRESS_ALLOW_ANY_LOCAL, &m->memory->arena, &mailbox) == 0)
        return mailbox;
    size_t local = at != NULL ? (size_t)(at - address.ptr) : address.len;
    mailbox.address = text_of(m, address);
    mailbox.local = text_of(m, slice_head(address, local));
    mailbox.domain = text_of(m, slice_from(address, local + 1));
    return mailbox;
}

static const struct note *tags_of(struct message *m, const struct slice *tags, unsigned count)
{
    const struct note *first = NULL;

    for (unsigned i = 0; i < count; i++)
        first = notes_add(&m->memory->arena, first, tags[i], SLICE("true"));
    return first;
}

static void add_rcpt(struct message *m, struct txn_facts *txn, const struct envelope_rcpt *from)
{
    struct rcpt_facts *rcpt = ARENA_NEW(&m->memory->arena, struct rcpt_facts);

    rcpt->view.mailbox = mailbox_of(m, from->address);
    rcpt->view.original = slice_equal(from->original, from->address) || from->original.len == 0
                              ? rcpt->view.mailbox
                              : mailbox_of(m, from->original);
    rcpt->view.class_ = from->class_;
    rcpt->view.claimed_by = text_of(m, from->claimed_by);
    rcpt->tags = tags_of(m, from->tags, from->tag_count);
    rcpt->orcpt = text_of(m, from->orcpt);
    rcpt->notify = text_of(m, from->notify);
    txn_facts_add_rcpt(txn, rcpt);
}

static struct txn_facts *txn_of(struct message *m)
{
    const struct envelope *e = &m->envelope;
    struct txn_facts *txn = m->txn;

    txn->id = text_of(m, slice_cstr(m->id));
    txn->sender = mailbox_of(m, e->sender);
    txn->sender_original = slice_equal(e->sender, e->sender_original) ? txn->sender
                                                                      : mailbox_of(m, e->sender_original);
    txn->body = (enum body_type)e->body;
    txn->smtputf8 = e->smtputf8;
    txn->envid = text_of(m, e->envid);
    txn->ret = text_of(m, e->ret);
    txn->tags = tags_of(m, e->tags, e->tag_count);
    for (unsigned i = 0; i < e->var_count; i++)
        txn->vars = notes_add(&m->memory->arena, txn->vars, e->vars[i].name, e->vars[i].value);
    for (unsigned i = 0; i < e->rcpt_count; i++)
        add_rcpt(m, txn, &e->rcpts[i]);
    return txn;
}

static struct session_facts *session_of(struct message *m)
{
    const struct envelope *e = &m->envelope;
    struct session_facts *session = session_facts_new();

    shared_arena_unref(session->memory);
    session->memory = shared_arena_ref(m->memory);
    session->id = text_of(m, slice_make(NULL, 0));
    session->client_text = text_of(m, e->client_address);
    (void)net_address_parse(e->client_address, 0, &session->client);
    session->listener = text_of(m, e->listener);
    session->policy = text_of(m, e->policy);
    session->helo = text_of(m, e->helo);
    session->user = text_of(m, e->user);
    return session;
}

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
    r->text = keep_text(m, "%u %s %.*s", code, enhanced, (int)text.len, text.len > 0 ? text.ptr : "");
}

/* A refusal of the policy or of the look-up, made here. */
static void settle_refusal(struct message *m, struct delivery_rcpt *r, bool permanent, unsigned code,
                           const char *enhanced, struct slice text)
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
    return text_of(m, slice_of(s));
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
    return slice_equal(slice_of(a->transport), slice_of(b->transport)) && same_list(&a->to, &b->to) &&
           same_list(&a->fallback, &b->fallback) && slice_equal(slice_of(a->source), slice_of(b->source));
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

static struct way *way_new(struct message *m, const struct tern_route *route, const struct transport *transport,
                           struct slice domain)
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
    const struct transport *transport = policies_transport(m->generation.policies, slice_of(route->transport));
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
    way->lookup = delivery_path_ask(m->dispatch, &m->generation, way->transport, &way->route, way->domain,
                                    on_path, way);
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
    for (uint32_t i = 0; i < m->rcpt_count; i++)
        use_answer(m, &ways, &key, i, &answers[i]);
    buf_free(&key);
    table_free(&ways, NULL);
    m->ways_open++; /* ours, so that nothing is over before all were asked */
    list_each(link, &m->ways)
        look_up(list_entry(link, struct way, link));
    m->ways_open--;
    next_chunk(m);
}

static void settle_failed(struct message *m, const uint32_t *rcpts, unsigned count,
                          const struct path_failure *f)
{
    for (unsigned i = 0; i < count; i++)
        settle_refusal(m, &m->rcpts[rcpts[i]], f->permanent, f->code, f->enhanced, slice_cstr(f->text));
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
    struct message *m = chunk->message;
    struct shipment *s = mem_zalloc(sizeof(*s) + chunk->count * (sizeof(s->outcomes[0]) + sizeof(s->rcpts[0])));

    s->outcomes = (struct shipment_outcome *)(s + 1);
    s->rcpts = (uint32_t *)(s->outcomes + chunk->count);
    memcpy(s->rcpts, chunk->rcpts, chunk->count * sizeof(s->rcpts[0]));
    s->rcpt_count = chunk->count;
    s->message = m;
    s->path = delivery_path_ref(path);
    list_init(&s->queued);
    s->parcel = (struct parcel){
        .key = m->entry.key,
        .site_name = path->site,
        .connections_max = path->conf != NULL ? path->conf->connections_max
                                              : m->dispatch->set->options.module_parallel,
        .loop_index = m->dispatch->index,
        .owner = s,
    };
    list_init(&s->parcel.link);
    list_push(&m->shipments, &s->link);
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
        const struct path_failure failure = { false, 451, "4.3.5", "the step's route names no transport" };
        on_new_path(chunk, NULL, &failure);
        return;
    }
    struct lookup *lookup = delivery_path_ask(m->dispatch, &m->generation, chunk->transport, &chunk->route,
                                              domain, on_new_path, chunk);
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
        break;
    default:
        for (unsigned i = 0; i < chunk->count; i++)
            settle_refusal(m, &m->rcpts[chunk->rcpts[i]], permanent, decision->code, decision->enhanced,
                           decision->text);
    }
    m->asking = false;
    list_remove(&chunk->link);
    next_chunk(m);
}

/*
 * Asks about the chunks one after another. Answers may come from inside the question: then the loop below
 * goes on, instead of a recursion as deep as there are chunks.
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
    list_each(link, &m->chunks) {
        struct chunk *chunk = list_entry(link, struct chunk, link);
        if (chunk->lookup != NULL)
            delivery_path_cancel(chunk->lookup);
    }
    list_each(link, &m->ways) {
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
    list_each(link, &m->shipments)
        list_push(&parcels, &list_entry(link, struct shipment, link)->parcel.link);
    scheduler_prepared(m->dispatch->set->scheduler, m->entry.key, &parcels);
    delivery_outcome_advance(m);
}

/* ---- shipments come home ---- */

static void shipment_free(struct shipment *s)
{
    list_remove(&s->link);
    delivery_path_unref(s->path);
    buf_free(&s->texts);
    free(s);
}

static enum fate fate_of(unsigned code)
{
    return code / 100 == 2 ? FATE_DELIVERED : code / 100 == 5 ? FATE_FAILED : FATE_DEFERRED;
}

static void take_outcome(struct message *m, const struct shipment *s, unsigned i, struct slice host)
{
    const struct shipment_outcome *o = &s->outcomes[i];
    struct delivery_rcpt *r = &m->rcpts[s->rcpts[i]];

    if (o->code == 0)
        return;
    r->fate = fate_of(o->code);
    memcpy(r->enhanced, o->enhanced, sizeof(r->enhanced));
    r->text = arena_slice(&m->memory->arena, slice_make(s->texts.data + o->text_at, o->text_len));
    r->host = o->own ? slice_make(NULL, 0) : host;
}

void delivery_message_returned(struct shipment *s)
{
    struct message *m = s->message;
    struct slice host = arena_slice(&m->memory->arena, slice_cstr(s->host));

    m->busy |= s->back == PARCEL_BUSY;
    m->again |= s->stale || s->back == PARCEL_STOPPED;
    for (unsigned i = 0; i < s->rcpt_count; i++)
        take_outcome(m, s, i, host);
    shipment_free(s);
    delivery_outcome_advance(m);
}

void delivery_shipment_outcome(struct shipment *s, unsigned index, unsigned code, const char *enhanced,
                               struct slice text, bool own)
{
    struct shipment_outcome *o = &s->outcomes[index];
    const struct shipment_outcome *before = index > 0 ? &s->outcomes[index - 1] : NULL;
    struct slice kept = slice_head(text, OUTCOME_TEXT_MAX);

    assert(index < s->rcpt_count && code > 0);
    o->code = code;
    o->own = own;
    (void)snprintf(o->enhanced, sizeof(o->enhanced), "%s", enhanced);
    if (before != NULL && before->code > 0 && before->text_len == kept.len &&
        (kept.len == 0 || memcmp(s->texts.data + before->text_at, kept.ptr, kept.len) == 0)) {
        o->text_at = before->text_at;
        o->text_len = before->text_len;
        return;
    }
    o->text_at = (uint32_t)s->texts.len;
    o->text_len = (uint32_t)kept.len;
    buf_add(&s->texts, kept);
}

void delivery_shipment_defer(struct shipment *s, unsigned code, const char *enhanced, struct slice text)
{
    char line[OUTCOME_TEXT_MAX];
    int n = snprintf(line, sizeof(line), "%u %s %.*s", code, enhanced, (int)text.len,
                     text.len > 0 ? text.ptr : "");
    size_t len = (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1;

    for (unsigned i = 0; i < s->rcpt_count; i++)
        if (s->outcomes[i].code == 0)
            delivery_shipment_outcome(s, i, code, enhanced, slice_make(line, len), true);
}

static void run_home(struct port_item *item, bool gone)
{
    struct shipment *s = list_entry(item, struct shipment, item);

    if (!gone)
        delivery_message_returned(s);
}

void delivery_shipment_home(struct shipment *s, struct dispatch *from)
{
    struct dispatch *home = s->message->dispatch;

    if (home == from) {
        delivery_message_returned(s);
        return;
    }
    s->item.run = run_home;
    (void)port_put(home->port, &s->item); /* closed: the message is freed with its shipments */
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
        log_event(LOG_WARNING, LOG_EV_config, m->id, "policy %.*s is gone: its mail goes by routes: alone",
                  (int)name.len, name.ptr);
}

/*
 * The pending recipients of this visit. Of a very long list a window is taken that moves with the attempts, so that
 * those who keep failing do not stand before the others for ever.
 */
static void choose_rcpts(struct message *m)
{
    const struct spool_loaded *loaded = m->loaded;
    uint32_t pending = 0, skip, taken = 0;

    for (uint32_t i = 0; i < loaded->entry.rcpt_count; i++)
        pending += loaded->rcpts[i].state == SPOOL_RCPT_QUEUED;
    m->entry.pending_count = pending;
    m->rcpt_count = pending < VISIT_RCPTS_MAX ? pending : VISIT_RCPTS_MAX;
    m->unvisited = pending - m->rcpt_count;
    m->rcpts = arena_zalloc(&m->memory->arena, (m->rcpt_count + 1) * sizeof(m->rcpts[0]));
    skip = m->unvisited > 0 ? (uint32_t)((uint64_t)m->entry.attempts * VISIT_RCPTS_MAX % pending) : 0;
    for (uint32_t i = 0, seen = 0; taken < m->rcpt_count; i = (i + 1) % loaded->entry.rcpt_count) {
        if (loaded->rcpts[i].state != SPOOL_RCPT_QUEUED || m->rcpt_count == 0)
            continue;
        if (seen++ >= skip)
            m->rcpts[taken++].index = i;
    }
}

static void begin(struct message *m)
{
    struct arena *arena = &m->memory->arena;
    struct engine_session_options options = {
        .policy = m->policy,
        .generation_ref = m->generation.ref,
        .generation_unref = m->generation.unref,
        .generation = m->generation.generation,
        .soft_bounce = m->generation.soft_bounce,
        .facts = session_of(m),
    };
    unsigned *asked = arena_alloc(arena, (m->rcpt_count + 1) * sizeof(*asked));

    for (unsigned i = 0; i < m->rcpt_count; i++)
        asked[i] = m->rcpts[i].index;
    m->delivery = engine_delivery_new(m->dispatch->engine, &options, txn_facts_ref(txn_of(m)));
    engine_route(m->delivery, asked, m->rcpt_count, on_routed, m);
}

static struct message *message_new(struct dispatch *d, const struct spool_entry *entry, struct spool_loaded *loaded)
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
        shipment_free(list_entry(m->shipments.next, struct shipment, link));
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

/* The row goes on without a visit: removed since, or it cannot be read now. */
static void refuse_visit(struct dispatch *d, const struct spool_entry *entry, int r)
{
    char id[SPOOL_ID_TEXT_MAX];
    struct list none;
    uint64_t now_ms = clock_wall_ms();
    uint64_t due_ms = scheduler_retry_at(d->set->scheduler, entry, now_ms);

    spool_key_print(entry->key, id);
    if (r != -ENOENT)
        log_event(LOG_ERROR, LOG_EV_spool, id, "a due message cannot be read: %s", strerror(-r));
    list_init(&none);
    scheduler_prepared(d->set->scheduler, entry->key, &none);
    scheduler_done(d->set->scheduler, entry->key, r == -ENOENT ? 0 : entry->pending_count, entry->attempts,
                   due_ms > now_ms ? due_ms : now_ms + 4 * 3600000u, false);
}

void delivery_message_prepare(struct dispatch *d, const struct spool_entry *entry)
{
    struct spool_loaded *loaded;
    int r = spool_load(d->set->options.spool, entry->key, &loaded);

    if (r < 0) {
        refuse_visit(d, entry, r);
        return;
    }
    struct message *m = message_new(d, entry, loaded);
    r = envelope_decode(loaded->envelope, &m->memory->arena, &m->envelope);
    if (r < 0 || m->envelope.rcpt_count != loaded->entry.rcpt_count) {
        refuse_visit(d, entry, r < 0 ? r : -EBADMSG);
        delivery_message_free(m);
        return;
    }
    choose_policy(m);
    choose_rcpts(m);
    if (m->rcpt_count == 0) {
        prepared(m);
        return;
    }
    begin(m);
}
