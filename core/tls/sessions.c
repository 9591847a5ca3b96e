/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sessions.c - the last session of each host, to be resumed once: a ticket of TLS 1.3 that is used
 * twice lets an observer tie the two connections together (RFC 8446 C.4), and a new one comes
 * with each connection. When all places are taken, the one longest unused goes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/table.h"
#include "tls/private.h"

struct kept {
    struct list age; /* oldest first */
    SSL_SESSION *session;
    size_t len;
    char key[];
};

struct tls_sessions {
    pthread_mutex_t lock;
    struct table rows;
    struct list ages;
    unsigned max, count;
};

struct tls_sessions *tls_sessions_new(unsigned max)
{
    struct tls_sessions *s = mem_zalloc(sizeof(*s));

    (void)pthread_mutex_init(&s->lock, NULL);
    table_init(&s->rows);
    list_init(&s->ages);
    s->max = max;
    return s;
}

/* Caller holds s->lock. */
static SSL_SESSION *drop(struct tls_sessions *s, struct kept *k)
{
    SSL_SESSION *session = k->session;

    (void)table_remove(&s->rows, slice_make(k->key, k->len));
    list_remove(&k->age);
    free(k);
    s->count--;
    return session;
}

void tls_sessions_free(struct tls_sessions *s)
{
    if (s == NULL)
        return;
    while (!list_empty(&s->ages))
        SSL_SESSION_free(drop(s, list_entry(s->ages.next, struct kept, age)));
    table_free(&s->rows, NULL);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

void tls_sessions_put(struct tls_sessions *s, const char *key, SSL_SESSION *session)
{
    size_t len = strlen(key);
    struct kept *k = mem_zalloc(sizeof(*k) + len + 1);
    SSL_SESSION *gone = NULL;

    k->session = session;
    k->len = len;
    memcpy(k->key, key, len);
    (void)pthread_mutex_lock(&s->lock);
    struct kept *old = table_get(&s->rows, slice_cstr(key));
    if (old != NULL)
        gone = drop(s, old);
    else if (s->count >= s->max)
        gone = drop(s, list_entry(s->ages.next, struct kept, age));
    (void)table_put(&s->rows, slice_cstr(key), k);
    list_push(&s->ages, &k->age);
    s->count++;
    (void)pthread_mutex_unlock(&s->lock);
    SSL_SESSION_free(gone);
}

SSL_SESSION *tls_sessions_take(struct tls_sessions *s, const char *key)
{
    (void)pthread_mutex_lock(&s->lock);
    struct kept *k = table_get(&s->rows, slice_cstr(key));
    SSL_SESSION *session = k != NULL ? drop(s, k) : NULL;
    (void)pthread_mutex_unlock(&s->lock);
    return session;
}
