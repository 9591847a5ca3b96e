/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timer.h - the timing wheel of a loop: start and stop in constant time for any number
 * of timers. Inside net/ only; others see struct loop_timer.
 */
#ifndef TERN_NET_TIMER_H
#define TERN_NET_TIMER_H

#include "net/loop.h"

#define WHEEL_SLOTS   1024 /* a power of two */
#define WHEEL_TICK_MS 16   /* resolution; one turn is about 16 s, later ones wait for theirs */

struct timer_wheel {
    struct list slots[WHEEL_SLOTS];
    uint64_t bits[WHEEL_SLOTS / 64]; /* slots that hold something */
    uint64_t tick;                   /* all ticks up to this one were run */
    uint64_t count;
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms);
void timer_wheel_add(struct timer_wheel *wheel, struct loop_timer *timer);
/* Fires what is due at now_ms. */
void timer_wheel_run(struct timer_wheel *wheel, uint64_t now_ms);
/* Milliseconds until the next slot that holds something; -1: none. */
int64_t timer_wheel_next_ms(struct timer_wheel *wheel, uint64_t now_ms);

#endif
