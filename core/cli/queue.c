/* SPDX-License-Identifier: Apache-2.0 */
/* queue.c - `tern queue list|show|retry|hold|release|delete|fsck`. */
#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/terminal.h"
#include "spool/spool.h"

#define PAGE "1000"

static int usage(void)
{
    (void)fprintf(stderr, "usage: tern queue [-c FILE] [--json] list\n"
                          "       tern queue [-c FILE] [--json] show ID\n"
                          "       tern queue [-c FILE] [--json] retry|hold|release|delete ID...\n"
                          "       tern queue [-c FILE] fsck [--repair]   (the server must be stopped)\n");
    return CLI_USAGE;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s != NULL ? s : "";
}

static void print_time(const char *label, json_int_t ms)
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char text[40];

    (void)localtime_r(&s, &tm);
    (void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
    printf("%s%s", label, text);
}

static void print_row(const json_t *m)
{
    size_t i;
    json_t *r;

    printf("%-16s ", text_of(m, "id"));
    print_time("", json_integer_value(json_object_get(m, "arrival_ms")));
    printf(" %8lld %s <%s>\n", (long long)json_integer_value(json_object_get(m, "size")),
           json_is_true(json_object_get(m, "held")) ? "HELD" : "    ", text_of(m, "from"));
    if (text_of(m, "hold_reason")[0] != '\0')
        printf("    held: %s\n", text_of(m, "hold_reason"));
    if (text_of(m, "unreadable")[0] != '\0')
        printf("    cannot be read: %s\n", text_of(m, "unreadable"));
    if (json_is_true(json_object_get(m, "held"))) {
        print_time("    until ", json_integer_value(json_object_get(m, "hold_until")));
        printf("\n");
    }
    json_array_foreach(json_object_get(m, "rcpts"), i, r) {
        printf("    %-9s <%s>", text_of(r, "state"), text_of(r, "address"));
        if (text_of(r, "report")[0] != '\0')
            printf("  (the sender is still to be told)");
        if (text_of(r, "reply")[0] != '\0')
            printf("  %s", text_of(r, "reply"));
        printf("\n");
    }
    if (!json_is_true(json_object_get(m, "held"))) {
        print_time("    next attempt ", json_integer_value(json_object_get(m, "due_ms")));
        printf(", %lld so far\n", (long long)json_integer_value(json_object_get(m, "attempts")));
    }
}

/* Pages through the queue. JSON: one object a line, so that a million messages need no memory here. */
static int list(const struct cli_paths *paths, bool json)
{
    char target[128] = "/queue?max=" PAGE;
    unsigned long long count = 0;

    for (;;) {
        CLEANUP_BUF struct buf body = BUF_INIT;
        const char *last = NULL;
        size_t i;
        json_t *m;
        int status = cli_request(paths->control, "GET", target, &body);
        if (status < 0)
            return CLI_OFFLINE;
        json_t *page = json ? json_loadb(body.data, body.len, 0, NULL) : terminal_json(body.data, body.len);
        if (status != 200 || page == NULL) {
            (void)fprintf(stderr, "tern: %.*s\n", (int)body.len, body.data);
            return CLI_NO;
        }
        json_array_foreach(json_object_get(page, "messages"), i, m) {
            if (json)
                (void)json_dumpf(m, stdout, JSON_COMPACT), (void)fputc('\n', stdout);
            else
                print_row(m);
            last = text_of(m, "id");
            count++;
        }
        bool more = json_is_true(json_object_get(page, "more")) && last != NULL;
        if (more)
            (void)snprintf(target, sizeof(target), "/queue?max=" PAGE "&after=%s", last);
        json_decref(page);
        if (!more)
            break;
    }
    if (!json)
        printf("%llu message%s\n", count, count == 1 ? "" : "s");
    return 0;
}

static void print_message(const json_t *m)
{
    static const char *const keys[] = { "origin", "policy", "listener", "client", "helo", "user", "hold_step" };

    print_row(m);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (text_of(m, keys[i])[0] != '\0')
            printf("    %s: %s\n", keys[i], text_of(m, keys[i]));
    printf("\n%s", text_of(m, "header"));
}

static int show(const struct cli_paths *paths, const char *id, bool json)
{
    CLEANUP_BUF struct buf body = BUF_INIT;
    char target[256];

    (void)snprintf(target, sizeof(target), "/queue/%s", id);
    int status = cli_request(paths->control, "GET", target, &body);
    if (status < 0)
        return CLI_OFFLINE;
    if (status != 200) {
        (void)fprintf(stderr, "tern: %.*s", (int)body.len, body.data);
        return CLI_NO;
    }
    json_t *m = json || body.len == 0 ? NULL : terminal_json(body.data, body.len);
    if (m != NULL)
        print_message(m);
    else
        (void)fwrite(body.data, 1, body.len, stdout);
    json_decref(m);
    return 0;
}

