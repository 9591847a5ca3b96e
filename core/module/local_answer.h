/* SPDX-License-Identifier: Apache-2.0 */
/* local_answer.h - an answer of tern-local in the words of the ABI. */
#ifndef TERN_MODULE_LOCAL_ANSWER_H
#define TERN_MODULE_LOCAL_ANSWER_H

#include <tern/module.h>

#include "local/protocol.h"

/* The enhanced code fits the status, whatever the other side wrote. */
void local_answer_tell(struct tern_local_answer *ret, const struct local_answer *answer);

#endif
