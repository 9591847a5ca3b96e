/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tickets.c - keys of session tickets (RFC 5077, RFC 8446 4.6.1).
 *
 * A stolen key opens what was recorded of every session that it sealed, so keys live in memory
 * only, are made anew at their interval, and two older ones still open: a ticket is good for
 * two to three intervals. They outlive a reload, so that it costs no client its session.
 */
#include <openssl/core_names.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tls/private.h"

#define KEYS 3

struct ticket_key {
    unsigned char name[16], cipher[32], mac[32];
    uint64_t born_ms; /* 0: none */
};

struct tls_tickets {
    pthread_mutex_t lock;
    uint64_t interval_ms;
    struct ticket_key keys[KEYS]; /* newest first */
};

struct tls_tickets *tls_tickets_new(uint64_t interval_s)
{
    struct tls_tickets *t = mem_zalloc(sizeof(*t));

    (void)pthread_mutex_init(&t->lock, NULL);
    t->interval_ms = interval_s * 1000;
    return t;
}

void tls_tickets_set_interval(struct tls_tickets *t, uint64_t interval_s)
{
    (void)pthread_mutex_lock(&t->lock);
    t->interval_ms = interval_s * 1000;
    (void)pthread_mutex_unlock(&t->lock);
}

void tls_tickets_free(struct tls_tickets *t)
{
    if (t == NULL)
        return;
    (void)pthread_mutex_destroy(&t->lock);
    explicit_bzero(t, sizeof(*t));
    free(t);
}

/* Caller holds t->lock. */
static bool rotate(struct tls_tickets *t, uint64_t now_ms)
{
    struct ticket_key fresh = { .born_ms = now_ms != 0 ? now_ms : 1 };

    if (t->keys[0].born_ms != 0 && now_ms < t->keys[0].born_ms + t->interval_ms)
        return true;
    if (RAND_bytes(fresh.name, sizeof(fresh.name)) != 1 || RAND_priv_bytes(fresh.cipher, sizeof(fresh.cipher)) != 1 ||
        RAND_priv_bytes(fresh.mac, sizeof(fresh.mac)) != 1)
        return false;
    memmove(&t->keys[1], &t->keys[0], (KEYS - 1) * sizeof(t->keys[0]));
    t->keys[0] = fresh;
    explicit_bzero(&fresh, sizeof(fresh));
    return true;
}

static bool newest(struct tls_tickets *t, struct ticket_key *ret)
{
    (void)pthread_mutex_lock(&t->lock);
    bool ok = rotate(t, clock_now_ms());
    *ret = t->keys[0];
    (void)pthread_mutex_unlock(&t->lock);
    return ok;
}

/* 0: no such key; 1: the newest; 2: an older one, the client should get a new ticket. */
static int find(struct tls_tickets *t, const unsigned char *name, struct ticket_key *ret)
{
    uint64_t now = clock_now_ms();
    int found = 0;

    (void)pthread_mutex_lock(&t->lock);
    for (int i = 0; i < KEYS && found == 0; i++) {
        const struct ticket_key *k = &t->keys[i];
        if (k->born_ms == 0 || now >= k->born_ms + KEYS * t->interval_ms || memcmp(k->name, name, sizeof(k->name)) != 0)
            continue;
        *ret = *k;
        found = now < k->born_ms + t->interval_ms ? 1 : 2;
    }
    (void)pthread_mutex_unlock(&t->lock);
    return found;
}

static bool set_keys(struct ticket_key *k, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
    OSSL_PARAM params[3] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac, sizeof(k->mac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv, sealing) == 1 &&
           EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* Returns as SSL_CTX_set_tlsext_ticket_key_evp_cb(3) wants it. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                     int sealing)
{
    const struct tls_server *server = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct ticket_key k = { .born_ms = 0 };
    int r = 1;

    if (sealing) {
        if (!newest(server->tickets, &k) || RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
            r = 0; /* no ticket; the session goes on */
        memcpy(name, k.name, sizeof(k.name));
    } else {
        r = find(server->tickets, name, &k);
    }
    if (r > 0 && !set_keys(&k, iv, cipher, mac, sealing))
        r = sealing ? 0 : -1;
    explicit_bzero(&k, sizeof(k));
    return r;
}

int tls_tickets_use(SSL_CTX *context, struct tls_tickets *t)
{
    if (t == NULL) {
        (void)SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        (void)SSL_CTX_set_num_tickets(context, 0);
        return 0;
    }
    (void)pthread_mutex_lock(&t->lock);
    (void)SSL_CTX_set_timeout(context, (long)(t->interval_ms / 1000 * (KEYS - 1)));
    (void)pthread_mutex_unlock(&t->lock);
    (void)SSL_CTX_set_num_tickets(context, 1); /* of TLS 1.3: a mail client comes back one at a time */
    return SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket) == 1 ? 0 : -1;
}
