/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client.c - the SMTP and LMTP client against a scripted server (client_rows.h).
 *
 * Each row runs twice: with replies in one piece, and one octet at a time.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "client_rows.h"
#include "client_server.h"
#include "delivery/client_private.h"

#define MESSAGES_MAX 4

/* ---- the owner ---- */

struct owner {
    struct loop *loop;
    struct client *client;
    struct client_message messages[MESSAGES_MAX];
    unsigned count, next;
    struct buf heard;
    struct buf texts;
    unsigned free_in;
    bool idle;
    enum client_cause cause;
    struct loop_timer stop;
};

static void stop_soon(struct owner *o)
{
    o->client = NULL;
    loop_timer_start(o->loop, &o->stop, 20);
}

static void on_stop(struct loop_timer *timer)
{
    struct owner *o = list_entry(timer, struct owner, stop);

    loop_stop(o->loop);
}

static bool free_now(struct owner *o, unsigned where)
{
    if (o->free_in != where)
        return false;
    client_free(o->client);
    stop_soon(o);
    return true;
}

static void hear_reply(struct owner *o, const struct client_reply *reply)
{
    buf_printf(&o->heard, " %s%u %s", reply->own ? "own " : "", reply->code, reply->enhanced);
    buf_add(&o->texts, reply->text);
    buf_add_char(&o->texts, '\n');
}

static void next_message(struct owner *o)
{
    if (o->next < o->count) {
        client_send(o->client, &o->messages[o->next++]);
        return;
    }
    if (o->idle)
        return;
    client_quit(o->client);
    stop_soon(o);
}

static void on_ready(void *owner)
{
    struct owner *o = owner;

    buf_add_cstr(&o->heard, "ready\n");
    if (!free_now(o, FREE_IN_READY))
        next_message(o);
}

static void on_rcpt(void *owner, unsigned index, const struct client_reply *reply)
{
    struct owner *o = owner;

    buf_printf(&o->heard, "%u:", index);
    hear_reply(o, reply);
    buf_add_char(&o->heard, '\n');
    (void)free_now(o, FREE_IN_RCPT);
}

static void on_sent(void *owner)
{
    struct owner *o = owner;

    buf_add_cstr(&o->heard, "sent\n");
    if (!free_now(o, FREE_IN_SENT))
        next_message(o);
}

static void on_end(void *owner, const struct client_reply *reply)
{
    struct owner *o = owner;

    o->cause = reply->cause;
    buf_add_cstr(&o->heard, "end:");
    hear_reply(o, reply);
    buf_add_char(&o->heard, '\n');
    client_free(o->client);
    stop_soon(o);
}

static const struct client_ops ops = { on_ready, on_rcpt, on_sent, on_end };

/* ---- messages ---- */

static _Thread_local uint64_t read_until; /* how far the client has read */

static int64_t read_text(void *arg, uint64_t offset, void *buffer, size_t octets)
{
    read_until = offset + octets > read_until ? offset + octets : read_until;
    struct slice rest = slice_from(*(struct slice *)arg, offset);

    rest = slice_head(rest, octets);
    memcpy(buffer, rest.ptr, rest.len);
    return (int64_t)rest.len;
}

static int64_t read_failing(void *arg, uint64_t offset, void *buffer, size_t octets)
{
    if (offset >= 8)
        return -EIO;
    memset(buffer, 'x', 8);
    return 8;
}

static struct slice small_text = SLICE("Subject: x\r\n\r\n.dot\r\n..two\r\nend\r\n");
static struct slice eight_text = SLICE("Subject: x\r\n\r\n.dot\r\n..two\r\n\xc3\xa4!\r\n");
static struct slice header_text = SLICE("Subject: \xc3\xa4\r\n\r\nbody\r\n");
static struct slice part_text = SLICE("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
                                      "Content-Description: \xc3\xa4\r\n\r\nbody\r\n--x--\r\n");
