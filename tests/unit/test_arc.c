/* SPDX-License-Identifier: Apache-2.0 */
/* test_arc.c - the three fields of ARC and how they make a chain, at the bounds of RFC 8617 and above. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lib/arc.h>

#define REST "a=rsa-sha256; d=a.example; s=s; b=AA=="
#define AMS  REST "; h=From; bh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static tern_str str(const char *s)
{
    return (tern_str){ s, strlen(s) };
}

static bool begins(const char *got, const char *wanted)
{
    return wanted == NULL ? got == NULL : got != NULL && strncmp(got, wanted, strlen(wanted)) == 0;
}

static void check(const char *what, const char *got, const char *wanted)
{
    if (!begins(got, wanted))
        fprintf(stderr, "  \"%s\": %s\n", what, got != NULL ? got : "taken");
    CU_ASSERT_TRUE(begins(got, wanted));
}

static void test_signatures(void)
{
    static const struct {
        const char *what, *value, *wrong; /* wrong: NULL, or how it begins */
    } rows[] = {
        { "all that must be there", "i=1; " AMS, NULL },
        { "folded, a semicolon at the end", "i\r\n =\r\n 1 ;" AMS ";\r\n ", NULL },
        { "the last instance", "i=50; " AMS, NULL },
        { "a nought in front", "i=01; " AMS, NULL },
        { "one too many", "i=51; " AMS, "i= is not a number" },
        { "none", "i=0; " AMS, "i= is not a number" },
        { "no number", "i=1a; " AMS, "i= is not a number" },
        { "a sign", "i=+1; " AMS, "i= is not a number" },
        { "a long number", "i=00001; " AMS, "i= is not a number" },
        { "an empty one", "i=; " AMS, "i= is not a number" },
        { "no instance", AMS, "no i=" },
        { "an identity of DKIM's", "i=@a.example; " AMS, "i= is not a number" },
        { "a version, which is nothing here", "i=1; v=7; " AMS, NULL },
        { "names nothing", "i=1; h=; " REST "; bh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", NULL },
        { "an empty name", "i=1; h=From::To; " REST "; bh=AAAA", "h= has an empty" },
        { "no h=", "i=1; " REST "; bh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "no h=" },
        { "the seal in h=", "i=1; h=From : arc-SEAL; " REST "; bh=AAAA", "h= names ARC-Seal" },
        { "no bh=", "i=1; h=From; " REST, "no bh=" },
        { "twice", "i=1; i=1; " AMS, "a tag stands there twice" },
    };
    static struct arc_signature s;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check(rows[i].what, arc_ams_parse(str(rows[i].value), false, &s), rows[i].wrong);
    CU_ASSERT_PTR_NULL(arc_ams_parse(str("i=7; " AMS), false, &s));
    CU_ASSERT_TRUE(s.instance == 7 && s.signs_from && !s.s.header_relaxed);
    CU_ASSERT_PTR_NOT_NULL(arc_ams_parse(str("i=9; d=.; a=x"), false, &s)); /* still known for which set it was */
    CU_ASSERT_EQUAL(s.instance, 9);
}

static void test_seals(void)
{
    static const struct {
        const char *what, *value, *wrong;
    } rows[] = {
        { "all that must be there", "i=1; cv=none; " REST, NULL },
        { "with a time", "i=1; cv=none; t=12; " REST, NULL },
        { "case", "i=1; cv=None; " REST, NULL },
        { "fail", "i=1; cv=fail; " REST, NULL },
        { "pass", "i=1; cv=pass; " REST, NULL },
        { "unknown tags", "i=1; cv=pass; zz=1; " REST, NULL },
        { "no cv=", "i=1; " REST, "no cv=" },
        { "an empty one", "i=1; cv=; " REST, "cv= is not" },
        { "another word", "i=1; cv=passed; " REST, "cv= is not" },
        { "h= is not allowed", "i=1; cv=pass; h=; " REST, "a seal has no h=" },
        { "a tag in capitals is another", "i=1; CV=pass; " REST, "no cv=" },
        { "no b=", "i=1; cv=pass; a=rsa-sha256; d=a.example; s=s", "no b=" },
        { "no d=", "i=1; cv=pass; a=rsa-sha256; s=s; b=AA==", "no d=" },
    };
    static struct arc_signature s;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check(rows[i].what, arc_seal_parse(str(rows[i].value), false, &s), rows[i].wrong);
    CU_ASSERT_PTR_NULL(arc_seal_parse(str("i=7; cv=FAIL; " REST), false, &s));
    CU_ASSERT_TRUE(s.instance == 7 && s.cv == ARC_CV_FAIL && s.s.header_relaxed);
    /* 32 KB, and one more. */
    char *text = malloc(DKIM_SIGNATURE_OCTETS_MAX + 2);
    int n = snprintf(text, DKIM_SIGNATURE_OCTETS_MAX, "i=1; cv=none; " REST "; z=");
    memset(text + n, 'x', DKIM_SIGNATURE_OCTETS_MAX + 1 - (size_t)n);
    CU_ASSERT_PTR_NULL(arc_seal_parse(dkim_str(text, DKIM_SIGNATURE_OCTETS_MAX), false, &s));
    check("too long", arc_seal_parse(dkim_str(text, DKIM_SIGNATURE_OCTETS_MAX + 1), false, &s), "it is too long");
    free(text);
}

