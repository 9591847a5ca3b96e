/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.c - one request in a process of its own: finds the user, asks the rules, becomes him for good, and only then
 * touches anything of his.
 *
 * A timer that nobody resets ends it if a name service or a file system never comes back; then the worker reads the
 * end of the socket, and the mail waits.
 */
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lib/maildir.h>

#include "base/log.h"
#include "local/child.h"
#include "local/kids.h"

#define PASSWD_OCTETS 16384
#define ENDED_MAX     256
#define HOME_WORD     "%{home}"

/* ---- programs ---- */

void local_adopt(void)
{
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/* The first of our children; 0: there is none. */
static pid_t first_child(void)
{
    char path[64];
    long pid = 0;

    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "re");
    if (f == NULL || fscanf(f, "%ld", &pid) != 1)
        pid = 0;
    if (f != NULL)
        (void)fclose(f);
    return (pid_t)pid;
}

void local_end_all(pid_t pid)
{
    (void)kill(-pid, SIGKILL);
    (void)kill(pid, SIGKILL);
    for (unsigned i = 0; i < ENDED_MAX; i++) {
        pid_t child = first_child();
        if (child <= 0 || (kill(child, SIGKILL) < 0 && errno != ESRCH) || waitpid(child, NULL, 0) < 0)
            return;
    }
}

/* ---- the answer ---- */

void local_answer_send(const struct local_work *work, const struct local_answer *answer)
{
    (void)send(work->reply_fd, answer, sizeof(*answer), MSG_NOSIGNAL);
}

_Noreturn void local_answer(const struct local_work *work, enum local_status status, const char *enhanced,
                            const char *format, ...)
{
    struct local_answer answer = { .status = status };
    va_list args;

    (void)snprintf(answer.enhanced, sizeof(answer.enhanced), "%s", enhanced);
    va_start(args, format);
    (void)vsnprintf(answer.text, sizeof(answer.text), format, args);
    va_end(args);
    local_answer_send(work, &answer);
    _exit(status == LOCAL_DELIVERED ? 0 : 1);
}

/* ---- the user ---- */

void local_find_user(const struct local_work *work, struct local_user *ret)
{
    static char buffer[PASSWD_OCTETS];
    struct passwd pw, *found = NULL;
    const char *name = work->request->user.ptr;
    int r = getpwnam_r(name, &pw, buffer, sizeof(buffer), &found);

    /* Not there, and could not find out, are two things: the second is never a bounce. */
    if (found == NULL && (r == 0 || r == ENOENT || r == ESRCH))
        local_answer(work, LOCAL_NO_USER, "5.1.1", "there is no user %s", name);
    if (found == NULL)
        local_answer(work, LOCAL_DEFERRED, "4.3.0", "user %s: %s", name, strerror(r));
    ret->uid = pw.pw_uid;
    ret->gid = pw.pw_gid;
    if (strlen(pw.pw_dir) < sizeof(ret->home))
        (void)strcpy(ret->home, pw.pw_dir);
}

void local_become(const struct local_work *work, const struct local_user *u)
{
    const char *name = work->request->user.ptr, *what = "";
    bool own = geteuid() != 0;
    const char *why = local_rules_refuse_user(work->rules, u->uid, u->gid, geteuid());

    if (why != NULL) {
        log_event(LOG_WARNING, LOG_EV_local, NULL, "user %s (uid %u): %s", name, (unsigned)u->uid, why);
        local_answer(work, own ? LOCAL_REFUSED : LOCAL_NO_USER, "", "user %s: %s", name, why);
    }
    int r = privileges_become(name, u->uid, u->gid, own, &what);
    if (r < 0)
        local_answer(work, LOCAL_DEFERRED, "4.3.0", "cannot become user %s: %s: %s", name, what, strerror(-r));
}

/* ---- the message ---- */

int64_t local_body_read(struct local_body *b, void *buffer, size_t octets)
{
    if (b->left == 0)
        return 0;
    if (octets > b->left)
        octets = (size_t)b->left;
    for (;;) {
        ssize_t n = read(b->fd, buffer, octets);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EPIPE; /* the worker is gone: half a mail is none */
        b->left -= (uint64_t)n;
        return n;
    }
}

/* ---- a Maildir ---- */

static int64_t read_body(void *arg, void *buffer, size_t octets)
{
    return local_body_read(arg, buffer, octets);
}

static void make_path(const struct local_work *work, const struct local_user *u, char path[MAILDIR_PATH_OCTETS_MAX])
{
    const char *place = work->request->place.ptr;
    bool home = strncmp(place, HOME_WORD, sizeof(HOME_WORD) - 1) == 0;
    int n = snprintf(path, MAILDIR_PATH_OCTETS_MAX, "%s%s", home ? u->home : "",
                     home ? place + sizeof(HOME_WORD) - 1 : place);

    if (n >= MAILDIR_PATH_OCTETS_MAX)
        local_answer(work, LOCAL_FAILED, "5.1.3", "this address cannot name a mailbox");
    if (!local_rules_allow_folder(work->rules, path, u->home)) {
        log_event(LOG_WARNING, LOG_EV_local, NULL, "%s is neither in the home of %s nor below `mailboxes`", path,
                  work->request->user.ptr);
        local_answer(work, LOCAL_REFUSED, "", "%s is neither in the home of %s nor below a folder of `mailboxes` in "
                     "supervisor.conf", path, work->request->user.ptr);
    }
}

static _Noreturn void deliver_maildir(const struct local_work *work)
{
    const struct local_request *r = work->request;
    struct local_body body = { work->body_fd, r->octets };
    struct local_user u = { 0, 0, "" };
    char path[MAILDIR_PATH_OCTETS_MAX];
    const char *what = "";

    local_find_user(work, &u);
    make_path(work, &u, path);
    local_become(work, &u);
    struct maildir_mail mail = { .folder = path, .hostname = r->name.ptr, .head = { r->head.ptr, r->head.len },
                                 .create = (r->flags & LOCAL_CREATE) != 0, .lf = (r->flags & LOCAL_LF) != 0,
                                 .read = read_body, .arg = &body };
    int failed = maildir_store(&mail, &what);
    if (failed == 0)
        local_answer(work, LOCAL_DELIVERED, "2.0.0", "%s", path);
    bool full = failed == -ENOSPC || failed == -EDQUOT;
    local_answer(work, LOCAL_DEFERRED, full ? "4.2.2" : "4.3.0", "%s: %s", what, strerror(-failed));
}

/* ---- all of them ---- */

static void set_timer(uint32_t timeout_ms)
{
    struct itimerval t = { .it_value = { .tv_sec = timeout_ms / 1000 + LOCAL_GRACE_S } };

    (void)signal(SIGALRM, SIG_DFL);
    (void)setitimer(ITIMER_REAL, &t, NULL);
}

_Noreturn void local_child(const struct local_work *work)
{
    sigset_t none;

    set_timer(work->request->timeout_ms);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(077);
    switch (work->request->op) {
    case LOCAL_MAILDIR: deliver_maildir(work);
    case LOCAL_PIPE: local_pipe(work);
    case LOCAL_PAM: local_pam(work);
    default: local_answer(work, LOCAL_REFUSED, "", "not supported");
    }
}
