/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener.c - accepting. Every loop polls every listening socket; a loop that has clearly
 * more sessions than the mean leaves accepting to the others for a moment.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/serve.h"

#define ACCEPTS_PER_EVENT 16
#define ACCEPT_PAUSE_MS   100 /* descriptors are gone: try again then */
#define BUSY_PAUSE_MS     16

static unsigned mean_sessions(const struct serve *s)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < s->loop_count; i++)
        sum += atomic_load_explicit(&s->loops[i]->session_count, memory_order_relaxed);
    return sum / s->loop_count;
}

static bool is_ahead(const struct serve_loop *l)
{
    unsigned mean = mean_sessions(l->serve);

    return l->serve->loop_count > 1 &&
           atomic_load_explicit(&l->session_count, memory_order_relaxed) > mean + mean / 8 + 8;
}

static void watch_all(struct serve_loop *l, int events)
{
    list_each(link, &l->listeners)
        loop_watch_set(list_entry(link, struct serve_listener, link)->watch, events);
}

static void rest(struct serve_loop *l, uint64_t ms)
{
    watch_all(l, 0);
    loop_timer_start(l->loop, &l->accept_again, ms);
}

static void wake(struct serve_loop *l)
{
    if (l->resting)
        atomic_fetch_sub(&l->serve->resting, 1);
    l->resting = false;
    loop_timer_stop(&l->accept_again);
    watch_all(l, LOOP_READ);
}

static void on_accept_again(struct loop_timer *timer)
{
    wake(list_entry(timer, struct serve_loop, accept_again));
}

/*
 * Leaves accepting to the others until it is no longer ahead; never the last one that accepts.
 * With sessions that last a millisecond both loops would otherwise rest most of the time.
 */
static bool leave_to_others(struct serve_loop *l)
{
    if (atomic_fetch_add(&l->serve->resting, 1) + 1 >= l->serve->loop_count) {
        atomic_fetch_sub(&l->serve->resting, 1);
        return false;
    }
    l->resting = true;
    rest(l, BUSY_PAUSE_MS);
    return true;
}

void listeners_session_ended(struct serve_loop *l)
{
    if (l->resting && !is_ahead(l))
        wake(l);
}

static void on_ready(void *arg, int events)
{
    struct serve_listener *listener = arg;
    struct serve_loop *l = listener->loop;
    tern_address peer, local;

    (void)events;
    for (unsigned i = 0; i < ACCEPTS_PER_EVENT; i++) {
        if (is_ahead(l) && leave_to_others(l))
            return;
        int fd = net_accept(listener->fd, &peer, &local);
        if (fd == -EAGAIN || fd == -ECONNABORTED)
            return;
        if (fd < 0) {
            log_event(LOG_WARNING, LOG_EV_limit, NULL, "accept: %s", strerror(-fd));
            rest(l, ACCEPT_PAUSE_MS);
            return;
        }
        session_accept(l, fd, listener->name, &peer, &local);
    }
}

void listeners_close(struct serve_loop *l)
{
    list_each_safe(link, &l->listeners) {
        struct serve_listener *listener = list_entry(link, struct serve_listener, link);
        list_remove(link);
        loop_watch_free(listener->watch);
        (void)close(listener->fd);
        free(listener);
    }
    loop_timer_stop(&l->accept_again);
    if (l->resting)
        atomic_fetch_sub(&l->serve->resting, 1);
    l->resting = false;
}

void listeners_set(struct serve_loop *l, const struct listener_fd *fds, unsigned count)
{
    listeners_close(l);
    loop_timer_init(&l->accept_again, on_accept_again);
    for (unsigned i = 0; i < count; i++) {
        struct serve_listener *listener = mem_zalloc(sizeof(*listener));
        listener->loop = l;
        listener->fd = fds[i].fd;
        memcpy(listener->name, fds[i].name, sizeof(listener->name));
        listener->watch = loop_watch_new(l->loop, listener->fd, on_ready, listener);
        list_push(&l->listeners, &listener->link);
        loop_watch_set(listener->watch, LOOP_READ);
    }
}
