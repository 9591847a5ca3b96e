/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_key.c - public keys, verifying, and the keys that were seen before. See dkim.h.
 * Sources: RFC 8301 3 (lengths), RFC 8463 3, 4 (Ed25519 signs the SHA-256 of the octets).
 */
#include "dkim.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define KEY_DER_OCTETS_MAX 2048

/* Ed25519 is libsodium's, which verifies in half of OpenSSL's time, and takes no key of small order. */
struct dkim_key {
    _Atomic unsigned refs;
    unsigned bits;
    bool ed25519;
    uint8_t point[crypto_sign_PUBLICKEYBYTES];
    EVP_PKEY *pkey;                 /* RSA */
    _Atomic(EVP_PKEY_CTX *) spare;  /* made up to verify with it; whoever takes it is alone with it */
};

/* ---- keys ---- */

static const char *check_rsa(EVP_PKEY *pkey)
{
    BIGNUM *e = NULL;
    const char *wrong = NULL;

    if (EVP_PKEY_get_base_id(pkey) != EVP_PKEY_RSA)
        return "p= is no RSA key";
    if (EVP_PKEY_get_bits(pkey) > DKIM_RSA_BITS_MAX)
        return "the key is too long";
    if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) != 1)
        return "p= is no RSA key";
    if (BN_num_bits(e) > DKIM_EXPONENT_BITS_MAX || BN_num_bits(e) < 2 || !BN_is_odd(e))
        wrong = "the exponent of the key is not a usual one";
    BN_free(e);
    return wrong;
}

/* SubjectPublicKeyInfo as everybody publishes, or RSAPublicKey as RFC 6376 3.6.1 says. */
static const char *make_rsa(const uint8_t *der, size_t octets, EVP_PKEY **ret)
{
    const unsigned char *at = der;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, (long)octets);

    if (pkey == NULL) {
        at = der;
        pkey = d2i_PublicKey(EVP_PKEY_RSA, NULL, &at, (long)octets);
        ERR_clear_error(); /* TLS on this thread would take it for its own */
    }
    if (pkey == NULL)
        return "p= is no RSA key";
    const char *wrong = at == der + octets ? check_rsa(pkey) : "p= holds more than a key";
    if (wrong != NULL)
        EVP_PKEY_free(pkey);
    else
        *ret = pkey;
    return wrong;
}

const char *dkim_key_make(const struct dkim_record *record, struct dkim_key **ret)
{
    uint8_t der[KEY_DER_OCTETS_MAX];
    EVP_PKEY *pkey = NULL;
    const char *wrong = NULL;
    int octets = dkim_base64_decode(record->key, der, sizeof(der));

    if (octets <= 0)
        return "p= is no base64, or too long";
    if (record->ed25519)
        wrong = octets == crypto_sign_PUBLICKEYBYTES ? NULL : "p= is no Ed25519 key";
    else
        wrong = make_rsa(der, (size_t)octets, &pkey);
    if (wrong != NULL)
        return wrong;
    struct dkim_key *key = calloc(1, sizeof(*key));
    if (key == NULL) {
        EVP_PKEY_free(pkey);
        return "no memory";
    }
    atomic_init(&key->refs, 1);
    key->ed25519 = record->ed25519;
    key->bits = record->ed25519 ? 256 : (unsigned)EVP_PKEY_get_bits(pkey);
    key->pkey = pkey;
    if (key->ed25519)
        memcpy(key->point, der, sizeof(key->point));
    *ret = key;
    return NULL;
}

static struct dkim_key *key_ref(struct dkim_key *key)
{
    atomic_fetch_add_explicit(&key->refs, 1, memory_order_relaxed);
    return key;
}

void dkim_key_unref(struct dkim_key *key)
{
    if (key == NULL || atomic_fetch_sub_explicit(&key->refs, 1, memory_order_acq_rel) > 1)
        return;
    EVP_PKEY_CTX_free(atomic_load(&key->spare));
    EVP_PKEY_free(key->pkey);
    free(key);
}

unsigned dkim_key_bits(const struct dkim_key *key)
{
    return key->bits;
}

bool dkim_key_is_ed25519(const struct dkim_key *key)
{
    return key->ed25519;
}

static EVP_PKEY_CTX *context_new(const struct dkim_key *key)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key->pkey, NULL);

    if (ctx != NULL && EVP_PKEY_verify_init(ctx) == 1 &&
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
        EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1)
        return ctx;
    EVP_PKEY_CTX_free(ctx);
    return NULL;
}

