/* SPDX-License-Identifier: Apache-2.0 */
/* dispatch_fakes.c - policy, DNS, clients and a module's transport, as dispatch_world.h says. */
#include "dispatch_fakes.h"

#include <CUnit/Basic.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "delivery/client.h"
#include "module/api.h"

_Atomic unsigned world_connections, world_connecting_failed, world_transactions;
_Atomic unsigned world_results[5], world_parcel_rcpts_max;
_Atomic bool world_stuck_released;

static struct world_options options;
_Atomic tern_verdict world_notice_verdict;

static bool starts(tern_str s, const char *with)
{
    return slice_starts_nocase(slice_of(s), slice_cstr(with));
}

/* ---- policies ---- */

static struct smtp_transport_conf relay_conf, mx_conf, down_conf;
static const tern_str h12[] = { { "h1:25", 5 }, { "h2:25", 5 } };
static const tern_str down12[] = { { "down1:25", 8 }, { "h2:25", 5 } };
static const tern_str busy[] = { { "busy1:25", 8 } };
static const tern_str drop[] = { { "drop1:25", 8 } };
static const tern_str last[] = { { "last1:25", 8 } };
static const tern_str quits[] = { { "quits1:25", 9 }, { "h2:25", 5 } };
static const tern_str soft[] = { { "soft1:25", 8 }, { "down2:25", 8 }, { "soft2:25", 8 }, { "h2:25", 5 } };
static const tern_str softer[] = { { "soft1:25", 8 }, { "soft2:25", 8 } };
static const tern_str softdown[] = { { "soft1:25", 8 }, { "down1:25", 8 } };
static const tern_str eleven[] = { { "soft1:25", 8 }, { "soft2:25", 8 }, { "soft3:25", 8 }, { "soft4:25", 8 },
                                   { "soft5:25", 8 }, { "soft6:25", 8 }, { "soft7:25", 8 }, { "soft8:25", 8 },
                                   { "soft9:25", 8 }, { "soft10:25", 9 }, { "soft11:25", 9 } };
static const tern_str limits[] = { { "limits1:25", 10 } };
static const tern_str hangs[] = { { "quits1:25", 9 }, { "quits2:25", 9 } };

static void deliver_box(tern_delivery *delivery, const void *conf);
static const struct tern_transport box = { .size = sizeof(box),
                                           .type = "box",
                                           .deliver = deliver_box };

static struct transport transports[] = {
    { .name = { "box", 3 }, .type = { "box", 3 }, .module = &box },
    { .name = { "relay", 5 }, .type = { "smtp", 4 }, .conf = &relay_conf },
    { .name = { "down", 4 }, .type = { "smtp", 4 }, .conf = &down_conf },
    { .name = { "smtp", 4 }, .type = { "smtp", 4 }, .conf = &mx_conf },
};

const struct policies *fake_policies(void)
{
    return (const struct policies *)(const void *)&transports;
}

const struct policy *policies_find(const struct policies *policies, struct slice name)
{
    (void)policies;
    return slice_equal(name, SLICE("inbound")) || slice_equal(name, SLICE("generated"))
               ? (const struct policy *)(const void *)&transports
               : NULL;
}

const struct transport *policies_transport(const struct policies *policies, struct slice name)
{
    (void)policies;
    for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++)
        if (slice_equal(transports[i].name, name))
            return &transports[i];
    return NULL;
}

void fakes_start(const struct world_options *o)
{
    options = *o;
    transports[0].timeout_ms = o->box_timeout_ms;
    atomic_store(&world_notice_verdict, o->notice);
    const struct smtp_transport_conf conf = {
        .port = 25,
        .connections_max = o->connections_max > 0 ? o->connections_max : 5,
        .rcpts_max = o->rcpts_max > 0 ? o->rcpts_max : 100,
        .messages_max = o->messages_max > 0 ? o->messages_max : 100,
        .idle_ms = o->idle_ms,
        .helo = { "", 0 },
    };
    relay_conf = mx_conf = down_conf = conf;
    relay_conf.to = (struct tern_list){ h12, 2 };
    down_conf.to = (struct tern_list){ down12, 1 };
    atomic_store(&world_connections, 0);
    atomic_store(&world_connecting_failed, 0);
    atomic_store(&world_transactions, 0);
    atomic_store(&world_parcel_rcpts_max, 0);
    atomic_store(&world_stuck_released, false);
    for (unsigned i = 0; i < 5; i++)
        atomic_store(&world_results[i], 0);
}

