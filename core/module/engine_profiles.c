/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_profiles.c - asks for profiles that a module's table knows, before plan_for() looks for them.
 *
 * plan_for() never waits: it finds what is kept. So who needs a plan asks here first; all questions go at once,
 * and when the last answer is there the owner goes on, on its loop. Answers are kept for a second at least, failed ones
 * too, so that plan_for() finds what has just come; if it does not, that is a lookup that failed: 451.
 */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "module/engine_private.h"
#include "module/plan.h"

struct question {
    struct table_wait wait;
    struct profile_fetch *fetch;
};

struct profile_fetch {
    _Atomic unsigned refs; /* the owner's, and one for the answers */
    _Atomic unsigned left; /* answers that are missing, and one while they are asked for */
    struct lease *lease;
    struct port_item item;
    struct profile_fetch **slot; /* loop thread; NULL: nobody waits any more */
    void (*done)(void *arg);
    void *arg;
    unsigned count;
    struct question questions[];
};

static void unref(struct profile_fetch *f)
{
    if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) > 1)
        return;
    lease_unref(f->lease);
    free(f);
}

void profiles_cancel(struct profile_fetch **slot)
{
    struct profile_fetch *f = *slot;

    if (f == NULL)
        return;
    *slot = NULL;
    f->slot = NULL;
    unref(f);
}

/* On the loop. */
static void arrived(struct port_item *item, bool gone)
{
    struct profile_fetch *f = list_entry(item, struct profile_fetch, item);

    if (!gone && f->slot != NULL) {
        void (*done)(void *arg) = f->done;
        void *arg = f->arg;
        profiles_cancel(f->slot);
        unref(f);
        done(arg); /* may free the owner */
        return;
    }
    unref(f);
}

/* Any thread. */
static void one_less(struct profile_fetch *f)
{
    if (atomic_fetch_sub_explicit(&f->left, 1, memory_order_acq_rel) > 1)
        return;
    if (!port_put(f->lease->port, &f->item))
        unref(f);
}

static void answered(struct table_wait *wait, enum tern_status status, tern_str value, struct table_hold *hold)
{
    struct question *q = list_entry(wait, struct question, wait);

    table_hold_release(hold);
    one_less(q->fetch);
}

/* ---- which keys are not known ---- */

struct keys {
    const struct tern_table *by_domain, *by_user;
    struct slice user;
    const struct rcpt_facts *const *rcpts;
    unsigned count;
};

/* The n-th: the user's, then two for each recipient, as plan_for() asks. */
static const struct tern_table *key_at(const struct keys *k, unsigned n, struct slice *ret)
{
    *ret = k->user;
    if (n == 0)
        return k->by_user;
    const struct tern_mailbox *rcpt = &k->rcpts[(n - 1) / 2]->view.original;
    if (n % 2 != 0) {
        *ret = slice_of(rcpt->domain);
        return k->by_domain;
    }
    if (k->user.len == 0)
        *ret = slice_of(rcpt->address);
    return k->by_user;
}

static bool is_missing(const struct tern_table *table, struct slice key)
{
    struct table_hold *hold = NULL;
    enum tern_status status;
    tern_str value;

    if (key.len == 0 || !table_is_provided(table))
        return false;
    int r = table_try(table, key, &status, &value, &hold);
    table_hold_release(hold);
    return r < 0;
}

static unsigned count_missing(const struct keys *k)
{
    unsigned missing = 0;
    struct slice key;

    for (unsigned n = 0; n < 1 + 2 * k->count; n++) {
        const struct tern_table *table = key_at(k, n, &key);
        missing += is_missing(table, key);
    }
    return missing;
}

bool profiles_fetch(struct profile_fetch **slot, const struct scope *scope, struct slice user,
                    const struct rcpt_facts *const *rcpts, unsigned count, void (*done)(void *arg), void *arg)
{
    struct keys keys = { .user = user, .rcpts = rcpts, .count = count };
    struct slice key;

    assert(*slot == NULL);
    plan_profile_tables(scope->policy, &keys.by_domain, &keys.by_user);
    if (!table_is_provided(keys.by_domain) && !table_is_provided(keys.by_user))
        return true;
    unsigned missing = count_missing(&keys), at = 0;
    if (missing == 0)
        return true;
    struct profile_fetch *f = mem_zalloc(sizeof(*f) + missing * sizeof(f->questions[0]));
    atomic_init(&f->refs, 2);
    atomic_init(&f->left, missing + 1);
    f->lease = lease_ref(scope->lease);
    f->item.run = arrived;
    f->slot = slot;
    f->done = done;
    f->arg = arg;
    *slot = f;
    for (unsigned n = 0; n < 1 + 2 * count && at < missing; n++) {
        const struct tern_table *table = key_at(&keys, n, &key);
        if (!is_missing(table, key))
            continue; /* or it has come meanwhile */
        f->questions[at].fetch = f;
        f->questions[at].wait.done = answered;
        table_ask(table, key, &f->questions[at++].wait);
    }
    for (; at < missing; at++)
        one_less(f);
    one_less(f);
    return false;
}
