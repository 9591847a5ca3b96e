/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outcome.c - what came of a check, or of one before that was the same. See spf.h.
 *
 * check_host() is a function of the client's address, the domain and what DNS says, as long as no macro brings in
 * something else: local part, HELO name, receiver, the time. What a record with such a macro says is never kept,
 * whether the macro was reached or not. Neither is what DNS failed to say, nor a check that ran out of time.
 */
#include <lib/outcomes.h>

#include "spf.h"

#define tern spf_api

#define KEY_OCTETS_MAX  (SPF_NAME_OCTETS_MAX + 64)
#define NOTE_OCTETS_MAX 400

static struct outcomes *kept;
static void *hits;

int spf_outcomes_init(const struct tern_api *api)
{
    kept = outcomes_new();
    hits = api->counter("tern_spf_cache_hits_total", "Identities whose outcome was known from a check before");
    return kept != NULL ? 0 : -ENOMEM;
}

void spf_outcomes_fini(void)
{
    outcomes_free(kept);
    kept = NULL;
}

int spf_outcomes_check(struct spf_conf *c)
{
    c->realm = outcomes_realm();
    return outcomes_reserve(kept, c->cache) ? 0 : -ENOMEM;
}

static void *allocate(void *arg, size_t octets)
{
    return tern->alloc(arg, octets);
}

static tern_str lowered(tern_call *call, tern_str s)
{
    char *out = tern->alloc(call, s.len + 1);

    for (size_t i = 0; i < s.len; i++)
        out[i] = spf_lower(s.ptr[i]);
    return spf_str(out, s.len);
}

/* ---- one that is known ---- */

static void put_key(struct outcome_octets *key, const struct spf_conf *c, const struct spf_input *in)
{
    outcome_put_number(key, c->realm);
    outcome_put_number(key, (uint64_t)in->voids_max << 1 | in->explain);
    outcome_put(key, &in->client.family, sizeof(in->client.family));
    outcome_put(key, in->client.octets, sizeof(in->client.octets));
    outcome_put(key, in->domain.ptr, in->domain.len);
}

static struct spf_outcome *take(tern_call *call, tern_str octets)
{
    struct spf_outcome *o = tern->alloc(call, sizeof(*o));
    const char *at = octets.ptr;

    o->result = (enum spf_result)outcome_take_number(&at);
    o->reason = outcome_take_text(&at);
    o->asked = true; /* or it was not kept */
    o->domain = outcome_take_str(&at);
    o->where = outcome_take_str(&at);
    o->mechanism = outcome_take_str(&at);
    o->explanation = outcome_take_str(&at);
    while (at < octets.ptr + octets.len) {
        tern_str key = outcome_take_str(&at), value = outcome_take_str(&at);
        tern->note(call, key.ptr, value);
    }
    return o;
}

const struct spf_outcome *spf_outcome_known(tern_call *call, const struct spf_conf *c, struct spf_work *w)
{
    char octets[KEY_OCTETS_MAX];
    struct outcome_octets key = { .at = octets, .room = sizeof(octets) };
    tern_str found;

    w->notes = (struct outcome_octets){ .at = NULL };
    w->until_ms = OUTCOME_NOT_KEPT;
    if (c->cache == 0)
        return NULL;
    put_key(&key, c, &w->in);
    if (key.full) /* no domain that DNS could be asked for */
        return NULL;
    if (outcomes_find(kept, spf_str(key.at, key.len), outcomes_now_ms(), allocate, call, &found)) {
        tern->counter_add(hits, 1);
        return take(call, found);
    }
    w->until_ms = OUTCOME_ASKED_NOBODY;
    return NULL;
}

/* ---- one that is not ---- */

static const char *type_name(unsigned type)
{
    switch (type) {
    case TERN_DNS_A: return "A";
    case TERN_DNS_AAAA: return "AAAA";
    case TERN_DNS_MX: return "MX";
    case TERN_DNS_PTR: return "PTR";
    default: return "TXT";
    }
}

