/* SPDX-License-Identifier: Apache-2.0 */
#include "server/local_process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "local/privileges.h"
#include "local/serve.h"

#define GOOD_MS   60000 /* lived so long: the next restart is immediate again */
#define FD_BEYOND 10    /* above those that it is given */

extern char **environ;

/* In the build beside this program, installed in libexec beside its folder. */
static const char *const places[] = { "/tern-local", "/../libexec/tern/tern-local" };

void local_process_init(struct local_process *p)
{
    *p = (struct local_process){ .pid = -1, .fd = -1 };
}

/* ---- the program ---- */

static int find_program(char path[PATH_MAX])
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n < 0)
        return -errno;
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        (void)snprintf(path, PATH_MAX, "%s%s", self, places[i]);
        if (access(path, X_OK) == 0)
            return 0;
    }
    (void)snprintf(path, PATH_MAX, "%s%s", self, places[1]);
    return -ENOENT;
}

static int check_program(const char *path, char *error, size_t octets)
{
    struct stat st;

    if (stat(path, &st) < 0 || ((st.st_uid == 0 || st.st_uid == geteuid()) && (st.st_mode & 022) == 0))
        return 0;
    (void)snprintf(error, octets, "%s must belong to root and be writable by nobody else", path);
    return -EPERM;
}

/* What it may do, in a file that is nowhere: read once, when it starts. */
static int make_rules(const struct rules *rules)
{
    int fd = memfd_create("tern-local-rules", MFD_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (write(fd, &rules->local, sizeof(rules->local)) != (ssize_t)sizeof(rules->local)) {
        (void)close(fd);
        return -EIO;
    }
    return fd;
}

static void give_fds(int requests, int rules)
{
    int a = fcntl(requests, F_DUPFD, FD_BEYOND), b = fcntl(rules, F_DUPFD, FD_BEYOND);

    if (a < 0 || b < 0 || dup2(a, LOCAL_REQUESTS_FD) < 0 || dup2(b, LOCAL_RULES_FD) < 0 ||
        close_range(LOCAL_RULES_FD + 1, ~0u, 0) < 0)
        _exit(71);
}

static _Noreturn void become(const char *path, int requests, int rules)
{
    char name[] = "tern-local";
    char *argv[] = { name, NULL };
    const char *what = "";
    sigset_t none;

    give_fds(requests, rules);
    int r = geteuid() == 0 ? privileges_keep_two(&what) : 0;
    if (r < 0) {
        log_event(LOG_ERROR, LOG_EV_local, NULL, "tern-local cannot be given its two capabilities: %s: %s", what,
                  strerror(-r));
        _exit(71);
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)execve(path, argv, environ);
    log_event(LOG_ERROR, LOG_EV_local, NULL, "%s: %s", path, strerror(errno));
    _exit(71);
}

/* ---- starting ---- */

static int start(struct local_process *p, const struct rules *rules, const char *path)
{
    int pair[2], rules_fd = make_rules(rules);

    if (rules_fd < 0)
        return rules_fd;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        int r = -errno;
        (void)close(rules_fd);
        return r;
    }
    p->pid = fork();
    if (p->pid == 0)
        become(path, pair[1], rules_fd);
    int r = p->pid < 0 ? -errno : 0;
    (void)close(rules_fd);
    (void)close(pair[1]);
    if (r < 0) {
        (void)close(pair[0]);
        return r;
    }
    p->fd = pair[0];
    p->started_ms = clock_now_ms();
    return 0;
}

int local_process_get(struct local_process *p, const struct rules *rules, char *error, size_t octets)
{
    char path[PATH_MAX];

    if (p->pid > 0)
        return p->fd;
    if (clock_now_ms() < p->restart_at_ms) {
        (void)snprintf(error, octets, "tern-local has ended, and is started again in a moment");
        return -EAGAIN;
    }
    int r = find_program(path);
    if (r == 0 && (r = check_program(path, error, octets)) < 0)
        return r;
    if (r == 0)
        r = start(p, rules, path);
    if (r < 0)
        (void)snprintf(error, octets, "%s: %s", path, strerror(-r));
    return r < 0 ? r : p->fd;
}

void local_process_ended(struct local_process *p, const struct rules *rules, int status)
{
    uint64_t now = clock_now_ms();
    unsigned after = now - p->started_ms > GOOD_MS || p->restart_ms == 0 ? rules->restart_ms_min : p->restart_ms;

    (void)close(p->fd);
    p->pid = -1;
    p->fd = -1;
    p->restart_at_ms = now + after;
    p->restart_ms = after * 2 < rules->restart_ms_max ? after * 2 : rules->restart_ms_max;
    if (WIFSIGNALED(status))
        log_event(LOG_ERROR, LOG_EV_local, NULL, "tern-local was ended by signal %d (%s); it is started when it is "
                  "asked for, in %u ms at the earliest", WTERMSIG(status), strsignal(WTERMSIG(status)), after);
    else
        log_event(LOG_ERROR, LOG_EV_local, NULL, "tern-local ended with status %d", WEXITSTATUS(status));
}

void local_process_fini(struct local_process *p)
{
    if (p->fd >= 0)
        (void)close(p->fd);
    p->fd = -1;
}
