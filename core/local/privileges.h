/* SPDX-License-Identifier: Apache-2.0 */
/*
 * privileges.h - what tern-local keeps of root (two capabilities), and what its children keep (none).
 */
#ifndef TERN_LOCAL_PRIVILEGES_H
#define TERN_LOCAL_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * In the process that becomes tern-local, before execve: CAP_SETUID and CAP_SETGID, in no set and by no program
 * anything else any more, no_new_privs. For root only. 0, or a negative errno with the name of what failed.
 */
int privileges_keep_two(const char **ret_what);
/*
 * Becomes the user, with all his groups, for ever: proves that there is no way back. `own`: without root, where only
 * the same user can be had. 0, or a negative errno with what failed.
 */
int privileges_become(const char *user, uid_t uid, gid_t gid, bool own, const char **ret_what);
/* Root without capabilities: files of root's, and nothing else. */
int privileges_drop_all(const char **ret_what);

#endif
