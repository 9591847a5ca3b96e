/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml.c - events of libyaml into a tree in which every node knows its place.
 *
 * Not a general YAML reader: what surprises operators is refused. Scalars stay text; keys
 * are plain words and stand once in a map (libyaml lets them stand twice); "<<" and all
 * tags but !env and !file are errors. An alias shares its anchor's node, so a "billion
 * laughs" file costs nothing to hold, yet whoever walks the tree would pay for it: nodes
 * that come by aliases are counted as if copied.
 *
 * After a syntax error nothing more is read; other errors are noted and the reading goes on.
 */
#include "config/yaml.h"

#include <stdlib.h>
#include <yaml.h>

#include "base/mem.h"
#include "base/table.h"
#include "config/paths.h"
#include "config/yaml_source.h"

#define DEPTH_MAX         32
#define NODES_MAX         1000000
#define ALIASES_MAX       64
#define ALIAS_NODES_MAX   100000
#define INCLUDE_FILES_MAX 64
#define INCLUDE_DEPTH_MAX 8

struct built {
    struct yaml_node node; /* first: a yaml_node of ours is a struct built */
    unsigned weight;       /* nodes in it, aliases counted as copies */
    unsigned height;
};

struct source {
    const char *name;
    dev_t dev;
    ino_t ino;
    int parent; /* index of the file that includes it, or -1 */
};

/* One call of yaml_load_*: what its files share. */
struct loader {
    struct arena *arena;
    struct config_errors *errors;
    unsigned nodes, aliases, alias_nodes;
    struct source sources[INCLUDE_FILES_MAX + 1];
    int source_count;
};

/* One file. */
struct composer {
    struct loader *loader;
    yaml_parser_t parser;
    struct slice text;
    const char *name, *dir;
    struct table anchors; /* name -> struct built */
};

struct nodes {
    struct built **items;
    size_t count, size;
};

static void nodes_add(struct nodes *v, struct built *b)
{
    if (v->count == v->size) {
        v->size = v->size > 0 ? v->size * 2 : 8;
        v->items = mem_realloc(v->items, v->size * sizeof(v->items[0]));
    }
    v->items[v->count++] = b;
}

static struct yaml_node **nodes_keep(struct arena *arena, const struct nodes *v, size_t first,
                                     size_t step)
{
    struct yaml_node **kept = arena_alloc(arena, (v->count / step + 1) * sizeof(kept[0]));
    size_t n = 0;

    for (size_t i = first; i < v->count; i += step)
        kept[n++] = &v->items[i]->node;
    return kept;
}

static struct place place_of(const struct composer *c, yaml_mark_t mark)
{
    return (struct place){ c->name, (unsigned)mark.line + 1, (unsigned)mark.column + 1 };
}

/* ---- errors of libyaml --------------------------------------------------- */

static bool tab_indents(struct slice text, size_t line)
{
    for (; line > 0; line--) {
        ptrdiff_t end = slice_find(text, '\n');
        if (end < 0)
            return false;
        text = slice_from(text, (size_t)end + 1);
    }
    while (text.len > 0 && text.ptr[0] == ' ')
        text = slice_from(text, 1);
    return text.len > 0 && text.ptr[0] == '\t';
}

/* What libyaml says of the mistakes that people make, as one would say it to them. */
static const struct {
    const char *theirs, *ours;
} plain_words[] = {
    { "mapping values are not allowed in this context",
      "a \":\" cannot stand here: is this line indented too far, or is there no blank behind a \":\" above?" },
    { "did not find expected key", "this line is not indented as the others of its map" },
    { "did not find expected '-' indicator", "this line is not indented as its list, or begins without \"- \"" },
    { "could not find expected ':'", "expected key: value; is there no \":\", or no blank behind it?" },
    { "did not find expected node content",
      "a value is missing, or needs quotes: [, {, *, & and ! at its beginning mean something else" },
    { "found character that cannot start any token", "a value that begins with this character needs quotes" },
};

