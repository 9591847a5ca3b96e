/* SPDX-License-Identifier: Apache-2.0 */
#include "spool/format.h"

#include <assert.h>
#include <endian.h>
#include <xxhash.h>

#define SEGMENT_MAGIC 0x314745534e524554ull /* "TERNSEG1" in the file */
#define BATCH_MAGIC   0x31544254u           /* "TBT1" */
#define RECORD_MAGIC  0x31435254u           /* "TRC1" */

static char *put16(char *at, uint64_t v)
{
    uint16_t le = htole16((uint16_t)v);

    memcpy(at, &le, sizeof(le));
    return at + sizeof(le);
}

static char *put32(char *at, uint64_t v)
{
    uint32_t le = htole32((uint32_t)v);

    memcpy(at, &le, sizeof(le));
    return at + sizeof(le);
}

static char *put64(char *at, uint64_t v)
{
    uint64_t le = htole64(v);

    memcpy(at, &le, sizeof(le));
    return at + sizeof(le);
}

static uint16_t get16(const char *at)
{
    uint16_t le;

    memcpy(&le, at, sizeof(le));
    return le16toh(le);
}

static uint32_t get32(const char *at)
{
    uint32_t le;

    memcpy(&le, at, sizeof(le));
    return le32toh(le);
}

static uint64_t get64(const char *at)
{
    uint64_t le;

    memcpy(&le, at, sizeof(le));
    return le64toh(le);
}

/* ---- checks ---- */

uint64_t format_check_seed(uint64_t seed, uint64_t offset)
{
    return seed + (offset + 1) * 0x9e3779b97f4a7c15ull;
}

uint64_t format_check(uint64_t seed, uint64_t offset, const void *octets, size_t len)
{
    return XXH3_64bits_withSeed(octets, len, format_check_seed(seed, offset));
}

/* ---- segment ---- */

void format_segment_encode(const struct format_segment *s, char out[FORMAT_BLOCK])
{
    memset(out, 0, FORMAT_BLOCK);
    char *at = put64(out, SEGMENT_MAGIC);
    at = put64(at, s->seq);
    at = put64(at, s->seed);
    at = put64(at, s->octets);
    at = put64(at, s->made_ms);
    (void)put64(at, format_check(s->seed, 0, out, 40));
}

bool format_segment_decode(const char in[FORMAT_BLOCK], struct format_segment *ret)
{
    uint64_t seed = get64(in + 16);

    if (get64(in) != SEGMENT_MAGIC || get64(in + 40) != format_check(seed, 0, in, 40))
        return false;
    *ret = (struct format_segment){ get64(in + 8), seed, get64(in + 24), get64(in + 32) };
    return true;
}

/* ---- batch ---- */

void format_batch_encode(const struct format_batch *b, uint64_t seed, uint64_t offset, char *out)
{
    char *at = put32(out, BATCH_MAGIC);

    at = put32(at, b->records);
    at = put64(at, b->number);
    at = put64(at, b->octets);
    at = put64(at, b->id_ceiling);
    at = put64(at, b->prev_seq);
    at = put64(at, b->prev_octets);
    at = put64(at, 0);
    (void)put64(at, format_check(seed, offset, out, 56));
}

bool format_batch_decode(const char *in, uint64_t seed, uint64_t offset, struct format_batch *ret)
{
    if (get32(in) != BATCH_MAGIC || get64(in + 56) != format_check(seed, offset, in, 56))
        return false;
    *ret = (struct format_batch){
        .records = get32(in + 4),
        .number = get64(in + 8),
        .octets = get64(in + 16),
        .id_ceiling = get64(in + 24),
        .prev_seq = get64(in + 32),
        .prev_octets = get64(in + 40),
    };
    return ret->octets >= FORMAT_BATCH_HEADER;
}

/* ---- record ---- */

void format_record_encode(const struct format_record *r, uint64_t seed, uint64_t offset, char *out)
{
    char *at = put32(out, RECORD_MAGIC);

    at = put16(at, r->type);
    at = put16(at, r->index);
    at = put32(at, r->unit);
    at = put16(at, r->count);
    at = put16(at, 0);
    at = put64(at, r->octets);
    at = put64(at, r->payload_check);
    (void)put64(at, format_check(seed, offset, out, 32));
}

