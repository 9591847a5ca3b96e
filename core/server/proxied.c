/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxied.c - a connection from one of the listener's proxies: waits for its header (net/proxy.h), takes
 * exactly that off the socket, and hands the connection on as that of the client it names.
 *
 * So whatever comes behind the header, be it a TLS handshake or a client that talks too early, is found by a session
 * as if there were no proxy. Until then the connection counts against limits.sessions, but not against those of an
 * address: all clients would share the proxy's.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/proxy.h"
#include "server/proxied.h"

struct proxied {
    struct list link;
    struct session_start start; /* peer is the proxy */
    struct loop_watch *watch;
    struct loop_timer timer;
    size_t octets;
    char header[PROXY_OCTETS_MAX];
};

/* The descriptor, and the counted generation, are the caller's again. */
static void proxied_free(struct proxied *p)
{
    struct serve_loop *l = p->start.l;

    list_remove(&p->link);
    loop_timer_stop(&p->timer);
    loop_watch_free(p->watch);
    session_limits_leave(l->serve->limits, &p->start.peer);
    atomic_fetch_sub_explicit(&l->session_count, 1, memory_order_relaxed);
    listeners_session_ended(l);
    free(p);
}

static void drop(struct proxied *p)
{
    (void)close(p->start.fd);
    generation_unref(p->start.generation);
    proxied_free(p);
}

static void refuse(struct proxied *p, const char *why)
{
    char text[NET_ADDRESS_TEXT_MAX];

    net_address_print(&p->start.peer, false, text);
    metric_add(p->start.l->serve->metrics.proxy_refused, 1);
    log_event(LOG_WARNING, LOG_EV_proxy, NULL, "listener %.*s: %s is in `proxy:` and must send a PROXY header, got %s",
              (int)p->start.listener->name.len, p->start.listener->name.ptr, text, why);
    drop(p);
}

static void on_timeout(struct loop_timer *timer)
{
    struct proxied *p = list_entry(timer, struct proxied, timer);

    refuse(p, p->octets == 0 ? "nothing in time" : "a part of one in time");
}

static void hand_on(struct proxied *p, const struct proxy_header *h)
{
    struct session_start start = p->start;

    if (h->has_addresses) {
        start.client = h->client;
        start.local = h->local;
    }
    proxied_free(p);
    session_begin(&start);
}

/* Looks before it takes: of the octets behind the header none is taken. */
static void on_ready(void *arg, int events)
{
    struct proxied *p = arg;
    struct proxy_header h;
    const char *error;
    ssize_t n = recv(p->start.fd, p->header + p->octets, sizeof(p->header) - p->octets, MSG_PEEK);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        if (p->octets > 0)
            refuse(p, "a part of one, and the end");
        else
            drop(p); /* commonly a health check */
        return;
    }
    size_t before = p->octets, take = (size_t)n;
    enum proxy_parse r = proxy_parse(slice_make(p->header, before + take), &h, &error);
    if (r == PROXY_BAD) {
        refuse(p, error);
        return;
    }
    if (r == PROXY_DONE)
        take = h.octets - before;
    if (recv(p->start.fd, p->header + before, take, 0) != (ssize_t)take) {
        refuse(p, "an error of the connection");
        return;
    }
    p->octets += take;
    if (r == PROXY_DONE)
        hand_on(p, &h);
}

bool proxied_accept(const struct session_start *start)
{
    struct serve_loop *l = start->l;
    const struct server_conf *conf = &start->generation->conf;

    if (session_limits_enter(l->serve->limits, &start->peer, conf->limits.sessions, UINT32_MAX) != LIMIT_OK)
        return false;
    struct proxied *p = mem_zalloc(sizeof(*p));
    p->start = *start;
    list_push(&l->proxied, &p->link);
    atomic_fetch_add_explicit(&l->session_count, 1, memory_order_relaxed);
    loop_timer_init(&p->timer, on_timeout);
    loop_timer_start(l->loop, &p->timer, conf->timeouts.proxy_s * 1000);
    p->watch = loop_watch_new(l->loop, start->fd, on_ready, p);
    loop_watch_set(p->watch, LOOP_READ);
    return true;
}

void proxied_drop_all(struct serve_loop *l)
{
    list_each_safe(link, &l->proxied)
        drop(list_entry(link, struct proxied, link));
}
