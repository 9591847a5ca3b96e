/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_bdat.c - BDAT (RFC 3030): the mail in chunks whose octets are counted, not looked at.
 *
 * A chunk may come in any state: the client has said how many octets follow the line, and sends
 * them whatever we think of it (section 2: "accept and discard"). So the chunk is not a state of
 * the session but something that lies in front of its next command; its reply is sent when all
 * its octets were read.
 *
 * A chunk that is refused ends the transaction: were it to stay, the chunk behind it in the pipeline
 * would be taken for the first one, and half a mail for a whole one.
 *
 * In LMTP a LAST is answered once for each RCPT that was accepted (RFC 2033 4.3): not at all if none was, and
 * as often behind a refused chunk, where the client may have sent it ahead and counts on its replies.
 */
#include "smtp/private.h"

#include <assert.h>
#include <stdio.h>

#define SIZE_DIGITS_MAX 20 /* RFC 3030 section 2: chunk-size ::= 1*DIGIT; more are 501 */

/*
 * "SIZE [LAST]". False: bad syntax. *ret_octets is set where the size can be read, also of a bad
 * line, so that the stream stays in step; more than 64 bits are as many as can be skipped.
 */
static bool parse(struct slice arg, uint64_t *ret_octets, bool *ret_last)
{
    ptrdiff_t blank = slice_find(arg, ' ');
    struct slice size = blank < 0 ? arg : slice_head(arg, (size_t)blank);
    struct slice word = slice_trim(slice_from(arg, size.len));

    if (size.len == 0 || size.len > SIZE_DIGITS_MAX)
        return false;
    for (size_t i = 0; i < size.len; i++)
        if (size.ptr[i] < '0' || size.ptr[i] > '9')
            return false;
    if (!slice_to_u64(size, ret_octets))
        *ret_octets = UINT64_MAX;
    *ret_last = slice_equal_nocase(word, SLICE("LAST"));
    return word.len == 0 || *ret_last;
}

/* ---- the end of a chunk ---- */

static void forget(struct smtp_session *s)
{
    buf_free(&s->mail->chunk.text);
    s->mail->chunk = (struct smtp_chunk){ 0 };
}

static void say_taken(struct smtp_session *s, uint64_t octets)
{
    char text[48];

    (void)snprintf(text, sizeof(text), "%llu octets received", (unsigned long long)octets);
    smtp_session_say(s, 250, "2.0.0", slice_cstr(text));
}

static void say_refused(struct smtp_session *s)
{
    struct smtp_chunk c = s->mail->chunk;
    const struct smtp_reply *own = smtp_reply_get(c.fault);
    struct smtp_answer answer = { own->code, own->enhanced, slice_cstr(own->text) };

    s->mail->chunk = (struct smtp_chunk){ 0 };
    if (c.code != 0)
        answer = (struct smtp_answer){ c.code, c.enhanced, buf_slice(&c.text) };
    if (c.last && (c.ends || s->awaits_last))
        smtp_session_verdict(s, &answer); /* RFC 2033 4.3: behind LAST one for each recipient */
    else
        smtp_session_refuse(s, &answer);
    buf_free(&c.text);
    if (c.ends || c.last)
        s->awaits_last = s->lmtp && !c.last;
    if (c.ends)
        smtp_session_drop_transaction(s);
}

/* Its octets are read and dropped from here on; behind its reply the transaction is over. */
static void fail(struct smtp_session *s, enum smtp_reply_id fault)
{
    struct smtp_chunk *c = &s->mail->chunk;
    bool to_nobody = c->last && fault == SMTP_REPLY_NEED_RCPT_LMTP;

    c->fault = fault;
    c->refused = true;
    c->ends = to_nobody || (fault != SMTP_REPLY_NOT_IMPLEMENTED &&
                            (s->state == SMTP_STATE_RCPT || s->state == SMTP_STATE_BDAT));
}

static void end_chunk(struct smtp_session *s)
{
    struct smtp_chunk c = s->mail->chunk;

    if (c.refused) {
        say_refused(s);
        return;
    }
    forget(s);
    if (c.last) {
        smtp_intake_end(s);
        return;
    }
    if (c.octets > 0)
        s->command_count--; /* like DATA: what brings mail is not counted */
    say_taken(s, c.octets);
}