/* ---- answers later, from the loop ---- */

struct later {
    struct loop_task task;
    void (*run)(void *arg);
    void *arg;
    bool cancelled;
};

static void run_later(struct loop_task *task)
{
    struct later *later = list_entry(task, struct later, task);

    if (!later->cancelled)
        later->run(later->arg);
    free(later);
}

static struct later *do_later(void (*run)(void *arg), void *arg)
{
    struct later *later = mem_zalloc(sizeof(*later));

    later->run = run;
    later->arg = arg;
    list_init(&later->task.link);
    later->task.run = run_later;
    loop_post(loop_current(), &later->task);
    return later;
}

/* ---- the engine ---- */

struct engine_delivery {
    struct session_facts *session;
    struct txn_facts *txn;
    struct route_answer *answers;
    route_done done;
    engine_done deliver_done;
    struct decision decision;
    void *arg;
    struct later *later;
};

struct engine_delivery *engine_delivery_new(struct engine *engine,
                                            const struct engine_session_options *o,
                                            struct txn_facts *txn)
{
    struct engine_delivery *d = mem_zalloc(sizeof(*d));

    (void)engine;
    CU_ASSERT_PTR_NOT_NULL(o->policy);
    d->session = o->facts;
    d->txn = txn;
    return d;
}

static void route_one(const struct rcpt_facts *rcpt, struct route_answer *a)
{
    struct slice domain = slice_of(rcpt->view.mailbox.domain);

    *a = (struct route_answer){ .verdict = TERN_ACCEPT };
    if (slice_equal(domain, SLICE("reject.test"))) {
        *a = (struct route_answer){
            .verdict = TERN_REJECT, .code = 550, .enhanced = "5.7.1", .text = SLICE("no")
        };
    } else if (slice_equal(domain, SLICE("defer.test"))) {
        *a = (struct route_answer){
            .verdict = TERN_DEFER, .code = 451, .enhanced = "4.7.1", .text = SLICE("later")
        };
    } else if (slice_equal(domain, SLICE("discard.test"))) {
        a->route.discard_reason = TERN_STR("nobody reads it");
    } else if (slice_equal(domain, SLICE("nowhere.test"))) {
        a->route.transport = TERN_STR("gone");
    } else if (slice_equal(domain, SLICE("box.test"))) {
        a->route.transport = TERN_STR("box");
    } else if (slice_equal(domain, SLICE("fixed.test"))) {
        a->route.transport = TERN_STR("relay");
    } else if (slice_equal(domain, SLICE("fallback.test"))) {
        a->route.transport = TERN_STR("relay");
        a->route.to = (struct tern_list){ down12, 2 };
    } else if (slice_equal(domain, SLICE("busy.test")) || slice_equal(domain, SLICE("drop.test"))) {
        a->route.transport = TERN_STR("relay");
        a->route.to = (struct tern_list){ domain.ptr[0] == 'b' ? busy : drop, 1 };
    } else if (slice_equal(domain, SLICE("limits.test"))) {
        a->route.transport = TERN_STR("relay");
        a->route.to = (struct tern_list){ limits, 1 };
    } else if (slice_equal(domain, SLICE("last.test"))) {
        a->route.transport = TERN_STR("relay");
        a->route.to = (struct tern_list){ last, 1 };
    } else if (slice_equal(domain, SLICE("quits.test")) ||
               slice_equal(domain, SLICE("hangs.test"))) {
        a->route.transport = TERN_STR("relay");
        a->route.to = (struct tern_list){ domain.ptr[0] == 'q' ? quits : hangs, 2 };
    } else if (slice_equal(domain, SLICE("soft.test"))) {
        a->route.transport = TERN_STR("relay");
        a->route.to = (struct tern_list){ soft, 4 };
    } else if (slice_equal(domain, SLICE("ten.test")) || slice_equal(domain, SLICE("eleven.test"))) {
        a->route.transport = TERN_STR("relay");
        a->route.to = (struct tern_list){ eleven, domain.ptr[0] == 't' ? 10 : 11 };
    } else if (slice_equal(domain, SLICE("softer.test")) || slice_equal(domain, SLICE("softdown.test"))) {
        a->route.transport = TERN_STR("relay");
        a->route.to = (struct tern_list){ domain.len == 11 ? softer : softdown, 2 };
    } else if (slice_equal(domain, SLICE("down.test"))) {
        a->route.transport = TERN_STR("down");
    } else {
        a->route.transport = TERN_STR("smtp");
    }
}

