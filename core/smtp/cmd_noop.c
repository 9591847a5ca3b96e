/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_noop.c - NOOP (RFC 5321 4.1.1.9): its argument means nothing. */
#include "smtp/private.h"

void smtp_cmd_noop(struct smtp_session *s, const struct smtp_command *c)
{
    smtp_session_reply(s, SMTP_REPLY_OK);
}
