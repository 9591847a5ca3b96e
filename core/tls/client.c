/* SPDX-License-Identifier: Apache-2.0 */
/* client.c - the client's end: whom to believe, which name to ask for, sessions to resume. */
#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tls/private.h"

/* 0: OpenSSL keeps its reference; 1: it is ours. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    const struct tls *tls = SSL_get_app_data(ssl);

    if (tls == NULL || tls->session_key == NULL || !SSL_SESSION_is_resumable(session))
        return 0;
    tls_sessions_put(tls->client->sessions, tls->session_key, session);
    return 1;
}

static int trust(SSL_CTX *context, const char *ca, char error[TLS_ERROR_OCTETS])
{
    if (ca == NULL || ca[0] == '\0')
        return SSL_CTX_set_default_verify_paths(context) == 1 ? 0 : -1;
    if (SSL_CTX_load_verify_file(context, ca) == 1)
        return 0;
    tls_take_file_reason(error, ca);
    return -1;
}

struct tls_client *tls_client_new(const struct tls_client_options *o, char error[TLS_ERROR_OCTETS])
{
    SSL_CTX *context = tls_context_new(TLS_client_method(), o->version_min, error);

    if (context == NULL)
        return NULL;
    if (trust(context, o->ca_file, error) < 0) {
        SSL_CTX_free(context);
        return NULL;
    }
    struct tls_client *c = mem_zalloc(sizeof(*c));
    atomic_init(&c->refs, 1);
    c->context = context;
    c->verify = o->verify;
    SSL_CTX_set_verify(context, o->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (o->sessions_max > 0) {
        c->sessions = tls_sessions_new(o->sessions_max);
        (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, on_session);
    }
    return c;
}

struct tls_client *tls_client_ref(struct tls_client *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void tls_client_unref(struct tls_client *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(c->context);
    tls_sessions_free(c->sessions);
    free(c);
}

/* A name or an address, which stands in another kind of subject alternative name. */
static bool set_name(SSL *ssl, const char *name)
{
    unsigned char octets[16];

    if (inet_pton(AF_INET, name, octets) == 1 || inet_pton(AF_INET6, name, octets) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1;
}

/* A session brings along that its server was who it should be: not beyond the certificate's own end. */
static SSL_SESSION *session_of(struct tls_client *client, const char *key)
{
    SSL_SESSION *session = tls_sessions_take(client->sessions, key);
    const X509 *theirs = session != NULL ? SSL_SESSION_get0_peer(session) : NULL;
    time_t now_s = (time_t)(clock_wall_ms() / 1000);

    if (theirs == NULL || X509_cmp_time(X509_get0_notAfter(theirs), &now_s) > 0)
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

struct tls *tls_client_side(struct tls_client *client, const struct tls_target *target)
{
    struct tls *tls = tls_make(client->context);

    if (tls == NULL)
        return NULL;
    tls->client = tls_client_ref(client);
    SSL_set_connect_state(tls->ssl);
    bool ok = (target->sni == NULL || SSL_set_tlsext_host_name(tls->ssl, target->sni) == 1) &&
              (target->name == NULL || set_name(tls->ssl, target->name));
    if (!ok) {
        ERR_clear_error();
        tls_free(tls);
        return NULL;
    }
    if (client->sessions == NULL || target->key == NULL)
        return tls;
    tls->session_key = mem_strdup(target->key);
    SSL_SESSION *session = session_of(client, target->key);
    if (session != NULL)
        (void)SSL_set_session(tls->ssl, session);
    SSL_SESSION_free(session);
    return tls;
}
