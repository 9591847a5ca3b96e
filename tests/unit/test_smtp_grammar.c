/* SPDX-License-Identifier: Apache-2.0 */
/* test_smtp_grammar.c - the pure pieces of a session: commands, parameters, states, replies. */
#include <CUnit/Basic.h>

#include "smtp/command.h"
#include "smtp/params.h"
#include "smtp/reply.h"
#include "smtp/state.h"

static void test_commands(void)
{
    static const struct {
        struct slice line;
        enum smtp_parse parse;
        enum smtp_verb verb;
        const char *arg;
    } rows[] = {
        { SLICE("EHLO x"), SMTP_PARSE_OK, SMTP_VERB_EHLO, "x" },
        { SLICE("ehlo x"), SMTP_PARSE_OK, SMTP_VERB_EHLO, "x" },
        { SLICE("eHlO   x  \t "), SMTP_PARSE_OK, SMTP_VERB_EHLO, "x" },
        { SLICE("HELO x y"), SMTP_PARSE_OK, SMTP_VERB_HELO, "x y" },
        { SLICE("HELO"), SMTP_PARSE_BAD_ARG, SMTP_VERB_HELO, NULL },
        { SLICE("HELO "), SMTP_PARSE_BAD_ARG, SMTP_VERB_HELO, NULL },
        { SLICE("MAIL FROM:<>"), SMTP_PARSE_OK, SMTP_VERB_MAIL, "FROM:<>" },
        { SLICE("MAIL"), SMTP_PARSE_BAD_ARG, SMTP_VERB_MAIL, NULL },
        { SLICE("RCPT TO:<\303\274@x>"), SMTP_PARSE_OK, SMTP_VERB_RCPT, "TO:<\303\274@x>" },
        { SLICE("DATA"), SMTP_PARSE_OK, SMTP_VERB_DATA, "" },
        { SLICE("DATA "), SMTP_PARSE_OK, SMTP_VERB_DATA, "" },
        { SLICE("DATA x"), SMTP_PARSE_BAD_ARG, SMTP_VERB_DATA, NULL },
        { SLICE("RSET x"), SMTP_PARSE_BAD_ARG, SMTP_VERB_RSET, NULL },
        { SLICE("QUIT x"), SMTP_PARSE_BAD_ARG, SMTP_VERB_QUIT, NULL },
        { SLICE("NOOP x"), SMTP_PARSE_OK, SMTP_VERB_NOOP, "x" },
        { SLICE("HELP"), SMTP_PARSE_OK, SMTP_VERB_HELP, "" },
        { SLICE("VRFY"), SMTP_PARSE_BAD_ARG, SMTP_VERB_VRFY, NULL },
        { SLICE("VRFY x"), SMTP_PARSE_OK, SMTP_VERB_VRFY, "x" },
        { SLICE("STARTTLS"), SMTP_PARSE_OK, SMTP_VERB_STARTTLS, "" },
        { SLICE(""), SMTP_PARSE_UNKNOWN, SMTP_VERB_COUNT, NULL },
        { SLICE(" NOOP"), SMTP_PARSE_UNKNOWN, SMTP_VERB_COUNT, NULL },
        { SLICE("NOOPX"), SMTP_PARSE_UNKNOWN, SMTP_VERB_COUNT, NULL },
        { SLICE("NOO"), SMTP_PARSE_UNKNOWN, SMTP_VERB_COUNT, NULL },
        { SLICE("NO\0OP"), SMTP_PARSE_BAD_OCTET, SMTP_VERB_COUNT, NULL },
        { SLICE("NOOP\0"), SMTP_PARSE_BAD_OCTET, SMTP_VERB_COUNT, NULL },
        { SLICE("NOOP\rQUIT"), SMTP_PARSE_BAD_OCTET, SMTP_VERB_COUNT, NULL },
        { SLICE("NOOP\nQUIT"), SMTP_PARSE_BAD_OCTET, SMTP_VERB_COUNT, NULL },
        { SLICE("NOOP\r"), SMTP_PARSE_BAD_OCTET, SMTP_VERB_COUNT, NULL },
        { SLICE("NOOP\ta"), SMTP_PARSE_BAD_OCTET, SMTP_VERB_COUNT, NULL },
        { SLICE("NOOP \177"), SMTP_PARSE_BAD_OCTET, SMTP_VERB_COUNT, NULL },
        { SLICE("NOOP \037"), SMTP_PARSE_BAD_OCTET, SMTP_VERB_COUNT, NULL },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct smtp_command c = { .verb = SMTP_VERB_COUNT };
        CU_ASSERT_EQUAL(smtp_command_parse(rows[i].line, &c), rows[i].parse);
        CU_ASSERT_EQUAL(c.verb, rows[i].verb);
        if (rows[i].arg != NULL)
            CU_ASSERT(slice_equal(c.arg, slice_cstr(rows[i].arg)));
    }
}

