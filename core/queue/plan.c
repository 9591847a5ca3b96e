/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.c - a message's way through the scheduler: scheduled, preparing, active, and again.
 *
 *     HELD <-> SCHEDULED -> PREPARING -> ACTIVE -> SCHEDULED, HELD or gone
 *
 * A hold expires: then the message is prepared like one that is due, as `held`, and delivery
 * ends it. A hold counts from when it began, not from the arrival of the message.
 *
 * What bounds the memory of messages in motion: at most preparing_max are being routed, and a
 * message is prepared only while it surely finds room among the ready_max parcels that wait.
 */
#include "queue/plan.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

static void fill(uint64_t *value, uint64_t standard)
{
    if (*value == 0)
        *value = standard;
}

static void fill_unsigned(unsigned *value, unsigned standard)
{
    if (*value == 0)
        *value = standard;
}

static void set_options(struct queue_plan *p, const struct scheduler_options *options)
{
    p->options = *options;
    fill(&p->options.retry_min_ms, 5 * 60000u);
    fill(&p->options.retry_max_ms, 4 * 3600000u);
    fill(&p->options.expire_ms, 5 * 86400000u);
    fill(&p->options.expire_bounce_ms, 2 * 86400000u);
    fill(&p->options.hold_expire_ms, 30 * (uint64_t)86400000u);
    fill_unsigned(&p->options.retry_factor_percent, 150);
    fill_unsigned(&p->options.preparing_max, 500);
    fill_unsigned(&p->options.ready_max, 5000);
    fill_unsigned(&p->options.loops, 1);
}

void queue_plan_init(struct queue_plan *p, const struct scheduler_options *options)
{
    *p = (struct queue_plan){ .busy_tokens = PLAN_BUSY_PER_S };
    set_options(p, options);
    queue_rows_init(&p->rows);
    table_init(&p->sites);
    list_init(&p->busy);
    list_init(&p->remembered);
}

static void free_site(void *value)
{
    struct site *site = value;

    /* Slots may be out: those of deliveries that were still under way when the server had waited long enough. */
    assert(site->ready_count == 0 && list_empty(&site->waits));
    free(site->name);
    free(site);
}

void queue_plan_fini(struct queue_plan *p)
{
    table_free(&p->sites, free_site);
    queue_rows_fini(&p->rows);
}

/*
 * Nothing is carried any more: parcels go back to their loops, links with nothing to do hear so.
 * After a reload (`stop` false) only the parcels go back, to be routed by the new configuration.
 */
static void empty_sites(struct queue_plan *p, bool stop, uint64_t now_ms)
{
    struct list all;
    struct list *link;

    list_init(&all);
    list_splice(&all, &p->busy);
    while ((link = list_pop(&all)) != NULL) {
        list_push(&p->busy, link);
        queue_site_empty(list_entry(link, struct site, link), stop, now_ms);
    }
}

/* When a hold ends that began at that time; by a clock that ran ahead: from now on. */
static uint64_t hold_end(const struct queue_plan *p, uint64_t since_wall_ms, uint64_t now_ms)
{
    int64_t ms = (int64_t)(since_wall_ms + p->options.hold_expire_ms) - p->wall_offset_ms;
    uint64_t last_ms = now_ms + p->options.hold_expire_ms;

    if (ms <= 0)
        return 0;
    return (uint64_t)ms < last_ms ? (uint64_t)ms : last_ms;
}

/* After a reload. The heap is put in order row by row while they change: all keys of rows not yet
 * visited are still the old ones, and each put settles its own. */
static void reckon_holds(struct queue_plan *p, uint64_t now_ms)
{
    for (uint32_t at = 0; at < p->rows.used; at++) {
        struct row *row = queue_row(&p->rows, at);
        if (row->state != ROW_HELD)
            continue;
        row->due_ms = hold_end(p, row->held_ms, now_ms);
        queue_heap_put(&p->rows, at);
    }
}

