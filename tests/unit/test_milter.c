/* SPDX-License-Identifier: Apache-2.0 */
/* test_milter.c - packets, the table of states, and conversations of a milter, octets in and octets out. */
#include <CUnit/Basic.h>

#include "milter/session.h"
#include "milter/state.h"

/* ---- an owner that answers as it is told ---- */

struct owner {
    struct milter_session *session;
    struct buf out, seen;
    struct milter_answer answer;
    bool later, closed;
    char why[200];
};

static void decide(struct owner *o)
{
    if (!o->later)
        milter_session_answer(o->session, &o->answer);
}

static void on_send(void *owner, struct slice octets)
{
    buf_add(&((struct owner *)owner)->out, octets);
}

static void on_close(void *owner, const char *why)
{
    struct owner *o = owner;

    o->closed = true;
    (void)snprintf(o->why, sizeof(o->why), "%s", why != NULL ? why : "quit");
}

static void on_connect(void *owner, const struct milter_connect *c)
{
    struct owner *o = owner;

    buf_printf(&o->seen, "connect(%.*s,%c,%u,%.*s) ", (int)c->host.len, c->host.ptr, c->family, c->port,
               (int)c->address.len, c->address.ptr);
    decide(o);
}

static void on_helo(void *owner, struct slice name)
{
    struct owner *o = owner;

    buf_printf(&o->seen, "helo(%.*s) ", (int)name.len, name.ptr);
    decide(o);
}

static void path(struct owner *o, const char *what, const struct milter_path *p)
{
    struct slice rest = p->params, word;

    buf_printf(&o->seen, "%s(%.*s", what, (int)p->address.len, p->address.ptr);
    while (milter_take_string(&rest, &word))
        buf_printf(&o->seen, " %.*s", (int)word.len, word.ptr);
    buf_add_cstr(&o->seen, ") ");
    decide(o);
}

static void on_mail(void *owner, const struct milter_path *p)
{
    path(owner, "mail", p);
}

static void on_rcpt(void *owner, const struct milter_path *p)
{
    path(owner, "rcpt", p);
}

static void on_data(void *owner)
{
    buf_add_cstr(&((struct owner *)owner)->seen, "data ");
    decide(owner);
}

static void on_message(void *owner)
{
    buf_add_cstr(&((struct owner *)owner)->seen, "message ");
    decide(owner);
}

static void on_header(void *owner, struct slice name, struct slice value)
{
    buf_printf(&((struct owner *)owner)->seen, "header(%.*s:%.*s) ", (int)name.len, name.ptr, (int)value.len, value.ptr);
}

static void on_body(void *owner, struct slice octets)
{
    buf_printf(&((struct owner *)owner)->seen, "body(%zu) ", octets.len);
}

static void on_abort(void *owner)
{
    buf_add_cstr(&((struct owner *)owner)->seen, "abort ");
}

static void on_client_gone(void *owner)
{
    buf_add_cstr(&((struct owner *)owner)->seen, "gone ");
}

static const struct milter_ops ops = {
    .send = on_send, .close = on_close, .on_connect = on_connect, .on_helo = on_helo, .on_mail = on_mail,
    .on_rcpt = on_rcpt, .on_data = on_data, .on_message = on_message, .on_header = on_header, .on_body = on_body,
    .on_abort = on_abort, .on_client_gone = on_client_gone,
};

static void begin(struct owner *o)
{
    struct milter_session_options so = { .ops = &ops, .owner = o, .wants_message = true, .wants_data = true };

    *o = (struct owner){ .later = false };
    o->session = milter_session_new(&so);
}

static void end(struct owner *o)
{
    milter_session_free(o->session);
    buf_free(&o->out);
    buf_free(&o->seen);
}

static void put(struct buf *out, char code, struct slice data)
{
    uint32_t n = (uint32_t)data.len + 1;
    char length[4] = { (char)(n >> 24), (char)(n >> 16), (char)(n >> 8), (char)n };

    buf_add(out, slice_make(length, 4));
    buf_add_char(out, code);
    buf_add(out, data);
}

static void feed(struct owner *o, char code, struct slice data)
{
    CLEANUP_BUF struct buf packet = BUF_INIT;

    put(&packet, code, data);
    milter_session_input(o->session, buf_slice(&packet));
}

