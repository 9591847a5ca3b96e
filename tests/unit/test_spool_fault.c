/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spool_fault.c - each call of the spool in a small workload fails once, with each errno and (writes) cut
 * short (of a call that is frequent $TERN_PLACES of its places, 16; ./check has all of them), and each call of a
 * start does: nothing is half accepted, nothing acknowledged is lost, and it goes on by itself. The
 * rows of docs/queue.md sections 3 to 5.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "support/spoolwork.h"

struct fault {
    enum sim_call call; /* SIM_CALL_COUNT: any */
    int error;          /* negative errno or SIM_SHORT */
    uint64_t at, count; /* the how manieth; how many in a row */
    uint64_t seen;
    bool off;
};

static int on_fault(void *arg, enum sim_call call)
{
    struct fault *f = arg;

    if (f->off || (f->call != SIM_CALL_COUNT && call != f->call))
        return 0;
    uint64_t n = f->seen++;
    return n >= f->at && n < f->at + f->count ? f->error : 0;
}

#define MESSAGES 200

/* Runs the workload with the fault; afterwards everything promised is there, and new mail is taken. */
static unsigned run_with(struct fault *f, uint64_t seed, struct buf *out)
{
    struct simdisk *disk = simdisk_new(seed, 1ull << 40);
    struct work w;
    char error[256] = "";
    unsigned findings = 0;

    spoolwork_init(&w, disk, seed, MESSAGES);
    w.big_every = 40;
    clock_virtual_start(1795000000000ull);
    if (spoolwork_open(disk, &w.spool, error, sizeof(error)) < 0)
        abort();
    simdisk_set_before(disk, on_fault, f);
    while (spoolwork_round(&w))
        clock_virtual_advance(400);
    for (unsigned i = 0; i < 6; i++) {
        spoolwork_drain(&w);
        clock_virtual_advance(3000); /* what is tried again a second later is */
    }
    f->off = true;
    if (w.under_way > 0) {
        buf_add_cstr(out, "jobs are under way for ever\n");
        findings++;
    }
    findings += spoolwork_check(&w, w.spool, out);
    findings += spoolwork_use(&w, disk, w.spool, out);
    spool_close(w.spool);
    findings += spoolwork_fsck(disk, out);
    if (spoolwork_open(disk, &w.spool, error, sizeof(error)) == 0) {
        findings += spoolwork_check(&w, w.spool, out) > 1; /* the messages of spoolwork_use() */
        spool_close(w.spool);
    } else {
        findings++;
        buf_printf(out, "%s\n", error);
    }
    if (simdisk_open_count(disk) != 0) {
        findings++;
        buf_printf(out, "%u descriptors are left open\n", simdisk_open_count(disk));
    }
    spoolwork_fini(&w);
    simdisk_free(disk);
    clock_virtual_stop();
    return findings;
}

static unsigned shown;

static void run_case(enum sim_call call, int error, uint64_t at, uint64_t count, uint64_t seed)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct fault f = { .call = call, .error = error, .at = at, .count = count };
    unsigned findings = run_with(&f, seed, &out);

    CU_ASSERT_EQUAL(findings, 0);
    if (findings > 0 && shown++ < 8)
        fprintf(stderr, "  %s, error %d, at %llu, %llu times, seed %llu:\n%.*s",
                call < SIM_CALL_COUNT ? sim_call_name(call) : "any call", error, (unsigned long long)at,
                (unsigned long long)count, (unsigned long long)seed, (int)(out.len < 500 ? out.len : 500),
                out.len > 0 ? out.data : "");
}

/* How often the workload makes the call when nothing fails. */
static uint64_t calls_of(enum sim_call call)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct fault f = { .call = call, .at = UINT64_MAX };

    CU_ASSERT_EQUAL(run_with(&f, 1, &out), 0);
    return f.seen;
}

static void test_each_call_each_error(void)
{
    static const struct {
        enum sim_call call;
        int errors[3];
    } rows[] = {
        { SIM_OPEN, { -EIO, -EMFILE } },      { SIM_CREATE, { -EIO, -ENOSPC, -EMFILE } },
        { SIM_READ, { -EIO } },               { SIM_WRITE, { -EIO, -ENOSPC, SIM_SHORT } },
        { SIM_SYNC, { -EIO, -ENOSPC } },      { SIM_SYNC_DIR, { -EIO, -ENOSPC } },
        { SIM_ALLOCATE, { -ENOSPC, -EIO } },  { SIM_RENAME, { -EIO, -ENOSPC } },
        { SIM_UNLINK, { -EIO } },             { SIM_LINK, { -EIO, -ENOSPC } },
        { SIM_STAT, { -EIO } },
    };

    const char *text = getenv("TERN_PLACES");
    uint64_t places = text != NULL && atoi(text) > 0 ? (uint64_t)atoi(text) : 16;

    unsigned cases = 0;
    uint64_t of = 0;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t calls = calls_of(rows[i].call);
        if (calls == 0)
            fprintf(stderr, "  no %s in the workload\n", sim_call_name(rows[i].call));
        CU_ASSERT_TRUE(calls > 0 || rows[i].call == SIM_OPEN || rows[i].call == SIM_READ);
        uint64_t step = calls > places ? calls / places : 1;
        for (unsigned e = 0; e < 3 && rows[i].errors[e] != 0; e++, of += calls)
            for (uint64_t at = e * step / 3; at < calls; at += step, cases++) /* each errno at other places */
                run_case(rows[i].call, rows[i].errors[e], at, 1, 1);
    }
    printf("%u of %llu places and errors\n", cases, (unsigned long long)of);
    CU_ASSERT_TRUE(places < of || cases == of);
}