static const struct client_rcpt three[] = {
    { SLICE("a@example.org") },
    { SLICE("b@example.org") },
    { SLICE("c@example.org") },
};
static const struct client_rcpt bad_second[] = {
    { SLICE("a@example.org") },
    { SLICE("b>\r\nDATA@example.org") },
    { SLICE("\"c >\"@example.org") },
};
static const struct client_rcpt utf8_second[] = {
    { SLICE("a@example.org") },
    { SLICE("\xc3\xbc@example.org") },
};
static const struct client_rcpt all_bad[] = { { SLICE("a b@example.org") }, { SLICE("") } };

static char *big_text;
static struct slice big = { NULL, 0 };
static struct slice binary_text = SLICE("A: b\r\n\r\n\0\r\n.\r\n\n\r\xff");
static struct slice no_crlf = SLICE("Subject: x\r\n\r\nno end");

static const struct client_rcpt dsn_rcpts[] = {
    { .address = SLICE("a@example.org"), .notify = SLICE("SUCCESS,DELAY"), .orcpt = SLICE("rfc822;x+2By@z.org") },
    { .address = SLICE("b@example.org"), .notify = SLICE("NEVER") },
};

static struct client_message make_message(enum shape shape)
{
    struct client_message m = { .sender = SLICE("me@example.net"),
                                .rcpts = three,
                                .rcpt_count = 2,
                                .octets = small_text.len,
                                .read = read_text,
                                .arg = &small_text };

    switch (shape) {
    case PLAIN: break;
    case ONE: m.rcpt_count = 1; break;
    case THREE: m.rcpt_count = 3; break;
    case UTF8_ALONE:
        m.smtputf8 = true;
        m.arg = &eight_text;
        break;
    case UTF8_HEADER:
    case UTF8_PART:
        m.smtputf8 = m.eight_bit = true;
        m.arg = shape == UTF8_PART ? &part_text : &header_text;
        m.octets = ((struct slice *)m.arg)->len;
        break;
    case UTF8: m.smtputf8 = true; /* fall through */
    case EIGHT_BIT:
        m.eight_bit = true;
        m.arg = &eight_text;
        break;
    case UTF8_RCPT: m.rcpts = utf8_second; /* fall through */
    case ASCII: m.smtputf8 = m.eight_bit = true; break;
    case ASCII_BIG:
        m.eight_bit = true;
        m.arg = &big;
        m.octets = big.len;
        break;
    case ASCII_UNREAD:
        m.eight_bit = true;
        m.read = read_failing;
        break;
    case BAD_RCPT:
        m.rcpts = bad_second;
        m.rcpt_count = 3;
        break;
    case ALL_BAD: m.rcpts = all_bad; break;
    case BAD_SENDER: m.sender = SLICE("me> SIZE=1@x"); break;
    case SHORT: m.octets += 10; break;
    case FAILING: m.read = read_failing; break;
    case BIG:
        m.arg = &big;
        m.octets = big.len;
        break;
    case BINARY_ONE: m.rcpt_count = 1; /* fall through */
    case BINARY:
        m.binary = true;
        m.arg = &binary_text;
        m.octets = binary_text.len;
        break;
    case DSN:
        m.rcpts = dsn_rcpts;
        m.ret = SLICE("HDRS");
        m.envid = SLICE("e+2B1");
        break;
    case NO_CRLF:
        m.arg = &no_crlf;
        m.octets = no_crlf.len;
        break;
    }
    return m;
}

static void init_owner(struct owner *o, const struct row *row)
{
    *o = (struct owner){ .count = row->messages, .free_in = row->free_in, .idle = row->idle };
    o->loop = loop_new(0);
    loop_timer_init(&o->stop, on_stop);
    for (unsigned i = 0; i < row->messages; i++) {
        o->messages[i] = make_message(row->shape);
        o->messages[i].client_address = slice_cstr(row->forward != NULL ? row->forward : "");
        o->messages[i].client_helo = SLICE("a b=+\r\n");
    }
}

