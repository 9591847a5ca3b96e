/* SPDX-License-Identifier: Apache-2.0 */
/* reload.c - a new generation beside the old one; any error refuses it whole. */
#include "base/log.h"
#include "net/conn.h"
#include "server/sandbox.h"
#include "server/serve.h"

struct fixed {
    const char *key;
    bool changed;
};

static bool differs(tern_str a, tern_str b)
{
    return !slice_equal(slice_make(a.ptr, a.len), slice_make(b.ptr, b.len));
}

static bool same_list(const struct tern_list *a, const struct tern_list *b)
{
    for (size_t i = 0; i < a->count && i < b->count; i++)
        if (differs(a->items[i], b->items[i]))
            return false;
    return a->count == b->count;
}

static bool same_servers(const struct dns_conf *a, const struct dns_conf *b)
{
    for (size_t i = 0; i < a->address_count && i < b->address_count; i++)
        if (!net_address_equal(&a->addresses[i], &b->addresses[i]))
            return false;
    return a->address_count == b->address_count;
}

/* As it is written, places apart. As deep as a file may nest. */
static bool same_node(const struct yaml_node *a, const struct yaml_node *b)
{
    if (a == NULL || b == NULL || a->kind != b->kind || a->count != b->count)
        return a == b;
    if (!slice_equal(a->text, b->text))
        return false;
    for (unsigned i = 0; i < a->count; i++)
        if (!same_node(a->items[i], b->items[i]) ||
            (a->kind == YAML_MAP && !slice_equal(a->keys[i]->text, b->keys[i]->text)))
            return false;
    return true;
}

/* What was opened with the worker and cannot change under it. */
static void warn_of_fixed(const struct server_conf *old, const struct server_conf *new, struct buf *text)
{
    const struct fixed fixed[] = {
        { "spool", differs(old->spool.path, new->spool.path) ||
                       old->spool.segment_size != new->spool.segment_size ||
                       old->spool.min_free != new->spool.min_free ||
                       old->spool.reserve != new->spool.reserve || old->spool.spares != new->spool.spares },
        { "hostname", differs(old->hostname, new->hostname) },
        { "control", differs(old->control, new->control) },
        { "module_path", differs(old->module_path, new->module_path) },
        { "loops", old->loops != new->loops },
        { "pool_threads", old->pool_threads != new->pool_threads },
        { "node", old->node != new->node },
        { "sandbox", old->sandbox != new->sandbox },
        { "sandbox_read", !same_list(&old->sandbox_read, &new->sandbox_read) },
        { "sandbox_write", !same_list(&old->sandbox_write, &new->sandbox_write) },
        { "dns", !same_servers(&old->dns, &new->dns) || old->dns.timeout_ms != new->dns.timeout_ms ||
                     old->dns.tries != new->dns.tries || old->dns.cache != new->dns.cache },
        { "temp", differs(old->temp, new->temp) },
        { "log.to", old->log.to != new->log.to },
        { "log.file", differs(old->log.file, new->log.file) },
        { "log.format", old->log.format != new->log.format },
        { "log.decisions", differs(old->log.decisions, new->log.decisions) },
        { "kv", !same_node(old->kv_node, new->kv_node) },
    };

    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        if (fixed[i].changed)
            buf_printf(text, "warning: %s: the change takes effect at the next start of the server\n",
                       fixed[i].key);
}

/* What takes effect at the next start only is not opened now, wherever it lies. */
static void forget_fixed(const struct server_conf *conf, struct config_paths *paths)
{
    const tern_str fixed[] = { conf->spool.path, conf->control, conf->module_path, conf->log.file,
                               conf->log.decisions };

    for (size_t i = 0; i < paths->count; i++)
        for (size_t k = 0; k < sizeof(fixed) / sizeof(fixed[0]); k++)
            if (slice_equal(slice_cstr(paths->items[i].path), slice_make(fixed[k].ptr, fixed[k].len)))
                paths->items[i].path[0] = '\0';
}

static int install(struct serve *s, struct generation *g, struct buf *text)
{
    struct generation *old = generation_present();
    struct scheduler_options so;
    char error[512];
    int r = serve_listen(s, g, error, sizeof(error));

    if (r < 0) {
        buf_printf(text, "%s\n", error);
        generation_unref(old);
        return r;
    }
    warn_of_fixed(&old->conf, &g->conf, text);
    generation_unref(old);
    log_set_level((enum log_level)g->conf.log.level);
    serve_set_watchdog(s, g);
    tls_tickets_set_interval(s->tickets, g->conf.tls.tickets_s);
    generation_set_present(generation_ref(g));
    /* Hands what waits back to be routed anew, which must find the new generation. */
    if (s->scheduler != NULL) {
        serve_scheduler_options(s, g, &so);
        scheduler_set_options(s->scheduler, &so);
    }
    return 0;
}

/* What the operator is told in lines is one line of the log. */
static void log_answer(int r, struct slice text)
{
    CLEANUP_BUF struct buf line = BUF_INIT;

    buf_add_cstr(&line, r == 0 ? "" : "refused, the old configuration stays: ");
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] != '\n')
            buf_add_char(&line, text.ptr[i]);
        else if (i + 1 < text.len)
            buf_add_cstr(&line, "; ");
    log_event(r == 0 ? LOG_INFO : LOG_ERROR, LOG_EV_reload, NULL, "%s", line.data);
}

int serve_reload(struct serve *s, struct buf *text)
{
    struct config_errors errors = { .text = BUF_INIT };
    struct config_paths paths = { NULL, 0, 0 };

    (void)pthread_mutex_lock(&s->reload_lock);
    log_reopen();
    config_paths_collect(&paths);
    struct generation *g = generation_build(s->start->config, s->modules, s->generation_number + 1, &errors);
    config_paths_collect(NULL);
    if (g != NULL && serve_load_tls(s, s->start, g, &errors) < 0) {
        generation_unref(g);
        g = NULL;
    }
    buf_add(text, buf_slice(&errors.text));
    int r = g != NULL ? 0 : -1;
    if (g != NULL)
        forget_fixed(&g->conf, &paths);
    const char *outside = sandbox_outside(&paths);
    if (outside != NULL) {
        buf_printf(text, "%s lies outside of what the sandbox of the running server allows: this change needs a "
                   "restart\n", outside);
        r = -1;
    }
    if (r == 0)
        r = install(s, g, text);
    if (r == 0) {
        s->generation_number++;
        buf_printf(text, "generation %llu\n", (unsigned long long)s->generation_number);
    }
    generation_unref(g);
    (void)pthread_mutex_unlock(&s->reload_lock);
    config_errors_free(&errors);
    config_paths_free(&paths);
    log_answer(r, buf_slice(text));
    return r;
}
