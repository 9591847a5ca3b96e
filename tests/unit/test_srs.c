/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_srs.c - addresses of SRS: postsrsd's vectors, bounds, and what every address promises. What a server does with them
 * is dialogue/srs.
 */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#include <lib/hmac.h>
#include <lib/mailbox.h>
#include <lib/secrets.h>
#include <srs/address.h>

#include "corpora.h"

#define DAY 18262 /* 2020-01-01, as the vectors have it */

static tern_str str(const char *s)
{
    return (tern_str){ s, strlen(s) };
}

static struct srs_keys keys_of(const char *secret, unsigned length)
{
    return (struct srs_keys){ .secrets = { str(secret) }, .secret_count = 1, .hash_length = length, .hash_min = 4,
                              .age_days = 21, .separator = '=' };
}

/* ---- vectors/srs/postsrsd.tsv ---- */

static const struct srs_keys *keys;
static unsigned vectors, strangers;

/* What srs says of it, in postsrsd's words as far as they go. */
static void forward(tern_str address, char *out, size_t size)
{
    const char *at = memchr(address.ptr, '@', address.len);
    tern_str local = { address.ptr, (size_t)(at - address.ptr) };
    tern_str domain = { at + 1, address.len - local.len - 1 };
    struct srs_text made;

    if (domain.len == 11 && memcmp(domain.ptr, "example.com", 11) == 0)
        (void)snprintf(out, size, "NOTFOUND Need not rewrite local domain."); /* srs.c: the sender is ours */
    else if (srs_encode(keys, local, domain, DAY, &made) == SRS_OK)
        (void)snprintf(out, size, "OK %s@example.com", made.text);
}

static void reverse(tern_str address, char *out, size_t size)
{
    const char *at = memchr(address.ptr, '@', address.len);
    struct srs_mailbox made;

    switch (srs_decode(keys, (tern_str){ address.ptr, (size_t)(at - address.ptr) }, DAY, &made)) {
    case SRS_OK: (void)snprintf(out, size, "OK %s@%s", made.local.text, made.domain.text); break;
    case SRS_NONE: (void)snprintf(out, size, "NOTFOUND Not an SRS address."); break;
    case SRS_EXPIRED: (void)snprintf(out, size, "NOTFOUND Time stamp out of date."); break;
    case SRS_BROKEN: (void)snprintf(out, size, "NOTFOUND No "); break; /* "No hash in ...": which part */
    default: (void)snprintf(out, size, "NOTFOUND ?");
    }
}

static void vector(char *line)
{
    char got[600] = "", *tab = strchr(line, '\t'), *blank = strchr(line, ' ');

    if (line[0] == '#' || tab == NULL || blank == NULL)
        return;
    *tab = '\0';
    /* A name in postsrsd's own database, which stands for a long address: no other host can know it. */
    if (strstr(blank, "=1=") != NULL) {
        strangers++;
        return;
    }
    (line[0] == 'f' ? forward : reverse)(str(blank + 1), got, sizeof(got));
    vectors++;
    if (strncmp(got, tab + 1, strlen(got)) != 0)
        fprintf(stderr, "  %s: got \"%s\", want \"%s\"\n", line, got, tab + 1);
    CU_ASSERT_TRUE(got[0] != '\0' && strncmp(got, tab + 1, strlen(got)) == 0);
}

static void test_postsrsd(void)
{
    CLEANUP_BUF struct buf file = BUF_INIT;
    struct srs_keys k = keys_of("tops3cr3t", 4);

    if (!corpora_read("vectors/srs/postsrsd.tsv", &file))
        return;
    keys = &k;
    for (char *line = file.data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        vector(line);
    }
    CU_ASSERT_EQUAL(vectors, 12);
    CU_ASSERT_EQUAL(strangers, 2);
}

/* ---- what holds for all ---- */

