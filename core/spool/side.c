/* SPDX-License-Identifier: Apache-2.0 */
/*
 * side.c - the side index of a sealed segment: what its records say without bodies,
 * envelopes and texts, so that a start reads a few octets a message. Rebuildable.
 *
 * File: check (64), head, entries. An entry: type (16), unit index (16), octets (32), place (64),
 * payload octets on disk (64), then the summary: a message or change as format.h decodes it.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>

#include "spool/internal.h"

#define SIDE_MAGIC  0x3158444e52455454ull
#define HEAD_OCTETS (8u + 12 * 8u)
#define ENTRY_HEAD  24u

static void add64(struct buf *out, uint64_t v)
{
    uint64_t le = htole64(v);

    buf_add(out, slice_make((const char *)&le, sizeof(le)));
}

static uint64_t get64(const char *at)
{
    uint64_t le;

    memcpy(&le, at, sizeof(le));
    return le64toh(le);
}

static void add_entry(struct buf *out, const struct scan_record *r, size_t summary_octets)
{
    add64(out, (uint64_t)r->header.type | (uint64_t)summary_octets << 32);
    add64(out, r->offset);
    add64(out, r->header.octets);
}

/* The state again, without its texts. */
static void add_state(struct buf *out, const struct format_state *state)
{
    struct format_state s = *state;

    s.texts = slice_make(NULL, 0);
    s.text_count = 0;
    char *at = buf_reserve(out, format_state_octets(&s));
    out->len += (size_t)(format_state_encode(&s, at) - at);
}

static void add_message(struct buf *out, const struct scan_record *r)
{
    struct format_message m;
    char fixed[FORMAT_MESSAGE_FIXED];

    if (!format_message_decode(r->payload, false, &m))
        return;
    m.state_octets = FORMAT_STATE_FIXED + (uint32_t)m.state.states.len;
    format_message_encode(&m, fixed);
    add_entry(out, r, sizeof(fixed) + m.state_octets);
    buf_add(out, slice_make(fixed, sizeof(fixed)));
    add_state(out, &m.state);
}

static void add_change(struct buf *out, const struct scan_record *r)
{
    struct format_change c;
    char fixed[FORMAT_CHANGE_FIXED];

    if (!format_change_decode(r->payload, &c))
        return;
    format_change_encode(&c, fixed);
    add_entry(out, r, sizeof(fixed) + FORMAT_STATE_FIXED + c.state.states.len);
    buf_add(out, slice_make(fixed, sizeof(fixed)));
    add_state(out, &c.state);
}

static void on_record(void *arg, const struct scan_record *r)
{
    if (r->header.type == FORMAT_MESSAGE)
        add_message(arg, r);
    else if (r->header.type == FORMAT_CHANGE)
        add_change(arg, r);
}

static uint64_t check_of(struct slice file)
{
    return format_check(0, 0, file.ptr + 8, file.len - 8);
}

int spool_side_build(struct spool *spool, struct segment *segment, bool verify_bodies, struct buf *out)
{
    int fd = spool_segment_use(spool, segment);

    if (fd < 0)
        return fd;
    size_t start = out->len;
    uint64_t head[12] = { SIDE_MAGIC, segment->seq, segment->seed, segment->octets, segment->used };
    (void)buf_reserve(out, HEAD_OCTETS);
    out->len += HEAD_OCTETS;
    struct scan scan = {
        .io = spool->io, .fd = fd, .seed = segment->seed, .octets = segment->octets, .limit = segment->used,
        .verify_bodies = verify_bodies, .record = on_record, .arg = out,
    };
    int r = spool_scan(&scan);
    spool_segment_unuse(spool, segment);
    spool_scan_free(&scan);
    if (r < 0)
        return r;
    head[5] = scan.first_batch;
    head[6] = scan.last_batch;
    head[7] = scan.id_ceiling;
    head[8] = scan.prev_seq;
    head[9] = scan.prev_octets;
    head[10] = scan.damaged;
    head[11] = out->len - start - HEAD_OCTETS;
    for (unsigned i = 0; i < 12; i++) {
        uint64_t le = htole64(head[i]);
        memcpy(out->data + start + 8 + i * sizeof(le), &le, sizeof(le));
    }
    uint64_t check = htole64(check_of(slice_from(buf_slice(out), start)));
    memcpy(out->data + start, &check, sizeof(check));
    return 0;
}

/*
 * Size of the file apart, which is not a fact of its contents: a segment that is cut at its committed length
 * at a start (docs/queue.md S12) keeps the index it was given before.
 */
bool spool_side_same(struct slice a, struct slice b)
{
    const size_t size_at = 32, size_end = 40;

    return a.len == b.len && a.len >= HEAD_OCTETS && memcmp(a.ptr + 8, b.ptr + 8, size_at - 8) == 0 &&
           memcmp(a.ptr + size_end, b.ptr + size_end, a.len - size_end) == 0;
}

bool spool_side_head(struct slice file, struct side_index *ret)
{
    if (file.len < HEAD_OCTETS || get64(file.ptr) != check_of(file) || get64(file.ptr + 8) != SIDE_MAGIC ||
        get64(file.ptr + 96) != file.len - HEAD_OCTETS)
        return false;
    *ret = (struct side_index){
        .seq = get64(file.ptr + 16),
        .seed = get64(file.ptr + 24),
        .octets = get64(file.ptr + 32),
        .used = get64(file.ptr + 40),
        .first_batch = get64(file.ptr + 48),
        .last_batch = get64(file.ptr + 56),
        .id_ceiling = get64(file.ptr + 64),
        .prev_seq = get64(file.ptr + 72),
        .prev_octets = get64(file.ptr + 80),
        .damaged = get64(file.ptr + 88),
        .entries = get64(file.ptr + 96),
    };
    return ret->used >= FORMAT_BLOCK && ret->used <= ret->octets && ret->seq <= UINT32_MAX;
}

bool spool_side_each(struct slice file, void (*record)(void *arg, const struct scan_record *record), void *arg)
{
    struct slice left = slice_from(file, HEAD_OCTETS);

    while (left.len > 0) {
        if (left.len < ENTRY_HEAD)
            return false;
        uint64_t word = get64(left.ptr), octets = word >> 32;
        struct scan_record r = { .offset = get64(left.ptr + 8) };
        r.header.type = (unsigned)(word & 0xffff);
        r.header.octets = get64(left.ptr + 16);
        if (octets > left.len - ENTRY_HEAD)
            return false;
        r.payload = slice_make(left.ptr + ENTRY_HEAD, octets);
        record(arg, &r);
        left = slice_from(left, ENTRY_HEAD + octets);
    }
    return true;
}

int spool_read_file(struct spool *spool, const char *name, struct buf *out)
{
    const struct spool_io *io = spool->io;
    int fd = io->open(io->ctx, spool->dir, name, O_RDONLY);

    if (fd < 0)
        return fd;
    int64_t size = io->size(io->ctx, fd);
    int r = size < 0 ? (int)size : size > (1 << 30) ? -EFBIG : 0;
    if (r == 0)
        (void)buf_reserve(out, (size_t)size);
    while (r == 0 && out->len < (size_t)size) {
        ssize_t n = io->pread(io->ctx, fd, out->data + out->len, (size_t)size - out->len, out->len);
        if (n <= 0)
            r = n < 0 ? (int)n : -EIO;
        else
            out->len += (size_t)n;
    }
    io->close(io->ctx, fd);
    return r;
}
