/* SPDX-License-Identifier: Apache-2.0 */
/* test_spool.c - the spool on a real folder: what is stored comes back, also after a restart. */
#include <CUnit/Basic.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "spool/internal.h"
#include "state/envelope.h"

static char folder[64];

static void make_folder(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/tern-spool-XXXXXX");
    if (mkdtemp(folder) == NULL)
        abort();
}

static void remove_folder(void)
{
    static const char *const parts[] = { "/big", "" };
    char path[512];

    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s%s", folder, parts[i]);
        DIR *dir = opendir(path);
        for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
            char name[1024];
            (void)snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
            (void)unlink(name);
        }
        if (dir != NULL)
            (void)closedir(dir);
        (void)rmdir(path);
    }
}

static struct spool *open_spool(uint64_t segment_octets)
{
    struct spool_options o = { .path = folder, .segment_octets = segment_octets, .node = 7 };
    struct spool *spool = NULL;
    char error[256] = "";

    if (spool_open(&o, &spool, error, sizeof(error)) < 0) {
        fprintf(stderr, "  %s\n", error);
        abort();
    }
    return spool;
}

/* ---- building jobs ---- */

struct test_job {
    struct spool_job job;
    struct spool_message message;
    struct spool_change change;
    struct spool_rcpt_change rcpts[4];
    bool done;
};

static void on_done(struct spool_job *job)
{
    ((struct test_job *)job)->done = true;
}

static void encode(unsigned rcpts, struct buf *out)
{
    struct envelope_rcpt list[64];
    struct envelope e = { .origin = SLICE("smtp"), .sender = SLICE("a@example.org"), .rcpts = list, .rcpt_count = rcpts };

    for (unsigned i = 0; i < rcpts; i++)
        list[i] = (struct envelope_rcpt){ .address = SLICE("b@example.net"), .class_ = 1 };
    envelope_encode(&e, out);
}

static struct body *body_of(struct spool *spool, size_t octets, unsigned seed)
{
    struct body *body = body_new(spool_tmp_dir(spool));
    char chunk[1000];

    for (size_t at = 0; at < octets;) {
        size_t n = octets - at < sizeof(chunk) ? octets - at : sizeof(chunk);
        for (size_t i = 0; i < n; i++)
            chunk[i] = (char)('a' + (at + i + seed) % 23);
        CU_ASSERT_EQUAL_FATAL(body_append(body, slice_make(chunk, n)), 0);
        at += n;
    }
    return body;
}

static void settle(struct spool *spool)
{
    for (unsigned i = 0; i < 1000 && spool_step(spool); i++)
        ;
}

static int store(struct spool *spool, struct spool_key key, unsigned rcpts, size_t octets, unsigned seed)
{
    CLEANUP_BUF struct buf envelope = BUF_INIT;
    struct test_job t = { .done = false };
    struct body *body = body_of(spool, octets, seed);

    encode(rcpts, &envelope);
    t.message = (struct spool_message){ .key = key, .envelope = buf_slice(&envelope), .head = SLICE("Received: x\r\n"),
                                        .rcpt_count = rcpts, .arrival_ms = 1000, .due_ms = 2000 };
    t.job = (struct spool_job){ .body = body, .messages = &t.message, .message_count = 1, .done = on_done };
    spool_submit(spool, &t.job);
    body_unref(body);
    settle(spool);
    CU_ASSERT_TRUE_FATAL(t.done);
    return t.job.status;
}

static int change(struct spool *spool, struct spool_key key, enum spool_change_kind kind, uint64_t due, unsigned count,
                  const struct spool_rcpt_change *rcpts)
{
    struct test_job t = { .done = false };

    t.change = (struct spool_change){ .key = key, .kind = kind, .due_ms = due, .attempts = 3, .rcpts = rcpts,
                                      .rcpt_count = count };
    t.job = (struct spool_job){ .changes = &t.change, .change_count = 1, .done = on_done };
    spool_submit(spool, &t.job);
    settle(spool);
    CU_ASSERT_TRUE_FATAL(t.done);
    return t.job.status;
}

