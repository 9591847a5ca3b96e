/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_scram.c - the server's end of SCRAM (RFC 5802 5, 6, 7).
 *
 * A client that says "y" believes that we have no channel binding; where we offer it somebody has
 * taken it out of the list on the way, and the exchange fails (RFC 5802 6).
 */
#include <assert.h>

#include "sasl/base64.h"
#include "sasl/server.h"

static enum sasl_step fail(struct sasl_server *s, enum sasl_step step)
{
    s->state = SASL_SERVER_DONE;
    return step;
}

/* SASL_STEP_OK: the flag fits the mechanism and the connection. */
static enum sasl_step take_binding(struct sasl_server *s, struct slice *rest)
{
    bool plus = sasl_is_plus(s->options.mechanism);
    unsigned char octets[SASL_BINDING_OCTETS_MAX];
    struct slice name;

    if (rest->len >= 2 && rest->ptr[1] == ',' && (rest->ptr[0] == 'n' || rest->ptr[0] == 'y')) {
        bool believes_none = rest->ptr[0] == 'y';
        *rest = slice_from(*rest, 2);
        if (plus || (believes_none && s->options.binding != NULL))
            return SASL_STEP_WRONG;
        return SASL_STEP_OK;
    }
    if (!sasl_attribute(rest, 'p', &name))
        return SASL_STEP_MALFORMED;
    if (!plus)
        return SASL_STEP_MALFORMED;
    int count = s->options.binding != NULL
                    ? s->options.binding(s->options.binding_arg, name, octets)
                    : -1;
    if (count <= 0)
        return SASL_STEP_WRONG;
    buf_add(&s->binding_data, slice_make((const char *)octets, (size_t)count));
    return SASL_STEP_OK;
}

/* [authzid] ","; only the user's own. */
static enum sasl_step take_authzid(struct slice *rest, struct slice *ret)
{
    *ret = SLICE("");
    if (rest->len > 0 && rest->ptr[0] == ',') {
        *rest = slice_from(*rest, 1);
        return SASL_STEP_OK;
    }
    return sasl_attribute(rest, 'a', ret) ? SASL_STEP_OK : SASL_STEP_MALFORMED;
}

static bool nonce_is_fit(struct slice nonce)
{
    for (size_t i = 0; i < nonce.len; i++)
        if (nonce.ptr[i] < 0x21 || nonce.ptr[i] > 0x7e || nonce.ptr[i] == ',')
            return false;
    return nonce.len > 0 && nonce.len <= SASL_NONCE_OCTETS_MAX;
}

enum sasl_step sasl_scram_first(struct sasl_server *s, struct slice message)
{
    struct slice rest = message, authzid, name, nonce;
    CLEANUP_BUF struct buf decoded = BUF_INIT;
    enum sasl_step step = take_binding(s, &rest);

    if (step == SASL_STEP_OK)
        step = take_authzid(&rest, &authzid);
    if (step != SASL_STEP_OK)
        return fail(s, step);
    buf_add(&s->gs2, slice_head(message, message.len - rest.len));
    buf_add(&s->first_bare, rest);
    /* "m=" is an extension that must be understood; we know none (RFC 5802 5.1). */
    if (!sasl_attribute(&rest, 'n', &name) || !sasl_attribute(&rest, 'r', &nonce))
        return fail(s, SASL_STEP_MALFORMED);
    if (!nonce_is_fit(nonce) || !sasl_name_decode(name, &decoded))
        return fail(s, SASL_STEP_MALFORMED);
    if (authzid.len > 0 && !slice_equal(authzid, name))
        return fail(s, SASL_STEP_WRONG);
    if (!sasl_prep(buf_slice(&decoded), SASL_USER_OCTETS_MAX, &s->user))
        return fail(s, SASL_STEP_WRONG);
    buf_add(&s->nonce, nonce);
    if (s->options.nonce.len > 0)
        buf_add(&s->nonce, s->options.nonce);
    else if (!sasl_nonce(&s->nonce))
        return fail(s, SASL_STEP_WRONG);
    s->state = SASL_SERVER_ASKED;
    return SASL_STEP_LOOKUP;
}

