/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tables.c - the tables that a generation names, and the files that the process watches.
 *
 * Who serves a table otherwise is found by tables_env; what is asked there is provided.c's.
 * An inline table belongs to its generation. A file is one table for the whole process, known by
 * its path and counted by the generations that name it, so a reload re-reads nothing.
 */
#include "state/tables.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/table.h"
#include "config/paths.h"
#include "config/value.h"
#include "state/provided.h"
#include "state/snapshot.h"
#include "state/table_file.h"

#define NAMES_MAX 256  /* candidates for "did you mean" */
#define FILES_MAX 4096 /* watched files of the process */
#define RACY_NS   UINT64_C(20000000)
#define SETTLE_NS UINT64_C(1000000000)

struct tern_table {
    struct list link;          /* inline, provided: of the generation; file: of the process */
    struct snapshot *fixed;    /* inline */
    struct provided *provided; /* by a module */
    struct snapshot_place now; /* file */
    char *path;                /* file, else NULL */
    unsigned generations;      /* that name the file; files_lock */
    struct stat seen;          /* of the contents we have, or of the broken file; refresh_lock */
};

struct use {
    struct list link;
    struct tern_table *table;
};

struct tables {
    struct config_errors *errors;
    struct tables_env env;
    pthread_mutex_t lock; /* profiles are resolved at run time, on any loop */
    struct table names;   /* name -> tern_table */
    struct table wrong;   /* names of those that could not be made, which was said */
    struct table made;    /* digest of what a node says -> tern_table */
    struct list owned;    /* inline tables */
    struct list used;     /* struct use: files */
};

static struct list files = { &files, &files };
static unsigned file_count;
static pthread_mutex_t files_lock = PTHREAD_MUTEX_INITIALIZER;
/* Held while files are read: one at a time, and never together with a look-up. */
static pthread_mutex_t refresh_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- files ---------------------------------------------------------------------- */

static bool same_stat(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* How long ago the file was written, by the clock that stamps files. */
static uint64_t age_ns(const struct stat *st)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    int64_t ns =
        (int64_t)(now.tv_sec - st->st_ctim.tv_sec) * 1000000000 + now.tv_nsec - st->st_ctim.tv_nsec;
    return ns > 0 ? (uint64_t)ns : 0;
}

static size_t count_now(struct tern_table *t)
{
    struct snapshot *s = snapshot_take(&t->now);
    size_t count = s != NULL ? snapshot_count(s) : 0;

    snapshot_release(s);
    return count;
}

/*
 * A file that lost more than half of its entries a moment ago is probably being written
 * in place (truncated, then filled). Unknown recipients are refused for good, so wait a second.
 */
static bool must_settle(struct tern_table *t, const struct snapshot *s, const struct stat *st)
{
    size_t had = count_now(t);
    return had > 1 && snapshot_count(s) < had / 2 + 1 && age_ns(st) < SETTLE_NS;
}

/* Reads the file and puts the contents in place. Caller holds refresh_lock. */
static int refresh(struct tern_table *t, char error[TABLE_ERROR_OCTETS], bool wait)
{
    struct snapshot *s = NULL;
    struct stat st = { .st_size = -1 };
    size_t twice = 0;
    int r = table_file_read(t->path, &s, &twice, &st, error);

    if (r == 0 && wait && must_settle(t, s, &st)) {
        snapshot_free(s);
        return 0; /* `seen` is the old one: the next poll reads again */
    }
    size_t count = r == 0 ? snapshot_count(s) : 0;
    if (r == 0) {
        r = snapshot_publish(&t->now, s);
        if (r < 0) {
            (void)snprintf(error, TABLE_ERROR_OCTETS, "too many tables are in use");
            snapshot_free(s);
        }
    }
    t->seen = st;
    /* Written again within one tick of the file system's clock it would look the same. */
    if (r == -EAGAIN || age_ns(&st) < RACY_NS)
        t->seen.st_size = -1;
    if (r == 0)
        log_event(LOG_INFO, LOG_EV_table, NULL, "%s: %zu entr%s", t->path, count, count == 1 ? "y" : "ies");
    if (r == 0 && twice > 0)
        log_event(LOG_WARNING, LOG_EV_table, NULL, "%s: %zu keys stand twice; the first counts",
                  t->path, twice);
    return r;
}

