/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c - the server's context, and which certificate a client gets.
 *
 * The context holds what a client without SNI gets, so that the common case of one certificate costs
 * nothing; for a known other name the connection's own are set while its ClientHello is read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tls/private.h"

#define KINDS_MAX 4 /* of keys side by side: RSA, ECDSA, Ed25519, Ed448 */

struct choice {
    const struct tls_certificate *certificates[KINDS_MAX];
    unsigned count;
};

static void choose(struct choice *choice, const struct tls_certificate *c)
{
    for (unsigned i = 0; i < choice->count; i++)
        if (EVP_PKEY_get_base_id(choice->certificates[i]->key) == EVP_PKEY_get_base_id(c->key))
            return;
    if (choice->count < KINDS_MAX)
        choice->certificates[choice->count++] = c;
}

static void choose_for(const struct tls_server *server, struct slice name, struct choice *ret)
{
    ret->count = 0;
    for (unsigned i = 0; i < server->count; i++)
        if (tls_certificate_covers(server->certificates[i], name))
            choose(ret, server->certificates[i]);
}

/* The first certificate, and those of other kinds that share a name with it. */
static void choose_default(const struct tls_server *server, struct choice *ret)
{
    const struct tls_certificate *first = server->certificates[0];

    ret->count = 0;
    choose(ret, first);
    for (unsigned i = 1; i < server->count; i++)
        for (unsigned n = 0; n < first->name_count; n++)
            if (tls_certificate_covers(server->certificates[i], slice_cstr(first->names[n]))) {
                choose(ret, server->certificates[i]);
                break;
            }
}

static bool is_same(const struct choice *a, const struct choice *b)
{
    return a->count == b->count && memcmp(a->certificates, b->certificates, a->count * sizeof(a->certificates[0])) == 0;
}

/* OpenSSL asks before it looks at the ClientHello's algorithms. 1: go on. */
static int on_certificate(SSL *ssl, void *arg)
{
    const struct tls_server *server = arg;
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    char name[TLS_HOST_OCTETS_MAX];
    struct choice choice, standard;

    if (asked == NULL || !tls_name_fold(asked, name))
        return 1;
    choose_for(server, slice_cstr(name), &choice);
    choose_default(server, &standard);
    if (choice.count == 0 || is_same(&choice, &standard))
        return 1;
    SSL_certs_clear(ssl);
    for (unsigned i = 0; i < choice.count; i++) {
        const struct tls_certificate *c = choice.certificates[i];
        if (SSL_use_cert_and_key(ssl, c->leaf, c->key, c->chain, 1) != 1)
            return 0;
    }
    return 1;
}

/* Acknowledges the name; which certificate it means is on_certificate()'s. */
static int on_name(SSL *ssl, int *alert, void *arg)
{
    (void)alert, (void)arg;
    return SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) != NULL ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

/* Whatever a client shows is looked at and remembered; whether it counts is the policy's. */
static int any_client(int ok, X509_STORE_CTX *store)
{
    (void)ok, (void)store;
    return 1;
}

/* Those in the file are looked at; once there is one, an authority whose list is missing vouches for nobody. */
static void look_at_revoked(struct tls_server *server)
{
    const STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(server->context));

    for (int i = 0; i < sk_X509_OBJECT_num(all); i++) {
        const X509_CRL *revoked = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(all, i));
        if (revoked == NULL)
            continue;
        (void)X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(server->context), X509_V_FLAG_CRL_CHECK);
        if (X509_CRL_get0_nextUpdate(revoked) != NULL)
            tls_sooner(X509_CRL_get0_nextUpdate(revoked), &server->revoked_until_s);
    }
}

static int ask_client(struct tls_server *server, const char *ca, char error[TLS_ERROR_OCTETS])
{
    SSL_CTX *context = server->context;

    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, any_client);
    if (ca == NULL || ca[0] == '\0')
        return 0;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca);
    if (names == NULL || SSL_CTX_load_verify_file(context, ca) != 1) {
        tls_take_file_reason(error, ca);
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return -1;
    }
    SSL_CTX_set_client_CA_list(context, names);
    look_at_revoked(server);
    return 0;
}

