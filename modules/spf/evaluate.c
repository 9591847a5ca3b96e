/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evaluate.c - check_host(): term by term, one question at a time. See check.h. Source: RFC 7208 4 to 6.
 *
 * An include is a frame on a small stack, redirect= changes the domain of the frame; so hostile records are no
 * recursion.
 */
#include <assert.h>

#include "evaluate.h"

static tern_str str(const char *s)
{
    return spf_str(s, strlen(s));
}

static void copy_name(char out[SPF_NAME_OCTETS_MAX + 1], tern_str name)
{
    for (size_t i = 0; i < name.len; i++)
        out[i] = spf_lower(name.ptr[i]);
    out[name.len] = '\0';
}

static struct spf_frame *top(struct spf_check *c)
{
    return &c->frames[c->depth - 1];
}

enum outcome spf_end(struct spf_check *c, enum spf_result result, const char *reason)
{
    c->result = result;
    c->reason = reason;
    c->mechanism = spf_str("", 0);
    copy_name(c->where, str(result == SPF_TEMPERROR ? c->name : top(c)->domain));
    return ENDED;
}

enum outcome spf_ask(struct spf_check *c, enum spf_asked asked, const char *name, unsigned type)
{
    if (name != c->name)
        copy_name(c->name, str(name));
    c->asked = asked;
    c->type = type;
    return ASKED;
}

unsigned spf_address_type(const struct spf_check *c)
{
    return c->in.client.family == 4 ? TERN_DNS_A : TERN_DNS_AAAA;
}

bool spf_count_term(struct spf_check *c)
{
    return ++c->terms <= SPF_TERMS_MAX;
}

bool spf_count_void(struct spf_check *c, const struct tern_dns_answer *a)
{
    return a->status != TERN_ABSENT || ++c->voids <= c->in.voids_max;
}

/* ---- macros ---- */

static struct spf_macros macros(const struct spf_check *c, const struct spf_frame *f)
{
    return (struct spf_macros){
        .local = c->in.local,
        .sender_domain = c->in.sender_domain,
        .domain = str(f->domain),
        .helo = c->in.helo,
        .receiver = c->in.receiver,
        .client_name = f->client_name != NULL ? str(f->client_name) : TERN_STR("unknown"),
        .client = c->in.client,
        .now_s = c->in.now_s,
    };
}

static bool lacks_client_name(const struct spf_frame *f, tern_str text)
{
    return f->client_name == NULL && spf_macro_uses_name(text);
}

/* ---- the end of a record ---- */

static enum outcome explain_text(struct spf_check *c)
{
    struct spf_frame *f = top(c);

    if (lacks_client_name(f, c->explain))
        return spf_find_client_name(c, SPF_FOR_EXP_TEXT);
    struct spf_macros m = macros(c, f);
    struct spf_text out = { .at = c->explanation, .room = SPF_EXPLANATION_OCTETS_MAX };
    spf_macro_expand(c->explain, &m, &out);
    for (size_t i = 0; i < out.len; i++) /* what a sender or HELO brought along */
        if (c->explanation[i] < ' ' || c->explanation[i] > '~')
            c->explanation[i] = '?';
    c->explanation[out.len] = '\0';
    return ENDED;
}

/* 6.2: whatever is wrong with it, the result stands. */
static enum outcome explain_name(struct spf_check *c)
{
    struct spf_frame *f = top(c);

    if (lacks_client_name(f, f->record.exp))
        return spf_find_client_name(c, SPF_FOR_EXP_NAME);
    struct spf_macros m = macros(c, f);
    if (!spf_macro_expand_name(f->record.exp, &m, c->name))
        return ENDED;
    return spf_ask(c, SPF_ASKED_EXPLANATION, c->name, TERN_DNS_TXT);
}

static tern_str keep(struct spf_check *c, tern_str text)
{
    char *copy = c->in.alloc(c->in.arg, text.len + 1);

    memcpy(copy, text.ptr, text.len);
    return spf_str(copy, text.len);
}

static enum outcome on_explanation(struct spf_check *c, const struct tern_dns_answer *a)
{
    if (a->status != TERN_FOUND || a->count != 1)
        return ENDED;
    tern_str text = a->records[0].text;
    if (text.len > SPF_EXPLAIN_OCTETS_MAX || !spf_macro_is_valid(text, true))
        return ENDED;
    c->explain = keep(c, text);
    return explain_text(c);
}

/* The record in question has come to `result`. */
static enum outcome leave(struct spf_check *c, enum spf_result result)
{
    if (c->depth > 1) { /* 5.2: an include matches on pass alone */
        c->depth--;
        return result == SPF_PASS ? MATCHED : GO_ON;
    }
    c->result = result;
    if (result != SPF_FAIL || !c->in.explain || top(c)->record.exp.len == 0)
        return ENDED;
    return explain_name(c);
}