static void test_params(void)
{
    static const struct {
        const char *rest;
        unsigned extensions;
        enum smtp_param_fault fault;
        uint64_t size;
        int body;
        bool smtputf8;
    } rows[] = {
        { "", ~0u, SMTP_PARAM_OK, 0, 0, false },
        { "  ", ~0u, SMTP_PARAM_OK, 0, 0, false },
        { " SIZE=1000", ~0u, SMTP_PARAM_OK, 1000, 0, false },
        { " size=0", ~0u, SMTP_PARAM_OK, 0, 0, false },
        { " SIZE=18446744073709551615", ~0u, SMTP_PARAM_OK, UINT64_MAX, 0, false },
        { " SIZE=99999999999999999999", ~0u, SMTP_PARAM_OK, UINT64_MAX, 0, false },
        { " BODY=7BIT", ~0u, SMTP_PARAM_OK, 0, 0, false },
        { " body=8bitmime  SMTPUTF8 SIZE=7", ~0u, SMTP_PARAM_OK, 7, 1, true },
        { " SIZE=100000000000000000000", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false }, /* 21 digits */
        { " SIZE", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " SIZE=", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " SIZE=-1", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " SIZE=1k", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " SIZE=1 SIZE=1", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " BODY=7BIT BODY=8BITMIME", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " BODY", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " BODY=9BIT", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " BODY=BINARYMIME", ~0u, SMTP_PARAM_OK, 0, 2, false },
        { " PRDR", ~SMTP_EXT_PRDR, SMTP_PARAM_UNKNOWN, 0, 0, false },
        { " PRDR=", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " PRDR prdr", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " SMTPUTF8=1", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " =1", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " -A", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " A_B", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " A=b=c", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " A=\303\274", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { "SIZE=1", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false }, /* no blank before it */
        { " RET=FULL ENVID=x", ~0u, SMTP_PARAM_OK, 0, 0, false },
        { " ret=hdrs", ~0u, SMTP_PARAM_OK, 0, 0, false },
        { " RET=FULL", ~SMTP_EXT_DSN, SMTP_PARAM_UNKNOWN, 0, 0, false },
        { " ENVID=x", ~SMTP_EXT_DSN, SMTP_PARAM_UNKNOWN, 0, 0, false },
        { " RET=BODY", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " RET", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " ENVID", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " ENVID=a+0D", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " ENVID=a+2b", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false }, /* the digits are upper case */
        { " ENVID=a+2", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " HOLDFOR=60", ~0u, SMTP_PARAM_UNKNOWN, 0, 0, false },
        { " HOLDUNTIL=2030-01-01T00:00:00Z", ~0u, SMTP_PARAM_UNKNOWN, 0, 0, false },
        { " REQUIRETLS", ~0u, SMTP_PARAM_UNKNOWN, 0, 0, false },
        { " BY=120;R", ~0u, SMTP_PARAM_UNKNOWN, 0, 0, false },
        { " MT-PRIORITY=3", ~0u, SMTP_PARAM_UNKNOWN, 0, 0, false },
        { " AUTH=<>", ~SMTP_EXT_AUTH, SMTP_PARAM_UNKNOWN, 0, 0, false },
        { " AUTH=<>", ~0u, SMTP_PARAM_OK, 0, 0, false },
        { " AUTH=e+3Dmc2@example.com", ~0u, SMTP_PARAM_OK, 0, 0, false }, /* RFC 4954 5 */
        { " AUTH=e+3dmc2", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " AUTH=e+3", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " AUTH", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " AUTH=<> AUTH=<>", ~0u, SMTP_PARAM_SYNTAX, 0, 0, false },
        { " X", ~0u, SMTP_PARAM_UNKNOWN, 0, 0, false },
        { " SIZE=1", ~SMTP_EXT_SIZE, SMTP_PARAM_UNKNOWN, 0, 0, false },
        { " BODY=8BITMIME", ~SMTP_EXT_8BITMIME, SMTP_PARAM_UNKNOWN, 0, 0, false },
        { " BODY=7BIT", ~SMTP_EXT_8BITMIME, SMTP_PARAM_OK, 0, 0, false },
        { " BODY=7BIT", ~(SMTP_EXT_8BITMIME | SMTP_EXT_BINARYMIME), SMTP_PARAM_UNKNOWN, 0, 0,
          false },
        { " BODY=BINARYMIME", ~SMTP_EXT_BINARYMIME, SMTP_PARAM_UNKNOWN, 0, 0, false },
        { " BODY=BINARYMIME", ~SMTP_EXT_8BITMIME, SMTP_PARAM_OK, 0, 2, false },
        { " SMTPUTF8", ~SMTP_EXT_SMTPUTF8, SMTP_PARAM_UNKNOWN, 0, 0, false },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct smtp_mail_options o = { 0 };
        enum smtp_param_fault f =
            smtp_params_mail(slice_cstr(rows[i].rest), rows[i].extensions, &o);
        if (f != rows[i].fault)
            printf("%s: %d\n", rows[i].rest, (int)f);
        CU_ASSERT_EQUAL(f, rows[i].fault);
        CU_ASSERT_EQUAL(o.size, rows[i].size);
        CU_ASSERT_EQUAL((int)o.body, rows[i].body);
        CU_ASSERT_EQUAL(o.smtputf8, rows[i].smtputf8);
    }
}

static void test_rcpt_params(void)
{
    static const struct {
        const char *rest;
        unsigned extensions;
        enum smtp_param_fault fault;
        const char *notify, *orcpt;
    } rows[] = {
        { "", ~0u, SMTP_PARAM_OK, "", "" },
        { " NOTIFY=NEVER", ~0u, SMTP_PARAM_OK, "NEVER", "" },
        { " notify=failure", ~0u, SMTP_PARAM_OK, "FAILURE", "" },
        { " NOTIFY=DELAY,FAILURE,success", ~0u, SMTP_PARAM_OK, "SUCCESS,FAILURE,DELAY", "" },
        { " ORCPT=rfc822;a+2Bb@x.org NOTIFY=DELAY", ~0u, SMTP_PARAM_OK, "DELAY", "rfc822;a+2Bb@x.org" },
        { " ORCPT=x400;/c=", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " ORCPT=utf-8;\\x{FC}@x.org", ~0u, SMTP_PARAM_OK, "", "utf-8;\\x{FC}@x.org" },
        { " NOTIFY", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " NOTIFY=", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " NOTIFY=,", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " NOTIFY=NEVER,DELAY", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " NOTIFY=DELAY,NEVER", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " NOTIFY=DELAY,DELAY", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " NOTIFY=DELAY,", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " NOTIFY=RELAY", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " NOTIFY=DELAY NOTIFY=DELAY", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " ORCPT", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " ORCPT=a@x.org", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " ORCPT=rfc822;", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " ORCPT=;a@x.org", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " ORCPT=r_c;a@x.org", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " ORCPT=rfc822;a+00", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " ORCPT=rfc822;a+FF", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " ORCPT=rfc822;a ORCPT=rfc822;a", ~0u, SMTP_PARAM_SYNTAX, "", "" },
        { " NOTIFY=NEVER", ~SMTP_EXT_DSN, SMTP_PARAM_UNKNOWN, "", "" },
        { " ORCPT=rfc822;a", ~SMTP_EXT_DSN, SMTP_PARAM_UNKNOWN, "", "" },
        { " RET=FULL", ~0u, SMTP_PARAM_UNKNOWN, "", "" },
        { "NOTIFY=NEVER", ~0u, SMTP_PARAM_SYNTAX, "", "" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct smtp_rcpt_options o = { SLICE(""), SLICE("") };
        enum smtp_param_fault f = smtp_params_rcpt(slice_cstr(rows[i].rest), rows[i].extensions, &o);
        if (f != rows[i].fault)
            printf("%s: %d\n", rows[i].rest, (int)f);
        CU_ASSERT_EQUAL(f, rows[i].fault);
        CU_ASSERT(slice_equal(o.notify, slice_cstr(rows[i].notify)));
        CU_ASSERT(slice_equal(o.orcpt, slice_cstr(rows[i].orcpt)));
    }
}

/* RFC 3461 4.2 and 4.4: the longest, and one octet more. */
static void test_dsn_bounds(void)
{
    char text[600];

    for (size_t i = 0; i < 2; i++) {
        struct smtp_mail_options m;
        struct smtp_rcpt_options r;
        int envid = snprintf(text, sizeof(text), " ENVID=%0*d", (int)(SMTP_ENVID_OCTETS_MAX + i), 0);
        CU_ASSERT_EQUAL(smtp_params_mail(slice_make(text, (size_t)envid), ~0u, &m),
                        i == 0 ? SMTP_PARAM_OK : SMTP_PARAM_SYNTAX);
        int orcpt = snprintf(text, sizeof(text), " ORCPT=rfc822;%0*d",
                             (int)(SMTP_ORCPT_OCTETS_MAX - 7 + i), 0);
        CU_ASSERT_EQUAL(smtp_params_rcpt(slice_make(text, (size_t)orcpt), ~0u, &r),
                        i == 0 ? SMTP_PARAM_OK : SMTP_PARAM_SYNTAX);
    }
}

/* The whole table again, as text, so that no cell changes unseen. '.' is "may not come". */
static void test_states(void)
{
    static const struct {
        enum smtp_state state;
        const char
            *next; /* EHLO HELO LHLO MAIL RCPT DATA RSET NOOP QUIT VRFY HELP AUTH EXPN STARTTLS BDAT XCLIENT XFORWARD
                      ETRN */
    } rows[] = {
        { SMTP_STATE_CONNECTED, ".................." }, { SMTP_STATE_TURNED_AWAY, "........c........." },
        { SMTP_STATE_GREETED, "rrr...ggcgg.g..gg." },   { SMTP_STATE_READY, "rrrm..rrcrrrrT.grr" },
        { SMTP_STATE_MAIL, "rrr.R.rmcmm.m....." },      { SMTP_STATE_RCPT, "rrr.RDrRcRR.R.B..." },
        { SMTP_STATE_DATA, ".................." },      { SMTP_STATE_BDAT, "rrr...rBcBB.B.B..." },
        { SMTP_STATE_TLS, ".................." },
        { SMTP_STATE_CLOSING, ".................." },   { SMTP_STATE_AUTH, ".................." },
    };
    static const char letters[SMTP_STATE_COUNT + 1] = ".?tgramRDBTc";

    CU_ASSERT_EQUAL(sizeof(rows) / sizeof(rows[0]), SMTP_STATE_COUNT - 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int verb = 0; verb < SMTP_VERB_COUNT; verb++)
            CU_ASSERT_EQUAL(letters[smtp_state_next(rows[i].state, (enum smtp_verb)verb)],
                            rows[i].next[verb]);
    for (int state = 0; state < SMTP_STATE_COUNT; state++)
        CU_ASSERT_PTR_NOT_NULL(smtp_state_name((enum smtp_state)state));
}

static void test_reply_table(void)
{
    for (int id = 0; id < SMTP_REPLY_COUNT; id++) {
        const struct smtp_reply *r = smtp_reply_get((enum smtp_reply_id)id);
        CU_ASSERT_TRUE(smtp_reply_is_coherent(r->code, r->enhanced));
        CU_ASSERT_EQUAL(r->enhanced[0] == '\0', r->code / 100 == 3);
        CU_ASSERT(strlen(r->text) > 0 && strlen(r->text) < 100);
    }
}

static void test_coherence(void)
{
    static const struct {
        unsigned code;
        const char *enhanced;
        bool good;
    } rows[] = {
        { 250, "2.0.0", true },     { 250, "", true },          { 354, "", true },
        { 550, "5.7.1", true },     { 550, "5.123.456", true }, { 421, "4.7.0", true },
        { 550, "4.7.1", false },    { 250, "5.0.0", false },    { 354, "3.0.0", false },
        { 353, "", true },          { 353, "3.0.0", false },    { 352, "", false },
        { 550, "5.7", false },      { 550, "5.7.", false },     { 550, "5..1", false },
        { 550, "5.1234.1", false }, { 550, "5.7.1 ", false },   { 550, "571", false },
        { 150, "", false },         { 350, "", false },         { 0, "", false },
        { 650, "", false },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CU_ASSERT_EQUAL(smtp_reply_is_coherent(rows[i].code, rows[i].enhanced), rows[i].good);
}

static void check_print(struct slice text, bool utf8, const char *expected)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    smtp_reply_print(&out, 550, "5.7.1", text, utf8);
    CU_ASSERT(slice_equal(buf_slice(&out), slice_cstr(expected)));
}

static void test_print(void)
{
    check_print(SLICE("No"), false, "550 5.7.1 No\r\n");
    check_print(SLICE(""), false, "550 5.7.1 \r\n");
    check_print(SLICE("a\r\nb\0c\t\177"), false, "550 5.7.1 a??b?c??\r\n");
    check_print(SLICE("\303\274"), false, "550 5.7.1 ??\r\n");
    check_print(SLICE("\303\274"), true, "550 5.7.1 \303\274\r\n");
    check_print(SLICE("\303"), true, "550 5.7.1 ?\r\n");
}

static void check_list(struct slice text, const char *expected)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    smtp_reply_print_list(&out, 250, "2.1.5", text);
    CU_ASSERT(slice_equal(buf_slice(&out), slice_cstr(expected)));
}

static void test_print_list(void)
{
    CLEANUP_BUF struct buf text = BUF_INIT, out = BUF_INIT;

    check_list(SLICE("<a@x>"), "250 2.1.5 <a@x>\r\n");
    check_list(SLICE("<a@x>\n<b@x>"), "250-2.1.5 <a@x>\r\n250 2.1.5 <b@x>\r\n");
    check_list(SLICE("<a@x>\n<b@x>\n"), "250-2.1.5 <a@x>\r\n250 2.1.5 <b@x>\r\n");
    check_list(SLICE("a\r\n\303"), "250-2.1.5 a?\r\n250 2.1.5 ?\r\n");
    check_list(SLICE(""), "250 2.1.5 \r\n");
    while (text.len < 600) /* a line that is two */
        buf_add_char(&text, 'x');
    buf_add_cstr(&text, "\ny");
    smtp_reply_print_list(&out, 250, "2.1.5", buf_slice(&text));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data + 500, "\r\n250-2.1.5 xx"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data + 500, "x\r\n250 2.1.5 y\r\n"));
}

