/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kv.c - the key-value table: its operations, bounds, expiry, threads, and what
 * reaches a store.
 */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/table.h"
#include "state/kv.h"

static struct kv *open_kv(const struct tern_kv_store *store, uint64_t entries_max)
{
    struct kv *kv = NULL;
    char error[200] = "";

    int r = kv_open(store, NULL, entries_max, &kv, error, sizeof(error));
    if (r < 0)
        fprintf(stderr, "  %s\n", error);
    CU_ASSERT_EQUAL_FATAL(r, 0);
    return kv;
}

struct got {
    unsigned status;
    int64_t number;
    char value[80];
    size_t octets;
};

static void keep_answer(void *arg, const struct tern_kv_answer *answer)
{
    struct got *got = arg;

    got->status = answer->status;
    got->number = answer->number;
    got->octets = answer->value.len;
    CU_ASSERT_EQUAL(answer->value.ptr[answer->value.len], '\0');
    (void)snprintf(got->value, sizeof(got->value), "%s", answer->value.ptr);
}

static struct got do_kv(struct kv *kv, enum kv_op op, const char *key, int64_t number,
                        const char *value, uint64_t expire_s)
{
    struct kv_request r = {
        op, SLICE("test"), slice_cstr(key), number, slice_cstr(value), expire_s
    };
    struct got got = { .status = 99 };

    kv_do(kv, &r, keep_answer, &got);
    return got;
}

/* ---- operations -------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum kv_op op;
    const char *key;
    int64_t number;
    const char *value;
    unsigned status;
    int64_t want;
    const char *want_value;
} steps[] = {
    { "get what is not there", KV_GET, "a", 0, "", TERN_ABSENT, 0, "" },
    { "put if new, new", KV_PUT_NEW, "a", 5, "x", TERN_ABSENT, 0, "" },
    { "put if new, old", KV_PUT_NEW, "a", 6, "y", TERN_FOUND, 5, "x" },
    { "it was not overwritten", KV_GET, "a", 0, "", TERN_FOUND, 5, "x" },
    { "add", KV_ADD, "a", 3, "", TERN_FOUND, 8, "x" },
    { "add to nothing begins at 0", KV_ADD, "b", -2, "", TERN_FOUND, -2, "" },
    { "put answers what it stored", KV_PUT, "a", 1, "longer", TERN_FOUND, 1, "longer" },
    { "put a shorter value", KV_PUT, "a", 2, "", TERN_FOUND, 2, "" },
    { "a sum stops at the end", KV_PUT, "c", INT64_MAX, "", TERN_FOUND, INT64_MAX, "" },
    { "and does not wrap", KV_ADD, "c", 1, "", TERN_FOUND, INT64_MAX, "" },
    { "the other end", KV_PUT, "c", INT64_MIN, "", TERN_FOUND, INT64_MIN, "" },
    { "does not wrap", KV_ADD, "c", -1, "", TERN_FOUND, INT64_MIN, "" },
    { "remove answers what was there", KV_REMOVE, "a", 0, "", TERN_FOUND, 2, "" },
    { "remove again", KV_REMOVE, "a", 0, "", TERN_ABSENT, 0, "" },
    { "gone", KV_GET, "a", 0, "", TERN_ABSENT, 0, "" },
    { "an empty key fails", KV_PUT, "", 0, "", TERN_FAILED, 0, "" },
};

static void test_operations(void)
{
    struct kv *kv = open_kv(NULL, 1000);

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct got got = do_kv(kv, steps[i].op, steps[i].key, steps[i].number, steps[i].value, 100);
        if (got.status != steps[i].status || got.number != steps[i].want)
            fprintf(stderr, "  case \"%s\": %u, %lld\n", steps[i].name, got.status,
                    (long long)got.number);
        CU_ASSERT_EQUAL(got.status, steps[i].status);
        CU_ASSERT_EQUAL(got.number, steps[i].want);
        CU_ASSERT_STRING_EQUAL(got.value, steps[i].want_value);
    }
    CU_ASSERT_EQUAL(kv_count(kv), 2);
    kv_close(kv);
    kv_close(NULL);
}

static void test_spaces(void)
{
    struct kv *kv = open_kv(NULL, 1000);
    struct got got;
    struct kv_request r = { KV_PUT, SLICE("ab"), SLICE("c"), 1, SLICE(""), 0 };

    kv_do(kv, &r, keep_answer, &got);
    r.op = KV_GET;
    r.space = SLICE("a");
    r.key = SLICE("bc");
    kv_do(kv, &r, keep_answer, &got);
    CU_ASSERT_EQUAL(got.status, TERN_ABSENT);
    r.space = SLICE("a\0b"); /* would be space "a", key "b..." */
    kv_do(kv, &r, keep_answer, &got);
    CU_ASSERT_EQUAL(got.status, TERN_FAILED);
    r.space = (struct slice){ NULL, 0 };
    kv_do(kv, &r, keep_answer, &got);
    CU_ASSERT_EQUAL(got.status, TERN_ABSENT);
    kv_close(kv);
}