/* Of TXT the SPF record alone, if there is one. */
static tern_str answer_text(const struct spf_check *check, const struct tern_dns_answer *a, char out[NOTE_OCTETS_MAX])
{
    struct outcome_octets o = { .at = out, .room = NOTE_OCTETS_MAX - 1 };

    if (a->status != TERN_FOUND)
        return spf_str(a->error, strlen(a->error));
    for (size_t i = 0; i < a->count; i++) {
        tern_str text = a->records[i].text;
        if (check->asked == SPF_ASKED_RECORD && !spf_is_record(text))
            continue;
        text.len = strnlen(text.ptr, text.len);
        if (text.len + 2 > o.room - o.len && o.len > 0)
            break;
        if (o.len > 0)
            outcome_put(&o, ", ", 2);
        outcome_put(&o, text.ptr, text.len < o.room - o.len ? text.len : o.room - o.len);
    }
    return o.len > 0 ? spf_str(out, o.len) : TERN_STR("no SPF record");
}

static bool is_personal(const struct spf_check *check, const struct tern_dns_answer *a)
{
    bool text = check->asked == SPF_ASKED_RECORD || check->asked == SPF_ASKED_EXPLANATION;

    for (size_t i = 0; text && a->status == TERN_FOUND && i < a->count; i++)
        if (spf_macro_is_personal(a->records[i].text))
            return true;
    return false;
}

void spf_outcome_answer(tern_call *call, struct spf_work *w, const struct tern_dns_answer *a)
{
    char key[SPF_NAME_OCTETS_MAX + sizeof(" AAAA")], text[NOTE_OCTETS_MAX];
    tern_str value = answer_text(w->check, a, text);

    strcpy(stpcpy(stpcpy(key, w->check->name), " "), type_name(w->check->type));
    tern->note(call, key, value);
    outcome_until(&w->until_ms, a);
    if (is_personal(w->check, a))
        w->until_ms = OUTCOME_NOT_KEPT;
    if (w->until_ms == OUTCOME_NOT_KEPT)
        return;
    if (w->notes.at == NULL)
        w->notes = (struct outcome_octets){ .at = tern->alloc(call, OUTCOME_OCTETS_MAX), .room = OUTCOME_OCTETS_MAX };
    outcome_put_str(&w->notes, spf_str(key, strlen(key)));
    outcome_put_str(&w->notes, value);
}

static void keep(tern_call *call, const struct spf_conf *c, const struct spf_work *w, const struct spf_outcome *o)
{
    char octets[KEY_OCTETS_MAX];
    struct outcome_octets key = { .at = octets, .room = sizeof(octets) };
    struct outcome_octets out = { .at = tern->alloc(call, OUTCOME_OCTETS_MAX), .room = OUTCOME_OCTETS_MAX };

    outcome_put_number(&out, o->result);
    outcome_put_text(&out, o->reason);
    outcome_put_str(&out, o->domain);
    outcome_put_str(&out, o->where);
    outcome_put_str(&out, o->mechanism);
    outcome_put_str(&out, o->explanation);
    outcome_put(&out, w->notes.at, w->notes.len);
    put_key(&key, c, &w->in);
    if (!key.full && !out.full)
        outcomes_put(kept, spf_str(key.at, key.len), outcomes_now_ms(), w->until_ms, spf_str(out.at, out.len));
}

const struct spf_outcome *spf_outcome_new(tern_call *call, const struct spf_conf *c, const struct spf_work *w)
{
    const struct spf_check *check = w->check;
    struct spf_outcome *o = tern->alloc(call, sizeof(*o));
    char *mechanism = tern->alloc(call, check->mechanism.len + 1); /* in the record no NUL stands behind it */

    if (check->mechanism.len > 0)
        memcpy(mechanism, check->mechanism.ptr, check->mechanism.len);
    *o = (struct spf_outcome){
        .result = check->result,
        .reason = check->reason,
        .asked = check->depth > 0,
        .domain = lowered(call, check->in.domain),
        .where = spf_str(check->where, strlen(check->where)),
        .mechanism = spf_str(mechanism, check->mechanism.len),
        .explanation = spf_str(check->explanation, strlen(check->explanation)),
    };
    if (w->until_ms != OUTCOME_NOT_KEPT && w->until_ms != OUTCOME_ASKED_NOBODY && !w->notes.full)
        keep(call, c, w, o);
    return o;
}
