/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_starttls.c - STARTTLS (RFC 3207), and what a listener that requires TLS asks for.
 *
 * Octets behind the command were sent before its reply, so in the clear, by the client or by
 * someone between. Taken as commands under TLS they would be the attacker's words in the client's
 * mouth (CVE-2011-0411), thrown away they would hide a broken client: the command is refused, and
 * they are read as what they are. What comes in a later packet is no ClientHello and ends
 * the session.
 */
#include <assert.h>

#include "smtp/private.h"

static bool is_offered(const struct smtp_session *s)
{
    return (smtp_session_extensions(s) & SMTP_EXT_STARTTLS) != 0;
}

void smtp_cmd_starttls(struct smtp_session *s, const struct smtp_command *c)
{
    (void)c;
    if (s->secured) {
        smtp_session_reply(s, SMTP_REPLY_TLS_ALREADY);
    } else if (!is_offered(s)) { /* withheld by a step */
        smtp_session_reply(s, SMTP_REPLY_NOT_IMPLEMENTED);
    } else if (s->behind > 0) {
        smtp_session_reply(s, SMTP_REPLY_TLS_NOT_LAST);
    } else if (!s->ops->tls_ready(s->owner)) {
        smtp_session_reply(s, SMTP_REPLY_TLS_NOT_NOW);
    } else {
        smtp_session_reply(s, SMTP_REPLY_START_TLS);
        smtp_session_move(s, SMTP_STATE_TLS);
        if (s->state == SMTP_STATE_TLS)
            s->ops->begin_tls(s->owner);
    }
}

/* RFC 3207 4: HELO, too, as no client that says it could go on to STARTTLS. */
bool smtp_needs_tls(const struct smtp_session *s, enum smtp_verb verb)
{
    if (s->tls != SMTP_TLS_REQUIRED || s->secured || s->state == SMTP_STATE_TURNED_AWAY)
        return false;
    return verb != SMTP_VERB_EHLO && verb != SMTP_VERB_LHLO && verb != SMTP_VERB_NOOP && verb != SMTP_VERB_STARTTLS &&
           verb != SMTP_VERB_QUIT;
}