#define FEED(o, code, text) feed(o, code, slice_make(text, sizeof(text) - 1))
#define NEGOTIATE           "\0\0\0\6\0\0\1\xff\0\x1f\xff\xff"
#define OLD                 "\0\0\0\2\0\0\0\x3f\0\0\0\x7f"

static const char *codes(struct owner *o)
{
    static char text[200];
    struct slice rest = buf_slice(&o->out);
    struct milter_packet p;
    size_t n, len = 0;

    while (len + 1 < sizeof(text) && milter_packet_parse(rest, &p, &n) == MILTER_PARSE_DONE) {
        text[len++] = p.code;
        rest = slice_from(rest, n);
    }
    text[len] = '\0';
    buf_clear(&o->out);
    return text;
}

static const char *seen(struct owner *o)
{
    static char text[4000];

    (void)snprintf(text, sizeof(text), "%.*s", (int)o->seen.len, o->seen.data != NULL ? o->seen.data : "");
    buf_clear(&o->seen);
    return text;
}

/* ---- tests ---- */

static void test_packets(void)
{
    struct milter_packet p;
    size_t n;

    CU_ASSERT_EQUAL(milter_packet_parse(slice_make("\0\0\0", 3), &p, &n), MILTER_PARSE_MORE);
    CU_ASSERT_EQUAL(milter_packet_parse(slice_make("\0\0\0\0", 4), &p, &n), MILTER_PARSE_EMPTY);
    CU_ASSERT_EQUAL(milter_packet_parse(slice_make("\0\0\0\1", 4), &p, &n), MILTER_PARSE_MORE);
    CU_ASSERT_EQUAL(milter_packet_parse(slice_make("\0\0\0\1A", 5), &p, &n), MILTER_PARSE_DONE);
    CU_ASSERT_EQUAL(p.command, MILTER_ABORT);
    CU_ASSERT_EQUAL(n, 5);
    CU_ASSERT_EQUAL(milter_packet_parse(slice_make("\0\0\0\1?", 5), &p, &n), MILTER_PARSE_DONE);
    CU_ASSERT_EQUAL(p.command, MILTER_COMMAND_COUNT);
    CU_ASSERT_EQUAL(MILTER_PACKET_OCTETS_MAX, 0x100000);
    CU_ASSERT_EQUAL(milter_packet_parse(slice_make("\0\x10\0\0", 4), &p, &n), MILTER_PARSE_MORE);
    CU_ASSERT_EQUAL(milter_packet_parse(slice_make("\0\x10\0\1", 4), &p, &n), MILTER_PARSE_TOO_LONG);
    CU_ASSERT_EQUAL(milter_packet_parse(slice_make("\xff\xff\xff\xff", 4), &p, &n), MILTER_PARSE_TOO_LONG);
}

static void test_whole_mail(void)
{
    struct owner o;

    begin(&o);
    FEED(&o, 'O', NEGOTIATE);
    CU_ASSERT_STRING_EQUAL(codes(&o), "O");
    FEED(&o, 'D', "Cj\0mta.example\0{daemon_name}\0smtpd\0");
    FEED(&o, 'C', "client.example\0" "4" "\x9c\x40" "192.0.2.1\0");
    FEED(&o, 'H', "client.example\0");
    FEED(&o, 'D', "M{auth_authen}\0alice\0");
    FEED(&o, 'M', "<a@b.example>\0SIZE=100\0");
    CU_ASSERT_STRING_EQUAL(milter_macro(milter_session_macros(o.session), MILTER_MACRO_auth_authen), "alice");
    FEED(&o, 'R', "<c@d.example>\0");
    FEED(&o, 'T', "");
    FEED(&o, 'L', "Subject\0 hello\n\tworld\0");
    FEED(&o, 'N', "");
    FEED(&o, 'B', "body\r\n");
    FEED(&o, 'E', "");
    CU_ASSERT_STRING_EQUAL(codes(&o), "cccccc");
    CU_ASSERT_STRING_EQUAL(seen(&o), "connect(client.example,4,40000,192.0.2.1) helo(client.example) "
                                     "mail(<a@b.example> SIZE=100) rcpt(<c@d.example>) data "
                                     "header(Subject: hello\n\tworld) body(6) message ");
    CU_ASSERT_STRING_EQUAL(milter_macro(milter_session_macros(o.session), MILTER_MACRO_auth_authen), "");
    CU_ASSERT_STRING_EQUAL(milter_macro(milter_session_macros(o.session), MILTER_MACRO_j), "mta.example");
    FEED(&o, 'M', "<>\0");
    FEED(&o, 'A', "");
    FEED(&o, 'K', "");
    FEED(&o, 'C', "x\0U");
    FEED(&o, 'Q', "");
    CU_ASSERT_STRING_EQUAL(seen(&o), "mail(<>) abort gone connect(x,U,0,) ");
    CU_ASSERT(o.closed);
    CU_ASSERT_STRING_EQUAL(o.why, "quit");
    end(&o);
}

