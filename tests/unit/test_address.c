/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_address.c - RFC 5321 4.1.2 and RFC 6531 3.3 in rows, limits, and the address lists of
 * others.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <jansson.h>

#include "corpora.h"
#include "mime/address.h"
#include "mime/domain.h"

#define U8   ADDRESS_SMTPUTF8
#define POST ADDRESS_ALLOW_NO_DOMAIN
#define NUL  ADDRESS_ALLOW_NULL

static struct arena arena;

static const struct {
    const char *text;
    unsigned flags;
    int error;
    const char *local, *domain;
} rows[] = {
    { "a@example.com", 0, 0, "a", "example.com" },
    { "User.Name+tag@EXAMPLE.Com", 0, 0, "User.Name+tag", "example.com" },
    { "!#$%&'*+-/=?^_`{|}~@x.org", 0, 0, "!#$%&'*+-/=?^_`{|}~", "x.org" },
    { "a%b@x.org", 0, 0, "a%b", "x.org" },     /* percent hack: a plain local part */
    { "h!u@x.org", 0, 0, "h!u", "x.org" },     /* bang path */
    { "\"a b\"@x.org", 0, 0, "a b", "x.org" }, /* Quoted-string */
    { "\"a\\\"b\\\\c\"@x.org", 0, 0, "a\"b\\c", "x.org" },
    { "\"a@b\"@x.org", 0, 0, "a@b", "x.org" },
    { "\"\"@x.org", 0, 0, "", "x.org" },
    { "a@localhost", 0, 0, "a", "localhost" },
    { "a@1.2.3.4", 0, 0, "a", "1.2.3.4" }, /* sub-domains may be all digits */
    { "a@[192.0.2.1]", 0, 0, "a", "[192.0.2.1]" },
    { "a@[IPv6:2001:DB8::1]", 0, 0, "a", "[IPv6:2001:DB8::1]" },
    { "a@[ipv6:::1]", 0, 0, "a", "[ipv6:::1]" },
    { "a@x_y.org", 0, 0, "a", "x_y.org" }, /* not of the grammar; real hosts have it */
    { "a@_spf.X.org", 0, 0, "a", "_spf.x.org" },
    { "a@x_.org", 0, 0, "a", "x_.org" },
    { "a@x--y.org", 0, 0, "a", "x--y.org" },
    { "a@XN--BCHER-KVA.example", 0, 0, "a", "xn--bcher-kva.example" },
    { "a@B\303\274cher.example", U8, 0, "a", "xn--bcher-kva.example" },
    { "\303\274@x.org", U8, 0, "\303\274", "x.org" },
    { "\"\303\274 x\"@x.org", U8, 0, "\303\274 x", "x.org" },
    { "postmaster", POST, 0, "postmaster", "" },
    { "PostMaster", POST, 0, "PostMaster", "" },
    { "root", ADDRESS_ALLOW_ANY_LOCAL, 0, "root", "" },
    { "", NUL, 0, "", "" },
    { "a@\303\274.org", 0, -EILSEQ, NULL, NULL },
    { "\303\274@x.org", 0, -EILSEQ, NULL, NULL },
    { "\303@x.org", 0, -EBADMSG, NULL, NULL }, /* not UTF-8 at all */
    { "\303@x.org", U8, -EBADMSG, NULL, NULL },
    { "a@x\343\200\202org", U8, -EBADMSG, NULL, NULL }, /* ideographic full stop */
    { "a@\357\274\273.org", U8, -EBADMSG, NULL, NULL }, /* full-width '[' */
    { "a@b\357\274\217\303\274.org", U8, -EBADMSG, NULL, NULL }, /* full-width '/' in a label: not dropped */
    { "a@b\342\204\200c.org", U8, -EBADMSG, NULL, NULL }, /* a sign that stands for "a/c" */
    { "a@b\357\274\240\303\274.org", U8, -EBADMSG, NULL, NULL }, /* full-width '@' */
    { "a@\303\274_x.org", U8, -EBADMSG, NULL, NULL },
    { "\"\\\303\274\"@x.org", U8, -EBADMSG, NULL, NULL }, /* quoted-pairSMTP is ASCII */
    { "", 0, -EBADMSG, NULL, NULL },
    { "postmaster", 0, -EBADMSG, NULL, NULL },
    { "root", POST, -EBADMSG, NULL, NULL },
    { "postmaster@", POST, -EBADMSG, NULL, NULL },
    { "@x.org", 0, -EBADMSG, NULL, NULL },
    { "a@", 0, -EBADMSG, NULL, NULL },
    { "a@b@x.org", 0, -EBADMSG, NULL, NULL },
    { ".a@x.org", 0, -EBADMSG, NULL, NULL },
    { "a.@x.org", 0, -EBADMSG, NULL, NULL },
    { "a..b@x.org", 0, -EBADMSG, NULL, NULL },
    { "a b@x.org", 0, -EBADMSG, NULL, NULL },
    { "a(c)@x.org", 0, -EBADMSG, NULL, NULL },
    { "\"a@x.org", 0, -EBADMSG, NULL, NULL },
    { "\"a\"b@x.org", 0, -EBADMSG, NULL, NULL },
    { "b\"a\"@x.org", 0, -EBADMSG, NULL, NULL },
    { "\"a\001\"@x.org", 0, -EBADMSG, NULL, NULL },
    { "\"a\tb\"@x.org", 0, -EBADMSG, NULL, NULL },
    { "a@x.org.", 0, -EBADMSG, NULL, NULL },
    { "a@.x.org", 0, -EBADMSG, NULL, NULL },
    { "a@x..org", 0, -EBADMSG, NULL, NULL },
    { "a@-x.org", 0, -EBADMSG, NULL, NULL },
    { "a@x-.org", 0, -EBADMSG, NULL, NULL },
    { "a@x y", 0, -EBADMSG, NULL, NULL },
    { "a@[192.0.2.256]", 0, -EBADMSG, NULL, NULL },
    { "a@[192.0.2]", 0, -EBADMSG, NULL, NULL },
    { "a@[192.0.2.1", 0, -EBADMSG, NULL, NULL },
    { "a@[192.0.2.1]x", 0, -EBADMSG, NULL, NULL },
    { "a@[2001:db8::1]", 0, -EBADMSG, NULL, NULL }, /* 4.1.3 wants the tag */
    { "a@[IPv6:192.0.2.1]", 0, -EBADMSG, NULL, NULL },
    { "a@[x400:foo]", 0, -EBADMSG, NULL, NULL },
    { "a@[]", 0, -EBADMSG, NULL, NULL },
};

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tern_mailbox m = { TERN_STR("kept"), TERN_STR("kept"), TERN_STR("kept") };
        int r = address_parse(slice_cstr(rows[i].text), rows[i].flags, &arena, &m);
        if (r != rows[i].error)
            printf("%s: %d\n", rows[i].text, r);
        CU_ASSERT_EQUAL_FATAL(r, rows[i].error);
        if (r < 0) {
            CU_ASSERT_STRING_EQUAL(m.local.ptr, "kept");
            continue;
        }
        CU_ASSERT_STRING_EQUAL(m.address.ptr, rows[i].text);
        CU_ASSERT_STRING_EQUAL(m.local.ptr, rows[i].local);
        CU_ASSERT_STRING_EQUAL(m.domain.ptr, rows[i].domain);
    }
    struct tern_mailbox m;
    CU_ASSERT_EQUAL(address_parse(slice_make("a\0b@x.org", 9), 0, &arena, &m), -EBADMSG);
    CU_ASSERT_EQUAL(address_parse(slice_make("a@x\0.org", 8), U8, &arena, &m), -EBADMSG);
}

