/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdict.c - what is said at the end of the data: one reply, or one for each recipient.
 *
 * Plain SMTP says one. LMTP says one for each RCPT that was accepted, in their order, and no other (RFC 2033
 * 4.2), so none behind BDAT LAST if none was accepted (4.3). PRDR says 353, those of LMTP, and then one for
 * the message as a whole; where nothing was decided for the recipients apart, or there is one only, that last
 * one alone, as Exim does and its client expects.
 */
#include "smtp/private.h"

#include <assert.h>

static void say(struct smtp_session *s, const struct smtp_answer *answer)
{
    if (smtp_answer_is_refusal(answer))
        smtp_session_refuse(s, answer);
    else
        smtp_session_confirm(s, answer, SMTP_REPLY_QUEUED);
}

/* How many replies stand for single recipients. */
static uint32_t apart(const struct smtp_session *s, const struct smtp_answer *answer)
{
    if (answer->code == 421) /* that one is for the session */
        return 0;
    if (s->lmtp)
        return s->rcpt_count;
    return s->each && answer->rcpt_count > 1 ? answer->rcpt_count : 0;
}

void smtp_session_verdict(struct smtp_session *s, const struct smtp_answer *answer)
{
    uint32_t errors = s->error_count;
    uint32_t count = apart(s, answer);
    bool erred = false;

    assert(answer->rcpt_count == 0 || answer->rcpt_count == s->rcpt_count);
    if (count > 0 && !s->lmtp)
        smtp_session_reply(s, SMTP_REPLY_EACH_FOLLOWS);
    for (uint32_t i = 0; i < count; i++) {
        say(s, answer->rcpt_count > 0 ? &answer->rcpts[i] : answer);
        erred |= s->error_count > errors;
        s->error_count = errors; /* one message, one error, however many it was for */
    }
    if (!s->lmtp || answer->code == 421)
        say(s, answer);
    if (erred)
        s->error_count = errors + 1;
}

void smtp_session_verdict_own(struct smtp_session *s, enum smtp_reply_id id)
{
    const struct smtp_reply *r = smtp_reply_get(id);
    struct smtp_answer answer = { .code = r->code, .enhanced = r->enhanced, .text = slice_cstr(r->text) };

    smtp_session_verdict(s, &answer);
}

void smtp_message_answered(struct smtp_session *s, const struct smtp_answer *answer)
{
    if (!smtp_answer_is_refusal(answer))
        s->command_count = 0;
    smtp_session_verdict(s, answer);
    s->smtputf8 = s->each = s->binary = s->mail->intake.whole = false;
    smtp_session_move(s, SMTP_STATE_READY); /* accepted or not, the transaction is over */
}
