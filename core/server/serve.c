/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.c - the worker's parts, opened and closed in order: the wiring on one screen.
 *
 * Opening: spool, kv, pool, scheduler, loops. Closing is drain, scheduler, spool, loops,
 * and then what they used; nothing is freed that a thread may still touch.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "lua/when.h"
#include "module/api.h"
#include "server/ipc.h"
#include "server/serve.h"
#include "state/provided.h"

#define SPOOL_LOCK_WAIT_MS 10000
#define POOL_STUCK_WAIT_MS 2000

/* ---- what each part gets of the generation ---- */

void serve_scheduler_options(const struct serve *s, const struct generation *g, struct scheduler_options *ret)
{
    const struct retry_conf *r = &g->conf.retry;

    *ret = (struct scheduler_options){
        .loops = s->loop_count,
        .retry_min_ms = r->min_s * 1000, .retry_max_ms = r->max_s * 1000,
        .retry_factor_percent = r->factor, .retry_jitter_percent = r->jitter,
        .expire_ms = r->expire_s * 1000, .expire_bounce_ms = r->expire_bounce_s * 1000,
        .hold_expire_ms = g->conf.hold.expire_s * 1000,
        .preparing_max = 500, .ready_max = 5000,
        .ops = dispatch_set_ops(), .arg = s->dispatches, .stopped = !g->conf.delivery,
    };
}

static void ref_generation(void *generation)
{
    (void)generation_ref(generation);
}

static void unref_generation(void *generation)
{
    generation_unref(generation);
}

static void present_for_delivery(void *arg, struct dispatch_generation *ret)
{
    struct generation *g = generation_present();

    (void)arg;
    *ret = (struct dispatch_generation){ .policies = g->policies, .soft_bounce = g->conf.soft_bounce,
                                         .hold_bounce = g->conf.hold.then == HOLD_THEN_BOUNCE,
                                         .notice_delay_ms = g->conf.retry.notify_delay_s * 1000,
                                         .expire_ms = g->conf.retry.expire_s * 1000,
                                         .generation = g, .ref = ref_generation, .unref = unref_generation };
}

static void make_metrics(struct serve_metrics *m)
{
    m->sessions = metric_gauge("tern_sessions", "", "Sessions now.");
    m->sessions_total = metric_counter("tern_sessions_total", "", "Sessions since the start.");
    m->limited = metric_counter("tern_sessions_refused_total", "", "Connections over a session limit.");
    m->proxy_refused = metric_counter("tern_proxy_refused_total", "",
                                      "Connections of proxies without a good PROXY header.");
    m->rate_limited = metric_counter("tern_rate_limited_total", "", "MAIL and RCPT over a rate of limits:.");
    m->accepted = metric_counter("tern_messages_accepted_total", "", "Transactions answered with 250.");
    m->refused = metric_counter("tern_replies_total", "class=\"5xx\"", "Refusals of policy, by class.");
    m->deferred = metric_counter("tern_replies_total", "class=\"4xx\"", "Refusals of policy, by class.");
    m->tls_done = metric_counter("tern_tls_handshakes_total", "result=\"done\"", "Handshakes of TLS with clients.");
    m->tls_failed = metric_counter("tern_tls_handshakes_total", "result=\"failed\"", "Handshakes of TLS with clients.");
    m->commit_us = metric_histogram("tern_commit_microseconds", "", "From the end of data to the durable record.");
}

/* ---- TLS ---- */

/* A key of root's alone comes as a descriptor from the supervisor, if its own rules say so. */
static int open_file(void *arg, const char *path)
{
    const struct worker_start *start = arg;
    struct ipc_wish wish = { .op = IPC_OPEN };
    struct ipc_answer answer;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd >= 0 || errno != EACCES || strlen(path) >= sizeof(wish.path))
        return fd >= 0 ? fd : -errno;
    memcpy(wish.path, path, strlen(path) + 1);
    return ipc_ask(start->supervisor_fd, &wish, &answer);
}

int serve_load_tls(struct serve *s, const struct worker_start *start, struct generation *g,
                   struct config_errors *errors)
{
    struct generation_tls o = { .opener = { open_file, (void *)start } };