static void check_content(struct spool *spool, struct spool_key key, size_t octets, unsigned seed)
{
    struct spool_loaded *loaded = NULL;
    char chunk[777];
    uint64_t at = 0;
    int64_t n;

    CU_ASSERT_EQUAL_FATAL(spool_load(spool, key, &loaded), 0);
    CU_ASSERT_EQUAL(spool_loaded_octets(loaded), octets + 13);
    while ((n = spool_read(loaded, at, chunk, sizeof(chunk))) > 0) {
        bool same = true;
        for (int64_t i = 0; i < n; i++) {
            uint64_t place = at + (uint64_t)i;
            char want = place < 13 ? "Received: x\r\n"[place] : (char)('a' + (place - 13 + seed) % 23);
            same = same && chunk[i] == want;
        }
        CU_ASSERT_TRUE(same);
        at += (uint64_t)n;
    }
    CU_ASSERT_EQUAL(n, 0);
    CU_ASSERT_EQUAL(at, octets + 13);
    spool_unload(loaded);
}

static int fsck(struct buf *out)
{
    struct spool_options o = { .path = folder, .segment_octets = 65536 };

    int r = spool_fsck(&o, false, out);
    if (r != 0)
        fprintf(stderr, "%.*s", (int)out->len, out->data);
    return r;
}

static struct spool_key key_of(struct spool *spool)
{
    return (struct spool_key){ spool_id_new(spool), 1 };
}

/* ---- tests ---- */

static void test_key_text(void)
{
    static const struct {
        const char *name, *text;
        bool good;
    } rows[] = {
        { "thirteen digits", "06c2k3nm7d0g4", true },
        { "upper case is read", "06C2K3NM7D0G4", true },
        { "a group", "06c2k3nm7d0g4.2", true },
        { "the largest", "fzzzzzzzzzzzz.65535", true },
        { "group 1 has no suffix", "06c2k3nm7d0g4.1", false },
        { "group 65536", "06c2k3nm7d0g4.65536", false },
        { "leading zero", "06c2k3nm7d0g4.02", false },
        { "no digits behind the dot", "06c2k3nm7d0g4.", false },
        { "too short", "06c2k3nm7d0g", false },
        { "more than 64 bits", "g6c2k3nm7d0g4", false },
        { "a letter that is not a digit", "06c2k3nm7d0gu", false },
        { "NUL", "06c2k3nm7d0g\0", false },
        { "empty", "", false },
    };
    char text[SPOOL_ID_TEXT_MAX];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct spool_key key = { 0, 0 };
        bool good = spool_key_parse(slice_cstr(rows[i].text), &key);
        if (good != rows[i].good)
            fprintf(stderr, "  case \"%s\"\n", rows[i].name);
        CU_ASSERT_EQUAL(good, rows[i].good);
        if (!good)
            continue;
        spool_key_print(key, text);
        CU_ASSERT_TRUE(slice_equal_nocase(slice_cstr(text), slice_cstr(rows[i].text)));
    }
}