static void fini_owner(struct owner *o)
{
    loop_timer_stop(&o->stop);
    loop_free(o->loop);
    buf_free(&o->heard);
    buf_free(&o->texts);
}

/* The body as it should come over the wire. */
static struct buf stuffed(const struct client_message *m)
{
    struct client_dot dot = { 0 };
    struct buf out = BUF_INIT;

    client_dot_add(&dot, *(struct slice *)m->arg, &out);
    client_dot_end(&dot, &out);
    out.len -= 3;
    return out;
}

static struct tls_client *tls_context; /* that takes any certificate */
static char long_text[255];

static void make_context(void)
{
    static const struct tls_client_options options = { .version_min = TLS_VERSION_1_2 };
    char error[TLS_ERROR_OCTETS];

    tls_context = tls_client_new(&options, error);
    if (tls_context == NULL)
        abort();
    memset(long_text, 'u', sizeof(long_text));
}

static struct client_options options_of(const struct row *row, const struct client_auth *auth)
{
    return (struct client_options){
        .protocol = row->protocol,
        .host_name = "mx.test",
        .helo = "client.test",
        .connect_timeout_ms = TIMEOUT_LONG_MS,
        .command_timeout_ms = row->command_late ? TIMEOUT_TESTED_MS : TIMEOUT_LONG_MS,
        .data_timeout_ms = row->data_late ? TIMEOUT_TESTED_MS : TIMEOUT_LONG_MS,
        .auth = row->auth != AUTH_NONE ? auth : NULL,
        .chunking = row->chunking,
        .forward = row->forward != NULL,
        .tls = row->tls,
        .tls_implicit = row->implicit,
        .tls_client = row->tls != CLIENT_TLS_OFF ? tls_context : NULL,
        .tls_timeout_ms = row->tls_late ? TIMEOUT_TESTED_MS : TIMEOUT_LONG_MS,
    };
}

static bool body_as_sent(const struct row *row, const struct client_message *m, struct slice body)
{
    struct buf want CLEANUP_BUF = BUF_INIT;

    if (strstr(row->heard, ": 250") == NULL || row->messages != 1)
        return true;
    if (strstr(row->script, "< BDAT") != NULL)
        buf_add(&want, *(struct slice *)m->arg);
    else
        want = stuffed(m);
    return slice_equal(body, buf_slice(&want));
}

/* In any thread: all that it needs is its own. */
static bool run_row(const struct row *row, bool slowly)
{
    struct client_server server;
    struct owner o;
    struct client_auth auth = { .user = SLICE("user"),
                                .password = SLICE("secret"),
                                .mechanisms = ~0u,
                                .plaintext = row->auth != AUTH_CAREFUL };

    if (row->auth == AUTH_LONG)
        auth.user = auth.password = slice_make(long_text, sizeof(long_text));
    client_server_start(&server, row->script, slowly);
    init_owner(&o, row);
    struct client_options options = options_of(row, &auth);
    options.to = server.address;
    o.client = client_new(o.loop, &options, &ops, &o);
    loop_run(o.loop);
    client_server_join(&server);

    const char *heard = o.heard.len > 0 ? o.heard.data : "";
    bool fine = strcmp(heard, row->heard) == 0 && server.wrong[0] == '\0' &&
                (row->text == NULL || (o.texts.len > 0 && strstr(o.texts.data, row->text) != NULL)) &&
                (row->tls == CLIENT_TLS_OFF || o.cause == row->cause);
    bool same = body_as_sent(row, &o.messages[0], buf_slice(&server.body));
    if (!fine || !same)
        fprintf(stderr, "  \"%s\"%s\nheard: %s\nwanted: %s\ntexts: %s\nserver: %s\ncause: %d\n%s",
                row->name, slowly ? ", slowly" : "", heard, row->heard, o.texts.data, server.wrong,
                o.cause, same ? "" : "the body is not as it was sent\n");
    client_server_stop(&server);
    fini_owner(&o);
    return fine && same;
}

