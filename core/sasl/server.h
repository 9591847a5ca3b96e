/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - the server's end of an exchange: octets in, and each time one step that says what is
 * to be done next. The caller sends challenges, asks who knows the user, and answers.
 *
 * Pure. One thread at a time. sasl_server_fini() wipes all that was secret.
 */
#ifndef TERN_SASL_SERVER_H
#define TERN_SASL_SERVER_H

#include "sasl/sasl.h"

enum sasl_step {
    SASL_STEP_CHALLENGE, /* send `out`, then sasl_server_input() */
    SASL_STEP_VERIFY,    /* are `user` and `password` right? sasl_server_verified() */
    SASL_STEP_LOOKUP,    /* the keys of `user`: sasl_server_keys() */
    SASL_STEP_OK,        /* it is `user` */
    SASL_STEP_WRONG,     /* 535 */
    SASL_STEP_MALFORMED, /* not what the mechanism prescribes: 501 5.5.2 */
};

enum sasl_server_state {
    SASL_SERVER_FIRST,    /* nothing was heard yet */
    SASL_SERVER_PASSWORD, /* LOGIN: the name is there */
    SASL_SERVER_ASKED,    /* VERIFY or LOOKUP is under way */
    SASL_SERVER_PROOF,    /* SCRAM: the server's first message is out */
    SASL_SERVER_SAID,     /* all is decided, the client acknowledges: `outcome` */
    SASL_SERVER_DONE,
};

struct sasl_server_options {
    enum sasl_mechanism mechanism;
    struct slice hostname; /* CRAM-MD5 */
    struct slice nonce;    /* the server's; empty: a fresh one. For the vectors of the RFCs */
    /*
     * The server offers -PLUS on this connection; then gives the octets of a binding by its name
     * ("tls-exporter"): their number, or a negative errno. NULL: it does not.
     */
    int (*binding)(void *arg, struct slice name, unsigned char out[SASL_BINDING_OCTETS_MAX]);
    void *binding_arg;
};

struct sasl_server {
    struct sasl_server_options options;
    enum sasl_server_state state;
    enum sasl_step outcome;
    struct buf out;      /* the challenge */
    struct buf user;     /* prepared */
    struct buf password; /* VERIFY: password, prepared, or token */
    struct buf given;    /* PLAIN, LOGIN: the password as it came, where that is another; else empty */
    /* SCRAM and CRAM */
    struct buf first_bare, server_first, nonce, gs2, binding_data;
    struct sasl_keys keys;
    bool unknown; /* nobody knows the user: go on as if, and fail in the end */
};

void sasl_server_init(struct sasl_server *s, const struct sasl_server_options *options);
void sasl_server_fini(struct sasl_server *s);
/*
 * Behind VERIFY, that was the wrong password: the one that was given, to be tried as `password` before
 * sasl_server_verified(). False: there is none, or it was tried.
 */
bool sasl_server_as_given(struct sasl_server *s);
/* `initial`: NULL if the client sent none. */
enum sasl_step sasl_server_begin(struct sasl_server *s, const struct slice *initial);
enum sasl_step sasl_server_input(struct sasl_server *s, struct slice response);
/* Whether `out`, a challenge, tells the client that it ends with OK, or with WRONG, whatever is answered to it. */
bool sasl_server_tells(const struct sasl_server *s, enum sasl_step end_of);
/* Behind VERIFY. What is wrong may be told to the client first (tokens): a challenge, then WRONG. */
enum sasl_step sasl_server_verified(struct sasl_server *s, bool right);
/*
 * Behind LOOKUP: keys as stored. NULL: nobody knows the user; `made_up` then has salt and iterations that
 * stay the same for the same name, and nothing tells the client before the end.
 */
enum sasl_step sasl_server_keys(struct sasl_server *s, const struct sasl_keys *keys,
                                const struct sasl_keys *made_up);
/* CRAM-MD5 behind LOOKUP: the password; ptr NULL: nobody knows the user. */
enum sasl_step sasl_server_cram(struct sasl_server *s, struct slice password);

/* server_scram.c */
enum sasl_step sasl_scram_first(struct sasl_server *s, struct slice message);
enum sasl_step sasl_scram_proof(struct sasl_server *s, struct slice message);

#endif