/* Caller holds refresh_lock. */
static void poll_one(struct tern_table *t)
{
    char error[TABLE_ERROR_OCTETS];
    struct stat st;

    if (stat(t->path, &st) < 0)
        st = (struct stat){ .st_size = -2 }; /* gone: logged once, as one state of the file */
    if (same_stat(&st, &t->seen))
        return;
    if (st.st_size != -2 && refresh(t, error, true) == 0)
        return;
    if (st.st_size == -2) {
        t->seen = st;
        (void)snprintf(error, sizeof(error), "the file is gone");
    }
    log_event(LOG_ERROR, LOG_EV_table, NULL, "%s: %s; the old contents stay", t->path, error);
}

static void file_unref(struct tern_table *t)
{
    (void)pthread_mutex_lock(&files_lock);
    bool last = --t->generations == 0;
    if (last) {
        list_remove(&t->link);
        file_count--;
    }
    (void)pthread_mutex_unlock(&files_lock);
    if (!last)
        return;
    (void)snapshot_publish(&t->now, NULL);
    free(t->path);
    free(t);
}

void tables_poll(void)
{
    struct tern_table *all[FILES_MAX];
    unsigned count = 0;

    (void)pthread_mutex_lock(&refresh_lock);
    (void)pthread_mutex_lock(&files_lock);
    list_each (link, &files) {
        assert(count < FILES_MAX);
        all[count] = list_entry(link, struct tern_table, link);
        all[count++]->generations++;
    }
    (void)pthread_mutex_unlock(&files_lock);
    for (unsigned i = 0; i < count; i++) {
        poll_one(all[i]);
        file_unref(all[i]);
    }
    (void)pthread_mutex_unlock(&refresh_lock);
}

static struct tern_table *find_file(const char *path)
{
    struct tern_table *found = NULL;

    (void)pthread_mutex_lock(&files_lock);
    list_each (link, &files) {
        struct tern_table *t = list_entry(link, struct tern_table, link);
        if (strcmp(t->path, path) == 0)
            found = t;
    }
    if (found != NULL)
        found->generations++;
    (void)pthread_mutex_unlock(&files_lock);
    return found;
}

static struct tern_table *new_file(const char *path)
{
    struct tern_table *t = mem_zalloc(sizeof(*t));

    t->path = mem_strdup(path);
    t->generations = 1;
    (void)pthread_mutex_lock(&files_lock);
    bool room = file_count < FILES_MAX;
    if (room) {
        list_push(&files, &t->link);
        file_count++;
    }
    (void)pthread_mutex_unlock(&files_lock);
    if (room)
        return t;
    free(t->path);
    free(t);
    return NULL;
}

/*
 * The table of a file, counted. A file that is known and now broken is an error too: a reload that
 * would not start afresh is refused, and the old generation keeps the old contents.
 */
static struct tern_table *acquire_file(const char *path, char error[TABLE_ERROR_OCTETS])
{
    (void)pthread_mutex_lock(&refresh_lock);
    struct tern_table *t = find_file(path);
    struct stat st;
    bool known = t != NULL;
    int r = 0;

    if (!known)
        t = new_file(path);
    if (t == NULL) {
        (void)snprintf(error, TABLE_ERROR_OCTETS, "more than %d table files", FILES_MAX);
    } else if (!known || stat(path, &st) < 0 || !same_stat(&st, &t->seen)) {
        r = refresh(t, error, known);
    }
    if (t != NULL && r < 0) {
        file_unref(t);
        t = NULL;
    }
    (void)pthread_mutex_unlock(&refresh_lock);
    return t;
}

