/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - packets of the milter protocol, versions 2 to 6: taken apart and put together. Pure.
 *
 * A packet is a length of four octets, one octet that says what it is, and its data (Sendmail's libmilter;
 * no RFC). Numbers are big-endian, strings end with NUL.
 */
#ifndef TERN_MILTER_WIRE_H
#define TERN_MILTER_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

/*
 * The data of one packet from the MTA, with its first octet. A body comes in pieces of 65535 octets; the longest
 * other packet is a header field, of which Postfix sends 100 KB and Sendmail 32 KB.
 */
#define MILTER_PACKET_OCTETS_MAX (1u << 20)
#define MILTER_LENGTH_OCTETS     4

#define MILTER_VERSION_MIN 2
#define MILTER_VERSION_MAX 6

/* What we may do (actions), and what is not to be sent or answered (steps): as they stand in a negotiation. */
enum milter_action {
    MILTER_ADD_HEADERS = 1u << 0,
    MILTER_ADD_RCPT = 1u << 2,
    MILTER_DELETE_RCPT = 1u << 3,
    MILTER_CHANGE_HEADERS = 1u << 4,
    MILTER_QUARANTINE = 1u << 5,
    MILTER_CHANGE_SENDER = 1u << 6,
    MILTER_ADD_RCPT_PARAMS = 1u << 7,
    MILTER_SET_MACROS = 1u << 8,
};
enum milter_step {
    MILTER_NO_BODY = 1u << 4,
    MILTER_NO_HEADERS = 1u << 5,
    MILTER_NO_EOH = 1u << 6,
    MILTER_NO_REPLY_HEADER = 1u << 7,
    MILTER_NO_UNKNOWN = 1u << 8,
    MILTER_NO_DATA = 1u << 9,
    MILTER_NO_REPLY_EOH = 1u << 18,
    MILTER_NO_REPLY_BODY = 1u << 19,
    MILTER_LEADING_SPACE = 1u << 20, /* header values come with the blank behind the colon */
};

enum milter_command {
    MILTER_NEGOTIATE, /* O */
    MILTER_CONNECT,   /* C */
    MILTER_HELO,      /* H */
    MILTER_MAIL,      /* M */
    MILTER_RCPT,      /* R */
    MILTER_DATA,      /* T */
    MILTER_HEADER,    /* L */
    MILTER_EOH,       /* N */
    MILTER_BODY,      /* B */
    MILTER_END,       /* E */
    MILTER_ABORT,     /* A */
    MILTER_MACROS,    /* D */
    MILTER_UNKNOWN,   /* U: a command of SMTP that the MTA does not know */
    MILTER_QUIT,      /* Q */
    MILTER_QUIT_NEW,  /* K: this client is done, another follows on the same connection */
    MILTER_COMMAND_COUNT,
};

struct milter_packet {
    char code; /* as it came, for messages */
    enum milter_command command; /* COUNT: no such command */
    struct slice data;
};

enum milter_parse { MILTER_PARSE_DONE, MILTER_PARSE_MORE, MILTER_PARSE_EMPTY, MILTER_PARSE_TOO_LONG };
/* The packet at the start of `octets`; *ret_octets is how many it takes. */
enum milter_parse milter_packet_parse(struct slice octets, struct milter_packet *ret, size_t *ret_octets);
const char *milter_command_name(enum milter_command command);

/* Each cuts from *rest. False: it is not all there, or a string has no NUL. */
bool milter_take_u32(struct slice *rest, uint32_t *ret);
bool milter_take_string(struct slice *rest, struct slice *ret); /* without its NUL */

struct milter_negotiation {
    uint32_t version, actions, steps;
};
bool milter_parse_negotiation(struct slice data, struct milter_negotiation *ret);

struct milter_connect {
    struct slice host;
    char family; /* U unknown, L unix, 4, 6 */
    unsigned port;
    struct slice address; /* text, or a path; empty with U */
};
bool milter_parse_connect(struct slice data, struct milter_connect *ret);

/* ---- what is sent ---- */

void milter_put(struct buf *out, char code); /* c continue, d discard, p progress ... */
/* A reply with its code. `%` is doubled, as the MTA takes the text for a format; a line end becomes a blank. */
void milter_put_reply(struct buf *out, unsigned code, const char *enhanced, struct slice text);
void milter_put_string(struct buf *out, char code, struct slice text); /* + - e q: an address, a reason */
/* A recipient that is added, with words as they stand behind RCPT TO:<> (NOTIFY=NEVER ORCPT=...). */
void milter_put_rcpt(struct buf *out, struct slice address, struct slice params);
/*
 * i insert at `index`, m change the index-th (from 1) of that name, h add at the end (no index). Line ends of
 * `value` are sent as LF, as MTAs keep them. `leading`: its first blank is sent, too.
 */
void milter_put_header(struct buf *out, char code, uint32_t index, struct slice name, struct slice value, bool leading);
/* Our side of a negotiation. `macros`: pairs of stage and list follow, where the MTA lets us ask for them. */
void milter_put_negotiation(struct buf *out, const struct milter_negotiation *n, bool macros);

#endif
