/* SPDX-License-Identifier: Apache-2.0 */
/* control_queue.c - `tern queue`: what it shows as JSON, and what it does. */
#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "delivery/held.h"
#include "delivery/owed.h"
#include "queue/verbs.h"
#include "server/control.h"
#include "state/envelope.h"

static const char *const rcpt_states[] = { "queued", "delivered", "bounced", "discarded" };

static void add_key(struct buf *out, const char *key, struct slice value)
{
    buf_printf(out, ",\"%s\":", key);
    buf_add_json(out, value);
}

static void add_entry(struct buf *out, const struct spool_entry *e, uint64_t hold_expire_ms)
{
    char id[SPOOL_ID_TEXT_MAX];

    spool_key_print(e->key, id);
    buf_printf(out,
               "\"id\":\"%s\",\"arrival_ms\":%llu,\"due_ms\":%llu,\"size\":%llu,\"attempts\":%u,"
               "\"recipients\":%u,\"pending\":%u,\"held\":%s",
               id, (unsigned long long)e->arrival_ms, (unsigned long long)e->due_ms,
               (unsigned long long)e->octets, e->attempts, e->rcpt_count, e->pending_count,
               e->held ? "true" : "false");
    if (e->held)
        buf_printf(out, ",\"hold_until\":%llu", (unsigned long long)(e->due_ms + hold_expire_ms));
}

static void add_rcpt_status(struct buf *out, const struct spool_rcpt_status *r)
{
    struct owed owed;
    bool is_owed = r->state == SPOOL_RCPT_QUEUED && owed_decode(r->text, &owed);
    struct slice text = is_owed ? owed.text : r->text;

    buf_printf(out, ",\"state\":\"%s\"", is_owed && owed.what != OWED_DELAY ? "delivered" : rcpt_states[r->state]);
    if (is_owed)
        buf_add_cstr(out, ",\"report\":\"owed\"");
    if (text.len > 0)
        add_key(out, "reply", text);
}

static void add_rcpts(struct buf *out, const struct envelope *e, const struct spool_loaded *m)
{
    static const char *const classes[] = { "none", "local", "relay", "forward", "client" };

    buf_add_cstr(out, ",\"rcpts\":[");
    for (unsigned i = 0; i < e->rcpt_count; i++) {
        buf_add_cstr(out, i > 0 ? ",{\"address\":" : "{\"address\":");
        buf_add_json(out, e->rcpts[i].address);
        if (!slice_equal(e->rcpts[i].address, e->rcpts[i].original))
            add_key(out, "original", e->rcpts[i].original);
        buf_printf(out, ",\"class\":\"%s\"",
                   e->rcpts[i].class_ < 5 ? classes[e->rcpts[i].class_] : "?");
        if (i < m->entry.rcpt_count)
            add_rcpt_status(out, &m->rcpts[i]);
        buf_add_char(out, '}');
    }
    buf_add_char(out, ']');
}

/* The envelope is known, the body is not there (now). */
static void add_body_problem(struct buf *out, struct spool_loaded *m)
{
    char why[SPOOL_WHY_MAX];

    if (spool_body_open(m, why) == 0)
        spool_body_close(m);
    else
        add_key(out, "unreadable", slice_cstr(why));
}

static void add_message(struct buf *out, struct spool_loaded *m, uint64_t hold_expire_ms,
                        bool full)
{
    struct arena arena;
    struct envelope e;

    buf_add_char(out, '{');
    add_entry(out, &m->entry, hold_expire_ms);
    add_body_problem(out, m);
    arena_init(&arena);
    if (envelope_decode(m->envelope, &arena, &e) == 0) {
        const struct held held = held_of(m->held_text, &e);
        add_key(out, "from", e.sender);
        if (m->entry.operator_held)
            add_key(out, "hold_reason", SLICE("operator"));
        else if (held.reason.len > 0)
            add_key(out, "hold_reason", held.reason);
        if (full) {
            add_key(out, "origin", e.origin);
            add_key(out, "policy", e.policy);
            add_key(out, "listener", e.listener);
            add_key(out, "client", e.client_address);
            add_key(out, "helo", e.helo);
            add_key(out, "user", e.user);
            if (!m->entry.operator_held)
                add_key(out, "hold_step", held.step);
        }
        add_rcpts(out, &e, m);
    }
    arena_fini(&arena);
    buf_add_char(out, '}');
}

/* What is known without its file. It stays in the list: nobody must miss it there who looks for it. */
static void add_unreadable(struct buf *out, const struct spool_entry *e, uint64_t hold_expire_ms, int error)
{
    buf_add_char(out, '{');
    add_entry(out, e, hold_expire_ms);
    add_key(out, "unreadable", slice_cstr(strerror(-error)));
    buf_add_char(out, '}');
}

