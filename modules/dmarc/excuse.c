/* SPDX-License-Identifier: Apache-2.0 */
/*
 * excuse.c - why a message that fails is not treated as its domain asks. See dmarc.h. Source: RFC 9989 5.4, 7.4,
 * RFC 9990 (names of reasons), RFC 8617 7.2.
 */
#include <sys/random.h>

#include "dmarc.h"

#define tern dmarc_api

const char *dmarc_override_name(enum dmarc_override override)
{
    static const char *const names[] = { "", "local_policy", "mailing_list", "policy_test_mode", "trusted_forwarder",
                                         "sampled_out" };

    return names[override];
}

static void add(struct dmarc_work *w, const struct tern_table *table, tern_str key, enum dmarc_override override,
                const char *name)
{
    if (tern->table_empty(table) || key.len == 0 || w->excuse_count == DMARC_QUESTIONS_OF_TABLES_MAX)
        return;
    w->excuses[w->excuse_count++] = (struct dmarc_excuse){ table, key, override, name };
}

/* Lists are known by what they prove: a domain that passes SPF or DKIM. A List-Id is anybody's. */
void dmarc_excuses(tern_call *call, const struct dmarc_conf *c, struct dmarc_work *w)
{
    const struct dmarc_check *check = w->check;

    add(w, c->forwarders, tern->client_address_text(call), DMARC_OVERRIDE_TRUSTED_FORWARDER, "forwarders");
    add(w, c->domains, check->in.author, DMARC_OVERRIDE_LOCAL_POLICY, "domains");
    if (check->policy_seen != NULL && check->policy_seen->domain.len != check->in.author.len)
        add(w, c->domains, check->policy_seen->domain, DMARC_OVERRIDE_LOCAL_POLICY, "domains");
    for (unsigned i = 0; i < check->in.identifier_count; i++)
        if (!check->in.identifiers[i].unknown)
            add(w, c->lists, check->in.identifiers[i].domain, DMARC_OVERRIDE_MAILING_LIST, "lists");
}

static void excuse(struct dmarc_work *w, enum dmarc_override override, tern_str comment,
                   enum dmarc_policy disposition)
{
    w->override = override;
    w->comment = comment;
    if (w->disposition > disposition)
        w->disposition = disposition;
}

static bool is_sampled_out(unsigned pct)
{
    unsigned n = 0;

    if (pct >= 100 || getrandom(&n, sizeof(n), 0) != sizeof(n))
        return false;
    return n % 100 >= pct;
}

static bool says(tern_call *call, const char *result, const char *word)
{
    tern_str s = tern->result(call, result);

    return s.len == strlen(word) && memcmp(s.ptr, word, s.len) == 0;
}

/* Sealers that are all believed, the first of whom saw DMARC pass before anybody changed the message. */
static bool has_trusted_arc(tern_call *call)
{
    return says(call, "arc", "pass") && says(call, "arc_trusted", "yes") && says(call, "arc_dmarc", "pass");
}

/* In the form of RFC 8617 7.2.2: arc=pass as[1].d=... */
static tern_str arc_comment(tern_call *call)
{
    tern_str domains = tern->result(call, "arc_domains"), text = TERN_STR("arc=pass");

    for (unsigned i = 1; domains.len > 0; i++) {
        const char *blank = memchr(domains.ptr, ' ', domains.len);
        size_t len = blank != NULL ? (size_t)(blank - domains.ptr) : domains.len;
        text = tern->format(call, "%s as[%u].d=%.*s", text.ptr, i, (int)len, domains.ptr);
        len += blank != NULL;
        domains = dmarc_str(domains.ptr + len, domains.len - len);
    }
    return text;
}

/* Behind the tables, which have the say where they know the message. */
void dmarc_settle(tern_call *call, const struct dmarc_conf *c, struct dmarc_work *w)
{
    const struct dmarc_check *check = w->check;
    enum dmarc_policy list_id = c->list_id == DMARC_LIST_ID_NONE ? DMARC_NONE : DMARC_QUARANTINE;

    if (w->override != DMARC_OVERRIDE_NONE)
        excuse(w, w->override, w->comment, DMARC_NONE);
    else if (tern->has_tag(call, "spf_exempt"))
        excuse(w, DMARC_OVERRIDE_TRUSTED_FORWARDER, TERN_STR("SPF does not look at this client"), DMARC_NONE);
    else if (c->arc && has_trusted_arc(call))
        excuse(w, DMARC_OVERRIDE_LOCAL_POLICY, arc_comment(call), DMARC_NONE);
    else if (c->list_id != DMARC_LIST_ID_ENFORCE && dmarc_has_list_id(call))
        excuse(w, DMARC_OVERRIDE_MAILING_LIST, TERN_STR("List-Id"), list_id);
    else if (c->compat == DMARC_RFC7489 && is_sampled_out(check->policy_seen->record.pct))
        excuse(w, DMARC_OVERRIDE_SAMPLED_OUT, TERN_STR(""), (enum dmarc_policy)(w->disposition - 1));
    else if (check->asked != check->policy)
        excuse(w, DMARC_OVERRIDE_TEST_MODE, TERN_STR(""), check->asked);
    if (w->disposition == DMARC_REJECT && !c->enforce)
        excuse(w, DMARC_OVERRIDE_LOCAL_POLICY, TERN_STR("rejecting is not enforced here"), DMARC_QUARANTINE);
    if (w->disposition == DMARC_QUARANTINE && c->header.len == 0 &&
        (!c->enforce || c->quarantine == DMARC_QUARANTINE_NONE))
        excuse(w, w->override != DMARC_OVERRIDE_NONE ? w->override : DMARC_OVERRIDE_LOCAL_POLICY, w->comment,
               DMARC_NONE);
}
