/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor.h - the process that stays root: it holds the listening sockets, starts the
 * worker again when it dies, and kills one that hangs. It parses no YAML, loads no
 * module and speaks with nobody but the worker.
 */
#ifndef TERN_SERVER_SUPERVISOR_H
#define TERN_SERVER_SUPERVISOR_H

#include <sys/types.h>

#include "local/rules.h"
#include "server/shared.h"

struct supervisor_options {
    const char *config;    /* the YAML file, only handed on */
    const char *rules;     /* supervisor.conf, or NULL for the default rules */
    const char *prefix_modules; /* default module_path, only handed on */
    bool milter; /* tern milter: only listeners of that protocol, and no spool */
};

/* What the worker gets when it begins, already unprivileged. */
struct worker_start {
    const char *config;
    const char *module_path;
    int supervisor_fd;
    struct shared_page *page;
    bool trust_group; /* started without root */
    bool milter;      /* see supervisor_options */
    const struct local_rules *local; /* what supervisor.conf allows tern-local, for warnings */
    uid_t local_own;  /* whose process that is */
};

/* Runs until told to stop. Returns the exit status of the process. */
int supervisor_run(const struct supervisor_options *options);
/* worker.c */
int worker_run(const struct worker_start *start);
#define WORKER_EXIT_CONFIG 78 /* EX_CONFIG: starting it again would not help */

#endif
