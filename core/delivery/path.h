/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path.h - a route made into endpoints and the name of their site. Inside delivery/ only.
 */
#ifndef TERN_DELIVERY_PATH_H
#define TERN_DELIVERY_PATH_H

#include "base/arena.h"
#include "delivery/dispatch.h"

#define PATH_FRESH_MS      (5u * 60000u) /* route and MX are good for so long */
#define PATHS_CACHED_MAX   4096          /* per loop */
#define PATH_ENDPOINTS_MAX 64
#define PATH_HOPS_MAX      32 /* names in `to` and `fallback` */
#define TIDY_MS            10000u

struct endpoint {
    const char *host;      /* for people and for logs: "mx.example[192.0.2.1]:25" */
    const char *name;      /* the host's name, for the client */
    const char *unix_path; /* or NULL */
    tern_address address;
    unsigned rank; /* of equal rank any may come first */
};

/* Immutable once made; any thread. */
struct path {
    _Atomic unsigned refs;
    struct arena arena;
    struct dispatch_generation generation;
    const struct transport *transport;
    const struct smtp_transport_conf *conf; /* NULL: a module's transport */
    struct slice site;
    tern_address source;
    struct endpoint *endpoints;
    unsigned endpoint_count;
    uint64_t made_ms;
};
struct path *delivery_path_ref(struct path *path);
void delivery_path_unref(struct path *path);

struct path_failure {
    bool permanent;
    unsigned code;
    const char *enhanced;
    const char *text; /* borrowed */
};
typedef void (*path_fn)(void *arg, struct path *path, const struct path_failure *failure);
struct lookup;
/*
 * The way of `route` to `domain` (used where the route names no host). `done` gets a borrowed
 * path or NULL and why; from inside the call, which then returns NULL, or later.
 */
struct lookup *delivery_path_ask(struct dispatch *d, const struct dispatch_generation *generation,
                                 const struct transport *transport, const struct tern_route *route,
                                 struct slice domain, path_fn done, void *arg);
void delivery_path_cancel(struct lookup *lookup);
void delivery_paths_flush(struct dispatch *d);
/* dispatch.tidy: drops what is old or of an old generation */
void delivery_paths_tidy(struct loop_timer *timer);
/* By MX, unless the route or the transport names hosts or is a module's. */
bool delivery_path_by_domain(const struct transport *transport, const struct tern_route *route);
bool delivery_path_is_lmtp(const struct path *path);

/* A next hop as it is written. */
enum hop_kind { HOP_HOST, HOP_ADDRESS, HOP_UNIX };
struct hop {
    enum hop_kind kind;
    struct slice name; /* host or path */
    tern_address address;
    unsigned port;
};
bool delivery_hop_parse(struct slice text, unsigned port, struct hop *ret);
/* Whether mail sent there would come back to this server. */
bool delivery_is_own(const struct dispatch_set *set, const tern_address *address);

#endif