static void tell_routes(void *arg)
{
    struct engine_delivery *d = arg;

    d->later = NULL;
    d->done(d->arg, d->answers);
}

void engine_route(struct engine_delivery *d, const unsigned *rcpts, unsigned count, route_done done,
                  void *arg)
{
    d->answers = mem_zalloc((count + 1) * sizeof(d->answers[0]));
    for (unsigned i = 0; i < count; i++) {
        CU_ASSERT_FATAL(rcpts[i] < d->txn->rcpt_count);
        route_one(d->txn->rcpts[rcpts[i]], &d->answers[i]);
    }
    d->done = done;
    d->arg = arg;
    if (options.async)
        d->later = do_later(tell_routes, d);
    else
        tell_routes(d);
}

static void tell_deliver(void *arg)
{
    struct engine_delivery *d = arg;

    d->later = NULL;
    d->deliver_done(d->arg, &d->decision);
}

void engine_deliver(struct engine_delivery *d, const unsigned *rcpts, unsigned count,
                    struct tern_route *route, engine_done done, void *arg)
{
    tern_str local = d->txn->rcpts[rcpts[0]]->view.mailbox.local;

    CU_ASSERT(count > 0);
    CU_ASSERT_PTR_NULL(d->later); /* one question at a time */
    d->decision = (struct decision){ .verdict = TERN_NEXT };
    if (starts(local, "hold"))
        d->decision = (struct decision){ .verdict = TERN_HOLD, .text = SLICE("looks odd") };
    else if (starts(local, "refuse"))
        d->decision = (struct decision){
            .verdict = TERN_REJECT, .code = 550, .enhanced = "5.7.0", .text = SLICE("no")
        };
    else if (starts(local, "reroute"))
        route->to = (struct tern_list){ h12, 2 };
    d->deliver_done = done;
    d->arg = arg;
    if (options.async)
        d->later = do_later(tell_deliver, d);
    else
        tell_deliver(d);
}

void engine_result(struct engine_delivery *d, const unsigned *rcpts, unsigned count,
                   const struct engine_outcome *outcome)
{
    static const char *const names[] = { "delivered", "deferred", "bounced", "expired" };
    unsigned i = 0;

    (void)rcpts;
    CU_ASSERT(d != NULL && outcome->text.len > 0);
    while (i < 4 && !slice_equal(outcome->name, slice_cstr(names[i])))
        i++;
    atomic_fetch_add(&world_results[i], count);
}

void engine_delivery_free(struct engine_delivery *d)
{
    if (d->later != NULL)
        d->later->cancelled = true;
    session_facts_unref(d->session);
    txn_facts_unref(d->txn);
    free(d->answers);
    free(d);
}

struct engine_enqueue {
    struct session_facts *session;
    struct txn_facts *txn;
    struct body *body;
    engine_message_done done;
    void *arg;
    struct later *later;
};

