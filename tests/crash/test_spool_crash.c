/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spool_crash.c - one loss of power at each call that changes the disk, five seeded choices each
 * of what survives, and a second one during every 20th recovery. A crash at a call that only
 * reads leaves what a crash at the next one that writes leaves.
 *
 * test_spool_crash [messages [every [seed [faults]]]]: the size of the workload, every how many calls to crash,
 * how many in a thousand writes and syncs fail besides.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "support/spoolwork.h"

#define CHOICES      5
#define SECOND_EVERY 20
#define USE_EVERY    8
#define SHOW_MAX     10

struct test {
    struct work work;
    struct simdisk *disk;
    uint64_t seed;
    unsigned every, faults;
    struct simrandom random;
    uint64_t calls, by_call[SIM_CALL_COUNT], crashes, seconds, failures, faulted;
};

struct second {
    struct simdisk *disk, *crashed;
    uint64_t at, seed; /* at: the how manieth changing call */
};

static void report(struct test *t, const char *when, uint64_t seed, const struct buf *out)
{
    if (t->failures++ < SHOW_MAX)
        fprintf(stderr, "%s call %llu, seed %llu:\n%.*s", when, (unsigned long long)t->calls, (unsigned long long)seed,
                (int)(out->len < 600 ? out->len : 600), out->len > 0 ? out->data : "");
}

static int on_second(void *arg, enum sim_call call)
{
    struct second *s = arg;

    if (sim_call_changes(call) && s->crashed == NULL && s->at-- == 0)
        s->crashed = simdisk_crash(s->disk, s->seed);
    return 0;
}

/* Opens what a crash left and compares; `use`: then works with it. */
static unsigned recover(struct test *t, struct simdisk *disk, struct second *second, bool use, struct buf *out)
{
    struct spool *spool = NULL;
    char error[256] = "";
    unsigned findings = 0;

    if (second != NULL)
        simdisk_set_before(disk, on_second, second);
    if (spoolwork_open(disk, &spool, error, sizeof(error)) < 0) {
        buf_printf(out, "%s\n", error);
        return 1;
    }
    findings += spoolwork_check(&t->work, spool, out);
    for (unsigned i = 0; second != NULL && i < 3; i++)
        (void)spool_step(spool);
    simdisk_set_before(disk, NULL, NULL);
    if (use) {
        findings += spoolwork_use(&t->work, disk, spool, out);
        findings += spoolwork_check(&t->work, spool, out) > 1; /* its own messages are the one finding */
        out->len = findings == 0 ? 0 : out->len;
    }
    spool_close(spool);
    findings += spoolwork_fsck(disk, out);
    if (simdisk_open_count(disk) != 0) {
        buf_add_cstr(out, "descriptors are left open\n");
        findings++;
    }
    return findings;
}

static void crash_once(struct test *t, uint64_t seed)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    struct simdisk *disk = simdisk_crash(t->disk, seed);
    /* Each 20th, and each of the choices in turn: what the first crash leaves, and what the second does. */
    bool again = t->crashes % SECOND_EVERY == t->crashes / SECOND_EVERY % CHOICES;
    struct second second = { .disk = disk, .at = seed / 7 % 24, .seed = seed * 31 + 5 + t->crashes / SECOND_EVERY / CHOICES };

    if (recover(t, disk, again ? &second : NULL, t->crashes % USE_EVERY == 0, &out) > 0)
        report(t, "crash at", seed, &out);
    simdisk_free(disk);
    t->crashes++;
    if (second.crashed == NULL)
        return;
    t->seconds++;
    buf_clear(&out);
    if (recover(t, second.crashed, NULL, false, &out) > 0)
        report(t, "second crash after", seed, &out);
    simdisk_free(second.crashed);
}

static int some_fault(struct test *t, enum sim_call call)
{
    if (t->faults == 0 || simrandom_below(&t->random, 1000) >= t->faults)
        return 0;
    t->faulted++;
    if (call == SIM_WRITE && simrandom_below(&t->random, 2) == 0)
        return SIM_SHORT;
    return -EIO;
}

static int on_call(void *arg, enum sim_call call)
{
    struct test *t = arg;

    if (!sim_call_changes(call))
        return 0;
    t->by_call[call]++;
    if (t->calls++ % t->every == 0)
        for (unsigned i = 0; i < CHOICES; i++)
            crash_once(t, t->seed + t->calls * CHOICES + i);
    return some_fault(t, call);
}

static void summary(const struct test *t)
{
    struct spool_stats stats;

    spool_get_stats(t->work.spool, &stats);
    printf("%llu copied forward, %llu not for a newer version; ", (unsigned long long)t->work.spool->copied,
           (unsigned long long)t->work.spool->stale_copies);
    printf("%llu messages stored, %llu outcomes, %llu batches, %llu segments left; %llu calls:",
           (unsigned long long)t->work.acknowledged, (unsigned long long)t->work.outcomes,
           (unsigned long long)t->work.spool->next_batch - 1, (unsigned long long)stats.segments,
           (unsigned long long)t->calls);
    for (unsigned i = 0; i < SIM_CALL_COUNT; i++)
        if (t->by_call[i] > 0)
            printf(" %llu %s", (unsigned long long)t->by_call[i], sim_call_name((enum sim_call)i));
    printf("\n%llu crashes, %llu second crashes, %llu calls that failed, seed %llu: %llu failures\n", (unsigned long long)t->crashes,
           (unsigned long long)t->seconds, (unsigned long long)t->faulted, (unsigned long long)t->seed, (unsigned long long)t->failures);
}

int main(int argc, char **argv)
{
    static struct test t;
    uint32_t messages = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 4000;
    char error[256] = "";

    t.every = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1;
    t.faults = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
    t.seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 20261121;
    t.random.state = t.seed;
    log_set_level(t.faults > 0 ? (enum log_level)-1 : LOG_ERROR); /* of failing disks there is a lot to say */
    clock_virtual_start(1795000000000ull);
    t.disk = simdisk_new(t.seed, 1ull << 40);
    spoolwork_init(&t.work, t.disk, t.seed, messages);
    if (t.faults == 0)
        simdisk_set_before(t.disk, on_call, &t);
    if (spoolwork_open(t.disk, &t.work.spool, error, sizeof(error)) < 0) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    simdisk_set_before(t.disk, on_call, &t); /* with faults, not the first start */
    while (spoolwork_round(&t.work))
        clock_virtual_advance(simrandom_below(&t.work.random, 500));
    spoolwork_drain(&t.work);
    summary(&t);
    spool_close(t.work.spool);
    simdisk_free(t.disk);
    spoolwork_fini(&t.work);
    return t.failures != 0; /* and the seeds were printed */
}