/* {"id":"...","verb":"retry","done":true}, or false and "error" with the sentence. */
static void print_change(const char *id, const char *verb, bool done, struct slice said)
{
    json_t *o = json_object();

    if (said.len > 0 && said.ptr[said.len - 1] == '\n')
        said.len--;
    (void)json_object_set_new(o, "id", json_string(id));
    (void)json_object_set_new(o, "verb", json_string(verb));
    (void)json_object_set_new(o, "done", json_boolean(done));
    if (!done)
        (void)json_object_set_new(o, "error", json_stringn(said.ptr, said.len));
    (void)json_dumpf(o, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    (void)fputc('\n', stdout);
    json_decref(o);
}

static int change(const struct cli_paths *paths, const char *verb, char **ids, int count, bool json)
{
    int r = 0;

    for (int i = 0; i < count; i++) {
        CLEANUP_BUF struct buf body = BUF_INIT;
        char target[256];
        (void)snprintf(target, sizeof(target), "/queue/%s/%s", ids[i], verb);
        int status = cli_request(paths->control, "POST", target, &body);
        if (status < 0)
            return CLI_OFFLINE;
        if (json)
            print_change(ids[i], verb, status == 200, buf_slice(&body));
        else
            (void)fwrite(body.data, 1, body.len, status == 200 ? stdout : stderr);
        r = status == 200 ? r : CLI_NO;
    }
    return r;
}

/* Of a folder that was made for a server: what root makes in it first, its user could not open. */
static bool was_used(const char *spool)
{
    static const char *const names[] = { "lock", "big" };
    char path[PATH_MAX];

    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", spool, names[i]);
        if (access(path, F_OK) == 0 || errno != ENOENT)
            return true;
    }
    return false;
}

/*
 * Root looks with the owner's rights: what is made is then the server's, and no link that somebody who took over the
 * worker has put there leads root to another file.
 */
static int become_owner(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0) /* opening would make it, and a slip of the pen would be "0 findings" */
        return -errno;
    if (geteuid() != 0 || st.st_uid == 0)
        return 0;
    if (setgroups(0, NULL) < 0 || setresgid(st.st_gid, st.st_gid, st.st_gid) < 0 ||
        setresuid(st.st_uid, st.st_uid, st.st_uid) < 0)
        return -errno;
    return 0;
}

static int fsck(const struct cli_paths *paths, int argc, char **argv)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct spool_options o = { .path = paths->spool, .segment_octets = paths->segment_octets };
    bool repair = argc == 1 && strcmp(argv[0], "--repair") == 0;

    if (argc > 0 && !repair)
        return usage();
    int r = become_owner(paths->spool);
    if (r < 0) {
        (void)fprintf(stderr, "tern queue fsck: %s: %s\n", paths->spool, strerror(-r));
        return CLI_NO;
    }
    if (!was_used(paths->spool)) {
        (void)fprintf(stderr, "tern queue fsck: %s: there is no queue: no server has used this folder yet\n",
                      paths->spool);
        return CLI_NO;
    }
    int findings = spool_fsck(&o, repair, &out);
    if (out.len > 0)
        (void)fwrite(out.data, 1, out.len, stdout);
    if (findings < 0) {
        (void)fprintf(stderr, "tern queue fsck: %s: %s\n", paths->spool, strerror(-findings));
        return findings == -EAGAIN || findings == -EWOULDBLOCK ? CLI_OFFLINE : CLI_NO;
    }
    printf("%s: %d finding%s\n", paths->spool, findings, findings == 1 ? "" : "s");
    return findings == 0 ? 0 : CLI_NO;
}

static bool is_change(const char *verb)
{
    static const char *const verbs[] = { "retry", "hold", "release", "delete" };

    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strcmp(verb, verbs[i]) == 0)
            return true;
    return false;
}

int cmd_queue(int argc, char **argv)
{
    struct cli_options o;
    struct cli_paths paths;
    bool repair = argc > 1 && strcmp(argv[argc - 1], "--repair") == 0;
    int at = cli_options(repair ? argc - 1 : argc, argv, &o);

    if (at < 0 || at >= argc)
        return usage();
    const char *verb = argv[at];
    char **rest = argv + at + 1;
    int count = argc - at - 1;
    if (!cli_paths(o.config, &paths))
        return CLI_NO;
    if (strcmp(verb, "list") == 0 && count == 0)
        return list(&paths, o.json);
    if (strcmp(verb, "show") == 0 && count == 1)
        return show(&paths, rest[0], o.json);
    if (strcmp(verb, "fsck") == 0)
        return fsck(&paths, count, rest);
    if (is_change(verb) && count > 0)
        return change(&paths, verb, rest, count, o.json);
    return usage();
}
