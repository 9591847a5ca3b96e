/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c - one slot of a site: connects, carries shipments one after another, asks for more, and
 * gives the slot back.
 *
 * Endpoints are tried in order of rank; among equals each new connection begins with another
 * one. One that did not answer is tried last for 2 minutes, so that a dead primary costs its
 * time-out once and not once a message. When none answers, what the link carries is deferred and
 * the site hears that it failed.
 *
 * A connection that was kept open may be closed by the other side just as we use it again, or end
 * with a 421 because it has carried enough: then the shipment, of which no octet of the body was
 * sent, gets one more try on a fresh one. A host that ends a fresh one so is as good as one that did
 * not answer: the next one is tried (RFC 5321 5.1).
 *
 * A shipment that other hosts have put off already (shipment.tried) makes a *detour*: it gets a connection
 * to a host that is neither one of them nor known to be dead, and what has not been put off goes over another
 * one again. Where no such host answers, what was said before stands, and the site has not failed.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "delivery/encrypt.h"
#include "delivery/internal.h"
#include "sasl/client.h"

#define LINK_TRIES_MAX        SHIPMENT_HOSTS_MAX /* endpoints tried for one connection */
#define ENDPOINT_DEAD_MS      120000u /* so long others are tried before it */
#define ENDPOINTS_DEAD_MAX    1024    /* per loop */
#define SHIPMENT_DROPS_MAX    3       /* fresh connections that end before they have the message */
#define LINK_IDLE_MODULE_MS   1000u

struct link {
    struct list link;
    struct dispatch *dispatch;
    struct site *site;
    struct client *client; /* or NULL */
    bool ready;            /* it was greeted */
    bool opened;           /* the site was told so */
    bool pulling;          /* a pull is not answered */
    bool closing;          /* nothing more is wanted */
    struct list shipments; /* to be carried */
    struct shipment *current;
    struct spool_loaded *reading; /* whose body is held open; or NULL */
    bool body_begun;
    struct client_message message;
    struct client_rcpt *rcpts;
    unsigned rcpt_size;
    struct client_auth auth; /* of the client */
    unsigned carried;                       /* messages over this connection */
    struct path *path;                      /* of the connection, or of the last one */
    struct endpoint *order[LINK_TRIES_MAX]; /* in which endpoints are tried */
    unsigned order_count, order_at;
    bool detour; /* they are those of a shipment that others have put off */
    struct tern_delivery *module;
    struct loop_timer idle;
};

struct dead_endpoint {
    uint64_t until_ms;
};

static void advance(struct link *link);

struct dispatch *delivery_link_dispatch(const struct link *link)
{
    return link->dispatch;
}

/* ---- which endpoint ---- */

static bool is_dead(const struct dispatch *d, const struct endpoint *e, uint64_t now_ms)
{
    const struct dead_endpoint *dead = table_get(&d->dead, slice_cstr(e->host));

    return dead != NULL && dead->until_ms > now_ms;
}

static void mark_dead(struct dispatch *d, const struct endpoint *e)
{
    struct dead_endpoint *dead = mem_alloc(sizeof(*dead));

    if (d->dead.count >= ENDPOINTS_DEAD_MAX) {
        table_free(&d->dead, free);
        table_init(&d->dead);
    }
    dead->until_ms = clock_now_ms() + ENDPOINT_DEAD_MS;
    free(table_put(&d->dead, slice_cstr(e->host), dead));
}

/* Those of one rank that are not `tried`, beginning with another one each time. */
static void add_rank(struct link *link, unsigned from, unsigned to, bool dead, uint64_t tried)
{
    uint64_t now_ms = clock_now_ms();
    unsigned count = to - from;
    unsigned begin = link->path->endpoints[from].rank < 1000 ? link->dispatch->rotation % count : 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned at = from + (begin + i) % count;
        struct endpoint *e = &link->path->endpoints[at];
        if ((tried >> at & 1) == 0 && is_dead(link->dispatch, e, now_ms) == dead &&
            link->order_count < LINK_TRIES_MAX)
            link->order[link->order_count++] = e;
    }
}

