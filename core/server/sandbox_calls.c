/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_calls.c - the system calls that the worker never makes, and that who has taken it over would like to.
 *
 * A list of what is denied, not of what is allowed: libraries change what they call between two versions, and
 * a mail server that dies of an update is worse than one call too many. A denied call fails with EPERM; nothing is
 * killed, so that a module that tries one in vain goes on.
 */
#include "server/sandbox_calls.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>

#define CALL(name) SCMP_SYS(name)

static const int denied[] = {
    /* starts a program: the worker never does, tern-local is there for it */
    CALL(execve), CALL(execveat),
    /* looks into other processes of the same user, or changes them */
    CALL(ptrace), CALL(process_vm_readv), CALL(process_vm_writev), CALL(kcmp), CALL(pidfd_getfd),
    CALL(process_madvise),
    /* changes what the file system looks like; escapes from where one is */
    CALL(mount), CALL(umount2), CALL(pivot_root), CALL(chroot), CALL(move_mount), CALL(open_tree), CALL(fsopen),
    CALL(fsconfig), CALL(fsmount), CALL(fspick), CALL(mount_setattr), CALL(name_to_handle_at),
    CALL(open_by_handle_at), CALL(quotactl), CALL(swapon), CALL(swapoff),
    /* namespaces: a user namespace gives capabilities, and with them most holes of the kernel */
    CALL(unshare), CALL(setns),
    /* parts of the kernel with a long list of holes that no mail server needs */
    CALL(bpf), CALL(perf_event_open), CALL(userfaultfd), CALL(keyctl), CALL(add_key), CALL(request_key),
    CALL(io_uring_setup), CALL(io_uring_enter), CALL(io_uring_register), CALL(lookup_dcookie), CALL(vmsplice),
    CALL(modify_ldt), CALL(personality), CALL(remap_file_pages), CALL(nfsservctl), CALL(uselib),
    /* the machine itself */
    CALL(init_module), CALL(finit_module), CALL(delete_module), CALL(kexec_load), CALL(kexec_file_load),
    CALL(reboot), CALL(acct), CALL(syslog), CALL(settimeofday), CALL(clock_settime), CALL(clock_adjtime),
    CALL(adjtimex), CALL(sethostname), CALL(setdomainname), CALL(ioperm), CALL(iopl), CALL(vhangup),
};

static const unsigned long namespaces[] = { CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWPID,   CLONE_NEWNET,
                                            CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP };

static int add_rules(scmp_filter_ctx ctx)
{
    for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++) {
        /* One that this machine does not have cannot be called either. */
        int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), denied[i], 0);
        if (r < 0 && r != -EDOM)
            return r;
    }
    for (size_t i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++) {
        int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), CALL(clone), 1,
                                 SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]));
        if (r < 0)
            return r;
    }
    /* Its flags are behind a pointer, where no filter can look. The C library falls back to clone(). */
    int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0);
    return r == -EDOM ? 0 : r;
}

int sandbox_calls_deny(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

    if (ctx == NULL)
        return -ENOMEM;
    int r = add_rules(ctx);
    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1); /* threads that a module may have started */
    if (r == 0)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r;
}
