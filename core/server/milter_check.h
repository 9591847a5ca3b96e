/* SPDX-License-Identifier: Apache-2.0 */
/* milter_check.h - what a configuration says of listeners with protocol: milter that cannot work there. */
#ifndef TERN_SERVER_MILTER_CHECK_H
#define TERN_SERVER_MILTER_CHECK_H

#include "server/generation.h"

/* Whether listeners name that policy, and all of them are milters. `arg`: the generation. */
bool milter_is_all_of(void *arg, struct slice policy);
/* Warns of steps that are not asked there. */
void milter_check(const struct generation *g, struct config_errors *errors);

#endif
