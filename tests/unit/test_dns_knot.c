/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_dns_knot.c - the resolver against a real server: knotd on a free loopback port, in a temporary
 * folder. Skipped, saying so, where it is not installed.
 */
#include <CUnit/Basic.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "dns/private.h"

#define TXT_STRINGS 240 /* of 250 octets: 60,000 in all, only by TCP */
#define START_TRIES 1200

static char dir[] = "/tmp/tern-knot-XXXXXX";
static pid_t knot_pid = -1;
static unsigned port, patience_ms = 1000; /* until it answers, each try; then it has to */

static void write_file(const char *name, const struct buf *text)
{
    char path[100];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (f == NULL || fwrite(text->data, 1, text->len, f) != text->len || fclose(f) != 0)
        abort();
}

static void write_zone(void)
{
    struct buf zone CLEANUP_BUF = BUF_INIT;

    buf_add_cstr(
        &zone,
        "$ORIGIN test.\n$TTL 60\n@ SOA ns hostmaster 1 300 300 300 45\n@ NS ns\nns A 127.0.0.1\n"
        "example MX 10 mail\nexample MX 20 backup\nmail A 192.0.2.25\nmail AAAA 2001:db8::25\n"
        "backup A 192.0.2.26\nalias CNAME example\nnull MX 0 .\nhost A 192.0.2.1\n"
        "big TXT (");
    for (unsigned i = 0; i < TXT_STRINGS; i++) {
        buf_add_cstr(&zone, "\n \"");
        for (unsigned k = 0; k < 250; k++)
            buf_add_char(&zone, (char)('a' + i % 26));
        buf_add_cstr(&zone, "\"");
    }
    buf_add_cstr(&zone, " )\n");
    write_file("test.zone", &zone);
}

static unsigned free_port(void)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0 ||
        getsockname(fd, (struct sockaddr *)&in, &len) < 0)
        abort();
    (void)close(fd);
    return ntohs(in.sin_port);
}

static const char *find_knot(void)
{
    static const char *const places[] = { "/usr/sbin/knotd", "/usr/local/sbin/knotd" };

    for (size_t i = 0; i < 2; i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    return NULL;
}

static void start_knot(const char *program)
{
    struct buf conf CLEANUP_BUF = BUF_INIT;
    char path[100];

    if (mkdtemp(dir) == NULL)
        abort();
    port = free_port();
    buf_printf(
        &conf,
        "server:\n  rundir: \"%s\"\n  listen: 127.0.0.1@%u\n  udp-workers: 1\n  tcp-workers: 1\n"
        "  background-workers: 1\ndatabase:\n  storage: \"%s\"\n"
        "zone:\n  - domain: test\n    storage: \"%s\"\n    file: \"test.zone\"\n",
        dir, port, dir, dir);
    write_file("knot.conf", &conf);
    write_zone();
    snprintf(path, sizeof(path), "%s/knot.conf", dir);
    knot_pid = fork();
    if (knot_pid != 0)
        return;
    int null = open("/dev/null", O_RDWR);
    (void)dup2(null, 1);
    (void)dup2(null, 2);
    execl(program, program, "-c", path, (char *)NULL);
    _exit(127);
}

static void remove_dir(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        execlp("rm", "rm", "-rf", dir, (char *)NULL);
        _exit(127);
    }
    (void)waitpid(pid, NULL, 0);
}

static void stop_knot(void)
{
    (void)kill(knot_pid, SIGTERM);
    (void)waitpid(knot_pid, NULL, 0);
    remove_dir();
}

/* ---- asking ---- */

struct world {
    struct loop *loop;
    struct dns *dns;
    struct buf heard;
    size_t octets;
};

static void hear(void *arg, const struct tern_dns_answer *a)
{
    struct world *w = arg;

    buf_clear(&w->heard);
    buf_printf(&w->heard, "%u %s", a->status, a->error != NULL ? a->error : "");
    for (size_t i = 0; i < a->count; i++)
        buf_printf(&w->heard, " %u:%.20s", a->records[i].ttl_s, a->records[i].text.ptr);
    w->octets = a->count > 0 ? a->records[0].text.len : 0;
    loop_stop(w->loop);
}

