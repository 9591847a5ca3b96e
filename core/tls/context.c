/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context.c - what both ends have in common.
 *
 * OpenSSL keeps its errors in a queue of the thread, shared by all connections of a loop: each call
 * that may fail empties it before, and takes the reason out behind.
 */
#include <stdio.h>
#include <string.h>

#include "tls/private.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Its exit handler would free what threads that never came back still use; the process goes anyway. */
void tls_keep_at_exit(void)
{
    (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
}

static void start_library(void)
{
    (void)OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_LOAD_CONFIG, NULL);
}

void tls_library(void)
{
    (void)pthread_once(&once, start_library);
}

void tls_take_reason(char *out, size_t octets, const char *fallback)
{
    const char *data = NULL;
    int flags = 0;
    unsigned long e = ERR_peek_error_data(&data, &flags);
    const char *reason = e != 0 ? ERR_reason_error_string(e) : NULL;

    if (e != 0 && ERR_SYSTEM_ERROR(e))
        reason = strerror(ERR_GET_REASON(e));
    if (data != NULL && (data[0] == '\0' || (flags & ERR_TXT_STRING) == 0))
        data = NULL;
    (void)snprintf(out, octets, "%s%s%s", reason != NULL ? reason : fallback, data != NULL ? ": " : "",
                   data != NULL ? data : "");
    ERR_clear_error();
}

void tls_take_file_reason(char error[TLS_ERROR_OCTETS], const char *path)
{
    char why[128] = "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)";
    unsigned long e = ERR_peek_error();

    if (e != 0 && ERR_GET_LIB(e) != ERR_LIB_PEM)
        tls_take_reason(why, sizeof(why), "cannot be read");
    ERR_clear_error();
    (void)snprintf(error, TLS_ERROR_OCTETS, "%s: %s", path, why);
}

SSL_CTX *tls_context_new(const SSL_METHOD *method, unsigned version_min, char error[TLS_ERROR_OCTETS])
{
    tls_library();
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(method);

    if (context == NULL || SSL_CTX_set_min_proto_version(context, (int)version_min) != 1) {
        tls_take_reason(error, TLS_ERROR_OCTETS, "no TLS context");
        SSL_CTX_free(context);
        return NULL;
    }
    (void)SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    /* RELEASE_BUFFERS: 47 KB an idle connection become 14. */
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* A peer that sends one key update behind the other gets its turn like all others. */
    (void)SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(context, 0); /* what is not decrypted stays in the kernel, which tells of it */
    SSL_CTX_set_verify_depth(context, TLS_CHAIN_MAX);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return context;
}
