/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch.c - the loops' ends of delivery, and what they share.
 *
 * The scheduler's ops run on its thread: each packs what it was given into a post to the loop. A
 * port hands a burst of posts over with one wake-up.
 */
#include "delivery/dispatch.h"

#include <assert.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "delivery/internal.h"

enum post_kind { POST_PREPARE, POST_OPEN, POST_PARCELS };

struct post {
    struct port_item item;
    struct dispatch *dispatch;
    enum post_kind kind;
    struct spool_entry entry;
    struct site *site;
    struct link *link; /* NULL: parcels come back */
    struct list parcels;
    char *text;
};

/* ---- from the scheduler ---- */

/* While the server drains, or cannot store outcomes, a due message goes back as it is. */
static void prepare(struct dispatch *d, const struct spool_entry *entry)
{
    struct list none;

    if (!d->draining && !atomic_load(&d->set->paused)) {
        delivery_message_prepare(d, entry);
        return;
    }
    list_init(&none);
    scheduler_prepared(d->set->scheduler, entry->key, &none);
    scheduler_done(d->set->scheduler, entry->key, entry->pending_count, entry->attempts,
                   clock_wall_ms(), false);
}

static void come_back(struct list *parcels, const char *text)
{
    struct list *at;

    while ((at = list_pop(parcels)) != NULL) {
        struct parcel *parcel = list_entry(at, struct parcel, link);
        struct shipment *s = parcel->owner;
        s->back = parcel->back;
        if (parcel->back == PARCEL_SITE_FAILED)
            delivery_shipment_defer(s, 451, "4.4.1", slice_cstr(text));
        delivery_message_returned(s);
    }
}

static void run_post(struct port_item *item, bool gone)
{
    struct post *post = list_entry(item, struct post, item);

    if (!gone) {
        switch (post->kind) {
        case POST_PREPARE: prepare(post->dispatch, &post->entry); break;
        case POST_OPEN:
            delivery_link_open(post->dispatch, post->site,
                               list_entry(list_pop(&post->parcels), struct parcel, link)->owner);
            break;
        case POST_PARCELS:
            if (post->link != NULL)
                delivery_link_parcels(post->link, &post->parcels);
            else
                come_back(&post->parcels, post->text);
        }
    }
    free(post->text);
    free(post);
}

static struct post *post_new(void *set, unsigned loop_index, enum post_kind kind)
{
    struct post *post = mem_zalloc(sizeof(*post));

    assert(loop_index < ((struct dispatch_set *)set)->options.loops);
    post->dispatch = ((struct dispatch_set *)set)->dispatches[loop_index];
    post->kind = kind;
    post->item.run = run_post;
    list_init(&post->parcels);
    return post;
}

static void put(struct post *post)
{
    if (!port_put(post->dispatch->port, &post->item))
        run_post(&post->item, true);
}

static void op_prepare(void *arg, unsigned loop_index, const struct spool_entry *entry)
{
    struct post *post = post_new(arg, loop_index, POST_PREPARE);

    post->entry = *entry;
    put(post);
}

static void op_open(void *arg, unsigned loop_index, struct site *site, struct parcel *first)
{
    struct post *post = post_new(arg, loop_index, POST_OPEN);

    post->site = site;
    list_push(&post->parcels, &first->link);
    put(post);
}

static void op_parcels(void *arg, unsigned loop_index, struct site *site, void *slot,
                       struct list *parcels, struct slice text)
{
    struct post *post = post_new(arg, loop_index, POST_PARCELS);

    (void)site;
    post->link = slot;
    list_splice(&post->parcels, parcels);
    if (slot == NULL)
        post->text = mem_dup(text.ptr, text.len);
    put(post);
}

const struct scheduler_ops *dispatch_set_ops(void)
{
    static const struct scheduler_ops ops = { .prepare = op_prepare,
                                              .open = op_open,
                                              .parcels = op_parcels };

    return &ops;
}

/* ---- the set ---- */

static void add_own(struct dispatch_set *set, const tern_address *address)
{
    set->own = mem_realloc(set->own, (set->own_count + 1) * sizeof(set->own[0]));
    set->own[set->own_count++] = *address;
}

static bool is_any(const tern_address *a)
{
    for (unsigned i = 0; i < sizeof(a->octets); i++)
        if (a->octets[i] != 0)
            return false;
    return a->family != 0;
}

static void add_machine(struct dispatch_set *set, uint8_t family, uint16_t port)
{
    struct ifaddrs *all;

    if (getifaddrs(&all) < 0)
        return; /* loops are still ended by the count of Received fields */
    for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
        tern_address a = { .family = family, .port = port };
        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != (family == 4 ? AF_INET : AF_INET6))
            continue;
        if (family == 4)
            memcpy(a.octets, &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr, 4);
        else
            memcpy(a.octets, &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr,
                   16);
        add_own(set, &a);
    }
    freeifaddrs(all);
}

