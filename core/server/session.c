/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - one client: its connection, its time-outs, its dialogue (dialogue.h) and the
 * commit of its message.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/commit.h"
#include "server/data_rate.h"
#include "server/dialogue.h"
#include "server/etrn.h"
#include "server/milter.h"
#include "server/proxied.h"
#include "server/serve.h"

#define CLOSE_LINGER_MS 5000
/*
 * What one session makes us hold before DATA, by default 64 KB at most: a read, and a command line that is not
 * complete; and replies that are not taken. Buffers grow by doubling, hence a quarter for each.
 */
#define COMMAND_READ_MAX 16384
#define COMMANDS_PER_TURN 16 /* then the other sessions of the loop get theirs, whatever was pipelined */
#define TURN_MS           10 /* and no command is begun behind that: a script may burn for a slice in each */
#define UNSENT_MAX       16384 /* a client that does not read its replies is not asked for more commands */

struct session {
    struct list link;
    struct serve_loop *l;
    struct conn *conn;
    struct dialogue *dialogue;
    struct generation *generation;
    struct commit *commit;
    union {
        struct loop_timer timer;
        struct loop_task end_task; /* once it is `ending`, behind which no timer is started */
    };
    tern_address network; /* the client's, masked: what it is counted by */
    unsigned turn;        /* commands done since the loop came here */
    uint32_t turn_began_ms;
    const struct listener_conf *listener; /* the generation's */
    struct tls *tls; /* prepared; once begun it is the connection's */
    bool shaking;
    bool ending;
    bool feeding;  /* octets are gone through: an answer from inside is no reason to send or read */
    bool rate_exempt;
    bool pausing; /* the timer is that of a pause, not of a time-out */
    bool rate_timer; /* the timer is that of the data rate */
    bool waits; /* ended, but for its commit: what became of the message is told first */
    uint64_t deadline_ms; /* of what is expected */
    struct data_rate data_rate;
};

static _Atomic uint64_t session_counter;

/* ---- the end ---- */

