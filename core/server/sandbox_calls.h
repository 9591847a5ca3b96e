/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox_calls.h - seccomp: denies what sandbox_calls.c lists, for all threads and for good. */
#ifndef TERN_SERVER_SANDBOX_CALLS_H
#define TERN_SERVER_SANDBOX_CALLS_H

/* 0 or a negative errno. */
int sandbox_calls_deny(void);

#endif
