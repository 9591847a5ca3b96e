/* SPDX-License-Identifier: Apache-2.0 */
/* test_outcomes.c - outcomes of DNS: how long they stand, how many, and that a key is compared whole. */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <lib/outcomes.h>

#define NOW 1000000

static char room[OUTCOME_OCTETS_MAX + 1];

static void *give_room(void *arg, size_t octets)
{
    char *at = arg != NULL ? arg : room;

    return octets <= sizeof(room) ? at : NULL;
}

static tern_str str(const char *s)
{
    return (tern_str){ s, strlen(s) };
}

/* What is kept for it, or NULL. */
static const char *find(struct outcomes *o, const char *key, int64_t now_ms)
{
    tern_str got;

    if (!outcomes_find(o, str(key), now_ms, give_room, NULL, &got))
        return NULL;
    room[got.len] = '\0';
    return got.ptr;
}

static bool finds(struct outcomes *o, const char *key, int64_t now_ms, const char *wanted)
{
    const char *got = find(o, key, now_ms);

    return got != NULL && strcmp(got, wanted) == 0;
}

static struct outcomes *with_room(unsigned entries)
{
    struct outcomes *o = outcomes_new();

    CU_ASSERT_PTR_NOT_NULL_FATAL(o);
    CU_ASSERT_TRUE(outcomes_reserve(o, entries));
    return o;
}

static void test_time(void)
{
    struct outcomes *o = with_room(4);

    outcomes_put(o, str("a"), NOW, NOW + 1000, str("pass"));
    CU_ASSERT_TRUE(finds(o, "a", NOW, "pass"));
    CU_ASSERT_TRUE(finds(o, "a", NOW + 999, "pass"));
    CU_ASSERT_PTR_NULL(find(o, "a", NOW + 1000));
    outcomes_put(o, str("a"), NOW + 1000, NOW + 2000, str("fail")); /* another one under the same key */
    CU_ASSERT_TRUE(finds(o, "a", NOW + 1500, "fail"));
    outcomes_put(o, str("b"), NOW, NOW, str("pass"));
    outcomes_put(o, str("c"), NOW, OUTCOME_NOT_KEPT, str("pass"));
    outcomes_put(o, str("d"), NOW, OUTCOME_ASKED_NOBODY, str("pass"));
    CU_ASSERT_PTR_NULL(find(o, "b", NOW));
    CU_ASSERT_PTR_NULL(find(o, "c", NOW));
    CU_ASSERT_PTR_NULL(find(o, "d", NOW));
    outcomes_free(o);
    outcomes_free(NULL);
}

