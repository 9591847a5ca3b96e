/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - a thread with an event loop, over libuv. No other header shows libuv, so
 * that the loop can be replaced.
 *
 * A session, its timers and its connection belong to one loop for life; only
 * loop_post() and loop_stop() may be called from another thread.
 */
#ifndef TERN_NET_LOOP_H
#define TERN_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct loop;

/* Work handed to a loop. The memory is the poster's; `run` may free it. */
struct loop_task {
    struct list link;
    void (*run)(struct loop_task *task);
};

/* Lives inside its owner. Resolution about 16 ms; never early. */
struct loop_timer {
    struct list link; /* must be zero or initialised by loop_timer_init() */
    uint64_t due_ms;
    void (*fire)(struct loop_timer *timer);
};

struct loop *loop_new(unsigned index);
/* After loop_run() returned. Runs what was posted and has not run: a task taken on is never dropped, for it
 * commonly owns memory. Its owner outlives the loop, or takes the task back (list_remove) before it goes. */
void loop_free(struct loop *loop);
/* The same without the end, for owners that go before the loop does: after loop_run() returned, on any thread. */
void loop_flush(struct loop *loop);
/* Runs until loop_stop(); the calling thread becomes the loop's. */
void loop_run(struct loop *loop);
/* One turn, on the calling thread: timers that are due, tasks, sockets. `wait`: sleeps for the first event, at
 * most 10 ms. For tests, and for `tern test`, whose clock is virtual. */
void loop_turn(struct loop *loop, bool wait);
/* Milliseconds until the next timer is due, by the clock of clock.h; -1: none is set. */
int64_t loop_next_timer_ms(struct loop *loop);
void loop_stop(struct loop *loop); /* any thread */
unsigned loop_index(const struct loop *loop);
struct loop *loop_current(void); /* the calling thread's, or NULL */

/* Runs on the loop's thread, in the order posted. Wakes it. Any thread. */
void loop_post(struct loop *loop, struct loop_task *task);
/* Counts them: what is dear may be done for so long in each, so that all others get their turns. Loop thread. */
uint64_t loop_iteration(const struct loop *loop);
/* Runs once, at the end of the present iteration. Loop thread. */
void loop_at_end(struct loop *loop, struct loop_task *task);
/* Runs when the loop is freed, unless its owner takes it back (list_remove) before. Loop thread. */
void loop_at_free(struct loop *loop, struct loop_task *task);

void loop_timer_init(struct loop_timer *timer, void (*fire)(struct loop_timer *timer));
/* Starts or restarts. Loop thread. */
void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t ms);
void loop_timer_stop(struct loop_timer *timer);

/* Watches a descriptor. Level-triggered. The callback gets LOOP_* bits. */
#define LOOP_READ  1
#define LOOP_WRITE 2
#define LOOP_HUP   4 /* the peer closed its half, or is gone; errors come as this, asked for or not */
struct loop_watch;
struct loop_watch *loop_watch_new(struct loop *loop, int fd,
                                  void (*ready)(void *arg, int events), void *arg);
/* events: any of LOOP_READ, LOOP_WRITE, LOOP_HUP; 0: nothing is told. */
void loop_watch_set(struct loop_watch *watch, int events);
/* Stops at once; the memory goes later. The descriptor stays open and is the caller's. */
void loop_watch_free(struct loop_watch *watch);

/* One buffer for all reads of this loop: valid until the handler returns. */
#define LOOP_READ_OCTETS 65536
char *loop_read_buffer(struct loop *loop);

#define LOOP_HEARTBEAT_MS 1000
/* Beats, so that the supervisor sees a loop that hangs. NULL: nobody looks. */
void loop_set_heartbeat(struct loop *loop, _Atomic uint64_t *beat_ms);

#endif
