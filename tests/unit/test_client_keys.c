/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_keys.c - SCRAM at a next hop: the password is salted by the pool, while the loop goes on, and what was
 * made is kept. The server here is a socket in this thread; it never proves itself, so that nobody is let in.
 */
#include <CUnit/Basic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "delivery/client_private.h"
#include "sasl/base64.h"

#define WAIT_MS 60000 /* for what must come */

struct world {
    struct loop *loop;
    struct pool *pool;
    struct port *port;
    char path[64];
    int listener, fd;
    struct buf heard;
    struct client *client;
    unsigned ends;
    char why[256];
};

static struct world w;

/* The one thread of the pool, which the test holds as long as it likes. */
static struct {
    struct pool_job job;
    _Atomic unsigned running, state; /* 0: waits to run, 1: runs, 2: may end, 3: has ended */
} gate;

static void gate_run(struct pool_job *job)
{
    (void)job;
    atomic_store(&gate.state, 1);
    while (atomic_load(&gate.state) != 2)
        (void)usleep(1000);
}

static void gate_done(struct pool_job *job)
{
    (void)job;
    atomic_store(&gate.state, 3);
}

static void gate_close(void)
{
    atomic_store(&gate.state, 0);
    gate.job = (struct pool_job){ .running = &gate.running, .share = 1, .run = gate_run, .done = gate_done };
    CU_ASSERT_EQUAL_FATAL(pool_submit(w.pool, &gate.job), 0);
    while (atomic_load(&gate.state) != 1)
        (void)usleep(1000);
}

static void gate_open(void)
{
    atomic_store(&gate.state, 2);
    while (atomic_load(&gate.state) != 3)
        (void)usleep(1000);
}

/* ---- the client's owner ---- */

static void on_ready(void *owner)
{
    (void)owner;
    CU_FAIL("nobody is let in here");
}

static void on_end(void *owner, const struct client_reply *reply)
{
    (void)owner;
    w.ends++;
    (void)snprintf(w.why, sizeof(w.why), "%.*s", (int)reply->text.len, reply->text.ptr);
    client_free(w.client);
    w.client = NULL;
}

static const struct client_ops ops = { .on_ready = on_ready, .on_end = on_end };

static const struct client_auth auth = { .user = SLICE("user"), .password = SLICE("pencil"),
                                         .mechanisms = 1u << SASL_SCRAM_SHA_256, .plaintext = true };

/* ---- the server ---- */

