/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - what all commands have in common: which configuration, where its server listens. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "server/generation.h"

const char *cli_default_config(void)
{
    const char *env = getenv("TERN_CONFIG");

    return env != NULL && env[0] != '\0' ? env : TERN_SYSCONF_DIR "/tern.yaml";
}

const char *cli_module_path(void)
{
    const char *env = getenv("TERN_MODULE_PATH");

    return env != NULL && env[0] != '\0' ? env : TERN_INSTALL_MODULE_DIR;
}

const char *cli_default_rules(void)
{
    static const char path[] = TERN_SYSCONF_DIR "/supervisor.conf";

    return access(path, F_OK) == 0 ? path : NULL;
}

int cli_options(int argc, char **argv, struct cli_options *ret)
{
    static const struct option longs[] = { { "config", required_argument, NULL, 'c' },
                                           { "json", no_argument, NULL, 'j' },
                                           { NULL, 0, NULL, 0 } };
    int c;

    *ret = (struct cli_options){ .config = cli_default_config() };
    optind = 1;
    while ((c = getopt_long(argc, argv, "c:j", longs, NULL)) != -1) {
        if (c == 'c')
            ret->config = optarg;
        else if (c == 'j')
            ret->json = true;
        else
            return -1;
    }
    return optind;
}

static void copy(char *out, size_t size, tern_str s)
{
    (void)snprintf(out, size, "%.*s", (int)s.len, s.ptr != NULL ? s.ptr : "");
}

bool cli_paths(const char *config, struct cli_paths *ret)
{
    struct config_errors errors = { .text = BUF_INIT };
    struct server_conf conf = { .control = { "", 0 } };
    struct arena arena;

    arena_init(&arena);
    /* Other mistakes in the file are for the server to tell: it may run by an older, good one. */
    (void)generation_peek(config, &arena, &conf, &errors);
    bool ok = conf.control.len > 0 || conf.log.decisions.len > 0;
    if (!ok && errors.errors == 0)
        (void)fprintf(stderr, "%s: without a spool control: and log.decisions: must be named for this\n", config);
    if (ok) {
        copy(ret->control, sizeof(ret->control), conf.control);
        copy(ret->decisions, sizeof(ret->decisions), conf.log.decisions);
        copy(ret->spool, sizeof(ret->spool), conf.spool.path);
        ret->segment_octets = conf.spool.segment_size;
    } else {
        (void)fputs(errors.text.data != NULL ? errors.text.data : "", stderr);
    }
    config_errors_free(&errors);
    arena_fini(&arena);
    return ok;
}
