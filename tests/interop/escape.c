/* SPDX-License-Identifier: Apache-2.0 */
/*
 * escape.c - a module for tests/interop/test_sandbox.py that does at RCPT what one who has taken over the worker would: it
 * starts a program, opens files elsewhere, looks into its parent. The reply says how each ended.
 */
#include <tern/module.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct tern_api *tern;

struct escape_conf {
    tern_str inside, outside; /* folders */
    bool harmless;            /* leaves out what would hurt the machine if nothing stopped it */
};

static const char *how(long r)
{
    if (r >= 0)
        return "ok";
    return errno == EPERM ? "EPERM" : errno == EACCES ? "EACCES" : strerror(errno);
}

static const char *file(const char *folder, const char *name, int flags)
{
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, flags, 0600);
    const char *said = how(fd);
    if (fd >= 0)
        (void)close(fd);
    return said;
}

/* In a child, so that one that succeeds does not replace the server. */
static const char *program(void)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        (void)execl("/bin/true", "true", (char *)NULL);
        _exit(errno == EPERM ? 1 : 2);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return "?";
    return WEXITSTATUS(status) == 0 ? "ok" : WEXITSTATUS(status) == 1 ? "EPERM" : "other";
}

static const char *memory_of_parent(void)
{
    char octet;
    struct iovec mine = { &octet, 1 }, theirs = { (void *)&tern, 1 };

    return how(process_vm_readv(getppid(), &mine, 1, &theirs, 1, 0));
}

static tern_verdict on_rcpt(tern_call *call, const void *conf)
{
    const struct escape_conf *c = conf;
    const char *exec = program(), *traced = "-", *memory = "-", *unshared = "-", *mounted = "-", *killed = "-";
    const char *keys = "-";

    if (!c->harmless) {
        traced = how(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
        memory = memory_of_parent();
        unshared = how(unshare(CLONE_NEWUSER));
        mounted = how(mount("none", c->inside.ptr, "tmpfs", 0, NULL));
        killed = how(kill(getppid(), 0));
        keys = how(syscall(SYS_keyctl, 0, -3, 0, 0, 0));
    }
    return tern->reply(call, TERN_REJECT, 550, "5.7.1",
                       "exec=%s ptrace=%s memory=%s unshare=%s mount=%s kill=%s keyctl=%s read-out=%s write-out=%s "
                       "read-in=%s write-in=%s home=%s shadow=%s",
                       exec, traced, memory, unshared, mounted, killed, keys, file(c->outside.ptr, "secret", O_RDONLY),
                       file(c->outside.ptr, "new", O_WRONLY | O_CREAT), file(c->inside.ptr, "there", O_RDONLY),
                       file(c->inside.ptr, "new", O_WRONLY | O_CREAT | O_TRUNC), file("/", ".", O_RDONLY),
                       file("/etc", "shadow", O_RDONLY));
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_PATH(struct escape_conf, inside, NULL, "A folder that the configuration names."),
    TERN_OPTION_STRING(struct escape_conf, outside, NULL, "One that it does not, as far as the server knows."),
    TERN_OPTION_BOOL(struct escape_conf, harmless, "false", "Leave out what would hurt the machine without a sandbox."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(RCPT, on_rcpt), .answers = TERN_MAY_REJECT },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "escape", .summary = "Tries what the sandbox forbids.", .options = options, .hooks = hooks,
            .conf_size = sizeof(struct escape_conf), .init = init)