static void test_bounds(void)
{
    struct kv *kv = open_kv(NULL, 1000);
    static char key[KV_KEY_OCTETS_MAX], value[KV_VALUE_OCTETS_MAX + 1];
    struct got got;

    memset(key, 'k', sizeof(key));
    memset(value, 'v', sizeof(value));
    struct kv_request r = {
        KV_PUT, SLICE("test"), { key, KV_KEY_OCTETS_MAX - 5 }, 1, { value, KV_VALUE_OCTETS_MAX }, 0
    };
    kv_do(kv, &r, keep_answer, &got);
    CU_ASSERT_EQUAL(got.status, TERN_FOUND);
    CU_ASSERT_EQUAL(got.octets, KV_VALUE_OCTETS_MAX);
    r.value.len++;
    kv_do(kv, &r, keep_answer, &got);
    CU_ASSERT_EQUAL(got.status, TERN_FAILED);
    r.value.len = 1;
    r.key.len++;
    kv_do(kv, &r, keep_answer, &got);
    CU_ASSERT_EQUAL(got.status, TERN_FAILED);
    kv_close(kv);
}

/* A second kv_do from inside the answer must not wait for its own lock. */
static struct kv *nested_kv;

static void again(void *arg, const struct tern_kv_answer *answer)
{
    *(struct got *)arg = do_kv(nested_kv, KV_ADD, "n", answer->number, "", 0);
}

static void test_nested(void)
{
    struct kv_request r = { KV_ADD, SLICE("test"), SLICE("n"), 2, SLICE(""), 0 };
    struct got got;

    nested_kv = open_kv(NULL, 10);
    kv_do(nested_kv, &r, again, &got);
    CU_ASSERT_EQUAL(got.number, 4);
    kv_close(nested_kv);
}

/* ---- expiry and eviction -------------------------------------------------------------- */

static void test_expiry(void)
{
    struct kv *kv;

    clock_virtual_start(UINT64_C(1800000000000));
    kv = open_kv(NULL, 1000);
    (void)do_kv(kv, KV_PUT_NEW, "short", 1, "", 10);
    (void)do_kv(kv, KV_PUT, "never", 2, "", 0);
    (void)do_kv(kv, KV_PUT, "longest", 3, "", UINT64_MAX);
    (void)do_kv(kv, KV_ADD, "sum", 4, "", 10);
    clock_virtual_advance(9999);
    CU_ASSERT_EQUAL(do_kv(kv, KV_PUT_NEW, "short", 9, "", 10).number,
                    1); /* seen again: still the first expiry */
    CU_ASSERT_EQUAL(do_kv(kv, KV_ADD, "sum", 1, "", 10).number, 5);
    clock_virtual_advance(1);
    CU_ASSERT_EQUAL(do_kv(kv, KV_GET, "short", 0, "", 0).status, TERN_ABSENT);
    CU_ASSERT_EQUAL(do_kv(kv, KV_ADD, "sum", 1, "", 10).number, 1);
    CU_ASSERT_EQUAL(do_kv(kv, KV_GET, "never", 0, "", 0).number, 2);
    CU_ASSERT_EQUAL(do_kv(kv, KV_GET, "longest", 0, "", 0).number, 3);
    kv_close(kv);
    clock_virtual_stop();
}

static void test_eviction(void)
{
    static const uint64_t sizes[] = { 1, 2, 63, 1000, 100000 };
    char key[32];

    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct kv *kv = open_kv(NULL, sizes[s]);
        for (uint64_t i = 0; i < 2 * sizes[s] + 10; i++) {
            (void)snprintf(key, sizeof(key), "k%llu", (unsigned long long)i);
            (void)do_kv(kv, KV_PUT, key, (int64_t)i, "", 1000 + i);
            CU_ASSERT_EQUAL(do_kv(kv, KV_GET, key, 0, "", 0).status,
                            TERN_FOUND); /* the newest is there */
        }
        CU_ASSERT_TRUE(kv_count(kv) <= sizes[s]);
        CU_ASSERT_TRUE(kv_count(kv) >= sizes[s] * 9 / 10);
        kv_close(kv);
    }
}

