/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kids.c - see kids.h. tern-local has no CAP_KILL: who is to end a process of a user becomes that user first.
 */
#include "local/kids.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "local/child.h"

void local_kids_add(struct local_kids *kids, pid_t pid, const struct local_request *request,
                    const struct local_rules *rules)
{
    struct local_kid *k = kids->all;

    while (k->pid != 0)
        k++;
    k->pid = pid;
    k->overdue_ms = clock_now_ms() + request->timeout_ms + LOCAL_GRACE_S * 1000 + LOCAL_OVERDUE_MS;
    (void)snprintf(k->user, sizeof(k->user), "%s", request->op == LOCAL_PAM ? rules->pam_user : request->user.ptr);
    kids->count++;
}

void local_kids_reap(struct local_kids *kids)
{
    pid_t pid;

    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        for (unsigned i = 0; i < LOCAL_CHILDREN_MAX; i++)
            if (kids->all[i].pid == pid) { /* else one that has ended another */
                kids->all[i].pid = 0;
                kids->count--;
            }
}

static _Noreturn void end_as_user(const struct local_kid *k, const struct local_rules *rules)
{
    struct local_request request = { .op = LOCAL_MAILDIR, .user = slice_cstr(k->user) };
    struct local_work work = { .rules = rules, .request = &request, .reply_fd = -1, .body_fd = -1 };
    struct local_user u = { 0, 0, "" };

    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(LOCAL_SWEEP_MS / 1000);
    local_find_user(&work, &u); /* or the end */
    local_become(&work, &u);
    (void)kill(k->pid, SIGKILL);
    _exit(0);
}

/* It is our child and was not waited for: the number is its own still. */
static void end(const struct local_kid *k, const struct local_rules *rules, const int fds[2])
{
    sigset_t none;

    if (kill(k->pid, SIGKILL) == 0 || errno != EPERM)
        return;
    if (fork() != 0)
        return; /* or the next time */
    (void)close(fds[0]);
    (void)close(fds[1]);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    end_as_user(k, rules);
}

void local_kids_sweep(struct local_kids *kids, const struct local_rules *rules, const int fds[2])
{
    uint64_t now = clock_now_ms();

    if (now < kids->swept_ms + LOCAL_SWEEP_MS)
        return;
    kids->swept_ms = now;
    for (unsigned i = 0; i < LOCAL_CHILDREN_MAX && kids->count > 0; i++) {
        struct local_kid *k = &kids->all[i];
        if (k->pid == 0 || now < k->overdue_ms)
            continue;
        log_event(LOG_WARNING, LOG_EV_local, NULL, "process %d, which works for user %s, does not end in time (was it "
                  "stopped?): it is ended", (int)k->pid, k->user);
        end(k, rules, fds);
        k->overdue_ms = now + LOCAL_AGAIN_MS;
    }
}