    if (s->tickets == NULL)
        s->tickets = tls_tickets_new(g->conf.tls.tickets_s);
    o.tickets = s->tickets;
    return generation_load_tls(g, &o, errors);
}

/* ---- opening ---- */

/* tern milter: the mail server in front has the queue. */
static int open_without_spool(struct serve *s, const struct server_conf *conf, char *error, size_t octets)
{
    s->body_dir = open(conf->temp.ptr, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->body_dir >= 0 && access(conf->temp.ptr, W_OK | X_OK) == 0)
        return 0;
    int r = -errno;
    (void)snprintf(error, octets, "temp: %s: %s; big mails are kept there while they are looked at", conf->temp.ptr,
                   strerror(errno));
    return r;
}

/* Said before anything is tried there: an operator who forgot to chown reads one line, not a page of them. */
static int check_spool_folder(const char *path, char *error, size_t octets)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return 0; /* it is made, or spool_open() says why not */
    if (!S_ISDIR(st.st_mode)) {
        (void)snprintf(error, octets, "spool: %s is no folder", path);
        return -ENOTDIR;
    }
    if (access(path, R_OK | W_OK | X_OK) == 0)
        return 0;
    (void)snprintf(error, octets,
                   "spool: %s belongs to user %u, and the server runs as user %u, who may not write there: "
                   "chown -R %u %s", path, (unsigned)st.st_uid, (unsigned)geteuid(), (unsigned)geteuid(), path);
    return -EACCES;
}

static int open_spool(struct serve *s, const struct server_conf *conf, char *error, size_t octets)
{
    struct spool_options o = {
        .path = conf->spool.path.ptr, .segment_octets = conf->spool.segment_size,
        .min_free_octets = conf->spool.min_free, .reserve_octets = conf->spool.reserve,
        .spare_max = conf->spool.spares, .node = conf->node, .lock_wait_ms = SPOOL_LOCK_WAIT_MS,
    };

    s->node = conf->node;
    if (s->start->milter)
        return open_without_spool(s, conf, error, octets);
    int r = check_spool_folder(conf->spool.path.ptr, error, octets);
    if (r == 0)
        r = spool_open(&o, &s->spool, error, octets);
    if (r < 0 && s->spool == NULL && access(conf->spool.path.ptr, F_OK) < 0)
        (void)snprintf(error, octets, "spool: %s is not there, and user %u, whom the server runs as, cannot make it "
                       "(%s): install -d -o %u -m 700 %s", conf->spool.path.ptr, (unsigned)geteuid(), strerror(-r),
                       (unsigned)geteuid(), conf->spool.path.ptr);
    if (r == 0)
        s->body_dir = spool_tmp_dir(s->spool);
    return r;
}

static void pool_thread_started(void *arg, unsigned index)
{
    struct serve *s = arg;

    (void)index;
    shared_page_use(s->start->page);
}

static int open_loop(struct serve *s, unsigned index, const struct server_conf *conf, const struct generation *g)
{
    struct serve_loop *l = mem_zalloc(sizeof(*l));
    struct dns_options dns = { .servers = conf->dns.addresses, .server_count = conf->dns.address_count,
                               .timeout_ms = (unsigned)conf->dns.timeout_ms, .tries = conf->dns.tries,
                               .cache_entries_max = conf->dns.cache };

    (void)g;
    l->serve = s;
    l->index = index;
    list_init(&l->sessions);
    list_init(&l->proxied);
    list_init(&l->milters);
    list_init(&l->listeners);
    list_init(&l->stored);
    s->loops[index] = l;
    l->loop = loop_new(index);
    if (l->loop == NULL)
        return -ENOMEM;
    int r = dns_new(l->loop, &dns, &l->dns);
    if (r < 0)
        return r;
    struct engine_env env = { .loop = l->loop, .dns = l->dns, .kv = s->kv, .pool = s->pool,
                              .hostname = conf->hostname.ptr, .spool_fd = s->body_dir,
                              .when = when_eval };
    l->engine = engine_new(&env);
    if (s->dispatches != NULL)
        l->dispatch = dispatch_new(s->dispatches, index, l->loop, l->engine, l->dns);
    return 0;
}

