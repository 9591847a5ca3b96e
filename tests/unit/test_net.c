/* SPDX-License-Identifier: Apache-2.0 */
/* test_net.c - loop, timers, addresses and connections, over socket pairs and loopback. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/conn.h"
#include "net/loop.h"
#include "net/timer.h"

/* ---- addresses ---- */

static const struct {
    const char *text;
    bool ok;
    const char *printed;
} addresses[] = {
    { "127.0.0.1", true, "127.0.0.1:25" },
    { "127.0.0.1:2525", true, "127.0.0.1:2525" },
    { "::1", true, "[::1]:25" },
    { "[::1]", true, "[::1]:25" },
    { "[::1]:587", true, "[::1]:587" },
    { "127.0.0.1:0", false, NULL },
    { "127.0.0.1:65536", false, NULL },
    { "127.0.0.1:", false, NULL },
    { "[::1", false, NULL },
    { "[::1]25", false, NULL },
    { "localhost", false, NULL },
    { "", false, NULL },
    { "256.1.1.1", false, NULL },
};

static void test_addresses(void)
{
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        tern_address a;
        char text[NET_ADDRESS_TEXT_MAX];
        bool ok = net_address_parse(slice_cstr(addresses[i].text), 25, &a);
        CU_ASSERT_EQUAL(ok, addresses[i].ok);
        if (!ok)
            continue;
        net_address_print(&a, true, text);
        CU_ASSERT_STRING_EQUAL(text, addresses[i].printed);
    }
}

/* ---- timers ---- */

static unsigned fired;
static void on_fire(struct loop_timer *timer)
{
    (void)timer;
    fired++;
}

static void test_wheel_never_early(void)
{
    static struct timer_wheel wheel;
    static const uint64_t waits[] = { 0, 1, 15, 16, 17, 1000, 16383, 16384, 16400, 300000 };

    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        struct loop_timer timer;
        uint64_t start = 1000003, now;
        timer_wheel_init(&wheel, start);
        loop_timer_init(&timer, on_fire);
        timer.due_ms = start + waits[i];
        timer_wheel_add(&wheel, &timer);
        fired = 0;
        for (now = start; fired == 0 && now < start + 400000;) {
            int64_t next = timer_wheel_next_ms(&wheel, now);
            CU_ASSERT_TRUE(next >= 0);
            now += next > 0 ? (uint64_t)next : 1;
            timer_wheel_run(&wheel, now);
        }
        CU_ASSERT_EQUAL(fired, 1);
        CU_ASSERT_TRUE(now >= start + waits[i]);
        CU_ASSERT_TRUE(now <= start + waits[i] + 2 * WHEEL_TICK_MS);
    }
}

/* ---- a loop with a connection ---- */

struct end_point {
    struct conn *conn;
    struct loop *loop;
    size_t octets;
    int status;
    unsigned ends, drained;
    bool echo, stop_on_end;
    uint64_t sum;
};

static void on_read(void *owner, struct slice s)
{
    struct end_point *e = owner;
    e->octets += s.len;
    for (size_t i = 0; i < s.len; i++)
        e->sum += (unsigned char)s.ptr[i];
    if (e->echo)
        conn_write(e->conn, s);
}

static void on_drained(void *owner)
{
    ((struct end_point *)owner)->drained++;
}

static void on_end(void *owner, int status)
{
    struct end_point *e = owner;
    e->ends++;
    e->status = status;
    if (e->stop_on_end) {
        conn_free(e->conn);
        e->conn = NULL;
        loop_stop(e->loop);
    } else if (status == 0) {
        conn_close(e->conn, 60000);
        e->conn = NULL;
    } else {
        conn_free(e->conn);
        e->conn = NULL;
    }
}

static const struct conn_ops ops = { .on_read = on_read, .on_drained = on_drained, .on_end = on_end };

#define BULK (4u << 20)
static _Atomic bool bulk_done; /* the lingering connection needs its loop until then */
static void *bulk_client(void *arg)
{
    int fd = *(int *)arg;
    static char data[65536];
    size_t got = 0, sent = 0;

    memset(data, 'x', sizeof(data));
    while (sent < BULK)
        sent += (size_t)write(fd, data, BULK - sent < sizeof(data) ? BULK - sent : sizeof(data));
    (void)shutdown(fd, SHUT_WR);
    for (ssize_t n = 1; n > 0; got += (size_t)(n > 0 ? n : 0))
        n = read(fd, data, sizeof(data));
    (void)close(fd);
    atomic_store(&bulk_done, true);
    return (void *)got;
}

static void on_stop_timer(struct loop_timer *timer);
struct stopper {
    struct loop_timer timer;
    struct loop *loop;
    struct end_point *e;
};
static void on_stop_timer(struct loop_timer *timer)
{
    struct stopper *s = list_entry(timer, struct stopper, timer);
    if (s->e->conn == NULL && atomic_load(&bulk_done))
        loop_stop(s->loop);
    else
        loop_timer_start(s->loop, &s->timer, 10);
}

