/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan.c - reads a segment from its first batch to its end and says what is there: whole
 * batches, a torn tail, damage (docs/queue.md, "Damage").
 *
 * The octets are untrusted: whatever they are, no record is given out whose checks fail,
 * none of a unit that is not whole, and nothing outside the committed length when that is known.
 * Bodies are read only if `verify_bodies` or to judge the batch at the end.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/mem.h"
#include "spool/internal.h"

#define CHUNK 65536u

void spool_scan_free(struct scan *scan)
{
    buf_free(&scan->payloads);
    free(scan->list);
    scan->list = NULL;
    scan->list_size = 0;
}

/* All or nothing; a file that ends early is like a bad check, an error ends the scan. */
static bool read_at(struct scan *scan, uint64_t offset, void *buffer, size_t octets)
{
    char *at = buffer;

    while (octets > 0) {
        ssize_t n = scan->io->pread(scan->io->ctx, scan->fd, at, octets, offset);
        if (n < 0)
            scan->error = (int)n;
        if (n <= 0)
            return false;
        at += n;
        offset += (uint64_t)n;
        octets -= (size_t)n;
    }
    return true;
}

static uint64_t end_of(const struct scan *scan)
{
    return scan->limit != 0 && scan->limit < scan->octets ? scan->limit : scan->octets;
}

static bool verify_stream(struct scan *scan, const struct scan_record *r)
{
    CLEANUP_FREE char *chunk = mem_alloc(CHUNK);
    uint64_t at = r->offset + FORMAT_RECORD_HEADER, end = at + r->header.octets;
    XXH3_state_t *state = XXH3_createState();
    bool good = state != NULL;

    if (good)
        (void)XXH3_64bits_reset_withSeed(state, format_check_seed(scan->seed, at));
    while (good && at < end) {
        size_t want = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
        good = read_at(scan, at, chunk, want);
        if (good)
            (void)XXH3_64bits_update(state, chunk, want);
        at += want;
    }
    good = good && XXH3_64bits_digest(state) == r->header.payload_check;
    (void)XXH3_freeState(state);
    return good;
}

/* Messages and changes are kept in `payloads`; the slice holds the place until all are there. */
static bool keep_payload(struct scan *scan, struct scan_record *r)
{
    uint64_t at = r->offset + FORMAT_RECORD_HEADER;
    char *to = buf_reserve(&scan->payloads, r->header.octets);

    if (!read_at(scan, at, to, r->header.octets) ||
        format_check(scan->seed, at, to, r->header.octets) != r->header.payload_check)
        return false;
    r->payload = slice_make((const char *)(uintptr_t)scan->payloads.len, r->header.octets);
    scan->payloads.len += r->header.octets;
    return true;
}

static void list_add(struct scan *scan, const struct scan_record *r)
{
    if (scan->list_count == scan->list_size) {
        scan->list_size = scan->list_size > 0 ? scan->list_size * 2 : 64;
        scan->list = mem_realloc(scan->list, scan->list_size * sizeof(scan->list[0]));
    }
    scan->list[scan->list_count++] = *r;
}

/* The record at `offset`, if it verifies and lies before `end`. */
static bool take_record(struct scan *scan, uint64_t offset, uint64_t end, bool bodies, struct scan_record *r)
{
    char header[FORMAT_RECORD_HEADER];

    *r = (struct scan_record){ .offset = offset };
    return end - offset >= sizeof(header) && read_at(scan, offset, header, sizeof(header)) &&
           format_record_decode(header, scan->seed, offset, &r->header) &&
           r->header.octets <= end - offset - sizeof(header) &&
           (r->header.type == FORMAT_BODY ? !bodies || verify_stream(scan, r) : keep_payload(scan, r));
}

static uint64_t record_end(const struct scan_record *r)
{
    return r->offset + format_pad(FORMAT_RECORD_HEADER + r->header.octets, 8);
}

/* Every record of the batch at `offset` into the list; false if one is bad. */
static bool read_records(struct scan *scan, uint64_t offset, const struct format_batch *b, bool bodies)
{
    uint64_t at = offset + FORMAT_BATCH_HEADER, end = offset + b->octets;

    scan->list_count = 0;
    buf_clear(&scan->payloads);
    for (uint32_t i = 0; i < b->records; i++) {
        struct scan_record r;
        if (at >= end || !take_record(scan, at, end, bodies, &r))
            return false;
        list_add(scan, &r);
        at = record_end(&r);
    }
    return at == end;
}

/* What verifies between two places, found again at any multiple of 8. */
static void salvage_records(struct scan *scan, uint64_t offset, uint64_t end)
{
    scan->list_count = 0;
    buf_clear(&scan->payloads);
    for (uint64_t at = offset; at + FORMAT_RECORD_HEADER <= end && scan->error == 0;) {
        struct scan_record r;
        if (take_record(scan, at, end, true, &r)) {
            list_add(scan, &r);
            at = record_end(&r);
        } else {
            at += 8;
        }
    }
}

