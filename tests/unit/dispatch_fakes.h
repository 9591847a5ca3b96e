/* SPDX-License-Identifier: Apache-2.0 */
/* dispatch_fakes.h - between dispatch_world.c and dispatch_fakes.c only. */
#ifndef TERN_TESTS_DISPATCH_FAKES_H
#define TERN_TESTS_DISPATCH_FAKES_H

#include "dispatch_world.h"

void fakes_start(const struct world_options *options);
const struct policies *fake_policies(void);
/* A next hop said 250 for the recipient (index in the envelope). */
void world_carried(const char *id, uint32_t rcpt);

#endif
