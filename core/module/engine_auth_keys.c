/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_auth_keys.c - SCRAM keys made of a password, on the pool: up to a million rounds of PBKDF2 are half
 * a second, which no loop has. At most AUTH_DERIVE_PARALLEL at once, so that a flood of logins
 * leaves the threads to others.
 *
 * The exchange may end while it is derived (the client is gone): the job then belongs to itself.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "module/engine_auth_private.h"

struct auth_derive {
    struct pool_job job;
    struct port_item item;
    struct port *port;
    struct engine_auth *auth; /* NULL: nobody waits any more. Loop thread */
    enum sasl_hash hash;
    struct buf password;
    struct sasl_keys keys;
    bool made;
};

static _Atomic unsigned running;

static void derive_free(struct auth_derive *d)
{
    port_unref(d->port);
    buf_wipe(&d->password);
    explicit_bzero(d, sizeof(*d));
    free(d);
}

/* Pool thread. */
static void derive(struct pool_job *job)
{
    struct auth_derive *d = list_entry(job, struct auth_derive, job);

    d->made = sasl_scram_keys(d->hash, buf_slice(&d->password), &d->keys);
}

/* Loop thread, or whoever closes the port. */
static void come_home(struct port_item *item, bool gone)
{
    struct auth_derive *d = list_entry(item, struct auth_derive, item);
    struct engine_auth *a = d->auth;

    if (a != NULL)
        a->derive = NULL;
    if (a != NULL && !gone)
        auth_derived(a, d->made ? &d->keys : NULL);
    derive_free(d);
}

static void leave_pool(struct pool_job *job)
{
    struct auth_derive *d = list_entry(job, struct auth_derive, job);

    if (!port_put(d->port, &d->item))
        derive_free(d);
}

bool auth_derive(struct engine_auth *a, struct slice password, const struct sasl_keys *keys)
{
    struct engine *engine = a->session->scope.engine;
    struct auth_derive *d = mem_zalloc(sizeof(*d));

    d->port = port_ref(engine->port);
    d->auth = a;
    d->hash = sasl_scram_hash(a->known);
    d->keys = *keys;
    d->item.run = come_home;
    (void)buf_reserve(&d->password, password.len);
    buf_add(&d->password, password);
    d->job = (struct pool_job){
        .running = &running, .share = AUTH_DERIVE_PARALLEL, .run = derive, .done = leave_pool
    };
    a->derive = d;
    if (engine->env.pool == NULL) { /* `tern check` and the like */
        derive(&d->job);
        come_home(&d->item, false);
        return true;
    }
    if (pool_submit(engine->env.pool, &d->job) == 0)
        return true;
    a->derive = NULL;
    derive_free(d);
    return false;
}

void auth_derive_give_up(struct engine_auth *a)
{
    struct auth_derive *d = a->derive;

    a->derive = NULL;
    if (d == NULL)
        return;
    d->auth = NULL;
    if (pool_cancel(a->session->scope.engine->env.pool, &d->job))
        derive_free(d);
}
