/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h - one step at work on one event: what stands behind tern_call.
 *
 * A call is counted. The runner holds it while the step is at work; a pool thread, a module's
 * thread (call_ref) or an answer on its way may hold it longer. It serves one step once, so
 * that the object itself is the ticket: an answer to a call that has ended changes nothing.
 *
 * Its view consists of references to facts that are never changed while others hold them
 * (state/facts.h); its journal and memory belong to the thread that holds the call.
 */
#ifndef TERN_MODULE_CALL_H
#define TERN_MODULE_CALL_H

#include <stdalign.h>
#include <stdatomic.h>

#include <tern/module.h>

#include "base/arena.h"
#include "base/list.h"
#include "dns/dns.h"
#include "module/journal.h"
#include "module/plan.h"
#include "module/pool.h"
#include "module/port.h"
#include "net/loop.h"
#include "state/facts.h"

#define CALL_OPS_MAX          256         /* answers a call may wait for at once */
#define CALL_ROOM_OCTETS_MIN  256         /* memory it has at once, */
#define CALL_ROOM_OCTETS_MAX  16384       /* by what the calls of its step have needed lately */
#define CALL_ALLOC_OCTETS_MAX (64u << 20) /* memory a call may ask for */

#define AUTH_CHALLENGE_OCTETS_MAX 8192 /* decoded; RFC 4954 4: a line has 12288 octets */
#define AUTH_CHALLENGES_MAX       16   /* of one step in one exchange */

struct engine;
struct message_head;
struct run;

/* What a client has said to log in, as a step of hook auth sees it. Counted; wiped in the end. */
struct auth_secret;
struct auth_view {
    tern_str mechanism, user, password;
    tern_str response; /* ptr NULL: there is no initial response */
};
struct auth_secret *auth_secret_new(struct slice mechanism, struct slice user,
                                    struct slice password, const struct slice *response);
struct auth_secret *auth_secret_ref(struct auth_secret *secret); /* any thread; NULL is allowed */
void auth_secret_unref(struct auth_secret *secret);              /* any thread; NULL is allowed */
const struct auth_view *auth_secret_view(const struct auth_secret *secret);

/* Keeps a generation alive for a session and for all calls made for it. Any thread. */
struct lease {
    _Atomic unsigned refs;
    void *generation;
    void (*generation_unref)(void *generation);
    struct port *port;
};
struct lease *lease_new(struct port *port, void (*generation_ref)(void *),
                        void (*generation_unref)(void *), void *generation);
struct lease *lease_ref(struct lease *lease);
void lease_unref(struct lease *lease);

/*
 * The state of a call, one atomic word. 0: the handler is at work. A verdict that has come stands
 * above the flags. A call that has ENDED takes no verdict any more.
 */
enum {
    CALL_WAITING = 1,  /* the handler returned WAIT */
    CALL_ENDED = 2,    /* the runner has taken the answer, or given up */
    CALL_EARLY = 4,    /* completed before the handler returned */
    CALL_ANSWERED = 8, /* completed later; on its way to the loop */
    CALL_VERDICT_SHIFT = 8,
};

struct call_view {
    struct session_facts *session;    /* counted */
    struct txn_facts *txn;            /* counted, or NULL */
    const struct rcpt_facts *current; /* hook rcpt; in the transaction's arena */
    struct message_head *message;     /* counted, or NULL */
    const struct note *tags;          /* of the recipients concerned, besides session's and txn's */
    tern_str outcome, outcome_text;   /* hook result; as long as the run */
    struct auth_secret *auth;         /* counted, or NULL */
    struct shared_arena *vrfy_memory; /* counted, or NULL */
    const struct tern_vrfy *vrfy;     /* in there */
};

/* An answer that a call waits for. In the call's memory. */
struct call_op {
    struct list link; /* in call->ops while under way, in call->ready when it is there */
    tern_call *call;
    enum { CALL_OP_DNS, CALL_OP_KV, CALL_OP_TABLE, CALL_OP_TIMER, CALL_OP_AUTH } kind;
    void *fn_arg;
    tern_dns_fn dns_done;
    tern_kv_fn kv_done;
    tern_table_fn table_done;
    tern_timer_fn timer_done;
    tern_auth_fn auth_done;
    struct dns_request *request;
    struct dns_entry *kept; /* DNS: the cache's answer, until it is given */
    struct loop_timer timer;
    bool starting, answered;
    struct tern_kv_answer kv;
    struct tern_table_answer table;
};

