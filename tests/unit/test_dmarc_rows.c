/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_dmarc_rows.c - lines that the step dmarc writes for aggregate reports, names of their files, and rua=.
 */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include <lib/dmarc_rows.h>
#include <lib/dmarc_rua.h>

static tern_str str(const char *text)
{
    return (tern_str){ text, strlen(text) };
}

static void same(tern_str a, const char *b)
{
    bool equal = a.len == strlen(b) && (a.len == 0 || memcmp(a.ptr, b, a.len) == 0);

    if (!equal)
        fprintf(stderr, "  got \"%.*s\", want \"%s\"\n", (int)a.len, a.ptr, b);
    CU_ASSERT_TRUE(equal);
}

static struct dmarc_report_auth dkims[DMARC_ROW_DKIMS_MAX + 1];
static struct dmarc_report_auth spf;
static struct dmarc_report_reason reason;

static struct dmarc_report_row make_row(void)
{
    spf = (struct dmarc_report_auth){ str("b.example"), str(""), str("mfrom"), str("pass"), str("") };
    reason = (struct dmarc_report_reason){ str("mailing_list"), str("lists: a b\t100%\n") };
    for (unsigned i = 0; i <= DMARC_ROW_DKIMS_MAX; i++)
        dkims[i] = (struct dmarc_report_auth){ str("d.example"), str("-"), str(""), str("fail"), str("") };
    return (struct dmarc_report_row){ .source_ip = str("192.0.2.1"),
                                      .disposition = str("none"),
                                      .dkim = str("fail"),
                                      .spf = str("pass"),
                                      .header_from = str("a.example"),
                                      .envelope_from = str("\xc3\xa4 x"),
                                      .reasons = &reason,
                                      .reason_count = 1,
                                      .spfs = &spf,
                                      .spf_count = 1,
                                      .dkims = dkims,
                                      .dkim_count = 2 };
}

static const struct dmarc_report policy = {
    .domain = { "example.org", 11 }, .p = { "reject", 6 }, .adkim = { "s", 1 }, .fo = { "1:d", 3 }
};

static void test_there_and_back(void)
{
    struct dmarc_report_row row = make_row(), again;
    struct dmarc_report *report = dmarc_report_new();
    struct dmarc_row_line line;
    char out[DMARC_ROW_OCTETS_MAX];
    size_t n = dmarc_row_print(&policy, &row, out);

    CU_ASSERT_TRUE_FATAL(n > 0 && out[n - 1] == '\n');
    CU_ASSERT_TRUE_FATAL(memchr(out, '\n', n) == out + n - 1);
    CU_ASSERT_TRUE_FATAL(dmarc_row_split((tern_str){ out, n - 1 }, &line));
    same(line.domain, "example.org");
    CU_ASSERT_TRUE_FATAL(dmarc_row_policy(line.policy, report));
    same(report->p, "reject");
    same(report->sp, "");
    same(report->adkim, "s");
    same(report->fo, "1:d");
    CU_ASSERT_TRUE_FATAL(dmarc_row_what(line.what, report, &again));
    same(again.source_ip, "192.0.2.1");
    same(again.envelope_from, "\xc3\xa4 x");
    same(again.reasons[0].comment, "lists: a b\t100%\n");
    CU_ASSERT_EQUAL(again.dkim_count, 2);
    same(again.dkims[1].selector, ""); /* a lone "-" is nothing */
    same(again.spfs[0].scope, "mfrom");
    CU_ASSERT_EQUAL(again.count, 1);
    dmarc_report_free(report);
}

