/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_dmarc_report.c - aggregate reports of DMARC: what is read, what is refused and why, each bound at it and one
 * above, and that what is written is read back as it was. That it validates is tests/interop/test_dmarc_report.py.
 */
#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lib/dmarc_report.h>

#include "base/buf.h"

#define META   "<report_metadata><org_name>o</org_name><email>e@o.example</email><report_id>1</report_id>" \
               "<date_range><begin>10</begin><end>20</end></date_range></report_metadata>"
#define POLICY "<policy_published><domain>Example.ORG</domain><p>none</p></policy_published>"
#define ROW_OF(ip, count, disposition, dkim, spf)                                                                    \
    "<record><row><source_ip>" ip "</source_ip><count>" count "</count><policy_evaluated><disposition>" disposition  \
    "</disposition><dkim>" dkim "</dkim><spf>" spf "</spf></policy_evaluated></row>"                                 \
    "<identifiers><header_from>example.org</header_from></identifiers><auth_results/></record>"
#define ROW      ROW_OF("192.0.2.1", "3", "none", "pass", "fail")
#define FEEDBACK "<feedback>" META POLICY ROW "</feedback>"

static const struct {
    const char *name, *text;
    const char *wrong; /* NULL: it is read */
} cases[] = {
    { "the least that is a report", FEEDBACK, NULL },
    { "with a mark of UTF-8 and blanks in front", "\xef\xbb\xbf \r\n<?xml version='1.0'?>" FEEDBACK, NULL },
    { "words in any case", "<feedback>" META POLICY ROW_OF("::1", "0", "Reject", "Pass", "FAIL") "</feedback>",
      NULL },
    { "extensions are passed over, whatever is in them",
      "<feedback xmlns:x='urn:x'>" META POLICY "<extension><x:a><record>x</record></x:a></extension>" ROW
      "<x:b/></feedback>",
      NULL },
    { "what stands behind the report is not looked at", FEEDBACK "<<<", NULL },
    { "within a schema that is not closed", "<xs:schema xmlns:xs=\"http://www.w3.org/2001/XMLSchema\">" FEEDBACK,
      NULL },
    { "the old namespace",
      "<d:feedback xmlns:d='http://dmarc.org/dmarc-xml/0.1'>"
      "<report_metadata><date_range><begin>1</begin><end>2</end></date_range></report_metadata>" POLICY ROW
      "</d:feedback>",
      NULL },
    { "nothing", "", "no good XML" },
    { "JSON", "{\"a\":1}", "it is JSON" },
    { "another document", "<html/>", "not <feedback>" },
    { "a namespace of somebody else", "<feedback xmlns='urn:x'>" META POLICY ROW "</feedback>", "not <feedback>" },
    { "it breaks off", "<feedback>" META POLICY ROW, "no good XML" },
    { "tags that cross", "<feedback>" META POLICY "<record></row></feedback>", "mismatched tag" },
    { "an unknown charset", "<?xml version='1.0' encoding='x-none'?>" FEEDBACK, "unknown encoding" },
    { "octets that are no UTF-8", "<feedback>\xff</feedback>", "not well-formed" },
    { "a DOCTYPE without anything", "<!DOCTYPE feedback>" FEEDBACK, "DOCTYPE" },
    { "an external entity", "<!DOCTYPE f [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><feedback>&x;</feedback>",
      "DOCTYPE" },
    { "an external DTD", "<!DOCTYPE f SYSTEM 'http://192.0.2.1/x.dtd'>" FEEDBACK, "DOCTYPE" },
    { "a parameter entity", "<!DOCTYPE f [<!ENTITY % p SYSTEM 'file:///dev/zero'> %p;]>" FEEDBACK, "DOCTYPE" },
    { "a billion laughs",
      "<!DOCTYPE f [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'><!ENTITY c "
      "'&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'>"
      "<!ENTITY d '&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;'>]><feedback>&d;&d;&d;</feedback>",
      "DOCTYPE" },
    { "an entity that nobody declared", "<feedback>&x;</feedback>", "undefined entity" },
    { "no records", "<feedback>" META POLICY "</feedback>", "no <record>" },
    { "no policy", "<feedback>" META ROW "</feedback>", "no <policy_published>" },
    { "a policy without domain",
      "<feedback>" META "<policy_published><p>none</p></policy_published>" ROW "</feedback>", "names no <domain>" },
    { "no range", "<feedback>" POLICY ROW "</feedback>", "no <date_range>" },
    { "a range of words",
      "<feedback><report_metadata><date_range><begin>x</begin><end>1</end></date_range></report_metadata>" POLICY ROW
      "</feedback>",
      "in seconds" },
    { "no address", "<feedback>" META POLICY ROW_OF("here", "1", "none", "pass", "pass") "</feedback>",
      "no address" },
    { "a count below nothing", "<feedback>" META POLICY ROW_OF("::1", "-1", "none", "pass", "pass") "</feedback>",
      "no number" },
    { "a count beyond 32 bits",
      "<feedback>" META POLICY ROW_OF("::1", "4294967296", "none", "pass", "pass") "</feedback>", "no number" },
    { "a disposition of its own", "<feedback>" META POLICY ROW_OF("::1", "1", "bounce", "pass", "pass") "</feedback>",
      "<disposition>" },
    { "an alignment of its own",
      "<feedback>" META POLICY ROW_OF("::1", "1", "none", "softfail", "pass") "</feedback>",
      "neither pass nor fail" },
    { "gzip that is none", "\x1f\x8bxxxxxxxxxxxxxxxxx", "gzip data is damaged" },
    { "gzip that breaks off", "\x1f\x8b\x08", "breaks off" },
    { "zip that is none", "PK\3\4xxxx", "no zip" },
};

