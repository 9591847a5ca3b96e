/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic uint64_t virtual_ms; /* 0: real time */

static uint64_t read_us(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t clock_now_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

uint64_t clock_now_ms(void)
{
    uint64_t v = atomic_load_explicit(&virtual_ms, memory_order_relaxed);

    return v != 0 ? v : read_us(CLOCK_MONOTONIC) / 1000;
}

uint64_t clock_wall_ms(void)
{
    uint64_t v = atomic_load_explicit(&virtual_ms, memory_order_relaxed);

    return v != 0 ? v : read_us(CLOCK_REALTIME) / 1000;
}

void clock_virtual_start(uint64_t wall_ms)
{
    atomic_store(&virtual_ms, wall_ms);
}

void clock_virtual_advance(uint64_t ms)
{
    atomic_fetch_add(&virtual_ms, ms);
}

void clock_virtual_stop(void)
{
    atomic_store(&virtual_ms, 0);
}
