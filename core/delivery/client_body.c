/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_body.c - the octets of a message: read in pieces, dots doubled (by DATA) or as they are
 * (by BDAT), written as fast as the peer takes them.
 *
 * At most one piece is in memory, and at most one in the connection: nothing is
 * read while octets are unsent. A message that cannot be read to its end is never ended by
 * a dot or a last octet: the connection is cut, so that no half of it is delivered.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "delivery/client_private.h"

/* ---- dot stuffing ---- */

void client_dot_add(struct client_dot *dot, struct slice octets, struct buf *out)
{
    while (octets.len > 0) {
        if (dot->state == DOT_LINE_START && octets.ptr[0] == '.')
            buf_add_char(out, '.');
        if (dot->state == DOT_AFTER_CR && octets.ptr[0] == '\n') {
            buf_add_char(out, '\n');
            octets = slice_from(octets, 1);
            dot->state = DOT_LINE_START;
            continue;
        }
        /* Only CRLF ends a line (RFC 5321 2.3.8): a bare LF or CR is an octet like others. */
        const char *cr = memchr(octets.ptr, '\r', octets.len);
        size_t len = cr != NULL ? (size_t)(cr - octets.ptr) + 1 : octets.len;
        buf_add(out, slice_head(octets, len));
        octets = slice_from(octets, len);
        dot->state = cr != NULL ? DOT_AFTER_CR : DOT_INSIDE;
    }
}

void client_dot_end(struct client_dot *dot, struct buf *out)
{
    if (dot->state != DOT_LINE_START)
        buf_add_cstr(out, "\r\n");
    buf_add_cstr(out, ".\r\n");
}

/* ---- sending ---- */

static void expect_results(struct client *c)
{
    struct client_transaction *t = &c->t;

    t->sending = false;
    free(t->chunk);
    t->chunk = NULL;
    if (c->protocol == CLIENT_SMTP) {
        client_expect(c, EXPECT_DOT, 0);
        return;
    }
    for (unsigned i = 0; i < t->message->rcpt_count; i++) /* RFC 2033 4.2: one for each accepted */
        if (t->rcpts[i] == RCPT_ACCEPTED)
            client_expect(c, EXPECT_DOT, i);
}

/* Sends one piece. False if the message cannot be read; then the client has ended. */
static bool send_piece(struct client *c)
{
    struct client_transaction *t = &c->t;
    const struct client_message *m = t->message;
    struct buf out CLEANUP_BUF = BUF_INIT;
    uint64_t left = m->octets - t->offset;
    int64_t n = 0;

    if (left > 0) {
        n = m->read(m->arg, t->offset, t->chunk, left < CLIENT_CHUNK ? left : CLIENT_CHUNK);
        if (n <= 0 || (uint64_t)n > left) {
            struct client_reply reply =
                client_own(c, 451, "4.3.0", "the message could not be read to its end here");
            client_end(c, &reply);
            return false;
        }
    }
    t->offset += (uint64_t)n;
    if (t->chunking)
        buf_add(&out, slice_make(t->chunk, (size_t)n));
    else
        client_dot_add(&t->dot, slice_make(t->chunk, (size_t)n), &out);
    if (t->offset == m->octets) {
        if (!t->chunking)
            client_dot_end(&t->dot, &out);
        expect_results(c);
    }
    conn_write(c->conn, buf_slice(&out));
    return true;
}

void client_body_go_on(struct client *c)
{
    uint64_t first = c->t.offset;

    while (c->t.sending && conn_unsent(c->conn) == 0) {
        if (c->t.offset - first >= CLIENT_BURST) {
            loop_timer_start(c->loop, &c->later, 0);
            break;
        }
        if (!send_piece(c))
            return;
    }
    client_arm(c);
}

void client_body_begin(struct client *c)
{
    struct client_transaction *t = &c->t;

    assert(t->accepted > 0 && t->mail_ok && c->queue_count == 0);
    /* One chunk: the size is known, and what one reply is for is never in doubt (RFC 3030 2). */
    if (t->chunking)
        client_command(c, "BDAT %llu LAST", (unsigned long long)t->message->octets);
    t->sending = true;
    t->chunk = mem_alloc(CLIENT_CHUNK);
    client_body_go_on(c);
}
