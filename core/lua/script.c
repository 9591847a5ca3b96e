/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script.c - see script.h.
 *
 * The ABI hands a handler the call and the options, not the descriptor. So every script has
 * one option more, script_id: its default is the script's number and its range is that number
 * alone, so
 * that nobody can set it to another. check() turns the number into a pointer.
 */
#include "lua/script.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "base/mem.h"
#include "lua/lua_trust.h"
#include "lua/run.h"
#include "lua/vm.h"

static pthread_mutex_t scripts_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list scripts = { &scripts, &scripts };
static unsigned last_id;

static const struct tern_option common_options[] = {
    TERN_OPTION_UINT(struct lua_conf, instructions, "10000000", 10000, 1000000000,
                     "Instructions of Lua that one call of a hook may run."),
    TERN_OPTION_SIZE(struct lua_conf, memory, "16MB", 1 << 20, 1 << 30,
                     "Memory of the script in each loop."),
    TERN_OPTION_SIZE(struct lua_conf, memory_per_call, "8MB", 64 << 10, 1 << 30,
                     "Memory that one call of a hook may add."),
    TERN_OPTION_MS(struct lua_conf, time, "1s", 1, 60000,
                   "Time that one call of a hook may run, waiting not counted."),
    TERN_OPTION_UINT(struct lua_conf, script_id, "", 1, 1, "Set by the server."),
    TERN_OPTIONS_END,
};

/* ---- files ---- */

static bool read_all(int fd, struct slice *ret, struct arena *arena)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || st.st_size > SCRIPT_FILE_OCTETS_MAX)
        return false;
    size_t size = (size_t)st.st_size, len = 0;
    char *text = arena_alloc(arena, size + 1);
    while (len < size) {
        ssize_t n = read(fd, text + len, size - len);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    *ret = slice_make(text, len);
    return len == size;
}

static const struct script_file *add_file(struct lua_script *s, const char *path, const char *name,
                                          char *error, size_t octets)
{
    if (s->file_count == SCRIPT_FILES_MAX) {
        (void)snprintf(error, octets, "%s: a script may have at most %d files", path,
                       SCRIPT_FILES_MAX);
        return NULL;
    }
    int fd = lua_trust_open(path, error, octets);
    if (fd < 0)
        return NULL;
    struct script_file *file = &s->files[s->file_count];
    bool fine = read_all(fd, &file->text, &s->arena);
    (void)close(fd);
    if (!fine) {
        (void)snprintf(error, octets, "%s: cannot be read, or is longer than %u octets", path,
                       SCRIPT_FILE_OCTETS_MAX);
        return NULL;
    }
    file->name = arena_dup(&s->arena, slice_cstr(name));
    file->chunk = arena_printf(&s->arena, "@%s.lua", name);
    s->file_count++;
    return file;
}

static bool is_file_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

    return len > 0 && len <= SCRIPT_NAME_OCTETS_MAX && name[len] == '\0';
}

const struct script_file *lua_script_file(struct lua_script *s, const char *name, char *error,
                                          size_t octets)
{
    for (unsigned i = 0; i < s->file_count; i++)
        if (strcmp(s->files[i].name, name) == 0)
            return &s->files[i];
    if (!is_file_name(name)) {
        (void)snprintf(
            error, octets,
            "require takes \"tern\" or the name of a .lua file beside the script, not \"%.64s\"",
            name);
        return NULL;
    }
    if (s->sealed) {
        (void)snprintf(error, octets, "\"%s\" was not required while the script was loaded", name);
        return NULL;
    }
    CLEANUP_FREE char *path = mem_alloc(strlen(s->dir) + strlen(name) + 8);
    (void)sprintf(path, "%s/%s.lua", s->dir, name);
    return add_file(s, path, name, error, octets);
}

/* ---- the descriptor ---- */

