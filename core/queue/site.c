/* SPDX-License-Identifier: Apache-2.0 */
/*
 * site.c - the parcels that wait for a next hop, and who may carry them.
 *
 * How long a site's line may get follows from the room that is left ("dynamic threshold"): a line
 * grows only while it is shorter than what is free of ready_max. So one slow site takes at most
 * half, and there is always room for the mail of the others. A message turned away is parked as
 * a row, without memory for its envelope, and woken when the line is half gone; it has a due
 * time all the same, so that nothing depends on the waking.
 *
 * A site is healthy until all its slots have come back without a connection. Then it backs off
 * (1 min, doubled up to 30 min), all that waits is deferred at once without trying, and one slot
 * probes it afterwards, or once an operator said "retry".
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "queue/plan.h"

struct wait {
    struct list link;
    void *slot;
    unsigned loop_index, max;
};

static struct site *site_new(struct queue_plan *p, struct slice name)
{
    struct site *site = mem_zalloc(sizeof(*site) + p->options.loops * sizeof(site->ready[0]));

    site->plan = p;
    site->name = mem_dup(name.ptr, name.len);
    site->parked_first = site->parked_last = ROW_NONE;
    list_push(&p->busy, &site->link);
    list_init(&site->waits);
    for (unsigned i = 0; i < p->options.loops; i++)
        list_init(&site->ready[i]);
    (void)table_put(&p->sites, name, site);
    p->site_count++;
    return site;
}

static void site_free(struct site *site)
{
    struct queue_plan *p = site->plan;

    assert(site->slots == 0 && site->ready_count == 0 && site->parked_count == 0);
    assert(list_empty(&site->waits));
    (void)table_remove(&p->sites, slice_cstr(site->name));
    list_remove(&site->link);
    p->site_count--;
    free(site->name);
    free(site);
}

struct site *queue_site_get(struct queue_plan *p, struct slice name, unsigned connections_max)
{
    struct site *site = table_get(&p->sites, name);
    unsigned max = connections_max > 0 ? connections_max : 1;

    if (site == NULL) {
        site = site_new(p, name);
        site->limit = max;
    } else if (site->is_remembered) {
        list_remove(&site->link);
        list_push(&p->busy, &site->link);
        site->is_remembered = false;
        p->remembered_count--;
    }
    if (site->fails == 0 && site->limit == site->connections_max)
        site->limit = max; /* a reload changed it */
    if (site->limit > max)
        site->limit = max;
    site->connections_max = max;
    return site;
}

/* Without work a site is forgotten, unless it failed: then it is among the last
 * SITES_REMEMBERED_MAX. */
static void retire(struct site *site)
{
    struct queue_plan *p = site->plan;

    if (site->slots > 0 || site->ready_count > 0 || site->parked_count > 0 || site->is_remembered)
        return;
    if (site->fails == 0) {
        site_free(site);
        return;
    }
    list_remove(&site->link);
    list_push(&p->remembered, &site->link);
    site->is_remembered = true;
    if (++p->remembered_count > SITES_REMEMBERED_MAX) {
        site_free(list_entry(p->remembered.next, struct site, link));
        p->remembered_count--;
    }
}

/* ---- parked rows ---- */

void queue_site_park(struct site *site, uint32_t at)
{
    struct rows *rows = &site->plan->rows;
    struct row *row = queue_row(rows, at);

    if (row->parked)
        return; /* at another site: one waking is enough */
    row->parked = true;
    row->site = site;
    row->parked_prev = site->parked_last;
    row->parked_next = ROW_NONE;
    if (site->parked_last != ROW_NONE)
        queue_row(rows, site->parked_last)->parked_next = at;
    else
        site->parked_first = at;
    site->parked_last = at;
    site->parked_count++;
}

void queue_site_unpark(struct queue_plan *p, uint32_t at)
{
    struct row *row = queue_row(&p->rows, at);
    struct site *site = row->site;

    if (!row->parked)
        return;
    row->site = NULL;
    row->parked = false;
    if (row->parked_prev != ROW_NONE)
        queue_row(&p->rows, row->parked_prev)->parked_next = row->parked_next;
    else
        site->parked_first = row->parked_next;
    if (row->parked_next != ROW_NONE)
        queue_row(&p->rows, row->parked_next)->parked_prev = row->parked_prev;
    else
        site->parked_last = row->parked_prev;
    site->parked_count--;
    retire(site);
}

/* How many may wait here now. */
static unsigned line_max(const struct site *site)
{
    const struct queue_plan *p = site->plan;

    return p->options.ready_max > p->ready ? p->options.ready_max - p->ready : 0;
}

static void wake_row(struct site *site, uint32_t at, uint64_t due_ms)
{
    struct queue_plan *p = site->plan;
    struct row *row = queue_row(&p->rows, at);

    if (row->state == ROW_SCHEDULED && row->due_ms > due_ms) {
        row->due_ms = due_ms;
        queue_heap_put(&p->rows, at);
    }
    row->woken = row->state != ROW_SCHEDULED;
    queue_site_unpark(p, at); /* the last may free the site */
}

