/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_conn.c - connections that fail: refused, reset, broken while writing, closed with octets left,
 * over TCP and unix sockets; and what becomes of tasks when their loop ends.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/conn.h"
#include "net/loop.h"

#define WAIT_MS 5000 /* far more than anything here takes; the loop is stopped as soon as it happened */

struct side {
    struct conn *conn;
    struct loop *loop;
    unsigned opens, ends;
    int status;
    size_t octets;
    bool inside; /* a call of ours is on the stack: no callback may come */
    bool keep_open;
};

static void on_open(void *owner)
{
    struct side *s = owner;

    CU_ASSERT_FALSE(s->inside);
    s->opens++;
    loop_stop(s->loop);
}

static void on_read(void *owner, struct slice octets)
{
    ((struct side *)owner)->octets += octets.len;
}

static void on_end(void *owner, int status)
{
    struct side *s = owner;

    CU_ASSERT_FALSE(s->inside);
    s->ends++;
    s->status = status;
    if (!s->keep_open) {
        conn_free(s->conn);
        s->conn = NULL;
    }
    loop_stop(s->loop);
}

static const struct conn_ops ops = { .on_open = on_open, .on_read = on_read, .on_end = on_end };

struct limit {
    struct loop_timer timer;
    struct loop *loop;
};

static void on_limit(struct loop_timer *timer)
{
    loop_stop(list_entry(timer, struct limit, timer)->loop);
}

static void run_for(struct loop *loop, uint64_t ms)
{
    struct limit limit = { .loop = loop };

    loop_timer_init(&limit.timer, on_limit);
    loop_timer_start(loop, &limit.timer, ms);
    loop_run(loop);
    loop_timer_stop(&limit.timer);
}

/* A listening socket of 127.0.0.1 and its address. */
static int listen_local(tern_address *ret)
{
    struct sockaddr_in sa;
    socklen_t len = sizeof(sa);

    *ret = (tern_address){ .family = 4, .octets = { 127, 0, 0, 1 } };
    int fd = net_listen(ret, 5);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    (void)getsockname(fd, (struct sockaddr *)&sa, &len);
    ret->port = ntohs(sa.sin_port);
    return fd;
}

static void reset(int fd)
{
    struct linger now = { 1, 0 };

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    (void)close(fd);
}

/* Two connected sockets: ours as a conn, the peer's bare. */
static int connected(struct side *s, struct loop *loop)
{
    tern_address at, peer, local;
    int error = 0, listener = listen_local(&at);

    *s = (struct side){ .loop = loop };
    s->conn = conn_connect(loop, &at, NULL, NULL, &ops, s, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s->conn);
    run_for(loop, WAIT_MS);
    CU_ASSERT_EQUAL(s->opens, 1);
    int fd = net_accept(listener, &peer, &local);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    (void)close(listener);
    return fd;
}

static void test_refused(void)
{
    struct loop *loop = loop_new(0);
    struct side s = { .loop = loop };
    tern_address at;
    int error = 0;

    (void)close(listen_local(&at)); /* nobody listens there any more */
    s.conn = conn_connect(loop, &at, NULL, NULL, &ops, &s, &error);
    if (s.conn != NULL)
        run_for(loop, WAIT_MS);
    CU_ASSERT_EQUAL(s.opens, 0);
    CU_ASSERT_EQUAL(s.ends, s.conn == NULL && error < 0 ? 0 : 1);
    CU_ASSERT_EQUAL(error < 0 ? error : s.status, -ECONNREFUSED);
    loop_free(loop);
}

static void test_source_not_ours(void)
{
    struct loop *loop = loop_new(0);
    struct side s = { .loop = loop };
    tern_address at, from = { .family = 4, .octets = { 192, 0, 2, 1 } };
    int error = 0, listener = listen_local(&at);

    CU_ASSERT_PTR_NULL(conn_connect(loop, &at, NULL, &from, &ops, &s, &error));
    CU_ASSERT_EQUAL(error, -EADDRNOTAVAIL);
    (void)close(listener);
    loop_free(loop);
}

