/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trust.c - see trust.h.
 *
 * Two chains of folders are looked at: the path as written, because who may replace a
 * symbolic link on it chooses what is loaded, and the path the open file really has.
 * There is no race to win for others: once every folder is in good hands nobody else can
 * move anything in it, and the file itself is judged by descriptor.
 */
#include "module/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum place_kind { THE_FILE, THE_FOLDER, A_FOLDER_ABOVE };

static enum trust judge(const struct stat *st, enum place_kind kind, const char *path,
                        bool own_user, char *text, size_t octets)
{
    const char *noun = kind == THE_FILE ? "" : "its folder ";
    uid_t me = geteuid();

    if (st->st_uid != 0 && !(own_user && st->st_uid == me)) {
        if (own_user && me != 0)
            (void)snprintf(text, octets, "%s%s belongs to uid %u; it must be root's or uid %u's",
                           noun, path, st->st_uid, me);
        else
            (void)snprintf(text, octets, "%s%s belongs to uid %u; it must be root's", noun, path,
                           st->st_uid);
        return TRUST_REFUSED;
    }
    if ((st->st_mode & (S_IWGRP | S_IWOTH)) == 0)
        return TRUST_OK;
    if (kind == A_FOLDER_ABOVE && (st->st_mode & S_ISVTX) != 0 && st->st_uid == 0)
        return TRUST_OK;
    bool everyone = (st->st_mode & S_IWOTH) != 0;
    (void)snprintf(text, octets, "%s%s is writable by %s (mode %04o); only its owner may write it",
                   noun, path, everyone ? "everyone" : "its group", st->st_mode & 07777);
    return own_user && !everyone ? TRUST_WARNING : TRUST_REFUSED;
}

/* Every folder of an absolute path, the innermost first. `path` is cut down meanwhile. */
static enum trust judge_folders(char *path, bool own_user, char *text, size_t octets)
{
    enum trust worst = TRUST_OK;
    enum place_kind kind = THE_FOLDER;

    for (char *slash = strrchr(path, '/'); slash != NULL; slash = strrchr(path, '/')) {
        struct stat st;
        char other[512];

        slash[slash == path ? 1 : 0] = '\0';
        if (stat(path, &st) < 0) {
            (void)snprintf(text, octets, "%s: %s", path, strerror(errno));
            return TRUST_REFUSED;
        }
        enum trust t = judge(&st, kind, path, own_user, worst == TRUST_OK ? text : other,
                             worst == TRUST_OK ? octets : sizeof(other));
        if (t == TRUST_REFUSED && worst != TRUST_OK)
            (void)snprintf(text, octets, "%s", other);
        if (t == TRUST_REFUSED)
            return t;
        if (t > worst)
            worst = t;
        if (slash == path)
            break;
        kind = A_FOLDER_ABOVE;
    }
    return worst;
}

static int absolute(const char *path, char *ret, size_t octets)
{
    char cwd[PATH_MAX];

    if (path[0] == '/')
        return snprintf(ret, octets, "%s", path) < (int)octets ? 0 : -ENAMETOOLONG;
    if (getcwd(cwd, sizeof(cwd)) == NULL)
        return -errno;
    return snprintf(ret, octets, "%s/%s", cwd, path) < (int)octets ? 0 : -ENAMETOOLONG;
}

static int real_path(int fd, char *ret, size_t octets)
{
    char link[64];

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, ret, octets - 1);
    if (len < 0)
        return -errno;
    ret[len] = '\0';
    return ret[0] == '/' ? 0 : -ENOENT;
}

enum trust trust_check(int fd, const char *path, bool own_user, char *text, size_t octets)
{
    char name[PATH_MAX], sentence[512] = "";
    struct stat st;
    int r;

    text[0] = '\0';
    if (fstat(fd, &st) < 0) {
        (void)snprintf(text, octets, "%s: %s", path, strerror(errno));
        return TRUST_REFUSED;
    }
    if (!S_ISREG(st.st_mode)) {
        (void)snprintf(text, octets, "%s is not a regular file", path);
        return TRUST_REFUSED;
    }
    enum trust worst = judge(&st, THE_FILE, path, own_user, text, octets);
    for (int chain = 0; chain < 2 && worst != TRUST_REFUSED; chain++) {
        r = chain == 0 ? absolute(path, name, sizeof(name)) : real_path(fd, name, sizeof(name));
        if (r < 0) {
            (void)snprintf(text, octets, "%s: %s", path, strerror(-r));
            return TRUST_REFUSED;
        }
        enum trust t = judge_folders(name, own_user, sentence, sizeof(sentence));
        if (t > worst) {
            (void)snprintf(text, octets, "%s", sentence);
            worst = t;
        }
    }
    return worst;
}

int trust_open(const char *path, bool own_user, char *text, size_t octets)
{
    /* NONBLOCK: a FIFO of that name must not stop the server from starting. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        (void)snprintf(text, octets, "%s: %s", path, strerror(errno));
        return -1;
    }
    if (trust_check(fd, path, own_user, text, octets) == TRUST_REFUSED) {
        (void)close(fd);
        return -1;
    }
    return fd;
}
