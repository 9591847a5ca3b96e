/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - one client: its connection, its time-outs, its dialogue (dialogue.h) and the
 * commit of its message.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/commit.h"
#include "server/dialogue.h"
#include "server/proxied.h"
#include "server/serve.h"

#define CLOSE_LINGER_MS 5000
#define UNSENT_MAX      65536 /* a client that does not read its replies is not asked for more commands */

struct session {
    struct list link;
    struct serve_loop *l;
    struct conn *conn;
    struct dialogue *dialogue;
    struct generation *generation;
    struct commit *commit;
    struct loop_timer timer;
    struct loop_task end_task;
    tern_address peer;
    bool ending;
    bool waits; /* ended, but for its commit: what became of the message is told first */
};

static _Atomic uint64_t session_counter;

/* ---- the end ---- */

static void session_free(struct session *s)
{
    list_remove(&s->link);
    loop_timer_stop(&s->timer);
    if (s->commit != NULL)
        commit_forget(s->commit);
    dialogue_free(s->dialogue);
    generation_unref(s->generation);
    session_limits_leave(s->l->serve->limits, &s->peer);
    metric_shift(s->l->serve->metrics.sessions, -1);
    atomic_fetch_sub_explicit(&s->l->session_count, 1, memory_order_relaxed);
    listeners_session_ended(s->l);
    free(s);
}

static void on_end_task(struct loop_task *task)
{
    struct session *s = list_entry(task, struct session, end_task);

    s->waits = s->commit != NULL;
    if (!s->waits)
        session_free(s);
}

/*
 * Ends soon: the protocol and the engine may be further up the stack, so what they use is
 * freed at the end of the iteration.
 */
static void session_end(struct session *s)
{
    if (s->ending)
        return;
    s->ending = true;
    dialogue_stop(s->dialogue);
    loop_timer_stop(&s->timer);
    loop_at_end(s->l->loop, &s->end_task);
}

/* ---- what the dialogue wants ---- */

static void op_send(void *owner, struct slice octets)
{
    struct session *s = owner;

    if (s->conn != NULL)
        conn_write(s->conn, octets);
}

static void op_close(void *owner)
{
    struct session *s = owner;

    if (s->conn != NULL)
        conn_close(s->conn, CLOSE_LINGER_MS);
    s->conn = NULL;
    session_end(s);
}

static void op_gather(void *owner)
{
    struct session *s = owner;

    if (s->conn != NULL)
        conn_cork(s->conn);
}

static void say_restart(struct session *s)
{
    dialogue_end(s->dialogue, 421, "4.3.2", "Service restarting, please try again");
}

/* The transaction that a drain waited for is over. */
static void end_if_drained(struct session *s)
{
    if (!s->ending && atomic_load(&s->l->serve->draining) && !dialogue_waiting(s->dialogue) &&
        !dialogue_in_transaction(s->dialogue))
        say_restart(s);
}

static void op_resumed(void *owner)
{
    struct session *s = owner;

    if (s->ending || s->conn == NULL)
        return;
    end_if_drained(s);
    if (s->conn == NULL)
        return;
    conn_uncork(s->conn);
    if (!dialogue_waiting(s->dialogue) && conn_unsent(s->conn) < UNSENT_MAX)
        conn_resume(s->conn);
}

static void op_expect(void *owner, enum smtp_phase phase)
{
    struct session *s = owner;
    const struct timeouts_conf *t = &s->generation->conf.timeouts;

    switch (phase) {
    case SMTP_PHASE_COMMAND: loop_timer_start(s->l->loop, &s->timer, t->command_s * 1000); break;
    case SMTP_PHASE_DATA_START: loop_timer_start(s->l->loop, &s->timer, t->data_start_s * 1000); break;
    case SMTP_PHASE_DATA_BLOCK: loop_timer_start(s->l->loop, &s->timer, t->data_block_s * 1000); break;
    case SMTP_PHASE_ANSWER: loop_timer_stop(&s->timer); break; /* we keep the client waiting, not it us */
    }
}

static bool generation_is_over(const struct session *s)
{
    uint64_t retired = atomic_load(&s->generation->retired_ms);

    return retired != 0 && clock_now_ms() >= retired + s->generation->conf.drain_s * 1000;
}

