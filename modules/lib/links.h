/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links.h - connections of a module to its server that wait between two questions, and the pause after a failure.
 *
 * For BLOCKING steps: a question takes a connection that is idle, or opens one; how many there are at once
 * is bounded by the step's share of the pool. They belong to the process: steps and generations with the same
 * options share them. Those that have been idle for a minute are closed when any question comes. Any thread.
 */
#ifndef TERN_LIB_LINKS_H
#define TERN_LIB_LINKS_H

#include <tern/module.h>

#define LINKS_SETS_MAX 256 /* different options since the start */
#define LINKS_IDLE_MAX 16  /* of one set */

struct links;

struct links_ops {
    int (*open)(const void *conf, uint64_t timeout_ms, void **ret, char *error, size_t octets);
    /* Errors as of struct tern_table_provider.find(). */
    int (*ask)(void *link, const void *conf, void *question, uint64_t timeout_ms, char *error, size_t octets);
    void (*close)(void *link);
};

/* Those of the server that these texts (options) describe; NULL: too many. Texts are not kept. */
struct links *links_get(const struct links_ops *ops, const tern_str *texts, size_t count);
/*
 * Puts the question. 0, or negative with a sentence; -EAGAIN in the pause behind a failure, without one.
 * *ret_news: the first failure, or the first answer behind one: a line for the log.
 */
int links_ask(struct links *links, const void *conf, void *question, uint64_t timeout_ms, bool *ret_news, char *error,
              size_t octets);
/* The pause by itself, for questions that need no link kept: true: do not ask now. */
bool links_is_pausing(struct links *links);
/* What became of such a question; whether it is news. */
bool links_note(struct links *links, bool failed);

#endif
