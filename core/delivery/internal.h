/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what the files of dispatch share; nobody else includes it.
 *
 *     message.c   a due message: load, route, look up, hand its shipments to the scheduler
 *     facts.c     what the policy sees of it
 *     shipment.c  recipients of a message on one path, out and home (shipment.h)
 *     path.c      a route made into endpoints, and the name of its site
 *     encrypt.c   which TLS a connection gets
 *     link.c      a slot of a site: a connection, shipments one after another
 *     notice.c    the bounce of a visit, through the policy `generated`
 *     transport.c the same for transports of modules, on the pool
 *     owed.c      one whose sender has no report yet
 *     outcome.c   what became of recipients: durable, told, logged; notices to senders
 *     dispatch.c  the posts between the scheduler's thread, the spool's and the loops
 *
 * A message and its shipments belong to the loop that prepared it. While a shipment is with a link,
 * which may be of another loop, that loop owns its outcomes and only reads the message.
 */
#ifndef TERN_DELIVERY_INTERNAL_H
#define TERN_DELIVERY_INTERNAL_H

#include <pthread.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/table.h"
#include "delivery/client.h"
#include "delivery/dispatch.h"
#include "delivery/path.h"
#include "delivery/shipment.h"
#include "module/port.h"
#include "net/conn.h"
#include "state/envelope.h"

#define VISIT_RCPTS_MAX       1000 /* recipients of a message routed in one visit */
#define OUTCOME_TEXT_MAX      512
#define UNDURABLE_WAIT_MS     1000u /* before an outcome is written again; doubles */
#define UNDURABLE_WAIT_MAX_MS 30000u
#define BUSY_WAIT_MS          (30u * 60000u) /* of one turned away; it is woken sooner */
#define NOTICE_WAIT_MS        (15u * 60000u) /* before a notice that was not taken is made again */

struct message;
struct link;

struct dispatch_set {
    struct dispatch_set_options options;
    char *hostname;
    tern_address *own; /* "every address" is replaced by those of the machine */
    unsigned own_count;
    struct scheduler *scheduler;
    struct dispatch **dispatches; /* options.loops */
    pthread_mutex_t lock;         /* over what follows */
    unsigned undurable;
    struct table shares;  /* type of a module's transport -> how many run in the pool */
    struct table unknown; /* policies that are gone: logged once */
    struct tls_client *tls_any; /* of tls: may and required; NULL until it is needed */
    struct table tls_broken;    /* endpoint -> until when: encrypt.c */
    _Atomic uint64_t message_count, link_count;
    _Atomic bool paused; /* undurable > 0: links carry nothing more */
};

struct dispatch {
    struct dispatch_set *set;
    unsigned index;
    struct loop *loop;
    struct engine *engine;
    struct dns *dns;
    struct port *port;
    struct list messages, links;
    struct table paths;           /* key of a route -> struct path */
    const void *paths_generation; /* they are of this one */
    uint64_t paths_since_ms;
    bool tidying;
    struct table dead; /* endpoint -> struct dead_endpoint */
    struct loop_timer tidy;
    unsigned rotation;
    bool draining;
    void (*drained)(void *arg);
    void *drained_arg;
};

/* ---- messages ---- */

enum fate {
    FATE_OPEN, /* not tried in this visit */
    FATE_DELIVERED,
    FATE_DEFERRED,
    FATE_FAILED,
    FATE_DISCARDED,
};

enum outcome_job {
    JOB_PARTIAL, /* some were delivered while shipments are out */
    JOB_FINAL,   /* the rest of the visit, with its notice */
    /* hook `deliver` wants it held: a job of its own, as a unit changes a message once */
    JOB_HOLD,
};

