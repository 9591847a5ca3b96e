/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_help.c - HELP (RFC 5321 4.1.1.8): one list, whatever is asked for. */
#include "smtp/private.h"

void smtp_cmd_help(struct smtp_session *s, const struct smtp_command *c)
{
    smtp_session_reply(s, SMTP_REPLY_HELP);
}
