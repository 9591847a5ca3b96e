/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_transaction.c - one message over a connection: MAIL, RCPT, DATA and their replies.
 *
 * With CHUNKING (RFC 3030) BDAT stands for DATA, once all RCPTs were answered.
 * With PIPELINING all of it leaves at once (RFC 2920 3.1); without, one command waits
 * for the reply to the one before. A message is sent only if MAIL and at least one RCPT were
 * accepted, whatever the reply to DATA says.
 */
#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "delivery/client_private.h"

#define REFUSE_SIZE   552
#define REFUSE_EIGHT  554
#define REFUSE_BINARY 555
#define REFUSE_UTF8   553
#define REFUSE_SENDER 501
#define REFUSE_RCPTS  550 /* not one of them can be sent */
#define REFUSE_UNREAD 451

/* ---- settling ---- */

void client_settle(struct client *c, unsigned rcpt, const struct client_reply *reply)
{
    struct client_transaction *t = &c->t;

    if (c->dead || t->rcpts[rcpt] == RCPT_SETTLED)
        return;
    if (t->rcpts[rcpt] == RCPT_ACCEPTED)
        t->accepted--;
    t->rcpts[rcpt] = RCPT_SETTLED;
    c->ops->on_rcpt(c->owner, rcpt, reply);
}

void client_settle_all(struct client *c, const struct client_reply *reply)
{
    if (c->t.message == NULL)
        return;
    unsigned count = c->t.message->rcpt_count;
    for (unsigned i = 0; i < count && !c->dead; i++)
        client_settle(c, i, reply);
}

void client_transaction_free(struct client *c)
{
    free(c->t.rcpts);
    free(c->t.chunk);
    c->t = (struct client_transaction){ 0 };
}

static void finish(struct client *c)
{
    if (c->dead)
        return;
    assert(c->queue_count == 0 && c->state == CLIENT_BUSY);
    client_transaction_free(c);
    c->state = CLIENT_READY;
    client_arm(c);
    c->ops->on_sent(c->owner);
}

/* ---- what cannot be sent ---- */

/* Nothing in an address may end the path or the line it stands in. */
static bool is_sendable(struct slice address, bool utf8)
{
    bool quoted = false;

    if (address.len > CLIENT_COMMAND_MAX / 2 || (!utf8 && !slice_is_ascii(address)))
        return false;
    for (size_t i = 0; i < address.len; i++) {
        unsigned char ch = (unsigned char)address.ptr[i];
        if (ch < ' ' || ch == 0x7f)
            return false;
        if (quoted && ch == '\\')
            i++;
        else if (ch == '"')
            quoted = !quoted;
        else if (!quoted && (ch == ' ' || ch == '<' || ch == '>'))
            return false;
    }
    return !quoted;
}

static unsigned mark_bad(struct client *c)
{
    const struct client_message *m = c->t.message;
    unsigned good = 0;

    for (unsigned i = 0; i < m->rcpt_count; i++) {
        bool fine = m->rcpts[i].address.len > 0 && is_sendable(m->rcpts[i].address, m->smtputf8);
        c->t.rcpts[i] = fine ? RCPT_OPEN : RCPT_BAD;
        good += fine;
    }
    return good;
}

/* Its client said so; or said SMTPUTF8 alone, and it goes without that. */
static bool is_eight_bit(const struct client *c)
{
    return c->t.message->eight_bit || (c->t.body_only && !c->t.message->binary);
}

static unsigned why_refuse(struct client *c)
{
    const struct client_message *m = c->t.message;
    const struct client_features *f = &c->features;

    if (f->size_max > 0 && m->octets > f->size_max)
        return REFUSE_SIZE;
    if (m->smtputf8 && !f->smtputf8 && !c->t.ascii && !c->t.body_only)
        return REFUSE_UTF8;
    if (is_eight_bit(c) && !f->eight_bit && !c->t.ascii)
        return REFUSE_EIGHT;
    if (m->binary && !(f->binary && f->chunking))
        return REFUSE_BINARY;
    if (!is_sendable(m->sender, m->smtputf8))
        return REFUSE_SENDER;
    return mark_bad(c) == 0 ? REFUSE_RCPTS : 0;
}

