/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spool_damage.c - what is not a crash: octets that turn bad, files that go missing, a full disk, and
 * what a row costs. docs/queue.md, "Damage" and section 5.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "support/spoolwork.h"

struct name_list {
    char names[64][40];
    unsigned count;
    const char *suffix;
};

static void on_name(void *arg, const char *name)
{
    struct name_list *l = arg;

    if (strstr(name, l->suffix) != NULL && l->count < 64)
        (void)snprintf(l->names[l->count++], sizeof(l->names[0]), "%s", name);
}

static struct name_list names_with(struct simdisk *disk, const char *suffix)
{
    struct name_list l = { .count = 0, .suffix = suffix };

    simdisk_names(disk, on_name, &l);
    return l;
}

/* A disk with a closed spool of some hundred messages. */
static struct simdisk *filled(struct work *w, uint64_t seed, uint32_t messages)
{
    struct simdisk *disk = simdisk_new(seed, 1ull << 40);
    char error[256];

    clock_virtual_start(1795000000000ull);
    spoolwork_init(w, disk, seed, messages);
    if (spoolwork_open(disk, &w->spool, error, sizeof(error)) < 0)
        abort();
    while (spoolwork_round(w))
        clock_virtual_advance(100);
    spoolwork_drain(w);
    spool_close(w->spool);
    return disk;
}

/* Messages with the right octets; no other is given out. */
static unsigned intact(struct simdisk *disk, const struct work *w, struct spool_stats *stats, unsigned *wrong)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct work one = *w;
    struct spool *spool;
    char error[256];

    if (spoolwork_open(disk, &spool, error, sizeof(error)) < 0)
        return 0;
    one.spool = spool;
    spool_get_stats(spool, stats);
    unsigned lost = 0;
    *wrong = 0;
    (void)spoolwork_check(&one, spool, &out);
    buf_add_char(&out, '\0');
    for (const char *at = out.data; (at = strstr(at, "octets differ")) != NULL; at++)
        ++*wrong;
    for (const char *at = out.data; (at = strstr(at, "is lost")) != NULL; at++)
        lost++;
    spool_close(spool);
    return lost;
}

/* One octet of each segment in turn: at most one batch is hurt, it is told, and the rest is served. */
static void test_bad_octet(void)
{
    struct work w;
    struct simdisk *disk = filled(&w, 21, 250);
    struct name_list segments = names_with(disk, ".seg");
    struct simrandom r = { 5 };
    unsigned told = 0, hurt = 0;

    CU_ASSERT_TRUE(segments.count >= 3);
    for (unsigned i = 0; i < 60; i++) {
        struct simdisk *copy = simdisk_kill(disk);
        const char *name = segments.names[i % segments.count];
        struct spool_stats stats;
        CLEANUP_BUF struct buf out = BUF_INIT;
        uint64_t octets;
        unsigned wrong;
        char side[40];
        uint8_t *file = simdisk_file(copy, name, &octets);
        file[i < segments.count ? 17 : simrandom_below(&r, octets)] ^= 0x40;
        (void)snprintf(side, sizeof(side), "%.16s.idx", name);
        if (i % 2 == 0)
            simdisk_remove(copy, side);
        unsigned lost = intact(copy, &w, &stats, &wrong);
        CU_ASSERT_EQUAL(wrong, i % 2 == 0 ? 0 : wrong); /* with a side index bodies are not read at start */
        CU_ASSERT_TRUE(lost == 0 || stats.damaged_batches > 0 || stats.torn_octets > 0 || i % 2 == 1);
        told += stats.damaged_batches > 0;
        hurt += lost > 0;
        (void)spoolwork_fsck(copy, &out);
        simdisk_free(copy);
    }
    CU_ASSERT_TRUE(told > 10);
    CU_ASSERT_TRUE(hurt > 0);
    simdisk_free(disk);
    spoolwork_fini(&w);
    clock_virtual_stop();
}

/* Started and run once: what stands in its reports, and the files in big/ afterwards. */
static unsigned bodies_after_start(struct simdisk *disk, struct spool_stats *stats)
{
    struct spool *spool;
    char error[256];

    CU_ASSERT_EQUAL_FATAL(spoolwork_open(disk, &spool, error, sizeof(error)), 0);
    spool_get_stats(spool, stats);
    (void)spool_maker_run(spool);
    spool_close(spool);
    return simdisk_big_count(disk);
}

