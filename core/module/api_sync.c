/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_sync.c - the twins for BLOCKING steps: the pool thread waits, the loop asks.
 *
 * What loop and thread share is counted: whoever gives up first leaves it to the other.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "module/api.h"
#include "module/api_private.h"
#include "module/engine_private.h"
#include "state/kv.h"
#include "state/tables.h"

#define SYNC_WAIT_S 60 /* DNS gives up earlier by itself; this is for a loop that hangs */

struct sync {
    _Atomic unsigned refs;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct port_item item;
    struct engine *engine; /* loop thread only */
    char *name;
    unsigned type;
    bool done;
    int status;
    struct arena arena; /* of the answer; the loop's until done */
    struct tern_dns_answer dns;
    struct tern_kv_answer kv;
    struct table_wait wait;
    struct lease *lease; /* table_find_sync(): the generation whose table is asked */
    struct tern_table_answer table;
};

static struct sync *sync_new(void)
{
    struct sync *s = mem_zalloc(sizeof(*s));
    pthread_condattr_t monotonic;

    atomic_init(&s->refs, 1);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    arena_init(&s->arena);
    return s;
}

static struct sync *sync_ref(struct sync *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

static void sync_unref(struct sync *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    arena_fini(&s->arena);
    lease_unref(s->lease);
    free(s->name);
    free(s);
}

/* Gives the answer and the teller's reference. */
static void tell(struct sync *s, int status)
{
    pthread_mutex_lock(&s->lock);
    s->status = status;
    s->done = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    sync_unref(s);
}

static int wait_for(struct sync *s)
{
    struct timespec until;
    int status = -ETIMEDOUT;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SYNC_WAIT_S;
    pthread_mutex_lock(&s->lock);
    while (!s->done)
        if (pthread_cond_timedwait(&s->changed, &s->lock, &until) != 0)
            break;
    if (s->done)
        status = s->status;
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* ---- DNS ---- */

static void copy_answer(struct arena *arena, const struct tern_dns_answer *from,
                        struct tern_dns_answer *to)
{
    struct tern_dns_record *records = arena_alloc(arena, (from->count + 1) * sizeof(records[0]));

    for (size_t i = 0; i < from->count; i++) {
        records[i] = from->records[i];
        records[i].text = tern_str_dup(arena, slice_of(from->records[i].text));
    }
    *to = *from;
    to->records = records;
    if (from->error != NULL)
        to->error = arena_dup(arena, slice_cstr(from->error));
}

static void dns_answered(void *arg, const struct tern_dns_answer *answer)
{
    struct sync *s = arg;

    copy_answer(&s->arena, answer, &s->dns);
    tell(s, 0);
}

static void ask_dns(struct port_item *item, bool gone)
{
    struct sync *s = list_entry(item, struct sync, item);

    if (gone)
        tell(s, -ECANCELED);
    else
        (void)dns_ask(s->engine->env.dns, s->name, s->type, false, dns_answered, s);
}

static bool is_blocking(tern_call *call)
{
    struct journal_writer w = call_writer(call);

    if (call_is_pooled(call))
        return true;
    journal_fail(&w, "a step on the loop asked for something that blocks");
    return false;
}

int api_dns_sync(tern_call *call, const char *name, unsigned type, struct tern_dns_answer *ret)
{
    if (!is_blocking(call) || call->engine->env.dns == NULL)
        return -EPERM;
    struct sync *s = sync_new();
    s->engine = call->engine;
    s->name = mem_strdup(name);
    s->type = type;
    s->item.run = ask_dns;
    int r = -ECANCELED;
    if (port_put(call->lease->port, &sync_ref(s)->item))
        r = wait_for(s);
    else
        sync_unref(s);
    if (r == 0)
        copy_answer(&call->arena, &s->dns, ret);
    sync_unref(s);
    return r;
}

/* ---- kv: in memory, and tables: from any thread ---- */

static void kv_answered(void *arg, const struct tern_kv_answer *answer)
{
    struct sync *s = arg;

    s->kv = *answer;
    s->kv.value = tern_str_dup(&s->arena, slice_of(answer->value));
    tell(s, 0);
}

static int ask_kv(tern_call *call, const struct kv_request *request, struct tern_kv_answer *ret)
{
    if (!is_blocking(call) || call->engine->env.kv == NULL)
        return -EPERM;
    struct sync *s = sync_new();
    kv_do(call->engine->env.kv, request, kv_answered, sync_ref(s));
    int r = wait_for(s);
    if (r == 0 && ret != NULL) {
        *ret = s->kv;
        ret->value = tern_str_dup(&call->arena, slice_of(s->kv.value));
    }
    if (r == 0 && ret == NULL && s->kv.status == TERN_FAILED)
        r = -EIO;
    sync_unref(s);
    return r;
}

int api_kv_get_sync(tern_call *call, const char *space, tern_str key, struct tern_kv_answer *ret)
{
    struct kv_request request = api_kv_request(call, KV_GET, space, key);

    return ask_kv(call, &request, ret);
}

int api_kv_put_sync(tern_call *call, const char *space, tern_str key, int64_t number,
                    tern_str value, uint64_t expire_s)
{
    struct kv_request request = api_kv_request(call, KV_PUT, space, key);

    request.number = number;
    request.value = slice_of(value);
    request.expire_s = expire_s;
    return ask_kv(call, &request, NULL);
}

static void table_answered(struct table_wait *wait, enum tern_status status, tern_str value,
                           struct table_hold *hold)
{
    struct sync *s = list_entry(wait, struct sync, wait);

    s->table.status = status;
    s->table.value = tern_str_dup(&s->arena, slice_of(value));
    table_hold_release(hold);
    tell(s, 0);
}

int api_table_find_sync(tern_call *call, const struct tern_table *table, tern_str key,
                        struct tern_table_answer *ret)
{
    if (!is_blocking(call))
        return -EPERM;
    struct sync *s = sync_new();
    /* Not the call's own: the answer may come when this thread has given up and left. */
    s->lease = lease_ref(call->lease);
    s->wait.done = table_answered;
    table_ask(table, slice_of(key), &sync_ref(s)->wait);
    int r = wait_for(s);
    if (r == 0) {
        *ret = s->table;
        ret->value = tern_str_dup(&call->arena, slice_of(s->table.value));
    }
    sync_unref(s);
    return r;
}
