/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/smtpt_config.h"

#include <libgen.h>
#include <string.h>

#include "base/mem.h"
#include "base/table.h"

static struct yaml_node *scalar(struct arena *arena, struct slice text, const struct yaml_node *like)
{
    struct yaml_node *n = ARENA_NEW(arena, struct yaml_node);

    *n = (struct yaml_node){ .kind = YAML_SCALAR, .place = like->place, .dir = like->dir,
                             .text = arena_slice(arena, text), .quoted = true };
    return n;
}

static void map_put(struct arena *arena, struct yaml_node *map, struct yaml_node *key, struct yaml_node *value)
{
    struct yaml_node **keys = arena_alloc(arena, (map->count + 1) * sizeof(keys[0]));
    struct yaml_node **items = arena_alloc(arena, (map->count + 1) * sizeof(items[0]));

    if (map->count > 0) {
        memcpy(keys, map->keys, map->count * sizeof(keys[0]));
        memcpy(items, map->items, map->count * sizeof(items[0]));
    }
    keys[map->count] = key;
    items[map->count++] = value;
    map->keys = keys;
    map->items = items;
}

static struct yaml_node *empty_map(struct arena *arena, const struct yaml_node *like)
{
    struct yaml_node *n = ARENA_NEW(arena, struct yaml_node);

    *n = (struct yaml_node){ .kind = YAML_MAP, .place = like->place, .dir = like->dir };
    return n;
}

static void replace(struct arena *arena, struct yaml_node *tables, struct slice name, struct yaml_node *map)
{
    for (unsigned k = 0; k < tables->count; k++) {
        if (slice_equal(tables->keys[k]->text, name)) {
            tables->items[k] = map;
            return;
        }
    }
    map_put(arena, tables, scalar(arena, name, tables), map);
}

/* `table NAME KEY VALUE` lines replace the contents of tables: as if they were written inline. */
static void stub_tables(struct arena *arena, struct yaml_node *root, const struct smtpt_test *common)
{
    struct table done;

    table_init(&done);
    for (unsigned i = 0; i < common->count; i++) {
        if (common->lines[i].kind != SMTPT_TABLE)
            continue;
        struct slice rest = common->lines[i].text;
        struct slice name = smtpt_word(&rest);
        struct slice key = smtpt_word(&rest);
        struct yaml_node *tables = yaml_get(root, "tables");
        if (tables == NULL) {
            tables = empty_map(arena, root);
            map_put(arena, root, scalar(arena, SLICE("tables"), root), tables);
        }
        struct yaml_node *map = table_get(&done, name);
        if (map == NULL) {
            map = empty_map(arena, root);
            (void)table_put(&done, name, map);
            replace(arena, tables, name, map);
        }
        map_put(arena, map, scalar(arena, key, root), scalar(arena, rest, root));
    }
    table_free(&done, NULL);
}

/* Empty lines in front, so that errors name the lines of the .smtpt file. */
static struct yaml_node *load_block(struct arena *arena, const struct smtpt_file *file, const char *path,
                                    const char *dir, struct config_errors *errors)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    for (unsigned i = 0; i < file->config_line; i++)
        buf_add_char(&text, '\n');
    buf_add(&text, file->config_text);
    return yaml_load_text(arena, buf_slice(&text), path, dir, errors);
}

struct generation *smtpt_load(const char *path, const struct smtpt_file *file,
                              struct modules *modules, struct buf *out)
{
    struct config_errors errors = { .text = BUF_INIT };
    struct generation *g = generation_new(1);
    CLEANUP_FREE char *copy = mem_strdup(path);
    const char *dir = arena_dup(&g->arena, slice_cstr(dirname(copy)));
    struct yaml_node *root;

    if (file->config_path.len == 0)
        root = load_block(&g->arena, file, path, dir, &errors);
    else if (file->config_path.ptr[0] == '/')
        root = yaml_load_file(&g->arena, arena_dup(&g->arena, file->config_path), &errors);
    else
        root = yaml_load_file(&g->arena, arena_printf(&g->arena, "%s/%.*s", dir, (int)file->config_path.len,
                                                      file->config_path.ptr), &errors);
    if (root != NULL) {
        /* A policy alone is enough for a test. */
        if (yaml_get(root, "spool") == NULL)
            map_put(&g->arena, root, scalar(&g->arena, SLICE("spool"), root),
                    scalar(&g->arena, SLICE("/nonexistent"), root));
        stub_tables(&g->arena, root, &file->common);
        g->tables_empty = true;
        g = generation_build_node(g, root, modules, &errors);
    } else {
        generation_unref(g);
        g = NULL;
    }
    if (g == NULL)
        buf_add(out, buf_slice(&errors.text));
    config_errors_free(&errors);
    return g;
}
