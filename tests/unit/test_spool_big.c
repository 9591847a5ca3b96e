/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spool_big.c - bodies in files of their own, on the simulated disk: open only while somebody reads, there as
 * long as somebody may, and a message whose file is gone waits for it.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "state/envelope.h"
#include "support/spoolwork.h"

#define OCTETS   (BODY_MEMORY_MAX + 5000u)
#define HEAD     "Received: x\r\n"
#define HEAD_LEN (sizeof(HEAD) - 1)

static struct simdisk *disk;
static struct spool *spool;

static void start(void)
{
    char error[256] = "";

    if (disk == NULL)
        disk = simdisk_new(3, 1ull << 40);
    CU_ASSERT_EQUAL_FATAL(spoolwork_open(disk, &spool, error, sizeof(error)), 0);
}

static void end(void)
{
    spool_close(spool);
    CU_ASSERT_EQUAL(simdisk_open_count(disk), 0);
    simdisk_free(disk);
    disk = NULL;
}

static void settle(void)
{
    for (unsigned i = 0; i < 1000 && spool_step(spool); i++)
        ;
}

static void on_done(struct spool_job *job)
{
    *(bool *)job->arg = true;
}

static char octet_at(uint64_t place, unsigned seed)
{
    return place < HEAD_LEN ? HEAD[place] : (char)('a' + (place - HEAD_LEN + seed) % 23);
}

static struct spool_key store(unsigned seed)
{
    static char octets[OCTETS];
    struct envelope_rcpt rcpt = { .address = SLICE("b@example.net"), .class_ = 1 };
    struct envelope e = { .origin = SLICE("smtp"), .sender = SLICE("a@example.org"), .rcpts = &rcpt, .rcpt_count = 1 };
    CLEANUP_BUF struct buf envelope = BUF_INIT;
    struct body *body = body_new_on(simdisk_body_io(disk), spool_tmp_dir(spool));
    bool done = false;

    for (uint64_t i = 0; i < OCTETS; i++)
        octets[i] = octet_at(HEAD_LEN + i, seed);
    CU_ASSERT_EQUAL_FATAL(body_append(body, slice_make(octets, OCTETS)), 0);
    envelope_encode(&e, &envelope);
    const struct spool_message m = { .key = { spool_id_new(spool), 1 }, .envelope = buf_slice(&envelope),
                                     .head = SLICE(HEAD), .rcpt_count = 1, .arrival_ms = 1000, .due_ms = 2000 };
    struct spool_job job = { .body = body, .messages = &m, .message_count = 1, .done = on_done, .arg = &done };
    spool_submit(spool, &job);
    body_unref(body);
    settle();
    CU_ASSERT_TRUE_FATAL(done);
    CU_ASSERT_EQUAL_FATAL(job.status, 0);
    return m.key;
}

static int delete(struct spool_key key)
{
    bool done = false;
    const struct spool_change c = { .key = key, .kind = SPOOL_DELETED };
    struct spool_job job = { .changes = &c, .change_count = 1, .done = on_done, .arg = &done };

    spool_submit(spool, &job);
    settle();
    CU_ASSERT_TRUE_FATAL(done);
    return job.status;
}

static struct spool_loaded *load(struct spool_key key)
{
    struct spool_loaded *loaded = NULL;

    CU_ASSERT_EQUAL_FATAL(spool_load(spool, key, &loaded), 0);
    return loaded;
}

static bool is_whole(struct spool_loaded *loaded, unsigned seed)
{
    char chunk[65536];
    uint64_t at = 0;
    int64_t n;

    while ((n = spool_read(loaded, at, chunk, sizeof(chunk))) > 0)
        for (int64_t i = 0; i < n; i++)
            if (chunk[i] != octet_at(at++, seed))
                return false;
    return n == 0 && at == HEAD_LEN + OCTETS;
}

/* The file gets a name under which nobody looks for it, or its own again. */
static void move_file(struct spool_key key, bool away)
{
    const struct spool_io *io = simdisk_io(disk);
    char name[SPOOL_ID_TEXT_MAX];

    spool_key_print(key, name);
    int r = io->rename(io->ctx, spool->big_dir, away ? name : "aside", away ? "aside" : name);
    CU_ASSERT_EQUAL_FATAL(r, 0);
    CU_ASSERT_EQUAL_FATAL(io->sync_dir(io->ctx, spool->big_dir), 0);
}

static void restart(void)
{
    spool_close(spool);
    start();
}

