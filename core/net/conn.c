/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c - our own non-blocking reads and writes on a watched descriptor.
 *
 * Level-triggered watching spins if octets arrive while the owner is paused, so reading is
 * disarmed when the first event of a pause comes, not at each pause: a session that
 * waits for its commit normally has nothing to read, and re-arming costs a system call.
 *
 * Callbacks may free the connection. Each entry from the loop counts itself in `busy`, and
 * the memory goes with the last one out.
 */
#include "net/conn.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/sockaddr.h"

#define READS_PER_EVENT 4 /* then the other connections get their turn */

struct conn {
    struct loop *loop;
    struct loop_watch *watch;
    const struct conn_ops *ops; /* NULL once the owner let go */
    void *owner;                /* while closing: the struct lingering */
    int fd;
    unsigned read_max;
    unsigned busy;
    bool connecting, paused, eof, dead, corked, closing;
    bool shaking; /* the filter's handshake is not done */
    bool nudged; /* the owner wants on_drained */
    bool half; /* the peer closed its half: watching for that would spin */
    bool later_queued;
    int failed; /* negative errno of a write, told later */
    struct buf out;
    size_t out_sent;
    size_t plain_left; /* of out: written before the filter was there */
    const struct conn_filter *filter;
    void *filter_arg;
};

/* What an idle connection should not pay for has a struct of its own, as long as it is wanted. */

/* Nobody owns a connection that only sends its last octets: if the loop goes first, it takes it along. */
struct lingering {
    struct loop_task at_free;
    struct loop_timer timer;
    struct conn *conn;
};

/* A call at the end of the loop's turn: see on_later(). */
struct later {
    struct loop_task task;
    struct conn *conn;
};

static bool filter_wants_room(const struct conn *conn)
{
    return conn->filter != NULL && conn->filter->wants_room(conn->filter_arg);
}

static void watch_wanted(struct conn *conn)
{
    int events = conn->half || conn->eof ? 0 : LOOP_HUP;

    if (conn->ops == NULL && !conn->closing) {
        loop_watch_set(conn->watch, 0); /* broken; the owner has been told */
        return;
    }
    if (conn->shaking) {
        events |= conn->plain_left > 0 || filter_wants_room(conn) ? LOOP_WRITE : LOOP_READ;
        loop_watch_set(conn->watch, events);
        return;
    }
    if (conn->connecting || conn->nudged || conn->out.len > conn->out_sent || filter_wants_room(conn))
        events |= LOOP_WRITE;
    if (!conn->connecting && !conn->eof && !conn->paused)
        events |= LOOP_READ;
    if (conn->closing)
        events &= LOOP_WRITE | LOOP_HUP;
    loop_watch_set(conn->watch, events);
}

static void release(struct conn *conn)
{
    if (conn->busy == 0 && conn->dead && !conn->later_queued) {
        buf_free(&conn->out);
        free(conn);
    }
}

static void let_go(struct conn *conn)
{
    struct lingering *l = conn->owner;

    list_remove(&l->at_free.link);
    loop_timer_stop(&l->timer);
    free(l);
    conn->owner = NULL;
}

static void shut(struct conn *conn)
{
    if (conn->dead)
        return;
    conn->dead = true;
    conn->ops = NULL;
    if (conn->closing)
        let_go(conn);
    loop_watch_free(conn->watch);
    if (conn->filter != NULL)
        conn->filter->free(conn->filter_arg); /* it may still write to the descriptor */
    conn->filter = NULL;
    (void)close(conn->fd);
    conn->fd = -1;
}

static void end(struct conn *conn, int status)
{
    const struct conn_ops *ops = conn->ops;

    if (conn->closing) {
        shut(conn);
        return;
    }
    if (ops == NULL)
        return; /* told already; the memory is the owner's until conn_free() */
    if (status != 0) {
        conn->ops = NULL; /* said once */
        watch_wanted(conn);
    }
    ops->on_end(conn->owner, status);
}

/* The same errno for "later" from the socket and from the filter. */
static ssize_t take(struct conn *conn, char *data)
{
    if (conn->filter != NULL)
        return conn->filter->read(conn->filter_arg, data, conn->read_max);
    ssize_t n = recv(conn->fd, data, conn->read_max, 0);
    if (n >= 0)
        return n;
    return errno == EINTR ? -EAGAIN : -errno;
}