static void hear_mx(void *arg, const struct mx_answer *a)
{
    struct world *w = arg;

    buf_clear(&w->heard);
    buf_printf(&w->heard, "%u", a->status);
    for (unsigned i = 0; i < a->count; i++)
        buf_printf(&w->heard, " %s/%u/%u", a->hosts[i].name, a->hosts[i].preference,
                   a->hosts[i].address_count);
    loop_stop(w->loop);
}

static void world_init(struct world *w)
{
    tern_address address = { .family = 4, .octets = { 127, 0, 0, 1 }, .port = (uint16_t)port };
    struct dns_options options = {
        .servers = &address, .server_count = 1, .timeout_ms = patience_ms, .tries = 2
    };

    *w = (struct world){ .loop = loop_new(0) };
    CU_ASSERT_EQUAL_FATAL(dns_new(w->loop, &options, &w->dns), 0);
}

static void world_fini(struct world *w)
{
    dns_free(w->dns);
    loop_free(w->loop);
    buf_free(&w->heard);
}

static const char *ask(struct world *w, const char *name, unsigned type)
{
    (void)dns_ask(w->dns, name, type, false, hear, w);
    loop_run(w->loop);
    return w->heard.data;
}

static const char *ask_mx(struct world *w, const char *name)
{
    (void)mx_ask(w->dns, name, hear_mx, w);
    loop_run(w->loop);
    return w->heard.data;
}

static void wait_for_knot(void)
{
    for (unsigned i = 0; i < START_TRIES; i++) {
        struct world w;
        world_init(&w);
        bool up = strncmp(ask(&w, "host.test", TERN_DNS_A), "0", 1) == 0;
        world_fini(&w);
        if (up)
            return;
        usleep(50000);
    }
    fprintf(stderr, "  knotd did not answer\n");
}

static void test_knot(void)
{
    struct world w;

    wait_for_knot();
    patience_ms = 20000;
    world_init(&w);
    CU_ASSERT_STRING_EQUAL(ask(&w, "host.test", TERN_DNS_A), "0  60:192.0.2.1");
    CU_ASSERT_STRING_EQUAL(ask(&w, "mail.test", TERN_DNS_AAAA), "0  60:2001:db8::25");
    CU_ASSERT_STRING_EQUAL(ask(&w, "nothere.test", TERN_DNS_A), "1 NXDOMAIN");
    CU_ASSERT_STRING_EQUAL(ask(&w, "host.test", TERN_DNS_MX), "1 NODATA");
    CU_ASSERT_STRING_EQUAL(ask(&w, "example.org", TERN_DNS_A), "2 refused");
    CU_ASSERT_STRING_EQUAL(ask(&w, "alias.test", TERN_DNS_CNAME), "0  60:example.test");
    CU_ASSERT_STRING_EQUAL(ask(&w, "big.test", TERN_DNS_TXT), "0  60:aaaaaaaaaaaaaaaaaaaa");
    CU_ASSERT_EQUAL(w.octets, TXT_STRINGS * 250);
    CU_ASSERT_STRING_EQUAL(ask_mx(&w, "example.test"), "0 mail.test/10/2 backup.test/20/1");
    CU_ASSERT_STRING_EQUAL(ask_mx(&w, "alias.test"), "0 mail.test/10/2 backup.test/20/1");
    CU_ASSERT_STRING_EQUAL(ask_mx(&w, "host.test"), "0 host.test/0/1");
    CU_ASSERT_STRING_EQUAL(ask_mx(&w, "null.test"), "1");
    CU_ASSERT_STRING_EQUAL(ask_mx(&w, "nothere.test"), "2");
    world_fini(&w);
}

int main(void)
{
    const char *program = find_knot();

    if (program == NULL) {
        printf("skipped: knotd is not installed\n");
        return 0;
    }
    start_knot(program);
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("dns and knot", NULL, NULL);
    CU_add_test(suite, "knot", test_knot);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    stop_knot();
    return failures != 0;
}
