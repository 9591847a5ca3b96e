/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_submit.c - hands a mail to the server by SMTP, as any client would: its policy lets it out and signs it.
 *
 * The queue's own client does it (delivery/client.h), on a loop that this thread turns. One connection serves many
 * mails; one that the server has ended is made again, once for a mail.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/dmarc_send.h"
#include "delivery/client.h"

struct dmarc_submitter {
    struct loop *loop;
    tern_address to;
    char *helo;
    struct client *client;
    bool ready, idle; /* idle: greeted, and nothing is under way */
    const struct buf *mail;
    unsigned code; /* of the recipient; 0: not yet */
    char *text;
    size_t text_octets;
};

static void on_ready(void *owner)
{
    struct dmarc_submitter *s = owner;

    s->ready = s->idle = true;
}

static void take(struct dmarc_submitter *s, const struct client_reply *reply)
{
    s->code = reply->code;
    (void)snprintf(s->text, s->text_octets, "%.*s", (int)reply->text.len, reply->text.ptr);
}

static void on_rcpt(void *owner, unsigned index, const struct client_reply *reply)
{
    (void)index;
    take(owner, reply);
}

static void on_sent(void *owner)
{
    struct dmarc_submitter *s = owner;

    s->idle = true;
}

static void on_end(void *owner, const struct client_reply *reply)
{
    struct dmarc_submitter *s = owner;

    if (s->code == 0)
        take(s, reply);
    client_free(s->client);
    s->client = NULL;
    s->ready = s->idle = false;
}

static int64_t read_mail(void *arg, uint64_t offset, void *buffer, size_t octets)
{
    const struct dmarc_submitter *s = arg;
    size_t left = offset < s->mail->len ? s->mail->len - (size_t)offset : 0, n = left < octets ? left : octets;

    if (n > 0)
        memcpy(buffer, s->mail->data + offset, n);
    return (int64_t)n;
}

struct dmarc_submitter *dmarc_submitter_new(struct loop *loop, const tern_address *to, const char *helo)
{
    struct dmarc_submitter *s = mem_zalloc(sizeof(*s));

    s->loop = loop;
    s->to = *to;
    s->helo = mem_strdup(helo);
    return s;
}

void dmarc_submitter_free(struct dmarc_submitter *submitter)
{
    if (submitter == NULL)
        return;
    if (submitter->idle)
        client_quit(submitter->client);
    else if (submitter->client != NULL)
        client_free(submitter->client);
    for (unsigned i = 0; i < 20; i++) /* QUIT is a courtesy: it is not waited for long */
        loop_turn(submitter->loop, true);
    free(submitter->helo);
    free(submitter);
}

static void connect_it(struct dmarc_submitter *s)
{
    static const struct client_ops ops = { on_ready, on_rcpt, on_sent, on_end };
    struct client_options options = {
        .protocol = CLIENT_SMTP, .to = s->to, .host_name = "the server", .helo = s->helo
    };

    s->client = client_new(s->loop, &options, &ops, s);
    while (s->client != NULL && !s->ready)
        loop_turn(s->loop, true);
}

static void send_it(struct dmarc_submitter *s, const struct client_message *message)
{
    s->code = 0;
    if (s->client == NULL)
        connect_it(s);
    if (s->client == NULL)
        return;
    s->idle = false;
    client_send(s->client, message);
    while (s->client != NULL && !s->idle)
        loop_turn(s->loop, true);
}

unsigned dmarc_submit(struct dmarc_submitter *submitter, const char *sender, const char *rcpt, const struct buf *mail,
                      char *ret_text, size_t octets)
{
    struct dmarc_submitter *s = submitter;
    struct client_rcpt to = { .address = slice_cstr(rcpt) };
    struct client_message message = {
        .sender = slice_cstr(sender), .rcpts = &to, .rcpt_count = 1, .octets = mail->len, .read = read_mail, .arg = s
    };
    bool again = s->client != NULL;

    s->mail = mail;
    s->text = ret_text;
    s->text_octets = octets;
    ret_text[0] = '\0';
    send_it(s, &message);
    /* It ends a connection after so many mails. What was lost in silence is not sent again: it may have been taken. */
    if (again && s->client == NULL && s->code == 421)
        send_it(s, &message);
    return s->code >= 200 ? s->code : 451;
}
