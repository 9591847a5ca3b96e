/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - see control.h. libmicrohttpd on its own thread; it faces local users only.
 */
#include "server/control.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/sandbox.h"

#define CONNECTIONS_MAX 32
#define LIST_DEFAULT    1000
#define LIST_MAX        10000

struct control {
    struct serve *serve;
    struct MHD_Daemon *daemon;
    char *path;
};

/* ---- who asks ---- */

static uid_t peer_uid(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred cred = { .uid = (uid_t)-1 };
    socklen_t len = sizeof(cred);

    if (info == NULL || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return (uid_t)-1;
    return cred.uid;
}

static bool may_change(uid_t uid)
{
    return uid == 0 || uid == geteuid();
}

/* ---- verbs ---- */

static unsigned get_status(struct serve *s, struct buf *out)
{
    struct scheduler_stats q;
    struct spool_stats sp;

    if (s->spool == NULL) {
        buf_printf(out, "{\"generation\":%llu,\"sessions\":%u,\"loops\":%u,\"milter\":true,"
                   "\"uptime_s\":%llu,\"pid\":%d,\"sandbox\":\"%s\"}\n",
                   (unsigned long long)s->generation_number, session_limits_count(s->limits), s->loop_count,
                   (unsigned long long)(clock_wall_ms() - s->started_wall_ms) / 1000, (int)getpid(), sandbox_level());
        return MHD_HTTP_OK;
    }
    scheduler_get_stats(s->scheduler, &q);
    spool_get_stats(s->spool, &sp);
    buf_printf(out,
               "{\"generation\":%llu,\"sessions\":%u,\"loops\":%u,\"queued\":%llu,\"held\":%llu,"
               "\"preparing\":%llu,\"ready\":%llu,\"sites\":%llu,\"segments\":%llu,\"uptime_s\":%llu,\"pid\":%d,"
               "\"sandbox\":\"%s\"}\n",
               (unsigned long long)s->generation_number, session_limits_count(s->limits), s->loop_count,
               (unsigned long long)q.messages, (unsigned long long)q.held,
               (unsigned long long)q.preparing, (unsigned long long)q.ready, (unsigned long long)q.sites,
               (unsigned long long)sp.segments,
               (unsigned long long)(clock_wall_ms() - s->started_wall_ms) / 1000, (int)getpid(), sandbox_level());
    return MHD_HTTP_OK;
}

static uint64_t oldest_s(struct spool *spool)
{
    uint64_t oldest_ms = spool_oldest_ms(spool), now_ms = clock_wall_ms();

    return oldest_ms > 0 && oldest_ms < now_ms ? (now_ms - oldest_ms) / 1000 : 0;
}

static void set_queue_metrics(struct serve *s)
{
    struct scheduler_stats q;
    struct dispatch_stats d;

    scheduler_get_stats(s->scheduler, &q);
    dispatch_set_stats(s->dispatches, &d);
    metric_set(metric_gauge("tern_queue_messages", "", "Messages in the queue."), (int64_t)q.messages);
    metric_set(metric_gauge("tern_queue_held", "", "Messages held."), (int64_t)q.held);
    metric_set(metric_gauge("tern_queue_oldest_seconds", "", "Age of the oldest message in the queue; 0: it is empty."),
               (int64_t)oldest_s(s->spool));
    metric_set(metric_gauge("tern_queue_ready", "", "Parcels that wait for a connection."), (int64_t)q.ready);
    metric_set(metric_gauge("tern_delivery_connections", "", "Outbound connections."), (int64_t)d.links);
}

static unsigned get_metrics(struct serve *s, struct buf *out)
{
    if (s->spool != NULL)
        set_queue_metrics(s);
    metric_set(metric_gauge("tern_log_dropped", "", "Log lines dropped because the ring was full."),
               (int64_t)log_dropped());
    metric_set(metric_gauge("tern_memory_octets", "", "Memory of the worker, as limits.memory counts it."),
               (int64_t)load_memory_octets(s->load));
    metric_set(metric_gauge("tern_descriptors", "", "Descriptors of the worker."), (int64_t)load_descriptors(s->load));
    metrics_print(out);
    return MHD_HTTP_OK;
}

static unsigned get_hooks(struct buf *out, bool json)
{
    struct generation *g = generation_present();

    policies_print(g->policies, out, json);
    generation_unref(g);
    return MHD_HTTP_OK;
}

static unsigned get_list(struct serve *s, struct MHD_Connection *connection, struct buf *out)
{
    const char *after = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "after");
    const char *max = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "max");
    uint64_t n = LIST_DEFAULT;

    if (max != NULL && (!slice_to_u64(slice_cstr(max), &n) || n == 0 || n > LIST_MAX)) {
        buf_printf(out, "max: expected a number from 1 to %d\n", LIST_MAX);
        return MHD_HTTP_BAD_REQUEST;
    }
    return control_queue_list(s, slice_cstr(after != NULL ? after : ""), (unsigned)n, out);
}

