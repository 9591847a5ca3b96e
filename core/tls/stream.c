/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - one connection's TLS as a filter of net/conn.h.
 *
 * OpenSSL reads from and writes to the socket through a BIO of our own, which saves the error,
 * never raises SIGPIPE, and gives out first what the owner had read before. It keeps no octets
 * of its own: a record that is not complete waits in OpenSSL, the rest in the kernel.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tls/private.h"

/* ---- the socket, as OpenSSL sees it ---- */

static BIO_METHOD *socket_method;
static pthread_once_t socket_once = PTHREAD_ONCE_INIT;

static int on_bio_read(BIO *bio, char *data, int octets)
{
    struct tls *tls = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (tls->ahead_used < tls->ahead.len) {
        size_t left = tls->ahead.len - tls->ahead_used;
        size_t n = left < (size_t)octets ? left : (size_t)octets;
        memcpy(data, tls->ahead.data + tls->ahead_used, n);
        tls->ahead_used += n;
        if (tls->ahead_used == tls->ahead.len) {
            buf_free(&tls->ahead);
            tls->ahead_used = 0;
        }
        return (int)n;
    }
    ssize_t n = recv(tls->fd, data, (size_t)octets, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    if (n == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return (int)n;
}

static int on_bio_write(BIO *bio, const char *data, int octets)
{
    struct tls *tls = BIO_get_data(bio);
    ssize_t n = send(tls->fd, data, (size_t)octets, MSG_NOSIGNAL);

    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    return (int)n;
}

static long on_bio_ctrl(BIO *bio, int command, long number, void *arg)
{
    (void)number, (void)arg;
    switch (command) {
    case BIO_CTRL_FLUSH: return 1;
    case BIO_CTRL_EOF: return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    default: return 0;
    }
}

static void make_method(void)
{
    socket_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tern socket");
    if (socket_method == NULL)
        return;
    (void)BIO_meth_set_read(socket_method, on_bio_read);
    (void)BIO_meth_set_write(socket_method, on_bio_write);
    (void)BIO_meth_set_ctrl(socket_method, on_bio_ctrl);
}

/* ---- making ---- */

struct tls *tls_make(SSL_CTX *context)
{
    struct tls *tls = mem_zalloc(sizeof(*tls));

    (void)pthread_once(&socket_once, make_method);
    ERR_clear_error();
    BIO *bio = socket_method != NULL ? BIO_new(socket_method) : NULL;
    tls->ssl = SSL_new(context);
    tls->fd = -1;
    if (bio == NULL || tls->ssl == NULL) {
        BIO_free(bio);
        SSL_free(tls->ssl);
        free(tls);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_app_data(tls->ssl, tls);
    return tls;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL)
        return;
    /* Without the mark OpenSSL takes the session for cut off, and it could not be resumed. */
    SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(tls->ssl);
    tls_client_unref(tls->client);
    free(tls->session_key);
    free(tls->sni);
    free(tls->reason);
    if (tls->ahead.data != NULL)
        buf_free(&tls->ahead);
    free(tls);
}

/* ---- the filter ---- */

/* The errno of a call that did not succeed, with its reason kept; the queue was empty before it. */
static int failure(struct tls *tls, int result, const char *what)
{
    int saved = errno;
    int kind = SSL_get_error(tls->ssl, result);

    tls->room = kind == SSL_ERROR_WANT_WRITE;
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    tls->broken = true;
    if (tls->reason == NULL)
        tls->reason = mem_alloc(TLS_ERROR_OCTETS);
    if (kind == SSL_ERROR_SYSCALL && ERR_peek_error() == 0) {
        (void)snprintf(tls->reason, TLS_ERROR_OCTETS, "%s: %s", what, saved != 0 ? strerror(saved) : "closed");
        return saved != 0 ? -saved : -ECONNRESET;
    }
    unsigned long e = ERR_peek_error();
    bool cut = ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    bool verify = ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    tls_take_reason(tls->reason, TLS_ERROR_OCTETS, "unknown");
    if (cut)
        (void)snprintf(tls->reason, TLS_ERROR_OCTETS, "closed by the peer");
    if (verify) {
        size_t len = strlen(tls->reason);
        (void)snprintf(tls->reason + len, TLS_ERROR_OCTETS - len, ": %s",
                       X509_verify_cert_error_string(SSL_get_verify_result(tls->ssl)));
    }
    return cut ? -ECONNRESET : -EPROTO;
}

/* The name lives in the ClientHello's session, which a resumption may replace. */
static void keep_name(struct tls *tls)
{
    const char *name = SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name);
    char folded[TLS_HOST_OCTETS_MAX];

    if (name != NULL && tls_name_fold(name, folded))
        tls->sni = mem_strdup(folded);
}

/*
 * A step of a handshake is a signature, up to some milliseconds, and a thousand clients may ask for one
 * at once. So a loop does them for a while, then turns to what else is ready; the sockets of those that
 * were left out are ready again in the next turn.
 */
#define HANDSHAKE_US_PER_TURN 2000

static _Thread_local struct {
    const struct loop *loop;
    uint64_t iteration, spent_us;
} turn;

static bool is_turn_over(const struct tls *tls)
{
    uint64_t now = loop_iteration(tls->loop);

    if (turn.loop != tls->loop || turn.iteration != now) {
        turn.loop = tls->loop;
        turn.iteration = now;
        turn.spent_us = 0;
    }
    return turn.spent_us >= HANDSHAKE_US_PER_TURN;
}

static int on_handshake(void *arg)
{
    struct tls *tls = arg;
    uint64_t begun_us;

    if (is_turn_over(tls))
        return -EAGAIN; /* `room` stays as it was: what it waited for is there, and is told again */
    begun_us = clock_now_us();

    errno = 0;
    ERR_clear_error();
    int r = SSL_do_handshake(tls->ssl);
    turn.spent_us += clock_now_us() - begun_us;
    if (r != 1)
        return failure(tls, r, "handshake");
    tls->room = false;
    tls->done = true;
    keep_name(tls);
    return 0;
}

static ssize_t on_read(void *arg, char *data, size_t octets)
{
    struct tls *tls = arg;
    size_t n = 0;

    if (tls->broken)
        return 0;
    errno = 0;
    ERR_clear_error();
    int r = SSL_read_ex(tls->ssl, data, octets, &n);
    tls->room = false;
    if (r == 1)
        return (ssize_t)n;
    if ((SSL_get_shutdown(tls->ssl) & SSL_RECEIVED_SHUTDOWN) != 0)
        return 0;
    int e = failure(tls, r, "read");
    /* SMTP says itself where a message ends: who hangs up without close_notify has cut nothing off. */
    return e == -ECONNRESET ? 0 : e;
}

static ssize_t on_write(void *arg, const char *data, size_t octets)
{
    struct tls *tls = arg;
    size_t n = 0;

    if (tls->broken)
        return -EPIPE;
    errno = 0;
    ERR_clear_error();
    bool room = tls->room;
    int r = SSL_write_ex(tls->ssl, data, octets, &n);
    if (r == 1)
        return (ssize_t)n;
    int e = failure(tls, r, "write");
    tls->room = room; /* who writes waits for room anyway */
    return e;
}

static bool on_wants_room(const void *arg)
{
    return ((const struct tls *)arg)->room;
}

static bool on_pending(const void *arg)
{
    const struct tls *tls = arg;

    return !tls->broken && (tls->ahead_used < tls->ahead.len || SSL_pending(tls->ssl) > 0);
}

static void on_free(void *arg)
{
    struct tls *tls = arg;

    ERR_clear_error();
    if (tls->done && !tls->broken)
        (void)SSL_shutdown(tls->ssl); /* close_notify; its answer is not waited for (RFC 8446 6.1) */
    ERR_clear_error();
    tls_free(tls);
}

static const struct conn_filter filter = {
    .handshake = on_handshake, .read = on_read, .write = on_write, .wants_room = on_wants_room,
    .pending = on_pending, .free = on_free,
};

void tls_start(struct tls *tls, struct conn *conn, struct slice ahead)
{
    tls->fd = conn_fd(conn);
    tls->loop = conn_loop(conn);
    /* Who has something to do without an octet of the peer's is told of room, if his turn does not come at once. */
    tls->room = tls->client != NULL || ahead.len > 0;
    if (ahead.len > 0)
        buf_add(&tls->ahead, ahead);
    conn_filter_start(conn, &filter, tls);
}

/* ---- what is known of it ---- */

struct tls *tls_of(const struct conn *conn)
{
    return conn_filter_arg(conn);
}

const char *tls_reason(const struct tls *tls)
{
    return tls->reason != NULL ? tls->reason : "";
}

const char *tls_version(const struct tls *tls)
{
    return SSL_get_version(tls->ssl);
}

const char *tls_cipher(const struct tls *tls)
{
    const SSL_CIPHER *c = SSL_get_current_cipher(tls->ssl);
    const char *name = c != NULL ? SSL_CIPHER_standard_name(c) : NULL;

    return name != NULL ? name : "";
}

unsigned tls_cipher_bits(const struct tls *tls)
{
    const SSL_CIPHER *c = SSL_get_current_cipher(tls->ssl);

    return c != NULL ? (unsigned)SSL_CIPHER_get_bits(c, NULL) : 0;
}

const char *tls_sni(const struct tls *tls)
{
    return tls->sni != NULL ? tls->sni : "";
}

bool tls_resumed(const struct tls *tls)
{
    return SSL_session_reused(tls->ssl) == 1;
}
