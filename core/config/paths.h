/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths.h - every file and folder that a configuration names, collected while it is read: for the sandbox, which
 * allows these and no others.
 *
 * Includes, `!file`, tables, scripts and options of type path all come by one function of yaml_source.c, which
 * tells the list of this thread, if there is one.
 */
#ifndef TERN_CONFIG_PATHS_H
#define TERN_CONFIG_PATHS_H

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_PATHS_MAX 100000 /* more are not collected, and so not allowed */

struct config_path {
    char *path;
    bool written; /* else it is only read */
};

struct config_paths {
    struct config_path *items;
    size_t count, size;
};

/* From here on what this thread reads is collected in `paths`; NULL ends it. */
void config_paths_collect(struct config_paths *paths);
void config_paths_add(const char *path, bool written);
void config_paths_free(struct config_paths *paths);

#endif
