/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.c - the life of a call: at work, waiting, answered, ended.
 *
 * Every change of state is one atomic operation, so that of a late, a double and a timely
 * answer exactly one counts, whichever threads they come from. Who completes hands the
 * journal over: the release in the exchange is what makes it visible to the loop.
 */
#include "module/call.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "module/crash.h"
#include "module/descriptor.h"
#include "module/header_edit.h"

/* ---- lease ---- */

struct lease *lease_new(struct port *port, void (*generation_ref)(void *),
                        void (*generation_unref)(void *), void *generation)
{
    struct lease *lease = mem_zalloc(sizeof(*lease));

    atomic_init(&lease->refs, 1);
    lease->port = port_ref(port);
    lease->generation = generation;
    lease->generation_unref = generation_unref;
    if (generation_ref != NULL)
        generation_ref(generation);
    return lease;
}

struct lease *lease_ref(struct lease *lease)
{
    atomic_fetch_add_explicit(&lease->refs, 1, memory_order_relaxed);
    return lease;
}

void lease_unref(struct lease *lease)
{
    if (lease == NULL || atomic_fetch_sub_explicit(&lease->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (lease->generation_unref != NULL)
        lease->generation_unref(lease->generation);
    port_unref(lease->port);
    free(lease);
}

/* ---- the object ---- */

static void arrived(struct port_item *item, bool gone);

/* ---- memory ---- */

/* So that a usual call asks malloc() once: what one needs soon follows when it rises, and slowly when it falls. */
static size_t room_octets(const struct step *step)
{
    size_t octets = atomic_load_explicit(&step->call_octets, memory_order_relaxed) + ARENA_LENT_OVERHEAD;

    octets = (octets + 255) & ~(size_t)255; /* few sizes: freed ones fit others */
    if (octets < CALL_ROOM_OCTETS_MIN)
        return CALL_ROOM_OCTETS_MIN;
    return octets < CALL_ROOM_OCTETS_MAX ? octets : CALL_ROOM_OCTETS_MAX;
}

/* Calls of other threads may do so at the same time: it is a guess. */
static void learn(struct step *step, size_t used)
{
    uint32_t before = atomic_load_explicit(&step->call_octets, memory_order_relaxed);
    uint32_t octets = used < CALL_ROOM_OCTETS_MAX ? (uint32_t)used : CALL_ROOM_OCTETS_MAX;
    uint32_t now = octets > before ? octets : before - (before - octets) / 64;

    if (now != before)
        atomic_store_explicit(&step->call_octets, now, memory_order_relaxed);
}

tern_call *call_new(struct engine *engine, struct lease *lease, const struct chain_entry *entry,
                    unsigned point)
{
    size_t room = room_octets(entry->step->step);
    tern_call *call = mem_alloc(sizeof(*call) + room);

    memset(call, 0, sizeof(*call));
    atomic_init(&call->refs, 1);
    atomic_init(&call->state, 0);
    call->engine = engine;
    call->lease = lease_ref(lease);
    call->step = entry->step;
    call->hook = entry->hook;
    call->point = point;
    call->shadow = entry->step->mode == STEP_SHADOW;
    arena_init_in(&call->arena, call->room, room);
    list_init(&call->ops);
    list_init(&call->ready);
    list_init(&call->item.link);
    call->item.run = arrived;
    return call;
}

tern_call *call_ref(tern_call *call)
{
    atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
    return call;
}

void call_unref(tern_call *call)
{
    unsigned before = atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel);

    assert(before > 0);
    if (before > 1)
        return;
    session_facts_unref(call->view.session);
    txn_facts_unref(call->view.txn);
    message_head_unref(call->view.message);
    auth_secret_unref(call->view.auth);
    shared_arena_unref(call->view.vrfy_memory);
    auth_secret_unref(call->answer);
    journal_wipe(&call->journal);
    learn(call->step->step, call->arena.octets);
    arena_fini(&call->arena);
    lease_unref(call->lease); /* last: step and conf live in the generation */
    free(call);
}

struct slice call_id(const tern_call *call)
{
    if (call->view.txn != NULL && call->view.txn->id.len > 0)
        return slice_of(call->view.txn->id);
    if (call->view.session != NULL)
        return slice_of(call->view.session->id);
    return slice_make(NULL, 0);
}

/* ---- the module's code ---- */

static void name_slow_step(const tern_call *call, uint64_t us)
{
    struct step *step = call->step->step;

    if (clock_is_virtual())
        return; /* of tern test: the machine's business, not the policy's */
    uint64_t now = clock_now_ms() + 1, last = atomic_load(&step->slow_logged_ms);

    metric_add(metric_counter("tern_step_slow_total", "", "times a step held its loop over 1 ms"),
               1);
    if (last != 0 && now - last < CALL_SLOW_LOG_MS)
        return;
    if (!atomic_compare_exchange_strong(&step->slow_logged_ms, &last, now))
        return; /* another loop logs it */
    log_event(LOG_WARNING, LOG_EV_step_slow, "", "step %.*s held its loop for %llu us at hook %s",
              (int)step->name.len, step->name.ptr, (unsigned long long)us,
              descriptor_hook_name(call->point));
}

uint64_t call_enter(const tern_call *call)
{
    crash_slot_set(descriptor_hook_name(call->point), slice_of(call->step->step->name),
                   call_id(call));
    return clock_now_us();
}

uint64_t call_leave(const tern_call *call, uint64_t began_us)
{
    uint64_t us = clock_now_us() - began_us;

    crash_slot_clear();
    if (us > CALL_SLOW_US && !call_is_pooled(call))
        name_slow_step(call, us);
    return us;
}

/* ---- answers ---- */

static unsigned with_verdict(unsigned flag, tern_verdict verdict)
{
    return flag | (unsigned)verdict << CALL_VERDICT_SHIFT;
}

static void run_abort_handler(tern_call *call)
{
    if (call->hook->on_abort == NULL)
        return;
    uint64_t began_us = call_enter(call);
    call->hook->on_abort(call, call_conf(call));
    (void)call_leave(call, began_us);
}

/* On the loop, with the reference that the port held. */
static void arrived(struct port_item *item, bool gone)
{
    tern_call *call = list_entry(item, tern_call, item);
    unsigned state = atomic_load_explicit(&call->state, memory_order_acquire);

    (void)gone; /* then all runs have ended before */
    if ((state & CALL_ANSWERED) != 0 && (state & CALL_ENDED) == 0)
        run_answered(call, (tern_verdict)(state >> CALL_VERDICT_SHIFT));
    else if ((state & CALL_ANSWERED) == 0)
        run_abort_handler(call); /* returned WAIT from a pool thread after its end */
    call_unref(call);
}

static void travel(tern_call *call)
{
    if (!port_put(call->lease->port, &call_ref(call)->item))
        call_unref(call);
}

void call_complete(tern_call *call, tern_verdict verdict)
{
    unsigned state = atomic_load_explicit(&call->state, memory_order_relaxed);
    unsigned next;

    if ((unsigned)verdict > TERN_ERROR || verdict == TERN_WAIT)
        verdict = TERN_ERROR;
    do {
        if ((state & (CALL_ENDED | CALL_EARLY | CALL_ANSWERED)) != 0)
            return;
        next =
            state | with_verdict((state & CALL_WAITING) != 0 ? CALL_ANSWERED : CALL_EARLY, verdict);
    } while (!atomic_compare_exchange_weak_explicit(&call->state, &state, next,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if ((next & CALL_ANSWERED) != 0)
        travel(call);
}

bool call_returned(tern_call *call, tern_verdict verdict, tern_verdict *ret)
{
    unsigned state = 0;

    if (verdict == TERN_WAIT)
        call_drain(call);
    if (verdict == TERN_WAIT &&
        atomic_compare_exchange_strong_explicit(&call->state, &state, CALL_WAITING,
                                                memory_order_acq_rel, memory_order_acquire))
        return false;
    state = atomic_load_explicit(&call->state, memory_order_acquire);
    *ret = (state & CALL_EARLY) != 0 ? (tern_verdict)(state >> CALL_VERDICT_SHIFT) : verdict;
    return true;
}

void call_returned_elsewhere(tern_call *call, tern_verdict verdict)
{
    unsigned state = atomic_load_explicit(&call->state, memory_order_acquire), next;

    do {
        if ((state & CALL_ENDED) != 0) {
            /* Nobody waits any more. What it started in vain is told once, on the loop. */
            if (verdict == TERN_WAIT && (state & CALL_EARLY) == 0) {
                if (port_put(call->lease->port, &call_ref(call)->item))
                    return;
                run_abort_handler(call); /* there is no loop any more */
                call_unref(call);
            }
            return;
        }
        if ((state & CALL_EARLY) != 0)
            next = state ^ (CALL_EARLY | CALL_ANSWERED);
        else if (verdict == TERN_WAIT)
            next = CALL_WAITING;
        else
            next =
                with_verdict(CALL_ANSWERED, (unsigned)verdict > TERN_ERROR ? TERN_ERROR : verdict);
    } while (!atomic_compare_exchange_weak_explicit(&call->state, &state, next,
                                                    memory_order_acq_rel, memory_order_acquire));
    if ((next & CALL_ANSWERED) != 0)
        travel(call);
}

/* ---- the end ---- */

static void cancel_ops(tern_call *call)
{
    for (struct list *link = list_pop(&call->ops); link != NULL; link = list_pop(&call->ops)) {
        struct call_op *op = list_entry(link, struct call_op, link);
        if (op->request != NULL)
            dns_cancel(op->request);
        if (op->kind == CALL_OP_TIMER)
            loop_timer_stop(&op->timer);
    }
    for (struct list *link = list_pop(&call->ready); link != NULL; link = list_pop(&call->ready))
        dns_kept_release(list_entry(link, struct call_op, link)->kept);
    call->op_count = 0;
}

static bool only_dns_and_time(const struct list *ops)
{
    for (const struct list *link = ops->next; link != ops; link = link->next) {
        const struct call_op *op = list_entry(link, struct call_op, link);
        if (op->kind != CALL_OP_DNS && op->kind != CALL_OP_TIMER)
            return false;
    }
    return true;
}

bool call_let_go(tern_call *call)
{
    if (!only_dns_and_time(&call->ops) || !only_dns_and_time(&call->ready))
        return false;
    cancel_ops(call);
    return true;
}

void call_end(tern_call *call)
{
    unsigned before = atomic_fetch_or_explicit(&call->state, CALL_ENDED, memory_order_acq_rel);

    assert((before & CALL_ENDED) == 0);
    call->run = NULL;
    /* A pool thread that is still at work owns what belongs to the call; it has no ops. */
    if (!call_is_pooled(call))
        cancel_ops(call);
    if ((before & CALL_WAITING) != 0 && (before & CALL_ANSWERED) == 0 &&
        atomic_load(&call->offloaded) == NULL)
        run_abort_handler(call);
}

bool call_has_ended(const tern_call *call)
{
    return (atomic_load_explicit(&call->state, memory_order_acquire) & CALL_ENDED) != 0;
}

/* ---- answers the step waits for ---- */

struct call_op *call_op_new(tern_call *call, int kind)
{
    if (call->op_count >= CALL_OPS_MAX)
        return NULL;
    struct call_op *op = ARENA_NEW(&call->arena, struct call_op);
    op->call = call;
    op->kind = kind;
    list_push(&call->ops, &op->link);
    call->op_count++;
    return op;
}

bool call_wants_answers(const tern_call *call)
{
    unsigned done = CALL_ENDED | CALL_EARLY | CALL_ANSWERED;

    return (atomic_load_explicit(&call->state, memory_order_acquire) & done) == 0;
}

void call_drain(tern_call *call)
{
    const void *conf = call_conf(call);

    if (call->draining)
        return;
    call->draining = true;
    while (call_wants_answers(call) && !list_empty(&call->ready)) {
        struct call_op *op = list_entry(list_pop(&call->ready), struct call_op, link);
        struct dns_entry *kept = op->kept;
        uint64_t began_us = call_enter(call);
        op->kept = NULL;
        if (op->kind == CALL_OP_DNS)
            op->dns_done(call, conf, dns_kept_answer(kept), op->fn_arg);
        else if (op->kind == CALL_OP_KV && op->kv_done != NULL)
            op->kv_done(call, conf, &op->kv);
        else if (op->kind == CALL_OP_TABLE && op->table_done != NULL)
            op->table_done(call, conf, &op->table);
        else if (op->kind == CALL_OP_TIMER && op->timer_done != NULL)
            op->timer_done(call, conf);
        else if (op->kind == CALL_OP_AUTH && op->auth_done != NULL)
            op->auth_done(call, conf, auth_secret_view(call->answer)->response);
        (void)call_leave(call, began_us);
        dns_kept_release(kept);
    }
    call->draining = false;
}

void call_op_answer(struct call_op *op)
{
    tern_call *call = op->call;

    list_remove(&op->link);
    call->op_count--;
    list_push(&call->ready, &op->link);
    if ((atomic_load_explicit(&call->state, memory_order_acquire) & CALL_WAITING) != 0)
        call_drain(call);
}
