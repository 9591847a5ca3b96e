/* SPDX-License-Identifier: Apache-2.0 */
/* test_client_sasl.c - the client's side of AUTH: vectors of RFC 7677, bounds, what a server may not say. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>

#include "delivery/client_sasl.h"

#define NONCE  "rOprNGfwEbeRWgbNEkqO"
#define SERVER NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define SALT   "W22ZaJ0SNY7soEsUEjb6gQ=="

/* ---- SCRAM-SHA-256 ---- */

static const struct scram_case {
    const char *name, *first, *last; /* of the server; last NULL: not asked */
    const char *error;               /* NULL: it may end */
} scram_cases[] = {
    { "RFC 7677 3", "r=" SERVER ",s=" SALT ",i=4096",
      "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", NULL },
    { "extensions are passed over", "r=" SERVER ",s=" SALT ",i=4096,x=y", "v=AAAA", "know" },
    { "another signature", "r=" SERVER ",s=" SALT ",i=4096",
      "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "know" },
    { "a short signature", "r=" SERVER ",s=" SALT ",i=4096", "v=6rri", "know" },
    { "an error instead", "r=" SERVER ",s=" SALT ",i=4096", "e=invalid-proof", "know" },
    { "nothing", "r=" SERVER ",s=" SALT ",i=4096", "", "know" },
    { "our nonce alone", "r=" NONCE ",s=" SALT ",i=4096", NULL, "nonce" },
    { "another nonce", "r=x" SERVER ",s=" SALT ",i=4096", NULL, "nonce" },
    { "an extension that must be known", "m=x,r=" SERVER ",s=" SALT ",i=4096", NULL, "none of SCRAM" },
    { "no salt", "r=" SERVER ",s=,i=4096", NULL, "none of SCRAM" },
    { "a salt that is no base64", "r=" SERVER ",s=!!!!,i=4096", NULL, "none of SCRAM" },
    { "no count", "r=" SERVER ",s=" SALT, NULL, "none of SCRAM" },
    { "a count that is none", "r=" SERVER ",s=" SALT ",i=4o96", NULL, "none of SCRAM" },
    { "iterations: one less", "r=" SERVER ",s=" SALT ",i=4095", NULL, "iterations" },
    { "iterations: at most", "r=" SERVER ",s=" SALT ",i=100000", "v=AAAA", "know" },
    { "iterations: one more", "r=" SERVER ",s=" SALT ",i=100001", NULL, "iterations" },
    { "iterations without end", "r=" SERVER ",s=" SALT ",i=18446744073709551615", NULL, "iterations" },
    { "empty", "", NULL, "none of SCRAM" },
};

static void run_scram(const struct scram_case *row)
{
    struct client_sasl *c = client_sasl_new(CLIENT_SASL_SCRAM_SHA_256, SLICE("user"), SLICE("pencil"), NONCE);
    struct buf out CLEANUP_BUF = BUF_INIT;
    const char *error = "";

    CU_ASSERT_TRUE(client_sasl_first(c, &out));
    CU_ASSERT_STRING_EQUAL(out.data, "n,,n=user,r=" NONCE);
    buf_clear(&out);
    bool fine = client_sasl_step(c, slice_cstr(row->first), &out, &error);
    CU_ASSERT_EQUAL(fine, row->last != NULL);
    CU_ASSERT_FALSE(client_sasl_may_end(c));
    if (row->error == NULL)
        CU_ASSERT_STRING_EQUAL(out.data, "c=biws,r=" SERVER ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    if (fine) {
        buf_clear(&out);
        fine = client_sasl_step(c, slice_cstr(row->last), &out, &error);
        CU_ASSERT_EQUAL(out.len, 0);
    }
    CU_ASSERT_EQUAL(fine, row->error == NULL);
    CU_ASSERT_EQUAL(client_sasl_may_end(c), row->error == NULL);
    if (row->error != NULL && strstr(error, row->error) == NULL) {
        fprintf(stderr, "  \"%s\": %s\n", row->name, error);
        CU_FAIL("another error");
    }
    CU_ASSERT_FALSE(client_sasl_step(c, SLICE("v=x"), &out, &error)); /* nothing comes behind it */
    client_sasl_free(c);
}

static void test_scram(void)
{
    for (size_t i = 0; i < sizeof(scram_cases) / sizeof(scram_cases[0]); i++)
        run_scram(&scram_cases[i]);
}

static void test_scram_names(void)
{
    struct client_sasl *c = client_sasl_new(CLIENT_SASL_SCRAM_SHA_256, SLICE("a=b,c"), SLICE("x"), "n");
    struct client_sasl *other = client_sasl_new(CLIENT_SASL_SCRAM_SHA_256, SLICE("u"), SLICE("x"), NULL);
    struct buf out CLEANUP_BUF = BUF_INIT, second CLEANUP_BUF = BUF_INIT;

    CU_ASSERT_TRUE(client_sasl_first(c, &out));
    CU_ASSERT_STRING_EQUAL(out.data, "n,,n=a=3Db=2Cc,r=n");
    client_sasl_free(c);
    buf_clear(&out);
    CU_ASSERT_TRUE(client_sasl_first(other, &out));
    CU_ASSERT_EQUAL(out.len, strlen("n,,n=u,r=") + 24);
    client_sasl_free(other);
    other = client_sasl_new(CLIENT_SASL_SCRAM_SHA_256, SLICE("u"), SLICE("x"), NULL);
    CU_ASSERT_TRUE(client_sasl_first(other, &second));
    CU_ASSERT_STRING_NOT_EQUAL(out.data, second.data); /* a new nonce each time */
    client_sasl_free(other);
}

/* ---- PLAIN and LOGIN ---- */

static void test_plain(void)
{
    struct client_sasl *c = client_sasl_new(CLIENT_SASL_PLAIN, SLICE("user"), SLICE("p\xc3\xa4ss"), NULL);
    struct buf out CLEANUP_BUF = BUF_INIT;
    const char *error = NULL;

    CU_ASSERT_TRUE(client_sasl_first(c, &out));
    CU_ASSERT_TRUE(slice_equal(buf_slice(&out), SLICE("\0user\0p\xc3\xa4ss")));
    CU_ASSERT_TRUE(client_sasl_may_end(c));
    CU_ASSERT_FALSE(client_sasl_step(c, SLICE(""), &out, &error));
    CU_ASSERT_PTR_NOT_NULL(error);
    client_sasl_free(c);
}

static void test_login(void)
{
    struct client_sasl *c = client_sasl_new(CLIENT_SASL_LOGIN, SLICE("user"), SLICE("secret"), NULL);
    struct buf out CLEANUP_BUF = BUF_INIT;
    const char *error = NULL;

    CU_ASSERT_FALSE(client_sasl_first(c, &out));
    CU_ASSERT_TRUE(client_sasl_step(c, SLICE("Password:"), &out, &error)); /* whatever it says */
    CU_ASSERT_TRUE(slice_equal(buf_slice(&out), SLICE("user")));
    buf_clear(&out);
    CU_ASSERT_TRUE(client_sasl_step(c, SLICE(""), &out, &error));
    CU_ASSERT_TRUE(slice_equal(buf_slice(&out), SLICE("secret")));
    CU_ASSERT_FALSE(client_sasl_step(c, SLICE("More:"), &out, &error));
    client_sasl_free(c);
}

static void test_names(void)
{
    for (unsigned m = 0; m < CLIENT_SASL_COUNT; m++)
        CU_ASSERT_EQUAL(client_sasl_mechanism(slice_cstr(client_sasl_name((enum client_mechanism)m))), m);
    CU_ASSERT_EQUAL(client_sasl_mechanism(SLICE("plain")), CLIENT_SASL_PLAIN);
    CU_ASSERT_EQUAL(client_sasl_mechanism(SLICE("SCRAM-SHA-256-PLUS")), CLIENT_SASL_COUNT);
    CU_ASSERT_EQUAL(client_sasl_mechanism(SLICE("")), CLIENT_SASL_COUNT);
    CU_ASSERT_FALSE(client_sasl_is_plaintext(CLIENT_SASL_SCRAM_SHA_256));
    CU_ASSERT_TRUE(client_sasl_is_plaintext(CLIENT_SASL_LOGIN));
}

/* ---- base64 ---- */

static void test_base64(void)
{
    static const struct {
        struct slice octets;
        const char *text;
    } good[] = {
        { SLICE(""), "" },         { SLICE("f"), "Zg==" },         { SLICE("fo"), "Zm8=" },
        { SLICE("foo"), "Zm9v" },  { SLICE("foobar"), "Zm9vYmFy" }, { SLICE("\xff\xfe\0"), "//4A" },
    };
    static const char *const bad[] = { "Z", "Zg", "Zg=", "Z===", "====", "Zg==Zg==", "Zm 9v", "Zm9v\n", "Zm9-", "=Zg=" };
    struct buf out CLEANUP_BUF = BUF_INIT;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        buf_clear(&out);
        client_base64_add(&out, good[i].octets);
        CU_ASSERT_STRING_EQUAL(out.data, good[i].text);
        buf_clear(&out);
        CU_ASSERT_TRUE(client_base64_decode(slice_cstr(good[i].text), &out));
        CU_ASSERT_TRUE(slice_equal(buf_slice(&out), good[i].octets));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CU_ASSERT_FALSE(client_base64_decode(slice_cstr(bad[i]), &out));
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("client sasl", NULL, NULL);
    CU_add_test(suite, "SCRAM-SHA-256", test_scram);
    CU_add_test(suite, "SCRAM names and nonces", test_scram_names);
    CU_add_test(suite, "PLAIN", test_plain);
    CU_add_test(suite, "LOGIN", test_login);
    CU_add_test(suite, "mechanisms", test_names);
    CU_add_test(suite, "base64", test_base64);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