static struct client_reply bad_rcpt(struct client *c)
{
    return client_own(c, 553, "5.1.3", "this recipient address cannot be sent");
}

static struct client_reply refusal(struct client *c)
{
    switch (c->t.refuse) {
    case REFUSE_SIZE:
        return client_own(c, 552, "5.3.4", "the message has %llu octets, the limit there is %llu",
                          (unsigned long long)c->t.message->octets,
                          (unsigned long long)c->features.size_max);
    case REFUSE_UTF8:
        return client_own(c, 553, "5.6.7", "the message needs SMTPUTF8, which is not offered");
    case REFUSE_EIGHT:
        return client_own(c, 554, "5.6.3", "the message needs 8BITMIME, which is not offered");
    case REFUSE_BINARY:
        return client_own(c, 554, "5.6.3", "the message needs BINARYMIME, which is not offered");
    case REFUSE_UNREAD:
        return client_own(c, 451, "4.3.0", "the message could not be read to its end here");
    case REFUSE_SENDER: return client_own(c, 501, "5.1.7", "this sender address cannot be sent");
    default: return bad_rcpt(c);
    }
}

static void write_steps(struct client *c);

static void look_further(struct client *c)
{
    struct client_transaction *t = &c->t;
    enum client_look look = client_look_further(c);

    t->looking = look == CLIENT_LOOK_MORE;
    t->ascii = look == CLIENT_LOOK_ASCII;
    t->body_only = look == CLIENT_LOOK_BODY;
    if (t->ascii || t->body_only)
        t->refuse = why_refuse(c);
    if (look == CLIENT_LOOK_FAILED)
        t->refuse = REFUSE_UNREAD;
    if (t->looking || t->refuse != 0) {
        loop_timer_start(c->loop, &c->later, 0);
        return;
    }
    write_steps(c);
    client_arm(c);
}

void client_transaction_later(struct client *c)
{
    if (c->t.sending) {
        client_body_go_on(c);
    } else if (c->t.looking) {
        look_further(c);
    } else if (c->t.refuse != 0) {
        struct client_reply reply = refusal(c);
        client_settle_all(c, &reply);
        finish(c);
    }
}

/* ---- commands ---- */

bool client_offers_dsn(const struct client *c)
{
    return c->features.dsn;
}

unsigned client_rcpts_max(const struct client *c)
{
    return c->features.rcpts_max > 0 ? c->features.rcpts_max : UINT_MAX;
}

unsigned client_mails_max(const struct client *c)
{
    return c->features.mails_max > 0 ? c->features.mails_max : UINT_MAX;
}

/* " KEY=value" of a DSN parameter (RFC 3461), which came by SMTP as it goes out. */
static void add_dsn(const struct client *c, struct buf *out, const char *key, struct slice value)
{
    if (c->features.dsn && value.len > 0)
        buf_printf(out, " %s=%.*s", key, (int)value.len, value.ptr);
}

static void write_mail(struct client *c)
{
    const struct client_message *m = c->t.message;
    const struct client_features *f = &c->features;
    CLEANUP_BUF struct buf dsn = BUF_INIT;
    char size[40] = "";

    add_dsn(c, &dsn, "RET", m->ret);
    add_dsn(c, &dsn, "ENVID", m->envid);
    if (f->size)
        (void)snprintf(size, sizeof(size), " SIZE=%llu", (unsigned long long)m->octets);
    client_expect(c, EXPECT_MAIL, 0);
    /* RFC 4954 5: nobody is trusted to say who submitted it, and where we logged in this is said. */
    client_command(c, "MAIL FROM:<%.*s>%s%s%s%s%.*s", (int)m->sender.len, m->sender.ptr, size,
                   m->binary                        ? " BODY=BINARYMIME"
                   : is_eight_bit(c) && f->eight_bit ? " BODY=8BITMIME"
                                                     : "",
                   m->smtputf8 && f->smtputf8 ? " SMTPUTF8" : "", c->auth != NULL ? " AUTH=<>" : "",
                   (int)dsn.len, dsn.len > 0 ? dsn.data : "");
}

