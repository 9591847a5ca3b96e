/* SPDX-License-Identifier: Apache-2.0 */
/*
 * help.c - `tern help KEY | SECTION[.KEY] | MODULE[.OPTION] | all | markdown`: from the tables that
 * parse the keys, so that it cannot be out of date. docs/config.md has the output of `markdown`.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "config/schema.h"
#include "module/policy.h"
#include "server/conf.h"
#include "server/serve.h"
#include "state/tables.h"

#define WORD_OCTETS 128
#define NESTING_MAX 8

/* Parts of the file that are no struct of the server's own. */
static const struct {
    const char *path, *doc;
    const char *type; /* NULL: what every step has; "": what every table of a module has; "*": every transport */
} parts[] = {
    { "steps", "Keys of every step of a policy, beside the module's own", NULL },
    { "smtp", "Keys of a transport with type: smtp", "smtp" },
    { "lmtp", "Keys of a transport with type: lmtp", "lmtp" },
    { "transports", "Keys of every transport of a module, beside its own", "*" },
    { "tables", "Keys of every table that a module serves, beside the module's own", "" },
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

static const struct tern_option *part_options(size_t i)
{
    if (parts[i].type == NULL)
        return policy_step_options();
    if (parts[i].type[0] == '\0')
        return tables_provided_options();
    if (parts[i].type[0] == '*')
        return policy_transport_common();
    return policy_transport_options(slice_cstr(parts[i].type));
}

static void print_option(const char *prefix, const struct tern_option *o)
{
    CLEANUP_BUF struct buf range = BUF_INIT;

    printf("%s%s%s  (%s", prefix, prefix[0] != '\0' ? "." : "", o->key, schema_type_name(o));
    for (size_t i = 0; o->type == TERN_TYPE_ENUM && o->values != NULL && o->values[i] != NULL; i++)
        printf("%s%s", i > 0 ? " | " : " ", o->values[i]);
    if (schema_print_range(o, &range))
        printf(", %.*s", (int)range.len, range.data);
    if (o->text == NULL)
        printf(", required");
    else if (o->text[0] != '\0')
        printf(", default %s", o->text);
    printf(")\n    %s\n", o->doc != NULL ? o->doc : "");
}

static unsigned print_table(const char *prefix, const struct tern_option *o, const char *key, unsigned nesting)
{
    char inner[WORD_OCTETS * 2];
    unsigned n = 0;

    for (; o != NULL && o->size != 0; o = schema_next(o)) {
        if (key != NULL && strcmp(o->key, key) != 0)
            continue;
        print_option(prefix, o);
        n++;
        if (o->type != TERN_TYPE_RECORDS || o->records == NULL || nesting == NESTING_MAX)
            continue;
        (void)snprintf(inner, sizeof(inner), "%s.%s[]", prefix, o->key);
        n += print_table(inner, o->records, NULL, nesting + 1);
    }
    return n;
}

static bool is_section(const char *path, const char *word)
{
    size_t len = strcspn(path, ".");

    return strlen(word) == len && strncmp(word, path, len) == 0;
}

/* word NULL: everything; key NULL: all of the section. A word of the top level is a key, too. */
static unsigned print_sections(const char *word, const char *key)
{
    unsigned n = 0;

    for (const struct conf_section *s = server_conf_sections(); s->path != NULL; s++) {
        if (word == NULL || is_section(s->path, word))
            n += print_table(s->path, s->options, key, 1);
        else if (s->path[0] == '\0' && key == NULL)
            n += print_table("", s->options, word, 1);
    }
    for (size_t i = 0; i < PARTS; i++) {
        if (word == NULL || strcmp(parts[i].path, word) == 0)
            n += print_table(parts[i].path, part_options(i), key, 1);
        else if (parts[i].type == NULL && key == NULL)
            n += print_table(parts[i].path, part_options(i), word, 1);
    }
    return n;
}

static struct modules *open_modules(void)
{
    return serve_modules(cli_module_path(), geteuid() != 0, NULL, 0);
}

static unsigned print_module(const char *name, const char *key)
{
    char error[512];
    struct modules *modules = open_modules();
    const struct tern_module *m = modules_get(modules, name, error, sizeof(error));
    unsigned n = 0;

    if (m == NULL) {
        (void)fprintf(stderr, "%s\n", error);
        modules_free(modules);
        return 0;
    }
    if (key == NULL)
        printf("%s - %s\n", m->name, m->summary != NULL ? m->summary : "");
    if (m->script != NULL)
        printf("    Its options are those of the script; docs/lua.md has what every script has.\n");
    n = print_table(m->name, m->options, key, 1);
    for (const struct tern_transport *const *t = m->transports; t != NULL && *t != NULL; t++)
        n += print_table((*t)->type, (*t)->options, key, 1);
    if (m->kv_store != NULL)
        n += print_table("kv", m->kv_store->options, key, 1);
    for (const struct tern_table_provider *const *t = m->tables; t != NULL && *t != NULL; t++)
        n += print_table((*t)->type, (*t)->options, key, 1);
    modules_free(modules);
    return n + (key == NULL);
}

/* ---- Markdown ---- */

static void markdown_table(const char *title, const char *doc, const struct tern_option *options)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    schema_print_markdown(options, &out);
    printf("### %s\n\n%s.\n\n%.*s\n", title, doc, (int)out.len, out.data);
}

