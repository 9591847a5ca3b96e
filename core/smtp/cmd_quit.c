/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_quit.c - QUIT (RFC 5321 4.1.1.10): the only command behind which we close. */
#include "smtp/private.h"

void smtp_cmd_quit(struct smtp_session *s, const struct smtp_command *c)
{
    smtp_session_reply(s, SMTP_REPLY_BYE);
    smtp_session_close(s);
}
