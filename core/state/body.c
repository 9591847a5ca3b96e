/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body.c - octets in one run of memory, and past BODY_MEMORY_MAX in an unnamed file.
 *
 * The file gets whole chunks: a session appends a line at a time, and a write() for each
 * would cost more than everything else it does. The chunk is what memory a large message
 * takes. Not here: making the file durable and giving it a name, which is the spool's.
 */
#include "state/body.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

#define FIRST_OCTETS 4096
#define CHUNK_OCTETS 65536

struct body {
    _Atomic unsigned refs;
    const struct body_io *io;
    int spool_fd, fd;
    int error;         /* 0 or negative, for good */
    bool ended;
    uint64_t written;  /* octets in the file */
    struct buf memory; /* all of it, or what the file has not yet */
};

static int real_open_unnamed(void *ctx, int dir)
{
    int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    return fd < 0 ? -errno : fd;
}

static ssize_t real_write(void *ctx, int fd, const void *octets, size_t len, uint64_t offset)
{
    ssize_t n;

    do
        n = pwrite(fd, octets, len, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t real_read(void *ctx, int fd, void *buffer, size_t octets, uint64_t offset)
{
    ssize_t n;

    do
        n = pread(fd, buffer, octets, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static void real_close(void *ctx, int fd)
{
    (void)close(fd);
}

static const struct body_io real_io = { real_open_unnamed, real_write, real_read, real_close, NULL };

struct body *body_new(int spool_fd)
{
    return body_new_on(&real_io, spool_fd);
}

struct body *body_new_on(const struct body_io *io, int spool_fd)
{
    struct body *body = mem_zalloc(sizeof(*body));

    atomic_init(&body->refs, 1);
    body->io = io;
    body->spool_fd = spool_fd;
    body->fd = -1;
    return body;
}

struct body *body_ref(struct body *body)
{
    (void)atomic_fetch_add_explicit(&body->refs, 1, memory_order_relaxed);
    return body;
}

void body_unref(struct body *body)
{
    if (body == NULL || atomic_fetch_sub_explicit(&body->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (body->fd >= 0)
        body->io->close(body->io->ctx, body->fd);
    buf_free(&body->memory);
    free(body);
}

static int write_all(struct body *body, struct slice octets)
{
    while (octets.len > 0) {
        ssize_t n = body->io->write(body->io->ctx, body->fd, octets.ptr, octets.len, body->written);

        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        body->written += (uint64_t)n;
        octets = slice_from(octets, (size_t)n);
    }
    return 0;
}

static int flush(struct body *body)
{
    int r = write_all(body, buf_slice(&body->memory));

    buf_clear(&body->memory);
    if (r < 0)
        body->error = r;
    return r;
}

static int move_to_file(struct body *body)
{
    body->fd = body->io->open_unnamed(body->io->ctx, body->spool_fd);
    if (body->fd < 0) {
        body->error = body->fd;
        body->fd = -1;
        return body->error;
    }
    int r = flush(body);
    buf_free(&body->memory); /* a megabyte; the chunk is a sixteenth of it */
    return r;
}

int body_append(struct body *body, struct slice octets)
{
    if (body->error != 0)
        return body->error;
    if (body->ended)
        return -EINVAL;
    if (body->fd < 0 && body->spool_fd >= 0 && body->memory.len + octets.len > BODY_MEMORY_MAX) {
        int r = move_to_file(body);
        if (r < 0)
            return r;
    }
    if (body->fd >= 0 && body->memory.len + octets.len > CHUNK_OCTETS) {
        int r = flush(body);
        if (r < 0)
            return r;
        if (octets.len > CHUNK_OCTETS) {
            body->error = write_all(body, octets);
            return body->error;
        }
    }
    if (body->memory.size == 0)
        (void)buf_reserve(&body->memory, FIRST_OCTETS - 1);
    buf_add(&body->memory, octets);
    return 0;
}

int body_end(struct body *body)
{
    if (body->error != 0)
        return body->error;
    if (body->fd >= 0 && body->memory.len > 0 && flush(body) < 0)
        return body->error;
    body->ended = true;
    return 0;
}

int body_error(const struct body *body)
{
    return body->error;
}

uint64_t body_octets(const struct body *body)
{
    return body->written + body->memory.len;
}

int64_t body_read(const struct body *body, uint64_t offset, void *buffer, size_t octets)
{
    if (body->error != 0)
        return body->error;
    if (offset < body->written) {
        uint64_t left = body->written - offset;
        size_t want = octets < left ? octets : (size_t)left;
        ssize_t n = body->io->read(body->io->ctx, body->fd, buffer, want, offset);
        return n == 0 && want > 0 ? -EIO : n; /* shorter than what was written */
    }
    struct slice rest = slice_head(slice_from(buf_slice(&body->memory), offset - body->written), octets);
    if (rest.len > 0)
        memcpy(buffer, rest.ptr, rest.len);
    return (int64_t)rest.len;
}

struct slice body_memory(const struct body *body)
{
    if (body->fd >= 0)
        return slice_make(NULL, 0);
    return body->memory.data != NULL ? buf_slice(&body->memory) : slice_make("", 0);
}

int body_file(const struct body *body)
{
    return body->fd;
}
