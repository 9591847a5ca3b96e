/* SPDX-License-Identifier: Apache-2.0 */
/* table_file.h - a table file as a snapshot; the format is described in tables.h. */
#ifndef TERN_STATE_TABLE_FILE_H
#define TERN_STATE_TABLE_FILE_H

#include <sys/stat.h>

#include "state/snapshot.h"

#define TABLE_FILE_OCTETS_MAX (UINT64_C(1) << 30)
#define TABLE_LINE_OCTETS_MAX 70000 /* key, value and what stands between and behind */
#define TABLE_ERROR_OCTETS    200

enum table_line { TABLE_LINE_EMPTY, TABLE_LINE_ENTRY, TABLE_LINE_BAD };

/* One line without its line end. BAD: *ret_why says why. Pure. */
enum table_line table_line_parse(struct slice line, struct slice *ret_key, struct slice *ret_value,
                                 const char **ret_why);

/*
 * Reads all of the file. `ret_stat` is what the file was when it was opened, also on failure
 * where known. On failure a negative errno, and in `error` what and, after a colon, in which line.
 */
int table_file_read(const char *path, struct snapshot **ret, size_t *ret_twice,
                    struct stat *ret_stat, char error[TABLE_ERROR_OCTETS]);

#endif
