/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local_process.h - the supervisor's side of tern-local: starts it when the worker first asks for it, and anew
 * when it is asked for again behind its end.
 */
#ifndef TERN_SERVER_LOCAL_PROCESS_H
#define TERN_SERVER_LOCAL_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "server/rules.h"

struct local_process {
    pid_t pid; /* -1: not running */
    int fd;    /* the end that the worker is given copies of */
    uint64_t started_ms, restart_at_ms;
    unsigned restart_ms;
};

void local_process_init(struct local_process *p);
/* The worker's end, which stays p's; or a negative errno with a sentence. Starts tern-local if it does not run. */
int local_process_get(struct local_process *p, const struct rules *rules, char *error, size_t octets);
/* It was waited for. */
void local_process_ended(struct local_process *p, const struct rules *rules, int status);
/* Lets go of it: it ends when the worker has, too. */
void local_process_fini(struct local_process *p);

#endif