static void tell_enqueued(void *arg)
{
    struct engine_enqueue *e = arg;
    const struct engine_group group = { .number = 1, .facts = e->txn };
    tern_verdict verdict = atomic_load(&world_notice_verdict);
    const struct engine_message_result result = {
        .decision = { .verdict = verdict, .code = 451 },
        .groups = &group,
        .group_count = verdict == TERN_NEXT,
        .body = e->body,
    };

    e->later = NULL;
    e->done(e->arg, &result);
}

struct engine_enqueue *engine_enqueue(struct engine *engine, const struct engine_session_options *o,
                                      struct txn_facts *txn, struct body *body,
                                      engine_message_done done, void *arg)
{
    struct engine_enqueue *e = mem_zalloc(sizeof(*e));

    (void)engine;
    *e = (struct engine_enqueue){
        .session = o->facts, .txn = txn, .body = body_ref(body), .done = done, .arg = arg
    };
    if (options.async)
        e->later = do_later(tell_enqueued, e);
    else
        tell_enqueued(e);
    return e;
}

void engine_enqueue_free(struct engine_enqueue *e)
{
    if (e->later != NULL)
        e->later->cancelled = true;
    session_facts_unref(e->session);
    txn_facts_unref(e->txn);
    body_unref(e->body);
    free(e);
}

/* ---- DNS ---- */

struct mx_request {
    char name[64];
    bool is_host;
    mx_fn done;
    void *arg;
    struct later *later;
};

static tern_address address_of(const char *name)
{
    tern_address a = { .family = 4, .octets = { 192, 0, 2, 1 } };

    for (const char *c = name; *c != '\0'; c++)
        a.octets[3] = (uint8_t)(a.octets[3] * 31 + (unsigned char)*c) % 70;
    return a;
}

static enum mx_status status_of(const char *name)
{
    return strcmp(name, "null.mx") == 0     ? MX_NULL
           : strcmp(name, "none.mx") == 0   ? MX_NO_DOMAIN
           : strcmp(name, "noaddr.mx") == 0 ? MX_NO_ADDRESS
           : strcmp(name, "fail.mx") == 0   ? MX_FAILED
                                            : MX_FOUND;
}

static void tell_mx(void *arg)
{
    struct mx_request *r = arg;
    char host[80];
    tern_address addresses[2] = { address_of(r->name),
                                  { .family = 4, .octets = { 192, 0, 2, 77 } } };
    struct mx_host hosts[2] = {
        { .name = r->name, .preference = 10, .addresses = addresses, .address_count = 1 }
    };
    struct mx_answer answer = {
        .status = status_of(r->name), .hosts = hosts, .count = 1, .error = "as asked for"
    };

    if (!r->is_host) {
        (void)snprintf(host, sizeof(host), "mx.%s", r->name);
        hosts[0].name = host;
        hosts[1] = (struct mx_host){
            .name = "other.test", .preference = 20, .addresses = addresses + 1, .address_count = 1
        };
    }
    if (strcmp(r->name, "own.mx") == 0)
        hosts[0].name = "ME.test";
    if (strcmp(r->name, "worse.mx") == 0) {
        answer.count = 2;
        hosts[0].preference = 30; /* other.test has our address, and is better */
    }
    if (strcmp(r->name, "better.mx") == 0)
        answer.count = 2;
    r->done(r->arg, &answer);
    free(r);
}

static struct mx_request *ask(const char *name, bool is_host, mx_fn done, void *arg)
{
    struct mx_request *r = mem_zalloc(sizeof(*r));

    (void)snprintf(r->name, sizeof(r->name), "%s", name);
    r->is_host = is_host;
    r->done = done;
    r->arg = arg;
    r->later = do_later(tell_mx, r);
    return r;
}

struct mx_request *mx_ask(struct dns *dns, const char *domain, mx_fn done, void *arg)
{
    (void)dns;
    return ask(domain, false, done, arg);
}

struct mx_request *host_ask(struct dns *dns, const char *host, mx_fn done, void *arg)
{
    (void)dns;
    return ask(host, true, done, arg);
}