static bool verify_rsa(struct dkim_key *key, const uint8_t *hash, const uint8_t *b, size_t octets)
{
    EVP_PKEY_CTX *ctx = atomic_exchange(&key->spare, NULL);

    if (ctx == NULL)
        ctx = context_new(key);
    bool good = ctx != NULL && EVP_PKEY_verify(ctx, b, octets, hash, DKIM_HASH_OCTETS) == 1;
    if (!good)
        ERR_clear_error(); /* nobody reads why, and TLS on this thread would take it for its own */
    EVP_PKEY_CTX_free(atomic_exchange(&key->spare, ctx));
    return good;
}

bool dkim_verify_hash(struct dkim_key *key, const uint8_t hash[DKIM_HASH_OCTETS], const uint8_t *b, size_t octets)
{
    if (!key->ed25519)
        return verify_rsa(key, hash, b, octets);
    return octets == crypto_sign_BYTES &&
           crypto_sign_verify_detached(b, hash, DKIM_HASH_OCTETS, key->point) == 0;
}

/* ---- keys seen before ---- */

#define KEYS_WAYS     4 /* places where one key may be */
#define KEY_ID_OCTETS crypto_shorthash_siphashx24_BYTES

/* By what they are: a hash of the record that nobody outside can foresee, so that no two can be made alike. */
struct slot {
    uint8_t id[KEY_ID_OCTETS];
    struct dkim_key *key;
    struct dkim_record record; /* without p= */
    uint64_t used;
};
struct dkim_keys {
    pthread_mutex_t lock;
    unsigned sets;
    uint64_t clock;
    uint8_t secret[crypto_shorthash_siphashx24_KEYBYTES];
    struct slot slots[];
};

struct dkim_keys *dkim_keys_new(unsigned entries_max)
{
    unsigned sets = entries_max / KEYS_WAYS > 0 ? entries_max / KEYS_WAYS : 1;
    struct dkim_keys *k = calloc(1, sizeof(*k) + sets * KEYS_WAYS * sizeof(k->slots[0]));

    if (k == NULL)
        return NULL;
    pthread_mutex_init(&k->lock, NULL);
    randombytes_buf(k->secret, sizeof(k->secret));
    k->sets = sets;
    return k;
}

void dkim_keys_free(struct dkim_keys *k)
{
    for (unsigned i = 0; k != NULL && i < k->sets * KEYS_WAYS; i++)
        dkim_key_unref(k->slots[i].key);
    if (k != NULL)
        pthread_mutex_destroy(&k->lock);
    free(k);
}

static struct slot *set_of(struct dkim_keys *k, const uint8_t *id)
{
    uint32_t n;

    memcpy(&n, id, sizeof(n));
    return &k->slots[(size_t)(n % k->sets) * KEYS_WAYS];
}

static void identify(const struct dkim_keys *k, tern_str text, uint8_t id[KEY_ID_OCTETS])
{
    (void)crypto_shorthash_siphashx24(id, (const uint8_t *)text.ptr, text.len, k->secret);
}

struct dkim_key *dkim_keys_find(struct dkim_keys *k, tern_str text, struct dkim_record *ret)
{
    uint8_t id[KEY_ID_OCTETS];
    struct dkim_key *found = NULL;

    identify(k, text, id);
    struct slot *set = set_of(k, id);
    pthread_mutex_lock(&k->lock);
    for (unsigned i = 0; i < KEYS_WAYS && found == NULL; i++) {
        if (set[i].key == NULL || memcmp(set[i].id, id, KEY_ID_OCTETS) != 0)
            continue;
        set[i].used = ++k->clock;
        found = key_ref(set[i].key);
        *ret = set[i].record;
    }
    pthread_mutex_unlock(&k->lock);
    return found;
}

static void keep(struct dkim_keys *k, const uint8_t *id, const struct dkim_record *record, struct dkim_key *key)
{
    struct slot *set = set_of(k, id), *oldest = set;

    pthread_mutex_lock(&k->lock);
    for (unsigned i = 1; i < KEYS_WAYS; i++)
        if (set[i].used < oldest->used)
            oldest = &set[i];
    dkim_key_unref(oldest->key);
    memcpy(oldest->id, id, KEY_ID_OCTETS);
    oldest->key = key_ref(key);
    oldest->record = *record;
    oldest->record.key = dkim_str("", 0);
    oldest->used = ++k->clock;
    pthread_mutex_unlock(&k->lock);
}

const char *dkim_keys_make(struct dkim_keys *k, tern_str text, const struct dkim_record *record, struct dkim_key **ret)
{
    uint8_t id[KEY_ID_OCTETS];
    const char *wrong = dkim_key_make(record, ret);

    if (wrong != NULL)
        return wrong;
    identify(k, text, id);
    keep(k, id, record, *ret);
    return NULL;
}
