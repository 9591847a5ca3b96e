/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child_pipe.c - the message to a command. The process is the user already when it starts the command, so that it may
 * end it, too; it stays between: it writes what the command reads, reads what it says, and watches the clock.
 *
 * Nothing waits for a command longer than for its exit: a daemon that it left behind with our pipes in hand is
 * nobody's concern. What a command has not read when it exits it did not want (EPIPE is no failure, the status counts).
 *
 * Source: sysexits.h; the codes of RFC 3463 for each are those of Postfix's pipe(8), which commands are written for.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <lib/line_ends.h>

#include "base/clock.h"
#include "local/child.h"

#define BLOCK_OCTETS 16384
#define LEFT_OVER    65536 /* of what was said before the exit and not yet read */

struct command {
    const struct local_work *work;
    struct local_body body;
    pid_t pid;
    int pid_fd, in, out;
    uint64_t deadline_ms;
    bool held, head_done;
    size_t at, len;
    char block[BLOCK_OCTETS + 1];
    char said[LOCAL_OUTPUT_MAX + 1];
    size_t said_len;
};

static const struct {
    int status;
    const char *enhanced, *text;
} exits[] = {
    { EX_USAGE, "5.3.3", "command line usage error" },
    { EX_DATAERR, "5.6.0", "data format error" },
    { EX_NOINPUT, "5.3.0", "cannot open input" },
    { EX_NOUSER, "5.1.1", "user unknown" },
    { EX_NOHOST, "5.1.2", "host name unknown" },
    { EX_UNAVAILABLE, "5.3.0", "service unavailable" },
    { EX_SOFTWARE, "5.3.0", "internal software error" },
    { EX_OSERR, "4.3.0", "system resource problem" },
    { EX_OSFILE, "5.3.0", "critical OS file missing" },
    { EX_CANTCREAT, "5.2.0", "cannot create the user's output file" },
    { EX_IOERR, "5.3.0", "input or output error" },
    { EX_TEMPFAIL, "4.3.0", "temporary failure" },
    { EX_PROTOCOL, "5.5.0", "remote error in protocol" },
    { EX_NOPERM, "5.7.0", "permission denied" },
    { EX_CONFIG, "5.3.5", "local configuration error" },
};

/* ---- starting ---- */

static _Noreturn void run(const struct local_request *r, const char *home, const int in[2], const int out[2], int told)
{
    char *args[LOCAL_ARGS_MAX + 1] = { NULL }, *env[LOCAL_ENV_MAX + 1] = { NULL };

    for (unsigned i = 0; i < r->args_count; i++)
        args[i] = (char *)r->args[i].ptr;
    for (unsigned i = 0; i < r->env_count; i++)
        env[i] = (char *)r->env[i].ptr;
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGPIPE, SIG_DFL);
    if ((home[0] == '\0' || chdir(home) < 0) && chdir("/") < 0)
        _exit(127);
    /* `told` is above these three, and ends when the program begins. */
    if (dup2(in[0], 0) == 0 && dup2(out[1], 1) == 1 && dup2(out[1], 2) == 2 &&
        close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
        (void)execve(args[0], args, env);
    int error = errno;
    (void)!write(told, &error, sizeof(error));
    _exit(127);
}

/* Descriptors 0 to 2 are open in tern-local, so none of these is one of them. */
static void start(struct command *c, const char *home)
{
    const struct local_work *w = c->work;
    int in[2], out[2], told[2], error = 0;

    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(told, O_CLOEXEC) < 0)
        local_answer(w, LOCAL_DEFERRED, "4.3.0", "no pipes for the command: %s", strerror(errno));
    local_adopt();
    c->pid = fork();
    if (c->pid < 0)
        local_answer(w, LOCAL_DEFERRED, "4.3.0", "fork: %s", strerror(errno));
    if (c->pid == 0)
        run(w->request, home, in, out, told[1]);
    (void)setpgid(c->pid, c->pid);
    (void)close(in[0]);
    (void)close(out[1]);
    (void)close(told[1]);
    if (read(told[0], &error, sizeof(error)) == (ssize_t)sizeof(error))
        local_answer(w, LOCAL_DEFERRED, "4.3.5", "%s cannot be run: %s", w->request->args[0].ptr, strerror(error));
    (void)close(told[0]);
    c->in = in[1];
    c->out = out[0];
    c->pid_fd = pidfd_open(c->pid, 0);
    if (c->pid_fd < 0 || fcntl(c->in, F_SETFL, O_NONBLOCK) < 0 || fcntl(c->out, F_SETFL, O_NONBLOCK) < 0) {
        error = errno;
        (void)kill(-c->pid, SIGKILL);
        local_answer(w, LOCAL_DEFERRED, "4.3.0", "the command cannot be watched: %s", strerror(error));
    }
}

/* ---- while it runs ---- */

