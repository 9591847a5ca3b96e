/* SPDX-License-Identifier: Apache-2.0 */
/* serve.c - `tern serve` and `tern milter`: the same processes, with and without a queue. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "server/supervisor.h"

static int usage(const char *name)
{
    (void)fprintf(stderr, "usage: tern %s [-c FILE] [-s FILE]\n"
                          "       -c: the configuration, -s: supervisor.conf\n", name);
    return CLI_USAGE;
}

static int serve(int argc, char **argv, bool milter)
{
    static const struct option longs[] = { { "config", required_argument, NULL, 'c' },
                                           { "supervisor-conf", required_argument, NULL, 's' },
                                           { NULL, 0, NULL, 0 } };
    struct supervisor_options o = { .config = cli_default_config(), .prefix_modules = cli_module_path(),
                                    .milter = milter };
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "c:s:", longs, NULL)) != -1) {
        if (c == 'c')
            o.config = optarg;
        else if (c == 's')
            o.rules = optarg;
        else
            return usage(argv[0]);
    }
    if (optind < argc) {
        (void)fprintf(stderr, "tern %s: expected no further words, got \"%s\"\n", argv[0], argv[optind]);
        return usage(argv[0]);
    }
    if (o.rules == NULL)
        o.rules = cli_default_rules();
    return supervisor_run(&o);
}

int cmd_serve(int argc, char **argv)
{
    return serve(argc, argv, false);
}

int cmd_milter(int argc, char **argv)
{
    return serve(argc, argv, true);
}