static unsigned op_may_begin(void *owner)
{
    struct session *s = owner;

    if (atomic_load(&s->l->serve->draining) || generation_is_over(s))
        return 421;
    return spool_has_room(s->l->serve->spool) ? 0 : 452;
}

static void op_new_id(void *owner, char out[], size_t octets)
{
    struct session *s = owner;
    struct spool_key key = { spool_id_new(s->l->serve->spool), 1 };
    char id[SPOOL_ID_TEXT_MAX];

    spool_key_print(key, id);
    (void)snprintf(out, octets, "%s", id);
}

static struct body *op_new_body(void *owner)
{
    struct session *s = owner;

    return body_new(spool_tmp_dir(s->l->serve->spool));
}

static void on_committed(void *arg, int status)
{
    struct session *s = arg;

    s->commit = NULL;
    if (!s->ending)
        dialogue_stored(s->dialogue, status);
    else
        dialogue_stored_unheard(s->dialogue, status);
    if (s->waits)
        session_free(s);
}

static void op_store(void *owner, const struct session_facts *facts,
                     const struct engine_message_result *result)
{
    struct session *s = owner;

    s->commit = commit_new(s->l, facts, result);
    if (s->conn != NULL)
        conn_uncork(s->conn);
    commit_submit(s->commit, on_committed, s);
}

static void op_count(void *owner, enum dialogue_reply reply)
{
    const struct serve_metrics *m = &((struct session *)owner)->l->serve->metrics;

    metric_add(reply == DIALOGUE_ACCEPTED ? m->accepted : reply == DIALOGUE_REFUSED ? m->refused : m->deferred, 1);
}

static const struct dialogue_ops dialogue_ops = {
    .send = op_send, .close = op_close, .expect = op_expect, .resumed = op_resumed, .gather = op_gather,
    .may_begin = op_may_begin, .new_id = op_new_id, .new_body = op_new_body, .store = op_store,
    .count = op_count,
};

/* ---- the connection ---- */

static void on_timeout(struct loop_timer *timer)
{
    struct session *s = list_entry(timer, struct session, timer);

    if (!s->ending)
        dialogue_end(s->dialogue, 421, "4.4.2", "Timeout, closing the connection");
}

static void conn_read(void *owner, struct slice octets)
{
    struct session *s = owner;

    if (s->ending)
        return;
    conn_cork(s->conn);
    dialogue_input(s->dialogue, octets);
    end_if_drained(s);
    if (s->conn == NULL)
        return;
    conn_uncork(s->conn);
    if (dialogue_waiting(s->dialogue) || conn_unsent(s->conn) >= UNSENT_MAX)
        conn_pause(s->conn);
}

static void conn_drained(void *owner)
{
    op_resumed(owner);
}

static void conn_ended(void *owner, int status)
{
    struct session *s = owner;

    (void)status;
    conn_free(s->conn);
    s->conn = NULL;
    session_end(s);
}

static const struct conn_ops conn_ops = { .on_read = conn_read, .on_drained = conn_drained,
                                          .on_end = conn_ended };

/* ---- the beginning ---- */

static void refuse(int fd, const char *reply)
{
    (void)!write(fd, reply, strlen(reply));
    (void)close(fd);
}

static void say_limit(struct serve_loop *l, const tern_address *peer, int fd, enum limit_answer a)
{
    char text[NET_ADDRESS_TEXT_MAX];

    net_address_print(peer, false, text);
    metric_add(l->serve->metrics.limited, 1);
    log_event(LOG_INFO, LOG_EV_limit, NULL, "%s refused: %s", text,
              a == LIMIT_SESSIONS ? "limits.sessions is reached" : "limits.sessions_per_address is reached");
    refuse(fd, a == LIMIT_SESSIONS ? "421 4.3.2 Too many connections, please try again later\r\n"
                                   : "421 4.7.0 Too many connections from your address\r\n");
}

static bool is_allowed(struct serve_loop *l, const struct generation *g, const tern_address *peer, int fd)
{
    enum limit_answer a = session_limits_enter(l->serve->limits, peer, g->conf.limits.sessions,
                                               g->conf.limits.sessions_per_address);

    if (a != LIMIT_OK)
        say_limit(l, peer, fd, a);
    return a == LIMIT_OK;
}

