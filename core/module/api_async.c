/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_async.c - what a step may wait for: DNS, kv, tables, time.
 *
 * A callback never runs from inside the function that asked: an answer that is there at once is
 * given when the handler has returned, still without a trip through the loop. One that comes
 * later is given by the loop. After the step's end none is.
 *
 * For steps on the loop. A BLOCKING step has the twins in api_sync.c.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "module/api.h"
#include "module/api_private.h"
#include "module/call.h"
#include "module/engine_private.h"
#include "state/kv.h"
#include "state/tables.h"

/* NULL if the step may not ask here, or asks for too much. */
static struct call_op *begin(tern_call *call, int kind)
{
    struct journal_writer w = call_writer(call);

    if (call_is_pooled(call)) {
        journal_fail(&w, "a BLOCKING step asked for something asynchronous");
        return NULL;
    }
    if (call_has_ended(call))
        return NULL;
    struct call_op *op = call_op_new(call, kind);
    if (op == NULL)
        journal_fail(&w, "the step waits for too much at once");
    return op;
}

static tern_str copy(tern_call *call, tern_str s)
{
    return tern_str_dup(&call->arena, slice_of(s));
}

/* ---- DNS ---- */

static void dns_answered(void *arg, const struct tern_dns_answer *answer)
{
    struct call_op *op = arg;
    tern_call *call = call_ref(op->call);

    op->request = NULL;
    list_remove(&op->link);
    call->op_count--;
    if (call_wants_answers(call)) {
        uint64_t began_us = call_enter(call);
        call->draining = true; /* what it asks and is there at once comes behind it */
        op->dns_done(call, call_conf(call), answer, op->fn_arg);
        call->draining = false;
        (void)call_leave(call, began_us);
    }
    call_drain(call);
    call_unref(call);
}

tern_verdict api_dns(tern_call *call, const char *name, unsigned type, tern_dns_fn done, void *arg)
{
    struct call_op *op = begin(call, CALL_OP_DNS);

    if (op == NULL)
        return TERN_ERROR;
    if (call->engine->env.dns == NULL) {
        list_remove(&op->link);
        call->op_count--;
        return TERN_ERROR;
    }
    op->dns_done = done;
    op->fn_arg = arg;
    op->kept = dns_kept(call->engine->env.dns, name, type);
    if (op->kept != NULL)
        call_op_answer(op);
    else
        op->request = dns_ask(call->engine->env.dns, name, type, false, dns_answered, op);
    return TERN_WAIT;
}

/* ---- kv ---- */

struct kv_request api_kv_request(tern_call *call, enum kv_op op, const char *space, tern_str key)
{
    struct kv_request request = { .op = op, .space = slice_cstr(space), .key = slice_of(key) };

    if (!call->shadow)
        return request;
    /* A step in shadow mode leaves no trace where the enforced one looks. */
    request.space = slice_cstr(arena_printf(
        &call->arena, "shadow.%.*s", (int)call->step->step->name.len, call->step->step->name.ptr));
    size_t prefix = strlen(space) + 1; /* its own spaces stay apart */
    char *own = arena_alloc(&call->arena, prefix + key.len + 1);
    memcpy(own, space, prefix);
    if (key.len > 0)
        memcpy(own + prefix, key.ptr, key.len);
    request.key = slice_make(own, prefix + key.len);
    return request;
}

/* On the loop: at once from inside kv_do(), or later. The op's reference keeps its memory. */
static void kv_answered(void *arg, const struct tern_kv_answer *answer)
{
    struct call_op *op = arg;
    tern_call *call = op->call;

    if (!call_has_ended(call)) {
        op->kv = *answer;
        op->kv.value = copy(call, answer->value);
        call_op_answer(op);
    }
    call_unref(call);
}

static tern_verdict ask_kv(tern_call *call, const struct kv_request *request, tern_kv_fn done)
{
    struct call_op *op;

    if (call->engine->env.kv == NULL || (op = begin(call, CALL_OP_KV)) == NULL)
        return TERN_ERROR;
    op->kv_done = done;
    (void)call_ref(call);
    kv_do(call->engine->env.kv, request, kv_answered, op);
    return TERN_WAIT;
}

tern_verdict api_kv_put_new(tern_call *call, const char *space, tern_str key, int64_t number,
                            uint64_t expire_s, tern_kv_fn done)
{
    struct kv_request request = api_kv_request(call, KV_PUT_NEW, space, key);

    request.number = number;
    request.expire_s = expire_s;
    return ask_kv(call, &request, done);
}

tern_verdict api_kv_get(tern_call *call, const char *space, tern_str key, tern_kv_fn done)
{
    struct kv_request request = api_kv_request(call, KV_GET, space, key);

    return ask_kv(call, &request, done);
}

tern_verdict api_kv_put(tern_call *call, const char *space, tern_str key, int64_t number,
                        tern_str value, uint64_t expire_s, tern_kv_fn done)
{
    struct kv_request request = api_kv_request(call, KV_PUT, space, key);

    request.number = number;
    request.value = slice_of(value);
    request.expire_s = expire_s;
    return ask_kv(call, &request, done);
}

tern_verdict api_kv_add(tern_call *call, const char *space, tern_str key, int64_t amount,
                        uint64_t expire_s, tern_kv_fn done)
{
    struct kv_request request = api_kv_request(call, KV_ADD, space, key);

    request.number = amount;
    request.expire_s = expire_s;
    return ask_kv(call, &request, done);
}

