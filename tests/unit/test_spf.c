/* SPDX-License-Identifier: Apache-2.0 */
/* test_spf.c - records, macros and limits of SPF, by rows; the suites of others are in test_spf_suite.c. */
#include <CUnit/Basic.h>

#include "base/buf.h"
#include "spf_zone.h"

static struct zone zone;
static struct spf_check check;

static void test_records(void)
{
    static const struct {
        const char *what, *text, *wrong; /* wrong: NULL, or how it begins */
    } rows[] = {
        { "nothing", "v=spf1", NULL },
        { "blanks only", "v=spf1   ", NULL },
        { "every mechanism", "v=spf1 a mx ptr all include:a.example exists:a.example ip4:1.2.3.4 ip6:::1", NULL },
        { "every qualifier", "v=spf1 +a -mx ~ptr ?all", NULL },
        { "names in any case", "v=spf1 INCLUDE:a.example Ip4:1.2.3.4 REDIRECT=a.example", NULL },
        { "both lengths", "v=spf1 a/24//64 mx:a.example/0//0 a//128 mx/32", NULL },
        { "a length of IPv4 too large", "v=spf1 a/33", "the length" },
        { "a length of IPv6 too large", "v=spf1 a//129", "the length" },
        { "a length with a zero before", "v=spf1 a/08", "the length" },
        { "a length of IPv6 with one slash", "v=spf1 a/24/64", "the length" },
        { "a length that is none", "v=spf1 a/", "a mechanism with" },
        { "three lengths", "v=spf1 a/24//64//64", "the length" },
        { "a length of an address too large", "v=spf1 ip4:1.2.3.4/33", "the length" },
        { "the largest", "v=spf1 ip4:1.2.3.4/32 ip6:2001:db8::/128", NULL },
        { "a length of an address of IPv6", "v=spf1 ip6:2001:db8::/129", "the length" },
        { "an address in short", "v=spf1 ip4:1.2.3", "ip4: or ip6: with" },
        { "an address with a zero before", "v=spf1 ip4:1.2.3.04", "ip4: or ip6: with" },
        { "IPv6 where IPv4 belongs", "v=spf1 ip4:::1", "ip4: or ip6: with" },
        { "no address", "v=spf1 ip4:", "ip4: or ip6: without" },
        { "all with more", "v=spf1 all:a.example", "a mechanism with" },
        { "include without a domain", "v=spf1 include", "a mechanism without" },
        { "an empty domain", "v=spf1 a:", "a mechanism names" },
        { "a mechanism that nobody knows", "v=spf1 foo -all", "an unknown" },
        { "a qualifier alone", "v=spf1 -", "an unknown" },
        { "two qualifiers", "v=spf1 --all", "an unknown" },
        { "a mistake behind all", "v=spf1 -all foo", "an unknown" },
        { "a tab", "v=spf1 a\t-all", "an unknown" },
        { "a modifier that nobody knows", "v=spf1 x-y.z_1=%{d}/what:ever", NULL },
        { "one that is malformed", "v=spf1 x=%{d", "the value" },
        { "one that is empty", "v=spf1 x=", NULL },
        { "redirect= twice", "v=spf1 redirect=a.example redirect=a.example", "redirect= or exp=" },
        { "exp= twice", "v=spf1 exp=a.example exp=a.example", "redirect= or exp=" },
        { "redirect= of nothing", "v=spf1 redirect=", "redirect= names" },
        { "exp= of nothing", "v=spf1 exp=", "exp= names" },
        { "redirect: is no modifier", "v=spf1 redirect:a.example", "an unknown" },
        { "a qualifier before a modifier", "v=spf1 -redirect=a.example", "an unknown" },
        { "a name of one label", "v=spf1 a:example", "a mechanism names" },
        { "a top label of digits", "v=spf1 a:example.123", "a mechanism names" },
        { "a top label that ends in a dash", "v=spf1 a:example.a-", "a mechanism names" },
        { "a macro at the end", "v=spf1 a:%{d} a:b.%{i}", NULL },
        { "a macro that is none", "v=spf1 a:%{a}.example", "a mechanism names" },
        { "one for explanations only", "v=spf1 a:%{c}.example", "a mechanism names" },
        { "zero parts", "v=spf1 a:%{d0}.example", "a mechanism names" },
        { "a percent sign alone", "v=spf1 a:%.example", "a mechanism names" },
        { "a final dot", "v=spf1 a:a.example.", NULL },
        { "an octet beyond ASCII", "v=spf1 a:\303\244.example", "a mechanism names" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct spf_record record;
        CU_ASSERT_TRUE(spf_is_record(zone_str(rows[i].text)));
        const char *wrong = spf_record_parse(zone_str(rows[i].text), &record);
        bool good = rows[i].wrong == NULL ? wrong == NULL
                                          : wrong != NULL && strncmp(wrong, rows[i].wrong, strlen(rows[i].wrong)) == 0;
        if (!good)
            fprintf(stderr, "  \"%s\": %s\n", rows[i].what, wrong != NULL ? wrong : "taken");
        CU_ASSERT_TRUE(good);
    }
    CU_ASSERT_TRUE(spf_is_record(TERN_STR("V=SPF1 a")));
    CU_ASSERT_FALSE(spf_is_record(TERN_STR("v=spf1a")));
    CU_ASSERT_FALSE(spf_is_record(TERN_STR("v=spf10")));
    CU_ASSERT_FALSE(spf_is_record(TERN_STR(" v=spf1")));
    CU_ASSERT_FALSE(spf_is_record(TERN_STR("")));
}

static void test_macros(void)
{
    static const struct {
        const char *text, *wanted;
    } rows[] = {
        { "%{s}", "a.b-c@mail.example.com" }, { "%{l1}", "b-c" },      { "%{l1-}", "c" },
        { "%{lr.-}", "c.b.a" },               { "%{l2r.-}", "b.a" },   { "%{o2}", "example.com" },
        { "%{d}", "example.org" },            { "%{dR}", "org.example" }, { "%{h}", "client.example" },
        { "%{p}", "unknown" },                { "%{v}", "in-addr" },   { "%{ir}", "1.2.0.192" },
        { "%{c}", "192.0.2.1" },              { "%{r}", "mx.test" },   { "%{t}", "1700000000" },
        { "%%%_%-", "% %20" },                { "%{S}", "a.b-c%40mail.example.com" },
        { "%{d127}", "example.org" },         { "%{d999999999999999999999}", "example.org" },
        { "x%{l2.,+/_=}y", "xa.b-cy" },
    };
    struct spf_macros m = { .local = TERN_STR("a.b-c"), .sender_domain = TERN_STR("mail.example.com"),
                            .domain = TERN_STR("example.org"), .helo = TERN_STR("client.example"),
                            .receiver = TERN_STR("mx.test"), .client_name = TERN_STR("unknown"), .now_s = 1700000000,
                            .client = { .family = 4, .octets = { 192, 0, 2, 1 } } };
    char room[256];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct spf_text out = { .at = room, .room = sizeof(room) };
        CU_ASSERT_TRUE_FATAL(spf_macro_is_valid(zone_str(rows[i].text), true));
        spf_macro_expand(zone_str(rows[i].text), &m, &out);
        bool good = out.len == strlen(rows[i].wanted) && memcmp(room, rows[i].wanted, out.len) == 0;
        if (!good)
            fprintf(stderr, "  %s: %.*s\n", rows[i].text, (int)out.len, room);
        CU_ASSERT_TRUE(good);
    }
    struct spf_text small = { .at = room, .room = 4 };
    spf_macro_expand(TERN_STR("%{d}"), &m, &small);
    CU_ASSERT_TRUE(small.len == 4 && memcmp(room, "exam", 4) == 0);
}

