/* SPDX-License-Identifier: Apache-2.0 */
/* private.h - the inside of certificates, contexts and connections, for the files of this folder only. */
#ifndef TERN_TLS_PRIVATE_H
#define TERN_TLS_PRIVATE_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "tls/tls.h"

#define TLS_FILE_OCTETS_MAX (1u << 20) /* a certificate or key file */
#define TLS_CHAIN_MAX       10         /* certificates of a chain, the peer's too */
#define TLS_HOST_OCTETS_MAX 256

struct tls_certificate {
    X509 *leaf;
    STACK_OF(X509) *chain; /* the rest */
    EVP_PKEY *key;
    char **names; /* lower case; "*.example.org" */
    unsigned name_count;
    int64_t from_s, until_s;
};

struct tls_server {
    SSL_CTX *context;
    struct tls_certificate *const *certificates;
    unsigned count;
    struct tls_tickets *tickets;
    int64_t revoked_until_s; /* when the first list of revoked certificates runs out; INT64_MAX: never */
};

struct tls_sessions; /* of a client: host -> SSL_SESSION */

struct tls_client {
    _Atomic unsigned refs;
    SSL_CTX *context;
    bool verify;
    struct tls_sessions *sessions; /* NULL: none are kept */
};

struct tls {
    SSL *ssl;
    struct loop *loop;
    int fd;
    struct buf ahead; /* read from the socket before the handshake */
    size_t ahead_used;
    bool room;   /* the last "not now" waits for room */
    bool broken; /* nothing may be written any more, not even good-bye */
    bool done;   /* the handshake is */
    struct tls_client *client; /* of the client's end */
    char *session_key;
    char *sni;    /* NULL: none was said */
    char *reason; /* of TLS_ERROR_OCTETS; NULL: nothing has failed */
};

/* Once a process; any function that makes a context calls it. */
void tls_library(void);
/* The first reason in this thread's queue, or `fallback`; the queue is empty afterwards. */
void tls_take_reason(char *out, size_t octets, const char *fallback);
/* The same for a file of certificates. */
void tls_take_file_reason(char error[TLS_ERROR_OCTETS], const char *path);
/* What both ends have in common. NULL with a sentence. */
SSL_CTX *tls_context_new(const SSL_METHOD *method, unsigned version_min, char error[TLS_ERROR_OCTETS]);
struct tls *tls_make(SSL_CTX *context);

/* names.c: pure. `name` in lower case. */
bool tls_name_matches(struct slice pattern, struct slice name);
/* Lower case and without the final dot; false if it does not fit or is no host name. */
bool tls_name_fold(const char *name, char out[TLS_HOST_OCTETS_MAX]);

/* seal.c */
void tls_seal_use(struct tls_server *server);
void tls_sooner(const ASN1_TIME *end, int64_t *until_s); /* the earlier one; an end that cannot be read is now */
/* The end point binding that the ticket of a resumed session remembers; empty: none. */
struct slice tls_sealed_binding(const struct tls *tls);

/* tickets.c */
int tls_tickets_use(SSL_CTX *context, struct tls_tickets *tickets);

/* sessions.c: of the client's end. Any thread. */
struct tls_sessions *tls_sessions_new(unsigned max);
void tls_sessions_free(struct tls_sessions *sessions);
void tls_sessions_put(struct tls_sessions *sessions, const char *key, SSL_SESSION *session); /* takes it over */
SSL_SESSION *tls_sessions_take(struct tls_sessions *sessions, const char *key); /* the caller's, or NULL */

#endif
