/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain.h - walks one chain of steps for its owner: one question, one outcome.
 *
 * The owner (a session, a message on its way, a delivery) lends the views, applies journals and
 * hears the end. Everything a step may expect of its runner is here: `when`, the three ways
 * to answer, time-out, on_error, shadow mode, which verdicts count, claiming, the record.
 */
#ifndef TERN_MODULE_CHAIN_H
#define TERN_MODULE_CHAIN_H

#include "module/call.h"
#include "module/plan.h"
#include "module/record.h"
#include "state/facts.h"

/* A refusal, or NEXT: none. Strings live in the run's memory. */
struct refusal {
    tern_verdict verdict; /* NEXT, REJECT, DEFER, CLOSE; ACCEPT at "first" hooks, at vrfy with a reply */
    unsigned code;
    char enhanced[12];
    struct slice text;
    const struct plan_step *step; /* NULL: the core */
    bool failed;                  /* hook vrfy: it is on_error's, not the step's */
    struct slice inputs;          /* hooks connect and ehlo: what the step noted, as the record prints it */
};

/* RUN_CLAIMS, at rcpt: those that may claim; that none did is no refusal then. */
enum run_pick { RUN_ALL, RUN_ONCE_STEPS, RUN_GROUP_STEPS, RUN_CLAIMS, RUN_AUTH };

/* RUN_AUTH: which entries are asked. */
struct run_auth {
    unsigned forms;         /* 1 << enum tern_auth_form */
    struct slice mechanism; /* upper case */
};
/* Whether the entry has that form and serves that mechanism. */
bool run_auth_serves(const struct run_auth *auth, const struct chain_entry *entry);

struct run_ops {
    /* Takes the references of the view for the next step. */
    void (*view)(struct run *run, struct call_view *ret);
    /* The step answered in time and counts: what its journal asks for, all of it. */
    void (*apply)(struct run *run, tern_call *call);
    /* A refusal to be kept instead of acted upon (refuse_at); NULL: none is kept. `shadow`: it
     * counts only where a recipient's profile enforces the step. */
    void (*keep)(struct run *run, const struct refusal *refusal, bool shadow);
    /* Hook auth: the step that waits asks the client; run_auth_response() follows, from inside or
     * later. NULL elsewhere. */
    void (*challenge)(struct run *run, struct slice challenge);
    /* Where run->record is NULL: a record after all, or NULL if a step that is not telling was counted otherwise. */
    struct record *(*record)(struct run *run, bool telling);
    /* The chain has ended. The last thing that is done with the run: it may free its owner. */
    void (*done)(struct run *run);
};

struct run {
    /* set by the owner before run_start() */
    const struct run_ops *ops;
    struct engine *engine;
    struct lease *lease;
    struct record *record;       /* or NULL */
    struct shared_arena *memory; /* for texts of the outcome */
    const struct chain *chain;
    unsigned point;
    enum run_pick pick;
    bool soft_bounce;
    bool generated;    /* policy `generated`: REJECT, HOLD and DISCARD are errors */
    bool others_deliver; /* hook rcpt: nobody need claim the recipient */
    bool smtputf8;     /* the client can read UTF-8 in a reply */
    struct slice rcpt; /* for the record */
    const struct run_auth *auth; /* RUN_AUTH */

    /* the outcome */
    struct refusal refusal;
    enum disposition disposition;
    tern_str hold_reason, hold_step;
    bool claimed;   /* set by apply() */
    bool uncertain; /* a step that could have said yes did not answer */

    /* the walk */
    bool active, over;
    unsigned next;
    tern_call *call; /* the step that waits */
    struct loop_timer timer;
};

void run_init(struct run *run);
/* Asks the chain; ops->done follows, from inside or later. The run is not active. */
void run_start(struct run *run);
/* Ends it without an outcome: ops->done is not called. Harmless when nothing is under way. */
void run_abort(struct run *run);
bool run_has(const struct chain *chain, enum run_pick pick);

/* The client's answer to the challenge under way. */
void run_auth_response(struct run *run, struct slice response);

/* A refusal of the core's own, with soft_bounce applied. */
struct refusal refusal_make(tern_verdict verdict, unsigned code, const char *enhanced,
                            struct slice text, bool soft_bounce);
/* Hook auth: 535 5.7.8 for REJECT, else 454 4.7.0. */
struct refusal refusal_auth(tern_verdict verdict, bool soft_bounce);
/* The step's `on_error` for the record and the log are the runner's; this is the reply alone. */
struct slice refusal_step_name(const struct refusal *refusal);

#endif
