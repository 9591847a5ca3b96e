/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timer.c - a hashed wheel. A timer stands in the slot of its tick; one that is due in a
 * later turn is passed over. Sessions have time-outs of minutes and restart them at each
 * command, so start and stop are what must be cheap.
 */
#include "net/timer.h"

#include <assert.h>

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms)
{
    for (unsigned i = 0; i < WHEEL_SLOTS; i++)
        list_init(&wheel->slots[i]);
    for (unsigned i = 0; i < WHEEL_SLOTS / 64; i++)
        wheel->bits[i] = 0;
    wheel->tick = now_ms / WHEEL_TICK_MS;
    wheel->count = 0;
}

static uint64_t due_tick(const struct loop_timer *timer)
{
    return timer->due_ms / WHEEL_TICK_MS + 1; /* rounded up: never early */
}

void timer_wheel_add(struct timer_wheel *wheel, struct loop_timer *timer)
{
    uint64_t tick = due_tick(timer);

    if (tick <= wheel->tick)
        tick = wheel->tick + 1;
    unsigned slot = (unsigned)(tick & (WHEEL_SLOTS - 1));
    list_push(&wheel->slots[slot], &timer->link);
    wheel->bits[slot / 64] |= 1ull << (slot % 64);
}

static void run_slot(struct timer_wheel *wheel, unsigned slot, uint64_t now_ms)
{
    struct list due;

    list_init(&due);
    list_splice(&due, &wheel->slots[slot]);
    wheel->bits[slot / 64] &= ~(1ull << (slot % 64));
    for (struct list *link = list_pop(&due); link != NULL; link = list_pop(&due)) {
        struct loop_timer *timer = list_entry(link, struct loop_timer, link);
        if (timer->due_ms > now_ms) {
            timer_wheel_add(wheel, timer); /* a later turn */
            continue;
        }
        timer->fire(timer); /* may free it, start it again, stop others in `due` */
    }
}

void timer_wheel_run(struct timer_wheel *wheel, uint64_t now_ms)
{
    uint64_t now_tick = now_ms / WHEEL_TICK_MS;

    /* After a long sleep one turn sees every slot. */
    if (now_tick > wheel->tick + WHEEL_SLOTS)
        wheel->tick = now_tick - WHEEL_SLOTS;
    while (wheel->tick < now_tick) {
        wheel->tick++;
        unsigned slot = (unsigned)(wheel->tick & (WHEEL_SLOTS - 1));
        if (wheel->bits[slot / 64] & (1ull << (slot % 64)))
            run_slot(wheel, slot, now_ms);
    }
}

int64_t timer_wheel_next_ms(struct timer_wheel *wheel, uint64_t now_ms)
{
    for (uint64_t i = 1; i <= WHEEL_SLOTS; i++) {
        unsigned slot = (unsigned)((wheel->tick + i) & (WHEEL_SLOTS - 1));
        if (slot % 64 == 0 && wheel->bits[slot / 64] == 0) {
            i += 63;
            continue;
        }
        if (!(wheel->bits[slot / 64] & (1ull << (slot % 64))))
            continue;
        if (list_empty(&wheel->slots[slot])) { /* stopped timers leave their bit behind */
            wheel->bits[slot / 64] &= ~(1ull << (slot % 64));
            continue;
        }
        uint64_t at_ms = (wheel->tick + i) * WHEEL_TICK_MS;
        return at_ms > now_ms ? (int64_t)(at_ms - now_ms) : 0;
    }
    return -1;
}
