/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - one SMTP session: the connection, the protocol (smtp/), the policy
 * (module/engine.h) and the spool, wired into each other.
 *
 * Decides nothing itself. The protocol asks, the engine answers, the commit stores.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/commit.h"
#include "server/received.h"
#include "server/serve.h"
#include "smtp/session.h"

#define CLOSE_LINGER_MS 5000
#define UNSENT_MAX      65536 /* a client that does not read its replies is not asked for more commands */

struct session {
    struct list link;
    struct serve_loop *l;
    struct conn *conn;
    struct smtp_session *smtp;
    struct engine_session *engine;
    struct generation *generation;
    struct body *body;
    struct commit *commit;
    struct loop_timer timer;
    struct loop_task end_task;
    tern_address peer;
    bool ending;
};

static _Atomic uint64_t session_counter;

/* ---- the end ---- */

static void session_free(struct session *s)
{
    list_remove(&s->link);
    loop_timer_stop(&s->timer);
    if (s->commit != NULL)
        commit_forget(s->commit);
    engine_session_free(s->engine);
    smtp_session_free(s->smtp);
    body_unref(s->body);
    generation_unref(s->generation);
    session_limits_leave(s->l->serve->limits, &s->peer);
    metric_shift(s->l->serve->metrics.sessions, -1);
    atomic_fetch_sub_explicit(&s->l->session_count, 1, memory_order_relaxed);
    free(s);
}

static void on_end_task(struct loop_task *task)
{
    session_free(list_entry(task, struct session, end_task));
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
    loop_timer_stop(&s->timer);
    loop_at_end(s->l->loop, &s->end_task);
}

/* ---- answers ---- */

static void answer(struct session *s, const struct decision *d)
{
    struct smtp_answer a = { .code = 0 };

    if (s->ending)
        return;
    if (d->verdict == TERN_REJECT || d->verdict == TERN_DEFER || d->verdict == TERN_CLOSE)
        a = (struct smtp_answer){ d->code, d->enhanced, d->text };
    if (a.code >= 500)
        metric_add(s->l->serve->metrics.refused, 1);
    else if (a.code >= 400)
        metric_add(s->l->serve->metrics.deferred, 1);
    smtp_session_answer(s->smtp, &a);
}

static void answer_code(struct session *s, unsigned code, const char *enhanced, const char *text)
{
    struct smtp_answer a = { code, enhanced, slice_cstr(text) };

    smtp_session_answer(s->smtp, &a);
}

/* After an answer that came later: octets read meanwhile were kept by the protocol; read on. */
static void resume(struct session *s)
{
    if (s->ending || s->conn == NULL)
        return;
    conn_uncork(s->conn);
    if (!smtp_session_waiting(s->smtp) && conn_unsent(s->conn) < UNSENT_MAX)
        conn_resume(s->conn);
}

static void on_decided(void *arg, const struct decision *d)
{
    struct session *s = arg;

    if (s->ending)
        return;
    conn_cork(s->conn);
    answer(s, d);
    resume(s);
}

static void log_refusal(const struct session *s, const struct decision *d)
{
    const struct txn_facts *t = engine_txn(s->engine);
    struct log_line l;

    log_begin(&l, LOG_INFO, d->verdict == TERN_REJECT ? LOG_EV_reject : LOG_EV_defer,
              t != NULL ? t->id.ptr : engine_session_facts(s->engine)->id.ptr);
    log_str(&l, "client", slice_of(engine_session_facts(s->engine)->client_text));
    if (t != NULL)
        log_str(&l, "from", slice_of(t->sender.address));
    log_str(&l, "step", d->step);
    log_textf(&l, "reply", "%u %s %.*s", d->code, d->enhanced, (int)d->text.len, d->text.ptr);
    log_end(&l);
}

static void on_decided_logged(void *arg, const struct decision *d)
{
    struct session *s = arg;

    if (!s->ending && (d->verdict == TERN_REJECT || d->verdict == TERN_DEFER || d->verdict == TERN_CLOSE))
        log_refusal(s, d);
    on_decided(arg, d);
}

/* ---- questions of the protocol ---- */

static void op_connect(void *owner)
{
    struct session *s = owner;

    engine_connect(s->engine, on_decided_logged, s);
}

