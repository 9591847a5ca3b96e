/* SPDX-License-Identifier: Apache-2.0 */
#include "sasl/sasl.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>

#include "base/utf8.h"
#include "sasl/base64.h"

#define NONCE_OCTETS 18 /* 144 bits, 24 characters */

static const char *const names[SASL_MECHANISM_COUNT] = {
    [SASL_SCRAM_SHA_256_PLUS] = "SCRAM-SHA-256-PLUS",
    [SASL_SCRAM_SHA_1_PLUS] = "SCRAM-SHA-1-PLUS",
    [SASL_SCRAM_SHA_256] = "SCRAM-SHA-256",
    [SASL_SCRAM_SHA_1] = "SCRAM-SHA-1",
    [SASL_EXTERNAL] = "EXTERNAL",
    [SASL_CRAM_MD5] = "CRAM-MD5",
    [SASL_OAUTHBEARER] = "OAUTHBEARER",
    [SASL_XOAUTH2] = "XOAUTH2",
    [SASL_PLAIN] = "PLAIN",
    [SASL_LOGIN] = "LOGIN",
};

const char *sasl_mechanism_name(enum sasl_mechanism mechanism)
{
    assert(mechanism < SASL_MECHANISM_COUNT);
    return names[mechanism];
}

enum sasl_mechanism sasl_mechanism_find(struct slice name)
{
    unsigned i = 0;

    while (i < SASL_MECHANISM_COUNT && !slice_equal(slice_cstr(names[i]), name))
        i++;
    return (enum sasl_mechanism)i;
}

bool sasl_is_scram(enum sasl_mechanism mechanism)
{
    return mechanism <= SASL_SCRAM_SHA_1;
}

bool sasl_is_plus(enum sasl_mechanism mechanism)
{
    return mechanism <= SASL_SCRAM_SHA_1_PLUS;
}

bool sasl_is_plaintext(struct slice name)
{
    static const char *const better[] = { "CRAM-MD5", "DIGEST-MD5", "NTLM", "EXTERNAL", "SRP" };

    if (slice_starts_nocase(name, SLICE("SCRAM-")) || slice_starts_nocase(name, SLICE("GS")))
        return false;
    for (size_t i = 0; i < sizeof(better) / sizeof(better[0]); i++)
        if (slice_equal(name, slice_cstr(better[i])))
            return false;
    return true;
}

bool sasl_text_is_fit(struct slice text, size_t octets_max)
{
    if (text.len == 0 || text.len > octets_max || !utf8_valid(text))
        return false;
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
            return false;
    return true;
}

/* ---- digests ---- */

static const EVP_MD *md_of(enum sasl_hash hash)
{
    return hash == SASL_SHA_1 ? EVP_sha1() : EVP_sha256();
}

size_t sasl_hash_octets(enum sasl_hash hash)
{
    return hash == SASL_SHA_1 ? 20 : 32;
}

enum sasl_hash sasl_scram_hash(enum sasl_mechanism mechanism)
{
    assert(sasl_is_scram(mechanism));
    return mechanism == SASL_SCRAM_SHA_1 || mechanism == SASL_SCRAM_SHA_1_PLUS ? SASL_SHA_1
                                                                               : SASL_SHA_256;
}

void sasl_hmac(enum sasl_hash hash, struct slice key, struct slice data,
               unsigned char out[SASL_HASH_OCTETS_MAX])
{
    unsigned octets = 0;
    const unsigned char *at = (const unsigned char *)(data.len > 0 ? data.ptr : "");

    unsigned char *done = HMAC(md_of(hash), key.len > 0 ? key.ptr : "", (int)key.len, at, data.len,
                               out, &octets);
    assert(done != NULL && octets == sasl_hash_octets(hash));
}

void sasl_digest(enum sasl_hash hash, struct slice data, unsigned char out[SASL_HASH_OCTETS_MAX])
{
    int r = EVP_Digest(data.len > 0 ? data.ptr : "", data.len, out, NULL, md_of(hash), NULL);

    assert(r == 1);
}