static void test_store_and_reopen(void)
{
    make_folder();
    struct spool *spool = open_spool(65536);
    static const size_t sizes[] = { 0, 1, 7, 8, 4096, 50000, 70000, 300000, (1u << 20) + 1, 3000000 };
    struct spool_key keys[10];

    for (unsigned i = 0; i < 10; i++) {
        keys[i] = key_of(spool);
        CU_ASSERT_EQUAL(store(spool, keys[i], 1, sizes[i], i), 0);
    }
    for (unsigned i = 0; i < 10; i++)
        check_content(spool, keys[i], sizes[i], i);
    CU_ASSERT_EQUAL(store(spool, keys[3], 1, 10, 0), -EEXIST);
    CU_ASSERT_EQUAL(store(spool, keys[9], 1, 2000000, 0), -EEXIST);
    check_content(spool, keys[9], sizes[9], 9);
    uint64_t last = spool_id_new(spool);
    spool_close(spool);
    CLEANUP_BUF struct buf out = BUF_INIT;
    CU_ASSERT_EQUAL(fsck(&out), 0);
    clock_virtual_start(1767225600000ull + 1000); /* a clock set back */
    spool = open_spool(65536);
    CU_ASSERT_TRUE(spool_id_new(spool) > last);
    clock_virtual_stop();
    for (unsigned i = 0; i < 10; i++)
        check_content(spool, keys[i], sizes[i], i);
    spool_close(spool);
    CU_ASSERT_EQUAL(fsck(&out), 0);
    remove_folder();
}

static void check_rcpt(struct spool *spool, struct spool_key key, uint32_t rcpt, enum spool_rcpt_state state,
                       const char *text)
{
    struct spool_loaded *loaded = NULL;

    CU_ASSERT_EQUAL_FATAL(spool_load(spool, key, &loaded), 0);
    CU_ASSERT_EQUAL(loaded->rcpts[rcpt].state, state);
    CU_ASSERT_TRUE(slice_equal(loaded->rcpts[rcpt].text, slice_cstr(text)));
    spool_unload(loaded);
}

static void check_held_text(struct spool *spool, struct spool_key key, const char *text)
{
    struct spool_loaded *loaded = NULL;

    CU_ASSERT_EQUAL_FATAL(spool_load(spool, key, &loaded), 0);
    CU_ASSERT_TRUE(slice_equal(loaded->held_text, slice_cstr(text)));
    spool_unload(loaded);
}

