/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - the connection of an SMTP or LMTP client: its life, time-outs and end.
 *
 * Sources: RFC 5321 (3.1 to 3.3, 4.5.3.2 time-outs), RFC 2033 (LMTP), RFC 2920 (PIPELINING).
 * Not here: which host to try, how often, and what a reply means to the queue.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "delivery/client_private.h"

#define CONNECT_MS 30000
#define TLS_MS     30000
#define COMMAND_MS 300000 /* RFC 5321 4.5.3.2.1 to 4.5.3.2.3 */
#define DATA_MS    600000 /* RFC 5321 4.5.3.2.6 */

static const char *const waiting_for[EXPECT_COUNT] = {
    [EXPECT_GREETING] = "the greeting",
    [EXPECT_HELLO] = "the reply to EHLO",
    [EXPECT_HELO] = "the reply to HELO",
    [EXPECT_STARTTLS] = "the reply to STARTTLS",
    [EXPECT_AUTH] = "the reply to AUTH",
    [EXPECT_RSET] = "the reply to RSET",
    [EXPECT_FORWARD] = "the reply to XFORWARD",
    [EXPECT_MAIL] = "the reply to MAIL",
    [EXPECT_RCPT] = "the reply to RCPT",
    [EXPECT_DATA] = "the reply to DATA",
    [EXPECT_DOT] = "the reply to the end of data, so it may arrive twice", /* RFC 1047 */
    [EXPECT_LONE_DOT] = "the reply to the end of data",
};

/* ---- the one way in and out of callbacks ---- */

static void enter(struct client *c)
{
    c->busy++;
}

static void leave(struct client *c)
{
    assert(c->busy > 0);
    if (--c->busy > 0 || !c->dead)
        return;
    client_parser_free(&c->parser);
    client_tls_free(c);
    buf_free(&c->text);
    free(c->queue);
    free(c->host);
    free(c->helo);
    free(c);
}

static void let_go(struct client *c)
{
    c->state = CLIENT_ENDED;
    loop_timer_stop(&c->timer);
    loop_timer_stop(&c->later);
    conn_free(c->conn);
    c->conn = NULL;
    client_auth_free(c);
}

void client_free(struct client *c)
{
    if (c == NULL)
        return;
    assert(!c->dead);
    enter(c);
    let_go(c);
    client_transaction_free(c);
    c->dead = true;
    leave(c);
}

void client_quit(struct client *c)
{
    if (c->state == CLIENT_READY) {
        /* The 221 is not awaited: there is nothing left that it could change. */
        conn_write(c->conn, SLICE("QUIT\r\n"));
        conn_close(c->conn, CLIENT_QUIT_MS);
        c->conn = NULL;
    }
    client_free(c);
}

struct client_reply client_own(struct client *c, unsigned code, const char *enhanced,
                               const char *format, ...)
{
    struct client_reply reply = { .code = code, .own = true };
    va_list args;

    (void)snprintf(reply.enhanced, sizeof(reply.enhanced), "%s", enhanced);
    buf_clear(&c->text);
    buf_printf(&c->text, "%u %s %s: ", code, enhanced, c->host);
    va_start(args, format);
    buf_vprintf(&c->text, format, args);
    va_end(args);
    reply.text = slice_head(buf_slice(&c->text), CLIENT_TEXT_MAX);
    return reply;
}

/* Whatever it was, without TLS it would perhaps not have been. */
static bool is_between_clear_and_tls(const struct client *c)
{
    return c->state == CLIENT_SECURING || c->tls_unproven ||
           (c->queue_count > 0 && c->queue[c->queue_first].kind == EXPECT_STARTTLS);
}

void client_end(struct client *c, const struct client_reply *reply)
{
    struct client_reply last = *reply;

    if (c->state == CLIENT_ENDED)
        return;
    if (last.cause == CLIENT_CAUSE_OTHER && is_between_clear_and_tls(c))
        last.cause = CLIENT_CAUSE_TLS;
    let_go(c);
    client_settle_all(c, &last);
    client_transaction_free(c);
    if (!c->dead)
        c->ops->on_end(c->owner, &last);
}

/* ---- expecting ---- */

void client_expect(struct client *c, enum client_expect_kind kind, unsigned rcpt)
{
    if (c->queue_first > 0 && c->queue_count == 0)
        c->queue_first = 0;
    if (c->queue_first + c->queue_count == c->queue_size) {
        c->queue_size = c->queue_size > 0 ? c->queue_size * 2 : 8;
        c->queue = mem_realloc(c->queue, c->queue_size * sizeof(c->queue[0]));
    }
    c->queue[c->queue_first + c->queue_count++] =
        (struct client_expect){ .kind = kind, .rcpt = rcpt, .after = c->reads };
}

void client_command(struct client *c, const char *format, ...)
{
    struct buf line CLEANUP_BUF = BUF_INIT;
    va_list args;

    va_start(args, format);
    buf_vprintf(&line, format, args);
    va_end(args);
    buf_add_cstr(&line, "\r\n");
    conn_write(c->conn, buf_slice(&line));
}