/* local@d.d...d with parts of these sizes; the domain is made of labels of at most 63. */
static const char *sized(size_t local, size_t domain)
{
    char *text = arena_alloc(&arena, local + domain + 2);

    memset(text, 'x', local + domain + 1);
    text[local] = '@';
    for (size_t i = 1; i + 1 < domain; i++)
        if (i % 50 == 0)
            text[local + 1 + i] = '.';
    text[local + 1 + domain] = '\0';
    return text;
}

static void test_limits(void)
{
    struct tern_mailbox m;
    char label[80] = "a@";

    CU_ASSERT_EQUAL(address_parse(slice_cstr(sized(64, 20)), 0, &arena, &m), 0);
    CU_ASSERT_EQUAL(address_parse(slice_cstr(sized(65, 20)), 0, &arena, &m), 0); /* at least 64 */
    CU_ASSERT_EQUAL(address_parse(slice_cstr(sized(ADDRESS_LOCAL_OCTETS_MAX, 1)), 0, &arena, &m), 0);
    CU_ASSERT_EQUAL(address_parse(slice_cstr(sized(ADDRESS_LOCAL_OCTETS_MAX + 1, 1)), 0, &arena, &m),
                    -ENAMETOOLONG);
    struct slice alone = slice_head(slice_cstr(sized(ADDRESS_LOCAL_OCTETS_MAX + 1, 1)),
                                    ADDRESS_LOCAL_OCTETS_MAX + 1); /* no '@' */
    CU_ASSERT_EQUAL(address_parse(alone, ADDRESS_ALLOW_ANY_LOCAL, &arena, &m), -ENAMETOOLONG);
    alone.len--;
    CU_ASSERT_EQUAL(address_parse(alone, ADDRESS_ALLOW_ANY_LOCAL, &arena, &m), 0);
    CU_ASSERT_EQUAL(address_parse(slice_cstr(sized(64, 189)), 0, &arena, &m), 0); /* path 256 */
    CU_ASSERT_EQUAL(address_parse(slice_cstr(sized(64, 190)), 0, &arena, &m), -ENAMETOOLONG);

    memset(label + 2, 'y', 64);
    label[2 + 63] = '\0';
    CU_ASSERT_EQUAL(address_parse(slice_cstr(label), 0, &arena, &m), 0);
    label[2 + 63] = 'y';
    CU_ASSERT_EQUAL(address_parse(slice_cstr(label), 0, &arena, &m), -EBADMSG);

    tern_str d;
    CU_ASSERT_EQUAL(domain_parse(slice_cstr(sized(0, 255) + 1), false, &arena, &d), 0);
    CU_ASSERT_EQUAL(domain_parse(slice_cstr(sized(0, 256) + 1), false, &arena, &d), -ENAMETOOLONG);
    /* Fits as UTF-8, not as an A-label. */
    char wide[128];
    for (size_t i = 0; i < 60; i++)
        memcpy(wide + 2 * i, i % 2 ? "\320\266" : "\303\274", 2);
    CU_ASSERT_EQUAL(domain_parse(slice_make(wide, 120), true, &arena, &d), -ENAMETOOLONG);
}

