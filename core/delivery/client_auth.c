/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_auth.c - AUTH at a next hop that wants to know who we are (RFC 4954).
 *
 * No message goes out before it succeeded. A refusal is the operator's to mend, not the sender's:
 * it ends the connection with a deferral, whatever its code. A password in clear leaves only by a
 * connection that is encrypted, unless the operator said otherwise.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "delivery/client_private.h"
#include "sasl/base64.h"

#define PASSWORD_SHOWN_MIN 4 /* octets; shorter ones are parts of any text */
#define COMMAND_LINE_MAX 512 /* RFC 4954 4: AUTH with its first response fits into that, or it waits */

void client_auth_free(struct client *c)
{
    client_keys_give_up(c);
    if (c->in_auth)
        sasl_client_fini(&c->sasl);
    c->in_auth = false;
    buf_wipe(&c->first_response);
    buf_wipe(&c->auth_said);
}

/*
 * "500 unrecognized: c2VjcmV0": what a server that is out of its mind says would go to the log, and to
 * senders with the bounce.
 */
void client_auth_hide(struct client *c, unsigned code)
{
    struct slice password = c->auth->password, said = buf_slice(&c->auth_said);
    bool has_said = said.len > 0 && memmem(c->text.data, c->text.len, said.ptr, said.len) != NULL;
    bool has_password = password.len >= PASSWORD_SHOWN_MIN &&
                        memmem(c->text.data, c->text.len, password.ptr, password.len) != NULL;

    if (!has_said && !has_password)
        return;
    buf_clear(&c->text);
    buf_printf(&c->text, "%03u (what it said repeats the secret, and is left out)", code);
}

static void give_up(struct client *c, const struct client_reply *reply)
{
    struct client_reply own = *reply;

    own.cause = CLIENT_CAUSE_AUTH;
    client_end(c, &own);
}

static void not_usable(struct client *c)
{
    struct client_reply reply;

    if (!c->features.auth)
        reply = client_own(c, 451, "4.7.0", "AUTH is configured for it, but it does not offer AUTH%s",
                           c->encrypted ? "" : " without TLS");
    else if ((c->features.auth_mechanisms & c->auth->mechanisms) != 0)
        reply = client_own(c, 451, "4.7.0", "it wants the password in clear, and %s",
                           c->encrypted ? "its certificate is not good (tls: verify says why)"
                                        : "the connection is not encrypted");
    else
        reply = client_own(c, 451, "4.7.0", "it offers no AUTH mechanism that may be used");
    give_up(c, &reply);
}

static const char *name_of(const struct client *c)
{
    return sasl_mechanism_name(c->sasl.mechanism);
}

/*
 * The first of those offered; they stand in the order of their worth. A password in clear is for
 * who has shown by a certificate that it is for them (RFC 4954 14).
 */
static enum sasl_mechanism choose(const struct client *c)
{
    for (unsigned m = 0; m < SASL_MECHANISM_COUNT; m++) {
        const char *name = sasl_mechanism_name((enum sasl_mechanism)m);
        if ((c->features.auth_mechanisms & c->auth->mechanisms & 1u << m) == 0)
            continue;
        if (!sasl_is_plaintext(slice_cstr(name)) || c->verified || c->auth->plaintext)
            return (enum sasl_mechanism)m;
    }
    return SASL_MECHANISM_COUNT;
}

/* "PREFIX BASE64", wiped afterwards. */
static void write_secret(struct client *c, const char *prefix, struct slice octets)
{
    CLEANUP_SECRET struct buf line = BUF_INIT;

    buf_reserve(&line, strlen(prefix) + octets.len * 2 + 8); /* one piece: no copy stays behind */
    buf_add_cstr(&line, prefix);
    base64_add(&line, octets);
    buf_wipe(&c->auth_said);
    buf_reserve(&c->auth_said, line.len); /* one piece, here too */
    buf_add(&c->auth_said, slice_from(buf_slice(&line), strlen(prefix)));
    buf_add_cstr(&line, "\r\n");
    client_expect(c, EXPECT_AUTH, 0);
    conn_write(c->conn, buf_slice(&line));
}