/* One pending recipient in this visit. */
struct delivery_rcpt {
    uint32_t index; /* in the envelope */
    enum fate fate;
    bool in_job; /* its outcome is on its way to the disk */
    bool stored; /* durable */
    bool owes;   /* the outcome on its way is: delivered, and the sender is to be told (owed.h) */
    bool owed;   /* that is durable */
    bool owes_delay; /* the outcome on its way is: deferred, and the sender is to hear of the delay */
    bool late;   /* that is durable, since an earlier visit */
    bool told, expired; /* told: log and policy know */
    enum handed handed;
    char enhanced[12];
    struct slice text; /* "550 5.1.1 No such user"; the message's memory */
    struct slice host; /* who said so; empty: ourselves */
    struct slice tried; /* what hosts before that one said; empty: there were none */
    struct slice tls;  /* of the connection by which it was said; empty: none */
    struct metric *took; /* of its transport; NULL: nobody tried */
};

/* A message between prepare() and its durable outcome: one visit. */
struct message {
    struct list link;
    struct dispatch *dispatch;
    struct spool_entry entry;
    char id[SPOOL_ID_TEXT_MAX];
    struct spool_loaded *loaded;
    struct shared_arena *memory;
    struct envelope envelope;
    struct dispatch_generation generation;
    const struct policy *policy;
    struct txn_facts *txn;
    struct engine_delivery *delivery;
    struct delivery_rcpt *rcpts;
    unsigned rcpt_count;
    unsigned open_count;         /* the first of them; the others are owed a report from before */
    unsigned unvisited;          /* pending recipients beyond VISIT_RCPTS_MAX */
    bool must_hold, busy, again; /* some shipment came back so */
    bool hold_over;              /* this visit ends an expired hold: nobody is delivered to */
    struct slice hold_reason;
    struct spool_rcpt_change hold_change; /* its text is as held.h has it */
    /* preparing */
    unsigned ways_open;
    struct list ways, chunks;
    bool asking, in_chunks, prepared;

    struct list shipments; /* not yet home */

    /* outcome */
    struct spool_job job;
    struct port_item job_item;
    struct spool_change change;
    struct spool_rcpt_change *rcpt_changes;
    struct notice *notice;
    enum outcome_job job_kind;
    bool job_active, is_undurable, is_waiting, decided, too_old;
    bool attempt_stored; /* all outcomes of the visit are durable; what is left is to hold it */
    uint64_t undurable_wait_ms;
    struct loop_timer retry;
    uint64_t due_ms;
    uint64_t decided_ms; /* wall */
    uint32_t attempts;
};

void delivery_message_prepare(struct dispatch *d, const struct spool_entry *entry);
void delivery_message_free(struct message *m); /* its shipments, too; the scheduler is not told */
/* What the policy sees: m->txn filled in, and a new session. */
struct txn_facts *delivery_txn_facts(struct message *m);
struct session_facts *delivery_session_facts(struct message *m);
void delivery_rcpt_settle(struct message *m, struct delivery_rcpt *r, enum fate fate, unsigned code,
                          const char *enhanced, struct slice text);

/* ---- links ---- */

void delivery_link_open(struct dispatch *d, struct site *site, struct shipment *first);
/* The answer to a pull. */
void delivery_link_parcels(struct link *link, struct list *parcels);
void delivery_links_close(struct dispatch *d); /* at once, nobody is told: the end of the server */
/* nothing new; each closes after what it carries now */
void delivery_links_drain(struct dispatch *d);
void delivery_link_carried(struct link *link); /* the shipment of a module's transport is settled */
struct dispatch *delivery_link_dispatch(const struct link *link);

/* ---- transports of modules ---- */

struct tern_delivery;
void delivery_module_init(void); /* gives the modules' API table its functions */
/* Carries the shipment on the pool, then calls delivery_link_carried(). 0, or -EAGAIN: the pool
 * is full. */
int delivery_module_start(struct link *link, struct shipment *s, struct tern_delivery **ret);
/* its outcome is of no interest any more */
void delivery_module_abandon(struct tern_delivery *delivery);

/* ---- outcomes ---- */

/* Does the next thing for the outcome of the visit; in the end it frees the message. */
void delivery_outcome_advance(struct message *m);
void delivery_outcome_free(struct message *m);

void delivery_check_drained(struct dispatch *d);
/* The set's count of messages whose outcome is not durable; pauses and unpauses the scheduler. */
void delivery_undurable(struct dispatch_set *set, bool more);

#endif