/* ---- nodes of the configuration --------------------------------------------------- */

static struct tern_table *file_table(struct tables *tables, const struct yaml_node *node)
{
    CLEANUP_BUF struct buf path = BUF_INIT;
    char error[TABLE_ERROR_OCTETS];

    if (node->kind != YAML_SCALAR || node->text.len == 0 || node->secret) {
        config_error_at(tables->errors, &node->place, "file: expected the path of a file");
        return NULL;
    }
    struct slice name = node->text;
    if (name.len > 2 && name.ptr[0] == '.' && name.ptr[1] == '/')
        name = slice_from(name, 2); /* ./x and x are one table */
    if (name.ptr[0] != '/' && node->dir != NULL)
        buf_printf(&path, "%s/", node->dir);
    buf_add(&path, name);
    config_paths_add(path.data, false);
    struct tern_table *t = acquire_file(path.data, error);
    if (t == NULL) {
        config_error_at(tables->errors, &node->place, "cannot read the table %s: %s", path.data,
                        error);
        return NULL;
    }
    struct use *use = mem_zalloc(sizeof(*use));
    use->table = t;
    list_push(&tables->used, &use->link);
    return t;
}

static bool add_inline(struct tables *tables, struct snapshot_build *build,
                       const struct yaml_node *key, const struct yaml_node *value)
{
    const struct yaml_node *bad = key->kind != YAML_SCALAR || key->text.len == 0 ? key
                                  : value != NULL && value->kind != YAML_SCALAR  ? value
                                                                                 : NULL;
    char text[VALUE_SHOWN_OCTETS];

    if (bad != NULL) {
        config_error_at(tables->errors, &bad->place, "expected a word in the table; got %s",
                        value_show(bad, text));
        return false;
    }
    if (value == NULL && table_get(&tables->names, key->text) != NULL)
        config_warning_at(tables->errors, &key->place, "this is a list with the entry \"%s\"; the table of that name "
                          "is { table: %s }", key->text.ptr, key->text.ptr);
    if (snapshot_add(build, key->text, value != NULL ? value->text : SLICE("")) == 0)
        return true;
    config_error_at(tables->errors, &key->place,
                    "the entry is too long for a table (key %d, value %d octets)",
                    SNAPSHOT_KEY_OCTETS_MAX, SNAPSHOT_VALUE_OCTETS_MAX);
    return false;
}

static struct tern_table *inline_table(struct tables *tables, const struct yaml_node *node)
{
    struct snapshot_build build = SNAPSHOT_BUILD_INIT;
    bool good = true;

    if (node->kind == YAML_SCALAR)
        good = add_inline(tables, &build, node, NULL);
    for (unsigned i = 0; i < node->count; i++)
        good &= node->kind == YAML_LIST ? add_inline(tables, &build, node->items[i], NULL)
                                        : add_inline(tables, &build, node->keys[i], node->items[i]);
    if (!good) {
        snapshot_drop(&build);
        return NULL;
    }
    struct tern_table *t = mem_zalloc(sizeof(*t));
    t->fixed = snapshot_finish(&build);
    if (build.twice > 0)
        config_warning_at(tables->errors, &node->place,
                          "%zu entries stand twice (case does not count); the first is taken",
                          build.twice);
    list_push(&tables->owned, &t->link);
    return t;
}

struct name_list {
    const char *names[NAMES_MAX];
    size_t count;
};

static void add_name(void *arg, struct slice key, void *value)
{
    struct name_list *list = arg;

    if (list->count < NAMES_MAX)
        list->names[list->count++] = key.ptr; /* base/table puts a NUL behind its keys */
}

static struct tern_table *named_table(struct tables *tables, const struct yaml_node *node)
{
    struct name_list list = { .count = 0 };
    char text[VALUE_SHOWN_OCTETS];