void queue_plan_set_options(struct queue_plan *p, const struct scheduler_options *options,
                            uint64_t now_ms)
{
    struct scheduler_options next = *options;
    bool was_idle = queue_plan_idle(p);

    next.loops = p->options.loops;
    next.ops = p->options.ops;
    next.arg = p->options.arg;
    uint64_t hold_expire_ms = p->options.hold_expire_ms;
    set_options(p, &next);
    if (p->options.hold_expire_ms != hold_expire_ms)
        reckon_holds(p, now_ms);
    if (!was_idle)
        empty_sites(p, queue_plan_idle(p), now_ms);
}

void queue_plan_pause(struct queue_plan *p, unsigned why, bool paused, uint64_t now_ms)
{
    bool was_idle = queue_plan_idle(p);

    p->paused = paused ? p->paused | why : p->paused & ~why;
    if (!was_idle && queue_plan_idle(p))
        empty_sites(p, true, now_ms);
}

/* The longest that anybody puts a message off. */
static uint64_t wait_max_ms(const struct queue_plan *p)
{
    uint64_t max_ms = p->options.retry_max_ms / 100 * (100 + p->options.retry_jitter_percent);

    return max_ms > PLAN_WAIT_MS_MAX ? max_ms : PLAN_WAIT_MS_MAX;
}

/*
 * A time further off than anybody puts it was written by another clock: a machine that starts with
 * the year 1970 must not keep its queue for half a century, though the clock is set a second later.
 */
static uint64_t from_wall(const struct queue_plan *p, uint64_t wall_ms, uint64_t now_ms)
{
    int64_t ms = (int64_t)wall_ms - p->wall_offset_ms;
    uint64_t last_ms = now_ms + wait_max_ms(p);

    if (ms <= 0)
        return 0;
    return (uint64_t)ms < last_ms ? (uint64_t)ms : last_ms;
}

static struct spool_entry entry_of(const struct queue_plan *p, const struct row *row)
{
    return (struct spool_entry){
        .key = queue_row_key(row),
        .arrival_ms = row->arrival_ms,
        .due_ms = row->state == ROW_HELD ? row->held_ms
                                         : (uint64_t)((int64_t)row->due_ms + p->wall_offset_ms),
        .octets = row->octets,
        .attempts = row->attempts,
        .rcpt_count = row->rcpt_count,
        .pending_count = row->pending_count,
        .held = row->state == ROW_HELD || row->hold,
        .bounce = row->bounce,
    };
}

/* The only door to row->state, but for rows.c, which makes and frees rows. */
static void set_state(struct queue_plan *p, uint32_t at, enum row_state state)
{
    struct row *row = queue_row(&p->rows, at);

    assert(state != ROW_FREE);
    p->held -= row->state == ROW_HELD;
    p->preparing -= row->state == ROW_PREPARING;
    row->state = (uint8_t)state;
    p->held += state == ROW_HELD;
    p->preparing += state == ROW_PREPARING;
    if (state == ROW_SCHEDULED || state == ROW_HELD)
        queue_heap_put(&p->rows, at);
    else
        queue_heap_take(&p->rows, at);
}

static void hold_row(struct queue_plan *p, uint32_t at, uint64_t since_wall_ms, uint64_t due_ms)
{
    struct row *row = queue_row(&p->rows, at);

    queue_site_unpark(p, at);
    row->held_ms = since_wall_ms;
    row->due_ms = due_ms;
    set_state(p, at, ROW_HELD);
}

static void hold_now(struct queue_plan *p, uint32_t at, uint64_t now_ms)
{
    hold_row(p, at, (uint64_t)((int64_t)now_ms + p->wall_offset_ms),
             now_ms + p->options.hold_expire_ms);
}

static void drop(struct queue_plan *p, uint32_t at)
{
    queue_site_unpark(p, at);
    set_state(p, at, ROW_ACTIVE);
    queue_rows_remove(&p->rows, at);
}