static void choose_order(struct link *link, uint64_t tried)
{
    const struct path *path = link->path;

    link->order_at = link->order_count = 0;
    link->detour = tried != 0;
    for (unsigned dead = 0; dead < (link->detour ? 1 : 2); dead++) {
        for (unsigned from = 0, to; from < path->endpoint_count; from = to) {
            to = from + 1;
            while (to < path->endpoint_count &&
                   path->endpoints[to].rank == path->endpoints[from].rank)
                to++;
            add_rank(link, from, to, dead != 0, tried);
        }
    }
    link->dispatch->rotation++;
}

/* ---- the body ---- */

static int begin_reading(struct link *link, struct spool_loaded *loaded, char why[SPOOL_WHY_MAX])
{
    assert(link->reading == NULL);
    int r = spool_body_open(loaded, why);
    if (r == 0)
        link->reading = spool_loaded_ref(loaded);
    return r;
}

static void end_reading(struct link *link)
{
    if (link->reading == NULL)
        return;
    spool_body_close(link->reading);
    spool_unload(link->reading);
    link->reading = NULL;
}

/* ---- the end ---- */

static void link_free(struct link *link)
{
    struct dispatch *d = link->dispatch;

    loop_timer_stop(&link->idle);
    list_remove(&link->link);
    if (link->client != NULL)
        client_free(link->client);
    if (link->module != NULL)
        delivery_module_abandon(link->module);
    end_reading(link);
    delivery_path_unref(link->path);
    free(link->rcpts);
    atomic_fetch_sub_explicit(&d->set->link_count, 1, memory_order_relaxed);
    free(link);
}

static void give_back(struct link *link, bool failed, struct slice text)
{
    struct dispatch *d = link->dispatch;

    assert(!link->pulling && link->current == NULL && list_empty(&link->shipments));
    if (link->client != NULL && link->ready) {
        client_quit(link->client);
        link->client = NULL;
    }
    scheduler_slot_done(d->set->scheduler, link->site, link->opened, failed, text);
    link_free(link);
    delivery_check_drained(d);
}

void delivery_links_close(struct dispatch *d)
{
    while (!list_empty(&d->links)) /* their shipments are the messages' */
        link_free(list_entry(d->links.next, struct link, link));
}

/* ---- shipments ---- */

static struct shipment *pop(struct link *link)
{
    struct list *first = list_pop(&link->shipments);

    return first != NULL ? list_entry(first, struct shipment, queued) : NULL;
}

/* Not carried, and not tried: it comes again. */
static void return_untried(struct link *link, struct shipment *s, bool stale)
{
    s->stale = stale;
    if (!stale)
        s->back = PARCEL_STOPPED;
    delivery_shipment_home(s, link->dispatch);
}

static void return_stale(struct link *link)
{
    uint64_t now_ms = clock_now_ms();
    bool stopped = link->dispatch->draining || atomic_load(&link->dispatch->set->paused);

    list_each_safe (at, &link->shipments) {
        struct shipment *s = list_entry(at, struct shipment, queued);
        bool stale = now_ms - s->path->made_ms >= 2 * PATH_FRESH_MS ||
                     now_ms - s->parcel.ready_ms >= PATH_FRESH_MS;
        if (!stopped && !stale)
            continue;
        list_remove(at);
        return_untried(link, s, stale);
    }
}

/* ---- the client ---- */

static void try_endpoint(struct link *link);

/* No endpoint answered: what this link holds is deferred, and the site hears of it. */
static void give_up(struct link *link, const char *status, struct slice text)
{
    struct shipment *s;

    while ((s = pop(link)) != NULL) {
        delivery_shipment_defer(s, 451, status, text);
        delivery_shipment_home(s, link->dispatch);
    }
    give_back(link, true, text);
}

/* The others cannot be reached either: what was said before stands, and the other shipments go their way. */
static void end_detour(struct link *link)
{
    struct shipment *s = pop(link);

    link->detour = false;
    if (s != NULL && s->tried == 0) /* the one that it was for has become stale */
        list_push_front(&link->shipments, &s->queued);
    else if (s != NULL)
        delivery_shipment_home(s, link->dispatch);
    advance(link);
}