    if (node->kind != YAML_SCALAR || node->text.len == 0) {
        config_error_at(tables->errors, &node->place,
                        "table: expected a name from \"tables\"; got %s", value_show(node, text));
        return NULL;
    }
    struct tern_table *t = table_get(&tables->names, node->text);
    if (t != NULL || table_get(&tables->wrong, node->text) != NULL)
        return t;
    table_each(&tables->names, add_name, &list);
    const char *meant = config_did_you_mean(node->text, list.names, list.count);
    if (meant != NULL)
        config_error_at(tables->errors, &node->place, "there is no table %s; did you mean \"%s\"?",
                        value_show(node, text), meant);
    else
        config_error_at(tables->errors, &node->place, "there is no table %s",
                        value_show(node, text));
    return NULL;
}

/* ---- by a module ---- */

/* Words that people try; as the name of an entry they are written in quotes. */
static bool is_provider_word(struct slice word)
{
    static const char *const words[] = { "sql",   "ldap",   "redis", "http", "postgres", "postgresql",
                                         "mysql", "sqlite", "cdb",   "lmdb", NULL };

    for (size_t i = 0; words[i] != NULL; i++)
        if (slice_equal(word, slice_cstr(words[i])))
            return true;
    return false;
}

/* `{ WORD: { options } }`. */
static bool is_provided(const struct yaml_node *node)
{
    return node->kind == YAML_MAP && node->count > 0 && !node->keys[0]->quoted &&
           (is_provider_word(node->keys[0]->text) || node->items[0]->kind == YAML_MAP);
}

bool tables_is_elsewhere(const struct yaml_node *node)
{
    if (node->kind != YAML_MAP)
        return false;
    if (is_provided(node))
        return true;
    return node->count == 1 && !node->keys[0]->quoted &&
           (slice_equal(node->keys[0]->text, SLICE("table")) || slice_equal(node->keys[0]->text, SLICE("file")));
}

static struct tern_table *provided_table(struct tables *tables, const struct yaml_node *node, const char *name)
{
    const struct yaml_node *key = node->keys[0], *options = node->items[0];
    char error[PROVIDED_ERROR_OCTETS] = "no module serves tables here";
    CLEANUP_BUF struct buf label = BUF_INIT;

    if (options->kind != YAML_MAP) {
        config_error_at(tables->errors, &options->place,
                        "%s: expected a map of options (an entry of that name is written in quotes)", key->text.ptr);
        return NULL;
    }
    const struct tern_table_provider *type =
        tables->env.provider != NULL ? tables->env.provider(tables->env.arg, key->text.ptr, error, sizeof(error))
                                     : NULL;
    if (type == NULL) {
        config_error_at(tables->errors, &key->place, "a table by %s: %s", key->text.ptr, error);
        return NULL;
    }
    if (name != NULL)
        buf_printf(&label, "table %s", name);
    else
        buf_printf(&label, "table at %s:%u", key->place.file, key->place.line);
    struct provided *provided = provided_acquire(type, options, label.data, tables->errors);
    if (provided == NULL)
        return NULL;
    struct tern_table *t = mem_zalloc(sizeof(*t));
    if (tables->env.empty) {
        struct snapshot_build build = SNAPSHOT_BUILD_INIT;
        provided_release(provided);
        t->fixed = snapshot_finish(&build);
    } else {
        t->provided = provided;
    }
    list_push(&tables->owned, &t->link);
    return t;
}

static void unknown_key(struct tables *tables, const struct yaml_node *node)
{
    config_error_at(tables->errors, &node->keys[1]->place,
                    "unknown key \"%.60s\" beside \"%s\" (an entry of that name is written in quotes)",
                    node->keys[1]->text.ptr, node->keys[0]->text.ptr);
}

/*
 * The first key of a map says what it is: `table`, `file` or the provider's word; written in
 * quotes such a word is an entry like any other. `name`: the table stands in `tables:` under it; NULL:
 * it is an option's value. Caller holds tables->lock.
 */
