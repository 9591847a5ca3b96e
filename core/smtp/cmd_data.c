/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_data.c - DATA (RFC 5321 4.1.1.4) and the mail behind it.
 *
 * Whatever is wrong with the mail, it is read to its CRLF.CRLF and then answered once; nothing
 * more of it is handed on. If several things are wrong the reply is that of the first in
 * the list below, so that it does not depend on how the octets were cut on their way.
 */
#include "smtp/private.h"

void smtp_cmd_data(struct smtp_session *s, const struct smtp_command *c)
{
    if (s->binary) { /* RFC 3030 section 3: no end of data can be found in it */
        smtp_session_reply(s, SMTP_REPLY_NEED_BDAT);
        return;
    }
    smtp_session_ask(s, SMTP_QUESTION_DATA);
    s->ops->on_data(s->owner);
}

void smtp_intake_begin(struct smtp_session *s)
{
    smtp_mail_need(s);
    s->mail->intake = (struct smtp_intake){ .hops = SMTP_HOPS_INIT, .binary = s->binary };
    smtp_data_init(&s->mail->intake.reader, s->limits->data_line_octets);
}

void smtp_data_answered(struct smtp_session *s, const struct smtp_answer *answer)
{
    if (smtp_chunk_is_open(s)) {
        smtp_bdat_answered(s, answer);
        return;
    }
    if (smtp_answer_is_refusal(answer)) {
        smtp_session_refuse(s, answer);
        return;
    }
    s->command_count--;
    smtp_intake_begin(s);
    smtp_session_reply(s, SMTP_REPLY_START_DATA);
    smtp_session_move(s, SMTP_STATE_DATA);
}

static bool is_refused(const struct smtp_session *s)
{
    const struct smtp_intake *in = &s->mail->intake;

    return in->reader.flaws != 0 || in->too_big || in->no_store ||
           in->hops.count > s->limits->received_fields || smtp_hops_header_too_big(&in->hops);
}

void smtp_intake_take(struct smtp_session *s, struct slice content)
{
    struct smtp_intake *in = &s->mail->intake;
    size_t header = smtp_hops_read(&in->hops, content);

    /* Binary is the body (RFC 3030 section 3). In the header a lone LF would end a field for some readers only. */
    if (in->binary)
        smtp_data_check(&in->reader, slice_head(content, header));
    in->octets += content.len;
    if (s->limits->message_octets != 0 && in->octets > s->limits->message_octets)
        in->too_big = true;
    if (content.len > 0 && !is_refused(s) && s->ops->on_body(s->owner, content) < 0)
        in->no_store = true;
}

/*
 * BDAT can end a mail in the midst of a line. It gets its CRLF here, as DATA and every
 * mailbox would give it one; binary mail is left as it is.
 */
void smtp_intake_close(struct smtp_session *s)
{
    struct smtp_intake *in = &s->mail->intake;

    if (!in->binary && smtp_data_check_end(&in->reader) && !is_refused(s) &&
        s->ops->on_body(s->owner, SLICE("\r\n")) < 0)
        in->no_store = true;
}

enum smtp_reply_id smtp_intake_verdict(const struct smtp_session *s)
{
    const struct smtp_intake *in = &s->mail->intake;

    if ((in->reader.flaws & SMTP_DATA_BARE_CR_LF) != 0)
        return SMTP_REPLY_BARE_CR_LF;
    if ((in->reader.flaws & SMTP_DATA_LONG_LINE) != 0)
        return SMTP_REPLY_LONG_DATA_LINE;
    if (in->hops.count > s->limits->received_fields)
        return SMTP_REPLY_LOOP;
    if (smtp_hops_header_too_big(&in->hops))
        return SMTP_REPLY_BIG_HEADER;
    if (in->too_big)
        return SMTP_REPLY_TOO_BIG;
    return in->no_store ? SMTP_REPLY_NO_STORAGE : SMTP_REPLY_OK;
}

void smtp_intake_end(struct smtp_session *s)
{
    enum smtp_reply_id fault = smtp_intake_verdict(s);

    s->mail->intake.whole = true;
    if (fault != SMTP_REPLY_OK) {
        smtp_session_verdict_own(s, fault);
        s->mail->intake.whole = false;
        smtp_session_drop_transaction(s);
        return;
    }
    smtp_session_ask(s, SMTP_QUESTION_MESSAGE);
    s->ops->on_message(s->owner);
}

static void read_content(struct smtp_session *s, struct slice *input)
{
    struct slice content;

    while (s->state == SMTP_STATE_DATA) { /* on_body may end the session */
        enum smtp_data r = smtp_data_read(&s->mail->intake.reader, input, &content);
        if (r == SMTP_DATA_END)
            smtp_intake_end(s);
        if (r != SMTP_DATA_CONTENT)
            return;
        smtp_intake_take(s, content);
    }
}

void smtp_intake_read(struct smtp_session *s, struct slice *input)
{
    size_t before = input->len;

    s->mail->intake.begun = s->progress = true;
    read_content(s, input);
    s->mail_octets += before - input->len;
}