static const char *in_plain_words(const char *problem)
{
    for (size_t i = 0; i < sizeof(plain_words) / sizeof(plain_words[0]); i++)
        if (strcmp(problem, plain_words[i].theirs) == 0)
            return plain_words[i].ours;
    return problem;
}

static void parser_error(struct composer *c)
{
    const yaml_parser_t *p = &c->parser;
    struct place place = place_of(c, p->problem_mark);
    const char *problem = p->problem != NULL ? in_plain_words(p->problem) : "out of memory";

    if (p->error == YAML_SCANNER_ERROR && tab_indents(c->text, p->problem_mark.line))
        config_error_at(c->loader->errors, &place, "a tab cannot indent here; use blanks");
    else if (p->context != NULL && p->context_mark.line != p->problem_mark.line)
        config_error_at(c->loader->errors, &place, "%s (%s that began at line %zu)", problem,
                        p->context, p->context_mark.line + 1);
    else if (p->context != NULL)
        config_error_at(c->loader->errors, &place, "%s (%s)", problem, p->context);
    else
        config_error_at(c->loader->errors, &place, "%s", problem);
}

static bool next_event(struct composer *c, yaml_event_t *event)
{
    if (yaml_parser_parse(&c->parser, event))
        return true;
    parser_error(c);
    return false;
}

/* ---- nodes --------------------------------------------------------------- */

static struct built *node_new(struct composer *c, enum yaml_kind kind, yaml_mark_t mark)
{
    struct place place = place_of(c, mark);

    if (c->loader->nodes++ >= NODES_MAX) {
        config_error_at(c->loader->errors, &place, "more than %d values", NODES_MAX);
        return NULL;
    }
    struct built *b = ARENA_NEW(c->loader->arena, struct built);
    b->node.kind = kind;
    b->node.place = place;
    b->node.dir = c->dir;
    b->node.text = SLICE("");
    b->weight = b->height = 1;
    return b;
}

static void refuse_tag(struct composer *c, const struct place *place, const char *tag)
{
    config_error_at(c->loader->errors, place,
                    "tag %s is not supported; only !env and !file are, before a word", tag);
}

static void set_anchor(struct composer *c, const yaml_char_t *anchor, struct built *b)
{
    if (anchor != NULL && b != NULL)
        (void)table_put(&c->anchors, slice_cstr((const char *)anchor), b);
}

static struct built *compose_scalar(struct composer *c, const yaml_event_t *event)
{
    struct built *b = node_new(c, YAML_SCALAR, event->start_mark);
    const char *tag = (const char *)event->data.scalar.tag;
    struct slice text = { (const char *)event->data.scalar.value, event->data.scalar.length };

    if (b == NULL)
        return NULL;
    b->node.quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (memchr(text.ptr, '\0', text.len) != NULL) {
        config_error_at(c->loader->errors, &b->node.place, "a value cannot hold NUL");
        text.len = 0;
    }
    b->node.text = arena_slice(c->loader->arena, text);
    if (tag == NULL)
        return b;
    if (strcmp(tag, "!env") == 0 || strcmp(tag, "!file") == 0)
        source_secret(c->loader->arena, &b->node, tag[1] == 'f', c->loader->errors);
    else
        refuse_tag(c, &b->node.place, tag);
    return b;
}

static struct built *compose_alias(struct composer *c, const yaml_event_t *event, unsigned depth)
{
    struct loader *l = c->loader;
    struct place place = place_of(c, event->start_mark);
    const char *name = (const char *)event->data.alias.anchor;
    struct built *b = table_get(&c->anchors, slice_cstr(name));

    if (b == NULL) {
        config_error_at(l->errors, &place, "alias *%s has no anchor &%s before it", name, name);
        return NULL;
    }
    if (++l->aliases > ALIASES_MAX)
        config_error_at(l->errors, &place, "more than %d aliases", ALIASES_MAX);
    else if (b->weight > ALIAS_NODES_MAX - l->alias_nodes)
        config_error_at(l->errors, &place, "aliases stand for more than %d values",
                        ALIAS_NODES_MAX);
    else if (depth + b->height - 1 > DEPTH_MAX)
        config_error_at(l->errors, &place, "lists and maps more than %d deep", DEPTH_MAX);
    else {
        l->alias_nodes += b->weight;
        return b;
    }
    return NULL;
}

