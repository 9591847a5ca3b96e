/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - the two clocks. `tern test` and the simulations put a virtual time here.
 * Any thread.
 */
#ifndef TERN_BASE_CLOCK_H
#define TERN_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

uint64_t clock_now_ms(void);  /* monotonic: for time-outs */
uint64_t clock_now_us(void);  /* monotonic: for measuring; never virtual */
uint64_t clock_wall_ms(void); /* since 1970: for what is stored and shown */

/* "2026-11-22T05:04:03.021Z", for logs and records. */
#define CLOCK_TEXT_SIZE 25
void clock_print(char out[CLOCK_TEXT_SIZE], uint64_t wall_ms);

/* From now on both clocks stand still and show `wall_ms` until advanced. Tests only. */
void clock_virtual_start(uint64_t wall_ms);
void clock_virtual_advance(uint64_t ms);
void clock_virtual_stop(void);
bool clock_is_virtual(void);

#endif
