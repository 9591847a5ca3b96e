/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shipment.c - recipients of one message on one path: out by a link of any loop, home with an
 * outcome for each, or without one when nobody tried.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "delivery/internal.h"

#define TRIED_TEXT_MAX 1000

struct shipment *delivery_shipment_new(struct message *m, struct path *path, const uint32_t *rcpts,
                                       unsigned count)
{
    struct shipment *s =
        mem_zalloc(sizeof(*s) + count * (sizeof(s->outcomes[0]) + sizeof(s->rcpts[0])));

    s->outcomes = (struct shipment_outcome *)(s + 1);
    s->rcpts = (uint32_t *)(s->outcomes + count);
    memcpy(s->rcpts, rcpts, count * sizeof(s->rcpts[0]));
    s->rcpt_count = count;
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
    return s;
}

void delivery_shipment_free(struct shipment *s)
{
    list_remove(&s->link);
    delivery_path_unref(s->path);
    buf_free(&s->texts);
    free(s);
}

uint64_t delivery_shipment_bits(const struct shipment *s, const struct endpoint *e)
{
    static_assert(PATH_ENDPOINTS_MAX <= 64, "a bit for each");
    uint64_t bits = 0;

    for (unsigned i = 0; i < s->path->endpoint_count; i++) /* one may be written twice */
        bits |= (uint64_t)(strcmp(s->path->endpoints[i].host, e->host) == 0) << i;
    return bits;
}

void delivery_shipment_unreached(struct shipment *s, struct slice why)
{
    if (s->unreached_len > 0)
        buf_add_cstr(&s->texts, "; ");
    buf_add(&s->texts, slice_head(why, OUTCOME_TEXT_MAX));
    s->unreached_len = s->texts.len;
}

static enum fate fate_of(unsigned code)
{
    return code / 100 == 2 ? FATE_DELIVERED : code / 100 == 5 ? FATE_FAILED : FATE_DEFERRED;
}

/* For log and record: "mx1.example[192.0.2.1]:25: 450 4.2.0 Wait". */
static void add_tried(struct message *m, struct delivery_rcpt *r, struct slice host, struct slice text)
{
    struct buf line CLEANUP_BUF = BUF_INIT;

    buf_add(&line, r->tried);
    if (line.len > 0)
        buf_add_cstr(&line, "; ");
    buf_add(&line, host);
    if (host.len > 0)
        buf_add_cstr(&line, ": ");
    buf_add(&line, text);
    r->tried = arena_slice(&m->memory->arena, slice_head(buf_slice(&line), TRIED_TEXT_MAX));
}

static void take_outcome(struct message *m, const struct shipment *s, unsigned i, struct slice host,
                         struct slice tls)
{
    const struct shipment_outcome *o = &s->outcomes[i];
    struct delivery_rcpt *r = &m->rcpts[s->rcpts[i]];

    if (s->tried != 0 && o->code != 0 && r->host.len > 0)
        add_tried(m, r, r->host, r->text);
    if (s->unreached_len > 0)
        add_tried(m, r, SLICE(""), slice_make(s->texts.data, s->unreached_len));
    if (o->code == 0)
        return;
    r->fate = fate_of(o->code);
    memcpy(r->enhanced, o->enhanced, sizeof(r->enhanced));
    r->text = arena_slice(&m->memory->arena, slice_make(s->texts.data + o->text_at, o->text_len));
    r->handed = o->handed;
    r->took = s->path->transport->took;
    r->host = o->own ? slice_make(NULL, 0) : host;
    r->tls = o->own ? slice_make(NULL, 0) : tls;
}

static bool is_one_too_many(const struct shipment_outcome *o)
{
    return !o->own && o->code / 100 == 4 && strcmp(o->enhanced, "4.5.3") == 0;
}

static bool is_put_off(const struct shipment_outcome *o)
{
    return !o->own && o->code / 100 == 4 && !is_one_too_many(o);
}

static void ship_again(const struct shipment *s, const uint32_t *rcpts, unsigned count, uint64_t tried)
{
    struct message *m = s->message;
    struct shipment *next;
    struct list parcels;

    if (count == 0)
        return;
    next = delivery_shipment_new(m, s->path, rcpts, count);
    next->tried = tried;
    list_init(&parcels);
    list_push(&parcels, &next->parcel.link);
    scheduler_prepared(m->dispatch->set->scheduler, m->entry.key, &parcels);
}

static unsigned offered(const struct shipment *s)
{
    return s->offered > 0 ? s->offered : s->rcpt_count;
}

/*
 * RFC 5321 4.5.3.1.10: who took some recipients and wants no more of them in one transaction gets
 * the others in another one, now: with a wait each time a long list would be old before its end.
 * So do those that were more than RCPTMAX (RFC 9422). Each transaction takes one at least, so it ends.
 */
static void send_rest(const struct shipment *s)
{
    uint32_t *rest = mem_alloc(s->rcpt_count * sizeof(*rest));
    unsigned count = 0;
    bool some = false;

    for (unsigned i = 0; i < s->rcpt_count; i++)
        some |= s->outcomes[i].code / 100 == 2;
    for (unsigned i = 0; i < s->rcpt_count; i++)
        if (i >= offered(s) || (some && is_one_too_many(&s->outcomes[i])))
            rest[count++] = s->rcpts[i];
    ship_again(s, rest, count, s->tried);
    free(rest);
}

static unsigned count_bits(uint64_t bits)
{
    return (unsigned)__builtin_popcountll(bits);
}

/*
 * RFC 5321 5.1: whom one host puts off, the next one may take. Each time the path has one host less, so it
 * ends; what the last of them says counts.
 */
static void send_to_next_host(const struct shipment *s)
{
    uint64_t tried = s->tried | s->visited;
    uint32_t *rest;
    unsigned count = 0;

    if (count_bits(tried) >= SHIPMENT_HOSTS_MAX || count_bits(tried) >= s->path->endpoint_count)
        return;
    rest = mem_alloc(s->rcpt_count * sizeof(*rest));
    for (unsigned i = 0; i < s->rcpt_count; i++)
        if (is_put_off(&s->outcomes[i]))
            rest[count++] = s->rcpts[i];
    ship_again(s, rest, count, tried);
    free(rest);
}

void delivery_message_returned(struct shipment *s)
{
    struct message *m = s->message;
    struct slice host = arena_slice(&m->memory->arena, slice_cstr(s->host));
    struct slice tls = arena_slice(&m->memory->arena, slice_cstr(s->tls));

    m->busy |= s->back == PARCEL_BUSY;
    m->again |= s->stale || s->back == PARCEL_STOPPED;
    for (unsigned i = 0; i < s->rcpt_count; i++)
        take_outcome(m, s, i, host, tls);
    send_rest(s);
    send_to_next_host(s);
    delivery_shipment_free(s);
    delivery_outcome_advance(m);
}

void delivery_shipment_outcome(struct shipment *s, unsigned index, unsigned code,
                               const char *enhanced, struct slice text, bool own)
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

void delivery_shipment_defer(struct shipment *s, unsigned code, const char *enhanced,
                             struct slice text)
{
    char line[OUTCOME_TEXT_MAX];
    int n = snprintf(line, sizeof(line), "%u %s %.*s", code, enhanced, (int)text.len,
                     text.len > 0 ? text.ptr : "");
    size_t len = (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1;

    if (s->tried != 0)
        return; /* what a host said of them before stands */
    for (unsigned i = 0; i < offered(s); i++)
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