struct tern_call {
    _Atomic unsigned refs;
    _Atomic unsigned state;
    struct engine *engine; /* loop thread only */
    struct lease *lease;
    struct run *run; /* loop thread only; NULL once the step has ended */
    struct run *asker;    /* the same while a plain step runs and is given what is there at once; else NULL */
    const struct plan_step *step;
    const struct tern_hook *hook;
    unsigned point;
    bool shadow;
    struct call_view view;
    struct journal journal;
    struct arena arena;
    void *slot; /* the step's own, from its handler to its callbacks */
    struct list ops, ready;
    unsigned op_count;
    bool draining;
    struct call_op *challenge_op; /* hook auth: the client is asked, or will be */
    struct slice challenge;       /* in the arena */
    struct auth_secret *answer;   /* what the client said to the last one */
    unsigned challenge_count;
    struct port_item item; /* on its way to the loop; counted while it is */
    struct pool_job job;   /* BLOCKING or offloaded; counted while the pool has it */
    _Atomic(tern_handler) offloaded; /* what runs on the pool instead; the loop is done with the call then */
    uint64_t started_us;
    alignas(16) char room[]; /* the arena's first, not zeroed */
};

tern_call *call_new(struct engine *engine, struct lease *lease, const struct chain_entry *entry,
                    unsigned point);
tern_call *call_ref(tern_call *call); /* any thread */
void call_unref(tern_call *call);     /* any thread */

/* Whether the step may block: it is on a pool thread, and the loop leaves its memory alone. */
static inline bool call_is_pooled(const tern_call *call)
{
    return (call->hook->flags & TERN_BLOCKING) != 0 || atomic_load(&call->offloaded) != NULL;
}
static inline const void *call_conf(const tern_call *call)
{
    return call->step->conf;
}
static inline struct journal_writer call_writer(tern_call *call)
{
    return (struct journal_writer){ &call->journal, &call->arena, call->point, call->hook,
                                    call->step->step->module };
}
/*
 * Around every piece of the module's code: the crash page names it, and one that holds a loop
 * over CALL_SLOW_US is counted and logged, at most once a minute a step.
 */
#define CALL_SLOW_US     1000
#define CALL_SLOW_LOG_MS 60000
/* call_leave() returns how long it took, in microseconds. */
uint64_t call_enter(const tern_call *call);
uint64_t call_leave(const tern_call *call, uint64_t began_us);
/* The queue id, else the session's, else empty. */
struct slice call_id(const tern_call *call);

/* The answer of a step; later ones are ignored. Any thread. */
void call_complete(tern_call *call, tern_verdict verdict);
/*
 * The handler came back with `verdict`. True: *ret is the answer. False: the step waits. On
 * the loop.
 */
bool call_returned(tern_call *call, tern_verdict verdict, tern_verdict *ret);
/* The same on a pool thread: the answer, if there is one, travels to the loop. */
void call_returned_elsewhere(tern_call *call, tern_verdict verdict);
/*
 * The runner lets go: answers no longer count, what is under way is cancelled; on_abort runs
 * if the step waited without having completed. Loop thread.
 */
void call_end(tern_call *call);
/*
 * Questions of DNS and timers that are under way: their callbacks do not run. False, and nothing is done: there is
 * something else, whose answer comes from another thread.
 */
bool call_let_go(tern_call *call);
bool call_has_ended(const tern_call *call);
/* Whether callbacks still mean something: neither completed nor ended. */
bool call_wants_answers(const tern_call *call);
/* Gives the answers that are there to the step, until it has completed. Loop thread. */
void call_drain(tern_call *call);

/* NULL when there are too many; else in call->ops. */
struct call_op *call_op_new(tern_call *call, int kind);
/* Its answer is there: gives it to the step, now or when the handler has returned. Loop thread. */
void call_op_answer(struct call_op *op);

/* In chain.c: puts the call on the pool, with a reference. 0, or -EAGAIN. */
int run_submit(tern_call *call);
/* In chain.c: an answered call has arrived on the loop. */
void run_answered(tern_call *call, tern_verdict verdict);
/* In chain.c: the step that waits has a challenge for the client. */
void run_challenge(struct run *run);

#endif