void queue_plan_add(struct queue_plan *p, const struct spool_entry *entry, uint64_t now_ms)
{
    if (queue_rows_find(&p->rows, entry->key) != ROW_NONE)
        return;
    uint32_t at = queue_rows_add(&p->rows, entry->key);
    struct row *row = queue_row(&p->rows, at);
    p->held++; /* a new row is held */
    row->arrival_ms = entry->arrival_ms;
    row->due_ms = entry->due_ms > 0 ? from_wall(p, entry->due_ms, now_ms) : now_ms;
    row->octets = entry->octets;
    row->attempts = entry->attempts;
    row->rcpt_count = entry->rcpt_count;
    row->pending_count = entry->pending_count;
    row->bounce = entry->bounce;
    if (entry->held) {
        uint64_t since_ms = entry->due_ms > 0 ? entry->due_ms : entry->arrival_ms;
        hold_row(p, at, since_ms, hold_end(p, since_ms, now_ms));
    } else {
        set_state(p, at, ROW_SCHEDULED);
    }
}

void queue_plan_prepared(struct queue_plan *p, struct spool_key key, struct list *parcels,
                         uint64_t now_ms)
{
    uint32_t at = queue_rows_find(&p->rows, key);
    struct row *row = at != ROW_NONE ? queue_row(&p->rows, at) : NULL;
    bool gone = row == NULL || row->removed || row->hold;
    struct list *link;

    if (row != NULL && row->state == ROW_PREPARING)
        set_state(p, at, ROW_ACTIVE);
    if (row != NULL && !list_empty(parcels))
        row->over = false; /* it was released, and is carried */
    while ((link = list_pop(parcels)) != NULL) {
        struct parcel *parcel = list_entry(link, struct parcel, link);
        if (gone) {
            queue_parcel_return(p, parcel, PARCEL_STOPPED, SLICE("removed or held"));
            continue;
        }
        struct site *site = queue_site_get(p, parcel->site_name, parcel->connections_max);
        if (queue_site_ready(site, parcel, now_ms)) {
            queue_site_park(site, at);
            p->busy_tokens -= p->busy_tokens > 0;
        }
        queue_site_serve(site, now_ms);
    }
}

void queue_plan_done(struct queue_plan *p, struct spool_key key, uint32_t pending,
                     uint32_t attempts, uint64_t due_wall_ms, bool held, uint64_t now_ms)
{
    uint32_t at = queue_rows_find(&p->rows, key);

    if (at == ROW_NONE)
        return;
    struct row *row = queue_row(&p->rows, at);
    if (row->state != ROW_ACTIVE && row->state != ROW_PREPARING)
        return;
    if (pending == 0 || row->removed) {
        drop(p, at);
        return;
    }
    row->pending_count = pending;
    row->attempts = attempts;
    row->due_ms = row->woken || row->released ? now_ms : from_wall(p, due_wall_ms, now_ms);
    bool hold = row->hold || (held && !row->released);
    bool over = row->over;
    row->woken = row->hold = row->over = row->released = false;
    if (hold && over) /* it could not be ended now */
        hold_row(p, at, row->held_ms, row->due_ms);
    else if (hold)
        hold_now(p, at, now_ms);
    else
        set_state(p, at, ROW_SCHEDULED);
}

void queue_plan_retry(struct queue_plan *p, struct spool_key key, uint64_t now_ms)
{
    uint32_t at = queue_rows_find(&p->rows, key);

    if (at == ROW_NONE)
        return;
    struct row *row = queue_row(&p->rows, at);
    p->forgiven_ms = now_ms + 1; /* whoever asks for it knows something that we do not */
    if (row->state == ROW_PREPARING || row->state == ROW_ACTIVE)
        row->woken = !row->hold;
    if (row->state != ROW_SCHEDULED)
        return;
    row->due_ms = now_ms;
    queue_heap_put(&p->rows, at);
}