static int read_text(struct slice text, const struct dmarc_report_limits *limits, struct dmarc_report **ret,
                     char *error)
{
    return dmarc_report_read((tern_str){ text.ptr, text.len }, limits, ret, error);
}

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char error[DMARC_REPORT_ERROR_OCTETS];
        struct dmarc_report *report = NULL;
        int r = read_text(slice_cstr(cases[i].text), NULL, &report, error);
        bool good = cases[i].wrong == NULL ? r == 0 : r == -EBADMSG && strstr(error, cases[i].wrong) != NULL;

        if (!good)
            fprintf(stderr, "  case \"%s\": %d \"%s\"\n", cases[i].name, r, error);
        CU_ASSERT_TRUE(good);
        if (r == 0) {
            CU_ASSERT_EQUAL(report->row_count, 1);
            CU_ASSERT_STRING_EQUAL(report->domain.ptr, "example.org");
        } else {
            CU_ASSERT_PTR_NULL(report);
        }
        dmarc_report_free(report);
    }
}

/* ---- bounds ---- */

static bool is_read(struct slice text, const struct dmarc_report_limits *limits, const char *wrong)
{
    char error[DMARC_REPORT_ERROR_OCTETS];
    struct dmarc_report *report = NULL;
    int r = read_text(text, limits, &report, error);
    bool as_wanted = wrong == NULL ? r == 0 : r < 0 && strstr(error, wrong) != NULL;

    if (!as_wanted)
        fprintf(stderr, "  got %d \"%s\", want %s\n", r, error, wrong != NULL ? wrong : "a report");
    dmarc_report_free(report);
    return as_wanted;
}

static void test_bound_of_octets(void)
{
    struct slice text = SLICE(FEEDBACK);

    CU_ASSERT_TRUE(is_read(text, &(struct dmarc_report_limits){ .octets = text.len }, NULL));
    CU_ASSERT_TRUE(is_read(text, &(struct dmarc_report_limits){ .octets = text.len - 1 }, "more than"));
    CU_ASSERT_TRUE(is_read(text, &(struct dmarc_report_limits){ .xml_octets = text.len }, NULL));
    CU_ASSERT_TRUE(is_read(text, &(struct dmarc_report_limits){ .xml_octets = text.len - 1 }, "expands to more"));
}

