/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - the subcommands of `tern`. Each takes what stands behind its name (argv[0] is the
 * name) and returns the exit status: 0, 1 for "no", 2 for wrong use, 75 when the server is down.
 */
#ifndef TERN_CLI_CLI_H
#define TERN_CLI_CLI_H

#include <stdbool.h>

#include "base/buf.h"

#define CLI_USAGE   2
#define CLI_NO      1
#define CLI_OFFLINE 75 /* EX_TEMPFAIL */

int cmd_serve(int argc, char **argv);
int cmd_milter(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_hooks(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_metrics(int argc, char **argv);
int cmd_queue(int argc, char **argv);
int cmd_why(int argc, char **argv);
int cmd_test(int argc, char **argv);
int cmd_new(int argc, char **argv);
int cmd_passwd(int argc, char **argv);
int cmd_dkim(int argc, char **argv);
int cmd_dmarc(int argc, char **argv);
int cmd_help(int argc, char **argv);

/* The file of -c, else $TERN_CONFIG, else the installed one. */
const char *cli_default_config(void);
const char *cli_module_path(void);
/* The installed supervisor.conf, or NULL: there is none, so the default rules hold. */
const char *cli_default_rules(void);
/* Options every command knows: -c FILE, --json. Returns the index of the first word behind them, or -1
 * after saying what is wrong. */
struct cli_options {
    const char *config;
    bool json;
};
int cli_options(int argc, char **argv, struct cli_options *ret);
/* Control socket and decisions folder of a config; false after the errors were printed. */
struct cli_paths {
    char control[4096], decisions[4096], spool[4096];
    unsigned long long segment_octets;
};
bool cli_paths(const char *config, struct cli_paths *ret);

/* One request to the running server. HTTP status, or -errno if it is not there (said on stderr). */
int cli_request(const char *socket_path, const char *method, const char *target, struct buf *ret_body);

#endif