void queue_plan_remove(struct queue_plan *p, struct spool_key key)
{
    uint32_t at = queue_rows_find(&p->rows, key);

    if (at == ROW_NONE)
        return;
    struct row *row = queue_row(&p->rows, at);
    if (row->state == ROW_PREPARING || row->state == ROW_ACTIVE)
        row->removed = true; /* a loop has it: goes with scheduler_done() */
    else
        drop(p, at);
}

void queue_plan_hold(struct queue_plan *p, struct spool_key key, bool held, uint64_t now_ms)
{
    uint32_t at = queue_rows_find(&p->rows, key);

    if (at == ROW_NONE)
        return;
    struct row *row = queue_row(&p->rows, at);
    switch ((enum row_state)row->state) {
    case ROW_PREPARING:
    case ROW_ACTIVE:
        row->hold = held;
        row->released = !held;
        row->over = false;
        break;
    case ROW_SCHEDULED:
        if (held)
            hold_now(p, at, now_ms);
        break;
    case ROW_HELD:
        if (held)
            break;
        row->site = NULL;
        row->due_ms = now_ms;
        set_state(p, at, ROW_SCHEDULED);
        break;
    case ROW_FREE: assert(!"a free row was found");
    }
}

/* ---- preparing ---- */

static void refill(struct queue_plan *p, uint64_t now_ms)
{
    uint64_t more = (now_ms - p->busy_filled_ms) * PLAN_BUSY_PER_S / 1000;

    if (more == 0)
        return;
    p->busy_filled_ms = now_ms;
    p->busy_tokens =
        more > PLAN_BUSY_PER_S - p->busy_tokens ? PLAN_BUSY_PER_S : p->busy_tokens + (unsigned)more;
}

static bool has_room(const struct queue_plan *p)
{
    return !queue_plan_idle(p) && p->preparing < p->options.preparing_max &&
           p->ready + p->preparing < p->options.ready_max;
}

static struct spool_entry begin_attempt(struct queue_plan *p, uint32_t at)
{
    struct row *row = queue_row(&p->rows, at);
    struct spool_entry entry = entry_of(p, row);

    row->over = row->state == ROW_HELD;
    queue_site_unpark(p, at);
    set_state(p, at, ROW_PREPARING);
    return entry;
}

void queue_plan_run(struct queue_plan *p, uint64_t now_ms)
{
    refill(p, now_ms);
    while (has_room(p) && p->busy_tokens > 0) {
        uint32_t at = queue_heap_first(&p->rows);
        if (at == ROW_NONE || queue_row(&p->rows, at)->due_ms > now_ms)
            return;
        struct spool_entry entry = begin_attempt(p, at);
        unsigned loop_index = p->next_loop;
        p->next_loop = (p->next_loop + 1) % p->options.loops;
        p->options.ops->prepare(p->options.arg, loop_index, &entry);
    }
}

uint64_t queue_plan_next_ms(const struct queue_plan *p, uint64_t now_ms)
{
    uint32_t at = queue_heap_first(&p->rows);

    /* Without room nothing is to be done until something ends, which is an event. */
    if (at == ROW_NONE || !has_room(p))
        return UINT64_MAX;
    uint64_t due_ms = queue_row(&p->rows, at)->due_ms;
    uint64_t filled_ms = p->busy_filled_ms + 1000 / PLAN_BUSY_PER_S;
    if (p->busy_tokens == 0 && due_ms < filled_ms)
        due_ms = filled_ms;
    return due_ms > now_ms ? due_ms : now_ms;
}

/* ---- listing ---- */

static void sink(struct spool_key *heap, unsigned count, unsigned at)
{
    for (;;) {
        unsigned child = 2 * at + 1;
        if (child >= count)
            return;
        if (child + 1 < count && queue_key_compare(heap[child], heap[child + 1]) < 0)
            child++;
        if (queue_key_compare(heap[at], heap[child]) >= 0)
            return;
        struct spool_key key = heap[at];
        heap[at] = heap[child];
        heap[child] = key;
        at = child;
    }
}