void mx_cancel(struct mx_request *request)
{
    request->later->cancelled = true;
    free(request);
}

/* ---- clients ---- */

struct client {
    char host[80];
    const struct client_ops *ops;
    void *owner;
    struct later *later;
    const struct client_message *message;
    unsigned sent;
};

static void end_client(struct client *c, unsigned code, const char *text)
{
    char line[120];

    (void)snprintf(line, sizeof(line), "%u 4.4.2 %s", code, text);
    const struct client_reply reply = {
        .code = code, .enhanced = "4.4.2", .text = slice_cstr(line), .own = code != 421
    };
    for (unsigned i = 0; c->message != NULL && i < c->message->rcpt_count; i++)
        c->ops->on_rcpt(c->owner, i, &reply);
    c->message = NULL;
    c->ops->on_end(c->owner, &reply);
}

static void greet(void *arg)
{
    struct client *c = arg;

    c->later = NULL;
    if (strncmp(c->host, "down", 4) == 0 || strncmp(c->host, "busy", 4) == 0) {
        atomic_fetch_add(&world_connecting_failed, 1);
        end_client(c, c->host[0] == 'b' ? 421 : 451, "go away");
        return;
    }
    atomic_fetch_add(&world_connections, 1);
    c->ops->on_ready(c->owner);
}

struct client *client_new(struct loop *loop, const struct client_options *o,
                          const struct client_ops *ops, void *owner)
{
    struct client *c = mem_zalloc(sizeof(*c));

    CU_ASSERT_PTR_EQUAL(loop, loop_current());
    CU_ASSERT_STRING_EQUAL(o->helo, "me.test");
    (void)snprintf(c->host, sizeof(c->host), "%s", o->host_name);
    c->ops = ops;
    c->owner = owner;
    c->later = do_later(greet, c);
    return c;
}

static bool is_put_off(const struct client *c, struct slice to)
{
    if (strncmp(c->host, "soft", 4) != 0)
        return false;
    return slice_starts_nocase(to, SLICE("soft")) || memmem(to.ptr, to.len, ".1@", 3) != NULL;
}

static void say(struct client *c, unsigned i)
{
    struct slice to = c->message->rcpts[i].address;
    char soft_text[120];
    const struct client_reply ok = { .code = 250,
                                     .enhanced = "2.0.0",
                                     .text = SLICE("250 2.0.0 taken") };
    const struct client_reply bad = { .code = 550,
                                      .enhanced = "5.1.1",
                                      .text = SLICE("550 5.1.1 unknown") };
    const struct client_reply wait = { .code = 451,
                                       .enhanced = "4.2.1",
                                       .text = SLICE("451 4.2.1 full") };

    const struct client_reply many = { .code = 452,
                                       .enhanced = "4.5.3",
                                       .text = SLICE("452 4.5.3 too many") };

    (void)snprintf(soft_text, sizeof(soft_text), "450 4.2.0 %s says later", c->host);
    const struct client_reply off = { .code = 450, .enhanced = "4.2.0", .text = slice_cstr(soft_text) };

    c->ops->on_rcpt(c->owner, i,
                    is_put_off(c, to)                                  ? &off
                    : slice_starts_nocase(to, SLICE("bad"))              ? &bad
                    : slice_starts_nocase(to, SLICE("later"))          ? &wait
                    : i > 0 && slice_starts_nocase(to, SLICE("few")) ? &many
                                                                       : &ok);
}

/* "mID.N@..." in the address names message and recipient, so that a second delivery is seen. */
static void count_carried(struct slice address)
{
    char text[128], id[32];
    unsigned rcpt;

    (void)snprintf(text, sizeof(text), "%.*s", (int)address.len, address.ptr);
    unsigned long long txn;
    if (sscanf(text, "m%llu.%u@", &txn, &rcpt) == 2) {
        (void)snprintf(id, sizeof(id), "id%llu", txn);
        world_carried(id, rcpt);
    }
}