/* Most of a row is to wait, for a time-out or the other side: several at a time. */
#ifdef __SANITIZE_THREAD__ /* it does not see what libuv closes, and takes a reused descriptor for a shared one */
#define ROWS_AT_ONCE 1
#else
#define ROWS_AT_ONCE 12
#endif
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static bool all_slowly;
static bool row_fine[ROWS];
static atomic_size_t row_next;

static void *some_rows(void *arg)
{
    for (size_t i; (i = atomic_fetch_add(&row_next, 1)) < ROWS;) {
        bool one_piece = strstr(rows[i].script, "\n|") != NULL; /* then it is not for slowly */
        row_fine[i] = (all_slowly && one_piece) || run_row(&rows[i], all_slowly);
    }
    return arg;
}

static void run_rows(bool slowly)
{
    pthread_t threads[ROWS_AT_ONCE];

    all_slowly = slowly;
    row_next = 0;
    memset(row_fine, 0, sizeof(row_fine));
    for (unsigned i = 0; i < ROWS_AT_ONCE; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, some_rows, NULL), 0);
    for (unsigned i = 0; i < ROWS_AT_ONCE; i++)
        (void)pthread_join(threads[i], NULL);
    for (size_t i = 0; i < ROWS; i++)
        CU_ASSERT_TRUE(row_fine[i]);
}

static void test_rows(void)
{
    run_rows(false);
}

static void test_rows_slowly(void)
{
    run_rows(true);
}

/* ---- more ---- */

static void test_no_server(void)
{
    static const struct row row = { .messages = 0 };
    tern_address any = { .family = 4, .octets = { 127, 0, 0, 1 } };
    struct sockaddr_in in;
    socklen_t len = sizeof(in);
    struct owner o;
    int fd = net_listen(&any, 1);

    (void)getsockname(fd, (struct sockaddr *)&in, &len);
    any.port = ntohs(in.sin_port);
    (void)close(fd);
    for (unsigned i = 0; i < 2; i++) {
        struct client_options options = { .to = any,
                                          .helo = "x",
                                          .unix_path = "/nonexistent/socket" };
        if (i == 1)
            options.to.family = 0;
        init_owner(&o, &row);
        o.client = client_new(o.loop, &options, &ops, &o);
        CU_ASSERT_EQUAL(o.heard.len, 0); /* never from inside */
        loop_run(o.loop);
        CU_ASSERT_STRING_EQUAL(o.heard.data, "end: own 451 4.4.1\n");
        CU_ASSERT_PTR_NOT_NULL(
            strstr(o.texts.data, i == 0 ? "Connection refused" : "No such file"));
        fini_owner(&o);
    }
}

static void test_freed_while_connecting(void)
{
    static const struct row row = { .messages = 0 };
    struct client_server server;
    struct owner o;

    client_server_start(&server, "h\n", false);
    init_owner(&o, &row);
    struct client_options options = { .to = server.address, .helo = "x" };
    client_free(client_new(o.loop, &options, &ops, &o));
    client_quit(client_new(o.loop, &options, &ops, &o));
    stop_soon(&o);
    loop_run(o.loop);
    client_server_stop(&server);
    fini_owner(&o);
    CU_ASSERT_TRUE(true);
}

/* A peer that does not read must not make us read: the kernel's buffers and one piece, no more. */
static void test_not_held(void)
{
    static const struct row row = {
        .name = "not held",
        .script = PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n~\nw\n",
        .heard = "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n",
        .messages = 1,
        .shape = BIG,
        .command_late = true,
    };

    read_until = 0;
    CU_ASSERT_TRUE(run_row(&row, false));
    CU_ASSERT_TRUE(read_until > CLIENT_CHUNK);
    CU_ASSERT_TRUE(read_until < big.len * 3 / 4);
}

