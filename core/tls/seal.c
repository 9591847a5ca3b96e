/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seal.c - what a session ticket remembers beside the session.
 *
 * A resumed session sends no certificate, neither way: its client binds to the one it saw then, whose digest
 * is here, and the word of the authorities for the client's own is good until a certificate or a list of
 * revoked ones that it rests on has run out. Whose word that is, is the session id context's (server.c).
 */
#include <endian.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "tls/private.h"

#define SEAL_TIME_OCTETS 8

void tls_sooner(const ASN1_TIME *end, int64_t *until_s)
{
    struct tm tm;
    int64_t end_s = end != NULL && ASN1_TIME_to_tm(end, &tm) == 1 ? (int64_t)timegm(&tm) : 0;

    if (end_s < *until_s)
        *until_s = end_s;
}

/* Until when this client counts as verified. One who does not gains nothing by a ticket, which is good for any time. */
static int64_t verified_until_s(const SSL *ssl, const struct tls_server *server)
{
    const STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    int64_t until_s = server->revoked_until_s;

    if (SSL_get0_peer_certificate(ssl) == NULL || SSL_get_verify_result(ssl) != X509_V_OK)
        return INT64_MAX;
    if (chain == NULL)
        return 0;
    for (int i = 0; i < sk_X509_num(chain); i++)
        tls_sooner(X509_get0_notAfter(sk_X509_value(chain, i)), &until_s);
    return until_s;
}

static int on_seal(SSL *ssl, void *arg)
{
    const struct tls *tls = SSL_get_app_data(ssl);
    unsigned char seal[SEAL_TIME_OCTETS + TLS_BINDING_OCTETS_MAX];

    if (tls == NULL || SSL_session_reused(ssl))
        return 1; /* it has it already */
    uint64_t until_s = htobe64((uint64_t)verified_until_s(ssl, arg));
    memcpy(seal, &until_s, SEAL_TIME_OCTETS);
    int len = tls_channel_binding(tls, TLS_BINDING_SERVER_END_POINT, seal + SEAL_TIME_OCTETS);
    size_t octets = SEAL_TIME_OCTETS + (size_t)(len > 0 ? len : 0);
    return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), seal, octets) == 1;
}

static bool read_seal(SSL_SESSION *session, int64_t *ret_until_s, struct slice *ret_binding)
{
    void *seal = NULL;
    size_t len = 0;
    uint64_t until_s;

    if (SSL_SESSION_get0_ticket_appdata(session, &seal, &len) != 1 || seal == NULL || len < SEAL_TIME_OCTETS)
        return false;
    memcpy(&until_s, seal, SEAL_TIME_OCTETS);
    *ret_until_s = (int64_t)be64toh(until_s);
    *ret_binding = slice_make((const char *)seal + SEAL_TIME_OCTETS, len - SEAL_TIME_OCTETS);
    return true;
}

struct slice tls_sealed_binding(const struct tls *tls)
{
    struct slice binding = slice_make(NULL, 0);
    int64_t until_s;

    (void)read_seal(SSL_get_session(tls->ssl), &until_s, &binding);
    return binding;
}

static SSL_TICKET_RETURN on_open(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t octets,
                                 SSL_TICKET_STATUS status, void *arg)
{
    struct slice binding;
    int64_t until_s;

    (void)name, (void)octets, (void)arg;
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    if (!read_seal(session, &until_s, &binding) || until_s <= (int64_t)(clock_wall_ms() / 1000))
        return SSL_TICKET_RETURN_IGNORE_RENEW; /* a whole handshake says how it stands now */
    /* Tickets of TLS 1.3 are for one use (RFC 8446 C.4), so each connection gets the next one. */
    return status == SSL_TICKET_SUCCESS && SSL_version(ssl) < TLS1_3_VERSION ? SSL_TICKET_RETURN_USE
                                                                             : SSL_TICKET_RETURN_USE_RENEW;
}

void tls_seal_use(struct tls_server *server)
{
    (void)SSL_CTX_set_session_ticket_cb(server->context, on_seal, on_open, server);
}
