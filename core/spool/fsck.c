/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck.c - proves offline what docs/queue.md section 6 lists. Recovery reads everything (and
 * verifies bodies); here what it found is checked against itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/arena.h"
#include "spool/internal.h"
#include "state/envelope.h"

/* Numbers rise by one: within a segment the scan saw to it, from one to the next we do. */
static void check_numbers(struct spool *spool)
{
    const struct segment *before = NULL;

    for (unsigned i = 0; i < spool->segment_count; i++) {
        const struct segment *s = spool->segments[i];
        if (s->state != SEGMENT_SEALED || s->last_batch == 0)
            continue;
        if (before != NULL && s->first_batch <= before->last_batch)
            spool_finding(spool, "segment %u begins with batch %llu, but %u ends with %llu", s->seq,
                          (unsigned long long)s->first_batch, before->seq, (unsigned long long)before->last_batch);
        if (before != NULL && s->prev_seq == before->seq && s->first_batch != before->last_batch + 1 && !s->damaged &&
            !before->damaged)
            spool_finding(spool, "segment %u begins with batch %llu, wanted %llu", s->seq,
                          (unsigned long long)s->first_batch, (unsigned long long)before->last_batch + 1);
        before = s;
    }
}

static void check_sides(struct spool *spool)
{
    for (unsigned i = 0; i < spool->segment_count; i++) {
        struct segment *s = spool->segments[i];
        CLEANUP_BUF struct buf want = BUF_INIT, have = BUF_INIT;
        char name[SPOOL_NAME_MAX];
        if (s->state != SEGMENT_SEALED || !s->indexed)
            continue;
        spool_segment_name(s->seq, "idx", name);
        if (spool_read_file(spool, name, &have) < 0 || spool_side_build(spool, s, false, &want) < 0 ||
            !spool_side_same(buf_slice(&want), buf_slice(&have))) {
            spool_finding(spool, "segment %u: its side index differs from what it holds", s->seq);
            s->indexed = false;
        }
    }
}

static void check_envelope(struct spool *spool, const struct spool_loaded *loaded, const char *id)
{
    struct arena arena;
    struct envelope e;

    arena_init(&arena);
    if (envelope_decode(loaded->envelope, &arena, &e) < 0)
        spool_finding(spool, "message %s: its envelope does not decode", id);
    else if (e.rcpt_count != loaded->entry.rcpt_count)
        spool_finding(spool, "message %s: %u recipients in the envelope, %u in the queue", id, e.rcpt_count,
                      loaded->entry.rcpt_count);
    arena_fini(&arena);
}

static void check_octets(struct spool *spool, struct spool_loaded *loaded, const char *id)
{
    char chunk[16384];
    uint64_t at = 0, want = spool_loaded_octets(loaded);
    int64_t n;

    while ((n = spool_read(loaded, at, chunk, sizeof(chunk))) > 0)
        at += (uint64_t)n;
    if (n < 0 || at != want || want != loaded->entry.octets)
        spool_finding(spool, "message %s: %llu of %llu octets can be read", id, (unsigned long long)at,
                      (unsigned long long)want);
}

static void check_row(struct spool *spool, const struct row *row)
{
    struct spool_loaded *loaded;
    char id[SPOOL_ID_TEXT_MAX], why[SPOOL_WHY_MAX];

    spool_key_print(row->key, id);
    int r = spool_load(spool, row->key, &loaded);
    if (r < 0) {
        spool_finding(spool, "message %s: cannot be loaded: %s", id, strerror(-r));
        return;
    }
    if (row->pending != format_states_pending(spool_row_states(row), row->rcpt_count))
        spool_finding(spool, "message %s: pending is %u, the states say otherwise", id, row->pending);
    if (row->due_ms == 0 && (row->flags & ROW_HELD) == 0)
        spool_finding(spool, "message %s: queued, but neither due nor held", id);
    check_envelope(spool, loaded, id);
    if (spool_body_open(loaded, why) == 0) {
        check_octets(spool, loaded, id);
        spool_body_close(loaded);
    } else {
        spool_finding(spool, "message %s: its body cannot be had: %s", id, why);
    }
    spool_unload(loaded);
}

static void check_all(struct spool *spool)
{
    check_numbers(spool);
    check_sides(spool);
    for (uint32_t n = 1; n <= spool->index.used; n++) {
        const struct row *row = spool_index_at(&spool->index, n);
        if (row != NULL)
            check_row(spool, row);
    }
}

/* A damaged segment that nothing needs goes aside; wrong or missing side indexes are written by the next start. */
static int repair_all(struct spool *spool)
{
    char from[SPOOL_NAME_MAX], to[SPOOL_NAME_MAX];
    int r = 0;

    for (unsigned i = 0; i < spool->segment_count; i++) {
        struct segment *s = spool->segments[i];
        if (s->state != SEGMENT_SEALED)
            continue;
        if (!s->indexed)
            r = spool_maker_index(spool, s);
        if (r < 0)
            return r;
        if (!s->damaged || s->live > 0 || s->pinned_by > 0 || s == spool->last_good)
            continue;
        spool_segment_name(s->seq, "seg", from);
        spool_segment_name(s->seq, "bad", to);
        r = spool->io->rename(spool->io->ctx, spool->dir, from, to);
        if (r < 0)
            return r;
        buf_printf(spool->findings, "segment %u: set aside as %s\n", s->seq, to);
    }
    return spool->io->sync_dir(spool->io->ctx, spool->dir);
}

int spool_fsck(const struct spool_options *options, bool repair, struct buf *out)
{
    struct spool *spool;
    char error[256];
    int r = spool_mount(options, &spool, error, sizeof(error));

    if (r < 0) {
        buf_printf(out, "%s\n", error);
        return r;
    }
    spool->findings = out;
    r = spool_recover(spool, true, error, sizeof(error));
    if (r == 0)
        check_all(spool);
    else
        buf_printf(out, "%s\n", error);
    if (r == 0 && repair)
        r = repair_all(spool);
    int findings = spool->finding_count > INT32_MAX ? INT32_MAX : (int)spool->finding_count;
    spool_unmount(spool);
    return r < 0 ? r : findings;
}
