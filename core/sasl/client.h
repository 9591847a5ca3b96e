/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - the client's end of an exchange: PLAIN, LOGIN, SCRAM-SHA-1 and SCRAM-SHA-256 (without
 * channel binding). For a smarthost that wants to know who we are.
 *
 * Pure. sasl_client_fini() wipes all that was secret. base64 and the lines are the caller's.
 */
#ifndef TERN_SASL_CLIENT_H
#define TERN_SASL_CLIENT_H

#include "sasl/sasl.h"

struct sasl_client {
    enum sasl_mechanism mechanism;
    struct buf user, password; /* SCRAM: prepared */
    struct buf first_bare, nonce;
    unsigned char signature[SASL_HASH_OCTETS_MAX]; /* what the server must prove */
    unsigned round;
    bool proven; /* SCRAM: the server knows the keys, too */
    /* SCRAM: set behind sasl_client_begin() by who salts the password himself, off the loop */
    bool apart;
    struct buf server_first, salt;
    unsigned iterations;
};

/* Whether this end knows the mechanism. */
bool sasl_client_knows(enum sasl_mechanism mechanism);
/* Its number, by its name in any case; SASL_MECHANISM_COUNT: this end does not know it. */
enum sasl_mechanism sasl_client_named(struct slice name);
/*
 * Begins. *ret_has_initial: `out` got an initial response to go along with AUTH. `nonce`: empty for
 * a fresh one. 0, or -EINVAL: user or password cannot be used with it.
 */
int sasl_client_begin(struct sasl_client *c, enum sasl_mechanism mechanism, struct slice user,
                      struct slice password, struct slice nonce, struct buf *out,
                      bool *ret_has_initial);
/* The server's challenge, decoded; appends the response. Negative: send `*`, the server is not what
 * it should be (-EPROTO: rubbish, -EACCES: it does not know the keys). SASL_CLIENT_SALT, only with `apart`: nothing
 * is appended; sasl_scram_salted() of `password`, `salt` and `iterations` is to be made for sasl_client_salted(). */
#define SASL_CLIENT_SALT 1
int sasl_client_input(struct sasl_client *c, struct slice challenge, struct buf *out);
/* Appends the response that sasl_client_input() did not. */
void sasl_client_salted(struct sasl_client *c, const unsigned char salted[SASL_HASH_OCTETS_MAX], struct buf *out);
/* Whether a 235 may be believed now: SCRAM only if the server has proved itself. */
bool sasl_client_may_end(const struct sasl_client *c);
void sasl_client_fini(struct sasl_client *c);

#endif