/* Stuffing gives the same whatever the pieces. */
static void test_dots(void)
{
    static const struct {
        struct slice in;
        const char *out;
    } cases[] = {
        { SLICE(""), ".\r\n" },
        { SLICE("."), "..\r\n.\r\n" },
        { SLICE(".\r\n"), "..\r\n.\r\n" },
        { SLICE("\r\n.\r\n"), "\r\n..\r\n.\r\n" },
        { SLICE("a"), "a\r\n.\r\n" },
        { SLICE("a\r"), "a\r\r\n.\r\n" },
        { SLICE("a\n."), "a\n.\r\n.\r\n" },
        { SLICE("a\r\r\n.b\r\n..\r\n"), "a\r\r\n..b\r\n...\r\n.\r\n" },
        { SLICE("a\r.\r\n"), "a\r.\r\n.\r\n" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t step = 1; step <= cases[i].in.len + 1; step++) {
            struct client_dot dot = { 0 };
            struct buf out CLEANUP_BUF = BUF_INIT;
            for (size_t at = 0; at < cases[i].in.len; at += step)
                client_dot_add(&dot, slice_head(slice_from(cases[i].in, at), step), &out);
            client_dot_end(&dot, &out);
            CU_ASSERT_STRING_EQUAL(out.data, cases[i].out);
        }
    }
}

static enum client_parse feed_text(struct client_parser *p, const char *text, size_t len)
{
    struct slice in = slice_make(text, len);

    return client_parser_feed(p, &in);
}

static void test_reply_bounds(void)
{
    struct client_parser p = { 0 };
    char line[CLIENT_LINE_MAX + 2];

    memset(line, 'a', sizeof(line));
    memcpy(line, "250 ", 4);
    memcpy(line + CLIENT_LINE_MAX - 2, "\r\n", 2);
    CU_ASSERT_EQUAL(feed_text(&p, line, CLIENT_LINE_MAX), CLIENT_PARSE_DONE);
    memcpy(line + CLIENT_LINE_MAX - 2, "a\r\n", 3);
    CU_ASSERT_EQUAL(feed_text(&p, line, CLIENT_LINE_MAX + 1), CLIENT_PARSE_TOO_LONG);
    client_parser_free(&p);

    for (unsigned i = 0; i < CLIENT_LINES_MAX - 1; i++)
        CU_ASSERT_EQUAL(feed_text(&p, "250-a\r\n", 7), CLIENT_PARSE_MORE);
    CU_ASSERT_EQUAL(feed_text(&p, "250 a\r\n", 7), CLIENT_PARSE_DONE);
    for (unsigned i = 0; i < CLIENT_LINES_MAX; i++)
        CU_ASSERT_EQUAL(feed_text(&p, "250-a\r\n", 7), CLIENT_PARSE_MORE);
    CU_ASSERT_EQUAL(feed_text(&p, "250 a\r\n", 7), CLIENT_PARSE_TOO_LONG);
    client_parser_free(&p);

    memset(line, 'a', sizeof(line));
    memcpy(line, "250-", 4);
    line[CLIENT_LINE_MAX - 1] = '\n';
    for (unsigned i = 0; i < CLIENT_REPLY_MAX / CLIENT_LINE_MAX; i++)
        CU_ASSERT_EQUAL(feed_text(&p, line, CLIENT_LINE_MAX), CLIENT_PARSE_MORE);
    struct buf text CLEANUP_BUF = BUF_INIT;
    client_parser_text(&p, &text);
    CU_ASSERT_TRUE(text.len <= CLIENT_TEXT_MAX);
    CU_ASSERT_EQUAL(feed_text(&p, "250 a\r\n", 7), CLIENT_PARSE_TOO_LONG);
    client_parser_free(&p);
}

