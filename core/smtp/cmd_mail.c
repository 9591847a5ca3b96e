/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_mail.c - MAIL (RFC 5321 4.1.1.2), with SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531),
 * PRDR (draft-hall-prdr-00).
 *
 * RET and ENVID (RFC 3461) are kept as they came.
 *
 * The parameters are read before the address, because SMTPUTF8 behind it says how to read it. A
 * blank between "FROM:" and '<' is let through (3.3 forbids sending it, many do); an address
 * without angle brackets is not.
 */
#include <errno.h>

#include "mime/address.h"
#include "smtp/private.h"

static enum smtp_reply_id address_fault(int error)
{
    return error == -EILSEQ         ? SMTP_REPLY_NEED_SMTPUTF8
           : error == -ENAMETOOLONG ? SMTP_REPLY_LONG_SENDER
                                    : SMTP_REPLY_BAD_SENDER;
}

static bool is_too_big(const struct smtp_session *s, uint64_t octets)
{
    return s->limits->message_octets != 0 && octets > s->limits->message_octets;
}

/* SMTP_REPLY_OK, or what is wrong. */
static enum smtp_reply_id check(struct smtp_session *s, struct slice text,
                                struct smtp_mail_params *ret)
{
    struct smtp_mail_options o;
    struct slice rest;
    size_t octets = address_path_octets(text);

    if (octets == 0)
        return SMTP_REPLY_BAD_SENDER;
    enum smtp_param_fault fault =
        smtp_params_mail(slice_from(text, octets), smtp_session_extensions(s), &o);
    if (fault != SMTP_PARAM_OK)
        return fault == SMTP_PARAM_UNKNOWN ? SMTP_REPLY_PARAM_UNKNOWN : SMTP_REPLY_PARAM_SYNTAX;
    unsigned flags = ADDRESS_ALLOW_NULL | (o.smtputf8 ? ADDRESS_SMTPUTF8 : 0);
    int r = address_parse_path(text, flags, &s->memory, &ret->sender, &rest);
    if (r < 0)
        return address_fault(r);
    if (is_too_big(s, o.size))
        return SMTP_REPLY_TOO_BIG_DECLARED;
    ret->size = o.size;
    ret->body = o.body;
    ret->smtputf8 = o.smtputf8;
    ret->envid = arena_slice(&s->memory, o.envid);
    ret->ret = o.ret;
    ret->each = s->lmtp || o.prdr;
    return SMTP_REPLY_OK;
}

void smtp_cmd_mail(struct smtp_session *s, const struct smtp_command *c)
{
    struct smtp_mail_params *params = ARENA_NEW(&s->memory, struct smtp_mail_params);
    struct slice text;
    enum smtp_reply_id fault = SMTP_REPLY_MAIL_SYNTAX;

    if (s->limits->messages != 0 && s->message_count >= s->limits->messages)
        fault = SMTP_REPLY_TOO_MANY_MESSAGES;
    else if (smtp_command_after(c->arg, SLICE("FROM:"), &text))
        fault = check(s, text, params);
    if (fault != SMTP_REPLY_OK) {
        arena_fini(&s->memory);
        smtp_session_reply(s, fault);
        return;
    }
    s->smtputf8 = params->smtputf8;
    s->each = params->each;
    s->binary = params->body == BODY_BINARYMIME;
    smtp_session_ask(s, SMTP_QUESTION_MAIL);
    s->ops->on_mail(s->owner, params);
}

void smtp_mail_answered(struct smtp_session *s, const struct smtp_answer *answer)
{
    if (smtp_answer_is_refusal(answer)) {
        smtp_session_refuse(s, answer);
        s->smtputf8 = s->each = s->binary = false;
        return;
    }
    s->command_count--;
    s->message_count++;
    s->rcpt_count = 0;
    smtp_session_confirm(s, answer, SMTP_REPLY_SENDER_OK);
    smtp_session_move(s, SMTP_STATE_MAIL);
}