static void test_changes(void)
{
    make_folder();
    struct spool *spool = open_spool(65536);
    struct spool_key key = key_of(spool), gone = key_of(spool);
    struct spool_entry e;

    CU_ASSERT_EQUAL(store(spool, key, 40, 100, 1), 0);
    CU_ASSERT_EQUAL(store(spool, gone, 1, 100, 1), 0);
    struct spool_rcpt_change first[] = { { 7, SPOOL_RCPT_QUEUED, SLICE("450 later") },
                                         { 3, SPOOL_RCPT_DELIVERED, SLICE("250 ok") } };
    struct spool_rcpt_change second[] = { { 39, SPOOL_RCPT_QUEUED, SLICE("451 full") },
                                          { 3, SPOOL_RCPT_QUEUED, SLICE("") } };
    struct spool_rcpt_change wrong[] = { { 40, SPOOL_RCPT_QUEUED, SLICE("") } };
    CU_ASSERT_EQUAL(change(spool, key, SPOOL_ATTEMPTED, 5000, 2, first), 0);
    CU_ASSERT_EQUAL(change(spool, key, SPOOL_ATTEMPTED, 6000, 2, second), 0);
    CU_ASSERT_EQUAL(change(spool, key, SPOOL_ATTEMPTED, 6000, 1, wrong), -EINVAL);
    struct spool_rcpt_change why[] = { { SPOOL_RCPT_NONE, SPOOL_RCPT_QUEUED, SLICE("a reason") } };
    CU_ASSERT_EQUAL(change(spool, key, SPOOL_ATTEMPTED, 6000, 1, why), -EINVAL); /* of a hold only */
    CU_ASSERT_EQUAL(change(spool, key, SPOOL_HELD, 7000, 1, why), 0);
    CU_ASSERT_EQUAL(change(spool, key, SPOOL_RETRY, 0, 0, NULL), 0); /* written once more, as it is */
    struct spool_rcpt_change end[] = { { 0, SPOOL_RCPT_DELIVERED, SLICE("250 ok") } };
    CU_ASSERT_EQUAL(change(spool, gone, SPOOL_ATTEMPTED, 0, 1, end), 0);
    CU_ASSERT_EQUAL(change(spool, gone, SPOOL_ATTEMPTED, 0, 1, end), -ENOENT);
    for (int round = 0; round < 2; round++) {
        CU_ASSERT_TRUE(spool_entry_of(spool, key, &e));
        CU_ASSERT_EQUAL(e.pending_count, 39);
        CU_ASSERT_EQUAL(e.due_ms, 7000); /* since when it is held */
        CU_ASSERT_EQUAL(e.attempts, 3);
        CU_ASSERT_TRUE(e.held);
        check_held_text(spool, key, "a reason");
        CU_ASSERT_FALSE(spool_entry_of(spool, gone, &e));
        check_rcpt(spool, key, 7, SPOOL_RCPT_QUEUED, "450 later");
        check_rcpt(spool, key, 3, SPOOL_RCPT_DELIVERED, "250 ok");
        check_rcpt(spool, key, 39, SPOOL_RCPT_QUEUED, "451 full");
        check_rcpt(spool, key, 0, SPOOL_RCPT_QUEUED, "");
        if (round == 0) {
            spool_close(spool);
            spool = open_spool(65536);
        }
    }
    CU_ASSERT_EQUAL(change(spool, key, SPOOL_RELEASED, 7000, 0, NULL), 0);
    CU_ASSERT_TRUE(spool_entry_of(spool, key, &e) && !e.held && e.due_ms == 7000);
    check_held_text(spool, key, "");
    check_rcpt(spool, key, 39, SPOOL_RCPT_QUEUED, "451 full");
    CU_ASSERT_EQUAL(change(spool, key, SPOOL_HELD, 7000, 1, why), 0);
    CU_ASSERT_EQUAL(change(spool, key, SPOOL_HELD, 8000, 0, NULL), 0); /* by somebody else */
    check_held_text(spool, key, "");
    CU_ASSERT_EQUAL(change(spool, key, SPOOL_DELETED, 0, 0, NULL), 0);
    CU_ASSERT_FALSE(spool_entry_of(spool, key, &e));
    spool_close(spool);
    CLEANUP_BUF struct buf out = BUF_INIT;
    CU_ASSERT_EQUAL(fsck(&out), 0);
    remove_folder();
}

static void test_reclaim(void)
{
    make_folder();
    struct spool *spool = open_spool(65536);
    struct spool_key keep = key_of(spool);
    struct spool_stats stats;
    struct spool_rcpt_change end[] = { { 0, SPOOL_RCPT_DELIVERED, SLICE("250 ok") } };

    spool->index_delay_ms = 0;
    CU_ASSERT_EQUAL(store(spool, keep, 2, 500, 9), 0);
    CU_ASSERT_EQUAL(change(spool, keep, SPOOL_ATTEMPTED, 9000, 1, end), 0);
    for (unsigned i = 0; i < 400; i++) {
        struct spool_key key = key_of(spool);
        CU_ASSERT_EQUAL(store(spool, key, 1, 3000, i), 0);
        CU_ASSERT_EQUAL(change(spool, key, SPOOL_ATTEMPTED, 0, 1, end), 0);
    }
    spool_get_stats(spool, &stats);
    CU_ASSERT_EQUAL(stats.messages, 1);
    CU_ASSERT_TRUE(stats.segments < 20); /* 4 MB went through; what was copied forward lets the rest go */
    check_content(spool, keep, 500, 9);
    check_rcpt(spool, keep, 0, SPOOL_RCPT_DELIVERED, "250 ok");
    spool_close(spool);
    CLEANUP_BUF struct buf out = BUF_INIT;
    CU_ASSERT_EQUAL(fsck(&out), 0);
    spool = open_spool(65536);
    check_content(spool, keep, 500, 9);
    spool_close(spool);
    remove_folder();
}

