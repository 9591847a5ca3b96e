/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users_file.h - a file of users that is read again when it changes. One for each path and process, for
 * all steps and generations that name it; they stay until the end, which a reload cannot make many of.
 */
#ifndef AUTH_FILE_USERS_FILE_H
#define AUTH_FILE_USERS_FILE_H

#include "users.h"

#define USERS_FILES_MAX 1000

struct users_file;

/* NULL: there are too many. Any thread. */
struct users_file *users_file_get(const char *path);
/* Reads it now. False: `error` has one sentence with file and line, and what was read before stays. */
bool users_file_read(struct users_file *file, char *error, size_t error_octets);
/*
 * The users as they are, after a look whether the file has changed (at most one a second). One reference,
 * or NULL: it was never read. True in *ret_failed if it has changed and could not be read: said
 * once for each change, in `error`. May block for the time of reading; pool thread.
 */
struct users *users_file_users(struct users_file *file, bool *ret_failed, char *error, size_t error_octets);
/* Anybody on the machine may read, or write, the file. */
bool users_file_is_readable_by_all(const struct users_file *file);
bool users_file_is_writable_by_all(const struct users_file *file);

#endif