/* Signatures that do not fit are left out, and a ninth. */
static void test_bounds(void)
{
    struct dmarc_report_row row = make_row(), again;
    struct dmarc_report *report = dmarc_report_new();
    struct dmarc_row_line line;
    char out[DMARC_ROW_OCTETS_MAX], odd[DMARC_ROW_WORD_MAX + 2];

    memset(odd, ' ', sizeof(odd));
    row.dkim_count = DMARC_ROW_DKIMS_MAX + 1;
    size_t n = dmarc_row_print(&policy, &row, out);
    CU_ASSERT_TRUE_FATAL(dmarc_row_split((tern_str){ out, n - 1 }, &line) &&
                         dmarc_row_what(line.what, report, &again));
    CU_ASSERT_EQUAL(again.dkim_count, DMARC_ROW_DKIMS_MAX);
    for (unsigned more = 0; more < 2; more++) {
        for (unsigned i = 0; i < DMARC_ROW_DKIMS_MAX; i++)
            dkims[i].domain = (tern_str){ odd, DMARC_ROW_WORD_MAX + more };
        n = dmarc_row_print(&policy, &row, out);
        CU_ASSERT_TRUE_FATAL(n > 0 && n <= sizeof(out) && dmarc_row_split((tern_str){ out, n - 1 }, &line));
        CU_ASSERT_TRUE_FATAL(dmarc_row_what(line.what, report, &again));
        CU_ASSERT_TRUE(again.dkim_count >= 4 && again.dkim_count < DMARC_ROW_DKIMS_MAX);
        CU_ASSERT_EQUAL(again.dkims[0].domain.len, DMARC_ROW_WORD_MAX);
    }
    row.header_from = str("");
    CU_ASSERT_EQUAL(dmarc_row_print(&policy, &row, out), 0);
    dmarc_report_free(report);
}

static const struct {
    const char *name, *line;
} broken[] = {
    { "nothing", "" },
    { "another version", "2\ta.example\t- - - - - - - -\tx" },
    { "a domain beyond ASCII", "1\ta.\xd7xample\t- - - - - - - -\t::1 none pass pass\t- -\ta - -\t- - - -" },
    { "torn in the domain", "1\ta.exam" },
    { "torn behind the policy", "1\ta.example\t- - - - - - - -" },
    { "torn in what happened", "1\ta.example\t- - - - - - - -\t192.0.2.1 none pa" },
    { "a word too few", "1\ta.example\t- - - - - - - -\t::1 none pass\t- -\ta - -\t- - - -" },
    { "a word too many", "1\ta.example\t- - - - - - - -\t::1 none pass pass x\t- -\ta - -\t- - - -" },
    { "half an escape", "1\ta.example\t- - - - - - - -\t::1 none pass pass\t- %4\ta - -\t- - - -" },
    { "no escape at all", "1\ta.example\t- - - - - - - -\t::1 none pass pass\t- %zz\ta - -\t- - - -" },
    { "an empty word", "1\ta.example\t- - - - - - - -\t::1 none  pass\t- -\ta - -\t- - - -" },
    { "nine signatures", "1\ta.example\t- - - - - - - -\t::1 none pass pass\t- -\ta - -\t- - - -\t- - - -\t- - - "
                         "-\t- - - -\t- - - -\t- - - -\t"
                         "- - - -\t- - - -\t- - - -\t- - - -" },
};

static void test_broken(void)
{
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct dmarc_report *report = dmarc_report_new();
        struct dmarc_report_row row;
        struct dmarc_row_line line;
        bool good = dmarc_row_split(str(broken[i].line), &line) && dmarc_row_policy(line.policy, report) &&
                    dmarc_row_what(line.what, report, &row);

        if (good)
            fprintf(stderr, "  case \"%s\" was taken\n", broken[i].name);
        CU_ASSERT_FALSE(good);
        dmarc_report_free(report);
    }
}

