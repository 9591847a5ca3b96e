/* SPDX-License-Identifier: Apache-2.0 */
/*
 * change.c - what becomes of a message's state when a change is applied: the whole new
 * state, encoded as the record that will say so. Spool thread.
 *
 * The record repeats the texts of recipients that this change does not touch, so the newest
 * record is all there is to read. They are read back from the previous one; that was read
 * a moment ago by whoever made the attempt, so it costs a copy from the page cache.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "spool/internal.h"
#include "spool/stage.h"

/* How much of each text is kept, so that all together stay below FORMAT_TEXTS_MAX. */
static size_t text_share(uint32_t rcpt_count)
{
    size_t share = FORMAT_TEXTS_MAX / rcpt_count;

    return share > FORMAT_TEXT_MAX ? FORMAT_TEXT_MAX : share;
}

int spool_change_check(const struct row *row, const struct spool_change *c)
{
    for (uint32_t i = 0; i < c->rcpt_count; i++)
        if (c->rcpts[i].rcpt == SPOOL_RCPT_NONE ? c->kind != SPOOL_HELD
                                                : c->rcpts[i].rcpt >= row->rcpt_count ||
                                                      c->rcpts[i].state > SPOOL_RCPT_DISCARDED)
            return -EINVAL;
    return c->kind > SPOOL_DELETED ? -EINVAL : 0;
}

/* What was settled stays so: a late "deferred" cannot bring a delivered recipient back. */
static void apply_states(const struct spool_change *c, uint8_t *states, uint32_t rcpt_count)
{
    for (uint32_t i = 0; i < c->rcpt_count; i++)
        if (c->rcpts[i].rcpt < rcpt_count &&
            format_states_get(states, c->rcpts[i].rcpt) == SPOOL_RCPT_QUEUED)
            format_states_set(states, c->rcpts[i].rcpt, c->rcpts[i].state);
    for (uint32_t i = 0; c->kind == SPOOL_DELETED && i < rcpt_count; i++)
        if (format_states_get(states, i) == SPOOL_RCPT_QUEUED)
            format_states_set(states, i, SPOOL_RCPT_DISCARDED);
}

static void apply_fields(const struct spool_change *c, struct format_state *s)
{
    s->version++;
    if (c->kind == SPOOL_ATTEMPTED)
        s->attempts = c->attempts;
    if (c->kind != SPOOL_DELETED && (c->kind != SPOOL_RETRY || c->due_ms != 0))
        s->due_ms = c->due_ms;
    if (c->kind == SPOOL_HELD) {
        s->held = true;
        s->operator_held = c->operator_held;
    }
    if (c->kind == SPOOL_RELEASED)
        s->held = s->operator_held = false;
}

static void add_text(struct buf *out, uint32_t rcpt, struct slice text, uint32_t rcpt_count)
{
    struct slice kept = slice_head(text, rcpt < rcpt_count ? text_share(rcpt_count) : FORMAT_TEXT_MAX);
    char header[FORMAT_TEXT_HEADER];

    if (kept.len == 0)
        return;
    format_text_header(rcpt, (unsigned)kept.len, header);
    buf_add(out, slice_make(header, sizeof(header)));
    buf_add(out, kept);
}

/* The texts of the newest record; empty if there are none or they cannot be read. */
static struct slice old_texts(struct spool *spool, const struct row *row, struct buf *record)
{
    struct format_message m;
    struct format_change c;
    bool change = row->change_seq != 0;

    if (!change && row->version == 1)
        return slice_make(NULL, 0); /* never attempted */
    (void)pthread_mutex_lock(&spool->lock);
    struct segment *segment = spool_segment_find(spool, change ? row->change_seq : row->snap_seq);
    (void)pthread_mutex_unlock(&spool->lock); /* it stays: a live row is there */
    uint64_t offset = change ? row->change_offset : row->snap_offset;
    uint64_t octets = change ? row->change_octets : row->snap_octets;
    int fd = segment != NULL ? spool_segment_use(spool, segment) : -ENOENT;
    if (fd < 0)
        return slice_make(NULL, 0);
    int r = spool_read_record(spool, segment, fd, offset, octets, record);
    spool_segment_unuse(spool, segment);
    if (r < 0)
        return slice_make(NULL, 0);
    if (change)
        return format_change_decode(buf_slice(record), &c) ? c.state.texts : slice_make(NULL, 0);
    return format_message_decode(buf_slice(record), false, &m) ? m.state.texts : slice_make(NULL, 0);
}

