/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_spool_segment.c - any octets as a segment file. Promises: recovery never crashes; no record is
 * given out whose checks do not verify or that is not inside the file; if fsck finds nothing every message
 * that recovery found can be read to its end; what was recovered once is recovered again.
 *
 * The first octet chooses: bit 0 makes headers and checks right, so that the fuzzer reaches what lies behind them;
 * bit 1 adds a second segment that says where this one ended.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/log.h"
#include "support/simdisk.h"
#include "spool/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OCTETS_MAX (1u << 17)

static uint64_t word(const uint8_t *at, unsigned octets)
{
    uint64_t v = 0;

    memcpy(&v, at, octets);
    return v;
}

static void seal_records(uint8_t *file, uint64_t at, uint64_t end, uint32_t records, uint64_t seed)
{
    for (uint32_t i = 0; i < records && at + FORMAT_RECORD_HEADER <= end; i++) {
        struct format_record r = {
            .type = (unsigned)word(file + at + 4, 2), .index = (uint16_t)word(file + at + 6, 2),
            .unit = (uint32_t)word(file + at + 8, 4), .count = (uint16_t)word(file + at + 12, 2),
            .octets = word(file + at + 16, 8),
        };
        uint64_t payload = at + FORMAT_RECORD_HEADER;
        if (r.octets > end - payload)
            r.octets = end - payload;
        r.payload_check = format_check(seed, payload, file + payload, r.octets);
        format_record_encode(&r, seed, at, (char *)file + at);
        at += format_pad(FORMAT_RECORD_HEADER + r.octets, 8);
    }
}

static void seal(uint8_t *file, uint64_t size)
{
    struct format_segment header = { 1, word(file + 16, 8), size, 0 };

    format_segment_encode(&header, (char *)file);
    for (uint64_t at = FORMAT_BLOCK; at + FORMAT_BATCH_HEADER <= size;) {
        struct format_batch b = {
            .records = (uint32_t)word(file + at + 4, 4), .number = word(file + at + 8, 8),
            .octets = word(file + at + 16, 8), .id_ceiling = word(file + at + 24, 8),
            .prev_seq = word(file + at + 32, 8), .prev_octets = word(file + at + 40, 8),
        };
        if (b.octets > size - at || b.octets < FORMAT_BATCH_HEADER)
            b.octets = size - at;
        seal_records(file, at + FORMAT_BATCH_HEADER, at + b.octets, b.records, header.seed);
        format_batch_encode(&b, header.seed, at, (char *)file + at);
        at += format_pad(b.octets, FORMAT_BLOCK);
    }
}

struct checked {
    const uint8_t *file;
    uint64_t size, seed;
};

/* Looks at the octets itself, not at what the scan made of them. */
static void on_record(void *arg, const struct scan_record *r)
{
    const struct checked *c = arg;
    uint64_t payload = r->offset + FORMAT_RECORD_HEADER;

    assert(r->offset >= FORMAT_BLOCK && payload <= c->size && r->header.octets <= c->size - payload);
    assert(r->offset % 8 == 0);
    assert(word(c->file + r->offset + 32, 8) == format_check(c->seed, r->offset, c->file + r->offset, 32));
    assert(word(c->file + r->offset + 24, 8) == format_check(c->seed, payload, c->file + payload, r->header.octets));
    if (r->header.type != FORMAT_BODY)
        assert(r->payload.len == r->header.octets &&
               memcmp(r->payload.ptr, c->file + payload, r->payload.len) == 0);
}

static void scan_it(struct simdisk *disk, const uint8_t *file, uint64_t size)
{
    const struct spool_io *io = simdisk_io(disk);
    struct format_segment header;

    if (size < FORMAT_BLOCK || !format_segment_decode((const char *)file, &header))
        return;
    struct checked c = { file, size, header.seed };
    int dir = io->open_dir(io->ctx, "/sim");
    int fd = io->open(io->ctx, dir, "0000000000000001.seg", 0);
    struct scan scan = { .io = io, .fd = fd, .seed = header.seed, .octets = size, .verify_bodies = true,
                         .record = on_record, .arg = &c };
    int r = spool_scan(&scan);
    assert(r == 0 && scan.used >= FORMAT_BLOCK);
    spool_scan_free(&scan);
    io->close(io->ctx, fd);
    io->close(io->ctx, dir);
}

/* Reads every live message; returns how many. */
static uint64_t read_all(struct spool *spool, bool must)
{
    uint64_t count = 0;

    for (uint32_t n = 1; n <= spool->index.used; n++) {
        const struct row *row = spool_index_at(&spool->index, n);
        struct spool_loaded *l;
        if (row == NULL)
            continue;
        count++;
        int r = spool_load(spool, row->key, &l);
        assert(r == 0 || !must);
        if (r < 0)
            continue;
        char chunk[4096];
        uint64_t at = 0;
        int64_t got;
        while ((got = spool_read(l, at, chunk, sizeof(chunk))) > 0)
            at += (uint64_t)got;
        assert(!must || (got == 0 && at == spool_loaded_octets(l)));
        spool_unload(l);
    }
    return count;
}

static void add_successor(struct simdisk *disk, uint64_t limit)
{
    static uint8_t file[8192];
    struct format_segment header = { 2, 77, sizeof(file), 0 };
    struct format_batch b = { .number = 1000000, .octets = FORMAT_BATCH_HEADER, .prev_seq = 1, .prev_octets = limit };

    memset(file, 0, sizeof(file));
    format_segment_encode(&header, (char *)file);
    format_batch_encode(&b, header.seed, FORMAT_BLOCK, (char *)file + FORMAT_BLOCK);
    simdisk_put(disk, "0000000000000002.seg", file, sizeof(file));
}

static void recover(struct simdisk *disk)
{
    struct spool_options o = { .path = "/sim", .segment_octets = 65536, .io = simdisk_io(disk) };
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct spool *spool;
    char error[256];
    int findings = spool_fsck(&o, false, &out);

    assert(findings >= 0);
    if (spool_open(&o, &spool, error, sizeof(error)) < 0)
        return;
    uint64_t count = read_all(spool, findings == 0);
    spool->index_delay_ms = 0;
    for (unsigned i = 0; i < 50 && spool_step(spool); i++)
        ;
    spool_close(spool);
    if (spool_open(&o, &spool, error, sizeof(error)) < 0)
        abort();
    uint64_t again = read_all(spool, findings == 0);
    assert(again == count || findings > 0);
    spool_close(spool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > OCTETS_MAX)
        return 0;
    log_set_level((enum log_level)-1);
    uint64_t octets = format_pad(size - 1, FORMAT_BLOCK);
    uint8_t *file = calloc(1, octets);
    struct simdisk *disk = simdisk_new(5, 1ull << 40);
    memcpy(file, data + 1, size - 1);
    if ((data[0] & 1) != 0)
        seal(file, octets);
    simdisk_put(disk, "0000000000000001.seg", file, octets);
    scan_it(disk, file, octets);
    if ((data[0] & 2) != 0)
        add_successor(disk, octets);
    recover(disk);
    assert(simdisk_open_count(disk) == 0);
    simdisk_free(disk);
    free(file);
    return 0;
}
