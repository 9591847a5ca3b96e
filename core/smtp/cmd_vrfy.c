/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_vrfy.c - VRFY: 252, or 502 where the listener wants it so (RFC 5321 3.5.3, 7.3). Who lives here is
 * not told to strangers, and 252 says so without lying. EXPN is 502 altogether.
 */
#include "smtp/private.h"

void smtp_cmd_vrfy(struct smtp_session *s, const struct smtp_command *c)
{
    smtp_session_reply(s, s->no_vrfy ? SMTP_REPLY_NOT_IMPLEMENTED : SMTP_REPLY_VRFY);
}
