/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_rsa.h - RSASSA-PKCS1-v1_5 with SHA-256, verifying alone (RFC 8017 8.2.2), by a public key that is used often.
 */
#ifndef MODULES_LIB_DKIM_RSA_H
#define MODULES_LIB_DKIM_RSA_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dkim_rsa;
/* Of a key whose exponent is odd and more than 1. NULL: no memory. */
struct dkim_rsa *dkim_rsa_new(const EVP_PKEY *pkey);
void dkim_rsa_free(struct dkim_rsa *rsa); /* NULL is allowed */
/* `hash`: SHA-256 of what is signed. Any thread. */
bool dkim_rsa_verify(struct dkim_rsa *rsa, const uint8_t hash[32], const uint8_t *b, size_t octets);

#endif