static void test_old_mta_is_answered(void)
{
    struct owner o;
    struct milter_packet p;
    struct milter_negotiation n = { 0 };
    size_t octets;

    begin(&o);
    FEED(&o, 'O', OLD);
    CU_ASSERT_EQUAL(milter_packet_parse(buf_slice(&o.out), &p, &octets), MILTER_PARSE_DONE);
    CU_ASSERT(milter_parse_negotiation(p.data, &n));
    CU_ASSERT_EQUAL(n.version, 2);
    CU_ASSERT_EQUAL(n.actions, 0x3d);
    CU_ASSERT_EQUAL(n.steps, 0);
    CU_ASSERT_EQUAL(p.data.len, 12);
    CU_ASSERT(!milter_session_may(o.session, MILTER_CHANGE_SENDER));
    CU_ASSERT(!milter_session_leading_space(o.session));
    buf_clear(&o.out);
    FEED(&o, 'C', "c\0L\0\0/run/x\0");
    FEED(&o, 'M', "<a@b>\0");
    FEED(&o, 'R', "<c@d>\0");
    FEED(&o, 'L', "A\0b\0");
    FEED(&o, 'L', "A\0b\0");
    FEED(&o, 'N', "");
    FEED(&o, 'B', "x");
    FEED(&o, 'E', "y");
    CU_ASSERT_STRING_EQUAL(codes(&o), "cccccccc");
    CU_ASSERT_STRING_EQUAL(seen(&o), "connect(c,L,0,/run/x) mail(<a@b>) rcpt(<c@d>) header(A:b) header(A:b) "
                                     "body(1) body(1) message ");
    end(&o);
}

static void test_versions(void)
{
    struct owner o;
    struct milter_negotiation n = { 0 };
    struct milter_packet p;
    size_t octets;

    begin(&o);
    FEED(&o, 'O', "\0\0\0\1\0\0\0\x3f\0\0\0\x7f");
    CU_ASSERT(o.closed && strstr(o.why, "version 1") != NULL);
    end(&o);
    begin(&o);
    FEED(&o, 'O', "\0\0\0\7\0\0\1\xff\0\x1f\xff\xff" "later things");
    CU_ASSERT_EQUAL(milter_packet_parse(buf_slice(&o.out), &p, &octets), MILTER_PARSE_DONE);
    CU_ASSERT(milter_parse_negotiation(p.data, &n));
    CU_ASSERT_EQUAL(n.version, 6);
    CU_ASSERT_EQUAL(n.steps, 0x1c0180);
    CU_ASSERT(p.data.len > 12); /* the macros we want */
    end(&o);
}

static void test_refusals(void)
{
    struct owner o;

    begin(&o);
    FEED(&o, 'O', NEGOTIATE);
    FEED(&o, 'C', "c\0U");
    buf_clear(&o.out);
    o.answer = (struct milter_answer){ .code = 550, .enhanced = "5.7.1", .text = SLICE("100% sure\r\nnot") };
    FEED(&o, 'M', "<a@b>\0");
    CU_ASSERT(slice_equal(slice_from(buf_slice(&o.out), 4), slice_make("y550 5.7.1 100%% sure  not\0", 27)));
    buf_clear(&o.out);
    FEED(&o, 'M', "<a@b>\0"); /* no abort between them */
    CU_ASSERT(!milter_session_in_transaction(o.session));
    o.answer.code = 0;
    FEED(&o, 'M', "<a@b>\0");
    o.answer.code = 450;
    FEED(&o, 'R', "<c@d>\0");
    o.answer.code = 0;
    FEED(&o, 'R', "<e@f>\0");
    o.answer.code = 550;
    FEED(&o, 'T', "");
    o.answer.code = 0;
    FEED(&o, 'T', ""); /* the transaction stays */
    o.answer.discard = true;
    FEED(&o, 'E', "");
    CU_ASSERT_STRING_EQUAL(codes(&o), "ycycycd");
    end(&o);
}

