/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor.c - see supervisor.h. One thread, one poll() over signals and the worker's socket.
 */
#include "server/supervisor.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/conn.h"
#include "server/ipc.h"
#include "server/local_process.h"
#include "server/local_socket.h"
#include "server/rules.h"
#include "server/watch.h"

#define SOCKETS_MAX        256
#define BACKLOG            1024
#define WORKER_GOOD_MS     60000 /* lived so long: the next restart is immediate again */
#define STOP_GRACE_MS      10000 /* beyond the drain time, before SIGKILL */
#define TICK_MS            500
#define BIND_WAIT_MS       10000 /* a predecessor may still hold the address */

struct supervisor {
    struct supervisor_options options;
    struct rules rules;
    struct shared_page *page;
    struct watch watches[SHARED_LOOPS_MAX];
    int signal_fd;
    struct {
        struct bind_address bind;
        struct local_socket local; /* of a unix socket */
        int fd;
    } sockets[SOCKETS_MAX];
    unsigned socket_count;
    pid_t worker;
    int worker_fd;
    struct local_process local;
    bool ready, ever_ready, stopping;
    uint64_t started_ms, restart_at_ms, stop_deadline_ms;
    unsigned restart_ms;
    int status; /* of the process */
};

/* ---- sockets ---- */

static int find_socket(const struct supervisor *s, const struct bind_address *bind)
{
    for (unsigned i = 0; i < s->socket_count; i++)
        if (bind_is_same(&s->sockets[i].bind, bind))
            return (int)i;
    return -1;
}

/* A descriptor, or a negative errno with why. */
static int bind_once(const struct supervisor *s, const struct bind_address *bind, struct local_socket *ret,
                     char *error, size_t octets)
{
    char text[BIND_TEXT_MAX];

    if (bind->address.family == 0)
        return local_socket_listen(&s->rules, bind, BACKLOG, ret, error, octets);
    int fd = net_listen(&bind->address, BACKLOG);
    bind_print(bind, text);
    if (fd < 0)
        (void)snprintf(error, octets, "%s: %s", text, strerror(-fd));
    return fd;
}

static int bind_socket(const struct supervisor *s, const struct bind_address *bind, struct local_socket *ret,
                       char *error, size_t octets)
{
    uint64_t deadline = clock_now_ms() + (s->ever_ready ? 0 : BIND_WAIT_MS);
    int fd = bind_once(s, bind, ret, error, octets);

    while (fd == -EADDRINUSE && clock_now_ms() < deadline) {
        (void)poll(NULL, 0, 100);
        fd = bind_once(s, bind, ret, error, octets);
    }
    return fd;
}

static bool is_port_allowed(const struct supervisor *s, const struct bind_address *bind, struct ipc_answer *answer)
{
    if (geteuid() != 0 || bind->address.family == 0 || rules_allow_port(&s->rules, bind->address.port))
        return true;
    answer->status = -EACCES;
    (void)snprintf(answer->text, sizeof(answer->text), "port %u is not among the ports of %s", bind->address.port,
                   s->options.rules != NULL ? s->options.rules : "the default rules (24 25 465 587)");
    return false;
}

static int get_socket(struct supervisor *s, const struct bind_address *bind, struct ipc_answer *answer)
{
    if (!bind_is_sane(bind)) {
        answer->status = -EINVAL;
        (void)snprintf(answer->text, sizeof(answer->text), "that is no address");
        return -1;
    }
    int at = find_socket(s, bind);
    if (at >= 0) {
        if (bind->address.family == 0)
            answer->status = local_socket_set_access(&s->rules, bind, answer->text, sizeof(answer->text));
        return answer->status < 0 ? -1 : s->sockets[at].fd;
    }
    if (!is_port_allowed(s, bind, answer))
        return -1;
    struct local_socket local = { 0 };
    int fd = -EMFILE;
    if (s->socket_count < SOCKETS_MAX)
        fd = bind_socket(s, bind, &local, answer->text, sizeof(answer->text));
    else
        (void)snprintf(answer->text, sizeof(answer->text), "there are %d listening sockets already", SOCKETS_MAX);
    if (fd < 0) {
        answer->status = fd;
        return -1;
    }
    s->sockets[s->socket_count].bind = *bind;
    s->sockets[s->socket_count].local = local;
    s->sockets[s->socket_count++].fd = fd;
    return fd;
}