static struct built *compose(struct composer *c, yaml_event_t *event, unsigned depth);

/* The nodes up to the end of the list or map, in order. False: stop. */
static bool compose_inner(struct composer *c, struct built *outer, struct nodes *v,
                          yaml_event_type_t end, unsigned depth)
{
    yaml_event_t event;

    for (;;) {
        if (!next_event(c, &event))
            return false;
        if (event.type == end) {
            yaml_event_delete(&event);
            return true;
        }
        struct built *b = compose(c, &event, depth + 1);
        if (b == NULL)
            return false;
        nodes_add(v, b);
        outer->weight += b->weight;
        if (b->height + 1 > outer->height)
            outer->height = b->height + 1;
    }
}

static struct built *compose_list(struct composer *c, const yaml_event_t *event, unsigned depth)
{
    struct built *b = node_new(c, YAML_LIST, event->start_mark);
    struct nodes v = { NULL, 0, 0 };

    if (b != NULL && event->data.sequence_start.tag != NULL)
        refuse_tag(c, &b->node.place, (const char *)event->data.sequence_start.tag);
    if (b != NULL && !compose_inner(c, b, &v, YAML_SEQUENCE_END_EVENT, depth))
        b = NULL;
    if (b != NULL) {
        b->node.count = (unsigned)v.count;
        b->node.items = nodes_keep(c->loader->arena, &v, 0, 1);
    }
    free(v.items);
    return b;
}

static bool key_is_good(struct composer *c, const struct yaml_node *key)
{
    struct config_errors *e = c->loader->errors;

    if (key->kind != YAML_SCALAR)
        config_error_at(e, &key->place, "a key must be a word, not a %s",
                        key->kind == YAML_LIST ? "list" : "map");
    else if (key->secret)
        config_error_at(e, &key->place, "a key cannot be a secret");
    else if (!key->quoted && slice_equal(key->text, SLICE("<<")))
        config_error_at(e, &key->place, "merge keys (<<) are not supported");
    else if (key->text.len == 0)
        config_error_at(e, &key->place, "a key is empty");
    else
        return true;
    return false;
}

static void put_together(struct loader *l, struct yaml_node *map, bool merge);

static struct built *compose_map(struct composer *c, const yaml_event_t *event, unsigned depth)
{
    struct built *b = node_new(c, YAML_MAP, event->start_mark);
    struct nodes v = { NULL, 0, 0 };

    if (b != NULL && event->data.mapping_start.tag != NULL)
        refuse_tag(c, &b->node.place, (const char *)event->data.mapping_start.tag);
    if (b != NULL && !compose_inner(c, b, &v, YAML_MAPPING_END_EVENT, depth))
        b = NULL;
    if (b != NULL) {
        size_t good = 0;
        for (size_t i = 0; i + 1 < v.count; i += 2) {
            if (!key_is_good(c, &v.items[i]->node))
                continue;
            v.items[good++] = v.items[i];
            v.items[good++] = v.items[i + 1];
        }
        v.count = good;
        b->node.count = (unsigned)(good / 2);
        b->node.keys = nodes_keep(c->loader->arena, &v, 0, 2);
        b->node.items = nodes_keep(c->loader->arena, &v, 1, 2);
        put_together(c->loader, &b->node, false);
    }
    free(v.items);
    return b;
}

/* Takes over the event. NULL after an error that leaves no tree. */
static struct built *compose(struct composer *c, yaml_event_t *event, unsigned depth)
{
    struct built *b = NULL;

