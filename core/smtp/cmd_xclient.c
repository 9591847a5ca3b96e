/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_xclient.c - XCLIENT and XFORWARD: a client that the listener trusts speaks for another one.
 *
 * XCLIENT makes it that other client: the session begins anew, with the question on_connect and the banner.
 * What is not named stays; so a long list may come as several commands. XFORWARD only tells, for the
 * log, whose the next mail was on an earlier hop.
 *
 * Who may is decided once, by the address that the session began with: what XCLIENT says of itself must not
 * open or shut that door. Nobody else is told of these commands, or may use them.
 */
#include "smtp/private.h"

void smtp_cmd_xclient(struct smtp_session *s, const struct smtp_command *c)
{
    struct smtp_xclient *client = ARENA_NEW(&s->memory, struct smtp_xclient);
    struct smtp_xattrs x;

    if (!s->xclient) {
        smtp_session_reply(s, SMTP_REPLY_NOT_TRUSTED);
    } else if (!smtp_xattrs_parse(c->arg, SMTP_XCLIENT_ATTRS, &s->memory, &x) || !smtp_xclient_read(&x, client)) {
        smtp_session_reply(s, SMTP_REPLY_XCLIENT_SYNTAX);
    } else {
        smtp_session_restart(s);
        smtp_session_ask(s, SMTP_QUESTION_XCLIENT);
        s->ops->on_xclient(s->owner, client);
        return;
    }
    arena_fini(&s->memory);
}

void smtp_cmd_xforward(struct smtp_session *s, const struct smtp_command *c)
{
    struct smtp_xattrs x;

    if (!s->xforward) {
        smtp_session_reply(s, SMTP_REPLY_NOT_TRUSTED);
    } else if (!smtp_xattrs_parse(c->arg, SMTP_XFORWARD_ATTRS, &s->memory, &x)) {
        smtp_session_reply(s, SMTP_REPLY_XCLIENT_SYNTAX);
    } else {
        s->ops->on_xforward(s->owner, &x);
        smtp_session_reply(s, SMTP_REPLY_OK);
    }
    arena_fini(&s->memory);
}