static void note_unreached(struct link *link, const char *text)
{
    struct shipment *s = list_empty(&link->shipments)
                             ? NULL
                             : list_entry(link->shipments.next, struct shipment, queued);

    if (s != NULL && s->tried != 0)
        delivery_shipment_unreached(s, slice_cstr(text));
}

static void on_ready(void *owner)
{
    struct link *link = owner;

    link->ready = true;
    link->carried = 0;
    if (!link->opened) {
        link->opened = true;
        scheduler_slot_opened(link->dispatch->set->scheduler, link->site);
    }
    advance(link);
}

static void on_rcpt(void *owner, unsigned index, const struct client_reply *reply)
{
    struct link *link = owner;

    if (reply->cause == CLIENT_CAUSE_TLS)
        delivery_tls_wanted(link->dispatch, link->order[link->order_at]);
    delivery_shipment_outcome(link->current, index, reply->code, reply->enhanced, reply->text,
                              reply->own);
    if (client_offers_dsn(link->client))
        link->current->outcomes[index].handed = HANDED_WITH_DSN;
    else if (!delivery_path_is_lmtp(link->path))
        link->current->outcomes[index].handed = HANDED_ON;
}

static void settle_current(struct link *link)
{
    struct shipment *s = link->current;

    end_reading(link);
    link->current = NULL;
    link->carried++;
    delivery_shipment_defer(s, 451, "4.4.2", SLICE("the connection ended before a reply"));
    delivery_shipment_home(s, link->dispatch);
}

static void on_sent(void *owner)
{
    struct link *link = owner;

    settle_current(link);
    advance(link);
}

/* Of the message: 421 is said of the connection (RFC 5321 3.8). */
static bool nothing_was_said(const struct shipment *s)
{
    for (unsigned i = 0; i < s->rcpt_count; i++) {
        const struct shipment_outcome *o = &s->outcomes[i];
        if (o->code != 0 && (o->own ? o->code / 100 != 4 : o->code != 421))
            return false;
    }
    return true;
}

/* The host took a connection and gave it up. Whether another one may be better. */
static bool has_another_host(struct link *link, const struct shipment *s)
{
    uint64_t now_ms = clock_now_ms();

    mark_dead(link->dispatch, link->order[link->order_at]);
    for (unsigned i = 0; i < link->path->endpoint_count; i++)
        if (!is_dead(link->dispatch, &link->path->endpoints[i], now_ms) &&
            (s->tried & delivery_shipment_bits(s, &link->path->endpoints[i])) == 0)
            return true;
    return false;
}

static bool may_go_again(struct link *link, struct shipment *s)
{
    if (link->body_begun || !nothing_was_said(s))
        return false;
    if (link->carried == 0)
        return has_another_host(link, s) && ++s->drops < SHIPMENT_DROPS_MAX;
    bool again = !s->retried;
    s->retried = true;
    return again;
}

static void lost_connection(struct link *link)
{
    struct shipment *s = link->current;

    if (s != NULL && may_go_again(link, s)) {
        memset(s->outcomes, 0, s->rcpt_count * sizeof(s->outcomes[0]));
        buf_cut(&s->texts, s->unreached_len);
        s->offered = 0;
        end_reading(link);
        link->current = NULL;
        list_push_front(&link->shipments, &s->queued);
    } else if (s != NULL) {
        s->offered = 0; /* those who were not named wait, too, instead of meeting the same again */
        settle_current(link);
    } else if (list_empty(&link->shipments)) {
        link->closing = true; /* it was idle: the other side had enough of waiting */
    }
    advance(link);
}

/* Why there is no connection, for a deferral that brings code and status of its own. */
static void say_why(const struct link *link, const struct client_reply *reply, char *text, size_t size)
{
    char status[32];
    struct slice said = reply != NULL ? reply->text : SLICE("");
    int n = reply != NULL ? snprintf(status, sizeof(status), "%u %s ", reply->code, reply->enhanced) : 0;

    if (reply != NULL && reply->own && slice_starts_nocase(said, slice_make(status, (size_t)n)))
        said = slice_from(said, (size_t)n);
    (void)snprintf(text, size, "%s: %.*s", link->order[link->order_at]->host, (int)said.len,
                   said.len > 0 ? said.ptr : "");
}

