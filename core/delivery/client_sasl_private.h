/* SPDX-License-Identifier: Apache-2.0 */
/* client_sasl_private.h - what client_sasl.c and client_scram.c share. */
#ifndef TERN_DELIVERY_CLIENT_SASL_PRIVATE_H
#define TERN_DELIVERY_CLIENT_SASL_PRIVATE_H

#include "delivery/client_sasl.h"

#define SCRAM_OCTETS 32 /* of SHA-256 */

struct client_sasl {
    enum client_mechanism mechanism;
    unsigned steps; /* challenges answered */
    bool proved;    /* SCRAM: the server has shown that it knows the password */
    char *user, *password;
    size_t user_len, password_len;
    char *nonce;
    struct buf first_bare; /* "n=user,r=nonce" */
    unsigned char server_signature[SCRAM_OCTETS];
};

void client_scram_first(struct client_sasl *c, struct buf *ret);
bool client_scram_step(struct client_sasl *c, struct slice challenge, struct buf *ret,
                     const char **ret_error);

#endif