static void close_end(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static _Noreturn void give_up(struct command *c, const char *why)
{
    local_end_all(c->pid);
    local_answer(c->work, LOCAL_DEFERRED, "4.3.0", "%s", why);
}

/* The next block; the command's input is closed only behind the last octet of a whole message. */
static void fill(struct command *c)
{
    const struct local_request *r = c->work->request;
    char raw[BLOCK_OCTETS];

    c->at = c->len = 0;
    if (!c->head_done && r->head.len <= sizeof(raw)) {
        memcpy(c->block, r->head.ptr, r->head.len);
        c->len = r->head.len;
        c->head_done = true;
        return;
    }
    int64_t n = local_body_read(&c->body, raw, sizeof(raw));
    if (n < 0)
        give_up(c, "the server ended in the midst of the message");
    if ((r->flags & LOCAL_LF) != 0) {
        c->len = line_ends_lf(raw, (size_t)n, &c->held, c->block);
        if (n == 0 && c->held)
            c->block[c->len++] = '\r';
        c->held = c->held && n > 0;
    } else {
        memcpy(c->block, raw, (size_t)n);
        c->len = (size_t)n;
    }
    if (n == 0 && c->len == 0)
        close_end(&c->in);
}

static void feed(struct command *c)
{
    ssize_t n = write(c->in, c->block + c->at, c->len - c->at);

    if (n > 0)
        c->at += (size_t)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        close_end(&c->in);
}

/* False: nothing is there now, or no more comes. What is above the bound is read, and forgotten. */
static bool listen_once(struct command *c)
{
    char text[4096];
    ssize_t n = read(c->out, text, sizeof(text));

    if (n < 0 && errno == EINTR)
        return true;
    if (n == 0 || (n < 0 && errno != EAGAIN))
        close_end(&c->out);
    if (n <= 0)
        return false;
    size_t most = c->work->request->output_max, room = most - c->said_len;
    size_t take = (size_t)n < room ? (size_t)n : room;
    memcpy(c->said + c->said_len, text, take);
    c->said_len += take;
    return true;
}

static int wait_for_exit(struct command *c)
{
    int status = 0;

    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
        ;
    for (unsigned read_ = 0; c->out >= 0 && read_ < LEFT_OVER && listen_once(c); read_ += 4096)
        ;
    return status;
}

static int converse(struct command *c)
{
    for (;;) {
        bool empty = c->at == c->len;
        bool wants_body = c->in >= 0 && empty && c->head_done && c->body.left > 0;
        struct pollfd fds[4] = { { .fd = c->pid_fd, .events = POLLIN },
                                 { .fd = c->out, .events = POLLIN },
                                 { .fd = wants_body ? c->body.fd : -1, .events = POLLIN },
                                 { .fd = c->in, .events = wants_body ? 0 : POLLOUT } };
        uint64_t now = clock_now_ms();
        if (now >= c->deadline_ms)
            give_up(c, "the command took too long, and was ended");
        uint64_t left = c->deadline_ms - now;
        if (poll(fds, 4, left > 60000 ? 60000 : (int)left) < 0)
            continue;
        if (fds[0].revents != 0)
            return wait_for_exit(c);
        if (fds[1].revents != 0)
            (void)listen_once(c);
        if (c->in >= 0 && (fds[3].revents & POLLERR) != 0)
            close_end(&c->in); /* it closed its input */
        else if (c->in >= 0 && empty && (fds[2].revents != 0 || (!wants_body && fds[3].revents != 0)))
            fill(c);
        else if (c->in >= 0 && fds[3].revents != 0)
            feed(c);
    }
}

/* ---- what became of it ---- */

/* One line of printable characters. */
static void tidy(struct command *c)
{
    while (c->said_len > 0 && (unsigned char)c->said[c->said_len - 1] <= ' ')
        c->said_len--;
    for (size_t i = 0; i < c->said_len; i++)
        if ((unsigned char)c->said[i] < ' ' || (unsigned char)c->said[i] >= 0x7f)
            c->said[i] = (unsigned char)c->said[i] < ' ' ? ' ' : '?';
    c->said[c->said_len] = '\0';
}

/* A code of its own that the command said first, "5.7.1 no, thanks"; of the class that its exit status has. */
static void take_code(const char *said, char class_, char enhanced[12])
{
    unsigned subject, detail;
    int n = 0;

    if (said[0] == class_ && sscanf(said + 1, ".%3u.%3u%n", &subject, &detail, &n) == 2 &&
        (said[1 + n] == ' ' || said[1 + n] == '\0'))
        (void)snprintf(enhanced, 12, "%c.%u.%u", class_, subject % 1000, detail % 1000);
}

static _Noreturn void answer_exit(struct command *c, int status)
{
    const char *text = "unknown mail system error", *plain = "5.3.0";
    const char *program = c->work->request->args[0].ptr;
    char enhanced[12];

    for (size_t i = 0; i < sizeof(exits) / sizeof(exits[0]); i++)
        if (exits[i].status == status) {
            text = exits[i].text;
            plain = exits[i].enhanced;
        }
    (void)snprintf(enhanced, sizeof(enhanced), "%s", plain);
    take_code(c->said, plain[0], enhanced);
    local_answer(c->work, plain[0] == '5' ? LOCAL_FAILED : LOCAL_DEFERRED, enhanced, "%.80s: %s (status %d)%s%s",
                 program, text, status, c->said_len > 0 ? ": " : "", c->said);
}

_Noreturn void local_pipe(const struct local_work *work)
{
    static struct command c;
    struct local_user u = { 0, 0, "" };

    c = (struct command){ .work = work, .body = { work->body_fd, work->request->octets }, .in = -1, .out = -1 };
    local_find_user(work, &u);
    local_become(work, &u);
    c.deadline_ms = clock_now_ms() + work->request->timeout_ms;
    start(&c, u.home);
    int status = converse(&c);
    tidy(&c);
    if (WIFSIGNALED(status))
        local_answer(work, LOCAL_DEFERRED, "4.3.0", "%.80s was ended by signal %d%s%s", work->request->args[0].ptr,
                     WTERMSIG(status), c.said_len > 0 ? ": " : "", c.said);
    if (WEXITSTATUS(status) != 0)
        answer_exit(&c, WEXITSTATUS(status));
    local_answer(work, LOCAL_DELIVERED, "2.0.0", "%.80s took it%s%s", work->request->args[0].ptr,
                 c.said_len > 0 ? ": " : "", c.said);
}
