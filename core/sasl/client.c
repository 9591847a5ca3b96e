/* SPDX-License-Identifier: Apache-2.0 */
#include "sasl/client.h"

#include <assert.h>
#include <errno.h>

#include "sasl/base64.h"

bool sasl_client_knows(enum sasl_mechanism mechanism)
{
    return mechanism == SASL_PLAIN || mechanism == SASL_LOGIN || mechanism == SASL_SCRAM_SHA_1 ||
           mechanism == SASL_SCRAM_SHA_256;
}

enum sasl_mechanism sasl_client_named(struct slice name)
{
    unsigned m = 0;

    while (m < SASL_MECHANISM_COUNT &&
           !(sasl_client_knows((enum sasl_mechanism)m) &&
             slice_equal_nocase(name, slice_cstr(sasl_mechanism_name((enum sasl_mechanism)m)))))
        m++;
    return (enum sasl_mechanism)m;
}

static int begin_scram(struct sasl_client *c, struct slice nonce, struct buf *out)
{
    if (nonce.len > 0)
        buf_add(&c->nonce, nonce);
    else if (!sasl_nonce(&c->nonce))
        return -EINVAL;
    buf_add(&c->first_bare, SLICE("n="));
    sasl_name_add(&c->first_bare, buf_slice(&c->user));
    buf_printf(&c->first_bare, ",r=%s", c->nonce.data);
    buf_add(out, SLICE("n,,"));
    buf_add(out, buf_slice(&c->first_bare));
    return 0;
}

static void add_plain(const struct sasl_client *c, struct buf *out)
{
    (void)buf_reserve(out, c->user.len + c->password.len + 2);
    buf_add_char(out, '\0');
    buf_add(out, buf_slice(&c->user));
    buf_add_char(out, '\0');
    buf_add(out, buf_slice(&c->password));
}

int sasl_client_begin(struct sasl_client *c, enum sasl_mechanism mechanism, struct slice user,
                      struct slice password, struct slice nonce, struct buf *out,
                      bool *ret_has_initial)
{
    *c = (struct sasl_client){ .mechanism = mechanism };
    (void)buf_reserve(&c->password, password.len);
    if (!sasl_client_knows(mechanism) || !sasl_text_is_fit(user, SASL_USER_OCTETS_MAX) ||
        !sasl_text_is_fit(password, SASL_PASSWORD_OCTETS_MAX))
        return -EINVAL;
    *ret_has_initial = mechanism != SASL_LOGIN;
    if (sasl_is_scram(mechanism)) {
        if (!sasl_prep(user, SASL_USER_OCTETS_MAX, &c->user) ||
            !sasl_prep(password, SASL_PASSWORD_OCTETS_MAX, &c->password))
            return -EINVAL;
        return begin_scram(c, nonce, out);
    }
    buf_add(&c->user, user);
    buf_add(&c->password, password);
    if (mechanism == SASL_PLAIN)
        add_plain(c, out);
    return 0;
}

struct server_first {
    struct slice nonce, salt; /* salt: base64 */
    uint64_t iterations;
};

static bool parse_server_first(const struct sasl_client *c, struct slice message,
                               struct server_first *ret)
{
    struct slice rest = message, count;

    return sasl_attribute(&rest, 'r', &ret->nonce) && sasl_attribute(&rest, 's', &ret->salt) &&
           sasl_attribute(&rest, 'i', &count) && slice_to_u64(count, &ret->iterations) &&
           ret->iterations >= SASL_ITERATIONS_DEFAULT &&
           ret->iterations <= SASL_CLIENT_ITERATIONS_MAX && ret->nonce.len > c->nonce.len &&
           ret->salt.len <= (size_t)2 * SASL_SALT_OCTETS_MAX &&
           slice_equal(slice_head(ret->nonce, c->nonce.len), buf_slice(&c->nonce));
}

static void prove(struct sasl_client *c, const unsigned char *salted, struct slice auth,
                  struct buf *out)
{
    enum sasl_hash hash = sasl_scram_hash(c->mechanism);
    size_t octets = sasl_hash_octets(hash);
    struct slice key = slice_make((const char *)salted, octets);
    unsigned char client[SASL_HASH_OCTETS_MAX], stored[SASL_HASH_OCTETS_MAX];
    unsigned char signature[SASL_HASH_OCTETS_MAX];

