/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry.c - when to try again (RFC 5321 4.5.4.1): after 5 min, each time half as long again up
 * to 4 h, up to 5 days (a bounce: 2), each time 20 % sooner or later, so that what failed
 * together does not come back together.
 *
 * The jitter is a hash of queue id and attempt: pure, so that a simulation can be repeated.
 */
#include "queue/plan.h"

uint64_t queue_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t queue_jitter(uint64_t ms, unsigned percent, uint64_t seed)
{
    uint64_t span = ms / 100 * percent;

    return ms - span + queue_mix(seed) % (2 * span + 1);
}

uint64_t queue_retry_at(const struct queue_retry *r, const struct spool_entry *entry,
                        uint64_t now_ms)
{
    uint64_t wait = r->min_ms;
    uint64_t end = entry->arrival_ms + (entry->bounce ? r->expire_bounce_ms : r->expire_ms);

    if (now_ms >= end)
        return 0;
    for (uint32_t i = 0; i < entry->attempts && wait < r->max_ms; i++) {
        uint64_t longer = wait / 100 * r->factor_percent;
        wait = longer > wait ? longer : wait + 1;
        if (r->factor_percent <= 100)
            break; /* it does not grow: attempts may be many */
    }
    if (wait > r->max_ms)
        wait = r->max_ms;
    wait = queue_jitter(wait, r->jitter_percent,
                        entry->key.txn ^ ((uint64_t)entry->key.group << 48) ^ entry->attempts);
    /* The last attempt falls on the day it expires, not hours before. */
    return wait < end - now_ms ? now_ms + wait : end;
}
