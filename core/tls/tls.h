/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.h - TLS by OpenSSL 3 for connections of net/conn.h, either end. No other header shows OpenSSL.
 *
 * Certificates, servers and clients are made once for a generation, counted, and used by all
 * threads. A `struct tls` belongs to its connection, on its loop, and goes with it. No compression,
 * no renegotiation, no early data; buffers go back while nothing is under way.
 *
 * Files are opened by the caller's function, so that a key that only root may read can come from
 * the supervisor.
 */
#ifndef TERN_TLS_TLS_H
#define TERN_TLS_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "net/conn.h"

#define TLS_VERSION_1_2 0x0303
#define TLS_VERSION_1_3 0x0304

#define TLS_ERROR_OCTETS 256

/* The first thing a process does that may have threads of modules: whose libraries (libpq) use OpenSSL, too. */
void tls_keep_at_exit(void);

/* ---- certificates ---- */

struct tls_opener {
    /* A descriptor to read from, or a negative errno. NULL: open(). */
    int (*open)(void *arg, const char *path);
    void *arg;
};

struct tls_certificate; /* a chain and its key */

/* NULL with a sentence that names the file. An encrypted key is an error: there is nobody to ask. */
struct tls_certificate *tls_certificate_load(const char *cert_path, const char *key_path,
                                             const struct tls_opener *opener, char error[TLS_ERROR_OCTETS]);
void tls_certificate_free(struct tls_certificate *certificate); /* NULL is allowed */
/* By its subject alternative names (DNS), a wildcard for one label; by its CN if it has none of them. */
bool tls_certificate_covers(const struct tls_certificate *certificate, struct slice name);
void tls_certificate_validity(const struct tls_certificate *certificate, int64_t *ret_from_s, int64_t *ret_until_s);

/* ---- the server's end ---- */

/* Keys of session tickets, made anew every `interval_s`; the last two still open. Outlives generations. Any thread. */
struct tls_tickets;
struct tls_tickets *tls_tickets_new(uint64_t interval_s);
void tls_tickets_set_interval(struct tls_tickets *tickets, uint64_t interval_s);
void tls_tickets_free(struct tls_tickets *tickets);

struct tls_server;

struct tls_server_options {
    /* In order: the first that covers the name asked for, and beside it the first of each other kind
     * of key (ECDSA, RSA) that covers it, too. No name, or an unknown one: as the first one's. */
    struct tls_certificate *const *certificates; /* borrowed for the server's life */
    unsigned count;
    unsigned version_min;  /* TLS_VERSION_* */
    const char *ciphers;   /* OpenSSL's list for TLS 1.2; NULL or empty: its default */
    bool ask_client;       /* for a certificate; the handshake goes on without one or with any */
    const char *client_ca; /* PEM file of those whose word on clients counts, and their CRLs; NULL: nobody's */
    struct tls_tickets *tickets; /* NULL: no resumption. Outlives the server */
};
struct tls_server *tls_server_new(const struct tls_server_options *options, char error[TLS_ERROR_OCTETS]);
/* Behind the last handshake: its generation is what the sessions hold. NULL is allowed. */
void tls_server_free(struct tls_server *server);

/* ---- the client's end ---- */

struct tls_client; /* counted: settings, and the sessions to resume of each host */

struct tls_client_options {
    /* The certificate must be good and for the name asked for; else anything that encrypts will do. */
    bool verify;
    const char *ca_file;   /* PEM; NULL: the system's */
    unsigned version_min;
    unsigned sessions_max; /* hosts whose session is kept; 0: no resumption */
};
struct tls_client *tls_client_new(const struct tls_client_options *options, char error[TLS_ERROR_OCTETS]);
struct tls_client *tls_client_ref(struct tls_client *client);
void tls_client_unref(struct tls_client *client);

/* ---- a connection ---- */

struct tls;

/* Prepares; NULL if there is no memory for it. */
struct tls *tls_server_side(struct tls_server *server);
struct tls_target {
    const char *sni;  /* host name to ask for; NULL: none (an address) */
    const char *name; /* that the certificate must have; NULL: any. Without `verify` it is looked at all the same */
    const char *key;  /* under which the session is kept for the next time: host and port; NULL: not */
};
struct tls *tls_client_side(struct tls_client *client, const struct tls_target *target);
void tls_free(struct tls *tls); /* only if it was not started */
/*
 * Begins the handshake on the connection, which owns the tls from here on: conn_ops.on_secured
 * follows, or on_end with a negative errno, tls_reason() then says why. `ahead`: octets of the
 * peer's that were read already (behind a PROXY header).
 */
void tls_start(struct tls *tls, struct conn *conn, struct slice ahead);

/* Of a connection under TLS; NULL if it has none. */
struct tls *tls_of(const struct conn *conn);
/* OpenSSL's reason for what failed last, as words for the log; "" if nothing has. */
const char *tls_reason(const struct tls *tls);

/* After the handshake. Texts live as long as the tls. */
const char *tls_version(const struct tls *tls); /* "TLSv1.3" */
const char *tls_cipher(const struct tls *tls);  /* IANA name: "TLS_AES_256_GCM_SHA384" */
unsigned tls_cipher_bits(const struct tls *tls);
const char *tls_sni(const struct tls *tls); /* name asked for, lower case; "" if none */
bool tls_resumed(const struct tls *tls);

/* What the peer showed of itself. */
#define TLS_NAMES_MAX       16
#define TLS_NAME_OCTETS     256
#define TLS_FINGERPRINT_HEX 65
struct tls_peer {
    bool present;
    bool verified; /* chain, dates, and the client end's target name */
    char error[TLS_ERROR_OCTETS]; /* why not verified */
    char subject[TLS_NAME_OCTETS]; /* CN=mail.example.org,O=... (RFC 2253) */
    char common_name[TLS_NAME_OCTETS]; /* CN, or empty */
    char names[TLS_NAMES_MAX][TLS_NAME_OCTETS]; /* subject alternative names: "dns:...", "email:..." */
    unsigned name_count;
    char fingerprint[TLS_FINGERPRINT_HEX]; /* SHA-256, hex */
};
void tls_peer(const struct tls *tls, struct tls_peer *ret);

/* RFC 5929 and RFC 9266: octets for SCRAM-PLUS; the same at both ends. */
enum tls_binding { TLS_BINDING_EXPORTER, TLS_BINDING_SERVER_END_POINT };
#define TLS_BINDING_OCTETS_MAX 64
/* Octets written, or a negative errno: this connection has no such binding. */
int tls_channel_binding(const struct tls *tls, enum tls_binding binding,
                        unsigned char out[TLS_BINDING_OCTETS_MAX]);

#endif