/* Those that expire first go: a day's counters push out minutes' counters, not the other way. */
static void test_eviction_order(void)
{
    struct kv *kv = open_kv(NULL, 1000);
    unsigned left = 0;
    char key[32];

    for (unsigned i = 0; i < 500; i++) {
        (void)snprintf(key, sizeof(key), "day%u", i);
        (void)do_kv(kv, KV_PUT, key, 1, "", 86400);
    }
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof(key), "minute%u", i);
        (void)do_kv(kv, KV_PUT, key, 1, "", 60);
    }
    for (unsigned i = 0; i < 500; i++) {
        (void)snprintf(key, sizeof(key), "day%u", i);
        left += do_kv(kv, KV_GET, key, 0, "", 0).status == TERN_FOUND;
    }
    CU_ASSERT_TRUE(left > 350);
    kv_close(kv);
}

static void test_octets_bound(void)
{
    struct kv *kv = open_kv(NULL, 1000); /* 8 shards of 125 entries: about 133 KB each */
    static char value[KV_VALUE_OCTETS_MAX];
    struct got got;
    char key[32];

    memset(value, 'v', sizeof(value));
    for (unsigned i = 0; i < 1000; i++) {
        int n = snprintf(key, sizeof(key), "big%u", i);
        struct kv_request r = { KV_PUT, SLICE("t"), { key, (size_t)n }, 1, { value, sizeof(value) },
                                0 };
        kv_do(kv, &r, keep_answer, &got);
        CU_ASSERT_EQUAL(got.octets, sizeof(value));
    }
    CU_ASSERT_TRUE(kv_count(kv) <= 16);
    CU_ASSERT_TRUE(kv_count(kv) >= 8);
    kv_close(kv);
}

/* ---- a store that remembers, and fails when told ------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    struct table rows; /* key -> malloc'd struct tern_kv_change */
    unsigned batches, changes;
    bool fail;
    int open_error;
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int fake_open(const void *conf, void **ret_store, char *error, size_t error_octets)
{
    if (fake.open_error != 0) {
        if (fake.open_error == -EEXIST)
            (void)snprintf(error, error_octets, "a reason");
        return fake.open_error;
    }
    *ret_store = &fake;
    return 0;
}

struct loading {
    void (*each)(void *arg, const struct tern_kv_change *);
    void *arg;
};

static void load_row(void *arg, struct slice key, void *value)
{
    struct loading *l = arg;
    struct tern_kv_change c = *(struct tern_kv_change *)value;

    c.key = (tern_str){ key.ptr, key.len };
    l->each(l->arg, &c);
}

static int fake_load(void *store, void (*each)(void *arg, const struct tern_kv_change *), void *arg)
{
    struct loading l = { each, arg };

    table_each(&fake.rows, load_row, &l);
    return 0;
}

static int fake_write(void *store, const struct tern_kv_change *changes, size_t count)
{
    (void)pthread_mutex_lock(&fake.lock);
    fake.batches++;
    for (size_t i = 0; i < count && !fake.fail; i++) {
        struct slice key = { changes[i].key.ptr, changes[i].key.len };
        fake.changes++;
        if (changes[i].value.len == 0 && changes[i].expires_ms == 0) {
            free(table_remove(&fake.rows, key));
            continue;
        }
        struct tern_kv_change *copy = mem_zalloc(sizeof(*copy));
        copy->number = changes[i].number;
        copy->expires_ms = changes[i].expires_ms;
        copy->value = (tern_str){ "", 0 };
        free(table_put(&fake.rows, key, copy));
    }
    int r = fake.fail ? -ENOSPC : 0;
    (void)pthread_mutex_unlock(&fake.lock);
    return r;
}

static void fake_close(void *store)
{
}

static const struct tern_kv_store fake_store = {
    .size = sizeof(struct tern_kv_store),
    .type = "fake",
    .open = fake_open,
    .load = fake_load,
    .write = fake_write,
    .close = fake_close,
};