static void open_delivery(struct serve *s, const struct generation *g)
{
    unsigned own_count = 0;
    tern_address own[256];

    for (unsigned i = 0; i < g->conf.listener_count; i++)
        for (unsigned k = 0; k < g->conf.listeners[i].bind_count && own_count < 256; k++)
            if (g->conf.listeners[i].binds[k].address.family != 0)
                own[own_count++] = g->conf.listeners[i].binds[k].address;
    struct dispatch_set_options o = { .loops = s->loop_count, .spool = s->spool,
                                      .hostname = g->conf.hostname.ptr, .own = own, .own_count = own_count,
                                      .generation = present_for_delivery, .arg = s,
                                      .pool = s->pool };
    s->dispatches = dispatch_set_new(&o);
    struct scheduler_options so;
    serve_scheduler_options(s, g, &so);
    s->scheduler = scheduler_new(&so);
    dispatch_set_scheduler(s->dispatches, s->scheduler);
}

static unsigned wanted_loops(const struct server_conf *conf)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned n = conf->loops > 0 ? conf->loops : cores > 0 ? (unsigned)cores : 1;

    return n < SHARED_LOOPS_MAX ? n : SHARED_LOOPS_MAX;
}

int serve_open(struct serve *s, const struct worker_start *start, struct generation *g,
               struct modules *modules, char *error, size_t octets)
{
    struct pool_options po = { .threads = g->conf.pool_threads, .thread_started = pool_thread_started,
                               .arg = s };
    int r;

    s->start = start;
    s->modules = modules;
    s->started_wall_ms = clock_wall_ms();
    s->loop_count = wanted_loops(&g->conf);
    s->limits = session_limits_new();
    s->rates = rates_new();
    s->load = load_new();
    (void)pthread_mutex_init(&s->reload_lock, NULL);
    (void)pthread_barrier_init(&s->loops_stopped, NULL, s->loop_count + 1);
    (void)pthread_barrier_init(&s->deliveries_gone, NULL, s->loop_count + 1);
    make_metrics(&s->metrics);
    r = open_spool(s, &g->conf, error, octets);
    if (r < 0)
        return r;
    r = kv_open(g->kv_store, g->kv_conf, g->conf.kv.entries, &s->kv, error, octets);
    if (r < 0)
        return r;
    s->pool = pool_new(&po);
    if (s->spool != NULL)
        open_delivery(s, g);
    for (unsigned i = 0; i < s->loop_count; i++) {
        r = open_loop(s, i, &g->conf, g);
        if (r < 0) {
            (void)snprintf(error, octets, "loop %u: %s", i, strerror(-r));
            return r;
        }
    }
    return 0;
}

/* ---- threads ---- */

static void *loop_main(void *arg)
{
    struct serve_loop *l = arg;
    char name[16];

    (void)snprintf(name, sizeof(name), "tern-loop%u", l->index);
    (void)pthread_setname_np(pthread_self(), name);
    shared_page_use(l->serve->start->page);
    atomic_store(&l->serve->start->page->threads[l->index], gettid());
    loop_set_heartbeat(l->loop, &l->serve->start->page->beats[l->index]);
    loop_run(l->loop);
    loop_flush(l->loop); /* sessions that end, listeners just handed over */
    listeners_close(l);
    sessions_free(l);
    /* What a loop holds in its scripts ends on its own thread, but behind everybody's deliveries. */
    (void)pthread_barrier_wait(&l->serve->loops_stopped);
    (void)pthread_barrier_wait(&l->serve->deliveries_gone);
    engine_free(l->engine);
    dns_free(l->dns);
    return NULL;
}

static void add_entry(void *arg, const struct spool_entry *entry)
{
    scheduler_add(((struct serve *)arg)->scheduler, entry);
}

int serve_start(struct serve *s)
{
    int r = 0;

    if (s->spool != NULL) {
        spool_each(s->spool, add_entry, s);
        r = spool_start(s->spool);
        if (r == 0)
            r = scheduler_start(s->scheduler);
    }
    for (unsigned i = 0; i < s->loop_count && r == 0; i++)
        r = -pthread_create(&s->loops[i]->thread, NULL, loop_main, s->loops[i]);
    return r;
}

/* ---- listening ---- */

