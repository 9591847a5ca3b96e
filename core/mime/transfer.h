/* SPDX-License-Identifier: Apache-2.0 */
/* transfer.h - the body of a MIME part, decoded: base64 and quoted-printable (RFC 2045 6). Pure. */
#ifndef TERN_MIME_TRANSFER_H
#define TERN_MIME_TRANSFER_H

#include "base/buf.h"
#include "base/slice.h"

/*
 * Appends what `octets` stand for. `encoding` as in struct tern_part; one that is not known, and 7bit, 8bit,
 * binary, are taken as they are. Forgiving, for reading mail and not for passing it on: in base64 everything
 * outside of the alphabet is skipped and the first "=" ends it; a "=" that begins no escape stands for itself.
 */
void transfer_decode(struct slice encoding, struct slice octets, struct buf *out);

#endif