static void close_socket(struct supervisor *s, unsigned at)
{
    if (s->sockets[at].bind.address.family == 0)
        local_socket_remove(&s->sockets[at].local, s->sockets[at].bind.path);
    (void)close(s->sockets[at].fd);
    s->sockets[at] = s->sockets[--s->socket_count];
}

static int release_socket(struct supervisor *s, const struct bind_address *bind, struct ipc_answer *answer)
{
    int at = bind_is_sane(bind) ? find_socket(s, bind) : -1;

    if (at >= 0) {
        close_socket(s, (unsigned)at);
        return 0;
    }
    (void)snprintf(answer->text, sizeof(answer->text), "the supervisor has no such socket");
    return -ENOENT;
}

static void close_sockets(struct supervisor *s)
{
    while (s->socket_count > 0)
        close_socket(s, s->socket_count - 1);
}

/* ---- the worker ---- */

static void say_bad_user(const char *user)
{
    log_event(LOG_ERROR, LOG_EV_worker, NULL,
              "there is no user \"%s\" to run as: create it (useradd --system %s) or name another in "
              "supervisor.conf", user, user);
}

static int drop_user(const struct rules *rules)
{
    const struct passwd *pw;

    if (geteuid() != 0)
        return 0;
    pw = getpwnam(rules->user);
    if (pw == NULL) {
        say_bad_user(rules->user);
        return -EINVAL;
    }
    if (pw->pw_uid == 0) {
        log_event(LOG_WARNING, LOG_EV_worker, NULL,
                  "supervisor.conf says user root: a hole in a module is a hole in this machine");
        return 0;
    }
    if (initgroups(rules->user, pw->pw_gid) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
        setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0 || setuid(0) == 0) {
        log_event(LOG_ERROR, LOG_EV_worker, NULL, "cannot become user %s: %s", rules->user, strerror(errno));
        return -EPERM;
    }
    return 0;
}

static void child(struct supervisor *s, int fd, pid_t parent)
{
    struct worker_start start = { .config = s->options.config, .module_path = s->options.prefix_modules,
                                  .supervisor_fd = fd, .page = s->page, .trust_group = geteuid() != 0,
                                  .milter = s->options.milter, .local = &s->rules.local, .local_own = geteuid() };

    /* The signals stay blocked: one that comes before the worker's own signalfd waits for it. */
    (void)close(s->signal_fd);
    for (unsigned i = 0; i < s->socket_count; i++)
        (void)close(s->sockets[i].fd);
    local_process_fini(&s->local); /* it asks for an end of its own */
    if (drop_user(&s->rules) < 0)
        _exit(WORKER_EXIT_CONFIG);
    /* After the change of user, which clears it; then look whether the parent died meanwhile. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (getppid() != parent)
        _exit(1);
    exit(worker_run(&start));
}

static void start_worker(struct supervisor *s)
{
    int pair[2];

    s->restart_at_ms = 0;
    shared_page_clear(s->page);
    memset(s->watches, 0, sizeof(s->watches));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        log_event(LOG_ERROR, LOG_EV_worker, NULL, "socketpair: %s", strerror(errno));
        s->restart_at_ms = clock_now_ms() + s->rules.restart_ms_max;
        return;
    }
    s->started_ms = clock_now_ms();
    s->ready = false;
    pid_t self = getpid();
    s->worker = fork();
    if (s->worker == 0) {
        (void)close(pair[0]);
        child(s, pair[1], self);
    }
    (void)close(pair[1]);
    s->worker_fd = pair[0];
    if (s->worker < 0) {
        log_event(LOG_ERROR, LOG_EV_worker, NULL, "fork: %s", strerror(errno));
        (void)close(s->worker_fd);
        s->worker_fd = -1;
        s->restart_at_ms = clock_now_ms() + s->rules.restart_ms_max;
    }
}

/* What the threads were doing when it ended: the line that names the module to look at. */
static void log_slots(const struct supervisor *s, const char *what)
{
    uint32_t n = atomic_load(&s->page->slots_used);

    for (uint32_t i = 0; i < n && i < SHARED_THREADS_MAX; i++) {
        const struct crash_slot *slot = &s->page->slots[i];
        struct log_line l;
        if (slot->hook[0] == '\0')
            continue;
        log_begin(&l, LOG_ERROR, LOG_EV_worker, slot->id[0] != '\0' ? slot->id : NULL);
        log_cstr(&l, "text", what);
        log_str(&l, "hook", slice_make(slot->hook, strnlen(slot->hook, sizeof(slot->hook))));
        log_str(&l, "step", slice_make(slot->step, strnlen(slot->step, sizeof(slot->step))));
        log_end(&l);
    }
}

static void worker_died(struct supervisor *s, int status)
{
    bool asked = s->stopping && WIFEXITED(status);
    uint64_t lived_ms = clock_now_ms() - s->started_ms;

    (void)close(s->worker_fd);
    s->worker_fd = -1;
    s->worker = -1;
    if (WIFSIGNALED(status)) {
        log_event(LOG_ERROR, LOG_EV_worker, NULL, "the worker was ended by signal %d (%s) after %llu s",
                  WTERMSIG(status), strsignal(WTERMSIG(status)), (unsigned long long)lived_ms / 1000);
        log_slots(s, "was running in the worker that crashed");
    } else if (!asked) {
        log_event(LOG_ERROR, LOG_EV_worker, NULL, "the worker ended with status %d%s", WEXITSTATUS(status),
                  WEXITSTATUS(status) == WORKER_EXIT_CONFIG ? ": it could not start, and why stands above" : "");
        log_slots(s, "was running in the worker that ended"); /* code that called exit() */
    }
    if (s->stopping)
        return;
    /*
     * A first start that fails is an operator's mistake to show, not to hide in a loop. But SIGKILL
     * comes from outside (the machine is out of memory), and the queue waits to be delivered.
     */
    bool from_outside = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!s->ever_ready && !from_outside) {
        s->stopping = true;
        s->status = WIFEXITED(status) && WEXITSTATUS(status) == WORKER_EXIT_CONFIG ? 1 : 70;
        return;
    }
    if (lived_ms > WORKER_GOOD_MS)
        s->restart_ms = s->rules.restart_ms_min;
    s->restart_at_ms = clock_now_ms() + s->restart_ms;
    log_event(LOG_WARNING, LOG_EV_worker, NULL, "starting it again in %u ms; the sockets stay open",
              s->restart_ms);
    s->restart_ms = s->restart_ms * 2 < s->rules.restart_ms_max ? s->restart_ms * 2 : s->rules.restart_ms_max;
}

