/* SPDX-License-Identifier: Apache-2.0 */
/* local.h - a module's wish to tern-local, from the words of the ABI into those of local/. */
#ifndef TERN_DELIVERY_LOCAL_H
#define TERN_DELIVERY_LOCAL_H

#include <tern/module.h>

#include "local/client.h"

struct delivery_local {
    const struct tern_local *local;
    struct local_message message;
    uint64_t octets;      /* of the message */
    tern_str hostname;    /* for the names of files */
    uint64_t deadline_ms; /* of the clock */
};

/* Blocks, until deadline_ms at most. Fills *ret. Pool thread. */
void delivery_local_ask(const struct delivery_local *d, struct tern_local_answer *ret);

#endif