static void test_waiting(void)
{
    struct owner o;

    begin(&o);
    o.later = true;
    FEED(&o, 'O', NEGOTIATE);
    FEED(&o, 'D', "Cv\0Postfix 3.7.11\0");
    FEED(&o, 'C', "c\0U");
    FEED(&o, 'M', "<a@b>\0");
    CU_ASSERT(milter_session_waiting(o.session));
    CU_ASSERT_STRING_EQUAL(seen(&o), "connect(c,U,0,) ");
    milter_session_progress(o.session);
    milter_session_answer(o.session, &o.answer);
    CU_ASSERT_STRING_EQUAL(seen(&o), "mail(<a@b>) ");
    milter_session_answer(o.session, &o.answer);
    CU_ASSERT_STRING_EQUAL(codes(&o), "Opcc");
    milter_session_progress(o.session);
    CU_ASSERT_STRING_EQUAL(codes(&o), "");
    end(&o);
}

/* Each closes with one sentence; what was open is given up. */
static void test_malformed(void)
{
    static const struct {
        const char *packets, *why;
        size_t octets;
    } rows[] = {
#define ROW(packets, why) { packets, why, sizeof(packets) - 1 }
        ROW("\0\0\0\1M", "mail (0x4d) may not come at the negotiation"),
        ROW("\0\0\0\4O\0\0\0", "the negotiation is too short"),
        ROW("\0\0\0\0", "a packet of length 0"),
        ROW("\0\x10\0\1", "a packet is too long"),
        ROW("\0\0\0\1z", "no command of the protocol (0x7a) may not come at the negotiation"),
#undef ROW
    };
    static const struct {
        char code;
        const char *data, *why;
        size_t octets;
    } later[] = {
#define ROW(code, data, why) { code, data, why, sizeof(data) - 1 }
        ROW('M', "<a@b>", "a string in a mail packet has no NUL behind it"),
        ROW('M', "<a@b>\0SIZE=1", "a string in a mail packet has no NUL behind it"),
        ROW('M', "", "a string in a mail packet has no NUL behind it"),
        ROW('H', "name", "the name in a helo packet has no NUL behind it"),
        ROW('E', "", "eom (0x45) may not come at a client without a mail"),
        ROW('R', "<c@d>\0", "rcpt (0x52) may not come at a client without a mail"),
        ROW('L', "A\0b\0", "header (0x4c) may not come at a client without a mail"),
        ROW('D', "", "a packet of macros is malformed"),
        ROW('D', "Mi\0x", "a packet of macros is malformed"),
        ROW('D', "Mi\0", "a packet of macros is malformed"),
        ROW('O', NEGOTIATE, "negotiate (0x4f) may not come at a client without a mail"),
        ROW('C', "c\0U", "connect (0x43) may not come at a client without a mail"),
        ROW('?', "", "no command of the protocol (0x3f) may not come at a client without a mail"),
    };
    struct owner o;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin(&o);
        milter_session_input(o.session, slice_make(rows[i].packets, rows[i].octets));
        CU_ASSERT(o.closed);
        CU_ASSERT_STRING_EQUAL(o.why, rows[i].why);
        end(&o);
    }
    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
        begin(&o);
        FEED(&o, 'O', NEGOTIATE);
        FEED(&o, 'C', "c\0U");
        feed(&o, later[i].code, slice_make(later[i].data, later[i].octets));
        CU_ASSERT(o.closed);
        CU_ASSERT_STRING_EQUAL(o.why, later[i].why);
        end(&o);
    }
}

