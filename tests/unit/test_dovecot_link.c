/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_dovecot_link.c - the connection of auth_dovecot and its thread, over a server of sixty lines and calls that
 * are counters: every exchange gets its own answer, every reference comes back, whoever ends it and when.
 */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../modules/auth_dovecot/link.h"

#define CALLS 200
#define WAIT_S 60

/* A call, as the link sees it: references, and a queue of one loop. */
struct tern_call {
    unsigned number;
    _Atomic int refs;
    struct exchange *exchange;
    enum link_answer got;
    char text[64];
    bool ended;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct {
    tern_call *call;
    tern_timer_fn done;
} woken[CALLS * 4];
static unsigned woken_count;

static bool wake(tern_call *call, tern_timer_fn done)
{
    pthread_mutex_lock(&lock);
    woken[woken_count].call = call;
    woken[woken_count++].done = done;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    return true;
}

static tern_call *call_ref(tern_call *call)
{
    call->refs++;
    return call;
}

static void call_unref(tern_call *call)
{
    call->refs--;
}

static void *alloc_text(tern_call *call, size_t octets)
{
    return octets <= sizeof(call->text) ? memset(call->text, 0, sizeof(call->text)) : NULL;
}

static void log_nothing(const tern_call *call, enum tern_log_level level, const char *format, ...)
{
    (void)call;
    (void)level;
    (void)format;
}

static const struct tern_api api = { .size = sizeof(api), .wake = wake, .call_ref = call_ref, .call_unref = call_unref,
                                     .alloc = alloc_text, .log = log_nothing };

static void answered(tern_call *call, const void *conf)
{
    tern_str text;

    (void)conf;
    if (call->ended)
        return;
    call->got = link_take(call->exchange, call, &text);
    if (call->got == LINK_MORE) {
        CU_ASSERT_TRUE(link_continue(call->exchange, TERN_STR("more")));
        return;
    }
    call->ended = true;
    link_end(call->exchange);
}

/* Runs what was woken until `want` calls have ended, as the loop would. */
static void run_loop(tern_call *calls, unsigned count)
{
    struct timespec until;
    unsigned ended = 0, at = 0;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (at < woken_count) {
            tern_call *call = woken[at].call;
            tern_timer_fn done = woken[at++].done;
            pthread_mutex_unlock(&lock);
            done(call, NULL);
            pthread_mutex_lock(&lock);
        }
        for (ended = 0; ended < count && calls[ended].ended;)
            ended++;
        if (ended == count || pthread_cond_timedwait(&changed, &lock, &until) != 0)
            break;
    }
    woken_count = 0;
    pthread_mutex_unlock(&lock);
    CU_ASSERT_EQUAL(ended, count);
}

/* ---- the server: yes to even ids, no to odd ones; to ids that divide by three a challenge first ---- */

static char path[64];
static int listener;

static void say(int fd, const char *line)
{
    (void)!send(fd, line, strlen(line), MSG_NOSIGNAL);
}

static void reply_to(int fd, const char *line)
{
    char text[64];
    unsigned id = 0;

    if (sscanf(line, "AUTH\t%u", &id) == 1 && id % 3 == 0)
        (void)snprintf(text, sizeof(text), "CONT\t%u\tYQ==\n", id);
    else if (sscanf(line, "AUTH\t%u", &id) == 1 || sscanf(line, "CONT\t%u", &id) == 1)
        (void)snprintf(text, sizeof(text), id % 2 == 0 ? "OK\t%u\tuser=u%u\n" : "FAIL\t%u\n", id, id);
    else
        return;
    say(fd, text);
}

static void *serve(void *unused)
{
    static char octets[1 << 20];

    (void)unused;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        size_t len = 0;
        if (fd < 0)
            return NULL;
        say(fd, "VERSION\t1\t2\nDONE\n");
        for (;;) {
            ssize_t n = recv(fd, octets + len, sizeof(octets) - len - 1, 0);
            if (n <= 0)
                break;
            len += (size_t)n;
            octets[len] = '\0';
            char *line = octets;
            for (char *end = strchr(line, '\n'); end != NULL; end = strchr(line, '\n')) {
                *end = '\0';
                reply_to(fd, line);
                line = end + 1;
            }
            len -= (size_t)(line - octets);
            memmove(octets, line, len);
        }
        (void)close(fd);
    }
}

static pthread_t server;

static void open_server(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    (void)snprintf(path, sizeof(path), "/tmp/tern-test-link-%d", (int)getpid());
    (void)unlink(path);
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(listener, 8) < 0)
        abort();
    (void)pthread_create(&server, NULL, serve, NULL);
}