static const struct {
    const char *text;
    unsigned flags;
    int error;
    const char *address, *rest;
} paths[] = {
    { "<a@x.org>", 0, 0, "a@x.org", "" },
    { "<a@x.org> SIZE=1", 0, 0, "a@x.org", " SIZE=1" },
    { "<>", NUL, 0, "", "" },
    { "<> BODY=7BIT", NUL, 0, "", " BODY=7BIT" },
    { "<\"a>b\"@x.org>", 0, 0, "\"a>b\"@x.org", "" },
    { "<\"a\\\">b\"@x.org>x", 0, 0, "\"a\\\">b\"@x.org", "x" },
    { "<@r.org:a@x.org>", 0, 0, "a@x.org", "" },
    { "<@r.org,@s.org:a@x.org>", 0, 0, "a@x.org", "" },
    { "<@[IPv6:::1],@[192.0.2.1]:a@x.org>", 0, 0, "a@x.org", "" },
    { "<@\303\274.org:a@x.org>", U8, 0, "a@x.org", "" },
    { "<@\303\274.org:a@x.org>", 0, -EILSEQ, NULL, NULL },
    { "<postmaster>", POST, 0, "postmaster", "" },
    { "<>", 0, -EBADMSG, NULL, NULL },
    { "<@r.org:>", NUL, -EBADMSG, NULL, NULL },
    { "<@r.org,:a@x.org>", 0, -EBADMSG, NULL, NULL },
    { "<@r.org a@x.org>", 0, -EBADMSG, NULL, NULL },
    { "<@r_org:a@x.org>", 0, 0, "a@x.org", "" },
    { "<@r.org,s.org:a@x.org>", 0, -EBADMSG, NULL, NULL },
    { "<a@x.org", 0, -EBADMSG, NULL, NULL },
    { "a@x.org", 0, -EBADMSG, NULL, NULL },
    { "< a@x.org>", 0, -EBADMSG, NULL, NULL },
    { "<a@x.org >", 0, -EBADMSG, NULL, NULL },
    { "<\"a@x.org>", 0, -EBADMSG, NULL, NULL },
    { "<<a@x.org>>", 0, -EBADMSG, NULL, NULL },
    { "", NUL, -EBADMSG, NULL, NULL },
};