static unsigned count_names(const char *suffix)
{
    DIR *dir = opendir(folder);
    unsigned count = 0;

    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir))
        count += strstr(e->d_name, suffix) != NULL;
    if (dir != NULL)
        (void)closedir(dir);
    return count;
}

/* However many segments are finished at once: what is above `spares` is room on the disk again. */
static void test_spares(void)
{
    enum { COUNT = 200 };
    static struct test_job jobs[COUNT];
    struct spool_rcpt_change end = { 0, SPOOL_RCPT_DELIVERED, SLICE("250 ok") };

    make_folder();
    struct spool *spool = open_spool(65536);
    spool->index_delay_ms = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        jobs[i].change = (struct spool_change){ .key = key_of(spool), .kind = SPOOL_ATTEMPTED, .attempts = 1,
                                                .rcpts = &end, .rcpt_count = 1 };
        CU_ASSERT_EQUAL_FATAL(store(spool, jobs[i].change.key, 1, 3000, i), 0);
    }
    CU_ASSERT_TRUE(spool->segment_count > 10);
    for (unsigned i = 0; i < COUNT; i++) {
        jobs[i].job = (struct spool_job){ .changes = &jobs[i].change, .change_count = 1, .done = on_done };
        spool_submit(spool, &jobs[i].job);
    }
    while (spool_writer_run(spool)) /* the maker is busy elsewhere */
        ;
    for (unsigned i = 0; i < 4; i++) {
        (void)spool_maker_run(spool);
        CU_ASSERT_TRUE(spool->spare_count <= spool->spare_max);
        CU_ASSERT_TRUE(count_names(".spare") <= spool->spare_max);
    }
    CU_ASSERT_TRUE(spool->segment_count < 10);
    spool_close(spool);
    remove_folder();
}

/* Copying goes on as long as there is something to copy, not by a handful a second. */
static void test_copies_in_a_row(void)
{
    enum { COUNT = 20 * COPY_MESSAGES_MAX };
    static struct test_job jobs[COUNT];
    static struct spool_key keys[COUNT];
    struct spool_rcpt_change end = { 0, SPOOL_RCPT_DELIVERED, SLICE("250 ok") };
    CLEANUP_BUF struct buf envelope = BUF_INIT;

    make_folder();
    struct spool *spool = open_spool(1 << 20);
    spool->copy_slack_segments = 0;
    spool->copy_slack_factor = 1;
    encode(1, &envelope);
    for (unsigned i = 0; i < COUNT; i++) {
        struct body *body = body_of(spool, 1000, i);
        keys[i] = key_of(spool);
        jobs[i].message = (struct spool_message){ .key = keys[i], .envelope = buf_slice(&envelope), .rcpt_count = 1,
                                                  .head = SLICE("Received: x\r\n"), .arrival_ms = 1, .due_ms = 1 };
        jobs[i].job = (struct spool_job){ .body = body, .messages = &jobs[i].message, .message_count = 1,
                                          .done = on_done };
        spool_submit(spool, &jobs[i].job);
        body_unref(body);
    }
    while (spool_writer_run(spool))
        CU_ASSERT_TRUE(spool->segment_count < 20);
    for (unsigned i = 0; i < COUNT; i++) {
        if (i % 4 == 0)
            continue;
        jobs[i].change = (struct spool_change){ .key = keys[i], .attempts = 1, .rcpts = &end, .rcpt_count = 1 };
        jobs[i].job = (struct spool_job){ .changes = &jobs[i].change, .change_count = 1, .done = on_done };
        spool_submit(spool, &jobs[i].job);
    }
    bool due = true;
    while (spool_writer_run(spool))
        ;
    for (unsigned i = 0; i < 1000 && due; i++) { /* the threads, as far as one wakes the other */
        (void)spool_maker_run(spool);
        while (spool_writer_run(spool))
            ;
        due = atomic_load(&spool->maker_due);
    }
    CU_ASSERT_FALSE(due);
    CU_ASSERT_TRUE(spool->copied >= 3 * COPY_MESSAGES_MAX);
    for (unsigned i = 0; i < COUNT; i += 4)
        check_content(spool, keys[i], 1000, i);
    spool_close(spool);
    CLEANUP_BUF struct buf out = BUF_INIT;
    CU_ASSERT_EQUAL(fsck(&out), 0);
    remove_folder();
}

