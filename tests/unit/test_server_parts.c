/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_server_parts.c - the small parts of the server: counts of sessions, the Received field, what worker and
 * supervisor say to each other, the page they share.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/conn.h"
#include "server/ipc.h"
#include "server/limits.h"
#include "server/load.h"
#include "server/rates.h"
#include "server/received.h"
#include "server/shared.h"

/* ---- limits ---- */

static tern_address address(const char *text)
{
    tern_address a;

    CU_ASSERT_TRUE_FATAL(net_address_parse(slice_cstr(text), 25, &a));
    return a;
}

static enum limit_answer enter(struct session_limits *l, const char *text, unsigned all, unsigned each)
{
    tern_address whole = address(text), a = rates_network(&whole, 32, 64);

    return session_limits_enter(l, &a, all, each);
}

static void leave(struct session_limits *l, const char *text)
{
    tern_address whole = address(text), a = rates_network(&whole, 32, 64);

    session_limits_leave(l, &a);
}

static void test_limits(void)
{
    struct session_limits *l = session_limits_new();

    CU_ASSERT_EQUAL(enter(l, "192.0.2.1", 4, 2), LIMIT_OK);
    CU_ASSERT_EQUAL(enter(l, "192.0.2.1", 4, 2), LIMIT_OK);
    CU_ASSERT_EQUAL(enter(l, "192.0.2.1", 4, 2), LIMIT_ADDRESS);
    CU_ASSERT_EQUAL(session_limits_count(l), 2); /* a refused one is not counted */
    CU_ASSERT_EQUAL(enter(l, "192.0.2.2", 4, 2), LIMIT_OK);
    CU_ASSERT_EQUAL(enter(l, "192.0.2.3", 4, 2), LIMIT_OK);
    CU_ASSERT_EQUAL(enter(l, "192.0.2.4", 4, 2), LIMIT_SESSIONS);
    leave(l, "192.0.2.1");
    CU_ASSERT_EQUAL(enter(l, "192.0.2.1", 4, 2), LIMIT_OK);
    CU_ASSERT_EQUAL(session_limits_count(l), 4);
    session_limits_free(l);
    session_limits_free(NULL);
}

/* One host has a whole /64: its addresses count as one; the next /64 and IPv4 with the same octets do not. */
static void test_limits_ipv6(void)
{
    struct session_limits *l = session_limits_new();

    CU_ASSERT_EQUAL(enter(l, "2001:db8:0:1::1", 10, 1), LIMIT_OK);
    CU_ASSERT_EQUAL(enter(l, "2001:db8:0:1:ffff::2", 10, 1), LIMIT_ADDRESS);
    CU_ASSERT_EQUAL(enter(l, "2001:db8:0:2::1", 10, 1), LIMIT_OK);
    CU_ASSERT_EQUAL(enter(l, "32.1.13.184", 10, 1), LIMIT_OK); /* 2001:0db8 */
    leave(l, "2001:db8:0:1:aaaa::5");
    CU_ASSERT_EQUAL(enter(l, "2001:db8:0:1::9", 10, 1), LIMIT_OK);
    session_limits_free(l);
}

static void *enter_and_leave(void *arg)
{
    static const char *const from[] = { "192.0.2.1", "192.0.2.2", "2001:db8::1" };
    size_t refused = 0;

    for (unsigned i = 0; i < 2000; i++) {
        const char *text = from[i % 3];
        if (enter(arg, text, 100, 100) != LIMIT_OK)
            refused++;
        else
            leave(arg, text);
    }
    return (void *)refused;
}

static void test_limits_threads(void)
{
    struct session_limits *l = session_limits_new();
    pthread_t t[4];

    for (unsigned i = 0; i < 4; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&t[i], NULL, enter_and_leave, l), 0);
    for (unsigned i = 0; i < 4; i++) {
        void *refused = NULL;
        (void)pthread_join(t[i], &refused);
        CU_ASSERT_PTR_NULL(refused);
    }
    CU_ASSERT_EQUAL(session_limits_count(l), 0);
    session_limits_free(l);
}

/* ---- rates ---- */