static uint64_t present_hold_expire_ms(void)
{
    struct generation *g = generation_present();
    uint64_t ms = g->conf.hold.expire_s * 1000;

    generation_unref(g);
    return ms;
}

unsigned control_queue_list(struct serve *serve, struct slice after, unsigned max, struct buf *out)
{
    struct spool_key key = { 0, 0 };
    bool first = true;

    if (after.len > 0 && !spool_key_parse(after, &key)) {
        buf_add_cstr(out, "after: expected a queue id\n");
        return MHD_HTTP_BAD_REQUEST;
    }
    struct spool_entry *entries = mem_alloc(max * sizeof(entries[0]));
    uint64_t hold_expire_ms = present_hold_expire_ms();
    serve_settle(serve);
    unsigned n = scheduler_list(serve->scheduler, key, entries, max);
    buf_add_cstr(out, "{\"messages\":[");
    for (unsigned i = 0; i < n; i++) {
        struct spool_loaded *m;
        int r = spool_load(serve->spool, entries[i].key, &m);
        if (r == -ENOENT)
            continue; /* gone meanwhile */
        if (!first)
            buf_add_char(out, ',');
        first = false;
        if (r < 0) {
            add_unreadable(out, &entries[i], hold_expire_ms, r);
            continue;
        }
        add_message(out, m, hold_expire_ms, false);
        spool_unload(m);
    }
    buf_printf(out, "],\"more\":%s}\n", n == max ? "true" : "false");
    free(entries);
    return MHD_HTTP_OK;
}

static void add_header(struct buf *out, struct spool_loaded *m)
{
    enum { HEADER_SHOWN_MAX = 65536 };
    char *data = mem_alloc(HEADER_SHOWN_MAX);
    int64_t n = spool_read(m, 0, data, HEADER_SHOWN_MAX);
    struct slice text = slice_make(data, n > 0 ? (size_t)n : 0);
    const char *end = text.len > 0 ? memmem(text.ptr, text.len, "\r\n\r\n", 4) : NULL;

    if (end != NULL)
        text.len = (size_t)(end - text.ptr) + 2;
    add_key(out, "header", text);
    free(data);
}

unsigned control_queue_show(struct serve *serve, struct slice id, struct buf *out)
{
    struct spool_key key;
    struct spool_loaded *m;

    int r = spool_key_parse(id, &key) ? spool_load(serve->spool, key, &m) : -ENOENT;
    if (r == -ENOENT) {
        buf_printf(out, "%.*s is not in the queue\n", (int)id.len, id.ptr);
        return MHD_HTTP_NOT_FOUND;
    }
    if (r < 0) {
        buf_printf(out, "%.*s cannot be read: %s\n", (int)id.len, id.ptr, strerror(-r));
        return MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
    add_message(out, m, present_hold_expire_ms(), true);
    out->len--; /* the closing brace: the header goes in too */
    add_header(out, m);
    buf_add_cstr(out, "}\n");
    spool_unload(m);
    return MHD_HTTP_OK;
}

static unsigned say_result(struct buf *out, int r, struct slice verb, struct slice id)
{
    if (r == 0) {
        buf_printf(out, "%.*s: %.*s\n", (int)id.len, id.ptr, (int)verb.len, verb.ptr);
        return MHD_HTTP_OK;
    }
    if (r == -ENOENT) {
        buf_printf(out, "%.*s is not in the queue\n", (int)id.len, id.ptr);
        return MHD_HTTP_NOT_FOUND;
    }
    if (r == -EALREADY) {
        buf_printf(out, "%.*s: %s\n", (int)id.len, id.ptr,
                   slice_equal(verb, SLICE("release")) ? "is not held" : "is held; release it first");
        return MHD_HTTP_CONFLICT;
    }
    buf_printf(out, "%.*s: %s\n", (int)id.len, id.ptr, strerror(-r));
    return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

unsigned control_queue_change(struct serve *serve, struct slice verb, struct slice id, struct buf *out)
{
    static const struct {
        const char *name;
        enum queue_verb verb;
    } verbs[] = { { "retry", QUEUE_RETRY }, { "hold", QUEUE_HOLD },
                  { "release", QUEUE_RELEASE }, { "delete", QUEUE_DELETE } };
    struct spool_key key;

    if (!spool_key_parse(id, &key)) {
        buf_printf(out, "%.*s is no queue id\n", (int)id.len, id.ptr);
        return MHD_HTTP_BAD_REQUEST;
    }
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (slice_equal(verb, slice_cstr(verbs[i].name))) {
            serve_settle(serve); /* the scheduler must know what it is told of */
            return say_result(out, queue_verb(serve->spool, serve->scheduler, verbs[i].verb, key), verb, id);
        }
    buf_add_cstr(out, "expected retry, hold, release or delete\n");
    return MHD_HTTP_NOT_FOUND;
}