void client_auth_begin(struct client *c)
{
    enum sasl_mechanism mechanism = choose(c);
    bool has_first = false;
    char prefix[40];

    if (mechanism == SASL_MECHANISM_COUNT) {
        not_usable(c);
        return;
    }
    c->in_auth = true;
    (void)snprintf(prefix, sizeof(prefix), "AUTH %s ", sasl_mechanism_name(mechanism));
    if (sasl_client_begin(&c->sasl, mechanism, c->auth->user, c->auth->password,
                          slice_make(NULL, 0), &c->first_response, &has_first) < 0) {
        struct client_reply reply =
            client_own(c, 451, "4.7.0", "AUTH %s is not for this user and password", prefix + 5);
        give_up(c, &reply);
        return;
    }
    c->sasl.apart = true;
    c->first_waits =
        has_first && strlen(prefix) + (c->first_response.len + 2) / 3 * 4 + 2 > COMMAND_LINE_MAX;
    if (has_first && !c->first_waits) {
        write_secret(c, prefix, buf_slice(&c->first_response));
        buf_wipe(&c->first_response);
    } else {
        client_expect(c, EXPECT_AUTH, 0);
        client_command(c, "AUTH %s", sasl_mechanism_name(mechanism));
    }
}

static void bad_challenge(struct client *c, int error)
{
    struct client_reply reply =
        client_own(c, 451, "4.7.0", "AUTH %s: %s", name_of(c),
                   error == -EACCES ? "it does not know the password itself"
                                    : "what it asks is not of this mechanism");

    conn_write(c->conn, SLICE("*\r\n")); /* RFC 4954 4: cancelled */
    give_up(c, &reply);
}

static void no_keys(struct client *c)
{
    struct client_reply reply = client_own(c, 451, "4.7.0", "AUTH %s: too many threads are making keys", name_of(c));

    conn_write(c->conn, SLICE("*\r\n"));
    give_up(c, &reply);
}

void client_auth_salted(struct client *c, const unsigned char *salted)
{
    CLEANUP_SECRET struct buf response = BUF_INIT;

    if (salted == NULL) {
        bad_challenge(c, -EPROTO);
        return;
    }
    sasl_client_salted(&c->sasl, salted, &response);
    write_secret(c, "", buf_slice(&response));
}

static void answer(struct client *c)
{
    struct buf challenge CLEANUP_BUF = BUF_INIT;
    CLEANUP_SECRET struct buf response = BUF_INIT;
    int r = -EPROTO;

    if (c->first_waits) {
        write_secret(c, "", buf_slice(&c->first_response));
        buf_wipe(&c->first_response);
        c->first_waits = false;
        return;
    }
    if (base64_decode(&challenge, client_parser_first_line(&c->parser)))
        r = sasl_client_input(&c->sasl, buf_slice(&challenge), &response);
    if (r < 0)
        bad_challenge(c, r);
    else if (r == SASL_CLIENT_SALT && !client_keys_make(c))
        no_keys(c);
    else if (r != SASL_CLIENT_SALT)
        write_secret(c, "", buf_slice(&response));
}

static void refused(struct client *c, const struct client_reply *reply)
{
    struct buf said CLEANUP_BUF = BUF_INIT;

    buf_add(&said, reply->text); /* which lives where our own will be made */
    struct client_reply own =
        client_own(c, 451, reply->code / 100 == 5 ? "4.7.8" : "4.7.0", "AUTH %s was refused: %s",
                   name_of(c), said.data); /* a bounce may say so: no user name */
    give_up(c, &own);
}

void client_auth_reply(struct client *c, const struct client_reply *reply)
{
    assert(c->in_auth);
    if (reply->code == 334) {
        answer(c);
    } else if (reply->code != 235) {
        refused(c, reply);
    } else if (!sasl_client_may_end(&c->sasl)) {
        struct client_reply own = client_own(
            c, 451, "4.7.0", "AUTH %s: it said yes before it showed that it may", name_of(c));
        give_up(c, &own);
    } else {
        client_auth_free(c);
        client_open_done(c);
    }
}