/* The list's run of records that starts at `i` is a whole unit: how many, or 0. */
static unsigned whole_unit(const struct scan *scan, unsigned i)
{
    const struct format_record *first = &scan->list[i].header;

    if (first->index != 0 || first->count > scan->list_count - i)
        return 0;
    for (unsigned n = 0; n < first->count; n++) {
        const struct scan_record *r = &scan->list[i + n];
        if (r->header.unit != first->unit || r->header.index != n || r->header.count != first->count ||
            (n > 0 && r->offset != record_end(r - 1)))
            return 0;
    }
    return first->count;
}

static void give_out(struct scan *scan)
{
    for (unsigned i = 0; i < scan->list_count;) {
        unsigned count = whole_unit(scan, i);
        for (unsigned n = 0; n < count; n++) {
            struct scan_record r = scan->list[i + n];
            if (r.header.type != FORMAT_BODY)
                r.payload.ptr = scan->payloads.data + (uintptr_t)r.payload.ptr;
            scan->records++;
            if (scan->record != NULL)
                scan->record(scan->arg, &r);
        }
        i += count > 0 ? count : 1;
    }
}

static bool batch_at(struct scan *scan, uint64_t offset, struct format_batch *b)
{
    char header[FORMAT_BATCH_HEADER];

    return offset + sizeof(header) <= end_of(scan) && read_at(scan, offset, header, sizeof(header)) &&
           format_batch_decode(header, scan->seed, offset, b) && b->octets <= end_of(scan) - offset;
}

static void accept_batch(struct scan *scan, uint64_t offset, const struct format_batch *b)
{
    if (offset == FORMAT_BLOCK) {
        scan->first_batch = b->number;
        scan->prev_seq = b->prev_seq;
        scan->prev_octets = b->prev_octets;
    }
    scan->last_batch = b->number;
    scan->id_ceiling = b->id_ceiling;
    scan->used = offset + format_pad(b->octets, FORMAT_BLOCK);
}

/* The next place behind `offset` where a later batch stands, or the end; it proves the ones before. */
static uint64_t later_batch(struct scan *scan, uint64_t offset, uint64_t number)
{
    struct format_batch b;

    for (uint64_t at = offset + FORMAT_BLOCK; at < end_of(scan) && scan->error == 0; at += FORMAT_BLOCK)
        if (batch_at(scan, at, &b) && b.number > number)
            return at;
    return end_of(scan);
}

/*
 * The batch at `offset` does not verify. Returns where to go on, 0 at the end of the log.
 * With a limit everything before it was committed, so what is missing is damage.
 */
static uint64_t judge_bad(struct scan *scan, uint64_t offset, bool header_good, const struct format_batch *b)
{
    uint64_t next = later_batch(scan, offset, scan->last_batch + (header_good ? 1 : 0));

    if (scan->error != 0)
        return 0;
    if (scan->limit == 0 && next == end_of(scan)) {
        if (header_good)
            scan->torn_octets += b->octets;
        return 0;
    }
    scan->damaged++;
    salvage_records(scan, offset, next);
    give_out(scan);
    if (header_good)
        accept_batch(scan, offset, b);
    scan->used = next;
    return next < end_of(scan) ? next : 0;
}

/* Whether the batch at `offset` is the last one: then its bodies must be looked at, too. */
static bool is_last(struct scan *scan, uint64_t offset, const struct format_batch *b)
{
    struct format_batch next;
    uint64_t behind = offset + format_pad(b->octets, FORMAT_BLOCK);

    return scan->limit == 0 && !(batch_at(scan, behind, &next) && next.number == b->number + 1);
}

int spool_scan(struct scan *scan)
{
    uint64_t offset = FORMAT_BLOCK;

    scan->used = FORMAT_BLOCK;
    while (offset < end_of(scan) && scan->error == 0) {
        struct format_batch b = { 0 };
        bool good = batch_at(scan, offset, &b) && (scan->last_batch == 0 || b.number > scan->last_batch);
        if (good && read_records(scan, offset, &b, scan->verify_bodies || is_last(scan, offset, &b))) {
            accept_batch(scan, offset, &b);
            give_out(scan);
            offset = scan->used;
            continue;
        }
        offset = judge_bad(scan, offset, good, &b);
        if (offset == 0)
            break;
    }
    if (scan->error == 0 && scan->limit != 0 && scan->used < scan->limit) {
        /* The file is shorter than what was committed. */
        scan->damaged++;
        scan->used = scan->limit;
    }
    return scan->error;
}