static void test_paths(void)
{
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct tern_mailbox m;
        struct slice rest = SLICE("kept");
        int r = address_parse_path(slice_cstr(paths[i].text), paths[i].flags, &arena, &m, &rest);
        if (r != paths[i].error)
            printf("%s: %d\n", paths[i].text, r);
        CU_ASSERT_EQUAL_FATAL(r, paths[i].error);
        if (r < 0) {
            CU_ASSERT(slice_equal(rest, SLICE("kept")));
            continue;
        }
        CU_ASSERT_STRING_EQUAL(m.address.ptr, paths[i].address);
        CU_ASSERT(slice_equal(rest, slice_cstr(paths[i].rest)));
    }
}

/* A route of `hops` domains of 9 octets each with '@' and separator. */
static int parse_route(size_t hops)
{
    CLEANUP_BUF struct buf text = BUF_INIT;
    struct tern_mailbox m;
    struct slice rest;

    buf_add_char(&text, '<');
    for (size_t i = 0; i < hops; i++)
        buf_printf(&text, "@r%04zu.x%c", i, i + 1 < hops ? ',' : ':');
    buf_add_cstr(&text, "a@x.org>");
    return address_parse_path(buf_slice(&text), 0, &arena, &m, &rest);
}

static void test_route_limit(void)
{
    size_t fits = ADDRESS_ROUTE_OCTETS_MAX / 9 + 1; /* begun within the bound */

    CU_ASSERT_EQUAL(parse_route(fits), 0);
    CU_ASSERT_EQUAL(parse_route(fits + 1), -ENAMETOOLONG);
}

static void test_compose(void)
{
    static const struct {
        const char *local, *domain, *text;
    } composed[] = {
        { "a.b", "x.org", "a.b@x.org" },
        { "a b", "x.org", "\"a b\"@x.org" },
        { "", "x.org", "\"\"@x.org" },
        { "a\"\\", "x.org", "\"a\\\"\\\\\"@x.org" },
        { "a.", "x.org", "\"a.\"@x.org" },
        { "postmaster", "", "postmaster" },
        { "\303\274", "x.org", "\303\274@x.org" },
    };

    for (size_t i = 0; i < sizeof(composed) / sizeof(composed[0]); i++) {
        struct tern_mailbox m;
        tern_str t =
            address_compose(slice_cstr(composed[i].local), slice_cstr(composed[i].domain), &arena);
        CU_ASSERT_STRING_EQUAL(t.ptr, composed[i].text);
        CU_ASSERT_EQUAL(address_parse(slice_make(t.ptr, t.len), U8 | POST, &arena, &m), 0);
        CU_ASSERT_STRING_EQUAL(m.local.ptr, composed[i].local);
    }
}