static void on_helo_decided(void *arg, const struct decision *d)
{
    struct session *s = arg;

    if (!s->ending)
        for (unsigned i = 0; i < engine_withheld_count(s->engine); i++)
            smtp_session_withhold(s->smtp, engine_withheld(s->engine, i));
    on_decided_logged(arg, d);
}

static void op_helo(void *owner, struct slice name, bool esmtp)
{
    struct session *s = owner;

    engine_helo(s->engine, name, esmtp, on_helo_decided, s);
}

static bool generation_is_over(const struct session *s)
{
    uint64_t retired = atomic_load(&s->generation->retired_ms);

    return retired != 0 && clock_now_ms() >= retired + s->generation->conf.drain_s * 1000;
}

static struct tern_mailbox copy_mailbox(struct arena *arena, const struct tern_mailbox *m)
{
    return (struct tern_mailbox){ tern_str_dup(arena, slice_of(m->address)),
                                  tern_str_dup(arena, slice_of(m->local)),
                                  tern_str_dup(arena, slice_of(m->domain)) };
}

static struct txn_facts *new_txn(struct session *s, const struct smtp_mail_params *p)
{
    struct txn_facts *t = txn_facts_new();
    struct arena *arena = &t->memory->arena;
    struct spool_key key = { spool_id_new(s->l->serve->spool), 1 };
    char id[SPOOL_ID_TEXT_MAX];

    spool_key_print(key, id);
    t->id = tern_str_dup(arena, slice_cstr(id));
    t->sender = copy_mailbox(arena, &p->sender);
    t->sender_original = t->sender;
    t->body = p->body;
    t->smtputf8 = p->smtputf8;
    t->declared_octets = p->size;
    t->envid = t->ret = (tern_str){ "", 0 };
    return t;
}

static void op_mail(void *owner, const struct smtp_mail_params *params)
{
    struct session *s = owner;

    if (atomic_load(&s->l->serve->draining) || generation_is_over(s)) {
        answer_code(s, 421, "4.3.2", "Service restarting, please try again");
        return;
    }
    if (!spool_has_room(s->l->serve->spool)) {
        answer_code(s, 452, "4.3.1", "Not enough room in the queue, please try again later");
        return;
    }
    engine_mail(s->engine, new_txn(s, params), on_decided_logged, s);
}

static void op_rcpt(void *owner, const struct tern_mailbox *rcpt, struct slice orcpt, struct slice notify)
{
    struct session *s = owner;

    engine_rcpt(s->engine, rcpt, orcpt, notify, on_decided_logged, s);
}

static void op_data(void *owner)
{
    struct session *s = owner;

    engine_data(s->engine, on_decided_logged, s);
}

static int op_body(void *owner, struct slice octets)
{
    struct session *s = owner;

    if (s->body == NULL)
        s->body = body_new(spool_tmp_dir(s->l->serve->spool));
    return body_append(s->body, octets);
}

static void drop_body(struct session *s)
{
    body_unref(s->body);
    s->body = NULL;
}

static void op_abort(void *owner)
{
    struct session *s = owner;

    drop_body(s);
    engine_txn_end(s->engine, SLICE(""), 0);
}

/* ---- the message ---- */

static void log_accepted(const struct session *s, const char *what)
{
    const struct txn_facts *t = engine_txn(s->engine);
    struct log_line l;

    log_begin(&l, LOG_INFO, what == NULL ? LOG_EV_accepted : LOG_EV_discarded, t->id.ptr);
    log_str(&l, "client", slice_of(engine_session_facts(s->engine)->client_text));
    log_str(&l, "from", slice_of(t->sender.address));
    log_uint(&l, "rcpts", t->rcpt_count);
    log_uint(&l, "size", s->body != NULL ? body_octets(s->body) : 0);
    log_end(&l);
}

static void accepted(struct session *s, const char *discarded)
{
    char text[64];
    const struct txn_facts *t = engine_txn(s->engine);

    log_accepted(s, discarded);
    metric_add(s->l->serve->metrics.accepted, 1);
    (void)snprintf(text, sizeof(text), "Ok: queued as %s", t->id.ptr);
    engine_txn_end(s->engine, slice_of(t->id), 250);
    drop_body(s);
    answer_code(s, 250, "2.0.0", text);
}