static size_t fake_count(void)
{
    (void)pthread_mutex_lock(&fake.lock);
    size_t count = fake.rows.count;
    (void)pthread_mutex_unlock(&fake.lock);
    return count;
}

static bool comes_true(size_t (*value)(void), size_t want)
{
    for (unsigned i = 0; i < 6000; i++) { /* a minute */
        if (value() == want)
            return true;
        (void)usleep(10000);
    }
    return false;
}

static void test_store(void)
{
    struct kv *kv = open_kv(&fake_store, 1000);

    (void)do_kv(kv, KV_PUT, "a", 1, "", 0);
    (void)do_kv(kv, KV_PUT, "b", 2, "", 3600);
    (void)do_kv(kv, KV_PUT, "c", 3, "", 3600);
    (void)do_kv(kv, KV_REMOVE, "c", 0, "", 0);
    (void)do_kv(kv, KV_PUT, "d", 3, "", 3600);
    (void)do_kv(kv, KV_REMOVE, "d", 0, "", 0);
    (void)do_kv(kv, KV_PUT, "d", 4, "", 3600); /* removed and put within one batch */
    CU_ASSERT_TRUE(comes_true(fake_count, 3)); /* within a second or two, by itself */
    (void)do_kv(kv, KV_REMOVE, "b", 0, "", 0);
    (void)do_kv(kv, KV_ADD, "a", 9, "", 0);
    kv_close(kv);
    CU_ASSERT_EQUAL(fake_count(), 2);
    kv = open_kv(&fake_store, 1000);
    CU_ASSERT_EQUAL(kv_count(kv), 2);
    CU_ASSERT_EQUAL(do_kv(kv, KV_GET, "a", 0, "", 0).number, 10);
    CU_ASSERT_EQUAL(do_kv(kv, KV_GET, "d", 0, "", 0).number, 4);
    CU_ASSERT_EQUAL(do_kv(kv, KV_GET, "b", 0, "", 0).status, TERN_ABSENT);
    unsigned batches = fake.batches;
    kv_close(kv);
    CU_ASSERT_EQUAL(fake.batches, batches); /* nothing changed, nothing written */
    table_free(&fake.rows, free);
}

static unsigned batches_before;

static size_t another_batch(void)
{
    (void)pthread_mutex_lock(&fake.lock);
    bool more = fake.batches > batches_before;
    (void)pthread_mutex_unlock(&fake.lock);
    return more;
}

static void test_store_fails(void)
{
    struct kv *kv = open_kv(&fake_store, 1000);

    fake.fail = true;
    unsigned batches = fake.batches;
    (void)do_kv(kv, KV_PUT, "a", 1, "", 0);
    (void)do_kv(kv, KV_PUT, "b", 1, "", 0);
    (void)do_kv(kv, KV_REMOVE, "b", 0, "", 0);
    uint64_t began = clock_now_ms();
    (void)sleep(2);
    batches_before = batches;
    CU_ASSERT_TRUE(comes_true(another_batch, true));
    (void)pthread_mutex_lock(&fake.lock);
    CU_ASSERT_TRUE(fake.batches <= batches + 2 + (clock_now_ms() - began) / 1000); /* once a second, not in a circle */
    fake.fail = false;
    (void)pthread_mutex_unlock(&fake.lock);
    CU_ASSERT_EQUAL(do_kv(kv, KV_ADD, "a", 1, "", 0).number, 2); /* answers go on */
    CU_ASSERT_TRUE(comes_true(fake_count, 1));
    kv_close(kv);
    CU_ASSERT_EQUAL(fake_count(), 1);
    table_free(&fake.rows, free);
}

/* Removals wait for the store up to a bound; the rest is forgotten, and counted. */
static size_t lost(void)
{
    return (size_t)metric_value(metric_counter("tern_kv_removals_lost_total", "", ""));
}

static void test_store_fails_long(void)
{
    struct kv *kv = open_kv(&fake_store, 10);
    size_t before = lost();
    char key[32];

    fake.fail = true;
    for (unsigned i = 0; i < 65536 + 10; i++) { /* GONE_MAX and ten */
        (void)snprintf(key, sizeof(key), "k%u", i);
        (void)do_kv(kv, KV_PUT, key, 1, "", 0);
        (void)do_kv(kv, KV_REMOVE, key, 0, "", 0);
        if (i == 65535)
            CU_ASSERT_EQUAL(lost(), before);
    }
    CU_ASSERT_TRUE(comes_true(lost, before + 10));
    (void)pthread_mutex_lock(&fake.lock);
    fake.fail = false;
    (void)pthread_mutex_unlock(&fake.lock);
    kv_close(kv);
    CU_ASSERT_EQUAL(fake_count(), 0);
}