static void test_malformed_fields(void)
{
    static const struct {
        const char *data;
        size_t octets;
    } connects[] = { { "c", 1 }, { "c\0", 2 }, { "c\0x\0\0a\0", 7 }, { "c\0" "4\0", 4 }, { "c\0" "4\0\0a", 6 } };
    static const struct {
        const char *data;
        size_t octets;
    } headers[] = { { "A", 1 }, { "A\0b", 3 }, { "\0b\0", 3 }, { "A:\0b\0", 5 }, { "A\nB\0b\0", 6 }, { "A\0b\0c\0", 6 } };
    struct owner o;

    for (size_t i = 0; i < sizeof(connects) / sizeof(connects[0]); i++) {
        begin(&o);
        FEED(&o, 'O', NEGOTIATE);
        feed(&o, 'C', slice_make(connects[i].data, connects[i].octets));
        CU_ASSERT_STRING_EQUAL(o.why, "the connect packet is malformed");
        end(&o);
    }
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        begin(&o);
        FEED(&o, 'O', NEGOTIATE);
        FEED(&o, 'C', "c\0U");
        FEED(&o, 'M', "<a@b>\0");
        FEED(&o, 'R', "<c@d>\0");
        feed(&o, 'L', slice_make(headers[i].data, headers[i].octets));
        CU_ASSERT_STRING_EQUAL(o.why, "a header packet is malformed");
        CU_ASSERT(strstr(seen(&o), "abort ") != NULL);
        end(&o);
    }
}

static void test_longest_packet(void)
{
    CLEANUP_BUF struct buf value = BUF_INIT;
    struct owner o;

    begin(&o);
    FEED(&o, 'O', NEGOTIATE);
    FEED(&o, 'C', "c\0U");
    FEED(&o, 'M', "<a@b>\0");
    FEED(&o, 'R', "<c@d>\0");
    buf_add(&value, slice_make("A", 2));
    while (value.len < MILTER_PACKET_OCTETS_MAX - 2)
        buf_add_char(&value, 'x');
    buf_add_char(&value, '\0');
    feed(&o, 'L', buf_slice(&value));
    CU_ASSERT(!o.closed);
    value.data[value.len - 1] = 'x';
    buf_add_char(&value, '\0');
    feed(&o, 'L', buf_slice(&value));
    CU_ASSERT_STRING_EQUAL(o.why, "a packet is too long");
    end(&o);
}

static void test_macros(void)
{
    struct milter_macros m = { { NULL } };
    CLEANUP_BUF struct buf data = BUF_INIT;

    CU_ASSERT(milter_macros_take(&m, slice_make("Mi\0one\0{auth_authen}\0a\0unheard\0of\0", 34)));
    CU_ASSERT_STRING_EQUAL(milter_macro(&m, MILTER_MACRO_i), "one");
    CU_ASSERT(milter_macros_take(&m, slice_make("Mi\0two\0", 7)));
    CU_ASSERT_STRING_EQUAL(milter_macro(&m, MILTER_MACRO_i), "two");
    CU_ASSERT_STRING_EQUAL(milter_macro(&m, MILTER_MACRO_auth_authen), "");
    buf_add(&data, slice_make("Cj\0", 3));
    for (unsigned i = 0; i < MILTER_MACRO_OCTETS_MAX; i++)
        buf_add_char(&data, 'j');
    buf_add_char(&data, '\0');
    CU_ASSERT(milter_macros_take(&m, buf_slice(&data)));
    CU_ASSERT_EQUAL(strlen(milter_macro(&m, MILTER_MACRO_j)), MILTER_MACRO_OCTETS_MAX);
    data.data[data.len - 1] = 'k';
    buf_add_char(&data, '\0');
    CU_ASSERT(milter_macros_take(&m, buf_slice(&data)));
    CU_ASSERT_EQUAL(strlen(milter_macro(&m, MILTER_MACRO_j)), MILTER_MACRO_OCTETS_MAX);
    CU_ASSERT_PTR_NULL(strchr(milter_macro(&m, MILTER_MACRO_j), 'k'));
    milter_macros_clear(&m);
}

/* Sendmail's logins are xtext, Postfix's are not, and nobody else's are guessed at. */
static const struct {
    const char *what, *packet;
    size_t octets;
    const char *want;
} names[] = {
#define NAME_ROW(what, version, user, want) { what, "Mv\0" version "\0{auth_authen}\0" user, sizeof("Mv\0" version "\0{auth_authen}\0" user), want }
    NAME_ROW("Sendmail's is decoded", "8.17.1.9/8.17.1.9/Debian-2+deb12u2", "carol+2Bx@example.org", "carol+x@example.org"),
    NAME_ROW("Sendmail's '=' is none of an escape's", "8.17.1.9", "/CN=carol+20x+2By", "/CN=carol x+y"),
    NAME_ROW("an escape is of capitals", "8.17.1.9", "carol+2bx", "carol+2bx"),
    NAME_ROW("an escape at the end", "8.17.1.9", "carol+2B", "carol+"),
    NAME_ROW("Sendmail's without an escape", "8.14.4", "carol@example.org", "carol@example.org"),
    NAME_ROW("what is no xtext stays", "8.17.1", "carol+x@example.org", "carol+x@example.org"),
    NAME_ROW("half an escape stays whole", "8.17.1", "a+40b+4", "a+40b+4"),
    NAME_ROW("Postfix's stays", "Postfix 3.7.11", "carol+2Bx@example.org", "carol+2Bx@example.org"),
    NAME_ROW("of a server without a name it stays", "", "carol+40example.org", "carol+40example.org"),
#undef NAME_ROW
};

