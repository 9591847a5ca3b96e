/* SPDX-License-Identifier: Apache-2.0 */
/* dmarc_config.c - the option `reports` of the configuration's step `dmarc`, read as the server reads it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/dmarc_send.h"
#include "server/generation.h"
#include "server/serve.h"

struct dmarc_config {
    struct modules *modules;
    struct generation *generation;
    const struct dmarc_reports_conf *reports;
    bool several; /* steps that collect into different folders */
};

static void look(void *arg, const struct tern_module *module, const void *conf)
{
    struct dmarc_config *c = arg;

    if (strcmp(module->name, "dmarc") != 0)
        return;
    for (const struct tern_option *o = module->options; o != NULL && o->size != 0; o++) {
        if (strcmp(o->key, "reports") != 0 || o->type != TERN_TYPE_RECORDS ||
            o->record_size != sizeof(struct dmarc_reports_conf))
            continue;
        const struct tern_records *records = (const void *)((const char *)conf + o->offset);
        if (records->count == 0)
            continue;
        const struct dmarc_reports_conf *found = records->items;
        if (c->reports != NULL && strcmp(c->reports->path.ptr, found->path.ptr) != 0)
            c->several = true;
        c->reports = found;
    }
}

static void complain(const char *path, const struct dmarc_config *c)
{
    if (c->generation == NULL)
        return; /* said already */
    (void)fprintf(stderr, "tern dmarc: %s: %s\n", path,
                  c->several ? "steps dmarc collect reports into different folders: one run can send of one only"
                             : "no step dmarc has the option reports, so nothing is collected");
}

struct dmarc_config *dmarc_config_open(const char *path)
{
    struct dmarc_config *c = mem_zalloc(sizeof(*c));
    struct config_errors errors = { .text = BUF_INIT }, ignored = { .text = BUF_INIT };
    struct server_conf first = { .hostname = { NULL, 0 } };
    struct arena arena;

    log_set_level(LOG_WARNING); /* cron sends a mail of every word */
    arena_init(&arena);
    (void)generation_peek(path, &arena, &first, &ignored);
    c->modules = serve_modules(first.module_path.len > 0 ? first.module_path.ptr : cli_module_path(), geteuid() != 0,
                               NULL, 0);
    c->generation = generation_build(path, c->modules, 1, &errors);
    if (c->generation != NULL)
        policies_each_step(c->generation->policies, look, c);
    else
        (void)fputs(errors.text.data != NULL ? errors.text.data : "", stderr);
    config_errors_free(&errors);
    config_errors_free(&ignored);
    arena_fini(&arena);
    if (c->reports != NULL && !c->several)
        return c;
    complain(path, c);
    dmarc_config_close(c);
    return NULL;
}

void dmarc_config_close(struct dmarc_config *config)
{
    if (config == NULL)
        return;
    generation_unref(config->generation);
    modules_free(config->modules);
    mem_cleanup_free(&config);
}

const struct dmarc_reports_conf *dmarc_config_reports(const struct dmarc_config *config)
{
    return config->reports;
}

const char *dmarc_config_hostname(const struct dmarc_config *config)
{
    return config->generation->conf.hostname.ptr;
}

int dmarc_config_dns(const struct dmarc_config *config, struct loop *loop, struct dns **ret)
{
    const struct dns_conf *conf = &config->generation->conf.dns;
    struct dns_options options = { .servers = conf->addresses, .server_count = conf->address_count,
                                   .timeout_ms = (unsigned)conf->timeout_ms, .tries = conf->tries,
                                   .cache_entries_max = conf->cache };

    return dns_new(loop, &options, ret);
}