static void damage(const struct row *row)
{
    char path[128], name[SPOOL_NAME_MAX];

    spool_segment_name(row->snap_seq, "seg", name);
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CU_ASSERT_EQUAL(pwrite(fd, "damaged", 7, (off_t)(row->snap_offset + FORMAT_RECORD_HEADER)), 7);
    (void)close(fd);
}

/* What stands beside a message that cannot be read any more is copied forward all the same. */
static void test_copies_beside_damage(void)
{
    struct spool_rcpt_change end[] = { { 0, SPOOL_RCPT_DELIVERED, SLICE("250 ok") } };

    make_folder();
    clock_virtual_start(1795000000000ull);
    struct spool *spool = open_spool(65536);
    struct spool_key bad = key_of(spool), good = key_of(spool), last = good;
    struct spool_stats stats;
    log_set_level((enum log_level)-1);
    spool->index_delay_ms = 0;
    CU_ASSERT_EQUAL(store(spool, bad, 1, 500, 1), 0);
    CU_ASSERT_EQUAL(store(spool, good, 1, 500, 2), 0);
    uint32_t first = spool_index_find(&spool->index, good)->snap_seq;
    CU_ASSERT_EQUAL(spool_index_find(&spool->index, bad)->snap_seq, first);
    damage(spool_index_find(&spool->index, bad));
    for (unsigned i = 0; i < 300; i++) {
        struct spool_key key = last;
        last = key_of(spool);
        CU_ASSERT_EQUAL(store(spool, last, 1, 3000, i), 0);
        if (i > 0) /* some end in the segment behind theirs, which is needed as long as theirs is there */
            CU_ASSERT_EQUAL(change(spool, key, SPOOL_ATTEMPTED, 0, 1, end), 0);
        clock_virtual_advance(1000);
    }
    CU_ASSERT_NOT_EQUAL(spool_index_find(&spool->index, good)->snap_seq, first);
    check_content(spool, good, 500, 2);
    CU_ASSERT_EQUAL(spool_index_find(&spool->index, bad)->snap_seq, first);
    CU_ASSERT_EQUAL(change(spool, bad, SPOOL_DELETED, 0, 0, NULL), 0); /* which is all that is left to do */
    for (unsigned i = 0; i < 4; i++) {
        clock_virtual_advance(60000);
        settle(spool);
    }
    spool_get_stats(spool, &stats);
    CU_ASSERT_TRUE(stats.segments < 20);
    spool_close(spool);
    log_set_level(LOG_ERROR);
    clock_virtual_stop();
    remove_folder();
}

static void test_lock(void)
{
    make_folder();
    struct spool *spool = open_spool(0), *second = NULL;
    struct spool_options o = { .path = folder, .lock_wait_ms = 60 };
    char error[256] = "";

    CU_ASSERT_EQUAL(spool_open(&o, &second, error, sizeof(error)), -EWOULDBLOCK);
    CU_ASSERT_TRUE(strstr(error, "another server") != NULL);
    spool_close(spool);
    CU_ASSERT_EQUAL(spool_open(&o, &second, error, sizeof(error)), 0);
    spool_close(second);
    remove_folder();
}

/* ---- as many as a batch takes ---- */