enum sasl_step sasl_server_keys(struct sasl_server *s, const struct sasl_keys *keys,
                                const struct sasl_keys *made_up)
{
    assert(s->state == SASL_SERVER_ASKED && sasl_is_scram(s->options.mechanism));
    s->unknown = keys == NULL;
    s->keys = keys != NULL ? *keys : *made_up;
    buf_clear(&s->out);
    buf_printf(&s->out, "r=%s,s=", s->nonce.data);
    base64_add(&s->out, slice_make((const char *)s->keys.salt, s->keys.salt_octets));
    buf_printf(&s->out, ",i=%u", s->keys.iterations);
    buf_add(&s->server_first, buf_slice(&s->out));
    s->state = SASL_SERVER_PROOF;
    return SASL_STEP_CHALLENGE;
}

/* c= is the header of the first message and the binding, said again: nobody changed it on the way. */
static bool binding_matches(const struct sasl_server *s, struct slice value)
{
    CLEANUP_BUF struct buf want = BUF_INIT;
    CLEANUP_BUF struct buf text = BUF_INIT;

    buf_add(&want, buf_slice(&s->gs2));
    buf_add(&want, buf_slice(&s->binding_data));
    base64_add(&text, buf_slice(&want));
    return slice_equal(buf_slice(&text), value);
}

/* ClientKey = ClientProof XOR HMAC(StoredKey, AuthMessage); right if H(ClientKey) is StoredKey. */
static bool proof_is_right(struct sasl_server *s, struct slice auth, const struct buf *proof)
{
    enum sasl_hash hash = sasl_scram_hash(s->options.mechanism);
    size_t octets = sasl_hash_octets(hash);
    unsigned char key[SASL_HASH_OCTETS_MAX], digest[SASL_HASH_OCTETS_MAX];

    if (proof->len != octets)
        return false;
    sasl_hmac(hash, slice_make((const char *)s->keys.stored_key, octets), auth, key);
    for (size_t i = 0; i < octets; i++)
        key[i] ^= (unsigned char)proof->data[i];
    sasl_digest(hash, slice_make((const char *)key, octets), digest);
    bool right = sasl_equal(digest, s->keys.stored_key, octets) && !s->unknown;
    explicit_bzero(key, sizeof(key));
    return right;
}

static enum sasl_step say_verifier(struct sasl_server *s, struct slice auth)
{
    enum sasl_hash hash = sasl_scram_hash(s->options.mechanism);
    size_t octets = sasl_hash_octets(hash);
    unsigned char signature[SASL_HASH_OCTETS_MAX];

    sasl_hmac(hash, slice_make((const char *)s->keys.server_key, octets), auth, signature);
    buf_clear(&s->out);
    buf_add(&s->out, SLICE("v="));
    base64_add(&s->out, slice_make((const char *)signature, octets));
    s->outcome = SASL_STEP_OK;
    s->state = SASL_SERVER_SAID;
    return SASL_STEP_CHALLENGE;
}

enum sasl_step sasl_scram_proof(struct sasl_server *s, struct slice message)
{
    struct slice rest = message, binding, nonce, text = SLICE("");
    CLEANUP_SECRET struct buf auth = BUF_INIT;
    CLEANUP_SECRET struct buf proof = BUF_INIT;

    if (!sasl_attribute(&rest, 'c', &binding) || !sasl_attribute(&rest, 'r', &nonce))
        return fail(s, SASL_STEP_MALFORMED);
    /* Extensions may stand between; the proof is the last. */
    while (rest.len > 0 && rest.ptr[0] != 'p') {
        struct slice unused;
        if (!sasl_attribute(&rest, rest.ptr[0], &unused))
            return fail(s, SASL_STEP_MALFORMED);
    }
    size_t without_proof = message.len - rest.len;
    if (!sasl_attribute(&rest, 'p', &text) || rest.len > 0 || !base64_decode(&proof, text))
        return fail(s, SASL_STEP_MALFORMED);
    if (!slice_equal(nonce, buf_slice(&s->nonce)) || !binding_matches(s, binding))
        return fail(s, SASL_STEP_WRONG);
    buf_add(&auth, buf_slice(&s->first_bare));
    buf_add_char(&auth, ',');
    buf_add(&auth, buf_slice(&s->server_first));
    buf_add_char(&auth, ',');
    buf_add(&auth, slice_head(message, without_proof - 1)); /* without the comma */
    if (!proof_is_right(s, buf_slice(&auth), &proof))
        return fail(s, SASL_STEP_WRONG);
    return say_verifier(s, buf_slice(&auth));
}
