/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - libuv behind loop.h: one uv_loop_t a thread, uv_poll_t for descriptors,
 * one uv_timer_t that sleeps until the wheel's next slot.
 *
 * uv_tcp is not used: it cannot watch for a hang-up without reading (DESIGN 2).
 */
#include "net/loop.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

#include "base/clock.h"
#include "base/inbox.h"
#include "base/mem.h"
#include "net/timer.h"

#define FLUSH_ROUNDS_MAX 1000 /* a task that posts itself again and again must not keep the end waiting */

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t timer;   /* of the wheel */
    uv_timer_t beat;
    uv_check_t check;   /* end of an iteration */
    uv_prepare_t prepare; /* before sleeping: work queued by timers and tasks */
    struct inbox inbox;
    struct list at_end, at_free;
    struct timer_wheel wheel;
    uint64_t iterations;
    uint64_t timer_due_ms; /* when the uv timer will fire; 0: it is stopped */
    _Atomic bool stopping;
    _Atomic uint64_t *beat_ms;
    unsigned index;
    char *read_buffer;
};

struct loop_watch {
    uv_poll_t poll;
    void (*ready)(void *arg, int events);
    void *arg;
    int events;
};

static _Thread_local struct loop *current;

/* ---- tasks ---- */

static void run_tasks(struct list *tasks)
{
    for (struct list *link = list_pop(tasks); link != NULL; link = list_pop(tasks)) {
        struct loop_task *task = list_entry(link, struct loop_task, link);
        task->run(task);
    }
}

static void run_at_end(struct loop *loop)
{
    struct list tasks;

    list_init(&tasks);
    list_splice(&tasks, &loop->at_end);
    run_tasks(&tasks);
}

static void arm_timer(struct loop *loop);

static void on_wake(uv_async_t *async)
{
    struct loop *loop = async->data;
    struct list tasks;

    list_init(&tasks);
    (void)inbox_take(&loop->inbox, &tasks);
    run_tasks(&tasks);
    if (atomic_load(&loop->stopping))
        uv_stop(&loop->uv);
}

static void on_check(uv_check_t *check)
{
    ((struct loop *)check->data)->iterations++;
    run_at_end(check->data);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;

    /* A task may queue another: bounded, so that the sockets get their turn. */
    for (unsigned i = 0; i < 8 && !list_empty(&loop->at_end); i++)
        run_at_end(loop);
    if (!list_empty(&loop->at_end))
        (void)uv_async_send(&loop->wake);
    arm_timer(loop);
}

void loop_post(struct loop *loop, struct loop_task *task)
{
    if (inbox_put(&loop->inbox, &task->link))
        (void)uv_async_send(&loop->wake);
}

uint64_t loop_iteration(const struct loop *loop)
{
    return loop->iterations;
}

void loop_at_end(struct loop *loop, struct loop_task *task)
{
    assert(loop == current || current == NULL);
    list_push(&loop->at_end, &task->link);
}

void loop_at_free(struct loop *loop, struct loop_task *task)
{
    list_push(&loop->at_free, &task->link);
}

/* ---- timers ---- */

static void on_timer(uv_timer_t *timer)
{
    struct loop *loop = timer->data;

    loop->timer_due_ms = 0;
    timer_wheel_run(&loop->wheel, clock_now_ms());
}

static void arm_timer(struct loop *loop)
{
    uint64_t now = clock_now_ms();
    int64_t next = timer_wheel_next_ms(&loop->wheel, now);

    if (next < 0) {
        if (loop->timer_due_ms != 0)
            (void)uv_timer_stop(&loop->timer);
        loop->timer_due_ms = 0;
        return;
    }
    if (loop->timer_due_ms == now + (uint64_t)next)
        return;
    loop->timer_due_ms = now + (uint64_t)next;
    uv_update_time(&loop->uv);
    (void)uv_timer_start(&loop->timer, on_timer, (uint64_t)next, 0);
}

void loop_timer_init(struct loop_timer *timer, void (*fire)(struct loop_timer *timer))
{
    list_init(&timer->link);
    timer->due_ms = 0;
    timer->fire = fire;
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t ms)
{
    loop_timer_stop(timer);
    timer->due_ms = clock_now_ms() + ms;
    timer_wheel_add(&loop->wheel, timer);
}

void loop_timer_stop(struct loop_timer *timer)
{
    if (timer->link.next != NULL)
        list_remove(&timer->link);
    else
        list_init(&timer->link);
}

/* ---- heartbeat ---- */

static void on_beat(uv_timer_t *timer)
{
    struct loop *loop = timer->data;

    if (loop->beat_ms != NULL)
        atomic_store_explicit(loop->beat_ms, clock_now_ms(), memory_order_relaxed);
}

void loop_set_heartbeat(struct loop *loop, _Atomic uint64_t *beat_ms)
{
    loop->beat_ms = beat_ms;
    on_beat(&loop->beat);
    if (beat_ms != NULL)
        (void)uv_timer_start(&loop->beat, on_beat, LOOP_HEARTBEAT_MS, LOOP_HEARTBEAT_MS);
    else
        (void)uv_timer_stop(&loop->beat);
}