#define HANDLER(name, point)                                                                       \
    static tern_verdict on_##name(tern_call *call, const void *conf)                               \
    {                                                                                              \
        return lua_run_hook(call, conf, TERN_HOOK_##point);                                        \
    }
HANDLER(connect, CONNECT)
HANDLER(tls, TLS)
HANDLER(ehlo, EHLO)
HANDLER(auth, AUTH)
HANDLER(mail, MAIL)
HANDLER(rcpt, RCPT)
HANDLER(data, DATA)
HANDLER(message, MESSAGE)
HANDLER(queue, QUEUE)
HANDLER(sign, SIGN)
HANDLER(route, ROUTE)
HANDLER(deliver, DELIVER)
HANDLER(result, RESULT)
HANDLER(close, CLOSE)
HANDLER(vrfy, VRFY)
#undef HANDLER

static const tern_handler handlers[TERN_HOOK_COUNT] = {
    [TERN_HOOK_CONNECT] = on_connect, [TERN_HOOK_EHLO] = on_ehlo,
    [TERN_HOOK_AUTH] = on_auth,
    [TERN_HOOK_TLS] = on_tls,
    [TERN_HOOK_MAIL] = on_mail,       [TERN_HOOK_RCPT] = on_rcpt,
    [TERN_HOOK_DATA] = on_data,       [TERN_HOOK_MESSAGE] = on_message,
    [TERN_HOOK_QUEUE] = on_queue,     [TERN_HOOK_SIGN] = on_sign,
    [TERN_HOOK_ROUTE] = on_route,     [TERN_HOOK_DELIVER] = on_deliver,
    [TERN_HOOK_RESULT] = on_result,   [TERN_HOOK_CLOSE] = on_close,
    [TERN_HOOK_VRFY] = on_vrfy,
};

static void begin_options(struct lua_script *s)
{
    for (const struct tern_option *o = common_options; o->size != 0; o++)
        s->options[s->option_count++] = *o;
    struct tern_option *id = &s->options[s->option_count - 1];
    id->text = arena_printf(&s->arena, "%u", s->id);
    id->min = id->max = s->id;
    s->own_options = s->option_count;
    s->module.conf_size = (sizeof(struct lua_conf) + 15) & ~(size_t)15;
}

static void seal(struct lua_script *s)
{
    for (unsigned i = 0; i < s->hook_count; i++)
        s->hooks[i].run = handlers[s->hooks[i].hook];
    s->module.magic = TERN_ABI_MAGIC;
    s->module.size = sizeof(s->module);
    s->module.abi_major = TERN_ABI_MAJOR;
    s->module.abi_minor = TERN_ABI_MINOR;
    s->module.name = s->name;
    s->module.summary = "A script.";
    s->module.options = s->options;
    s->module.hooks = s->hooks;
    s->module.notes = s->notes;
    s->module.check = lua_script_check;
    s->module.user = s;
    s->sealed = true;
}

/* "filters/policy.lua" into "filters" and "policy". */
static bool take_path(struct lua_script *s, tern_str path)
{
    const char *slash = memrchr(path.ptr, '/', path.len);
    const char *base = slash != NULL ? slash + 1 : path.ptr;
    size_t len = path.len - (size_t)(base - path.ptr);

    if (len <= 4 || memcmp(base + len - 4, ".lua", 4) != 0)
        return false;
    s->name = arena_dup(&s->arena, slice_make(base, len - 4));
    s->kv_space = arena_printf(&s->arena, "lua.%s", s->name);
    if (slash == NULL)
        s->dir = ".";
    else
        s->dir = slash == path.ptr
                     ? ""
                     : arena_dup(&s->arena, slice_make(path.ptr, (size_t)(slash - path.ptr)));
    return is_file_name(s->name);
}

static bool load(struct lua_script *s, tern_str path, char *error, size_t octets)
{
    CLEANUP_FREE char *name = mem_dup(path.ptr, path.len);

    if (!take_path(s, path)) {
        (void)snprintf(error, octets,
                       "%s: a script is a file NAME.lua, its name of letters, digits, _ and -",
                       name);
        return false;
    }
    begin_options(s);
    if (add_file(s, name, s->name, error, octets) == NULL)
        return false;
    struct lua_vm *vm = lua_vm_new(s);
    bool fine = vm->broken[0] == '\0';
    if (!fine)
        (void)snprintf(error, octets, "%s", vm->broken);
    lua_vm_free(vm);
    return fine;
}

struct lua_script *lua_script_new(tern_str path, bool trusted, char *error, size_t octets)
{
    struct lua_script *s = mem_zalloc(sizeof(*s));

    arena_init(&s->arena);
    list_init(&s->link);
    s->refs = 1;
    s->trusted = trusted;
    (void)pthread_mutex_lock(&scripts_lock);
    s->id = ++last_id;
    (void)pthread_mutex_unlock(&scripts_lock);
    if (!load(s, path, error, octets)) {
        lua_script_unref(s);
        return NULL;
    }
    seal(s);
    (void)pthread_mutex_lock(&scripts_lock);
    list_push(&scripts, &s->link);
    (void)pthread_mutex_unlock(&scripts_lock);
    return s;
}

void lua_script_ref(struct lua_script *script)
{
    atomic_fetch_add_explicit(&script->refs, 1, memory_order_relaxed);
}

void lua_script_unref(struct lua_script *script)
{
    if (atomic_fetch_sub_explicit(&script->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_fini(&script->arena);
    free(script);
}

void lua_script_retire(struct lua_script *script)
{
    (void)pthread_mutex_lock(&scripts_lock);
    list_remove(&script->link);
    (void)pthread_mutex_unlock(&scripts_lock);
    atomic_store(&script->gone, true);
    lua_script_unref(script);
}

/* ---- from options to script ---- */

static struct lua_script *find(unsigned id)
{
    struct lua_script *found = NULL;

    (void)pthread_mutex_lock(&scripts_lock);
    list_each (link, &scripts) {
        struct lua_script *s = list_entry(link, struct lua_script, link);
        if (s->id == id)
            found = s;
    }
    (void)pthread_mutex_unlock(&scripts_lock);
    return found;
}

struct lua_script *lua_script_of(const struct lua_conf *conf)
{
    struct lua_script *s = conf->script != NULL ? conf->script : find(conf->script_id);

    assert(s != NULL); /* the options outlive no generation, the generation holds the script */
    return s;
}

int lua_script_check(void *conf, struct tern_config *config)
{
    struct lua_conf *c = conf;

    c->script = find(c->script_id);
    if (c->script == NULL) {
        lua_api->config_error(config, "script_id", "is set by the server");
        return -EINVAL;
    }
    if (c->memory_per_call > c->memory)
        lua_api->config_warning(config, "memory_per_call",
                                "is more than memory, which is the bound then");
    return 0;
}

const struct tern_note *lua_script_note(const struct lua_script *s, unsigned kind, const char *name)
{
    for (unsigned i = 0; i < s->note_count; i++)
        if (s->notes[i].kind == kind && strcmp(s->notes[i].name, name) == 0)
            return &s->notes[i];
    return NULL;
}

const struct tern_option *lua_script_option(const struct lua_script *s, const char *key)
{
    for (unsigned i = s->own_options; i < s->option_count; i++)
        if (strcmp(s->options[i].key, key) == 0)
            return &s->options[i];
    return NULL;
}
