/* SPDX-License-Identifier: Apache-2.0 */
/* smtpt_run.h - runs one parsed .smtpt file: the real protocol and policy, no sockets, no disk. */
#ifndef TERN_CLI_SMTPT_RUN_H
#define TERN_CLI_SMTPT_RUN_H

#include "base/buf.h"
#include "cli/smtpt.h"
#include "module/policy.h"

struct smtpt_result {
    unsigned passed, failed;
};

/* `path` is for messages and for relative paths. What failed is written to `out`: file:line: sentence. */
int smtpt_run(const char *path, const struct smtpt_file *file, struct modules *modules, struct buf *out,
              struct smtpt_result *result);

#endif
