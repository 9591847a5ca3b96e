/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_rset.c - RSET (RFC 5321 4.1.1.5): drops the transaction, keeps EHLO. */
#include "smtp/private.h"

void smtp_cmd_rset(struct smtp_session *s, const struct smtp_command *c)
{
    smtp_session_drop_transaction(s);
    smtp_session_reply(s, SMTP_REPLY_OK);
}