/* What says something of the mail that is neither the client's address nor its domains. */
static void test_personal(void)
{
    static const struct {
        const char *text;
        bool personal;
    } rows[] = {
        { "v=spf1 a mx include:%{d}.x.example exists:%{i}.%{v}.x.example a:%{p} a:%{o}.example -all", false },
        { "v=spf1 exists:%{l}.x.example", true },   { "v=spf1 exists:%{S}.x.example", true },
        { "v=spf1 a:%{h}", false },                 { "v=spf1 -all x=%{lr-}", true },
        { "from %{c} to %{R}", true },              { "at %{t}", true },
        { "from %{c}", false },                     { "%{l", true },
        { "%{", false },                            { "%", false },
        { "", false },                              { "%%{l}", true },
        { "%l {l} % {l} %-{l}", false },            { "%{d}%{l1r-}", true },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (spf_macro_is_personal(zone_str(rows[i].text)) != rows[i].personal)
            fprintf(stderr, "  %s\n", rows[i].text);
        CU_ASSERT_EQUAL(spf_macro_is_personal(zone_str(rows[i].text)), rows[i].personal);
    }
}

/* RFC 7208 7.3: whole labels are taken from the left until 253 octets are left. */
static void test_long_names(void)
{
    char label[300], text[400], name[SPF_NAME_OCTETS_MAX + 1];
    struct spf_macros m = { .domain = TERN_STR("example.org") };

    memset(label, 'a', sizeof(label));
    (void)snprintf(text, sizeof(text), "%.*s.%%{d}", ADDRESS_LABEL_OCTETS_MAX, label);
    CU_ASSERT_TRUE(spf_macro_expand_name(zone_str(text), &m, name));
    (void)snprintf(text, sizeof(text), "%.*s.%%{d}", ADDRESS_LABEL_OCTETS_MAX + 1, label);
    CU_ASSERT_FALSE(spf_macro_expand_name(zone_str(text), &m, name));
    struct spf_text t = { .at = text, .room = sizeof(text) };
    for (unsigned i = 0; i < 40; i++)
        spf_macro_expand(TERN_STR("b.abcdef."), &m, &t);
    t.at[t.len] = '\0';
    t.at[t.len - 1] = '\0'; /* 359 octets */
    CU_ASSERT_TRUE(spf_macro_expand_name(zone_str(text), &m, name));
    CU_ASSERT_EQUAL(strlen(name), 251); /* 28 pairs; one label more would be 258 */
    CU_ASSERT_FALSE(spf_macro_expand_name(TERN_STR("a..b.example"), &m, name));
    m.domain = TERN_STR("m\303\270x.example");
    CU_ASSERT_FALSE(spf_macro_expand_name(TERN_STR("%{d}"), &m, name));
}

