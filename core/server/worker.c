/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - the unprivileged process: reads the configuration, loads the modules, opens
 * everything (serve.c), and then waits for signals, the supervisor and operators.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "lua/lua.h"
#include "module/api.h"
#include "server/control.h"
#include "server/ipc.h"
#include "server/sandbox.h"
#include "server/serve.h"
#include "tls/tls.h"

#define POLL_MS         2000 /* watched tables are looked at so often */
#define DRAIN_POLL_MS   20
#define DRAIN_GRACE_MS  5000 /* after sessions were told 421: for commits under way */

struct worker {
    const struct worker_start *start;
    struct serve serve;
    struct control *control;
    int signal_fd;
    bool stopping, force;
    char *module_path;
    struct config_paths paths; /* that the first configuration names */
};

static void say(const struct config_errors *errors)
{
    if (errors->text.len > 0)
        (void)!write(STDERR_FILENO, errors->text.data, errors->text.len);
}

/* ---- start ---- */

static int open_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int start_log(const struct server_conf *conf)
{
    struct log_options o = {
        .level = (enum log_level)conf->log.level, .format = (enum log_format)conf->log.format,
        .path = conf->log.to == LOG_TO_FILE ? conf->log.file.ptr : NULL,
        .to_syslog = conf->log.to == LOG_TO_SYSLOG,
        .decisions_path = conf->log.decisions.len > 0 ? conf->log.decisions.ptr : NULL,
        .decisions_octets_max = conf->log.decisions_size,
        .decisions_days_max = conf->log.decisions_days,
    };
    int r = log_start(&o);

    if (r < 0)
        log_event(LOG_ERROR, LOG_EV_start, NULL, "log.file %s: %s", conf->log.file.ptr, strerror(-r));
    return r;
}

struct modules *serve_modules(const char *module_path, bool trust_group, const struct local_rules *local,
                              uid_t local_own)
{
    static const struct tern_module *builtin[2];

    struct lua_env lua = { .api = api_table(), .own_user = trust_group };

    lua_setup(&lua);
    builtin[0] = lua_module();
    struct modules_env env = { .path = module_path, .trust_group = trust_group, .builtin = builtin,
                               .api = api_table(), .local = local, .local_own = local_own };
    return modules_new(&env);
}

/* Reads the file twice: the first time only for what must be known before a module is loaded. */
static struct generation *load(struct worker *w, struct modules **ret_modules)
{
    struct config_errors errors = { .text = BUF_INIT };
    struct config_errors ignored = { .text = BUF_INIT };
    struct arena arena;
    struct server_conf first = { .hostname = { NULL, 0 } };
    struct generation *g = NULL;

    arena_init(&arena);
    (void)generation_peek(w->start->config, &arena, &first, &ignored);
    const char *path = first.module_path.len > 0 ? first.module_path.ptr : w->start->module_path;
    *ret_modules = serve_modules(path, w->start->trust_group, w->start->local, w->start->local_own);
    w->module_path = mem_strdup(path);
    config_paths_collect(&w->paths);
    g = generation_build(w->start->config, *ret_modules, 1, &errors);
    config_paths_collect(NULL);
    if (g != NULL && serve_load_tls(&w->serve, w->start, g, &errors) < 0) {
        generation_unref(g);
        g = NULL;
    }
    say(&errors);
    config_errors_free(&errors);
    config_errors_free(&ignored);
    arena_fini(&arena);
    return g;
}

/* Behind everything that modules open when they are loaded, before the first thread: a fence binds one thread and
 * those it starts. */
static int fence(struct worker *w, const struct server_conf *conf)
{
    char error[256] = "";
    int r = sandbox_enter(conf, w->start->milter, w->start->config, w->module_path, &w->paths, error, sizeof(error));

    if (r < 0)
        log_event(LOG_ERROR, LOG_EV_start, NULL, "%s", error);
    config_paths_free(&w->paths);
    free(w->module_path);
    w->module_path = NULL;
    return r;
}

/* A server without any milter, or one of SMTP without a spool, would be none. */
static int check_listeners(const struct worker *w, const struct server_conf *conf)
{
    bool any = false;

    for (unsigned i = 0; i < conf->listener_count; i++)
        any |= conf->listeners[i].protocol == LISTENER_MILTER;
    if (w->start->milter && !any)
        log_event(LOG_ERROR, LOG_EV_start, NULL, "%s: tern milter needs a listener with protocol: milter, and there "
                  "is none", w->start->config);
    else if (!w->start->milter && conf->spool.path.len == 0)
        log_event(LOG_ERROR, LOG_EV_start, NULL,
                  "%s: spool: is missing, and tern serve needs it; for milters alone start tern milter",
                  w->start->config);
    else
        return 0;
    return -EINVAL;
}

/* One file may be that of tern serve, too, whose control socket is below its spool. */
static bool has_control(const struct worker *w, const struct server_conf *conf)
{
    return w->start->milter ? conf->control_given : conf->control.len > 0;
}

