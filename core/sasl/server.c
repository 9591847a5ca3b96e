/* SPDX-License-Identifier: Apache-2.0 */
#include "sasl/server.h"

#include <assert.h>
#include <time.h>

#include "sasl/base64.h"

/* RFC 7628 3.2.2 and Google's page on XOAUTH2: the client reads why, answers something, and fails. */
static const char token_refused[] = "{\"status\":\"invalid_token\",\"schemes\":\"bearer\"}";

void sasl_server_init(struct sasl_server *s, const struct sasl_server_options *options)
{
    *s = (struct sasl_server){ .options = *options, .outcome = SASL_STEP_WRONG };
    assert(options->mechanism < SASL_MECHANISM_COUNT);
}

void sasl_server_fini(struct sasl_server *s)
{
    struct buf *all[] = { &s->out,          &s->user,  &s->password, &s->given,       &s->first_bare,
                          &s->server_first, &s->nonce, &s->gs2,      &s->binding_data };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        buf_wipe(all[i]);
    explicit_bzero(s, sizeof(*s));
    s->state = SASL_SERVER_DONE;
}

static enum sasl_step challenge(struct sasl_server *s, enum sasl_server_state next)
{
    s->state = next;
    return SASL_STEP_CHALLENGE;
}

static enum sasl_step end(struct sasl_server *s, enum sasl_step step)
{
    s->state = SASL_SERVER_DONE;
    return step;
}

static enum sasl_step ask(struct sasl_server *s, enum sasl_step step)
{
    s->state = SASL_SERVER_ASKED;
    return step;
}

/* ---- PLAIN, LOGIN, EXTERNAL ---- */

static struct slice cut(struct slice *rest, char end_of)
{
    ptrdiff_t at = slice_find(*rest, end_of);
    struct slice word = at >= 0 ? slice_head(*rest, (size_t)at) : *rest;

    *rest = slice_from(*rest, at >= 0 ? (size_t)at + 1 : rest->len);
    return word;
}

/*
 * Both as they may be used; else the credentials are wrong, however well-formed the message. A password is
 * asked for as SCRAM would have it (RFC 4616 2), and then as it was given, if that is another: hashes made by
 * software that prepares nothing are of that one (docs/decisions/0009).
 */
static enum sasl_step take_password(struct sasl_server *s, struct slice user, struct slice password)
{
    if ((user.len > 0 && !sasl_prep(user, SASL_USER_OCTETS_MAX, &s->user)) || user.len == 0)
        return end(s, SASL_STEP_WRONG);
    if (!sasl_text_is_fit(password, SASL_PASSWORD_OCTETS_MAX))
        return end(s, SASL_STEP_WRONG);
    (void)buf_reserve(&s->password, password.len);
    if (!sasl_prep(password, SASL_PASSWORD_OCTETS_MAX, &s->password))
        buf_add(&s->password, password);
    if (!slice_equal(buf_slice(&s->password), password)) {
        (void)buf_reserve(&s->given, password.len);
        buf_add(&s->given, password);
    }
    return ask(s, SASL_STEP_VERIFY);
}

bool sasl_server_as_given(struct sasl_server *s)
{
    assert(s->state == SASL_SERVER_ASKED);
    if (s->given.len == 0)
        return false;
    buf_wipe(&s->password);
    s->password = s->given;
    s->given = (struct buf)BUF_INIT;
    return true;
}

/* [authzid] NUL authcid NUL passwd (RFC 4616 2). Nobody acts for somebody else here. */
static enum sasl_step plain(struct sasl_server *s, struct slice message)
{
    struct slice rest = message;

    if (slice_find(message, '\0') < 0)
        return end(s, SASL_STEP_MALFORMED);
    struct slice authzid = cut(&rest, '\0');
    if (slice_find(rest, '\0') < 0)
        return end(s, SASL_STEP_MALFORMED);
    struct slice authcid = cut(&rest, '\0');
    if (slice_find(rest, '\0') >= 0)
        return end(s, SASL_STEP_MALFORMED);
    if (authzid.len > 0 && !slice_equal(authzid, authcid))
        return end(s, SASL_STEP_WRONG);
    return take_password(s, authcid, rest);
}