static void session_free(struct session *s)
{
    list_remove(&s->link);
    loop_timer_stop(&s->timer); /* or the task, if the loop ends before it ran */
    if (s->commit != NULL)
        commit_forget(s->commit);
    dialogue_free(s->dialogue);
    tls_free(s->tls);
    generation_unref(s->generation);
    session_limits_leave(s->l->serve->limits, &s->network);
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
    s->end_task = (struct loop_task){ .run = on_end_task };
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

    if (s->conn != NULL && !s->feeding)
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

static uint32_t now_ms(void)
{
    return (uint32_t)(clock_now_us() / 1000);
}

static bool turn_is_over(const struct session *s)
{
    return s->turn >= COMMANDS_PER_TURN || (s->turn > 0 && now_ms() - s->turn_began_ms >= TURN_MS);
}

/*
 * Sends what was gathered. A pipeline is gone through in turns of COMMANDS_PER_TURN commands, TURN_MS or UNSENT_MAX
 * octets of replies: who sends commands and takes no replies fills his own buffers and not our memory, and
 * who sends many keeps nobody else waiting.
 */
static void let_out(struct session *s)
{
    while (s->conn != NULL) {
        conn_uncork(s->conn);
        if (s->ending || !dialogue_stalled(s->dialogue) || conn_unsent(s->conn) >= UNSENT_MAX)
            return;
        if (turn_is_over(s)) {
            conn_nudge(s->conn);
            return;
        }
        conn_cork(s->conn);
        s->feeding = true;
        dialogue_go_on(s->dialogue);
        s->feeding = false;
    }
}

static bool may_read(const struct session *s)
{
    return !dialogue_waiting(s->dialogue) && !dialogue_stalled(s->dialogue) && conn_unsent(s->conn) < UNSENT_MAX;
}

static void op_resumed(void *owner)
{
    struct session *s = owner;

    if (s->ending || s->conn == NULL || s->feeding)
        return;
    s->turn_began_ms = now_ms(); /* meanwhile the others had theirs */
    end_if_drained(s);
    let_out(s);
    if (s->conn == NULL)
        return;
    if (may_read(s))
        conn_resume(s->conn);
    else
        conn_pause(s->conn);
}

static bool op_full(void *owner)
{
    struct session *s = owner;

    if (s->conn != NULL && (turn_is_over(s) || conn_unsent(s->conn) >= UNSENT_MAX))
        return true;
    if (s->turn++ == 0)
        s->turn_began_ms = now_ms();
    return false;
}

/*
 * Octets sent before the banner are still the kernel's: nothing is read while hook connect is asked. With
 * implicit TLS it is the client who speaks first.
 */
static uint64_t op_early(void *owner)
{
    struct session *s = owner;
    int octets = 0;

    if (s->conn == NULL || s->listener->tls == SMTP_TLS_IMPLICIT || ioctl(conn_fd(s->conn), FIONREAD, &octets) < 0)
        return 0;
    return octets > 0 ? (uint64_t)octets : 0;
}

static void op_pause(void *owner, uint32_t ms)
{
    struct session *s = owner;

    if (s->ending)
        return;
    s->pausing = true;
    loop_timer_start(s->l->loop, &s->timer, ms);
}

/* Until the time-out of what is expected, or the next look at the rate at which the message comes if that is sooner. */
static void start_timer(struct session *s, uint64_t now)
{
    uint64_t block_ms = s->deadline_ms > now ? s->deadline_ms - now : 0;
    uint64_t rate_ms = data_rate_left_ms(&s->data_rate, now);

    s->rate_timer = rate_ms < block_ms;
    loop_timer_start(s->l->loop, &s->timer, s->rate_timer ? rate_ms : block_ms);
}

static uint64_t timeout_s(const struct timeouts_conf *t, enum smtp_phase phase)
{
    switch (phase) {
    case SMTP_PHASE_LINE: return t->line_s < t->command_s ? t->line_s : t->command_s;
    case SMTP_PHASE_DATA_START: return t->data_start_s;
    case SMTP_PHASE_DATA_BLOCK: return t->data_block_s;
    case SMTP_PHASE_TLS: return t->tls_s;
    case SMTP_PHASE_COMMAND:
    case SMTP_PHASE_ANSWER: break;
    }
    return t->command_s;
}

/* What the client sends now is part of a message, or lies between two chunks of one. */
static bool is_in_message(const struct session *s, enum smtp_phase phase)
{
    return phase == SMTP_PHASE_DATA_BLOCK ||
           ((phase == SMTP_PHASE_COMMAND || phase == SMTP_PHASE_LINE) && dialogue_in_chunks(s->dialogue));
}

static void op_expect(void *owner, enum smtp_phase phase)
{
    struct session *s = owner;
    const struct server_conf *c = &s->generation->conf;
    bool data = phase == SMTP_PHASE_DATA_START || phase == SMTP_PHASE_DATA_BLOCK;
    uint64_t now = clock_now_ms();

    if (s->conn != NULL)
        conn_set_read_max(s->conn, data ? LOOP_READ_OCTETS : COMMAND_READ_MAX);
    if (s->ending)
        return;
    s->rate_timer = false;
    if (phase == SMTP_PHASE_ANSWER) { /* we keep the client waiting, not it us */
        data_rate_hold(&s->data_rate, now);
        if (!s->pausing)
            loop_timer_stop(&s->timer);
        return;
    }
    if (c->limits.min_data_rate != 0 && is_in_message(s, phase))
        data_rate_run(&s->data_rate, now, dialogue_mail_octets(s->dialogue), c->limits.min_data_window_s * 1000);
    else
        data_rate_end(&s->data_rate);
    s->deadline_ms = now + timeout_s(&c->timeouts, phase) * 1000;
    start_timer(s, now);
}

static bool generation_is_over(const struct session *s)
{
    uint64_t retired = atomic_load(&s->generation->retired_ms);

    return retired != 0 && clock_now_ms() >= retired + s->generation->conf.drain_s * 1000;
}

static bool is_exempt(const struct limits_conf *c, const tern_address *peer)
{
    return c->rate_exempt != NULL && cidrs_match(c->rate_exempt, peer);
}

static bool rate_allows(struct session *s, enum rate_kind kind, struct tern_rate rate)
{
    if (rate.count == 0 || s->rate_exempt)
        return true;
    if (rates_take(s->l->serve->rates, kind, &s->network, rate, clock_now_ms() * 1000))
        return true;
    metric_add(s->l->serve->metrics.rate_limited, 1);
    return false;
}

static bool op_may_begin(void *owner, struct smtp_answer *ret)
{
    struct session *s = owner;
    const struct server_conf *c = &s->generation->conf;

    if (atomic_load(&s->l->serve->draining) || generation_is_over(s))
        *ret = (struct smtp_answer){ 421, "4.3.2", SLICE("Service restarting, please try again") };
    else if (!spool_has_room(s->l->serve->spool))
        *ret = (struct smtp_answer){ 452, "4.3.1", SLICE("Not enough room in the queue, please try again later") };
    else if (load_check(s->l->serve->load, &c->load, clock_now_ms()) != LOAD_OK)
        *ret = (struct smtp_answer){ 452, "4.3.1", SLICE("Too busy, please try again later") };
    else if (!rate_allows(s, RATE_MESSAGES, c->limits.message_rate))
        *ret = (struct smtp_answer){ 450, "4.7.1",
                                     SLICE("Too many messages from your network, please try again later") };
    else
        return true;
    return false;
}

static bool op_may_add(void *owner, struct smtp_answer *ret)
{
    struct session *s = owner;

    if (rate_allows(s, RATE_RECIPIENTS, s->generation->conf.limits.recipient_rate))
        return true;
    *ret = (struct smtp_answer){ 450, "4.7.1",
                                 SLICE("Too many recipients from your network, please try again later") };
    return false;
}

/* It has its place among all; it leaves the one among those of its old network. */
static bool op_moved(void *owner, const tern_address *client, struct smtp_answer *ret)
{
    struct session *s = owner;
    const struct limits_conf *c = &s->generation->conf.limits;
    tern_address network = rates_network(client, c->ipv4_mask, c->ipv6_mask);
    struct session_limits *limits = s->l->serve->limits;

    if (session_limits_enter(limits, &network, UINT32_MAX, c->sessions_per_address) != LIMIT_OK) {
        *ret = (struct smtp_answer){ 421, "4.7.0", SLICE("Too many connections from your address") };
        metric_add(s->l->serve->metrics.limited, 1);
        return false;
    }
    session_limits_leave(limits, &s->network);
    s->network = network;
    s->rate_exempt = is_exempt(c, client);
    if (rate_allows(s, RATE_CONNECTIONS, c->connection_rate))
        return true;
    *ret = (struct smtp_answer){ 421, "4.7.0",
                                 SLICE("Too many connections from your network, please try again later") };
    return false;
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

    data_rate_end(&s->data_rate); /* another message than the one before */
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

static int op_etrn(void *owner, struct slice client, struct slice domain, bool or_below)
{
    struct session *s = owner;

    return etrn_start(s->l->serve, client, domain, or_below);
}

static void op_count(void *owner, enum dialogue_reply reply)
{
    const struct serve_metrics *m = &((struct session *)owner)->l->serve->metrics;

    metric_add(reply == DIALOGUE_ACCEPTED ? m->accepted : reply == DIALOGUE_REFUSED ? m->refused : m->deferred, 1);
}

/* ---- TLS ---- */

static bool op_tls_ready(void *owner)
{
    struct session *s = owner;
    struct tls_server *server = generation_tls_server(s->generation, s->listener);

    tls_free(s->tls);
    s->tls = server != NULL && s->conn != NULL ? tls_server_side(server) : NULL;
    return s->tls != NULL;
}

static void op_begin_tls(void *owner)
{
    struct session *s = owner;

    if (s->conn == NULL)
        return;
    s->shaking = true;
    tls_start(s->tls, s->conn, SLICE(""));
    s->tls = NULL;
}

static void log_tls_failure(struct session *s, const char *reason)
{
    struct log_line l;

    s->shaking = false;
    metric_add(s->l->serve->metrics.tls_failed, 1);
    log_begin(&l, LOG_INFO, LOG_EV_tls, dialogue_id(s->dialogue));
    log_str(&l, "client", dialogue_client(s->dialogue));
    log_str(&l, "listener", s->listener->name);
    log_cstr(&l, "reason", reason);
    log_end(&l);
}

/* A verified certificate's name: a mailbox, else the CN, else a host. */
static struct slice client_name(const struct tls_peer *p)
{
    struct slice name = slice_cstr(p->common_name);

    for (unsigned i = 0; i < p->name_count; i++) {
        struct slice n = slice_cstr(p->names[i]);
        if (slice_starts_nocase(n, SLICE("email:")))
            return slice_from(n, 6);
        if (name.len == 0 && slice_starts_nocase(n, SLICE("dns:")))
            name = slice_from(n, 4);
    }
    return name;
}

/* Names of RFC 5929 and 9266. */
static int binding(void *arg, struct slice name, unsigned char *out)
{
    struct session *s = arg;
    const struct tls *tls = s->conn != NULL ? tls_of(s->conn) : NULL;

    if (tls == NULL)
        return -ENOTCONN;
    if (slice_equal(name, SLICE("tls-exporter")))
        return tls_channel_binding(tls, TLS_BINDING_EXPORTER, out);
    if (slice_equal(name, SLICE("tls-server-end-point")))
        return tls_channel_binding(tls, TLS_BINDING_SERVER_END_POINT, out);
    return -ENOTSUP;
}

static void conn_secured(void *owner)
{
    struct session *s = owner;
    const struct tls *tls = tls_of(s->conn);
    struct slice names[TLS_NAMES_MAX];
    struct tls_peer p;

    s->shaking = false;
    metric_add(s->l->serve->metrics.tls_done, 1);
    if (s->ending)
        return;
    tls_peer(tls, &p);
    struct engine_tls t = { .version = slice_cstr(tls_version(tls)), .cipher = slice_cstr(tls_cipher(tls)),
                            .sni = slice_cstr(tls_sni(tls)), .subject = slice_cstr(p.subject),
                            .fingerprint = slice_cstr(p.fingerprint), .error = slice_cstr(p.error), .names = names };
    if (p.verified) {
        t.client = client_name(&p);
        for (unsigned i = 0; i < p.name_count; i++)
            names[t.name_count++] = slice_cstr(p.names[i]);
    }
    conn_cork(s->conn);
    dialogue_secured(s->dialogue, &t, binding, s);
    op_resumed(s);
}

static const struct dialogue_ops dialogue_ops = {
    .tls_ready = op_tls_ready, .begin_tls = op_begin_tls,
    .send = op_send, .close = op_close, .expect = op_expect, .resumed = op_resumed, .gather = op_gather,
    .may_begin = op_may_begin, .new_id = op_new_id, .new_body = op_new_body, .store = op_store,
    .etrn = op_etrn, .count = op_count, .may_add = op_may_add, .pause = op_pause, .full = op_full, .early = op_early,
    .moved = op_moved,
};

/* ---- the connection ---- */

static void look_at_data_rate(struct session *s)
{
    const struct limits_conf *c = &s->generation->conf.limits;
    uint64_t now = clock_now_ms(), octets;

    if (data_rate_is_enough(&s->data_rate, now, dialogue_mail_octets(s->dialogue), c->min_data_rate, &octets)) {
        start_timer(s, now);
        return;
    }
    log_event(LOG_INFO, LOG_EV_limit, dialogue_id(s->dialogue),
              "limits.min_data_rate: %llu octets of the message in %llu s", (unsigned long long)octets,
              (unsigned long long)c->min_data_window_s);
    dialogue_end(s->dialogue, 421, "4.4.2", "Too slow, closing the connection");
}

static void on_timeout(struct loop_timer *timer)
{
    struct session *s = list_entry(timer, struct session, timer);

    if (s->ending)
        return;
    if (s->shaking)
        log_tls_failure(s, "the handshake took longer than timeouts.tls");
    if (s->pausing) {
        s->pausing = false;
        dialogue_breathed(s->dialogue);
    } else if (s->rate_timer) {
        look_at_data_rate(s);
    } else {
        dialogue_end(s->dialogue, 421, "4.4.2", "Timeout, closing the connection");
    }
}

static void conn_read(void *owner, struct slice octets)
{
    struct session *s = owner;

    if (s->ending)
        return;
    s->turn = 0;
    conn_cork(s->conn);
    s->feeding = true;
    dialogue_input(s->dialogue, octets);
    s->feeding = false;
    /* The buffer is the loop's, and the next one to look at it may be anybody. */
    if (dialogue_take_secret(s->dialogue))
        explicit_bzero((char *)octets.ptr, octets.len);
    end_if_drained(s);
    let_out(s);
    if (s->conn == NULL)
        return;
    if (!may_read(s))
        conn_pause(s->conn);
}

static void conn_drained(void *owner)
{
    ((struct session *)owner)->turn = 0;
    op_resumed(owner);
}

static void conn_ended(void *owner, int status)
{
    struct session *s = owner;

    (void)status;
    if (s->shaking && !s->ending)
        log_tls_failure(s, tls_reason(tls_of(s->conn)));
    conn_free(s->conn);
    s->conn = NULL;
    session_end(s);
}

static const struct conn_ops conn_ops = { .on_read = conn_read, .on_secured = conn_secured, .on_drained = conn_drained,
                                          .on_end = conn_ended };

/* ---- the beginning ---- */

/* Where TLS is implicit no client understands words in the clear. */
static void refuse(const struct listener_conf *listener, int fd, const char *reply)
{
    if (listener == NULL || (listener->tls != SMTP_TLS_IMPLICIT && listener->protocol != LISTENER_MILTER))
        (void)!write(fd, reply, strlen(reply));
    (void)close(fd);
}

#define TOO_MANY "421 4.3.2 Too many connections, please try again later\r\n"

static void refuse_logged(const struct session_start *start, const char *key, const char *reply)
{
    char text[NET_ADDRESS_TEXT_MAX];

    net_address_print(&start->client, false, text);
    metric_add(start->l->serve->metrics.limited, 1);
    if (key != NULL)
        log_event(LOG_INFO, LOG_EV_limit, NULL, "%s refused: %s is reached", text, key);
    refuse(start->listener, start->fd, reply);
}

/* What is too much for all is looked at first: it costs least, and says nothing of the client. */
static bool is_overloaded(struct serve_loop *l, const struct generation *g, int fd)
{
    return load_check_descriptor(l->serve->load, &g->conf.load, fd, clock_now_ms()) != LOAD_OK;
}

static tern_address network_of(const struct session_start *start)
{
    const struct limits_conf *c = &start->generation->conf.limits;

    return rates_network(&start->client, c->ipv4_mask, c->ipv6_mask);
}

/* By a unix socket: its mode says who may come, and all of them have no network. */
static bool is_local(const struct session_start *start)
{
    return start->peer.family == 0;
}

static bool is_allowed(const struct session_start *start)
{
    const struct limits_conf *c = &start->generation->conf.limits;
    const tern_address *client = &start->client;
    struct serve *s = start->l->serve;
    tern_address network = network_of(start);

    if (!is_local(start) && !is_exempt(c, client) &&
        !rates_take(s->rates, RATE_CONNECTIONS, &network, c->connection_rate, clock_now_ms() * 1000)) {
        refuse_logged(start, "limits.connection_rate",
                      "421 4.7.0 Too many connections from your network, please try again later\r\n");
        return false;
    }
    /* Who speaks for others has as many as they have together; each is counted by XCLIENT. */
    bool many = is_local(start) || cidrs_match(start->listener->xclient, client);
    switch (session_limits_enter(s->limits, &network, c->sessions, many ? UINT32_MAX : c->sessions_per_address)) {
    case LIMIT_SESSIONS: refuse_logged(start, "limits.sessions", TOO_MANY); return false;
    case LIMIT_ADDRESS:
        refuse_logged(start, "limits.sessions_per_address",
                      "421 4.7.0 Too many connections from your address\r\n");
        return false;
    case LIMIT_OK: break;
    }
    return true;
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

void session_new_id(struct serve_loop *l, char out[], size_t octets)
{
    (void)snprintf(out, octets, "s%llx-%llx", (unsigned long long)(l->serve->started_wall_ms / 1000),
                   (unsigned long long)atomic_fetch_add(&session_counter, 1));
}

static struct session_facts *new_facts(const struct session_start *start)
{
    struct serve_loop *l = start->l;
    const struct listener_conf *listener = start->listener;
    struct session_facts *f = session_facts_new();
    struct arena *arena = &f->memory->arena;
    char id[48];

    f->client = start->client;
    f->local = start->local;
    f->client_text = address_text(arena, &start->client);
    session_new_id(l, id, sizeof(id));
    f->id = tern_str_dup(arena, slice_cstr(id));
    f->listener = (tern_str){ listener->name.ptr, listener->name.len };
    f->policy = listener->policy;
    f->helo = f->user = (tern_str){ "", 0 };
    if (!is_same_host(&start->peer, &start->client)) {
        struct relayed_facts *relayed = ARENA_NEW(arena, struct relayed_facts);
        *relayed = *f->relayed;
        relayed->via = address_text(arena, &start->peer);
        f->relayed = relayed;
    }
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
    s->network = network_of(start);
    s->rate_exempt = is_local(start) || is_exempt(&start->generation->conf.limits, &start->client);
    s->listener = start->listener;
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
    conn_set_read_max(s->conn, COMMAND_READ_MAX);
    dialogue_start(s->dialogue);
    if (s->conn != NULL && dialogue_waiting(s->dialogue))
        conn_pause(s->conn);
}

void session_begin(const struct session_start *start)
{
    if (is_allowed(start))
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
        refuse(start.listener, fd, "421 4.3.2 Service not available, please try again later\r\n");
        generation_unref(start.generation);
    } else if (is_overloaded(l, start.generation, fd)) {
        /* Logged once by load.c: a line for each would be load of its own. */
        refuse_logged(&start, NULL, "421 4.3.2 Too busy, please try again later\r\n");
        generation_unref(start.generation);
    } else if (start.listener->protocol == LISTENER_MILTER) {
        milter_accept(&start);
    } else if (!cidrs_match(start.listener->proxy, peer)) {
        session_begin(&start);
    } else if (!proxied_accept(&start)) {
        refuse_logged(&start, "limits.sessions", TOO_MANY);
        generation_unref(start.generation);
    }
}

void sessions_drain(struct serve_loop *l, bool now)
{
    proxied_drop_all(l);
    milters_drain(l, now);
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
    milters_free(l);
    list_each_safe(link, &l->sessions) {
        struct session *s = list_entry(link, struct session, link);
        s->ending = true;
        conn_free(s->conn);
        s->conn = NULL;
        session_free(s);
    }
}