bool sasl_equal(const void *a, const void *b, size_t octets)
{
    return CRYPTO_memcmp(a, b, octets) == 0;
}

/* ---- SCRAM ---- */

bool sasl_scram_salted(enum sasl_hash hash, struct slice password, struct slice salt,
                       unsigned iterations, unsigned char out[SASL_HASH_OCTETS_MAX])
{
    /* Hi() of RFC 5802 2.2 is PBKDF2 with HMAC and one block (RFC 8018). */
    return PKCS5_PBKDF2_HMAC(password.len > 0 ? password.ptr : "", (int)password.len,
                             (const unsigned char *)salt.ptr, (int)salt.len, (int)iterations,
                             md_of(hash), (int)sasl_hash_octets(hash), out) == 1;
}

bool sasl_scram_keys(enum sasl_hash hash, struct slice password, struct sasl_keys *keys)
{
    unsigned char salted[SASL_HASH_OCTETS_MAX], client[SASL_HASH_OCTETS_MAX];
    struct slice salt = slice_make((const char *)keys->salt, keys->salt_octets);
    size_t octets = sasl_hash_octets(hash);
    bool done = sasl_scram_salted(hash, password, salt, keys->iterations, salted);

    if (done) {
        struct slice key = slice_make((const char *)salted, octets);
        sasl_hmac(hash, key, SLICE("Client Key"), client);
        sasl_digest(hash, slice_make((const char *)client, octets), keys->stored_key);
        sasl_hmac(hash, key, SLICE("Server Key"), keys->server_key);
    }
    explicit_bzero(salted, sizeof(salted));
    explicit_bzero(client, sizeof(client));
    return done;
}

void sasl_name_add(struct buf *out, struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == ',')
            buf_add_cstr(out, "=2C");
        else if (name.ptr[i] == '=')
            buf_add_cstr(out, "=3D");
        else
            buf_add_char(out, name.ptr[i]);
    }
}

bool sasl_name_decode(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        struct slice code = slice_head(slice_from(text, i), 3);

        if (text.ptr[i] == ',')
            return false;
        if (text.ptr[i] != '=') {
            buf_add_char(out, text.ptr[i]);
            continue;
        }
        if (slice_equal(code, SLICE("=2C")))
            buf_add_char(out, ',');
        else if (slice_equal(code, SLICE("=3D")))
            buf_add_char(out, '=');
        else
            return false;
        i += 2;
    }
    return out->len > 0;
}

bool sasl_attribute(struct slice *rest, char name, struct slice *ret)
{
    if (rest->len < 2 || rest->ptr[0] != name || rest->ptr[1] != '=')
        return false;
    struct slice value = slice_from(*rest, 2);
    ptrdiff_t comma = slice_find(value, ',');
    *ret = comma >= 0 ? slice_head(value, (size_t)comma) : value;
    *rest = comma >= 0 ? slice_from(value, (size_t)comma + 1) : slice_from(value, value.len);
    return true;
}

bool sasl_nonce(struct buf *out)
{
    unsigned char octets[NONCE_OCTETS];

    if (RAND_bytes(octets, sizeof(octets)) != 1)
        return false;
    base64_add(out, slice_make((const char *)octets, sizeof(octets)));
    return true;
}

void sasl_cram_digest(struct slice password, struct slice challenge, char out[33])
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned octets = 0;

    (void)HMAC(EVP_md5(), password.len > 0 ? password.ptr : "", (int)password.len,
               (const unsigned char *)challenge.ptr, challenge.len, mac, &octets);
    for (unsigned i = 0; i < 16; i++)
        (void)snprintf(out + (size_t)2 * i, 3, "%02x", octets == 16 ? mac[i] : 0u);
    explicit_bzero(mac, sizeof(mac));
}
