/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evaluate.c - from the author's domain to the policy that counts, and to the result. See check.h.
 *
 * In this order: the author's own record; the walk, where there is none or alignment needs it; alignment (align.c);
 * whether the author's domain exists, if the policy depends on it. Source: RFC 9989 4.10.1, 5.3; RFC 7489 6.6.3.
 */
#include <stdio.h>

#include "check.h"

tern_str dmarc_result_name(enum dmarc_result result)
{
    static const char *const names[] = { "none", "pass", "fail", "temperror", "permerror" };

    return dmarc_str(names[result], strlen(names[result]));
}

static bool end(struct dmarc_check *c, enum dmarc_result result, tern_str where, const char *reason)
{
    c->phase = DMARC_PHASE_END;
    c->result = result;
    c->where = where;
    c->reason = reason;
    return false;
}

void dmarc_give_up(struct dmarc_check *check, const char *reason)
{
    (void)end(check, DMARC_RESULT_TEMPERROR, check->in.author, reason);
}

/* ---- questions ---- */

enum dmarc_look dmarc_look(struct dmarc_check *check, tern_str domain, unsigned type, const struct dmarc_seen **ret)
{
    for (unsigned i = 0; i < check->seen_count; i++)
        if (check->seen[i]->type == type && dmarc_equal_nocase(check->seen[i]->domain, domain)) {
            *ret = check->seen[i];
            return DMARC_LOOK_SEEN;
        }
    if (check->seen_count == DMARC_QUESTIONS_MAX)
        return DMARC_LOOK_TOO_MANY;
    struct dmarc_seen *seen = check->in.alloc(check->in.arg, sizeof(*seen));
    seen->domain = domain;
    seen->type = type;
    check->seen[check->seen_count++] = seen;
    if (type == TERN_DNS_TXT && domain.len > DMARC_NAME_OCTETS_MAX - strlen("_dmarc.")) {
        seen->absent_name = true; /* DNS has no name so long; what stands above it counts all the same */
        *ret = seen;
        return DMARC_LOOK_SEEN;
    }
    check->pending = seen;
    (void)snprintf(check->name, sizeof(check->name), "%s%.*s", type == TERN_DNS_TXT ? "_dmarc." : "",
                   (int)domain.len, domain.ptr);
    check->type = type;
    return DMARC_LOOK_ASK;
}

static void keep_record(struct dmarc_check *c, struct dmarc_seen *seen, tern_str text)
{
    size_t len = text.len < DMARC_RECORD_OCTETS_MAX + 1 ? text.len : DMARC_RECORD_OCTETS_MAX + 1;
    char *copy = c->in.alloc(c->in.arg, len + 1);

    memcpy(copy, text.ptr, len);
    seen->text = dmarc_str(copy, len);
    dmarc_record_parse(seen->text, &seen->record);
}

/* Step 2: others' texts do not count, and several records are none. */
static void keep(struct dmarc_check *c, struct dmarc_seen *seen, const struct tern_dns_answer *a)
{
    const struct tern_dns_record *one = NULL;

    seen->failed = a->status == TERN_FAILED;
    seen->absent_name = a->status == TERN_ABSENT && a->error != NULL && strcmp(a->error, "NXDOMAIN") == 0;
    if (a->status != TERN_FOUND || seen->type != TERN_DNS_TXT)
        return;
    for (size_t i = 0; i < a->count; i++)
        if (dmarc_is_record(a->records[i].text)) {
            one = &a->records[i];
            seen->records++;
        }
    if (seen->records == 1)
        keep_record(c, seen, one->text);
}

/* ---- the result ---- */

/* 4.10.1: p for the domain of the record, sp for what is below and exists, np for what does not. */
static void choose_policy(struct dmarc_check *c, bool exists)
{
    const struct dmarc_record *r = &c->policy_seen->record;
    bool own = c->policy_seen->domain.len == c->in.author.len;

    c->policy = r->p;
    c->policy_tag = "p";
    if (!own && r->sp != DMARC_UNSET) {
        c->policy = r->sp;
        c->policy_tag = "sp";
    }
    if (!own && !exists && r->np != DMARC_UNSET) {
        c->policy = r->np;
        c->policy_tag = "np";
    }
    c->asked = c->policy;
    if (r->testing && c->in.registrable == NULL && c->policy > DMARC_NONE)
        c->asked = (enum dmarc_policy)(c->policy - 1);
}

static bool conclude(struct dmarc_check *c, bool exists)
{
    bool unknown = false;

    for (unsigned i = 0; i < c->in.identifier_count; i++) {
        const struct dmarc_identifier *id = &c->in.identifiers[i];
        unknown |= id->aligned && id->unknown;
        if (id->aligned && !id->unknown) {
            c->dkim_aligned |= id->is_dkim;
            c->spf_aligned |= !id->is_dkim;
        }
    }
    choose_policy(c, exists);
    if (c->spf_aligned || c->dkim_aligned)
        return end(c, DMARC_RESULT_PASS, c->in.author, NULL);
    if (unknown) /* 5.3.6: neither pass nor fail */
        return end(c, DMARC_RESULT_TEMPERROR, c->in.author, "DNS did not answer for what may be aligned");
    return end(c, DMARC_RESULT_FAIL, c->in.author, NULL);
}

