/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.c - a shipment carried by a module's transport, on a thread of the pool.
 *
 * struct tern_delivery has two holders: the link, and the job in the pool. It refers to what it
 * needs by counts of its own, so that a module which never comes back holds its memory and its
 * place in the pool's share, and nothing else: after its delivery_timeout the link goes on without
 * it, and what it says later is not heard.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/clock.h"
#include "delivery/internal.h"
#include "delivery/local.h"
#include "module/api.h"

struct module_outcome {
    unsigned code; /* 0: none */
    char enhanced[12];
    char *text;
};

struct tern_delivery {
    _Atomic unsigned refs;
    struct pool_job job;
    struct port_item item;
    struct port *port;
    struct link *link;         /* loop only; NULL: abandoned */
    struct shipment *shipment; /* loop only */
    struct loop_timer deadline;
    uint64_t deadline_ms; /* of the clock: what the module starts is over by then */
    char id[SPOOL_ID_TEXT_MAX];
    struct spool_loaded *loaded;
    struct txn_facts *txn;
    struct dispatch_generation generation;
    const struct transport *transport;
    unsigned *rcpts; /* indices in txn->rcpts */
    unsigned rcpt_count;
    pthread_mutex_t lock; /* over what follows */
    struct module_outcome *outcomes;
};

static void unref(struct tern_delivery *t)
{
    if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned i = 0; i < t->rcpt_count; i++)
        free(t->outcomes[i].text);
    free(t->outcomes);
    free(t->rcpts);
    spool_unload(t->loaded);
    txn_facts_unref(t->txn);
    if (t->generation.unref != NULL)
        t->generation.unref(t->generation.generation);
    port_unref(t->port);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- what the module may call; pool thread ---- */

static tern_str get_id(const tern_delivery *t)
{
    return (tern_str){ t->id, strlen(t->id) };
}

static const struct tern_mailbox *get_sender(const tern_delivery *t)
{
    return &t->txn->sender;
}

static unsigned get_rcpt_count(const tern_delivery *t)
{
    return t->rcpt_count;
}

static const struct tern_recipient *get_rcpt(const tern_delivery *t, unsigned index)
{
    return index < t->rcpt_count ? &t->txn->rcpts[t->rcpts[index]]->view : NULL;
}

static uint64_t get_octets(const tern_delivery *t)
{
    return spool_loaded_octets(t->loaded);
}

/* Who is not waited for any more gets nothing more to deliver: it is delivered again later. */
static int64_t get_read(tern_delivery *t, uint64_t offset, void *buffer, size_t octets)
{
    if (clock_now_ms() >= t->deadline_ms)
        return -ETIMEDOUT;
    return spool_read(t->loaded, offset, buffer, octets);
}

static bool get_is_binary(const tern_delivery *t)
{
    return t->txn->body == BODY_BINARYMIME;
}

static void set_outcome(tern_delivery *t, unsigned index, tern_verdict verdict, unsigned code,
                        const char *enhanced, const char *text)
{
    unsigned class_ = verdict == TERN_ACCEPT ? 2 : verdict == TERN_REJECT ? 5 : 4;
    char line[OUTCOME_TEXT_MAX];

    if (index >= t->rcpt_count)
        return;
    if (code / 100 != class_)
        code = class_ == 2 ? 250 : class_ == 5 ? 554 : 451;
    if (enhanced == NULL || enhanced[0] != (char)('0' + class_) || strlen(enhanced) > 11)
        enhanced = class_ == 2 ? "2.0.0" : class_ == 5 ? "5.3.0" : "4.3.0";
    (void)snprintf(line, sizeof(line), "%u %s %s", code, enhanced, text != NULL ? text : "");
    (void)pthread_mutex_lock(&t->lock);
    struct module_outcome *o = &t->outcomes[index];
    free(o->text);
    o->code = code;
    (void)snprintf(o->enhanced, sizeof(o->enhanced), "%s", enhanced);
    o->text = mem_strdup(line);
    (void)pthread_mutex_unlock(&t->lock);
}

static int64_t read_at(void *arg, uint64_t offset, void *buffer, size_t octets)
{
    return get_read(arg, offset, buffer, octets);
}

static void do_local(tern_delivery *t, const struct tern_local *local, tern_str hostname,
                     struct tern_local_answer *ret)
{
    struct delivery_local d = { .local = local, .message = { read_at, t }, .octets = get_octets(t),
                                .hostname = hostname, .deadline_ms = t->deadline_ms };

    delivery_local_ask(&d, ret);
}

static const struct api_delivery functions = {
    .id = get_id,
    .sender = get_sender,
    .rcpt_count = get_rcpt_count,
    .rcpt = get_rcpt,
    .octets = get_octets,
    .read = get_read,
    .outcome = set_outcome,
    .is_binary = get_is_binary,
    .local = do_local,
};

void delivery_module_init(void)
{
    api_set_delivery(&functions);
}

/* ---- on the pool ---- */

static void put_off(struct tern_delivery *t, const char *why)
{
    char text[OUTCOME_TEXT_MAX];

    log_event(LOG_ERROR, LOG_EV_spool, t->id, "a message that is to be delivered cannot be read: %s", why);
    (void)snprintf(text, sizeof(text), "the message cannot be read here: %s", why);
    for (unsigned i = 0; i < t->rcpt_count; i++)
        set_outcome(t, i, TERN_DEFER, 451, "4.3.0", text);
}

