/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encrypt.c - which TLS a connection gets, and which hosts cannot do it.
 *
 * With `tls: may` a host whose handshake failed is spoken to in clear for the next hour, so
 * that its mail neither waits nor costs two connections a message (RFC 7435); unless it takes none in
 * clear: then TLS is tried again with the next attempt. All that asks for no
 * good certificate shares one context and its sessions, whatever the configuration; `verify` has one
 * of each transport.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "delivery/encrypt.h"

#define TLS_BROKEN_MS       (60u * 60000u)
#define TLS_BROKEN_MAX      10000 /* one more, and all are forgotten */
#define TLS_ANY_SESSIONS_MAX 10000
#define SMTPS_PORT          465 /* RFC 8314 3.3 */

static_assert(CLIENT_TLS_OFF == (int)TRANSPORT_TLS_OFF && CLIENT_TLS_MAY == (int)TRANSPORT_TLS_MAY &&
                  CLIENT_TLS_REQUIRED == (int)TRANSPORT_TLS_REQUIRED &&
                  CLIENT_TLS_VERIFY == (int)TRANSPORT_TLS_VERIFY,
              "the configuration's words are the client's");

struct broken {
    uint64_t until_ms;
};

/* Made when it is needed first: it reads the system's certificates. */
static struct tls_client *any_client(struct dispatch_set *set)
{
    const struct tls_client_options options = { .version_min = TLS_VERSION_1_2,
                                                .sessions_max = TLS_ANY_SESSIONS_MAX };
    char error[TLS_ERROR_OCTETS] = "";

    (void)pthread_mutex_lock(&set->lock);
    if (set->tls_any == NULL)
        set->tls_any = tls_client_new(&options, error);
    struct tls_client *client = set->tls_any;
    (void)pthread_mutex_unlock(&set->lock);
    if (client == NULL)
        log_event(LOG_ERROR, LOG_EV_outbound, NULL, "no TLS: %s", error);
    return client;
}

static bool is_broken(const struct dispatch *d, const struct endpoint *e)
{
    struct dispatch_set *set = d->set;

    (void)pthread_mutex_lock(&set->lock);
    const struct broken *b = table_get(&set->tls_broken, slice_cstr(e->host));
    bool broken = b != NULL && b->until_ms > clock_now_ms();
    (void)pthread_mutex_unlock(&set->lock);
    return broken;
}

static bool is_implicit(const struct smtp_transport_conf *conf, const struct endpoint *e)
{
    return conf->implicit || e->address.port == SMTPS_PORT;
}

void delivery_tls_choose(struct dispatch *d, const struct path *path, const struct endpoint *e,
                         struct client_options *o)
{
    const struct smtp_transport_conf *conf = path->conf;
    tern_address address;

    if (e->unix_path != NULL || conf->tls == TRANSPORT_TLS_OFF)
        return;
    o->tls_given_up = conf->tls == TRANSPORT_TLS_MAY && !is_implicit(conf, e) && is_broken(d, e);
    if (o->tls_given_up)
        return;
    o->tls = (enum client_tls)conf->tls;
    o->tls_client = conf->tls == TRANSPORT_TLS_VERIFY ? path->transport->tls : any_client(d->set);
    o->tls_implicit = is_implicit(conf, e);
    o->tls_name = conf->tls_name.len > 0 ? conf->tls_name.ptr : e->name;
    o->tls_sni = net_address_parse(slice_cstr(o->tls_name), 0, &address) ? NULL : o->tls_name;
    o->tls_key = e->host;
    o->tls_timeout_ms = conf->tls_timeout_ms;
}

static void remember_broken(struct dispatch_set *set, const struct endpoint *e)
{
    struct broken *b = mem_alloc(sizeof(*b));

    b->until_ms = clock_now_ms() + TLS_BROKEN_MS;
    (void)pthread_mutex_lock(&set->lock);
    if (set->tls_broken.count >= TLS_BROKEN_MAX) {
        table_free(&set->tls_broken, free);
        table_init(&set->tls_broken);
    }
    free(table_put(&set->tls_broken, slice_cstr(e->host), b));
    (void)pthread_mutex_unlock(&set->lock);
}

void delivery_tls_wanted(struct dispatch *d, const struct endpoint *e)
{
    struct dispatch_set *set = d->set;

    (void)pthread_mutex_lock(&set->lock);
    free(table_remove(&set->tls_broken, slice_cstr(e->host)));
    (void)pthread_mutex_unlock(&set->lock);
}

bool delivery_tls_failed(struct dispatch *d, const struct path *path, const struct endpoint *e,
                         const char *text)
{
    bool in_clear = path->conf->tls == TRANSPORT_TLS_MAY && !is_implicit(path->conf, e);

    log_event(LOG_WARNING, LOG_EV_outbound, NULL, "transport %.*s: %s%s",
              (int)path->transport->name.len, path->transport->name.ptr, text,
              in_clear ? "; it gets its mail in clear for an hour" : "");
    if (!in_clear)
        return false;
    remember_broken(d->set, e);
    return true;
}