static void submit_bounce(struct spool *spool, struct test_job *t, struct spool_key key, struct slice envelope)
{
    struct body *body = body_of(spool, 300, 1);

    t->message = (struct spool_message){ .key = key_of(spool), .envelope = envelope, .head = SLICE("Received: x\r\n"),
                                         .rcpt_count = 1, .arrival_ms = 1000, .due_ms = 2000, .bounce = true };
    t->rcpts[0] = (struct spool_rcpt_change){ 0, SPOOL_RCPT_BOUNCED, SLICE("550 5.1.1 no such user") };
    t->change = (struct spool_change){ .key = key, .kind = SPOOL_ATTEMPTED, .attempts = 1, .rcpts = t->rcpts,
                                       .rcpt_count = 1 };
    t->job = (struct spool_job){ .body = body, .messages = &t->message, .message_count = 1, .changes = &t->change,
                                 .change_count = 1, .done = on_done };
    spool_submit(spool, &t->job);
    body_unref(body);
}

/*
 * A bounce with its notice is the unit of the most pieces, and the kernel takes so many in one write and no more
 * (IOV_MAX). That they come all at once is what a next hop that refuses everybody does.
 */
static void test_a_batch_of_bounces(void)
{
    enum { COUNT = BATCH_UNITS_MAX + 2 };
    static struct test_job jobs[COUNT];
    CLEANUP_BUF struct buf envelope = BUF_INIT;
    struct spool_key keys[COUNT];

    make_folder();
    struct spool *spool = open_spool(1 << 20);
    encode(1, &envelope);
    for (unsigned i = 0; i < COUNT; i++) {
        keys[i] = key_of(spool);
        CU_ASSERT_EQUAL_FATAL(store(spool, keys[i], 1, 100, i), 0);
    }
    for (unsigned count = COUNT - 3; count <= COUNT; count++) {
        for (unsigned i = 0; i < count; i++)
            submit_bounce(spool, &jobs[i], keys[i], buf_slice(&envelope));
        settle(spool);
        for (unsigned i = 0; i < count; i++) {
            CU_ASSERT_TRUE_FATAL(jobs[i].done);
            CU_ASSERT_EQUAL(jobs[i].job.status, 0);
            keys[i] = jobs[i].message.key; /* the notice: it bounces next, as far as the spool is concerned */
        }
    }
    for (unsigned i = 0; i < spool->segment_count; i++)
        CU_ASSERT_FALSE(spool->segments[i]->condemned);
    spool_close(spool);
    CLEANUP_BUF struct buf out = BUF_INIT;
    CU_ASSERT_EQUAL(fsck(&out), 0);
    remove_folder();
}

/* ---- many submitters ---- */

#define SUBMITTERS 4
#define PER_THREAD 300

struct submitter {
    struct spool *spool;
    pthread_t thread;
    struct spool_key keys[PER_THREAD];
    _Atomic unsigned done, failed;
};

struct thread_job {
    struct spool_job job;
    struct spool_message message;
    struct submitter *by;
};

struct change_job {
    struct spool_job job;
    struct spool_change change;
    struct submitter *by;
};

static void on_change_done(struct spool_job *job)
{
    struct change_job *c = (struct change_job *)job;

    if (job->status != 0)
        atomic_fetch_add(&c->by->failed, 1);
    free(c);
}

static void on_thread_done(struct spool_job *job)
{
    struct thread_job *t = (struct thread_job *)job;

    if (job->status != 0)
        atomic_fetch_add(&t->by->failed, 1);
    body_unref(job->body);
    atomic_fetch_add(&t->by->done, 1);
    free(t);
}

/* Every third is delivered, the others are put off; both while the rest of the spool is busy. */
static void finish_or_defer(struct submitter *s, unsigned k)
{
    static const struct spool_rcpt_change ends[] = { { 0, SPOOL_RCPT_DELIVERED, SLICE("250 ok") } };
    static const struct spool_rcpt_change later[] = { { 0, SPOOL_RCPT_QUEUED, SLICE("450 later") } };
    struct change_job *c = mem_zalloc(sizeof(*c));

    c->by = s;
    c->change = (struct spool_change){ .key = s->keys[k], .kind = SPOOL_ATTEMPTED, .due_ms = 5, .attempts = 1,
                                       .rcpts = k % 3 == 0 ? ends : later, .rcpt_count = 1 };
    c->job = (struct spool_job){ .changes = &c->change, .change_count = 1, .done = on_change_done };
    spool_submit(s->spool, &c->job);
}