static void on_committed(void *arg, int status)
{
    struct session *s = arg;

    s->commit = NULL;
    if (s->ending)
        return;
    conn_cork(s->conn);
    if (status == 0) {
        accepted(s, NULL);
    } else {
        const char *text = status == -ENOSPC ? "Not enough room in the queue, please try again later"
                                             : "The queue cannot be written, please try again later";
        log_event(LOG_ERROR, LOG_EV_disk, engine_txn(s->engine)->id.ptr, "not stored: %s",
                  strerror(-status));
        engine_txn_end(s->engine, SLICE(""), status == -ENOSPC ? 452 : 451);
        drop_body(s);
        answer_code(s, status == -ENOSPC ? 452 : 451, status == -ENOSPC ? "4.3.1" : "4.3.0", text);
    }
    resume(s);
}

static void on_message_decided(void *arg, const struct engine_message_result *result)
{
    struct session *s = arg;

    if (s->ending)
        return;
    conn_cork(s->conn);
    if (result->decision.verdict == TERN_REJECT || result->decision.verdict == TERN_DEFER ||
        result->decision.verdict == TERN_CLOSE) {
        struct decision d = result->decision;
        char *text = mem_dup(d.text.ptr, d.text.len);
        log_refusal(s, &d);
        d.text.ptr = text;
        engine_txn_end(s->engine, SLICE(""), d.code);
        drop_body(s);
        answer(s, &d);
        free(text);
        resume(s);
        return;
    }
    s->commit = commit_new(s->l, engine_session_facts(s->engine), result);
    if (s->commit != NULL) {
        conn_uncork(s->conn);
        commit_submit(s->commit, on_committed, s);
        return;
    }
    accepted(s, "all recipients discarded");
    resume(s);
}

static void op_message(void *owner)
{
    struct session *s = owner;
    CLEANUP_BUF struct buf received = BUF_INIT;

    if (s->body == NULL)
        s->body = body_new(-1);
    received_add(&received, engine_session_facts(s->engine), engine_txn(s->engine),
                 s->generation->conf.hostname.ptr, clock_wall_ms());
    engine_message(s->engine, s->body, buf_slice(&received), on_message_decided, s);
}

/* ---- the connection ---- */

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

static const struct smtp_ops smtp_ops = {
    .send = op_send,       .close = op_close,   .expect = op_expect, .on_connect = op_connect,
    .on_helo = op_helo,    .on_mail = op_mail,  .on_rcpt = op_rcpt,  .on_data = op_data,
    .on_message = op_message, .on_body = op_body, .on_abort = op_abort,
};

static void on_timeout(struct loop_timer *timer)
{
    struct session *s = list_entry(timer, struct session, timer);

    if (!s->ending)
        smtp_session_end(s->smtp, 421, "4.4.2", "Timeout, closing the connection");
}

static void conn_read(void *owner, struct slice octets)
{
    struct session *s = owner;

    if (s->ending)
        return;
    conn_cork(s->conn);
    smtp_session_input(s->smtp, octets);
    if (s->conn == NULL)
        return;
    conn_uncork(s->conn);
    if (smtp_session_waiting(s->smtp) || conn_unsent(s->conn) >= UNSENT_MAX)
        conn_pause(s->conn);
}

