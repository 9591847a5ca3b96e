/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certificates.c - a generation's certificates, and a TLS server for each listener that wants one.
 *
 * A file that cannot be used refuses the generation. One that has expired does not: encryption under
 * it is still better for mail between servers than none, and a reload for another reason must not
 * fail by it; it is a warning, at each start, reload and check.
 */
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/conf_tls.h"
#include "server/generation.h"

static void warn_of_dates(const struct generation *g, const struct tls_certificate *c, const char *path,
                          const struct place *place, struct config_errors *errors)
{
    int64_t now = (int64_t)(clock_wall_ms() / 1000), from, until;
    char date[32] = "";
    struct tm tm;

    tls_certificate_validity(c, &from, &until);
    time_t t = (time_t)(now < from ? from : until);
    if (gmtime_r(&t, &tm) != NULL)
        (void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M UTC", &tm);
    if (now < from)
        config_warning_at(errors, place, "%s: is not valid before %s", path, date);
    else if (now >= until)
        config_warning_at(errors, place, "%s: has expired on %s", path, date);
    else if (now + (int64_t)g->conf.tls.warn_before_s >= until)
        config_warning_at(errors, place, "%s: expires on %s, in %lld days", path, date,
                          (long long)(until - now) / 86400);
}

/* A man who checks as himself what only root may read is told so, and no more. */
static bool is_forgiven(const struct generation_tls *o)
{
    return o->only_check && errno == EACCES && geteuid() != 0;
}

static bool load_certificates(struct generation *g, const struct generation_tls *o, struct config_errors *errors)
{
    const struct certificate_conf *conf = g->conf.certificates.items;
    const struct yaml_node *node = g->conf.certificates_node;
    bool all = true;

    g->certificates = arena_zalloc(&g->arena, (g->conf.certificates.count + 1) * sizeof(g->certificates[0]));
    for (size_t i = 0; i < g->conf.certificates.count; i++) {
        const struct place *place = &(node->kind == YAML_LIST ? node->items[i] : node)->place;
        char error[TLS_ERROR_OCTETS] = "";
        struct tls_certificate *c = tls_certificate_load(conf[i].cert.ptr, conf[i].key.ptr, &o->opener, error);
        if (c != NULL) {
            g->certificates[g->certificate_count++] = c;
            warn_of_dates(g, c, conf[i].cert.ptr, place, errors);
            continue;
        }
        all = false;
        if (is_forgiven(o))
            config_warning_at(errors, place, "%s: not looked at, as user %u may not; check as root", error,
                              (unsigned)geteuid());
        else
            config_error_at(errors, place, "%s%s", error, errno == EACCES && !o->only_check
                            ? "; the server's user may not read it, and the supervisor opens files below the folders "
                              "of `keys` in supervisor.conf only, which are root's and writable by nobody else" : "");
    }
    return all;
}

static void warn_of_name(const struct generation *g, struct config_errors *errors)
{
    for (unsigned i = 0; i < g->certificate_count; i++)
        if (tls_certificate_covers(g->certificates[i], slice_of(g->conf.hostname)))
            return;
    config_warning_at(errors, &g->conf.certificates_node->place,
                      "certificates: none is for the name \"%s\" (hostname:), which is what clients look for",
                      g->conf.hostname.ptr);
}

static struct tls_server *make_server(const struct generation *g, const struct listener_conf *l,
                                      const struct generation_tls *o, struct config_errors *errors)
{
    char error[TLS_ERROR_OCTETS] = "";
    struct tls_server_options so = {
        .certificates = g->certificates, .count = g->certificate_count,
        .version_min = g->conf.tls.min_version == TLS_MIN_1_3 ? TLS_VERSION_1_3 : TLS_VERSION_1_2,
        .ciphers = g->conf.tls.ciphers.ptr, .ask_client = l->client_certificates, .client_ca = l->client_ca.ptr,
        .tickets = g->conf.tls.tickets_s > 0 ? o->tickets : NULL,
    };
    struct tls_server *server = tls_server_new(&so, error);

    if (server == NULL)
        config_error_at(errors, &l->place, "listener \"%.*s\": tls: %s", (int)l->name.len, l->name.ptr, error);
    return server;
}

int generation_load_tls(struct generation *g, const struct generation_tls *o, struct config_errors *errors)
{
    unsigned before = errors->errors;
    bool used = false;

    for (unsigned i = 0; i < g->conf.listener_count; i++)
        used |= g->conf.listeners[i].tls != SMTP_TLS_OFF;
    bool all = load_certificates(g, o, errors);
    if (all && used)
        warn_of_name(g, errors);
    g->tls_servers = arena_zalloc(&g->arena, (g->conf.listener_count + 1) * sizeof(g->tls_servers[0]));
    for (unsigned i = 0; i < g->conf.listener_count && all; i++)
        if (g->conf.listeners[i].tls != SMTP_TLS_OFF)
            g->tls_servers[i] = make_server(g, &g->conf.listeners[i], o, errors);
    return errors->errors > before ? -EINVAL : 0;
}

void generation_free_tls(struct generation *g)
{
    for (unsigned i = 0; g->tls_servers != NULL && i < g->conf.listener_count; i++)
        tls_server_free(g->tls_servers[i]);
    for (unsigned i = 0; i < g->certificate_count; i++)
        tls_certificate_free(g->certificates[i]);
    g->tls_servers = NULL;
    g->certificate_count = 0;
}

struct tls_server *generation_tls_server(const struct generation *g, const struct listener_conf *listener)
{
    return g->tls_servers != NULL ? g->tls_servers[listener - g->conf.listeners] : NULL;
}
