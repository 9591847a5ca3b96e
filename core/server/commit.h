/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit.h - from what the engine decided to one append unit of the spool, and back.
 *
 * The commit object owns everything until the disk has answered: a session may be gone
 * by then and the mail is accepted all the same (RFC 1047).
 */
#ifndef TERN_SERVER_COMMIT_H
#define TERN_SERVER_COMMIT_H

#include "module/engine.h"
#include "server/serve.h"

struct commit;

/* status: 0 or a negative errno of the spool. */
typedef void (*commit_done)(void *arg, int status);

/* The groups that are to be stored; there is at least one. */
struct commit *commit_new(struct serve_loop *l, const struct session_facts *session,
                          const struct engine_message_result *result);
/* Hands it to the spool; `done` is called on the loop, unless forgotten. Frees itself. */
void commit_submit(struct commit *commit, commit_done done, void *arg);
/* The session is gone: `done` is not called any more. */
void commit_forget(struct commit *commit);

#endif
