/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_scram.c - SCRAM-SHA-256, the client's side (RFC 5802, RFC 7677).
 *
 * The server never sees the password, and has to show that it knows it (or its stored form): a 235
 * without that is worth nothing. A nonce that does not go on ours, or a count of iterations out of
 * bounds, ends the exchange.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "delivery/client_sasl_private.h"

#define SCRAM_CHALLENGE_MAX 4096

struct server_first {
    struct slice nonce, salt;
    unsigned iterations;
};

/* ---- messages ---- */

/* RFC 5802 5.1: ',' and '=' in a name. */
static void add_name(struct buf *out, struct slice name)
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

void client_scram_first(struct client_sasl *c, struct buf *ret)
{
    buf_clear(&c->first_bare);
    buf_add_cstr(&c->first_bare, "n=");
    add_name(&c->first_bare, slice_make(c->user, c->user_len));
    buf_add_cstr(&c->first_bare, ",r=");
    buf_add_cstr(&c->first_bare, c->nonce);
    buf_add_cstr(ret, "n,,");
    buf_add(ret, buf_slice(&c->first_bare));
}

/* The value of the attribute that comes next, if it is `name`. */
static bool take(struct slice *rest, char name, struct slice *ret)
{
    if (rest->len < 2 || rest->ptr[0] != name || rest->ptr[1] != '=')
        return false;
    ptrdiff_t comma = slice_find(*rest, ',');
    size_t len = comma >= 0 ? (size_t)comma : rest->len;
    *ret = slice_from(slice_head(*rest, len), 2);
    *rest = slice_from(*rest, len + (comma >= 0));
    return true;
}

static bool parse_first(struct slice text, struct server_first *ret)
{
    struct slice count;
    uint64_t n;

    if (text.len > SCRAM_CHALLENGE_MAX || !take(&text, 'r', &ret->nonce) ||
        !take(&text, 's', &ret->salt) || !take(&text, 'i', &count) || !slice_to_u64(count, &n))
        return false;
    ret->iterations = n > CLIENT_ITERATIONS_MAX ? CLIENT_ITERATIONS_MAX + 1 : (unsigned)n;
    return true; /* what follows are extensions that may be ignored (RFC 5802 5.1) */
}

static bool goes_on(struct slice whole, const char *own)
{
    size_t len = strlen(own);

    return whole.len > len && memcmp(whole.ptr, own, len) == 0;
}

/* ---- keys ---- */

static void hmac(const unsigned char key[SCRAM_OCTETS], struct slice text,
                 unsigned char out[SCRAM_OCTETS])
{
    (void)HMAC(EVP_sha256(), key, SCRAM_OCTETS, (const unsigned char *)text.ptr, text.len, out,
               NULL);
}

/* RFC 5802 3: proof = ClientKey xor HMAC(H(ClientKey), AuthMessage). */
static bool prove(struct client_sasl *c, const struct server_first *first, struct slice message,
                  unsigned char proof[SCRAM_OCTETS])
{
    struct buf salt CLEANUP_BUF = BUF_INIT;
    unsigned char salted[SCRAM_OCTETS], key[SCRAM_OCTETS], stored[SCRAM_OCTETS];
    bool fine = client_base64_decode(first->salt, &salt) && salt.len > 0 &&
                PKCS5_PBKDF2_HMAC(c->password, (int)c->password_len,
                                  (const unsigned char *)salt.data, (int)salt.len,
                                  (int)first->iterations, EVP_sha256(), SCRAM_OCTETS, salted) == 1;

    if (fine) {
        hmac(salted, SLICE("Client Key"), key);
        (void)EVP_Digest(key, SCRAM_OCTETS, stored, NULL, EVP_sha256(), NULL);
        hmac(stored, message, proof);
        for (unsigned i = 0; i < SCRAM_OCTETS; i++)
            proof[i] ^= key[i];
        hmac(salted, SLICE("Server Key"), key);
        hmac(key, message, c->server_signature);
    }
    explicit_bzero(salted, sizeof(salted));
    explicit_bzero(key, sizeof(key));
    explicit_bzero(stored, sizeof(stored));
    return fine;
}

/* ---- steps ---- */

static bool answer_first(struct client_sasl *c, struct slice challenge, struct buf *ret,
                         const char **ret_error)
{
    struct server_first first;
    struct buf message CLEANUP_BUF = BUF_INIT, last CLEANUP_BUF = BUF_INIT;
    unsigned char proof[SCRAM_OCTETS];

    *ret_error = "its challenge is none of SCRAM";
    if (!parse_first(challenge, &first))
        return false;
    if (!goes_on(first.nonce, c->nonce)) {
        *ret_error = "its nonce does not go on ours";
        return false;
    }
    if (first.iterations < CLIENT_ITERATIONS_MIN || first.iterations > CLIENT_ITERATIONS_MAX) {
        *ret_error = "it wants fewer than 4096 or more than 100000 iterations";
        return false;
    }
    buf_add_cstr(&last, "c=biws,r="); /* base64 of "n,,": no channel binding */
    buf_add(&last, first.nonce);
    buf_add(&message, buf_slice(&c->first_bare));
    buf_add_char(&message, ',');
    buf_add(&message, challenge);
    buf_add_char(&message, ',');
    buf_add(&message, buf_slice(&last));
    if (!prove(c, &first, buf_slice(&message), proof))
        return false;
    buf_add(ret, buf_slice(&last));
    buf_add_cstr(ret, ",p=");
    client_base64_add(ret, slice_make((const char *)proof, sizeof(proof)));
    return true;
}

static bool check_last(struct client_sasl *c, struct slice challenge, const char **ret_error)
{
    struct buf signature CLEANUP_BUF = BUF_INIT;
    struct slice value;

    if (!take(&challenge, 'v', &value) || !client_base64_decode(value, &signature)) {
        *ret_error = "it did not show that it knows the password";
        return false;
    }
    c->proved = signature.len == SCRAM_OCTETS &&
                CRYPTO_memcmp(signature.data, c->server_signature, SCRAM_OCTETS) == 0;
    if (!c->proved)
        *ret_error = "it does not know the password itself";
    return c->proved;
}

bool client_scram_step(struct client_sasl *c, struct slice challenge, struct buf *ret,
                     const char **ret_error)
{
    if (c->steps == 0)
        return answer_first(c, challenge, ret, ret_error);
    if (c->steps == 1)
        return check_last(c, challenge, ret_error); /* the response is empty */
    *ret_error = "it asks for more than SCRAM has";
    return false;
}
