/* SPDX-License-Identifier: Apache-2.0 */
/*
 * milter.c - one connection of an MTA: socket, time-outs, limits. The MTA is trusted with what it says of its
 * clients, not with its octets.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/milter.h"

#define CLOSE_LINGER_MS 5000
#define UNSENT_MAX      (256u << 10) /* an MTA that does not read our answers is not read either */
#define PROGRESS_MS     10000        /* Postfix waits 30 s for an answer to a command */

struct milter {
    struct list link; /* in the loop's */
    struct serve_loop *l;
    struct conn *conn;
    struct milter_policy *policy;
    struct generation *generation; /* the policy holds it */
    union {
        struct loop_timer timer;
        struct loop_task end_task; /* once it is `ending`, behind which no timer is started */
    };
    tern_address network;
    char peer[NET_ADDRESS_TEXT_MAX], listener[64];
    bool ending, feeding;
    bool partial;     /* the timer is that of the rest of a packet, begun when there were so many */
    uint64_t packets;
};

static void milter_free(struct milter *m)
{
    list_remove(&m->link);
    loop_timer_stop(&m->timer);
    milter_policy_free(m->policy);
    session_limits_leave(m->l->serve->limits, &m->network);
    metric_shift(m->l->serve->metrics.sessions, -1);
    atomic_fetch_sub_explicit(&m->l->session_count, 1, memory_order_relaxed);
    listeners_session_ended(m->l);
    free(m);
}

static void on_end_task(struct loop_task *task)
{
    milter_free(list_entry(task, struct milter, end_task));
}

/* Protocol and engine may be further up the stack. */
static void end_soon(struct milter *m)
{
    if (m->ending)
        return;
    m->ending = true;
    milter_policy_stop(m->policy);
    loop_timer_stop(&m->timer);
    m->end_task = (struct loop_task){ .run = on_end_task };
    loop_at_end(m->l->loop, &m->end_task);
}

static void close_conn(struct milter *m, const char *why)
{
    if (why != NULL)
        log_event(LOG_WARNING, LOG_EV_milter, NULL, "%s: listener %s: %s: the connection is closed", m->peer,
                  m->listener, why);
    if (m->conn != NULL)
        conn_close(m->conn, CLOSE_LINGER_MS);
    m->conn = NULL;
    end_soon(m);
}

/* ---- what the policy wants ---- */

static void op_send(void *owner, struct slice octets)
{
    struct milter *m = owner;

    if (m->conn != NULL)
        conn_write(m->conn, octets);
}

static void op_close(void *owner, const char *why)
{
    close_conn(owner, why);
}

static bool waits(const struct milter *m)
{
    return milter_session_waiting(milter_policy_session(m->policy));
}

static bool is_draining(const struct milter *m)
{
    return atomic_load(&m->l->serve->draining);
}

/* What the timer is for now: an answer of ours, the rest of a packet, the next packet. */
static void set_timer(struct milter *m)
{
    const struct timeouts_conf *t = &m->generation->conf.timeouts;
    const struct milter_session *s = milter_policy_session(m->policy);
    bool partial = milter_session_partial(s), same = m->partial && m->packets == milter_session_packets(s);

    if (waits(m))
        loop_timer_start(m->l->loop, &m->timer, PROGRESS_MS);
    else if (!partial)
        loop_timer_start(m->l->loop, &m->timer, t->milter_s * 1000);
    else if (!same) /* octets that complete nothing prolong nothing */
        loop_timer_start(m->l->loop, &m->timer, t->data_block_s * 1000);
    m->partial = partial && !waits(m);
    m->packets = milter_session_packets(s);
}

static void go_on(struct milter *m)
{
    if (m->ending || m->conn == NULL)
        return;
    if (is_draining(m) && !waits(m) && !milter_session_in_transaction(milter_policy_session(m->policy))) {
        close_conn(m, NULL);
        return;
    }
    set_timer(m);
    if (waits(m) || conn_unsent(m->conn) >= UNSENT_MAX)
        conn_pause(m->conn);
    else
        conn_resume(m->conn);
}

static void op_resumed(void *owner)
{
    struct milter *m = owner;

    if (!m->feeding)
        go_on(m);
}

static bool op_may_begin(void *owner, struct milter_answer *ret)
{
    struct milter *m = owner;
    uint64_t retired = atomic_load(&m->generation->retired_ms), now = clock_now_ms();

    *ret = (struct milter_answer){ .code = 0 };
    if (is_draining(m) || (retired != 0 && now >= retired + m->generation->conf.drain_s * 1000))
        *ret = (struct milter_answer){ .code = 421, .enhanced = "4.3.2",
                                       .text = SLICE("Service restarting, please try again") };
    else if (load_check(m->l->serve->load, &m->generation->conf.load, now) != LOAD_OK)
        *ret = (struct milter_answer){ .code = 452, .enhanced = "4.3.1",
                                       .text = SLICE("Too busy, please try again later") };
    return ret->code == 0;
}

