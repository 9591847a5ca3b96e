/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protocol.h - lines of Dovecot's auth client protocol: what the server says, and what may go into a line of
 * ours. Pure.
 *
 *   words are separated by TAB, a line ends in LF; inside a word \001 and 0, 1, t, r, n stand for NUL, \001,
 *   TAB, CR, LF. What clients of ours say goes in base64 only, so that no octet of it can end a word.
 *
 * Source: Dovecot's page "Authentication Protocol v1.2".
 */
#ifndef AUTH_DOVECOT_PROTOCOL_H
#define AUTH_DOVECOT_PROTOCOL_H

#include <tern/module.h>

#define DOVECOT_LINE_OCTETS_MAX 16384 /* of the server */
/* Of ours: Dovecot hangs up at 8192, and all that is under way would go with the one that is too long. */
#define DOVECOT_REQUEST_OCTETS_MAX 8000
#define DOVECOT_CHALLENGE_OCTETS_MAX 8192 /* decoded */
#define DOVECOT_USER_OCTETS_MAX    255

enum dovecot_word {
    DOVECOT_OTHER, /* to be ignored, as the protocol has it */
    DOVECOT_VERSION,
    DOVECOT_MECH,
    DOVECOT_DONE,
    DOVECOT_OK,
    DOVECOT_CONT,
    DOVECOT_FAIL,
};

struct dovecot_line {
    enum dovecot_word word;
    unsigned number;    /* VERSION: major; OK, CONT, FAIL: the id of the exchange */
    tern_str name;      /* MECH: the mechanism */
    tern_str user;      /* OK: unescaped; never empty there */
    tern_str challenge; /* CONT: decoded */
    bool temporary;     /* FAIL: nobody knows whether the password is right */
    bool no_login;      /* OK: right, but this user may not log in */
};

/*
 * Takes a line (without its LF) apart; unescapes and decodes in place, so what it returns lies in `line`. 0,
 * or -EINVAL: this is not the protocol.
 */
int dovecot_parse(char *line, size_t octets, struct dovecot_line *ret);

#endif
