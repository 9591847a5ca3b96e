/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_hash.c - SHA-256. See dkim.h.
 *
 * Each thread keeps a few contexts that are ready: a new one is memory of OpenSSL's, and a count in the algorithm that
 * all threads share.
 */
#include "dkim.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

#define SPARES_MAX 4 /* of a thread: header and body, and one more kind of body */

static EVP_MD *sha256;
static pthread_key_t at_exit; /* of a thread */
static bool has_exit;

struct spares {
    EVP_MD_CTX *items[SPARES_MAX];
    unsigned count;
};
static _Thread_local struct spares spares;

static void free_spares(void *arg)
{
    struct spares *s = arg;

    while (s->count > 0)
        EVP_MD_CTX_free(s->items[--s->count]);
}

static void fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    has_exit = pthread_key_create(&at_exit, free_spares) == 0;
}

int dkim_crypto_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, fetch);
    return sha256 != NULL && sodium_init() >= 0 ? 0 : -ENOSYS;
}

static void give_back(EVP_MD_CTX *ctx)
{
    if (ctx == NULL || !has_exit || spares.count == SPARES_MAX ||
        (pthread_getspecific(at_exit) == NULL && pthread_setspecific(at_exit, &spares) != 0)) {
        EVP_MD_CTX_free(ctx);
        return;
    }
    spares.items[spares.count++] = ctx;
}

int dkim_hash_init(struct dkim_hash *hash)
{
    hash->ctx = NULL;
    if (spares.count > 0) { /* it knows its algorithm */
        hash->ctx = spares.items[--spares.count];
        if (EVP_DigestInit_ex2(hash->ctx, NULL, NULL) == 1)
            return 0;
    } else {
        hash->ctx = EVP_MD_CTX_new();
        if (hash->ctx != NULL && EVP_DigestInit_ex2(hash->ctx, sha256, NULL) == 1)
            return 0;
    }
    EVP_MD_CTX_free(hash->ctx);
    hash->ctx = NULL;
    return -ENOMEM;
}

int dkim_hash_copy(const struct dkim_hash *hash, struct dkim_hash *ret)
{
    ret->ctx = EVP_MD_CTX_new();
    if (ret->ctx != NULL && EVP_MD_CTX_copy_ex(ret->ctx, hash->ctx) == 1)
        return 0;
    EVP_MD_CTX_free(ret->ctx);
    ret->ctx = NULL;
    return -ENOMEM;
}

void dkim_hash_add(void *hash, const char *octets, size_t count)
{
    (void)EVP_DigestUpdate(((struct dkim_hash *)hash)->ctx, octets, count);
}

void dkim_hash_end(struct dkim_hash *hash, uint8_t out[DKIM_HASH_OCTETS])
{
    if (hash->ctx == NULL || EVP_DigestFinal_ex(hash->ctx, out, NULL) != 1)
        memset(out, 0, DKIM_HASH_OCTETS); /* the hash of nothing that anybody knows */
    give_back(hash->ctx);
    hash->ctx = NULL;
}
