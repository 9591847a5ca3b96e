/* SPDX-License-Identifier: Apache-2.0 */
/* password_scram.c - stored SCRAM keys: parse, and make from a password (RFC 5802 3). */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sodium.h>
#include <string.h>

#include "password_private.h"

/* Up to any of `ends`, which is eaten; false when there is none and one is needed. */
static bool field(tern_str *rest, char end, tern_str *ret)
{
    const char *p = end != '\0' ? memchr(rest->ptr, end, rest->len) : rest->ptr + rest->len;

    if (p == NULL)
        return false;
    *ret = (tern_str){ rest->ptr, (size_t)(p - rest->ptr) };
    size_t used = ret->len + (end != '\0');
    rest->ptr += used;
    rest->len -= used;
    return true;
}

static bool parse_number(tern_str s, unsigned *ret)
{
    unsigned n = 0;

    if (s.len == 0 || s.len > 7)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        n = n * 10 + (unsigned)(s.ptr[i] - '0');
    }
    *ret = n;
    return true;
}

static bool key(tern_str text, uint8_t *out, size_t octets)
{
    size_t len = 0;

    return password_base64(text, out, PASSWORD_KEY_OCTETS_MAX, &len) && len == octets;
}

int password_scram_parse(tern_str text, struct password_stored *ret, const char **ret_why)
{
    bool dovecot = memchr(text.ptr, ',', text.len) != NULL;
    tern_str count, salt, stored, server;

    *ret_why = "is no iterations, salt, StoredKey and ServerKey";
    if (!field(&text, dovecot ? ',' : ':', &count) || !field(&text, dovecot ? ',' : '$', &salt) ||
        !field(&text, dovecot ? ',' : ':', &stored) || !field(&text, '\0', &server))
        return -EINVAL;
    if (!parse_number(count, &ret->iterations) || salt.len == 0 ||
        !password_base64(salt, ret->salt, sizeof(ret->salt), &ret->salt_octets) ||
        !key(stored, ret->key, ret->key_octets) || !key(server, ret->server_key, ret->key_octets))
        return -EINVAL;
    *ret_why = "has fewer than 4096 iterations, or more than 1000000";
    if (ret->iterations < PASSWORD_ITERATIONS_MIN || ret->iterations > PASSWORD_ITERATIONS_MAX)
        return -EINVAL;
    return 0;
}

bool password_scram_keys(const struct password_stored *scram, tern_str password, uint8_t *ret_stored,
                         uint8_t *ret_server)
{
    uint8_t salted[PASSWORD_KEY_OCTETS_MAX], client[PASSWORD_KEY_OCTETS_MAX];
    const EVP_MD *md = EVP_get_digestbyname(scram->digest);
    unsigned len = 0;
    bool ok;

    ok = md != NULL &&
         PKCS5_PBKDF2_HMAC(password.ptr, (int)password.len, scram->salt, (int)scram->salt_octets,
                           (int)scram->iterations, md, (int)scram->key_octets, salted) == 1 &&
         HMAC(md, salted, (int)scram->key_octets, (const uint8_t *)"Client Key", 10, client, &len) != NULL &&
         HMAC(md, salted, (int)scram->key_octets, (const uint8_t *)"Server Key", 10, ret_server, &len) != NULL &&
         EVP_Digest(client, scram->key_octets, ret_stored, &len, md, NULL) == 1;
    sodium_memzero(salted, sizeof(salted));
    sodium_memzero(client, sizeof(client));
    return ok;
}
