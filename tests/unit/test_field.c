/* SPDX-License-Identifier: Apache-2.0 */
/* test_field.c - a header field by its name. fuzz_field holds it against the way in which DKIM cuts a header. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lib/dkim.h>
#include <lib/field.h>

static tern_str str(const char *s)
{
    return (tern_str){ s, strlen(s) };
}

static void test_fields(void)
{
    static const struct {
        const char *what, *header;
        int count;
        const char *first;
    } rows[] = {
        { "alone", "From: a\r\n", 1, "From: a\r\n" },
        { "in the midst", "To: x\r\nfrom: a\r\nCc: y\r\n", 1, "from: a\r\n" },
        { "folded", "From: a,\r\n b\r\n\tc\r\nTo: x\r\n", 1, "From: a,\r\n b\r\n\tc\r\n" },
        { "without a line end", "To: x\r\nFROM:a", 1, "FROM:a" },
        { "blanks before the colon", "From \t : a\r\n", 1, "From \t : a\r\n" },
        { "two", "From: a\r\nFrom: b\r\n", 2, "From: a\r\n" },
        { "three are two", "From: a\r\nFrom: b\r\nFrom: c\r\n", 2, "From: a\r\n" },
        { "none", "To: x\r\n", 0, NULL },
        { "empty", "", 0, NULL },
        { "a name that begins alike", "From-x: a\r\nFromage: b\r\nFro: c\r\n", 0, NULL },
        { "in what is folded", "To: x\r\n From: a\r\n", 0, NULL },
        { "a lone LF ends no line", "To: x\nFrom: a\r\n", 0, NULL },
        { "a lone CR ends none", "To: x\rFrom: a\r\n", 0, NULL },
        { "a fold before the colon", "From\r\n : a\r\n", 0, NULL },
        { "no colon", "From\r\n", 0, NULL },
        { "behind an empty line", "\r\nFrom: a\r\n", 1, "From: a\r\n" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        tern_str got = { NULL, 0 };
        int count = field_only(str(rows[i].header), "from", &got);
        bool good = count == rows[i].count &&
                    (count == 0 || (got.len == strlen(rows[i].first) && memcmp(got.ptr, rows[i].first, got.len) == 0));
        if (!good)
            fprintf(stderr, "  \"%s\": %d %.*s\n", rows[i].what, count, (int)got.len, got.len > 0 ? got.ptr : "");
        CU_ASSERT_TRUE(good);
    }
}

/* As many as there may be, and one more; lines that are none do not count. */
static void test_bound(void)
{
    char *header = malloc((DKIM_FIELDS_MAX + 2) * 4 + 8);
    struct dkim_field *fields = malloc(DKIM_FIELDS_MAX * sizeof(*fields));

    for (unsigned more = 0; more < 2; more++)
        for (unsigned junk = 0; junk < 2; junk++) {
            size_t len = 0;
            for (unsigned i = 0; i < DKIM_FIELDS_MAX + more; i++, len += 4)
                memcpy(header + len, "f:\r\n", 4);
            memcpy(header + len, "x\r\nx", 4 * junk);
            tern_str got, all = { header, len + 4 * junk };
            CU_ASSERT_EQUAL(field_only(all, "f", &got), more ? -E2BIG : 2);
            CU_ASSERT_EQUAL(dkim_fields_cut(all, fields, DKIM_FIELDS_MAX), more ? -E2BIG : DKIM_FIELDS_MAX);
        }
    free(fields);
    free(header);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("field", NULL, NULL);
    CU_add_test(s, "fields", test_fields);
    CU_add_test(s, "bound", test_bound);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