/* Who waits needs no descriptor, nor does who has loaded it; two readers need one. */
static void test_open_only_while_read(void)
{
    struct spool_loaded *loaded[20];
    struct spool_key keys[20];

    start();
    for (unsigned i = 0; i < 20; i++)
        keys[i] = store(i);
    for (unsigned round = 0; round < 2; round++) {
        unsigned before = simdisk_open_count(disk), with_log;
        for (unsigned i = 0; i < 20; i++)
            loaded[i] = load(keys[i]);
        with_log = simdisk_open_count(disk);
        CU_ASSERT_TRUE(with_log <= before + 2); /* the segments that they are in */
        CU_ASSERT_EQUAL(spool_body_open(loaded[3], NULL), 0);
        CU_ASSERT_EQUAL(spool_body_open(loaded[3], NULL), 0);
        CU_ASSERT_EQUAL(simdisk_open_count(disk), with_log + 1);
        spool_body_close(loaded[3]);
        CU_ASSERT_TRUE(is_whole(loaded[3], 3));
        CU_ASSERT_EQUAL(simdisk_open_count(disk), with_log + 1);
        spool_body_close(loaded[3]);
        CU_ASSERT_EQUAL(simdisk_open_count(disk), with_log);
        for (unsigned i = 0; i < 20; i++)
            CU_ASSERT_TRUE(is_whole(loaded[i], i));
        CU_ASSERT_EQUAL(simdisk_open_count(disk), with_log);
        for (unsigned i = 0; i < 20; i++)
            spool_unload(loaded[i]);
        CU_ASSERT_EQUAL(simdisk_open_count(disk), before);
        if (round == 0)
            restart();
    }
    end();
}

/* It is gone from the queue at once; its file when nobody can read it any more. */
static void test_deleted_before_it_is_read(void)
{
    start();
    struct spool_key key = store(7);
    struct spool_loaded *first = load(key), *second = load(key), *none;
    CU_ASSERT_EQUAL(spool_body_open(second, NULL), 0);
    CU_ASSERT_EQUAL(delete(key), 0);
    CU_ASSERT_EQUAL(spool_load(spool, key, &none), -ENOENT);
    CU_ASSERT_EQUAL(simdisk_big_count(disk), 1);
    CU_ASSERT_TRUE(is_whole(first, 7));
    spool_unload(first);
    settle();
    CU_ASSERT_EQUAL(simdisk_big_count(disk), 1);
    CU_ASSERT_TRUE(is_whole(second, 7));
    spool_body_close(second);
    spool_unload(second);
    settle();
    CU_ASSERT_EQUAL(simdisk_big_count(disk), 0);
    end();
}

/* A server that ends meanwhile leaves a file that the next start removes. */
static void test_deleted_and_never_let_go(void)
{
    start();
    struct spool_key key = store(8);
    struct spool_loaded *loaded = load(key);
    CU_ASSERT_EQUAL(delete(key), 0);
    struct simdisk *crashed = simdisk_kill(disk);
    spool_unload(loaded);
    end();
    disk = crashed;
    start();
    CU_ASSERT_EQUAL(simdisk_big_count(disk), 1);
    (void)spool_maker_run(spool);
    CU_ASSERT_EQUAL(simdisk_big_count(disk), 0);
    end();
}

struct failing {
    int error;
};

static int on_call(void *arg, enum sim_call call)
{
    return call == SIM_OPEN ? ((struct failing *)arg)->error : 0;
}

static void test_cannot_be_opened(void)
{
    static const int errors[] = { -EMFILE, -EIO, -EACCES };
    struct failing f = { 0 };
    char why[SPOOL_WHY_MAX], octet;

    start();
    struct spool_key key = store(1);
    struct spool_loaded *loaded = load(key);
    unsigned open = simdisk_open_count(disk);
    simdisk_set_before(disk, on_call, &f);
    for (unsigned i = 0; i < 3; i++) {
        f.error = errors[i];
        CU_ASSERT_EQUAL(spool_body_open(loaded, why), f.error);
        CU_ASSERT_PTR_NOT_NULL(strstr(why, strerror(-f.error)));
        CU_ASSERT_EQUAL(spool_read(loaded, HEAD_LEN, &octet, 1), f.error);
        CU_ASSERT_EQUAL(simdisk_open_count(disk), open);
        f.error = 0;
        CU_ASSERT_TRUE(is_whole(loaded, 1));
    }
    spool_unload(loaded);
    end();
}