    if (depth > DEPTH_MAX) {
        struct place place = place_of(c, event->start_mark);
        config_error_at(c->loader->errors, &place, "lists and maps more than %d deep", DEPTH_MAX);
        yaml_event_delete(event);
        return NULL;
    }
    switch (event->type) {
    case YAML_ALIAS_EVENT: b = compose_alias(c, event, depth); break;
    case YAML_SCALAR_EVENT:
        b = compose_scalar(c, event);
        set_anchor(c, event->data.scalar.anchor, b);
        break;
    case YAML_SEQUENCE_START_EVENT:
        b = compose_list(c, event, depth);
        set_anchor(c, event->data.sequence_start.anchor, b);
        break;
    case YAML_MAPPING_START_EVENT:
        b = compose_map(c, event, depth);
        set_anchor(c, event->data.mapping_start.anchor, b);
        break;
    default: break; /* the parser gives no other event inside a document */
    }
    yaml_event_delete(event);
    return b;
}

/* ---- keys that stand twice ------------------------------------------------ */

struct entry {
    struct yaml_node *key, *item;
    unsigned index;
};

static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    size_t len = a->key->text.len < b->key->text.len ? a->key->text.len : b->key->text.len;
    int r = memcmp(a->key->text.ptr, b->key->text.ptr, len);

    if (r == 0 && a->key->text.len != b->key->text.len)
        r = a->key->text.len < b->key->text.len ? -1 : 1;
    return r != 0 ? r : (a->index > b->index) - (a->index < b->index);
}

static int compare_index(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    return (a->index > b->index) - (a->index < b->index);
}

static void say_twice(struct loader *l, const struct yaml_node *key, const struct yaml_node *first)
{
    if (strcmp(key->place.file, first->place.file) == 0)
        config_error_at(l->errors, &key->place, "\"%.60s\" stands twice; first in line %u",
                        key->text.ptr, first->place.line);
    else
        config_error_at(l->errors, &key->place, "\"%.60s\" stands twice; first in %s:%u",
                        key->text.ptr, first->place.file, first->place.line);
}

/* Entries of `from` behind those of a copy of `to` (which an alias may share). */
static struct yaml_node *join_maps(struct loader *l, const struct yaml_node *to,
                                   const struct yaml_node *from)
{
    struct built *b = ARENA_NEW(l->arena, struct built);
    struct yaml_node *node = &b->node;

    *node = *to;
    node->count = to->count + from->count;
    node->keys = arena_alloc(l->arena, (node->count + 1) * sizeof(node->keys[0]));
    node->items = arena_alloc(l->arena, (node->count + 1) * sizeof(node->items[0]));
    for (unsigned i = 0; i < node->count; i++) {
        const struct yaml_node *part = i < to->count ? to : from;
        unsigned at = i < to->count ? i : i - to->count;
        node->keys[i] = part->keys[at];
        node->items[i] = part->items[at];
    }
    return node;
}

/*
 * Each key once. Of two equal keys the later is an error and dropped; or, if `merge` and
 * both hold maps, those are joined. Sorting keeps this fast for a map of 100,000 keys.
 */
static void put_together(struct loader *l, struct yaml_node *map, bool merge)
{
    unsigned kept = 0;

    if (map->count < 2)
        return;
    struct entry *entries = mem_alloc(map->count * sizeof(entries[0]));
    for (unsigned i = 0; i < map->count; i++)
        entries[i] = (struct entry){ map->keys[i], map->items[i], i };
    qsort(entries, map->count, sizeof(entries[0]), compare_entries);
    for (unsigned i = 0; i < map->count; i++) {
        struct entry *last = kept > 0 ? &entries[kept - 1] : NULL;
        if (last == NULL || !slice_equal(last->key->text, entries[i].key->text)) {
            entries[kept++] = entries[i];
        } else if (merge && last->item->kind == YAML_MAP && entries[i].item->kind == YAML_MAP) {
            last->item = join_maps(l, last->item, entries[i].item);
            put_together(l, last->item, false);
        } else {
            say_twice(l, entries[i].key, last->key);
        }
    }
    qsort(entries, kept, sizeof(entries[0]), compare_index);
    for (unsigned i = 0; i < kept; i++) {
        map->keys[i] = entries[i].key;
        map->items[i] = entries[i].item;
    }
    map->count = kept;
    free(entries);
}

/* ---- documents ------------------------------------------------------------ */

