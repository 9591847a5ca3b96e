/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - whether a loop hangs, or was only not let run: the machine has no processor for it, the process was
 * stopped (SIGSTOP, a debugger), the whole machine stood still.
 *
 * The supervisor looks at a loop whose heartbeat is late. Time counts as hung in which its thread ran
 * without a beat, or slept; not in which it waited for a processor or was stopped, nor in which the
 * supervisor itself did not run.
 */
#ifndef TERN_SERVER_WATCH_H
#define TERN_SERVER_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WATCH_LOOK_MS_MIN 250  /* from one look to the next: what a thread has used is told by the kernel's tick */
#define WATCH_LOOK_MS_MAX 1000 /* counted; what is beyond it nobody saw */

/* A thread, as /proc shows it. */
struct watch_look {
    bool known;                 /* else all time counts, as if it had run */
    char state;                 /* R, S, D, T ... */
    uint64_t ran_ns, waited_ns; /* on a processor, and for one, ever since; the latter is told when it got one */
};

/* Of one loop; all zero to begin with. */
struct watch {
    uint64_t beat_ms; /* the last one */
    uint64_t looked_ms;
    uint64_t hung_ms;
    struct watch_look last;
};

/* Whether it is to be looked at now: the beat is late, and the last look some time ago. */
bool watch_is_due(struct watch *w, uint64_t beat_ms, uint64_t now_ms);
/* Then. True: it has hung for limit_ms. */
bool watch_hangs(struct watch *w, uint64_t now_ms, const struct watch_look *look, uint64_t limit_ms);

/* The texts of /proc/PID/task/TID/stat and schedstat. */
void watch_parse(const char *stat, const char *schedstat, struct watch_look *ret);
void watch_read(pid_t pid, pid_t thread, struct watch_look *ret);

#endif
