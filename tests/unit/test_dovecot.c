/* SPDX-License-Identifier: Apache-2.0 */
/* test_dovecot.c - what the lines of an auth server mean, and which are none of the protocol. */
#include <CUnit/Basic.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/auth_dovecot/protocol.h"

#define LINE(s) (s), sizeof(s) - 1

static const struct {
    const char *what, *line;
    size_t octets;
    enum dovecot_word word;
    unsigned number;
    const char *text; /* user, challenge or mechanism */
    bool temporary, no_login;
} good[] = {
    { "version", LINE("VERSION\t1\t2"), DOVECOT_VERSION, 1, "", false, false },
    { "mechanism", LINE("MECH\tPLAIN\tplaintext"), DOVECOT_MECH, 0, "PLAIN", false, false },
    { "done", LINE("DONE"), DOVECOT_DONE, 0, "", false, false },
    { "pid", LINE("SPID\t1234"), DOVECOT_OTHER, 0, "", false, false },
    { "a word of tomorrow", LINE("FROB\tx\ty"), DOVECOT_OTHER, 0, "", false, false },
    { "yes", LINE("OK\t7\tuser=alice"), DOVECOT_OK, 7, "alice", false, false },
    { "yes, with more", LINE("OK\t7\thost=x\tuser=alice@example.org\toriginal_user=a"), DOVECOT_OK, 7, "alice@example.org",
      false, false },
    { "yes, escaped", LINE("OK\t7\tuser=a b\303\274"), DOVECOT_OK, 7, "a b\303\274", false, false },
    { "right, but may not", LINE("OK\t7\tuser=alice\tnologin"), DOVECOT_OK, 7, "alice", false, true },
    { "no", LINE("FAIL\t7\tuser=alice"), DOVECOT_FAIL, 7, "", false, false },
    { "no, bare", LINE("FAIL\t4294967295"), DOVECOT_FAIL, 4294967295u, "", false, false },
    { "not now", LINE("FAIL\t7\tuser=alice\ttemp"), DOVECOT_FAIL, 7, "", true, false },
    { "not now, by its code", LINE("FAIL\t7\tcode=temp_fail\treason=x"), DOVECOT_FAIL, 7, "", true, false },
    { "no, with temp in a reason", LINE("FAIL\t7\treason=temp"), DOVECOT_FAIL, 7, "", false, false },
    { "a challenge", LINE("CONT\t7\tVXNlcm5hbWU6"), DOVECOT_CONT, 7, "Username:", false, false },
    { "an empty challenge", LINE("CONT\t7\t"), DOVECOT_CONT, 7, "", false, false },
    { "an empty challenge without TAB", LINE("CONT\t7"), DOVECOT_CONT, 7, "", false, false },
};

static void test_good(void)
{
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct dovecot_line got;
        char line[128];
        memcpy(line, good[i].line, good[i].octets);
        int r = dovecot_parse(line, good[i].octets, &got);
        if (r < 0)
            fprintf(stderr, "  case \"%s\" is refused\n", good[i].what);
        CU_ASSERT_EQUAL(r, 0);
        if (r < 0)
            continue;
        tern_str text = got.word == DOVECOT_OK ? got.user : got.word == DOVECOT_CONT ? got.challenge : got.name;
        CU_ASSERT_EQUAL(got.word, good[i].word);
        CU_ASSERT_EQUAL(got.temporary, good[i].temporary);
        CU_ASSERT_EQUAL(got.no_login, good[i].no_login);
        if (got.word == DOVECOT_OK || got.word == DOVECOT_CONT || got.word == DOVECOT_FAIL)
            CU_ASSERT_EQUAL(got.number, good[i].number);
        if (got.word == DOVECOT_OK || got.word == DOVECOT_CONT || got.word == DOVECOT_MECH) {
            CU_ASSERT_EQUAL(text.len, strlen(good[i].text));
            CU_ASSERT_EQUAL(memcmp(text.ptr, good[i].text, text.len), 0);
        }
    }
}

static const struct {
    const char *what, *line;
    size_t octets;
} bad[] = {
    { "nothing", LINE("") },
    { "a banner of SMTP", LINE("220 mx.example ESMTP") },
    { "lower case", LINE("ok\t7\tuser=alice") },
    { "a NUL", LINE("OK\0\t7\tuser=alice") },
    { "yes to nothing", LINE("OK") },
    { "yes to no number", LINE("OK\tuser=alice") },
    { "yes to a huge number", LINE("OK\t4294967296\tuser=alice") },
    { "yes to a sign", LINE("OK\t-7\tuser=alice") },
    { "yes without a user", LINE("OK\t7") },
    { "yes to an empty user", LINE("OK\t7\tuser=") },
    { "yes to a user with a line end", LINE("OK\t7\tuser=a\001nb") },
    { "yes to a user with a NUL", LINE("OK\t7\tuser=a\0010") },
    { "an escape that is none", LINE("OK\t7\tuser=a\001x") },
    { "an escape that ends", LINE("OK\t7\tuser=a\001") },
    { "a challenge that is no base64", LINE("CONT\t7\t***") },
    { "no mechanism", LINE("MECH\t") },
    { "no version", LINE("VERSION\tone") },
};

static void test_bad(void)
{
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct dovecot_line got = { .number = 77 };
        char line[128];
        memcpy(line, bad[i].line, bad[i].octets);
        int r = dovecot_parse(line, bad[i].octets, &got);
        if (r == 0)
            fprintf(stderr, "  case \"%s\" is taken\n", bad[i].what);
        CU_ASSERT_EQUAL(r, -EINVAL);
        CU_ASSERT_EQUAL(got.number, 77);
    }
}

static void test_bounds(void)
{
    struct dovecot_line got;
    char *line = malloc(DOVECOT_LINE_OCTETS_MAX + 2);

    for (unsigned octets = DOVECOT_USER_OCTETS_MAX; octets <= DOVECOT_USER_OCTETS_MAX + 1; octets++) {
        (void)strcpy(line, "OK\t7\tuser=");
        memset(line + 10, 'u', octets);
        CU_ASSERT_EQUAL(dovecot_parse(line, 10 + octets, &got) == 0, octets == DOVECOT_USER_OCTETS_MAX);
    }
    for (unsigned octets = DOVECOT_LINE_OCTETS_MAX; octets <= DOVECOT_LINE_OCTETS_MAX + 1; octets++) {
        memset(line, 'x', octets);
        memcpy(line, "FROB\t", 5);
        CU_ASSERT_EQUAL(dovecot_parse(line, octets, &got) == 0, octets == DOVECOT_LINE_OCTETS_MAX);
    }
    /* 8190 octets are 10920 of base64; 8193 are 10924, and too many. */
    for (unsigned octets = 8190; octets <= 8193; octets += 3) {
        (void)strcpy(line, "CONT\t7\t");
        memset(line + 7, 'A', octets / 3 * 4);
        CU_ASSERT_EQUAL(dovecot_parse(line, 7 + octets / 3 * 4, &got) == 0, octets <= DOVECOT_CHALLENGE_OCTETS_MAX);
    }
    free(line);
}

int main(void)
{
    if (sodium_init() < 0 || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("dovecot", NULL, NULL);
    CU_add_test(suite, "what lines mean", test_good);
    CU_add_test(suite, "what is no line", test_bad);
    CU_add_test(suite, "bounds", test_bounds);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
