/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client.c - the SMTP and LMTP client against a scripted server.
 *
 * A row is a script for the server and the whole of what the owner must hear. Each row runs
 * twice: with replies in one piece, and one octet at a time.
 *
 * Script, one step a line:
 *   > TEXT   send a line            < TEXT   a line that begins so must come
 *   =N       send N octets of 'a'   .        read the message up to its dot
 *   ~        read one octet of the message and stop reading
 *   x        close                  !        close with a reset
 *   h        read to the end        ?        nothing more may come: the client closes
 *   w        read nothing until the client closes
 *   | TEXT   send a line together with the one before (in one packet)
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "delivery/client_private.h"

#define MESSAGES_MAX 4

/* ---- the server ---- */

struct server {
    const char *script;
    bool slowly; /* one octet at a time */
    int listen_fd, fd;
    tern_address address;
    pthread_t thread;
    char wrong[300];   /* what did not come as the script says */
    struct buf body;   /* as it came, dots doubled */
    char input[8192];
    size_t input_len;
};

static void complain(struct server *s, const char *what, struct slice got)
{
    if (s->wrong[0] == '\0')
        snprintf(s->wrong, sizeof(s->wrong), "wanted \"%.100s\", got \"%.*s\"", what,
                 (int)(got.len < 100 ? got.len : 100), got.ptr);
}

static void put(struct server *s, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i += s->slowly ? 1 : len) {
        if (send(s->fd, text + i, s->slowly ? 1 : len, MSG_NOSIGNAL) < 0)
            return;
        if (s->slowly)
            usleep(20);
    }
}

/* Up to LF; false at the end. */
static bool get_line(struct server *s, struct buf *line)
{
    buf_clear(line);
    for (;;) {
        char *lf = memchr(s->input, '\n', s->input_len);
        size_t len = lf != NULL ? (size_t)(lf - s->input) + 1 : s->input_len;
        buf_add(line, slice_make(s->input, len));
        s->input_len -= len;
        memmove(s->input, s->input + len, s->input_len);
        if (lf != NULL)
            return true;
        struct pollfd p = { .fd = s->fd, .events = POLLIN };
        if (poll(&p, 1, 5000) <= 0)
            return false;
        ssize_t n = recv(s->fd, s->input, sizeof(s->input), 0);
        if (n <= 0)
            return false;
        s->input_len = (size_t)n;
    }
}

static void get_body(struct server *s)
{
    struct buf line CLEANUP_BUF = BUF_INIT;

    buf_clear(&s->body);
    for (;;) {
        if (!get_line(s, &line)) {
            complain(s, "end of data", SLICE("end"));
            return;
        }
        if (slice_equal(buf_slice(&line), SLICE(".\r\n")))
            return;
        buf_add(&s->body, buf_slice(&line));
    }
}

static void expect_line(struct server *s, const char *want, size_t len)
{
    struct buf line CLEANUP_BUF = BUF_INIT;
    char text[300];

    snprintf(text, sizeof(text), "%.*s", (int)len, want);
    if (!get_line(s, &line)) {
        complain(s, text, SLICE("end"));
        return;
    }
    if (line.len < 2 || strcmp(line.data + line.len - 2, "\r\n") != 0)
        complain(s, "CRLF", buf_slice(&line));
    if (line.len < len || memcmp(line.data, want, len) != 0)
        complain(s, text, buf_slice(&line));
}

static void expect_end(struct server *s, bool strict)
{
    struct buf line CLEANUP_BUF = BUF_INIT;

    while (get_line(s, &line))
        if (strict && !slice_equal(buf_slice(&line), SLICE("QUIT\r\n")))
            complain(s, "nothing more", buf_slice(&line));
}