static uint64_t patience_ms(const struct client *c)
{
    if (c->state == CLIENT_CONNECTING)
        return c->connect_ms;
    if (c->state == CLIENT_SECURING)
        return c->tls_ms;
    if (c->queue_count == 0)
        return c->command_ms / 5 * 3; /* a block of data: 3 minutes to a command's 5 */
    switch (c->queue[c->queue_first].kind) {
    case EXPECT_DATA: return c->command_ms / 5 * 2; /* 2 minutes */
    case EXPECT_DOT:
    case EXPECT_LONE_DOT: return c->data_ms; /* 10 minutes */
    default: return c->command_ms;
    }
}

void client_arm(struct client *c)
{
    if (c->state == CLIENT_ENDED)
        return;
    if (c->state == CLIENT_READY && c->queue_count == 0)
        loop_timer_stop(&c->timer); /* how long to keep it is the owner's business */
    else
        loop_timer_start(c->loop, &c->timer, patience_ms(c));
}

static const char *what_is_awaited(const struct client *c)
{
    if (c->state == CLIENT_CONNECTING)
        return "a connection";
    if (c->state == CLIENT_SECURING)
        return "the TLS handshake";
    if (c->queue_count > 0)
        return waiting_for[c->queue[c->queue_first].kind];
    if (c->keys != NULL)
        return "the keys of AUTH to be made";
    return c->t.sending ? "the message to be taken" : "another message";
}

static void lost(struct client *c, int status)
{
    struct client_reply reply;

    if (c->state == CLIENT_SECURING || c->tls_unproven) {
        client_tls_lost(c, status < 0 ? strerrordesc_np(-status) : "closed by the other side");
        return;
    }
    if (c->state == CLIENT_CONNECTING)
        reply = client_own(c, 451, "4.4.1", "could not connect: %s", strerrordesc_np(-status));
    else
        reply = client_own(c, 451, "4.4.2", "connection lost (%s) while waiting for %s",
                           status < 0 ? strerrordesc_np(-status) : "closed by the other side",
                           what_is_awaited(c));
    client_end(c, &reply);
}

static void on_timer(struct loop_timer *timer)
{
    struct client *c = list_entry(timer, struct client, timer);
    bool connecting = c->state == CLIENT_CONNECTING;

    enter(c);
    struct client_reply reply =
        client_own(c, 451, connecting ? "4.4.1" : "4.4.2", "time-out after %llu s waiting for %s",
                   (unsigned long long)(patience_ms(c) + 999) / 1000, what_is_awaited(c));
    client_end(c, &reply);
    leave(c);
}

void client_salted(struct client *c, const unsigned char *salted)
{
    enter(c);
    client_auth_salted(c, salted);
    client_arm(c);
    leave(c);
}

static void on_later(struct loop_timer *timer)
{
    struct client *c = list_entry(timer, struct client, later);

    enter(c);
    if (c->state == CLIENT_CONNECTING)
        lost(c, c->connect_error);
    else
        client_transaction_later(c);
    leave(c);
}

/* ---- replies ---- */

static void out_of_step(struct client *c, const char *what)
{
    struct client_reply reply =
        client_own(c, 451, "4.5.0", "%s while waiting for %s", what, what_is_awaited(c));

    client_end(c, &reply);
}

static bool fits(enum client_expect_kind kind, unsigned code)
{
    unsigned class_ = code / 100;

    if (class_ == 4 || class_ == 5)
        return true;
    if (kind == EXPECT_STARTTLS)
        return code == 220;
    if (kind == EXPECT_AUTH)
        return code == 235 || code == 334;
    return kind == EXPECT_DATA ? class_ == 3 : class_ == 2;
}

/* The parser has a complete reply. */
static void take_reply(struct client *c)
{
    struct client_reply reply = { .code = c->parser.code };

    client_parser_enhanced(&c->parser, reply.enhanced);
    buf_clear(&c->text);
    client_parser_text(&c->parser, &c->text);
    if (c->in_auth)
        client_auth_hide(c, reply.code);
    reply.text = buf_slice(&c->text);
    c->tls_unproven = false;

    /* 421 may come at any time and is the last word (RFC 5321 4.2.2). */
    if (reply.code == 421) {
        client_end(c, &reply);
        return;
    }
    if (c->queue_count == 0 || c->queue[c->queue_first].after >= c->reply_read) {
        /* Some refuse a message before they have seen all of it, and hang up. */
        if (c->t.sending && reply.code >= 400)
            client_end(c, &reply);
        else
            out_of_step(c, "a reply to nothing that was asked");
        return;
    }
    struct client_expect expect = c->queue[c->queue_first];
    if (!fits(expect.kind, reply.code)) {
        out_of_step(c, "a reply that does not belong there");
        return;
    }
    c->queue_first++;
    c->queue_count--;
    if (expect.kind <= EXPECT_AUTH)
        client_open_reply(c, expect, &reply);
    else
        client_transaction_reply(c, expect, &reply);
    if (!c->dead)
        client_arm(c);
}

