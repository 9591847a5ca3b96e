/* SPDX-License-Identifier: Apache-2.0 */
#include "server/rates.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/table.h"

/*
 * A bucket is one number, the time at which it will be full again (GCRA): each event puts it off by one
 * interval, and an event that would put it further ahead than the whole period is one too many. So a row of the
 * table is all there is, and one whose time has passed means nothing any more.
 */
struct rates {
    pthread_mutex_t lock;
    struct table full_at; /* kind, network -> microseconds, as a number in the pointer */
};

#define KEY_OCTETS 18

struct rates *rates_new(void)
{
    struct rates *r = mem_zalloc(sizeof(*r));

    (void)pthread_mutex_init(&r->lock, NULL);
    table_init(&r->full_at);
    return r;
}

void rates_free(struct rates *r)
{
    if (r == NULL)
        return;
    table_free(&r->full_at, NULL);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

tern_address rates_network(const tern_address *address, unsigned ipv4_mask, unsigned ipv6_mask)
{
    tern_address n = *address;
    unsigned bits = n.family == 4 ? ipv4_mask : ipv6_mask;
    unsigned octets = n.family == 4 ? 4 : 16;

    n.port = 0;
    for (unsigned i = 0; i < octets; i++) {
        unsigned keep = bits > i * 8 ? bits - i * 8 : 0;
        if (keep < 8)
            n.octets[i] &= (uint8_t)(0xff00 >> keep);
    }
    return n;
}

static struct slice make_key(char out[KEY_OCTETS], enum rate_kind kind, const tern_address *network)
{
    out[0] = (char)kind;
    out[1] = (char)network->family;
    memcpy(out + 2, network->octets, 16);
    return slice_make(out, network->family == 4 ? 6 : KEY_OCTETS);
}

struct sweep {
    struct table kept;
    uint64_t now_us;
};

static void keep_busy(void *arg, struct slice key, void *value)
{
    struct sweep *s = arg;

    if ((uintptr_t)value > s->now_us)
        (void)table_put(&s->kept, key, value);
}

/*
 * Full: the quiet ones go. If nearly all are busy that is an attack from everywhere, for which rates by network
 * are no answer: everything is forgotten, which costs each network one more burst and us nothing.
 */
static void make_room(struct rates *r, uint64_t now_us)
{
    struct sweep s = { .now_us = now_us };

    table_init(&s.kept);
    table_each(&r->full_at, keep_busy, &s);
    if (s.kept.count > RATES_NETWORKS_MAX / 2) {
        table_free(&s.kept, NULL);
        table_init(&s.kept);
    }
    table_free(&r->full_at, NULL);
    r->full_at = s.kept;
}

bool rates_take(struct rates *r, enum rate_kind kind, const tern_address *network, struct tern_rate rate,
                uint64_t now_us)
{
    char octets[KEY_OCTETS];
    struct slice key = make_key(octets, kind, network);
    bool may = false;

    if (rate.count == 0)
        return true;
    uint64_t period_us = rate.per_ms * 1000;
    uint64_t interval_us = period_us / rate.count > 0 ? period_us / rate.count : 1;
    (void)pthread_mutex_lock(&r->lock);
    uint64_t full_at = (uintptr_t)table_get(&r->full_at, key);
    uint64_t next = (full_at > now_us ? full_at : now_us) + interval_us;
    if (next - now_us <= period_us) {
        if (full_at == 0 && r->full_at.count >= RATES_NETWORKS_MAX)
            make_room(r, now_us);
        (void)table_put(&r->full_at, key, (void *)(uintptr_t)next);
        may = true;
    }
    (void)pthread_mutex_unlock(&r->lock);
    return may;
}

unsigned rates_count(struct rates *r)
{
    (void)pthread_mutex_lock(&r->lock);
    unsigned n = (unsigned)r->full_at.count;
    (void)pthread_mutex_unlock(&r->lock);
    return n;
}
