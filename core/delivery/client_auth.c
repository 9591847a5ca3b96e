/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_auth.c - AUTH at a next hop that wants to know who we are (RFC 4954).
 *
 * No message goes out before it succeeded. A refusal is the operator's to mend, not the sender's:
 * it ends the connection with a deferral, whatever its code. A password in clear leaves only by a
 * connection that is encrypted, unless the operator said otherwise.
 */
#include <assert.h>
#include <stdio.h>

#include "delivery/client_private.h"

#define COMMAND_LINE_MAX 512 /* RFC 4954 4: AUTH with its first response fits into that, or it waits */

static void give_up(struct client *c, const struct client_reply *reply)
{
    struct client_reply own = *reply;

    own.cause = CLIENT_CAUSE_AUTH;
    client_end(c, &own);
}

static void not_usable(struct client *c, unsigned offered)
{
    struct client_reply reply;

    if (!c->features.auth)
        reply = client_own(c, 451, "4.7.0", "AUTH is configured for it, but it does not offer AUTH%s",
                           c->encrypted ? "" : " without TLS");
    else if ((offered & c->auth->mechanisms) != 0)
        reply = client_own(c, 451, "4.7.0",
                           "it wants the password in clear, and the connection is not encrypted");
    else
        reply = client_own(c, 451, "4.7.0", "it offers no AUTH mechanism that may be used");
    give_up(c, &reply);
}

static bool choose(struct client *c)
{
    for (unsigned m = 0; m < CLIENT_SASL_COUNT; m++) {
        if ((c->features.auth_mechanisms & c->auth->mechanisms & 1u << m) == 0)
            continue;
        if (client_sasl_is_plaintext((enum client_mechanism)m) && !c->encrypted && !c->auth->plaintext)
            continue;
        c->mechanism = (enum client_mechanism)m;
        return true;
    }
    return false;
}

/* "PREFIX BASE64", wiped afterwards. */
static void write_secret(struct client *c, const char *prefix, struct slice octets)
{
    struct buf line = BUF_INIT;

    buf_reserve(&line, strlen(prefix) + octets.len * 2 + 8); /* one piece: no copy stays behind */
    buf_add_cstr(&line, prefix);
    client_base64_add(&line, octets);
    buf_add_cstr(&line, "\r\n");
    client_expect(c, EXPECT_AUTH, 0);
    conn_write(c->conn, buf_slice(&line));
    client_wipe(&line);
}

void client_auth_begin(struct client *c)
{
    struct buf first = BUF_INIT;
    char prefix[40];

    if (!choose(c)) {
        not_usable(c, c->features.auth_mechanisms);
        return;
    }
    c->sasl = client_sasl_new(c->mechanism, c->auth->user, c->auth->password, NULL);
    bool has_first = client_sasl_first(c->sasl, &first);
    (void)snprintf(prefix, sizeof(prefix), "AUTH %s ", client_sasl_name(c->mechanism));
    c->first_waits = has_first && strlen(prefix) + (first.len + 2) / 3 * 4 + 2 > COMMAND_LINE_MAX;
    if (has_first && !c->first_waits) {
        write_secret(c, prefix, buf_slice(&first));
    } else {
        client_expect(c, EXPECT_AUTH, 0);
        client_command(c, "AUTH %s", client_sasl_name(c->mechanism));
    }
    client_wipe(&first);
}

static void answer(struct client *c)
{
    struct buf challenge CLEANUP_BUF = BUF_INIT, response = BUF_INIT;
    const char *error = "its challenge is no base64";
    bool fine = true;

    if (c->first_waits)
        (void)client_sasl_first(c->sasl, &response);
    else
        fine = client_base64_decode(client_parser_first_line(&c->parser), &challenge) &&
               client_sasl_step(c->sasl, buf_slice(&challenge), &response, &error);
    c->first_waits = false;
    if (fine) {
        write_secret(c, "", buf_slice(&response));
    } else {
        struct client_reply reply = client_own(c, 451, "4.7.0", "AUTH %s: %s",
                                               client_sasl_name(c->mechanism), error);
        give_up(c, &reply);
    }
    client_wipe(&response);
}

static void refused(struct client *c, const struct client_reply *reply)
{
    struct buf said CLEANUP_BUF = BUF_INIT;

    buf_add(&said, reply->text); /* which lives where our own will be made */
    struct client_reply own = client_own(
        c, 451, reply->code / 100 == 5 ? "4.7.8" : "4.7.0", "AUTH %s was refused: %s",
        client_sasl_name(c->mechanism), said.data); /* a bounce may say so: no user name */
    give_up(c, &own);
}

void client_auth_reply(struct client *c, const struct client_reply *reply)
{
    assert(c->sasl != NULL);
    if (reply->code == 334) {
        answer(c);
    } else if (reply->code != 235) {
        refused(c, reply);
    } else if (!client_sasl_may_end(c->sasl)) {
        struct client_reply own =
            client_own(c, 451, "4.7.0", "AUTH %s: it did not show that it knows the password",
                       client_sasl_name(c->mechanism));
        give_up(c, &own);
    } else {
        client_sasl_free(c->sasl);
        c->sasl = NULL;
        client_open_done(c);
    }
}
