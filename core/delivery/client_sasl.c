/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/mem.h"
#include "delivery/client_sasl_private.h"

#define NONCE_OCTETS 18 /* 24 characters of base64 */

static const struct {
    const char *name;
    bool plaintext;
} mechanisms[CLIENT_SASL_COUNT] = {
    [CLIENT_SASL_SCRAM_SHA_256] = { "SCRAM-SHA-256", false },
    [CLIENT_SASL_PLAIN] = { "PLAIN", true },
    [CLIENT_SASL_LOGIN] = { "LOGIN", true },
};

enum client_mechanism client_sasl_mechanism(struct slice name)
{
    unsigned m = 0;

    while (m < CLIENT_SASL_COUNT && !slice_equal_nocase(name, slice_cstr(mechanisms[m].name)))
        m++;
    return (enum client_mechanism)m;
}

const char *client_sasl_name(enum client_mechanism mechanism)
{
    assert(mechanism < CLIENT_SASL_COUNT);
    return mechanisms[mechanism].name;
}

bool client_sasl_is_plaintext(enum client_mechanism mechanism)
{
    assert(mechanism < CLIENT_SASL_COUNT);
    return mechanisms[mechanism].plaintext;
}

/* ---- base64 ---- */

void client_base64_add(struct buf *out, struct slice octets)
{
    size_t size = (octets.len + 2) / 3 * 4;
    char *to = buf_reserve(out, size + 1); /* OpenSSL puts a NUL behind it */

    if (octets.len > 0)
        (void)EVP_EncodeBlock((unsigned char *)to, (const unsigned char *)octets.ptr,
                              (int)octets.len);
    out->len += size;
    out->data[out->len] = '\0';
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool client_base64_decode(struct slice text, struct buf *ret)
{
    unsigned pads = 0;

    while (pads < 2 && text.len > pads && text.ptr[text.len - 1 - pads] == '=')
        pads++;
    if (text.len % 4 != 0)
        return false;
    for (size_t i = 0; i + pads < text.len; i++)
        if (base64_value(text.ptr[i]) < 0)
            return false;
    for (size_t i = 0; i < text.len; i += 4) {
        unsigned group = 0, octets = i + 4 == text.len ? 3 - pads : 3;
        for (unsigned k = 0; k < 4; k++)
            group = group << 6 | (text.ptr[i + k] == '=' ? 0u : (unsigned)base64_value(text.ptr[i + k]));
        for (unsigned k = 0; k < octets; k++)
            buf_add_char(ret, (char)(unsigned char)(group >> (16 - 8 * k)));
    }
    return true;
}

void client_wipe(struct buf *secret)
{
    if (secret->data != NULL)
        explicit_bzero(secret->data, secret->size);
    buf_free(secret);
}

/* ---- the exchange ---- */

static char *new_nonce(void)
{
    unsigned char random[NONCE_OCTETS];
    struct buf text = BUF_INIT;

    if (RAND_bytes(random, sizeof(random)) != 1)
        abort(); /* nothing that is secret can be done without */
    client_base64_add(&text, slice_make((const char *)random, sizeof(random)));
    return text.data;
}

struct client_sasl *client_sasl_new(enum client_mechanism mechanism, struct slice user,
                                    struct slice password, const char *nonce)
{
    struct client_sasl *c = mem_zalloc(sizeof(*c));

    assert(mechanism < CLIENT_SASL_COUNT);
    c->mechanism = mechanism;
    c->user = mem_dup(user.ptr, user.len);
    c->user_len = user.len;
    c->password = mem_dup(password.ptr, password.len);
    c->password_len = password.len;
    if (mechanism == CLIENT_SASL_SCRAM_SHA_256)
        c->nonce = nonce != NULL ? mem_strdup(nonce) : new_nonce();
    return c;
}

void client_sasl_free(struct client_sasl *c)
{
    if (c == NULL)
        return;
    explicit_bzero(c->password, c->password_len);
    explicit_bzero(c->server_signature, sizeof(c->server_signature));
    free(c->user);
    free(c->password);
    free(c->nonce);
    buf_free(&c->first_bare);
    free(c);
}

bool client_sasl_first(struct client_sasl *c, struct buf *ret)
{
    switch (c->mechanism) {
    case CLIENT_SASL_SCRAM_SHA_256: client_scram_first(c, ret); return true;
    case CLIENT_SASL_PLAIN:
        buf_add_char(ret, '\0');
        buf_add(ret, slice_make(c->user, c->user_len));
        buf_add_char(ret, '\0');
        buf_add(ret, slice_make(c->password, c->password_len));
        return true;
    default: return false;
    }
}

/* The prompts say what they like; the order is fixed. */
static bool login_step(struct client_sasl *c, struct buf *ret, const char **ret_error)
{
    if (c->steps > 1) {
        *ret_error = "it asks for more than user and password";
        return false;
    }
    buf_add(ret, c->steps == 0 ? slice_make(c->user, c->user_len)
                               : slice_make(c->password, c->password_len));
    return true;
}

bool client_sasl_step(struct client_sasl *c, struct slice challenge, struct buf *ret,
                      const char **ret_error)
{
    bool fine = false;

    switch (c->mechanism) {
    case CLIENT_SASL_SCRAM_SHA_256: fine = client_scram_step(c, challenge, ret, ret_error); break;
    case CLIENT_SASL_LOGIN: fine = login_step(c, ret, ret_error); break;
    default: *ret_error = "it asks for more than was sent"; break;
    }
    c->steps++;
    return fine;
}

bool client_sasl_may_end(const struct client_sasl *c)
{
    return c->mechanism != CLIENT_SASL_SCRAM_SHA_256 || c->proved;
}
