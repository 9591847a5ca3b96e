/* SPDX-License-Identifier: Apache-2.0 */
/* state.h - what the MTA may send when: one table, a pure function. */
#ifndef TERN_MILTER_STATE_H
#define TERN_MILTER_STATE_H

#include "milter/wire.h"

enum milter_state {
    MILTER_STATE_REFUSED, /* not a state: the command may not come */
    MILTER_STATE_NEW,     /* nothing is negotiated */
    MILTER_STATE_READY,   /* no client yet */
    MILTER_STATE_CLIENT,  /* connected, greeted or not; no transaction */
    MILTER_STATE_MAIL,
    MILTER_STATE_RCPT,
    MILTER_STATE_DATA,
    MILTER_STATE_HEADER,
    MILTER_STATE_BODY,    /* behind the end of the header */
    MILTER_STATE_CLOSING,
    MILTER_STATE_COUNT,
};

/* Where a command leads; REFUSED: it may not come. */
enum milter_state milter_state_next(enum milter_state now, enum milter_command command);
const char *milter_state_name(enum milter_state state);

#endif