/* 40 MB of blanks are 40 KB of gzip: they are counted as they come out. */
static void test_bomb(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    char *packed = NULL;
    size_t octets = 0;

    buf_add_cstr(&text, "<feedback>");
    for (unsigned i = 0; i < 40 * 1024; i++)
        buf_printf(&text, "%1024s", "");
    buf_add_cstr(&text, META POLICY ROW "</feedback>");
    CU_ASSERT_TRUE_FATAL(dmarc_report_gzip(text.data, text.len, &packed, &octets));
    CU_ASSERT_TRUE(octets < 100000);
    CU_ASSERT_TRUE(
        is_read(slice_make(packed, octets), &(struct dmarc_report_limits){ .xml_octets = text.len }, NULL));
    CU_ASSERT_TRUE(is_read(slice_make(packed, octets), &(struct dmarc_report_limits){ .xml_octets = text.len - 1 },
                           "expands to more"));
    CU_ASSERT_TRUE(is_read(slice_make(packed, octets - 20), NULL, "breaks off"));
    packed[octets / 2] ^= 0x55;
    CU_ASSERT_TRUE(is_read(slice_make(packed, octets), NULL, "damaged"));
    free(packed);
}

static void put_long(struct buf *out, const char *before, unsigned octets, const char *behind)
{
    buf_clear(out);
    buf_add_cstr(out, before);
    memset(buf_reserve(out, octets), 'x', octets);
    out->len += octets;
    buf_add_cstr(out, behind);
}

/* What is not at its end is read anew with each block: one tag of 64 MB took minutes, packed into 60 KB. */
static void test_bound_of_tags(void)
{
    static const struct {
        const char *before, *behind;
    } rows[] = {
        { "<feedback a=\"", "\">" META POLICY ROW "</feedback>" },
        { "<feedback><!--", "-->" META POLICY ROW "</feedback>" },
        { "<!--", "--><feedback>" META POLICY ROW "</feedback>" },
        { "<feedback><", "/>" META POLICY ROW "</feedback>" },
        { "<?x ", "?><feedback>" META POLICY ROW "</feedback>" },
    };
    CLEANUP_BUF struct buf text = BUF_INIT;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        put_long(&text, rows[i].before, DMARC_REPORT_TOKEN_OCTETS_MAX - 64, rows[i].behind);
        CU_ASSERT_TRUE(is_read(buf_slice(&text), NULL, NULL));
        put_long(&text, rows[i].before, DMARC_REPORT_TOKEN_OCTETS_MAX + 65536, rows[i].behind);
        CU_ASSERT_TRUE(is_read(buf_slice(&text), NULL, "a tag or a comment is longer than"));
    }
    /* Text is no tag: it may be long, and is cut. */
    put_long(&text, "<feedback><version>", 2 * DMARC_REPORT_TOKEN_OCTETS_MAX, "</version>" META POLICY ROW "</feedback>");
    CU_ASSERT_TRUE(is_read(buf_slice(&text), NULL, NULL));
}

static void test_bound_of_rows(void)
{
    CU_ASSERT_TRUE(is_read(SLICE("<feedback>" META POLICY ROW ROW "</feedback>"),
                           &(struct dmarc_report_limits){ .rows = 2 }, NULL));
    CU_ASSERT_TRUE(is_read(SLICE("<feedback>" META POLICY ROW ROW ROW "</feedback>"),
                           &(struct dmarc_report_limits){ .rows = 2 }, "more than 2 records"));
}

static void nest(struct buf *out, unsigned depth)
{
    buf_clear(out);
    buf_add_cstr(out, "<feedback>");
    for (unsigned i = 1; i < depth; i++)
        buf_add_cstr(out, "<x>");
    for (unsigned i = 1; i < depth; i++)
        buf_add_cstr(out, "</x>");
    buf_add_cstr(out, META POLICY ROW "</feedback>");
}

static void test_bound_of_depth(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    nest(&text, DMARC_REPORT_DEPTH_MAX);
    CU_ASSERT_TRUE(is_read(buf_slice(&text), NULL, NULL));
    nest(&text, DMARC_REPORT_DEPTH_MAX + 1);
    CU_ASSERT_TRUE(is_read(buf_slice(&text), NULL, "nested deeper"));
}

/* A text for people is cut, an address is not. */
static void test_bound_of_texts(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct dmarc_report *report = NULL;
    char error[DMARC_REPORT_ERROR_OCTETS];
    char name[DMARC_REPORT_TEXT_OCTETS_MAX + 2];

    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    for (unsigned more = 0; more < 2; more++) {
        buf_clear(&text);
        buf_printf(
            &text,
            "<feedback><report_metadata><org_name>%s</org_name><date_range><begin>1</begin><end>2</end></date_range>"
            "</report_metadata>" POLICY ROW "</feedback>",
            name + 1 - more);
        CU_ASSERT_EQUAL_FATAL(read_text(buf_slice(&text), NULL, &report, error), 0);
        CU_ASSERT_EQUAL(report->org_name.len, DMARC_REPORT_TEXT_OCTETS_MAX);
        dmarc_report_free(report);
        buf_clear(&text);
        buf_printf(&text,
                   "<feedback>" META "<policy_published><domain>%s</domain></policy_published>" ROW "</feedback>",
                   name + 1 - more);
        CU_ASSERT_TRUE(is_read(buf_slice(&text), NULL, more == 0 ? NULL : "<domain> is longer"));
    }
}

