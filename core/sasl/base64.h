/* SPDX-License-Identifier: Apache-2.0 */
/* base64.h - RFC 4648 4, as SASL uses it: one line, padding required. Pure. */
#ifndef TERN_SASL_BASE64_H
#define TERN_SASL_BASE64_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

void base64_add(struct buf *out, struct slice octets);
/*
 * Appends what `text` stands for; false, and *out as it was, if it is not strict base64: blanks,
 * missing or surplus padding, and bits that mean nothing (RFC 4648 3.5) are errors.
 */
bool base64_decode(struct buf *out, struct slice text);

#endif
