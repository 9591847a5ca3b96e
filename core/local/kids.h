/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kids.h - the children of tern-local, and those among them that live longer than their timer allows: a process that
 * is its user's can be stopped by him, and a stopped one hears no timer. Enough of them, and nobody gets mail.
 */
#ifndef TERN_LOCAL_KIDS_H
#define TERN_LOCAL_KIDS_H

#include <stdint.h>
#include <sys/types.h>

#include "local/serve.h"

#define LOCAL_GRACE_S    10 /* beyond what the request allows, to a child: for the answer */
#define LOCAL_OVERDUE_MS 5000 /* and beyond that: it should have been ended by its timer */
#define LOCAL_SWEEP_MS   5000
#define LOCAL_AGAIN_MS   60000 /* a disk that hangs lets nobody go */

struct local_kid {
    pid_t pid; /* 0: a free place */
    uint64_t overdue_ms;
    char user[LOCAL_USER_OCTETS_MAX + 1]; /* that it has become */
};

struct local_kids {
    unsigned count;
    uint64_t swept_ms;
    struct local_kid all[LOCAL_CHILDREN_MAX];
};

/* There is a place. */
void local_kids_add(struct local_kids *kids, pid_t pid, const struct local_request *request,
                    const struct local_rules *rules);
/* Takes leave of all that have ended. */
void local_kids_reap(struct local_kids *kids);
/* Ends who is overdue, at most every LOCAL_SWEEP_MS. `fds`: what a process that does it has to close. */
void local_kids_sweep(struct local_kids *kids, const struct local_rules *rules, const int fds[2]);

#endif
