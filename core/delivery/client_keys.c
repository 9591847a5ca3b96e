/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_keys.c - the password salted as a next hop's SCRAM wants it, on the pool: the next hop says how many rounds of
 * PBKDF2 that takes (at most SASL_CLIENT_ITERATIONS_MAX), and no loop has the time.
 *
 * What was made is kept, as RFC 5802 5.1 suggests: a smarthost says the same salt each time. One that says another
 * each time costs CLIENT_KEYS_PARALLEL threads at most, and itself the wait. Kept entries are found by a digest under
 * a key of this process, so that no password stands there.
 *
 * The client may end meanwhile: the job then belongs to itself.
 */
#include <assert.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "delivery/client_private.h"

struct client_keys {
    struct pool_job job;
    struct port_item item;
    struct port *port;
    struct client *client; /* NULL: nobody waits any more. Loop thread */
    enum sasl_hash hash;
    struct buf password, salt;
    unsigned iterations;
    unsigned char salted[SASL_HASH_OCTETS_MAX];
    bool made;
    _Atomic bool left; /* the pool, which may be gone before the client is */
};

static _Atomic unsigned running;

/* ---- what is kept ---- */

struct kept {
    unsigned char name[SASL_HASH_OCTETS_MAX], salted[SASL_HASH_OCTETS_MAX];
    uint64_t used; /* 0: free */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept kept[CLIENT_KEYS_KEPT];
static unsigned char name_key[32];
static bool has_name_key;
static uint64_t clock_of_use;

/* Caller holds lock. False: nothing can be kept. */
static bool name_it(const struct client_keys *k, unsigned char name[SASL_HASH_OCTETS_MAX])
{
    CLEANUP_SECRET struct buf text = BUF_INIT;

    if (!has_name_key && RAND_priv_bytes(name_key, sizeof(name_key)) != 1)
        return false;
    has_name_key = true;
    (void)buf_reserve(&text, k->salt.len + k->password.len + 64);
    buf_printf(&text, "%d %u %zu ", (int)k->hash, k->iterations, k->salt.len);
    buf_add(&text, buf_slice(&k->salt));
    buf_add(&text, buf_slice(&k->password));
    sasl_hmac(SASL_SHA_256, slice_make((const char *)name_key, sizeof(name_key)), buf_slice(&text), name);
    return true;
}

static bool find(struct client_keys *k)
{
    unsigned char name[SASL_HASH_OCTETS_MAX];
    bool found = false;

    (void)pthread_mutex_lock(&lock);
    bool named = name_it(k, name);
    for (unsigned i = 0; named && i < CLIENT_KEYS_KEPT && !found; i++) {
        found = kept[i].used > 0 && memcmp(kept[i].name, name, sizeof(name)) == 0;
        if (found) {
            memcpy(k->salted, kept[i].salted, sizeof(k->salted));
            kept[i].used = ++clock_of_use;
        }
    }
    (void)pthread_mutex_unlock(&lock);
    return found;
}

/* In the place of the one longest unused. */
static void keep(const struct client_keys *k)
{
    struct kept *oldest = &kept[0];

    (void)pthread_mutex_lock(&lock);
    for (unsigned i = 1; i < CLIENT_KEYS_KEPT; i++)
        if (kept[i].used < oldest->used)
            oldest = &kept[i];
    if (name_it(k, oldest->name)) {
        memcpy(oldest->salted, k->salted, sizeof(k->salted));
        oldest->used = ++clock_of_use;
    }
    (void)pthread_mutex_unlock(&lock);
}

/* ---- the job ---- */

static void keys_free(struct client_keys *k)
{
    if (k->port != NULL)
        port_unref(k->port);
    buf_wipe(&k->password);
    buf_wipe(&k->salt);
    explicit_bzero(k, sizeof(*k));
    free(k);
}

/* Pool thread. */
static void make(struct pool_job *job)
{
    struct client_keys *k = list_entry(job, struct client_keys, job);

    k->made = sasl_scram_salted(k->hash, buf_slice(&k->password), buf_slice(&k->salt), k->iterations, k->salted);
    if (k->made)
        keep(k);
}

/* Loop thread, or whoever closes the port. */
static void come_home(struct port_item *item, bool gone)
{
    struct client_keys *k = list_entry(item, struct client_keys, item);
    struct client *c = k->client;

    if (c != NULL)
        c->keys = NULL;
    if (c != NULL && !gone)
        client_salted(c, k->made ? k->salted : NULL);
    keys_free(k);
}

static void leave_pool(struct pool_job *job)
{
    struct client_keys *k = list_entry(job, struct client_keys, job);

    atomic_store(&k->left, true);
    if (!port_put(k->port, &k->item))
        keys_free(k);
}

static struct client_keys *keys_new(struct client *c)
{
    struct client_keys *k = mem_zalloc(sizeof(*k));

    k->client = c;
    k->hash = sasl_scram_hash(c->sasl.mechanism);
    k->iterations = c->sasl.iterations;
    (void)buf_reserve(&k->password, c->sasl.password.len);
    buf_add(&k->password, buf_slice(&c->sasl.password));
    buf_add(&k->salt, buf_slice(&c->sasl.salt));
    k->item.run = come_home;
    k->job = (struct pool_job){ .running = &running, .share = CLIENT_KEYS_PARALLEL, .run = make, .done = leave_pool };
    return k;
}

bool client_keys_make(struct client *c)
{
    struct client_keys *k = keys_new(c);

    assert(c->keys == NULL);
    k->made = find(k);
    if (k->made || c->pool == NULL) { /* without a pool: tests */
        if (!k->made)
            make(&k->job);
        come_home(&k->item, false);
        return true;
    }
    k->port = port_ref(c->port);
    if (pool_submit(c->pool, &k->job) == 0) {
        c->keys = k;
        return true;
    }
    keys_free(k);
    return false;
}

void client_keys_give_up(struct client *c)
{
    struct client_keys *k = c->keys;

    c->keys = NULL;
    if (k == NULL)
        return;
    k->client = NULL;
    if (!atomic_load(&k->left) && pool_cancel(c->pool, &k->job))
        keys_free(k);
}