/* Once the line is half gone, as many come as it then has room for. */
static void wake(struct site *site, uint64_t now_ms)
{
    unsigned room = line_max(site);

    if (site->ready_count > 0 && site->ready_count >= room / 2)
        return;
    for (unsigned n = room / 2 + 1; n > 0 && site->parked_count > 0; n--) {
        bool last = site->parked_count == 1;
        wake_row(site, site->parked_first, now_ms);
        if (last)
            return;
    }
}

/* ---- parcels ---- */

void queue_parcel_return(struct queue_plan *p, struct parcel *parcel, enum parcel_back back,
                         struct slice text)
{
    struct list one;

    list_init(&one);
    parcel->back = back;
    list_push(&one, &parcel->link);
    p->options.ops->parcels(p->options.arg, parcel->loop_index, NULL, NULL, &one, text);
}

static bool backs_off(const struct site *site, uint64_t now_ms)
{
    return site->slots == 0 && now_ms < site->until_ms &&
           site->failed_ms >= site->plan->forgiven_ms;
}

static bool may_grant(const struct site *site)
{
    return site->slots < site->limit && !queue_plan_idle(site->plan);
}

bool queue_site_ready(struct site *site, struct parcel *parcel, uint64_t now_ms)
{
    struct queue_plan *p = site->plan;

    if (queue_plan_idle(p)) {
        queue_parcel_return(p, parcel, PARCEL_STOPPED, SLICE("delivery is stopped"));
        return false;
    }
    if (backs_off(site, now_ms)) {
        queue_parcel_return(p, parcel, PARCEL_SITE_FAILED, slice_cstr(site->error));
        return false;
    }
    bool at_once = site->ready_count == 0 && (may_grant(site) || !list_empty(&site->waits));
    if (!at_once && site->ready_count >= line_max(site)) {
        queue_parcel_return(p, parcel, PARCEL_BUSY, SLICE("too many wait for the next hop"));
        return true;
    }
    assert(parcel->loop_index < p->options.loops);
    parcel->back = PARCEL_CARRIED;
    parcel->ready_ms = now_ms;
    list_push(&site->ready[parcel->loop_index], &parcel->link);
    site->ready_count++;
    p->ready++;
    return false;
}

static struct parcel *head_of(const struct site *site, unsigned loop_index)
{
    const struct list *line = &site->ready[loop_index];

    return list_empty(line) ? NULL : list_entry(line->next, struct parcel, link);
}

static struct parcel *oldest(const struct site *site)
{
    struct parcel *best = NULL;

    for (unsigned i = 0; i < site->plan->options.loops; i++) {
        struct parcel *parcel = head_of(site, i);
        if (parcel != NULL && (best == NULL || parcel->ready_ms < best->ready_ms))
            best = parcel;
    }
    return best;
}

/*
 * A parcel goes out by the loop that made it, if that loop has a connection: its outcome then
 * crosses no thread. But none waits more than SITE_TURN_MS for that.
 */
static struct parcel *take(struct site *site, unsigned loop_index, uint64_t now_ms)
{
    struct parcel *own = loop_index < site->plan->options.loops ? head_of(site, loop_index) : NULL;
    struct parcel *parcel = oldest(site);

    if (own != NULL && (parcel == NULL || parcel->ready_ms + SITE_TURN_MS > now_ms))
        parcel = own;
    if (parcel == NULL)
        return NULL;
    list_remove(&parcel->link);
    site->ready_count--;
    site->plan->ready--;
    return parcel;
}

static void answer(struct site *site, struct wait *wait, uint64_t now_ms)
{
    struct queue_plan *p = site->plan;
    struct list out;
    /* What waits is shared out over all connections, or one would carry it all in a row. */
    unsigned share = (site->ready_count + site->slots - 1) / site->slots;
    unsigned count = share < wait->max ? share : wait->max;

    list_init(&out);
    for (unsigned i = 0; i < count; i++)
        list_push(&out, &take(site, wait->loop_index, now_ms)->link);
    list_remove(&wait->link);
    p->options.ops->parcels(p->options.arg, wait->loop_index, site, wait->slot, &out,
                            slice_make(NULL, 0));
    free(wait);
}

/* Of the pulls that wait, the one of the loop whose parcel waits longest, else the first. */
static struct wait *best_wait(const struct site *site)
{
    const struct parcel *parcel = oldest(site);

    list_each (link, &site->waits) {
        struct wait *wait = list_entry(link, struct wait, link);
        if (wait->loop_index == parcel->loop_index)
            return wait;
    }
    return list_entry(site->waits.next, struct wait, link);
}

void queue_site_serve(struct site *site, uint64_t now_ms)
{
    struct queue_plan *p = site->plan;

    while (site->ready_count > 0 && !list_empty(&site->waits))
        answer(site, best_wait(site), now_ms);
    while (site->ready_count > 0 && may_grant(site)) {
        struct parcel *parcel = take(site, p->options.loops, now_ms);
        site->slots++;
        site->opening++;
        p->slot_count++;
        p->options.ops->open(p->options.arg, parcel->loop_index, site, parcel);
    }
    if (site->parked_count > 0) {
        wake(site, now_ms);
        return; /* which may have freed it */
    }
    retire(site);
}