/*
 * A resumed session brings along whether its client's certificate was vouched for, and by whom it was is forgotten.
 * All listeners share the tickets' keys, and a reload keeps them: so a session is resumed only where the same are
 * asked, and the same lists of revoked ones were looked at. One that was begun without a question for the certificate
 * answers none.
 */
static int set_context(SSL_CTX *context, bool ask_client, char error[TLS_ERROR_OCTETS])
{
    STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(context));
    unsigned char id[EVP_MAX_MD_SIZE], one[EVP_MAX_MD_SIZE];
    unsigned octets = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(md, &ask_client, sizeof(ask_client)) == 1;

    for (int i = 0; ok && i < sk_X509_OBJECT_num(all); i++) {
        const X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));
        X509_CRL *revoked = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(all, i));
        if (x != NULL)
            ok = X509_digest(x, EVP_sha256(), one, &octets) == 1 && EVP_DigestUpdate(md, one, octets) == 1;
        else if (revoked != NULL)
            ok = X509_CRL_digest(revoked, EVP_sha256(), one, &octets) == 1 && EVP_DigestUpdate(md, one, octets) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(md, id, &octets) == 1 && octets <= SSL_MAX_SID_CTX_LENGTH &&
         SSL_CTX_set_session_id_context(context, id, octets) == 1;
    EVP_MD_CTX_free(md);
    if (!ok)
        tls_take_reason(error, TLS_ERROR_OCTETS, "sessions cannot be told apart");
    return ok ? 0 : -1;
}

static int set_up(struct tls_server *server, const struct tls_server_options *o, char error[TLS_ERROR_OCTETS])
{
    struct choice standard;

    choose_default(server, &standard);
    for (unsigned i = 0; i < standard.count; i++) {
        const struct tls_certificate *c = standard.certificates[i];
        if (SSL_CTX_use_cert_and_key(server->context, c->leaf, c->key, c->chain, 1) != 1) {
            tls_take_reason(error, TLS_ERROR_OCTETS, "the certificate cannot be used");
            return -1;
        }
    }
    if (o->ciphers != NULL && o->ciphers[0] != '\0' && SSL_CTX_set_cipher_list(server->context, o->ciphers) != 1) {
        (void)snprintf(error, TLS_ERROR_OCTETS, "ciphers: OpenSSL knows none of \"%s\"", o->ciphers);
        ERR_clear_error();
        return -1;
    }
    (void)SSL_CTX_set_dh_auto(server->context, 1);
    (void)SSL_CTX_set_options(server->context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_app_data(server->context, server);
    SSL_CTX_set_cert_cb(server->context, on_certificate, server);
    (void)SSL_CTX_set_tlsext_servername_callback(server->context, on_name);
    tls_seal_use(server);
    if (tls_tickets_use(server->context, o->tickets) < 0) {
        tls_take_reason(error, TLS_ERROR_OCTETS, "session tickets cannot be set up");
        return -1;
    }
    if (o->ask_client && ask_client(server, o->client_ca, error) < 0)
        return -1;
    return set_context(server->context, o->ask_client, error);
}

struct tls_server *tls_server_new(const struct tls_server_options *o, char error[TLS_ERROR_OCTETS])
{
    SSL_CTX *context = tls_context_new(TLS_server_method(), o->version_min, error);

    if (context == NULL)
        return NULL;
    struct tls_server *server = mem_zalloc(sizeof(*server));
    server->context = context;
    server->certificates = o->certificates;
    server->count = o->count;
    server->tickets = o->tickets;
    server->revoked_until_s = INT64_MAX;
    if (set_up(server, o, error) == 0)
        return server;
    tls_server_free(server);
    return NULL;
}

void tls_server_free(struct tls_server *server)
{
    if (server == NULL)
        return;
    SSL_CTX_free(server->context);
    free(server);
}

struct tls *tls_server_side(struct tls_server *server)
{
    struct tls *tls = tls_make(server->context);

    if (tls != NULL)
        SSL_set_accept_state(tls->ssl);
    return tls;
}
