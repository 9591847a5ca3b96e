/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_directory.c - what an LDAP server says, over a real socket and libldap: the first octet says how the
 * rest is cut into the answer to the bind and the one to the search, and whether a password is asked
 * instead. Promises: it ends; whoever says nothing gets nobody in; what is found is bounded, has an end,
 * and is there only if all went well.
 */
#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <lib/directory.h>

#define INPUT_OCTETS_MAX 20000
#define QUESTION_MS      20 /* a client that asks nothing more gets the rest at once */
#define TIMEOUT_MS       2000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void);

/*
 * libldap 2.5 loses some memory of its own, at most a few KB for a connection, when an answer is malformed: the
 * request that it belongs to, the words of a notice of disconnection. What we take from it is ours to free.
 */
const char *__lsan_default_suppressions(void)
{
    return "leak:ldap_result\nleak:ldap_sasl_bind\nleak:ldap_search_ext\nleak:ldap_parse_result\n";
}

/* It is built without frame pointers, so that those would not be known again. The other one: cmake/asan.c. */
const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0:intercept_tls_get_addr=0";
}

static char path[64], uri[128];
static int listener = -1;
static struct {
    const uint8_t *data;
    size_t first, size;
} input;

static void serve_part(int fd, const uint8_t *data, size_t size)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char question[4096];

    if (poll(&p, 1, QUESTION_MS) > 0)
        (void)!read(fd, question, sizeof(question));
    if (size > 0)
        (void)send(fd, data, size, MSG_NOSIGNAL);
}

static void *serve(void *arg)
{
    int fd = accept(listener, NULL, NULL);

    if (fd >= 0) {
        serve_part(fd, input.data, input.first);
        serve_part(fd, input.data + input.first, input.size - input.first);
        (void)close(fd);
    }
    return arg;
}

static void forget_socket(void)
{
    (void)unlink(path);
}

static void listen_once(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    if (listener >= 0)
        return;
    (void)signal(SIGPIPE, SIG_IGN); /* as the server does */
    (void)snprintf(path, sizeof(path), "/tmp/fuzz-directory-%d", (int)getpid());
    (void)snprintf(uri, sizeof(uri), "ldapi://%%2Ftmp%%2Ffuzz-directory-%d", (int)getpid());
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    (void)unlink(path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(listener >= 0 && bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(listener, 8) == 0);
    (void)atexit(forget_socket);
}

static void check_value(tern_str s)
{
    assert(s.ptr == NULL || (s.len <= DIRECTORY_VALUE_OCTETS_MAX && strlen(s.ptr) == s.len));
}

static void search(const struct directory_conf *conf)
{
    struct directory_row row = { .entries = 7 };
    struct directory *d = NULL;
    char error[256] = "";

    if (directory_open(conf, TIMEOUT_MS, &d, error, sizeof(error)) < 0) {
        assert(d == NULL && error[0] != '\0');
        return;
    }
    int r = directory_search(d, conf, TERN_STR("alice"), "mail", "userPassword", TIMEOUT_MS, &row, error, sizeof(error));
    assert(r <= 0 && row.entries <= 2 && (r == 0 || error[0] != '\0'));
    assert(r == 0 ? (row.entries == 0) == (row.dn == NULL) : row.dn == NULL && row.value.ptr == NULL);
    check_value(row.value);
    check_value(row.second);
    directory_row_fini(&row);
    directory_close(d);
}

static void log_in(const struct directory_conf *conf)
{
    char error[256] = "";
    int r = directory_is_password(conf, "uid=alice,dc=test", TERN_STR("secret"), TIMEOUT_MS, error, sizeof(error));

    assert(r >= 0 || error[0] != '\0');
    /* A yes is a BindResponse, [APPLICATION 1]. */
    assert(r != 1 || memchr(input.data, 0x61, input.size) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct directory_conf conf = { .bind_dn = TERN_STR("cn=reader,dc=test"), .bind_password = TERN_STR("x"),
                                   .base = TERN_STR("dc=test"), .filter = TERN_STR("(uid=%{user})") };
    pthread_t server;

    if (size < 2 || size > INPUT_OCTETS_MAX)
        return 0;
    listen_once();
    conf.uri = (tern_str){ uri, strlen(uri) };
    input.data = data + 1;
    input.size = size - 1;
    input.first = (size_t)(data[0] & 0x7f) < input.size ? data[0] & 0x7f : input.size;
    assert(pthread_create(&server, NULL, serve, NULL) == 0);
    if (data[0] < 0x80)
        search(&conf);
    else
        log_in(&conf);
    (void)pthread_join(server, NULL);
    return 0;
}
