/* SPDX-License-Identifier: Apache-2.0 */
/* io_real.c - the system calls themselves; each does one thing and turns errno round. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "spool/io.h"

/* The name of the folder that was made, in the one above. Whoever may write there but not read cannot sync it. */
static int sync_above(const char *path)
{
    char above[PATH_MAX];

    if (snprintf(above, sizeof(above), "%s", path) >= (int)sizeof(above))
        return -ENAMETOOLONG;
    int fd = open(dirname(above), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES ? 0 : -errno;
    int r = fsync(fd) < 0 ? -errno : 0;
    (void)close(fd);
    return r;
}

static int open_dir(void *ctx, const char *path)
{
    int r = mkdir(path, 0700) < 0 ? -errno : sync_above(path);

    if (r < 0 && r != -EEXIST) {
        (void)rmdir(path); /* if it is ours it is empty; else the next start would take its name for durable */
        return r;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int open_subdir(void *ctx, int dir, const char *name)
{
    if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int take_lock(void *ctx, int dir, const char *name)
{
    int fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int r = -errno;
        (void)close(fd);
        return r;
    }
    return fd;
}

static int open_file(void *ctx, int dir, const char *name, int flags)
{
    int fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd < 0 ? -errno : fd;
}

static void close_fd(void *ctx, int fd)
{
    (void)close(fd);
}

static ssize_t read_at(void *ctx, int fd, void *buffer, size_t octets, uint64_t offset)
{
    ssize_t n;

    do
        n = pread(fd, buffer, octets, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t write_at(void *ctx, int fd, const struct iovec *iov, int count, uint64_t offset)
{
    ssize_t n;

    do
        n = pwritev(fd, iov, count, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int sync_data(void *ctx, int fd)
{
    return fdatasync(fd) < 0 ? -errno : 0;
}

static int sync_dir(void *ctx, int dir)
{
    return fsync(dir) < 0 ? -errno : 0;
}

static int allocate(void *ctx, int fd, uint64_t octets)
{
    return -posix_fallocate(fd, 0, (off_t)octets);
}

static int cut(void *ctx, int fd, uint64_t octets)
{
    return ftruncate(fd, (off_t)octets) < 0 ? -errno : 0;
}

static int64_t size_of(void *ctx, int fd)
{
    struct stat st;

    return fstat(fd, &st) < 0 ? -errno : (int64_t)st.st_size;
}

static int rename_in(void *ctx, int dir, const char *from, const char *to)
{
    return renameat(dir, from, dir, to) < 0 ? -errno : 0;
}

static int unlink_in(void *ctx, int dir, const char *name)
{
    return unlinkat(dir, name, 0) < 0 ? -errno : 0;
}

static int link_unnamed(void *ctx, int fd, int dir, const char *name)
{
    char path[32];

    /* AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH. */
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, path, dir, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int list_dir(void *ctx, int dir, void (*each)(void *arg, const char *name), void *arg)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    int r = 0;

    if (d == NULL) {
        r = -errno;
        if (fd >= 0)
            (void)close(fd);
        return r;
    }
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (e == NULL)
            break;
        if (e->d_name[0] != '.')
            each(arg, e->d_name);
    }
    r = -errno;
    (void)closedir(d);
    return r;
}

static int free_octets(void *ctx, int dir, uint64_t *ret)
{
    struct statvfs st;

    if (fstatvfs(dir, &st) < 0)
        return -errno;
    *ret = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}

static void random_octets(void *ctx, void *octets, size_t len)
{
    int r = sodium_init(); /* 1: somebody else did */

    assert(r >= 0);
    randombytes_buf(octets, len);
}

static const struct spool_io real_io = {
    .open_dir = open_dir,
    .open_subdir = open_subdir,
    .lock = take_lock,
    .open = open_file,
    .close = close_fd,
    .pread = read_at,
    .pwritev = write_at,
    .fdatasync = sync_data,
    .sync_dir = sync_dir,
    .allocate = allocate,
    .truncate = cut,
    .size = size_of,
    .rename = rename_in,
    .unlink = unlink_in,
    .link_unnamed = link_unnamed,
    .list = list_dir,
    .free_octets = free_octets,
    .random = random_octets,
};

const struct spool_io *spool_io_real(void)
{
    return &real_io;
}
