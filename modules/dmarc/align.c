/* SPDX-License-Identifier: Apache-2.0 */
/*
 * align.c - the tree walk, and whether an identifier is aligned with the author. See check.h.
 *
 * An organizational domain is the domain itself or one above it. So an identifier can be aligned only if it is within
 * the author's organizational domain, and there is no need to walk from any other. Source: RFC 9989 4.10, 4.10.2.
 */
#include "check.h"

void dmarc_walk_begin(struct dmarc_walk *walk, tern_str domain)
{
    *walk = (struct dmarc_walk){ .domain = domain, .target = domain };
}

/* True: the walk stops at this record. */
static bool meet(struct dmarc_walk *w, const struct dmarc_seen *seen)
{
    if (seen->records != 1)
        return false;
    w->found = w->target;
    if (seen->record.psd == 'y' && w->target.len < w->domain.len) {
        w->psd = seen;
        w->found = dmarc_suffix(w->domain, dmarc_labels(w->target) + 1);
    }
    return seen->record.psd != 'u';
}

enum dmarc_step dmarc_walk_on(struct dmarc_check *check, struct dmarc_walk *w)
{
    const struct dmarc_seen *seen = NULL;

    for (;;) {
        enum dmarc_look look = dmarc_look(check, w->target, TERN_DNS_TXT, &seen);
        if (look != DMARC_LOOK_SEEN)
            return look == DMARC_LOOK_ASK ? DMARC_STEP_ASK : DMARC_STEP_TOO_MANY;
        if (seen->failed)
            return DMARC_STEP_FAILED;
        bool stops = meet(w, seen);
        tern_str next = dmarc_walk_next(w->domain, w->target);
        if (stops || next.len == 0) {
            w->org = w->found.len > 0 ? w->found : w->domain;
            return DMARC_STEP_DONE;
        }
        w->target = next;
    }
}

static bool is_strict(const struct dmarc_check *c, const struct dmarc_identifier *id)
{
    const struct dmarc_record *r = &c->policy_seen->record;

    return id->is_dkim ? r->dkim_strict : r->spf_strict;
}

bool dmarc_needs_org(const struct dmarc_check *check)
{
    tern_str top = dmarc_suffix(check->in.author, 1);

    for (unsigned i = 0; i < check->in.identifier_count; i++) {
        const struct dmarc_identifier *id = &check->in.identifiers[i];
        if (!is_strict(check, id) && dmarc_name_is_within(id->domain, top) &&
            !dmarc_equal_nocase(id->domain, check->in.author))
            return true;
    }
    return false;
}

/* Relaxed, and another name than the author's: by organizational domains. */
static enum dmarc_step align_by_org(struct dmarc_check *c, struct dmarc_identifier *id)
{
    enum dmarc_step step = DMARC_STEP_DONE;

    if (!dmarc_name_is_within(id->domain, c->org))
        return step;
    if (c->in.registrable != NULL) {
        id->org = c->in.registrable(c->in.arg, id->domain);
    } else {
        if (!c->walking)
            dmarc_walk_begin(&c->walk, id->domain);
        step = dmarc_walk_on(c, &c->walk);
        c->walking = step == DMARC_STEP_ASK;
        id->org = c->walk.org;
    }
    if (step == DMARC_STEP_FAILED)
        id->aligned = id->unknown = true; /* it may be */
    else if (step == DMARC_STEP_DONE)
        id->aligned = dmarc_equal_nocase(id->org, c->org);
    return step;
}

enum dmarc_step dmarc_align(struct dmarc_check *check)
{
    for (; check->at < check->in.identifier_count; check->at++) {
        struct dmarc_identifier *id = &check->in.identifiers[check->at];
        if (dmarc_equal_nocase(id->domain, check->in.author))
            id->aligned = true;
        else if (!is_strict(check, id) && align_by_org(check, id) == DMARC_STEP_ASK)
            return DMARC_STEP_ASK;
    }
    return DMARC_STEP_DONE;
}
