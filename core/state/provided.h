/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provided.h - a table whose keys and values are somewhere else, served by a module (struct
 * tern_table_provider): questions on threads of its own, answers kept for a while.
 *
 * It belongs to the process, not to a generation: the same options in two generations are one,
 * with one cache and one set of connections. Any thread may ask; a look-up takes the one lock of
 * its table for as long as it takes to find a row. Not for: names and nodes (tables.c).
 */
#ifndef TERN_STATE_PROVIDED_H
#define TERN_STATE_PROVIDED_H

#include <tern/module.h>

#include "config/schema.h"
#include "state/tables.h"

#define PROVIDED_QUEUE_MAX    10000              /* questions of one table that wait for a thread */
#define PROVIDED_CACHE_OCTETS ((size_t)16 << 20) /* of one table, keys and values */
#define PROVIDED_ERROR_OCTETS 512

struct provided;
struct provided_answer; /* counted */

/*
 * The table that `node` (a map of options) describes, counted; NULL after errors. `name` is what
 * the log calls it if it is new.
 */
struct provided *provided_acquire(const struct tern_table_provider *type, const struct yaml_node *node,
                                  const char *name, struct config_errors *errors);
/* The generation lets go. With the last one connections are closed, by their threads. */
void provided_release(struct provided *p);

/*
 * At the end of the process, when no generation is left: waits at most `wait_ms` for the threads of all tables. How
 * many are stuck in a server that does not answer: they still use modules and libraries.
 */
unsigned provided_wait(unsigned wait_ms);

/* `key` is folded. What is kept: 0 and *ret, to be released; else -EAGAIN. */
int provided_peek(struct provided *p, struct slice key, struct provided_answer **ret);
/* As table_ask(). */
void provided_ask(struct provided *p, struct slice key, struct table_wait *wait);

enum tern_status provided_answer_status(const struct provided_answer *answer);
tern_str provided_answer_value(const struct provided_answer *answer);
void provided_answer_release(struct provided_answer *answer);

#endif
