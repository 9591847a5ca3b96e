/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_open.c - from the connection to the first message: greeting, EHLO, TLS, AUTH.
 *
 * Sources: RFC 5321 (3.1, 3.2), RFC 2033 (LHLO), RFC 3207 (STARTTLS), RFC 4954 (AUTH).
 */
#include "delivery/client_private.h"

void client_open_greeting(struct client *c)
{
    c->state = CLIENT_GREETING;
    client_expect(c, EXPECT_GREETING, 0);
}

static void say_hello(struct client *c, enum client_expect_kind kind)
{
    const char *verb = c->protocol == CLIENT_LMTP ? "LHLO" : kind == EXPECT_HELO ? "HELO" : "EHLO";

    c->state = CLIENT_GREETING;
    client_expect(c, kind, 0);
    client_command(c, "%s %s", verb, c->helo);
}

void client_open_hello(struct client *c)
{
    say_hello(c, EXPECT_HELLO);
}

void client_open_done(struct client *c)
{
    c->state = CLIENT_READY;
    client_arm(c);
    c->ops->on_ready(c->owner);
}

void client_open_go_on(struct client *c)
{
    if (client_tls_wanted(c))
        client_tls_ask(c);
    else if (c->auth != NULL)
        client_auth_begin(c);
    else
        client_open_done(c);
}

void client_open_reply(struct client *c, struct client_expect expect,
                       const struct client_reply *reply)
{
    unsigned class_ = reply->code / 100;

    if (expect.kind == EXPECT_AUTH) {
        client_auth_reply(c, reply);
    } else if (expect.kind == EXPECT_STARTTLS) {
        client_tls_reply(c, reply);
    } else if (expect.kind == EXPECT_GREETING && class_ == 2) {
        say_hello(c, EXPECT_HELLO);
    } else if (expect.kind == EXPECT_HELLO && class_ == 5 && c->protocol == CLIENT_SMTP) {
        /* RFC 5321 3.2: a server from before 1995, or one that is cross */
        say_hello(c, EXPECT_HELO);
    } else if (class_ != 2) {
        client_end(c, reply);
    } else {
        if (expect.kind == EXPECT_HELLO)
            client_parser_features(&c->parser, &c->features);
        client_open_go_on(c);
    }
}