static void test_names(void)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct milter_macros m = { { NULL } };
        CLEANUP_BUF struct buf got = BUF_INIT;
        CU_ASSERT(milter_macros_take(&m, slice_make(names[i].packet, names[i].octets)));
        buf_add_cstr(&got, "=");
        milter_macro_name(&m, MILTER_MACRO_auth_authen, &got);
        if (strcmp(got.data + 1, names[i].want) != 0)
            fprintf(stderr, "  case \"%s\": got %s\n", names[i].what, got.data);
        CU_ASSERT_STRING_EQUAL(got.data + 1, names[i].want);
        buf_clear(&got);
        milter_macro_name(&m, MILTER_MACRO_cert_subject, &got);
        CU_ASSERT_EQUAL(got.len, 0);
        milter_macros_clear(&m);
    }
}

/* What is added with parameters is another packet, with two strings. */
static void test_rcpt_with_params(void)
{
    CLEANUP_BUF struct buf out = BUF_INIT;
    const char want[] = "\0\0\0\x14" "2<a@b>\0NOTIFY=NEVER";

    milter_put_rcpt(&out, SLICE("<a@b>"), SLICE("NOTIFY=NEVER"));
    CU_ASSERT_EQUAL_FATAL(out.len, sizeof(want));
    CU_ASSERT(memcmp(out.data, want, sizeof(want)) == 0);
}

/* No state is a trap: from each, quit closes and abort leads to one without a mail. */
static void test_states(void)
{
    for (unsigned s = MILTER_STATE_NEW; s < MILTER_STATE_CLOSING; s++) {
        CU_ASSERT_EQUAL(milter_state_next(s, MILTER_QUIT), MILTER_STATE_CLOSING);
        CU_ASSERT_EQUAL(milter_state_next(s, MILTER_COMMAND_COUNT), MILTER_STATE_REFUSED);
        if (s == MILTER_STATE_NEW)
            continue;
        CU_ASSERT_EQUAL(milter_state_next(s, MILTER_QUIT_NEW), MILTER_STATE_READY);
        CU_ASSERT_EQUAL(milter_state_next(s, MILTER_NEGOTIATE), MILTER_STATE_REFUSED);
        CU_ASSERT_EQUAL(milter_state_next(s, MILTER_MACROS), s);
        CU_ASSERT(milter_state_next(s, MILTER_ABORT) <= MILTER_STATE_CLIENT);
        CU_ASSERT((milter_state_next(s, MILTER_END) != MILTER_STATE_REFUSED) == (s >= MILTER_STATE_RCPT));
        CU_ASSERT((milter_state_next(s, MILTER_MAIL) != MILTER_STATE_REFUSED) == (s == MILTER_STATE_CLIENT));
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("milter", NULL, NULL);
    CU_add_test(suite, "packets", test_packets);
    CU_add_test(suite, "a whole mail", test_whole_mail);
    CU_add_test(suite, "an old MTA has an answer for everything", test_old_mta_is_answered);
    CU_add_test(suite, "versions", test_versions);
    CU_add_test(suite, "refusals", test_refusals);
    CU_add_test(suite, "waiting", test_waiting);
    CU_add_test(suite, "malformed", test_malformed);
    CU_add_test(suite, "malformed fields", test_malformed_fields);
    CU_add_test(suite, "the longest packet", test_longest_packet);
    CU_add_test(suite, "macros", test_macros);
    CU_add_test(suite, "names of users", test_names);
    CU_add_test(suite, "a recipient with parameters", test_rcpt_with_params);
    CU_add_test(suite, "states", test_states);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed > 0;
}