struct listeners_task {
    struct loop_task task;
    struct serve_loop *l;
    unsigned count;
    struct listener_fd fds[];
};

static void on_listeners(struct loop_task *task)
{
    struct listeners_task *t = list_entry(task, struct listeners_task, task);

    listeners_set(t->l, t->fds, t->count);
    free(t);
}

static void post_listeners(struct serve_loop *l, const struct listener_fd *fds, unsigned count)
{
    struct listeners_task *t = mem_zalloc(sizeof(*t) + count * sizeof(t->fds[0]));

    t->task.run = on_listeners;
    t->l = l;
    t->count = count;
    for (unsigned i = 0; i < count; i++) {
        t->fds[i] = fds[i];
        t->fds[i].fd = fcntl(fds[i].fd, F_DUPFD_CLOEXEC, 3);
    }
    loop_post(l->loop, &t->task);
}

static bool is_wanted(const struct listener_fd *fds, unsigned count, const struct bind_address *a)
{
    for (unsigned i = 0; i < count; i++)
        if (bind_is_same(&fds[i].bind, a))
            return true;
    return false;
}

static bool is_listening(const struct serve *s, const struct bind_address *a)
{
    for (unsigned i = 0; i < s->listening_count; i++)
        if (bind_is_same(&s->listening[i], a))
            return true;
    return false;
}

static void release(struct serve *s, const struct bind_address *bind)
{
    struct ipc_wish wish = { .op = IPC_RELEASE, .bind = *bind };
    struct ipc_answer answer;
    char text[BIND_TEXT_MAX];

    if (ipc_ask(s->start->supervisor_fd, &wish, &answer) == 0)
        return;
    bind_print(bind, text);
    log_event(LOG_WARNING, LOG_EV_listen, NULL, "%s may still take connections: its socket was not closed: %s", text,
              answer.text);
}

/* A refused generation leaves no socket behind in which clients would wait for nobody. */
static void release_new(struct serve *s, const struct listener_fd *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!is_listening(s, &fds[i].bind))
            release(s, &fds[i].bind);
}

static void release_unwanted(struct serve *s, const struct listener_fd *fds, unsigned count)
{
    for (unsigned i = 0; i < s->listening_count; i++)
        if (!is_wanted(fds, count, &s->listening[i]))
            release(s, &s->listening[i]);
    s->listening_count = count;
    for (unsigned i = 0; i < count; i++)
        s->listening[i] = fds[i].bind;
}

static int ask_socket(struct serve *s, const struct listener_conf *conf, const struct bind_address *bind,
                      struct listener_fd *ret, char *error, size_t octets)
{
    struct ipc_wish wish = { .op = IPC_LISTEN, .bind = *bind };
    struct ipc_answer answer;
    int fd = ipc_ask(s->start->supervisor_fd, &wish, &answer);

    if (fd < 0) {
        (void)snprintf(error, octets, "%s:%u:%u: listener %.*s: %s", conf->place.file, conf->place.line,
                       conf->place.col, (int)conf->name.len, conf->name.ptr, answer.text);
        return fd;
    }
    ret->fd = fd;
    ret->bind = *bind;
    (void)snprintf(ret->name, sizeof(ret->name), "%.*s", (int)conf->name.len, conf->name.ptr);
    return 0;
}

int serve_listen(struct serve *s, const struct generation *g, char *error, size_t octets)
{
    unsigned max = 0, count = 0;
    int r = 0;

    for (unsigned i = 0; i < g->conf.listener_count; i++)
        max += g->conf.listeners[i].bind_count;
    struct listener_fd *fds = mem_zalloc((max + 1) * sizeof(fds[0]));
    for (unsigned i = 0; i < g->conf.listener_count && r == 0; i++) {
        const struct listener_conf *l = &g->conf.listeners[i];
        if (s->start->milter && l->protocol != LISTENER_MILTER)
            continue;
        for (unsigned k = 0; k < l->bind_count && r == 0; k++) {
            r = ask_socket(s, l, &l->binds[k], &fds[count], error, octets);
            count += r == 0;
        }
    }
    for (unsigned i = 0; i < s->loop_count && r == 0; i++)
        post_listeners(s->loops[i], fds, count);
    if (r == 0)
        release_unwanted(s, fds, count);
    else
        release_new(s, fds, count);
    for (unsigned i = 0; i < count; i++)
        (void)close(fds[i].fd);
    free(fds);
    return r;
}

