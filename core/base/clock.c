/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <stdatomic.h>
#include <string.h>
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

/* Several lines tell of each message, and many messages come in the same second. */
void clock_print(char out[CLOCK_TEXT_SIZE], uint64_t wall_ms)
{
    static _Thread_local struct {
        time_t second;
        char text[20];
    } last = { -1, "" };
    time_t second = (time_t)(wall_ms / 1000);
    unsigned ms = (unsigned)(wall_ms % 1000);
    struct tm tm;

    if (second != last.second) {
        (void)gmtime_r(&second, &tm);
        (void)strftime(last.text, sizeof(last.text), "%Y-%m-%dT%H:%M:%S", &tm);
        last.second = second;
    }
    char tail[] = { '.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10), 'Z', '\0' };
    memcpy(out, last.text, 19);
    memcpy(out + 19, tail, sizeof(tail));
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

bool clock_is_virtual(void)
{
    return atomic_load_explicit(&virtual_ms, memory_order_relaxed) != 0;
}
