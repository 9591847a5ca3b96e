/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format.h - what the octets of the log mean (docs/queue.md section 1). Pure: no file, no
 * lock, no allocation; the fuzzer, the tests and the server call the same functions.
 *
 * Decoders take any octets and return false unless all is well.
 */
#ifndef TERN_SPOOL_FORMAT_H
#define TERN_SPOOL_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "spool/spool.h"

#define FORMAT_BLOCK          4096u /* headers and batches are padded to it */
#define FORMAT_BATCH_HEADER   64u
#define FORMAT_RECORD_HEADER  40u
#define FORMAT_MESSAGE_FIXED  80u
#define FORMAT_CHANGE_FIXED   16u
#define FORMAT_STATE_FIXED    32u
#define FORMAT_TEXT_MAX       512u       /* of one reply */
#define FORMAT_TEXTS_MAX      (1u << 20) /* of all replies of a message */
#define FORMAT_RCPTS_MAX      100000u
#define FORMAT_UNIT_RECORDS_MAX 65535u
#define FORMAT_UNIT_OCTETS_MAX  (256u << 20)

static inline uint64_t format_pad(uint64_t octets, uint64_t to)
{
    return (octets + to - 1) / to * to;
}

/* ---- checks ---- */

/* Every check is bound to the segment (seed) and the place in it. */
uint64_t format_check(uint64_t seed, uint64_t offset, const void *octets, size_t len);
uint64_t format_check_seed(uint64_t seed, uint64_t offset);

/* ---- segment ---- */

struct format_segment {
    uint64_t seq, seed, octets, made_ms;
};
void format_segment_encode(const struct format_segment *s, char out[FORMAT_BLOCK]);
bool format_segment_decode(const char in[FORMAT_BLOCK], struct format_segment *ret);

/* ---- batch ---- */

struct format_batch {
    uint32_t records;
    uint64_t number, octets; /* octets: from the header on, without the padding at the end */
    uint64_t id_ceiling;
    uint64_t prev_seq, prev_octets; /* first batch of a segment, else 0 */
};
void format_batch_encode(const struct format_batch *b, uint64_t seed, uint64_t offset, char *out);
bool format_batch_decode(const char *in, uint64_t seed, uint64_t offset, struct format_batch *ret);

/* ---- record ---- */

enum format_type { FORMAT_BODY = 1, FORMAT_MESSAGE = 2, FORMAT_CHANGE = 3 };

struct format_record {
    unsigned type;
    uint32_t unit;            /* in the batch */
    uint16_t index, count;    /* in the unit */
    uint64_t octets;          /* payload */
    uint64_t payload_check;   /* by format_check() at the payload's offset */
};
void format_record_encode(const struct format_record *r, uint64_t seed, uint64_t offset, char *out);
bool format_record_decode(const char *in, uint64_t seed, uint64_t offset, struct format_record *ret);

/* ---- state: whole in every record ---- */

struct format_state {
    uint32_t version, attempts, pending;
    uint64_t due_ms;
    bool held, operator_held; /* on disk 0: no, 1: by the policy, 2: by the operator */
    uint32_t text_count;
    struct slice states; /* two bits a recipient, lowest first; empty: all queued */
    /* text_count times: recipient (32), length (16), octets. Behind the last recipient: why it is held. */
    struct slice texts;
};
#define FORMAT_TEXT_HEADER 6u
static inline uint32_t format_states_octets(uint32_t rcpt_count)
{
    return (rcpt_count + 3) / 4;
}
static inline unsigned format_states_get(const uint8_t *states, uint32_t rcpt)
{
    return (states[rcpt / 4] >> (rcpt % 4 * 2)) & 3;
}
static inline void format_states_set(uint8_t *states, uint32_t rcpt, unsigned state)
{
    states[rcpt / 4] = (uint8_t)((states[rcpt / 4] & ~(3u << (rcpt % 4 * 2))) | (state << (rcpt % 4 * 2)));
}
uint32_t format_states_pending(const uint8_t *states, uint32_t rcpt_count);
size_t format_state_octets(const struct format_state *s);
char *format_state_encode(const struct format_state *s, char *out); /* returns the end */
/* `in` is exactly the section. Pending must agree with the states, recipients must rise. */
bool format_state_decode(struct slice in, uint32_t rcpt_count, struct format_state *ret);
void format_text_header(uint32_t rcpt, unsigned octets, char out[FORMAT_TEXT_HEADER]);
/* Takes the next text off `texts`. */
bool format_text_next(struct slice *texts, uint32_t *rcpt, struct slice *text);

/* ---- message and change ---- */

enum { FORMAT_BIG = 1, FORMAT_BOUNCE = 2 };

struct format_message {
    struct spool_key key;
    unsigned flags;
    uint32_t rcpt_count;
    uint64_t arrival_ms, octets; /* octets: as it goes out */
    uint64_t body_offset, body_octets;
    struct spool_key body_key;   /* FORMAT_BIG: the file */
    uint32_t body_back;          /* else: from the record's header back to the body's payload; 0: none */
    uint32_t envelope_octets, head_octets, state_octets;
    struct format_state state;
    struct slice envelope, head;
};
/* The fixed part alone; state, envelope and head follow in that order. */
void format_message_encode(const struct format_message *m, char out[FORMAT_MESSAGE_FIXED]);
/* `summary`: the payload ends behind the state (side index). */
bool format_message_decode(struct slice payload, bool summary, struct format_message *ret);

struct format_change {
    struct spool_key key;
    unsigned kind;
    uint32_t rcpt_count;
    struct format_state state;
};
void format_change_encode(const struct format_change *c, char out[FORMAT_CHANGE_FIXED]);
bool format_change_decode(struct slice payload, struct format_change *ret);

#endif
