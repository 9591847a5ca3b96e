/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smtp_peer.h - an owner for sessions under test: it records what was said and asked, and answers
 * by the text of what is asked, at once or when told.
 *
 *   sender  "refuse@..."  550 5.7.1   "later@..." 451 4.7.1   "close@..." 421 4.7.0
 *   rcpt    the same
 *   helo    the same; "umlaut" anywhere: a 550 whose text is not ASCII
 */
#ifndef TERN_TESTS_SMTP_PEER_H
#define TERN_TESTS_SMTP_PEER_H

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "smtp/session.h"

struct peer {
    struct smtp_session *session;
    struct buf said;           /* octets sent */
    struct buf asked;          /* a line per question and report */
    struct buf body;           /* of the message under way, then of the last one */
    bool deferred;             /* answer by peer_answer() only */
    struct smtp_answer answer; /* for the question that waits */
    const struct smtp_answer *connect, *data, *message;
    bool storage_fails;
    bool closed;
    unsigned aborts, messages, bodies;
    enum smtp_phase phase;
    unsigned expects;
    const char *withhold, *mechanisms;
};

static void peer_answer(struct peer *p)
{
    struct smtp_answer a = p->answer;

    smtp_session_answer(p->session, &a);
}

static void peer_decide(struct peer *p, const struct smtp_answer *answer)
{
    p->answer = answer != NULL ? *answer : (struct smtp_answer){ 0 };
    if (!p->deferred)
        peer_answer(p);
}

static void peer_decide_by(struct peer *p, struct slice text)
{
    static const struct smtp_answer refuse = { 550, "5.7.1", SLICE("Refused") };
    static const struct smtp_answer later = { 451, "4.7.1", SLICE("Later") };
    static const struct smtp_answer close_it = { 421, "4.7.0", SLICE("Go away") };
    static const struct smtp_answer umlaut = { 550, "5.7.1", SLICE("N\303\266") };

    peer_decide(p, slice_starts_nocase(text, SLICE("refuse"))   ? &refuse
                   : slice_starts_nocase(text, SLICE("umlaut")) ? &umlaut
                   : slice_starts_nocase(text, SLICE("later"))  ? &later
                   : slice_starts_nocase(text, SLICE("close"))  ? &close_it
                                                                : NULL);
}

static void peer_send(void *owner, struct slice octets)
{
    buf_add(&((struct peer *)owner)->said, octets);
}

static void peer_close(void *owner)
{
    struct peer *p = owner;

    p->closed = true;
    buf_add_cstr(&p->asked, "close\n");
}

static void peer_expect(void *owner, enum smtp_phase phase)
{
    struct peer *p = owner;

    p->phase = phase;
    p->expects++;
}

static void peer_connect(void *owner)
{
    struct peer *p = owner;

    buf_add_cstr(&p->asked, "connect\n");
    peer_decide(p, p->connect);
}

static void peer_helo(void *owner, struct slice name, bool esmtp)
{
    struct peer *p = owner;

    buf_printf(&p->asked, "%s %.*s\n", esmtp ? "ehlo" : "helo", (int)name.len, name.ptr);
    if (p->withhold != NULL)
        smtp_session_withhold(p->session, slice_cstr(p->withhold));
    peer_decide_by(p, name);
}

static void peer_mail(void *owner, const struct smtp_mail_params *m)
{
    struct peer *p = owner;

    buf_printf(&p->asked, "mail %s|%s|%s size=%llu body=%d utf8=%d%s%.*s%s%.*s\n", m->sender.address.ptr,
               m->sender.local.ptr, m->sender.domain.ptr, (unsigned long long)m->size, (int)m->body,
               m->smtputf8, m->ret.len > 0 ? " ret=" : "", (int)m->ret.len, m->ret.len > 0 ? m->ret.ptr : "",
               m->envid.len > 0 ? " envid=" : "", (int)m->envid.len, m->envid.len > 0 ? m->envid.ptr : "");
    peer_decide_by(p, slice_make(m->sender.local.ptr, m->sender.local.len));
}

static void peer_rcpt(void *owner, const struct tern_mailbox *m, struct slice orcpt, struct slice notify)
{
    struct peer *p = owner;

    buf_printf(&p->asked, "rcpt %s|%s|%s%s%.*s%s%.*s\n", m->address.ptr, m->local.ptr, m->domain.ptr,
               notify.len > 0 ? " notify=" : "", (int)notify.len, notify.len > 0 ? notify.ptr : "",
               orcpt.len > 0 ? " orcpt=" : "", (int)orcpt.len, orcpt.len > 0 ? orcpt.ptr : "");
    peer_decide_by(p, slice_make(m->local.ptr, m->local.len));
}

