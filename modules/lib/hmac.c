/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hmac.c - HMAC-SHA1 by OpenSSL, its algorithm fetched once. See hmac.h.
 */
#include "hmac.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>

static EVP_MAC *mac;

static void fetch(void)
{
    mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
}

int hmac_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, fetch);
    return mac != NULL ? 0 : -ENOSYS;
}

int hmac_sha1(tern_str key, const tern_str *parts, unsigned count, uint8_t ret[HMAC_SHA1_OCTETS])
{
    char digest[] = "SHA1";
    OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                            OSSL_PARAM_construct_end() };
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac); /* its free wipes the key */
    size_t len = 0;
    int r = -ENOMEM;

    if (ctx == NULL)
        return r;
    if (EVP_MAC_init(ctx, (const unsigned char *)key.ptr, key.len, params) != 1)
        goto end;
    for (unsigned i = 0; i < count; i++)
        if (EVP_MAC_update(ctx, (const unsigned char *)parts[i].ptr, parts[i].len) != 1)
            goto end;
    if (EVP_MAC_final(ctx, ret, &len, HMAC_SHA1_OCTETS) == 1 && len == HMAC_SHA1_OCTETS)
        r = 0;
end:
    EVP_MAC_CTX_free(ctx);
    return r;
}
