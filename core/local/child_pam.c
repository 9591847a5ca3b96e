/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child_pam.c - user and password to PAM, by a program of its own, tern-pam (docs/decisions/0010-*): what PAM's modules
 * leave in a process, or do to it, ends with it.
 *
 * This process stands between, as in child_pipe.c, for the time: a module may hang, or take the timer for itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "local/child.h"

#define TIDY_MS 5000

extern char **environ;

static void find_program(const struct local_work *w, char path[PATH_MAX])
{
    static const char name[] = "/tern-pam";
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - sizeof(name));

    if (n > 0) {
        path[n] = '\0';
        (void)strcpy(strrchr(path, '/'), name);
    }
    if (n <= 0 || access(path, X_OK) < 0)
        local_answer(w, LOCAL_REFUSED, "", "tern-pam is not there: this Tern was built without PAM");
}

/* As whom, is supervisor.conf's word. Root is without capabilities, but its files are its own: shadow(5). */
static void become_asker(const struct local_work *w)
{
    const char *name = w->rules->pam_user, *what = "";
    struct local_request asker = { .user = slice_cstr(name) };
    struct local_work as = *w;
    struct local_user u = { 0, 0, "" };
    int r;

    as.request = &asker;
    local_find_user(&as, &u);
    if (u.uid == 0 || geteuid() != 0)
        r = privileges_drop_all(&what);
    else
        r = privileges_become(name, u.uid, u.gid, false, &what);
    if (r < 0)
        local_answer(w, LOCAL_DEFERRED, "4.3.0", "cannot become user %s: %s: %s", name, what, strerror(-r));
}

static _Noreturn void run(const char *path, int in, int out)
{
    char name[] = "tern-pam";
    char *argv[] = { name, NULL };

    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGPIPE, SIG_DFL);
    /* Modules that print do so into the log of the supervisor. */
    if (dup2(in, 0) == 0 && dup2(out, 1) == 1 && close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
        (void)execve(path, argv, environ);
    _exit(127);
}

/* The four, each with its NUL: below what a pipe holds, so that nobody waits. */
static bool put_question(int fd, const struct local_request *r)
{
    const struct slice parts[] = { r->place, r->user, r->name, r->secret };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (write(fd, parts[i].ptr, parts[i].len + 1) != (ssize_t)parts[i].len + 1)
            return false;
    return true;
}

static ssize_t wait_for_answer(int fd, uint64_t deadline_ms, struct local_answer *ret)
{
    uint64_t now = clock_now_ms();
    struct pollfd p = { .fd = fd, .events = POLLIN };

    while (now < deadline_ms) {
        if (poll(&p, 1, (int)(deadline_ms - now)) > 0)
            return recv(fd, ret, sizeof(*ret), MSG_TRUNC);
        now = clock_now_ms();
    }
    return -1;
}

_Noreturn void local_pam(const struct local_work *w)
{
    uint64_t deadline_ms = clock_now_ms() + w->request->timeout_ms;
    struct local_answer answer;
    char path[PATH_MAX];
    int in[2], out[2];

    find_program(w, path);
    become_asker(w);
    if (pipe2(in, O_CLOEXEC) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, out) < 0 ||
        !put_question(in[1], w->request))
        local_answer(w, LOCAL_DEFERRED, "4.3.0", "no pipes for PAM: %s", strerror(errno));
    (void)close(in[1]);
    local_adopt();
    pid_t pid = fork();
    if (pid == 0)
        run(path, in[0], out[1]);
    (void)close(out[1]);
    (void)close(in[0]);
    if (pid < 0)
        local_answer(w, LOCAL_DEFERRED, "4.3.0", "fork: %s", strerror(errno));
    (void)setpgid(pid, pid);
    ssize_t n = wait_for_answer(out[0], deadline_ms, &answer);
    if (n != (ssize_t)sizeof(answer)) {
        local_end_all(pid);
        local_answer(w, LOCAL_DEFERRED, "4.3.0", "%s",
                     n < 0 ? "PAM did not answer in time" : "tern-pam ended without an answer");
    }
    local_answer_clean(&answer);
    local_answer_send(w, &answer);
    /* PAM's modules may tidy up, but not for ever. */
    struct pollfd p = { .fd = out[0], .events = POLLIN };
    (void)poll(&p, 1, TIDY_MS);
    local_end_all(pid);
    _exit(0);
}
