/* SPDX-License-Identifier: Apache-2.0 */
/*
 * domains - says which recipients are ours to take, and for whom.
 *
 * Claims recipients in local domains (class local), in relay domains (class relay), and any
 * recipient of one's own clients (class client). Whatever nobody claims the core refuses with
 * 550 5.7.1, so that no configuration of this module makes an open relay: without
 * options it claims nothing.
 *
 * What a step in front has claimed as `forward` goes elsewhere, whatever its address was: no mailbox of that name need
 * be here.
 *
 * The order: local, relay, networks. A client of ours who mails a mailbox of ours that does
 * not exist hears so now (550 5.1.1), not by a bounce later.
 *
 * VRFY, where the listener asks: yes or no where a table of mailboxes knows, and nothing else. What any address
 * of a domain matches was not verified, so that it is left to the next step, or 252 (3.5.3).
 *
 * Sources: RFC 5321 4.5.1 (postmaster), 3.3 (550 for unknown mailboxes), 3.5 (VRFY), RFC 5233 (user+detail).
 */
#include <tern/module.h>

#include <string.h>

#define KEY_OCTETS_MAX 520

static const struct tern_api *tern;

struct domains_conf {
    const struct tern_table *local, *relay;
    const struct tern_table *recipients, *relay_recipients;
    const struct tern_cidrs *networks;
    tern_str delimiter, postmaster;
};

/* Where the look-ups for one recipient stand; a table may answer later. */
enum stage { LOCAL_DOMAIN, LOCAL_USER, LOCAL_BASE, LOCAL_ANY, RELAY_DOMAIN, RELAY_USER, RELAY_ANY, NETWORK };

struct work {
    enum stage stage;
    char key[KEY_OCTETS_MAX];
};

static const struct tern_mailbox *mailbox(const tern_call *call)
{
    const struct tern_vrfy *vrfy = tern->vrfy(call);

    return vrfy != NULL ? &vrfy->mailbox : &tern->current_rcpt(call)->mailbox;
}

static bool equal_nocase(tern_str a, const char *b)
{
    if (a.len != strlen(b))
        return false;
    for (size_t i = 0; i < a.len; i++)
        if ((a.ptr[i] | 32) != b[i])
            return false;
    return true;
}

/* local@domain, the local part cut to `local_len`; "" if it does not fit (then it is in no table). */
static tern_str make_key(struct work *w, tern_str local, size_t local_len, tern_str domain)
{
    if (local_len + domain.len + 2 > sizeof(w->key))
        return TERN_STR("");
    memcpy(w->key, local.ptr, local_len);
    w->key[local_len] = '@';
    memcpy(w->key + local_len + 1, domain.ptr, domain.len);
    w->key[local_len + 1 + domain.len] = '\0';
    return (tern_str){ w->key, local_len + 1 + domain.len };
}

/* Octets of the local part before the first delimiter; all of it if there is none, or it begins with one. */
static size_t base_len(const struct domains_conf *c, tern_str local)
{
    for (size_t i = 1; i < local.len; i++)
        if (c->delimiter.len > 0 && memchr(c->delimiter.ptr, local.ptr[i], c->delimiter.len) != NULL)
            return i;
    return local.len;
}

static tern_verdict advance(tern_call *call, const struct domains_conf *c, struct work *w);

static tern_verdict unknown(tern_call *call)
{
    return tern->reply(call, TERN_REJECT, 550, "5.1.1", "<%s>: there is no such mailbox here",
                       mailbox(call)->address.ptr);
}

/* At vrfy: that is one. */
static tern_verdict confirm(tern_call *call)
{
    return tern->reply(call, TERN_ACCEPT, 250, "2.1.5", "<%s>", mailbox(call)->address.ptr);
}

static tern_verdict claim(tern_call *call, enum tern_class class_)
{
    if (tern->vrfy(call) != NULL)
        return confirm(call);
    return tern->claim(call, class_) == 0 ? TERN_NEXT : TERN_ERROR;
}

/* Postmaster of a local domain is always there (RFC 5321 4.5.1); where he lives may be said. */
static tern_verdict claim_local(tern_call *call, const struct domains_conf *c)
{
    if (c->postmaster.len > 0 && tern->vrfy(call) == NULL && equal_nocase(mailbox(call)->local, "postmaster") &&
        tern->rewrite_rcpt(call, c->postmaster) < 0)
        return TERN_ERROR;
    return claim(call, TERN_CLASS_LOCAL);
}

static bool is_own_client(const tern_call *call, const struct domains_conf *c)
{
    return c->networks != NULL && tern->cidrs_match(c->networks, tern->client_address(call));
}

/* user%host@us, host!user@us, "user@host"@us: a server behind us that follows it trusts us, and so an open relay. */
static bool is_routed(tern_str local)
{
    return memchr(local.ptr, '%', local.len) != NULL || memchr(local.ptr, '!', local.len) != NULL ||
           memchr(local.ptr, '@', local.len) != NULL;
}