static void test_reply_texts(void)
{
    static const struct {
        const char *reply, *text, *enhanced;
    } cases[] = {
        { "250\r\n", "250", "2.0.0" },
        { "250 \n", "250", "2.0.0" },
        { "550-5.1.1 one\r\n550-5.1.1  two\r\n550 5.1.1\r\n", "550 5.1.1 one two", "5.1.1" },
        { "550 5.1.1234 x\r\n", "550 5.1.1234 x", "5.0.0" },
        { "550 2.1.1 contradicts\r\n", "550 2.1.1 contradicts", "5.0.0" },
        { "450 4.123.123\r\n", "450 4.123.123", "4.123.123" },
        { "450 4.1.x\r\n", "450 4.1.x", "4.0.0" },
        { "250 a\tb\rc\r\n", "250 a b?c", "2.0.0" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client_parser p = { 0 };
        struct buf text CLEANUP_BUF = BUF_INIT;
        char enhanced[12];
        CU_ASSERT_EQUAL(feed_text(&p, cases[i].reply, strlen(cases[i].reply)), CLIENT_PARSE_DONE);
        client_parser_text(&p, &text);
        client_parser_enhanced(&p, enhanced);
        CU_ASSERT_STRING_EQUAL(text.data, cases[i].text);
        CU_ASSERT_STRING_EQUAL(enhanced, cases[i].enhanced);
        client_parser_free(&p);
    }
}

static void make_big_text(void)
{
    size_t len = 20 * 1024 * 1024;

    big_text = mem_alloc(len);
    for (size_t i = 0; i < len; i += 64) {
        memset(big_text + i, 'm', 64);
        if (i % 1024 == 0)
            big_text[i] = '.';
        memcpy(big_text + i + 62, "\r\n", 2);
    }
    big = slice_make(big_text, len);
}

/* ---- LIMITS ---- */

static void test_limits(void)
{
    static const struct {
        const char *said;
        unsigned rcpts, mails;
    } cases[] = {
        { "LIMITS RCPTMAX=20 MAILMAX=5", 20, 5 },
        { "limits mailmax=1 RCPTDOMAINMAX=1 rcptmax=1", 1, 1 },
        { "LIMITS", 0, 0 },
        { "LIMITS  RCPTMAX=999999  MAILMAX=1000000", 999999, 0 },
        { "LIMITS RCPTMAX=0 MAILMAX=", 0, 0 },
        { "LIMITS RCPTMAX=05 MAILMAX=-5", 0, 0 },
        { "LIMITS RCPTMAX MAILMAX=5x", 0, 0 },
        { "LIMITS RCPTMAX=20x RCPTMAX = 4 =7 MAILMAX=8", 0, 8 },
        { "LIMITSRCPTMAX=20", 0, 0 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client_parser parser = { 0 };
        struct client_features f;
        struct buf reply CLEANUP_BUF = BUF_INIT;
        buf_printf(&reply, "250-mx\r\n250 %s\r\n", cases[i].said);
        struct slice input = buf_slice(&reply);
        CU_ASSERT_EQUAL(client_parser_feed(&parser, &input), CLIENT_PARSE_DONE);
        client_parser_features(&parser, &f);
        if (f.rcpts_max != cases[i].rcpts || f.mails_max != cases[i].mails)
            fprintf(stderr, "  \"%s\": %u, %u\n", cases[i].said, f.rcpts_max, f.mails_max);
        CU_ASSERT_EQUAL(f.rcpts_max, cases[i].rcpts);
        CU_ASSERT_EQUAL(f.mails_max, cases[i].mails);
        client_parser_free(&parser);
    }
}

/* ---- what is not ASCII, and where ---- */

enum { NOWHERE, BODY, HEADER };

static const struct {
    const char *name, *text;
    int where;
} places[] = {
    { "nothing", "", NOWHERE },
    { "all is ASCII", "A: b\r\n\r\nc\r\n", NOWHERE },
    { "the header", "A: \xc3\xa4\r\n\r\nc\r\n", HEADER },
    { "the last line of the header, folded", "A: b\r\n \xc3\xa4", HEADER },
    { "the body", "A: b\r\n\r\n\xc3\xa4\r\n", BODY },
    { "no header at all", "\r\n\xc3\xa4\r\n", BODY },
    { "a lone CR ends no header", "A: b\r\n\r\r\n\xc3\xa4", HEADER },
    { "a lone LF ends no header", "A: b\n\n\xc3\xa4", HEADER },
    { "without parts nothing is a delimiter", "A: b\r\n\r\n--x\r\n\xc3\xa4\r\n", BODY },
    { "the text of a part", "Content-Type: MULTIPART/mixed\r\n\r\n--x\r\nA: b\r\n\r\n\xc3\xa4\r\n--x--\r\n", BODY },
    { "the header of a part", "Content-Type: multipart/mixed\r\n\r\n--x\r\nA: \xc3\xa4\r\n\r\nc\r\n--x--\r\n", HEADER },
    { "the header of the second part",
      "T: multipart/mixed\r\n\r\n--x\r\n\r\n\xc3\xa4\r\n--x\r\nA: \xc3\xa4\r\n\r\nc\r\n--x--\r\n", HEADER },
    { "the preamble", "T: multipart/mixed\r\n\r\n\xc3\xa4\r\n--x\r\n\r\nc\r\n", BODY },
    { "a signature is no delimiter", "T: multipart/mixed\r\n\r\n--x\r\n\r\nc\r\n-- \r\n\xc3\xa4\r\n--x--\r\n", BODY },
    { "nor is one dash", "T: multipart/mixed\r\n\r\n-x\r\n\xc3\xa4\r\n", BODY },
    { "nor are dashes within a line", "T: multipart/mixed\r\n\r\na--x\r\n\xc3\xa4\r\n", BODY },
    { "the header of a message in the message", "Content-Type: message/rfc822\r\n\r\nA: \xc3\xa4\r\n\r\nc\r\n", HEADER },
    { "its body", "Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\n\xc3\xa4\r\n", BODY },
    { "the header of a message in a part",
      "T: multipart/digest\r\n\r\n--x\r\nT: mmessage/rfc822\r\n\r\nA: \xc3\xa4\r\n\r\nc\r\n", HEADER },
    { "Message-ID makes no message", "Message-ID: <x@y>\r\n\r\nA: \xc3\xa4\r\n\r\nc\r\n", BODY },
};

static int place_of(struct slice text, size_t step)
{
    struct client_scan scan;

    client_scan_begin(&scan);
    for (size_t at = 0; at < text.len && !client_scan_is_over(&scan); at += step)
        client_scan_add(&scan, slice_head(slice_from(text, at), step));
    return scan.header ? HEADER : scan.body ? BODY : NOWHERE;
}

static void test_places(void)
{
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        for (size_t step = 1; step < 100; step += step < 3 ? 1 : 48) {
            int got = place_of(slice_cstr(places[i].text), step);
            if (got != places[i].where)
                fprintf(stderr, "  %s, %zu at a time: %d\n", places[i].name, step, got);
            CU_ASSERT_EQUAL(got, places[i].where);
        }
}

int main(void)
{
    make_big_text();
    make_context();
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("client", NULL, NULL);
    CU_add_test(suite, "dots", test_dots);
    CU_add_test(suite, "reply bounds", test_reply_bounds);
    CU_add_test(suite, "reply texts", test_reply_texts);
    CU_add_test(suite, "no server", test_no_server);
    CU_add_test(suite, "freed while connecting", test_freed_while_connecting);
    CU_add_test(suite, "a big message is not held", test_not_held);
    CU_add_test(suite, "limits", test_limits);
    CU_add_test(suite, "where it is not ASCII", test_places);
    CU_add_test(suite, "rows", test_rows);
    CU_add_test(suite, "rows, an octet at a time", test_rows_slowly);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    tls_client_unref(tls_context);
    free(big_text);
    return failures != 0;
}
