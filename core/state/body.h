/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body.h - the octets of one message on their way in: memory up to BODY_MEMORY_MAX, above
 * that an unnamed file on the spool's file system, written as they come.
 *
 * One owner, one thread at a time; readers on a pool thread hold a reference and
 * read only after body_end(). Lines end in CRLF, dots are unstuffed.
 */
#ifndef TERN_STATE_BODY_H
#define TERN_STATE_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/slice.h"

#define BODY_MEMORY_MAX (1u << 20)

struct body;

/* The system calls of a body in a file; the spool's tests put a simulated disk here. Negative errno on failure. */
struct body_io {
    int (*open_unnamed)(void *ctx, int dir);
    ssize_t (*write)(void *ctx, int fd, const void *octets, size_t len, uint64_t offset);
    ssize_t (*read)(void *ctx, int fd, void *buffer, size_t octets, uint64_t offset);
    void (*close)(void *ctx, int fd);
    void *ctx;
};

/* `spool_fd`: directory for the unnamed file, or -1: memory only, without limit (tests, notices). */
struct body *body_new(int spool_fd);
struct body *body_new_on(const struct body_io *io, int spool_fd);
struct body *body_ref(struct body *body);
void body_unref(struct body *body);
/* 0, or a negative errno (ENOSPC); after an error every later call gives the same. */
int body_append(struct body *body, struct slice octets);
/* What was kept back goes to the file; nothing is appended afterwards. 0 or the error. spool_submit() calls it,
 * so only other readers on other threads need it. May be called twice. */
int body_end(struct body *body);
int body_error(const struct body *body);
uint64_t body_octets(const struct body *body);
/* Copies up to `octets` from `offset`; returns how many, 0 at the end, negative errno. */
int64_t body_read(const struct body *body, uint64_t offset, void *buffer, size_t octets);
/* The octets while they are all in memory; ptr NULL when they are in a file. */
struct slice body_memory(const struct body *body);
int body_file(const struct body *body); /* the descriptor, or -1; stays the body's */

#endif