/* Every line within 512 octets, nothing of the text lost but blanks at the breaks. */
static void check_lines(size_t len, char fill, bool utf8, unsigned lines)
{
    CLEANUP_BUF struct buf text = BUF_INIT, out = BUF_INIT;
    unsigned count = 0;

    while (text.len < len)
        buf_add_char(&text, fill);
    smtp_reply_print(&out, 451, "4.3.0", buf_slice(&text), utf8);
    for (struct slice rest = buf_slice(&out); rest.len > 0; count++) {
        size_t octets = (size_t)slice_find(rest, '\n') + 1;
        CU_ASSERT(octets <= SMTP_REPLY_LINE_OCTETS_MAX);
        CU_ASSERT_EQUAL(rest.ptr[3], octets == rest.len ? ' ' : '-');
        CU_ASSERT(slice_starts_nocase(slice_from(rest, 4), SLICE("4.3.0 ")));
        rest = slice_from(rest, octets);
    }
    CU_ASSERT_EQUAL(count, lines);
}

static void test_lines(void)
{
    check_lines(500, 'x', false, 1); /* 10 + 500 + 2 */
    check_lines(501, 'x', false, 2);
    check_lines(SMTP_REPLY_TEXT_OCTETS_MAX, 'x', false, 9);
    check_lines(SMTP_REPLY_TEXT_OCTETS_MAX + 1, 'x', false, 9);
    check_lines(1000000, 'x', false, 9);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("smtp grammar", NULL, NULL);
    CU_add_test(suite, "commands", test_commands);
    CU_add_test(suite, "parameters", test_params);
    CU_add_test(suite, "parameters of RCPT", test_rcpt_params);
    CU_add_test(suite, "bounds of DSN's parameters", test_dsn_bounds);
    CU_add_test(suite, "states", test_states);
    CU_add_test(suite, "reply table", test_reply_table);
    CU_add_test(suite, "coherence", test_coherence);
    CU_add_test(suite, "print", test_print);
    CU_add_test(suite, "print a list", test_print_list);
    CU_add_test(suite, "lines", test_lines);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