static void test_needs_smtputf8(void)
{
    struct tern_mailbox m;

    CU_ASSERT_EQUAL(address_parse(SLICE("a@\303\274.org"), U8, &arena, &m), 0);
    CU_ASSERT_FALSE(address_needs_smtputf8(&m));
    CU_ASSERT_EQUAL(address_parse(SLICE("\303\274@x.org"), U8, &arena, &m), 0);
    CU_ASSERT_TRUE(address_needs_smtputf8(&m));
    CU_ASSERT_STRING_EQUAL(domain_to_unicode(SLICE("xn--bcher-kva.example"), &arena).ptr,
                           "b\303\274cher.example");
    CU_ASSERT_STRING_EQUAL(domain_to_unicode(SLICE("[192.0.2.1]"), &arena).ptr, "[192.0.2.1]");
}

/* ---- Lists of others ------------------------------------------------------ */

/* Where we differ, and by which rule. */
static const struct {
    const char *text;
    const char *why;
} differences[] = {
    { "test@xn--example.com",
      "RFC 5321 4.1.2: a sub-domain; whether it decodes is the DNS's business" },
};

static bool differs(struct slice text)
{
    for (size_t i = 0; i < sizeof(differences) / sizeof(differences[0]); i++)
        if (slice_equal(text, slice_cstr(differences[i].text)))
            return true;
    return false;
}

static void test_haraka(void)
{
    CLEANUP_BUF struct buf file = BUF_INIT;
    struct slice rest, line, column[4];
    unsigned count = 0;

    if (!corpora_read("smtp/haraka-addresses.tsv", &file))
        return;
    for (rest = buf_slice(&file); corpora_line(&rest, &line);) {
        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        for (int i = 0; i < 4; i++) {
            ptrdiff_t tab = slice_find(line, '\t');
            column[i] = tab < 0 ? line : slice_head(line, (size_t)tab);
            line = slice_from(line, column[i].len + 1);
        }
        struct tern_mailbox m;
        struct slice behind;
        bool bracketed = column[0].ptr[0] == '<';
        int r = bracketed ? address_parse_path(column[0], U8 | POST | NUL, &arena, &m, &behind)
                          : address_parse(column[0], U8, &arena, &m);
        CU_ASSERT_EQUAL(r == 0, slice_equal(column[1], SLICE("valid")));
        if (r == 0) {
            struct slice address = slice_make(m.address.ptr, m.address.len);
            CU_ASSERT(slice_equal(slice_head(address, column[2].len), column[2])); /* quotes kept */
            CU_ASSERT(slice_equal(slice_make(m.domain.ptr, m.domain.len), column[3]));
        }
        count++;
    }
    CU_ASSERT(count >= 11);
}

/* A row that the list has put away behind '#': domain literals that its own parser let through. */
static bool is_put_away(struct slice line)
{
    return line.ptr[0] == '#' && memmem(line.ptr, line.len, "@[IPv6", 6) != NULL;
}

static void test_flanker(void)
{
    CLEANUP_BUF struct buf file = BUF_INIT;
    struct slice line;
    unsigned count = 0;

    if (!corpora_read("smtp/flanker-addresses/mailbox_invalid.txt", &file))
        return;
    for (struct slice rest = buf_slice(&file); corpora_line(&rest, &line);) {
        struct tern_mailbox m;
        bool put_away = line.len > 0 && is_put_away(line);
        if (put_away)
            line = slice_from(line, 2);
        if (line.len == 0 || slice_equal(line, SLICE("#")) || line.ptr[0] == ' ' ||
            slice_equal(slice_head(line, 2), SLICE("# ")))
            continue;
        /* What follows a blank run is the list's remark. */
        const char *remark = memmem(line.ptr, line.len, "    ", 4);
        if (remark != NULL)
            line.len = (size_t)(remark - line.ptr);
        int r = address_parse(line, U8, &arena, &m);
        if ((r == 0) != differs(line))
            printf("%.*s: %d\n", (int)line.len, line.ptr, r);
        CU_ASSERT_EQUAL(r == 0, differs(line));
        count++;
    }
    CU_ASSERT(count > 110);

    buf_clear(&file);
    if (!corpora_read("smtp/flanker-addresses/domain_typos_invalid.txt", &file))
        return;
    for (struct slice rest = buf_slice(&file); corpora_line(&rest, &line);)
        CU_ASSERT(domain_is_valid(line)); /* "invalid" as a typo: as domains they are fine */

    buf_clear(&file);
    if (!corpora_read("smtp/flanker-addresses/domain_typos_valid.txt", &file))
        return;
    for (struct slice rest = buf_slice(&file); corpora_line(&rest, &line);) {
        ptrdiff_t comma = slice_find(line, ',');
        if (line.len == 0 || line.ptr[0] == '#' || comma < 0)
            continue;
        struct slice slip = slice_head(line, (size_t)comma);
        char last = slip.ptr[slip.len - 1]; /* some slips end in a sign that no domain has (4.1.2) */
        CU_ASSERT_EQUAL(domain_is_valid(slip), strchr("?`'", last) == NULL);
        CU_ASSERT(domain_is_valid(slice_from(line, (size_t)comma + 1))); /* what was meant */
    }
}