static void test_round_trip(void)
{
    static const char *const locals[] = { "a", "bob", "SRS2=x", "SRS0", "SRS1=only=two", "=", "==", "a=b=c", "b\xc3\xb8_b",
                                          "a@b", " ", "\"", "SRS1=" };
    static const char separators[] = "=-+";

    for (size_t i = 0; i < sizeof(locals) / sizeof(locals[0]); i++) {
        for (unsigned length = SRS_HASH_LENGTH_MIN; length <= SRS_HASH_LENGTH_MAX; length++) {
            struct srs_keys k = keys_of("a secret", length);
            struct srs_text made;
            struct srs_mailbox back;
            k.separator = separators[length % 3];
            k.plain = length % 2 == 0;
            CU_ASSERT_EQUAL(srs_encode(&k, str(locals[i]), str("far.example"), DAY, &made), SRS_OK);
            CU_ASSERT_EQUAL(made.len, 4 + 1 + length + 1 + 2 + 1 + 11 + 1 + strlen(locals[i]));
            CU_ASSERT_TRUE(srs_is_srs((tern_str){ made.text, made.len }));
            CU_ASSERT_EQUAL(srs_decode(&k, (tern_str){ made.text, made.len }, DAY, &back), SRS_OK);
            CU_ASSERT_STRING_EQUAL(back.local.text, locals[i]);
            CU_ASSERT_STRING_EQUAL(back.domain.text, "far.example");
        }
    }
}

/* Each octet counts: another one there is another address, or none. */
static void test_each_octet_is_signed(void)
{
    struct srs_keys k = keys_of("a secret", 20);
    struct srs_mailbox back;
    struct srs_text made;

    CU_ASSERT_EQUAL(srs_encode(&k, str("bob"), str("far.example"), DAY, &made), SRS_OK);
    for (size_t i = 5; i < made.len; i++) {
        struct srs_text other = made;
        other.text[i] = made.text[i] == 'q' ? 'r' : 'q';
        if (other.text[i] == (made.text[i] | 32))
            other.text[i] = 'z';
        CU_ASSERT_NOT_EQUAL(srs_decode(&k, (tern_str){ other.text, other.len }, DAY, &back), SRS_OK);
        CU_ASSERT_NOT_EQUAL(srs_decode(&k, (tern_str){ made.text, i }, DAY, &back), SRS_OK);
    }
}

/* A day is known modulo 1024. */
static void test_days(void)
{
    struct srs_keys k = keys_of("a secret", 4);
    struct srs_mailbox back;
    struct srs_text made;

    for (int64_t day = DAY; day < DAY + SRS_DAYS; day += 41) {
        CU_ASSERT_EQUAL(srs_encode(&k, str("bob"), str("far.example"), day, &made), SRS_OK);
        tern_str local = { made.text, made.len };
        for (int64_t age = -1; age < SRS_DAYS - 1; age++)
            CU_ASSERT_EQUAL(srs_decode(&k, local, day + age, &back), age <= 21 ? SRS_OK : SRS_EXPIRED);
    }
}

/* The longest local part there is room for, and one octet more. */
static void test_room(void)
{
    struct srs_keys k = keys_of("a secret", 4);
    struct srs_text made = { .len = 0 };
    char local[300];
    size_t most = SRS_LOCAL_OCTETS - 1 - (4 + 1 + 4 + 1 + 2 + 1 + 11 + 1);

    memset(local, 'x', sizeof(local));
    CU_ASSERT_EQUAL(srs_encode(&k, (tern_str){ local, most + 1 }, str("far.example"), DAY, &made), SRS_TOO_LONG);
    CU_ASSERT_EQUAL(made.len, 0);
    CU_ASSERT_EQUAL(srs_encode(&k, (tern_str){ local, sizeof(local) }, str("far.example"), DAY, &made), SRS_TOO_LONG);
    CU_ASSERT_EQUAL(srs_encode(&k, (tern_str){ local, most }, str("far.example"), DAY, &made), SRS_OK);
    CU_ASSERT_EQUAL(made.len, SRS_LOCAL_OCTETS - 1);
}

/* ---- what it shares with batv ---- */