/* ---- the loop ---- */

static void init_handles(struct loop *loop)
{
    (void)uv_async_init(&loop->uv, &loop->wake, on_wake);
    (void)uv_timer_init(&loop->uv, &loop->timer);
    (void)uv_timer_init(&loop->uv, &loop->beat);
    (void)uv_check_init(&loop->uv, &loop->check);
    (void)uv_prepare_init(&loop->uv, &loop->prepare);
    loop->wake.data = loop->timer.data = loop->beat.data = loop;
    loop->check.data = loop->prepare.data = loop;
    (void)uv_check_start(&loop->check, on_check);
    (void)uv_prepare_start(&loop->prepare, on_prepare);
}

struct loop *loop_new(unsigned index)
{
    struct loop *loop = mem_zalloc(sizeof(*loop));

    if (uv_loop_init(&loop->uv) != 0) {
        free(loop);
        return NULL;
    }
    loop->index = index;
    loop->read_buffer = mem_alloc(LOOP_READ_OCTETS);
    inbox_init(&loop->inbox);
    list_init(&loop->at_end);
    list_init(&loop->at_free);
    timer_wheel_init(&loop->wheel, clock_now_ms());
    init_handles(loop);
    return loop;
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void loop_flush(struct loop *loop)
{
    struct loop *before = current;

    current = loop;
    for (unsigned i = 0; i < FLUSH_ROUNDS_MAX; i++) {
        struct list tasks;
        list_init(&tasks);
        if (!inbox_take(&loop->inbox, &tasks) && list_empty(&loop->at_end))
            break;
        run_tasks(&tasks);
        run_at_end(loop);
    }
    current = before;
}

void loop_free(struct loop *loop)
{
    loop_flush(loop);
    run_tasks(&loop->at_free);
    uv_walk(&loop->uv, close_handle, NULL);
    while (uv_run(&loop->uv, UV_RUN_NOWAIT) != 0)
        continue;
    (void)uv_loop_close(&loop->uv);
    inbox_fini(&loop->inbox);
    free(loop->read_buffer);
    free(loop);
}

void loop_run(struct loop *loop)
{
    current = loop;
    while (!atomic_load(&loop->stopping))
        (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    current = NULL;
    atomic_store(&loop->stopping, false);
}

static void on_nap(uv_timer_t *timer)
{
    (void)timer;
}

void loop_turn(struct loop *loop, bool wait)
{
    current = loop;
    timer_wheel_run(&loop->wheel, clock_now_ms());
    /*
     * The heartbeat's timer is free here: it bounds the sleep. Counted from now, not from the last turn: a timer that
     * is due already fires before the sleep, which then had no end.
     */
    uv_update_time(&loop->uv);
    if (wait)
        (void)uv_timer_start(&loop->beat, on_nap, 10, 0);
    (void)uv_run(&loop->uv, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    (void)uv_timer_stop(&loop->beat);
    timer_wheel_run(&loop->wheel, clock_now_ms());
    run_at_end(loop);
    current = NULL;
}

int64_t loop_next_timer_ms(struct loop *loop)
{
    return timer_wheel_next_ms(&loop->wheel, clock_now_ms());
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stopping, true);
    (void)uv_async_send(&loop->wake);
}

unsigned loop_index(const struct loop *loop)
{
    return loop->index;
}

struct loop *loop_current(void)
{
    return current;
}

char *loop_read_buffer(struct loop *loop)
{
    return loop->read_buffer;
}

/* ---- descriptors ---- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct loop_watch *watch = poll->data;
    int ready = 0;

    if (status < 0) {
        ready = LOOP_HUP;
        watch->events = 0; /* libuv stopped watching */
    }
    if (events & UV_READABLE)
        ready |= LOOP_READ;
    if (events & UV_WRITABLE)
        ready |= LOOP_WRITE;
    if (events & UV_DISCONNECT)
        ready |= LOOP_HUP;
    watch->ready(watch->arg, ready);
}

struct loop_watch *loop_watch_new(struct loop *loop, int fd,
                                  void (*ready)(void *arg, int events), void *arg)
{
    struct loop_watch *watch = mem_zalloc(sizeof(*watch));

    if (uv_poll_init(&loop->uv, &watch->poll, fd) != 0) {
        free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    watch->ready = ready;
    watch->arg = arg;
    return watch;
}

void loop_watch_set(struct loop_watch *watch, int events)
{
    int want = 0;

    if (watch->events == events)
        return;
    watch->events = events;
    if (events == 0) {
        (void)uv_poll_stop(&watch->poll);
        return;
    }
    if (events & LOOP_HUP)
        want |= UV_DISCONNECT;
    if (events & LOOP_READ)
        want |= UV_READABLE;
    if (events & LOOP_WRITE)
        want |= UV_WRITABLE;
    (void)uv_poll_start(&watch->poll, want, on_poll);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void loop_watch_free(struct loop_watch *watch)
{
    if (watch == NULL)
        return;
    (void)uv_poll_stop(&watch->poll);
    uv_close((uv_handle_t *)&watch->poll, on_closed);
}