/* The rows of the file itself; one has a NUL, so lengths are taken. */
static void test_mox_file(void)
{
    CLEANUP_BUF struct buf file = BUF_INIT;
    size_t i, count = 0;
    json_t *row;

    if (!corpora_read("smtp/mox/mox-smtp-address.part.json", &file))
        return;
    json_t *list = json_loadb(file.data, file.len, JSON_ALLOW_NUL, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(list);
    json_array_foreach(list, i, row)
    {
        json_t *arg = json_array_get(json_object_get(row, "args"), 0);
        const char *test = json_string_value(json_object_get(row, "test"));
        bool good = strcmp(json_string_value(json_object_get(row, "case")), "good") == 0;
        struct slice text = slice_make(json_string_value(arg), json_string_length(arg));
        struct tern_mailbox m;
        unsigned flags = strcmp(test, "TestParseLocalpart") == 0 ? ADDRESS_ALLOW_ANY_LOCAL : 0;
        if (good != (address_parse(text, flags, &arena, &m) == 0))
            printf("%s: %.*s\n", test, (int)text.len, text.ptr);
        CU_ASSERT_EQUAL(address_parse(text, flags, &arena, &m) == 0, good);
        count++;
    }
    CU_ASSERT(count >= 15);
    json_decref(list);
}

/* From mox's tests of parsing (they are few, and JSON escapes hide what is in them). */
static void test_mox(void)
{
    static const struct {
        struct slice local;
        bool good;
    } locals[] = {
        { SLICE("user"), true },  { SLICE("a"), true },      { SLICE("a.b.c"), true },
        { SLICE("\"\""), true },  { SLICE("\"ok\""), true }, { SLICE("a.bc"), true },
        { SLICE(""), false },     { SLICE("\""), false },    { SLICE("\0"), false },
        { SLICE("\"\\"), false }, { SLICE("\"\1"), false },  { SLICE("\"\"leftover"), false },
    };

    for (size_t i = 0; i < sizeof(locals) / sizeof(locals[0]); i++) {
        CLEANUP_BUF struct buf text = BUF_INIT;
        struct tern_mailbox m;
        buf_add(&text, locals[i].local);
        CU_ASSERT_EQUAL(address_parse(buf_slice(&text), ADDRESS_ALLOW_ANY_LOCAL, &arena, &m) == 0,
                        locals[i].good);
        buf_add_cstr(&text, "@example.com");
        CU_ASSERT_EQUAL(address_parse(buf_slice(&text), 0, &arena, &m) == 0, locals[i].good);
    }
}

int main(void)
{
    arena_init(&arena);
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("address", NULL, NULL);
    CU_add_test(suite, "rows", test_rows);
    CU_add_test(suite, "limits", test_limits);
    CU_add_test(suite, "paths", test_paths);
    CU_add_test(suite, "route limit", test_route_limit);
    CU_add_test(suite, "compose", test_compose);
    CU_add_test(suite, "needs smtputf8", test_needs_smtputf8);
    CU_add_test(suite, "haraka's list", test_haraka);
    CU_add_test(suite, "flanker's lists", test_flanker);
    CU_add_test(suite, "mox's rows", test_mox);
    CU_add_test(suite, "mox's list", test_mox_file);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    arena_fini(&arena);
    return failures != 0;
}
