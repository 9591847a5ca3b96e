/* SPDX-License-Identifier: Apache-2.0 */
/* tls_world.h - certificates made on the spot, and two connections that speak TLS to each other; for test_tls.c. */
#ifndef TERN_TESTS_TLS_WORLD_H
#define TERN_TESTS_TLS_WORLD_H

#include <CUnit/Basic.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "net/conn.h"
#include "tls/private.h" /* names are pure, and their rows are here */
#include "tls/tls.h"

#define WAIT_TURNS 2000

static char folder[] = "/tmp/tern-tls-XXXXXX";

/* ---- files ---- */

static void sh(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void sh(const char *format, ...)
{
    CLEANUP_BUF struct buf line = BUF_INIT;
    va_list args;

    buf_printf(&line, "cd %s && { ", folder);
    va_start(args, format);
    buf_vprintf(&line, format, args);
    va_end(args);
    buf_add_cstr(&line, "; } >/dev/null 2>&1");
    if (system(line.data) != 0) {
        printf("failed: %s\n", line.data);
        exit(1);
    }
}

/* NAME.pem and NAME.key, signed by the test's authority. */
static void make(const char *name, const char *kind, const char *names)
{
    sh("openssl req -newkey %s -nodes -keyout %s.key -subj /CN=%s -out %s.csr && printf 'subjectAltName=%s\\n' >%s.ext && "
       "openssl x509 -req -in %s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile %s.ext -out %s.pem",
       kind, name, name, name, names, name, name, name, name);
}

#define EC  "ec -pkeyopt ec_paramgen_curve:P-256"
#define RSA "rsa:2048"

static int set_up(void)
{
    if (mkdtemp(folder) == NULL)
        return 1;
    (void)signal(SIGPIPE, SIG_DFL); /* nothing here may need it ignored */
    sh("openssl req -x509 -newkey " EC " -nodes -keyout ca.key -subj /CN=authority -days 30 -out ca.pem");
    make("a", EC, "DNS:a.example,DNS:both.example");
    make("b", RSA, "DNS:b.example,DNS:*.b.example,DNS:both.example");
    make("client", EC, "email:me@client.example,DNS:client.example");
    sh("openssl req -x509 -newkey " EC " -nodes -keyout self.key -subj /CN=self.example -days 30 -out self.pem");
    sh("openssl ec -in a.key -aes128 -passout pass:secret -out locked.key");
    return 0;
}

static int tear_down(void)
{
    sh("rm -f ./*");
    return rmdir(folder);
}

static const char *path(const char *name)
{
    static char paths[4][256];
    static unsigned at;
    char *p = paths[at++ % 4];

    (void)snprintf(p, sizeof(paths[0]), "%s/%s", folder, name);
    return p;
}

static struct tls_certificate *load(const char *name)
{
    char error[TLS_ERROR_OCTETS] = "", pem[64], key[64];

    (void)snprintf(pem, sizeof(pem), "%s.pem", name);
    (void)snprintf(key, sizeof(key), "%s.key", name);
    struct tls_certificate *c = tls_certificate_load(path(pem), path(key), NULL, error);
    if (c == NULL)
        printf("%s\n", error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    return c;
}

/* ---- two ends ---- */

struct end {
    struct conn *conn;
    struct buf got;
    unsigned secured, ends;
    int status;
    char reason[TLS_ERROR_OCTETS];
    bool paused_at_first;
};

struct world {
    struct loop *loop;
    struct tls_certificate *certificates[4];
    struct tls_server *server;
    struct tls_client *client;
    struct end s, c; /* the server's end, the client's */
};

static void on_secured(void *owner)
{
    ((struct end *)owner)->secured++;
}

static void on_read(void *owner, struct slice octets)
{
    struct end *e = owner;

    buf_add(&e->got, octets);
    if (e->paused_at_first) {
        e->paused_at_first = false;
        conn_pause(e->conn);
    }
}

static void on_end(void *owner, int status)
{
    struct end *e = owner;

    e->ends++;
    e->status = status;
    if (tls_of(e->conn) != NULL)
        (void)snprintf(e->reason, sizeof(e->reason), "%s", tls_reason(tls_of(e->conn)));
    conn_free(e->conn);
    e->conn = NULL;
}

static const struct conn_ops ops = { .on_read = on_read, .on_secured = on_secured, .on_end = on_end };

static void new_server(struct world *w, const struct tls_server_options *more)
{
    struct tls_server_options o = more != NULL ? *more : (struct tls_server_options){ .count = 0 };
    char error[TLS_ERROR_OCTETS] = "";

    if (o.version_min == 0)
        o.version_min = TLS_VERSION_1_2;
    o.certificates = w->certificates;
    while (w->certificates[o.count] != NULL)
        o.count++;
    w->server = tls_server_new(&o, error);
    if (w->server == NULL)
        printf("%s\n", error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w->server);
}

static void new_client(struct world *w, const struct tls_client_options *more)
{
    struct tls_client_options o = more != NULL ? *more : (struct tls_client_options){ .verify = false };
    char error[TLS_ERROR_OCTETS] = "";

    if (o.version_min == 0)
        o.version_min = TLS_VERSION_1_2;
    w->client = tls_client_new(&o, error);
    if (w->client == NULL)
        printf("%s\n", error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w->client);
}

static void begin(struct world *w, const char *first, const char *second)
{
    memset(w, 0, sizeof(*w));
    w->loop = loop_new(0);
    w->certificates[0] = load(first);
    w->certificates[1] = second != NULL ? load(second) : NULL;
}

static void hang_up(struct world *w)
{
    conn_free(w->s.conn);
    conn_free(w->c.conn);
    buf_free(&w->s.got);
    buf_free(&w->c.got);
    w->s = w->c = (struct end){ .conn = NULL };
}

static void finish(struct world *w)
{
    hang_up(w);
    for (int i = 0; i < 4; i++)
        loop_turn(w->loop, false);
    loop_free(w->loop);
    tls_server_free(w->server);
    tls_client_unref(w->client);
    for (int i = 0; w->certificates[i] != NULL; i++)
        tls_certificate_free(w->certificates[i]);
}

static void turns(struct world *w, bool (*until)(const struct world *))
{
    for (int i = 0; i < WAIT_TURNS && !until(w); i++)
        loop_turn(w->loop, true);
}

static bool settled(const struct world *w)
{
    return (w->s.secured > 0 || w->s.ends > 0) && (w->c.secured > 0 || w->c.ends > 0);
}

static bool both_ended(const struct world *w)
{
    return w->s.ends > 0 && w->c.ends > 0;
}

static void connect_pair(struct world *w)
{
    int fds[2];

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    w->s.conn = conn_new(w->loop, fds[0], &ops, &w->s);
    w->c.conn = conn_new(w->loop, fds[1], &ops, &w->c);
}

static void shake(struct world *w, const struct tls_target *target)
{
    static const struct tls_target none = { .sni = NULL };

    connect_pair(w);
    struct tls *server = tls_server_side(w->server);
    struct tls *client = tls_client_side(w->client, target != NULL ? target : &none);
    CU_ASSERT_TRUE_FATAL(server != NULL && client != NULL);
    tls_start(server, w->s.conn, SLICE(""));
    tls_start(client, w->c.conn, SLICE(""));
    turns(w, settled);
}

#endif
