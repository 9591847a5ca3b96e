/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash.h - what this thread was doing, for whoever finds it dead.
 *
 * server/ maps one slot a thread on a page shared with the supervisor; the runner writes
 * hook, step and queue id before it calls a handler and clears them after. Threads without a
 * slot (tests) write nothing. The supervisor may read a torn line: it is a hint, not a record.
 */
#ifndef TERN_MODULE_CRASH_H
#define TERN_MODULE_CRASH_H

#include "base/slice.h"

struct crash_slot {
    char hook[16], step[64], id[32]; /* empty hook: no handler is running */
};

/* The calling thread writes to `slot` from now on; NULL: to nowhere. */
void crash_slot_use(struct crash_slot *slot);
void crash_slot_set(const char *hook, struct slice step, struct slice id);
void crash_slot_clear(void);

#endif
