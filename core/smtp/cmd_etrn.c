/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_etrn.c - ETRN (RFC 1985): a client asks that the mail that waits for its domain be sent now.
 *
 * "@domain" means those below it, too. "#queue" names a queue, of which we have but one: 458. Who may ask, and
 * what is done, is the owner's; it is done behind the reply, so that nobody learns what is queued.
 */
#include <errno.h>

#include "mime/domain.h"
#include "smtp/private.h"

void smtp_cmd_etrn(struct smtp_session *s, const struct smtp_command *c)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    bool below = c->arg.len > 0 && c->arg.ptr[0] == '@';
    tern_str domain;
    int r;

    if ((smtp_session_extensions(s) & SMTP_EXT_ETRN) == 0) {
        smtp_session_reply(s, s->etrn ? SMTP_REPLY_ETRN_FORBIDDEN : SMTP_REPLY_NOT_IMPLEMENTED);
        return;
    }
    if (c->arg.len > 0 && c->arg.ptr[0] == '#') {
        smtp_session_reply(s, SMTP_REPLY_ETRN_CANNOT);
        return;
    }
    if (domain_parse(slice_from(c->arg, below ? 1 : 0), false, &s->memory, &domain) < 0) {
        smtp_session_reply(s, SMTP_REPLY_ETRN_SYNTAX);
    } else {
        r = s->ops->on_etrn(s->owner, slice_of(domain), below);
        buf_printf(&text, "Queuing for %s started", domain.ptr);
        if (r == 0)
            smtp_session_say(s, 250, "2.0.0", buf_slice(&text));
        else
            smtp_session_reply(s, r == -EACCES ? SMTP_REPLY_ETRN_FORBIDDEN : SMTP_REPLY_ETRN_CANNOT);
    }
    arena_fini(&s->memory);
}