/* ---- directives ---- */

static bool is_in_network(const struct spf_check *c, const struct spf_term *t, const tern_address *network)
{
    return address_within(&c->in.client, network, network->family == 4 ? t->bits4 : t->bits6);
}

static bool has_address(const struct spf_check *c, const struct tern_dns_answer *a)
{
    const struct spf_term *t = &c->frames[c->depth - 1].term;

    for (size_t i = 0; a->status == TERN_FOUND && i < a->count; i++) {
        tern_address address;
        if (address_parse(a->records[i].text, c->in.client.family, &address) && is_in_network(c, t, &address))
            return true;
    }
    return false;
}

static enum outcome include(struct spf_check *c)
{
    assert(c->depth < SPF_FRAMES_MAX); /* each has cost a term */
    struct spf_frame *f = &c->frames[c->depth++];
    *f = (struct spf_frame){ .redirected = false };
    copy_name(f->domain, str(c->target));
    return spf_ask(c, SPF_ASKED_RECORD, f->domain, TERN_DNS_TXT);
}

static bool is_ascii(tern_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] >= 0x80)
            return false;
    return true;
}

static enum outcome start_lookup(struct spf_check *c)
{
    struct spf_frame *f = top(c);
    struct spf_macros m = macros(c, f);

    if (!spf_count_term(c))
        return spf_end(c, SPF_PERMERROR, "more than 10 terms that ask DNS");
    /* RFC 8616 4: not with a local part beyond ASCII, written in whichever way. */
    if (!is_ascii(c->in.local) && spf_macro_uses_local(f->term.spec))
        return GO_ON;
    if (f->term.spec.len == 0)
        copy_name(c->target, m.domain);
    else if (!spf_macro_expand_name(f->term.spec, &m, c->target)) /* 4.8: no such name can be there */
        return f->term.kind == SPF_INCLUDE ? spf_end(c, SPF_PERMERROR, "include: names no domain") : GO_ON;
    switch (f->term.kind) {
    case SPF_INCLUDE: return include(c);
    case SPF_A: return spf_ask(c, SPF_ASKED_ADDRESS, c->target, spf_address_type(c));
    case SPF_MX: return spf_ask(c, SPF_ASKED_MX, c->target, TERN_DNS_MX);
    case SPF_EXISTS: return spf_ask(c, SPF_ASKED_EXISTS, c->target, TERN_DNS_A); /* for IPv6 clients, too: 5.7 */
    default: return spf_find_client_name(c, SPF_FOR_PTR);
    }
}

static enum outcome start_term(struct spf_check *c)
{
    struct spf_frame *f = top(c);

    switch (f->term.kind) {
    case SPF_ALL: return MATCHED;
    case SPF_IP4:
    case SPF_IP6: return is_in_network(c, &f->term, &f->term.network) ? MATCHED : GO_ON;
    default: break;
    }
    if (lacks_client_name(f, f->term.spec))
        return spf_find_client_name(c, SPF_FOR_TERM);
    return start_lookup(c);
}

static enum outcome start_redirect(struct spf_check *c)
{
    struct spf_frame *f = top(c);
    struct spf_macros m = macros(c, f);

    if (lacks_client_name(f, f->record.redirect))
        return spf_find_client_name(c, SPF_FOR_REDIRECT);
    if (!spf_count_term(c))
        return spf_end(c, SPF_PERMERROR, "more than 10 terms that ask DNS");
    if (!spf_macro_expand_name(f->record.redirect, &m, c->target))
        return spf_end(c, SPF_PERMERROR, "redirect= names no domain");
    copy_name(f->domain, str(c->target));
    f->redirected = true;
    f->client_name = NULL;
    return spf_ask(c, SPF_ASKED_RECORD, f->domain, TERN_DNS_TXT);
}

static enum outcome next(struct spf_check *c)
{
    struct spf_frame *f = top(c);

    if (spf_directive_next(&f->rest, &f->term))
        return start_term(c);
    if (f->record.redirect.len > 0)
        return start_redirect(c);
    if (c->depth == 1)
        c->mechanism = spf_str("", 0);
    return leave(c, SPF_NEUTRAL);
}

enum outcome spf_client_name_found(struct spf_check *c, const char *name)
{
    if (c->purpose == SPF_FOR_PTR)
        return name != NULL ? MATCHED : GO_ON;
    top(c)->client_name = name != NULL ? name : "unknown";
    switch (c->purpose) {
    case SPF_FOR_REDIRECT: return start_redirect(c);
    case SPF_FOR_EXP_NAME: return explain_name(c);
    case SPF_FOR_EXP_TEXT: return explain_text(c);
    default: return start_lookup(c);
    }
}

/* ---- answers ---- */

