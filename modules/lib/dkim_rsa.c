/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_rsa.c - RSA signatures by OpenSSL's numbers. See dkim_rsa.h. Source: RFC 8017 5.2.2, 8.2.2, 9.2.
 *
 * EVP_PKEY_verify() does the same in a quarter more time: what belongs to the modulus alone is ready here, and the
 * last product leads out of Montgomery's form by itself. Nothing is parsed: what a good signature has to hold is
 * written down and compared as a whole. All of it is public, so that no time that it takes tells a secret.
 */
#include "dkim_rsa.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define HASH_OCTETS 32
#define OCTETS_MAX  1024 /* of a modulus: RSA 8192 */

/* DigestInfo of SHA-256 in front of the hash: RFC 8017 9.2, note 1. */
static const uint8_t digest_info[] = { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                       0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20 };
#define PADDING_OCTETS_MIN (3 + 8)
#define ENCODED_OCTETS_MIN (PADDING_OCTETS_MIN + sizeof(digest_info) + HASH_OCTETS)

/* What one verification needs; whoever takes it is alone with it. */
struct room {
    BN_CTX *ctx;
    BIGNUM *s, *base, *m;
};
struct dkim_rsa {
    BIGNUM *n, *e;
    BN_MONT_CTX *mont; /* NULL: n is even or too short, by which nothing verifies */
    size_t octets;     /* of n */
    _Atomic(struct room *) spare;
};

static void room_free(struct room *r)
{
    if (r == NULL)
        return;
    BN_free(r->s);
    BN_free(r->base);
    BN_free(r->m);
    BN_CTX_free(r->ctx);
    free(r);
}

static struct room *room_new(void)
{
    struct room *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    r->ctx = BN_CTX_new();
    r->s = BN_new();
    r->base = BN_new();
    r->m = BN_new();
    if (r->ctx != NULL && r->s != NULL && r->base != NULL && r->m != NULL)
        return r;
    room_free(r);
    return NULL;
}

void dkim_rsa_free(struct dkim_rsa *rsa)
{
    if (rsa == NULL)
        return;
    room_free(atomic_load(&rsa->spare));
    BN_MONT_CTX_free(rsa->mont);
    BN_free(rsa->n);
    BN_free(rsa->e);
    free(rsa);
}

static bool fill(struct dkim_rsa *rsa, const EVP_PKEY *pkey, struct room *r)
{
    if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &rsa->n) != 1 ||
        EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &rsa->e) != 1)
        return false;
    rsa->octets = (size_t)BN_num_bytes(rsa->n);
    if (!BN_is_odd(rsa->n) || rsa->octets < ENCODED_OCTETS_MIN)
        return true;
    rsa->mont = BN_MONT_CTX_new();
    return rsa->mont != NULL && BN_MONT_CTX_set(rsa->mont, rsa->n, r->ctx) == 1;
}

struct dkim_rsa *dkim_rsa_new(const EVP_PKEY *pkey)
{
    struct dkim_rsa *rsa = calloc(1, sizeof(*rsa));
    struct room *room = room_new();

    if (rsa != NULL && room != NULL && fill(rsa, pkey, room)) {
        atomic_init(&rsa->spare, room);
        return rsa;
    }
    room_free(room);
    dkim_rsa_free(rsa);
    ERR_clear_error();
    return NULL;
}

/* m = s^e mod n, from the exponent's highest bit down to its lowest, which is set. */
static bool raise_to_e(const struct dkim_rsa *rsa, struct room *r)
{
    if (BN_to_montgomery(r->base, r->s, rsa->mont, r->ctx) != 1)
        return false;
    const BIGNUM *from = r->base;
    for (int bit = BN_num_bits(rsa->e) - 2; bit >= 0; bit--) {
        if (BN_mod_mul_montgomery(r->m, from, from, rsa->mont, r->ctx) != 1)
            return false;
        from = r->m;
        if (!BN_is_bit_set(rsa->e, bit))
            continue;
        /* By s as it is, and not in Montgomery's form, the product is out of it, too. */
        if (BN_mod_mul_montgomery(r->m, r->m, bit > 0 ? r->base : r->s, rsa->mont, r->ctx) != 1)
            return false;
    }
    return true;
}

/* EMSA-PKCS1-v1_5 of SHA-256. */
static void encode(const uint8_t hash[HASH_OCTETS], uint8_t *out, size_t octets)
{
    uint8_t *tail = out + octets - HASH_OCTETS - sizeof(digest_info);

    memset(out, 0xff, octets);
    out[0] = 0;
    out[1] = 1;
    tail[-1] = 0;
    memcpy(tail, digest_info, sizeof(digest_info));
    memcpy(tail + sizeof(digest_info), hash, HASH_OCTETS);
}

static bool verify(const struct dkim_rsa *rsa, struct room *r, const uint8_t *hash, const uint8_t *b)
{
    uint8_t got[OCTETS_MAX], wanted[OCTETS_MAX];

    if (BN_bin2bn(b, (int)rsa->octets, r->s) == NULL || BN_ucmp(r->s, rsa->n) >= 0 || !raise_to_e(rsa, r) ||
        BN_bn2binpad(r->m, got, (int)rsa->octets) != (int)rsa->octets)
        return false;
    encode(hash, wanted, rsa->octets);
    return memcmp(got, wanted, rsa->octets) == 0;
}

bool dkim_rsa_verify(struct dkim_rsa *rsa, const uint8_t hash[HASH_OCTETS], const uint8_t *b, size_t octets)
{
    if (rsa->mont == NULL || octets != rsa->octets || octets > OCTETS_MAX)
        return false;
    struct room *room = atomic_exchange(&rsa->spare, NULL);
    if (room == NULL)
        room = room_new();
    bool good = room != NULL && verify(rsa, room, hash, b);
    if (!good)
        ERR_clear_error(); /* nobody reads why, and TLS on this thread would take it for its own */
    room_free(atomic_exchange(&rsa->spare, room));
    return good;
}