    sasl_hmac(hash, key, SLICE("Client Key"), client);
    sasl_digest(hash, slice_make((const char *)client, octets), stored);
    sasl_hmac(hash, slice_make((const char *)stored, octets), auth, signature);
    for (size_t i = 0; i < octets; i++)
        client[i] ^= signature[i];
    buf_add(out, SLICE(",p="));
    base64_add(out, slice_make((const char *)client, octets));
    sasl_hmac(hash, key, SLICE("Server Key"), stored);
    sasl_hmac(hash, slice_make((const char *)stored, octets), auth, c->signature);
    explicit_bzero(client, sizeof(client));
    explicit_bzero(stored, sizeof(stored));
}

void sasl_client_salted(struct sasl_client *c, const unsigned char salted[SASL_HASH_OCTETS_MAX], struct buf *out)
{
    struct server_first first;
    CLEANUP_BUF struct buf final = BUF_INIT;
    CLEANUP_SECRET struct buf auth = BUF_INIT;
    bool ok = parse_server_first(c, buf_slice(&c->server_first), &first);

    assert(ok); /* it was when it came */
    buf_add(&final, SLICE("c=biws,r=")); /* "n,," */
    buf_add(&final, first.nonce);
    buf_add(&auth, buf_slice(&c->first_bare));
    buf_add_char(&auth, ',');
    buf_add(&auth, buf_slice(&c->server_first));
    buf_add_char(&auth, ',');
    buf_add(&auth, buf_slice(&final));
    buf_add(out, buf_slice(&final));
    prove(c, salted, buf_slice(&auth), out);
}

static int answer_first(struct sasl_client *c, struct slice challenge, struct buf *out)
{
    unsigned char salted[SASL_HASH_OCTETS_MAX];
    struct server_first first;

    if (!parse_server_first(c, challenge, &first) || !base64_decode(&c->salt, first.salt) || c->salt.len == 0)
        return -EPROTO;
    buf_add(&c->server_first, challenge);
    c->iterations = (unsigned)first.iterations;
    if (c->apart)
        return SASL_CLIENT_SALT;
    if (!sasl_scram_salted(sasl_scram_hash(c->mechanism), buf_slice(&c->password), buf_slice(&c->salt), c->iterations,
                           salted))
        return -EPROTO;
    sasl_client_salted(c, salted, out);
    explicit_bzero(salted, sizeof(salted));
    return 0;
}

static int check_final(struct sasl_client *c, struct slice challenge)
{
    size_t octets = sasl_hash_octets(sasl_scram_hash(c->mechanism));
    CLEANUP_BUF struct buf signature = BUF_INIT;
    struct slice rest = challenge, value;

    if (!sasl_attribute(&rest, 'v', &value) || !base64_decode(&signature, value))
        return -EPROTO;
    if (signature.len != octets || !sasl_equal(signature.data, c->signature, octets))
        return -EACCES;
    c->proven = true;
    return 0;
}

int sasl_client_input(struct sasl_client *c, struct slice challenge, struct buf *out)
{
    unsigned round = c->round++;

    if (c->mechanism == SASL_LOGIN && round < 2) {
        buf_add(out, buf_slice(round == 0 ? &c->user : &c->password));
        return 0;
    }
    if (c->mechanism == SASL_PLAIN && round == 0 && challenge.len == 0) {
        add_plain(c, out); /* the server has not looked at the initial response */
        return 0;
    }
    if (!sasl_is_scram(c->mechanism) || round > 1)
        return -EPROTO;
    return round == 0 ? answer_first(c, challenge, out) : check_final(c, challenge);
}

bool sasl_client_may_end(const struct sasl_client *c)
{
    return sasl_is_scram(c->mechanism) ? c->proven
                                       : c->mechanism == SASL_PLAIN || c->round == 2;
}

void sasl_client_fini(struct sasl_client *c)
{
    buf_wipe(&c->user);
    buf_wipe(&c->password);
    buf_wipe(&c->first_bare);
    buf_wipe(&c->nonce);
    buf_wipe(&c->server_first);
    buf_wipe(&c->salt);
    explicit_bzero(c, sizeof(*c));
}
