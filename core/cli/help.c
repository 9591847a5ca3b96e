/* SPDX-License-Identifier: Apache-2.0 */
/* help.c - `tern help KEY`, `tern help MODULE[.OPTION]`: from the tables that parse them. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "config/schema.h"
#include "server/conf.h"
#include "server/serve.h"

static bool matches(const struct tern_option *o, const char *key)
{
    return key == NULL || strcmp(o->key, key) == 0;
}

static void print_option(const char *prefix, const struct tern_option *o)
{
    printf("%s%s%s  (%s%s%s%s)\n    %s\n", prefix, prefix[0] != '\0' ? "." : "", o->key,
           schema_type_name(o), o->text == NULL ? ", required" : o->text[0] != '\0' ? ", default " : "",
           o->text != NULL ? o->text : "", "", o->doc != NULL ? o->doc : "");
}

static unsigned print_table(const char *prefix, const struct tern_option *o, const char *key)
{
    unsigned n = 0;

    for (; o != NULL && o->size != 0; o = schema_next(o)) {
        if (matches(o, key)) {
            print_option(prefix, o);
            n++;
        }
    }
    return n;
}

static unsigned print_sections(const char *section, const char *key)
{
    unsigned n = 0;

    for (const struct conf_section *s = server_conf_sections(); s->path != NULL; s++) {
        size_t len = strcspn(s->path, ".");
        if (section == NULL || (strlen(section) == len && strncmp(section, s->path, len) == 0))
            n += print_table(s->path, s->options, key);
        else if (s->path[0] == '\0' && key == NULL)
            n += print_table("", s->options, section);
    }
    return n;
}

static unsigned print_module(const char *name, const char *key)
{
    char error[512];
    struct modules *modules = serve_modules(cli_module_path(), geteuid() != 0);
    const struct tern_module *m = modules_get(modules, name, error, sizeof(error));

    if (m == NULL)
        return 0;
    if (key == NULL)
        printf("%s - %s\n", m->name, m->summary != NULL ? m->summary : "");
    return print_table(m->name, m->options, key) + 1;
}

int cmd_help(int argc, char **argv)
{
    char word[256];
    char *dot;

    if (argc != 2) {
        (void)fprintf(stderr, "usage: tern help KEY | SECTION[.KEY] | MODULE[.OPTION] | all\n");
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "all") == 0)
        return print_sections(NULL, NULL) > 0 ? 0 : CLI_NO;
    (void)snprintf(word, sizeof(word), "%s", argv[1]);
    dot = strchr(word, '.');
    if (dot != NULL)
        *dot = '\0';
    if (print_sections(word, dot != NULL ? dot + 1 : NULL) > 0 ||
        print_module(word, dot != NULL ? dot + 1 : NULL) > 0)
        return 0;
    (void)fprintf(stderr, "tern help: nothing is known about \"%s\"\n", argv[1]);
    return CLI_NO;
}