/* Any mailbox of the domain. Our own notices have no client: whoever wrote to us is answered. */
static tern_verdict claim_any(tern_call *call, const struct domains_conf *c, enum tern_class class_)
{
    const struct tern_address *client = tern->client_address(call);

    if (tern->vrfy(call) != NULL)
        return TERN_NEXT;
    if (client != NULL && client->family != 0 && is_routed(mailbox(call)->local) && !is_own_client(call, c))
        return tern->reply(call, TERN_REJECT, 550, "5.7.1", "<%s>: no way to elsewhere by an address of this domain",
                           mailbox(call)->address.ptr);
    return class_ == TERN_CLASS_LOCAL ? claim_local(call, c) : claim(call, class_);
}

static tern_verdict on_network(tern_call *call, const struct domains_conf *c)
{
    if (tern->vrfy(call) == NULL && is_own_client(call, c))
        return claim(call, TERN_CLASS_CLIENT);
    return TERN_NEXT;
}

/* The table and key of a stage; NULL: there is nothing to ask. */
static const struct tern_table *question(const tern_call *call, const struct domains_conf *c, struct work *w,
                                         tern_str *key)
{
    const struct tern_mailbox *m = mailbox(call);

    switch (w->stage) {
    case LOCAL_DOMAIN: *key = m->domain; return c->local;
    case LOCAL_USER: *key = make_key(w, m->local, m->local.len, m->domain); return c->recipients;
    case LOCAL_BASE: *key = make_key(w, m->local, base_len(c, m->local), m->domain); return c->recipients;
    case LOCAL_ANY: *key = make_key(w, m->local, 0, m->domain); return c->recipients;
    case RELAY_DOMAIN: *key = m->domain; return c->relay;
    case RELAY_USER: *key = make_key(w, m->local, m->local.len, m->domain); return c->relay_recipients;
    case RELAY_ANY: *key = make_key(w, m->local, 0, m->domain); return c->relay_recipients;
    case NETWORK: break;
    }
    return NULL;
}

static const char *asked_option(unsigned stage)
{
    switch (stage) {
    case LOCAL_DOMAIN: return "local";
    case RELAY_DOMAIN: return "relay";
    case RELAY_USER:
    case RELAY_ANY: return "relay_recipients";
    default: return "recipients";
    }
}

static tern_verdict found(tern_call *call, const struct domains_conf *c, struct work *w)
{
    /* A list that is empty now is one, and nobody stands in it. */
    bool all = (w->stage == LOCAL_DOMAIN ? c->recipients : c->relay_recipients) == NULL;

    switch (w->stage) {
    case LOCAL_DOMAIN:
        if (tern->vrfy(call) != NULL && equal_nocase(mailbox(call)->local, "postmaster"))
            return confirm(call);
        if (all || equal_nocase(mailbox(call)->local, "postmaster"))
            return claim_any(call, c, TERN_CLASS_LOCAL);
        w->stage = LOCAL_USER;
        return advance(call, c, w);
    case RELAY_DOMAIN:
        if (all)
            return claim_any(call, c, TERN_CLASS_RELAY);
        w->stage = RELAY_USER;
        return advance(call, c, w);
    case RELAY_USER: return claim(call, TERN_CLASS_RELAY);
    case RELAY_ANY: return claim_any(call, c, TERN_CLASS_RELAY);
    case LOCAL_ANY: return claim_any(call, c, TERN_CLASS_LOCAL);
    default: return claim_local(call, c);
    }
}

static tern_verdict absent(tern_call *call, const struct domains_conf *c, struct work *w)
{
    switch (w->stage) {
    case LOCAL_DOMAIN: w->stage = RELAY_DOMAIN; break;
    case LOCAL_USER: w->stage = LOCAL_BASE; break;
    case LOCAL_BASE: w->stage = LOCAL_ANY; break;
    case RELAY_DOMAIN: w->stage = NETWORK; break;
    case RELAY_USER: w->stage = RELAY_ANY; break;
    default: return unknown(call);
    }
    return advance(call, c, w);
}

static tern_verdict answered(tern_call *call, const struct domains_conf *c, struct work *w, unsigned status)
{
    if (status == TERN_FOUND)
        return found(call, c, w);
    if (status == TERN_ABSENT)
        return absent(call, c, w);
    return tern->fail(call, "the table of %s did not answer", asked_option(w->stage)); /* never "no such mailbox" */
}

static void on_answer(tern_call *call, const void *conf, const struct tern_table_answer *answer)
{
    tern_verdict v = answered(call, conf, *tern->slot(call), answer->status);

    if (v != TERN_WAIT)
        tern->complete(call, v);
}

/* Each stage leads to a later one, so this ends after at most eight look-ups. */
static tern_verdict advance(tern_call *call, const struct domains_conf *c, struct work *w)
{
    struct tern_table_answer answer = { .status = TERN_ABSENT };
    tern_str key = { "", 0 };

    if (w->stage == NETWORK)
        return on_network(call, c);
    const struct tern_table *table = question(call, c, w, &key);
    if (table == NULL)
        return absent(call, c, w);
    if (tern->table_peek(call, table, key, &answer) == 0)
        return answered(call, c, w, answer.status);
    return tern->table_find(call, table, key, on_answer);
}

