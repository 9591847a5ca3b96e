/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - `tern check` and `tern hooks`: the configuration, loaded as the server would. */
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "server/generation.h"
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

static bool load(const char *config, struct loaded *l)
{
    struct generation_tls tls = { .only_check = true };
    struct config_errors errors = { .text = BUF_INIT };
    struct config_errors ignored = { .text = BUF_INIT };
    struct server_conf first = { .hostname = { NULL, 0 } };
    struct arena arena;

    arena_init(&arena);
    (void)generation_peek(config, &arena, &first, &ignored);
    l->modules = serve_modules(
        first.module_path.len > 0 ? first.module_path.ptr : cli_module_path(), geteuid() != 0);
    l->generation = generation_build(config, l->modules, 1, &errors);
    if (l->generation != NULL && generation_load_tls(l->generation, &tls, &errors) < 0) {
        generation_unref(l->generation);
        l->generation = NULL;
    }
    (void)fputs(errors.text.data != NULL ? errors.text.data : "", stderr);
    if (l->generation == NULL)
        (void)fprintf(stderr, "%s: %u error%s\n", config, errors.errors, errors.errors == 1 ? "" : "s");
    config_errors_free(&errors);
    config_errors_free(&ignored);
    arena_fini(&arena);
    return l->generation != NULL;
}

static int begin(int argc, char **argv, struct cli_options *o, struct loaded *l)
{
    int at = cli_options(argc, argv, o);

    if (at < 0 || at != argc) {
        (void)fprintf(stderr, "usage: tern %s [-c FILE] [--json]\n", argv[0]);
        return CLI_USAGE;
    }
    return load(o->config, l) ? 0 : CLI_NO;
}

int cmd_check(int argc, char **argv)
{
    struct cli_options o;
    struct loaded l = { NULL, NULL };
    int r = begin(argc, argv, &o, &l);

    if (r == 0)
        printf("%s: ok\n", o.config);
    unload(&l);
    return r;
}

int cmd_hooks(int argc, char **argv)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct cli_options o;
    struct loaded l = { NULL, NULL };
    int r = begin(argc, argv, &o, &l);

    if (r == 0) {
        policies_print(l.generation->policies, &out, o.json);
        (void)fwrite(out.data, 1, out.len, stdout);
    }
    unload(&l);
    return r;
}
