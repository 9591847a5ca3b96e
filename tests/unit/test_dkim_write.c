/* SPDX-License-Identifier: Apache-2.0 */
/* test_dkim_write.c - a signature field as it grows: folding, the names that are signed, at the bounds and above. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#include <lib/dkim_write.h>

#define ROOM       32768
#define FIELDS_MAX 1000

static char out[ROOM], header[65536];
static struct dkim_field fields[FIELDS_MAX];

static size_t longest_line(const char *text)
{
    size_t longest = 0;

    for (const char *at = text; at != NULL; at = strstr(at, "\r\n"), at = at != NULL ? at + 2 : NULL) {
        const char *end = strstr(at, "\r\n");
        size_t len = end != NULL ? (size_t)(end - at) : strlen(at);
        longest = len > longest ? len : longest;
    }
    return longest;
}

static void test_folding(void)
{
    struct dkim_write w;
    char text[401];

    memset(text, 'x', 400);
    text[400] = '\0';
    dkim_write_init(&w, out, ROOM, DKIM_WRITE_LINE_OCTETS);
    dkim_write(&w, "ARC-Seal: a=b;", 14);
    for (unsigned i = 0; i < 20; i++)
        dkim_write_tag(&w, "t%u=value;", i);
    dkim_write_tag(&w, "b=");
    dkim_write_base64(&w, text);
    CU_ASSERT_TRUE(longest_line(out) <= DKIM_WRITE_LINE_OCTETS);
    CU_ASSERT_PTR_NULL(strstr(out, " \r\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out, "\r\n    t"));
    dkim_write_init(&w, out, ROOM, SIZE_MAX);
    dkim_write_tag(&w, "b=");
    dkim_write_base64(&w, text);
    CU_ASSERT_FALSE(dkim_write_fold(&w));
    CU_ASSERT_EQUAL(w.len, 403);
    CU_ASSERT_PTR_NULL(strchr(out, '\n'));
}

static void test_room(void)
{
    struct dkim_write w;

    dkim_write_init(&w, out, 8, SIZE_MAX);
    dkim_write(&w, "1234567", 7); /* and its NUL */
    CU_ASSERT_STRING_EQUAL(out, "1234567");
    dkim_write(&w, "8", 1);
    CU_ASSERT_STRING_EQUAL(out, "1234567");
    dkim_write_init(&w, out, ROOM, SIZE_MAX);
    dkim_write_tag(&w, "%1023s", "x");
    CU_ASSERT_EQUAL(w.len, 1024);
    dkim_write_tag(&w, "%1024s", "x"); /* longer than any tag is */
    CU_ASSERT_EQUAL(w.len, 1024);
}

static unsigned count_of(const char *name)
{
    unsigned n = 0;
    size_t len = strlen(name);

    for (const char *at = out; (at = strstr(at, name)) != NULL; at += len)
        n++;
    return n;
}

static void names_of(unsigned copies, unsigned folded_at)
{
    static const tern_str headers[] = { TERN_STR("From"), TERN_STR("X-Many"), TERN_STR("from") };
    static const tern_str oversign[] = { TERN_STR("from"), TERN_STR("X-None") };
    struct dkim_names names = { { headers, 3 }, { oversign, 2 } };
    struct dkim_write w;
    size_t at = (size_t)snprintf(header, sizeof(header), "From: a@b.example\r\n");

    for (unsigned i = 0; i < copies; i++)
        at += (size_t)snprintf(header + at, sizeof(header) - at, "x-many: %u\r\n", i);
    int count = dkim_fields_cut(dkim_str(header, at), fields, FIELDS_MAX);
    CU_ASSERT_EQUAL_FATAL(count, (int)copies + 1);
    CU_ASSERT_TRUE_FATAL(dkim_names_room(&names) < ROOM);
    dkim_write_init(&w, out, dkim_names_room(&names), folded_at != 0 ? folded_at : SIZE_MAX);
    dkim_write_names(&w, &names, fields, (size_t)count);
}

static void test_names(void)
{
    names_of(3, 0);
    CU_ASSERT_STRING_EQUAL(out, "From:From:X-Many:X-Many:X-Many:X-None");
    names_of(DKIM_WRITE_NAMES_MAX - 3, 0); /* as many as there may be */
    CU_ASSERT_TRUE(count_of("X-Many") == DKIM_WRITE_NAMES_MAX - 3 && count_of("X-None") == 1);
    names_of(DKIM_WRITE_NAMES_MAX - 2, 0);
    CU_ASSERT_TRUE(count_of("X-Many") == DKIM_WRITE_NAMES_MAX - 2 && count_of("X-None") == 0);
    names_of(FIELDS_MAX - 1, DKIM_WRITE_LINE_OCTETS);
    CU_ASSERT_TRUE(count_of("X-Many") == DKIM_WRITE_NAMES_MAX - 2 && count_of("From") == 2);
    names_of(FIELDS_MAX - 1, 1); /* each on a line of its own: there is room for that */
    CU_ASSERT_TRUE(count_of("X-Many") == DKIM_WRITE_NAMES_MAX - 2 && count_of("From") == 2);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("dkim_write", NULL, NULL);
    CU_add_test(suite, "folding", test_folding);
    CU_add_test(suite, "room", test_room);
    CU_add_test(suite, "names", test_names);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
