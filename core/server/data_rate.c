/* SPDX-License-Identifier: Apache-2.0 */
#include "server/data_rate.h"

static uint64_t spent(const struct data_rate *r, uint64_t now_ms)
{
    return r->spent_ms + (r->runs && now_ms > r->since_ms ? now_ms - r->since_ms : 0);
}

static void begin(struct data_rate *r, uint64_t now_ms, uint64_t octets, uint64_t window_ms)
{
    *r = (struct data_rate){ .window_ms = window_ms, .octets = octets, .since_ms = now_ms, .runs = true };
}

void data_rate_run(struct data_rate *r, uint64_t now_ms, uint64_t octets, uint64_t window_ms)
{
    if (r->window_ms == 0)
        begin(r, now_ms, octets, window_ms);
    if (r->runs)
        return;
    r->runs = true;
    r->since_ms = now_ms;
}

void data_rate_hold(struct data_rate *r, uint64_t now_ms)
{
    r->spent_ms = spent(r, now_ms);
    r->runs = false;
}

void data_rate_end(struct data_rate *r)
{
    *r = (struct data_rate){ 0 };
}

uint64_t data_rate_left_ms(const struct data_rate *r, uint64_t now_ms)
{
    uint64_t used = spent(r, now_ms);

    if (!r->runs)
        return UINT64_MAX;
    return used < r->window_ms ? r->window_ms - used : 0;
}

bool data_rate_is_enough(struct data_rate *r, uint64_t now_ms, uint64_t octets, uint64_t octets_per_s,
                         uint64_t *ret_octets)
{
    uint64_t came = octets - r->octets;

    if (data_rate_left_ms(r, now_ms) > 0)
        return true;
    if (came * 1000 < octets_per_s * r->window_ms && spent(r, now_ms) <= r->window_ms + DATA_RATE_LATE_MS) {
        *ret_octets = came;
        return false;
    }
    begin(r, now_ms, octets, r->window_ms);
    return true;
}