/* ---- limits ---- */

static void row(const char *name, unsigned type, const char *text)
{
    char *kept = arena_alloc(&zone.arena, strlen(text) + 1);
    char *owner = arena_alloc(&zone.arena, strlen(name) + 1);

    zone_add(&zone, zone_str(strcpy(owner, name)), type, zone_str(strcpy(kept, text)));
}

static enum spf_result ask_for(const char *client)
{
    struct spf_input in = { .domain = TERN_STR("x.example"), .sender_domain = TERN_STR("x.example"), .local = TERN_STR("bob"),
                            .helo = TERN_STR("client.example"), .receiver = TERN_STR("mx.test"),
                            .voids_max = SPF_VOIDS_MAX, .explain = true };

    CU_ASSERT_TRUE_FATAL(address_parse(zone_str(client), strchr(client, ':') != NULL ? 6 : 4, &in.client));
    return zone_check(&zone, &check, in);
}

static enum spf_result ask(void)
{
    return ask_for("192.0.2.1");
}

/* A record of `count` times `term`, then `end`. */
static void publish(const char *term, unsigned count, const char *end)
{
    struct buf text = BUF_INIT;

    buf_add_cstr(&text, "v=spf1");
    for (unsigned i = 0; i < count; i++) {
        buf_add_char(&text, ' ');
        buf_add_cstr(&text, term);
    }
    buf_add_cstr(&text, end);
    buf_add_char(&text, '\0');
    zone.count = 0;
    row("x.example", TERN_DNS_TXT, text.data);
    buf_free(&text);
}

