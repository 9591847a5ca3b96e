/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - one call of a hook of a script: a coroutine with a budget.
 *
 * It ends by an answer, an error, or on_abort. In between it may pause (its slice is over) or
 * wait (for
 * dns, kv or a table); the loop's callbacks find it again by its tern_call.
 */
#ifndef TERN_LUA_RUN_H
#define TERN_LUA_RUN_H

#include <tern/module.h>

#include "base/arena.h"
#include "lua/box.h"
#include "lua/vm.h"

/* The core's functions; set before any run. */
extern const struct tern_api *lua_api;

/* What an asynchronous function answered, copied: the answer is gone when its callback returns. */
enum lua_wait { WAIT_NOTHING, WAIT_KV, WAIT_DNS, WAIT_TABLE, WAIT_CLIENT };
struct lua_answered {
    enum lua_wait kind;
    bool here;       /* it came */
    unsigned status; /* enum tern_status */
    int64_t number;
    struct slice value;
    const char *error;
    bool authentic;
    unsigned dns_type;
    const struct tern_dns_record *records;
    size_t count;
};

struct lua_run {
    struct lua_vm *vm; /* NULL in `when` */
    lua_State *L;
    int ref;
    tern_call *call;
    const struct lua_conf *conf;
    unsigned hook;   /* TERN_HOOK_COUNT in `when` */
    uint64_t serial; /* objects of this call carry it */
    struct box_budget budget;
    tern_verdict verdict;
    bool inside; /* the core is being asked: an answer may come before it returns */
    struct lua_answered answered;
    tern_str challenge; /* WAIT_CLIENT: on the coroutine's stack while it waits */
    struct arena arena; /* of the answer */
};

/* The handler of every hook of every script. */
tern_verdict lua_run_hook(tern_call *call, const void *conf, unsigned hook);
void lua_run_abort(tern_call *call, const void *conf);
const char *lua_hook_name(unsigned hook);
/* The verdicts that a hook allows (DESIGN 3.1), as TERN_MAY_*. */
unsigned lua_hook_answers(unsigned hook);

/*
 * For the bindings of wait.c. Ask the core between begin and end; when it said TERN_WAIT,
 * lua_run_wait()
 * gives the coroutine up until the answer is there and then goes on with `k`, which finds it in
 * run->answered.
 */
struct lua_run *lua_run_begin_wait(lua_State *L, enum lua_wait kind);
int lua_run_wait(lua_State *L, struct lua_run *run, tern_verdict started, lua_KFunction k);
/*
 * Gives the coroutine up first and sends the client the challenge then: who is asked may hang up at
 * once, and this call with him, in which nothing of it may be at work.
 */
int lua_run_ask_client(lua_State *L, tern_str challenge, lua_KFunction k);
/* From the core's callback: the run to fill in the answer of; NULL if it has ended. */
struct lua_run *lua_run_waiting(tern_call *call);
void lua_run_answered(struct lua_run *run);

#endif