static int by_rcpt(const void *a, const void *b)
{
    const struct spool_rcpt_change *x = a, *y = b;

    return x->rcpt < y->rcpt ? -1 : x->rcpt > y->rcpt;
}

/* Why it was held, which stands behind the last recipient, goes with a new hold and with the end of it. */
static struct slice without_hold(struct slice texts, uint32_t rcpt_count)
{
    struct slice left = texts, text;
    uint32_t rcpt = 0;

    while (left.len > 0) {
        const char *at = left.ptr;
        if (!format_text_next(&left, &rcpt, &text) || rcpt == rcpt_count)
            return slice_make(texts.ptr, (size_t)(at - texts.ptr));
    }
    return texts;
}

/* Both are in order of recipients; where both have a text the new one counts. */
static uint32_t merge_texts(struct slice old, const struct spool_rcpt_change *fresh, uint32_t count,
                            uint32_t rcpt_count, struct buf *out)
{
    uint32_t rcpt = 0, texts = 0, i = 0;
    struct slice text;
    bool have_old = format_text_next(&old, &rcpt, &text);

    while (have_old || i < count) {
        if (i < count && (fresh[i].text.len == 0 || (i + 1 < count && fresh[i + 1].rcpt == fresh[i].rcpt))) {
            i++; /* nothing said, or said again just behind */
            continue;
        }
        bool take_old = have_old && (i == count || rcpt < fresh[i].rcpt);
        if (!take_old && have_old && rcpt == fresh[i].rcpt)
            have_old = format_text_next(&old, &rcpt, &text);
        if (take_old) {
            add_text(out, rcpt, text, rcpt_count);
            have_old = format_text_next(&old, &rcpt, &text);
        } else {
            add_text(out, fresh[i].rcpt, fresh[i].text, rcpt_count);
            i++;
        }
        texts++;
    }
    return texts;
}

static uint32_t new_texts(struct spool *spool, const struct row *row, const struct spool_change *c, struct buf *out)
{
    CLEANUP_BUF struct buf record = BUF_INIT;
    CLEANUP_FREE struct spool_rcpt_change *fresh = NULL;
    struct slice old = slice_make(NULL, 0);

    if (row->rcpt_count > 1 || c->rcpt_count == 0 || (row->flags & ROW_HELD) != 0 || c->kind == SPOOL_HELD)
        old = old_texts(spool, row, &record);
    if (c->kind == SPOOL_HELD || c->kind == SPOOL_RELEASED)
        old = without_hold(old, row->rcpt_count);
    if (c->rcpt_count > 0) {
        fresh = mem_alloc(c->rcpt_count * sizeof(*fresh));
        memcpy(fresh, c->rcpts, c->rcpt_count * sizeof(*fresh));
        for (uint32_t i = 0; i < c->rcpt_count; i++)
            if (fresh[i].rcpt == SPOOL_RCPT_NONE)
                fresh[i].rcpt = row->rcpt_count;
        qsort(fresh, c->rcpt_count, sizeof(*fresh), by_rcpt);
    }
    return merge_texts(old, fresh, c->rcpt_count, row->rcpt_count, out);
}

void spool_change_encode(struct spool *spool, const struct row *row, const struct spool_change *c, struct buf *out)
{
    CLEANUP_BUF struct buf texts = BUF_INIT;
    uint32_t octets = format_states_octets(row->rcpt_count);
    uint8_t small[256];
    CLEANUP_FREE uint8_t *large = octets > sizeof(small) ? mem_alloc(octets) : NULL;
    uint8_t *states = large != NULL ? large : small;
    struct format_change fc = { .key = row->key, .kind = c->kind, .rcpt_count = row->rcpt_count };

    memcpy(states, spool_row_states(row), octets);
    apply_states(c, states, row->rcpt_count);
    fc.state = (struct format_state){
        .version = row->version,
        .attempts = row->attempts,
        .due_ms = row->due_ms,
        .held = (row->flags & ROW_HELD) != 0,
        .operator_held = (row->flags & ROW_OPERATOR) != 0,
        .pending = format_states_pending(states, row->rcpt_count),
        .states = slice_make((const char *)states, octets),
    };
    apply_fields(c, &fc.state);
    fc.state.text_count = new_texts(spool, row, c, &texts);
    fc.state.texts = buf_slice(&texts);
    char *at = buf_reserve(out, FORMAT_CHANGE_FIXED + format_state_octets(&fc.state));
    format_change_encode(&fc, at);
    char *end = format_state_encode(&fc.state, at + FORMAT_CHANGE_FIXED);
    out->len += (size_t)(end - at);
}
