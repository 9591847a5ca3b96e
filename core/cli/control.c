/* SPDX-License-Identifier: Apache-2.0 */
/* control.c - `tern reload`, `tern status`, `tern metrics`: one request, its answer printed. */
#include <stdio.h>

#include "cli/cli.h"

static int ask(int argc, char **argv, const char *method, const char *target)
{
    CLEANUP_BUF struct buf body = BUF_INIT;
    struct cli_options o;
    struct cli_paths paths;
    int at = cli_options(argc, argv, &o);

    if (at < 0 || at != argc) {
        (void)fprintf(stderr, "usage: tern %s [-c FILE]\n", argv[0]);
        return CLI_USAGE;
    }
    if (!cli_paths(o.config, &paths))
        return CLI_NO;
    int status = cli_request(paths.control, method, target, &body);
    if (status < 0)
        return CLI_OFFLINE;
    (void)fwrite(body.data, 1, body.len, status == 200 ? stdout : stderr);
    return status == 200 ? 0 : CLI_NO;
}

int cmd_reload(int argc, char **argv)
{
    return ask(argc, argv, "POST", "/reload");
}

int cmd_status(int argc, char **argv)
{
    return ask(argc, argv, "GET", "/status");
}

int cmd_metrics(int argc, char **argv)
{
    return ask(argc, argv, "GET", "/metrics");
}