static ssize_t put(struct conn *conn, const char *data, size_t octets)
{
    if (conn->filter != NULL && !conn->shaking)
        return conn->filter->write(conn->filter_arg, data, octets);
    ssize_t n = send(conn->fd, data, octets, MSG_NOSIGNAL);
    if (n >= 0)
        return n;
    return errno == EINTR ? -EAGAIN : -errno;
}

static void on_later(struct loop_task *task);

static void run_later(struct conn *conn)
{
    if (conn->later_queued)
        return;
    struct later *later = mem_alloc(sizeof(*later));
    *later = (struct later){ .task = { .run = on_later }, .conn = conn };
    conn->later_queued = true;
    loop_at_end(conn->loop, &later->task);
}

/* Octets that the filter holds raise no event. */
static void read_pending_later(struct conn *conn)
{
    if (!conn->dead && conn->filter != NULL && !conn->shaking && !conn->paused && !conn->eof && conn->ops != NULL &&
        conn->filter->pending(conn->filter_arg))
        run_later(conn);
}

/*
 * One read as good as always empties a socket; a filter gives a record at a time. `shaking`: the
 * owner began a handshake in on_read, and what follows is not for it.
 */
static void read_some(struct conn *conn)
{
    char *data = loop_read_buffer(conn->loop);

    for (unsigned i = 0; i < READS_PER_EVENT && !conn->dead && !conn->paused && !conn->eof && !conn->shaking &&
                         conn->ops != NULL; i++) {
        ssize_t n = take(conn, data);
        if (n == -EAGAIN) {
            if (conn->filter != NULL)
                watch_wanted(conn); /* it may want room */
            return;
        }
        if (n < 0) {
            end(conn, (int)n);
            return;
        }
        if (n == 0) {
            conn->eof = true;
            watch_wanted(conn);
            end(conn, 0);
            return;
        }
        bool all = (size_t)n < conn->read_max;
        conn->ops->on_read(conn->owner, slice_make(data, (size_t)n));
        if (all && (conn->dead || conn->filter == NULL))
            return; /* most likely nothing is left: one system call saved */
    }
}

/* Writes what waits. Returns a negative errno if the connection is broken. */
static int flush(struct conn *conn)
{
    while (conn->out.len > conn->out_sent) {
        size_t octets = conn->shaking ? conn->plain_left : conn->out.len - conn->out_sent;
        if (octets == 0)
            return 0; /* what is left is for the filter */
        ssize_t n = put(conn, conn->out.data + conn->out_sent, octets);
        if (n < 0)
            return n == -EAGAIN ? 0 : (int)n;
        conn->out_sent += (size_t)n;
        conn->plain_left -= conn->shaking ? (size_t)n : 0;
    }
    conn->out_sent = 0;
    buf_free(&conn->out); /* an idle connection holds no buffer */
    return 0;
}

static void on_writable(struct conn *conn)
{
    int r = flush(conn);

    if (r < 0) {
        end(conn, r);
        return;
    }
    if (conn->out.len > conn->out_sent)
        return;
    conn->nudged = false;
    watch_wanted(conn);
    if (conn->closing)
        shut(conn);
    else if (conn->ops != NULL && conn->ops->on_drained != NULL)
        conn->ops->on_drained(conn->owner);
}

static void finish_connect(struct conn *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error != 0) {
        end(conn, -error);
        return;
    }
    conn->connecting = false;
    watch_wanted(conn);
    if (conn->ops != NULL && conn->ops->on_open != NULL)
        conn->ops->on_open(conn->owner);
}

/* One step of the filter's handshake; its own words go out before anything the owner writes. */
static void shake(struct conn *conn)
{
    int r = flush(conn);

    if (r == 0 && conn->plain_left == 0)
        r = conn->filter->handshake(conn->filter_arg);
    else if (r == 0)
        r = -EAGAIN;
    if (r == -EAGAIN) {
        watch_wanted(conn);
        return;
    }
    if (r == 0) {
        conn->shaking = false;
        r = conn->corked ? 0 : flush(conn);
    }
    if (r < 0) {
        end(conn, r);
        return;
    }
    watch_wanted(conn);
    if (conn->ops != NULL && conn->ops->on_secured != NULL)
        conn->ops->on_secured(conn->owner);
    read_pending_later(conn);
}