static int begin(struct worker *w)
{
    struct modules *modules = NULL;
    char error[1024] = "";
    struct generation *g = load(w, &modules);

    if (g == NULL || check_listeners(w, &g->conf) < 0 || fence(w, &g->conf) < 0 || start_log(&g->conf) < 0)
        return WORKER_EXIT_CONFIG;
    w->serve.generation_number = 1;
    generation_set_present(g);
    int r = serve_open(&w->serve, w->start, g, modules, error, sizeof(error));
    serve_use_local(&w->serve);
    if (r == 0 && (r = serve_start(&w->serve)) < 0)
        (void)snprintf(error, sizeof(error), "threads: %s", strerror(-r));
    /* Deliveries may begin, and ask the supervisor for tern-local, while it is asked for sockets. */
    (void)pthread_mutex_lock(&w->serve.reload_lock);
    if (r == 0)
        r = serve_listen(&w->serve, g, error, sizeof(error));
    (void)pthread_mutex_unlock(&w->serve.reload_lock);
    if (r == 0 && has_control(w, &g->conf))
        r = control_new(&w->serve, g->conf.control.ptr, &w->control, error, sizeof(error));
    if (r < 0) {
        log_event(LOG_ERROR, LOG_EV_start, NULL, "%s", error);
        return WORKER_EXIT_CONFIG;
    }
    atomic_store(&w->start->page->loops, w->serve.loop_count);
    serve_set_watchdog(&w->serve, g);
    return 0;
}

static void say_ready(struct worker *w)
{
    struct ipc_wish ready = { .op = IPC_READY };
    struct spool_stats stats = { .messages = 0 };
    struct log_line l;

    if (w->serve.spool != NULL)
        spool_get_stats(w->serve.spool, &stats);
    log_begin(&l, LOG_INFO, LOG_EV_start, NULL);
    log_cstr(&l, "config", w->start->config);
    log_uint(&l, "loops", w->serve.loop_count);
    if (w->start->milter)
        log_cstr(&l, "as", "milter");
    else
        log_uint(&l, "queued", stats.messages);
    log_uint(&l, "uid", (uint64_t)geteuid());
    log_cstr(&l, "sandbox", sandbox_level());
    log_end(&l);
    (void)ipc_tell(w->start->supervisor_fd, &ready);
}

/* ---- running ---- */

static void reload(struct worker *w)
{
    struct buf text = BUF_INIT;

    (void)serve_reload(&w->serve, &text);
    buf_free(&text);
}

static void on_signals(struct worker *w)
{
    struct signalfd_siginfo info;

    while (read(w->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP) {
            reload(w);
            continue;
        }
        w->force = w->stopping;
        w->stopping = true;
    }
}

/* Anything to read there is its end: the supervisor speaks only when asked. */
static void watch_supervisor(const struct worker *w, int revents)
{
    char c;

    if (revents == 0 || recv(w->start->supervisor_fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
        return;
    if (errno != EAGAIN)
        _exit(1); /* a new supervisor waits for our lock and addresses; the spool needs no farewell */
}

static void wait_for_events(struct worker *w, int timeout_ms)
{
    struct pollfd fds[2] = { { .fd = w->signal_fd, .events = POLLIN },
                             { .fd = w->start->supervisor_fd, .events = POLLIN } };

    (void)poll(fds, 2, timeout_ms);
    if (fds[0].revents != 0)
        on_signals(w);
    /* While a reload asks the supervisor, its answers arrive here too. */
    if (pthread_mutex_trylock(&w->serve.reload_lock) == 0) {
        watch_supervisor(w, fds[1].revents);
        (void)pthread_mutex_unlock(&w->serve.reload_lock);
    }
}

static void run(struct worker *w)
{
    while (!w->stopping) {
        wait_for_events(w, POLL_MS);
        tables_poll();
        generation_give_back();
        load_relieve(w->serve.load);
    }
}

static uint64_t drain_ms(void)
{
    struct generation *g = generation_present();
    uint64_t ms = g->conf.drain_s * 1000;

    generation_unref(g);
    return ms;
}

static void drain_until(struct worker *w, uint64_t ms)
{
    uint64_t deadline = clock_now_ms() + ms;

    while (!serve_is_drained(&w->serve) && !w->force && clock_now_ms() < deadline)
        wait_for_events(w, DRAIN_POLL_MS);
}

static void end(struct worker *w)
{
    log_event(LOG_INFO, LOG_EV_stop, NULL, "the worker drains");
    if (w->control != NULL)
        control_free(w->control);
    serve_drain_begin(&w->serve);
    drain_until(w, drain_ms());
    serve_drain_force(&w->serve);
    w->force = false;
    drain_until(w, DRAIN_GRACE_MS);
    serve_close(&w->serve);
    log_event(LOG_INFO, LOG_EV_stop, NULL, "the worker ends");
    log_stop();
}

int worker_run(const struct worker_start *start)
{
    static struct worker w;

    (void)umask(077);
    tls_keep_at_exit();
    w.start = start;
    w.signal_fd = open_signals();
    shared_page_use(start->page);
    int r = begin(&w);
    if (r != 0) {
        log_stop();
        /* Threads may already run and hold what they use: the process ends as it stands. */
        _exit(r);
    }
    say_ready(&w);
    run(&w);
    end(&w);
    return 0;
}
