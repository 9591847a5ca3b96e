/* SPDX-License-Identifier: Apache-2.0 */
/* local.h - a module's wish to tern-local, from the words of the ABI into those of local/. */
#ifndef TERN_DELIVERY_LOCAL_H
#define TERN_DELIVERY_LOCAL_H

#include <tern/module.h>

#include "local/client.h"

/* Blocks, until deadline_ms of the clock at most. Fills *ret. Pool thread. */
void delivery_local_ask(const struct tern_local *local, const struct local_message *message, uint64_t octets,
                        uint64_t deadline_ms, struct tern_local_answer *ret);

#endif