static void carry(void *arg)
{
    struct client *c = arg;
    char octets[16];
    uint64_t offset = 0;
    int64_t n;

    c->later = NULL;
    if (strncmp(c->host, "drop", 4) == 0 && c->sent > 0) {
        end_client(c, 451, "connection lost");
        return;
    }
    if (strncmp(c->host, "quits", 5) == 0 || (strncmp(c->host, "last", 4) == 0 && c->sent > 0)) {
        end_client(c, 421, "enough");
        return;
    }
    while ((n = c->message->read(c->message->arg, offset, octets, sizeof(octets))) > 0)
        offset += (uint64_t)n;
    CU_ASSERT_EQUAL(offset, c->message->octets);
    for (unsigned i = 0; i < c->message->rcpt_count; i++) {
        if (!is_put_off(c, c->message->rcpts[i].address))
            count_carried(c->message->rcpts[i].address);
        say(c, i);
    }
    unsigned max = atomic_load(&world_parcel_rcpts_max);
    while (c->message->rcpt_count > max &&
           !atomic_compare_exchange_weak(&world_parcel_rcpts_max, &max, c->message->rcpt_count))
        ;
    atomic_fetch_add(&world_transactions, 1);
    c->message = NULL;
    c->sent++;
    c->ops->on_sent(c->owner);
}

void client_send(struct client *c, const struct client_message *message)
{
    CU_ASSERT_PTR_NULL_FATAL(c->message);
    c->message = message;
    c->later = do_later(carry, c);
}

bool client_offers_dsn(const struct client *c)
{
    return strncmp(c->host, "dsn", 3) == 0;
}

unsigned client_rcpts_max(const struct client *c)
{
    return strncmp(c->host, "limits", 6) == 0 ? 3 : UINT_MAX;
}

unsigned client_mails_max(const struct client *c)
{
    return strncmp(c->host, "limits", 6) == 0 ? 2 : UINT_MAX;
}

void client_free(struct client *c)
{
    if (c->later != NULL)
        c->later->cancelled = true;
    free(c);
}

void client_tls_text(const struct client *client, char *out, size_t octets)
{
    (void)client;
    (void)snprintf(out, octets, "%s", "");
}

void client_quit(struct client *c)
{
    CU_ASSERT_PTR_NULL(c->message);
    client_free(c);
}

/* ---- a module's transport ---- */

static const struct api_delivery *api;

void api_set_delivery(const struct api_delivery *fns)
{
    api = fns;
}

static void deliver_box(tern_delivery *delivery, const void *conf)
{
    char octets[8];
    uint64_t offset = 0;
    int64_t n;

    (void)conf;
    while ((n = api->read(delivery, offset, octets, sizeof(octets))) > 0)
        offset += (uint64_t)n;
    if (n < 0)
        return; /* too late */
    CU_ASSERT_EQUAL(offset, api->octets(delivery));
    CU_ASSERT_PTR_NULL(api->rcpt(delivery, api->rcpt_count(delivery)));
    for (unsigned i = 0; i < api->rcpt_count(delivery); i++) {
        tern_str local = api->rcpt(delivery, i)->mailbox.local;
        for (unsigned k = 0;
             starts(local, "stuck") && k < 60000 && !atomic_load(&world_stuck_released); k++)
            (void)usleep(1000);
        if (api->read(delivery, 0, octets, sizeof(octets)) < 0)
            continue; /* as a module does that reads it for each recipient */
        count_carried(slice_of(api->rcpt(delivery, i)->mailbox.address));
        if (starts(local, "bad"))
            api->outcome(delivery, i, TERN_REJECT, 550, "5.1.1", "no such box");
        else if (starts(local, "later"))
            /* the codes contradict the verdict */
            api->outcome(delivery, i, TERN_DEFER, 250, "2.0.0", "box is full");
        else if (!starts(local, "none"))
            api->outcome(delivery, i, TERN_ACCEPT, 250, "2.0.0", "stored");
    }
    api->outcome(delivery, api->rcpt_count(delivery), TERN_ACCEPT, 250, "2.0.0", "past the end");
}
