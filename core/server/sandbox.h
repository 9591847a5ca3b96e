/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.h - what the worker can still do once it has read its configuration: files of its own, and no
 * system call that starts a program or looks into another process.
 *
 * Two fences of the kernel: Landlock for files, seccomp for system calls. Both are best effort unless the
 * operator wants them `required`; what was reached is said in the log and by `tern status`. They hold for
 * the process and all its threads, and nothing takes them back.
 */
#ifndef TERN_SERVER_SANDBOX_H
#define TERN_SERVER_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "config/paths.h"
#include "server/conf.h"

#define SANDBOX_LEVEL_OCTETS 96

/*
 * Before any thread is started. `paths`: what the configuration names, see config/paths.h. 0, or a negative errno
 * with a sentence in `error`: only if the configuration requires what could not be had.
 */
int sandbox_enter(const struct server_conf *conf, bool milter, const char *config_file, const char *module_path,
                  const struct config_paths *paths, char *error, size_t octets);
/* "landlock 7, seccomp", "off", "none: the kernel has no Landlock; ...". Any thread, after sandbox_enter(). */
const char *sandbox_level(void);
/* The first of `paths` that lies outside; NULL: none. Any thread. */
const char *sandbox_outside(const struct config_paths *paths);

#endif