static void on_end(void *owner, const struct client_reply *reply)
{
    struct link *link = owner;
    bool was_ready = link->ready;
    enum client_cause cause = reply->cause; /* it goes with the client */
    char text[OUTCOME_TEXT_MAX], status[sizeof(reply->enhanced)];

    memcpy(status, reply->enhanced, sizeof(status));
    say_why(link, reply, text, sizeof(text));
    client_free(link->client);
    link->client = NULL;
    link->ready = false;
    if (was_ready) {
        lost_connection(link);
        return;
    }
    if (cause == CLIENT_CAUSE_TLS &&
        delivery_tls_failed(link->dispatch, link->path, link->order[link->order_at], text)) {
        try_endpoint(link);
        return;
    }
    if (link->detour)
        note_unreached(link, text);
    if (cause == CLIENT_CAUSE_AUTH) {
        delivery_tls_wanted(link->dispatch, link->order[link->order_at]);
        /* The same user and password at the next host may be one try too many for the account. */
        log_event(LOG_ERROR, LOG_EV_outbound, NULL, "transport %.*s: %s",
                  (int)link->path->transport->name.len, link->path->transport->name.ptr, text);
        if (link->detour)
            end_detour(link);
        else
            give_up(link, status, slice_cstr(text));
        return;
    }
    mark_dead(link->dispatch, link->order[link->order_at]);
    if (++link->order_at < link->order_count)
        try_endpoint(link);
    else if (link->detour)
        end_detour(link);
    else
        give_up(link, cause == CLIENT_CAUSE_TLS ? status : "4.4.1", slice_cstr(text));
}

static const struct client_ops client_ops = {
    .on_ready = on_ready,
    .on_rcpt = on_rcpt,
    .on_sent = on_sent,
    .on_end = on_end,
};

static const struct client_auth *auth_of(struct link *link)
{
    const struct smtp_transport_conf *conf = link->path->conf;
    const struct smtp_auth_conf *auth = conf->auth.items;

    if (conf->auth.count == 0)
        return NULL;
    link->auth = (struct client_auth){ .user = slice_of(auth->user),
                                       .password = slice_of(auth->password),
                                       .plaintext = conf->auth_plaintext };
    for (size_t i = 0; i < auth->mechanisms.count; i++)
        link->auth.mechanisms |= 1u << sasl_client_named(slice_of(auth->mechanisms.items[i]));
    return &link->auth;
}

static void try_endpoint(struct link *link)
{
    const struct smtp_transport_conf *conf = link->path->conf;
    const struct endpoint *e = link->order[link->order_at];
    struct client_options options = {
        .protocol =
            delivery_path_is_lmtp(link->path) ? CLIENT_LMTP : CLIENT_SMTP,
        .to = e->address,
        .unix_path = e->unix_path,
        .source = link->path->source.family == e->address.family ? link->path->source
                                                                 : (tern_address){ 0 },
        .host_name = e->name,
        .helo = conf->helo.len > 0 ? conf->helo.ptr : link->dispatch->set->hostname,
        .connect_timeout_ms = conf->connect_timeout_ms,
        .command_timeout_ms = conf->command_timeout_ms,
        .data_timeout_ms = conf->data_timeout_ms,
        .auth = auth_of(link),
        .pool = link->dispatch->set->options.pool,
        .port = link->dispatch->port,
        .chunking = conf->chunking,
        .forward = conf->xforward,
    };

    delivery_tls_choose(link->dispatch, link->path, e, &options);
    link->ready = false;
    link->client = client_new(link->dispatch->loop, &options, &client_ops, link);
}

static void connect_for(struct link *link, struct shipment *s)
{
    delivery_path_unref(link->path);
    link->path = delivery_path_ref(s->path);
    choose_order(link, s->tried);
    assert(link->order_count > 0 || link->detour);
    if (link->order_count > 0)
        try_endpoint(link);
    else
        end_detour(link);
}