static void test_runs_of_failures(void)
{
    static const enum sim_call calls[] = { SIM_WRITE, SIM_SYNC, SIM_SYNC_DIR, SIM_ALLOCATE, SIM_RENAME };

    for (unsigned c = 0; c < sizeof(calls) / sizeof(calls[0]); c++)
        for (uint64_t count = 2; count < 40; count = count * 2 + 1)
            for (uint64_t at = 0; at < 20; at += 10)
                run_case(calls[c], calls[c] == SIM_ALLOCATE ? -ENOSPC : -EIO, at, count, 2);
    for (uint64_t at = 0; at < 100; at += 25)
        run_case(SIM_CALL_COUNT, -EIO, at, 30, 3); /* a disk that is gone for a while */
}

/* ---- a start ---- */

static unsigned refused_starts;

/*
 * A start at which one call fails: it is refused with a sentence, or goes on without what failed. Either way nothing that
 * was acknowledged is lost, nor is it by what the server does then, or at the next start.
 */
static unsigned start_with(const struct work *w, struct fault *f, struct buf *out)
{
    struct simdisk *disk = simdisk_kill(w->disk);
    struct spool *spool = NULL;
    char error[256] = "";
    unsigned findings = 0;

    simdisk_set_before(disk, on_fault, f);
    int r = spoolwork_open(disk, &spool, error, sizeof(error));
    f->off = true;
    refused_starts += r < 0;
    if (r < 0 && (error[0] == '\0' || simdisk_open_count(disk) != 0)) {
        findings++;
        buf_printf(out, "refused with \"%s\", %u descriptors are left open\n", error, simdisk_open_count(disk));
    }
    for (unsigned start = r < 0 ? 1 : 0; start < 2; start++) {
        if (start == 1 && spoolwork_open(disk, &spool, error, sizeof(error)) < 0) {
            buf_printf(out, "the next start: %s\n", error);
            findings++;
            break;
        }
        findings += spoolwork_check(w, spool, out);
        for (unsigned i = 0; i < 20; i++) { /* what is finished is used again */
            (void)spool_step(spool);
            clock_virtual_advance(400);
        }
        findings += spoolwork_check(w, spool, out);
        spool_close(spool);
    }
    findings += spoolwork_fsck(disk, out);
    simdisk_free(disk);
    return findings;
}

/* How often the start made that call. */
static uint64_t start_case(const struct work *w, enum sim_call call, int error, uint64_t at)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct fault f = { .call = call, .error = error, .at = at, .count = 1 };
    unsigned findings = start_with(w, &f, &out);

    CU_ASSERT_EQUAL(findings, 0);
    if (findings > 0 && shown++ < 8)
        fprintf(stderr, "  a start, %s, error %d, at %llu:\n%.*s", sim_call_name(call), error, (unsigned long long)at,
                (int)(out.len < 500 ? out.len : 500), out.len > 0 ? out.data : "");
    return f.seen;
}

static void test_each_call_of_a_start(void)
{
    static const int errors[SIM_CALL_COUNT][2] = {
        [SIM_OPEN] = { -EACCES, -EMFILE }, [SIM_CREATE] = { -ENOSPC }, [SIM_READ] = { -EIO }, [SIM_WRITE] = { -EIO, SIM_SHORT },
        [SIM_SYNC] = { -EIO },             [SIM_SYNC_DIR] = { -EIO },  [SIM_ALLOCATE] = { -ENOSPC }, [SIM_TRUNCATE] = { -EIO },
        [SIM_RENAME] = { -EIO },           [SIM_UNLINK] = { -EIO },    [SIM_LIST] = { -EIO }, [SIM_STAT] = { -EIO },
    };
    struct simdisk *disk = simdisk_new(7, 1ull << 40);
    struct work w;
    char error[256] = "";
    unsigned cases = 0;

    spoolwork_init(&w, disk, 7, MESSAGES);
    w.big_every = 10;
    clock_virtual_start(1795000000000ull);
    CU_ASSERT_EQUAL_FATAL(spoolwork_open(disk, &w.spool, error, sizeof(error)), 0);
    while (spoolwork_round(&w))
        clock_virtual_advance(400);
    for (unsigned call = 0; call < SIM_CALL_COUNT; call++)
        for (unsigned e = 0; e < 2 && errors[call][e] != 0; e++) {
            uint64_t calls = start_case(&w, (enum sim_call)call, errors[call][e], UINT64_MAX);
            for (uint64_t at = 0; at < calls; at++, cases++)
                (void)start_case(&w, (enum sim_call)call, errors[call][e], at);
        }
    printf("%u starts, %u refused\n", cases, refused_starts);
    CU_ASSERT_TRUE(refused_starts > 10 && refused_starts < cases);
    spool_close(w.spool);
    spoolwork_fini(&w);
    simdisk_free(disk);
    clock_virtual_stop();
}

int main(void)
{
    log_set_level(LOG_ERROR);
    /* The spool says what failed on stderr; thousands of lines that nobody wants here. */
    if (getenv("TERN_TEST_LOG") == NULL)
        log_set_level((enum log_level)-1);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("spool faults", NULL, NULL);
    CU_ADD_TEST(suite, test_each_call_each_error);
    CU_ADD_TEST(suite, test_runs_of_failures);
    CU_ADD_TEST(suite, test_each_call_of_a_start);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    (void)CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
