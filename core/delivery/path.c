/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path.c - a route made into endpoints: fixed hosts, or the MX of a domain (RFC 5321 5.1,
 * RFC 7505), with the addresses of each; and the name of the site they are.
 *
 * Paths are kept for 5 minutes, so that in a stream of mail to one place only the first asks DNS
 * and builds strings. A kept path holds its generation; dispatch.c throws all away when another
 * has come.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/mem.h"
#include "delivery/internal.h"

struct lookup {
    struct dispatch *dispatch;
    struct path *path;   /* being made */
    struct buf key;      /* of the cache */
    struct slice domain; /* empty: fixed hosts only */
    const char *hops[PATH_HOPS_MAX];
    unsigned hop_count, hop_next, fallback_from;
    bool by_domain;
    bool any_failed; /* some name could not be looked up for now */
    const char *error;
    struct mx_request *request;
    path_fn done;
    void *arg;
    bool *ended; /* while delivery_path_ask() runs: set when it is over */
};

struct path *delivery_path_ref(struct path *path)
{
    atomic_fetch_add_explicit(&path->refs, 1, memory_order_relaxed);
    return path;
}

void delivery_path_unref(struct path *path)
{
    if (path == NULL || atomic_fetch_sub_explicit(&path->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (path->generation.unref != NULL)
        path->generation.unref(path->generation.generation);
    arena_fini(&path->arena);
    free(path);
}

static void unref_value(void *path)
{
    delivery_path_unref(path);
}

void delivery_paths_flush(struct dispatch *d)
{
    table_free(&d->paths, unref_value);
    table_init(&d->paths);
}

/* ---- a hop as written ---- */

static bool is_host(struct slice s)
{
    if (s.len == 0 || s.len > 253)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = ascii_lower(s.ptr[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'))
            return false;
    }
    return true;
}

static bool parse_port(struct slice s, unsigned *ret)
{
    uint64_t port;

    if (!slice_to_u64(s, &port) || port == 0 || port > 65535)
        return false;
    *ret = (unsigned)port;
    return true;
}

static bool parse_unix(struct slice path, struct hop *ret)
{
    if (path.len < 2 || path.len >= sizeof(((struct sockaddr_un *)0)->sun_path) ||
        path.ptr[0] != '/' || memchr(path.ptr, '\0', path.len) != NULL)
        return false;
    ret->kind = HOP_UNIX;
    ret->name = path;
    return true;
}

/* "[x]" and "[x]:port"; x is an address or a name. */
static bool split_brackets(struct slice *text, unsigned *port)
{
    ptrdiff_t end = slice_find(*text, ']');

    if (end < 0)
        return false;
    struct slice rest = slice_from(*text, (size_t)end + 1);
    if (rest.len > 0 && (rest.ptr[0] != ':' || !parse_port(slice_from(rest, 1), port)))
        return false;
    *text = slice_from(slice_head(*text, (size_t)end), 1);
    return true;
}

bool delivery_hop_parse(struct slice text, unsigned port, struct hop *ret)
{
    struct hop hop = { .kind = HOP_ADDRESS, .port = port };

    if (slice_starts_nocase(text, SLICE("unix:"))) {
        if (!parse_unix(slice_from(text, 5), &hop))
            return false;
        *ret = hop;
        return true;
    }
    if (text.len > 0 && text.ptr[0] == '[' && !split_brackets(&text, &hop.port))
        return false;
    if (!net_address_parse(text, hop.port, &hop.address)) {
        ptrdiff_t colon = slice_find(text, ':');
        if (colon >= 0 && !parse_port(slice_from(text, (size_t)colon + 1), &hop.port))
            return false;
        hop.kind = HOP_HOST;
        hop.name = colon >= 0 ? slice_head(text, (size_t)colon) : text;
        if (!is_host(hop.name))
            return false;
    }
    *ret = hop;
    return true;
}

/* ---- ourselves ---- */

static unsigned address_octets(const tern_address *a)
{
    return a->family == 4 ? 4 : a->family == 6 ? 16 : 0;
}

static bool is_unspecified(const tern_address *a)
{
    static const uint8_t none[sizeof(a->octets)];

    return a->family != 0 && memcmp(a->octets, none, address_octets(a)) == 0;
}

/* ::ffff:192.0.2.1 is 192.0.2.1 to whoever connects to it. */
static tern_address unmapped(const tern_address *a)
{
    static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };
    tern_address v4 = { .family = 4, .port = a->port };

    if (a->family != 6 || memcmp(a->octets, prefix, sizeof(prefix)) != 0)
        return *a;
    memcpy(v4.octets, a->octets + sizeof(prefix), 4);
    return v4;
}

bool delivery_is_own(const struct dispatch_set *set, const tern_address *address)
{
    const tern_address to = unmapped(address);

    for (unsigned i = 0; i < set->own_count; i++) {
        const tern_address *own = &set->own[i];
        if (own->port == to.port && is_unspecified(&to))
            return true; /* 0.0.0.0 and :: lead to this machine */
        if (own->family != to.family || own->port != to.port)
            continue;
        if (own->family == 4 && own->octets[0] == 127 && to.octets[0] == 127)
            return true;
        if (memcmp(own->octets, to.octets, address_octets(own)) == 0)
            return true;
    }
    return false;
}

/* ---- building ---- */

static bool add_endpoint(struct path *path, const char *name, const tern_address *address,
                         const char *unix_path, unsigned rank)
{
    char text[NET_ADDRESS_TEXT_MAX];

    if (path->endpoint_count == PATH_ENDPOINTS_MAX)
        return false;
    if (path->endpoints == NULL)
        path->endpoints = arena_alloc(&path->arena, PATH_ENDPOINTS_MAX * sizeof(struct endpoint));
    struct endpoint *e = &path->endpoints[path->endpoint_count++];
    *e = (struct endpoint){ .unix_path = unix_path, .rank = rank };
    if (unix_path != NULL) {
        e->name = e->host = unix_path;
        return true;
    }
    e->address = *address;
    net_address_print(address, false, text);
    e->name = name != NULL ? arena_dup(&path->arena, slice_cstr(name))
                           : arena_dup(&path->arena, slice_cstr(text));
    e->host = name != NULL ? arena_printf(&path->arena, "%s[%s]:%u", name, text, address->port)
                           : arena_printf(&path->arena, "[%s]:%u", text, address->port);
    return true;
}

static void lookup_free(struct lookup *l)
{
    if (l->ended != NULL)
        *l->ended = true;
    delivery_path_unref(l->path);
    buf_free(&l->key);
    free(l);
}

static void fail(struct lookup *l, bool permanent, unsigned code, const char *enhanced,
                 const char *text)
{
    const struct path_failure failure = { permanent, code, enhanced, text };

    l->done(l->arg, NULL, &failure);
    lookup_free(l);
}

void delivery_paths_tidy(struct loop_timer *timer)
{
    struct dispatch *d = list_entry(timer, struct dispatch, tidy);
    struct dispatch_generation now;

    d->set->options.generation(d->set->options.arg, &now);
    if (now.generation != d->paths_generation ||
        clock_now_ms() - d->paths_since_ms >= PATH_FRESH_MS)
        delivery_paths_flush(d);
    if (now.unref != NULL)
        now.unref(now.generation);
    d->tidying = d->paths.count > 0;
    if (d->tidying)
        loop_timer_start(d->loop, &d->tidy, TIDY_MS);
}

static void keep(struct lookup *l)
{
    struct dispatch *d = l->dispatch;

    if (d->paths.count >= PATHS_CACHED_MAX || d->paths_generation != l->path->generation.generation)
        delivery_paths_flush(d);
    if (d->paths.count == 0)
        d->paths_since_ms = clock_now_ms();
    d->paths_generation = l->path->generation.generation;
    delivery_path_unref(table_put(&d->paths, buf_slice(&l->key), delivery_path_ref(l->path)));
    if (!d->tidying)
        loop_timer_start(d->loop, &d->tidy, TIDY_MS);
    d->tidying = true;
}

static void succeed(struct lookup *l)
{
    l->path->made_ms = clock_now_ms();
    keep(l);
    l->done(l->arg, l->path, NULL);
    lookup_free(l);
}

static void next_hop(struct lookup *l);

static void finish(struct lookup *l)
{
    if (l->path->endpoint_count > 0)
        succeed(l);
    else if (l->any_failed)
        fail(l, false, 451, "4.4.3", l->error);
    else
        fail(l, false, 451, "4.4.4", l->error != NULL ? l->error : "the next hop has no address");
}

static void on_host(void *arg, const struct mx_answer *answer)
{
    struct lookup *l = arg;
    struct hop hop;

    l->request = NULL;
    (void)delivery_hop_parse(slice_cstr(l->hops[l->hop_next]), l->path->conf->port, &hop);
    if (answer->status != MX_FOUND) {
        l->any_failed |= answer->status == MX_FAILED;
        l->error = arena_printf(&l->path->arena, "%s: %s", l->hops[l->hop_next],
                                answer->error != NULL ? answer->error : "no address");
    }
    for (unsigned i = 0;
         answer->status == MX_FOUND && answer->count > 0 && i < answer->hosts[0].address_count;
         i++) {
        tern_address address = answer->hosts[0].addresses[i];
        address.port = (uint16_t)hop.port;
        (void)add_endpoint(l->path, answer->hosts[0].name, &address, NULL, 1000 + l->hop_next);
    }
    l->hop_next++;
    next_hop(l);
}

bool delivery_path_is_lmtp(const struct path *path)
{
    return slice_equal(path->transport->type, SLICE("lmtp"));
}

/* False: l->error says why not. The configuration has been looked at; routes come from anywhere. */
static bool read_hop(struct lookup *l, struct hop *ret)
{
    const char *text = l->hops[l->hop_next];

    if (!delivery_hop_parse(slice_cstr(text), l->path->conf->port, ret)) {
        l->error = arena_printf(&l->path->arena, "%s is no next hop", text);
        return false;
    }
    unsigned port = ret->kind == HOP_ADDRESS ? ret->address.port : ret->port;
    if (port == 25 && ret->kind != HOP_UNIX && delivery_path_is_lmtp(l->path)) { /* RFC 2033 5 */
        l->error = arena_printf(&l->path->arena, "%s: LMTP may not use port 25 (RFC 2033)", text);
        return false;
    }
    return true;
}

/* Fixed hosts keep their order; each name is asked for in turn. */
static void next_hop(struct lookup *l)
{
    while (l->hop_next < l->hop_count) {
        struct hop hop;
        if (!read_hop(l, &hop)) {
            l->hop_next++;
            continue;
        }
        if (hop.kind == HOP_HOST) {
            char *name = arena_dup(&l->path->arena, hop.name);
            l->request = host_ask(l->dispatch->dns, name, on_host, l);
            return;
        }
        (void)add_endpoint(l->path, NULL, &hop.address,
                           hop.kind == HOP_UNIX ? arena_dup(&l->path->arena, hop.name) : NULL,
                           1000 + l->hop_next);
        l->hop_next++;
    }
    finish(l);
}

/* ---- by MX ---- */

static bool host_is_own(const struct lookup *l, const struct mx_host *host)
{
    const struct dispatch_set *set = l->dispatch->set;

    if (slice_equal_nocase(slice_cstr(host->name), slice_cstr(set->hostname)))
        return true;
    for (unsigned i = 0; i < host->address_count; i++) {
        tern_address address = host->addresses[i];
        address.port = (uint16_t)l->path->conf->port;
        if (delivery_is_own(set, &address))
            return true;
    }
    return false;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The site of an MX set has one name, whatever the order of equals. */
static void name_site(struct lookup *l, const char **names, unsigned count)
{
    struct path *path = l->path;
    struct buf name = BUF_INIT;
    char source[NET_ADDRESS_TEXT_MAX] = "";

    if (path->source.family != 0)
        net_address_print(&path->source, false, source);
    buf_add(&name, path->transport->name);
    for (unsigned i = 0; i < count; i++) {
        buf_add_char(&name, i == 0 ? '|' : ',');
        buf_add_cstr(&name, names[i]);
    }
    buf_printf(&name, "|%s", source);
    if (path->conf != NULL && path->conf->tls != TRANSPORT_TLS_OFF)
        buf_printf(&name, "|tls%d", path->conf->tls); /* a reload may change it */
    path->site = slice_make(arena_dup(&path->arena, buf_slice(&name)), name.len);
    buf_free(&name);
}

/* RFC 5321 5.1: an MX that is ourselves, and all that are no better, are of no use to us. */
static unsigned worst_preference(const struct lookup *l, const struct mx_answer *answer)
{
    unsigned limit = UINT32_MAX;

    for (unsigned i = 0; i < answer->count; i++)
        if (answer->hosts[i].preference < limit && host_is_own(l, &answer->hosts[i]))
            limit = answer->hosts[i].preference;
    return limit;
}

static void use_mx(struct lookup *l, const struct mx_answer *answer)
{
    unsigned limit = worst_preference(l, answer);
    const char *names[MX_HOSTS_MAX];
    unsigned count = 0;

    for (unsigned i = 0; i < answer->count && count < MX_HOSTS_MAX; i++) {
        const struct mx_host *host = &answer->hosts[i];
        if (host->preference >= limit)
            continue;
        l->any_failed |= host->failed;
        names[count++] = host->name;
        for (unsigned k = 0; k < host->address_count; k++) {
            tern_address address = host->addresses[k];
            address.port = (uint16_t)l->path->conf->port;
            (void)add_endpoint(l->path, host->name, &address, NULL, host->preference);
        }
    }
    if (count == 0) {
        fail(l, true, 554, "5.4.6", "mail for this domain loops back to this server");
        return;
    }
    qsort(names, count, sizeof(names[0]), compare_names);
    name_site(l, names, count);
    l->error = "no mail exchanger of the domain has an address for now";
    next_hop(l);
}

static void on_mx(void *arg, const struct mx_answer *answer)
{
    struct lookup *l = arg;
    const char *error = answer->error != NULL ? answer->error : "";

    l->request = NULL;
    switch (answer->status) {
    case MX_FOUND: use_mx(l, answer); break;
    case MX_NULL: fail(l, true, 556, "5.1.10", "the domain accepts no mail (null MX)"); break;
    case MX_NO_DOMAIN: fail(l, true, 550, "5.1.2", "the domain does not exist"); break;
    case MX_NO_ADDRESS:
        fail(l, true, 550, "5.4.4", "the domain has no mail exchanger with an address");
        break;
    case MX_FAILED:
        if (l->hop_count > 0) { /* only fallback hosts are left */
            const char *name = l->hops[0];
            l->any_failed = true;
            l->error = arena_dup(&l->path->arena, slice_cstr(error));
            name_site(l, &name, 1);
            next_hop(l);
        } else {
            fail(l, false, 451, "4.4.3", error);
        }
        break;
    }
}

/* user@[192.0.2.1], user@[IPv6:2001:db8::1] (RFC 5321 4.1.3) */
static void use_literal(struct lookup *l)
{
    struct slice text = slice_make(l->domain.ptr + 1, l->domain.len - 2);
    tern_address address;

    if (slice_starts_nocase(text, SLICE("IPv6:")))
        text = slice_from(text, 5);
    if (l->domain.len < 3 || l->domain.ptr[l->domain.len - 1] != ']' ||
        slice_find(text, ']') >= 0 || !net_address_parse(text, l->path->conf->port, &address)) {
        fail(l, true, 550, "5.1.2", "the domain literal is no address");
        return;
    }
    if (delivery_is_own(l->dispatch->set, &address)) {
        fail(l, true, 554, "5.4.6", "the domain literal is this server");
        return;
    }
    (void)add_endpoint(l->path, NULL, &address, NULL, 0);
    const char *name = l->path->endpoints[0].name;
    name_site(l, &name, 1);
    finish(l);
}

static void ask_domain(struct lookup *l)
{
    if (l->domain.len == 0)
        fail(l, true, 550, "5.1.2", "the address has no domain");
    else if (l->domain.ptr[0] == '[')
        use_literal(l);
    else
        l->request = mx_ask(l->dispatch->dns, arena_dup(&l->path->arena, l->domain), on_mx, l);
}

/* ---- asking ---- */

static const struct tern_list *list_of(const struct tern_list *route, const struct tern_list *conf)
{
    return route->count > 0 ? route : conf;
}

bool delivery_path_by_domain(const struct transport *transport, const struct tern_route *route)
{
    const struct smtp_transport_conf *conf = transport->conf;

    return transport->module == NULL && list_of(&route->to, &conf->to)->count == 0;
}

static void add_list_key(struct buf *key, const struct tern_list *list)
{
    buf_add_char(key, '\n');
    for (size_t i = 0; i < list->count; i++) {
        buf_add(key, slice_of(list->items[i]));
        buf_add_char(key, ',');
    }
}

static void make_key(struct buf *key, const struct transport *transport,
                     const struct tern_route *route, struct slice domain)
{
    buf_add(key, transport->name);
    add_list_key(key, &route->to);
    add_list_key(key, &route->fallback);
    buf_add_char(key, '\n');
    buf_add(key, slice_of(route->source));
    buf_add_char(key, '\n');
    buf_add(key, domain);
}

static struct path *path_new(const struct dispatch_generation *generation,
                             const struct transport *transport)
{
    struct path *path = mem_zalloc(sizeof(*path));

    atomic_init(&path->refs, 1);
    arena_init(&path->arena);
    path->generation = *generation;
    if (generation->ref != NULL)
        generation->ref(generation->generation);
    path->transport = transport;
    path->conf = transport->module == NULL ? transport->conf : NULL;
    return path;
}

static void add_hops(struct lookup *l, const struct tern_list *list)
{
    for (size_t i = 0; i < list->count && l->hop_count < PATH_HOPS_MAX; i++)
        l->hops[l->hop_count++] = arena_dup(&l->path->arena, slice_of(list->items[i]));
}

static void begin(struct lookup *l, const struct tern_route *route)
{
    struct path *path = l->path;

    if (path->conf == NULL) {
        name_site(l, NULL, 0);
        succeed(l);
        return;
    }
    path->source = path->conf->source;
    if (route->source.len > 0 && !net_address_parse(slice_of(route->source), 0, &path->source)) {
        fail(l, false, 451, "4.3.5", "the route's source is no address");
        return;
    }
    if (!l->by_domain)
        add_hops(l, list_of(&route->to, &path->conf->to));
    add_hops(l, list_of(&route->fallback, &path->conf->fallback));
    if (l->by_domain) {
        ask_domain(l);
        return;
    }
    name_site(l, l->hops, l->hop_count);
    next_hop(l);
}

struct lookup *delivery_path_ask(struct dispatch *d, const struct dispatch_generation *generation,
                                 const struct transport *transport, const struct tern_route *route,
                                 struct slice domain, path_fn done, void *arg)
{
    struct lookup *l = mem_zalloc(sizeof(*l));

    *l = (struct lookup){ .dispatch = d,
                          .done = done,
                          .arg = arg,
                          .by_domain = delivery_path_by_domain(transport, route) };
    make_key(&l->key, transport, route, l->by_domain ? domain : slice_make(NULL, 0));
    struct path *path = table_get(&d->paths, buf_slice(&l->key));
    if (path != NULL && path->transport == transport &&
        path->generation.generation == generation->generation &&
        clock_now_ms() - path->made_ms < PATH_FRESH_MS) {
        done(arg, path, NULL);
        lookup_free(l);
        return NULL;
    }
    l->path = path_new(generation, transport);
    l->domain = arena_slice(&l->path->arena, domain);
    bool ended = false;
    l->ended = &ended;
    begin(l, route);
    if (ended)
        return NULL;
    l->ended = NULL;
    return l;
}

void delivery_path_cancel(struct lookup *l)
{
    if (l->request != NULL)
        mx_cancel(l->request);
    lookup_free(l);
}
