/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_vrfy.c - VRFY and EXPN (RFC 5321 3.5, 4.1.1.6, 4.1.1.7).
 *
 * VRFY is 252, which tells nobody who lives here and is no lie, or 502 where the listener wants it so (7.3); EXPN
 * is 502. Where the listener says that policy is asked, both are what a step answers, and the same as
 * ever if none does. A transaction is not touched.
 *
 * SMTPUTF8 behind the argument (RFC 6531 3.7.4.2) is taken; no answer needs it, as an address with more than
 * ASCII is given to nobody as an address: 252.
 */
#include <assert.h>

#include "mime/address.h"
#include "smtp/private.h"

static struct slice without_smtputf8(const struct smtp_session *s, struct slice arg)
{
    struct slice word = SLICE(" SMTPUTF8");

    if ((smtp_session_extensions(s) & SMTP_EXT_SMTPUTF8) == 0 || arg.len <= word.len ||
        !slice_equal_nocase(slice_from(arg, arg.len - word.len), word))
        return arg;
    return slice_head(arg, arg.len - word.len);
}

/* Empty if the argument is none. */
static struct tern_mailbox *mailbox_of(struct smtp_session *s, struct slice arg)
{
    struct tern_mailbox *m = ARENA_NEW(&s->memory, struct tern_mailbox);
    struct slice rest = SLICE("");
    bool path = arg.len > 0 && arg.ptr[0] == '<';

    *m = (struct tern_mailbox){ { "", 0 }, { "", 0 }, { "", 0 } };
    int r = path ? address_parse_path(arg, ADDRESS_ALLOW_NO_DOMAIN, &s->memory, m, &rest)
                 : address_parse(arg, ADDRESS_ALLOW_NO_DOMAIN, &s->memory, m);
    if (r < 0 || rest.len > 0)
        *m = (struct tern_mailbox){ { "", 0 }, { "", 0 }, { "", 0 } };
    return m;
}

static void answer_unknown(struct smtp_session *s, bool expand)
{
    smtp_session_reply(s, expand || s->no_vrfy ? SMTP_REPLY_NOT_IMPLEMENTED : SMTP_REPLY_VRFY);
}

void smtp_cmd_vrfy(struct smtp_session *s, const struct smtp_command *c)
{
    bool expand = c->verb == SMTP_VERB_EXPN;

    if (expand ? !s->asks_expn : !s->asks_vrfy) {
        answer_unknown(s, expand);
        return;
    }
    struct slice arg = arena_slice(&s->memory, without_smtputf8(s, c->arg));
    const struct tern_mailbox *m = mailbox_of(s, arg);
    s->expand = expand;
    smtp_session_ask(s, SMTP_QUESTION_VRFY);
    s->ops->on_vrfy(s->owner, expand, arg, m);
}

static void say_found(struct smtp_session *s, const struct smtp_answer *answer)
{
    CLEANUP_BUF struct buf lines = BUF_INIT;
    bool enhanced = (s->withheld & SMTP_EXT_ENHANCED) == 0;

    assert(answer->code / 100 == 2);
    smtp_reply_print_list(&lines, answer->code, enhanced ? smtp_answer_enhanced(answer) : "", answer->text);
    smtp_session_send(s, buf_slice(&lines));
}

void smtp_vrfy_answered(struct smtp_session *s, const struct smtp_answer *answer)
{
    if (smtp_answer_is_refusal(answer))
        smtp_session_refuse(s, answer);
    else if (answer->code != 0)
        say_found(s, answer);
    else
        answer_unknown(s, s->expand);
}