static void test_store_does_not_open(void)
{
    struct kv *kv = NULL;
    char error[100] = "";

    fake.open_error = -EEXIST;
    CU_ASSERT_EQUAL(kv_open(&fake_store, NULL, 10, &kv, error, sizeof(error)), -EEXIST);
    CU_ASSERT_STRING_EQUAL(error, "a reason");
    fake.open_error = -EACCES;
    CU_ASSERT_EQUAL(kv_open(&fake_store, NULL, 10, &kv, error, sizeof(error)), -EACCES);
    CU_ASSERT_STRING_EQUAL(error, "fake cannot be opened: Permission denied");
    CU_ASSERT_PTR_NULL(kv);
    fake.open_error = 0;
}

/* Evicted and expired entries leave the store too, or they would come back after a restart. */
static void test_store_shrinks(void)
{
    struct kv *kv = open_kv(&fake_store, 100);
    char key[32];

    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        (void)do_kv(kv, KV_PUT, key, 1, "", 1000 + i);
    }
    size_t left = kv_count(kv);
    kv_close(kv);
    CU_ASSERT_EQUAL(fake_count(), left);
    CU_ASSERT_TRUE(left <= 100);
    table_free(&fake.rows, free);
}

/* ---- threads -------------------------------------------------------------------------------- */

#define THREADS 4
#define ADDS    20000

static void *add_on(void *arg)
{
    struct kv *kv = arg;
    char key[32];

    for (unsigned i = 0; i < ADDS; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i % 100);
        struct kv_request r = { KV_ADD, SLICE("t"), slice_cstr(key), 1, SLICE(""), 0 };
        struct got got;
        kv_do(kv, &r, keep_answer, &got);
        if (i % 50 == 0) {
            r = (struct kv_request){
                i % 100 == 0 ? KV_PUT : KV_REMOVE, SLICE("u"), slice_cstr(key), 1, SLICE("value"), 5
            };
            kv_do(kv, &r, keep_answer, &got);
        }
    }
    return NULL;
}

static void test_threads(void)
{
    struct kv *kv = open_kv(&fake_store, 10000);
    pthread_t threads[THREADS];
    int64_t sum = 0;
    char key[32];

    uint64_t began = clock_now_us();
    for (unsigned i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, add_on, kv), 0);
    for (unsigned i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    printf("(%u adds by %u threads: %llu ms) ", THREADS * ADDS, THREADS,
           (unsigned long long)(clock_now_us() - began) / 1000);
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        struct kv_request r = { KV_GET, SLICE("t"), slice_cstr(key), 0, SLICE(""), 0 };
        struct got got;
        kv_do(kv, &r, keep_answer, &got);
        sum += got.number;
    }
    CU_ASSERT_EQUAL(sum, THREADS * ADDS);
    kv_close(kv);
    table_free(&fake.rows, free);
}

static void test_metrics(void)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    metrics_print(&out);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out.data);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "tern_kv_ops_total{op=\"add\"}"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "tern_kv_entries 0\n")); /* all closed */
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "tern_kv_store_failures_total"));
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    table_init(&fake.rows);
    CU_pSuite suite = CU_add_suite("kv", NULL, NULL);
    CU_add_test(suite, "operations", test_operations);
    CU_add_test(suite, "spaces", test_spaces);
    CU_add_test(suite, "bounds", test_bounds);
    CU_add_test(suite, "an answer that asks", test_nested);
    CU_add_test(suite, "expiry", test_expiry);
    CU_add_test(suite, "eviction", test_eviction);
    CU_add_test(suite, "eviction: order", test_eviction_order);
    CU_add_test(suite, "bound of octets", test_octets_bound);
    CU_add_test(suite, "store", test_store);
    CU_add_test(suite, "store: fails", test_store_fails);
    CU_add_test(suite, "store: fails for long", test_store_fails_long);
    CU_add_test(suite, "store: does not open", test_store_does_not_open);
    CU_add_test(suite, "store: evicted entries", test_store_shrinks);
    CU_add_test(suite, "threads", test_threads);
    CU_add_test(suite, "metrics", test_metrics);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    (void)CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
