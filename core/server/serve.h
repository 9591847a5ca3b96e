/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.h - what the threads of the worker share, and what each loop has of its own.
 *
 * Inside server/ only. The whole wiring of lower folders into each other is in worker.c and
 * serve.c.
 */
#ifndef TERN_SERVER_SERVE_H
#define TERN_SERVER_SERVE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/metrics.h"
#include "delivery/dispatch.h"
#include "dns/dns.h"
#include "module/engine.h"
#include "module/policy.h"
#include "module/pool.h"
#include "net/conn.h"
#include "net/loop.h"
#include "queue/scheduler.h"
#include "server/generation.h"
#include "server/limits.h"
#include "server/load.h"
#include "server/rates.h"
#include "server/shared.h"
#include "server/supervisor.h"
#include "spool/spool.h"
#include "state/kv.h"

struct serve_loop;

struct serve_metrics {
    struct metric *sessions, *sessions_total, *limited, *rate_limited, *proxy_refused;
    struct metric *accepted, *refused, *deferred, *commit_us;
    struct metric *tls_done, *tls_failed;
};

/* One per worker. */
struct serve {
    const struct worker_start *start;
    struct modules *modules;
    struct spool *spool; /* NULL with start->milter, as are scheduler and dispatches */
    struct scheduler *scheduler;
    struct dispatch_set *dispatches;
    struct pool *pool;
    struct kv *kv;
    struct session_limits *limits;
    struct rates *rates;
    struct load *load;
    struct tls_tickets *tickets;
    struct serve_loop *loops[SHARED_LOOPS_MAX];
    unsigned loop_count;
    struct serve_metrics metrics;
    uint64_t generation_number;
    int body_dir; /* for big bodies: the spool's, or that of `temp:` */
    unsigned node;
    _Atomic uint64_t last_id; /* of queue ids, without a spool */
    _Atomic bool draining;
    _Atomic unsigned resting; /* loops that leave accepting to the others */
    _Atomic unsigned drained; /* loops without sessions and deliveries, while draining */
    uint64_t started_wall_ms;
    struct bind_address listening[LISTENERS_MAX * LISTENER_BINDS_MAX]; /* those asked of the supervisor */
    unsigned listening_count;
    pthread_mutex_t reload_lock;
    pthread_barrier_t loops_stopped, deliveries_gone; /* the two steps of the end, see serve_close() */
};

/* A listening socket as one loop polls it. */
struct serve_listener {
    struct list link;
    struct serve_loop *loop;
    struct loop_watch *watch;
    int fd; /* a duplicate: each loop closes its own */
    char name[64]; /* of the listener: its policy is looked up in the present generation */
};

struct serve_loop {
    struct serve *serve;
    struct loop *loop;
    struct dns *dns;
    struct engine *engine;
    struct dispatch *dispatch;
    pthread_t thread;
    unsigned index;
    struct list sessions, milters, listeners, proxied;
    struct list stored; /* what became durable in this turn, for the scheduler */
    struct loop_task schedule;
    _Atomic unsigned session_count;
    struct loop_timer accept_again;
    bool resting; /* ahead of the mean: accepting is left to the others */
    bool drained;
};

/* listener.c. Loop thread. */
struct listener_fd {
    struct bind_address bind;
    char name[64];
    int fd;
};
void listeners_set(struct serve_loop *l, const struct listener_fd *fds, unsigned count);
void listeners_close(struct serve_loop *l);
void listeners_session_ended(struct serve_loop *l);

/* session.c. Loop thread. */
void session_accept(struct serve_loop *l, int fd, const char *listener, const tern_address *peer,
                    const tern_address *local);
/* What a session begins with. */
struct session_start {
    struct serve_loop *l;
    struct generation *generation; /* counted; goes with the session */
    const struct listener_conf *listener;
    const struct policy *policy;
    int fd;
    tern_address peer, client, local; /* peer: who connected; client: whose connection it is, by PROXY another one */
};
/* Whatever was sent ahead is dealt with: limits of the client, then its session. Takes over fd and generation. */
void session_begin(const struct session_start *start);
/* Unique in this worker, for the log. */
void session_new_id(struct serve_loop *l, char out[], size_t octets);
/* Ends idle sessions with 421; all of them when `now`. */
void sessions_drain(struct serve_loop *l, bool now);
/* After the loop has stopped: frees what is left. */
void sessions_free(struct serve_loop *l);

/* serve.c. Main thread of the worker. */
int serve_open(struct serve *s, const struct worker_start *start, struct generation *g,
               struct modules *modules, char *error, size_t octets);
int serve_start(struct serve *s);
/* Hands the present generation's listening sockets to all loops; asks the supervisor for new ones. */
int serve_listen(struct serve *s, const struct generation *g, char *error, size_t octets);
/* The supervisor's measure of a hang, as this generation has it. */
void serve_set_watchdog(struct serve *s, const struct generation *g);
void serve_drain_begin(struct serve *s);
bool serve_is_drained(struct serve *s);
void serve_drain_force(struct serve *s);
void serve_close(struct serve *s);

/* worker.c: the modules of this process, with those that are linked in. Also for `tern check` and `tern test`.
 * `local`: what supervisor.conf allows tern-local, and whose process that is; NULL: not known. */
struct modules *serve_modules(const char *module_path, bool trust_group, const struct local_rules *local,
                              uid_t local_own);

/* serve.c: reads the files of a generation that is to serve. As generation_load_tls(). */
int serve_load_tls(struct serve *s, const struct worker_start *start, struct generation *g,
                   struct config_errors *errors);

/* local_server.c: pool threads may ask for tern-local from here on. */
void serve_use_local(struct serve *s);

/* settle.c. Any thread but the loops'. The scheduler knows what was acknowledged; takes a second at the latest. */
void serve_settle(struct serve *s);

/* reload.c. Any thread but the loops'. The text is what the operator reads: errors, warnings, or "generation 3". */
int serve_reload(struct serve *s, struct buf *text);
/* Scheduler's options of a generation. */
void serve_scheduler_options(const struct serve *s, const struct generation *g, struct scheduler_options *ret);

#endif