/* Appendix A.4: any record makes a domain exist; only NXDOMAIN says that it does not. */
static bool check_existence(struct dmarc_check *c)
{
    const struct dmarc_record *r = &c->policy_seen->record;
    const struct dmarc_seen *seen = NULL;
    enum dmarc_policy otherwise = r->sp != DMARC_UNSET ? r->sp : r->p;
    bool passes = false;

    for (unsigned i = 0; i < c->in.identifier_count; i++)
        passes |= c->in.identifiers[i].aligned;
    if (passes || c->in.registrable != NULL || r->np == DMARC_UNSET || r->np == otherwise ||
        c->policy_seen->domain.len == c->in.author.len)
        return conclude(c, true);
    enum dmarc_look look = dmarc_look(c, c->in.author, TERN_DNS_A, &seen);
    if (look == DMARC_LOOK_ASK)
        return true;
    if (look == DMARC_LOOK_SEEN && seen->failed)
        return end(c, DMARC_RESULT_TEMPERROR, c->in.author, "DNS did not say whether the domain exists");
    return conclude(c, seen == NULL || !seen->absent_name);
}

/* ---- the policy ---- */

static bool use(struct dmarc_check *c, const struct dmarc_seen *seen)
{
    if (seen->record.wrong != NULL)
        return end(c, DMARC_RESULT_PERMERROR, seen->domain, seen->record.wrong);
    c->policy_seen = seen;
    return true;
}

static const struct dmarc_seen *record_at(const struct dmarc_check *c, tern_str domain)
{
    for (unsigned i = 0; i < c->seen_count; i++)
        if (c->seen[i]->type == TERN_DNS_TXT && c->seen[i]->records == 1 &&
            dmarc_equal_nocase(c->seen[i]->domain, domain))
            return c->seen[i];
    return NULL;
}

static bool none(struct dmarc_check *c)
{
    for (unsigned i = 0; i < c->seen_count; i++)
        if (c->seen[i]->records > 1)
            return end(c, DMARC_RESULT_NONE, c->seen[i]->domain, "it has several records, so none counts");
    return end(c, DMARC_RESULT_NONE, c->in.author, "no record");
}

/* The author's own record, else that of the organizational domain, else that of the public suffix. */
static bool settle_policy(struct dmarc_check *c)
{
    const struct dmarc_seen *seen = record_at(c, c->org);

    if (c->policy_seen != NULL)
        return true;
    if (seen == NULL)
        seen = c->walk.psd;
    return seen != NULL ? use(c, seen) : none(c);
}

static bool fail_at(struct dmarc_check *c, tern_str domain)
{
    return end(c, DMARC_RESULT_TEMPERROR, domain, "DNS did not answer");
}

/* RFC 7489 6.6.3: the author's record, else that of the organizational domain by the list of suffixes. */
static bool discover_by_list(struct dmarc_check *c, const struct dmarc_seen *own)
{
    const struct dmarc_seen *seen = own;

    c->org = c->in.registrable(c->in.arg, c->in.author);
    if (own->records == 0 && dmarc_look(c, c->org, TERN_DNS_TXT, &seen) == DMARC_LOOK_ASK)
        return true;
    if (seen->failed)
        return fail_at(c, seen->domain);
    if (seen->records != 1)
        return none(c);
    if (!use(c, seen))
        return false;
    c->phase = DMARC_PHASE_ALIGN;
    return true;
}

static bool look_at_author(struct dmarc_check *c)
{
    const struct dmarc_seen *seen = NULL;

    if (dmarc_look(c, c->in.author, TERN_DNS_TXT, &seen) != DMARC_LOOK_SEEN)
        return true;
    if (seen->failed)
        return fail_at(c, seen->domain);
    if (c->in.registrable != NULL)
        return discover_by_list(c, seen);
    if (seen->records == 1 && !use(c, seen))
        return false;
    c->phase = DMARC_PHASE_ALIGN;
    if (c->policy_seen == NULL || dmarc_needs_org(c)) {
        c->phase = DMARC_PHASE_WALK;
        dmarc_walk_begin(&c->walk, c->in.author);
    }
    return true;
}

static bool walk(struct dmarc_check *c)
{
    switch (dmarc_walk_on(c, &c->walk)) {
    case DMARC_STEP_ASK: return true;
    case DMARC_STEP_DONE: break;
    default: return fail_at(c, c->walk.target);
    }
    c->org = c->walk.org;
    c->phase = DMARC_PHASE_ALIGN;
    return settle_policy(c);
}

static bool align(struct dmarc_check *c)
{
    if (dmarc_align(c) == DMARC_STEP_DONE)
        c->phase = DMARC_PHASE_EXISTENCE;
    return true;
}

/* True: there is a question. Each round asks one, or goes to a later phase. */
static bool go_on(struct dmarc_check *c)
{
    for (c->pending = NULL;;) {
        bool more = c->phase == DMARC_PHASE_AUTHOR ? look_at_author(c)
                    : c->phase == DMARC_PHASE_WALK ? walk(c)
                    : c->phase == DMARC_PHASE_ALIGN ? align(c)
                                                    : check_existence(c);
        if (!more || c->pending != NULL)
            return more;
    }
}

bool dmarc_start(struct dmarc_check *check, const struct dmarc_input *in)
{
    check->in = *in;
    check->policy_tag = "p";
    return go_on(check);
}

bool dmarc_answer(struct dmarc_check *check, const struct tern_dns_answer *answer)
{
    if (check->phase == DMARC_PHASE_END)
        return false;
    keep(check, check->pending, answer);
    return go_on(check);
}