bool format_record_decode(const char *in, uint64_t seed, uint64_t offset, struct format_record *ret)
{
    if (get32(in) != RECORD_MAGIC || get64(in + 32) != format_check(seed, offset, in, 32))
        return false;
    *ret = (struct format_record){
        .type = get16(in + 4),
        .index = get16(in + 6),
        .unit = get32(in + 8),
        .count = get16(in + 12),
        .octets = get64(in + 16),
        .payload_check = get64(in + 24),
    };
    return ret->type >= FORMAT_BODY && ret->type <= FORMAT_CHANGE && ret->index < ret->count &&
           ret->octets <= FORMAT_UNIT_OCTETS_MAX;
}

/* ---- state ---- */

uint32_t format_states_pending(const uint8_t *states, uint32_t rcpt_count)
{
    uint32_t pending = 0;

    for (uint32_t i = 0; i < rcpt_count; i++)
        pending += format_states_get(states, i) == SPOOL_RCPT_QUEUED;
    return pending;
}

size_t format_state_octets(const struct format_state *s)
{
    return FORMAT_STATE_FIXED + s->states.len + s->texts.len;
}

char *format_state_encode(const struct format_state *s, char *out)
{
    char *at = put32(out, s->version);

    at = put32(at, s->attempts);
    at = put64(at, s->due_ms);
    at = put32(at, s->pending);
    at = put32(at, s->held ? s->operator_held ? 2 : 1 : 0);
    at = put32(at, s->text_count);
    at = put32(at, s->states.len);
    if (s->states.len > 0)
        memcpy(at, s->states.ptr, s->states.len);
    at += s->states.len;
    if (s->texts.len > 0)
        memcpy(at, s->texts.ptr, s->texts.len);
    return at + s->texts.len;
}

void format_text_header(uint32_t rcpt, unsigned octets, char out[FORMAT_TEXT_HEADER])
{
    (void)put16(put32(out, rcpt), octets);
}

bool format_text_next(struct slice *texts, uint32_t *rcpt, struct slice *text)
{
    if (texts->len < FORMAT_TEXT_HEADER)
        return false;
    size_t len = get16(texts->ptr + 4);
    if (len > FORMAT_TEXT_MAX || len > texts->len - FORMAT_TEXT_HEADER)
        return false;
    *rcpt = get32(texts->ptr);
    *text = slice_make(texts->ptr + FORMAT_TEXT_HEADER, len);
    *texts = slice_from(*texts, FORMAT_TEXT_HEADER + len);
    return true;
}

static bool texts_valid(const struct format_state *s, uint32_t rcpt_count)
{
    struct slice left = s->texts, text;
    uint32_t rcpt = 0, count = 0;
    uint64_t least = 0;

    while (left.len > 0) {
        if (!format_text_next(&left, &rcpt, &text) || rcpt > rcpt_count || rcpt < least)
            return false;
        least = (uint64_t)rcpt + 1;
        count++;
    }
    return count == s->text_count;
}

bool format_state_decode(struct slice in, uint32_t rcpt_count, struct format_state *ret)
{
    if (in.len < FORMAT_STATE_FIXED)
        return false;
    uint32_t states_octets = get32(in.ptr + 28);
    uint32_t held = get32(in.ptr + 20);
    if (held > 2 || states_octets > in.len - FORMAT_STATE_FIXED ||
        (states_octets != 0 && states_octets != format_states_octets(rcpt_count)))
        return false;
    struct format_state s = {
        .version = get32(in.ptr),
        .attempts = get32(in.ptr + 4),
        .due_ms = get64(in.ptr + 8),
        .pending = get32(in.ptr + 16),
        .held = held != 0,
        .operator_held = held == 2,
        .text_count = get32(in.ptr + 24),
        .states = slice_make(in.ptr + FORMAT_STATE_FIXED, states_octets),
        .texts = slice_from(in, FORMAT_STATE_FIXED + states_octets),
    };
    uint32_t pending = states_octets == 0
                           ? rcpt_count
                           : format_states_pending((const uint8_t *)s.states.ptr, rcpt_count);
    if (pending != s.pending || !texts_valid(&s, rcpt_count))
        return false;
    *ret = s;
    return true;
}