/* ---- sending ---- */

static int64_t read_message(void *arg, uint64_t offset, void *buffer, size_t octets)
{
    struct link *link = arg;

    link->body_begun = true;
    return spool_read(link->reading, offset, buffer, octets);
}

static struct client_rcpt rcpt_of(const struct envelope_rcpt *r)
{
    return (struct client_rcpt){ .address = r->address, .notify = r->notify, .orcpt = r->orcpt };
}

/* Nothing is said to the other side: the next one may be readable. */
static void put_off(struct link *link, struct shipment *s, const char *why)
{
    char text[OUTCOME_TEXT_MAX];

    log_event(LOG_ERROR, LOG_EV_spool, s->message->id, "a message that is to be sent cannot be read: %s", why);
    (void)snprintf(text, sizeof(text), "the message cannot be read here: %s", why);
    delivery_shipment_defer(s, 451, "4.3.0", slice_cstr(text));
    delivery_shipment_home(s, link->dispatch);
    advance(link);
}

static void send_next(struct link *link)
{
    struct shipment *s = pop(link);
    const struct message *m = s->message;
    unsigned max = client_rcpts_max(link->client);
    char why[SPOOL_WHY_MAX];

    if (begin_reading(link, m->loaded, why) < 0) {
        put_off(link, s, why);
        return;
    }
    s->offered = s->rcpt_count < max ? s->rcpt_count : max; /* the others follow in another transaction */

    if (s->rcpt_count > link->rcpt_size) {
        link->rcpt_size = s->rcpt_count;
        link->rcpts = mem_realloc(link->rcpts, link->rcpt_size * sizeof(link->rcpts[0]));
    }
    for (unsigned i = 0; i < s->rcpt_count; i++)
        link->rcpts[i] = rcpt_of(&m->envelope.rcpts[m->rcpts[s->rcpts[i]].index]);
    link->message = (struct client_message){
        .sender = m->envelope.sender,
        .rcpts = link->rcpts,
        .rcpt_count = s->offered,
        .octets = spool_loaded_octets(m->loaded),
        .eight_bit = m->envelope.body == BODY_8BITMIME,
        .binary = m->envelope.body == BODY_BINARYMIME,
        .smtputf8 = m->envelope.smtputf8,
        .envid = m->envelope.envid,
        .ret = m->envelope.ret,
        .client_address = m->envelope.client_address,
        .client_helo = m->envelope.helo,
        .read = read_message,
        .arg = link,
    };
    link->current = s;
    link->body_begun = false;
    s->visited |= delivery_shipment_bits(s, link->order[link->order_at]);
    (void)snprintf(s->host, sizeof(s->host), "%s", link->order[link->order_at]->host);
    client_tls_text(link->client, s->tls, sizeof(s->tls));
    client_send(link->client, &link->message);
}

/* Octets that are not lines, and a transport that knows lines only. */
static bool is_beyond(const struct link *link, const struct shipment *s)
{
    const struct tern_transport *module = s->path->transport->module;

    return s->message->envelope.body == BODY_BINARYMIME && !module->binary;
}

static void refuse_binary(struct link *link, struct shipment *s)
{
    for (unsigned i = 0; i < s->rcpt_count; i++)
        delivery_shipment_outcome(s, i, 554, "5.6.3",
                                  SLICE("554 5.6.3 this mailbox cannot take BODY=BINARYMIME"), true);
    delivery_link_carried(link);
}

static void start_module(struct link *link)
{
    struct shipment *s = pop(link);

    if (!link->opened) {
        link->opened = true;
        scheduler_slot_opened(link->dispatch->set->scheduler, link->site);
    }
    link->current = s;
    if (is_beyond(link, s)) {
        refuse_binary(link, s);
        return;
    }
    if (delivery_module_start(link, s, &link->module) == 0)
        return;
    /* The pool is full: not an attempt. */
    link->current = NULL;
    s->back = PARCEL_BUSY;
    delivery_shipment_home(s, link->dispatch);
    advance(link);
}

