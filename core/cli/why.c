/* SPDX-License-Identifier: Apache-2.0 */
/*
 * why.c - `tern why ID`: the decision records of a message, transaction or session.
 *
 * The id of a message says its day, so only files from that day on are read. Records are found by the text
 * `"id":"ID"` or `"session":"ID"` and then parsed.
 */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/terminal.h"
#include "spool/spool.h"

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s != NULL ? s : "";
}

static void print_inputs(const json_t *inputs)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)inputs, key, value)
        printf("             %s: %s\n", key, json_is_string(value) ? json_string_value(value) : "...");
}

static void print_did(const json_t *did)
{
    size_t i;
    json_t *v;

    json_array_foreach(did, i, v)
        printf("             %s\n", json_is_string(v) ? json_string_value(v) : "...");
}

static void print_step(const json_t *s)
{
    printf("    %-8s %-16s %-8s", text_of(s, "hook"), text_of(s, "step"), text_of(s, "verdict"));
    if (text_of(s, "reply")[0] != '\0')
        printf(" %s", text_of(s, "reply"));
    if (text_of(s, "reason")[0] != '\0')
        printf(" %s", text_of(s, "reason"));
    if (text_of(s, "rcpt")[0] != '\0')
        printf(" <%s>", text_of(s, "rcpt"));
    if (json_is_true(json_object_get(s, "shadow")))
        printf(" (shadow: decided, not done)");
    if (text_of(s, "at")[0] != '\0')
        printf("  [%s]", text_of(s, "at"));
    printf("  %lld us\n", (long long)json_integer_value(json_object_get(s, "us")));
    if (text_of(s, "error")[0] != '\0')
        printf("             failed: %s\n", text_of(s, "error"));
    print_did(json_object_get(s, "did"));
    print_inputs(json_object_get(s, "inputs"));
}

static void print_outcome(const json_t *v)
{
    printf("    %-8s %s <%s>%s%s%s%s\n", text_of(v, "outcome"), text_of(v, "text"), text_of(v, "to"),
           text_of(v, "tls")[0] != '\0' ? " by " : "", text_of(v, "tls"),
           text_of(v, "host")[0] != '\0' ? " at " : "", text_of(v, "host"));
    if (text_of(v, "tried")[0] != '\0')
        printf("             before that: %s\n", text_of(v, "tried"));
}

static void print_record(const json_t *r)
{
    size_t i;
    json_t *v;

    printf("%s %s  %s\n", text_of(r, "type"), text_of(r, "id"), text_of(r, "time"));
    if (text_of(r, "client")[0] != '\0')
        printf("  client %s (%s)%s%s, session %s\n", text_of(r, "client"), text_of(r, "helo"),
               text_of(r, "via")[0] != '\0' ? " by " : "", text_of(r, "via"), text_of(r, "session"));
    if (text_of(r, "forwarded")[0] != '\0')
        printf("  had it from %s\n", text_of(r, "forwarded"));
    if (json_object_get(r, "from") != NULL)
        printf("  from <%s>\n", text_of(r, "from"));
    json_array_foreach(json_object_get(r, "to"), i, v)
        printf("  to   <%s>\n", json_is_string(v) ? json_string_value(v) : text_of(v, "address"));
    if (json_object_get(r, "reply") != NULL) {
        if (json_is_integer(json_object_get(r, "reply")))
            printf("  reply %lld\n", (long long)json_integer_value(json_object_get(r, "reply")));
        else if (text_of(r, "reply")[0] != '\0')
            printf("  reply %s\n", text_of(r, "reply"));
    }
    json_array_foreach(json_object_get(r, "refused"), i, v)
        printf("  reply %s <%s>\n", text_of(v, "reply"), text_of(v, "to"));
    json_array_foreach(json_object_get(r, "steps"), i, v)
        print_step(v);
    json_array_foreach(json_object_get(r, "outcomes"), i, v)
        print_outcome(v);
    json_int_t quiet = json_integer_value(json_object_get(r, "next"));
    if (quiet > 0)
        printf("    %lld more answer%s of steps that had nothing to say\n", (long long)quiet, quiet == 1 ? "" : "s");
    if (json_is_true(json_object_get(r, "truncated")))
        printf("    (there was more than a record holds)\n");
}

struct search {
    const char *id;
    bool json;
    unsigned found;
};

static bool mentions(const char *line, const char *id)
{
    char needle[128];

    (void)snprintf(needle, sizeof(needle), "\"%s\"", id);
    return strstr(line, needle) != NULL;
}

static void look_at(struct search *s, const char *line)
{
    if (!mentions(line, s->id))
        return;
    json_t *r = terminal_json(line, strlen(line));
    if (r == NULL)
        return;
    if (strcmp(text_of(r, "id"), s->id) == 0 || strcmp(text_of(r, "session"), s->id) == 0) {
        s->found++;
        if (s->json)
            (void)fputs(line, stdout);
        else
            print_record(r);
    }
    json_decref(r);
}

static void search_file(struct search *s, const char *folder, const char *name)
{
    char path[8192];
    char *line = NULL;
    size_t size = 0;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    while (getline(&line, &size, f) > 0)
        look_at(s, line);
    free(line);
    (void)fclose(f);
}

/* The first day that can know the id; all days for a session. */
static void first_day(const char *id, char out[16])
{
    struct spool_key key;
    struct tm tm;

    out[0] = '\0';
    if (!spool_key_parse(slice_cstr(id), &key))
        return;
    time_t s = (time_t)(spool_key_wall_ms(key) / 1000);
    (void)gmtime_r(&s, &tm);
    (void)strftime(out, 16, "%Y-%m-%d", &tm);
}

int cmd_why(int argc, char **argv)
{
    struct cli_options o;
    struct cli_paths paths;
    char day[16];
    struct dirent **names;
    int at = cli_options(argc, argv, &o);

    if (at < 0 || at + 1 != argc) {
        (void)fprintf(stderr, "usage: tern why [-c FILE] [--json] ID\n");
        return CLI_USAGE;
    }
    if (!cli_paths(o.config, &paths))
        return CLI_NO;
    struct search s = { .id = argv[at], .json = o.json };
    first_day(s.id, day);
    int n = scandir(paths.decisions, &names, NULL, alphasort);
    if (n < 0) {
        (void)fprintf(stderr, "tern why: %s: %s%s\n", paths.decisions, strerror(errno),
                      errno == ENOENT ? "; it is made with the first mail of a server with this configuration" : "");
        return CLI_NO;
    }
    for (int i = 0; i < n; i++) {
        if (strstr(names[i]->d_name, ".jsonl") != NULL && strncmp(names[i]->d_name, day, 10) >= 0)
            search_file(&s, paths.decisions, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    if (s.found == 0)
        (void)fprintf(stderr, "tern why: no record of %s in %s\n", s.id, paths.decisions);
    return s.found > 0 ? 0 : CLI_NO;
}