/* What was written before the connection stood is sent when it does. */
static void test_write_while_connecting(void)
{
    struct loop *loop = loop_new(0);
    struct side s = { .loop = loop };
    tern_address at, peer, local;
    char got[8] = "";
    int error = 0, listener = listen_local(&at);

    s.conn = conn_connect(loop, &at, NULL, NULL, &ops, &s, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s.conn);
    conn_write(s.conn, SLICE("early"));
    CU_ASSERT_EQUAL(conn_unsent(s.conn), 5);
    run_for(loop, WAIT_MS);
    run_for(loop, 50);
    int fd = net_accept(listener, &peer, &local);
    CU_ASSERT_EQUAL(recv(fd, got, sizeof(got), 0), 5);
    CU_ASSERT_STRING_EQUAL(got, "early");
    conn_free(s.conn);
    (void)close(fd);
    (void)close(listener);
    loop_free(loop);
}

static void test_unix(void)
{
    struct loop *loop = loop_new(0);
    struct side s = { .loop = loop };
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    char folder[] = "/tmp/tern-conn-XXXXXX", longest[sizeof(sun.sun_path) + 1];
    int error = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/s", folder);
    CU_ASSERT_PTR_NULL(conn_connect(loop, NULL, sun.sun_path, NULL, &ops, &s, &error));
    CU_ASSERT_EQUAL(error, -ENOENT);

    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    CU_ASSERT_EQUAL_FATAL(bind(listener, (struct sockaddr *)&sun, sizeof(sun)), 0);
    CU_ASSERT_PTR_NULL(conn_connect(loop, NULL, sun.sun_path, NULL, &ops, &s, &error));
    CU_ASSERT_EQUAL(error, -ECONNREFUSED);
    (void)listen(listener, 1);
    s.conn = conn_connect(loop, NULL, sun.sun_path, NULL, &ops, &s, &error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s.conn);
    run_for(loop, WAIT_MS);
    CU_ASSERT_EQUAL(s.opens, 1);
    int fd = accept(listener, NULL, NULL);
    (void)!write(fd, "hello", 5);
    (void)close(fd);
    run_for(loop, WAIT_MS);
    CU_ASSERT_EQUAL(s.octets, 5);
    CU_ASSERT_EQUAL(s.ends, 1);

    /* The longest path and one above. */
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    CU_ASSERT_PTR_NULL(conn_connect(loop, NULL, longest, NULL, &ops, &s, &error));
    CU_ASSERT_EQUAL(error, -ENAMETOOLONG);
    longest[sizeof(longest) - 2] = '\0';
    CU_ASSERT_PTR_NULL(conn_connect(loop, NULL, longest, NULL, &ops, &s, &error));
    CU_ASSERT_EQUAL(error, -ENOENT);
    (void)close(listener);
    (void)unlink(sun.sun_path);
    (void)rmdir(folder);
    loop_free(loop);
}

/* The error of a write comes by on_end, once, from the loop; later writes are swallowed. */
static void test_write_error_told_later(void)
{
    struct loop *loop = loop_new(0);
    struct side s;
    int fd = connected(&s, loop);

    conn_pause(s.conn);
    reset(fd);
    s.inside = true;
    for (unsigned i = 0; i < 10; i++)
        conn_write(s.conn, SLICE("into the void"));
    s.inside = false;
    CU_ASSERT_EQUAL(s.ends, 0);
    run_for(loop, WAIT_MS);
    CU_ASSERT_EQUAL(s.ends, 1);
    CU_ASSERT_TRUE(s.status == -ECONNRESET || s.status == -EPIPE);
    run_for(loop, 50);
    CU_ASSERT_EQUAL(s.ends, 1);
    loop_free(loop);
}

