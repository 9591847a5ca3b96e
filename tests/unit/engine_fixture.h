/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_fixture.h - an engine on a real loop without sockets, and steps that do what a table says.
 *
 * The options of a test step are its script: what to answer, and a function that may do more. Every
 * call leaves "hook:step " in `trace`.
 */
#ifndef TERN_TESTS_ENGINE_FIXTURE_H
#define TERN_TESTS_ENGINE_FIXTURE_H

#include <CUnit/Basic.h>

#include "../support/testplan.h"
#include "base/buf.h"
#include "module/api.h"
#include "module/engine.h"
#include "module/engine_private.h"
#include "module/pool.h"

struct script {
    tern_verdict answer;
    unsigned only_at; /* 1 + hook: does this there, elsewhere NEXT; 0: everywhere */
    unsigned code;    /* with a reply of this code and text */
    const char *text;
    enum tern_class claim;
    const char *tag;
    tern_verdict (*more)(tern_call *call, const struct script *s); /* its answer counts */
    void (*aborted)(tern_call *call);
};

struct world {
    struct loop *loop;
    struct engine *engine;
    struct pool *pool;
    struct kv *kv;
    struct policy *policy;
    struct engine_session *session;
    bool split, soft_bounce;
    unsigned groups_max;
    int generation; /* references; 1 is the world's own */
    struct buf trace;
    unsigned aborts;
    /* the last answer */
    unsigned answers;
    struct decision decision;
    struct buf text;
    const struct engine_message_result *result;
};
extern struct world w;
extern const struct tern_api *tern;

/* Every check hook, all verdicts declared; claims at rcpt. */
extern const struct tern_module every_module;
/* The same, but may not claim; declares NEXT alone; BLOCKING at every hook; ONCE at message. */
extern const struct tern_module meek_module, silent_module, blocking_module, once_module;
/* Claims every recipient as local, nothing else. */
extern const struct tern_module claiming_module;
extern const struct script claim_local;

void world_open(const char *policy, const struct pool_options *pool);
void world_close(void);
struct plan_step *step(const char *name, const struct tern_module *module, const struct script *s);
/* Builds the plan and opens a session. */
void begin(void);

/* Each asks and waits for the answer; returns its verdict. */
tern_verdict ask_connect(void);
tern_verdict ask_helo(const char *name);
tern_verdict ask_mail(const char *from);
tern_verdict ask_rcpt(const char *to);
tern_verdict ask_data(void);
tern_verdict ask_message(const char *text);
/* connect, EHLO, MAIL, which must all be NEXT. */
void reach_mail(void);
/* Up to and with one recipient, r1@example.org. */
void reach_rcpt(void);
/* Runs the loop until `*count` has risen to `wanted`, or 10 s have passed. */
void run_until(const unsigned *count, unsigned wanted);
void run_for_ms(unsigned ms);
struct tern_mailbox mailbox(const char *address);
bool last_text_has(const char *part);
struct slice record_steps(void); /* of the transaction, or the session */
struct body *body_of(const char *text);
void on_decided(void *arg, const struct decision *decision);
void on_message_result(void *arg, const struct engine_message_result *result);
struct engine_session_options session_options(struct session_facts *facts);
struct session_facts *session_facts_for_test(void);
struct txn_facts *txn_facts_for_test(const char *from);

/* One request, and the number in its answer; 0 if nothing is there. */
int64_t world_kv(const char *space, struct slice key, enum kv_op op, int64_t number);

#endif
