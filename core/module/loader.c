/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.c - the modules of the process: opened once, judged, loaded, started, never unloaded.
 *
 * Used by the one thread that builds generations. Not for: options (policy_step.c),
 * who calls the hooks (chain.c).
 *
 * A file is opened, judged by that descriptor and handed to dlopen as /proc/self/fd/N, so that
 * what was judged is what is loaded. The descriptor then stays open for ever: dlopen looks first
 * whether it has loaded something *of that name*, and a second module that got the
 * same number N would be answered with the first one's code.
 */
#include "module/policy.h"

#include <assert.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "module/descriptor.h"
#include "module/policy_internal.h"
#include "module/trust.h"

#define MODULES_MAX 200 /* different files of a process, good and refused ones */

/* One file that was given to dlopen: it stays mapped whatever became of it. */
struct object {
    dev_t device;
    ino_t inode;
    struct timespec changed;
    int fd;
    void *handle;
};

struct module_entry {
    const struct tern_module *module; /* our copy */
    const char *name;
    struct object *object; /* NULL: linked in */
    void *state;
    bool replaced_said;
};

struct modules {
    struct modules_env env;
    char *path;
    struct arena arena;
    struct module_entry entries[MODULES_MAX];
    unsigned count;
    struct object objects[MODULES_MAX];
    unsigned object_count;
};

struct modules *modules_new(const struct modules_env *env)
{
    struct modules *m = mem_zalloc(sizeof(*m));

    m->env = *env;
    m->path = mem_strdup(env->path != NULL ? env->path : ".");
    arena_init(&m->arena);
    return m;
}

void modules_free(struct modules *modules)
{
    if (modules == NULL)
        return;
    for (unsigned i = modules->count; i-- > 0;) {
        const struct module_entry *e = &modules->entries[i];

        if (e->module->fini != NULL)
            e->module->fini(e->state);
    }
    arena_fini(&modules->arena);
    mem_cleanup_free(&modules->path);
    mem_cleanup_free(&modules);
}

const struct modules_env *modules_of(const struct modules *modules)
{
    return &modules->env;
}

bool modules_trust_group(const struct modules *modules)
{
    return modules->env.trust_group;
}

void *modules_state(struct modules *modules, const struct tern_module *module)
{
    for (unsigned i = 0; i < modules->count; i++)
        if (modules->entries[i].module == module)
            return modules->entries[i].state;
    return NULL;
}

/* A module whose init failed is forgotten: the next generation that names it tries again. */
static const struct tern_module *start(struct modules *modules, const struct tern_module *raw,
                                       const char *name, struct object *object, char *error,
                                       size_t octets)
{
    const struct tern_module *module = descriptor_read(&modules->arena, raw, name, error, octets);
    void *state = NULL;
    int r = 0;

    if (module == NULL)
        return NULL;
    if (modules->count == MODULES_MAX) {
        (void)snprintf(error, octets, "more than %u modules", MODULES_MAX);
        return NULL;
    }
    if (module->init != NULL)
        r = module->init(modules->env.api, &state);
    if (r < 0) {
        (void)snprintf(error, octets, "its init() failed: %s", strerror(-r));
        return NULL;
    }
    modules->entries[modules->count++] =
        (struct module_entry){ module, module->name, object, state, false };
    return module;
}

static struct object *object_of(struct modules *modules, const struct stat *st)
{
    for (unsigned i = 0; i < modules->object_count; i++) {
        struct object *o = &modules->objects[i];

        if (o->device == st->st_dev && o->inode == st->st_ino &&
            o->changed.tv_sec == st->st_ctim.tv_sec && o->changed.tv_nsec == st->st_ctim.tv_nsec)
            return o;
    }
    return NULL;
}

/* dlerror names our /proc path; the user knows the file by another. */
static void say_dlerror(const char *link, char *error, size_t octets)
{
    const char *text = dlerror();
    size_t len = strlen(link);

    if (text == NULL)
        text = "unknown error";
    if (strncmp(text, link, len) == 0 && text[len] == ':')
        text += len + 1 + (text[len + 1] == ' ');
    (void)snprintf(error, octets, "cannot be loaded: %s", text);
}

/* The object of an open, judged file, which takes over `fd`; NULL with a sentence. */
static struct object *load_object(struct modules *modules, int fd, char *error, size_t octets)
{
    struct stat st;
    char link[64];

    if (fstat(fd, &st) < 0) {
        (void)snprintf(error, octets, "%s", strerror(errno));
        goto close_fd;
    }
    struct object *known = object_of(modules, &st);
    if (known != NULL) {
        (void)close(fd);
        return known;
    }
    if (modules->object_count == MODULES_MAX) {
        (void)snprintf(error, octets, "more than %u different module files since the start",
                       MODULES_MAX);
        goto close_fd;
    }
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    (void)dlerror();
    void *handle = dlopen(link, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == NULL) {
        say_dlerror(link, error, octets);
        goto close_fd; /* nothing of that name was kept */
    }
    struct object *o = &modules->objects[modules->object_count++];
    *o = (struct object){ st.st_dev, st.st_ino, st.st_ctim, fd, handle };
    return o;

close_fd:
    (void)close(fd);
    return NULL;
}

