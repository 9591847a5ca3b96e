/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outcome.c - what came of the checks of one MAIL, or of those before that were the same. See spf.h.
 *
 * check_host() is a function of the client's address, the domain, the HELO name and what DNS says, as long as no macro
 * brings in something else: the local part, the receiver, the time. What a record with such a macro says is never kept,
 * whether the macro was reached or not. Neither is what DNS failed to say, nor a check that ran out of time.
 */
#include <lib/outcomes.h>

#include "spf.h"

#define tern spf_api

#define KEY_OCTETS_MAX  1024
#define NOTE_OCTETS_MAX 400

static struct outcomes *kept;
static void *hits;

int spf_outcomes_init(const struct tern_api *api)
{
    kept = outcomes_new();
    hits = api->counter("tern_spf_cache_hits_total", "Mails whose outcome was known from one before");
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

/* ---- those that are known ---- */

static void put_key(tern_call *call, const struct spf_conf *c, struct outcome_octets *key)
{
    const tern_address *client = tern->client_address(call);
    uint64_t options = (uint64_t)c->void_lookups << 8 | (uint64_t)c->identity << 4 | (uint64_t)c->explanation << 3 |
                       (uint64_t)(c->fail == SPF_REFUSE) << 2 | (uint64_t)(c->helo_fail == SPF_REFUSE) << 1;

    outcome_put_number(key, c->realm);
    outcome_put_number(key, options | tern->is_smtputf8(call));
    outcome_put(key, &client->family, sizeof(client->family));
    outcome_put(key, client->octets, sizeof(client->octets));
    outcome_put_str(key, tern->helo_name(call));
    outcome_put_str(key, tern->sender_original(call)->domain);
}

static void put_outcome(struct outcome_octets *out, const struct spf_outcome *o)
{
    outcome_put_number(out, o != NULL);
    if (o == NULL)
        return;
    outcome_put_number(out, o->result);
    outcome_put_text(out, o->reason);
    outcome_put_number(out, o->asked);
    outcome_put_str(out, o->domain);
    outcome_put_str(out, o->where);
    outcome_put_str(out, o->mechanism);
    outcome_put_str(out, o->explanation);
}

static const struct spf_outcome *take_outcome(tern_call *call, const char **at)
{
    if (outcome_take_number(at) == 0)
        return NULL;
    struct spf_outcome *o = tern->alloc(call, sizeof(*o));
    o->result = (enum spf_result)outcome_take_number(at);
    o->reason = outcome_take_text(at);
    o->asked = outcome_take_number(at) != 0;
    o->domain = outcome_take_str(at);
    o->where = outcome_take_str(at);
    o->mechanism = outcome_take_str(at);
    o->explanation = outcome_take_str(at);
    return o;
}

bool spf_known(tern_call *call, const struct spf_conf *c, struct spf_work *w)
{
    char octets[KEY_OCTETS_MAX];
    struct outcome_octets key = { .at = octets, .room = sizeof(octets) };
    tern_str found;

    w->until_ms = OUTCOME_NOT_KEPT;
    if (c->cache == 0)
        return false;
    put_key(call, c, &key);
    if (key.full) /* no HELO name that DNS could be asked for */
        return false;
    w->until_ms = OUTCOME_ASKED_NOBODY;
    if (!outcomes_find(kept, spf_str(key.at, key.len), outcomes_now_ms(), allocate, call, &found))
        return false;
    const char *at = found.ptr;
    w->helo = take_outcome(call, &at);
    w->mail = take_outcome(call, &at);
    w->detail = outcome_take_str(&at);
    while (at < found.ptr + found.len) {
        tern_str name = outcome_take_str(&at), value = outcome_take_str(&at);
        tern->note(call, name.ptr, value);
    }
    tern->counter_add(hits, 1);
    return true;
}

/* ---- those that are not ---- */

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

const struct spf_outcome *spf_outcome_new(tern_call *call, const struct spf_check *check)
{
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
    return o;
}

void spf_keep(tern_call *call, const struct spf_conf *c, const struct spf_work *w)
{
    char octets[KEY_OCTETS_MAX];
    struct outcome_octets key = { .at = octets, .room = sizeof(octets) }, out = { .room = OUTCOME_OCTETS_MAX };

    if (w->until_ms == OUTCOME_NOT_KEPT || w->until_ms == OUTCOME_ASKED_NOBODY || w->notes.full)
        return;
    out.at = tern->alloc(call, OUTCOME_OCTETS_MAX);
    put_outcome(&out, w->helo);
    put_outcome(&out, w->mail);
    outcome_put_str(&out, w->detail);
    outcome_put(&out, w->notes.at, w->notes.len);
    put_key(call, c, &key);
    if (!key.full && !out.full)
        outcomes_put(kept, spf_str(key.at, key.len), outcomes_now_ms(), w->until_ms, spf_str(out.at, out.len));
}
