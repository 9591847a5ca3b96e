/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - `tern check` and `tern hooks`: the configuration, loaded as the server would. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "server/generation.h"
#include "server/rules.h"
#include "server/serve.h"

struct loaded {
    struct modules *modules;
    struct generation *generation;
};

static void unload(struct loaded *l)
{
    generation_unref(l->generation);
    if (l->modules != NULL)
        modules_free(l->modules);
}

/* What tern-local may do, by supervisor.conf; `local` NULL: not known, or of no interest. */
struct known {
    struct rules rules;
    const struct local_rules *local;
    uid_t own;
};

/*
 * The rules that `tern serve` would go by. A file that this user may not read says nothing to him; one that the server
 * would not start with is an error. Whose process tern-local will be is known of root's, and where root wrote rules.
 */
static bool read_rules(const char *path, struct known *k)
{
    char error[512];
    int r = 0;

    k->local = &k->rules.local;
    k->own = geteuid() == 0 || path != NULL ? 0 : MODULES_OWN_UNKNOWN;
    if (path == NULL)
        rules_default(&k->rules);
    else
        r = rules_load(path, &k->rules, error, sizeof(error));
    if (r == -EACCES)
        k->local = NULL;
    else if (r < 0)
        (void)fprintf(stderr, "%s\n", error);
    return r == 0 || r == -EACCES;
}

static bool load(const char *config, const struct known *known, struct loaded *l)
{
    struct generation_tls tls = { .only_check = true };
    struct config_errors errors = { .text = BUF_INIT };
    struct config_errors ignored = { .text = BUF_INIT };
    struct server_conf first = { .hostname = { NULL, 0 } };
    struct arena arena;

    log_set_level(LOG_WARNING);
    arena_init(&arena);
    (void)generation_peek(config, &arena, &first, &ignored);
    l->modules = serve_modules(first.module_path.len > 0 ? first.module_path.ptr : cli_module_path(),
                               geteuid() != 0, known != NULL ? known->local : NULL, known != NULL ? known->own : 0);
    l->generation = generation_build(config, l->modules, 1, &errors);
    if (l->generation != NULL && generation_load_tls(l->generation, &tls, &errors) < 0) {
        generation_unref(l->generation);
        l->generation = NULL;
    }
    (void)fputs(errors.text.data != NULL ? errors.text.data : "", stderr);
    if (l->generation == NULL)
        (void)fprintf(stderr, "%s: %u error%s\n", config, errors.errors - errors.repeated,
                      errors.errors - errors.repeated == 1 ? "" : "s");
    config_errors_free(&errors);
    config_errors_free(&ignored);
    arena_fini(&arena);
    return l->generation != NULL;
}

int cmd_check(int argc, char **argv)
{
    static const struct option longs[] = { { "config", required_argument, NULL, 'c' },
                                           { "supervisor-conf", required_argument, NULL, 's' },
                                           { NULL, 0, NULL, 0 } };
    const char *config = cli_default_config(), *rules = cli_default_rules();
    static struct known known; /* while modules are loaded */
    struct loaded l = { NULL, NULL };
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "c:s:", longs, NULL)) != -1) {
        if (c == 'c')
            config = optarg;
        else if (c == 's')
            rules = optarg;
        else
            break;
    }
    if (c != -1 || optind != argc) {
        (void)fprintf(stderr, "usage: tern check [-c FILE] [-s FILE]\n");
        return CLI_USAGE;
    }
    bool fine = read_rules(rules, &known);
    fine = load(config, fine ? &known : NULL, &l) && fine;
    if (fine)
        printf("%s: ok\n", config);
    unload(&l);
    return fine ? 0 : CLI_NO;
}

int cmd_hooks(int argc, char **argv)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct cli_options o;
    struct loaded l = { NULL, NULL };
    int at = cli_options(argc, argv, &o);

    if (at < 0 || at != argc) {
        (void)fprintf(stderr, "usage: tern %s [-c FILE] [--json]\n", argv[0]);
        return CLI_USAGE;
    }
    bool ok = load(o.config, NULL, &l);
    if (ok) {
        policies_print(l.generation->policies, &out, o.json);
        (void)fwrite(out.data, 1, out.len, stdout);
    }
    unload(&l);
    return ok ? 0 : CLI_NO;
}