/* ---- its octets ---- */

static void take(struct smtp_session *s, struct slice octets)
{
    struct smtp_intake *in = &s->mail->intake;
    enum smtp_reply_id fault;

    if (!in->binary)
        smtp_data_check(&in->reader, octets);
    smtp_intake_take(s, octets);
    if (s->state == SMTP_STATE_CLOSING)
        return; /* on_body ended the session */
    if (s->mail->chunk.left == 0 && s->mail->chunk.last)
        smtp_intake_close(s);
    fault = smtp_intake_verdict(s);
    if (s->mail->chunk.left == 0 && fault != SMTP_REPLY_OK)
        fail(s, fault);
}

void smtp_chunk_read(struct smtp_session *s, struct slice *input)
{
    size_t len = input->len < s->mail->chunk.left ? input->len : (size_t)s->mail->chunk.left;
    struct slice octets = slice_head(*input, len);

    assert(s->mail->chunk.open);
    s->progress |= len > 0;
    s->mail->chunk.left -= len;
    s->mail_octets += len;
    *input = slice_from(*input, len);
    if (!s->mail->chunk.refused)
        take(s, octets);
    if (s->mail->chunk.left == 0 && s->state != SMTP_STATE_CLOSING)
        end_chunk(s);
}

/* An empty chunk is at its end already. */
static void begin_chunk(struct smtp_session *s)
{
    struct slice none = SLICE("");

    if (s->mail->chunk.left == 0)
        smtp_chunk_read(s, &none);
}

/* ---- the command ---- */

static enum smtp_reply_id check(struct smtp_session *s, bool well_formed)
{
    const struct smtp_intake *in = &s->mail->intake;
    uint64_t have = s->state == SMTP_STATE_BDAT ? in->octets : 0;

    if ((smtp_session_extensions(s) & SMTP_EXT_CHUNKING) == 0)
        return SMTP_REPLY_NOT_IMPLEMENTED;
    if (smtp_needs_tls(s, SMTP_VERB_BDAT))
        return SMTP_REPLY_NEED_TLS;
    if (smtp_state_next(s->state, SMTP_VERB_BDAT) == SMTP_STATE_REFUSED)
        return smtp_session_out_of_order(s, SMTP_VERB_BDAT);
    if (!well_formed)
        return SMTP_REPLY_BDAT_SYNTAX;
    if (s->limits->message_octets != 0 &&
        (have > s->limits->message_octets || s->mail->chunk.left > s->limits->message_octets - have))
        return SMTP_REPLY_TOO_BIG;
    return SMTP_REPLY_OK;
}

void smtp_cmd_bdat(struct smtp_session *s, const struct smtp_command *c)
{
    uint64_t octets = 0;
    bool last = false, well_formed = parse(c->arg, &octets, &last);

    assert(!smtp_chunk_is_open(s));
    smtp_mail_need(s);
    s->mail->chunk = (struct smtp_chunk){ .open = true, .last = last, .left = octets, .octets = octets };
    enum smtp_reply_id fault = check(s, well_formed);
    if (fault == SMTP_REPLY_OK && s->state == SMTP_STATE_RCPT) {
        smtp_session_ask(s, SMTP_QUESTION_DATA);
        s->ops->on_data(s->owner);
        return;
    }
    if (fault != SMTP_REPLY_OK)
        fail(s, fault);
    begin_chunk(s);
}

void smtp_bdat_answered(struct smtp_session *s, const struct smtp_answer *answer)
{
    struct smtp_chunk *c = &s->mail->chunk;

    if (answer->code == 421) {
        smtp_session_refuse(s, answer);
        return;
    }
    if (smtp_answer_is_refusal(answer)) {
        c->code = answer->code;
        (void)snprintf(c->enhanced, sizeof(c->enhanced), "%s", smtp_answer_enhanced(answer));
        buf_add(&c->text, answer->text);
        c->refused = c->ends = true;
    } else {
        smtp_intake_begin(s);
        smtp_session_move(s, SMTP_STATE_BDAT);
    }
    begin_chunk(s);
}