static void test_results(void)
{
    static const struct {
        const char *what, *value, *wrong;
        unsigned instance;
        const char *rest;
    } rows[] = {
        { "as most write it", " i=1; mx.example; spf=pass", NULL, 1, "mx.example; spf=pass" },
        { "comments and folding", "\r\n (a (b) \\) \"c) i (x) = (y) 12 (z) ;\r\n\tmx", NULL, 12, "mx" },
        { "nothing behind", "i=50;", NULL, 50, "" },
        { "one too many", "i=51; mx", "i= is not", 51, NULL },
        { "none", "i=0; mx", "i= is not", 0, NULL },
        { "no number", "i=; mx", "i= is not", 0, NULL },
        { "a long number", "i=10000; mx", "i= is not", 0, NULL },
        { "a capital", "I=1; mx", "it does not begin", 0, NULL },
        { "no instance", "mx; spf=pass", "it does not begin", 0, NULL },
        { "no semicolon", "i=1 mx", "no semicolon", 1, NULL },
        { "a comment that does not end", "(i=1; mx", "it does not begin", 0, NULL },
        { "nothing", "", "it does not begin", 0, NULL },
        { "ten comments deep", "((((((((((x))))))))))i=1;mx", NULL, 1, "mx" },
        { "eleven", "(((((((((((x)))))))))))i=1;mx", "it does not begin", 0, NULL },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned instance = 99;
        tern_str rest;
        check(rows[i].what, arc_aar_parse(str(rows[i].value), &instance, &rest), rows[i].wrong);
        CU_ASSERT_EQUAL(instance, rows[i].instance);
        if (rows[i].rest != NULL)
            CU_ASSERT_TRUE(rest.len == strlen(rows[i].rest) && memcmp(rest.ptr, rows[i].rest, rest.len) == 0);
    }
}

/* ---- chains ---- */

#define FIELDS_MAX 200

static struct dkim_field fields[FIELDS_MAX];
static struct arc_set sets[ARC_SETS_MAX];
static struct arc_chain chain;
static char header[65536];

static size_t add_set(size_t at, unsigned instance, const char *cv)
{
    return at + (size_t)snprintf(header + at, sizeof(header) - at,
                                 "ARC-Seal: i=%u; cv=%s; " REST "\r\nArc-message-signature: i=%u; " AMS
                                 "\r\nARC-Authentication-Results: i=%u; mx\r\n",
                                 instance, cv, instance, instance);
}

static const char *read_chain(void)
{
    int count = dkim_fields_cut(str(header), fields, FIELDS_MAX);

    CU_ASSERT_FATAL(count >= 0);
    memset(sets, 0, sizeof(sets));
    arc_chain_read(fields, (size_t)count, false, sets, &chain);
    return chain.wrong;
}

static void test_chains(void)
{
    size_t at = 0;

    for (unsigned i = 1; i <= ARC_SETS_MAX; i++)
        at = add_set(at, i, i == 1 ? "none" : "pass");
    CU_ASSERT_PTR_NULL(read_chain());
    CU_ASSERT_TRUE(chain.count == ARC_SETS_MAX && !chain.ended);
    (void)add_set(at, ARC_SETS_MAX + 1, "pass");
    check("51 sets", read_chain(), "i= is not a number");
    CU_ASSERT_TRUE(chain.count == ARC_SETS_MAX + 1 && chain.wrong_instance == ARC_SETS_MAX + 1);

    at = add_set(add_set(0, 2, "pass"), 1, "none"); /* order does not count */
    CU_ASSERT_PTR_NULL(read_chain());
    CU_ASSERT_TRUE(chain.count == 2 && sets[1].ams.instance == 2 && sets[0].results.len == 2);
    (void)add_set(at, 2, "fail");
    check("a set twice", read_chain(), "it is there twice");
    (void)add_set(add_set(0, 1, "none"), 3, "pass");
    check("a gap", read_chain(), "it is missing");
    CU_ASSERT_EQUAL(chain.wrong_instance, 2);
    (void)add_set(add_set(0, 1, "none"), 2, "none");
    check("the second has seen none", read_chain(), "cv= is not pass");
    (void)add_set(add_set(0, 1, "fail"), 2, "pass");
    check("the first has failed", read_chain(), "cv= is not none");
    CU_ASSERT_FALSE(chain.ended);
    (void)add_set(0, 4, "fail");
    check("broken, and said so", read_chain(), "cv=fail");
    CU_ASSERT_TRUE(chain.ended && chain.count == 4);
    header[0] = '\0';
    CU_ASSERT_PTR_NULL(read_chain());
    CU_ASSERT_EQUAL(chain.count, 0);
}

/* A domain in U-labels is kept inside of the signature: it is still there when others have been read. */
static void test_beyond_ascii(void)
{
    (void)snprintf(header, sizeof(header),
                   "ARC-Seal: i=1; cv=none; a=rsa-sha256; d=b\303\274cher.example; s=s; b=AA==\r\n"
                   "ARC-Message-Signature: i=1; " AMS "\r\nARC-Authentication-Results: i=1; mx\r\n");
    int count = dkim_fields_cut(str(header), fields, FIELDS_MAX);

    memset(sets, 0, sizeof(sets));
    arc_chain_read(fields, (size_t)count, true, sets, &chain);
    CU_ASSERT_PTR_NULL(chain.wrong);
    CU_ASSERT_TRUE(dkim_equal_nocase(sets[0].seal.s.domain, str("xn--bcher-kva.example")));
    CU_ASSERT_TRUE(dkim_equal_nocase(sets[0].ams.s.domain, str("a.example")));
    memset(sets, 0, sizeof(sets));
    arc_chain_read(fields, (size_t)count, false, sets, &chain);
    check("in a mail that is not", chain.wrong, "d= is no domain name");
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("arc", NULL, NULL);
    CU_add_test(suite, "signatures", test_signatures);
    CU_add_test(suite, "seals", test_seals);
    CU_add_test(suite, "results", test_results);
    CU_add_test(suite, "chains", test_chains);
    CU_add_test(suite, "beyond ASCII", test_beyond_ascii);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
