/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - see run.h.
 *
 * Nothing that can raise happens outside a coroutine: the arguments are made, and the answer is
 * read, by
 * hook_main() inside it. So an error of any kind is a status of lua_resume() here.
 */
#include "lua/run.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lua/binding.h"

#define WAIT_UNITS 1000 /* a look-up, in memory of the call too */

const struct tern_api *lua_api;

static const struct {
    const char *name;
    unsigned answers;
} hooks[TERN_HOOK_COUNT] = {
#define R TERN_MAY_REJECT
#define D TERN_MAY_DEFER
#define C TERN_MAY_CLOSE
#define H TERN_MAY_HOLD
#define X TERN_MAY_DISCARD
    [TERN_HOOK_CONNECT] = { "connect", R | D | C },
    [TERN_HOOK_TLS] = { "tls", 0 },
    [TERN_HOOK_EHLO] = { "ehlo", R | D | C },
    [TERN_HOOK_AUTH] = { "auth", TERN_MAY_ACCEPT | R | D },
    [TERN_HOOK_MAIL] = { "mail", R | D | C },
    [TERN_HOOK_RCPT] = { "rcpt", R | D | C | H | X },
    [TERN_HOOK_DATA] = { "data", R | D | C },
    [TERN_HOOK_MESSAGE] = { "message", R | D | H | X },
    [TERN_HOOK_QUEUE] = { "queue", R | D | H | X },
    [TERN_HOOK_SIGN] = { "sign", D },
    [TERN_HOOK_ROUTE] = { "route", TERN_MAY_ACCEPT | R | D },
    [TERN_HOOK_DELIVER] = { "deliver", R | D | H },
    [TERN_HOOK_RESULT] = { "result", 0 },
    [TERN_HOOK_CLOSE] = { "close", 0 },
    [TERN_HOOK_VRFY] = { "vrfy", TERN_MAY_ACCEPT | R | D },
#undef R
#undef D
#undef C
#undef H
#undef X
};

const char *lua_hook_name(unsigned hook)
{
    return hook < TERN_HOOK_COUNT ? hooks[hook].name : "when";
}

unsigned lua_hook_answers(unsigned hook)
{
    return hooks[hook].answers;
}

/* ---- inside the coroutine ---- */

static int hook_finish(lua_State *L, int status, lua_KContext context)
{
    struct lua_run *run = lua_run_of(L);

    (void)status;
    (void)context;
    run->verdict = lua_answer_apply(L, run);
    return 0;
}