/* Only where the worker has another user than the supervisor is there anything it could not open itself. */
static int open_key(const struct supervisor *s, struct ipc_wish *wish, struct ipc_answer *answer)
{
    wish->path[sizeof(wish->path) - 1] = '\0';
    int fd = rules_open_key(&s->rules, wish->path, answer->text, sizeof(answer->text));

    answer->status = fd < 0 ? fd : 0;
    log_event(fd < 0 ? LOG_WARNING : LOG_INFO, LOG_EV_worker, NULL, "%s %s for the worker%s%s", wish->path,
              fd < 0 ? "was not opened" : "was opened", fd < 0 ? ": " : "", fd < 0 ? answer->text : "");
    return fd;
}

static void serve_wish(struct supervisor *s)
{
    struct ipc_wish wish;
    struct ipc_answer answer = { .status = 0 };
    int fd = -1;
    bool passed = false; /* the descriptor is the worker's now, and no longer ours */

    if (ipc_receive(s->worker_fd, &wish) < 0) {
        /* It closed its end: it dies, and SIGCHLD tells how. A worker that only lost it must go too. */
        (void)kill(s->worker, SIGKILL);
        return;
    }
    switch (wish.op) {
    case IPC_READY:
        s->ready = s->ever_ready = true;
        return;
    case IPC_LISTEN: fd = get_socket(s, &wish.bind, &answer); break;
    case IPC_OPEN:
        fd = open_key(s, &wish, &answer);
        passed = true;
        break;
    case IPC_LOCAL:
        fd = local_process_get(&s->local, &s->rules, answer.text, sizeof(answer.text));
        answer.status = fd < 0 ? fd : 0;
        break;
    case IPC_RELEASE: answer.status = release_socket(s, &wish.bind, &answer); break;
    default: answer.status = -EINVAL;
    }
    if (ipc_answer(s->worker_fd, &answer, fd) == -EAGAIN) {
        log_event(LOG_ERROR, LOG_EV_worker, NULL, "the worker asks and does not read the answers: it is ended");
        (void)kill(s->worker, SIGKILL);
    }
    if (passed && fd >= 0)
        (void)close(fd);
}

/* ---- signals and time ---- */