static void test_terms_and_voids(void)
{
    publish("a", SPF_TERMS_MAX, " ~all");
    row("x.example", TERN_DNS_A, "198.51.100.1");
    CU_ASSERT_EQUAL(ask(), SPF_SOFTFAIL);
    publish("a", SPF_TERMS_MAX + 1, " ~all");
    row("x.example", TERN_DNS_A, "198.51.100.1");
    CU_ASSERT_EQUAL(ask(), SPF_PERMERROR);
    publish("a", SPF_TERMS_MAX, " redirect=y.example"); /* redirect= counts, too */
    row("x.example", TERN_DNS_A, "198.51.100.1");
    CU_ASSERT_EQUAL(ask(), SPF_PERMERROR);
    publish("exists:no.example", SPF_VOIDS_MAX, " ~all");
    CU_ASSERT_EQUAL(ask(), SPF_SOFTFAIL);
    publish("exists:no.example", SPF_VOIDS_MAX + 1, " ~all");
    CU_ASSERT_EQUAL(ask(), SPF_PERMERROR);
    publish("ip4:198.51.100.1", 100, " include:x.example"); /* into itself */
    CU_ASSERT_EQUAL(ask(), SPF_PERMERROR);
    CU_ASSERT_EQUAL(zone.asked, SPF_TERMS_MAX + 1);
}

static void test_mx_and_ptr(void)
{
    for (unsigned count = SPF_MX_MAX; count <= SPF_MX_MAX + 1; count++) {
        publish("mx", 1, " ~all");
        for (unsigned i = 0; i < count; i++) {
            char name[32];
            (void)snprintf(name, sizeof(name), "mx%u.example", i);
            row("x.example", TERN_DNS_MX, name);
            row(name, i == SPF_MX_MAX - 1 ? TERN_DNS_A : TERN_DNS_AAAA, i == SPF_MX_MAX - 1 ? "192.0.2.1" : "::1");
        }
        CU_ASSERT_EQUAL(ask(), count == SPF_MX_MAX ? SPF_PASS : SPF_PERMERROR);
    }
    for (unsigned at = SPF_PTR_MAX - 1; at <= SPF_PTR_MAX; at++) {
        publish("ptr", 1, " ~all");
        for (unsigned i = 0; i < at; i++)
            row("1.2.0.192.in-addr.arpa", TERN_DNS_PTR, "false.x.example");
        row("1.2.0.192.in-addr.arpa", TERN_DNS_PTR, "true.x.example");
        row("true.x.example", TERN_DNS_A, "192.0.2.1");
        CU_ASSERT_EQUAL(ask(), at < SPF_PTR_MAX ? SPF_PASS : SPF_SOFTFAIL);
    }
    publish("exists:%{p}.names.example", 1, " ~all");
    row("1.2.0.192.in-addr.arpa", TERN_DNS_PTR, "other.example");
    row("1.2.0.192.in-addr.arpa", TERN_DNS_PTR, "below.x.example");
    row("1.2.0.192.in-addr.arpa", TERN_DNS_PTR, "forged.x.example");
    row("other.example", TERN_DNS_A, "192.0.2.1");
    row("below.x.example", TERN_DNS_A, "192.0.2.1");
    row("forged.x.example", TERN_DNS_A, "192.0.2.2");
    row("below.x.example.names.example", TERN_DNS_A, "127.0.0.2"); /* the domain's own go first */
    CU_ASSERT_EQUAL(ask(), SPF_PASS);
    publish("ptr", 1, " ~all");
    row("1.2.0.192.in-addr.arpa", TERN_DNS_PTR, "notx.example");
    row("notx.example", TERN_DNS_A, "192.0.2.1");
    CU_ASSERT_EQUAL(ask(), SPF_SOFTFAIL);
    publish("exists:%{p}.no.example", 1, " redirect=y.example"); /* another domain, another name */
    row("y.example", TERN_DNS_TXT, "v=spf1 exists:%{p}.names.example -all");
    row("1.2.0.192.in-addr.arpa", TERN_DNS_PTR, "a.x.example");
    row("1.2.0.192.in-addr.arpa", TERN_DNS_PTR, "a.y.example");
    row("a.x.example", TERN_DNS_A, "192.0.2.1");
    row("a.y.example", TERN_DNS_A, "192.0.2.1");
    row("a.y.example.names.example", TERN_DNS_A, "127.0.0.2");
    CU_ASSERT_EQUAL(ask(), SPF_PASS);
    publish("exists:%{p}.names.example", SPF_TERMS_MAX - 1, " ~all"); /* to look for the name is a term */
    row("unknown.names.example", TERN_DNS_AAAA, "::1");
    CU_ASSERT_EQUAL(ask_for("2001:db8::1"), SPF_PERMERROR);
}