static void close_server(void)
{
    (void)shutdown(listener, SHUT_RDWR);
    (void)pthread_join(server, NULL);
    (void)close(listener);
    (void)unlink(path);
}

static tern_call *begin(struct link *link, unsigned count)
{
    tern_call *calls = calloc(count, sizeof(calls[0]));
    const char *why = NULL;

    for (unsigned i = 0; i < count; i++) {
        calls[i].number = i + 1;
        calls[i].exchange = link_begin(link, &calls[i], answered, "PLAIN", "service=smtp", TERN_STR("x"), &why);
        CU_ASSERT_PTR_NOT_NULL_FATAL(calls[i].exchange);
    }
    return calls;
}

static void test_each_its_own(void)
{
    open_server();
    struct link *link = link_get(&api, path);
    tern_call *calls = begin(link, CALLS);
    run_loop(calls, CALLS);
    for (unsigned i = 0; i < CALLS; i++) {
        char user[16];
        (void)snprintf(user, sizeof(user), "u%u", calls[i].number);
        CU_ASSERT_EQUAL(calls[i].got, calls[i].number % 2 == 0 ? LINK_YES : LINK_NO);
        CU_ASSERT_TRUE(calls[i].got != LINK_YES || strcmp(calls[i].text, user) == 0);
        CU_ASSERT_EQUAL(calls[i].refs, 0);
    }
    free(calls);
    link_end_all();
    close_server();
}

/* Every other call goes before its answer: nothing of it is left, and the others hear theirs. */
static void test_ended_early(void)
{
    open_server();
    struct link *link = link_get(&api, path);
    tern_call *calls = begin(link, CALLS);
    for (unsigned i = 0; i < CALLS; i += 2) {
        calls[i].ended = true;
        link_end(calls[i].exchange);
    }
    run_loop(calls, CALLS);
    for (unsigned i = 0; i < CALLS; i++) {
        CU_ASSERT_EQUAL(calls[i].refs, 0);
        CU_ASSERT_EQUAL(calls[i].got, i % 2 == 0 ? LINK_NONE : calls[i].number % 2 == 0 ? LINK_YES : LINK_NO);
    }
    free(calls);
    link_end_all();
    close_server();
}

static void test_nobody_there(void)
{
    const char *why = NULL;
    struct link *link = link_get(&api, "/nonexistent/auth-client");
    tern_call *calls = begin(link, 1), late = { .number = 2 };

    run_loop(calls, 1);
    CU_ASSERT_EQUAL(calls[0].got, LINK_FAILED);
    CU_ASSERT_EQUAL(calls[0].refs, 0);
    CU_ASSERT_PTR_NULL(link_begin(link, &late, answered, "PLAIN", "", TERN_STR("x"), &why));
    CU_ASSERT_STRING_EQUAL(why, "the auth server was not there a moment ago");
    CU_ASSERT_EQUAL(late.refs, 0);
    free(calls);
    link_end_all();
}

/* At the bounds: of exchanges under way, and of a line. The server never greets. */
static void test_bounds(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    static char response[DOVECOT_REQUEST_OCTETS_MAX];
    const char *why = NULL;
    tern_call late = { .number = 0 };

    (void)snprintf(a.sun_path, sizeof(a.sun_path), "/tmp/tern-test-mute-%d", (int)getpid());
    (void)unlink(a.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 8) < 0)
        abort();
    struct link *link = link_get(&api, a.sun_path);
    memset(response, 'r', sizeof(response));
    CU_ASSERT_PTR_NULL(link_begin(link, &late, answered, "PLAIN", "", (tern_str){ response, sizeof(response) }, &why));
    CU_ASSERT_STRING_EQUAL(why, "what the client says is too long");
    tern_call *calls = begin(link, LINK_EXCHANGES_MAX);
    CU_ASSERT_PTR_NULL(link_begin(link, &late, answered, "PLAIN", "", TERN_STR("x"), &why));
    CU_ASSERT_STRING_EQUAL(why, "1000 logins are under way already");
    CU_ASSERT_EQUAL(late.refs, 0);
    for (unsigned i = 0; i < LINK_EXCHANGES_MAX; i++) {
        link_end(calls[i].exchange);
        CU_ASSERT_EQUAL(calls[i].refs, 0);
    }
    free(calls);
    link_end_all();
    (void)close(fd);
    (void)unlink(a.sun_path);
}

int main(void)
{
    if (sodium_init() < 0 || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("dovecot link", NULL, NULL);
    CU_add_test(suite, "each its own answer", test_each_its_own);
    CU_add_test(suite, "ended early", test_ended_early);
    CU_add_test(suite, "nobody there", test_nobody_there);
    CU_add_test(suite, "bounds", test_bounds);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