/* The bodies that a segment's messages name stay for whoever mends it by hand; they go when its file is gone. */
static void test_bodies_of_a_bad_segment(void)
{
    struct work w;
    struct simdisk *disk = filled(&w, 25, 1200);
    unsigned bodies = simdisk_big_count(disk);
    struct spool_stats stats;
    uint64_t octets;
    char name[40];

    CU_ASSERT_TRUE(bodies > 0);
    CU_ASSERT_EQUAL(bodies_after_start(disk, &stats), bodies);
    struct name_list segments = names_with(disk, ".seg");
    for (unsigned i = 0; i < segments.count; i++) {
        simdisk_file(disk, segments.names[i], &octets)[17] ^= 0x40;
        (void)snprintf(name, sizeof(name), "%.16s.idx", segments.names[i]);
        simdisk_remove(disk, name);
    }
    for (unsigned start = 0; start < 2; start++) {
        CU_ASSERT_EQUAL(bodies_after_start(disk, &stats), bodies);
        CU_ASSERT_EQUAL(stats.messages, 0);
        CU_ASSERT_EQUAL(stats.damaged_batches, start == 0 ? segments.count : 0);
    }
    segments = names_with(disk, ".bad");
    CU_ASSERT_TRUE(segments.count > 0);
    for (unsigned i = 0; i < segments.count; i++)
        simdisk_remove(disk, segments.names[i]);
    CU_ASSERT_EQUAL(bodies_after_start(disk, &stats), 0);
    simdisk_free(disk);
    spoolwork_fini(&w);
    clock_virtual_stop();
}

/* fsck sees a changed octet anywhere in what is committed; recovery then sets nothing aside that lives. */
static void test_fsck_sees_bodies(void)
{
    struct work w;
    struct simdisk *disk = filled(&w, 22, 60);
    struct name_list segments = names_with(disk, ".seg");
    unsigned seen = 0, tried = 0;

    for (unsigned i = 0; i < segments.count; i++) {
        uint64_t octets;
        uint8_t *file = simdisk_file(disk, segments.names[i], &octets);
        if (octets < 4 * FORMAT_BLOCK || file[2 * FORMAT_BLOCK] == 0)
            continue;
        /* The first batch is the empty one of the start. */
        for (uint64_t at = 2 * FORMAT_BLOCK; at < 2 * FORMAT_BLOCK + 1500; at += 31) {
            CLEANUP_BUF struct buf out = BUF_INIT;
            struct simdisk *copy = simdisk_kill(disk);
            uint8_t *bad = simdisk_file(copy, segments.names[i], &octets);
            bad[at] ^= 1;
            seen += spoolwork_fsck(copy, &out) > 0;
            tried++;
            simdisk_free(copy);
        }
        break;
    }
    /* A few octets are nobody's: padding. */
    CU_ASSERT_TRUE(tried > 20 && seen >= tried - 3);
    simdisk_free(disk);
    spoolwork_fini(&w);
    clock_virtual_stop();
}

static void test_lost_index(void)
{
    struct work w;
    struct simdisk *disk = filled(&w, 23, 250);
    struct name_list sides = names_with(disk, ".idx");
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct spool_stats stats;
    unsigned wrong;

    CU_ASSERT_TRUE_FATAL(sides.count >= 2);
    simdisk_remove(disk, sides.names[0]);
    uint64_t octets;
    uint8_t *file = simdisk_file(disk, sides.names[1], &octets);
    file[octets / 2] ^= 4;
    CU_ASSERT_TRUE(spoolwork_fsck(disk, &out) > 0); /* the one that does not verify */
    CU_ASSERT_EQUAL(intact(disk, &w, &stats, &wrong), 0);
    CU_ASSERT_EQUAL(stats.damaged_batches, 0);
    struct spool_options o = { .path = "/sim", .segment_octets = WORK_SEGMENT_OCTETS, .io = simdisk_io(disk) };
    (void)spool_fsck(&o, true, &out);
    CU_ASSERT_EQUAL(spoolwork_fsck(disk, &out), 0);
    simdisk_free(disk);
    spoolwork_fini(&w);
    clock_virtual_stop();
}