static void test_octets(void)
{
    for (unsigned more = 0; more < 2; more++) { /* 8192, and one above */
        publish("ip4:198.51.100.1", (SPF_RECORD_OCTETS_MAX - 6) / 17, more ? "    ~all" : "   ~all");
        tern_str text = zone.rows[0].text;
        size_t wanted = SPF_RECORD_OCTETS_MAX + more;
        CU_ASSERT_TRUE_FATAL(text.len <= wanted);
        char *padded = arena_alloc(&zone.arena, wanted + 1);
        memset(padded, ' ', wanted);
        memcpy(padded, text.ptr, text.len);
        zone.rows[0].text = (tern_str){ padded, wanted };
        CU_ASSERT_EQUAL(ask(), more ? SPF_PERMERROR : SPF_SOFTFAIL);
    }
    for (unsigned more = 0; more < 2; more++) {
        char spec[SPF_SPEC_OCTETS_MAX + 2];
        memset(spec, 'a', sizeof(spec));
        size_t len = SPF_SPEC_OCTETS_MAX + more;
        memcpy(spec + len - 8, ".example", 8);
        CU_ASSERT_EQUAL(spf_domain_spec_is_valid((tern_str){ spec, len }), more == 0);
    }
    for (unsigned more = 0; more < 2; more++) { /* as published */
        char text[SPF_EXPLAIN_OCTETS_MAX + 2];
        memset(text, 'x', sizeof(text));
        text[SPF_EXPLAIN_OCTETS_MAX + more] = '\0';
        publish("-all", 1, " exp=why.example");
        row("why.example", TERN_DNS_TXT, text);
        CU_ASSERT_EQUAL(ask(), SPF_FAIL);
        CU_ASSERT_EQUAL(strlen(check.explanation), more ? 0 : SPF_EXPLANATION_OCTETS_MAX);
    }
    char value[SPF_VALUE_OCTETS_MAX + 2], room[SPF_VALUE_OCTETS_MAX + 2];
    memset(value, '.', sizeof(value)); /* as many parts as there can be */
    for (unsigned more = 0; more < 2; more++) {
        struct spf_macros m = { .helo = { value, SPF_VALUE_OCTETS_MAX + more } };
        struct spf_text out = { .at = room, .room = sizeof(room) };
        spf_macro_expand(TERN_STR("%{hr}"), &m, &out);
        CU_ASSERT_EQUAL(out.len, SPF_VALUE_OCTETS_MAX);
    }
}

static void test_explanations(void)
{
    publish("-all", 1, " exp=why.example");
    row("why.example", TERN_DNS_TXT, "%{s} is not %{d}'s\001");
    CU_ASSERT_EQUAL(ask(), SPF_FAIL);
    CU_ASSERT_STRING_EQUAL(check.explanation, "");
    publish("-all", 1, " exp=why.example");
    row("why.example", TERN_DNS_TXT, "%{h} is not at %{p}");
    CU_ASSERT_EQUAL(ask(), SPF_FAIL);
    CU_ASSERT_STRING_EQUAL(check.explanation, "client.example is not at unknown");
    publish("-all", 1, " exp=why.example");
    row("why.example", ZONE_TIMEOUT, "");
    CU_ASSERT_EQUAL(ask(), SPF_FAIL);
    CU_ASSERT_STRING_EQUAL(check.explanation, "");
    /* Of a redirect the other's, of an include none. */
    publish("exp=mine.example", 1, " redirect=y.example");
    row("mine.example", TERN_DNS_TXT, "mine");
    row("y.example", TERN_DNS_TXT, "v=spf1 -all exp=yours.example");
    row("yours.example", TERN_DNS_TXT, "%{d} says so to \303\270");
    CU_ASSERT_EQUAL(ask(), SPF_FAIL);
    CU_ASSERT_STRING_EQUAL(check.explanation, "");
    zone.rows[zone.count - 1].text = TERN_STR("%{d} of %{o}");
    CU_ASSERT_EQUAL(ask(), SPF_FAIL);
    CU_ASSERT_STRING_EQUAL(check.explanation, "y.example of x.example");
}

