/* SPDX-License-Identifier: Apache-2.0 */
/*
 * groups.c - which recipients travel together: equal late options, class, tags, disposition
 * (DESIGN 3.4).
 *
 * Pure. The number of groups is bounded by the callers (ENGINE_GROUPS_MAX).
 */
#include "module/engine_private.h"

struct group_key group_key_of(const struct scope *scope, const struct rcpt_facts *rcpt)
{
    const struct plan *plan = rcpt->plan;
    /* A class says where mail goes; where others decide that, it parts nobody. */
    unsigned class_ = scope->others_deliver ? TERN_CLASS_NONE : rcpt->view.class_;

    return (struct group_key){ plan->late_id, class_, rcpt->tags, rcpt->disposition };
}

static bool has(const struct note *tags, tern_str name)
{
    for (; tags != NULL; tags = tags->next)
        if (slice_equal(slice_of(tags->name), slice_of(name)))
            return true;
    return false;
}

/* Tags are sets: neither order nor repetition counts. */
static bool is_subset(const struct note *a, const struct note *b)
{
    for (; a != NULL; a = a->next)
        if (!has(b, a->name))
            return false;
    return true;
}

bool group_key_equal(const struct group_key *a, const struct group_key *b)
{
    return a->late_id == b->late_id && a->class_ == b->class_ && a->disposition == b->disposition &&
           (a->tags == b->tags || (is_subset(a->tags, b->tags) && is_subset(b->tags, a->tags)));
}

unsigned group_find(const struct group_key *keys, unsigned count, const struct group_key *key)
{
    unsigned i = 0;

    while (i < count && !group_key_equal(&keys[i], key))
        i++;
    return i;
}