/* The owner lets go between the failed write and its turn: nothing is told, nothing is left. */
static void test_freed_before_error_is_told(void)
{
    struct loop *loop = loop_new(0);
    struct side s;
    int fd = connected(&s, loop);

    conn_pause(s.conn);
    reset(fd);
    for (unsigned i = 0; i < 10; i++)
        conn_write(s.conn, SLICE("into the void"));
    conn_free(s.conn);
    loop_free(loop); /* with the task still queued: LeakSanitizer looks on */
    CU_ASSERT_EQUAL(s.ends, 0);
}

static void test_reset_while_paused(void)
{
    struct loop *loop = loop_new(0);
    struct side s;
    int fd = connected(&s, loop);

    s.keep_open = true;
    conn_pause(s.conn);
    reset(fd);
    run_for(loop, WAIT_MS);
    CU_ASSERT_EQUAL(s.ends, 1);
    CU_ASSERT_EQUAL(s.status, -ECONNRESET);
    /* An owner that takes its time: nothing is told twice, a resume included. */
    conn_resume(s.conn);
    conn_write(s.conn, SLICE("x"));
    run_for(loop, 50);
    CU_ASSERT_EQUAL(s.ends, 1);
    conn_free(s.conn);
    loop_free(loop);
}

/* More than a socket takes: conn_unsent() says so. Returns what was written. */
/* What came before a reset is still read, and then the end is told: nobody waits for a client who has gone. */
static void test_reset_behind_octets(void)
{
    struct loop *loop = loop_new(0);
    struct side s;
    int peer = connected(&s, loop);

    CU_ASSERT_EQUAL(write(peer, "QUIT\r\n", 6), 6);
    reset(peer);
    run_for(loop, WAIT_MS);
    CU_ASSERT_EQUAL(s.ends, 1);
    conn_free(s.conn);
    loop_free(loop);
}

static size_t fill(struct side *s)
{
    static char octets[65536];
    size_t written = 0;

    for (unsigned i = 0; i < 1000 && conn_unsent(s->conn) == 0; i++, written += sizeof(octets))
        conn_write(s->conn, slice_make(octets, sizeof(octets)));
    CU_ASSERT_TRUE(conn_unsent(s->conn) > 0);
    return written;
}

static void test_close_lingers(void)
{
    struct loop *loop = loop_new(0);
    struct side s;
    int fd = connected(&s, loop);
    size_t written = fill(&s), got = 0;
    static char octets[65536];
    ssize_t n = 1;

    conn_close(s.conn, WAIT_MS);
    for (unsigned turn = 0; turn < 100000 && n != 0; turn++) {
        n = recv(fd, octets, sizeof(octets), MSG_DONTWAIT);
        if (n > 0)
            got += (size_t)n;
        else
            loop_turn(loop, true);
    }
    CU_ASSERT_EQUAL(n, 0);
    CU_ASSERT_EQUAL(got, written);
    CU_ASSERT_EQUAL(s.ends, 0); /* the owner hears nothing more */
    (void)close(fd);
    loop_free(loop);
}

/* A peer that reads nothing keeps us for linger_ms, no longer. */
static void test_linger_ends(void)
{
    struct loop *loop = loop_new(0);
    struct side s;
    int fd = connected(&s, loop);
    static char octets[65536];
    size_t written = fill(&s), got = 0;

    conn_close(s.conn, 50);
    run_for(loop, 400);
    for (ssize_t n = 1; n > 0; got += (size_t)(n > 0 ? n : 0))
        n = recv(fd, octets, sizeof(octets), MSG_DONTWAIT);
    CU_ASSERT_TRUE(got < written);
    CU_ASSERT_EQUAL(s.ends, 0);
    (void)close(fd);
    loop_free(loop);
}

