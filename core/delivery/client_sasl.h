/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_sasl.h - the client's side of an AUTH exchange: challenge in, response out.
 *
 * Pure: no connection, no base64 of the protocol around it, no log. SCRAM-SHA-256 (RFC 5802,
 * RFC 7677) without channel binding, PLAIN (RFC 4616), LOGIN. What is not ASCII goes out as it is
 * written: SASLprep (RFC 4013) is not done.
 */
#ifndef TERN_DELIVERY_CLIENT_SASL_H
#define TERN_DELIVERY_CLIENT_SASL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

/* The best first. */
enum client_mechanism {
    CLIENT_SASL_SCRAM_SHA_256,
    CLIENT_SASL_PLAIN,
    CLIENT_SASL_LOGIN,
    CLIENT_SASL_COUNT,
};

/* RFC 7677 4 wants 4096 at least. Above the other bound one reply would hold a loop for too long. */
#define CLIENT_ITERATIONS_MIN 4096
#define CLIENT_ITERATIONS_MAX 100000

/* By its name, any case; CLIENT_SASL_COUNT: none of ours. */
enum client_mechanism client_sasl_mechanism(struct slice name);
const char *client_sasl_name(enum client_mechanism mechanism);
/* Whether whoever reads along has the password. */
bool client_sasl_is_plaintext(enum client_mechanism mechanism);

struct client_sasl;

/* Copies both; wiped in client_sasl_free(). `nonce`: of SCRAM, printable without ','; NULL: a new one. */
struct client_sasl *client_sasl_new(enum client_mechanism mechanism, struct slice user,
                                    struct slice password, const char *nonce);
void client_sasl_free(struct client_sasl *client); /* NULL is fine */
/* What goes along with the command; false: the mechanism begins with a challenge. */
bool client_sasl_first(struct client_sasl *client, struct buf *ret_response);
/*
 * The response to a challenge, both without base64. False with *ret_error set if it is none that
 * this mechanism has, or the server does not know the password either.
 */
bool client_sasl_step(struct client_sasl *client, struct slice challenge, struct buf *ret_response,
                      const char **ret_error);
/* The server said 235: whether it may. SCRAM: only after it proved that it knows the password. */
bool client_sasl_may_end(const struct client_sasl *client);

/* Base64 (RFC 4648 4) with padding, nothing else. */
void client_base64_add(struct buf *out, struct slice octets);
bool client_base64_decode(struct slice text, struct buf *ret);
/* Wipes and frees. */
void client_wipe(struct buf *secret);

#endif