static void op_new_id(void *owner, char out[], size_t octets)
{
    struct milter *m = owner;
    struct serve *s = m->l->serve;
    char id[SPOOL_ID_TEXT_MAX];
    uint64_t txn = s->spool != NULL ? spool_id_new(s->spool) : spool_id_draw(&s->last_id, s->node);

    spool_key_print((struct spool_key){ txn, 1 }, id);
    (void)snprintf(out, octets, "%s", id);
}

static void op_new_session_id(void *owner, char out[], size_t octets)
{
    session_new_id(((struct milter *)owner)->l, out, octets);
}

static struct body *op_new_body(void *owner)
{
    return body_new(((struct milter *)owner)->l->serve->body_dir);
}

static void op_count(void *owner, unsigned code)
{
    const struct serve_metrics *k = &((struct milter *)owner)->l->serve->metrics;

    metric_add(code < 400 ? k->accepted : code >= 500 ? k->refused : k->deferred, 1);
}

static const struct milter_policy_ops policy_ops = {
    .send = op_send, .close = op_close, .resumed = op_resumed, .may_begin = op_may_begin, .new_id = op_new_id,
    .new_session_id = op_new_session_id, .new_body = op_new_body, .count = op_count,
};

/* ---- the connection ---- */

static void on_timeout(struct loop_timer *timer)
{
    struct milter *m = list_entry(timer, struct milter, timer);

    if (m->ending)
        return;
    if (waits(m)) {
        milter_session_progress(milter_policy_session(m->policy));
        loop_timer_start(m->l->loop, &m->timer, PROGRESS_MS);
    } else {
        close_conn(m, m->partial ? "timeouts.data_block: the rest of a packet did not come"
                                 : "timeouts.milter: nothing came");
    }
}

static void conn_read(void *owner, struct slice octets)
{
    struct milter *m = owner;

    if (m->ending)
        return;
    conn_cork(m->conn);
    m->feeding = true;
    milter_session_input(milter_policy_session(m->policy), octets);
    m->feeding = false;
    if (m->conn != NULL)
        conn_uncork(m->conn);
    go_on(m);
}

static void conn_drained(void *owner)
{
    go_on(owner);
}

static void conn_ended(void *owner, int status)
{
    struct milter *m = owner;

    (void)status; /* an MTA that is done, or has waited long enough for us */
    conn_free(m->conn);
    m->conn = NULL;
    end_soon(m);
}

static const struct conn_ops conn_ops = { .on_read = conn_read, .on_drained = conn_drained, .on_end = conn_ended };

/* ---- the beginning and the end ---- */

static void refuse(const struct session_start *start, const char *key)
{
    char text[NET_ADDRESS_TEXT_MAX];

    net_address_print(&start->peer, false, text);
    metric_add(start->l->serve->metrics.limited, 1);
    log_event(LOG_WARNING, LOG_EV_limit, NULL, "%s refused: %s is reached", text, key);
    (void)close(start->fd);
    generation_unref(start->generation);
}

static struct milter *milter_new(const struct session_start *start, const tern_address *network)
{
    struct serve_loop *l = start->l;
    struct milter *m = mem_zalloc(sizeof(*m));
    struct milter_policy_options o = { .engine = l->engine, .generation = start->generation,
                                       .listener = start->listener, .policy = start->policy, .ops = &policy_ops,
                                       .owner = m };

    m->l = l;
    m->network = *network;
    m->generation = start->generation;
    net_address_print(&start->peer, false, m->peer);
    (void)snprintf(m->listener, sizeof(m->listener), "%.*s", (int)start->listener->name.len, start->listener->name.ptr);
    loop_timer_init(&m->timer, on_timeout);
    list_push(&l->milters, &m->link);
    atomic_fetch_add_explicit(&l->session_count, 1, memory_order_relaxed);
    metric_shift(l->serve->metrics.sessions, 1);
    metric_add(l->serve->metrics.sessions_total, 1);
    m->policy = milter_policy_new(&o);
    generation_unref(start->generation); /* the policy holds it from here on */
    return m;
}

void milter_accept(const struct session_start *start)
{
    const struct server_conf *c = &start->generation->conf;
    tern_address network = rates_network(&start->peer, c->limits.ipv4_mask, c->limits.ipv6_mask);

    /* All of an MTA's clients come from one address: only what all sessions may be together counts. */
    if (session_limits_enter(start->l->serve->limits, &network, c->limits.sessions, UINT32_MAX) != LIMIT_OK) {
        refuse(start, "limits.sessions");
        return;
    }
    struct milter *m = milter_new(start, &network);
    m->conn = conn_new(start->l->loop, start->fd, &conn_ops, m);
    if (m->conn == NULL) {
        (void)close(start->fd);
        end_soon(m);
        return;
    }
    set_timer(m);
}

void milters_drain(struct serve_loop *l, bool now)
{
    list_each_safe(link, &l->milters) {
        struct milter *m = list_entry(link, struct milter, link);
        bool busy = waits(m) || milter_session_in_transaction(milter_policy_session(m->policy));
        if (!m->ending && (now || !busy))
            close_conn(m, NULL);
    }
}

void milters_free(struct serve_loop *l)
{
    list_each_safe(link, &l->milters) {
        struct milter *m = list_entry(link, struct milter, link);
        m->ending = true;
        conn_free(m->conn);
        m->conn = NULL;
        milter_free(m);
    }
}