static bool expect_end(struct composer *c)
{
    yaml_event_t event;
    bool good = next_event(c, &event); /* the document's end: the parser gives nothing else */

    if (!good)
        return false;
    yaml_event_delete(&event);
    if (!next_event(c, &event))
        return false;
    good = event.type == YAML_STREAM_END_EVENT;
    if (!good) {
        struct place place = place_of(c, event.start_mark);
        config_error_at(c->loader->errors, &place,
                        "a second document begins here; one file holds one");
    }
    yaml_event_delete(&event);
    return good;
}

static struct built *compose_document(struct composer *c)
{
    yaml_event_t event;
    struct built *b = NULL;

    if (!next_event(c, &event)) /* the start of the stream */
        return NULL;
    yaml_event_delete(&event);
    if (!next_event(c, &event))
        return NULL;
    if (event.type == YAML_STREAM_END_EVENT) {
        b = node_new(c, YAML_MAP, event.start_mark);
        yaml_event_delete(&event);
        return b;
    }
    yaml_event_delete(&event); /* the start of the document */
    if (!next_event(c, &event))
        return NULL;
    b = compose(c, &event, 1);
    return b != NULL && expect_end(c) ? b : NULL;
}

static struct yaml_node *load_text(struct loader *l, struct slice text, const char *name,
                                   const char *dir)
{
    struct composer c = { .loader = l, .text = text, .name = name, .dir = dir };

    if (text.len >= 3 && memcmp(text.ptr, "\xef\xbb\xbf", 3) == 0)
        c.text = text = slice_from(text, 3); /* a byte order mark, as some editors write it */
    if (!source_check(text, name, l->errors))
        return NULL;
    if (!yaml_parser_initialize(&c.parser))
        abort(); /* out of memory, see base/mem.h */
    yaml_parser_set_encoding(&c.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&c.parser, (const unsigned char *)text.ptr, text.len);
    table_init(&c.anchors);
    struct built *b = compose_document(&c);
    table_free(&c.anchors, NULL);
    yaml_parser_delete(&c.parser);
    if (b == NULL)
        return NULL;
    struct yaml_node *root = &b->node;
    if (root->kind == YAML_SCALAR && root->text.len == 0 && !root->quoted && !root->secret)
        root->kind = YAML_MAP; /* nothing but comments and "---" */
    return root;
}

/* ---- includes ------------------------------------------------------------- */

/* False after an error: this file is being read already, or was. */
static bool source_is_new(struct loader *l, const struct source *s, const struct place *from)
{
    for (int i = 0; i < l->source_count; i++) {
        if (l->sources[i].dev != s->dev || l->sources[i].ino != s->ino)
            continue;
        int up = s->parent;
        while (up >= 0 && up != i)
            up = l->sources[up].parent;
        config_error_at(l->errors, from, up == i ? "%s includes itself" : "%s is included twice",
                        s->name);
        return false;
    }
    return true;
}

static bool include_all(struct loader *l, struct yaml_node *root, int self, unsigned depth);

/* `from` is the include line, or NULL for the file of the caller. */
static struct yaml_node *load_file(struct loader *l, const char *name, const char *path, int parent,
                                   unsigned depth, const struct place *from)
{
    struct source s = { .name = name, .parent = parent };
    struct place place = from != NULL ? *from : (struct place){ name, 0, 0 };
    struct slice text;

    if (l->source_count > INCLUDE_FILES_MAX || depth > INCLUDE_DEPTH_MAX) {
        config_error_at(l->errors, &place,
                        depth > INCLUDE_DEPTH_MAX ? "includes more than %d deep"
                                                  : "more than %d included files",
                        depth > INCLUDE_DEPTH_MAX ? INCLUDE_DEPTH_MAX : INCLUDE_FILES_MAX);
        return NULL;
    }
    int r = source_read(l->arena, path, SOURCE_OCTETS_MAX, &text, &s.dev, &s.ino);
    if (r < 0) {
        config_error_at(l->errors, &place, "cannot read %s: %s", name,
                        source_error(r, SOURCE_OCTETS_MAX));
        return NULL;
    }
    if (!source_is_new(l, &s, &place))
        return NULL;
    int self = l->source_count++;
    l->sources[self] = s;
    struct yaml_node *root = load_text(l, text, name, source_folder(l->arena, path));
    if (root == NULL)
        return NULL;
    if (root->kind != YAML_MAP) {
        config_error_at(l->errors, &root->place, "the file must hold a map (key: value)");
        return NULL;
    }
    return include_all(l, root, self, depth) ? root : NULL;
}

