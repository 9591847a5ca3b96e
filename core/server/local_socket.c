/* SPDX-License-Identifier: Apache-2.0 */
#include "server/local_socket.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define REPLIES_OCTETS 32768 /* as net_listen() has it for other clients */

static int wrong(char *error, size_t octets, const char *path, const char *why, int r)
{
    (void)snprintf(error, octets, "unix:%s: %s", path, why != NULL ? why : strerror(-r));
    return r;
}

/* Others who may change the folder could put something else there under our eyes. */
static int check_folder(const struct rules *rules, const char *path, char *error, size_t octets)
{
    char folder[BIND_PATH_OCTETS];
    struct stat st;
    const char *slash = strrchr(path, '/');

    (void)snprintf(folder, sizeof(folder), "%.*s", slash > path ? (int)(slash - path) : 1, path);
    if (stat(folder, &st) < 0)
        return wrong(error, octets, folder, NULL, -errno);
    if (geteuid() == 0 && !rules_allow_socket(rules, folder))
        return wrong(error, octets, path, "is not below a folder of `sockets` in supervisor.conf", -EACCES);
    if ((st.st_uid == 0 || st.st_uid == geteuid()) && ((st.st_mode & 022) == 0 || (st.st_mode & S_ISVTX) != 0))
        return 0;
    return wrong(error, octets, folder, "must belong to root and be writable by nobody else", -EPERM);
}

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    memcpy(a.sun_path, path, strnlen(path, sizeof(a.sun_path) - 1));
    return a;
}

/* A socket of ours, or root's, at which nobody listens any more. */
static int remove_stale(const char *path, char *error, size_t octets)
{
    struct sockaddr_un a = address_of(path);
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : wrong(error, octets, path, NULL, -errno);
    if (!S_ISSOCK(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()))
        return wrong(error, octets, path, "is there, and is no socket of this server", -EEXIST);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int r = fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ? 0 : -errno;
    if (fd >= 0)
        (void)close(fd);
    if (r != -ECONNREFUSED)
        return wrong(error, octets, path, "another server listens there", -EADDRINUSE);
    return unlink(path) < 0 && errno != ENOENT ? wrong(error, octets, path, NULL, -errno) : 0;
}

static int group_of(const struct rules *rules, const struct bind_address *where, gid_t *ret)
{
    if (where->group[0] != '\0') {
        const struct group *g = getgrnam(where->group);
        if (g == NULL)
            return -ENOENT;
        *ret = g->gr_gid;
        return 0;
    }
    const struct passwd *pw = geteuid() == 0 ? getpwnam(rules->user) : NULL;
    *ret = pw != NULL ? pw->pw_gid : getegid();
    return 0;
}

int local_socket_set_access(const struct rules *rules, const struct bind_address *where, char *error, size_t octets)
{
    gid_t group;

    if (group_of(rules, where, &group) < 0)
        return wrong(error, octets, where->path, "there is no such group as its socket_group", -ENOENT);
    if (lchown(where->path, (uid_t)-1, group) < 0 || chmod(where->path, where->mode) < 0)
        return wrong(error, octets, where->path, NULL, -errno);
    return 0;
}

static int make(const struct bind_address *where, int backlog)
{
    struct sockaddr_un a = address_of(where->path);
    int replies = REPLIES_OCTETS;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &replies, sizeof(replies));
    mode_t before = umask(0777); /* nobody connects before it has its mode */
    int r = bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
    (void)umask(before);
    if (r == 0 && listen(fd, backlog) < 0)
        r = -errno;
    if (r == 0)
        return fd;
    (void)close(fd);
    return r;
}

int local_socket_listen(const struct rules *rules, const struct bind_address *where, int backlog,
                        struct local_socket *ret, char *error, size_t octets)
{
    struct stat st;
    int r = check_folder(rules, where->path, error, octets);

    if (r == 0)
        r = remove_stale(where->path, error, octets);
    if (r < 0)
        return r;
    int fd = make(where, backlog);
    if (fd < 0)
        return wrong(error, octets, where->path, NULL, fd);
    r = lstat(where->path, &st) < 0 ? wrong(error, octets, where->path, NULL, -errno) : 0;
    if (r == 0) {
        *ret = (struct local_socket){ st.st_dev, st.st_ino };
        r = local_socket_set_access(rules, where, error, octets);
        if (r < 0)
            local_socket_remove(ret, where->path);
    }
    if (r == 0)
        return fd;
    (void)close(fd);
    return r;
}

void local_socket_remove(const struct local_socket *s, const char *path)
{
    struct stat st;

    if (lstat(path, &st) == 0 && st.st_dev == s->device && st.st_ino == s->inode)
        (void)unlink(path);
}
