/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_auth.c - AUTH and the lines behind its challenges (RFC 4954).
 *
 * base64 and framing are here; what is in it is the owner's business. Not in a transaction and not
 * twice (4), whatever state table and owner think of it. Whatever was decoded is wiped at once.
 */
#include "sasl/base64.h"
#include "smtp/private.h"

/* "=" stands for an initial response without octets (RFC 4954 4). */
static bool decode(struct slice text, bool initial, struct buf *out)
{
    (void)buf_reserve(out, text.len);
    return (initial && slice_equal(text, SLICE("="))) || base64_decode(out, text);
}

/* Behind AUTH one word, and maybe another one. */
static bool split(struct slice arg, struct slice *mechanism, struct slice *initial)
{
    ptrdiff_t blank = slice_find(arg, ' ');

    *mechanism = blank >= 0 ? slice_head(arg, (size_t)blank) : arg;
    *initial = blank >= 0 ? slice_trim(slice_from(arg, (size_t)blank)) : SLICE("");
    return slice_find(*initial, ' ') < 0;
}

void smtp_cmd_auth(struct smtp_session *s, const struct smtp_command *c)
{
    CLEANUP_SECRET struct buf decoded = BUF_INIT;
    struct slice mechanism, text;

    s->secret = true;
    if (s->authenticated) {
        smtp_session_reply(s, SMTP_REPLY_AUTH_AGAIN);
    } else if (!s->esmtp) {
        smtp_session_reply(s, SMTP_REPLY_NEED_EHLO);
    } else if ((s->withheld & SMTP_EXT_AUTH) != 0 || s->ops->on_auth == NULL) {
        smtp_session_reply(s, SMTP_REPLY_NOT_IMPLEMENTED);
    } else if (!split(c->arg, &mechanism, &text)) {
        smtp_session_reply(s, SMTP_REPLY_AUTH_SYNTAX);
    } else if (text.len > 0 && !decode(text, true, &decoded)) {
        smtp_session_reply(s, SMTP_REPLY_AUTH_BASE64);
    } else {
        struct slice initial = slice_make(decoded.data != NULL ? decoded.data : "", decoded.len);
        smtp_session_ask(s, SMTP_QUESTION_AUTH);
        s->ops->on_auth(s->owner, mechanism, text.len > 0 ? &initial : NULL);
    }
}

static void give_up(struct smtp_session *s, enum smtp_reply_id id)
{
    smtp_session_move(s, SMTP_STATE_READY);
    s->ops->on_auth_cancel(s->owner);
    smtp_session_reply(s, id);
}

void smtp_auth_line(struct smtp_session *s, struct slice line)
{
    CLEANUP_SECRET struct buf decoded = BUF_INIT;

    s->secret = true;
    if (slice_equal(line, SLICE("*"))) {
        give_up(s, SMTP_REPLY_AUTH_CANCELLED);
    } else if (!decode(line, false, &decoded)) {
        give_up(s, SMTP_REPLY_AUTH_BASE64);
    } else {
        smtp_session_ask(s, SMTP_QUESTION_AUTH);
        s->ops->on_auth_response(s->owner, slice_make(decoded.data, decoded.len));
    }
}

void smtp_auth_long(struct smtp_session *s)
{
    give_up(s, SMTP_REPLY_AUTH_LONG);
}

void smtp_auth_answered(struct smtp_session *s, const struct smtp_answer *answer)
{
    CLEANUP_BUF struct buf line = BUF_INIT;

    if (answer->code == 334) {
        buf_add(&line, SLICE("334 "));
        base64_add(&line, answer->text);
        buf_add(&line, SLICE("\r\n"));
        smtp_session_send(s, buf_slice(&line));
        smtp_session_move(s, SMTP_STATE_AUTH);
        return;
    }
    if (smtp_answer_is_refusal(answer)) {
        smtp_session_move(s, SMTP_STATE_READY);
        smtp_session_refuse(s, answer);
        return;
    }
    s->authenticated = true;
    smtp_session_confirm(s, answer, SMTP_REPLY_AUTH_OK);
    smtp_session_move(s, SMTP_STATE_READY);
}