static enum sasl_step login(struct sasl_server *s, struct slice message)
{
    if (s->state == SASL_SERVER_FIRST) {
        buf_add(&s->nonce, slice_head(message, SASL_USER_OCTETS_MAX + 1)); /* the name, unprepared */
        buf_clear(&s->out);
        buf_add(&s->out, SLICE("Password:"));
        return challenge(s, SASL_SERVER_PASSWORD);
    }
    return take_password(s, buf_slice(&s->nonce), message);
}

/* RFC 4422 A: the identity to act as, or nothing: that of the certificate. */
static enum sasl_step external(struct sasl_server *s, struct slice message)
{
    if (message.len > 0 && !sasl_prep(message, SASL_USER_OCTETS_MAX, &s->user))
        return end(s, SASL_STEP_WRONG);
    return ask(s, SASL_STEP_VERIFY);
}

/* ---- tokens ---- */

static enum sasl_step take_token(struct sasl_server *s, struct slice user, struct slice value)
{
    struct slice bearer = SLICE("Bearer ");

    if (!slice_starts_nocase(value, bearer))
        return end(s, SASL_STEP_MALFORMED);
    struct slice token = slice_trim(slice_from(value, bearer.len));
    if (!sasl_text_is_fit(token, token.len) || !sasl_prep(user, SASL_USER_OCTETS_MAX, &s->user))
        return end(s, SASL_STEP_WRONG);
    (void)buf_reserve(&s->password, token.len);
    buf_add(&s->password, token);
    return ask(s, SASL_STEP_VERIFY);
}

/* key=value ^A ... ^A ^A; the value of auth=. False: not that shape. */
static bool token_pairs(struct slice rest, struct slice *ret_user, struct slice *ret_auth)
{
    while (rest.len > 0 && rest.ptr[0] != '\1') {
        if (slice_find(rest, '\1') < 0)
            return false;
        struct slice pair = cut(&rest, '\1');
        if (slice_starts_nocase(pair, SLICE("auth=")))
            *ret_auth = slice_from(pair, 5);
        else if (slice_starts_nocase(pair, SLICE("user=")))
            *ret_user = slice_from(pair, 5);
    }
    return rest.len == 1 && ret_auth->len > 0;
}

/* RFC 7628 3.1: gs2-header ^A pairs ^A. */
static enum sasl_step oauthbearer(struct sasl_server *s, struct slice message)
{
    struct slice rest = message, name, user = SLICE(""), auth = SLICE(""), unused = SLICE("");

    if (rest.len < 2 || (rest.ptr[0] != 'n' && rest.ptr[0] != 'y') || rest.ptr[1] != ',')
        return end(s, SASL_STEP_MALFORMED);
    rest = slice_from(rest, 2);
    if (!sasl_attribute(&rest, 'a', &name) || rest.len == 0 || rest.ptr[0] != '\1')
        return end(s, SASL_STEP_MALFORMED);
    CLEANUP_BUF struct buf decoded = BUF_INIT;
    if (!sasl_name_decode(name, &decoded))
        return end(s, SASL_STEP_MALFORMED);
    user = buf_slice(&decoded);
    if (!token_pairs(slice_from(rest, 1), &unused, &auth))
        return end(s, SASL_STEP_MALFORMED);
    return take_token(s, user, auth);
}

static enum sasl_step xoauth2(struct sasl_server *s, struct slice message)
{
    struct slice user = SLICE(""), auth = SLICE("");

    if (!token_pairs(message, &user, &auth) || user.len == 0)
        return end(s, SASL_STEP_MALFORMED);
    return take_token(s, user, auth);
}

/* ---- CRAM-MD5 ---- */

