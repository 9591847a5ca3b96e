/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A row is a state, a column a command; a hole is REFUSED. MTAs before version 4 send no `data`, and what a
 * negotiation has switched off is passed over, so that header, body and end may follow a recipient at once.
 * An `abort` ends the transaction and not the session: Postfix sends it for RSET and EHLO.
 */
#include "milter/state.h"

#include <assert.h>

#define TO(command, state) [MILTER_##command] = MILTER_STATE_##state
#define ALWAYS(state)      TO(MACROS, state), TO(UNKNOWN, state), TO(QUIT, CLOSING), TO(QUIT_NEW, READY)

static const enum milter_state next_state[MILTER_STATE_COUNT][MILTER_COMMAND_COUNT] = {
    [MILTER_STATE_NEW] = { TO(NEGOTIATE, READY), TO(QUIT, CLOSING) },
    [MILTER_STATE_READY] = { TO(CONNECT, CLIENT), TO(ABORT, READY), ALWAYS(READY) },
    [MILTER_STATE_CLIENT] = { TO(HELO, CLIENT), TO(MAIL, MAIL), TO(ABORT, CLIENT), ALWAYS(CLIENT) },
    [MILTER_STATE_MAIL] = { TO(RCPT, RCPT), TO(ABORT, CLIENT), ALWAYS(MAIL) },
    [MILTER_STATE_RCPT] = { TO(RCPT, RCPT), TO(DATA, DATA), TO(HEADER, HEADER), TO(EOH, BODY), TO(BODY, BODY),
                            TO(END, CLIENT), TO(ABORT, CLIENT), ALWAYS(RCPT) },
    [MILTER_STATE_DATA] = { TO(HEADER, HEADER), TO(EOH, BODY), TO(BODY, BODY), TO(END, CLIENT), TO(ABORT, CLIENT),
                            ALWAYS(DATA) },
    [MILTER_STATE_HEADER] = { TO(HEADER, HEADER), TO(EOH, BODY), TO(BODY, BODY), TO(END, CLIENT), TO(ABORT, CLIENT),
                              ALWAYS(HEADER) },
    [MILTER_STATE_BODY] = { TO(BODY, BODY), TO(END, CLIENT), TO(ABORT, CLIENT), ALWAYS(BODY) },
};

enum milter_state milter_state_next(enum milter_state now, enum milter_command command)
{
    assert(now > MILTER_STATE_REFUSED && now < MILTER_STATE_COUNT);
    assert(command <= MILTER_COMMAND_COUNT);
    return command < MILTER_COMMAND_COUNT ? next_state[now][command] : MILTER_STATE_REFUSED;
}

const char *milter_state_name(enum milter_state state)
{
    static const char *const names[MILTER_STATE_COUNT] = {
        [MILTER_STATE_REFUSED] = "refused", [MILTER_STATE_NEW] = "the negotiation",
        [MILTER_STATE_READY] = "the connect",  [MILTER_STATE_CLIENT] = "a client without a mail",
        [MILTER_STATE_MAIL] = "mail",       [MILTER_STATE_RCPT] = "rcpt",
        [MILTER_STATE_DATA] = "data",       [MILTER_STATE_HEADER] = "header",
        [MILTER_STATE_BODY] = "body",       [MILTER_STATE_CLOSING] = "closing",
    };

    assert(state < MILTER_STATE_COUNT);
    return names[state];
}