static void test_networks(void)
{
    static const struct {
        const char *address;
        unsigned v4, v6;
        const char *network;
    } rows[] = {
        { "192.0.2.255", 32, 64, "192.0.2.255" },  { "192.0.2.255", 25, 64, "192.0.2.128" },
        { "192.0.2.255", 8, 64, "192.0.0.0" },     { "2001:db8::ffff:1", 32, 64, "2001:db8::" },
        { "2001:db8::1", 8, 128, "2001:db8::1" },  { "2001:db8:ffff::", 8, 33, "2001:db8:8000::" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        tern_address a = address(rows[i].address), n = rates_network(&a, rows[i].v4, rows[i].v6);
        tern_address want = address(rows[i].network);
        CU_ASSERT_EQUAL(memcmp(n.octets, want.octets, 16), 0);
        CU_ASSERT_EQUAL(n.port, 0);
    }
}

/* So many at once, one too many; then as many as the time that passed has made room for. */
static void test_rates(void)
{
    static const struct tern_rate rate = { 3, 60000 };
    struct rates *r = rates_new();
    tern_address a = address("192.0.2.1"), b = address("192.0.2.2");
    uint64_t now = 5000000;

    for (unsigned i = 0; i < 3; i++)
        CU_ASSERT_TRUE(rates_take(r, RATE_MESSAGES, &a, rate, now));
    CU_ASSERT_FALSE(rates_take(r, RATE_MESSAGES, &a, rate, now));
    CU_ASSERT_TRUE(rates_take(r, RATE_MESSAGES, &b, rate, now));
    CU_ASSERT_TRUE(rates_take(r, RATE_RECIPIENTS, &a, rate, now)); /* kinds are counted apart */
    CU_ASSERT_FALSE(rates_take(r, RATE_MESSAGES, &a, rate, now + 19999999));
    CU_ASSERT_TRUE(rates_take(r, RATE_MESSAGES, &a, rate, now + 20000000));
    CU_ASSERT_FALSE(rates_take(r, RATE_MESSAGES, &a, rate, now + 20000000));
    now += 1000000000; /* a long rest fills the bucket, and no more than that */
    for (unsigned i = 0; i < 3; i++)
        CU_ASSERT_TRUE(rates_take(r, RATE_MESSAGES, &a, rate, now));
    CU_ASSERT_FALSE(rates_take(r, RATE_MESSAGES, &a, rate, now));
    for (unsigned i = 0; i < 10; i++)
        CU_ASSERT_TRUE(rates_take(r, RATE_MESSAGES, &a, ((struct tern_rate){ 0, 0 }), now)); /* no rate */
    rates_free(r);
    rates_free(NULL);
}

/* The table has a bound; a network that floods with addresses does not make it grow. */
static void test_rates_bound(void)
{
    static const struct tern_rate rate = { 10, 60000 };
    struct rates *r = rates_new();
    tern_address a = address("10.0.0.0");

    for (unsigned i = 0; i <= RATES_NETWORKS_MAX; i++) {
        a.octets[1] = (uint8_t)(i >> 16);
        a.octets[2] = (uint8_t)(i >> 8);
        a.octets[3] = (uint8_t)i;
        CU_ASSERT_TRUE(rates_take(r, RATE_CONNECTIONS, &a, rate, 1000));
        if (i + 1 == RATES_NETWORKS_MAX)
            CU_ASSERT_EQUAL(rates_count(r), RATES_NETWORKS_MAX);
    }
    CU_ASSERT_EQUAL(rates_count(r), 1); /* all were busy: forgotten */
    for (unsigned i = 0; i < RATES_NETWORKS_MAX; i++) {
        a.octets[1] = (uint8_t)(i >> 16);
        a.octets[2] = (uint8_t)(i >> 8);
        a.octets[3] = (uint8_t)i;
        (void)rates_take(r, RATE_CONNECTIONS, &a, rate, i < 10 ? 1000000000 : 2000);
    }
    CU_ASSERT_TRUE(rates_count(r) <= RATES_NETWORKS_MAX);
    rates_free(r);
}

/* ---- memory and descriptors ---- */

static void test_load(void)
{
    struct load *l = load_new();
    struct load_limits none = { 0, 0 }, tight = { 1 << 20, 0 }, few = { 0, 64 };
    uint64_t now = 1000;

    CU_ASSERT_EQUAL(load_check(l, &none, now), LOAD_OK);
    CU_ASSERT_TRUE(load_memory_octets(l) > 0 && load_descriptors(l) > 2);
    CU_ASSERT_EQUAL(load_check(l, &tight, now + LOAD_SAMPLE_MS - 1), LOAD_OK); /* not looked at again yet */
    char *more = malloc(4 << 20);
    memset(more, 'x', 4 << 20);
    CU_ASSERT_EQUAL(load_check(l, &tight, now + LOAD_SAMPLE_MS), LOAD_MEMORY);
    CU_ASSERT_EQUAL(load_check(l, &none, now + LOAD_SAMPLE_MS * 2), LOAD_OK); /* and recovers */
    CU_ASSERT_EQUAL(more[1000], 'x');
    free(more);
    /* 64, of which 16 are not for sessions. */
    now += 1000;
    CU_ASSERT_EQUAL(load_check_descriptor(l, &few, 47, now), LOAD_OK);
    CU_ASSERT_EQUAL(load_check_descriptor(l, &few, 48, now), LOAD_DESCRIPTORS);
    int fds[64], n = 0;
    while (n < 64 && (fds[n] = dup(0)) < 47)
        n++;
    CU_ASSERT_EQUAL(load_check(l, &few, now + LOAD_SAMPLE_MS), LOAD_DESCRIPTORS);
    for (int i = 0; i <= n; i++)
        (void)close(fds[i]);
    CU_ASSERT_EQUAL(load_check(l, &few, now + LOAD_SAMPLE_MS * 2), LOAD_OK);
    load_free(l);
    load_free(NULL);
}

/* ---- Received ---- */

static const struct {
    const char *name, *client, *helo;
    bool esmtp, tls, utf8;
    unsigned rcpts;
    const char *want;
    bool lmtp;
    const char *name_of; /* by XCLIENT */
    bool forged;
} fields[] = {
    { "HELO", "192.0.2.1", "client.example", false, false, false, 2,
      "Received: from client.example ([192.0.2.1])\r\n\tby mx.test with SMTP id ID;\r\n"
      "\tThu, 1 Jan 2026 00:00:00 +0000\r\n" },
    { "one recipient is named", "192.0.2.1", "client.example", true, false, false, 1,
      "Received: from client.example ([192.0.2.1])\r\n\tby mx.test with ESMTP id ID\r\n\tfor <rcpt0@example.org>;\r\n"
      "\tThu, 1 Jan 2026 00:00:00 +0000\r\n" },
    { "IPv6, over TLS", "2001:db8::1", "[IPv6:2001:db8::1]", true, true, false, 2,
      "Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n\tby mx.test with ESMTPS id ID;\r\n"
      "\tThu, 1 Jan 2026 00:00:00 +0000\r\n" },
    { "SMTPUTF8", "192.0.2.1", "client.example", true, false, true, 2,
      "Received: from client.example ([192.0.2.1])\r\n\tby mx.test with UTF8SMTP id ID;\r\n"
      "\tThu, 1 Jan 2026 00:00:00 +0000\r\n" },
    { "SMTPUTF8 over TLS", "192.0.2.1", "client.example", true, true, true, 2,
      "Received: from client.example ([192.0.2.1])\r\n\tby mx.test with UTF8SMTPS id ID;\r\n"
      "\tThu, 1 Jan 2026 00:00:00 +0000\r\n" },
    { "HELO knows no UTF8", "192.0.2.1", "client.example", false, false, true, 2,
      "Received: from client.example ([192.0.2.1])\r\n\tby mx.test with SMTP id ID;\r\n"
      "\tThu, 1 Jan 2026 00:00:00 +0000\r\n" },
    { "LMTP", "192.0.2.1", "client.example", true, false, false, 2,
      "Received: from client.example ([192.0.2.1])\r\n\tby mx.test with LMTP id ID;\r\n"
      "\tThu, 1 Jan 2026 00:00:00 +0000\r\n",
      true },
    { "LMTP with all there is", "192.0.2.1", "client.example", true, true, true, 2,
      "Received: from client.example ([192.0.2.1])\r\n\tby mx.test with UTF8LMTPS id ID;\r\n"
      "\tThu, 1 Jan 2026 00:00:00 +0000\r\n",
      true },
    { "a name", "192.0.2.1", "client.example", true, false, false, 2,
      "Received: from client.example (one.example [192.0.2.1])\r\n\tby mx.test with ESMTP id ID;\r\n"
      "\tThu, 1 Jan 2026 00:00:00 +0000\r\n",
      false, "one.example" },
    { "a name that leads nowhere", "192.0.2.1", "client.example", true, false, false, 2,
      "Received: from client.example (o?e [192.0.2.1] (may be forged))\r\n\tby mx.test with ESMTP id ID;\r\n"
      "\tThu, 1 Jan 2026 00:00:00 +0000\r\n",
      false, "o(e", true },
    { "no HELO at all", "192.0.2.1", "", true, false, false, 2,
      "Received: from unknown ([192.0.2.1])\r\n\tby mx.test with ESMTP id ID;\r\n"
      "\tThu, 1 Jan 2026 00:00:00 +0000\r\n" },
    { "nothing that is no atom leaves the name", "192.0.2.1", "a(b)\\c\r\nX: \xc3\xa4\x7f", true, false, false, 2,
      "Received: from a?b??c??X:???? ([192.0.2.1])\r\n\tby mx.test with ESMTP id ID;\r\n"
      "\tThu, 1 Jan 2026 00:00:00 +0000\r\n" },
};

static void test_received(void)
{
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        struct session_facts *s = session_facts_new();
        struct txn_facts *t = txn_facts_new();
        struct buf out = BUF_INIT;

        s->client = address(fields[i].client);
        s->client_text = tern_str_dup(&s->memory->arena, slice_cstr(fields[i].client));
        s->helo = tern_str_dup(&s->memory->arena, slice_cstr(fields[i].helo));
        s->esmtp = fields[i].esmtp;
        s->tls = fields[i].tls;
        s->lmtp = fields[i].lmtp;
        struct relayed_facts relayed = *s->relayed;
        relayed.client_name = tern_str_dup(&s->memory->arena, slice_cstr(fields[i].name_of));
        relayed.client_name_forged = fields[i].forged;
        s->relayed = &relayed;
        t->smtputf8 = fields[i].utf8;
        t->id = tern_str_dup(&t->memory->arena, SLICE("ID"));
        for (unsigned k = 0; k < fields[i].rcpts; k++) {
            struct rcpt_facts *rcpt = ARENA_NEW(&t->memory->arena, struct rcpt_facts);
            const char *text = arena_printf(&t->memory->arena, "rcpt%u@example.org", k);
            *rcpt = (struct rcpt_facts){ .plan = NULL };
            rcpt->view.original.address = tern_str_dup(&t->memory->arena, slice_cstr(text));
            txn_facts_add_rcpt(t, rcpt);
        }
        received_add(&out, s, t, "mx.test", 1767225600000);
        buf_add_char(&out, '\0');
        CU_ASSERT_STRING_EQUAL(out.data, fields[i].want);
        if (strcmp(out.data, fields[i].want) != 0)
            fprintf(stderr, "  %s:\n%s", fields[i].name, out.data);
        buf_free(&out);
        session_facts_unref(s);
        txn_facts_unref(t);
    }
}

