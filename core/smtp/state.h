/* SPDX-License-Identifier: Apache-2.0 */
/* state.h - the states of a session and which verb leads where. Pure. */
#ifndef TERN_SMTP_STATE_H
#define TERN_SMTP_STATE_H

#include "smtp/command.h"

enum smtp_state {
    SMTP_STATE_REFUSED,     /* not a state: the hole in the table */
    SMTP_STATE_CONNECTED,   /* before the banner: no command is read */
    SMTP_STATE_TURNED_AWAY, /* 554 instead of a banner: only QUIT is left (RFC 5321 3.1) */
    SMTP_STATE_GREETED,     /* banner sent */
    SMTP_STATE_READY,       /* EHLO or HELO done, no transaction */
    SMTP_STATE_AUTH,        /* behind 334: a line is an answer to it, no command */
    SMTP_STATE_MAIL,        /* a sender, no recipient yet */
    SMTP_STATE_RCPT,        /* at least one recipient */
    SMTP_STATE_DATA,        /* behind 354: lines are mail */
    SMTP_STATE_BDAT,        /* some chunks of the mail are here, the last one is not */
    SMTP_STATE_TLS,         /* a handshake: nothing is read or said until smtp_session_secured() */
    SMTP_STATE_CLOSING,     /* nothing is read or said any more */
    SMTP_STATE_COUNT,
};

/* The state behind a positive reply to `verb`, or SMTP_STATE_REFUSED: it may not come now. */
enum smtp_state smtp_state_next(enum smtp_state now, enum smtp_verb verb);
const char *smtp_state_name(enum smtp_state state);

#endif
