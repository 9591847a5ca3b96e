/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/metrics.h"
#include "module/config_api.h"

static void *make_counter(const char *name, const char *doc)
{
    return metric_counter(name, "", doc);
}

static void add_counter(void *counter, uint64_t amount)
{
    metric_add(counter, amount);
}

static bool table_has_nothing(const struct tern_table *table)
{
    return table_is_empty(table);
}

struct tern_api fixture_api = {
    .size = sizeof(struct tern_api),
    .abi_major = TERN_ABI_MAJOR,
    .abi_minor = TERN_ABI_MINOR,
    .counter = make_counter,
    .counter_add = add_counter,
    .table_empty = table_has_nothing,
    .cidrs_match = cidrs_match,
    .config_error = config_api_error,
    .config_warning = config_api_warning,
    .config_alloc = config_api_alloc,
    .config_has_transport = config_api_has_transport,
    .config_has_result = config_api_has_result,
    .config_is_given = config_api_is_given,
};

void fixture_begin(struct fixture *f, const struct tern_module *const *builtin)
{
    strcpy(f->folder, "/tmp/tern-test-XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        abort();
    struct modules_env env = {
        .path = f->folder, .trust_group = true, .builtin = builtin, .api = &fixture_api
    };
    f->modules = modules_new(&env);
}

void fixture_end(struct fixture *f)
{
    modules_free(f->modules);
    DIR *dir = opendir(f->folder);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
        (void)unlinkat(dirfd(dir), e->d_name, 0);
    if (dir != NULL)
        (void)closedir(dir);
    (void)rmdir(f->folder);
}

void fixture_path(const struct fixture *f, const char *name, char ret[160])
{
    (void)snprintf(ret, 160, "%s/%s", f->folder, name);
}

bool fixture_copy(const struct fixture *f, const char *from, const char *name)
{
    char path[512], octets[65536];
    ssize_t len;

    (void)snprintf(path, sizeof(path), "%s/%s.so", from, name);
    int in = open(path, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return false;
    (void)snprintf(path, sizeof(path), "%s/%s.so", f->folder, name);
    int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (out < 0)
        abort();
    while ((len = read(in, octets, sizeof(octets))) > 0)
        if (write(out, octets, (size_t)len) != len)
            abort();
    (void)fchmod(out, 0644);
    (void)close(in);
    (void)close(out);
    return len == 0;
}

/* Stands for Lua: an expression is fine if all its names are declared or it is "true". */
static const void *fake_when(struct arena *arena, struct slice text, const struct slice *results,
                             unsigned result_count, const struct slice *tags, unsigned tag_count,
                             char *error, size_t octets)
{
    bool known = slice_equal(text, SLICE("true"));

    for (unsigned i = 0; i < result_count; i++)
        known |= slice_equal(text, results[i]);
    for (unsigned i = 0; i < tag_count; i++)
        known |= slice_equal(text, tags[i]);
    if (!known)
        (void)snprintf(error, octets, "unknown name %.*s", (int)text.len, text.ptr);
    return known ? arena_dup(arena, text) : NULL;
}

void generation_build(struct generation *g, const struct fixture *f, const char *yaml)
{
    *g = (struct generation){ .errors = { .text = BUF_INIT } };
    arena_init(&g->arena);
    struct yaml_node *root =
        yaml_load_text(&g->arena, slice_cstr(yaml), "t.yaml", f->folder, &g->errors);
    if (root == NULL)
        return;
    g->tables = tables_new(&g->arena, yaml_get(root, "tables"), NULL, &g->errors);
    struct policies_env env = {
        .modules = f->modules,
        .arena = &g->arena,
        .errors = &g->errors,
        .tables = g->tables,
        .root = root,
        .when_compile = fake_when,
    };
    g->policies = policies_build(&env);
}

void generation_end(struct generation *g)
{
    policies_free(g->policies);
    if (g->tables != NULL)
        tables_free(g->tables);
    config_errors_free(&g->errors);
    arena_fini(&g->arena);
}
