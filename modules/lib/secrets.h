/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secrets.h - several secrets in one option, a line each: so a file has them, and so they rotate. Pure.
 */
#ifndef MODULES_LIB_SECRETS_H
#define MODULES_LIB_SECRETS_H

#include <tern/module.h>

/*
 * The lines of `text` without line ends and empty ones, at most `max`; they point into it. Returns how many there are,
 * `max` + 1 for more.
 */
unsigned secrets_split(tern_str text, tern_str *ret, unsigned max);

#endif
