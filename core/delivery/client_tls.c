/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_tls.c - STARTTLS and implicit TLS of the client (RFC 3207, RFC 8314).
 *
 * Whatever was said in clear is forgotten once TLS is there: EHLO comes again. Octets that came
 * along with the 220 were put there by somebody in between, so they end the connection
 * (CVE-2021-38371 and its like). Opportunistic TLS is RFC 7435's: any certificate will do, and who
 * cannot do TLS gets the mail all the same; whether it is tried without is the owner's business, on
 * a new connection.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "delivery/client_private.h"

void client_tls_options(struct client *c, const struct client_options *options)
{
    c->tls = options->tls_client != NULL || options->tls >= CLIENT_TLS_REQUIRED ? options->tls
                                                                                : CLIENT_TLS_OFF;
    c->tls_refused = options->tls_given_up;
    c->tls_implicit = c->tls != CLIENT_TLS_OFF && options->tls_implicit;
    c->tls_client = options->tls_client != NULL ? tls_client_ref(options->tls_client) : NULL;
    c->tls_sni = options->tls_sni != NULL ? mem_strdup(options->tls_sni) : NULL;
    c->tls_name = options->tls_name != NULL ? mem_strdup(options->tls_name) : NULL;
    c->tls_key = options->tls_key != NULL ? mem_strdup(options->tls_key) : NULL;
}

void client_tls_free(struct client *c)
{
    tls_client_unref(c->tls_client);
    free(c->tls_sni);
    free(c->tls_name);
    free(c->tls_key);
}

void client_tls_fail(struct client *c, const char *status, const char *text)
{
    struct client_reply reply = client_own(c, 451, status, "%s", text);

    reply.cause = CLIENT_CAUSE_TLS;
    client_end(c, &reply);
}

/* The connection ended, or was given up, before TLS was worth anything. */
void client_tls_lost(struct client *c, const char *why)
{
    const struct tls *tls = c->conn != NULL ? tls_of(c->conn) : NULL;
    const char *reason = tls != NULL ? tls_reason(tls) : "";
    struct buf text CLEANUP_BUF = BUF_INIT;

    buf_printf(&text, "TLS failed: %s", reason[0] != '\0' ? reason : why);
    client_tls_fail(c, "4.7.5", text.data);
}

/* 530 is RFC 3207 4; 5.7.10, "encryption needed", is of RFC 5248. */
bool client_tls_missed(const struct client *c, const struct client_reply *reply)
{
    return c->tls_refused && !c->encrypted && c->features.starttls &&
           (reply->code == 530 || (reply->code / 100 == 5 && strcmp(reply->enhanced, "5.7.10") == 0));
}

void client_tls_begin(struct client *c)
{
    const struct tls_target target = { .sni = c->tls_sni, .name = c->tls_name, .key = c->tls_key };
    struct tls *tls = c->tls_client != NULL ? tls_client_side(c->tls_client, &target) : NULL;

    if (tls == NULL) {
        client_tls_fail(c, "4.7.5", "TLS could not be set up here");
        return;
    }
    c->state = CLIENT_SECURING;
    c->tls_on = true;
    tls_start(tls, c->conn, slice_make(NULL, 0));
    client_arm(c);
}

bool client_tls_wanted(struct client *c)
{
    if (c->encrypted || c->tls == CLIENT_TLS_OFF || c->tls_refused)
        return false;
    return c->features.starttls || c->tls >= CLIENT_TLS_REQUIRED;
}

void client_tls_ask(struct client *c)
{
    if (!c->features.starttls) {
        client_tls_fail(c, "4.7.4", "TLS is required, and STARTTLS is not offered");
        return;
    }
    client_expect(c, EXPECT_STARTTLS, 0);
    client_command(c, "STARTTLS");
}

void client_tls_reply(struct client *c, const struct client_reply *reply)
{
    if (reply->code == 220) {
        c->tls_due = true; /* once it is known that nothing stands behind the 220 */
        return;
    }
    if (c->tls >= CLIENT_TLS_REQUIRED) {
        struct buf text CLEANUP_BUF = BUF_INIT;
        buf_printf(&text, "TLS is required, and STARTTLS was refused: %.*s", (int)reply->text.len,
                   reply->text.ptr);
        client_tls_fail(c, "4.7.4", text.data);
        return;
    }
    c->tls_refused = true; /* RFC 3207 4: the session goes on as it was */
    client_open_go_on(c);
}

static bool is_verified(const struct client *c)
{
    struct tls_peer *peer = mem_alloc(sizeof(*peer));
    bool verified;

    tls_peer(tls_of(c->conn), peer);
    verified = peer->verified;
    free(peer);
    return verified;
}

void client_tls_secured(struct client *c)
{
    c->encrypted = c->tls_unproven = true;
    c->verified = is_verified(c);
    c->features = (struct client_features){ 0 };
    if (c->tls_implicit)
        client_open_greeting(c);
    else
        client_open_hello(c);
    client_arm(c);
}

void client_tls_text(const struct client *c, char *out, size_t octets)
{
    const struct tls *tls = c->encrypted && c->conn != NULL ? tls_of(c->conn) : NULL;
    struct tls_peer *peer;

    out[0] = '\0';
    if (tls == NULL)
        return;
    peer = mem_alloc(sizeof(*peer));
    tls_peer(tls, peer);
    (void)snprintf(out, octets, "%s %s %s%s", tls_version(tls), tls_cipher(tls),
                   peer->verified ? "verified" : "unverified", tls_resumed(tls) ? " resumed" : "");
    free(peer);
}
