/* SPDX-License-Identifier: Apache-2.0 */
/* test_template.c - filters and names of LDAP with a client's words in them: what is escaped, and the bounds. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lib/template.h>

#define S(text) { text, sizeof(text) - 1 }

static const struct {
    const char *template_, *want; /* NULL: good */
} checks[] = {
    { "(mail=%{key})", NULL },
    { "(&(uid=%{local})(dc=%{domain}))", NULL },
    { "100%%%{key}", NULL },
    { "", "there is no %{key} in it" },
    { "(mail=x%%{key})", "there is no %{key} in it" },
    { "(mail=%s)", "at \"%s)\": there are %{key}, %{local}, %{domain}, and %% for a percent sign" },
    { "(mail=%{user})", "at \"%{user})\": there are %{key}, %{local}, %{domain}, and %% for a percent sign" },
    { "%{key", "at \"%{key\": there are %{key}, %{local}, %{domain}, and %% for a percent sign" },
    { "%{key}%", "at \"%\": there are %{key}, %{local}, %{domain}, and %% for a percent sign" },
    { "%{}", "at \"%{}\": there are %{key}, %{local}, %{domain}, and %% for a percent sign" },
};

static void test_check(void)
{
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        char error[256] = "";
        tern_str t = { checks[i].template_, strlen(checks[i].template_) };
        int r = template_check(t, "key", error, sizeof(error));

        CU_ASSERT_EQUAL(r, checks[i].want == NULL ? 0 : -EINVAL);
        if (checks[i].want != NULL)
            CU_ASSERT_STRING_EQUAL(error, checks[i].want);
    }
    char error[256];
    CU_ASSERT_EQUAL(template_check((tern_str)S("a\0%{key}"), "key", error, sizeof(error)), -EINVAL);
}

static const struct {
    enum template_kind kind;
    const char *template_;
    tern_str key;
    const char *want; /* NULL: no entry */
} fills[] = {
    { TEMPLATE_FILTER, "(mail=%{key})", S("a@example.org"), "(mail=a@example.org)" },
    { TEMPLATE_FILTER, "%{local}|%{domain}|%{key}|%%", S("a@b@c"), "a@b|c|a@b@c|%" },
    { TEMPLATE_FILTER, "%{key}", S("*()\\\0"), "\\2a\\28\\29\\5c\\00" },
    { TEMPLATE_FILTER, "%{key}", S("'\";%&|!<>~/\n"), "'\\22\\3b\\25\\26\\7c\\21\\3c\\3e\\7e\\2f\\0a" },
    { TEMPLATE_FILTER, "%{key}", S("%{key}"), "\\25\\7bkey\\7d" },
    { TEMPLATE_FILTER, "%{key}", S("m\xc3\xbcller"), "m\\c3\\bcller" },
    { TEMPLATE_FILTER, "%{key}", S(""), "" },
    { TEMPLATE_FILTER, "%{local}", S("nobody"), "nobody" },
    { TEMPLATE_FILTER, "%{domain}", S("nobody"), NULL },
    { TEMPLATE_FILTER, "%{domain}", S("nobody@"), NULL },
    { TEMPLATE_DN, "uid=%{user},dc=test", S("a,dc=other"), "uid=a\\2cdc\\3dother,dc=test" },
    { TEMPLATE_DN, "uid=%{user}", S(" #a+b\"c\\d<e>f;g \0"), "uid=\\20\\23a\\2bb\\22c\\5cd\\3ce\\3ef\\3bg\\20\\00" },
    { TEMPLATE_DN, "uid=%{user}", S("A.b-c_d@e9"), "uid=A.b-c_d@e9" },
};

static void test_fill(void)
{
    char out[TEMPLATE_OCTETS_MAX];

    for (size_t i = 0; i < sizeof(fills) / sizeof(fills[0]); i++) {
        tern_str t = { fills[i].template_, strlen(fills[i].template_) };
        int r = template_fill(t, fills[i].kind, fills[i].key, out);

        CU_ASSERT_EQUAL(r, fills[i].want != NULL ? 0 : -ENOENT);
        if (r == 0 && strcmp(out, fills[i].want) != 0)
            fprintf(stderr, "  case %zu: got %s, want %s\n", i, out, fills[i].want);
        if (r == 0)
            CU_ASSERT_STRING_EQUAL(out, fills[i].want);
    }
}

static void test_bounds(void)
{
    char out[TEMPLATE_OCTETS_MAX], *key = malloc(TEMPLATE_OCTETS_MAX);

    memset(key, 'a', TEMPLATE_OCTETS_MAX);
    tern_str t = S("%{key}");
    CU_ASSERT_EQUAL(template_fill(t, TEMPLATE_FILTER, (tern_str){ key, TEMPLATE_OCTETS_MAX - 1 }, out), 0);
    CU_ASSERT_EQUAL(strlen(out), TEMPLATE_OCTETS_MAX - 1);
    CU_ASSERT_EQUAL(template_fill(t, TEMPLATE_FILTER, (tern_str){ key, TEMPLATE_OCTETS_MAX }, out), -E2BIG);
    memset(key, '*', TEMPLATE_OCTETS_MAX);
    CU_ASSERT_EQUAL(template_fill(t, TEMPLATE_FILTER, (tern_str){ key, (TEMPLATE_OCTETS_MAX - 1) / 3 }, out), 0);
    CU_ASSERT_EQUAL(template_fill(t, TEMPLATE_FILTER, (tern_str){ key, (TEMPLATE_OCTETS_MAX - 1) / 3 + 1 }, out), -E2BIG);
    free(key);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("template", NULL, NULL);
    CU_add_test(s, "check", test_check);
    CU_add_test(s, "fill", test_fill);
    CU_add_test(s, "bounds", test_bounds);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed > 0;
}