static void peer_data(void *owner)
{
    struct peer *p = owner;

    buf_add_cstr(&p->asked, "data\n");
    buf_clear(&p->body);
    peer_decide(p, p->data);
}

static void peer_message(void *owner)
{
    static const struct smtp_answer queued = { 250, "2.0.0", SLICE("Ok: queued as Q1") };
    struct peer *p = owner;

    p->messages++;
    buf_printf(&p->asked, "message %zu\n", p->body.len);
    peer_decide(p, p->message != NULL ? p->message : &queued);
}

static int peer_body(void *owner, struct slice octets)
{
    struct peer *p = owner;

    p->bodies++;
    if (p->storage_fails)
        return -ENOSPC;
    buf_add(&p->body, octets);
    return 0;
}

static void peer_abort(void *owner)
{
    struct peer *p = owner;

    p->aborts++;
    buf_add_cstr(&p->asked, "abort\n");
}

#include "smtp_peer_auth.h"

static const struct smtp_ops peer_ops = {
    .send = peer_send,
    .close = peer_close,
    .expect = peer_expect,
    .on_connect = peer_connect,
    .on_helo = peer_helo,
    .on_mail = peer_mail,
    .on_rcpt = peer_rcpt,
    .on_data = peer_data,
    .on_message = peer_message,
    .on_body = peer_body,
    .on_abort = peer_abort,
    PEER_AUTH_OPS,
};

static const struct smtp_limits peer_limits = {
    .command_line_octets = 2048, .data_line_octets = 65536,
    .message_octets = 52428800,
    .rcpts = 1000,
    .errors = 20,
    .commands = 1000,
    .received_fields = 100,
};

static inline void peer_init(struct peer *p, const struct smtp_limits *limits)
{
    *p = (struct peer){ 0 };
    p->session = smtp_session_new(&(struct smtp_session_options){
        .hostname = "mx.example.net", .limits = limits != NULL ? limits : &peer_limits, .ops = &peer_ops, .owner = p });
}

static void peer_fini(struct peer *p)
{
    smtp_session_free(p->session);
    buf_free(&p->said);
    buf_free(&p->asked);
    buf_free(&p->body);
}

/* Starts the session and feeds `in` in pieces of `step` octets; 0: in one. */
static inline void peer_converse(struct peer *p, struct slice in, size_t step, bool deferred)
{
    p->deferred = deferred;
    smtp_session_start(p->session);
    while (smtp_session_waiting(p->session))
        peer_answer(p);
    step = step != 0 ? step : in.len;
    for (size_t i = 0; i < in.len; i += step) {
        smtp_session_input(p->session, slice_head(slice_from(in, i), step));
        while (smtp_session_waiting(p->session))
            peer_answer(p);
    }
}

#define HELLO "EHLO client.example\r\n"
#define BEGIN HELLO "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"

/* "220 mx..." and so on to "220;250;250 2.1.0;": the last line of each reply. */
static inline void peer_summarize(struct slice said, struct buf *out)
{
    for (ptrdiff_t lf; (lf = slice_find(said, '\n')) >= 4; said = slice_from(said, (size_t)lf + 1)) {
        struct slice line = slice_head(said, (size_t)lf - 1);
        if (line.ptr[3] == '-')
            continue;
        buf_add(out, slice_head(line, 3));
        if (line.len > 9 && line.ptr[5] == '.') {
            struct slice rest = slice_from(line, 4);
            buf_add_char(out, ' ');
            buf_add(out, slice_head(rest, (size_t)slice_find(rest, ' ')));
        }
        buf_add_char(out, ';');
    }
    buf_add_char(out, '\0');
}

static inline void peer_check_code(struct peer *p, const char *what, unsigned code)
{
    if (p->said.len < 3 || (unsigned)atoi(p->said.data) != code)
        printf("%s: %.*s\n", what, (int)p->said.len, p->said.data);
    CU_ASSERT_FATAL(p->said.len >= 3);
    CU_ASSERT_EQUAL((unsigned)atoi(p->said.data), code);
}

#endif
