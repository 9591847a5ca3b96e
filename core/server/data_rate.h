/* SPDX-License-Identifier: Apache-2.0 */
/*
 * data_rate.h - whether a message comes in fast enough (limits.min_data_rate), window by window.
 *
 * Pure: the owner says when the client is awaited and when it is kept waiting, and how many octets of mail have come.
 */
#ifndef TERN_SERVER_DATA_RATE_H
#define TERN_SERVER_DATA_RATE_H

#include <stdbool.h>
#include <stdint.h>

/* So much later than asked for we looked: we stood still ourselves, and the window counts for nothing. */
#define DATA_RATE_LATE_MS 1000

/* All zero: no window has begun. */
struct data_rate {
    uint64_t window_ms; /* 0: none has begun */
    uint64_t octets;    /* that had come when it began */
    uint64_t spent_ms;  /* of it, up to since_ms */
    uint64_t since_ms;
    bool runs; /* the client is awaited */
};

/* The client is awaited, in the midst of a message: its time counts. `octets`: of mail, ever since. */
void data_rate_run(struct data_rate *r, uint64_t now_ms, uint64_t octets, uint64_t window_ms);
/* It is kept waiting: its time stands still. */
void data_rate_hold(struct data_rate *r, uint64_t now_ms);
/* The message is over, or another one begins. */
void data_rate_end(struct data_rate *r);
/* Until the window is over; UINT64_MAX: no time counts now. */
uint64_t data_rate_left_ms(const struct data_rate *r, uint64_t now_ms);
/*
 * When nothing is left. True: go on, another window has begun (or this one is not over). False: too few octets came,
 * *ret_octets of them.
 */
bool data_rate_is_enough(struct data_rate *r, uint64_t now_ms, uint64_t octets, uint64_t octets_per_s,
                         uint64_t *ret_octets);

#endif
