/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.h - every system call the spool makes. The real disk is spool_io_real(); tests put a
 * simulated one here that crashes, tears, and fails.
 *
 * All return a negative errno on failure. `dir` and `fd` are what the functions of the
 * same struct gave. Called by the spool thread, its helpers, and readers at once.
 */
#ifndef TERN_SPOOL_IO_H
#define TERN_SPOOL_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct spool_io {
    void *ctx;
    int (*open_dir)(void *ctx, const char *path);          /* makes it when it is missing */
    int (*open_subdir)(void *ctx, int dir, const char *name); /* the same */
    int (*lock)(void *ctx, int dir, const char *name);     /* a descriptor; -EWOULDBLOCK: another owner */
    int (*open)(void *ctx, int dir, const char *name, int flags); /* O_RDONLY, O_RDWR, O_CREAT, O_EXCL */
    void (*close)(void *ctx, int fd);
    ssize_t (*pread)(void *ctx, int fd, void *buffer, size_t octets, uint64_t offset);
    ssize_t (*pwritev)(void *ctx, int fd, const struct iovec *iov, int count, uint64_t offset);
    int (*fdatasync)(void *ctx, int fd);
    int (*sync_dir)(void *ctx, int dir);
    int (*allocate)(void *ctx, int fd, uint64_t octets); /* from 0 on; sets the size */
    int (*truncate)(void *ctx, int fd, uint64_t octets);
    int64_t (*size)(void *ctx, int fd);
    int (*rename)(void *ctx, int dir, const char *from, const char *to);
    int (*unlink)(void *ctx, int dir, const char *name);
    int (*link_unnamed)(void *ctx, int fd, int dir, const char *name); /* -EEXIST */
    int (*list)(void *ctx, int dir, void (*each)(void *arg, const char *name), void *arg);
    int (*free_octets)(void *ctx, int dir, uint64_t *ret);
    void (*random)(void *ctx, void *octets, size_t len); /* for seeds; cannot fail */
};

const struct spool_io *spool_io_real(void);

#endif