tern_verdict api_kv_remove(tern_call *call, const char *space, tern_str key, tern_kv_fn done)
{
    struct kv_request request = api_kv_request(call, KV_REMOVE, space, key);

    return ask_kv(call, &request, done);
}

/* ---- tables ---- */

static void keep_answer(tern_call *call, enum tern_status status, tern_str value, struct table_hold *hold,
                        struct tern_table_answer *ret)
{
    ret->status = status;
    ret->value = copy(call, status == TERN_FOUND ? value : (tern_str){ "", 0 });
    table_hold_release(hold);
}

/* A question on its way to who serves the table, and back to the loop. Its reference keeps the call. */
struct table_question {
    struct table_wait wait;
    struct port_item item;
    struct call_op *op;
    enum tern_status status;
    tern_str value;
    struct table_hold *hold;
};

/* On the loop; or on any thread once there is no loop any more: then the call has ended. */
static void table_arrived(struct port_item *item, bool gone)
{
    struct table_question *q = list_entry(item, struct table_question, item);
    tern_call *call = q->op->call;

    if (!gone && !call_has_ended(call)) {
        keep_answer(call, q->status, q->value, q->hold, &q->op->table);
        call_op_answer(q->op);
    } else {
        table_hold_release(q->hold);
    }
    free(q);
    call_unref(call);
}

/* Any thread. */
static void table_answered(struct table_wait *wait, enum tern_status status, tern_str value,
                           struct table_hold *hold)
{
    struct table_question *q = list_entry(wait, struct table_question, wait);

    q->status = status;
    q->value = value;
    q->hold = hold;
    if (!port_put(q->op->call->lease->port, &q->item))
        table_arrived(&q->item, true);
}

tern_verdict api_table_find(tern_call *call, const struct tern_table *table, tern_str key,
                            tern_table_fn done)
{
    struct call_op *op = begin(call, CALL_OP_TABLE);
    struct table_hold *hold = NULL;
    tern_str value = { "", 0 };
    enum tern_status status;

    if (op == NULL)
        return TERN_ERROR;
    op->table_done = done;
    if (table_try(table, slice_of(key), &status, &value, &hold) == 0) {
        keep_answer(call, status, value, hold, &op->table);
        call_op_answer(op);
        return TERN_WAIT;
    }
    struct table_question *q = mem_zalloc(sizeof(*q));
    q->op = op;
    q->wait.done = table_answered;
    q->item.run = table_arrived;
    list_init(&q->item.link);
    (void)call_ref(call);
    table_ask(table, slice_of(key), &q->wait);
    return TERN_WAIT;
}

int api_table_peek(tern_call *call, const struct tern_table *table, tern_str key,
                   struct tern_table_answer *ret)
{
    struct table_hold *hold = NULL;
    tern_str value = { "", 0 };
    enum tern_status status;
    int r = table_try(table, slice_of(key), &status, &value, &hold);

    if (r == 0)
        keep_answer(call, status, value, hold, ret);
    return r;
}

/* ---- time ---- */

static void timer_fired(struct loop_timer *timer)
{
    struct call_op *op = list_entry(timer, struct call_op, timer);
    tern_call *call = call_ref(op->call);

    call_op_answer(op);
    call_unref(call);
}

tern_verdict api_after_ms(tern_call *call, uint64_t ms, tern_timer_fn done)
{
    struct call_op *op = begin(call, CALL_OP_TIMER);

    if (op == NULL)
        return TERN_ERROR;
    op->timer_done = done;
    loop_timer_init(&op->timer, timer_fired);
    loop_timer_start(call->engine->env.loop, &op->timer, ms);
    return TERN_WAIT;
}

/* ---- a thread of the module's own ---- */

/* On its way to the loop. Counts for the call. */
struct wake {
    struct port_item item;
    tern_call *call;
    tern_timer_fn done;
};

static void woken(struct port_item *item, bool gone)
{
    struct wake *w = list_entry(item, struct wake, item);
    tern_call *call = w->call;

    if (!gone && call_wants_answers(call)) {
        uint64_t began_us = call_enter(call);
        w->done(call, call_conf(call));
        (void)call_leave(call, began_us);
        call_drain(call);
    }
    call_unref(call);
    free(w);
}

bool api_wake(tern_call *call, tern_timer_fn done)
{
    /* A BLOCKING handler may still be at work, and the call is its thread's. */
    if (call_is_pooled(call) || !call_wants_answers(call))
        return false;
    struct wake *w = mem_zalloc(sizeof(*w));
    *w = (struct wake){ .call = call_ref(call), .done = done };
    list_init(&w->item.link);
    w->item.run = woken;
    if (port_put(call->lease->port, &w->item))
        return true;
    call_unref(call);
    free(w);
    return false;
}

/* ---- the pool, for what is left to do ---- */

tern_verdict api_offload(tern_call *call, tern_handler run)
{
    struct journal_writer w = call_writer(call);

    if (run == NULL || call_is_pooled(call) || !call_let_go(call)) {
        journal_fail(&w, "the step offloads what it cannot: it is BLOCKING, or something is under way");
        return TERN_ERROR;
    }
    if (!call_wants_answers(call))
        return TERN_ERROR;
    atomic_store(&call->offloaded, run);
    if (run_submit(call) == 0)
        return TERN_WAIT;
    atomic_store(&call->offloaded, NULL);
    return TERN_ERROR; /* no fault of the step's: it may do without */
}
