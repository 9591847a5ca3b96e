/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_private.h - what the files of the engine share: the engine itself, a session, a
 * transaction, a message on its way through the late hooks. Inside module/ only.
 */
#ifndef TERN_MODULE_ENGINE_PRIVATE_H
#define TERN_MODULE_ENGINE_PRIVATE_H

#include "module/chain.h"
#include "module/engine.h"
#include "module/header_edit.h"

#define ENGINE_DETACHED_MAX 1000 /* `result` and `close` runs under way on one loop */
#define ENGINE_WITHHELD_MAX 32
/* Refusals kept for RCPT: of each step (at most 100 in a policy) one at connect and one at ehlo. A
 * bound that input could reach would let a refusal pass. */
#define ENGINE_KEPT_MAX      200
#define ENGINE_GROUPS_MAX    16 /* DESIGN 3.4 */
#define ENGINE_TXN_RCPTS_MAX 100000
#define ENGINE_SPARE_RUNS_MAX 64 /* runs that a loop keeps for its sessions' next questions */

struct engine {
    struct engine_env env;
    struct port *port;
    struct metric *calls_waiting;
    struct list detached;
    unsigned detached_count;
    struct session_run *spare_runs;
    unsigned spare_run_count;
};

/* What all questions of one owner have in common. */
struct scope {
    struct engine *engine;
    struct lease *lease;
    const struct policy *policy;
    bool soft_bounce, split, generated, others_deliver;
    unsigned groups_max;
};
void scope_init(struct scope *scope, struct engine *engine,
                const struct engine_session_options *options);
void scope_fini(struct scope *scope);
/* Points a run at a chain; the owner sets ops, record and memory. */
void scope_lend(const struct scope *scope, struct run *run, const struct plan *plan, unsigned point,
                enum run_pick pick);
/* The outcome of a run, or a core refusal, as decision; `id` goes behind the text, in `memory`. */
struct decision decision_of(const struct refusal *refusal, struct slice id,
                            struct shared_arena *memory);
struct decision decision_next(enum disposition disposition, const struct run *run);

/* ---- profiles that a module's table knows ---- */

struct profile_fetch;
/*
 * True: plan_for() may be asked about this user and these recipients now. False: *slot is set, and
 * `done` comes later, once, on the loop, unless it is cancelled; then plan_for() is asked whatever it finds.
 */
bool profiles_fetch(struct profile_fetch **slot, const struct scope *scope, struct slice user,
                    const struct rcpt_facts *const *rcpts, unsigned count, void (*done)(void *arg), void *arg);
void profiles_cancel(struct profile_fetch **slot); /* nothing under way is fine */

/* ---- detached: report hooks on copied records ---- */

struct detached_facts {
    struct session_facts *session; /* counted by the call to detached_start() */
    struct txn_facts *txn;         /* or NULL */
    struct slice outcome, text;
};
void detached_start(const struct scope *scope, const struct plan *plan, unsigned point,
                    const struct detached_facts *facts);

/* ---- a session ---- */

struct kept_refusal {
    struct kept_refusal *next;
    struct refusal refusal;
    unsigned point;
    bool shadow;
};

/* A kind of recipients: what makes a group (DESIGN 3.4). */
struct group_key {
    unsigned late_id;
    unsigned class_;
    const struct note *tags;
    enum disposition disposition;
};
struct group_key group_key_of(const struct scope *scope, const struct rcpt_facts *rcpt);
bool group_key_equal(const struct group_key *a, const struct group_key *b);
/* Index of the group, or `count` if it would be a new one. */
unsigned group_find(const struct group_key *keys, unsigned count, const struct group_key *key);

struct passage;

struct engine_txn {
    struct txn_facts *facts;
    const struct plan *plan; /* policy and user: mail, data, ONCE steps */
    struct kept_refusal *kept, **kept_end;
    uint16_t kept_count;
    bool kept_told; /* what the step of a kept refusal noted is in the record */
    struct record record;
    struct group_key groups[ENGINE_GROUPS_MAX];
    unsigned group_count, families;
    struct passage *passage;
    /* the recipient in question */
    struct rcpt_facts *rcpt;
    const struct plan *rcpt_plan;
    unsigned child_count;
    struct tern_mailbox *child_boxes;
};

/* What a greeting and the steps asked about it have left behind. */
struct greeting {
    tern_str helo;
    bool esmtp;
    const struct note *tags, *results, *vars;
    struct kept_refusal *kept;
};

/*
 * A session's question under way. Lent by the loop (run_borrow()) and given back before the answer is told, as an
 * idle session should not pay for it: with steps that answer at once all sessions of a loop share one, which
 * is in the cache then, too.
 */
struct session_run {
    struct run run;
    struct greeting in_force; /* hook ehlo: what the answer may bring back */
    union {
        struct engine_session *session;
        struct session_run *next; /* spare */
    };
    engine_done done;
    void *done_arg;
    struct profile_fetch *profiles;
    struct engine_txn *aside; /* the transaction while a new EHLO, or VRFY, is asked about */
    struct shared_arena *vrfy_memory; /* hook vrfy, or NULL; a session may ask often and keeps none of it */
    const struct tern_vrfy *vrfy;
};