static unsigned findings_of(struct spool_key key, const char *words)
{
    struct spool_options o = { .path = "/sim", .segment_octets = WORK_SEGMENT_OCTETS, .io = simdisk_io(disk) };
    CLEANUP_BUF struct buf out = BUF_INIT;
    char id[SPOOL_ID_TEXT_MAX];
    int findings = spool_fsck(&o, false, &out);

    spool_key_print(key, id);
    buf_add_char(&out, '\0');
    if (findings > 0)
        CU_ASSERT_TRUE(strstr(out.data, id) != NULL && strstr(out.data, words) != NULL);
    return findings < 0 ? 1000 : (unsigned)findings;
}

static void check_unreadable(struct spool_key key, int error, const char *words)
{
    struct spool_loaded *loaded = load(key);
    char why[SPOOL_WHY_MAX] = "", octet;

    CU_ASSERT_TRUE(loaded->envelope.len > 0 && loaded->entry.pending_count == 1);
    CU_ASSERT_EQUAL(spool_body_open(loaded, why), error);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, words));
    CU_ASSERT_TRUE(spool_read(loaded, HEAD_LEN, &octet, 1) < 0);
    spool_unload(loaded);
}

/* Gone at the start, or while the server runs: the message waits for its file, over as many starts as it takes. */
static void test_missing(void)
{
    struct spool_stats stats;

    start();
    struct spool_key key = store(4), other = store(5);
    move_file(key, true);
    check_unreadable(key, -ENOENT, "No such file");
    for (unsigned i = 0; i < 2; i++) {
        restart();
        spool_get_stats(spool, &stats);
        CU_ASSERT_EQUAL(stats.messages, 2);
        CU_ASSERT_EQUAL(stats.damaged_batches, 0);
        check_unreadable(key, -ENOENT, "No such file");
        settle();
    }
    struct spool_loaded *loaded = load(other);
    CU_ASSERT_TRUE(is_whole(loaded, 5));
    spool_unload(loaded);
    spool_close(spool);
    CU_ASSERT_EQUAL(findings_of(key, "No such file"), 1);
    start();
    move_file(key, false);
    for (unsigned i = 0; i < 2; i++) {
        loaded = load(key);
        CU_ASSERT_TRUE(is_whole(loaded, 4));
        spool_unload(loaded);
        restart();
    }
    spool_close(spool);
    CU_ASSERT_EQUAL(findings_of(key, ""), 0);
    start();
    end();
}

static void test_missing_and_given_up(void)
{
    struct spool_stats stats;

    start();
    struct spool_key key = store(4);
    move_file(key, true);
    restart();
    CU_ASSERT_EQUAL(delete(key), 0);
    restart();
    spool_get_stats(spool, &stats);
    CU_ASSERT_EQUAL(stats.messages, 0);
    spool_close(spool);
    CU_ASSERT_EQUAL(findings_of(key, ""), 0);
    start();
    end();
}

/* An octet too few, or one too many: not the body that was acknowledged. */
static void test_wrong_length(void)
{
    const struct spool_io *io = simdisk_io(disk = simdisk_new(3, 1ull << 40));
    char name[SPOOL_ID_TEXT_MAX];

    start();
    struct spool_key key = store(4);
    spool_key_print(key, name);
    for (int by = -1; by <= 1; by += 2) {
        int fd = io->open(io->ctx, spool->big_dir, name, O_RDWR);
        CU_ASSERT_EQUAL(io->truncate(io->ctx, fd, (uint64_t)((int64_t)OCTETS + by)), 0);
        CU_ASSERT_EQUAL(io->fdatasync(io->ctx, fd), 0);
        io->close(io->ctx, fd);
        check_unreadable(key, -EBADMSG, by < 0 ? "1053575 octets, expected 1053576" : "1053577 octets");
        restart();
        check_unreadable(key, -EBADMSG, "expected 1053576");
        spool_close(spool);
        CU_ASSERT_EQUAL(findings_of(key, "expected 1053576"), 1);
        start();
    }
    end();
}

int main(void)
{
    log_set_level((enum log_level)-1);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("spool, big bodies", NULL, NULL);
    CU_ADD_TEST(suite, test_open_only_while_read);
    CU_ADD_TEST(suite, test_deleted_before_it_is_read);
    CU_ADD_TEST(suite, test_deleted_and_never_let_go);
    CU_ADD_TEST(suite, test_cannot_be_opened);
    CU_ADD_TEST(suite, test_missing);
    CU_ADD_TEST(suite, test_missing_and_given_up);
    CU_ADD_TEST(suite, test_wrong_length);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    (void)CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
