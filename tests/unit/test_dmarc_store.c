/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_dmarc_store.c - rows on their way to the disk: what waits has a bound, and nothing is lost below it.
 *
 * A disk that stands still is a FIFO that nobody reads. The whole server is tests/interop/test_dmarc_send.py.
 */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lib/dmarc_rows.h>

#include "dmarc/store.h"

#define DAY        20779
#define FIFO_BEGIN 60000 /* of the 65536 octets that a FIFO holds */
#define LINE       1000

static _Atomic uint64_t lost;
static char folder[64] = "/tmp/tern-store-XXXXXX", line[LINE];

static void log_nothing(const tern_call *call, enum tern_log_level level, const char *format, ...)
{
    (void)call;
    (void)level;
    (void)format;
}

static void count(void *counter, uint64_t amount)
{
    (void)counter;
    atomic_fetch_add(&lost, amount);
}

static const struct tern_api api = { .log = log_nothing, .counter_add = count };

static void add(const struct dmarc_reports_conf *conf)
{
    store_add(&api, conf, DAY, line, sizeof(line), NULL);
}

static struct dmarc_reports_conf conf_of(const char *path)
{
    return (struct dmarc_reports_conf){ .path = { path, strlen(path) }, .day_size = 1u << 30, .keep_s = 86400 };
}

static void nap(void)
{
    (void)nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

static void test_a_disk_that_stands_still(void)
{
    const unsigned first = 100, most = STORE_WAITING_OCTETS_MAX / (LINE + 16);
    struct dmarc_reports_conf conf = conf_of(folder);
    char name[DMARC_ROWS_FILE_OCTETS], path[128], block[65536];
    size_t got = 0;
    int inside = 0;

    dmarc_rows_file(DAY, name);
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    CU_ASSERT_EQUAL_FATAL(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    for (unsigned i = 0; i < first; i++)
        add(&conf);
    for (unsigned i = 0; i < 12000 && inside < FIFO_BEGIN; i++, nap())
        CU_ASSERT_EQUAL_FATAL(ioctl(fd, FIONREAD, &inside), 0);
    CU_ASSERT_TRUE_FATAL(inside >= FIFO_BEGIN); /* the thread is in the midst of the first lines */
    for (unsigned i = 0; i < most; i++)
        add(&conf);
    CU_ASSERT_EQUAL(atomic_load(&lost), 0);
    add(&conf);
    CU_ASSERT_EQUAL(atomic_load(&lost), 1);
    for (unsigned i = 0; i < 12000 && got < (size_t)(first + most) * LINE; i++) {
        ssize_t n = read(fd, block, sizeof(block));
        got += n > 0 ? (size_t)n : 0;
        if (n <= 0)
            nap();
    }
    CU_ASSERT_EQUAL(got, (size_t)(first + most) * LINE);
    store_close();
    (void)close(fd);
    (void)unlink(path);
}

static void test_bound_of_folders(void)
{
    char paths[STORE_FOLDERS_MAX + 1][128], file[192], name[DMARC_ROWS_FILE_OCTETS];
    struct stat st;

    atomic_store(&lost, 0);
    dmarc_rows_file(DAY, name);
    for (unsigned i = 0; i <= STORE_FOLDERS_MAX; i++) {
        (void)snprintf(paths[i], sizeof(paths[i]), "%s/%u", folder, i);
        struct dmarc_reports_conf conf = conf_of(paths[i]);
        add(&conf);
        add(&conf);
        CU_ASSERT_EQUAL(atomic_load(&lost), i < STORE_FOLDERS_MAX ? 0 : 2);
    }
    store_close(); /* what waits is written */
    for (unsigned i = 0; i < STORE_FOLDERS_MAX; i++) {
        (void)snprintf(file, sizeof(file), "%s/%s", paths[i], name);
        CU_ASSERT_TRUE(stat(file, &st) == 0 && st.st_size == 2 * LINE && (st.st_mode & 0777) == 0600);
        (void)unlink(file);
        (void)rmdir(paths[i]);
    }
}

int main(void)
{
    memset(line, 'x', sizeof(line));
    line[LINE - 1] = '\n';
    if (mkdtemp(folder) == NULL)
        return 1;
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("dmarc_store", NULL, NULL);
    CU_add_test(s, "a disk that stands still", test_a_disk_that_stands_still);
    CU_add_test(s, "bound of folders", test_bound_of_folders);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    (void)rmdir(folder);
    return failed > 0;
}
