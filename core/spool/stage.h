/* SPDX-License-Identifier: Apache-2.0 */
/* stage.h - from waiting units to the octets of one batch. Spool thread. */
#ifndef TERN_SPOOL_STAGE_H
#define TERN_SPOOL_STAGE_H

#include "spool/internal.h"

int spool_change_check(const struct row *row, const struct spool_change *c);
/* Appends the change's payload. */
void spool_change_encode(struct spool *spool, const struct row *row, const struct spool_change *c, struct buf *out);

enum stage_result { STAGE_TAKEN, STAGE_BLOCKED, STAGE_FULL, STAGE_WRONG };
/* Adds the unit to the batch; `room`: octets of the batch at most. WRONG: unit->error says why. */
enum stage_result spool_stage(struct spool *spool, struct unit *unit, uint64_t room);
/* Gives every record its place and check, in a segment at its committed length; builds the iov. Returns the octets
 * to write. */
uint64_t spool_stage_place(struct spool *spool, struct segment *segment);
/* The batch is durable there: rows follow. Takes lock. */
void spool_stage_commit(struct spool *spool, struct segment *segment);
/* Takes the marks of a unit that stays in line off again. */
void spool_stage_unmark(struct spool *spool, struct unit *unit);
/* It is not: rows that were reserved go. Takes lock. */
void spool_stage_abort(struct spool *spool);

#endif