/* True when both halves are closed, or the connection was reset. */
static bool is_gone(int fd)
{
    struct pollfd p = { .fd = fd, .events = 0 };

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

/*
 * The kernel says "closed its half" and "gone" by one event. A half-close is not a
 * disconnect: what stands before it is read first, and a paused owner is not disturbed.
 */
static void on_hang_up(struct conn *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (!conn->paused && !conn->eof && !conn->closing)
        read_some(conn);
    if (conn->dead || (conn->ops == NULL && !conn->closing))
        return;
    if (!is_gone(conn->fd)) {
        conn->half = conn->paused || conn->eof || conn->closing;
        watch_wanted(conn);
        return;
    }
    if (conn->paused || conn->eof || conn->closing) {
        (void)getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        end(conn, error != 0 ? -error : -ECONNRESET);
    } else {
        watch_wanted(conn); /* libuv tells an error once; behind what was read the end is still to be read */
    }
}

static void on_open_events(struct conn *conn, int events)
{
    bool blocked = (events & LOOP_WRITE) != 0 && filter_wants_room(conn); /* a read that had to write */

    if (events & LOOP_WRITE)
        on_writable(conn);
    if (!conn->dead && ((events & LOOP_READ) || blocked)) {
        if (conn->paused || conn->closing)
            watch_wanted(conn); /* the lazy disarming */
        else
            read_some(conn);
        read_pending_later(conn);
    }
    if (!conn->dead && (events & LOOP_HUP))
        on_hang_up(conn);
}

static void on_ready(void *arg, int events)
{
    struct conn *conn = arg;

    conn->busy++;
    if (conn->connecting) {
        if (events & (LOOP_WRITE | LOOP_HUP))
            finish_connect(conn);
    } else if (conn->shaking && !conn->closing) {
        conn->half |= (events & LOOP_HUP) != 0; /* told once; the handshake reads what is left, then the end */
        shake(conn);
    } else {
        on_open_events(conn, events);
    }
    if (conn->dead == false && conn->closing && conn->ops == NULL && conn->out.len == conn->out_sent)
        shut(conn);
    conn->busy--;
    release(conn);
}

static void on_linger(struct loop_timer *timer)
{
    struct conn *conn = list_entry(timer, struct lingering, timer)->conn;

    shut(conn);
    release(conn);
}

/*
 * A write failed inside conn_write(), a handshake is to begin, or the filter holds octets: told
 * from the loop, never from inside the call.
 */
static void on_later(struct loop_task *task)
{
    struct later *later = list_entry(task, struct later, task);
    struct conn *conn = later->conn;

    free(later);
    conn->later_queued = false;
    conn->busy++;
    if (!conn->dead && conn->failed < 0) {
        end(conn, conn->failed);
    } else if (!conn->dead && conn->ops != NULL && conn->shaking) {
        shake(conn);
    } else if (!conn->dead && conn->ops != NULL) {
        read_some(conn);
        read_pending_later(conn);
    }
    conn->busy--;
    release(conn);
}

static struct conn *make(struct loop *loop, int fd, const struct conn_ops *ops, void *owner)
{
    struct conn *conn = mem_zalloc(sizeof(*conn));

    conn->loop = loop;
    conn->fd = fd;
    conn->ops = ops;
    conn->owner = owner;
    conn->read_max = LOOP_READ_OCTETS;
    conn->watch = loop_watch_new(loop, fd, on_ready, conn);
    if (conn->watch == NULL) {
        free(conn);
        return NULL;
    }
    return conn;
}

struct conn *conn_new(struct loop *loop, int fd, const struct conn_ops *ops, void *owner)
{
    struct conn *conn = make(loop, fd, ops, owner);

    if (conn != NULL)
        watch_wanted(conn);
    return conn;
}

static socklen_t unix_address(const char *path, struct sockaddr_storage *out)
{
    struct sockaddr_un *un = (struct sockaddr_un *)out;

    memset(out, 0, sizeof(*out));
    if (strlen(path) >= sizeof(un->sun_path))
        return 0;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, strlen(path) + 1);
    return sizeof(*un);
}

