/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spoolwork.h - a workload for the spool on a simulated disk, and a memory of what was promised:
 * messages of one and two groups, outcomes, bounces with their notices, holds, large bodies, a few
 * messages that stay for ever so that segments must be copied forward. Everything follows from a seed.
 *
 * spoolwork_check() compares a recovered spool with the promises: what was acknowledged is there with its
 * octets, what was finished is not, what was under way is there whole or not at all.
 */
#ifndef TERN_TESTS_SPOOLWORK_H
#define TERN_TESTS_SPOOLWORK_H

#include "simdisk.h"
#include "spool/internal.h"

#define WORK_SEGMENT_OCTETS 65536
#define WORK_RCPTS_MAX 3

enum work_state { WORK_NONE, WORK_UNDER_WAY, WORK_LIVE, WORK_FINISHED, WORK_FAILED };

struct work_change {
    bool under_way;
    uint8_t states[WORK_RCPTS_MAX];
    uint64_t due_ms;
    uint32_t attempts;
    bool held;
    bool finishes;
};

struct work_message {
    struct spool_key key;
    enum work_state state;
    uint32_t octets, partner; /* partner: index + 1 of the other group of its unit, or of the message its notice is for */
    bool stays, notice, other_group;
    uint8_t rcpt_count, states[WORK_RCPTS_MAX];
    uint64_t due_ms;
    uint32_t attempts;
    bool held;
    struct work_change change;
    uint64_t failed_batch;
    bool doubtful;            /* a change failed with an error: either state will do */
};

struct work {
    struct spool *spool;
    struct simdisk *disk;
    struct simrandom random;
    struct work_message *messages;
    uint32_t count, target, live, under_way;
    uint32_t *live_list;
    uint64_t acknowledged, outcomes, failures, batches_of_more;
    uint32_t big_every;
};

int spoolwork_open(struct simdisk *disk, struct spool **ret, char *error, size_t octets);
void spoolwork_init(struct work *w, struct simdisk *disk, uint64_t seed, uint32_t target);
void spoolwork_fini(struct work *w);
/* Submits a handful of jobs and lets the spool take steps. False once all messages were submitted. */
bool spoolwork_round(struct work *w);
void spoolwork_drain(struct work *w); /* until nothing is under way */
/* Findings go to `out`; returns how many. */
unsigned spoolwork_check(const struct work *w, struct spool *spool, struct buf *out);
/* After recovery the spool must work: stores, finishes, and reads back a few. Findings as above. */
unsigned spoolwork_use(const struct work *w, struct simdisk *disk, struct spool *spool, struct buf *out);
unsigned spoolwork_fsck(struct simdisk *disk, struct buf *out);

#endif
