/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - a stream connection on a loop, either end. Octets in, octets out, no mail words.
 *
 * An idle connection holds no buffer: reads go through the loop's, writes go out at
 * once and only what the socket did not take is kept.
 */
#ifndef TERN_NET_CONN_H
#define TERN_NET_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <tern/module.h> /* tern_address */

#include "base/slice.h"
#include "net/loop.h"

struct conn;

struct conn_ops {
    /* Connected (client end only). */
    void (*on_open)(void *owner);
    /* The handshake of conn_filter_start() is done; if it fails, that is on_end. */
    void (*on_secured)(void *owner);
    /* Octets arrived; borrowed. Not called while paused. */
    void (*on_read)(void *owner, struct slice octets);
    /* All that was written has been taken by the kernel, after a write that was not. */
    void (*on_drained)(void *owner);
    /*
     * The end: status 0 = the peer closed its half in order (all it sent was given to
     * on_read; writing still works), else a negative errno and nothing works any more.
     * The owner calls conn_free(). While paused only errors and hang-ups are told.
     */
    void (*on_end)(void *owner, int status);
};

/* Takes over the descriptor (non-blocking). Begins reading. */
struct conn *conn_new(struct loop *loop, int fd, const struct conn_ops *ops, void *owner);
/* Connects to an address, or to a unix socket path. `source` may be NULL. NULL with *ret_error set
 * to a negative errno if it cannot even begin; otherwise on_open or on_end follows. */
struct conn *conn_connect(struct loop *loop, const tern_address *to, const char *unix_path,
                          const tern_address *source, const struct conn_ops *ops, void *owner,
                          int *ret_error);
/*
 * What octets go through between socket and owner: TLS, which tls/ fills in here. Loop thread;
 * none of these calls back. Failures are negative errnos, -EAGAIN: not now.
 */
struct conn_filter {
    int (*handshake)(void *arg); /* 0: done */
    ssize_t (*read)(void *arg, char *data, size_t octets); /* 0: the peer ended its half */
    ssize_t (*write)(void *arg, const char *data, size_t octets);
    /* Whether the last -EAGAIN of handshake or read waits for room in the socket, not for octets. */
    bool (*wants_room)(const void *arg);
    /* Octets have left the socket and were not read yet: the kernel will not tell of them. */
    bool (*pending)(const void *arg);
    void (*free)(void *arg); /* says good-bye to the peer if it may */
};
/*
 * From here on octets go through the filter, which the connection owns. What was written before
 * goes out without it, then comes the handshake, whether paused or not, then on_secured; what is
 * written in between waits. Once in a connection's life.
 */
void conn_filter_start(struct conn *conn, const struct conn_filter *filter, void *arg);
/* The filter's arg, or NULL. */
void *conn_filter_arg(const struct conn *conn);
/* Writes or keeps. Errors come by on_end, never from inside this call. */
void conn_write(struct conn *conn, struct slice octets);
/* Gather small writes until conn_uncork(): pipelined replies leave in one packet. */
void conn_cork(struct conn *conn);
void conn_uncork(struct conn *conn);
size_t conn_unsent(const struct conn *conn);
/* No on_read until resumed; what was read is never lost. Hang-ups are still told. */
void conn_pause(struct conn *conn);
void conn_resume(struct conn *conn);
/* on_drained comes in a later turn of the loop, when the others had theirs, even if nothing is to be written. */
void conn_nudge(struct conn *conn);
/* How much one read takes at most: LOOP_READ_OCTETS unless said. */
void conn_set_read_max(struct conn *conn, unsigned octets);
/* Sends what is left (at most `linger_ms`), then closes. The owner hears nothing more. */
void conn_close(struct conn *conn, unsigned linger_ms);
/* Closes now. */
void conn_free(struct conn *conn);
struct loop *conn_loop(const struct conn *conn);
int conn_fd(const struct conn *conn);

/* Text forms: "127.0.0.1", "::1"; with port "[::1]:25", "127.0.0.1:25". */
#define NET_ADDRESS_TEXT_MAX 64
void net_address_print(const tern_address *a, bool with_port, char out[NET_ADDRESS_TEXT_MAX]);
/* Reads the same forms; a host name is false. `port` is used where none is written. */
bool net_address_parse(struct slice text, unsigned port, tern_address *ret);
bool net_address_equal(const tern_address *a, const tern_address *b); /* port too; not memcmp(): there is padding */
/* Binds, listens. Returns the descriptor or a negative errno. `[::]` is V6ONLY. */
int net_listen(const tern_address *address, int backlog);
/* One accept4 of a listening socket: descriptor, or a negative errno. */
int net_accept(int listen_fd, tern_address *ret_peer, tern_address *ret_local);

#endif
