/* SPDX-License-Identifier: Apache-2.0 */
/* xtext.h - text that may stand in an SMTP parameter (RFC 3461 section 4). Pure. */
#ifndef TERN_MIME_XTEXT_H
#define TERN_MIME_XTEXT_H

#include "base/buf.h"
#include "base/slice.h"

/* Appends what `text` stands for; false on bad syntax ("+3", "+ag", "=", a blank, octets above 126). */
bool xtext_decode(struct slice text, struct buf *out);
bool xtext_is_valid(struct slice text); /* whatever octets it stands for */
/* Whether it is xtext and stands for printable ASCII only, as RFC 3461 wants of ENVID and ORCPT. */
bool xtext_is_printable(struct slice text);

#endif