#define ALIKE_MAX 256 /* names looked at for "did you mean" */

/* A name that is nearly one of the modules that are there: true, with a sentence. */
static bool say_alike(const struct modules *modules, const char *name, char *error, size_t octets)
{
    char names[ALIKE_MAX][64];
    const char *list[ALIKE_MAX];
    unsigned count = 0;
    DIR *dir = opendir(modules->path);

    for (const struct dirent *e; dir != NULL && count < ALIKE_MAX && (e = readdir(dir)) != NULL;) {
        size_t len = strlen(e->d_name);

        if (len < 4 || len - 3 >= sizeof(names[0]) || strcmp(e->d_name + len - 3, ".so") != 0)
            continue;
        (void)snprintf(names[count], sizeof(names[count]), "%.*s", (int)(len - 3), e->d_name);
        list[count] = names[count];
        count++;
    }
    if (dir != NULL)
        (void)closedir(dir);
    const char *meant = config_did_you_mean(slice_cstr(name), list, count);
    if (meant == NULL || strcmp(meant, name) == 0)
        return false;
    (void)snprintf(error, octets, "there is no module %s in %s; did you mean %s?", name,
                   modules->path, meant);
    return true;
}

static const struct tern_module *load(struct modules *modules, const char *name, char *error,
                                      size_t octets)
{
    char path[PATH_MAX], warning[512], reason[512];
    const struct tern_module *(*entry)(void);

    if (snprintf(path, sizeof(path), "%s/%s.so", modules->path, name) >= (int)sizeof(path)) {
        (void)snprintf(error, octets, "the path of module %s is too long", name);
        return NULL;
    }
    int fd = trust_open(path, modules->env.trust_group, warning, sizeof(warning));
    if (fd < 0) {
        if (!say_alike(modules, name, error, octets))
            (void)snprintf(error, octets, "module %s: %s", name, warning);
        return NULL;
    }
    struct object *object = load_object(modules, fd, reason, sizeof(reason));
    if (object == NULL) {
        (void)snprintf(error, octets, "module %s: %s %s", name, path, reason);
        return NULL;
    }
    *(void **)&entry = dlsym(object->handle, "tern_module_entry");
    const struct tern_module *raw = entry != NULL ? entry() : NULL;
    if (raw == NULL) {
        (void)snprintf(error, octets, "module %s: %s is no module of this server: %s", name, path,
                       entry == NULL ? "it has no tern_module_entry()"
                                     : "its tern_module_entry() returned nothing");
        return NULL;
    }
    const struct tern_module *module = start(modules, raw, name, object, reason, sizeof(reason));
    if (module == NULL)
        (void)snprintf(error, octets, "module %s: %s %s", name, path, reason);
    else
        (void)snprintf(error, octets, "%s", warning);
    return module;
}

/* The file changed since it was loaded: the old code goes on, and somebody should know. */
static void warn_if_replaced(const struct modules *modules, struct module_entry *e)
{
    char path[PATH_MAX];
    struct stat st;

    if (e->object == NULL || e->replaced_said ||
        snprintf(path, sizeof(path), "%s/%s.so", modules->path, e->name) >= (int)sizeof(path) ||
        stat(path, &st) < 0)
        return;
    if (st.st_dev == e->object->device && st.st_ino == e->object->inode &&
        st.st_ctim.tv_sec == e->object->changed.tv_sec &&
        st.st_ctim.tv_nsec == e->object->changed.tv_nsec)
        return;
    e->replaced_said = true;
    log_event(LOG_WARNING, LOG_EV_module, NULL,
              "%s has changed; the one that was loaded stays until Tern is started anew", path);
}

const struct tern_module *modules_get(struct modules *modules, const char *name, char *error,
                                      size_t octets)
{
    error[0] = '\0';
    if (!descriptor_is_name(slice_cstr(name))) {
        (void)snprintf(
            error, octets,
            "\"%s\" is no name of a module: a small letter, then small letters, digits and _",
            name);
        return NULL;
    }
    for (unsigned i = 0; i < modules->count; i++)
        if (strcmp(modules->entries[i].name, name) == 0) {
            warn_if_replaced(modules, &modules->entries[i]);
            return modules->entries[i].module;
        }
    const struct tern_module *const *builtin = modules->env.builtin;
    for (; builtin != NULL && *builtin != NULL; builtin++) {
        char reason[512];

        if ((*builtin)->name == NULL || strcmp((*builtin)->name, name) != 0)
            continue;
        const struct tern_module *m = start(modules, *builtin, name, NULL, reason, sizeof(reason));
        if (m == NULL)
            (void)snprintf(error, octets, "module %s: %s", name, reason);
        return m;
    }
    return load(modules, name, error, octets);
}