struct engine_session {
    struct scope scope;
    struct session_facts *facts;
    struct kept_refusal *kept;
    uint16_t kept_count, withheld_count;
    uint16_t quiet_steps; /* that answered NEXT and had nothing to say, while there is no record */
    bool has_greeted; /* see tags_before */
    bool is_greeted;  /* by a name that nobody refused at once */
    uint64_t begun_wall_ms;
    struct record *record; /* NULL: nothing to tell yet, see session_record() */
    struct slice *withheld;
    struct engine_txn *txn;
    struct session_run *asked; /* NULL: no question is under way */
    uint64_t (*early)(void *arg);
    void *early_arg;
    /* hook auth */
    const struct engine_auth_options *auth_options; /* NULL: nobody can log in */
    struct engine_auth *auth;                       /* the exchange under way, or NULL */
    int (*binding)(void *arg, struct slice name, unsigned char *out);
    void *binding_arg;
    /* What is known before the first greeting: all that is left of it behind STARTTLS. */
    const struct note *tags_before, *results_before, *vars_before;
};

/* The session's question, lent now if it has none; and the way back, which ends it if it is under way. */
struct session_run *run_borrow(struct engine_session *s);
void run_give_back(struct engine_session *s); /* without one: nothing */
static inline struct engine_session *session_of_run(const struct run *run)
{
    return ((const struct session_run *)((const char *)run - offsetof(struct session_run, run)))->session;
}
static inline bool session_is_asked(const struct engine_session *s)
{
    return s->asked != NULL && s->asked->run.active;
}
void spare_runs_free(struct engine *engine);
struct record *session_record(struct engine_session *s);
struct record *session_record_late(struct run *run, bool telling);
void session_ask(struct engine_session *s, const struct plan *plan, unsigned point,
                 const struct run_ops *ops, engine_done done, void *arg);
/* The question is not asked yet, but it is known who is to be told. */
struct session_run *session_question(struct engine_session *s, engine_done done, void *arg);
void session_answer(struct engine_session *s, const struct refusal *refusal);
void session_answer_next(struct engine_session *s);
void session_view(struct run *run, struct call_view *ret);
void session_keep(struct kept_refusal **first, uint16_t *count, struct shared_arena *memory,
                  const struct run *run, const struct refusal *refusal, bool shadow);
/* The first that counts: the plan enforces the step. */
const struct kept_refusal *kept_first(const struct kept_refusal *kept, const struct plan *plan);
/* Tags, results and variables of a journal; to the session while there is no transaction. */
void session_apply_notes(struct engine_session *s, const tern_call *call);
void txn_apply_notes(struct txn_facts **facts, const tern_call *call);
/* The facts alone in this transaction, with these recipients only. Counted. */
struct txn_facts *txn_facts_subset(struct txn_facts *facts, const unsigned *rcpts, unsigned count);
struct tern_mailbox mailbox_dup(struct arena *arena, const struct tern_mailbox *m);

/* ---- whose recipients are that no RCPT has asked about ---- */

struct claims {
    struct run run;
    /* set by the owner before claims_start() */
    const struct scope *scope;
    const struct policy *policy; /* whose claiming steps are asked */
    struct session_facts *session;
    struct txn_facts *
        *txn; /* the owner's; those of its recipients without a class are asked about */
    struct record *record;
    enum tern_class otherwise; /* of one that nobody claims */
    bool drop_refused;         /* and log it, instead of telling */
    /* NULL: all are asked. DEFER: it cannot be told now. REJECT: the recipient was refused for
     * good. The last thing that is done with the claims: it may free them. */
    void (*done)(struct claims *claims, const struct refusal *refusal);
    /* where it is */
    struct rcpt_facts *rcpt; /* the one in question */
    struct tern_mailbox *children;
    unsigned child_count;
    unsigned at, count; /* recipients as they were given */
    bool asking;        /* an answer that comes now goes on in the loop */
    bool answered;
    struct profile_fetch *profiles;
    unsigned fetched; /* recipients whose profiles were asked for */
};
void claims_init(struct claims *claims);
void claims_start(struct claims *claims);
void claims_abort(struct claims *claims); /* `done` is not called */

/* ---- a message on its way through message, queue and sign ---- */

typedef void (*passage_done)(void *arg, const struct engine_message_result *result);
struct passage_options {
    const struct scope *scope;
    const struct plan *plan;       /* for ONCE steps */
    struct session_facts *session; /* read only from here on; counted by passage_start() */
    struct txn_facts *txn;         /* likewise; every recipient has a plan */
    struct record *record;
    struct body *body;
    struct slice received;
    unsigned first_hook; /* MESSAGE, or QUEUE */
    passage_done done;
    void *arg;
};
struct passage *passage_start(const struct passage_options *options, struct passage **slot);
void passage_free(struct passage *p); /* aborts; NULL is allowed */

#endif
