/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources: capabilities(7), prctl(2), credentials(7). capset() has no function in the C library.
 */
#include "local/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(cap)   (1u << (cap))
#define TWO        (BIT(CAP_SETUID) | BIT(CAP_SETGID))
#define LAST_GUESS 63

static int set_capabilities(uint32_t permitted, uint32_t inheritable)
{
    struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2] = { { permitted, permitted, inheritable }, { 0, 0, 0 } };

    return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

static bool has_capabilities(void)
{
    struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2] = { { 0, 0, 0 }, { 0, 0, 0 } };

    if (syscall(SYS_capget, &head, data) < 0)
        return true;
    for (unsigned i = 0; i < 2; i++)
        if ((data[i].effective | data[i].permitted | data[i].inheritable) != 0)
            return true;
    return false;
}

/* No program, whatever its file says, gets more than these two. */
static int bound_set(void)
{
    for (unsigned long cap = 0; cap <= LAST_GUESS; cap++) {
        if (cap == CAP_SETUID || cap == CAP_SETGID)
            continue;
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return errno == EINVAL && cap > 0 ? 0 : -errno; /* the kernel knows no further ones */
    }
    return 0;
}

int privileges_keep_two(const char **ret_what)
{
    unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED;
    int r;

    *ret_what = "bounding set";
    if ((r = bound_set()) < 0)
        return r;
    *ret_what = "capset";
    if ((r = set_capabilities(TWO | BIT(CAP_SETPCAP), TWO)) < 0)
        return r;
    *ret_what = "ambient capabilities";
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETUID, 0, 0) < 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETGID, 0, 0) < 0)
        return -errno;
    /* Being user 0 gives no capability any more, neither by execve nor by a set-user-ID program. */
    *ret_what = "secure bits";
    if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0)
        return -errno;
    *ret_what = "capset";
    if ((r = set_capabilities(TWO, TWO)) < 0)
        return r;
    *ret_what = "no_new_privs";
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int privileges_drop_all(const char **ret_what)
{
    int r;

    *ret_what = "ambient capabilities";
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -errno;
    *ret_what = "capset";
    if ((r = set_capabilities(0, 0)) < 0)
        return r;
    *ret_what = "capabilities are left";
    if (has_capabilities())
        return -EPERM;
    *ret_what = "no_new_privs";
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static bool is_for_ever(uid_t uid, gid_t gid)
{
    uid_t r, e, s;
    gid_t rg, eg, sg;

    if (getresuid(&r, &e, &s) < 0 || getresgid(&rg, &eg, &sg) < 0)
        return false;
    if (r != uid || e != uid || s != uid || rg != gid || eg != gid || sg != gid)
        return false;
    return setuid(0) < 0 && seteuid(0) < 0 && setgid(0) < 0 && setgroups(0, NULL) < 0;
}

int privileges_become(const char *user, uid_t uid, gid_t gid, bool own, const char **ret_what)
{
    int r;

    if (!own) {
        *ret_what = "groups";
        if (initgroups(user, gid) < 0)
            return -errno;
        *ret_what = "setresgid";
        if (setresgid(gid, gid, gid) < 0)
            return -errno;
        *ret_what = "setresuid";
        if (setresuid(uid, uid, uid) < 0)
            return -errno;
    }
    if ((r = privileges_drop_all(ret_what)) < 0)
        return r;
    *ret_what = "there is a way back to root";
    return own || is_for_ever(uid, gid) ? 0 : -EPERM;
}