static enum sasl_step cram_challenge(struct sasl_server *s)
{
    buf_add_char(&s->out, '<');
    if (s->options.nonce.len > 0)
        buf_add(&s->out, s->options.nonce);
    else if (!sasl_nonce(&s->out))
        return end(s, SASL_STEP_WRONG);
    buf_add_char(&s->out, '@');
    buf_add(&s->out, s->options.hostname);
    buf_add_char(&s->out, '>');
    buf_add(&s->server_first, buf_slice(&s->out));
    return challenge(s, SASL_SERVER_FIRST);
}

/* "user digest": the digest stands behind the last blank. */
static enum sasl_step cram(struct sasl_server *s, struct slice message)
{
    if (message.len < 34 || message.ptr[message.len - 33] != ' ')
        return end(s, SASL_STEP_MALFORMED);
    if (!sasl_prep(slice_head(message, message.len - 33), SASL_USER_OCTETS_MAX, &s->user))
        return end(s, SASL_STEP_WRONG);
    buf_add(&s->first_bare, slice_from(message, message.len - 32));
    return ask(s, SASL_STEP_LOOKUP);
}

enum sasl_step sasl_server_cram(struct sasl_server *s, struct slice password)
{
    char digest[33];

    assert(s->state == SASL_SERVER_ASKED && s->options.mechanism == SASL_CRAM_MD5);
    /* Of an unknown user all the same: it costs the same. */
    sasl_cram_digest(password, buf_slice(&s->server_first), digest);
    bool right = sasl_equal(digest, s->first_bare.data, 32) && password.ptr != NULL;
    explicit_bzero(digest, sizeof(digest));
    return end(s, right ? SASL_STEP_OK : SASL_STEP_WRONG);
}

/* ---- the door ---- */

enum sasl_step sasl_server_begin(struct sasl_server *s, const struct slice *initial)
{
    assert(s->state == SASL_SERVER_FIRST);
    if (s->options.mechanism == SASL_CRAM_MD5) /* the server begins: RFC 4954 4 */
        return initial != NULL ? end(s, SASL_STEP_MALFORMED) : cram_challenge(s);
    if (initial != NULL)
        return sasl_server_input(s, *initial);
    if (s->options.mechanism == SASL_LOGIN)
        buf_add(&s->out, SLICE("Username:"));
    return challenge(s, SASL_SERVER_FIRST);
}

static enum sasl_step first(struct sasl_server *s, struct slice response)
{
    switch (s->options.mechanism) {
    case SASL_PLAIN: return plain(s, response);
    case SASL_LOGIN: return login(s, response);
    case SASL_EXTERNAL: return external(s, response);
    case SASL_XOAUTH2: return xoauth2(s, response);
    case SASL_OAUTHBEARER: return oauthbearer(s, response);
    case SASL_CRAM_MD5: return cram(s, response);
    default: return sasl_scram_first(s, response);
    }
}

enum sasl_step sasl_server_input(struct sasl_server *s, struct slice response)
{
    switch (s->state) {
    case SASL_SERVER_FIRST: return first(s, response);
    case SASL_SERVER_PASSWORD: return login(s, response);
    case SASL_SERVER_PROOF: return sasl_scram_proof(s, response);
    case SASL_SERVER_SAID: return end(s, s->outcome);
    default: return end(s, SASL_STEP_MALFORMED);
    }
}

enum sasl_step sasl_server_verified(struct sasl_server *s, bool right)
{
    bool token =
        s->options.mechanism == SASL_OAUTHBEARER || s->options.mechanism == SASL_XOAUTH2;

    assert(s->state == SASL_SERVER_ASKED);
    if (right || !token)
        return end(s, right ? SASL_STEP_OK : SASL_STEP_WRONG);
    buf_clear(&s->out);
    buf_add_cstr(&s->out, token_refused);
    s->outcome = SASL_STEP_WRONG;
    return challenge(s, SASL_SERVER_SAID);
}

bool sasl_server_tells(const struct sasl_server *s, enum sasl_step end_of)
{
    return s->state == SASL_SERVER_SAID && s->outcome == end_of;
}
