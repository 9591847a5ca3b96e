/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_batv.c - tags of BATV: their form, what each octet of them is worth, days, bounds. What a server does with them is
 * dialogue/batv.
 */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#include <batv/tag.h>
#include <lib/hmac.h>

#define TODAY 20454 /* 2026-01-01 */

static tern_str str(const char *s)
{
    return (tern_str){ s, strlen(s) };
}

static struct batv_keys keys_of(const char *secret)
{
    return (struct batv_keys){ .secrets = { str(secret) }, .secret_count = 1, .age_days = 7 };
}

/* The local part of what was made: none here has quotes. */
static tern_str local_of(const struct mailbox_text *m)
{
    return (tern_str){ m->text, m->local_len };
}

static void test_forms(void)
{
    static const struct {
        const char *local, *core; /* NULL: no tag */
    } rows[] = {
        { "prvs=0461abcdef=alice", "alice" },
        { "PRVS=9000ABCDEF=Alice", "Alice" },
        { "prvs=0461000000=a=b", "a=b" },
        { "prvs=0461000000==", "=" },
        { "prvs=0461000000=", NULL },
        { "prvs=0461000000", NULL },
        { "prvs=046100000=alice", NULL },
        { "prvs=04610000000=alice", NULL },
        { "prvs=a461000000=alice", NULL },
        { "prvs=046f000000=alice", NULL },
        { "prvs=046100000g=alice", NULL },
        { "prvs-0461000000=alice", NULL },
        { "prvs=0461000000-alice", NULL },
        { "xprvs=0461000000=alice", NULL },
        { "prvs=alice/0461000000", NULL },
        { "alice", NULL },
        { "", NULL },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct batv_tag tag = { .core = TERN_STR("") };
        CU_ASSERT_EQUAL(batv_split(str(rows[i].local), &tag), rows[i].core != NULL);
        if (rows[i].core != NULL)
            CU_ASSERT_STRING_EQUAL(tag.core.ptr, rows[i].core);
    }
}

/* As Exim's ${prvs{alice@example.org}{secret}{3}} makes them; the day is TODAY + 7. */
static void test_made(void)
{
    struct batv_keys k = keys_of("secret");
    struct mailbox_text m;

    k.number = 3;
    CU_ASSERT_EQUAL(batv_make(&k, str("alice"), str("example.org"), 20779, &m), BATV_OK); /* + 7 is 786 */
    CU_ASSERT_STRING_EQUAL(m.text, "prvs=378619d80f=alice@example.org");
    CU_ASSERT_EQUAL(batv_make(&k, str("Alice"), str("example.org"), 20779, &m), BATV_OK);
    CU_ASSERT_STRING_EQUAL(m.text, "prvs=378619d80f=Alice@example.org");
}

static void test_each_octet_is_signed(void)
{
    struct batv_keys k = keys_of("secret");
    struct mailbox_text made;
    struct batv_tag tag;

    CU_ASSERT_EQUAL(batv_make(&k, str("alice"), str("example.org"), TODAY, &made), BATV_OK);
    for (size_t i = 5; i < made.local_len; i++) {
        struct mailbox_text other = made;
        other.text[i] = made.text[i] == '7' ? '8' : '7';
        if (batv_split(local_of(&other), &tag))
            CU_ASSERT_EQUAL(batv_check(&k, &tag, str("example.org"), TODAY), BATV_FORGED);
    }
    CU_ASSERT_TRUE(batv_split(local_of(&made), &tag));
    CU_ASSERT_EQUAL(batv_check(&k, &tag, str("example.org"), TODAY), BATV_OK);
    CU_ASSERT_EQUAL(batv_check(&k, &tag, str("example.net"), TODAY), BATV_FORGED);
    struct batv_keys another = keys_of("another");
    CU_ASSERT_EQUAL(batv_check(&another, &tag, str("example.org"), TODAY), BATV_FORGED);
    another.secrets[another.secret_count++] = str("secret");
    CU_ASSERT_EQUAL(batv_check(&another, &tag, str("example.org"), TODAY), BATV_OK);
}

/* A day is known modulo 1000. */
static void test_days(void)
{
    struct batv_keys k = keys_of("secret");
    struct mailbox_text made;
    struct batv_tag tag;

    for (int64_t day = TODAY; day < TODAY + BATV_DAYS; day += 37) {
        CU_ASSERT_EQUAL(batv_make(&k, str("alice"), str("example.org"), day, &made), BATV_OK);
        CU_ASSERT_TRUE(batv_split(local_of(&made), &tag));
        for (int64_t age = -1; age < BATV_DAYS - 1; age++)
            CU_ASSERT_EQUAL(batv_check(&k, &tag, str("example.org"), day + age), age <= 7 ? BATV_OK : BATV_EXPIRED);
    }
}

/* 64 octets with the tag and with quotes, and one more. */
static void test_bounds(void)
{
    struct batv_keys k = keys_of("secret");
    struct mailbox_text made;
    char local[300];

    memset(local, 'x', sizeof(local));
    CU_ASSERT_TRUE(batv_fits((tern_str){ local, MAILBOX_LOCAL_OCTETS_MAX - BATV_TAG_OCTETS }, str("x.example")));
    CU_ASSERT_FALSE(batv_fits((tern_str){ local, MAILBOX_LOCAL_OCTETS_MAX - BATV_TAG_OCTETS + 1 }, str("x.example")));
    CU_ASSERT_FALSE(batv_fits((tern_str){ local, sizeof(local) }, str("x.example")));
    local[0] = ' ';
    CU_ASSERT_TRUE(batv_fits((tern_str){ local, MAILBOX_LOCAL_OCTETS_MAX - BATV_TAG_OCTETS - 2 }, str("x.example")));
    CU_ASSERT_FALSE(batv_fits((tern_str){ local, MAILBOX_LOCAL_OCTETS_MAX - BATV_TAG_OCTETS - 1 }, str("x.example")));
    local[0] = 'x';
    /* What is made fits into a path, or is not made. */
    size_t most = MAILBOX_OCTETS_MAX - BATV_TAG_OCTETS - 10;
    CU_ASSERT_EQUAL(batv_make(&k, (tern_str){ local, most }, str("x.example"), TODAY, &made), BATV_OK);
    CU_ASSERT_EQUAL(made.len, MAILBOX_OCTETS_MAX);
    CU_ASSERT_EQUAL(batv_make(&k, (tern_str){ local, most + 1 }, str("x.example"), TODAY, &made), BATV_FAILED);
    CU_ASSERT_EQUAL(batv_make(&k, (tern_str){ local, sizeof(local) }, str("x.example"), TODAY, &made), BATV_FAILED);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("batv", NULL, NULL);
    CU_add_test(suite, "forms", test_forms);
    CU_add_test(suite, "as Exim makes them", test_made);
    CU_add_test(suite, "each octet is signed", test_each_octet_is_signed);
    CU_add_test(suite, "days", test_days);
    CU_add_test(suite, "bounds", test_bounds);
    if (hmac_init() < 0)
        return 1;
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