static void conn_drained(void *owner)
{
    resume(owner);
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

static bool is_allowed(struct serve_loop *l, const struct generation *g, const tern_address *peer, int fd)
{
    enum limit_answer a = session_limits_enter(l->serve->limits, peer, g->conf.limits.sessions,
                                               g->conf.limits.sessions_per_address);
    char text[NET_ADDRESS_TEXT_MAX];

    if (a == LIMIT_OK)
        return true;
    net_address_print(peer, false, text);
    metric_add(l->serve->metrics.limited, 1);
    log_event(LOG_INFO, LOG_EV_limit, NULL, "%s refused: %s", text,
              a == LIMIT_SESSIONS ? "limits.sessions is reached" : "limits.sessions_per_address is reached");
    refuse(fd, a == LIMIT_SESSIONS ? "421 4.3.2 Too many connections, please try again later\r\n"
                                   : "421 4.7.0 Too many connections from your address\r\n");
    return false;
}

static struct session_facts *new_facts(struct serve_loop *l, const struct listener_conf *listener,
                                       const tern_address *peer, const tern_address *local)
{
    struct session_facts *f = session_facts_new();
    struct arena *arena = &f->memory->arena;
    char text[NET_ADDRESS_TEXT_MAX];

    net_address_print(peer, false, text);
    f->client = *peer;
    f->local = *local;
    f->client_text = tern_str_dup(arena, slice_cstr(text));
    f->id.ptr = arena_printf(arena, "s%llx-%llx", (unsigned long long)(l->serve->started_wall_ms / 1000),
                             (unsigned long long)atomic_fetch_add(&session_counter, 1));
    f->id.len = strlen(f->id.ptr);
    f->listener = (tern_str){ arena_dup(arena, listener->name), listener->name.len };
    f->policy = tern_str_dup(arena, slice_of(listener->policy));
    f->helo = f->user = (tern_str){ "", 0 };
    return f;
}

static void ref_generation(void *generation)
{
    (void)generation_ref(generation);
}

static void unref_generation(void *generation)
{
    generation_unref(generation);
}

static void start(struct serve_loop *l, struct generation *g, int fd, const struct listener_conf *listener,
                  const struct policy *policy, const tern_address *peer, const tern_address *local)
{
    struct session *s = mem_zalloc(sizeof(*s));
    struct engine_session_options eo = {
        .policy = policy, .generation_ref = ref_generation, .generation_unref = unref_generation,
        .generation = g, .soft_bounce = g->conf.soft_bounce, .split = g->conf.split,
        .groups_max = g->conf.limits.groups, .facts = new_facts(l, listener, peer, local),
    };
    struct smtp_session_options so = { .hostname = g->conf.hostname.ptr, .ops = &smtp_ops, .owner = s };

    s->l = l;
    s->generation = g;
    s->peer = *peer;
    s->end_task.run = on_end_task;
    loop_timer_init(&s->timer, on_timeout);
    list_push(&l->sessions, &s->link);
    atomic_fetch_add_explicit(&l->session_count, 1, memory_order_relaxed);
    metric_shift(l->serve->metrics.sessions, 1);
    metric_add(l->serve->metrics.sessions_total, 1);
    server_conf_smtp_limits(&g->conf, &so.limits);
    s->engine = engine_session_new(l->engine, &eo);
    s->smtp = smtp_session_new(&so);
    s->conn = conn_new(l->loop, fd, &conn_ops, s);
    if (s->conn == NULL) {
        (void)close(fd);
        session_end(s);
        return;
    }
    smtp_session_start(s->smtp);
    if (s->conn != NULL && smtp_session_waiting(s->smtp))
        conn_pause(s->conn);
}

void session_accept(struct serve_loop *l, int fd, const char *listener_name, const tern_address *peer,
                    const tern_address *local)
{
    struct generation *g = generation_present();
    const struct policy *policy = NULL;
    const struct listener_conf *listener = generation_listener(g, slice_cstr(listener_name), &policy);

    if (listener == NULL || atomic_load(&l->serve->draining)) {
        refuse(fd, "421 4.3.2 Service not available, please try again later\r\n");
        generation_unref(g);
        return;
    }
    if (!is_allowed(l, g, peer, fd)) {
        generation_unref(g);
        return;
    }
    start(l, g, fd, listener, policy, peer, local);
}

void sessions_drain(struct serve_loop *l, bool now)
{
    list_each_safe(link, &l->sessions) {
        struct session *s = list_entry(link, struct session, link);
        if (s->ending || s->commit != NULL)
            continue;
        if (now || !smtp_session_in_transaction(s->smtp))
            smtp_session_end(s->smtp, 421, "4.3.2", "Service restarting, please try again");
    }
}

void sessions_free(struct serve_loop *l)
{
    list_each_safe(link, &l->sessions) {
        struct session *s = list_entry(link, struct session, link);
        s->ending = true;
        conn_free(s->conn);
        s->conn = NULL;
        session_free(s);
    }
}