static void test_secrets(void)
{
    static const struct {
        const char *text;
        unsigned count;
        const char *first, *last;
    } rows[] = {
        { "", 0, NULL, NULL },
        { "\n\r\n", 0, NULL, NULL },
        { "one", 1, "one", "one" },
        { "one\r\n\ntwo\n", 2, "one", "two" },
        { " one \ntwo", 2, " one ", "two" },
        { "1\n2\n3", 3, "1", "3" },
        { "1\n2\n3\n4", 4, "1", "3" },
        { "1\n2\n3\n4\n5", 4, "1", "3" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        tern_str got[3];
        unsigned count = secrets_split(str(rows[i].text), got, 3);
        CU_ASSERT_EQUAL(count, rows[i].count);
        if (count == 0)
            continue;
        tern_str last = got[count > 3 ? 2 : count - 1];
        CU_ASSERT_TRUE(got[0].len == strlen(rows[i].first) && memcmp(got[0].ptr, rows[i].first, got[0].len) == 0);
        CU_ASSERT_TRUE(last.len == strlen(rows[i].last) && memcmp(last.ptr, rows[i].last, last.len) == 0);
    }
}

static void test_mailboxes(void)
{
    static const struct {
        const char *local, *want; /* NULL: refused */
    } rows[] = {
        { "bob", "bob@x.example" },
        { "b.o.b", "b.o.b@x.example" },
        { "!#$%&'*+-/=?^_`{|}~", "!#$%&'*+-/=?^_`{|}~@x.example" },
        { "b\xc3\xb8" "b", "b\xc3\xb8" "b@x.example" },
        { "b ob", "\"b ob\"@x.example" },
        { "b@b", "\"b@b\"@x.example" },
        { ".bob", "\".bob\"@x.example" },
        { "bob.", "\"bob.\"@x.example" },
        { "b..b", "\"b..b\"@x.example" },
        { "b\"\\b", "\"b\\\"\\\\b\"@x.example" },
        { "", NULL },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mailbox_text m = { .len = 0 };
        CU_ASSERT_EQUAL(mailbox_compose(str(rows[i].local), str("x.example"), &m), rows[i].want != NULL);
        if (rows[i].want != NULL)
            CU_ASSERT_STRING_EQUAL(m.text, rows[i].want);
        CU_ASSERT_EQUAL(m.len, rows[i].want != NULL ? strlen(rows[i].want) : 0);
        CU_ASSERT_EQUAL(m.local_len, rows[i].want != NULL ? strlen(rows[i].want) - 10 : 0);
    }
}

static void test_mailbox_room(void)
{
    struct mailbox_text m;
    char local[300];

    memset(local, 'x', sizeof(local));
    CU_ASSERT_TRUE(mailbox_compose((tern_str){ local, MAILBOX_OCTETS_MAX - 10 }, str("x.example"), &m));
    CU_ASSERT_EQUAL(m.len, MAILBOX_OCTETS_MAX);
    CU_ASSERT_FALSE(mailbox_compose((tern_str){ local, MAILBOX_OCTETS_MAX - 9 }, str("x.example"), &m));
    memset(local, '"', sizeof(local)); /* two octets each, and two for the quotes */
    CU_ASSERT_TRUE(mailbox_compose((tern_str){ local, (MAILBOX_OCTETS_MAX - 12) / 2 }, str("x.example"), &m));
    CU_ASSERT_FALSE(mailbox_compose((tern_str){ local, MAILBOX_OCTETS_MAX / 2 - 5 }, str("x.example"), &m));
    CU_ASSERT_FALSE(mailbox_compose(str("x"), str(""), &m));
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("srs", NULL, NULL);
    CU_add_test(suite, "postsrsd's vectors", test_postsrsd);
    CU_add_test(suite, "there and back", test_round_trip);
    CU_add_test(suite, "each octet is signed", test_each_octet_is_signed);
    CU_add_test(suite, "days", test_days);
    CU_add_test(suite, "room", test_room);
    CU_add_test(suite, "secrets", test_secrets);
    CU_add_test(suite, "mailboxes", test_mailboxes);
    CU_add_test(suite, "the longest mailbox", test_mailbox_room);
    if (hmac_init() < 0)
        return 1;
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
