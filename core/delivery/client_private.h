/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_private.h - what the files of the client share.
 *
 *   client.c              life, connection, greeting, time-outs, the end
 *   client_open.c         the greeting, EHLO, and what comes before the first message
 *   client_tls.c          STARTTLS and implicit TLS
 *   client_auth.c         AUTH
 *   client_keys.c         keys of SCRAM, made by the pool
 *   client_forward.c      XFORWARD
 *   client_transaction.c  MAIL to the last reply
 *   client_needs.c        whether a message needs 8BITMIME or SMTPUTF8
 *   client_scan.c         where it has octets above 127 (pure)
 *   client_body.c         the octets of the message
 *   client_reply.c        reads replies (pure)
 *
 * Every command that is written puts what it expects into one queue, and a reply
 * is only ever taken for the head of it. A reply whose first octet was read before its command
 * was written belongs to nothing: the peer is out of step and the connection ends.
 */
#ifndef TERN_DELIVERY_CLIENT_PRIVATE_H
#define TERN_DELIVERY_CLIENT_PRIVATE_H

#include "base/buf.h"
#include "delivery/client.h"
#include "delivery/client_reply.h"
#include "delivery/client_scan.h"
#include "module/pool.h"
#include "module/port.h"
#include "net/conn.h"
#include "sasl/client.h"

#define CLIENT_COMMAND_MAX 2048  /* octets of a command; longer addresses are refused here */
#define CLIENT_CHUNK       32768 /* octets of the message read at once */
#define CLIENT_BURST       (1024 * 1024) /* octets sent before other work gets its turn */
#define CLIENT_QUIT_MS     5000          /* at most so long for the octets of QUIT to leave */
#define CLIENT_KEYS_KEPT   64            /* salted passwords of this process */
#define CLIENT_KEYS_PARALLEL 2           /* threads of the pool that make some */

enum client_expect_kind {
    EXPECT_GREETING,
    EXPECT_HELLO, /* EHLO, LHLO */
    EXPECT_HELO,
    EXPECT_STARTTLS,
    EXPECT_AUTH, /* the last one before CLIENT_READY */
    EXPECT_RSET,
    EXPECT_FORWARD,
    EXPECT_MAIL,
    EXPECT_RCPT,
    EXPECT_DATA,
    EXPECT_DOT,
    EXPECT_LONE_DOT, /* of a message to nobody */
    EXPECT_COUNT,
};

struct client_expect {
    enum client_expect_kind kind;
    unsigned rcpt;  /* RCPT; DOT of LMTP */
    uint64_t after; /* reads of the connection when the command was written */
};

enum client_state {
    CLIENT_CONNECTING,
    CLIENT_SECURING, /* the handshake of TLS */
    CLIENT_GREETING, /* up to the last reply before the first message */
    CLIENT_READY,    /* between messages */
    CLIENT_BUSY,     /* has a message */
    CLIENT_ENDED,    /* on_end was called or the owner let go */
};

enum client_rcpt_state {
    RCPT_OPEN,
    RCPT_BAD,      /* its address cannot be sent; settled with the reply to MAIL */
    RCPT_ACCEPTED, /* by RCPT, not yet by the end of data */
    RCPT_SETTLED,
};

enum client_step { STEP_RSET, STEP_FORWARD, STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_WRITTEN };

/* Dot stuffing (RFC 5321 4.5.2), whatever the pieces. Begins zeroed. */
struct client_dot {
    enum { DOT_LINE_START, DOT_INSIDE, DOT_AFTER_CR } state;
};
void client_dot_add(struct client_dot *dot, struct slice octets, struct buf *out);
/* Adds a last CRLF where it is missing, and the dot. */
void client_dot_end(struct client_dot *dot, struct buf *out);

struct client_transaction {
    const struct client_message *message;
    unsigned char *rcpts; /* enum client_rcpt_state of each */
    unsigned accepted;
    enum client_step step;
    unsigned next_rcpt;
    bool mail_ok;
    bool sending;    /* the body */
    bool chunking;   /* by BDAT, not DATA */
    unsigned refuse; /* code of a refusal of our own, before anything is said; 0: none */
    bool looking;    /* whether the message needs what is not offered */
    bool ascii;      /* it does not */
    bool body_only;  /* it needs 8BITMIME, and not SMTPUTF8 */
    struct client_scan scan;
    uint64_t looked; /* octets of it */
    struct client_dot dot;
    uint64_t offset;
    char *chunk;
};

