/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - the transition table.
 *
 * A row is a state, a column a verb; a hole is SMTP_STATE_REFUSED, so a verb is forbidden
 * until someone writes down where it leads. CONNECTED, AUTH, DATA, TLS and CLOSING have no row: no
 * command is read in them. Verbs we do not implement have no column: they are 502 in any state.
 *
 * Sources: RFC 5321 3.1, 3.3, 4.1.4 (order of commands), 4.3; RFC 2033 4.1; RFC 3207 4; RFC 3030 section 2 (DATA
 * and BDAT do not mix).
 */
#include "smtp/state.h"

#include <assert.h>

#define TO(verb, state) [SMTP_VERB_##verb] = SMTP_STATE_##state
/* Which of them belong to this session, SMTP or LMTP, is looked at before. */
#define GREETINGS TO(EHLO, READY), TO(HELO, READY), TO(LHLO, READY)
/* What may be asked at any time (4.1.4), and what ends it all. */
#define ANY_TIME(state) TO(NOOP, state), TO(VRFY, state), TO(EXPN, state), TO(HELP, state), TO(QUIT, CLOSING)

/* Between two transactions; XCLIENT is behind it where a session begins. */
#define FOR_ANOTHER(state) TO(XCLIENT, GREETED), TO(XFORWARD, state)

static const enum smtp_state next_state[SMTP_STATE_COUNT][SMTP_VERB_COUNT] = {
    [SMTP_STATE_TURNED_AWAY] = { TO(QUIT, CLOSING) },
    [SMTP_STATE_GREETED] = { GREETINGS, TO(RSET, GREETED), FOR_ANOTHER(GREETED), ANY_TIME(GREETED) },
    [SMTP_STATE_READY] = { GREETINGS, FOR_ANOTHER(READY), TO(STARTTLS, TLS), TO(MAIL, MAIL), TO(RSET, READY),
                           TO(AUTH, READY), TO(ETRN, READY), ANY_TIME(READY) },
    [SMTP_STATE_MAIL] = { GREETINGS, TO(RCPT, RCPT), TO(RSET, READY),
                          ANY_TIME(MAIL) },
    [SMTP_STATE_RCPT] = { GREETINGS, TO(RCPT, RCPT), TO(DATA, DATA), TO(BDAT, BDAT),
                          TO(RSET, READY), ANY_TIME(RCPT) },
    [SMTP_STATE_BDAT] = { GREETINGS, TO(BDAT, BDAT), TO(RSET, READY), ANY_TIME(BDAT) },
};

enum smtp_state smtp_state_next(enum smtp_state now, enum smtp_verb verb)
{
    assert(now > SMTP_STATE_REFUSED && now < SMTP_STATE_COUNT);
    assert(verb < SMTP_VERB_COUNT);
    return next_state[now][verb];
}

const char *smtp_state_name(enum smtp_state state)
{
    static const char *const names[SMTP_STATE_COUNT] = {
        [SMTP_STATE_REFUSED] = "refused",
        [SMTP_STATE_CONNECTED] = "connected",
        [SMTP_STATE_TURNED_AWAY] = "turned-away",
        [SMTP_STATE_GREETED] = "greeted",
        [SMTP_STATE_READY] = "ready",
        [SMTP_STATE_AUTH] = "auth",
        [SMTP_STATE_MAIL] = "mail",
        [SMTP_STATE_RCPT] = "rcpt",
        [SMTP_STATE_DATA] = "data",
        [SMTP_STATE_BDAT] = "bdat",
        [SMTP_STATE_TLS] = "tls",
        [SMTP_STATE_CLOSING] = "closing",
    };

    assert(state < SMTP_STATE_COUNT);
    return names[state];
}