static void run(struct pool_job *job)
{
    struct tern_delivery *t = list_entry(job, struct tern_delivery, job);
    char why[SPOOL_WHY_MAX];

    if (spool_body_open(t->loaded, why) < 0) {
        put_off(t, why);
        return;
    }
    t->transport->module->deliver(t, t->transport->conf);
    spool_body_close(t->loaded);
}

static void on_run(struct pool_job *job)
{
    struct tern_delivery *t = list_entry(job, struct tern_delivery, job);

    if (!port_put(t->port, &t->item))
        unref(t);
}

/* ---- on the loop ---- */

static void hand_over(struct tern_delivery *t, const char *without)
{
    struct link *link = t->link;
    struct shipment *s = t->shipment;

    loop_timer_stop(&t->deadline);
    t->link = NULL;
    (void)pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < t->rcpt_count; i++) {
        const struct module_outcome *o = &t->outcomes[i];
        if (o->code != 0)
            delivery_shipment_outcome(s, i, o->code, o->enhanced, slice_cstr(o->text), false);
    }
    (void)pthread_mutex_unlock(&t->lock);
    (void)snprintf(s->host, sizeof(s->host), "%.*s", (int)t->transport->name.len,
                   t->transport->name.ptr);
    delivery_shipment_defer(s, 451, "4.3.0", slice_cstr(without));
    unref(t);
    delivery_link_carried(link);
}

static void came_back(struct port_item *item, bool gone)
{
    struct tern_delivery *t = list_entry(item, struct tern_delivery, item);

    if (!gone && t->link != NULL)
        hand_over(t, "the transport gave no outcome");
    unref(t);
}

static void on_deadline(struct loop_timer *timer)
{
    struct tern_delivery *t = list_entry(timer, struct tern_delivery, deadline);
    struct pool *pool = delivery_link_dispatch(t->link)->set->options.pool;

    if (pool_cancel(pool, &t->job)) {
        unref(t); /* the job's: it never ran */
        hand_over(t, "no thread was free for the transport in time");
        return;
    }
    log_event(LOG_WARNING, LOG_EV_step_slow, t->id,
              "transport %.*s took too long and is not waited for", (int)t->transport->name.len,
              t->transport->name.ptr);
    hand_over(t, "the transport took too long");
}

void delivery_module_abandon(struct tern_delivery *t)
{
    loop_timer_stop(&t->deadline);
    t->link = NULL;
    unref(t);
}

static _Atomic unsigned *share_of(struct dispatch_set *set, struct slice type)
{
    (void)pthread_mutex_lock(&set->lock);
    _Atomic unsigned *share = table_get(&set->shares, type);
    if (share == NULL) {
        share = mem_zalloc(sizeof(*share));
        (void)table_put(&set->shares, type, (void *)share);
    }
    (void)pthread_mutex_unlock(&set->lock);
    return share;
}

static struct tern_delivery *delivery_new(struct link *link, struct shipment *s)
{
    const struct message *m = s->message;
    struct tern_delivery *t = mem_zalloc(sizeof(*t));

    atomic_init(&t->refs, 2);
    (void)pthread_mutex_init(&t->lock, NULL);
    t->link = link;
    t->shipment = s;
    t->port = port_ref(delivery_link_dispatch(link)->port);
    memcpy(t->id, m->id, sizeof(t->id));
    t->loaded = spool_loaded_ref(m->loaded);
    t->txn = txn_facts_ref(m->txn);
    t->generation = s->path->generation;
    if (t->generation.ref != NULL)
        t->generation.ref(t->generation.generation);
    t->transport = s->path->transport;
    t->rcpt_count = s->rcpt_count;
    t->rcpts = mem_alloc(s->rcpt_count * sizeof(t->rcpts[0]));
    for (unsigned i = 0; i < s->rcpt_count; i++)
        t->rcpts[i] = m->rcpts[s->rcpts[i]].index;
    t->outcomes = mem_zalloc(s->rcpt_count * sizeof(t->outcomes[0]));
    t->item.run = came_back;
    loop_timer_init(&t->deadline, on_deadline);
    return t;
}

static uint64_t timeout_of(const struct dispatch *d, const struct transport *transport)
{
    return transport->timeout_ms > 0 ? transport->timeout_ms : d->set->options.module_timeout_ms;
}

int delivery_module_start(struct link *link, struct shipment *s, struct tern_delivery **ret)
{
    struct dispatch *d = delivery_link_dispatch(link);
    struct tern_delivery *t = delivery_new(link, s);

    t->job.running = share_of(d->set, t->transport->type);
    t->job.share = d->set->options.module_parallel;
    uint64_t timeout_ms = timeout_of(d, s->path->transport);
    t->deadline_ms = clock_now_ms() + timeout_ms;
    t->job.run = run;
    t->job.done = on_run;
    *ret = t;
    int r = pool_submit(d->set->options.pool, &t->job);
    if (r < 0) {
        *ret = NULL;
        t->link = NULL;
        unref(t);
        unref(t);
        return r;
    }
    loop_timer_start(d->loop, &t->deadline, timeout_ms);
    return 0;
}