static bool has_options(const struct tern_option *o)
{
    return o != NULL && o->size != 0;
}

static void markdown_module(const struct tern_module *m)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    bool any = false;

    printf("### %s\n\n%s\n\n", m->name, m->summary != NULL ? m->summary : "");
    if (has_options(m->options)) {
        schema_print_markdown(m->options, &out);
        any = true;
    }
    for (const struct tern_transport *const *t = m->transports; t != NULL && *t != NULL; t++, any = true)
        schema_print_markdown((*t)->options, &out);
    if (m->kv_store != NULL) {
        schema_print_markdown(m->kv_store->options, &out);
        any = true;
    }
    for (const struct tern_table_provider *const *t = m->tables; t != NULL && *t != NULL; t++, any = true)
        schema_print_markdown((*t)->options, &out);
    if (m->script != NULL)
        buf_add_cstr(&out, "Its options are those of the script; [lua.md](lua.md) has what every script has.\n");
    else if (!any)
        buf_add_cstr(&out, "No options.\n");
    printf("%.*s\n", (int)out.len, out.data);
}

static int is_module_file(const struct dirent *e)
{
    size_t len = strlen(e->d_name);

    return len > 3 && len < WORD_OCTETS && strcmp(e->d_name + len - 3, ".so") == 0;
}

static int print_markdown(void)
{
    char name[WORD_OCTETS], error[512];
    struct dirent **files;
    struct modules *modules = open_modules();

    for (const struct conf_section *s = server_conf_sections(); s->path != NULL; s++)
        markdown_table(s->path[0] != '\0' ? s->path : "the top level", s->doc, s->options);
    for (size_t i = 0; i < PARTS; i++)
        markdown_table(parts[i].path, parts[i].doc, part_options(i));
    printf("## Modules\n\n");
    int n = scandir(cli_module_path(), &files, is_module_file, alphasort);
    for (int i = 0; i < n; i++) {
        (void)snprintf(name, sizeof(name), "%.*s", (int)strlen(files[i]->d_name) - 3, files[i]->d_name);
        const struct tern_module *m = modules_get(modules, name, error, sizeof(error));
        if (m != NULL)
            markdown_module(m);
        else
            (void)fprintf(stderr, "tern help: %s\n", error);
        free(files[i]);
    }
    if (n >= 0)
        free(files);
    const struct tern_module *lua = modules_get(modules, "lua", error, sizeof(error));
    if (lua != NULL)
        markdown_module(lua);
    modules_free(modules);
    return n > 0 ? 0 : CLI_NO;
}

int cmd_help(int argc, char **argv)
{
    char word[WORD_OCTETS];

    if (argc != 2 || argv[1][0] == '-') {
        (void)fprintf(stderr, "usage: tern help KEY | SECTION[.KEY] | MODULE[.OPTION] | all | markdown\n"
                              "       KEY: hostname, timeout; SECTION: limits, spool, steps, smtp; MODULE: greylist\n");
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "all") == 0)
        return print_sections(NULL, NULL) > 0 ? 0 : CLI_NO;
    if (strcmp(argv[1], "markdown") == 0)
        return print_markdown();
    (void)snprintf(word, sizeof(word), "%s", argv[1]);
    char *dot = strchr(word, '.');
    if (dot != NULL)
        *dot = '\0';
    if (print_sections(word, dot != NULL ? dot + 1 : NULL) > 0 || print_module(word, dot != NULL ? dot + 1 : NULL) > 0)
        return 0;
    (void)fprintf(stderr, "tern help: nothing is known about \"%s\"; try tern help all, and tern COMMAND --help for a "
                  "command\n", argv[1]);
    return CLI_NO;
}
