/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.h - what tern-local does for the worker, and what never: the part of supervisor.conf that concerns it.
 *
 * The supervisor reads the file (server/rules.h) and hands these to tern-local when it starts it. The worker has no
 * way to change them.
 */
#ifndef TERN_LOCAL_RULES_H
#define TERN_LOCAL_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOCAL_FOLDERS_MAX  16
#define LOCAL_COMMANDS_MAX 32
#define LOCAL_SERVICES_MAX 16
#define LOCAL_PATH_MAX     256
#define LOCAL_NAME_MAX     65
#define LOCAL_UID_MIN      1000
#define LOCAL_RULES_MAGIC  0x324c4e54u

struct local_rules {
    uint32_t magic, octets; /* of this struct: both programs are of one build */
    uint32_t uid_min;
    uint32_t folder_count, command_count, service_count;
    char folders[LOCAL_FOLDERS_MAX][LOCAL_PATH_MAX];   /* beside the homes: where a Maildir may be */
    char commands[LOCAL_COMMANDS_MAX][LOCAL_PATH_MAX]; /* programs that may be run */
    char services[LOCAL_SERVICES_MAX][LOCAL_NAME_MAX]; /* of PAM */
    char pam_user[LOCAL_NAME_MAX];                     /* whom PAM is asked as */
};

void local_rules_default(struct local_rules *rules);
/* Null, or why nobody delivers as this one. `own`: the process's own user, where it is not root. */
const char *local_rules_refuse_user(const struct local_rules *rules, uid_t uid, gid_t gid, uid_t own);
/* An absolute path, without detours, in the home or below a folder of the rules. */
bool local_rules_allow_folder(const struct local_rules *rules, const char *path, const char *home);
bool local_rules_allow_command(const struct local_rules *rules, const char *path);
bool local_rules_allow_service(const struct local_rules *rules, const char *name);

#endif