/* The least of all answers counts. */
static void test_until(void)
{
    static const struct {
        const char *what;
        struct tern_dns_answer answers[3];
        int64_t s; /* 0: not at all */
    } rows[] = {
        { "one", { { .status = TERN_FOUND, .ttl_s = 60 } }, 60 },
        { "the first is the least", { { .ttl_s = 5 }, { .ttl_s = 60 } }, 5 },
        { "the last is", { { .ttl_s = 300 }, { .status = TERN_ABSENT, .ttl_s = 300 }, { .ttl_s = 7 } }, 7 },
        { "what is not there has its time, too", { { .ttl_s = 60 }, { .status = TERN_ABSENT, .ttl_s = 9 } }, 9 },
        { "and may have none", { { .ttl_s = 60 }, { .status = TERN_ABSENT, .ttl_s = 0 } }, 0 },
        { "none at all", { { .ttl_s = 0 }, { .ttl_s = 60 } }, 0 },
        { "a failure", { { .ttl_s = 60 }, { .status = TERN_FAILED, .ttl_s = 60 }, { .ttl_s = 60 } }, 0 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t until_ms = OUTCOME_ASKED_NOBODY, before_ms = outcomes_now_ms();
        for (unsigned k = 0; k < 3 && (k == 0 || rows[i].answers[k].ttl_s > 0 || rows[i].answers[k].status != 0); k++)
            outcome_until(&until_ms, &rows[i].answers[k]);
        int64_t after_ms = outcomes_now_ms(), wanted_ms = rows[i].s * 1000;
        bool good = rows[i].s == 0 ? until_ms == OUTCOME_NOT_KEPT
                                   : until_ms >= before_ms + wanted_ms && until_ms <= after_ms + wanted_ms;
        if (!good)
            fprintf(stderr, "  \"%s\": %lld\n", rows[i].what, (long long)until_ms);
        CU_ASSERT_TRUE(good);
    }
}

/* Four in four places; the fifth takes that of the one used longest ago, or of one that is over. */
static void test_bound(void)
{
    static const char *const keys[] = { "a", "b", "c", "d" };
    struct outcomes *o = with_room(4);

    for (unsigned i = 0; i < 4; i++)
        outcomes_put(o, str(keys[i]), NOW, NOW + 1000, str(keys[i]));
    for (unsigned i = 0; i < 4; i++)
        CU_ASSERT_TRUE(finds(o, keys[i], NOW, keys[i]));
    CU_ASSERT_TRUE(finds(o, "a", NOW, "a")); /* so "b" was used longest ago */
    outcomes_put(o, str("e"), NOW, NOW + 1000, str("e"));
    CU_ASSERT_PTR_NULL(find(o, "b", NOW));
    CU_ASSERT_TRUE(finds(o, "a", NOW, "a") && finds(o, "c", NOW, "c"));
    CU_ASSERT_TRUE(finds(o, "d", NOW, "d") && finds(o, "e", NOW, "e"));
    outcomes_put(o, str("c"), NOW, NOW + 1, str("c"));
    outcomes_put(o, str("f"), NOW + 1, NOW + 1000, str("f")); /* "c" is over */
    CU_ASSERT_TRUE(finds(o, "a", NOW, "a") && finds(o, "d", NOW, "d"));
    CU_ASSERT_TRUE(finds(o, "e", NOW, "e") && finds(o, "f", NOW, "f"));
    outcomes_free(o);
    o = with_room(1);
    outcomes_put(o, str("a"), NOW, NOW + 1000, str("a"));
    CU_ASSERT_TRUE(finds(o, "a", NOW, "a"));
    outcomes_put(o, str("b"), NOW, NOW + 1000, str("b"));
    CU_ASSERT_TRUE(finds(o, "b", NOW, "b"));
    CU_ASSERT_PTR_NULL(find(o, "a", NOW));
    outcomes_free(o);
    o = outcomes_new(); /* no room at all */
    outcomes_put(o, str("a"), NOW, NOW + 1000, str("a"));
    CU_ASSERT_PTR_NULL(find(o, "a", NOW));
    outcomes_free(o);
}

static void test_octets(void)
{
    static char big[OUTCOME_OCTETS_MAX + 1];
    struct outcomes *o = with_room(4);

    memset(big, 'x', sizeof(big));
    outcomes_put(o, str("at"), NOW, NOW + 1000, (tern_str){ big, OUTCOME_OCTETS_MAX - 2 });
    CU_ASSERT_PTR_NOT_NULL(find(o, "at", NOW));
    outcomes_put(o, str("up"), NOW, NOW + 1000, (tern_str){ big, OUTCOME_OCTETS_MAX - 1 });
    CU_ASSERT_PTR_NULL(find(o, "up", NOW));
    outcomes_free(o);
}

/* However it is cut: no key is a part of another, and octets are any. */
static void test_keys(void)
{
    struct outcomes *o = with_room(64);
    tern_str got;

    outcomes_put(o, (tern_str){ "a\0b", 3 }, NOW, NOW + 1000, str("with NUL"));
    outcomes_put(o, (tern_str){ "a", 1 }, NOW, NOW + 1000, str("short"));
    outcomes_put(o, (tern_str){ "", 0 }, NOW, NOW + 1000, str("empty"));
    CU_ASSERT_TRUE(finds(o, "a", NOW, "short") && finds(o, "", NOW, "empty"));
    CU_ASSERT_TRUE(outcomes_find(o, (tern_str){ "a\0b", 3 }, NOW, give_room, NULL, &got) && got.len == 8);
    CU_ASSERT_FALSE(outcomes_find(o, (tern_str){ "a\0c", 3 }, NOW, give_room, NULL, &got));
    CU_ASSERT_PTR_NULL(find(o, "A", NOW));
    CU_ASSERT_TRUE(outcomes_reserve(o, 8) && finds(o, "a", NOW, "short")); /* less is no reason to forget */
    CU_ASSERT_TRUE(outcomes_reserve(o, 1000));
    CU_ASSERT_PTR_NULL(find(o, "a", NOW));
    CU_ASSERT_NOT_EQUAL(outcomes_realm(), outcomes_realm());
    outcomes_free(o);
}

static void test_pieces(void)
{
    char at[64];
    struct outcome_octets o = { .at = at, .room = sizeof(at) };

    outcome_put_number(&o, 7);
    outcome_put_str(&o, str("one"));
    outcome_put_text(&o, NULL);
    outcome_put_str(&o, (tern_str){ NULL, 0 });
    CU_ASSERT_FALSE(o.full);
    const char *from = at;
    CU_ASSERT_EQUAL(outcome_take_number(&from), 7);
    tern_str one = outcome_take_str(&from);
    CU_ASSERT_TRUE(one.len == 3 && strcmp(one.ptr, "one") == 0);
    CU_ASSERT_PTR_NULL(outcome_take_text(&from));
    CU_ASSERT_TRUE(outcome_take_str(&from).len == 0 && from == at + o.len);
    struct outcome_octets exact = { .at = at, .room = 8 + 3 + 1 }, less = { .at = at, .room = 8 + 3 };
    outcome_put_str(&exact, str("one"));
    outcome_put_str(&less, str("one"));
    CU_ASSERT_TRUE(!exact.full && less.full);
    outcome_put(&less, "", 0);
    CU_ASSERT_TRUE(less.full);
}

/* Whatever is found belongs to its key. */
static void *use(void *arg)
{
    struct outcomes *o = arg;
    char *mine = malloc(sizeof(room));

    for (unsigned i = 0; i < 20000; i++) {
        char key[32], value[32];
        tern_str got;
        (void)snprintf(key, sizeof(key), "key %u", i * 7 % 50);
        (void)snprintf(value, sizeof(value), "value %u", i * 7 % 50);
        if (outcomes_find(o, str(key), NOW + i, give_room, mine, &got)) {
            if (got.len != strlen(value) || memcmp(got.ptr, value, got.len) != 0)
                return "another's";
        } else {
            outcomes_put(o, str(key), NOW + i, NOW + i + 100, str(value));
        }
        if (i % 5000 == 0)
            (void)outcomes_reserve(o, 16 + i / 500);
    }
    free(mine);
    return NULL;
}

static void test_threads(void)
{
    struct outcomes *o = with_room(16);
    pthread_t threads[4];

    for (unsigned i = 0; i < 4; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, use, o), 0);
    for (unsigned i = 0; i < 4; i++) {
        void *wrong = NULL;
        CU_ASSERT_EQUAL(pthread_join(threads[i], &wrong), 0);
        CU_ASSERT_PTR_NULL(wrong);
    }
    outcomes_free(o);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("outcomes", NULL, NULL);
    CU_add_test(s, "time", test_time);
    CU_add_test(s, "until", test_until);
    CU_add_test(s, "bound", test_bound);
    CU_add_test(s, "octets", test_octets);
    CU_add_test(s, "keys", test_keys);
    CU_add_test(s, "pieces", test_pieces);
    CU_add_test(s, "threads", test_threads);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