static void test_files(void)
{
    char name[DMARC_ROWS_FILE_OCTETS];

    dmarc_rows_file(20779, name);
    CU_ASSERT_STRING_EQUAL(name, "rows-2026-11-22");
    CU_ASSERT_EQUAL(dmarc_rows_day("rows-2026-11-22"), 20779);
    CU_ASSERT_EQUAL(dmarc_rows_day("rows-1970-01-01"), 0);
    CU_ASSERT_EQUAL(dmarc_rows_day("rows-2024-02-29"), 19782);
    const char *const wrong[] = { "rows-2026-02-29", "rows-2026-11-22x", "rows-26-11-22", "rows-", "sent",
                                  "rows-2026-13-01", "rows-1969-12-31" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        CU_ASSERT_EQUAL(dmarc_rows_day(wrong[i]), -1);
}

static const struct {
    const char *name, *rua;
    unsigned count;
    const char *address; /* the last */
    uint64_t octets_max;
} ruas[] = {
    { "one", "mailto:a@b.example", 1, "a@b.example", 0 },
    { "two, with blanks", " mailto:a@b.example , MAILTO:c@d.example", 2, "c@d.example", 0 },
    { "a size in octets", "mailto:a@b.example!100", 1, "a@b.example", 100 },
    { "kilo", "mailto:a@b.example!5K", 1, "a@b.example", 5120 },
    { "mega", "mailto:a@b.example!10m", 1, "a@b.example", 10485760 },
    { "giga", "mailto:a@b.example!1g", 1, "a@b.example", 1073741824 },
    { "tera", "mailto:a@b.example!1t", 1, "a@b.example", 1099511627776 },
    { "a size that is none", "mailto:a@b.example!x", 0, NULL, 0 },
    { "a size of nothing", "mailto:a@b.example!0", 0, NULL, 0 },
    { "no size behind the mark", "mailto:a@b.example!", 0, NULL, 0 },
    { "an escaped mark", "mailto:a%21b@c.example", 1, "a!b@c.example", 0 },
    { "header fields of mailto", "mailto:a@b.example?subject=x", 1, "a@b.example", 0 },
    { "an escaped line end", "mailto:a%0d%0aRCPT@b.example", 0, NULL, 0 },
    { "an escaped blank", "mailto:a%20b@c.example", 0, NULL, 0 },
    { "half an escape", "mailto:a%2@c.example", 0, NULL, 0 },
    { "another scheme beside it", "https://a.example/x,mailto:a@b.example", 1, "a@b.example", 0 },
    { "no at", "mailto:ab.example", 0, NULL, 0 },
    { "nothing", "", 0, NULL, 0 },
    { "ten",
      "mailto:a@b,mailto:a@b,mailto:a@b,mailto:a@b,mailto:a@b,mailto:a@b,mailto:a@b,mailto:a@b,mailto:a@b,mailto:z@b",
      10, "z@b", 0 },
    { "eleven",
      "mailto:a@b,mailto:a@b,mailto:a@b,mailto:a@b,mailto:a@b,mailto:a@b,mailto:a@b,mailto:a@b,mailto:a@b,mailto:z@b,"
      "mailto:y@b",
      10, "z@b", 0 },
};

static void test_ruas(void)
{
    for (size_t i = 0; i < sizeof(ruas) / sizeof(ruas[0]); i++) {
        struct dmarc_rua got[DMARC_RUA_MAX];
        unsigned n = dmarc_rua_parse(str(ruas[i].rua), got);
        bool good = n == ruas[i].count && (n == 0 || (strcmp(got[n - 1].address, ruas[i].address) == 0 &&
                                                      got[n - 1].octets_max == ruas[i].octets_max));

        if (!good)
            fprintf(stderr, "  case \"%s\": %u\n", ruas[i].name, n);
        CU_ASSERT_TRUE(good);
    }
}

static void test_records(void)
{
    CU_ASSERT_TRUE(dmarc_text_is_record(str("v=DMARC1")));
    CU_ASSERT_TRUE(dmarc_text_is_record(str("v = DMARC1 ; p=none")));
    CU_ASSERT_FALSE(dmarc_text_is_record(str("v=DMARC10; p=none")));
    CU_ASSERT_FALSE(dmarc_text_is_record(str("v=dmarc1; p=none")));
    CU_ASSERT_FALSE(dmarc_text_is_record(str("p=none; v=DMARC1")));
    CU_ASSERT_FALSE(dmarc_text_is_record(str("")));
    same(dmarc_text_tag(str("v=DMARC1; p=none;RUA = mailto:a@b ;"), "rua"), "mailto:a@b");
    same(dmarc_text_tag(str("v=DMARC1; ruax=1; ;;=; rua"), "rua"), "");
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("dmarc_rows", NULL, NULL);

    CU_add_test(s, "there and back", test_there_and_back);
    CU_add_test(s, "bounds", test_bounds);
    CU_add_test(s, "broken lines", test_broken);
    CU_add_test(s, "files", test_files);
    CU_add_test(s, "rua", test_ruas);
    CU_add_test(s, "records", test_records);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed > 0;
}
