/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_help.c - HELP (RFC 5321 4.1.1.8): one list, whatever is asked for. */
#include "smtp/private.h"

void smtp_cmd_help(struct smtp_session *s, const struct smtp_command *c)
{
    bool offered = (smtp_session_extensions(s) & SMTP_EXT_HELP) != 0;

    smtp_session_reply(s, offered ? SMTP_REPLY_HELP : SMTP_REPLY_NOT_IMPLEMENTED);
}