static struct yaml_node *take(struct yaml_node *map, const char *key)
{
    for (unsigned i = 0; i < map->count; i++) {
        if (!slice_equal(map->keys[i]->text, slice_cstr(key)))
            continue;
        struct yaml_node *item = map->items[i];
        map->count--;
        memmove(&map->keys[i], &map->keys[i + 1], (map->count - i) * sizeof(map->keys[0]));
        memmove(&map->items[i], &map->items[i + 1], (map->count - i) * sizeof(map->items[0]));
        return item;
    }
    return NULL;
}

/* As the user would name it: beside the file that includes it. */
static const char *name_beside(struct loader *l, const struct yaml_node *item)
{
    const char *slash = strrchr(item->place.file, '/');
    struct slice folder =
        slice_make(item->place.file, slash != NULL ? (size_t)(slash - item->place.file) : 0);

    if (slash == item->place.file)
        folder.len = 1;
    return source_join(l->arena, folder.len > 0 ? arena_dup(l->arena, folder) : NULL, item->text);
}

static bool include_all(struct loader *l, struct yaml_node *root, int self, unsigned depth)
{
    struct yaml_node *include = take(root, "include");
    struct yaml_node *one[1] = { include };
    bool good = true;

    if (include == NULL)
        return true;
    if (include->kind == YAML_MAP) {
        config_error_at(l->errors, &include->place, "include: expected a list of files; got a map");
        return true;
    }
    unsigned count = include->kind == YAML_LIST ? include->count : 1;
    struct yaml_node **items = include->kind == YAML_LIST ? include->items : one;
    for (unsigned i = 0; i < count; i++) {
        if (items[i]->kind != YAML_SCALAR || items[i]->secret || items[i]->text.len == 0) {
            config_error_at(l->errors, &items[i]->place, "include: expected the name of a file");
            continue;
        }
        const char *path = source_join(l->arena, items[i]->dir, items[i]->text);
        config_paths_add(path, false);
        struct yaml_node *part =
            load_file(l, name_beside(l, items[i]), path, self, depth + 1, &items[i]->place);
        if (part == NULL) {
            good = false;
            continue;
        }
        struct yaml_node *joined = join_maps(l, root, part);
        put_together(l, joined, true);
        *root = *joined;
    }
    return good;
}

/* ---- the doors ------------------------------------------------------------ */

struct yaml_node *yaml_load_file(struct arena *arena, const char *path, struct config_errors *e)
{
    struct loader l = { .arena = arena, .errors = e };
    const char *name = arena_dup(arena, slice_cstr(path));

    return load_file(&l, name, name, -1, 0, NULL);
}

struct yaml_node *yaml_load_text(struct arena *arena, struct slice text, const char *name,
                                 const char *dir, struct config_errors *e)
{
    struct loader l = { .arena = arena, .errors = e };
    const char *kept_name = arena_dup(arena, slice_cstr(name));
    const char *below = arena_printf(arena, "%s/x", dir != NULL ? dir : ".");

    if (text.len > SOURCE_OCTETS_MAX) {
        struct place place = { kept_name, 0, 0 };
        config_error_at(e, &place, "the text is longer than 16 MB");
        return NULL;
    }
    struct yaml_node *root = load_text(&l, text, kept_name, source_folder(arena, below));
    if (root == NULL || root->kind != YAML_MAP)
        return root;
    return include_all(&l, root, -1, 0) ? root : NULL;
}

struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    struct slice wanted = slice_cstr(key);

    if (map == NULL || map->kind != YAML_MAP)
        return NULL;
    for (unsigned i = 0; i < map->count; i++)
        if (slice_equal(map->keys[i]->text, wanted))
            return map->items[i];
    return NULL;
}
