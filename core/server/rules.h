/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.h - supervisor.conf: which user the worker becomes and which ports it may have.
 *
 *     user tern
 *     ports 24 25 465 587
 *     restart_ms 100 30000
 *     keys /etc/tern/tls /etc/letsencrypt
 *     sockets /run/tern
 *     uid_min 1000
 *     mailboxes /var/mail /srv/mail
 *     commands /usr/lib/dovecot/dovecot-lda
 *     pam tern
 *     pam_user root
 *
 * keys: folders, at most 16, from which the supervisor opens for the worker what only root may read: none
 * unless written. sockets: folders, at most 16, below which unix sockets of listeners may be: none unless written.
 * The last five are for tern-local (local/rules.h): nobody below uid_min gets mail or runs anything;
 * folders, beside the homes, in which Maildirs may lie; programs; services of PAM, and as whom it is asked.
 * restart_ms: how long a worker that died stays away, the first time and at most. Only root
 * may write the file. Without it the lines above are the rules. Ports from 1024 up need no rule:
 * anybody may bind them.
 */
#ifndef TERN_SERVER_RULES_H
#define TERN_SERVER_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "local/rules.h"

#define RULES_PORTS_MAX 32
#define RULES_FOLDERS_MAX 16 /* of keys, and of sockets */
#define RULES_PATH_MAX  256

struct rules {
    char user[64];
    uint16_t ports[RULES_PORTS_MAX];
    unsigned port_count;
    unsigned restart_ms_min, restart_ms_max;
    char keys[RULES_FOLDERS_MAX][RULES_PATH_MAX]; /* absolute, no final slash */
    unsigned key_count;
    char sockets[RULES_FOLDERS_MAX][RULES_PATH_MAX];
    uint32_t socket_count;
    struct local_rules local;
};

void rules_default(struct rules *rules);
/* 0, or a negative errno with a sentence "file:line: ..." in error. `path` must be root's, or the starting user's. */
int rules_load(const char *path, struct rules *rules, char *error, size_t octets);
/*
 * Opens a file for reading if it lies, all links followed, below one of the `keys` folders, and is a plain file that
 * belongs to root, or whoever runs this, and is writable by nobody else. The descriptor, or a negative errno with why.
 */
int rules_open_key(const struct rules *rules, const char *path, char *error, size_t octets);
/* Whether that folder, all links followed, is one of `sockets` or below one. */
bool rules_allow_socket(const struct rules *rules, const char *folder);
bool rules_allow_port(const struct rules *rules, unsigned port);

#endif
