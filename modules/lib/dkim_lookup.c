/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_lookup.c - from a signature to its key. See dkim_lookup.h. Source: RFC 6376 3.6.2, 6.1.2.
 */
#include "dkim_lookup.h"

#include <string.h>

void dkim_lookup_init(const struct tern_api *api, tern_call *call, const struct dkim_signature *s,
                      struct dkim_lookup *ret)
{
    static const char between[] = "._domainkey.";
    size_t octets = s->selector.len + sizeof(between) - 1 + s->domain.len;
    char *name = api->alloc(call, octets + 1), *at = name;

    memcpy(at, s->selector.ptr, s->selector.len);
    at += s->selector.len;
    memcpy(at, between, sizeof(between) - 1);
    memcpy(at + sizeof(between) - 1, s->domain.ptr, s->domain.len);
    *ret = (struct dkim_lookup){ .name = name };
    if (octets > DKIM_NAME_OCTETS_MAX)
        ret->trouble = "selector and domain are too long";
}

static void keep(const struct tern_api *api, tern_call *call, struct dkim_lookup *lookup,
                 const struct tern_dns_answer *answer)
{
    lookup->records = api->alloc(call, DKIM_LOOKUP_RECORDS_MAX * sizeof(lookup->records[0]));
    for (size_t i = 0; i < answer->count && lookup->record_count < DKIM_LOOKUP_RECORDS_MAX; i++) {
        tern_str text = answer->records[i].text;
        if (text.len > DKIM_RECORD_OCTETS_MAX)
            continue;
        char *copy = api->alloc(call, text.len + 1);
        memcpy(copy, text.ptr, text.len);
        lookup->records[lookup->record_count++] = dkim_str(copy, text.len);
    }
    if (lookup->record_count == 0)
        lookup->trouble = "the key record is too long";
    else
        api->note(call, lookup->name, lookup->records[0]);
}

void dkim_lookup_answer(const struct tern_api *api, tern_call *call, struct dkim_lookup *lookup,
                        const struct tern_dns_answer *answer)
{
    if (answer->status == TERN_FOUND && answer->count > 0) {
        keep(api, call, lookup, answer);
        return;
    }
    lookup->temporary = answer->status == TERN_FAILED;
    lookup->trouble = lookup->temporary ? "DNS did not answer" : "there is no key";
    api->note(call, lookup->name, lookup->temporary ? dkim_str(answer->error, strlen(answer->error))
                                                    : TERN_STR("no TXT record"));
}

uint64_t dkim_lookup_work(const struct dkim_lookup *lookup)
{
    uint64_t longest = 0;

    for (unsigned i = 0; i < lookup->record_count; i++)
        longest = lookup->records[i].len > longest ? lookup->records[i].len : longest;
    return longest * longest;
}

/* NULL: it may be used for this signature. */
static const char *record_trouble(const struct dkim_record *r, const struct dkim_signature *s)
{
    if (r->revoked)
        return "the key is revoked";
    if (r->ed25519 != (s->algorithm == DKIM_ED25519_SHA256))
        return "the key is for another algorithm";
    if (!r->sha256)
        return "the key is not for sha256";
    if (!r->email)
        return "the key is not for mail";
    if (r->strict && !dkim_equal_nocase(s->identity_domain, s->domain))
        return "the key is not for subdomains";
    return NULL;
}

static const char *key_of(tern_str text, const struct dkim_signature *s, struct dkim_keys *keys,
                          struct dkim_key **ret, bool *ret_testing)
{
    struct dkim_record record;
    struct dkim_key *key = dkim_keys_find(keys, text, &record);
    const char *wrong = key != NULL ? NULL : dkim_record_parse(text, &record);

    if (wrong == NULL)
        wrong = record_trouble(&record, s);
    if (wrong == NULL && key == NULL)
        wrong = dkim_keys_make(keys, text, &record, &key);
    if (wrong != NULL) {
        dkim_key_unref(key);
        return wrong;
    }
    *ret = key;
    *ret_testing = record.testing;
    return NULL;
}

const char *dkim_lookup_key(const struct dkim_lookup *lookup, const struct dkim_signature *s, struct dkim_keys *keys,
                            struct dkim_key **ret, bool *ret_testing)
{
    const char *trouble = lookup->trouble;

    for (unsigned i = 0; i < lookup->record_count; i++) {
        const char *wrong = key_of(lookup->records[i], s, keys, ret, ret_testing);
        if (wrong == NULL)
            return NULL;
        if (trouble == NULL)
            trouble = wrong;
    }
    return trouble != NULL ? trouble : "there is no key";
}
