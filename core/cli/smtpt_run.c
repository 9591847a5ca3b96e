/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smtpt_run.c - see smtpt_run.h.
 *
 * Each test gets a fresh engine, session, kv table and clock; the configuration is loaded once a file.
 * Time is virtual: when a step waits and nothing else can happen, the clock goes to the next timer, so that
 * a time-out of 30 s costs nothing.
 */
#include "cli/smtpt_run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/smtpt_config.h"
#include "cli/smtpt_dns.h"
#include "lua/when.h"
#include "mime/header.h"
#include "module/pool.h"
#include "net/conn.h"
#include "server/dialogue.h"
#include "spool/spool.h"

#define REPLIES_MAX       100000
#define STORED_MAX        1000
#define TURNS_MAX         100000
#define REAL_WAIT_MS_MAX  10000 /* for BLOCKING steps; everything else is virtual */
#define CLOCK_DEFAULT_MS  1767225600000 /* 2026-01-01 00:00 UTC */
#define HEADER_OCTETS_MAX (1u << 20)

struct stored {
    struct slice id, sender, hold_reason, header;
    struct slice *rcpts;
    const struct txn_facts *facts; /* a reference */
    bool held;
};

struct run {
    const char *path;
    const struct smtpt_file *file;
    const struct smtpt_test *test;
    struct generation *generation;
    struct loop *loop;
    struct dns *dns;
    struct kv *kv;
    struct pool *pool;
    struct engine *engine;
    struct dialogue *dialogue;
    struct arena arena; /* of the test */
    struct buf *out;

    tern_address client;
    struct slice listener, early;
    struct buf incoming;  /* from the server, not yet a whole reply */
    struct slice *replies; /* whole ones, lines joined by \n */
    unsigned reply_count, consumed;
    bool closed, ended, failed, shaking;

    char verdict[16], step[128];
    struct stored stored[STORED_MAX];
    unsigned stored_count;
    uint64_t id_counter;
};

static const char *const verdict_names[] = { "NEXT", "ACCEPT", "REJECT", "DEFER", "CLOSE",
                                             "HOLD", "DISCARD", "WAIT",   "ERROR" };