/* Cases that the published part of the suite leaves out. */
static void test_errors(void)
{
    static const struct {
        const char *record;
        enum spf_result wanted;
    } rows[] = {
        { "a:down.example -all", SPF_TEMPERROR },
        { "mx:down.example -all", SPF_TEMPERROR },
        { "mx:halfdown.example -all", SPF_TEMPERROR },
        { "exists:down.example -all", SPF_TEMPERROR },
        { "include:down.example -all", SPF_TEMPERROR },
        { "redirect=down.example", SPF_TEMPERROR },
        { "ptr:down.example ?all", SPF_NEUTRAL },
        { "include:temp.example -all", SPF_TEMPERROR },
        { "include:broken.example all", SPF_PERMERROR },
        { "include:none.example all", SPF_PERMERROR },
        { "redirect=none.example", SPF_PERMERROR },
        { "include:fail.example all", SPF_PASS },
        { "include:soft.example all", SPF_PASS },
        { "-include:pass.example all", SPF_FAIL },
        { "?include:pass.example -all", SPF_NEUTRAL },
        { "redirect=pass.example", SPF_PASS },
        { "include:twice.example all", SPF_PERMERROR },
        { "a:a..example -all", SPF_FAIL },
        { "include:a..example -all", SPF_PERMERROR },
        { "redirect=a..example", SPF_PERMERROR },
        { "ip6:::ffff:192.0.2.1 -all", SPF_FAIL },
        { "redirect=fail.example ?all", SPF_NEUTRAL },
        { "ip4:192.0.2.65/25 -all", SPF_PASS },
        { "ip4:192.0.2.129/25 -all", SPF_FAIL },
        { "ip4:192.0.3.1/23 -all", SPF_PASS },
        { "ip4:192.0.4.1/23 -all", SPF_FAIL },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        publish(rows[i].record, 1, "");
        row("down.example", ZONE_TIMEOUT, "");
        row("halfdown.example", TERN_DNS_MX, "down.example");
        row("temp.example", TERN_DNS_TXT, "v=spf1 a:down.example");
        row("broken.example", TERN_DNS_TXT, "v=spf1 foo");
        row("none.example", TERN_DNS_TXT, "hello");
        row("fail.example", TERN_DNS_TXT, "v=spf1 -all");
        row("soft.example", TERN_DNS_TXT, "v=spf1 ~all");
        row("pass.example", TERN_DNS_TXT, "v=spf1 +all");
        row("twice.example", TERN_DNS_TXT, "v=spf1 +all");
        row("twice.example", TERN_DNS_TXT, "v=spf1 +all");
        enum spf_result got = ask();
        if (got != rows[i].wanted)
            fprintf(stderr, "  %s: %s\n", rows[i].record, spf_result_name(got).ptr);
        CU_ASSERT_EQUAL(got, rows[i].wanted);
        if (got == SPF_PERMERROR || got == SPF_TEMPERROR)
            CU_ASSERT_PTR_NOT_NULL(check.reason);
        got = ask_for("::ffff:192.0.2.1"); /* is IPv4 */
        CU_ASSERT_EQUAL(got, rows[i].wanted);
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite s = CU_add_suite("spf", NULL, NULL);
    CU_add_test(s, "records", test_records);
    CU_add_test(s, "macros", test_macros);
    CU_add_test(s, "personal macros", test_personal);
    CU_add_test(s, "long names", test_long_names);
    CU_add_test(s, "terms and voids", test_terms_and_voids);
    CU_add_test(s, "mx and ptr", test_mx_and_ptr);
    CU_add_test(s, "octets", test_octets);
    CU_add_test(s, "explanations", test_explanations);
    CU_add_test(s, "errors", test_errors);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    arena_fini(&zone.arena);
    return failures > 0;
}