static void reset(struct server *s)
{
    struct linger l = { .l_onoff = 1, .l_linger = 0 };

    (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

static void send_filler(struct server *s, const char *number)
{
    size_t count = strtoul(number, NULL, 10);
    char *text = mem_alloc(count);

    memset(text, 'a', count);
    bool slowly = s->slowly;
    s->slowly = false; /* splits are tested elsewhere; this only has to be long */
    put(s, text, count);
    s->slowly = slowly;
    free(text);
}

static void run_script(struct server *s)
{
    struct buf out CLEANUP_BUF = BUF_INIT;

    for (const char *p = s->script; *p != '\0';) {
        size_t len = strcspn(p, "\n");
        const char *text = len > 2 ? p + 2 : "";
        size_t text_len = len > 2 ? len - 2 : 0;
        const char *next = p[len] == '\n' ? p + len + 1 : p + len;

        if (*p == '>' || *p == '|') {
            buf_add(&out, slice_make(text, text_len));
            buf_add_cstr(&out, "\r\n");
            if (*next != '|') {
                put(s, out.data, out.len);
                buf_clear(&out);
            }
        } else if (*p == '<') {
            expect_line(s, text, text_len);
        } else if (*p == '=') {
            send_filler(s, p + 1);
        } else if (*p == '.') {
            get_body(s);
        } else if (*p == '~') {
            char c;
            (void)recv(s->fd, &c, 1, 0);
        } else if (*p == 'h' || *p == '?') {
            expect_end(s, *p == '?');
        } else if (*p == 'w') {
            struct pollfd pfd = { .fd = s->fd, .events = POLLRDHUP };
            (void)poll(&pfd, 1, 500);
        } else if (*p == '!') {
            reset(s);
        }
        p = next;
    }
}

static void *server_thread(void *arg)
{
    struct server *s = arg;
    tern_address peer, local;

    for (unsigned i = 0; i < 5000; i++) {
        s->fd = net_accept(s->listen_fd, &peer, &local);
        if (s->fd >= 0)
            break;
        usleep(1000);
    }
    if (s->fd < 0)
        return NULL;
    (void)fcntl(s->fd, F_SETFL, 0);
    run_script(s);
    (void)close(s->fd);
    return NULL;
}

static void server_start(struct server *s, const char *script, bool slowly)
{
    struct sockaddr_in in;
    socklen_t len = sizeof(in);
    tern_address any = { .family = 4, .octets = { 127, 0, 0, 1 } };

    *s = (struct server){ .script = script, .slowly = slowly, .fd = -1, .address = any };
    s->listen_fd = net_listen(&any, 5);
    if (s->listen_fd < 0 || getsockname(s->listen_fd, (struct sockaddr *)&in, &len) < 0)
        abort();
    s->address.port = ntohs(in.sin_port);
    (void)pthread_create(&s->thread, NULL, server_thread, s);
}

static void server_stop(struct server *s)
{
    (void)pthread_join(s->thread, NULL);
    (void)close(s->listen_fd);
    buf_free(&s->body);
}

/* ---- the owner ---- */

enum { FREE_NEVER, FREE_IN_RCPT, FREE_IN_SENT, FREE_IN_READY, FREE_IN_END };

struct owner {
    struct loop *loop;
    struct client *client;
    struct client_message messages[MESSAGES_MAX];
    unsigned count, next;
    struct buf heard;
    struct buf texts;
    unsigned free_in;
    uint64_t octets_max; /* of one read */
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

    buf_add_cstr(&o->heard, "end:");
    hear_reply(o, reply);
    buf_add_char(&o->heard, '\n');
    client_free(o->client);
    stop_soon(o);
}

static const struct client_ops ops = { on_ready, on_rcpt, on_sent, on_end };

/* ---- messages ---- */

struct text_message {
    struct slice text;
};

static int64_t read_text(void *arg, uint64_t offset, void *buffer, size_t octets)
{
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
static const struct client_rcpt three[] = {
    { SLICE("a@example.org") }, { SLICE("b@example.org") }, { SLICE("c@example.org") },
};
static const struct client_rcpt bad_second[] = {
    { SLICE("a@example.org") }, { SLICE("b>\r\nDATA@example.org") }, { SLICE("\"c >\"@example.org") },
};
static const struct client_rcpt all_bad[] = { { SLICE("a b@example.org") }, { SLICE("") } };

/* What a row's message is. */
enum shape {
    PLAIN, /* two recipients */
    ONE,
    THREE,
    EIGHT_BIT,
    UTF8,
    BAD_RCPT,
    ALL_BAD,
    BAD_SENDER,
    SHORT,   /* ends before its size */
    FAILING, /* cannot be read */
    BIG,     /* more than fits into socket buffers */
    NO_CRLF,
};

static char *big_text;
static struct slice big = { NULL, 0 };
static struct slice no_crlf = SLICE("Subject: x\r\n\r\nno end");

static struct client_message make_message(enum shape shape)
{
    struct client_message m = { .sender = SLICE("me@example.net"), .rcpts = three, .rcpt_count = 2,
                                .octets = small_text.len, .read = read_text, .arg = &small_text };

    switch (shape) {
    case PLAIN: break;
    case ONE: m.rcpt_count = 1; break;
    case THREE: m.rcpt_count = 3; break;
    case EIGHT_BIT: m.eight_bit = true; break;
    case UTF8: m.smtputf8 = m.eight_bit = true; break;
    case BAD_RCPT: m.rcpts = bad_second; m.rcpt_count = 3; break;
    case ALL_BAD: m.rcpts = all_bad; break;
    case BAD_SENDER: m.sender = SLICE("me> SIZE=1@x"); break;
    case SHORT: m.octets += 10; break;
    case FAILING: m.read = read_failing; break;
    case BIG: m.arg = &big; m.octets = big.len; break;
    case NO_CRLF: m.arg = &no_crlf; m.octets = no_crlf.len; break;
    }
    return m;
}

/* ---- the table ---- */

struct row {
    const char *name;
    const char *script;
    const char *heard;
    enum client_protocol protocol;
    unsigned messages;
    enum shape shape;
    unsigned command_ms, data_ms;
    unsigned free_in;
    const char *text; /* stands in one of the replies' texts */
};

#define HI       "> 220 mx ESMTP\n< EHLO client.test\n"
#define PIPE     HI "> 250-mx\n> 250-PIPELINING\n> 250-8BITMIME\n> 250-SMTPUTF8\n> 250 SIZE 1000000000\n"
#define PLAINLY  HI "> 250 mx\n"
#define LHI      "> 220 mx LMTP\n< LHLO client.test\n> 250-mx\n> 250 PIPELINING\n"
#define GROUP2   "< MAIL FROM:<me@example.net>\n< RCPT TO:<a@example.org>\n< RCPT TO:<b@example.org>\n< DATA\n"

static const struct row rows[] = {
    /* greeting */
    { "a 5xx greeting", "> 554 5.3.2 no service\n?\n", "end: 554 5.3.2\n" },
    { "a 4xx greeting of several lines", "> 451-later\n> 451 please\n?\n", "end: 451 4.0.0\n",
      .text = "451 later please\n" },
    { "an early 421", "> 421 4.3.2 busy\n?\n", "end: 421 4.3.2\n" },
    { "closed before the greeting", "x\n", "end: own 451 4.4.2\n", .text = "waiting for the greeting" },
    { "reset before the greeting", "!\nx\n", "end: own 451 4.4.2\n" },
    { "no greeting", "h\n", "end: own 451 4.4.2\n", .command_ms = 100, .text = "time-out" },
    { "a greeting that is no SMTP", "> SSH-2.0-OpenSSH\n?\n", "end: own 451 4.5.0\n",
      .text = "not SMTP" },
    { "a 3xx greeting", "> 354 go ahead\n?\n", "end: own 451 4.5.0\n" },
    { "an endless line", "=3000\n?\n", "end: own 451 4.5.0\n", .text = "endless" },
    { "an octet now and then is no greeting", "=5\nh\n", "end: own 451 4.4.2\n", .command_ms = 100 },
    { "two greetings at once", "> 220 a\n| 220 b\nh\n", "end: own 451 4.5.0\n",
      .text = "nothing that was asked" },
    /* EHLO */
    { "HELO where EHLO is refused",
      HI "> 502 what\n< HELO client.test\n> 250 mx\n< MAIL FROM:<me@example.net>\r\n> 250 ok\n"
      "< RCPT TO:<a@example.org>\n> 250 ok\n< DATA\n> 354 go\n.\n> 250 2.0.0 done\n?\n",
      "ready\n0: 250 2.0.0\nsent\n", .messages = 1, .shape = ONE },
    { "HELO refused too", HI "> 500 what\n< HELO\n> 550 5.7.1 you\n?\n", "end: 550 5.7.1\n" },
    { "EHLO put off", HI "> 450 4.7.0 later\n?\n", "end: 450 4.7.0\n" },
    { "closed after EHLO", HI "x\n", "end: own 451 4.4.2\n", .text = "reply to EHLO" },
    { "LHLO refused: no HELO", "> 220 x\n< LHLO\n> 500 no\n?\n", "end: 500 5.0.0\n",
      .protocol = CLIENT_LMTP },
    { "EHLO answered with another code in its last line", HI "> 250-mx\n> 251 PIPELINING\n?\n",
      "end: own 451 4.5.0\n" },
    /* a message, pipelined */
    { "pipelined", PIPE GROUP2 "> 250 2.1.0 ok\n> 250 2.1.5 ok\n> 250 ok\n> 354 go\n.\n> 250 2.0.0 as X\n?\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .text = "250 2.0.0 as X\n" },
    { "pipelined, all replies in one packet but the last",
      PIPE GROUP2 "> 250 ok\n| 250 ok\n| 250 ok\n| 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1 },
    { "one recipient refused, one put off",
      PIPE "< MAIL\n< RCPT\n< RCPT\n< RCPT\n< DATA\n> 250 ok\n> 550 5.1.1 no\n> 250 ok\n> 450 4.2.1 later\n"
      "> 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 550 5.1.1\n2: 450 4.2.1\n1: 250 2.0.0\nsent\n", .messages = 1, .shape = THREE },
    { "all recipients refused and DATA refused",
      PIPE GROUP2 "> 250 ok\n> 550 5.1.1 no\n> 550 5.1.1 no\n> 554 5.5.1 no recipients\n?\n",
      "ready\n0: 550 5.1.1\n1: 550 5.1.1\nsent\n", .messages = 1 },
    { "all recipients refused and yet 354: a lone dot",
      PIPE GROUP2 "> 250 ok\n> 550 5.1.1 no\n> 451 4.1.1 no\n> 354 go\n< .\r\n> 554 nobody\n?\n",
      "ready\n0: 550 5.1.1\n1: 451 4.1.1\nsent\n", .messages = 1 },
    { "a lone dot that is accepted is a delivery to nobody",
      PIPE GROUP2 "> 250 ok\n> 550 5.1.1 no\n> 550 5.1.1 no\n> 354 go\n< .\r\n> 250 queued\n?\n",
      "ready\n0: 550 5.1.1\n1: 550 5.1.1\nsent\n", .messages = 1 },
    { "MAIL refused",
      PIPE GROUP2 "> 550 5.7.1 not you\n> 503 mail first\n> 503 mail first\n> 503 rcpt first\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1 },
    { "MAIL refused, the rest accepted: nothing is sent",
      PIPE GROUP2 "> 450 4.7.1 not now\n> 250 ok\n> 250 ok\n> 354 go\n< .\r\n> 250 ok\n?\n",
      "ready\n0: 450 4.7.1\n1: 450 4.7.1\nsent\n", .messages = 1 },
    { "DATA refused", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 451 4.3.1 disk\n?\n",
      "ready\n0: 451 4.3.1\n1: 451 4.3.1\nsent\n", .messages = 1 },
    { "the message refused", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 550 5.1.1 no\n> 354 go\n.\n> 554 5.7.1 spam\n?\n",
      "ready\n1: 550 5.1.1\n0: 554 5.7.1\nsent\n", .messages = 1 },
    { "552 for a recipient without more is 452",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 552 too many\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n1: 452 4.5.3\n0: 250 2.0.0\nsent\n", .messages = 1 },
    { "552 5.2.2 for a recipient is a full mailbox",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 552 5.2.2 full\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n1: 552 5.2.2\n0: 250 2.0.0\nsent\n", .messages = 1 },
    /* not pipelined */
    { "step by step",
      PLAINLY "< MAIL FROM:<me@example.net>\r\n> 250 ok\n< RCPT TO:<a@\n> 250 ok\n< RCPT TO:<b@\n> 550 5.1.1 no\n"
      "< DATA\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n1: 550 5.1.1\n0: 250 2.0.0\nsent\n", .messages = 1 },
    { "step by step, MAIL refused, then another message without RSET",
      PLAINLY "< MAIL\n> 550 5.7.1 no\n< MAIL\n> 250 ok\n< RCPT\n> 250 ok\n< DATA\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 550 5.7.1\nsent\n0: 250 2.0.0\nsent\n", .messages = 2, .shape = ONE },
    { "step by step, all recipients refused: no DATA, RSET before the next",
      PLAINLY "< MAIL\n> 250 ok\n< RCPT\n> 550 5.1.1 no\n< RSET\n> 250 ok\n< MAIL\n> 250 ok\n< RCPT\n> 250 ok\n"
      "< DATA\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 550 5.1.1\nsent\n0: 250 2.0.0\nsent\n", .messages = 2, .shape = ONE },
    /* reuse */
    { "three messages, no RSET between them",
      PIPE "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n"
      "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 554 5.7.1 no\n"
      "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n< QUIT\nh\n",
      "ready\n0: 250 2.0.0\nsent\n0: 554 5.7.1\nsent\n0: 250 2.0.0\nsent\n", .messages = 3, .shape = ONE },
    { "RSET after a refused DATA",
      PIPE "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 451 4.3.0 no\n< RSET\n< MAIL\n< RCPT\n< DATA\n"
      "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 451 4.3.0\nsent\n0: 250 2.0.0\nsent\n", .messages = 2, .shape = ONE },
    { "RSET refused",
      PIPE "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 550 5.1.1 no\n> 554 no\n< RSET\n> 500 what\nh\n",
      "ready\n0: 550 5.1.1\nsent\n0: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 2, .shape = ONE },
    { "closed between two messages", PIPE "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n<\nx\n",
      "ready\n0: 250 2.0.0\nsent\n0: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 2, .shape = ONE },
    /* lost */
    { "closed at MAIL", PIPE "< MAIL\nx\n", "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n",
      .messages = 1 },
    { "closed after one recipient was refused", PIPE GROUP2 "> 250 ok\n> 550 5.1.1 no\nx\n",
      "ready\n0: 550 5.1.1\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1, .text = "reply to RCPT" },
    { "closed at DATA", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\nx\n",
      "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1, .text = "reply to DATA" },
    { "closed in the message", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n~\n!\nx\n",
      "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1, .shape = BIG },
    { "closed after the dot: deferred, may be there twice",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 550 5.1.1 no\n> 354 go\n.\nx\n",
      "ready\n1: 550 5.1.1\n0: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1, .text = "arrive twice" },
    { "half a reply after the dot", PIPE "< MAIL\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 354 go\n.\n=0\n> 250-ok\nx\n",
      "ready\n0: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1, .shape = ONE },
    /* 421 */
    { "421 to MAIL", PIPE GROUP2 "> 421 4.3.2 bye\nx\n", "ready\n0: 421 4.3.2\n1: 421 4.3.2\nend: 421 4.3.2\n",
      .messages = 1 },
    { "421 after one recipient was refused", PIPE GROUP2 "> 250 ok\n> 550 5.1.1 no\n> 421 4.7.0 bye\nx\n",
      "ready\n0: 550 5.1.1\n1: 421 4.7.0\nend: 421 4.7.0\n", .messages = 1 },
    { "421 in the message", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n~\n> 421 4.3.2 bye\nh\n",
      "ready\n0: 421 4.3.2\n1: 421 4.3.2\nend: 421 4.3.2\n", .messages = 1, .shape = BIG },
    { "refused in the message, then reset",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n~\n> 552 5.3.4 too big\nx\n",
      "ready\n0: 552 5.3.4\n1: 552 5.3.4\nend: 552 5.3.4\n", .messages = 1, .shape = BIG },
    { "421 after the dot", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 421 4.3.2 bye\nx\n",
      "ready\n0: 421 4.3.2\n1: 421 4.3.2\nend: 421 4.3.2\n", .messages = 1 },
    /* garbage */
    { "250 in the message is no delivery", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n~\n> 250 ok\nh\n",
      "ready\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1, .shape = BIG },
    { "more replies than commands: none is kept for later",
      PLAINLY "< MAIL\n> 250 ok\n| 250 ok\n| 250 ok\n| 354 go\n| 250 delivered\nh\n",
      "ready\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1 },
    { "the reply to the dot sent along with 354",
      PIPE "< MAIL\n< RCPT\n< DATA\n> 250 ok\n| 250 ok\n| 354 go\n| 250 delivered\nh\n",
      "ready\n0: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1, .shape = ONE },
    { "354 to MAIL", PIPE GROUP2 "> 354 go\nh\n",
      "ready\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1 },
    { "250 to DATA", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 250 ok\nh\n",
      "ready\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1 },
    { "354 to the dot", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 354 more\nh\n",
      "ready\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1 },
    { "no SMTP in the middle", PIPE GROUP2 "> 250 ok\n> hello\nh\n",
      "ready\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 4.5.0\n", .messages = 1 },
    { "a reply with controls and octets that are not UTF-8",
      PIPE GROUP2 "> 550 5.7.1 \x1b[2J\xff\xc3\xa4\n> 503 x\n> 503 x\n> 503 x\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1, .text = "550 5.7.1 ?[2J?\xc3\xa4\n" },
    /* time-outs */
    { "no reply to MAIL", PIPE GROUP2 "h\n", "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n",
      .messages = 1, .command_ms = 150 },
    { "no reply to DATA", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\nh\n",
      "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1, .command_ms = 150,
      .text = "reply to DATA" },
    { "a message that is not taken", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n~\nw\n",
      "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1, .shape = BIG,
      .command_ms = 150, .text = "message to be taken" },
    { "no reply to the dot", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\nh\n",
      "ready\n0: own 451 4.4.2\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1, .data_ms = 100,
      .text = "arrive twice" },
    /* what is offered */
    { "SIZE is declared",
      PIPE "< MAIL FROM:<me@example.net> SIZE=32\r\n< RCPT\n< RCPT\n< DATA\n> 552 5.3.4 too big\n> 503 x\n> 503 x\n> 503 x\n?\n",
      "ready\n0: 552 5.3.4\n1: 552 5.3.4\nsent\n", .messages = 1 },
    { "larger than the limit: nothing is said", HI "> 250-mx\n> 250 size 31\n?\n",
      "ready\n0: own 552 5.3.4\n1: own 552 5.3.4\nsent\n", .messages = 1 },
    { "exactly the limit is sent", HI "> 250-mx\n> 250 SIZE 32\n< MAIL FROM:<me@example.net> SIZE=32\r\n> 550 5.7.1 no\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1 },
    { "SIZE 0 and SIZE without a number are no limit",
      HI "> 250-mx\n> 250-SIZE x\n> 250 SIZE 0\n< MAIL FROM:<me@example.net> SIZE=32\r\n> 550 5.7.1 no\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1 },
    { "8BITMIME is used", PIPE "< MAIL FROM:<me@example.net> SIZE=32 BODY=8BITMIME\r\n< RCPT\n< RCPT\n< DATA\n> 550 5.7.1 x\n> 503 x\n> 503 x\n> 503 x\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1, .shape = EIGHT_BIT },
    { "8BITMIME is missing", PLAINLY "?\n", "ready\n0: own 554 5.6.3\n1: own 554 5.6.3\nsent\n", .messages = 1,
      .shape = EIGHT_BIT },
    { "SMTPUTF8 is used", PIPE "< MAIL FROM:<me@example.net> SIZE=32 BODY=8BITMIME SMTPUTF8\r\n< RCPT\n< RCPT\n< DATA\n> 550 5.7.1 x\n> 503 x\n> 503 x\n> 503 x\n?\n",
      "ready\n0: 550 5.7.1\n1: 550 5.7.1\nsent\n", .messages = 1, .shape = UTF8 },
    { "SMTPUTF8 is missing, twice on one connection", HI "> 250-mx\n> 250 8BITMIME\n?\n",
      "ready\n0: own 553 5.6.7\n1: own 553 5.6.7\nsent\n0: own 553 5.6.7\n1: own 553 5.6.7\nsent\n", .messages = 2,
      .shape = UTF8 },
    /* addresses */
    { "a recipient that would end the path is not sent",
      PIPE "< MAIL\n< RCPT TO:<a@example.org>\r\n< RCPT TO:<\"c >\"@example.org>\r\n< DATA\n> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n1: own 553 5.1.3\n0: 250 2.0.0\n2: 250 2.0.0\nsent\n", .messages = 1, .shape = BAD_RCPT },
    { "no recipient can be sent", PIPE "?\n", "ready\n0: own 553 5.1.3\n1: own 553 5.1.3\nsent\n", .messages = 1,
      .shape = ALL_BAD },
    { "a sender that would end the path", PIPE "?\n", "ready\n0: own 501 5.1.7\n1: own 501 5.1.7\nsent\n",
      .messages = 1, .shape = BAD_SENDER },
    /* the message */
    { "a message that cannot be read is not ended by a dot",
      PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\nh\n",
      "ready\n0: own 451 4.3.0\n1: own 451 4.3.0\nend: own 451 4.3.0\n", .messages = 1, .shape = FAILING },
    { "a message shorter than it said", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\nh\n",
      "ready\n0: own 451 4.3.0\n1: own 451 4.3.0\nend: own 451 4.3.0\n", .messages = 1, .shape = SHORT },
    { "a big message", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\n?\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .shape = BIG },
    /* LMTP */
    { "LMTP: a reply for each accepted recipient",
      LHI "< MAIL\n< RCPT\n< RCPT\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 550 5.1.1 no\n> 250 ok\n> 354 go\n.\n"
      "> 250 2.0.0 a\n> 452 4.2.2 full\n?\n",
      "ready\n1: 550 5.1.1\n0: 250 2.0.0\n2: 452 4.2.2\nsent\n", .messages = 1, .shape = THREE,
      .protocol = CLIENT_LMTP },
    { "LMTP: lost after the first of two replies",
      LHI "< MAIL\n< RCPT\n< RCPT\n< DATA\n> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 2.0.0 a\nx\n",
      "ready\n0: 250 2.0.0\n1: own 451 4.4.2\nend: own 451 4.4.2\n", .messages = 1, .protocol = CLIENT_LMTP },
    { "LMTP: one reply too many",
      LHI "< MAIL\n< RCPT\n< RCPT\n< DATA\n> 250 ok\n> 550 5.1.1 no\n> 250 ok\n> 354 go\n.\n> 250 2.0.0 b\n| 250 c\nh\n",
      "ready\n0: 550 5.1.1\n1: 250 2.0.0\nsent\n0: own 451 4.5.0\n1: own 451 4.5.0\nend: own 451 4.5.0\n",
      .messages = 2, .protocol = CLIENT_LMTP },
    { "LMTP: 354 without recipients",
      LHI "< MAIL\n< RCPT\n< RCPT\n< DATA\n> 250 ok\n> 550 5.1.1 no\n> 550 5.1.1 no\n> 354 go\nh\n",
      "ready\n0: 550 5.1.1\n1: 550 5.1.1\nend: own 451 4.5.0\n", .messages = 1, .protocol = CLIENT_LMTP },
    /* the owner lets go from inside */
    { "freed when ready", PIPE "h\n", "ready\n", .messages = 1, .free_in = FREE_IN_READY },
    { "freed at the first recipient", PIPE GROUP2 "> 550 5.7.1 no\nh\n", "ready\n0: 550 5.7.1\n", .messages = 1,
      .free_in = FREE_IN_RCPT },
    { "freed at a recipient while lost", PIPE "< MAIL\nx\n", "ready\n0: own 451 4.4.2\n", .messages = 1,
      .free_in = FREE_IN_RCPT },
    { "freed when sent", PIPE GROUP2 "> 250 ok\n> 250 ok\n> 250 ok\n> 354 go\n.\n> 250 ok\nh\n",
      "ready\n0: 250 2.0.0\n1: 250 2.0.0\nsent\n", .messages = 1, .free_in = FREE_IN_SENT },
    { "freed in a refusal of our own", PLAINLY "h\n", "ready\n0: own 554 5.6.3\n", .messages = 1, .shape = EIGHT_BIT,
      .free_in = FREE_IN_RCPT },
};

static void init_owner(struct owner *o, const struct row *row)
{
    *o = (struct owner){ .count = row->messages, .free_in = row->free_in };
    o->loop = loop_new(0);
    loop_timer_init(&o->stop, on_stop);
    for (unsigned i = 0; i < row->messages; i++)
        o->messages[i] = make_message(row->shape);
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

static void run_row(const struct row *row, bool slowly)
{
    struct server server;
    struct owner o;

    server_start(&server, row->script, slowly);
    init_owner(&o, row);
    struct client_options options = {
        .protocol = row->protocol, .to = server.address, .host_name = "mx.test", .helo = "client.test",
        .connect_timeout_ms = 5000, .command_timeout_ms = row->command_ms != 0 ? row->command_ms : 5000,
        .data_timeout_ms = row->data_ms != 0 ? row->data_ms : 5000,
    };
    o.client = client_new(o.loop, &options, &ops, &o);
    loop_run(o.loop);
    (void)pthread_join(server.thread, NULL);

    const char *heard = o.heard.len > 0 ? o.heard.data : "";
    bool fine = strcmp(heard, row->heard) == 0 && server.wrong[0] == '\0' &&
                (row->text == NULL || (o.texts.len > 0 && strstr(o.texts.data, row->text) != NULL));
    if (!fine)
        fprintf(stderr, "  \"%s\"%s\nheard: %s\nwanted: %s\ntexts: %s\nserver: %s\n", row->name,
                slowly ? ", slowly" : "", heard, row->heard, o.texts.data, server.wrong);
    CU_ASSERT_TRUE(fine);
    if (strstr(row->heard, ": 250") != NULL && row->messages == 1) {
        struct buf want CLEANUP_BUF = stuffed(&o.messages[0]);
        CU_ASSERT_TRUE(slice_equal(buf_slice(&server.body), buf_slice(&want)));
    }
    (void)close(server.listen_fd);
    buf_free(&server.body);
    fini_owner(&o);
}

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        run_row(&rows[i], false);
}

static void test_rows_slowly(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strstr(rows[i].script, "\n|") == NULL) /* those are about what comes in one piece */
            run_row(&rows[i], true);
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
        struct client_options options = { .to = any, .helo = "x", .unix_path = "/nonexistent/socket" };
        if (i == 1)
            options.to.family = 0;
        init_owner(&o, &row);
        o.client = client_new(o.loop, &options, &ops, &o);
        CU_ASSERT_EQUAL(o.heard.len, 0); /* never from inside */
        loop_run(o.loop);
        CU_ASSERT_STRING_EQUAL(o.heard.data, "end: own 451 4.4.1\n");
        CU_ASSERT_PTR_NOT_NULL(strstr(o.texts.data, i == 0 ? "Connection refused" : "No such file"));
        fini_owner(&o);
    }
}

static void test_freed_while_connecting(void)
{
    static const struct row row = { .messages = 0 };
    struct server server;
    struct owner o;

    server_start(&server, "h\n", false);
    init_owner(&o, &row);
    struct client_options options = { .to = server.address, .helo = "x" };
    client_free(client_new(o.loop, &options, &ops, &o));
    client_quit(client_new(o.loop, &options, &ops, &o));
    stop_soon(&o);
    loop_run(o.loop);
    server_stop(&server);
    fini_owner(&o);
    CU_ASSERT_TRUE(true);
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

int main(void)
{
    make_big_text();
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("client", NULL, NULL);
    CU_add_test(suite, "dots", test_dots);
    CU_add_test(suite, "reply bounds", test_reply_bounds);
    CU_add_test(suite, "reply texts", test_reply_texts);
    CU_add_test(suite, "no server", test_no_server);
    CU_add_test(suite, "freed while connecting", test_freed_while_connecting);
    CU_add_test(suite, "rows", test_rows);
    CU_add_test(suite, "rows, an octet at a time", test_rows_slowly);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    free(big_text);
    return failures != 0;
}