static tern_str address_text(struct arena *arena, const tern_address *a)
{
    char text[NET_ADDRESS_TEXT_MAX];

    net_address_print(a, false, text);
    return tern_str_dup(arena, slice_cstr(text));
}

static bool is_same_host(const tern_address *a, const tern_address *b)
{
    return a->family == b->family && memcmp(a->octets, b->octets, sizeof(a->octets)) == 0;
}

static struct session_facts *new_facts(const struct session_start *start)
{
    struct serve_loop *l = start->l;
    const struct listener_conf *listener = start->listener;
    struct session_facts *f = session_facts_new();
    struct arena *arena = &f->memory->arena;

    f->client = start->client;
    f->local = start->local;
    f->client_text = address_text(arena, &start->client);
    f->id.ptr = arena_printf(arena, "s%llx-%llx", (unsigned long long)(l->serve->started_wall_ms / 1000),
                             (unsigned long long)atomic_fetch_add(&session_counter, 1));
    f->id.len = strlen(f->id.ptr);
    f->listener = (tern_str){ arena_dup(arena, listener->name), listener->name.len };
    f->policy = tern_str_dup(arena, slice_of(listener->policy));
    f->helo = f->user = f->via = (tern_str){ "", 0 };
    if (!is_same_host(&start->peer, &start->client))
        f->via = address_text(arena, &start->peer);
    return f;
}

static void run(const struct session_start *start)
{
    struct serve_loop *l = start->l;
    struct session *s = mem_zalloc(sizeof(*s));
    struct dialogue_options o = { .engine = l->engine, .generation = start->generation, .listener = start->listener,
                                  .policy = start->policy, .facts = new_facts(start), .ops = &dialogue_ops,
                                  .owner = s };

    s->l = l;
    s->generation = start->generation;
    s->peer = start->client;
    s->end_task.run = on_end_task;
    loop_timer_init(&s->timer, on_timeout);
    list_push(&l->sessions, &s->link);
    atomic_fetch_add_explicit(&l->session_count, 1, memory_order_relaxed);
    metric_shift(l->serve->metrics.sessions, 1);
    metric_add(l->serve->metrics.sessions_total, 1);
    s->dialogue = dialogue_new(&o);
    s->conn = conn_new(l->loop, start->fd, &conn_ops, s);
    if (s->conn == NULL) {
        (void)close(start->fd);
        session_end(s);
        return;
    }
    dialogue_start(s->dialogue);
    if (s->conn != NULL && dialogue_waiting(s->dialogue))
        conn_pause(s->conn);
}

void session_begin(const struct session_start *start)
{
    if (is_allowed(start->l, start->generation, &start->client, start->fd))
        run(start);
    else
        generation_unref(start->generation);
}

void session_accept(struct serve_loop *l, int fd, const char *listener_name, const tern_address *peer,
                    const tern_address *local)
{
    struct session_start start = { .l = l, .generation = generation_present(), .fd = fd, .peer = *peer,
                                   .client = *peer, .local = *local };

    start.listener = generation_listener(start.generation, slice_cstr(listener_name), &start.policy);
    if (start.listener == NULL || atomic_load(&l->serve->draining)) {
        refuse(fd, "421 4.3.2 Service not available, please try again later\r\n");
        generation_unref(start.generation);
    } else if (!cidrs_match(start.listener->proxy, peer)) {
        session_begin(&start);
    } else if (!proxied_accept(&start)) {
        say_limit(l, peer, fd, LIMIT_SESSIONS);
        generation_unref(start.generation);
    }
}

void sessions_drain(struct serve_loop *l, bool now)
{
    proxied_drop_all(l);
    list_each_safe(link, &l->sessions) {
        struct session *s = list_entry(link, struct session, link);
        if (s->ending || s->commit != NULL)
            continue;
        if (now || !dialogue_in_transaction(s->dialogue))
            say_restart(s);
    }
}

void sessions_free(struct serve_loop *l)
{
    proxied_drop_all(l);
    list_each_safe(link, &l->sessions) {
        struct session *s = list_entry(link, struct session, link);
        s->ending = true;
        conn_free(s->conn);
        s->conn = NULL;
        session_free(s);
    }
}