static struct tern_table *make_table(struct tables *tables, const struct yaml_node *node, const char *name)
{
    if (node->kind != YAML_MAP || node->count == 0 || node->keys[0]->quoted)
        return inline_table(tables, node);
    const struct yaml_node *key = node->keys[0];
    bool file = slice_equal(key->text, SLICE("file"));
    bool other = slice_equal(key->text, SLICE("table"));
    if (!file && !other && !is_provided(node))
        return inline_table(tables, node);
    if (node->count > 1) {
        unknown_key(tables, node);
        return NULL;
    }
    if (file)
        return file_table(tables, node->items[0]);
    if (!other)
        return provided_table(tables, node, name);
    if (name == NULL)
        return named_table(tables, node->items[0]);
    config_error_at(tables->errors, &key->place, "a table cannot stand for another one");
    return NULL;
}

/* ---- the tables of a generation ------------------------------------------------------ */

struct tables *tables_new(struct arena *arena, const struct yaml_node *node, const struct tables_env *env,
                          struct config_errors *e)
{
    struct tables *tables = ARENA_NEW(arena, struct tables);

    if (env != NULL)
        tables->env = *env;
    tables->errors = e;
    (void)pthread_mutex_init(&tables->lock, NULL);
    table_init(&tables->names);
    table_init(&tables->wrong);
    table_init(&tables->made);
    list_init(&tables->owned);
    list_init(&tables->used);
    if (node == NULL || (node->kind == YAML_SCALAR && node->text.len == 0 && !node->quoted))
        return tables;
    if (node->kind != YAML_MAP) {
        config_error_at(e, &node->place, "tables: expected a map of names");
        return tables;
    }
    for (unsigned i = 0; i < node->count; i++) {
        const struct yaml_node *item = node->items[i];
        struct tern_table *t = NULL;
        if (item->kind == YAML_SCALAR && item->text.len == 0 && !item->quoted)
            config_error_at(e, &item->place, "the table has no contents; an empty one is []");
        else
            t = make_table(tables, item, node->keys[i]->text.ptr);
        if (t != NULL)
            (void)table_put(&tables->names, node->keys[i]->text, t);
        else
            (void)table_put(&tables->wrong, node->keys[i]->text, tables);
    }
    return tables;
}

void tables_quiet(struct tables *tables)
{
    tables->errors = NULL;
}

void tables_free(struct tables *tables)
{
    if (tables == NULL)
        return;
    for (struct list *link = list_pop(&tables->owned); link != NULL;
         link = list_pop(&tables->owned)) {
        struct tern_table *t = list_entry(link, struct tern_table, link);
        snapshot_free(t->fixed);
        if (t->provided != NULL)
            provided_release(t->provided);
        free(t);
    }
    for (struct list *link = list_pop(&tables->used); link != NULL;
         link = list_pop(&tables->used)) {
        struct use *use = list_entry(link, struct use, link);
        file_unref(use->table);
        free(use);
    }
    table_free(&tables->names, NULL);
    table_free(&tables->wrong, NULL);
    table_free(&tables->made, NULL);
    (void)pthread_mutex_destroy(&tables->lock);
}

/*
 * Nodes that say the same mean the same table, so profiles that repeat a list share it. Not by
 * the node's address: a default's node lives no longer than the call that parses it.
 */
const struct tern_table *tables_resolve(void *arg, const struct yaml_node *node)
{
    struct tables *tables = arg;
    uint64_t octets[2];
    tables_node_digest("", node, octets);
    struct slice id = slice_make((const char *)octets, sizeof(octets));

    (void)pthread_mutex_lock(&tables->lock);
    struct tern_table *t = table_get(&tables->made, id);
    if (t == NULL) {
        t = make_table(tables, node, NULL);
        if (t != NULL)
            (void)table_put(&tables->made, id, t);
    }
    (void)pthread_mutex_unlock(&tables->lock);
    return t;
}