static void test_bounds_of_a_row(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct dmarc_report *report = NULL;
    char error[DMARC_REPORT_ERROR_OCTETS];

    buf_add_cstr(&text,
                 "<feedback>" META POLICY "<record><row><source_ip>::1</source_ip><count>1</count><policy_evaluated>"
                 "<disposition>none</disposition><dkim>pass</dkim><spf>pass</spf>");
    for (unsigned i = 0; i < DMARC_REPORT_REASONS_MAX + 1; i++)
        buf_add_cstr(&text, "<reason><type>other</type></reason>");
    buf_add_cstr(&text,
                 "</policy_evaluated></row><identifiers><header_from>a.b</header_from></identifiers><auth_results>");
    for (unsigned i = 0; i < DMARC_REPORT_AUTHS_MAX + 1; i++)
        buf_printf(&text, "<dkim><domain>d%u</domain><result>pass</result></dkim>", i);
    buf_add_cstr(&text, "</auth_results></record></feedback>");
    CU_ASSERT_EQUAL_FATAL(read_text(buf_slice(&text), NULL, &report, error), 0);
    CU_ASSERT_EQUAL(report->rows[0].reason_count, DMARC_REPORT_REASONS_MAX);
    CU_ASSERT_EQUAL(report->rows[0].dkim_count, DMARC_REPORT_AUTHS_MAX);
    CU_ASSERT_STRING_EQUAL(report->rows[0].dkims[99].domain.ptr, "d99");
    dmarc_report_free(report);
}

/* Expat keeps a name of each of them for as long as it lives: 62 MB of them were 800 MB of memory, and 18 s. */
static void put_names(struct buf *out, const char *format, unsigned count)
{
    buf_clear(out);
    buf_add_cstr(out, "<feedback>" META POLICY ROW);
    for (unsigned i = 0; i < count; i++)
        buf_printf(out, format, i);
    buf_add_cstr(out, "</feedback>");
}

static const char *const names[] = {
    "<x%u/>",
    "<x a%u=''/>",
    "<x xmlns:n%u='urn:x'/>",
    "<x><n%u/></x>",
};

static void test_bound_of_names(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        put_names(&text, names[i], 5000);
        CU_ASSERT_TRUE(is_read(buf_slice(&text), NULL, NULL));
        put_names(&text, names[i], 200000);
        CU_ASSERT_TRUE(is_read(buf_slice(&text), NULL, "line 1: its XML takes more than 8388608 octets of memory"));
    }
    buf_clear(&text); /* within one tag, which some versions of expat keep until it has come whole */
    buf_add_cstr(&text, "<feedback");
    for (unsigned i = 0; i < 500000; i++)
        buf_printf(&text, " a%u=''", i);
    buf_add_cstr(&text, ">" META POLICY ROW "</feedback>");
    CU_ASSERT_TRUE(is_read(buf_slice(&text), NULL, "line 1: "));
}

/* How much that is, differs by version: the least with which it is read, and one octet less. */
static void test_bound_of_the_parser(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    uint64_t low = 0, high = DMARC_REPORT_PARSER_OCTETS_MAX;
    struct dmarc_report *report = NULL;
    char error[DMARC_REPORT_ERROR_OCTETS];

    put_names(&text, "<x%u/>", 3000);
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        int r = read_text(buf_slice(&text), &(struct dmarc_report_limits){ .parser_octets = middle }, &report, error);
        *(r == 0 ? &high : &low) = middle;
        if (r == 0)
            dmarc_report_free(report);
    }
    CU_ASSERT_TRUE(low > 3000 * sizeof("<x1000/>") && high < DMARC_REPORT_PARSER_OCTETS_MAX / 4);
    CU_ASSERT_TRUE(is_read(buf_slice(&text), &(struct dmarc_report_limits){ .parser_octets = high }, NULL));
    CU_ASSERT_TRUE(is_read(buf_slice(&text), &(struct dmarc_report_limits){ .parser_octets = low }, "of memory"));
    CU_ASSERT_TRUE(is_read(buf_slice(&text), &(struct dmarc_report_limits){ .parser_octets = 1 }, "no memory"));
}