void queue_site_pull(struct site *site, void *slot, unsigned loop_index, unsigned max,
                     uint64_t now_ms)
{
    struct wait *wait = mem_alloc(sizeof(*wait));

    assert(site->slots > 0);
    *wait = (struct wait){ .slot = slot,
                           .loop_index = loop_index,
                           .max = max > 0 && max < SCHEDULER_PULL_MAX ? max : SCHEDULER_PULL_MAX };
    list_push(&site->waits, &wait->link);
    if (queue_plan_idle(site->plan))
        queue_site_pull_cancel(site, slot);
    else
        queue_site_serve(site, now_ms);
}

void queue_site_pull_cancel(struct site *site, const void *slot)
{
    const struct scheduler_options *options = &site->plan->options;

    list_each (link, &site->waits) {
        struct wait *wait = list_entry(link, struct wait, link);
        struct list none;

        if (wait->slot != slot)
            continue;
        list_init(&none);
        list_remove(&wait->link);
        options->ops->parcels(options->arg, wait->loop_index, site, wait->slot, &none,
                              slice_make(NULL, 0));
        free(wait);
        return;
    }
}

void queue_site_opened(struct site *site, uint64_t now_ms)
{
    unsigned doubled = site->limit * 2;

    assert(site->opening > 0);
    site->opening--;
    site->fails = 0;
    site->until_ms = 0;
    site->limit = doubled < site->connections_max ? doubled : site->connections_max;
    queue_site_serve(site, now_ms);
}

static void return_all(struct site *site, enum parcel_back back, struct slice text)
{
    struct queue_plan *p = site->plan;

    for (unsigned i = 0; i < p->options.loops; i++) {
        struct list out;
        unsigned count = 0;

        list_init(&out);
        list_splice(&out, &site->ready[i]);
        list_each (link, &out) {
            list_entry(link, struct parcel, link)->back = back;
            count++;
        }
        site->ready_count -= count;
        p->ready -= count;
        if (count > 0)
            p->options.ops->parcels(p->options.arg, i, NULL, NULL, &out, text);
    }
    assert(site->ready_count == 0);
}

static void unpark_all(struct site *site, uint64_t due_ms)
{
    for (unsigned left = site->parked_count; left > 0; left--)
        wake_row(site, site->parked_first, due_ms);
}

/* Of the name, so that sites which fail together do not try again together. */
static uint64_t seed_of(const struct site *site)
{
    uint64_t seed = site->fails;

    for (const char *c = site->name; *c != '\0'; c++)
        seed = queue_mix(seed ^ (unsigned char)*c);
    return seed;
}

static void fail(struct site *site, struct slice text, uint64_t now_ms)
{
    const struct scheduler_options *o = &site->plan->options;
    uint64_t wait = o->retry_min_ms < SITE_BACKOFF_MIN_MS ? o->retry_min_ms : SITE_BACKOFF_MIN_MS;
    uint64_t max = o->retry_max_ms < SITE_BACKOFF_MAX_MS ? o->retry_max_ms : SITE_BACKOFF_MAX_MS;

    for (unsigned i = 0; i < site->fails && wait < max; i++)
        wait *= 2;
    if (wait > max)
        wait = max;
    site->fails++;
    site->limit = 1;
    site->failed_ms = now_ms;
    site->until_ms = now_ms + queue_jitter(wait, 20, seed_of(site));
    (void)snprintf(site->error, sizeof(site->error), "%.*s", (int)text.len,
                   text.len > 0 ? text.ptr : "");
    return_all(site, PARCEL_SITE_FAILED, slice_cstr(site->error));
}

void queue_site_slot_done(struct site *site, bool opened, bool failed, struct slice text,
                          uint64_t now_ms)
{
    assert(site->slots > 0 && (opened || site->opening > 0));
    site->slots--;
    site->plan->slot_count--;
    if (!opened)
        site->opening--;
    if (failed && site->slots == 0) {
        fail(site, text, now_ms);
        if (site->parked_count > 0) {
            unpark_all(site, site->until_ms); /* the last one retires it */
            return;
        }
        retire(site);
        return;
    }
    /* Others stand or still try: the site is alive, but it does not want more connections than
     * these. */
    if (failed)
        site->limit = site->slots;
    queue_site_serve(site, now_ms);
}

void queue_site_empty(struct site *site, bool stop, uint64_t now_ms)
{
    while (stop && !list_empty(&site->waits))
        queue_site_pull_cancel(site, list_entry(site->waits.next, struct wait, link)->slot);
    return_all(site, PARCEL_STOPPED, SLICE("delivery is stopped"));
    if (site->parked_count > 0)
        unpark_all(site, now_ms); /* the last one retires it */
    else
        retire(site);
}