static int compare_keys(const void *a, const void *b)
{
    return queue_key_compare(*(const struct spool_key *)a, *(const struct spool_key *)b);
}

/* The `max` lowest keys behind `after`: one walk over all rows, the best so far in a heap. */
unsigned queue_plan_list(const struct queue_plan *p, struct spool_key after,
                         struct spool_entry *out, unsigned max)
{
    struct spool_key *best = max > 0 ? mem_alloc(max * sizeof(*best)) : NULL;
    unsigned count = 0;

    for (uint32_t at = 0; at < p->rows.used && max > 0; at++) {
        const struct row *row = queue_row(&p->rows, at);
        struct spool_key key = queue_row_key(row);
        if (row->state == ROW_FREE || row->removed || queue_key_compare(key, after) <= 0)
            continue;
        if (count < max) {
            best[count++] = key;
            for (unsigned i = count / 2; count == max && i-- > 0;)
                sink(best, count, i);
        } else if (queue_key_compare(key, best[0]) < 0) {
            best[0] = key;
            sink(best, count, 0);
        }
    }
    if (count > 1)
        qsort(best, count, sizeof(*best), compare_keys);
    for (unsigned i = 0; i < count; i++)
        out[i] = entry_of(p, queue_row(&p->rows, queue_rows_find(&p->rows, best[i])));
    free(best);
    return count;
}

/* ---- what must always be true ---- */

static void check_site(const struct site *site, uint64_t now_ms)
{
    const struct queue_plan *p = site->plan;
    unsigned ready = 0, parked = 0;

    for (unsigned i = 0; i < p->options.loops; i++)
        list_each (link, &site->ready[i])
            ready++;
    for (uint32_t at = site->parked_first; at != ROW_NONE;
         at = queue_row(&p->rows, at)->parked_next) {
        assert(queue_row(&p->rows, at)->parked && queue_row(&p->rows, at)->site == site);
        parked++;
    }
    assert(ready == site->ready_count && parked == site->parked_count);
    assert(site->opening <= site->slots);
    /* Whoever waits here waits for something: a slot that will come back or pull. */
    assert(ready == 0 || (site->slots > 0 && list_empty(&site->waits)));
    assert(ready == 0 || site->slots >= site->limit || queue_plan_idle(p));
    assert(site->is_remembered == (site->slots == 0 && ready == 0 && parked == 0));
    assert(!site->is_remembered || site->fails > 0);
    (void)now_ms;
}

void queue_plan_check(const struct queue_plan *p, uint64_t now_ms)
{
    unsigned held = 0, preparing = 0, ready = 0, slots = 0, in_heaps = 0, sites = 0;

    for (uint32_t at = 0; at < p->rows.used; at++) {
        const struct row *row = queue_row(&p->rows, at);
        held += row->state == ROW_HELD;
        preparing += row->state == ROW_PREPARING;
        bool in_heap = row->state == ROW_SCHEDULED || row->state == ROW_HELD;
        in_heaps += in_heap;
        assert(in_heap == (row->state != ROW_FREE && row->heap_at != ROW_NONE));
        assert(!in_heap || p->rows.heap[row->heap_at] == at);
        assert(row->state != ROW_HELD || !row->parked);
    }
    const struct list *lists[] = { &p->busy, &p->remembered };
    for (unsigned i = 0; i < 2; i++) {
        list_each (link, lists[i]) {
            const struct site *site = list_entry(link, struct site, link);
            check_site(site, now_ms);
            ready += site->ready_count;
            slots += site->slots;
            sites++;
        }
    }
    assert(held == p->held && preparing == p->preparing && in_heaps == p->rows.heap_count);
    assert(ready == p->ready && slots == p->slot_count && sites == p->site_count);
    assert(p->preparing <= p->options.preparing_max && p->ready <= p->options.ready_max + sites);
}
