/* SPDX-License-Identifier: Apache-2.0 */
#include "client_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

static void complain(struct client_server *s, const char *what, struct slice got)
{
    if (s->wrong[0] == '\0')
        snprintf(s->wrong, sizeof(s->wrong), "wanted \"%.100s\", got \"%.*s\"", what,
                 (int)(got.len < 100 ? got.len : 100), got.ptr);
}

static void put(struct client_server *s, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i += s->slowly ? 1 : len) {
        if (send(s->fd, text + i, s->slowly ? 1 : len, MSG_NOSIGNAL) < 0)
            return;
        if (s->slowly)
            usleep(20);
    }
}

/* Up to LF; false at the end. */
static bool get_line(struct client_server *s, struct buf *line)
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
        if (poll(&p, 1, TIMEOUT_LONG_MS) <= 0)
            return false;
        ssize_t n = recv(s->fd, s->input, sizeof(s->input), 0);
        if (n <= 0)
            return false;
        s->input_len = (size_t)n;
    }
}

static void get_body(struct client_server *s)
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

static void get_octets(struct client_server *s, const char *number)
{
    size_t left = strtoul(number, NULL, 10);

    buf_clear(&s->body);
    while (left > 0) {
        size_t len = s->input_len < left ? s->input_len : left;
        buf_add(&s->body, slice_make(s->input, len));
        s->input_len -= len;
        memmove(s->input, s->input + len, s->input_len);
        left -= len;
        if (left == 0)
            return;
        ssize_t n = recv(s->fd, s->input, sizeof(s->input), 0);
        if (n <= 0) {
            complain(s, "octets", SLICE("end"));
            return;
        }
        s->input_len = (size_t)n;
    }
}

static void expect_line(struct client_server *s, const char *want, size_t len)
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

static void expect_end(struct client_server *s, bool strict)
{
    struct buf line CLEANUP_BUF = BUF_INIT;

    while (get_line(s, &line))
        if (strict && !slice_equal(buf_slice(&line), SLICE("QUIT\r\n")))
            complain(s, "nothing more", buf_slice(&line));
}

static void wait_over(struct client_server *s, int ms)
{
    struct pollfd p = { .fd = s->fd, .events = POLLRDHUP };

    for (int waited = 0; waited < ms && !s->over; waited += 20)
        if (poll(&p, 1, 20) != 0)
            return;
}

/* What was said has arrived. A close with unread octets, or a reset, drops what the kernel still gathers. */
static void wait_arrived(struct client_server *s)
{
    int unsent = 1;

    for (unsigned i = 0; i < 2000 && ioctl(s->fd, SIOCOUTQ, &unsent) == 0 && unsent > 0; i++)
        usleep(1000);
}

static void reset(struct client_server *s)
{
    struct linger l = { .l_onoff = 1, .l_linger = 0 };

    wait_arrived(s);
    (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

static void send_filler(struct client_server *s, const char *number)
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

static void run_script(struct client_server *s)
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
        } else if (*p == 'o') {
            get_octets(s, p + 1);
        } else if (*p == '~') {
            char c;
            (void)recv(s->fd, &c, 1, 0);
        } else if (*p == 'r') {
            char data[4096];
            (void)recv(s->fd, data, sizeof(data), 0);
        } else if (*p == 'h' || *p == '?') {
            expect_end(s, *p == '?');
        } else if (*p == 'w') {
            wait_over(s, p[1] == '1' ? TIMEOUT_TESTED_MS * 3 / 2 : TIMEOUT_LONG_MS);
        } else if (*p == '#') {
            usleep(30000);
        } else if (*p == '!') {
            reset(s);
        }
        p = next;
    }
}

static void *server_thread(void *arg)
{
    struct client_server *s = arg;
    tern_address peer, local;

    for (unsigned i = 0; i < 60000; i++) {
        s->fd = net_accept(s->listen_fd, &peer, &local);
        if (s->fd >= 0)
            break;
        usleep(1000);
    }
    if (s->fd < 0)
        return NULL;
    (void)fcntl(s->fd, F_SETFL, 0);
    run_script(s);
    wait_arrived(s);
    (void)close(s->fd);
    return NULL;
}

void client_server_start(struct client_server *s, const char *script, bool slowly)
{
    struct sockaddr_in in;
    socklen_t len = sizeof(in);
    tern_address any = { .family = 4, .octets = { 127, 0, 0, 1 } };

    *s = (struct client_server){ .script = script, .slowly = slowly, .fd = -1, .address = any };
    s->listen_fd = net_listen(&any, 5);
    if (s->listen_fd < 0 || getsockname(s->listen_fd, (struct sockaddr *)&in, &len) < 0)
        abort();
    s->address.port = ntohs(in.sin_port);
    (void)pthread_create(&s->thread, NULL, server_thread, s);
}

void client_server_join(struct client_server *s)
{
    s->over = true;
    if (!s->joined)
        (void)pthread_join(s->thread, NULL);
    s->joined = true;
}

void client_server_stop(struct client_server *s)
{
    client_server_join(s);
    (void)close(s->listen_fd);
    buf_free(&s->body);
}