static void turn(void)
{
    char octets[4096];

    loop_turn(w.loop, true);
    if (w.fd < 0)
        w.fd = accept4(w.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ssize_t n = w.fd >= 0 ? read(w.fd, octets, sizeof(octets)) : 0;
    if (n > 0)
        buf_add(&w.heard, slice_make(octets, (size_t)n));
}

static bool has_line(void)
{
    return w.heard.len >= 2 && memcmp(w.heard.data + w.heard.len - 2, "\r\n", 2) == 0;
}

static void wait_until(bool (*what)(void))
{
    uint64_t end_ms = clock_now_ms() + WAIT_MS;

    while (!what() && clock_now_ms() < end_ms)
        turn();
    CU_ASSERT_TRUE(what());
}

static bool is_connected(void)
{
    return w.fd >= 0;
}

static bool has_ended(void)
{
    return w.ends > 0;
}

static void say(const char *line)
{
    buf_clear(&w.heard);
    CU_ASSERT_EQUAL(write(w.fd, line, strlen(line)), (ssize_t)strlen(line));
}

/* Up to the server's first message, which asks for so many rounds with that salt. */
static void reach_salt(const char *salt, unsigned iterations, struct pool *pool)
{
    const struct client_options o = { .protocol = CLIENT_SMTP, .unix_path = w.path, .host_name = "hop", .helo = "me",
                                      .auth = &auth, .pool = pool, .port = w.port };
    CLEANUP_BUF struct buf first = BUF_INIT;
    CLEANUP_BUF struct buf line = BUF_INIT;

    w.ends = 0;
    w.fd = -1;
    buf_clear(&w.heard);
    w.client = client_new(w.loop, &o, &ops, NULL);
    wait_until(is_connected);
    say("220 hop\r\n");
    wait_until(has_line);
    say("250-hop\r\n250 AUTH SCRAM-SHA-256\r\n");
    wait_until(has_line);
    struct slice said = slice_head(buf_slice(&w.heard), w.heard.len - 2);
    CU_ASSERT_TRUE_FATAL(slice_starts_nocase(said, SLICE("AUTH SCRAM-SHA-256 ")));
    CU_ASSERT_TRUE_FATAL(base64_decode(&first, slice_from(said, 19)));
    CU_ASSERT_TRUE_FATAL(slice_starts_nocase(buf_slice(&first), SLICE("n,,n=user,r=")));
    CLEANUP_BUF struct buf text = BUF_INIT;
    buf_printf(&text, "%sX,s=%s,i=%u", first.data + 10, salt, iterations);
    buf_add_cstr(&line, "334 ");
    base64_add(&line, buf_slice(&text));
    buf_add_cstr(&line, "\r\n");
    say(line.data);
}

static void refuse(void)
{
    wait_until(has_line);
    CU_ASSERT_TRUE(w.heard.len > 60); /* c=biws,r=...,p=... */
    say("535 5.7.8 no\r\n");
    wait_until(has_ended);
    CU_ASSERT_PTR_NOT_NULL(strstr(w.why, "was refused"));
}

static void hang_up(void)
{
    (void)close(w.fd);
    w.fd = -1;
}

static int set_up(void)
{
    const struct pool_options o = { .threads = 1 };
    struct sockaddr_un at = { .sun_family = AF_UNIX };

    w.loop = loop_new(0);
    w.port = port_new(w.loop);
    w.pool = pool_new(&o);
    (void)snprintf(w.path, sizeof(w.path), "/tmp/tern-keys-%d", (int)getpid());
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", w.path);
    (void)unlink(w.path);
    w.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return bind(w.listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(w.listener, 5) < 0;
}

static int tear_down(void)
{
    (void)pool_free(w.pool, 10000);
    port_close(w.port);
    for (int i = 0; i < 4; i++)
        loop_turn(w.loop, false);
    loop_free(w.loop);
    buf_free(&w.heard);
    (void)close(w.listener);
    return unlink(w.path);
}

/* ---- tests ---- */

/* The pool is busy: the loop turns, nothing is said. Then it is, and the same salt costs no thread any more. */
static void test_pool_and_kept(void)
{
    gate_close();
    reach_salt("QSXCR+Q6sek8bf92", 4096, w.pool);
    for (int i = 0; i < 30; i++)
        turn();
    CU_ASSERT_EQUAL(w.heard.len, 0);
    CU_ASSERT_EQUAL(w.ends, 0);
    gate_open();
    refuse();
    hang_up();

    gate_close();
    reach_salt("QSXCR+Q6sek8bf92", 4096, w.pool);
    refuse();
    hang_up();
    reach_salt("QSXCR+Q6sek8bf92", 4097, w.pool); /* others are others */
    for (int i = 0; i < 30; i++)
        turn();
    CU_ASSERT_EQUAL(w.heard.len, 0);
    gate_open();
    refuse();
    hang_up();
}

/* The server goes, or the owner, while it is in line and while it is made. */
static void test_gone_meanwhile(void)
{
    gate_close();
    reach_salt("AAAA", 4096, w.pool);
    while (w.client != NULL && w.client->keys == NULL)
        turn();
    hang_up();
    wait_until(has_ended);
    CU_ASSERT_PTR_NOT_NULL(strstr(w.why, "the keys of AUTH to be made"));
    gate_open();

    for (int i = 0; i < 3; i++) {
        char salt[] = "AAA0";
        salt[3] = (char)('A' + i * 4);
        reach_salt(salt, SASL_CLIENT_ITERATIONS_MAX, w.pool);
        while (w.client->keys == NULL)
            turn();
        if (i > 0)
            (void)usleep(2000 * (unsigned)i); /* it runs by now, maybe */
        client_free(w.client);
        w.client = NULL;
        hang_up();
    }
}

/* At the bound it is made; one above it is not even begun: the same at the hands of the loop, without a pool. */
static void test_bound(void)
{
    for (int with = 0; with < 2; with++) {
        reach_salt(with ? "BBBB" : "BBBC", SASL_CLIENT_ITERATIONS_MAX, with ? w.pool : NULL);
        refuse();
        hang_up();
        reach_salt("BBBD", SASL_CLIENT_ITERATIONS_MAX + 1, with ? w.pool : NULL);
        wait_until(has_ended);
        CU_ASSERT_PTR_NOT_NULL(strstr(w.why, "not of this mechanism"));
        hang_up();
    }
}

/* As many as are kept, and one more: the first one is made anew. */
static void test_kept_bound(void)
{
    char salt[16];

    for (unsigned i = 0; i <= CLIENT_KEYS_KEPT; i++) {
        (void)snprintf(salt, sizeof(salt), "CC%02u", i);
        reach_salt(salt, 4096, w.pool);
        refuse();
        hang_up();
    }
    gate_close();
    reach_salt("CC01", 4096, w.pool); /* kept */
    refuse();
    hang_up();
    reach_salt("CC00", 4096, w.pool);
    for (int i = 0; i < 30; i++)
        turn();
    CU_ASSERT_EQUAL(w.heard.len, 0);
    gate_open();
    refuse();
    hang_up();
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    (void)signal(SIGPIPE, SIG_IGN);
    CU_pSuite suite = CU_add_suite("client keys", set_up, tear_down);
    CU_add_test(suite, "the pool makes them, and they are kept", test_pool_and_kept);
    CU_add_test(suite, "gone meanwhile", test_gone_meanwhile);
    CU_add_test(suite, "rounds at the bound and one above", test_bound);
    CU_add_test(suite, "how many are kept", test_kept_bound);
    (void)CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
