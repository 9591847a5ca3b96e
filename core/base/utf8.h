/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h - which octets are well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates). */
#ifndef TERN_BASE_UTF8_H
#define TERN_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

/* Octets of the character at the start of `s`, 1 to 4; 0 if it is not well formed or s is empty. */
size_t utf8_len(struct slice s);
bool utf8_valid(struct slice s);
/*
 * The same if it may stand in a line that people look at: 0 also of what steers a terminal or ends a line for somebody,
 * which are C0, DEL, C1 (NEL, CSI), U+2028 and U+2029.
 */
size_t utf8_shown_len(struct slice s);
bool slice_is_ascii(struct slice s);

#endif
