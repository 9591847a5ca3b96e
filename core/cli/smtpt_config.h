/* SPDX-License-Identifier: Apache-2.0 */
/* smtpt_config.h - the configuration of a .smtpt file, with its tables stubbed. */
#ifndef TERN_CLI_SMTPT_CONFIG_H
#define TERN_CLI_SMTPT_CONFIG_H

#include "base/buf.h"
#include "cli/smtpt.h"
#include "server/generation.h"

/* NULL after what is wrong was written to `out`. Relative paths begin at the folder of `path`. */
struct generation *smtpt_load(const char *path, const struct smtpt_file *file,
                              struct modules *modules, struct buf *out);

#endif
