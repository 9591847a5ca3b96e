/* SPDX-License-Identifier: Apache-2.0 */
/* password_make.c - new entries, at costs that are usual in 2026. */
#include <crypt.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "password_private.h"

#define ARGON2_PASSES     2
#define ARGON2_OCTETS     (64u << 20)
#define SCRAM_ITERATIONS  4096 /* RFC 7677 4: what clients, which compute the same, still bear on a phone */
#define SCRAM_SALT_OCTETS 16

static bool make_argon2(const char *unused, tern_str password, char *out)
{
    char text[crypto_pwhash_STRBYTES];

    (void)unused;
    if (crypto_pwhash_str_alg(text, password.ptr, password.len, ARGON2_PASSES, ARGON2_OCTETS,
                              crypto_pwhash_ALG_ARGON2ID13) != 0)
        return false;
    (void)snprintf(out, PASSWORD_STORED_OCTETS_MAX, "{ARGON2ID}%s", text);
    return true;
}

/* `how`: "{PREFIX}$setting$" */
static bool make_crypt(const char *how, tern_str password, char *out)
{
    const char *setting = strchr(how, '$');
    char salt[CRYPT_GENSALT_OUTPUT_SIZE], random[32], text[PASSWORD_OCTETS_MAX + 1];
    struct crypt_data *data = calloc(1, sizeof(*data));
    bool ok = false;

    if (data == NULL)
        return false;
    randombytes_buf(random, sizeof(random));
    memcpy(text, password.ptr, password.len);
    text[password.len] = '\0';
    unsigned long cost = strcmp(setting, "$2y$") == 0 ? 11 : 0; /* 0: crypt(3)'s default */
    if (crypt_gensalt_rn(setting, cost, random, sizeof(random), salt, sizeof(salt)) != NULL) {
        const char *hash = crypt_r(text, salt, data);
        ok = hash != NULL && hash[0] != '*';
        if (ok)
            (void)snprintf(out, PASSWORD_STORED_OCTETS_MAX, "%.*s%s", (int)(setting - how), how, hash);
    }
    sodium_memzero(text, sizeof(text));
    sodium_memzero(data, sizeof(*data));
    free(data);
    return ok;
}

static void base64(const uint8_t *octets, size_t len, char *out, size_t out_octets)
{
    (void)sodium_bin2base64(out, out_octets, octets, len, sodium_base64_VARIANT_ORIGINAL);
}

static bool make_scram(const char *name, tern_str password, char *out)
{
    bool sha1 = strcmp(name, "SCRAM-SHA-1") == 0;
    struct password_stored s = { .digest = sha1 ? "SHA1" : "SHA256", .key_octets = sha1 ? 20 : 32,
                                 .iterations = SCRAM_ITERATIONS, .salt_octets = SCRAM_SALT_OCTETS };
    char salt[48], stored[96], server[96];

    randombytes_buf(s.salt, s.salt_octets);
    if (!password_scram_keys(&s, password, s.key, s.server_key))
        return false;
    base64(s.salt, s.salt_octets, salt, sizeof(salt));
    base64(s.key, s.key_octets, stored, sizeof(stored));
    base64(s.server_key, s.key_octets, server, sizeof(server));
    (void)snprintf(out, PASSWORD_STORED_OCTETS_MAX, "{%s}%u,%s,%s,%s", name, s.iterations, salt, stored, server);
    password_wipe(&s);
    return true;
}

static bool make_clear(const char *unused, tern_str password, char *out)
{
    (void)unused;
    (void)snprintf(out, PASSWORD_STORED_OCTETS_MAX, "{PLAIN}%.*s", (int)password.len, password.ptr);
    return true;
}

static const char *const names[] = { "ARGON2ID", "YESCRYPT", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT",
                                     "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", NULL };
static const struct {
    bool (*make)(const char *how, tern_str password, char *out);
    const char *how;
} makers[] = {
    { make_argon2, NULL },
    { make_crypt, "{CRYPT}$y$" },
    { make_crypt, "{BLF-CRYPT}$2y$" },
    { make_crypt, "{SHA512-CRYPT}$6$" },
    { make_crypt, "{SHA256-CRYPT}$5$" },
    { make_scram, "SCRAM-SHA-256" },
    { make_scram, "SCRAM-SHA-1" },
    { make_clear, NULL },
};

const char *const *password_schemes(void)
{
    return names;
}

int password_make(const char *scheme, tern_str password, char out[PASSWORD_STORED_OCTETS_MAX + 1],
                  const char **ret_why)
{
    char entry[PASSWORD_STORED_OCTETS_MAX + 1];
    size_t i = 0;

    while (names[i] != NULL && strcasecmp(names[i], scheme) != 0)
        i++;
    *ret_why = "there is no such scheme";
    if (names[i] == NULL)
        return -EINVAL;
    *ret_why = "a password has 1 to 511 octets";
    if (password.len == 0 || password.len > PASSWORD_OCTETS_MAX)
        return -EINVAL;
    *ret_why = "a password holds no NUL and no control characters";
    for (size_t n = 0; n < password.len; n++)
        if ((unsigned char)password.ptr[n] < ' ' || password.ptr[n] == 0x7f)
            return -EINVAL;
    *ret_why = "the hash could not be computed: no memory";
    if (!makers[i].make(makers[i].how, password, entry))
        return -EINVAL;
    memcpy(out, entry, sizeof(entry));
    sodium_memzero(entry, sizeof(entry));
    return 0;
}