static enum outcome no_record(struct spf_check *c)
{
    if (c->depth > 1)
        return spf_end(c, SPF_PERMERROR, "include: names a domain without an SPF record");
    if (top(c)->redirected)
        return spf_end(c, SPF_PERMERROR, "redirect= names a domain without an SPF record");
    return spf_end(c, SPF_NONE, NULL);
}

static enum outcome on_record(struct spf_check *c, const struct tern_dns_answer *a)
{
    struct spf_frame *f = top(c);
    const struct tern_dns_record *found = NULL;

    if (a->status == TERN_FAILED)
        return spf_end(c, SPF_TEMPERROR, "DNS did not answer");
    for (size_t i = 0; a->status == TERN_FOUND && i < a->count; i++) {
        if (!spf_is_record(a->records[i].text))
            continue;
        if (found != NULL)
            return spf_end(c, SPF_PERMERROR, "there are several SPF records");
        found = &a->records[i];
    }
    if (found == NULL)
        return no_record(c);
    if (found->text.len > SPF_RECORD_OCTETS_MAX)
        return spf_end(c, SPF_PERMERROR, "the record is too long");
    tern_str text = keep(c, found->text);
    const char *wrong = spf_record_parse(text, &f->record);
    if (wrong != NULL)
        return spf_end(c, SPF_PERMERROR, wrong);
    f->rest = f->record.terms;
    return GO_ON;
}

static enum outcome next_mx(struct spf_check *c)
{
    if (c->mx_next == c->mx_count)
        return GO_ON;
    return spf_ask(c, SPF_ASKED_MX_ADDRESS, c->mx[c->mx_next++], spf_address_type(c));
}

static enum outcome on_mx(struct spf_check *c, const struct tern_dns_answer *a)
{
    c->mx_count = c->mx_next = 0;
    if (a->status == TERN_FOUND && a->count > SPF_MX_MAX)
        return spf_end(c, SPF_PERMERROR, "mx: a domain with more than 10 MX names");
    for (size_t i = 0; a->status == TERN_FOUND && i < a->count; i++)
        if (address_name_is_valid(a->records[i].text)) /* the null MX is none */
            copy_name(c->mx[c->mx_count++], a->records[i].text);
    return next_mx(c);
}

static enum outcome on_lookup(struct spf_check *c, const struct tern_dns_answer *a)
{
    if (a->status == TERN_FAILED)
        return spf_end(c, SPF_TEMPERROR, "DNS did not answer");
    /* 4.6.4 counts terms: an MX without an address of the client's kind makes none void. */
    if (c->asked != SPF_ASKED_MX_ADDRESS && !spf_count_void(c, a))
        return spf_end(c, SPF_PERMERROR, "too many terms that DNS has nothing for");
    switch (c->asked) {
    case SPF_ASKED_MX: return on_mx(c, a);
    case SPF_ASKED_EXISTS: return a->status == TERN_FOUND && a->count > 0 ? MATCHED : GO_ON;
    case SPF_ASKED_MX_ADDRESS: return has_address(c, a) ? MATCHED : next_mx(c);
    default: return has_address(c, a) ? MATCHED : GO_ON;
    }
}

/* Drives on until there is a question, or the end. */
static bool drive(struct spf_check *c, enum outcome o)
{
    for (;;) {
        switch (o) {
        case ASKED: return true;
        case ENDED: return false;
        case GO_ON: o = next(c); break;
        case MATCHED:
            c->mechanism = top(c)->term.text;
            o = leave(c, top(c)->term.qualifier);
            break;
        }
    }
}

bool spf_start(struct spf_check *c, const struct spf_input *in)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    tern_address *client = &c->in.client;
    tern_str domain = in->domain;

    c->in = *in;
    if (client->family == 6 && memcmp(client->octets, mapped, sizeof(mapped)) == 0) {
        memmove(client->octets, client->octets + 12, 4);
        client->family = 4;
    }
    if (c->in.local.len == 0)
        c->in.local = TERN_STR("postmaster");
    if (domain.len > 0 && domain.ptr[domain.len - 1] == '.')
        domain.len--;
    if (!spf_domain_is_valid(domain))
        return false; /* none: 4.3 */
    c->depth = 1;
    copy_name(c->frames[0].domain, domain);
    return drive(c, spf_ask(c, SPF_ASKED_RECORD, c->frames[0].domain, TERN_DNS_TXT));
}

bool spf_answer(struct spf_check *c, const struct tern_dns_answer *answer)
{
    switch (c->asked) {
    case SPF_ASKED_RECORD: return drive(c, on_record(c, answer));
    case SPF_ASKED_PTR: return drive(c, spf_on_ptr(c, answer));
    case SPF_ASKED_PTR_ADDRESS: return drive(c, spf_on_ptr_address(c, answer));
    case SPF_ASKED_EXPLANATION: return drive(c, on_explanation(c, answer));
    default: return drive(c, on_lookup(c, answer));
    }
}
