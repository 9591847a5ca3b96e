/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shipment.h - recipients of one message on one path. Inside delivery/ only.
 */
#ifndef TERN_DELIVERY_SHIPMENT_H
#define TERN_DELIVERY_SHIPMENT_H

#include "base/buf.h"
#include "delivery/client.h"
#include "delivery/path.h"
#include "module/port.h"
#include "queue/scheduler.h"

#define SHIPMENT_HOSTS_MAX 10 /* endpoints a message is brought to in one visit */

struct message;

/* Who has to say that it was delivered, where the sender asked for that (RFC 3461 5.2). */
enum handed {
    HANDED_OVER,     /* we: it is in the mailbox */
    HANDED_ON,       /* we: it went to a server that knows nothing of it (`relayed`) */
    HANDED_WITH_DSN, /* the next server, which was told */
};

struct shipment_outcome {
    unsigned code; /* 0: none */
    char enhanced[12];
    uint32_t text_at, text_len; /* in shipment.texts */
    bool own;
    enum handed handed;
};

/* delivery's side of a parcel. */
struct shipment {
    struct port_item item; /* home to its message's loop */
    struct list link;      /* message.shipments */
    struct list queued;    /* link.shipments */
    struct parcel parcel;
    struct message *message;
    struct path *path;
    uint32_t *rcpts; /* indices in message.rcpts */
    struct shipment_outcome *outcomes;
    unsigned rcpt_count, offered; /* offered: the first of them are in the transaction; 0: there is none */
    unsigned drops; /* drops: fresh connections that ended before they had it */
    enum parcel_back back; /* not CARRIED: nobody tried */
    bool stale, retried;
    uint64_t tried;   /* endpoints of the path that put these off in this visit: a bit (1 << index) each */
    uint64_t visited; /* those that it was sent to */
    struct buf texts;
    size_t unreached_len; /* the first of the texts: of hosts that did not answer, where `tried` is not empty */
    char host[320];
    char tls[CLIENT_TLS_TEXT_MAX];
};

/* Home from a link, or from the scheduler (shipment->back). Loop of the message. */
void delivery_message_returned(struct shipment *s);
/* One more shipment of the message; `rcpts` are indices in m->rcpts. */
struct shipment *delivery_shipment_new(struct message *m, struct path *path, const uint32_t *rcpts,
                                       unsigned count);
void delivery_shipment_free(struct shipment *s);
/* Hands the shipment back to the loop of its message. */
void delivery_shipment_home(struct shipment *s, struct dispatch *from);
void delivery_shipment_outcome(struct shipment *s, unsigned index, unsigned code,
                               const char *enhanced, struct slice text, bool own);
/* The same for all recipients that have none, here or from a host that put them off before. */
void delivery_shipment_defer(struct shipment *s, unsigned code, const char *enhanced,
                             struct slice text);
/* The bits of `tried` of an endpoint, of whichever path. */
uint64_t delivery_shipment_bits(const struct shipment *s, const struct endpoint *e);
/* A host that these were to be brought to besides those that put them off, and why it was not done. */
void delivery_shipment_unreached(struct shipment *s, struct slice why);

#endif
