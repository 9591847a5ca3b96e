/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_rcpt.c - RCPT (RFC 5321 4.1.1.3).
 *
 * <postmaster> may come without a domain. The parameters are those of DSN (RFC 3461). The limit
 * counts recipients that were accepted, and is 452 (4.5.3.1.10), so that the client sends the rest
 * in another transaction.
 */
#include <errno.h>

#include "mime/address.h"
#include "smtp/private.h"

static enum smtp_reply_id address_fault(int error)
{
    return error == -EILSEQ         ? SMTP_REPLY_NEED_SMTPUTF8
           : error == -ENAMETOOLONG ? SMTP_REPLY_LONG_RCPT
                                    : SMTP_REPLY_BAD_RCPT;
}

static enum smtp_reply_id check(struct smtp_session *s, struct slice text, struct tern_mailbox *ret,
                                struct smtp_rcpt_options *ret_options)
{
    unsigned flags = ADDRESS_ALLOW_NO_DOMAIN | (s->smtputf8 ? ADDRESS_SMTPUTF8 : 0);
    struct slice rest;
    int r = address_parse_path(text, flags, &s->memory, ret, &rest);

    if (r < 0)
        return address_fault(r);
    switch (smtp_params_rcpt(rest, smtp_session_extensions(s), ret_options)) {
    case SMTP_PARAM_SYNTAX: return SMTP_REPLY_PARAM_SYNTAX;
    case SMTP_PARAM_UNKNOWN: return SMTP_REPLY_PARAM_UNKNOWN;
    case SMTP_PARAM_OK: break;
    }
    return s->rcpt_count >= s->limits->rcpts ? SMTP_REPLY_TOO_MANY_RCPTS : SMTP_REPLY_OK;
}

void smtp_cmd_rcpt(struct smtp_session *s, const struct smtp_command *c)
{
    struct tern_mailbox *rcpt = ARENA_NEW(&s->memory, struct tern_mailbox);
    struct smtp_rcpt_options o;
    struct slice text;
    enum smtp_reply_id fault = SMTP_REPLY_RCPT_SYNTAX;

    if (smtp_command_after(c->arg, SLICE("TO:"), &text))
        fault = check(s, text, rcpt, &o);
    if (fault != SMTP_REPLY_OK) {
        arena_fini(&s->memory);
        smtp_session_reply(s, fault);
        return;
    }
    smtp_session_ask(s, SMTP_QUESTION_RCPT);
    s->ops->on_rcpt(s->owner, rcpt, arena_slice(&s->memory, o.orcpt), o.notify);
}

void smtp_rcpt_answered(struct smtp_session *s, const struct smtp_answer *answer)
{
    if (smtp_answer_is_refusal(answer)) {
        smtp_session_refuse(s, answer);
        return;
    }
    s->command_count--;
    s->rcpt_count++;
    smtp_session_confirm(s, answer, SMTP_REPLY_RCPT_OK);
    smtp_session_move(s, SMTP_STATE_RCPT);
}