/* ---- ipc ---- */

static void pair(int fds[2])
{
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
}

struct answering {
    int fd, pass_fd;
    struct ipc_wish got;
    struct ipc_answer answer;
};

static void *answer_one(void *arg)
{
    struct answering *a = arg;

    if (ipc_receive(a->fd, &a->got) == 0)
        (void)ipc_answer(a->fd, &a->answer, a->pass_fd);
    return NULL;
}

static int ask(struct answering *a, struct ipc_answer *answer)
{
    struct ipc_wish wish = { .op = IPC_LISTEN, .bind.address = address("127.0.0.1:2525") };
    pthread_t t;
    int fds[2];

    pair(fds);
    a->fd = fds[1];
    CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, answer_one, a), 0);
    int r = ipc_ask(fds[0], &wish, answer);
    (void)pthread_join(t, NULL);
    CU_ASSERT_EQUAL(a->got.op, IPC_LISTEN);
    CU_ASSERT_EQUAL(memcmp(&a->got.bind, &wish.bind, sizeof(wish.bind)), 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
    return r;
}

static void test_ipc_descriptor(void)
{
    struct answering a = { .pass_fd = open("/dev/null", O_RDONLY | O_CLOEXEC) };
    struct ipc_answer answer;
    struct stat want, got;
    int fd = ask(&a, &answer);

    CU_ASSERT_TRUE_FATAL(fd > 2);
    CU_ASSERT_EQUAL(fstat(a.pass_fd, &want), 0);
    CU_ASSERT_EQUAL(fstat(fd, &got), 0);
    CU_ASSERT_EQUAL(want.st_rdev, got.st_rdev);
    CU_ASSERT_EQUAL(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    (void)close(fd);
    (void)close(a.pass_fd);
}

/* A worker that was taken over asks and asks: the supervisor must not wait until it reads. */
static void test_ipc_deaf(void)
{
    const struct ipc_answer answer = { .status = 0 };
    int fds[2], r = 0;

    pair(fds);
    for (unsigned i = 0; i < 10000 && r == 0; i++)
        r = ipc_answer(fds[1], &answer, -1);
    CU_ASSERT_EQUAL(r, -EAGAIN);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void test_ipc_refusal(void)
{
    struct answering a = { .pass_fd = -1, .answer = { .status = -EACCES, .text = "port 22: not in supervisor.conf" } };
    struct ipc_answer answer;

    CU_ASSERT_EQUAL(ask(&a, &answer), -EACCES);
    CU_ASSERT_STRING_EQUAL(answer.text, "port 22: not in supervisor.conf");
    a.answer.status = 0;
    CU_ASSERT_EQUAL(ask(&a, &answer), 0);
}

static void test_ipc_gone(void)
{
    struct ipc_wish wish = { .op = IPC_READY };
    struct ipc_answer answer;
    int fds[2];

    pair(fds);
    CU_ASSERT_EQUAL(ipc_tell(fds[0], &wish), 0);
    CU_ASSERT_EQUAL(ipc_receive(fds[1], &wish), 0);
    (void)close(fds[1]);
    CU_ASSERT_TRUE(ipc_tell(fds[0], &wish) < 0);
    CU_ASSERT_TRUE(ipc_ask(fds[0], &wish, &answer) < 0);
    CU_ASSERT_STRING_EQUAL(answer.text, "the supervisor does not answer");
    CU_ASSERT_TRUE(answer.status < 0);
    (void)close(fds[0]);
    pair(fds);
    (void)close(fds[0]);
    CU_ASSERT_EQUAL(ipc_receive(fds[1], &wish), -1);
    (void)close(fds[1]);
}

/* The supervisor is the more trusted end: a packet of another size is not a wish. */
static void test_ipc_sizes(void)
{
    char octets[sizeof(struct ipc_wish) + 1] = { 0 };
    struct ipc_wish wish;
    int fds[2];

    for (size_t n = 1; n <= sizeof(octets); n++) {
        pair(fds);
        CU_ASSERT_EQUAL(send(fds[0], octets, n, 0), (ssize_t)n);
        CU_ASSERT_EQUAL(ipc_receive(fds[1], &wish), n == sizeof(wish) ? 0 : -1);
        (void)close(fds[0]);
        (void)close(fds[1]);
    }
}

/* ---- the shared page ---- */

static void test_shared(void)
{
    struct shared_page *page = shared_page_new();

    CU_ASSERT_PTR_NOT_NULL_FATAL(page);
    CU_ASSERT_EQUAL(atomic_load(&page->watchdog_ms), 0);
    pid_t pid = fork();
    if (pid == 0) {
        atomic_store(&page->beats[SHARED_LOOPS_MAX - 1], 42);
        _exit(0);
    }
    (void)waitpid(pid, NULL, 0);
    CU_ASSERT_EQUAL(atomic_load(&page->beats[SHARED_LOOPS_MAX - 1]), 42); /* seen across the fork */
    shared_page_clear(page);
    CU_ASSERT_EQUAL(atomic_load(&page->beats[SHARED_LOOPS_MAX - 1]), 0);
    /* The last slot, and threads beyond: those go without. */
    atomic_store(&page->slots_used, SHARED_THREADS_MAX - 1);
    for (unsigned i = 0; i < 3; i++)
        shared_page_use(page);
    CU_ASSERT_EQUAL(atomic_load(&page->slots_used), SHARED_THREADS_MAX + 2);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("server parts", NULL, NULL);
    CU_add_test(suite, "limits", test_limits);
    CU_add_test(suite, "limits of IPv6 networks", test_limits_ipv6);
    CU_add_test(suite, "limits from four threads", test_limits_threads);
    CU_add_test(suite, "networks", test_networks);
    CU_add_test(suite, "rates", test_rates);
    CU_add_test(suite, "rates: the table has a bound", test_rates_bound);
    CU_add_test(suite, "memory and descriptors", test_load);
    CU_add_test(suite, "Received", test_received);
    CU_add_test(suite, "a descriptor is passed", test_ipc_descriptor);
    CU_add_test(suite, "who does not read holds nobody up", test_ipc_deaf);
    CU_add_test(suite, "a refusal has a reason", test_ipc_refusal);
    CU_add_test(suite, "the other end is gone", test_ipc_gone);
    CU_add_test(suite, "packets of any size", test_ipc_sizes);
    CU_add_test(suite, "the shared page", test_shared);
    (void)CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed != 0;
}