static void fail(struct run *r, unsigned line, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void fail(struct run *r, unsigned line, const char *format, ...)
{
    va_list args;

    r->failed = true;
    buf_printf(r->out, "%s:%u: \"%.*s\": ", r->path, line, (int)r->test->name.len, r->test->name.ptr);
    va_start(args, format);
    buf_vprintf(r->out, format, args);
    va_end(args);
    buf_add_char(r->out, '\n');
}

/* ---- the server's side of the dialogue ---- */

/* Cuts whole replies ("250-a", "250 b") out of what was sent. */
static void cut_replies(struct run *r)
{
    size_t begin = 0, at = 0;

    while (at < r->incoming.len) {
        const char *crlf = memmem(r->incoming.data + at, r->incoming.len - at, "\r\n", 2);
        if (crlf == NULL)
            break;
        size_t end = (size_t)(crlf - r->incoming.data);
        bool last = end - at < 4 || r->incoming.data[at + 3] != '-';
        at = end + 2;
        if (last && r->reply_count < REPLIES_MAX) {
            r->replies[r->reply_count++] =
                arena_slice(&r->arena, slice_make(r->incoming.data + begin, end - begin));
            begin = at;
        }
    }
    buf_consume(&r->incoming, begin);
}

static void op_send(void *owner, struct slice octets)
{
    struct run *r = owner;

    buf_add(&r->incoming, octets);
    cut_replies(r);
}

static void op_close(void *owner)
{
    ((struct run *)owner)->closed = true;
}

static void op_expect(void *owner, enum smtp_phase phase)
{
    (void)owner;
    (void)phase;
}

static void op_nothing(void *owner)
{
    (void)owner;
}

static bool op_may_begin(void *owner, struct smtp_answer *ret)
{
    (void)owner;
    (void)ret;
    return true;
}

static void op_new_id(void *owner, char out[], size_t octets)
{
    struct run *r = owner;
    char id[SPOOL_ID_TEXT_MAX];
    struct spool_key key = { (r->id_counter += 1) + ((clock_wall_ms() - CLOCK_DEFAULT_MS) << 24), 1 };

    spool_key_print(key, id);
    (void)snprintf(out, octets, "%s", id);
}

static struct body *op_new_body(void *owner)
{
    (void)owner;
    return body_new(-1);
}

/* The header as it will be queued: the engine's head and what follows it in the body, up to the empty line. */
static struct slice header_of(struct run *r, const struct engine_group *g, const struct body *body)
{
    struct buf all = BUF_INIT;
    size_t header, rest;
    int64_t n;

    buf_add(&all, g->head);
    n = body_read(body, g->body_offset, buf_reserve(&all, HEADER_OCTETS_MAX), HEADER_OCTETS_MAX);
    all.len += n > 0 ? (size_t)n : 0;
    (void)header_end(buf_slice(&all), &header, &rest);
    struct slice copy = arena_slice(&r->arena, slice_head(buf_slice(&all), header));
    buf_free(&all);
    return copy;
}

static void keep(struct run *r, const struct engine_group *g, const struct body *body)
{
    if (r->stored_count == STORED_MAX)
        return;
    struct stored *s = &r->stored[r->stored_count++];
    s->id = arena_slice(&r->arena, slice_make(g->facts->id.ptr, g->facts->id.len));
    s->sender = arena_slice(&r->arena, slice_of(g->facts->sender.address));
    s->held = g->disposition == DISPOSE_HOLD;
    s->hold_reason = arena_slice(&r->arena, g->hold_reason);
    s->header = header_of(r, g, body);
    s->facts = txn_facts_ref((struct txn_facts *)g->facts);
}

static void op_store(void *owner, const struct session_facts *session,
                     const struct engine_message_result *result)
{
    struct run *r = owner;

    (void)session;
    for (unsigned i = 0; i < result->group_count; i++)
        if (result->groups[i].disposition != DISPOSE_DISCARD && result->groups[i].facts->rcpt_count > 0)
            keep(r, &result->groups[i], result->body);
    dialogue_stored(r->dialogue, 0);
}

static void op_count(void *owner, enum dialogue_reply reply)
{
    (void)owner;
    (void)reply;
}

static void op_decided(void *owner, const struct decision *d)
{
    struct run *r = owner;

    (void)snprintf(r->verdict, sizeof(r->verdict), "%s", verdict_names[d->verdict]);
    (void)snprintf(r->step, sizeof(r->step), "%.*s", (int)d->step.len, d->step.ptr);
}

static uint64_t op_early(void *owner)
{
    const struct run *r = owner;

    return r->early.len > 0 ? r->early.len + 2 : 0;
}

/* There is no wire to encrypt: the handshake succeeds at once, behind the reply. */
static bool op_tls_ready(void *owner)
{
    (void)owner;
    return true;
}

static void op_begin_tls(void *owner)
{
    ((struct run *)owner)->shaking = true;
}

static void finish_tls(struct run *r)
{
    static const struct engine_tls tls = { .version = SLICE("TLSv1.3"), .cipher = SLICE("TLS_AES_256_GCM_SHA384") };

    if (!r->shaking || r->closed)
        return;
    r->shaking = false;
    dialogue_secured(r->dialogue, &tls, NULL, NULL);
}

static const struct dialogue_ops ops = {
    .tls_ready = op_tls_ready, .begin_tls = op_begin_tls,
    .send = op_send, .close = op_close, .expect = op_expect, .resumed = op_nothing, .gather = op_nothing,
    .may_begin = op_may_begin, .new_id = op_new_id, .new_body = op_new_body, .store = op_store,
    .count = op_count, .decided = op_decided, .early = op_early,
};

/* ---- time ---- */

/* Lets things happen until `done` says so: real work first, then virtual time. False after the bounds. */
static bool settle(struct run *r, bool (*done)(const struct run *r))
{
    uint64_t real_us = clock_now_us();

    for (unsigned i = 0; i < TURNS_MAX; i++) {
        loop_turn(r->loop, false);
        if (done(r))
            return true;
        if (pool_busy(r->pool) > 0 || pool_waiting(r->pool) > 0) {
            loop_turn(r->loop, true);
            if (clock_now_us() - real_us > REAL_WAIT_MS_MAX * 1000ull)
                return false;
            continue;
        }
        loop_turn(r->loop, false); /* what the last turn posted */
        if (done(r))
            return true;
        int64_t next = loop_next_timer_ms(r->loop);
        if (next < 0)
            return false;
        clock_virtual_advance(next > 0 ? (uint64_t)next : 1);
    }
    return false;
}

static bool is_answered(const struct run *r)
{
    return r->closed || !dialogue_waiting(r->dialogue);
}

static bool wait_answer(struct run *r, unsigned line)
{
    if (settle(r, is_answered)) {
        finish_tls(r);
        return true;
    }
    fail(r, line, "the server did not answer: a step waits for something that never comes");
    return false;
}

/* ---- sessions ---- */

static struct session_facts *new_facts(struct run *r, const struct listener_conf *listener)
{
    struct session_facts *f = session_facts_new();
    struct arena *arena = &f->memory->arena;
    char text[NET_ADDRESS_TEXT_MAX];

    net_address_print(&r->client, false, text);
    f->client = r->client;
    f->client_text = tern_str_dup(arena, slice_cstr(text));
    f->id = tern_str_dup(arena, SLICE("s-test"));
    f->listener = tern_str_dup(arena, listener->name);
    f->policy = tern_str_dup(arena, slice_of(listener->policy));
    f->helo = f->user = (tern_str){ "", 0 };
    return f;
}

/* What was said too early is read once the greeting is out. */
static bool say_early(struct run *r, unsigned line)
{
    dialogue_input(r->dialogue, r->early);
    dialogue_input(r->dialogue, SLICE("\r\n"));
    return wait_answer(r, line);
}

static bool connect_session(struct run *r, unsigned line)
{
    const struct policy *policy = NULL;
    struct slice name = r->listener.len > 0 ? r->listener : r->generation->conf.listeners[0].name;
    const struct listener_conf *listener = generation_listener(r->generation, name, &policy);

    if (listener == NULL) {
        fail(r, line, "there is no listener \"%.*s\"", (int)name.len, name.ptr);
        return false;
    }
    struct dialogue_options o = { .engine = r->engine, .generation = r->generation, .listener = listener,
                                  .policy = policy,
                                  .facts = new_facts(r, listener), .ops = &ops, .owner = r };
    r->closed = r->shaking = false;
    r->dialogue = dialogue_new(&o);
    dialogue_start(r->dialogue);
    if (!wait_answer(r, line))
        return false;
    if (r->consumed + 1 == r->reply_count && r->replies[r->consumed].ptr[0] == '2')
        r->consumed++; /* the banner needs no line of its own */
    if (r->early.len > 0 && !r->closed)
        return say_early(r, line);
    return true;
}

static void disconnect(struct run *r)
{
    r->early = slice_make(NULL, 0);
    dialogue_free(r->dialogue);
    r->dialogue = NULL;
    r->closed = false;
}

static void feed(struct run *r, unsigned line, struct slice octets)
{
    if (r->dialogue == NULL && !connect_session(r, line))
        return;
    if (r->closed) {
        fail(r, line, "the server has closed the session before this");
        return;
    }
    dialogue_input(r->dialogue, octets);
    (void)wait_answer(r, line);
}

static void say(struct run *r, const struct smtpt_line *l)
{
    CLEANUP_BUF struct buf octets = BUF_INIT;

    buf_add(&octets, l->text);
    buf_add_cstr(&octets, "\r\n");
    feed(r, l->line_no, buf_slice(&octets));
}

/* LF of the file becomes CRLF, dots are stuffed, the final dot is added. */
static void send_message(struct run *r, const struct smtpt_line *l)
{
    CLEANUP_BUF struct buf octets = BUF_INIT;

    for (struct slice rest = l->text; rest.len > 0;) {
        ptrdiff_t lf = slice_find(rest, '\n');
        size_t len = lf >= 0 ? (size_t)lf : rest.len;
        if (len > 0 && rest.ptr[0] == '.')
            buf_add_char(&octets, '.');
        buf_add(&octets, slice_head(rest, len));
        buf_add_cstr(&octets, "\r\n");
        rest = slice_from(rest, len + 1);
    }
    buf_add_cstr(&octets, ".\r\n");
    feed(r, l->line_no, buf_slice(&octets));
}

/* ---- expectations ---- */

static struct slice last_line(struct slice reply)
{
    for (size_t i = reply.len; i-- > 0;)
        if (reply.ptr[i] == '\n')
            return slice_from(reply, i + 1);
    return reply;
}

/* "250 2.1" stands for what begins with it. */
static bool begins(struct run *r, struct slice pattern, struct slice text)
{
    return smtpt_match(slice_cstr(arena_printf(&r->arena, "%.*s*", (int)pattern.len, pattern.ptr)), text);
}

/* All before the last `keep` replies must be positive: a refusal that nobody expects is a failure. */
static void skip_positive(struct run *r, unsigned line, unsigned kept)
{
    while (!r->failed && r->reply_count - r->consumed > kept) {
        struct slice reply = last_line(r->replies[r->consumed]);
        if (reply.len > 0 && reply.ptr[0] >= '4')
            fail(r, line, "before this the server said: %.*s", (int)reply.len, reply.ptr);
        r->consumed++;
    }
}

static void expect(struct run *r, const struct smtpt_line *l, unsigned following)
{
    if (r->dialogue == NULL && !connect_session(r, l->line_no))
        return;
    if (r->consumed == r->reply_count && r->consumed == 1 && following == 0)
        r->consumed--; /* the banner, after all */
    if (r->reply_count - r->consumed < following + 1) {
        fail(r, l->line_no, "expected \"%.*s\", the server said nothing%s", (int)l->text.len, l->text.ptr,
             r->reply_count > r->consumed ? " more" : "");
        return;
    }
    skip_positive(r, l->line_no, following + 1);
    if (r->failed)
        return;
    struct slice got = last_line(r->replies[r->consumed++]);
    if (!begins(r, l->text, got))
        fail(r, l->line_no, "expected \"%.*s\", the server said \"%.*s\" (%s by %s)", (int)l->text.len,
             l->text.ptr, (int)got.len, got.ptr, r->verdict[0] != '\0' ? r->verdict : "-",
             r->step[0] != '\0' ? r->step : "the core");
}

static void expect_line(struct run *r, const struct smtpt_line *l)
{
    if (r->consumed == 0) {
        fail(r, l->line_no, "S- stands behind an S: line");
        return;
    }
    for (struct slice rest = r->replies[r->consumed - 1]; rest.len > 0;) {
        ptrdiff_t lf = slice_find(rest, '\n');
        struct slice line = slice_head(rest, lf >= 0 ? (size_t)lf : rest.len);
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (begins(r, l->text, line))
            return;
        rest = slice_from(rest, lf >= 0 ? (size_t)lf + 1 : rest.len);
    }
    fail(r, l->line_no, "no line of the reply fits \"%.*s\"", (int)l->text.len, l->text.ptr);
}

static void expect_verdict(struct run *r, const struct smtpt_line *l)
{
    struct slice rest = l->text;
    struct slice verdict = smtpt_word(&rest);

    if (!slice_equal(verdict, slice_cstr(r->verdict)) ||
        (rest.len > 0 && !smtpt_match(rest, slice_cstr(r->step))))
        fail(r, l->line_no, "expected %.*s, the last decision was %s by %s", (int)l->text.len, l->text.ptr,
             r->verdict, r->step[0] != '\0' ? r->step : "the core");
}

static struct stored *last_stored(struct run *r, const struct smtpt_line *l)
{
    if (r->stored_count > 0)
        return &r->stored[r->stored_count - 1];
    fail(r, l->line_no, "no message was accepted before this");
    return NULL;
}

static void expect_header(struct run *r, const struct smtpt_line *l, bool present)
{
    const struct stored *s = last_stored(r, l);
    ptrdiff_t colon = slice_find(l->text, ':');
    struct slice name = slice_trim(colon >= 0 ? slice_head(l->text, (size_t)colon) : l->text);
    struct slice pattern = colon >= 0 ? slice_trim(slice_from(l->text, (size_t)colon + 1)) : SLICE("*");
    struct header_field f;
    unsigned n = 0;

    if (s == NULL)
        return;
    while (header_find(s->header, name, n, &f)) {
        CLEANUP_BUF struct buf value = BUF_INIT;
        n++;
        header_unfold(f.value, &value);
        if (smtpt_match(pattern, slice_trim(buf_slice(&value)))) {
            if (!present)
                fail(r, l->line_no, "the message has %.*s: %.*s", (int)name.len, name.ptr, (int)value.len, value.data);
            return;
        }
    }
    if (present)
        fail(r, l->line_no, "the message has no field %.*s (%u of that name with another value)",
             (int)l->text.len, l->text.ptr, n);
}

static void expect_queued(struct run *r, const struct smtpt_line *l)
{
    uint64_t n = 0;

    if (!slice_to_u64(l->text, &n))
        fail(r, l->line_no, "expected queued NUMBER");
    else if (n != r->stored_count)
        fail(r, l->line_no, "expected %llu messages in the queue, there are %u",
             (unsigned long long)n, r->stored_count);
}

static void expect_held(struct run *r, const struct smtpt_line *l)
{
    const struct stored *s = last_stored(r, l);

    if (s == NULL)
        return;
    if (!s->held)
        fail(r, l->line_no, "the message is not held");
    else if (!smtpt_match(l->text, s->hold_reason))
        fail(r, l->line_no, "it is held for \"%.*s\"", (int)s->hold_reason.len, s->hold_reason.ptr);
}

static void expect_text(struct run *r, const struct smtpt_line *l)
{
    const struct stored *s = last_stored(r, l);

    if (s == NULL)
        return;
    if (l->kind == SMTPT_SENDER) {
        if (!smtpt_match(l->text, s->sender))
            fail(r, l->line_no, "the sender is <%.*s>", (int)s->sender.len, s->sender.ptr);
        return;
    }
    for (unsigned i = 0; i < s->facts->rcpt_count; i++)
        if (smtpt_match(l->text, slice_of(s->facts->rcpts[i]->view.mailbox.address)))
            return;
    fail(r, l->line_no, "no recipient of the message fits %.*s", (int)l->text.len, l->text.ptr);
}

/* ---- routes ---- */

struct route_wait {
    struct run *run;
    bool done;
    struct buf text; /* "transport=x to=a,b" or "REJECT 550 ..." */
};

static void add_list(struct buf *out, const char *key, const struct tern_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        buf_printf(out, "%s%s", i == 0 ? key : ",", list->items[i].ptr);
}

static void on_route(void *arg, const struct route_answer *a)
{
    struct route_wait *w = arg;

    w->done = true;
    w->run->ended = true;
    if (a->verdict != TERN_ACCEPT) {
        buf_printf(&w->text, "%s %u %s %.*s", verdict_names[a->verdict], a->code, a->enhanced, (int)a->text.len,
                   a->text.ptr);
        return;
    }
    if (a->route.discard_reason.len > 0) {
        buf_printf(&w->text, "discard=%s", a->route.discard_reason.ptr);
        return;
    }
    buf_printf(&w->text, "transport=%s", a->route.transport.ptr);
    add_list(&w->text, " to=", &a->route.to);
    add_list(&w->text, " fallback=", &a->route.fallback);
    if (a->route.source.len > 0)
        buf_printf(&w->text, " source=%s", a->route.source.ptr);
}

static bool route_is_done(const struct run *r)
{
    return r->ended;
}

static bool find_rcpt(const struct stored *s, struct slice address, unsigned *ret)
{
    for (unsigned i = 0; i < s->facts->rcpt_count; i++) {
        if (slice_equal_nocase(slice_of(s->facts->rcpts[i]->view.mailbox.address), address)) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static void expect_route(struct run *r, const struct smtpt_line *l)
{
    const struct stored *s = last_stored(r, l);
    struct slice rest = l->text;
    struct slice address = smtpt_word(&rest);
    unsigned index = 0;
    struct route_wait w = { .run = r, .text = BUF_INIT };

    if (s == NULL)
        return;
    if (!find_rcpt(s, address, &index)) {
        fail(r, l->line_no, "the message has no recipient %.*s", (int)address.len, address.ptr);
        return;
    }
    struct slice name = r->listener.len > 0 ? r->listener : r->generation->conf.listeners[0].name;
    const struct policy *policy = NULL;
    const struct listener_conf *listener = generation_listener(r->generation, name, &policy);
    struct engine_session_options o = { .policy = policy, .generation_ref = dialogue_ref_generation,
                                        .generation_unref = dialogue_unref_generation,
                                        .generation = r->generation, .split = true, .groups_max = 16,
                                        .facts = new_facts(r, listener) };
    struct engine_delivery *d = engine_delivery_new(r->engine, &o, txn_facts_ref((struct txn_facts *)s->facts));
    r->ended = false;
    engine_route(d, &index, 1, on_route, &w);
    if (!w.done && !settle(r, route_is_done))
        fail(r, l->line_no, "no step gave a route in time");
    else if (!begins(r, rest, buf_slice(&w.text)))
        fail(r, l->line_no, "expected the route \"%.*s\", it is \"%.*s\"", (int)rest.len, rest.ptr,
             (int)w.text.len, w.text.data);
    engine_delivery_free(d);
    buf_free(&w.text);
}

/* ---- settings ---- */

static void on_kv(void *arg, const struct tern_kv_answer *answer)
{
    (void)arg;
    (void)answer;
}

static void set_kv(struct run *r, const struct smtpt_line *l)
{
    struct slice rest = l->text;
    struct kv_request q = { .op = KV_PUT };
    int64_t sign = 1;
    uint64_t n;

    q.space = smtpt_word(&rest);
    q.key = smtpt_word(&rest);
    if (rest.len > 0 && rest.ptr[0] == '-') {
        sign = -1;
        rest = slice_from(rest, 1);
    }
    if (q.key.len == 0 || !slice_to_u64(rest, &n)) {
        fail(r, l->line_no, "expected kv SPACE KEY NUMBER");
        return;
    }
    q.number = sign * (int64_t)n;
    kv_do(r->kv, &q, on_kv, NULL);
}

static void set_client(struct run *r, const struct smtpt_line *l)
{
    if (!net_address_parse(l->text, 40000, &r->client))
        fail(r, l->line_no, "expected client ADDRESS");
}

static void set_dns(struct run *r, const struct smtpt_line *l)
{
    const char *error = smtpt_dns_add(l->text);

    if (error != NULL)
        fail(r, l->line_no, "%s", error);
}

static void advance(struct run *r, const struct smtpt_line *l)
{
    uint64_t ms;

    if (!schema_duration_ms(l->text, &ms)) {
        fail(r, l->line_no, "expected advance DURATION such as 5m");
        return;
    }
    clock_virtual_advance(ms);
    loop_turn(r->loop, false);
}

/* ---- a test ---- */

static unsigned following_expects(const struct smtpt_test *t, unsigned i)
{
    unsigned n = 0;

    for (unsigned k = i + 1; k < t->count; k++) {
        if (t->lines[k].kind == SMTPT_EXPECT)
            n++;
        else if (t->lines[k].kind != SMTPT_LINE)
            break;
    }
    return n;
}

static void run_line(struct run *r, const struct smtpt_test *t, unsigned i)
{
    const struct smtpt_line *l = &t->lines[i];

    switch (l->kind) {
    case SMTPT_CLIENT: set_client(r, l); break;
    case SMTPT_LISTENER: r->listener = l->text; break;
    case SMTPT_EARLY: r->early = l->text; break;
    case SMTPT_DNS: set_dns(r, l); break;
    case SMTPT_KV: set_kv(r, l); break;
    case SMTPT_SAY: say(r, l); break;
    case SMTPT_EXPECT: expect(r, l, following_expects(t, i)); break;
    case SMTPT_LINE: expect_line(r, l); break;
    case SMTPT_MESSAGE: send_message(r, l); break;
    case SMTPT_ADVANCE: advance(r, l); break;
    case SMTPT_VERDICT: expect_verdict(r, l); break;
    case SMTPT_HEADER: expect_header(r, l, true); break;
    case SMTPT_NO_HEADER: expect_header(r, l, false); break;
    case SMTPT_ROUTE: expect_route(r, l); break;
    case SMTPT_QUEUED: expect_queued(r, l); break;
    case SMTPT_HELD: expect_held(r, l); break;
    case SMTPT_SENDER:
    case SMTPT_RCPT: expect_text(r, l); break;
    case SMTPT_DISCONNECT: disconnect(r); break;
    case SMTPT_TABLE: break; /* went into the configuration */
    }
}

static void begin(struct run *r)
{
    struct dns_options dns = { .timeout_ms = 1000 };
    struct pool_options pool = { .threads = 2 };
    char error[256];

    arena_init(&r->arena);
    r->replies = mem_alloc(REPLIES_MAX * sizeof(r->replies[0]));
    (void)net_address_parse(SLICE("192.0.2.1"), 40000, &r->client);
    smtpt_dns_clear();
    clock_virtual_start(r->file->clock_ms != 0 ? r->file->clock_ms : CLOCK_DEFAULT_MS);
    r->loop = loop_new(0);
    (void)dns_new(r->loop, &dns, &r->dns);
    (void)kv_open(NULL, NULL, 100000, &r->kv, error, sizeof(error));
    r->pool = pool_new(&pool);
    struct engine_env env = { .loop = r->loop, .dns = r->dns, .kv = r->kv, .pool = r->pool,
                              .hostname = r->generation->conf.hostname.ptr, .spool_fd = -1, .when = when_eval };
    r->engine = engine_new(&env);
}

static void end(struct run *r)
{
    if (r->dialogue != NULL)
        disconnect(r);
    for (unsigned i = 0; i < r->stored_count; i++)
        txn_facts_unref((struct txn_facts *)r->stored[i].facts);
    for (unsigned i = 0; i < 8; i++)
        loop_turn(r->loop, false);
    (void)pool_free(r->pool, 1000);
    engine_free(r->engine);
    dns_free(r->dns);
    kv_close(r->kv);
    loop_free(r->loop);
    clock_virtual_stop();
    buf_free(&r->incoming);
    free(r->replies);
    arena_fini(&r->arena);
}

static void run_test(struct run *r, struct smtpt_result *result)
{
    begin(r);
    for (unsigned i = 0; i < r->file->common.count && !r->failed; i++)
        run_line(r, &r->file->common, i);
    for (unsigned i = 0; i < r->test->count && !r->failed; i++)
        run_line(r, r->test, i);
    if (!r->failed && r->test->count > 0)
        skip_positive(r, r->test->lines[r->test->count - 1].line_no, 0);
    end(r);
    if (r->failed)
        result->failed++;
    else
        result->passed++;
}

int smtpt_run(const char *path, const struct smtpt_file *file, struct modules *modules, struct buf *out,
              struct smtpt_result *result)
{
    struct generation *g = smtpt_load(path, file, modules, out);

    if (g == NULL)
        return -EINVAL;
    dns_set_stub(smtpt_dns_stub, NULL);
    for (unsigned i = 0; i < file->count; i++) {
        struct run *r = mem_zalloc(sizeof(*r));
        r->path = path;
        r->file = file;
        r->test = &file->tests[i];
        r->generation = g;
        r->out = out;
        run_test(r, result);
        free(r);
    }
    dns_set_stub(NULL, NULL);
    generation_unref(g);
    return 0;
}
