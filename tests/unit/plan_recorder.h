/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_recorder.h - a queue plan whose loops are a list of what it told them; for the tests that
 * include it.
 */
#ifndef TERN_TESTS_PLAN_RECORDER_H
#define TERN_TESTS_PLAN_RECORDER_H

#include <stdlib.h>

#include "base/mem.h"
#include "queue/plan.h"

#define MINUTE 60000u
#define HOUR   (60 * MINUTE)
#define DAY    (24 * (uint64_t)HOUR)

/* ---- a recorder in place of the loops ---- */

#define EVENTS_MAX 20000

struct event {
    enum { PREPARE, OPEN, PARCELS } kind;
    unsigned loop_index, count;
    struct spool_key key;
    struct site *site;
    void *slot;
    enum parcel_back back;
    uint32_t attempts;
    bool held;
    uint64_t due_ms;
};

static struct event events[EVENTS_MAX];
static unsigned event_count;
static struct parcel *opened[EVENTS_MAX]; /* first parcels, by event */

static inline struct event *add_event(void)
{
    if (event_count == EVENTS_MAX)
        abort();
    events[event_count] = (struct event){ 0 };
    return &events[event_count++];
}

static inline void on_prepare(void *arg, unsigned loop_index, const struct spool_entry *entry)
{
    struct event *e = add_event();

    (void)arg;
    e->kind = PREPARE;
    e->loop_index = loop_index;
    e->key = entry->key;
    e->attempts = entry->attempts;
    e->held = entry->held;
    e->due_ms = entry->due_ms;
}

static inline void on_open(void *arg, unsigned loop_index, struct site *site, struct parcel *first)
{
    opened[event_count] = first;
    struct event *e = add_event();

    (void)arg;
    e->kind = OPEN;
    e->loop_index = loop_index;
    e->key = first->key;
    e->site = site;
}

static inline void on_parcels(void *arg, unsigned loop_index, struct site *site, void *slot,
                              struct list *parcels, struct slice text)
{
    struct event *e = add_event();

    (void)arg;
    (void)text;
    e->kind = PARCELS;
    e->loop_index = loop_index;
    e->site = site;
    e->slot = slot;
    for (struct list *at; (at = list_pop(parcels)) != NULL;) {
        struct parcel *parcel = list_entry(at, struct parcel, link);
        e->key = parcel->key;
        e->back = parcel->back;
        e->count++;
        free(parcel);
    }
}

static const struct scheduler_ops ops = { .prepare = on_prepare,
                                          .open = on_open,
                                          .parcels = on_parcels };

static inline unsigned count_kind(int kind)
{
    unsigned n = 0;

    for (unsigned i = 0; i < event_count; i++)
        n += (int)events[i].kind == kind;
    return n;
}

static inline unsigned count_back(enum parcel_back back)
{
    unsigned n = 0;

    for (unsigned i = 0; i < event_count; i++)
        if (events[i].kind == PARCELS && events[i].slot == NULL && events[i].back == back)
            n += events[i].count;
    return n;
}

static struct queue_plan plan;

static inline void start(struct scheduler_options options)
{
    options.ops = &ops;
    if (options.loops == 0)
        options.loops = 1;
    event_count = 0;
    queue_plan_init(&plan, &options);
}

static inline struct spool_key key_of(unsigned n)
{
    return (struct spool_key){ 1000 + n, 1 };
}

static inline void add(unsigned n, uint64_t due_ms)
{
    const struct spool_entry entry = {
        .key = key_of(n), .arrival_ms = 1, .due_ms = due_ms, .rcpt_count = 1, .pending_count = 1
    };

    queue_plan_add(&plan, &entry, 1);
}

static inline struct parcel *parcel_new(unsigned n, const char *site, unsigned connections_max)
{
    struct parcel *p = mem_zalloc(sizeof(*p));

    p->key = key_of(n);
    p->site_name = slice_cstr(site);
    p->connections_max = connections_max;
    return p;
}

static inline void hand_in(unsigned n, const char *site, unsigned connections_max, uint64_t now_ms)
{
    struct list parcels;

    list_init(&parcels);
    list_push(&parcels, &parcel_new(n, site, connections_max)->link);
    queue_plan_prepared(&plan, key_of(n), &parcels, now_ms);
}

/* Opens are given back without failure, so that the plan can be freed. */
static inline void stop(void)
{
    queue_plan_pause(&plan, SCHEDULER_DRAINS, true, 1);
    for (unsigned i = 0; i < event_count; i++) {
        if (events[i].kind != OPEN)
            continue;
        if (opened[i] != NULL) {
            free(opened[i]);
            opened[i] = NULL;
            queue_site_slot_done(events[i].site, false, false, SLICE(""), 1);
        }
    }
    queue_plan_check(&plan, 1);
    queue_plan_fini(&plan);
}

static inline struct site *open_first(void)
{
    for (unsigned i = 0; i < event_count; i++) {
        if (events[i].kind != OPEN || opened[i] == NULL)
            continue;
        free(opened[i]);
        opened[i] = NULL;
        queue_site_opened(events[i].site, 1);
        return events[i].site;
    }
    return NULL;
}

#endif
