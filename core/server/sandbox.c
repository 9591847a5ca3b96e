/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock binds a right to a folder as it is now: a file that is written anew under its old name is another
 * one, so what is allowed is always the folder a file stands in. Rights hold for all below it.
 *
 * Sources: landlock(7), seccomp(2). The numbers below are the kernel's; Debian's headers are older than its ABI 5.
 */
#include "server/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "server/sandbox_calls.h"

#define LANDLOCK_CREATE_VERSION 1u
#define LANDLOCK_PATH_BENEATH   1
#define FS_EXECUTE              (1ull << 0)
#define FS_WRITE_FILE           (1ull << 1)
#define FS_READ_FILE            (1ull << 2)
#define FS_READ_DIR             (1ull << 3)
#define FS_ALL_1                ((1ull << 13) - 1)
#define FS_REFER                (1ull << 13) /* ABI 2 */
#define FS_TRUNCATE             (1ull << 14) /* ABI 3 */
#define SCOPE_ABSTRACT_SOCKET   (1ull << 0)  /* ABI 6 */
#define SCOPE_SIGNAL            (1ull << 1)
#define FOLDERS_MAX             4096

struct ruleset_attr {
    uint64_t fs, net, scoped;
};
struct path_attr {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed));

struct folder {
    char *path;
    bool written;
};

/* Of the process: made before its threads, never changed after. */
static struct {
    struct folder *folders;
    size_t count;
    bool fenced;
    char level[SANDBOX_LEVEL_OCTETS];
} sandbox = { .level = "off" };

/* What libraries read: resolvers, TLS, character sets, time zones, the parts of Lua and of the C library. */
static const char *const readable[] = {
    "/usr", "/lib", "/lib64", "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf",
    "/etc/gai.conf", "/etc/services", "/etc/protocols", "/etc/localtime", "/etc/timezone", "/etc/ssl", "/etc/ldap",
    "/etc/krb5.conf", "/etc/ld.so.cache", "/etc/passwd", "/etc/group", "/dev/null", "/dev/urandom", "/dev/random",
    "/proc/self", "/proc/stat", "/proc/meminfo", "/proc/cpuinfo", "/proc/sys/vm", "/proc/sys/kernel",
    "/sys/devices/system/cpu", "/sys/fs/cgroup",
};

/* ---- folders ---- */

/*
 * The folder to be allowed for a path: itself, or the one that holds it, or the nearest that is there.
 * `%{user}` and the like stand for anything. Owned; NULL for the root, which is never allowed.
 */
static char *folder_of(const char *path)
{
    char *at = mem_strdup(path);
    char *pattern = strchr(at, '%');
    struct stat st;

    if (pattern != NULL) {
        *pattern = '\0';
        char *slash = strrchr(at, '/');
        if (slash != NULL)
            *slash = '\0';
    }
    while (at[0] == '/' && at[1] != '\0') {
        if (stat(at, &st) == 0 && S_ISDIR(st.st_mode))
            return at;
        *strrchr(at, '/') = '\0';
    }
    free(at);
    return NULL;
}