static bool lacks_queue(const struct serve *s, struct slice path, struct buf *out)
{
    if (s->spool != NULL || !slice_starts_nocase(path, SLICE("/queue")))
        return false;
    buf_add_cstr(out, "tern milter has no queue: the mail server in front of it has\n");
    return true;
}

static unsigned get(struct serve *s, struct MHD_Connection *connection, struct slice path, struct buf *out)
{
    if (lacks_queue(s, path, out))
        return MHD_HTTP_NOT_FOUND;
    if (slice_equal(path, SLICE("/status")))
        return get_status(s, out);
    if (slice_equal(path, SLICE("/metrics")))
        return get_metrics(s, out);
    if (slice_equal(path, SLICE("/hooks")))
        return get_hooks(out, false);
    if (slice_equal(path, SLICE("/hooks.json")))
        return get_hooks(out, true);
    if (slice_equal(path, SLICE("/queue")))
        return get_list(s, connection, out);
    if (slice_starts_nocase(path, SLICE("/queue/")))
        return control_queue_show(s, slice_from(path, 7), out);
    buf_add_cstr(out, "no such thing to read\n");
    return MHD_HTTP_NOT_FOUND;
}

static unsigned post(struct serve *s, struct slice path, uid_t uid, struct buf *out)
{
    log_event(LOG_INFO, LOG_EV_control, NULL, "uid %u asks for %.*s", (unsigned)uid, (int)path.len, path.ptr);
    if (!may_change(uid)) {
        buf_add_cstr(out, "only root and the server's own user may change anything\n");
        return MHD_HTTP_FORBIDDEN;
    }
    if (slice_equal(path, SLICE("/reload")))
        return serve_reload(s, out) == 0 ? MHD_HTTP_OK : MHD_HTTP_CONFLICT;
    if (lacks_queue(s, path, out))
        return MHD_HTTP_NOT_FOUND;
    if (slice_starts_nocase(path, SLICE("/queue/"))) {
        struct slice rest = slice_from(path, 7);
        ptrdiff_t slash = slice_find(rest, '/');
        if (slash > 0)
            return control_queue_change(s, slice_from(rest, (size_t)slash + 1),
                                        slice_head(rest, (size_t)slash), out);
    }
    buf_add_cstr(out, "no such thing to do\n");
    return MHD_HTTP_NOT_FOUND;
}

/* ---- HTTP ---- */

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_octets, void **state)
{
    static int seen;
    struct control *c = arg;
    struct buf out = BUF_INIT;
    unsigned status = MHD_HTTP_METHOD_NOT_ALLOWED;

    (void)version;
    (void)upload;
    if (*state == NULL) {
        *state = &seen;
        return MHD_YES;
    }
    if (*upload_octets > 0) { /* no verb takes a body */
        *upload_octets = 0;
        return MHD_YES;
    }
    if (strcmp(method, "GET") == 0)
        status = get(c->serve, connection, slice_cstr(url), &out);
    else if (strcmp(method, "POST") == 0)
        status = post(c->serve, slice_cstr(url), peer_uid(connection), &out);
    struct MHD_Response *r = MHD_create_response_from_buffer(out.len, out.data, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result ok = MHD_queue_response(connection, status, r);
    MHD_destroy_response(r);
    buf_free(&out);
    return ok;
}

static int listen_unix(const char *path, char *error, size_t octets)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = -1, r;

    if (strlen(path) >= sizeof(un.sun_path)) {
        (void)snprintf(error, octets, "control: %s: the path is longer than %zu octets", path,
                       sizeof(un.sun_path) - 1);
        return -ENAMETOOLONG;
    }
    memcpy(un.sun_path, path, strlen(path) + 1);
    (void)unlink(path); /* the spool's lock says that no other server lives here */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&un, sizeof(un)) == 0 && chmod(path, 0660) == 0 &&
        listen(fd, CONNECTIONS_MAX) == 0)
        return fd;
    r = -errno;
    (void)snprintf(error, octets, "control: %s: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return r;
}

int control_new(struct serve *serve, const char *path, struct control **ret, char *error, size_t octets)
{
    struct control *c;
    int fd = listen_unix(path, error, octets);

    if (fd < 0)
        return fd;
    c = mem_zalloc(sizeof(*c));
    c->serve = serve;
    c->path = mem_strdup(path);
    c->daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, on_request, c,
                                 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, 30u,
                                 MHD_OPTION_END);
    if (c->daemon == NULL) {
        (void)snprintf(error, octets, "control: %s: the HTTP server did not start", path);
        (void)close(fd);
        free(c->path);
        free(c);
        return -EIO;
    }
    *ret = c;
    return 0;
}

void control_free(struct control *c)
{
    if (c == NULL)
        return;
    (void)unlink(c->path);
    MHD_stop_daemon(c->daemon);
    free(c->path);
    free(c);
}