static void stop(struct supervisor *s)
{
    if (s->stopping) {
        if (s->worker > 0)
            (void)kill(s->worker, SIGTERM); /* a second one: the worker ends at once */
        return;
    }
    s->stopping = true;
    s->stop_deadline_ms = clock_now_ms() + 3600 * 1000 + STOP_GRACE_MS;
    if (s->worker > 0)
        (void)kill(s->worker, SIGTERM);
}

static void on_signal(struct supervisor *s)
{
    struct signalfd_siginfo info;
    int status;

    if (read(s->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
        stop(s);
    else if (info.ssi_signo == SIGHUP && s->worker > 0)
        (void)kill(s->worker, SIGHUP);
    while (s->worker > 0 && waitpid(s->worker, &status, WNOHANG) == s->worker)
        worker_died(s, status);
    while (s->local.pid > 0 && waitpid(s->local.pid, &status, WNOHANG) == s->local.pid)
        local_process_ended(&s->local, &s->rules, status);
}

static void end_hung_worker(struct supervisor *s, unsigned loop, uint64_t still_ms)
{
    log_event(LOG_ERROR, LOG_EV_worker, NULL, "loop %u has not moved for %llu ms: the worker is ended", loop,
              (unsigned long long)still_ms);
    log_slots(s, "was running when the loop hung");
    (void)kill(s->worker, SIGABRT);
    atomic_store(&s->page->watchdog_ms, 0);
}

static void watch_loops(struct supervisor *s)
{
    uint64_t limit = atomic_load(&s->page->watchdog_ms);
    struct watch_look look;

    if (limit == 0 || s->worker <= 0 || !s->ready)
        return;
    for (uint32_t i = 0; i < atomic_load(&s->page->loops) && i < SHARED_LOOPS_MAX; i++) {
        uint64_t beat = atomic_load(&s->page->beats[i]), now = clock_now_ms();
        if (!watch_is_due(&s->watches[i], beat, now))
            continue;
        watch_read(s->worker, atomic_load(&s->page->threads[i]), &look);
        if (watch_hangs(&s->watches[i], now, &look, limit)) {
            end_hung_worker(s, i, now - beat);
            return;
        }
    }
}

static void tick(struct supervisor *s)
{
    watch_loops(s);
    if (s->worker <= 0 && !s->stopping && s->restart_at_ms != 0 && clock_now_ms() >= s->restart_at_ms)
        start_worker(s);
    if (s->stopping && s->worker > 0 && clock_now_ms() > s->stop_deadline_ms)
        (void)kill(s->worker, SIGKILL);
}

static int open_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void run(struct supervisor *s)
{
    while (!s->stopping || s->worker > 0) {
        struct pollfd fds[2] = { { .fd = s->signal_fd, .events = POLLIN },
                                 { .fd = s->worker_fd, .events = POLLIN } };
        int wait = TICK_MS;
        if (s->restart_at_ms != 0 && s->worker <= 0) {
            uint64_t now = clock_now_ms();
            wait = s->restart_at_ms > now ? (int)(s->restart_at_ms - now) : 0;
            wait = wait > TICK_MS ? TICK_MS : wait;
        }
        (void)poll(fds, 2, wait);
        if (fds[1].revents != 0 && s->worker_fd >= 0)
            serve_wish(s);
        if (fds[0].revents != 0)
            on_signal(s);
        tick(s);
    }
}

int supervisor_run(const struct supervisor_options *options)
{
    static struct supervisor s;
    char error[512];

    s = (struct supervisor){ .options = *options, .worker = -1, .worker_fd = -1 };
    local_process_init(&s.local);
    rules_default(&s.rules);
    if (options->rules != NULL && rules_load(options->rules, &s.rules, error, sizeof(error)) < 0) {
        log_event(LOG_ERROR, LOG_EV_start, NULL, "%s", error);
        return 1;
    }
    s.restart_ms = s.rules.restart_ms_min;
    s.page = shared_page_new();
    s.signal_fd = open_signals();
    if (s.page == NULL || s.signal_fd < 0) {
        log_event(LOG_ERROR, LOG_EV_start, NULL, "cannot start: %s", strerror(errno));
        return 71;
    }
    start_worker(&s);
    run(&s);
    local_process_fini(&s.local);
    close_sockets(&s);
    log_event(LOG_INFO, LOG_EV_stop, NULL, "the supervisor ends");
    return s.status;
}