struct dispatch_set *dispatch_set_new(const struct dispatch_set_options *options)
{
    struct dispatch_set *set = mem_zalloc(sizeof(*set));

    assert(options->loops > 0 && options->generation != NULL);
    set->options = *options;
    if (set->options.module_parallel == 0)
        set->options.module_parallel = 4;
    if (set->options.module_timeout_ms == 0)
        set->options.module_timeout_ms = 5 * 60000u;
    set->hostname = mem_strdup(options->hostname);
    for (unsigned i = 0; i < options->own_count; i++) {
        if (is_any(&options->own[i]))
            add_machine(set, options->own[i].family, options->own[i].port);
        else
            add_own(set, &options->own[i]);
    }
    set->options.own = NULL;
    set->options.hostname = NULL;
    set->dispatches = mem_zalloc(options->loops * sizeof(set->dispatches[0]));
    (void)pthread_mutex_init(&set->lock, NULL);
    table_init(&set->shares);
    table_init(&set->unknown);
    table_init(&set->tls_broken);
    delivery_module_init();
    return set;
}

void dispatch_set_scheduler(struct dispatch_set *set, struct scheduler *scheduler)
{
    set->scheduler = scheduler;
}

void dispatch_set_free(struct dispatch_set *set)
{
    for (unsigned i = 0; i < set->options.loops; i++)
        assert(set->dispatches[i] == NULL);
    table_free(&set->shares, free);
    table_free(&set->unknown, NULL);
    table_free(&set->tls_broken, free);
    tls_client_unref(set->tls_any);
    (void)pthread_mutex_destroy(&set->lock);
    free(set->dispatches);
    free(set->hostname);
    free(set->own);
    free(set);
}

void dispatch_set_stats(struct dispatch_set *set, struct dispatch_stats *ret)
{
    ret->messages = atomic_load_explicit(&set->message_count, memory_order_relaxed);
    ret->links = atomic_load_explicit(&set->link_count, memory_order_relaxed);
    (void)pthread_mutex_lock(&set->lock);
    ret->undurable = set->undurable;
    (void)pthread_mutex_unlock(&set->lock);
}

/* Under the lock, so that the scheduler hears of the changes in their order. */
void delivery_undurable(struct dispatch_set *set, bool more)
{
    (void)pthread_mutex_lock(&set->lock);
    assert(more || set->undurable > 0);
    set->undurable += more ? 1 : -1u;
    if (set->undurable == (more ? 1u : 0u)) {
        atomic_store(&set->paused, more);
        scheduler_pause(set->scheduler, SCHEDULER_UNDURABLE, more);
    }
    (void)pthread_mutex_unlock(&set->lock);
}

/* ---- one loop's ---- */

struct dispatch *dispatch_new(struct dispatch_set *set, unsigned index, struct loop *loop,
                              struct engine *engine, struct dns *dns)
{
    struct dispatch *d = mem_zalloc(sizeof(*d));

    assert(index < set->options.loops && set->dispatches[index] == NULL);
    d->set = set;
    d->index = index;
    d->loop = loop;
    d->engine = engine;
    d->dns = dns;
    d->port = port_new(loop);
    list_init(&d->messages);
    list_init(&d->links);
    table_init(&d->paths);
    table_init(&d->dead);
    loop_timer_init(&d->tidy, delivery_paths_tidy);
    set->dispatches[index] = d;
    return d;
}

void delivery_check_drained(struct dispatch *d)
{
    void (*drained)(void *arg) = d->drained;

    if (!d->draining || drained == NULL || !list_empty(&d->messages) || !list_empty(&d->links))
        return;
    d->drained = NULL;
    drained(d->drained_arg);
}

void dispatch_drain(struct dispatch *d, void (*done)(void *arg), void *arg)
{
    d->draining = true;
    delivery_links_drain(d);
    d->drained = done;
    d->drained_arg = arg;
    delivery_check_drained(d);
}

void dispatch_free(struct dispatch *d)
{
    struct dispatch_set *set = d->set;

    d->drained = NULL;
    /* All links first: a link may carry a shipment of another loop's message. */
    for (unsigned i = 0; i < set->options.loops; i++) {
        if (set->dispatches[i] != NULL)
            delivery_links_close(set->dispatches[i]);
    }
    port_close(d->port); /* gives the reference back, too */
    while (!list_empty(&d->messages))
        delivery_message_free(list_entry(d->messages.next, struct message, link));
    delivery_paths_flush(d);
    table_free(&d->paths, NULL);
    table_free(&d->dead, free);
    loop_timer_stop(&d->tidy);
    set->dispatches[d->index] = NULL;
    free(d);
}
