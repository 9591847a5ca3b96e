/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_private.c - private keys: reading, making, signing. See dkim.h. Sources: RFC 6376 3.3, RFC 8301 3.2 (lengths),
 * RFC 8463 3.
 */
#include "dkim.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define PUBLIC_DER_OCTETS_MAX 2048

struct dkim_private {
    _Atomic unsigned refs;
    EVP_PKEY *pkey; /* OpenSSL wipes it */
    bool ed25519;
};

int dkim_base64_encode(const uint8_t *octets, size_t count, char *out, size_t room)
{
    if (count > 1 << 20 || room < (count + 2) / 3 * 4 + 1)
        return -E2BIG;
    return EVP_EncodeBlock((unsigned char *)out, octets, (int)count);
}

static const char *wrap(EVP_PKEY *pkey, struct dkim_private **ret)
{
    const char *wrong = NULL;
    int type = EVP_PKEY_get_base_id(pkey), bits = EVP_PKEY_get_bits(pkey);

    if (type != EVP_PKEY_RSA && type != EVP_PKEY_ED25519)
        wrong = "it is neither an RSA nor an Ed25519 key";
    else if (type == EVP_PKEY_RSA && bits < DKIM_RSA_BITS_MIN)
        wrong = "an RSA key of less than 1024 bits: nobody may take its signatures (RFC 8301)";
    else if (type == EVP_PKEY_RSA && bits > DKIM_RSA_BITS_MAX)
        wrong = "an RSA key of more than 8192 bits";
    struct dkim_private *key = wrong == NULL ? calloc(1, sizeof(*key)) : NULL;
    if (key == NULL) {
        EVP_PKEY_free(pkey);
        return wrong != NULL ? wrong : "no memory";
    }
    atomic_init(&key->refs, 1);
    key->pkey = pkey;
    key->ed25519 = type == EVP_PKEY_ED25519;
    *ret = key;
    return NULL;
}

/* A key with a pass phrase has nobody to ask for it: not the terminal. */
static int no_phrase(char *buffer, int size, int writing, void *arg)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

/* By libsodium, whose decoding takes as long whatever the secret is. */
static bool decode_seed(tern_str text, uint8_t seed[48])
{
    size_t octets = 0;

    return sodium_base642bin(seed, 48, text.ptr, text.len, " \t\r\n", &octets, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           octets == 32;
}

const char *dkim_private_parse(tern_str text, struct dkim_private **ret)
{
    uint8_t seed[48];
    EVP_PKEY *pkey = NULL;

    if (text.len > 65536)
        return "it is too long";
    if (text.len > 0 && memmem(text.ptr, text.len, "-----BEGIN", 10) != NULL) {
        BIO *bio = BIO_new_mem_buf(text.ptr, (int)text.len);
        pkey = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_phrase, NULL) : NULL;
        BIO_free(bio);
    } else if (decode_seed(text, seed)) {
        pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    }
    OPENSSL_cleanse(seed, sizeof(seed));
    return pkey != NULL ? wrap(pkey, ret) : "it holds no private key in PEM, or one with a pass phrase";
}

const char *dkim_private_generate(unsigned bits, struct dkim_private **ret)
{
    EVP_PKEY *pkey = bits == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
                               : EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits);

    return pkey != NULL ? wrap(pkey, ret) : "OpenSSL could not make a key";
}

struct dkim_private *dkim_private_ref(struct dkim_private *key)
{
    atomic_fetch_add_explicit(&key->refs, 1, memory_order_relaxed);
    return key;
}

void dkim_private_unref(struct dkim_private *key)
{
    if (key == NULL || atomic_fetch_sub_explicit(&key->refs, 1, memory_order_acq_rel) > 1)
        return;
    EVP_PKEY_free(key->pkey);
    free(key);
}

enum dkim_algorithm dkim_private_algorithm(const struct dkim_private *key)
{
    return key->ed25519 ? DKIM_ED25519_SHA256 : DKIM_RSA_SHA256;
}

unsigned dkim_private_bits(const struct dkim_private *key)
{
    return key->ed25519 ? 256 : (unsigned)EVP_PKEY_get_bits(key->pkey);
}

static int sign_ed25519(const struct dkim_private *key, const uint8_t *hash, uint8_t *out, size_t *octets)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int ok = ctx != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key->pkey) == 1 &&
             EVP_DigestSign(ctx, out, octets, hash, DKIM_HASH_OCTETS) == 1;

    EVP_MD_CTX_free(ctx);
    return ok;
}

int dkim_sign_hash(const struct dkim_private *key, const uint8_t hash[DKIM_HASH_OCTETS],
                   uint8_t out[DKIM_B_OCTETS_MAX])
{
    size_t octets = DKIM_B_OCTETS_MAX;

    if (key->ed25519)
        return sign_ed25519(key, hash, out, &octets) ? (int)octets : -EIO;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key->pkey, NULL);
    bool ok = ctx != NULL && EVP_PKEY_sign_init(ctx) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
              EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 &&
              EVP_PKEY_sign(ctx, out, &octets, hash, DKIM_HASH_OCTETS) == 1;

    EVP_PKEY_CTX_free(ctx);
    return ok ? (int)octets : -EIO;
}

int dkim_private_public(const struct dkim_private *key, char *out, size_t octets)
{
    unsigned char der[PUBLIC_DER_OCTETS_MAX], *at = der;
    size_t len = sizeof(der);

    if (key->ed25519)
        return EVP_PKEY_get_raw_public_key(key->pkey, der, &len) == 1 ? dkim_base64_encode(der, len, out, octets)
                                                                      : -EIO;
    int n = i2d_PUBKEY(key->pkey, NULL);
    if (n <= 0 || (size_t)n > sizeof(der) || i2d_PUBKEY(key->pkey, &at) != n)
        return -EIO;
    return dkim_base64_encode(der, (size_t)n, out, octets);
}

int dkim_private_pem(const struct dkim_private *key, char *out, size_t octets)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *text = NULL;
    int r = -EIO;

    if (bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) == 1) {
        long len = BIO_get_mem_data(bio, &text);
        r = len > 0 && (size_t)len < octets ? (int)len : -E2BIG;
    }
    if (r > 0) {
        memcpy(out, text, (size_t)r);
        out[r] = '\0';
    }
    BIO_free(bio);
    return r;
}