void delivery_link_carried(struct link *link)
{
    link->module = NULL;
    settle_current(link);
    advance(link);
}

static unsigned messages_max(const struct link *link)
{
    unsigned max = link->path->conf->messages_max, limit = client_mails_max(link->client);

    return max > 0 && max < limit ? max : limit;
}

/* ---- what next ---- */

static void on_idle(struct loop_timer *timer)
{
    struct link *link = list_entry(timer, struct link, idle);

    if (link->pulling)
        scheduler_pull_cancel(link->dispatch->set->scheduler, link->site, link);
}

static uint64_t idle_ms(const struct link *link)
{
    return link->path != NULL && link->path->conf != NULL ? link->path->conf->idle_ms
                                                          : LINK_IDLE_MODULE_MS;
}

static void pull(struct link *link)
{
    struct scheduler *scheduler = link->dispatch->set->scheduler;

    link->pulling = true;
    scheduler_pull(scheduler, link->site, link, link->dispatch->index, SCHEDULER_PULL_MAX);
    if (idle_ms(link) > 0)
        loop_timer_start(link->dispatch->loop, &link->idle, idle_ms(link));
    else
        scheduler_pull_cancel(scheduler, link->site, link);
}

static void rest(struct link *link)
{
    if (link->pulling) {
        if (link->closing)
            scheduler_pull_cancel(link->dispatch->set->scheduler, link->site, link);
        return; /* its answer brings us back */
    }
    if (link->closing || link->dispatch->draining || !link->opened)
        give_back(link, false, slice_make(NULL, 0));
    else
        pull(link);
}

/* A connection made by a configuration that is gone would keep it alive. */
static bool is_of_old_generation(const struct link *link, const struct shipment *s)
{
    return link->path->generation.generation != s->path->generation.generation;
}

/* One that has put it off; or one that is there for those that the first hosts put off. */
static bool is_wrong_host(const struct link *link, const struct shipment *s)
{
    if (s->tried == 0)
        return link->detour;
    return (s->tried & delivery_shipment_bits(s, link->order[link->order_at])) != 0;
}

static void carry(struct link *link)
{
    struct shipment *s = list_entry(link->shipments.next, struct shipment, queued);

    if (s->path->conf == NULL) {
        start_module(link);
        return;
    }
    if (link->client != NULL && link->ready &&
        (link->carried >= messages_max(link) || is_of_old_generation(link, s) || is_wrong_host(link, s))) {
        client_quit(link->client);
        link->client = NULL;
        link->ready = false;
    }
    if (link->client == NULL)
        connect_for(link, s);
    else if (link->ready)
        send_next(link);
}

/* The one door: whatever happened, this does what comes next. May free the link. */
static void advance(struct link *link)
{
    if (link->current != NULL)
        return;
    return_stale(link);
    if (!list_empty(&link->shipments))
        carry(link);
    else if (link->client == NULL || link->ready)
        rest(link);
    /* else it connects for nothing any more; on_ready() comes here again */
}

void delivery_link_parcels(struct link *link, struct list *parcels)
{
    struct list *at;

    link->pulling = false;
    loop_timer_stop(&link->idle);
    if (list_empty(parcels))
        link->closing = true;
    while ((at = list_pop(parcels)) != NULL) {
        struct shipment *s = list_entry(at, struct parcel, link)->owner;
        list_push(&link->shipments, &s->queued);
        link->closing = false;
    }
    advance(link);
}

void delivery_links_drain(struct dispatch *d)
{
    list_each_safe (at, &d->links) {
        struct link *link = list_entry(at, struct link, link);
        link->closing = true;
        advance(link);
    }
}

void delivery_link_open(struct dispatch *d, struct site *site, struct shipment *first)
{
    struct link *link = mem_zalloc(sizeof(*link));

    link->dispatch = d;
    link->site = site;
    list_init(&link->shipments);
    list_push(&d->links, &link->link);
    loop_timer_init(&link->idle, on_idle);
    atomic_fetch_add_explicit(&d->set->link_count, 1, memory_order_relaxed);
    list_push(&link->shipments, &first->queued);
    advance(link);
}