void serve_set_watchdog(struct serve *s, const struct generation *g)
{
#ifdef TERN_SANITIZED /* their slowness is not a hang */
    (void)s;
    (void)g;
#else
    atomic_store(&s->start->page->watchdog_ms, g->conf.watchdog_s * 1000);
#endif
}

/* ---- the end ---- */

struct drain_task {
    struct loop_task task;
    struct serve_loop *l;
    bool now;
};

static void on_dispatch_drained(void *arg)
{
    struct serve_loop *l = arg;

    l->drained = true;
    atomic_fetch_add(&l->serve->drained, 1);
}

static void on_drain(struct loop_task *task)
{
    struct drain_task *t = list_entry(task, struct drain_task, task);

    listeners_close(t->l);
    sessions_drain(t->l, t->now);
    if (!t->now && t->l->dispatch == NULL)
        on_dispatch_drained(t->l);
    else if (!t->now)
        dispatch_drain(t->l->dispatch, on_dispatch_drained, t->l);
    free(t);
}

static void post_drain(struct serve *s, bool now)
{
    for (unsigned i = 0; i < s->loop_count; i++) {
        struct drain_task *t = mem_zalloc(sizeof(*t));
        t->task.run = on_drain;
        t->l = s->loops[i];
        t->now = now;
        loop_post(s->loops[i]->loop, &t->task);
    }
}

void serve_drain_begin(struct serve *s)
{
    atomic_store(&s->draining, true);
    if (s->scheduler != NULL)
        scheduler_pause(s->scheduler, SCHEDULER_DRAINS, true);
    post_drain(s, false);
}

bool serve_is_drained(struct serve *s)
{
    return atomic_load(&s->drained) == s->loop_count && session_limits_count(s->limits) == 0;
}

void serve_drain_force(struct serve *s)
{
    post_drain(s, true);
}

/* A thread of the pool that never came back may still use anything: the process ends as it stands. */
static void end_as_it_stands(void)
{
    log_event(LOG_WARNING, LOG_EV_stop, NULL, "a BLOCKING step, delivery or look-up is stuck; ending without it");
    log_stop();
    _exit(0);
}

void serve_close(struct serve *s)
{
    atomic_store(&s->start->page->watchdog_ms, 0);
    for (unsigned i = 0; i < s->loop_count; i++)
        loop_stop(s->loops[i]->loop);
    (void)pthread_barrier_wait(&s->loops_stopped);
    bool stuck = pool_free(s->pool, POOL_STUCK_WAIT_MS) > 0;
    if (s->spool != NULL) {
        scheduler_stop(s->scheduler);
        (void)spool_finish(s->spool);
    } else {
        (void)close(s->body_dir);
    }
    if (stuck)
        end_as_it_stands();
    do { /* commits that the spool finished last: they tell the scheduler, and a delivery may have one more to make */
        for (unsigned i = 0; i < s->loop_count; i++)
            loop_flush(s->loops[i]->loop);
    } while (s->spool != NULL && spool_finish(s->spool));
    for (unsigned i = 0; i < s->loop_count && s->dispatches != NULL; i++)
        dispatch_free(s->loops[i]->dispatch);
    if (s->dispatches != NULL) {
        dispatch_set_free(s->dispatches);
        scheduler_free(s->scheduler);
    }
    if (s->spool != NULL)
        spool_close(s->spool); /* deliveries that were under way have let go what they had loaded of it */
    (void)pthread_barrier_wait(&s->deliveries_gone);
    for (unsigned i = 0; i < s->loop_count; i++) {
        (void)pthread_join(s->loops[i]->thread, NULL);
        loop_free(s->loops[i]->loop);
        free(s->loops[i]);
    }
    kv_close(s->kv);
    session_limits_free(s->limits);
    rates_free(s->rates);
    load_free(s->load);
    tls_tickets_free(s->tickets);
    generation_set_present(NULL);
    if (provided_wait(POOL_STUCK_WAIT_MS) > 0) /* before libraries tidy up behind their backs */
        end_as_it_stands();
    modules_free(s->modules);
}
