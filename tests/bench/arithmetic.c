/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arithmetic.c - a step that does what nobody can leave out who verifies a signature, and nothing else: SHA-256 of the
 * message, and one signature, of RSA-2048 and of Ed25519 in turns. What it leaves of the accept rate is what checking could
 * leave at best, with the libraries and on the machine at hand. Built and loaded by bench.py (auth.py).
 */
#include <tern/module.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <sodium.h>
#include <stdatomic.h>
#include <string.h>

#define MESSAGE_OCTETS 8192
#define HASH_OCTETS    32

static const struct tern_api *tern;
static uint8_t hash[HASH_OCTETS], ed_public[crypto_sign_PUBLICKEYBYTES], ed_signature[crypto_sign_BYTES];
static uint8_t rsa_signature[256];
static size_t rsa_octets = sizeof(rsa_signature);
static EVP_PKEY *rsa;
static EVP_MD *sha256;
static _Atomic unsigned turn;
static _Thread_local EVP_MD_CTX *hashing;
static _Thread_local EVP_PKEY_CTX *verifying;

static bool ready(void)
{
    if (hashing == NULL)
        hashing = EVP_MD_CTX_new();
    if (verifying == NULL && (verifying = EVP_PKEY_CTX_new_from_pkey(NULL, rsa, NULL)) != NULL &&
        (EVP_PKEY_verify_init(verifying) != 1 || EVP_PKEY_CTX_set_rsa_padding(verifying, RSA_PKCS1_PADDING) != 1 ||
         EVP_PKEY_CTX_set_signature_md(verifying, EVP_sha256()) != 1))
        return false;
    return hashing != NULL && verifying != NULL;
}

static tern_verdict on_message(tern_call *call, const void *conf)
{
    char octets[MESSAGE_OCTETS];
    uint8_t digest[HASH_OCTETS];
    tern_str header;
    int64_t n = tern->body_read(call, 0, octets, sizeof(octets));

    (void)conf;
    if (n <= 0 || tern->header_octets(call, true, &header) < 0 || !ready())
        return tern->fail(call, "nothing to hash");
    if (EVP_DigestInit_ex2(hashing, sha256, NULL) != 1 || EVP_DigestUpdate(hashing, header.ptr, header.len) != 1 ||
        EVP_DigestUpdate(hashing, octets, (size_t)n) != 1 || EVP_DigestFinal_ex(hashing, digest, NULL) != 1)
        return tern->fail(call, "SHA-256 failed");
    bool good = (atomic_fetch_add(&turn, 1) & 1) != 0
                    ? crypto_sign_verify_detached(ed_signature, hash, sizeof(hash), ed_public) == 0
                    : EVP_PKEY_verify(verifying, rsa_signature, rsa_octets, hash, sizeof(hash)) == 1;
    return good ? TERN_NEXT : tern->fail(call, "the signature does not verify");
}

static int sign_rsa(void)
{
    rsa = EVP_RSA_gen(2048);
    EVP_PKEY_CTX *ctx = rsa != NULL ? EVP_PKEY_CTX_new_from_pkey(NULL, rsa, NULL) : NULL;
    bool good = ctx != NULL && EVP_PKEY_sign_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
                EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 &&
                EVP_PKEY_sign(ctx, rsa_signature, &rsa_octets, hash, sizeof(hash)) == 1;

    EVP_PKEY_CTX_free(ctx);
    return good ? 0 : -ENOSYS;
}

static int init(const struct tern_api *api, void **ret_state)
{
    uint8_t secret[crypto_sign_SECRETKEYBYTES];

    tern = api;
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (sha256 == NULL || sodium_init() < 0)
        return -ENOSYS;
    memset(hash, 0x5a, sizeof(hash));
    (void)crypto_sign_keypair(ed_public, secret);
    (void)crypto_sign_detached(ed_signature, NULL, hash, sizeof(hash), secret);
    *ret_state = NULL;
    return sign_rsa();
}

static const struct tern_option options[] = { TERN_OPTIONS_END };

static const struct tern_hook hooks[] = {
    { TERN_HOOK(MESSAGE, on_message), .flags = TERN_ONCE },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "arithmetic", .summary = "Hash a message and verify a signature, for measurements.", .options = options,
            .hooks = hooks, .conf_size = 0, .init = init)
