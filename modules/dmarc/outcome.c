/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outcome.c - a check that is not made again while what DNS has said to it is valid. See dmarc.h.
 *
 * A check is a function of the author's domain, the identifiers with what is known of them, the options and what DNS
 * says. What DNS failed to say, and a check that ran out of time, are not kept.
 */
#include "dmarc.h"

#define tern dmarc_api

#define NOTE_OCTETS_MAX 400

static struct outcomes *kept;
static void *hits;

int dmarc_outcomes_init(const struct tern_api *api)
{
    kept = outcomes_new();
    hits = api->counter("tern_dmarc_cache_hits_total", "Messages whose outcome was known from a check before");
    return kept != NULL ? 0 : -ENOMEM;
}

void dmarc_outcomes_fini(void)
{
    outcomes_free(kept);
    kept = NULL;
}

int dmarc_outcomes_check(struct dmarc_conf *c)
{
    c->realm = outcomes_realm();
    return outcomes_reserve(kept, c->cache) ? 0 : -ENOMEM;
}

static void *allocate(void *arg, size_t octets)
{
    return tern->alloc(arg, octets);
}

/* ---- octets ---- */

static void put_key(struct outcome_octets *key, const struct dmarc_conf *c, const struct dmarc_input *in)
{
    outcome_put_number(key, c->realm);
    outcome_put_number(key, in->registrable != NULL);
    outcome_put_str(key, in->author);
    for (unsigned i = 0; i < in->identifier_count; i++) {
        const struct dmarc_identifier *id = &in->identifiers[i];
        outcome_put_number(key, (uint64_t)id->is_dkim << 1 | id->unknown);
        outcome_put_str(key, id->domain);
    }
}

/* An end of the record's text, by where it stands. */
static void put_part(struct outcome_octets *o, tern_str text, tern_str part)
{
    outcome_put_number(o, part.len > 0 ? (uint64_t)(part.ptr - text.ptr) : 0);
    outcome_put_number(o, part.len);
}

static tern_str take_part(const char **at, tern_str text)
{
    size_t from = (size_t)outcome_take_number(at);

    return dmarc_str(text.ptr + from, (size_t)outcome_take_number(at));
}

static void put_policy(struct outcome_octets *o, const struct dmarc_seen *seen)
{
    outcome_put_number(o, seen != NULL);
    if (seen == NULL)
        return;
    outcome_put_str(o, seen->domain);
    outcome_put_str(o, seen->text);
    outcome_put(o, &seen->record, sizeof(seen->record));
    put_part(o, seen->text, seen->record.rua);
    put_part(o, seen->text, seen->record.ruf);
    put_part(o, seen->text, seen->record.fo);
}

static const struct dmarc_seen *take_policy(tern_call *call, const char **at)
{
    if (outcome_take_number(at) == 0)
        return NULL;
    struct dmarc_seen *seen = tern->alloc(call, sizeof(*seen));
    seen->type = TERN_DNS_TXT;
    seen->records = 1;
    seen->domain = outcome_take_str(at);
    seen->text = outcome_take_str(at);
    memcpy(&seen->record, *at, sizeof(seen->record));
    *at += sizeof(seen->record);
    seen->record.rua = take_part(at, seen->text);
    seen->record.ruf = take_part(at, seen->text);
    seen->record.fo = take_part(at, seen->text);
    return seen;
}

static void put_check(struct outcome_octets *o, const struct dmarc_check *check)
{
    outcome_put_number(o, check->result);
    outcome_put_text(o, check->reason);
    outcome_put_str(o, check->where);
    outcome_put_str(o, check->org);
    outcome_put_text(o, check->policy_tag);
    outcome_put_number(o, check->policy);
    outcome_put_number(o, check->asked);
    outcome_put_number(o, (uint64_t)check->spf_aligned << 1 | check->dkim_aligned);
    put_policy(o, check->policy_seen);
    for (unsigned i = 0; i < check->in.identifier_count; i++) {
        outcome_put_number(o, check->in.identifiers[i].aligned);
        outcome_put_number(o, check->in.identifiers[i].unknown);
        outcome_put_str(o, check->in.identifiers[i].org);
    }
}