static void push_rcpts(lua_State *L, const struct lua_run *run)
{
    unsigned count = lua_api->rcpt_count(run->call);

    lua_createtable(L, (int)(count < 1000 ? count : 1000), 0);
    for (unsigned i = 0; i < count; i++) {
        (void)lua_object_push(L, OWNER_RCPT, i, 0);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* f(session), f(session, credentials), f(session, asked), f(txn), f(txn, rcpt), f(message, rcpts). */
static int push_arguments(lua_State *L, const struct lua_run *run)
{
    switch (run->hook) {
    case TERN_HOOK_CONNECT:
    case TERN_HOOK_TLS:
    case TERN_HOOK_EHLO:
    case TERN_HOOK_CLOSE: (void)lua_object_push(L, OWNER_SESSION, 0, 0); return 1;
    case TERN_HOOK_AUTH:
        (void)lua_object_push(L, OWNER_SESSION, 0, 0);
        (void)lua_object_push(L, OWNER_CREDENTIALS, 0, 0);
        return 2;
    case TERN_HOOK_VRFY:
        (void)lua_object_push(L, OWNER_SESSION, 0, 0);
        (void)lua_object_push(L, OWNER_ASKED, 0, 0);
        return 2;
    case TERN_HOOK_RCPT:
        (void)lua_object_push(L, OWNER_TXN, 0, 0);
        (void)lua_object_push(L, OWNER_RCPT, 0, RCPT_CURRENT);
        return 2;
    case TERN_HOOK_ROUTE:
    case TERN_HOOK_DELIVER:
    case TERN_HOOK_RESULT:
        (void)lua_object_push(L, OWNER_TXN, 0, 0);
        push_rcpts(L, run);
        return 2;
    default: (void)lua_object_push(L, OWNER_TXN, 0, 0); return 1;
    }
}

static int hook_main(lua_State *L)
{
    struct lua_run *run = lua_run_of(L);
    int ref = run->vm->hook_refs[run->hook];

    if (ref == LUA_NOREF)
        return luaL_error(L, "%s.lua: tern.on(\"%s\", ...) was not called this time",
                          run->vm->script->name, lua_hook_name(run->hook));
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    int count = push_arguments(L, run);
    lua_callk(L, count, 1, 0, hook_finish);
    return hook_finish(L, LUA_OK, 0);
}

/* ---- around it ---- */

static void log_failure(struct lua_run *run, const char *text)
{
    lua_api->log(run->call, TERN_LOG_ERROR, "%s", text);
    lua_api->note(run->call, "error", (tern_str){ text, strlen(text) });
}

/* The error object on top of the coroutine's stack, with its place if it has none of its own. */
static void error_text(struct lua_run *run, int status, char *text, size_t octets)
{
    lua_State *L = run->L;
    char where[96];

    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        (void)snprintf(text, octets, "%s", lua_tostring(L, -1));
        return;
    }
    box_where(L, where, sizeof(where));
    if (status == LUA_ERRMEM)
        (void)snprintf(text, octets, "%snot enough memory", where);
    else
        (void)snprintf(text, octets, "%serror with a %s value", where, luaL_typename(L, -1));
}

static void run_free(struct lua_run *run, bool clean)
{
    struct lua_vm *vm = run->vm;

    lua_vm_coroutine_done(vm, run->L, run->ref, clean);
    vm->running--;
    arena_fini(&run->arena);
    free(run);
}

static tern_verdict fail(struct lua_run *run, int status)
{
    char text[SCRIPT_ERROR_OCTETS];

    if (run->budget.doom != BOX_SOUND && run->budget.where[0] == '\0')
        box_where(run->L, run->budget.where, sizeof(run->budget.where));
    if (run->budget.doom != BOX_SOUND)
        box_doom_text(&run->budget, run->conf->memory, text, sizeof(text));
    else
        error_text(run, status, text, sizeof(text));
    log_failure(run, text);
    run_free(run, false);
    return TERN_ERROR;
}

static void remember(struct lua_run *run)
{
    (void)table_put(&lua_thread()->waiting, slice_make((const char *)&run->call, sizeof(run->call)),
                    run);
}

static struct lua_run *take_waiting(tern_call *call)
{
    return table_remove(&lua_thread()->waiting, slice_make((const char *)&call, sizeof(call)));
}

static void go_on(tern_call *call, const void *conf);

static void on_response(tern_call *call, const void *conf, tern_str response)
{
    struct lua_run *run = lua_run_waiting(call);

    (void)conf;
    if (run == NULL)
        return;
    run->answered.value = slice_make(response.ptr, response.len); /* read at once, in go_on() */
    lua_run_answered(run);
}

/* The coroutine is at rest. `run` is gone behind it if the client has answered or left already. */
static tern_verdict ask_client(struct lua_run *run)
{
    tern_call *call = run->call;
    tern_str challenge = run->challenge;

    run->challenge = (tern_str){ NULL, 0 };
    if (lua_api->auth_challenge(call, challenge, on_response) == TERN_WAIT)
        return TERN_WAIT;
    (void)take_waiting(call); /* the core says why not */
    run_free(run, false);
    return TERN_ERROR;
}

/* Runs the coroutine up to its end, its next wait, or the end of its slice. Frees `run` unless
 * WAIT. */
static tern_verdict resume(struct lua_run *run, int arguments)
{
    struct lua_box *box = &run->vm->box;
    int results = 0;
    struct box_entered before = box_enter(box, &run->budget, run->L, run, run->conf->memory);
    int status = lua_resume(run->L, NULL, arguments, &results);

    box_leave(box, before);
    if (run->budget.doom != BOX_SOUND || (status != LUA_OK && status != LUA_YIELD))
        return fail(run, status);
    if (status == LUA_OK) {
        tern_verdict verdict = run->verdict;
        run_free(run, true);
        return verdict;
    }
    remember(run);
    if (run->challenge.ptr != NULL)
        return ask_client(run);
    if (run->answered.kind != WAIT_NOTHING)
        return TERN_WAIT;
    if (lua_api->after_ms(run->call, 0, go_on) == TERN_WAIT)
        return TERN_WAIT;
    (void)take_waiting(run->call);
    log_failure(run, "the loop has no timer left");
    run_free(run, false);
    return TERN_ERROR;
}

/* From the loop: the slice is over, or the answer is there. */
static void go_on(tern_call *call, const void *conf)
{
    struct lua_run *run = take_waiting(call);

    (void)conf;
    if (run == NULL)
        return;
    tern_verdict verdict = resume(run, 0);
    if (verdict != TERN_WAIT)
        lua_api->complete(call, verdict);
}

tern_verdict lua_run_hook(tern_call *call, const void *conf, unsigned hook)
{
    const struct lua_conf *c = conf;
    struct lua_vm *vm = lua_vm_get(lua_thread(), lua_script_of(c));

    if (vm->broken[0] != '\0') {
        lua_api->log(call, TERN_LOG_ERROR, "%s", vm->broken);
        lua_api->note(call, "error", (tern_str){ vm->broken, strlen(vm->broken) });
        return TERN_ERROR;
    }
    struct lua_run *run = mem_zalloc(sizeof(*run));
    run->L = lua_vm_coroutine(vm, &run->ref);
    if (run->L == NULL) {
        free(run);
        lua_api->log(call, TERN_LOG_ERROR, "%s.lua: not enough memory for one call more",
                     vm->script->name);
        return TERN_ERROR;
    }
    run->vm = vm;
    run->call = call;
    run->conf = c;
    run->hook = hook;
    run->serial = ++vm->serial;
    run->budget = (struct box_budget){
        .units_left = c->instructions,
        .units_max = c->instructions,
        .us_left = c->time_ms * 1000,
        .us_max = c->time_ms * 1000,
        .growth_left = c->memory_per_call,
        .slices = true,
    };
    vm->running++;
    arena_init(&run->arena);
    lua_pushcfunction(run->L, hook_main);
    return resume(run, 0);
}

void lua_run_abort(tern_call *call, const void *conf)
{
    struct lua_run *run = take_waiting(call);

    (void)conf;
    if (run != NULL)
        run_free(run, false);
}

/* ---- waiting ---- */

struct lua_run *lua_run_begin_wait(lua_State *L, enum lua_wait kind)
{
    struct lua_run *run = lua_run_of(L);

    if (!lua_isyieldable(L))
        luaL_error(L, "this cannot wait inside a sort, a gsub or a metamethod");
    assert(run->answered.kind == WAIT_NOTHING);
    box_charge(L, WAIT_UNITS);
    run->answered = (struct lua_answered){ .kind = kind };
    arena_fini(&run->arena);
    run->inside = true;
    remember(run);
    return run;
}

int lua_run_wait(lua_State *L, struct lua_run *run, tern_verdict started, lua_KFunction k)
{
    run->inside = false;
    if (started != TERN_WAIT) {
        run->answered.kind = WAIT_NOTHING;
        (void)take_waiting(run->call);
        return luaL_error(L, "the server could not start this look-up");
    }
    if (!run->answered.here)
        return lua_yieldk(L, 0, 0, k);
    (void)take_waiting(run->call);
    return k(L, LUA_OK, 0);
}

int lua_run_ask_client(lua_State *L, tern_str challenge, lua_KFunction k)
{
    struct lua_run *run = lua_run_begin_wait(L, WAIT_CLIENT);

    run->inside = false;
    run->challenge = challenge;
    return lua_yieldk(L, 0, 0, k);
}

struct lua_run *lua_run_waiting(tern_call *call)
{
    struct lua_run *run =
        table_get(&lua_thread()->waiting, slice_make((const char *)&call, sizeof(call)));

    return run != NULL && run->answered.kind != WAIT_NOTHING && !run->answered.here ? run : NULL;
}

void lua_run_answered(struct lua_run *run)
{
    run->answered.here = true;
    if (!run->inside)
        go_on(run->call, run->conf);
}
