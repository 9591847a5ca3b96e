/* SPDX-License-Identifier: Apache-2.0 */
/* test_dmarc.c - records, walks, policies and alignment of DMARC, by rows; the suites of others are in test_dmarc_suite.c. */
#include <CUnit/Basic.h>

#include "base/buf.h"
#include "dmarc_zone.h"

static struct dmarc_zone zone;
static struct dmarc_check check;

static void test_records(void)
{
    static const struct {
        const char *what, *text;
        enum dmarc_policy p, sp, np; /* of what is usable */
        const char *wrong;
    } rows[] = {
        { "the least", "v=DMARC1;p=reject", DMARC_REJECT, 0, 0, NULL },
        { "all three", "v=DMARC1; p=none; sp=quarantine; np=reject;", DMARC_NONE, DMARC_QUARANTINE, DMARC_REJECT, NULL },
        { "any case of names and values", "V = DMARC1 ;\tP=Reject; SP = NONE", DMARC_REJECT, DMARC_NONE, 0, NULL },
        { "p= need not be the second", "v=DMARC1; rua=mailto:a@b.example; p=reject", DMARC_REJECT, 0, 0, NULL },
        { "unknown tags", "v=DMARC1; x=1; p=reject; y; =; z=", DMARC_REJECT, 0, 0, NULL },
        { "tags that are gone", "v=DMARC1; p=reject; pct=0; rf=x; ri=", DMARC_REJECT, 0, 0, NULL },
        { "no p=", "v=DMARC1", DMARC_NONE, 0, 0, "it has no p=" },
        { "no p=, but reports", "v=DMARC1; rua=mailto:a@b.example", DMARC_NONE, 0, 0, NULL },
        { "no p=, and no address for reports", "v=DMARC1; rua=mailto:nobody", DMARC_NONE, 0, 0, "it has no p=" },
        { "a malformed p=", "v=DMARC1; p=rejects", DMARC_NONE, 0, 0, "its p=" },
        { "a malformed sp=", "v=DMARC1; p=reject; sp=x", DMARC_NONE, 0, 0, "its sp=" },
        { "a malformed np=", "v=DMARC1; p=reject; np=x", DMARC_NONE, 0, 0, "its np=" },
        { "a malformed sp=, but reports", "v=DMARC1; p=reject; sp=x; np=reject; rua=mailto:a@b.example", DMARC_NONE, 0, 0, NULL },
        { "p= twice", "v=DMARC1; p=reject; p=reject", DMARC_NONE, 0, 0, "its p=" },
        { "sp= twice", "v=DMARC1; p=reject; sp=none; SP=none", DMARC_NONE, 0, 0, "its sp=" },
        { "NUL in p=", "v=DMARC1; p=reject\1", DMARC_NONE, 0, 0, "its p=" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dmarc_record r;
        CU_ASSERT_TRUE(dmarc_is_record(dmarc_zone_str(rows[i].text)));
        dmarc_record_parse(dmarc_zone_str(rows[i].text), &r);
        bool good = r.p == rows[i].p && r.sp == rows[i].sp && r.np == rows[i].np &&
                    (rows[i].wrong == NULL ? r.wrong == NULL
                                           : r.wrong != NULL && strncmp(r.wrong, rows[i].wrong, strlen(rows[i].wrong)) == 0);
        if (!good)
            fprintf(stderr, "  \"%s\": %s %d %d %d\n", rows[i].what, r.wrong != NULL ? r.wrong : "taken", r.p, r.sp, r.np);
        CU_ASSERT_TRUE(good);
    }
}

static void test_what_is_no_record(void)
{
    static const char *const texts[] = { "", "v=dmarc1; p=none", "v=DMARC12; p=none", "p=none; v=DMARC1", "v=DMARC1 p=none",
                                         "v=spf1 -all", ";v=DMARC1;p=none", "v", "=", "DMARC1" };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        CU_ASSERT_FALSE(dmarc_is_record(dmarc_zone_str(texts[i])));
}

static void test_letters(void)
{
    struct dmarc_record r;

    dmarc_record_parse(TERN_STR("v=DMARC1; p=none; adkim=S; aspf=s; psd=Y; t=y; pct=7; fo=1:d; ruf=x"), &r);
    CU_ASSERT_TRUE(r.dkim_strict && r.spf_strict && r.psd == 'y' && r.testing && r.pct == 7);
    CU_ASSERT_TRUE(dmarc_equal_nocase(r.fo, TERN_STR("1:d")) && dmarc_equal_nocase(r.ruf, TERN_STR("x")));
    dmarc_record_parse(TERN_STR("v=DMARC1; p=none; adkim=x; aspf=ss; psd=; t=yes; pct=101"), &r);
    CU_ASSERT_TRUE(!r.dkim_strict && !r.spf_strict && r.psd == 'u' && !r.testing && r.pct == 100);
    dmarc_record_parse(TERN_STR("v=DMARC1; p=none; aspf=s; aspf=s; pct=1x; t="), &r);
    CU_ASSERT_TRUE(!r.spf_strict && r.pct == 100 && !r.testing);
}

static void test_uris(void)
{
    static const struct {
        const char *text, *uris;
    } rows[] = {
        { "mailto:a@b.example", "mailto:a@b.example|" },
        { "mailto:a@b.example!10m , MAILTO:c@d.example!0G", "mailto:a@b.example|MAILTO:c@d.example|" },
        { "mailto:a@b.example!10p", "" },
        { "mailto:a@b.example!", "" },
        { "mailto:a@b.example!m", "" },
        { "https://b.example/x,ftp:", "https://b.example/x|" },
        { "bogus, ,mailto:@b.example,mailto:a@,1a:b,mailto:a b@c.example,mailto:a@b.example", "mailto:a@b.example|" },
        { "", "" },
        { "mailto:<a@b.example>", "" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char got[256] = "";
        tern_str rest = dmarc_zone_str(rows[i].text), uri;
        while (dmarc_uri_next(&rest, &uri)) {
            strncat(got, uri.ptr, uri.len);
            strcat(got, "|");
        }
        if (strcmp(got, rows[i].uris) != 0)
            fprintf(stderr, "  %s: %s\n", rows[i].text, got);
        CU_ASSERT_STRING_EQUAL(got, rows[i].uris);
    }
}

/* 64 tags are read, the 65th makes it unusable; 8192 octets, and one more. */
static void test_record_bounds(void)
{
    struct dmarc_record r;
    struct buf b = { .data = NULL };

    buf_add_cstr(&b, "v=DMARC1;p=reject");
    for (unsigned i = 2; i < DMARC_TAGS_MAX; i++)
        buf_add_cstr(&b, ";x=1");
    dmarc_record_parse(dmarc_str(b.data, b.len), &r);
    CU_ASSERT_TRUE(r.wrong == NULL && r.p == DMARC_REJECT);
    buf_add_cstr(&b, ";x=1");
    dmarc_record_parse(dmarc_str(b.data, b.len), &r);
    CU_ASSERT_STRING_EQUAL(r.wrong, "it has too many tags");
    b.len = 17;
    while (b.len < DMARC_RECORD_OCTETS_MAX)
        buf_add_cstr(&b, " ");
    dmarc_record_parse(dmarc_str(b.data, b.len), &r);
    CU_ASSERT_TRUE(r.wrong == NULL && r.p == DMARC_REJECT);
    buf_add_cstr(&b, " ");
    dmarc_record_parse(dmarc_str(b.data, b.len), &r);
    CU_ASSERT_STRING_EQUAL(r.wrong, "it is too long");
    buf_free(&b);
}

/* ---- the walk ---- */

/* RFC 9989 4.10: the names that are asked for. */
static void test_walk_names(void)
{
    static const struct {
        const char *domain, *targets;
    } rows[] = {
        { "com", "com|" },
        { "a.mail.example.com", "a.mail.example.com|mail.example.com|example.com|com|" },
        { "a.b.c.d.e.f.example.com", "a.b.c.d.e.f.example.com|b.c.d.e.f.example.com|c.d.e.f.example.com|d.e.f.example.com|"
                                     "e.f.example.com|f.example.com|example.com|com|" },
        { "z.a.b.c.d.e.f.example.com", "z.a.b.c.d.e.f.example.com|b.c.d.e.f.example.com|c.d.e.f.example.com|"
                                       "d.e.f.example.com|e.f.example.com|f.example.com|example.com|com|" },
        { "a.b.c.d.e.f.g.h.i.j.mail.example.com",
          "a.b.c.d.e.f.g.h.i.j.mail.example.com|g.h.i.j.mail.example.com|h.i.j.mail.example.com|i.j.mail.example.com|"
          "j.mail.example.com|mail.example.com|example.com|com|" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char got[1024] = "";
        tern_str domain = dmarc_zone_str(rows[i].domain);
        unsigned count = 0;
        for (tern_str at = domain; at.len > 0; at = dmarc_walk_next(domain, at), count++) {
            strncat(got, at.ptr, at.len);
            strcat(got, "|");
        }
        CU_ASSERT_STRING_EQUAL(got, rows[i].targets);
        CU_ASSERT_TRUE(count <= DMARC_WALK_QUERIES_MAX);
    }
}

/* One row: records "name text", From, identifiers ("spf x", "dkim y", "?spf z"), and what comes of it. */
struct row {
    const char *what;
    const char *records[6];
    const char *author;
    const char *identifiers[4];
    enum dmarc_result result;
    enum dmarc_policy policy, asked; /* UNSET: there is none */
    const char *policy_domain, *org; /* NULL: does not matter */
    unsigned asked_max;              /* questions */
};

static void put_identifier(struct dmarc_input *in, const char *text)
{
    struct dmarc_identifier *id = &in->identifiers[in->identifier_count++];

    id->unknown = text[0] == '?';
    text += id->unknown;
    id->is_dkim = strncmp(text, "dkim ", 5) == 0;
    id->domain = dmarc_zone_str(strchr(text, ' ') + 1);
}

static bool equals(tern_str s, const char *text)
{
    return text == NULL || dmarc_equal_nocase(s, dmarc_zone_str(text));
}

static void run(const struct row *row)
{
    struct dmarc_input in = { .author = dmarc_zone_str(row->author) };

    zone.count = 0;
    for (unsigned i = 0; i < 6 && row->records[i] != NULL; i++)
        dmarc_zone_put(&zone, row->records[i]);
    for (unsigned i = 0; i < 4 && row->identifiers[i] != NULL; i++)
        put_identifier(&in, row->identifiers[i]);
    enum dmarc_result result = dmarc_zone_check(&zone, &check, in);
    tern_str where = check.policy_seen != NULL ? check.policy_seen->domain : TERN_STR("");
    bool good = result == row->result && check.policy == row->policy && check.asked == row->asked &&
                equals(where, row->policy_domain) && equals(check.org, row->org) &&
                (row->asked_max == 0 || zone.asked <= row->asked_max);
    if (!good)
        fprintf(stderr, "  \"%s\": %s (%s), policy %d, asked for %d, of %.*s, organizational domain %.*s, %u questions\n",
                row->what, dmarc_result_name(result).ptr, check.reason != NULL ? check.reason : "", check.policy, check.asked,
                (int)where.len, where.ptr, (int)check.org.len, check.org.ptr, zone.asked);
    CU_ASSERT_TRUE(good);
}

#define NONE   DMARC_RESULT_NONE
#define PASS   DMARC_RESULT_PASS
#define FAIL   DMARC_RESULT_FAIL
#define TEMP   DMARC_RESULT_TEMPERROR
#define PERM   DMARC_RESULT_PERMERROR
#define REJECT DMARC_REJECT, DMARC_REJECT
#define QUARANTINE DMARC_QUARANTINE, DMARC_QUARANTINE

static const struct row rows[] = {
    { "one question where the names are the same", { "_dmarc.example.com v=DMARC1;p=reject" }, "example.com",
      { "spf example.com", "dkim example.com" }, PASS, REJECT, "example.com", "", 1 },
    { "one question where nobody vouches", { "_dmarc.example.com v=DMARC1;p=reject" }, "example.com", { NULL }, FAIL,
      REJECT, "example.com", "", 1 },
    { "one question where another top-level domain vouches", { "_dmarc.example.com v=DMARC1;p=reject" }, "example.com",
      { "spf example.net" }, FAIL, REJECT, "example.com", "", 1 },
    { "strict: no walk", { "_dmarc.example.com v=DMARC1;p=reject;aspf=s;adkim=s" }, "example.com",
      { "spf mail.example.com", "dkim x.example.com" }, FAIL, REJECT, "example.com", "", 1 },
    { "strict for SPF only", { "_dmarc.example.com v=DMARC1;p=reject;aspf=s" }, "example.com",
      { "spf mail.example.com", "dkim x.example.com" }, PASS, REJECT, "example.com", "example.com", 0 },
    { "a neighbour's domain is not asked about", { "_dmarc.example.com v=DMARC1;p=reject" }, "example.com",
      { "dkim a.b.other.com" }, FAIL, REJECT, "example.com", "example.com", 2 },
    { "no record anywhere", { NULL }, "a.example.com", { "spf a.example.com" }, NONE, 0, 0, "", "a.example.com", 3 },
    { "B.4.1", { "_dmarc.example.com v=DMARC1;p=reject", "_dmarc.signing.example.com v=DMARC1;p=none" }, "example.com",
      { "dkim signing.example.com" }, PASS, REJECT, "example.com", "example.com", 3 },
    { "B.4.2", { "_dmarc.example.com v=DMARC1;p=reject", "_dmarc.signing.example.com v=DMARC1;p=none" },
      "a.b.c.d.e.f.g.h.i.j.k.example.com", { "dkim signing.example.com" }, PASS, REJECT, "example.com", "example.com", 9 },
    { "B.4.3, aligned by SPF",
      { "_dmarc.bank.example v=DMARC1;p=none;psd=y", "_dmarc.giant.bank.example v=DMARC1;p=reject" }, "giant.bank.example",
      { "spf mail.giant.bank.example", "dkim mail.mega.bank.example" }, PASS, REJECT, "giant.bank.example",
      "giant.bank.example", 3 },
    { "B.4.3, another customer of the bank",
      { "_dmarc.bank.example v=DMARC1;p=none;psd=y", "_dmarc.giant.bank.example v=DMARC1;p=reject" }, "giant.bank.example",
      { "dkim mail.mega.bank.example" }, FAIL, REJECT, "giant.bank.example", "giant.bank.example", 2 },
    { "psd=n in the middle", { "_dmarc.b.example.com v=DMARC1;p=reject;psd=n", "_dmarc.example.com v=DMARC1;p=none" },
      "a.b.example.com", { "spf example.com" }, FAIL, REJECT, "b.example.com", "b.example.com", 2 },
    { "psd=n below the author's: not aligned", { "_dmarc.example.com v=DMARC1;p=reject", "_dmarc.b.example.com v=DMARC1;p=none;psd=n" },
      "example.com", { "dkim x.b.example.com" }, FAIL, REJECT, "example.com", "example.com", 0 },
    { "psd=y below the author's: not aligned", { "_dmarc.example.com v=DMARC1;p=reject", "_dmarc.b.example.com v=DMARC1;p=none;psd=y" },
      "example.com", { "dkim x.b.example.com" }, FAIL, REJECT, "example.com", "example.com", 0 },
    { "the fewest labels count", { "_dmarc.mail.example.com v=DMARC1;p=reject", "_dmarc.example.com v=DMARC1;p=none;sp=quarantine" },
      "a.mail.example.com", { NULL }, FAIL, QUARANTINE, "example.com", "example.com", 4 },
    { "the author's own record counts first", { "_dmarc.mail.example.com v=DMARC1;p=reject;sp=none", "_dmarc.example.com v=DMARC1;p=none;sp=none" },
      "mail.example.com", { NULL }, FAIL, REJECT, "mail.example.com", "", 1 },
    { "the policy of the public suffix", { "_dmarc.gov.example v=DMARC1;p=none;sp=reject;psd=y" }, "a.city.gov.example",
      { "spf b.city.gov.example" }, PASS, REJECT, "gov.example", "city.gov.example", 0 },
    { "what lies between suffix and organizational domain does not count",
      { "_dmarc.gov.example v=DMARC1;p=none;sp=reject;psd=y", "_dmarc.a.city.gov.example v=DMARC1;p=none" }, "x.a.city.gov.example",
      { NULL }, FAIL, REJECT, "gov.example", "city.gov.example", 0 },
    { "the author is the public suffix", { "_dmarc.gov.example v=DMARC1;p=reject;sp=none;psd=y" }, "gov.example",
      { "spf city.gov.example" }, FAIL, REJECT, "gov.example", "gov.example", 0 },
    { "another customer of the suffix is not aligned with it", { "_dmarc.gov.example v=DMARC1;p=reject;psd=y" }, "gov.example",
      { "dkim a.gov.example" }, FAIL, REJECT, "gov.example", "gov.example", 0 },
    { "np= for what does not exist", { "_dmarc.example.com v=DMARC1;p=none;sp=quarantine;np=reject" }, "no.example.com",
      { NULL }, FAIL, REJECT, "example.com", "example.com", 4 },
    { "sp= for what exists", { "_dmarc.example.com v=DMARC1;p=none;sp=quarantine;np=reject", "A no.example.com" },
      "no.example.com", { NULL }, FAIL, QUARANTINE, "example.com", "example.com", 4 },
    { "a name with other records exists", { "_dmarc.example.com v=DMARC1;p=none;sp=quarantine;np=reject", "MX no.example.com" },
      "no.example.com", { NULL }, FAIL, QUARANTINE, "example.com", "example.com", 4 },
    { "np= without sp=", { "_dmarc.example.com v=DMARC1;p=quarantine;np=reject" }, "no.example.com", { NULL }, FAIL, REJECT,
      "example.com", "example.com", 4 },
    { "np= that changes nothing is not asked about", { "_dmarc.example.com v=DMARC1;p=reject;np=reject" }, "no.example.com",
      { NULL }, FAIL, REJECT, "example.com", "example.com", 3 },
    { "nor for mail that passes", { "_dmarc.example.com v=DMARC1;p=none;np=reject" }, "no.example.com", { "spf example.com" },
      PASS, DMARC_NONE, DMARC_NONE, "example.com", "example.com", 3 },
    { "np= is not for the domain itself", { "_dmarc.example.com v=DMARC1;p=none;np=reject" }, "example.com", { NULL }, FAIL,
      DMARC_NONE, DMARC_NONE, "example.com", "", 1 },
    { "nobody knows whether it exists", { "_dmarc.example.com v=DMARC1;p=none;np=reject", "! no.example.com" }, "no.example.com",
      { NULL }, TEMP, 0, 0, "example.com", "example.com", 4 },
    { "t=y of reject", { "_dmarc.example.com v=DMARC1;p=reject;t=y" }, "example.com", { NULL }, FAIL, DMARC_REJECT,
      DMARC_QUARANTINE, "example.com", "", 1 },
    { "t=y of quarantine, by sp=", { "_dmarc.example.com v=DMARC1;p=reject;sp=quarantine;t=y" }, "a.example.com", { NULL }, FAIL,
      DMARC_QUARANTINE, DMARC_NONE, "example.com", "example.com", 3 },
    { "t=y of none", { "_dmarc.example.com v=DMARC1;p=none;t=y" }, "example.com", { NULL }, FAIL, DMARC_NONE, DMARC_NONE,
      "example.com", "", 1 },
    { "two records are none", { "_dmarc.example.com v=DMARC1;p=reject", "_dmarc.example.com v=DMARC1;p=none" }, "example.com",
      { NULL }, NONE, 0, 0, "", "example.com", 2 },
    { "and the walk goes on behind them",
      { "_dmarc.a.example.com v=DMARC1;p=none", "_dmarc.a.example.com v=DMARC1;p=none", "_dmarc.example.com v=DMARC1;p=reject" },
      "a.example.com", { NULL }, FAIL, REJECT, "example.com", "example.com", 3 },
    { "others' texts do not count", { "_dmarc.example.com v=spf1 -all", "_dmarc.example.com v=DMARC1;p=reject" }, "example.com",
      { NULL }, FAIL, REJECT, "example.com", "", 1 },
    { "a record without a policy", { "_dmarc.a.example.com v=DMARC1", "_dmarc.example.com v=DMARC1;p=reject" }, "a.example.com",
      { NULL }, PERM, 0, 0, "", "", 1 },
    { "that of the organizational domain", { "_dmarc.example.com v=DMARC1;p=x" }, "a.example.com", { NULL }, PERM, 0, 0, "",
      "example.com", 3 },
    { "DNS fails for the author", { "! _dmarc.example.com" }, "example.com", { "spf example.com" }, TEMP, 0, 0, "", "", 1 },
    { "DNS fails above", { "! _dmarc.com", "_dmarc.example.com v=DMARC1;p=reject" }, "a.example.com", { NULL }, TEMP, 0, 0, "", "", 3 },
    { "DNS fails where it does not matter", { "! _dmarc.com", "_dmarc.example.com v=DMARC1;p=reject" }, "example.com",
      { "spf example.com" }, PASS, REJECT, "example.com", "", 1 },
    { "DNS fails below the author's", { "! _dmarc.x.example.com", "_dmarc.example.com v=DMARC1;p=reject" }, "example.com",
      { "dkim x.example.com" }, TEMP, REJECT, "example.com", "example.com", 0 },
    { "another one passes all the same", { "! _dmarc.x.example.com", "_dmarc.example.com v=DMARC1;p=reject" }, "example.com",
      { "dkim x.example.com", "dkim example.com" }, PASS, REJECT, "example.com", "example.com", 0 },
    { "an aligned signature of which nothing is known", { "_dmarc.example.com v=DMARC1;p=reject" }, "example.com",
      { "?dkim mail.example.com" }, TEMP, REJECT, "example.com", "example.com", 0 },
    { "one that is not aligned", { "_dmarc.example.com v=DMARC1;p=reject" }, "example.com", { "?dkim example.net" }, FAIL,
      REJECT, "example.com", "", 1 },
    { "beside one that passes", { "_dmarc.example.com v=DMARC1;p=reject" }, "example.com",
      { "?spf example.com", "dkim example.com" }, PASS, REJECT, "example.com", "", 1 },
    { "a top-level domain writes", { "_dmarc.example v=DMARC1;p=reject" }, "example", { "spf example" }, PASS, REJECT, "example",
      "", 1 },
};

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        run(&rows[i]);
}

/* ---- bounds ---- */

/*
 * Signatures of deep names below the author's domain, none of them aligned for a psd=n: each needs its own questions, and
 * those beyond the bound are not asked.
 */
static void test_questions(void)
{
    struct dmarc_input in = { .author = TERN_STR("example.com") };
    char names[8][64];

    zone.count = 0;
    dmarc_zone_put(&zone, "_dmarc.example.com v=DMARC1;p=reject");
    for (unsigned i = 0; i < 8; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "a.b.c.d.e.x%u.example.com", i);
        in.identifiers[in.identifier_count++] = (struct dmarc_identifier){ .domain = dmarc_zone_str(names[i]), .is_dkim = true };
    }
    CU_ASSERT_EQUAL(dmarc_zone_check(&zone, &check, in), DMARC_RESULT_PASS);
    CU_ASSERT_EQUAL(zone.asked, DMARC_QUESTIONS_MAX); /* 2 of the author, 6 of each of six, 2 of the seventh */
    CU_ASSERT_TRUE(check.in.identifiers[5].aligned);
    CU_ASSERT_FALSE(check.in.identifiers[6].aligned);
    CU_ASSERT_FALSE(check.in.identifiers[7].aligned);
}

/* A name for which `_dmarc.` has no room is not asked for, and what stands above it counts; one octet less is. */
static void test_long_names(void)
{
    char name[DMARC_NAME_OCTETS_MAX + 1];

    for (size_t len = DMARC_NAME_OCTETS_MAX - 7; len <= DMARC_NAME_OCTETS_MAX; len += 7) {
        struct dmarc_input in = { .author = { name, len } };
        for (size_t i = 0; i < len; i++)
            name[i] = (len - i) % 50 == 0 ? '.' : 'a';
        memcpy(name + len - 12, ".example.com", 12);
        zone.count = 0;
        dmarc_zone_put(&zone, "_dmarc.example.com v=DMARC1;p=reject");
        CU_ASSERT_EQUAL(dmarc_zone_check(&zone, &check, in), DMARC_RESULT_FAIL);
        CU_ASSERT_EQUAL(check.asked, DMARC_REJECT);
        unsigned wanted = 0;
        for (tern_str at = in.author; at.len > 0; at = dmarc_walk_next(in.author, at))
            wanted += at.len <= DMARC_NAME_OCTETS_MAX - 7;
        CU_ASSERT_EQUAL(zone.asked, wanted);
        CU_ASSERT_EQUAL(wanted < dmarc_labels(in.author), len == DMARC_NAME_OCTETS_MAX);
    }
}

static void test_give_up(void)
{
    struct dmarc_input in = { .author = TERN_STR("example.com"), .alloc = dmarc_zone_alloc, .arg = &zone };
    struct tern_dns_answer late = { .status = TERN_ABSENT, .error = "NXDOMAIN" };

    memset(&check, 0, sizeof(check));
    CU_ASSERT_TRUE(dmarc_start(&check, &in));
    dmarc_give_up(&check, "DNS took too long");
    CU_ASSERT_FALSE(dmarc_answer(&check, &late));
    CU_ASSERT_EQUAL(check.result, DMARC_RESULT_TEMPERROR);
}

/* ---- RFC 7489 ---- */

static tern_str two_labels(void *unused, tern_str domain)
{
    (void)unused;
    return dmarc_suffix(domain, 2);
}

static void test_rfc7489(void)
{
    static const struct {
        const char *records[3], *author, *id;
        enum dmarc_result result;
        enum dmarc_policy policy;
        unsigned asked;
    } cases[] = {
        { { "_dmarc.example.com v=DMARC1;p=none;sp=reject" }, "a.b.example.com", "spf c.example.com", PASS, DMARC_REJECT, 2 },
        { { "_dmarc.example.com v=DMARC1;p=none;sp=reject" }, "a.b.example.com", "spf c.example.net", FAIL, DMARC_REJECT, 2 },
        /* np=, t= and psd= are of RFC 9989 */
        { { "_dmarc.example.com v=DMARC1;p=reject;np=none;t=y;psd=y" }, "a.example.com", "spf example.com", PASS, DMARC_REJECT, 2 },
        { { "_dmarc.b.example.com v=DMARC1;p=none", "_dmarc.example.com v=DMARC1;p=reject" }, "a.b.example.com", "spf x.net", FAIL, DMARC_REJECT, 2 },
        /* 6.6.3: several records end it */
        { { "_dmarc.a.example.com v=DMARC1;p=none", "_dmarc.a.example.com v=DMARC1;p=none", "_dmarc.example.com v=DMARC1;p=reject" },
          "a.example.com", "spf x.net", NONE, 0, 1 },
        { { NULL }, "example.com", "spf example.com", NONE, 0, 1 },
        { { NULL }, "a.example.com", "spf example.com", NONE, 0, 2 },
        { { "! _dmarc.example.com" }, "a.example.com", "spf example.com", TEMP, 0, 2 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct dmarc_input in = { .author = dmarc_zone_str(cases[i].author), .registrable = two_labels };
        zone.count = 0;
        for (unsigned k = 0; k < 3 && cases[i].records[k] != NULL; k++)
            dmarc_zone_put(&zone, cases[i].records[k]);
        put_identifier(&in, cases[i].id);
        CU_ASSERT_EQUAL(dmarc_zone_check(&zone, &check, in), cases[i].result);
        CU_ASSERT_EQUAL(check.policy, cases[i].policy);
        CU_ASSERT_EQUAL(check.asked, cases[i].policy);
        CU_ASSERT_EQUAL(zone.asked, cases[i].asked);
    }
}

int main(void)
{
    CU_initialize_registry();
    arena_init(&zone.arena);
    CU_pSuite suite = CU_add_suite("dmarc", NULL, NULL);
    CU_add_test(suite, "records", test_records);
    CU_add_test(suite, "what is no record", test_what_is_no_record);
    CU_add_test(suite, "tags of a letter", test_letters);
    CU_add_test(suite, "URIs", test_uris);
    CU_add_test(suite, "bounds of records", test_record_bounds);
    CU_add_test(suite, "names of a walk", test_walk_names);
    CU_add_test(suite, "walks, policies, alignment", test_rows);
    CU_add_test(suite, "the bound of questions", test_questions);
    CU_add_test(suite, "long names", test_long_names);
    CU_add_test(suite, "no more answers", test_give_up);
    CU_add_test(suite, "RFC 7489", test_rfc7489);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    arena_fini(&zone.arena);
    CU_cleanup_registry();
    return failed > 0;
}