static bool is_below(const char *path, const char *folder)
{
    size_t len = strlen(folder);

    return strncmp(path, folder, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static bool is_allowed(const char *folder, bool written)
{
    for (size_t i = 0; i < sandbox.count; i++)
        if (is_below(folder, sandbox.folders[i].path) && (sandbox.folders[i].written || !written))
            return true;
    return false;
}

static void allow(const char *path, bool written)
{
    char *folder = path != NULL && path[0] == '/' ? folder_of(path) : NULL;

    if (folder == NULL || is_allowed(folder, written) || sandbox.count == FOLDERS_MAX) {
        free(folder);
        return;
    }
    sandbox.folders = mem_realloc(sandbox.folders, (sandbox.count + 1) * sizeof(sandbox.folders[0]));
    sandbox.folders[sandbox.count++] = (struct folder){ folder, written };
}

static void collect(const struct server_conf *conf, bool milter, const char *config_file, const char *module_path,
                    const struct config_paths *paths)
{
    char *config = realpath(config_file, NULL);

    allow(config, false);
    free(config);
    allow(module_path, false);
    allow(milter ? conf->temp.ptr : conf->spool.path.ptr, true);
    allow(conf->log.decisions.ptr, true);
    allow(conf->control.ptr, true);
    for (size_t i = 0; i < conf->sandbox_write.count; i++)
        allow(conf->sandbox_write.items[i].ptr, true);
    for (size_t i = 0; i < conf->sandbox_read.count; i++)
        allow(conf->sandbox_read.items[i].ptr, false);
    for (size_t i = 0; i < paths->count; i++)
        allow(paths->items[i].path, paths->items[i].written);
}

/* ---- Landlock ---- */

static int add_rule(int ruleset, const char *path, uint64_t rights)
{
    struct path_attr attr = { .allowed = rights, .parent_fd = open(path, O_PATH | O_CLOEXEC) };
    struct stat st;
    int r = 0;

    if (attr.parent_fd < 0)
        return errno == ENOENT || errno == EACCES ? 0 : -errno;
    if (fstat(attr.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
        attr.allowed &= FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_PATH_BENEATH, &attr, 0) < 0)
        r = -errno;
    (void)close(attr.parent_fd);
    return r;
}

static int add_rules(int ruleset, uint64_t all)
{
    uint64_t read_only = FS_READ_FILE | FS_READ_DIR, write = all & ~FS_EXECUTE;
    int r = add_rule(ruleset, "/dev/null", FS_READ_FILE | FS_WRITE_FILE);

    for (size_t i = 0; i < sizeof(readable) / sizeof(readable[0]) && r == 0; i++)
        r = add_rule(ruleset, readable[i], read_only);
    for (size_t i = 0; i < sandbox.count && r == 0; i++)
        r = add_rule(ruleset, sandbox.folders[i].path, sandbox.folders[i].written ? write : read_only);
    return r;
}

/* The ABI, or a negative errno. */
static int fence_files(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_VERSION);

    if (abi < 0)
        return -errno;
    if (abi < 2)
        return -ENOTSUP; /* it would forbid the queue to move files between its folders */
    struct ruleset_attr attr = { .fs = FS_ALL_1 | FS_REFER | (abi >= 3 ? FS_TRUNCATE : 0),
                                 .scoped = abi >= 6 ? SCOPE_ABSTRACT_SOCKET | SCOPE_SIGNAL : 0 };
    size_t octets = abi >= 6 ? sizeof(attr) : abi >= 4 ? 16 : 8;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, octets, 0);
    if (ruleset < 0)
        return -errno;
    int r = add_rules(ruleset, attr.fs);
    if (r == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        r = -errno;
    (void)close(ruleset);
    return r < 0 ? r : (int)abi;
}

/* ---- the door ---- */

static const char *reason(int error)
{
    if (error == -ENOSYS)
        return "this kernel has none";
    return error == -EOPNOTSUPP ? "it is switched off in this kernel, or too old" : strerror(-error);
}

int sandbox_enter(const struct server_conf *conf, bool milter, const char *config_file, const char *module_path,
                  const struct config_paths *paths, char *error, size_t octets)
{
    char files[48], calls[48];

    if (conf->sandbox == SANDBOX_OFF)
        return 0;
#ifdef TERN_SANITIZED
    (void)files;
    (void)calls;
    (void)fence_files;
    (void)reason;
    (void)collect;
    (void)milter;
    (void)snprintf(sandbox.level, sizeof(sandbox.level), "off: built with a sanitizer");
    (void)snprintf(error, octets, "sandbox: required, but this server was built with a sanitizer");
    return conf->sandbox == SANDBOX_REQUIRED ? -ENOTSUP : 0;
#else
    collect(conf, milter, config_file, module_path, paths);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int abi = fence_files();
    int denied = sandbox_calls_deny();
    sandbox.fenced = abi > 0;
    (void)snprintf(files, sizeof(files), "landlock %d", abi);
    if (abi < 0)
        (void)snprintf(files, sizeof(files), "no landlock (%s)", reason(abi));
    (void)snprintf(calls, sizeof(calls), denied == 0 ? "seccomp" : "no seccomp");
    if (denied != 0)
        (void)snprintf(calls, sizeof(calls), "no seccomp (%s)", reason(denied));
    (void)snprintf(sandbox.level, sizeof(sandbox.level), "%s, %s", files, calls);
    if (conf->sandbox != SANDBOX_REQUIRED || (abi > 0 && denied == 0))
        return 0;
    (void)snprintf(error, octets, "sandbox: required, but there is %s", sandbox.level);
    return -ENOTSUP;
#endif
}

const char *sandbox_level(void)
{
    return sandbox.level;
}

const char *sandbox_outside(const struct config_paths *paths)
{
    const char *outside = NULL;

    for (size_t i = 0; i < paths->count && sandbox.fenced && outside == NULL; i++) {
        char *folder = folder_of(paths->items[i].path);
        if (folder != NULL && !is_allowed(folder, paths->items[i].written))
            outside = paths->items[i].path;
        free(folder);
    }
    return outside;
}
