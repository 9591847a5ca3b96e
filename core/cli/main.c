/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - `tern COMMAND ...`: one binary for the server and its operators. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <tern/module.h>

#include "cli/cli.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *text;
} commands[] = {
    { "serve", cmd_serve, "run the server in the foreground" },
    { "milter", cmd_milter, "run the policy behind a Postfix or Sendmail, without a queue" },
    { "check", cmd_check, "read the configuration and say what is wrong with it" },
    { "hooks", cmd_hooks, "print which step runs when, per policy and hook" },
    { "reload", cmd_reload, "make the running server read its configuration again" },
    { "status", cmd_status, "ask the running server how it is" },
    { "metrics", cmd_metrics, "print the running server's metrics (Prometheus text)" },
    { "queue", cmd_queue, "list, show, retry, hold, release, delete messages; fsck" },
    { "why", cmd_why, "show who decided what about a message or session" },
    { "test", cmd_test, "run .smtpt files: unit tests of a policy" },
    { "new", cmd_new, "write the skeleton of a module or filter" },
    { "passwd", cmd_passwd, "make the stored password of a user, for auth_file or a database" },
    { "dkim", cmd_dkim, "make a key that signs mail, or compare it with what DNS has" },
    { "dmarc", cmd_dmarc, "read the reports that others sent about our mail, and send ours" },
    { "help", cmd_help, "explain a key of the configuration or a module's options" },
};

static void usage(FILE *out)
{
    (void)fprintf(out, "usage: tern COMMAND [-c FILE] [--json] ...\n\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        (void)fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].text);
    (void)fprintf(out, "\nThe configuration is %s unless -c or $TERN_CONFIG names another.\n"
                       "tern COMMAND --help: how it is used; tern help KEY: what a key of the configuration means.\n",
                  cli_default_config());
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* Asked for help, a command says how it is used, as for any option that it does not know, and that is no mistake. */
static int run(int (*command)(int argc, char **argv), int argc, char **argv)
{
    bool asked = argc > 1 && is_help(argv[argc - 1]);

    opterr = !asked;
    int r = command(argc, argv);
    return asked && r == CLI_USAGE ? 0 : r;
}

int main(int argc, char **argv)
{
    if (argc >= 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0)) {
        printf("tern %s, module ABI %d.%d\n", TERN_VERSION, TERN_ABI_MAJOR, TERN_ABI_MINOR);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; argc >= 2 && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return run(commands[i].run, argc - 1, argv + 1);
    bool asked = argc >= 2 && is_help(argv[1]);
    if (argc >= 2 && !asked)
        (void)fprintf(stderr, "tern: there is no command \"%s\"\n\n", argv[1]);
    usage(asked ? stdout : stderr);
    return asked ? 0 : CLI_USAGE;
}