static void write_rcpt(struct client *c, unsigned index)
{
    const struct client_rcpt *r = &c->t.message->rcpts[index];
    CLEANUP_BUF struct buf dsn = BUF_INIT;

    add_dsn(c, &dsn, "NOTIFY", r->notify);
    add_dsn(c, &dsn, "ORCPT", r->orcpt);
    client_expect(c, EXPECT_RCPT, index);
    client_command(c, "RCPT TO:<%.*s>%.*s", (int)r->address.len, r->address.ptr, (int)dsn.len,
                   dsn.len > 0 ? dsn.data : "");
}

/* Writes the command that is next, if there is one. */
static void write_step(struct client *c)
{
    struct client_transaction *t = &c->t;
    const struct client_message *m = t->message;

    switch (t->step) {
    case STEP_RSET:
        t->step = STEP_FORWARD;
        if (!c->needs_rset)
            break;
        client_expect(c, EXPECT_RSET, 0);
        client_command(c, "RSET");
        break;
    case STEP_FORWARD:
        t->step = STEP_MAIL;
        (void)client_forward(c);
        break;
    case STEP_MAIL:
        t->step = STEP_RCPT;
        write_mail(c);
        break;
    case STEP_RCPT:
        while (t->next_rcpt < m->rcpt_count && t->rcpts[t->next_rcpt] == RCPT_BAD)
            t->next_rcpt++;
        if (t->next_rcpt == m->rcpt_count) {
            t->step = STEP_DATA;
            break;
        }
        write_rcpt(c, t->next_rcpt++);
        break;
    case STEP_DATA:
        t->step = STEP_WRITTEN;
        client_expect(c, EXPECT_DATA, 0);
        client_command(c, "DATA");
        break;
    case STEP_WRITTEN: break;
    }
}

static void write_steps(struct client *c)
{
    struct client_transaction *t = &c->t;

    conn_cork(c->conn);
    while (t->step != STEP_WRITTEN && (c->features.pipelining || c->queue_count == 0)) {
        bool all_answered = t->step == STEP_DATA && c->queue_count == 0;
        if (all_answered && t->accepted == 0)
            break; /* nobody to send it to */
        if (t->step == STEP_DATA && t->chunking)
            break; /* octets that would come behind a refusal are not sent */
        write_step(c);
    }
    conn_uncork(c->conn);
    if (t->chunking && t->step == STEP_DATA && c->queue_count == 0 && t->accepted > 0) {
        t->step = STEP_WRITTEN;
        client_body_begin(c);
    }
}

void client_send(struct client *c, const struct client_message *message)
{
    assert(c->state == CLIENT_READY && c->queue_count == 0);
    assert(message->rcpt_count > 0 && message->rcpt_count <= CLIENT_RCPTS_MAX);
    c->state = CLIENT_BUSY;
    c->t = (struct client_transaction){ .message = message };
    c->t.rcpts = mem_zalloc(message->rcpt_count);
    c->t.refuse = why_refuse(c);
    /* DATA is what every server has done a million times; BDAT where it must or should be. */
    c->t.chunking = message->binary || (c->chunking && c->features.chunking);
    c->t.looking = (c->t.refuse == REFUSE_EIGHT || c->t.refuse == REFUSE_UTF8) &&
                   client_envelope_is_ascii(message);
    if (c->t.refuse != 0) {
        loop_timer_start(c->loop, &c->later, 0);
        return;
    }
    write_steps(c);
    client_arm(c);
}

/* ---- replies ---- */

static void go_on(struct client *c)
{
    struct client_transaction *t = &c->t;

    if (c->dead || c->state != CLIENT_BUSY)
        return;
    write_steps(c);
    if (t->step == STEP_DATA && c->queue_count == 0) {
        c->needs_rset = true; /* MAIL was taken, no recipient was */
        finish(c);
    }
}