/* Its answers are noted for the decision record. */
static void take_check(tern_call *call, tern_str octets, struct dmarc_check *check)
{
    const char *at = octets.ptr;

    check->phase = DMARC_PHASE_END;
    check->result = (enum dmarc_result)outcome_take_number(&at);
    check->reason = outcome_take_text(&at);
    check->where = outcome_take_str(&at);
    check->org = outcome_take_str(&at);
    check->policy_tag = outcome_take_text(&at);
    check->policy = (enum dmarc_policy)outcome_take_number(&at);
    check->asked = (enum dmarc_policy)outcome_take_number(&at);
    uint64_t aligned = outcome_take_number(&at);
    check->spf_aligned = (aligned & 2) != 0;
    check->dkim_aligned = (aligned & 1) != 0;
    check->policy_seen = take_policy(call, &at);
    for (unsigned i = 0; i < check->in.identifier_count; i++) {
        check->in.identifiers[i].aligned = outcome_take_number(&at) != 0;
        check->in.identifiers[i].unknown = outcome_take_number(&at) != 0;
        check->in.identifiers[i].org = outcome_take_str(&at);
    }
    while (at < octets.ptr + octets.len) {
        tern_str key = outcome_take_str(&at), value = outcome_take_str(&at);
        tern->note(call, key.ptr, value);
    }
}

/* ---- one that is known ---- */

bool dmarc_outcome_known(tern_call *call, const struct dmarc_conf *c, struct dmarc_work *w,
                         const struct dmarc_input *in)
{
    char octets[OUTCOME_OCTETS_MAX];
    struct outcome_octets key = { .at = octets, .room = sizeof(octets) };
    tern_str found;

    w->until_ms = OUTCOME_NOT_KEPT;
    if (c->cache == 0)
        return false;
    put_key(&key, c, in);
    if (key.full)
        return false;
    if (outcomes_find(kept, dmarc_str(key.at, key.len), outcomes_now_ms(), allocate, call, &found)) {
        tern->counter_add(hits, 1);
        w->check->in = *in;
        take_check(call, found, w->check);
        return true;
    }
    w->until_ms = OUTCOME_ASKED_NOBODY;
    w->key = dmarc_str(tern->alloc(call, key.len), key.len);
    memcpy((char *)w->key.ptr, key.at, key.len);
    return false;
}

/* ---- one that is not ---- */

static void note(tern_call *call, struct dmarc_work *w, const char *key, tern_str value)
{
    tern->note(call, key, value);
    if (w->until_ms == OUTCOME_NOT_KEPT)
        return;
    if (w->notes.at == NULL)
        w->notes = (struct outcome_octets){ .at = tern->alloc(call, OUTCOME_OCTETS_MAX), .room = OUTCOME_OCTETS_MAX };
    outcome_put_str(&w->notes, dmarc_str(key, strlen(key)));
    outcome_put_str(&w->notes, value);
}

void dmarc_outcome_answer(tern_call *call, struct dmarc_work *w, const struct tern_dns_answer *a)
{
    const struct dmarc_check *check = w->check;
    char key[sizeof(check->name) + sizeof(" TXT")];
    unsigned told = 0;

    strcpy(stpcpy(key, check->name), check->type == TERN_DNS_A ? " A" : " TXT");
    outcome_until(&w->until_ms, a);
    for (size_t i = 0; a->status == TERN_FOUND && i < a->count; i++) {
        tern_str t = a->records[i].text;
        if (check->type == TERN_DNS_TXT && !dmarc_is_record(t))
            continue;
        note(call, w, key, dmarc_str(t.ptr, t.len < NOTE_OCTETS_MAX ? t.len : NOTE_OCTETS_MAX));
        told++;
    }
    if (told > 0)
        return;
    const char *instead = a->status == TERN_FOUND ? "no DMARC record" : a->error;
    note(call, w, key, dmarc_str(instead, strlen(instead)));
}

void dmarc_outcome_keep(tern_call *call, struct dmarc_work *w)
{
    struct outcome_octets out = { .room = OUTCOME_OCTETS_MAX };

    if (w->until_ms == OUTCOME_NOT_KEPT || w->until_ms == OUTCOME_ASKED_NOBODY || w->notes.full)
        return;
    out.at = tern->alloc(call, OUTCOME_OCTETS_MAX);
    put_check(&out, w->check);
    outcome_put(&out, w->notes.at, w->notes.len);
    if (!out.full)
        outcomes_put(kept, w->key, outcomes_now_ms(), w->until_ms, dmarc_str(out.at, out.len));
}