struct client {
    struct loop *loop;
    const struct client_ops *ops;
    void *owner;
    enum client_protocol protocol;
    char *host, *helo;
    uint64_t connect_ms, command_ms, data_ms;
    enum client_state state;
    struct conn *conn;
    int connect_error;
    struct loop_timer timer; /* of what is awaited */
    struct loop_timer later; /* work put off to the next turn of the loop */
    struct client_parser parser;
    struct client_features features;
    const struct client_auth *auth;
    struct sasl_client sasl; /* while AUTH is under way */
    struct buf first_response;
    struct buf auth_said; /* what AUTH said last, in base64: a reply may repeat it */
    bool in_auth;
    struct pool *pool; /* NULL: none */
    struct port *port;
    struct client_keys *keys; /* are being made */
    bool first_waits; /* first_response did not go along with AUTH */
    bool chunking, forward;
    enum client_tls tls;
    struct tls_client *tls_client;
    char *tls_sni, *tls_name, *tls_key;
    uint64_t tls_ms;
    bool tls_implicit;
    bool tls_refused;  /* by the server, or given up before: it goes on in clear */
    bool tls_due;      /* after 220 */
    bool tls_on;       /* the handshake has begun: the socket's octets are nobody's but TLS's */
    bool encrypted;    /* it is over */
    bool verified;     /* and who is there has a good certificate for the name we asked for */
    bool tls_unproven; /* nothing has come through it yet */
    struct client_expect *queue;
    unsigned queue_first, queue_count, queue_size;
    uint64_t reads, reply_read;
    bool needs_rset;
    bool dead;       /* freed by the owner while we are at work */
    unsigned busy;   /* calls on the stack */
    struct buf text; /* of the reply that is handed out */
    struct client_transaction t;
};

/* ---- client.c ---- */

void client_expect(struct client *c, enum client_expect_kind kind, unsigned rcpt);
void client_command(struct client *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Sets the time-out of what is awaited now. */
void client_arm(struct client *c);
/* A reply of our own. Lives until the next reply is made. */
struct client_reply client_own(struct client *c, unsigned code, const char *enhanced,
                               const char *format, ...) __attribute__((format(printf, 4, 5)));
/* client_auth_salted(), from outside of any call of ours. */
void client_salted(struct client *c, const unsigned char *salted);
/* Settles all that is open with `reply`, closes, and tells the owner. */
void client_end(struct client *c, const struct client_reply *reply);

/* ---- client_open.c ---- */

/* A reply to a command before the first message. */
void client_open_reply(struct client *c, struct client_expect expect,
                       const struct client_reply *reply);
void client_open_greeting(struct client *c);
void client_open_hello(struct client *c);
/* What comes behind EHLO: TLS, AUTH, or nothing more. */
void client_open_go_on(struct client *c);
/* The server knows who we are, or need not. */
void client_open_done(struct client *c);

/* ---- client_tls.c ---- */

void client_tls_options(struct client *c, const struct client_options *options);
void client_tls_free(struct client *c);
/* Whether STARTTLS comes next; client_tls_ask() then. */
bool client_tls_wanted(struct client *c);
void client_tls_ask(struct client *c);
void client_tls_reply(struct client *c, const struct client_reply *reply);
void client_tls_begin(struct client *c);
void client_tls_secured(struct client *c);
/* A reply in a transaction: it is refused for want of the TLS that did not come about. */
bool client_tls_missed(const struct client *c, const struct client_reply *reply);
/* Ends the client, for TLS's sake. */
void client_tls_fail(struct client *c, const char *status, const char *text);
void client_tls_lost(struct client *c, const char *why);

/* ---- client_auth.c ---- */

/* Ends in client_open_done() or client_end(). */
void client_auth_begin(struct client *c);
void client_auth_reply(struct client *c, const struct client_reply *reply);
/* Takes out of c->text, a reply to AUTH, what would tell the password. */
void client_auth_hide(struct client *c, unsigned code);
void client_auth_free(struct client *c);
/* The password is salted, or NULL. May end the client. */
void client_auth_salted(struct client *c, const unsigned char *salted);

/* ---- client_keys.c ---- */

/* Salts the password of c->sasl, then client_salted(), maybe from inside. False: too many wait for that already. */
bool client_keys_make(struct client *c);
void client_keys_give_up(struct client *c);

/* ---- client_transaction.c ---- */

void client_settle(struct client *c, unsigned rcpt, const struct client_reply *reply);
void client_settle_all(struct client *c, const struct client_reply *reply);
/* A reply to a command of the transaction. */
void client_transaction_reply(struct client *c, struct client_expect expect,
                              const struct client_reply *reply);
void client_transaction_later(struct client *c);
void client_transaction_free(struct client *c);

/* ---- client_needs.c ---- */

bool client_envelope_is_ascii(const struct client_message *message);
enum client_look {
    CLIENT_LOOK_MORE,
    CLIENT_LOOK_ASCII,
    CLIENT_LOOK_BODY, /* what is not ASCII stands in no header */
    CLIENT_LOOK_OTHER,
    CLIENT_LOOK_FAILED,
};
/* Looks at the next CLIENT_BURST octets of the message. */
enum client_look client_look_further(struct client *c);

/* ---- client_forward.c ---- */

/* Writes XFORWARD, where it is wanted and offered; else false. */
bool client_forward(struct client *c);

/* ---- client_body.c ---- */

void client_body_begin(struct client *c);
void client_body_go_on(struct client *c);

#endif