/* Everything written to us comes back, although the peer reads only after it has written all. */
/* The sleep of a turn has an end, also for one who was busy since the last turn. */
static void test_turn_of_the_busy(void)
{
    struct loop *loop = loop_new(0);
    uint64_t began = clock_now_us();

    loop_turn(loop, true);
    while (clock_now_us() < began + 100000)
        ;
    (void)alarm(60);
    loop_turn(loop, true);
    (void)alarm(0);
    loop_free(loop);
}

static void test_echo_with_back_pressure(void)
{
    int fds[2];
    pthread_t thread;
    void *got = NULL;
    struct loop *loop = loop_new(0);
    struct end_point e = { .loop = loop, .echo = true };
    struct stopper s = { .loop = loop, .e = &e };

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    e.conn = conn_new(loop, fds[0], &ops, &e);
    (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
    loop_timer_init(&s.timer, on_stop_timer);
    loop_timer_start(loop, &s.timer, 10);
    (void)pthread_create(&thread, NULL, bulk_client, &fds[1]);
    loop_run(loop);
    (void)pthread_join(thread, &got);
    CU_ASSERT_EQUAL(e.octets, BULK);
    CU_ASSERT_EQUAL((size_t)got, BULK);
    CU_ASSERT_EQUAL(e.ends, 1);
    CU_ASSERT_EQUAL(e.status, 0);
    loop_free(loop);
}

struct poster {
    struct loop_task task;
    struct loop *loop;
};
static unsigned posted;
static void on_posted(struct loop_task *task)
{
    struct poster *p = list_entry(task, struct poster, task);
    if (++posted == 4000)
        loop_stop(p->loop);
    free(p);
}
static void *post_many(void *arg)
{
    for (unsigned i = 0; i < 1000; i++) {
        struct poster *p = calloc(1, sizeof(*p));
        p->loop = arg;
        p->task.run = on_posted;
        loop_post(arg, &p->task);
    }
    return NULL;
}

static void test_posts_from_threads(void)
{
    struct loop *loop = loop_new(1);
    pthread_t t[4];

    posted = 0;
    for (unsigned i = 0; i < 4; i++)
        (void)pthread_create(&t[i], NULL, post_many, loop);
    loop_run(loop);
    for (unsigned i = 0; i < 4; i++)
        (void)pthread_join(t[i], NULL);
    CU_ASSERT_EQUAL(posted, 4000);
    loop_free(loop);
}

/* While paused a half-close is not told, and does not spin; a reset is told. */
static void on_time_up(struct loop_timer *timer)
{
    loop_stop(list_entry(timer, struct stopper, timer)->loop);
}

static void run_for(struct loop *loop, uint64_t ms)
{
    struct stopper s = { .loop = loop };

    loop_timer_init(&s.timer, on_time_up);
    loop_timer_start(loop, &s.timer, ms);
    loop_run(loop);
}

static void test_pause_and_hang_up(void)
{
    struct loop *loop = loop_new(0);
    tern_address a = { .family = 4, .octets = { 127, 0, 0, 1 } };
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    int listener = net_listen(&a, 5);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    struct end_point e = { .loop = loop };

    CU_ASSERT_TRUE_FATAL(listener >= 0);
    (void)getsockname(listener, (struct sockaddr *)&sa, &len);
    CU_ASSERT_EQUAL_FATAL(connect(client, (struct sockaddr *)&sa, len), 0);
    tern_address peer, local;
    int fd = net_accept(listener, &peer, &local);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    e.conn = conn_new(loop, fd, &ops, &e);
    conn_pause(e.conn);
    (void)!write(client, "hello", 5);
    (void)shutdown(client, SHUT_WR);
    uint64_t cpu = (uint64_t)clock();
    run_for(loop, 200);
    CU_ASSERT_TRUE((uint64_t)clock() - cpu < 100000); /* it slept */
    CU_ASSERT_EQUAL(e.ends, 0);
    CU_ASSERT_EQUAL(e.octets, 0);
    conn_resume(e.conn);
    run_for(loop, 50);
    CU_ASSERT_EQUAL(e.octets, 5);
    CU_ASSERT_EQUAL(e.ends, 1);
    CU_ASSERT_EQUAL(e.status, 0);
    (void)close(client);
    (void)close(listener);
    loop_free(loop);
}

int main(void)
{
    CU_pSuite suite;

    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    suite = CU_add_suite("net", NULL, NULL);
    CU_add_test(suite, "addresses", test_addresses);
    CU_add_test(suite, "timers never fire early and not late", test_wheel_never_early);
    CU_add_test(suite, "a turn of one who was busy ends", test_turn_of_the_busy);
    CU_add_test(suite, "4 MB echoed with back pressure", test_echo_with_back_pressure);
    CU_add_test(suite, "posts from four threads", test_posts_from_threads);
    CU_add_test(suite, "pause, half-close", test_pause_and_hang_up);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    (void)CU_basic_run_tests();
    int failed = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
