/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_files.h - private keys from files, kept while they are in use: of dkim_sign and arc_seal, each its own.
 */
#ifndef MODULES_LIB_DKIM_FILES_H
#define MODULES_LIB_DKIM_FILES_H

#include "dkim.h"

#define DKIM_FILES_KEPT      1024  /* private keys in memory; others are read again */
#define DKIM_FILE_OCTETS_MAX 16384 /* of a file */

/*
 * 0; -ENOENT: there is no such file; else negative with a sentence in `error`. The caller lets go of the key. A key is
 * good for its `generation`, which only grows: then its file is looked at again. Pool thread.
 */
int dkim_file_key(const char *path, uint64_t generation, struct dkim_private **ret, char *error, size_t octets);
void dkim_files_free(void);

#endif