const struct tern_table *tables_get(struct tables *tables, struct slice name)
{
    return table_get(&tables->names, name);
}

/* ---- look-ups -------------------------------------------------------------------------- */

/* A hold is a snapshot's or an answer's; malloc's addresses are even, so one bit tells them apart. */
struct table_hold *tables_hold_of(struct provided_answer *answer)
{
    return (struct table_hold *)((uintptr_t)answer | 1);
}

static int peek_provided(struct provided *p, struct slice key, enum tern_status *ret, tern_str *ret_value,
                         struct table_hold **ret_hold)
{
    struct provided_answer *answer;

    if (provided_peek(p, key, &answer) < 0)
        return -EAGAIN;
    *ret = provided_answer_status(answer);
    if (*ret == TERN_FOUND) {
        *ret_value = provided_answer_value(answer);
        *ret_hold = tables_hold_of(answer);
    } else {
        provided_answer_release(answer);
    }
    return 0;
}

int table_try(const struct tern_table *table, struct slice key, enum tern_status *ret, tern_str *ret_value,
               struct table_hold **ret_hold)
{
    char folded[SNAPSHOT_KEY_OCTETS_MAX];
    struct slice wanted;

    *ret_hold = NULL;
    *ret = TERN_ABSENT;
    if (table == NULL || !snapshot_fold(key, folded, &wanted) || wanted.len == 0)
        return 0;
    if (table->provided != NULL)
        return peek_provided(table->provided, wanted, ret, ret_value, ret_hold);
    if (table->fixed != NULL) { /* lives as long as the generation, which outlives the caller's call */
        *ret = snapshot_find(table->fixed, wanted, ret_value) ? TERN_FOUND : TERN_ABSENT;
        return 0;
    }
    struct snapshot *s = snapshot_take(&((struct tern_table *)(uintptr_t)table)->now);
    if (s == NULL) {
        *ret = TERN_FAILED; /* cannot be: a file that was never read is no table */
    } else if (snapshot_find(s, wanted, ret_value)) {
        *ret = TERN_FOUND;
        *ret_hold = (struct table_hold *)s;
    } else {
        snapshot_release(s);
    }
    return 0;
}

enum tern_status table_lookup(const struct tern_table *table, struct slice key, tern_str *ret_value,
                              struct table_hold **ret_hold)
{
    enum tern_status status;

    return table_try(table, key, &status, ret_value, ret_hold) == 0 ? status : TERN_FAILED;
}

void table_ask(const struct tern_table *table, struct slice key, struct table_wait *wait)
{
    char folded[SNAPSHOT_KEY_OCTETS_MAX];
    struct table_hold *hold = NULL;
    enum tern_status status;
    struct slice wanted;
    tern_str value = { "", 0 };

    list_init(&wait->link);
    if (table != NULL && table->provided != NULL && snapshot_fold(key, folded, &wanted) && wanted.len > 0) {
        provided_ask(table->provided, wanted, wait);
        return;
    }
    if (table_try(table, key, &status, &value, &hold) < 0)
        status = TERN_FAILED;
    wait->done(wait, status, value, hold);
}

void table_hold_release(struct table_hold *hold)
{
    if (((uintptr_t)hold & 1) != 0)
        provided_answer_release((struct provided_answer *)((uintptr_t)hold & ~(uintptr_t)1));
    else
        snapshot_release((struct snapshot *)hold);
}

bool table_is_provided(const struct tern_table *table)
{
    return table != NULL && table->provided != NULL;
}

bool table_is_empty(const struct tern_table *table)
{
    if (table == NULL)
        return true;
    if (table->provided != NULL)
        return false; /* nobody knows */
    if (table->fixed != NULL)
        return snapshot_count(table->fixed) == 0;
    return count_now((struct tern_table *)(uintptr_t)table) == 0;
}
