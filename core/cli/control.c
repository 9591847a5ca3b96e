/* SPDX-License-Identifier: Apache-2.0 */
/* control.c - `tern reload`, `tern status`, `tern metrics`: one request, its answer printed. */
#include <jansson.h>
#include <stdio.h>

#include "cli/cli.h"

/* What came, for people; NULL: as it came. */
typedef void (*print_answer)(const json_t *answer);

static int ask(int argc, char **argv, const char *method, const char *target, print_answer print)
{
    CLEANUP_BUF struct buf body = BUF_INIT;
    struct cli_options o;
    struct cli_paths paths;
    int at = cli_options(argc, argv, &o);

    if (at < 0 || at != argc || (o.json && print == NULL)) {
        (void)fprintf(stderr, "usage: tern %s [-c FILE]%s\n", argv[0],
                      print != NULL ? " [--json]" : "");
        return CLI_USAGE;
    }
    if (!cli_paths(o.config, &paths))
        return CLI_NO;
    int status = cli_request(paths.control, method, target, &body);
    if (status < 0)
        return CLI_OFFLINE;
    json_t *answer = NULL;
    if (status == 200 && print != NULL && !o.json)
        answer = json_loadb(body.data, body.len, 0, NULL);
    if (answer != NULL)
        print(answer);
    else
        (void)fwrite(body.data, 1, body.len, status == 200 ? stdout : stderr);
    json_decref(answer);
    return status == 200 ? 0 : CLI_NO;
}

static long long number(const json_t *answer, const char *key)
{
    return json_integer_value(json_object_get(answer, key));
}

static void print_uptime(long long s)
{
    if (s >= 86400)
        printf("%lld d %lld h", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        printf("%lld h %lld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        printf("%lld min %lld s", s / 60, s % 60);
    else
        printf("%lld s", s);
}

static void print_status(const json_t *a)
{
    printf("up        ");
    print_uptime(number(a, "uptime_s"));
    printf(", pid %lld, configuration %lld\n", number(a, "pid"), number(a, "generation"));
    printf("sessions  %lld, in %lld loops\n", number(a, "sessions"), number(a, "loops"));
    printf("queue     %lld messages, %lld held, %lld being routed\n", number(a, "queued"),
           number(a, "held"), number(a, "preparing"));
    printf("delivery  %lld parcels wait for a connection, %lld next hops\n", number(a, "ready"),
           number(a, "sites"));
    printf("spool     %lld segments\n", number(a, "segments"));
    printf("sandbox   %s\n", json_string_value(json_object_get(a, "sandbox")));
}

int cmd_reload(int argc, char **argv)
{
    return ask(argc, argv, "POST", "/reload", NULL);
}

int cmd_status(int argc, char **argv)
{
    return ask(argc, argv, "GET", "/status", print_status);
}

int cmd_metrics(int argc, char **argv)
{
    return ask(argc, argv, "GET", "/metrics", NULL);
}