static int start_connect(const tern_address *to, const char *unix_path, const tern_address *source)
{
    struct sockaddr_storage sa, from;
    socklen_t len = unix_path != NULL ? unix_address(unix_path, &sa) : net_to_sockaddr(to, &sa);
    int one = 1;

    if (len == 0)
        return -ENAMETOOLONG;
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (unix_path == NULL)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (source != NULL && source->family == to->family) {
        /* The port is chosen at connect(), so that ports in use to other hosts can serve. */
        (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
        socklen_t from_len = net_to_sockaddr(source, &from);
        if (bind(fd, (struct sockaddr *)&from, from_len) < 0)
            goto failed;
    }
    if (connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS)
        goto failed;
    return fd;

failed:;
    int r = -errno;
    (void)close(fd);
    return r;
}

struct conn *conn_connect(struct loop *loop, const tern_address *to, const char *unix_path,
                          const tern_address *source, const struct conn_ops *ops, void *owner,
                          int *ret_error)
{
    int fd = start_connect(to, unix_path, source);

    if (fd < 0) {
        *ret_error = fd;
        return NULL;
    }
    struct conn *conn = make(loop, fd, ops, owner);
    if (conn == NULL) {
        (void)close(fd);
        *ret_error = -ENOMEM;
        return NULL;
    }
    conn->connecting = true;
    watch_wanted(conn);
    return conn;
}

static void fail_later(struct conn *conn, int error)
{
    conn->failed = error;
    run_later(conn);
}

static void flush_now(struct conn *conn)
{
    if (conn->dead || conn->connecting || conn->failed < 0)
        return;
    int r = flush(conn);
    if (r < 0)
        fail_later(conn, r);
    else if (conn->out.len > conn->out_sent)
        watch_wanted(conn);
}

void conn_write(struct conn *conn, struct slice octets)
{
    assert(!conn->closing);
    if (conn->dead || conn->ops == NULL || conn->failed < 0)
        return;
    while (conn->out.len == 0 && !conn->corked && !conn->connecting && !conn->shaking) {
        ssize_t n = put(conn, octets.ptr, octets.len);
        if (n < 0 && n != -EAGAIN) {
            fail_later(conn, (int)n);
            return;
        }
        octets = slice_from(octets, n > 0 ? (size_t)n : 0);
        if (octets.len == 0)
            return;
        if (n < 0 || conn->filter == NULL)
            break; /* a filter takes a record at a time */
    }
    buf_add(&conn->out, octets);
    if (!conn->corked)
        watch_wanted(conn);
}

void conn_cork(struct conn *conn)
{
    conn->corked = true;
}

void conn_uncork(struct conn *conn)
{
    conn->corked = false;
    if (conn->out.len > conn->out_sent)
        flush_now(conn);
}

size_t conn_unsent(const struct conn *conn)
{
    return conn->out.len - conn->out_sent;
}

void conn_pause(struct conn *conn)
{
    conn->paused = true;
}

void conn_resume(struct conn *conn)
{
    conn->paused = false;
    if (conn->dead)
        return;
    watch_wanted(conn);
    read_pending_later(conn);
}

void conn_filter_start(struct conn *conn, const struct conn_filter *filter, void *arg)
{
    assert(conn->filter == NULL && !conn->dead && !conn->closing && !conn->connecting);
    conn->filter = filter;
    conn->filter_arg = arg;
    conn->plain_left = conn->out.len - conn->out_sent;
    conn->shaking = true;
    run_later(conn);
}

void *conn_filter_arg(const struct conn *conn)
{
    return conn->filter != NULL ? conn->filter_arg : NULL;
}

void conn_nudge(struct conn *conn)
{
    conn->nudged = true;
    if (!conn->dead)
        watch_wanted(conn);
}

void conn_set_read_max(struct conn *conn, unsigned octets)
{
    assert(octets > 0 && octets <= LOOP_READ_OCTETS);
    conn->read_max = octets;
}

static void on_loop_free(struct loop_task *task)
{
    struct conn *conn = list_entry(task, struct lingering, at_free)->conn;

    shut(conn);
    release(conn);
}

static void linger(struct conn *conn, unsigned ms)
{
    struct lingering *l = mem_zalloc(sizeof(*l));

    l->at_free.run = on_loop_free;
    l->conn = conn;
    loop_timer_init(&l->timer, on_linger);
    loop_at_free(conn->loop, &l->at_free);
    conn->closing = true;
    conn->ops = NULL;
    conn->owner = l;
    watch_wanted(conn);
    loop_timer_start(conn->loop, &l->timer, ms);
}

void conn_close(struct conn *conn, unsigned linger_ms)
{
    conn->corked = false;
    conn->busy++;
    flush_now(conn);
    if (conn->out.len == conn->out_sent || conn->failed < 0 || linger_ms == 0 || conn->shaking) {
        shut(conn);
    } else {
        linger(conn, linger_ms);
    }
    conn->busy--;
    release(conn);
}

void conn_free(struct conn *conn)
{
    if (conn == NULL)
        return;
    shut(conn);
    release(conn);
}

struct loop *conn_loop(const struct conn *conn)
{
    return conn->loop;
}

int conn_fd(const struct conn *conn)
{
    return conn->fd;
}
