/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits.h - how many sessions there are, in all and per client network (rates.h), over all
 * loops. Core, before any hook. Any thread.
 */
#ifndef TERN_SERVER_LIMITS_H
#define TERN_SERVER_LIMITS_H

#include <stdbool.h>

#include <tern/module.h>

struct session_limits; /* one per process */

enum limit_answer { LIMIT_OK, LIMIT_SESSIONS, LIMIT_ADDRESS };

struct session_limits *session_limits_new(void);
void session_limits_free(struct session_limits *l);
/* Counts the session in, unless it is one too many. `network` is masked, and the same when it leaves. */
enum limit_answer session_limits_enter(struct session_limits *l, const tern_address *network,
                                       unsigned sessions_max, unsigned per_address_max);
void session_limits_leave(struct session_limits *l, const tern_address *network);
unsigned session_limits_count(struct session_limits *l);

#endif
