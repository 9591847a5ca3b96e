/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - one outbound SMTP or LMTP connection: connect, greet, then message after message.
 *
 * Knows the protocol, not the queue: the owner hands in a transaction and gets one reply a
 * recipient.
 */
#ifndef TERN_DELIVERY_CLIENT_H
#define TERN_DELIVERY_CLIENT_H

#include <tern/module.h>

#include "base/slice.h"
#include "net/loop.h"
#include "tls/tls.h"

struct client;
struct pool;
struct port;

enum client_protocol { CLIENT_SMTP, CLIENT_LMTP };

/* In this order: each asks for more than the one before. */
enum client_tls {
    CLIENT_TLS_OFF,
    CLIENT_TLS_MAY,      /* where it is offered, with whatever certificate; else in clear */
    CLIENT_TLS_REQUIRED, /* encrypted, with whatever certificate; else not at all */
    CLIENT_TLS_VERIFY,   /* chain and name of the certificate are good */
};

/* Who we are at a next hop that wants to know. */
struct client_auth {
    struct slice user, password;
    unsigned mechanisms; /* that may be used: a bit (1 << enum sasl_mechanism) each */
    bool plaintext;      /* PLAIN and LOGIN also without TLS that is verified */
};

struct client_options {
    enum client_protocol protocol;
    tern_address to;        /* family 0: unix_path */
    const char *unix_path;
    tern_address source;    /* family 0: any */
    const char *host_name;  /* of the server, for log and texts */
    const char *helo;
    /*
     * RFC 5321 4.5.3.2. 0: 30 s, 5 min, 10 min. `command` is for the greeting, EHLO, MAIL
     * and RCPT; DATA gets 2/5 of it, a block of data 3/5. `data` is for the reply to the end
     * of data.
     */
    uint64_t connect_timeout_ms, command_timeout_ms, data_timeout_ms;
    const struct client_auth *auth; /* NULL: none. Borrowed for as long as the client lives */
    struct pool *pool;              /* makes keys of SCRAM; NULL: the loop does */
    struct port *port;              /* of the loop, with `pool`; both outlive the client */
    bool forward;                   /* XFORWARD, where it is offered */
    bool chunking;                  /* BDAT for every message, where it is offered */
    enum client_tls tls;
    bool tls_implicit; /* TLS comes before the greeting */
    bool tls_given_up; /* it would be used, but failed there before: who insists on it is not refused for good */
    /* With OFF none of them. For VERIFY one that verifies; the client holds a reference. */
    struct tls_client *tls_client;
    const char *tls_sni, *tls_name, *tls_key; /* as in struct tls_target */
    uint64_t tls_timeout_ms;                  /* of a handshake; 0: 30 s */
};

/* Why there is no connection, if not for what the network or the server did. */
enum client_cause {
    CLIENT_CAUSE_OTHER,
    /* No handshake, or none that was asked for: as REQUIRED and VERIFY want it; of a recipient: as
     * the server wants it. */
    CLIENT_CAUSE_TLS,
    CLIENT_CAUSE_AUTH, /* it does not take our user and password, or may not be given them */
};

/* What the other side said, or what we say for it when it said nothing. */
struct client_reply {
    /*
     * 2xx delivered, 4xx, 5xx. Own ones: 451 4.4.1 (no connection), 4.4.2 (lost, time-out), 4.5.0
     * (out of step), 4.3.0 (the message could not be read), 4.7.0, 4.7.8 (AUTH), 4.7.4,
     * 4.7.5 (TLS); 552 5.3.4, 553 5.6.7, 554 5.6.3
     * (what is not offered), 501 5.1.7, 553 5.1.3 (an address that cannot be sent).
     */
    unsigned code;
    char enhanced[12];      /* "X.0.0" where the other side gave none */
    struct slice text;      /* "250 2.0.0 Ok: queued as X": one line of UTF-8, at most 1000 octets;
                               borrowed */
    bool own;               /* made here, not received */
    enum client_cause cause;
};

#define CLIENT_RCPTS_MAX 1000

struct client_rcpt {
    struct slice address;   /* local@domain as it goes out */
    struct slice notify, orcpt; /* RFC 3461, as they came; said where DSN is offered */
    void *arg;
};

struct client_message {
    struct slice sender;    /* empty: <> */
    const struct client_rcpt *rcpts;
    unsigned rcpt_count;    /* 1 to CLIENT_RCPTS_MAX */
    uint64_t octets;        /* exactly; one that ends before is an error of ours (451 4.3.0) */
    bool eight_bit;         /* needs 8BITMIME unless it is ASCII: else 554 5.6.3 for all */
    bool binary;            /* needs BINARYMIME and CHUNKING: else 554 5.6.3 */
    struct slice envid, ret; /* RFC 3461, as they came; said where DSN is offered */
    struct slice client_address, client_helo; /* whose it is, for XFORWARD; empty: nobody's */
    bool smtputf8;          /* needs SMTPUTF8 unless its headers and all addresses are ASCII: else 553 5.6.7 */
    /* Octets of the message from `offset`, 0 at the end, negative errno. CRLF line ends. */
    int64_t (*read)(void *arg, uint64_t offset, void *buffer, size_t octets);
    void *arg;
};

struct client_ops {
    /* Greeted: client_send() may be called. */
    void (*on_ready)(void *owner);
    /* One recipient is settled. Called exactly once for each before on_sent. */
    void (*on_rcpt)(void *owner, unsigned index, const struct client_reply *reply);
    /* The transaction is over; another may follow. */
    void (*on_sent)(void *owner);
    /* The connection is gone: before on_ready it could not be made (reply says why); during a
     * message each recipient not yet settled was settled first, and on_sent does not come. The
     * owner calls client_free(). */
    void (*on_end)(void *owner, const struct client_reply *reply);
};

/* Copies the strings of `options`. Never NULL, and no call of `ops` comes from inside
 * client_new() or client_send(). */
struct client *client_new(struct loop *loop, const struct client_options *options,
                          const struct client_ops *ops, void *owner);
/* One at a time; `message` and what it points to live until on_sent or on_end. */
void client_send(struct client *client, const struct client_message *message);
/* Whether the server offers DSN, so that it was told who wants to hear what (from on_ready on). */
bool client_offers_dsn(const struct client *client);
/* Recipients of a transaction and messages of the connection that the server wants at most (RFC 9422);
 * UINT_MAX: it did not say. */
unsigned client_rcpts_max(const struct client *client);
unsigned client_mails_max(const struct client *client);
/* QUIT, then closes and frees by itself; no further call of ops. */
void client_quit(struct client *client);
/* "TLSv1.3 TLS_AES_256_GCM_SHA384 verified", for people; empty: the connection is not encrypted. */
#define CLIENT_TLS_TEXT_MAX 128
void client_tls_text(const struct client *client, char *out, size_t octets);
void client_free(struct client *client); /* closes at once; also from inside a call of ops */

#endif