static void *submit_main(void *arg)
{
    struct submitter *s = arg;

    for (unsigned i = 0; i < PER_THREAD; i++) {
        CLEANUP_BUF struct buf envelope = BUF_INIT;
        struct thread_job *t = mem_zalloc(sizeof(*t));
        size_t octets = i % 100 == 99 ? (1u << 20) + 5 : 200 + i * 7;
        struct body *body = body_of(s->spool, octets, i);
        encode(1, &envelope);
        s->keys[i] = key_of(s->spool);
        t->by = s;
        t->message = (struct spool_message){ .key = s->keys[i], .envelope = buf_slice(&envelope),
                                             .head = SLICE("Received: x\r\n"), .rcpt_count = 1, .due_ms = 1 };
        t->job = (struct spool_job){ .body = body, .messages = &t->message, .message_count = 1,
                                     .done = on_thread_done };
        spool_submit(s->spool, &t->job);
        if (i % 10 != 9)
            continue;
        while (atomic_load(&s->done) < i + 1)
            (void)usleep(200);
        check_content(s->spool, s->keys[i], octets, i);
        for (unsigned k = i - 9; k < i; k++)
            finish_or_defer(s, k);
    }
    return NULL;
}

static void test_threads(void)
{
    make_folder();
    struct spool *spool = open_spool(256 << 10);
    static struct submitter s[SUBMITTERS];

    spool->index_delay_ms = 0;
    spool->copy_slack_segments = 1;
    spool->copy_slack_factor = 1;
    CU_ASSERT_EQUAL_FATAL(spool_start(spool), 0);
    for (unsigned i = 0; i < SUBMITTERS; i++) {
        s[i] = (struct submitter){ .spool = spool };
        CU_ASSERT_EQUAL_FATAL(pthread_create(&s[i].thread, NULL, submit_main, &s[i]), 0);
    }
    for (unsigned i = 0; i < SUBMITTERS; i++)
        (void)pthread_join(s[i].thread, NULL);
    spool_close(spool);
    spool = open_spool(256 << 10);
    for (unsigned i = 0; i < SUBMITTERS; i++) {
        CU_ASSERT_EQUAL(atomic_load(&s[i].failed), 0);
        CU_ASSERT_EQUAL(atomic_load(&s[i].done), PER_THREAD);
        for (unsigned k = 0; k < PER_THREAD; k++) {
            struct spool_entry e;
            bool finished = k % 10 != 9 && k % 3 == 0;
            CU_ASSERT_EQUAL(spool_entry_of(spool, s[i].keys[k], &e), !finished);
            if (finished)
                continue;
            check_content(spool, s[i].keys[k], k % 100 == 99 ? (1u << 20) + 5 : 200 + k * 7, k);
        }
    }
    spool_close(spool);
    CLEANUP_BUF struct buf out = BUF_INIT;
    CU_ASSERT_EQUAL(fsck(&out), 0);
    remove_folder();
}

int main(void)
{
    log_set_level(LOG_ERROR);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("spool", NULL, NULL);
    CU_ADD_TEST(suite, test_key_text);
    CU_ADD_TEST(suite, test_store_and_reopen);
    CU_ADD_TEST(suite, test_changes);
    CU_ADD_TEST(suite, test_reclaim);
    CU_ADD_TEST(suite, test_spares);
    CU_ADD_TEST(suite, test_copies_in_a_row);
    CU_ADD_TEST(suite, test_copies_beside_damage);
    CU_ADD_TEST(suite, test_lock);
    CU_ADD_TEST(suite, test_a_batch_of_bounces);
    CU_ADD_TEST(suite, test_threads);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    (void)CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