static void test_corked_leaves_together(void)
{
    struct loop *loop = loop_new(0);
    struct side s;
    int fd = connected(&s, loop);
    char got[16] = "";

    conn_cork(s.conn);
    conn_write(s.conn, SLICE("250 a\r\n"));
    CU_ASSERT_EQUAL(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
    conn_write(s.conn, SLICE("250 b\r\n"));
    conn_uncork(s.conn);
    run_for(loop, 20);
    CU_ASSERT_EQUAL(recv(fd, got, sizeof(got), MSG_DONTWAIT), 14);
    conn_cork(s.conn);
    conn_write(s.conn, SLICE("421\r\n"));
    conn_close(s.conn, WAIT_MS); /* uncorks */
    CU_ASSERT_EQUAL(recv(fd, got, sizeof(got), 0), 5);
    (void)close(fd);
    loop_free(loop);
}

/* ---- tasks when the loop ends ---- */

struct chain {
    struct loop_task task;
    struct loop *loop;
    unsigned left;
    bool at_end;
};

static unsigned ran;

static void on_chain(struct loop_task *task)
{
    struct chain *c = list_entry(task, struct chain, task);

    ran++;
    CU_ASSERT_PTR_EQUAL(loop_current(), c->loop);
    if (c->left-- == 0) {
        free(c);
        return;
    }
    if (c->at_end)
        loop_at_end(c->loop, &c->task);
    else
        loop_post(c->loop, &c->task);
}

static void put_chain(struct loop *loop, unsigned left, bool at_end)
{
    struct chain *c = calloc(1, sizeof(*c));

    *c = (struct chain){ .task = { .run = on_chain }, .loop = loop, .left = left, .at_end = at_end };
    if (at_end)
        loop_at_end(loop, &c->task);
    else
        loop_post(loop, &c->task);
}

static void test_tasks_left(void)
{
    for (unsigned way = 0; way < 2; way++) {
        struct loop *loop = loop_new(0);

        ran = 0;
        put_chain(loop, 0, false);
        put_chain(loop, 0, true);
        put_chain(loop, 20, false); /* each posts the next */
        put_chain(loop, 20, true);
        if (way == 0) {
            loop_flush(loop);
            CU_ASSERT_EQUAL(ran, 44);
            CU_ASSERT_PTR_NULL(loop_current());
        }
        loop_free(loop);
        CU_ASSERT_EQUAL(ran, 44);
    }
}

static struct chain endless;
static void on_endless(struct loop_task *task)
{
    ran++;
    loop_post(endless.loop, task);
}

static void test_endless_task(void)
{
    struct loop *loop = loop_new(0);

    endless = (struct chain){ .task = { .run = on_endless }, .loop = loop };
    ran = 0;
    loop_post(loop, &endless.task);
    loop_free(loop);
    CU_ASSERT_TRUE(ran > 0 && ran <= 2000);
}

/* A task taken back before it ran is not run. */
static void test_taken_back(void)
{
    struct loop *loop = loop_new(0);
    struct chain c = { .task = { .run = on_chain }, .loop = loop };

    ran = 0;
    loop_at_end(loop, &c.task);
    list_remove(&c.task.link);
    loop_free(loop);
    CU_ASSERT_EQUAL(ran, 0);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("conn", NULL, NULL);
    CU_add_test(suite, "refused", test_refused);
    CU_add_test(suite, "a source address that is not ours", test_source_not_ours);
    CU_add_test(suite, "written before it is open", test_write_while_connecting);
    CU_add_test(suite, "unix sockets", test_unix);
    CU_add_test(suite, "the error of a write is told later, once", test_write_error_told_later);
    CU_add_test(suite, "freed before the error is told", test_freed_before_error_is_told);
    CU_add_test(suite, "reset while paused", test_reset_while_paused);
    CU_add_test(suite, "reset behind octets", test_reset_behind_octets);
    CU_add_test(suite, "closing sends what is left", test_close_lingers);
    CU_add_test(suite, "closing waits no longer than it may", test_linger_ends);
    CU_add_test(suite, "corked writes leave together", test_corked_leaves_together);
    CU_add_test(suite, "tasks that are left are run at the end", test_tasks_left);
    CU_add_test(suite, "a task that posts itself for ever does not hold up the end", test_endless_task);
    CU_add_test(suite, "a task taken back is not run", test_taken_back);
    (void)CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
