/* SPDX-License-Identifier: Apache-2.0 */
/* api_private.h - what the two halves of "look something up" share: waiting for it, or blocking. */
#ifndef TERN_MODULE_API_PRIVATE_H
#define TERN_MODULE_API_PRIVATE_H

#include "module/call.h"
#include "state/kv.h"

/* `space` and `key` as they go to the store: steps in shadow mode have a space of their own. */
struct kv_request api_kv_request(tern_call *call, enum kv_op op, const char *space, tern_str key);

#endif
