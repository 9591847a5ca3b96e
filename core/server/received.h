/* SPDX-License-Identifier: Apache-2.0 */
/* received.h - the trace field that a server puts on top (RFC 5321 4.4). Pure. */
#ifndef TERN_SERVER_RECEIVED_H
#define TERN_SERVER_RECEIVED_H

#include "base/buf.h"
#include "state/facts.h"

/* Adds the whole field, folded, with its CRLF. `for` only for a single recipient: others are nobody's business. */
void received_add(struct buf *out, const struct session_facts *session, const struct txn_facts *txn,
                  const char *hostname, uint64_t wall_ms);

#endif
