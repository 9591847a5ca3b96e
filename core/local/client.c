/* SPDX-License-Identifier: Apache-2.0 */
#include "local/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#define BLOCK_OCTETS  65536
#define BUSY_PAUSE_MS 20
#define START_WAIT_MS 2000 /* for a tern-local that is about to be started again; a longer pause is not waited for */

static struct {
    pthread_mutex_t lock; /* over fd, and over what is sent on it */
    int (*open)(void *arg, char *error, size_t octets);
    void *arg;
    int fd;
} client = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1 };

/* One request under way. */
struct asking {
    const struct local_request *request;
    const struct local_message *message;
    uint64_t deadline_ms;
    int reply[2], body[2]; /* [0] is ours in `reply`, [1] in `body` */
    uint64_t offset;
    char *block;
    size_t block_at, block_len;
};

void local_client_set(int (*open)(void *arg, char *error, size_t octets), void *arg)
{
    (void)pthread_mutex_lock(&client.lock);
    client.open = open;
    client.arg = arg;
    if (client.fd >= 0)
        (void)close(client.fd);
    client.fd = -1;
    (void)pthread_mutex_unlock(&client.lock);
}

static void close_end(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* ---- sending ---- */

static int send_once(int fd, const void *packet, size_t octets, const struct asking *a)
{
    char control[CMSG_SPACE(2 * sizeof(int))] = { 0 };
    struct iovec iov = { (void *)packet, octets };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control };
    int fds[2] = { a->reply[1], a->body[0] };
    size_t fds_octets = a->message != NULL ? sizeof(fds) : sizeof(int);

    msg.msg_controllen = CMSG_SPACE(fds_octets);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds_octets);
    memcpy(CMSG_DATA(c), fds, fds_octets);
    ssize_t n;
    do {
        n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* Under the lock. */
static int get_fd(char *error, size_t octets)
{
    if (client.fd >= 0)
        return client.fd;
    if (client.open == NULL) {
        (void)snprintf(error, octets, "there is no tern-local here");
        return -ENOTSUP;
    }
    int fd = client.open(client.arg, error, octets);
    if (fd >= 0)
        client.fd = fd;
    return fd;
}

static int send_locked(const void *packet, size_t len, const struct asking *a, char *error, size_t octets)
{
    int r = 0;

    /* The one at hand may be that of a tern-local which is gone: then a new one is asked for, once. */
    for (unsigned tries = 0; tries < 2; tries++) {
        int fd = get_fd(error, octets);
        if (fd < 0)
            return fd;
        r = send_once(fd, packet, len, a);
        if (r == 0 || r == -EAGAIN)
            return r;
        close_end(&client.fd);
        (void)snprintf(error, octets, "tern-local does not listen: %s", strerror(-r));
    }
    return r;
}

static int send_request(const struct asking *a, char *error, size_t octets)
{
    char *packet = mem_alloc(LOCAL_REQUEST_OCTETS_MAX);
    int len = local_request_put(a->request, packet, LOCAL_REQUEST_OCTETS_MAX);
    int r = len < 0 ? len : -EAGAIN;
    uint64_t start_ms = clock_now_ms() + START_WAIT_MS;

    if (len < 0)
        (void)snprintf(error, octets, "%s", len == -EMSGSIZE ? "the request is too long for tern-local"
                                                              : "no request that tern-local would take");
    while (r == -EAGAIN) {
        (void)pthread_mutex_lock(&client.lock);
        r = send_locked(packet, (size_t)len, a, error, octets);
        (void)pthread_mutex_unlock(&client.lock);
        if (r != -EAGAIN)
            break;
        if (clock_now_ms() > (error[0] != '\0' ? start_ms : a->deadline_ms)) {
            if (error[0] == '\0')
                (void)snprintf(error, octets, "tern-local has too much to do");
            r = -ETIMEDOUT;
        } else {
            error[0] = '\0';
            (void)poll(NULL, 0, BUSY_PAUSE_MS);
        }
    }
    explicit_bzero(packet, LOCAL_REQUEST_OCTETS_MAX);
    free(packet);
    return r;
}

/* ---- the message, and the answer ---- */

/* Writes what goes; ends when all went, the other side wants no more, or our own reading fails (it sees too few). */
static void feed(struct asking *a)
{
    if (a->block_at == a->block_len) {
        int64_t n = a->message->read(a->message->arg, a->offset, a->block, BLOCK_OCTETS);
        if (n <= 0) {
            close_end(&a->body[1]);
            return;
        }
        a->offset += (uint64_t)n;
        a->block_at = 0;
        a->block_len = (size_t)n;
    }
    ssize_t n = write(a->body[1], a->block + a->block_at, a->block_len - a->block_at);
    if (n > 0)
        a->block_at += (size_t)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        close_end(&a->body[1]);
}

static bool receive(struct asking *a, struct local_answer *ret)
{
    ssize_t n;

    do {
        n = recv(a->reply[0], ret, sizeof(*ret), MSG_TRUNC);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof(*ret)) {
        local_answer_clean(ret);
        return true;
    }
    *ret = (struct local_answer){ LOCAL_DEFERRED, "4.3.0", "tern-local ended without an answer" };
    return true;
}

static void wait_for_answer(struct asking *a, struct local_answer *ret)
{
    for (;;) {
        struct pollfd fds[2] = { { .fd = a->reply[0], .events = POLLIN },
                                 { .fd = a->body[1], .events = POLLOUT } };
        uint64_t now = clock_now_ms();
        if (now >= a->deadline_ms)
            break;
        uint64_t left = a->deadline_ms - now;
        int n = poll(fds, 2, left > 60000 ? 60000 : (int)left);
        if (n <= 0)
            continue;
        if (fds[0].revents != 0 && receive(a, ret))
            return;
        if (fds[1].revents != 0)
            feed(a);
    }
    *ret = (struct local_answer){ LOCAL_DEFERRED, "4.3.0", "tern-local did not answer in time" };
}

static int open_ends(struct asking *a)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, a->reply) < 0)
        return -errno;
    if (a->message == NULL)
        return 0;
    if (pipe2(a->body, O_CLOEXEC) < 0 || fcntl(a->body[1], F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    a->block = mem_alloc(BLOCK_OCTETS);
    return 0;
}

void local_client_ask(const struct local_request *request, const struct local_message *message,
                      struct local_answer *ret)
{
    struct asking a = { .request = request, .message = message, .reply = { -1, -1 }, .body = { -1, -1 },
                        .deadline_ms = clock_now_ms() + request->timeout_ms + LOCAL_CLIENT_GRACE_MS };
    char error[256] = "";
    int r = open_ends(&a);

    if (r < 0)
        (void)snprintf(error, sizeof(error), "no descriptors for tern-local: %s", strerror(-r));
    else
        r = send_request(&a, error, sizeof(error));
    close_end(&a.reply[1]);
    close_end(&a.body[0]);
    *ret = (struct local_answer){ LOCAL_DEFERRED, "4.3.0", "" };
    if (r < 0)
        (void)snprintf(ret->text, sizeof(ret->text), "%s", error);
    else
        wait_for_answer(&a, ret);
    close_end(&a.reply[0]);
    close_end(&a.body[1]);
    if (a.block != NULL)
        explicit_bzero(a.block, BLOCK_OCTETS);
    free(a.block);
}
