/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trust.h - whose hands a file of code went through: modules and scripts.
 *
 * Whoever may write a module, or a folder on the way to it, may do in Tern's name
 * whatever Tern may. So the file belongs to root (or, started without root, to that user),
 * nobody else may write it, and so on for every folder up to the root; a folder above
 * may be sticky and root's, as /tmp is: in it nobody can replace what is not his.
 */
#ifndef TERN_MODULE_TRUST_H
#define TERN_MODULE_TRUST_H

#include <stdbool.h>
#include <stddef.h>

enum trust { TRUST_OK, TRUST_WARNING, TRUST_REFUSED };

/*
 * The open file `fd`, known to the user as `path`. `own_user`: we run without root, so the
 * present user may own it, and a group that may write is a warning. The sentence for both
 * outcomes but OK goes to `text`; OK leaves it empty.
 */
enum trust trust_check(int fd, const char *path, bool own_user, char *text, size_t octets);
/*
 * Opens a regular file for reading and checks it. The descriptor, or -1 with a sentence; a
 * warning is left in `text`, which is empty otherwise.
 */
int trust_open(const char *path, bool own_user, char *text, size_t octets);

#endif