/* <postmaster> without a domain is for this host (RFC 5321 2.3.5, 4.1.1.3). */
static tern_verdict bare_postmaster(tern_call *call, const struct domains_conf *c)
{
    tern_str to = c->postmaster.len > 0
                      ? c->postmaster
                      : tern->format(call, "postmaster@%s", tern->hostname().ptr);

    if (tern->rewrite_rcpt(call, to) < 0)
        return TERN_ERROR;
    return claim(call, TERN_CLASS_LOCAL);
}

static tern_verdict on_rcpt(tern_call *call, const void *conf)
{
    struct work *w = tern->alloc(call, sizeof(*w));

    if (tern->current_rcpt(call)->class_ == TERN_CLASS_FORWARD)
        return TERN_NEXT;
    if (mailbox(call)->domain.len == 0)
        return bare_postmaster(call, conf);
    *tern->slot(call) = w;
    return advance(call, conf, w);
}

/* <postmaster> without a domain is one that is always there; other names without one are in no table. */
static tern_verdict on_vrfy(tern_call *call, const void *conf)
{
    const struct tern_vrfy *asked = tern->vrfy(call);

    if (asked->expand || asked->mailbox.local.len == 0)
        return TERN_NEXT;
    if (asked->mailbox.domain.len == 0)
        return confirm(call);
    struct work *w = tern->alloc(call, sizeof(*w));
    *tern->slot(call) = w;
    return advance(call, conf, w);
}

/* Whether addresses from all over the Internet are in it: then it is no list of one's own clients. */
static bool is_everybody(const struct tern_cidrs *networks, const tern_address *samples, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (networks == NULL || !tern->cidrs_match(networks, &samples[i]))
            return false;
    return true;
}

static void warn_of_everybody(struct tern_config *config, const struct domains_conf *c)
{
    static const tern_address four[] = {
        { .family = 4, .octets = { 9, 9, 9, 9 } },     { .family = 4, .octets = { 77, 1, 1, 1 } },
        { .family = 4, .octets = { 141, 1, 1, 1 } },   { .family = 4, .octets = { 193, 1, 1, 1 } },
        { .family = 4, .octets = { 203, 0, 113, 1 } },
    };
    static const tern_address six[] = {
        { .family = 6, .octets = { 0x20, 0x01, 0x0d, 0xb8 } }, { .family = 6, .octets = { 0x24, 0 } },
        { .family = 6, .octets = { 0x26, 0 } },                { .family = 6, .octets = { 0x2a, 0 } },
    };

    if (is_everybody(c->networks, four, sizeof(four) / sizeof(four[0])) ||
        is_everybody(c->networks, six, sizeof(six) / sizeof(six[0])))
        tern->config_warning(config, "networks", "this is the whole Internet: who connects may send to anybody, which "
                                                 "is an open relay");
}

static int check(void *conf, struct tern_config *config)
{
    const struct domains_conf *c = conf;

    warn_of_everybody(config, c);
    if (c->local == NULL && c->relay == NULL && c->networks == NULL)
        tern->config_warning(config, NULL, "neither local, relay nor networks is set: nothing is claimed");
    if (c->local != NULL && c->recipients == NULL)
        tern->config_warning(config, "local",
                             "without recipients: any address of these domains is accepted, and unknown "
                             "ones bounce later");
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_TABLE(struct domains_conf, local, "", "Domains with mailboxes here."),
    TERN_OPTION_TABLE(struct domains_conf, recipients, "",
                      "Mailboxes of the local domains, user@domain; @domain stands for any."),
    TERN_OPTION_TABLE(struct domains_conf, relay, "", "Domains that are passed on to another server."),
    TERN_OPTION_TABLE(struct domains_conf, relay_recipients, "",
                      "Mailboxes of the relay domains; without it all are accepted."),
    TERN_OPTION_CIDRS(struct domains_conf, networks, "",
                      "Networks of one's own clients, who may send to anybody."),
    TERN_OPTION_STRING(struct domains_conf, delimiter, "+",
                       "Characters that part a mailbox from a tag: user+tag; empty: none."),
    TERN_OPTION_STRING(struct domains_conf, postmaster, "",
                       "Where mail for postmaster goes; default: postmaster of the domain itself."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(RCPT, on_rcpt), .answers = TERN_MAY_REJECT, .flags = TERN_CLAIMS },
    { TERN_HOOK(VRFY, on_vrfy), .answers = TERN_MAY_ACCEPT | TERN_MAY_REJECT },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "domains", .summary = "Which recipients are ours: local, relay, own clients.",
            .options = options, .hooks = hooks, .conf_size = sizeof(struct domains_conf), .init = init,
            .check = check)