/* Seven octets of <dkim/> are 80 of memory: 64 MB of XML were 700 MB. */
static void test_bound_of_what_is_held(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct dmarc_report *report = NULL;
    char error[DMARC_REPORT_ERROR_OCTETS];

    buf_add_cstr(&text, "<feedback>" META POLICY);
    for (unsigned i = 0; i < 100; i++) {
        buf_add_cstr(&text, "<record><row><source_ip>::1</source_ip><count>1</count><policy_evaluated><disposition>none"
                            "</disposition><dkim>pass</dkim><spf>pass</spf></policy_evaluated></row><identifiers>"
                            "<header_from>a.b</header_from></identifiers><auth_results>");
        for (unsigned k = 0; k < DMARC_REPORT_AUTHS_MAX; k++)
            buf_add_cstr(&text, "<dkim/><spf/>");
        buf_add_cstr(&text, "</auth_results></record>");
    }
    buf_add_cstr(&text, "</feedback>");
    CU_ASSERT_EQUAL_FATAL(read_text(buf_slice(&text), NULL, &report, error), 0);
    uint64_t held = report->held_octets;
    dmarc_report_free(report);
    CU_ASSERT_TRUE(held > 100ull * 2 * DMARC_REPORT_AUTHS_MAX * sizeof(struct dmarc_report_auth));
    CU_ASSERT_TRUE(is_read(buf_slice(&text), &(struct dmarc_report_limits){ .held_octets = held }, NULL));
    CU_ASSERT_TRUE(is_read(buf_slice(&text), &(struct dmarc_report_limits){ .held_octets = held - 1 },
                           "line 1: what it says takes more than"));
}

/* ---- writing ---- */

static tern_str str(const char *text)
{
    return (tern_str){ text, strlen(text) };
}

