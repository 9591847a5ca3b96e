/* SPDX-License-Identifier: Apache-2.0 */
#include "local/serve.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "local/kids.h"

#define FDS_MAX 2 /* a reply, a message */

struct server {
    const struct local_rules *rules;
    int requests_fd, signal_fd;
    bool ending;
};

static struct local_kids kids;

/* The one request under way; wiped behind each, so that no child inherits another's. */
static char packet[LOCAL_REQUEST_OCTETS_MAX];

static int open_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void close_fds(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        (void)close(fds[i]);
}

static unsigned take_fds(struct msghdr *msg, int fds[FDS_MAX])
{
    unsigned count = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (unsigned i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (count < FDS_MAX)
                fds[count++] = fd;
            else
                (void)close(fd);
        }
    }
    return count;
}

/* Octets of the packet, 0 when all other ends are closed, or a negative errno. */
static ssize_t receive(int from, int fds[FDS_MAX], unsigned *ret_count)
{
    char control[CMSG_SPACE(FDS_MAX * sizeof(int))];
    struct iovec iov = { packet, sizeof(packet) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
    ssize_t n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

    *ret_count = 0;
    if (n < 0)
        return -errno;
    *ret_count = take_fds(&msg, fds);
    return (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ? -EBADMSG : n;
}

static void answer_refused(int reply_fd, const char *why)
{
    struct local_answer answer = { .status = LOCAL_REFUSED };

    (void)strncpy(answer.text, why, sizeof(answer.text) - 1);
    (void)send(reply_fd, &answer, sizeof(answer), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* What needs no look at a user. */
static const char *refuse(const struct server *s, const struct local_request *r)
{
    if (r->op == LOCAL_PIPE && !local_rules_allow_command(s->rules, r->args[0].ptr))
        return "the program is not among the `commands` of supervisor.conf";
    if (r->op == LOCAL_PAM && !local_rules_allow_service(s->rules, r->place.ptr))
        return "the service is not among those of `pam` in supervisor.conf";
    return NULL;
}

static void start_child(struct server *s, const struct local_request *r, const int *fds, unsigned count)
{
    const char *why = refuse(s, r);

    if (why != NULL) {
        log_event(LOG_WARNING, LOG_EV_local, NULL, "%s", why);
        answer_refused(fds[0], why);
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        struct local_work work = { .rules = s->rules, .request = r, .reply_fd = fds[0],
                                   .body_fd = count > 1 ? fds[1] : -1 };
        (void)close(s->requests_fd);
        (void)close(s->signal_fd);
        local_child(&work);
    }
    if (pid < 0)
        log_event(LOG_ERROR, LOG_EV_local, NULL, "fork: %s", strerror(errno));
    else
        local_kids_add(&kids, pid, r, s->rules);
}

static void take_request(struct server *s, bool hung_up)
{
    struct local_request request;
    int fds[FDS_MAX];
    unsigned count;
    ssize_t n = receive(s->requests_fd, fds, &count);

    if (n == -EAGAIN || n == -EINTR)
        return;
    if (n == 0 && hung_up) { /* and not a packet without an octet */
        s->ending = true;
    } else if (n < 0 || local_request_parse(packet, (size_t)n, &request) < 0 ||
               count != (request.op == LOCAL_PAM ? 1u : 2u)) {
        log_event(LOG_WARNING, LOG_EV_local, NULL, "a request that is none came from the worker");
    } else {
        start_child(s, &request, fds, count);
    }
    explicit_bzero(packet, sizeof(packet));
    close_fds(fds, count);
}

static void on_signal(struct server *s)
{
    struct signalfd_siginfo info;

    while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (info.ssi_signo == SIGTERM)
            s->ending = true;
    local_kids_reap(&kids);
}

int local_serve(int requests_fd, const struct local_rules *rules)
{
    struct server s = { .rules = rules, .requests_fd = requests_fd, .signal_fd = open_signals() };

    if (s.signal_fd < 0)
        return 71;
    log_event(LOG_INFO, LOG_EV_local, NULL, "tern-local is here, uid_min %u", (unsigned)rules->uid_min);
    while (!s.ending) {
        bool full = kids.count >= LOCAL_CHILDREN_MAX;
        struct pollfd fds[2] = { { .fd = s.signal_fd, .events = POLLIN },
                                 { .fd = full ? -1 : s.requests_fd, .events = POLLIN } };
        (void)poll(fds, 2, kids.count > 0 ? LOCAL_SWEEP_MS : -1);
        if (fds[0].revents != 0)
            on_signal(&s);
        local_kids_sweep(&kids, rules, (const int[2]){ s.requests_fd, s.signal_fd });
        if (fds[1].revents != 0)
            take_request(&s, (fds[1].revents & POLLHUP) != 0);
    }
    /* Children go on: each has its own bound in time, and whoever waits for its answer, if he lives, gets it. */
    return 0;
}
