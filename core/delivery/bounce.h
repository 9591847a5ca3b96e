/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bounce.h - the notice that tells a sender what became of the recipients, as octets.
 *
 * Pure: no socket, no clock. multipart/report of RFC 6522 with message/delivery-status of RFC 3464;
 * with SMTPUTF8 the internationalized forms of RFC 6533. Whatever the texts hold, the
 * result is a well-formed message: CRLF line ends, no line over 998 octets, ASCII only
 * unless `smtputf8` or the original is returned whole and is not, a boundary that occurs nowhere else.
 */
#ifndef TERN_DELIVERY_BOUNCE_H
#define TERN_DELIVERY_BOUNCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

#define BOUNCE_HEADERS_MAX    65536 /* octets of the original's header block that are returned */
#define BOUNCE_FULL_MAX       262144 /* octets of an original that is returned whole (RET=FULL) */
#define BOUNCE_TEXT_MAX       1000  /* octets of one diagnostic text, after escaping */
#define BOUNCE_RCPTS_MAX      1000  /* named one by one; more are counted */

enum bounce_action {
    BOUNCE_FAILED,  /* given up */
    BOUNCE_DELAYED, /* still being tried */
    BOUNCE_DELIVERED, /* in the mailbox (RFC 3461: NOTIFY=SUCCESS) */
    BOUNCE_RELAYED,   /* handed to a server that will not tell (RFC 3461 5.2.2) */
};

struct bounce_rcpt {
    struct slice address;    /* local@domain as delivery last used it */
    struct slice original;   /* as the sender gave it; empty: the same */
    enum bounce_action action;
    struct slice status;     /* "5.1.1"; what does not fit the action becomes X.0.0 */
    struct slice diagnostic; /* "550 5.1.1 No such user" */
    /* who said so: "mx.example[192.0.2.1]:25", "[192.0.2.1]:25", a socket's path, or the name of a
     * transport of ours; empty: ourselves */
    struct slice remote_mta;
    struct slice orcpt;      /* ORCPT as it came, "type;xtext"; empty: `original` stands for it */
};

struct bounce {
    struct slice hostname;   /* of this server */
    struct slice queue_id;   /* of the original */
    struct slice envid;      /* ENVID as it came, xtext; empty: none */
    struct slice notice_id;  /* queue id of the notice: makes its Message-ID unique */
    struct slice sender;     /* of the original; never empty (RFC 5321 6.1) */
    uint64_t arrival_wall_ms;
    uint64_t now_wall_ms;
    uint64_t retry_until_wall_ms; /* for delayed ones; 0: not said */
    bool smtputf8;           /* the original needed it: texts and addresses may be UTF-8 */
    struct slice headers;    /* of the original, up to the empty line or end */
    struct slice full;       /* the original, if it is returned whole; bounce_may_return() it */
    const struct bounce_rcpt *rcpts;
    unsigned rcpt_count;     /* at least 1 */
};

/*
 * Whether an original can be returned whole: not above BOUNCE_FULL_MAX, and well-formed lines of at
 * most 998 octets. *ret_eight_bit: the notice then needs 8BITMIME.
 */
bool bounce_may_return(struct slice original, bool *ret_eight_bit);
/* Appends the notice to `out`. To be sent with the null reverse-path to `sender`. */
void bounce_compose(const struct bounce *bounce, struct buf *out);

#endif
