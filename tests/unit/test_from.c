/* SPDX-License-Identifier: Apache-2.0 */
/* test_from.c - the addresses of a From field, and patterns of sender_login. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#include "../../modules/lib/from.h"

static char seen[4096];

static bool note(void *arg, tern_str address)
{
    (void)arg;
    CU_ASSERT_EQUAL(address.ptr[address.len], '\0');
    strcat(strcat(seen, address.ptr), "|");
    return true;
}

static tern_str str(const char *s)
{
    return (tern_str){ s, strlen(s) };
}

static void test_fields(void)
{
    static const struct {
        const char *what, *value, *want; /* NULL: refused */
    } rows[] = {
        { "an address alone", "a@b.example", "a@b.example|" },
        { "in angles", "<a@b.example>", "a@b.example|" },
        { "with a name", "Alice <a@b.example>", "a@b.example|" },
        { "with a name of words", "Alice B. Carol <a@b.example>", "a@b.example|" },
        { "with a quoted name", "\"Alice, the <x@y>\" <a@b.example>", "a@b.example|" },
        { "with an escaped quote", "\"Al\\\"ice <x@y>\" <a@b.example>", "a@b.example|" },
        { "a comment behind", "a@b.example (Alice <x@y>)", "a@b.example|" },
        { "a comment in front", "(x@y, nested (deep)) a@b.example", "a@b.example|" },
        { "folded", "Alice\r\n <a@b.example>", "a@b.example|" },
        { "two", "a@b.example, \"C\" <c@d.example>", "a@b.example|c@d.example|" },
        { "a quoted local part", "<\"a b\"@c.example>", "\"a b\"@c.example|" },
        { "an encoded name", "=?utf-8?q?x=40y?= <a@b.example>", "a@b.example|" },
        { "blanks inside of the angles", "< a@b.example >", "a@b.example|" },
        { "an address as the name", "x@y.example <a@b.example>", "a@b.example|" },
        { "nothing", "", NULL },
        { "blanks", "  ", NULL },
        { "no address", "Alice", NULL },
        { "an empty one in the list", "a@b.example,", NULL },
        { "two angles", "<a@b.example><c@d.example>", NULL },
        { "an angle in an angle", "<a@<b.example>>", NULL },
        { "an angle that is not closed", "<a@b.example", NULL },
        { "words behind the angle", "<a@b.example> c@d.example", NULL },
        { "a quote that is not closed", "\"a <a@b.example>", NULL },
        { "a comment that is not closed", "a@b.example (x", NULL },
        { "two at signs", "a@b@c.example", NULL },
        { "a group", "friends: a@b.example, c@d.example;", NULL },
        { "a source route", "<@x.example:a@b.example>", NULL },
        { "two words without angles", "a@b.example c@d.example", NULL },
        { "blanks around the at sign", "a @ b.example", NULL },
        { "folded inside of the angles", "<a@b.\r\n example>", NULL },
        { "a control", "a@b.\001example", NULL },
        { "a control in quotes", "\"a\001\"@b.example", NULL },
        { "a line end behind a backslash", "\"a\\\nb\"@c.example", NULL },
        { "nothing before the at sign", "<@b.example>", NULL },
        { "nothing behind it", "<a@>", NULL },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        seen[0] = '\0';
        bool fine = from_each(str(rows[i].value), note, NULL);
        if (fine != (rows[i].want != NULL) || (fine && strcmp(seen, rows[i].want) != 0))
            fprintf(stderr, "  %s: %d %s\n", rows[i].what, fine, seen);
        CU_ASSERT_EQUAL(fine, rows[i].want != NULL);
        if (fine && rows[i].want != NULL)
            CU_ASSERT_STRING_EQUAL(seen, rows[i].want);
    }
}

static void test_bounds(void)
{
    char value[2048] = "";

    for (int i = 0; i < FROM_ADDRESSES_MAX; i++)
        strcat(value, i > 0 ? ",a@b" : "a@b");
    seen[0] = '\0';
    CU_ASSERT_TRUE(from_each(str(value), note, NULL));
    strcat(value, ",a@b");
    CU_ASSERT_FALSE(from_each(str(value), note, NULL));

    memset(value, 'a', FROM_ADDRESS_OCTETS_MAX + 1);
    memcpy(value + FROM_ADDRESS_OCTETS_MAX - 2, "@b", 3);
    seen[0] = '\0';
    CU_ASSERT_TRUE(from_each(str(value), note, NULL));
    memset(value, 'a', FROM_ADDRESS_OCTETS_MAX + 1);
    memcpy(value + FROM_ADDRESS_OCTETS_MAX - 1, "@b", 3);
    CU_ASSERT_FALSE(from_each(str(value), note, NULL));

    /* A name is no address: however long it is, the address behind it is somebody's. */
    memset(value, 'a', FROM_ADDRESS_OCTETS_MAX + 1);
    strcpy(value + FROM_ADDRESS_OCTETS_MAX + 1, " <c@d>");
    seen[0] = '\0';
    CU_ASSERT_TRUE(from_each(str(value), note, NULL));
    CU_ASSERT_STRING_EQUAL(seen, "c@d|");
    value[0] = value[FROM_ADDRESS_OCTETS_MAX] = '"';
    seen[0] = '\0';
    CU_ASSERT_TRUE(from_each(str(value), note, NULL));
    CU_ASSERT_STRING_EQUAL(seen, "c@d|");
    memset(value, 'a', FROM_ADDRESS_OCTETS_MAX + 2);
    value[0] = '<';
    strcpy(value + FROM_ADDRESS_OCTETS_MAX, "@b>");
    CU_ASSERT_FALSE(from_each(str(value), note, NULL));

    strcpy(value, "((((((((((x)))))))))) a@b");
    CU_ASSERT_TRUE(from_each(str(value), note, NULL));
    strcpy(value, "(((((((((((x))))))))))) a@b");
    CU_ASSERT_FALSE(from_each(str(value), note, NULL));
}

static void test_patterns(void)
{
    static const struct {
        const char *patterns, *address;
        bool allowed;
    } rows[] = {
        { "a@b.example", "a@b.example", true },
        { "a@b.example", "A@B.Example", true },
        { "a@b.example", "aa@b.example", false },
        { "a@b.example", "a@b.example.net", false },
        { "x@y, a@b.example", "a@b.example", true },
        { "x@y a@b.example", "a@b.example", true },
        { "*@b.example", "any.one@b.example", true },
        { "*@b.example", "a@sub.b.example", false },
        { "*@b.example", "a@evil.example", false },
        { "*@*.b.example", "a@sub.b.example", true },
        { "a*@b.example", "alice@b.example", true },
        { "a*@b.example", "alice@x@b.example", true }, /* the last at sign counts */
        { "a*", "a@b.example", false },
        { "*", "a@b.example", true },
        { "a+*@b.example", "a+x@b.example", true },
        { "a+*@b.example", "a@b.example", false },
        { "*a*a*a*b@c", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa@c", false },
        { "", "a@b.example", false },
        { ", ,", "a@b.example", false },
        { "*@b.example", "", false },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool allowed = from_is_allowed(str(rows[i].patterns), str(rows[i].address));
        if (allowed != rows[i].allowed)
            fprintf(stderr, "  %s %s\n", rows[i].patterns, rows[i].address);
        CU_ASSERT_EQUAL(allowed, rows[i].allowed);
    }
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("from", NULL, NULL);
    CU_add_test(suite, "fields", test_fields);
    CU_add_test(suite, "bounds", test_bounds);
    CU_add_test(suite, "patterns", test_patterns);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