static void mail_reply(struct client *c, const struct client_reply *reply)
{
    struct client_transaction *t = &c->t;

    if (reply->code / 100 != 2) {
        client_settle_all(c, reply);
        if (c->queue_count == 0)
            finish(c); /* no command went with it */
        return;
    }
    t->mail_ok = true;
    unsigned count = t->message->rcpt_count;
    for (unsigned i = 0; i < count && !c->dead; i++) {
        if (t->rcpts[i] != RCPT_BAD)
            continue;
        struct client_reply bad = bad_rcpt(c);
        client_settle(c, i, &bad);
    }
    go_on(c);
}

static void rcpt_reply(struct client *c, unsigned rcpt, const struct client_reply *reply)
{
    struct client_transaction *t = &c->t;
    struct client_reply changed = *reply;

    if (t->mail_ok && reply->code / 100 == 2) {
        t->rcpts[rcpt] = RCPT_ACCEPTED;
        t->accepted++;
    } else if (t->mail_ok) {
        /* RFC 5321 4.5.3.1.10: too many recipients is 452, and 552 means the same. A 452 without
         * more behind one that was taken is that, too. */
        bool silent = !client_parser_has_enhanced(&c->parser);
        if ((reply->code == 552 && (silent || strcmp(reply->enhanced, "5.5.3") == 0)) ||
            (reply->code == 452 && silent && t->accepted > 0)) {
            changed.code = 452;
            (void)snprintf(changed.enhanced, sizeof(changed.enhanced), "4.5.3");
        }
        client_settle(c, rcpt, &changed);
    }
    go_on(c);
}

static void data_reply(struct client *c, const struct client_reply *reply)
{
    struct client_transaction *t = &c->t;

    if (reply->code / 100 != 3) {
        c->needs_rset = t->mail_ok;
        client_settle_all(c, reply);
        finish(c);
    } else if (t->accepted > 0) {
        client_body_begin(c);
    } else if (c->protocol == CLIENT_LMTP) {
        /* RFC 2033 4.2 forbids this 354, and how many replies a dot would get nobody knows. */
        struct client_reply own = client_own(c, 451, "4.5.0", "DATA accepted without recipients");
        client_end(c, &own);
    } else {
        /* RFC 2920 3.1: a message to nobody is ended at once. */
        client_expect(c, EXPECT_LONE_DOT, 0);
        client_command(c, ".");
    }
}

static void dot_reply(struct client *c, unsigned rcpt, const struct client_reply *reply)
{
    if (c->protocol == CLIENT_LMTP)
        client_settle(c, rcpt, reply);
    else
        client_settle_all(c, reply);
    if (!c->dead && c->queue_count == 0)
        finish(c);
}

void client_transaction_reply(struct client *c, struct client_expect expect,
                              const struct client_reply *reply)
{
    struct client_reply missed = *reply;

    if (client_tls_missed(c, reply)) { /* TLS may work the next time */
        missed.code = 451;
        missed.cause = CLIENT_CAUSE_TLS;
        (void)snprintf(missed.enhanced, sizeof(missed.enhanced), "4.7.4");
        reply = &missed;
    }
    switch (expect.kind) {
    case EXPECT_RSET:
        if (reply->code / 100 != 2) {
            struct client_reply own = client_own(c, 451, "4.5.0", "RSET was refused");
            client_end(c, &own);
            return;
        }
        c->needs_rset = false;
        go_on(c);
        return;
    case EXPECT_FORWARD: go_on(c); return; /* for the log only: a refusal changes nothing */
    case EXPECT_MAIL: mail_reply(c, reply); return;
    case EXPECT_RCPT: rcpt_reply(c, expect.rcpt, reply); return;
    case EXPECT_DATA: data_reply(c, reply); return;
    case EXPECT_DOT: dot_reply(c, expect.rcpt, reply); return;
    default:
        assert(expect.kind == EXPECT_LONE_DOT);
        c->needs_rset = true; /* whatever it made of that */
        finish(c);
        return;
    }
}
