/* SPDX-License-Identifier: Apache-2.0 */
/* yaml_source.h - what stands behind a tree: files, their text, the environment. For yaml.c. */
#ifndef TERN_CONFIG_YAML_SOURCE_H
#define TERN_CONFIG_YAML_SOURCE_H

#include <sys/types.h>

#include "config/yaml.h"

#define SOURCE_OCTETS_MAX        (16u << 20)
#define SOURCE_SECRET_OCTETS_MAX 65536

/*
 * The whole of a regular file, with a NUL behind it, in `arena`. -EFBIG: longer than octets_max;
 * -EINVAL: not a regular file. ret_dev and ret_ino (may be NULL) name the file for good.
 */
int source_read(struct arena *arena, const char *path, size_t octets_max, struct slice *ret,
                dev_t *ret_dev, ino_t *ret_ino);
/* Says in words what source_read() returned. */
const char *source_error(int negative_errno, size_t octets_max);
/* Adds an error and returns false at the first octet that is not text: NUL, control, not UTF-8. */
bool source_check(struct slice text, const char *name, struct config_errors *e);
/* `path`, or `dir`/path if it is relative. */
const char *source_join(struct arena *arena, const char *dir, struct slice path);
/* The folder of a file, absolute. */
const char *source_folder(struct arena *arena, const char *path);
/* Replaces the text of a scalar by what !env or !file names, and marks it secret. */
void source_secret(struct arena *arena, struct yaml_node *node, bool file, struct config_errors *e);

#endif