static void read_octets(struct client *c, struct slice octets)
{
    c->reads++;
    while (octets.len > 0 && c->state != CLIENT_ENDED && !c->tls_due) {
        if (!client_parser_is_midway(&c->parser))
            c->reply_read = c->reads;
        switch (client_parser_feed(&c->parser, &octets)) {
        case CLIENT_PARSE_MORE: return;
        case CLIENT_PARSE_DONE: take_reply(c); break;
        case CLIENT_PARSE_NOT_SMTP: out_of_step(c, "something that is not SMTP came"); return;
        case CLIENT_PARSE_TOO_LONG: out_of_step(c, "an endless reply came"); return;
        }
    }
    if (!c->tls_due || c->state == CLIENT_ENDED)
        return;
    c->tls_due = false;
    if (octets.len > 0)
        client_tls_lost(c, "something came in clear behind the reply to STARTTLS");
    else
        client_tls_begin(c);
}

/* ---- the connection ---- */

static void on_open(void *owner)
{
    struct client *c = owner;

    enter(c);
    if (c->tls_implicit)
        client_tls_begin(c);
    else
        client_open_greeting(c);
    client_arm(c);
    leave(c);
}

static void on_secured(void *owner)
{
    struct client *c = owner;

    enter(c);
    client_tls_secured(c);
    leave(c);
}

static void on_read(void *owner, struct slice octets)
{
    struct client *c = owner;

    enter(c);
    read_octets(c, octets);
    leave(c);
}

static void on_drained(void *owner)
{
    struct client *c = owner;

    enter(c);
    if (c->t.sending)
        client_body_go_on(c);
    leave(c);
}

/*
 * A write failed because the peer hung up, but it may have said why: "552 too big", say. The
 * kernel still has that.
 */
static void read_last_words(struct client *c)
{
    char data[4096];

    for (unsigned i = 0; i < CLIENT_REPLY_MAX / sizeof(data) && c->state != CLIENT_ENDED; i++) {
        ssize_t n = recv(conn_fd(c->conn), data, sizeof(data), MSG_DONTWAIT);
        if (n <= 0)
            return;
        read_octets(c, slice_make(data, (size_t)n));
    }
}

static void on_conn_end(void *owner, int status)
{
    struct client *c = owner;

    enter(c);
    if (status < 0 && c->state != CLIENT_CONNECTING && !c->tls_on)
        read_last_words(c);
    if (c->state != CLIENT_ENDED)
        lost(c, status);
    leave(c);
}

static const struct conn_ops conn_ops = {
    .on_open = on_open,
    .on_secured = on_secured,
    .on_read = on_read,
    .on_drained = on_drained,
    .on_end = on_conn_end,
};

static void set_host(struct client *c, const struct client_options *options)
{
    char address[NET_ADDRESS_TEXT_MAX];
    struct buf text CLEANUP_BUF = BUF_INIT;

    net_address_print(&options->to, true, address);
    const char *where = options->to.family != 0 ? address
                        : options->unix_path    ? options->unix_path
                                                : "nowhere";
    if (options->host_name != NULL && options->host_name[0] != '\0')
        buf_printf(&text, "%s (%s)", options->host_name, where);
    else
        buf_add_cstr(&text, where);
    c->host = mem_strdup(text.data);
}

struct client *client_new(struct loop *loop, const struct client_options *options,
                          const struct client_ops *ops, void *owner)
{
    struct client *c = mem_zalloc(sizeof(*c));

    c->loop = loop;
    c->ops = ops;
    c->owner = owner;
    c->protocol = options->protocol;
    c->helo = mem_strdup(options->helo);
    c->auth = options->auth;
    c->pool = options->pool;
    c->port = options->port;
    c->chunking = options->chunking;
    c->forward = options->forward;
    c->connect_ms = options->connect_timeout_ms != 0 ? options->connect_timeout_ms : CONNECT_MS;
    c->command_ms = options->command_timeout_ms != 0 ? options->command_timeout_ms : COMMAND_MS;
    c->data_ms = options->data_timeout_ms != 0 ? options->data_timeout_ms : DATA_MS;
    c->tls_ms = options->tls_timeout_ms != 0 ? options->tls_timeout_ms : TLS_MS;
    client_tls_options(c, options);
    set_host(c, options);
    loop_timer_init(&c->timer, on_timer);
    loop_timer_init(&c->later, on_later);
    c->conn = conn_connect(loop, &options->to, options->to.family == 0 ? options->unix_path : NULL,
                           options->source.family != 0 ? &options->source : NULL, &conn_ops, c,
                           &c->connect_error);
    if (c->conn == NULL)
        loop_timer_start(loop, &c->later, 0);
    else
        client_arm(c);
    return c;
}