/* ---- message and change ---- */

void format_message_encode(const struct format_message *m, char out[FORMAT_MESSAGE_FIXED])
{
    char *at = put64(out, m->key.txn);

    at = put16(at, m->key.group);
    at = put16(at, m->flags);
    at = put32(at, m->rcpt_count);
    at = put64(at, m->arrival_ms);
    at = put64(at, m->octets);
    at = put64(at, m->body_offset);
    at = put64(at, m->body_octets);
    at = put64(at, m->body_key.txn);
    at = put16(at, m->body_key.group);
    at = put16(at, 0);
    at = put32(at, m->body_back);
    at = put32(at, m->envelope_octets);
    at = put32(at, m->head_octets);
    at = put32(at, m->state_octets);
    (void)put32(at, 0);
}

static void decode_fixed(const char *in, struct format_message *m)
{
    *m = (struct format_message){
        .key = { get64(in), get16(in + 8) },
        .flags = get16(in + 10),
        .rcpt_count = get32(in + 12),
        .arrival_ms = get64(in + 16),
        .octets = get64(in + 24),
        .body_offset = get64(in + 32),
        .body_octets = get64(in + 40),
        .body_key = { get64(in + 48), get16(in + 56) },
        .body_back = get32(in + 60),
        .envelope_octets = get32(in + 64),
        .head_octets = get32(in + 68),
        .state_octets = get32(in + 72),
    };
}

bool format_message_decode(struct slice payload, bool summary, struct format_message *ret)
{
    struct format_message m;

    if (payload.len < FORMAT_MESSAGE_FIXED)
        return false;
    decode_fixed(payload.ptr, &m);
    uint64_t want = (uint64_t)FORMAT_MESSAGE_FIXED + m.state_octets;
    if (!summary)
        want += (uint64_t)m.envelope_octets + m.head_octets;
    if (want != payload.len || m.key.group == 0 || m.rcpt_count == 0 || m.rcpt_count > FORMAT_RCPTS_MAX ||
        m.body_offset > m.body_octets || m.octets != m.head_octets + (m.body_octets - m.body_offset))
        return false;
    /* Where the body is: in a file, in this unit, or there is none. */
    bool big = (m.flags & FORMAT_BIG) != 0;
    if (big ? m.body_back != 0 || m.body_key.group == 0 : (m.body_back == 0) != (m.body_octets == 0))
        return false;
    if (!format_state_decode(slice_make(payload.ptr + FORMAT_MESSAGE_FIXED, m.state_octets), m.rcpt_count,
                             &m.state))
        return false;
    if (!summary) {
        m.envelope = slice_make(payload.ptr + FORMAT_MESSAGE_FIXED + m.state_octets, m.envelope_octets);
        m.head = slice_make(m.envelope.ptr + m.envelope_octets, m.head_octets);
    }
    *ret = m;
    return true;
}

void format_change_encode(const struct format_change *c, char out[FORMAT_CHANGE_FIXED])
{
    char *at = put64(out, c->key.txn);

    at = put16(at, c->key.group);
    at = put16(at, c->kind);
    (void)put32(at, c->rcpt_count);
}

bool format_change_decode(struct slice payload, struct format_change *ret)
{
    if (payload.len < FORMAT_CHANGE_FIXED)
        return false;
    struct format_change c = {
        .key = { get64(payload.ptr), get16(payload.ptr + 8) },
        .kind = get16(payload.ptr + 10),
        .rcpt_count = get32(payload.ptr + 12),
    };
    if (c.key.group == 0 || c.rcpt_count == 0 || c.rcpt_count > FORMAT_RCPTS_MAX ||
        !format_state_decode(slice_from(payload, FORMAT_CHANGE_FIXED), c.rcpt_count, &c.state))
        return false;
    *ret = c;
    return true;
}