static void same(tern_str a, tern_str b)
{
    CU_ASSERT_EQUAL_FATAL(a.len, b.len);
    CU_ASSERT_TRUE(a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static struct dmarc_report *reread(const struct dmarc_report *report)
{
    char error[DMARC_REPORT_ERROR_OCTETS] = "", *xml = NULL, *packed = NULL;
    size_t octets = 0, packed_octets = 0;
    struct dmarc_report *again = NULL;

    CU_ASSERT_TRUE_FATAL(dmarc_report_xml(report, &xml, &octets));
    CU_ASSERT_TRUE_FATAL(dmarc_report_gzip(xml, octets, &packed, &packed_octets));
    if (dmarc_report_read((tern_str){ packed, packed_octets }, NULL, &again, error) < 0)
        fprintf(stderr, "  %s\n%s\n", error, xml);
    CU_ASSERT_PTR_NOT_NULL_FATAL(again);
    free(packed);
    free(xml);
    return again;
}

static void test_written_and_read(void)
{
    struct dmarc_report_auth dkim = { str("example.org"), str("s1"), str(""), str("pass"), str("1024 bits") };
    struct dmarc_report_auth spf = { str("bounce.example.org"), str(""), str("mfrom"), str("softfail"), str("") };
    struct dmarc_report_reason reason = { str("mailing_list"), str("<list> & \"more\"") };
    struct dmarc_report_row row = { .source_ip = str("2001:db8::1"),
                                    .count = 7,
                                    .disposition = str("quarantine"),
                                    .dkim = str("fail"),
                                    .spf = str("pass"),
                                    .header_from = str("example.org"),
                                    .envelope_from = str("bounce.example.org"),
                                    .envelope_to = str("here.example"),
                                    .reasons = &reason,
                                    .dkims = &dkim,
                                    .spfs = &spf,
                                    .reason_count = 1,
                                    .dkim_count = 1,
                                    .spf_count = 1 };
    struct dmarc_report report = { .org_name = str("We & Co"),
                                   .email = str("dmarc@here.example"),
                                   .id = str("a.b@c"),
                                   .begin_s = 86400,
                                   .end_s = 172799,
                                   .domain = str("example.org"),
                                   .p = str("reject"),
                                   .sp = str("none"),
                                   .np = str("reject"),
                                   .adkim = str("s"),
                                   .aspf = str("r"),
                                   .fo = str("1:d"),
                                   .testing = str("y"),
                                   .discovery = str("treewalk"),
                                   .generator = str("Tern 1"),
                                   .rows = &row,
                                   .row_count = 1 };
    struct dmarc_report *again = reread(&report);

    CU_ASSERT_TRUE(again->is_9990);
    same(again->org_name, report.org_name);
    same(again->id, report.id);
    same(again->fo, report.fo);
    same(again->testing, report.testing);
    same(again->discovery, report.discovery);
    CU_ASSERT_EQUAL(again->end_s, 172799);
    CU_ASSERT_EQUAL(again->rows[0].count, 7);
    same(again->rows[0].disposition, row.disposition);
    same(again->rows[0].reasons[0].comment, reason.comment);
    same(again->rows[0].dkims[0].selector, dkim.selector);
    same(again->rows[0].dkims[0].human, dkim.human);
    same(again->rows[0].spfs[0].scope, spf.scope);
    same(again->rows[0].spfs[0].result, spf.result);
    same(again->rows[0].envelope_to, row.envelope_to);
    dmarc_report_free(again);
}

/* Whatever senders put into domains and comments, the report can be read; words that nobody knows do not leave. */
static void test_hostile_strings(void)
{
    struct dmarc_report_auth dkim = {
        { "a\0b\x01\xff<c>]]>", 11 }, str("\xed\xa0\x80"), str(""), str("sure"), str("\xef\xbf\xbf")
    };
    struct dmarc_report_auth spf = { str("x"), str(""), str("helo"), str("hardfail"),
                                     str("\xf4\x90\x80\x80\xc0\x80") };
    struct dmarc_report_row row = { .source_ip = str("192.0.2.1"),
                                    .count = 1,
                                    .disposition = str("eaten"),
                                    .dkim = str("?"),
                                    .spf = str(""),
                                    .header_from = str("&amp;\x7f\xc3"),
                                    .dkims = &dkim,
                                    .spfs = &spf,
                                    .dkim_count = 1,
                                    .spf_count = 1 };
    struct dmarc_report report = { .org_name = str("\x1b[2J"),
                                   .begin_s = 1,
                                   .end_s = 2,
                                   .domain = str("d.example"),
                                   .p = str("monitor"),
                                   .adkim = str("x"),
                                   .rows = &row,
                                   .row_count = 1 };
    struct dmarc_report *again = reread(&report);

    same(again->p, str("none"));
    same(again->adkim, str(""));
    same(again->rows[0].disposition, str("none"));
    same(again->rows[0].dkim, str("fail"));
    same(again->rows[0].dkims[0].domain, str("a\xef\xbf\xbd" "b\xef\xbf\xbd\xef\xbf\xbd<c>]]>"));
    same(again->rows[0].dkims[0].result, str("permerror"));
    same(again->rows[0].spfs[0].scope, str(""));
    same(again->rows[0].header_from, str("&amp;\x7f\xef\xbf\xbd"));
    dmarc_report_free(again);
    report.row_count = 0;
    CU_ASSERT_FALSE(dmarc_report_xml(&report, NULL, NULL));
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("dmarc_report", NULL, NULL);

    CU_add_test(s, "what is read and what is refused", test_cases);
    CU_add_test(s, "bound of octets", test_bound_of_octets);
    CU_add_test(s, "a bomb", test_bomb);
    CU_add_test(s, "the bound of tags", test_bound_of_tags);
    CU_add_test(s, "bound of rows", test_bound_of_rows);
    CU_add_test(s, "bound of depth", test_bound_of_depth);
    CU_add_test(s, "bound of texts", test_bound_of_texts);
    CU_add_test(s, "bounds of a row", test_bounds_of_a_row);
    CU_add_test(s, "the bound of names", test_bound_of_names);
    CU_add_test(s, "the bound of the parser's memory", test_bound_of_the_parser);
    CU_add_test(s, "the bound of what is held", test_bound_of_what_is_held);
    CU_add_test(s, "written and read", test_written_and_read);
    CU_add_test(s, "hostile strings", test_hostile_strings);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed > 0;
}