/* A disk that fills up: refusals, then room again, and all is as promised. */
static void test_full_disk(void)
{
    struct simdisk *disk = simdisk_new(9, 1ull << 20);
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct work w;
    char error[256];

    clock_virtual_start(1795000000000ull);
    spoolwork_init(&w, disk, 9, 900);
    w.big_every = 0;
    struct spool_options o = { .path = "/sim", .segment_octets = WORK_SEGMENT_OCTETS, .io = simdisk_io(disk),
                               .min_free_octets = 3 * WORK_SEGMENT_OCTETS, .reserve_octets = 2 * WORK_SEGMENT_OCTETS };
    CU_ASSERT_EQUAL_FATAL(spool_open(&o, &w.spool, error, sizeof(error)), 0);
    w.spool->index_delay_ms = 0;
    CU_ASSERT_TRUE(spool_has_room(w.spool));
    for (unsigned i = 0; i < 300 && w.failures == 0 && spoolwork_round(&w); i++)
        simdisk_set_capacity(disk, (1ull << 20) - i * 12000);
    spoolwork_drain(&w);
    CU_ASSERT_TRUE(w.failures > 0);
    CU_ASSERT_FALSE(spool_has_room(w.spool));
    CU_ASSERT_EQUAL(spoolwork_check(&w, w.spool, &out), 0);
    simdisk_set_capacity(disk, 1ull << 30);
    clock_virtual_advance(2000);
    spool_look_at_disk(w.spool);
    CU_ASSERT_TRUE(spool_has_room(w.spool));
    uint64_t before = w.failures;
    while (spoolwork_round(&w))
        clock_virtual_advance(50);
    spoolwork_drain(&w);
    CU_ASSERT_EQUAL(w.failures, before);
    CU_ASSERT_EQUAL(spoolwork_check(&w, w.spool, &out), 0);
    spool_close(w.spool);
    CU_ASSERT_EQUAL(spoolwork_fsck(disk, &out), 0);
    if (out.len > 0)
        fprintf(stderr, "%.*s", (int)(out.len < 800 ? out.len : 800), out.data);
    simdisk_free(disk);
    spoolwork_fini(&w);
    clock_virtual_stop();
}

/* 100,000 deferred messages of one recipient: the rows' share of the 60 MB is at most 15. */
static void test_row_cost(void)
{
    struct index index;
    struct mallinfo2 before = mallinfo2();

    spool_index_init(&index);
    for (uint64_t i = 1; i <= 100000; i++) {
        struct row *row = spool_index_add(&index, (struct spool_key){ i << 24, 1 });
        row->rcpt_count = 1;
    }
    struct mallinfo2 after = mallinfo2();
    size_t octets = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    printf("%zu octets a row ", octets / 100000);
    CU_ASSERT_TRUE(octets < 15000000);
    for (uint64_t i = 1; i <= 100000; i++)
        CU_ASSERT_PTR_NOT_NULL(spool_index_find(&index, (struct spool_key){ i << 24, 1 }));
    for (uint64_t i = 1; i <= 100000; i += 2)
        spool_index_remove(&index, spool_index_find(&index, (struct spool_key){ i << 24, 1 }));
    for (uint64_t i = 1; i <= 100000; i++)
        CU_ASSERT_EQUAL(spool_index_find(&index, (struct spool_key){ i << 24, 1 }) == NULL, i % 2 == 1);
    spool_index_free(&index);
}

/* An outcome is needed by every segment that holds a copy, not only by the one with the newest. */
static void test_outcome_and_copies(void)
{
    struct simdisk *disk = simdisk_new(1, 1ull << 30);
    struct spool_options o = { .path = "/sim", .segment_octets = WORK_SEGMENT_OCTETS, .io = simdisk_io(disk) };
    struct segment *s[3];
    struct spool *spool;
    char error[256];

    CU_ASSERT_EQUAL_FATAL(spool_mount(&o, &spool, error, sizeof(error)), 0);
    for (unsigned i = 0; i < 3; i++) {
        s[i] = spool_segment_new(spool, &(struct format_segment){ .seq = i + 1, .octets = 65536 });
        spool_segment_insert(spool, s[i]);
    }
    struct row *row = spool_index_add(&spool->index, (struct spool_key){ 5, 1 });
    row->rcpt_count = 1;
    spool_row_place(spool, row, s[0], 4096, 100);
    spool_row_place(spool, row, s[1], 4096, 100); /* copied forward */
    CU_ASSERT_TRUE(s[0]->live == 0 && s[1]->live == 1);
    spool_row_place_change(spool, row, s[2], 4096, 60);
    spool_row_finish(spool, row, s[2]);
    CU_ASSERT_TRUE(s[1]->live == 0 && s[2]->live == 0);
    CU_ASSERT_EQUAL(s[2]->pinned_by, 2);
    spool_segment_remove(spool, s[1]);
    CU_ASSERT_EQUAL(s[2]->pinned_by, 1); /* the old copy is still there */
    spool_segment_remove(spool, s[0]);
    CU_ASSERT_EQUAL(s[2]->pinned_by, 0);
    spool_unmount(spool);
    simdisk_free(disk);
}

int main(void)
{
    log_set_level((enum log_level)-1);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("spool damage", NULL, NULL);
    CU_ADD_TEST(suite, test_bad_octet);
    CU_ADD_TEST(suite, test_bodies_of_a_bad_segment);
    CU_ADD_TEST(suite, test_fsck_sees_bodies);
    CU_ADD_TEST(suite, test_lost_index);
    CU_ADD_TEST(suite, test_full_disk);
    CU_ADD_TEST(suite, test_row_cost);
    CU_ADD_TEST(suite, test_outcome_and_copies);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    (void)CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
