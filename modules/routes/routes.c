/* SPDX-License-Identifier: Apache-2.0 */
/*
 * routes - where a recipient's mail goes: the first rule that fits decides.
 *
 * The server puts this step at the end of every policy, with the list `routes:` as its
 * option `rules`. A recipient that a step claimed as local or relay is taken only by a rule that
 * names it (class, domain, address or pattern): mail for our own domains never leaves by
 * MX because someone forgot a rule. Without a rule it waits (451 4.4.4), it does not bounce.
 */
#include <tern/module.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define PATTERN_OCTETS_MAX 256 /* as long as a path may be: RFC 5321 4.5.3.1.3 */
#define HOST_OCTETS_MAX    255 /* RFC 5321 4.5.3.1.2 */
#define UNIX_OCTETS_MAX    107 /* sun_path, with a NUL behind it */
#define TARGETS_MAX        16

static const struct tern_api *tern;
static void *unrouted;

struct rule {
    struct tern_list class_;
    const struct tern_table *domain, *address;
    struct tern_list pattern;
    const struct tern_table *sender, *sender_domain;
    const struct tern_cidrs *client;
    struct tern_list tag;

    tern_str transport;
    struct tern_list to, fallback;
    unsigned port;
    tern_str source, discard, defer, bounce;

    /* made by check() */
    unsigned classes; /* a bit per enum tern_class; 0: any */
    bool named;       /* may take a local or relay recipient */
    struct tern_route route;
};

struct routes_conf {
    struct tern_records rules; /* struct rule */
};

/* ---- does a rule fit? ---- */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* '*' is any run, '?' is one. Going back to the last '*' only costs at most pattern × text. */
static bool glob(tern_str pattern, tern_str text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, resume = 0;

    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.len &&
                   (pattern.ptr[p] == '?' || lower(pattern.ptr[p]) == lower(text.ptr[t]))) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

static bool fits_pattern(const struct rule *rule, tern_str address)
{
    for (size_t i = 0; i < rule->pattern.count; i++)
        if (glob(rule->pattern.items[i], address))
            return true;
    return rule->pattern.count == 0;
}

static bool fits_tag(const tern_call *call, const struct rule *rule)
{
    for (size_t i = 0; i < rule->tag.count; i++)
        if (tern->has_tag(call, rule->tag.items[i].ptr))
            return true;
    return rule->tag.count == 0;
}

static bool fits_client(const tern_call *call, const struct rule *rule)
{
    const struct tern_address *client = tern->client_address(call);

    if (rule->client == NULL)
        return true;
    return client != NULL && client->family != 0 && tern->cidrs_match(rule->client, client);
}

/* The address as tables have it: local part without quotes, domain in A-labels. */
static tern_str key_of(tern_call *call, const struct tern_mailbox *mailbox)
{
    if (mailbox->local.len == 0 && mailbox->domain.len == 0)
        return TERN_STR("<>");
    if (mailbox->domain.len == 0)
        return mailbox->local;
    return tern->format(call, "%s@%s", mailbox->local.ptr, mailbox->domain.ptr);
}

/* Which table of a rule is asked; the order costs least where few rules have senders. */
enum stage { AT_ONCE, DOMAIN, ADDRESS, SENDER, SENDER_DOMAIN, ALL_FIT };

/* How far the rules have been tried for this recipient. */
struct work {
    size_t rule;
    enum stage stage;
    unsigned class_;
    tern_str domain, address, sender, sender_domain;
};

/* What needs no table. */
static bool fits_at_once(const tern_call *call, const struct rule *rule, const struct work *w)
{
    bool ours = w->class_ == TERN_CLASS_LOCAL || w->class_ == TERN_CLASS_RELAY;

    if (ours && !rule->named)
        return false;
    if (rule->classes != 0 && (rule->classes & (1u << w->class_)) == 0)
        return false;
    return fits_pattern(rule, w->address) && fits_tag(call, rule) && fits_client(call, rule);
}

static const struct tern_table *question(const struct rule *rule, const struct work *w,
                                         tern_str *ret_key)
{
    switch (w->stage) {
    case DOMAIN: *ret_key = w->domain; return rule->domain;
    case ADDRESS: *ret_key = w->address; return rule->address;
    case SENDER: *ret_key = w->sender; return rule->sender;
    case SENDER_DOMAIN: *ret_key = w->sender_domain; return rule->sender_domain;
    default: return NULL;
    }
}

static void next_rule(struct work *w)
{
    w->rule++;
    w->stage = AT_ONCE;
}

/* ---- what it says ---- */

static tern_verdict apply(tern_call *call, const struct rule *rule)
{
    if (rule->defer.len > 0)
        return tern->reply(call, TERN_DEFER, 451, "4.3.2", "%s", rule->defer.ptr);
    if (rule->bounce.len > 0)
        return tern->reply(call, TERN_REJECT, 550, "5.7.1", "%s", rule->bounce.ptr);
    if (tern->set_route(call, &rule->route) < 0)
        return TERN_ERROR;
    return TERN_ACCEPT;
}

static tern_verdict no_rule(tern_call *call, const struct work *w)
{
    static const char *const classes[] = { "unclaimed", "local", "relay", "forward", "client" };
    const char *name = w->class_ < sizeof(classes) / sizeof(classes[0]) ? classes[w->class_] : "?";

    tern->counter_add(unrouted, 1);
    if (w->class_ == TERN_CLASS_LOCAL || w->class_ == TERN_CLASS_RELAY)
        return tern->reply(call, TERN_DEFER, 451, "4.4.4",
                           "No rule of routes: names the class %s or this domain or address", name);
    return tern->reply(call, TERN_DEFER, 451, "4.4.4",
                       "No rule of routes: takes a recipient of class %s", name);
}

static tern_verdict no_answer(tern_call *call, const struct work *w)
{
    static const char *const names[] = { "", "domain", "address", "sender", "sender_domain" };

    return tern->fail(call, "the table of rules[%zu].%s did not answer", w->rule, names[w->stage]);
}

static void on_answer(tern_call *call, const void *conf, const struct tern_table_answer *answer);

/* Asks the table of this stage. True: *ret has its status. False: *ret_verdict is WAIT or ERROR. */
static bool ask(tern_call *call, const struct tern_table *table, tern_str key, unsigned *ret,
                tern_verdict *ret_verdict)
{
    struct tern_table_answer answer = { .status = TERN_ABSENT };

    if (key.len == 0 || tern->table_peek(call, table, key, &answer) == 0) {
        *ret = answer.status;
        return true;
    }
    *ret_verdict = tern->table_find(call, table, key, on_answer);
    return false;
}

/* Tries rules from where the work stands. Each turn of the loop leads to a later stage or rule. */
static tern_verdict advance(tern_call *call, const struct routes_conf *c, struct work *w)
{
    const struct rule *rules = c->rules.items;
    tern_verdict verdict;
    unsigned status;
    tern_str key;

    while (w->rule < c->rules.count) {
        const struct rule *rule = &rules[w->rule];
        const struct tern_table *table = question(rule, w, &key);

        if (w->stage == ALL_FIT) {
            tern->note(call, "rule", tern->format(call, "%zu", w->rule));
            return apply(call, rule);
        }
        if (w->stage == AT_ONCE && !fits_at_once(call, rule, w)) {
            next_rule(w);
            continue;
        }
        if (table == NULL) { /* the rule has no such condition; an empty list is one that nothing fits */
            w->stage++;
            continue;
        }
        if (!ask(call, table, key, &status, &verdict))
            return verdict;
        if (status == TERN_FAILED)
            return no_answer(call, w);
        if (status == TERN_FOUND)
            w->stage++;
        else
            next_rule(w);
    }
    return no_rule(call, w);
}

static void on_answer(tern_call *call, const void *conf, const struct tern_table_answer *answer)
{
    struct work *w = *tern->slot(call);
    tern_verdict verdict;

    if (answer->status == TERN_FAILED) {
        tern->complete(call, no_answer(call, w));
        return;
    }
    if (answer->status == TERN_FOUND)
        w->stage++;
    else
        next_rule(w);
    verdict = advance(call, conf, w);
    if (verdict != TERN_WAIT)
        tern->complete(call, verdict);
}

/* The server asks for one recipient at a time. */
static tern_verdict on_route(tern_call *call, const void *conf)
{
    const struct tern_recipient *rcpt = tern->rcpt(call, 0);
    const struct tern_mailbox *sender = tern->sender(call);
    struct work *w = tern->alloc(call, sizeof(*w));

    if (rcpt == NULL)
        return TERN_ERROR;
    *w = (struct work){
        .class_ = rcpt->class_,
        .domain = rcpt->mailbox.domain,
        .address = key_of(call, &rcpt->mailbox),
        .sender = key_of(call, sender),
        .sender_domain = sender->domain,
    };
    *tern->slot(call) = w;
    return advance(call, conf, w);
}

/* ---- the rules as written ---- */

static bool is_port(const char *text)
{
    unsigned long port = 0;
    size_t digits = 0;

    for (; text[digits] >= '0' && text[digits] <= '9' && digits < 6; digits++)
        port = port * 10 + (unsigned long)(text[digits] - '0');
    return digits > 0 && text[digits] == '\0' && port >= 1 && port <= 65535;
}

/* host, host:port, [addr], [addr]:port, unix:/path. *ret_port: it names its port, or needs none. */
static bool is_target(tern_str t, bool *ret_port)
{
    const char *host = t.ptr;
    size_t len;

    *ret_port = true;
    if (strncmp(t.ptr, "unix:", 5) == 0)
        return t.ptr[5] == '/' && t.len - 5 <= UNIX_OCTETS_MAX;
    if (*host == '[') {
        len = strspn(host + 1, "0123456789abcdefABCDEF:.") + 1;
        if (len == 1 || host[len] != ']')
            return false;
        len++;
    } else {
        len = strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
        if (len == 0 || len > HOST_OCTETS_MAX)
            return false;
    }
    *ret_port = host[len] == ':';
    return host[len] == '\0' || (host[len] == ':' && is_port(host + len + 1));
}

/* Copies a list of next hops, with `port` where none is named. */
static bool read_targets(struct tern_config *config, size_t rule, const char *key,
                         struct tern_list list, unsigned port, struct tern_list *ret)
{
    tern_str *items = tern->config_alloc(config, (list.count + 1) * sizeof(*items));
    char where[64];

    for (size_t i = 0; i < list.count; i++) {
        tern_str t = list.items[i];
        bool has_port;

        (void)snprintf(where, sizeof(where), "rules[%zu].%s[%zu]", rule, key, i);
        if (memchr(t.ptr, '\0', t.len) != NULL || !is_target(t, &has_port)) {
            tern->config_error(config, where,
                               "\"%s\" is none of host, host:port, [address]:port, unix:/path",
                               t.ptr);
            return false;
        }
        items[i] = t;
        if (port == 0 || has_port)
            continue;
        size_t octets = t.len + sizeof(":65535");
        char *text = tern->config_alloc(config, octets);
        int len = snprintf(text, octets, "%s:%u", t.ptr, port);
        items[i] = (tern_str){ text, (size_t)len };
    }
    *ret = (struct tern_list){ items, list.count };
    return true;
}

static bool read_classes(struct tern_config *config, size_t index, struct rule *rule)
{
    static const char *const names[] = { "", "local", "relay", "forward", "client" };

    for (size_t i = 0; i < rule->class_.count; i++) {
        unsigned class_ = TERN_CLASS_LOCAL;
        char where[64];

        while (class_ <= TERN_CLASS_CLIENT && strcmp(rule->class_.items[i].ptr, names[class_]) != 0)
            class_++;
        if (class_ > TERN_CLASS_CLIENT) {
            (void)snprintf(where, sizeof(where), "rules[%zu].class[%zu]", index, i);
            tern->config_error(config, where, "\"%s\" is none of local, relay, forward, client",
                               rule->class_.items[i].ptr);
            return false;
        }
        rule->classes |= 1u << class_;
    }
    return true;
}

/* A pattern of *, ?, @ and . alone names nothing: a rule without conditions in disguise. */
static bool read_patterns(struct tern_config *config, size_t index, struct rule *rule)
{
    for (size_t i = 0; i < rule->pattern.count; i++) {
        tern_str p = rule->pattern.items[i];
        char where[64];

        (void)snprintf(where, sizeof(where), "rules[%zu].pattern[%zu]", index, i);
        if (p.len > PATTERN_OCTETS_MAX) {
            tern->config_error(config, where, "a pattern has at most %u octets",
                               PATTERN_OCTETS_MAX);
            return false;
        }
        if (p.len > 0 && strspn(p.ptr, "*?@.") < p.len)
            continue;
        tern->config_error(
            config, where,
            "\"%s\" fits everything; name a part of the address, or leave pattern: out", p.ptr);
        return false;
    }
    return true;
}

/* A reply is one line of printable text; what is longer than 400 octets would be cut. */
static bool is_text(struct tern_config *config, size_t index, const char *key, tern_str text)
{
    char where[64];
    bool clean = text.len <= 400;

    for (size_t i = 0; i < text.len && clean; i++)
        clean = (unsigned char)text.ptr[i] >= ' ' && text.ptr[i] != 127;
    if (clean)
        return true;
    (void)snprintf(where, sizeof(where), "rules[%zu].%s", index, key);
    tern->config_error(config, where, "expected one line of at most 400 octets");
    return false;
}

static bool is_address(struct tern_config *config, size_t index, tern_str text)
{
    unsigned char octets[sizeof(struct in6_addr)];
    char where[64];

    if (text.len == 0 || inet_pton(AF_INET, text.ptr, octets) == 1 ||
        inet_pton(AF_INET6, text.ptr, octets) == 1)
        return true;
    (void)snprintf(where, sizeof(where), "rules[%zu].source", index);
    tern->config_error(config, where, "\"%s\" is no address", text.ptr);
    return false;
}

static bool has_names(const struct rule *rule)
{
    return rule->classes != 0 || rule->domain != NULL ||
           rule->address != NULL || rule->pattern.count > 0;
}

static bool has_conditions(const struct rule *rule)
{
    return has_names(rule) || rule->sender != NULL ||
           rule->sender_domain != NULL || rule->client != NULL || rule->tag.count > 0;
}

/* Exactly one of the four things that a rule can say. */
static bool check_action(struct tern_config *config, const char *where, struct rule *rule)
{
    bool sends = rule->transport.len > 0 || rule->to.count > 0;
    unsigned said =
        (unsigned)sends + (rule->discard.len > 0) + (rule->defer.len > 0) + (rule->bounce.len > 0);

    if (said != 1) {
        tern->config_error(config, where,
                           "expected exactly one of transport (or to), discard, defer, bounce");
        return false;
    }
    if (!sends && (rule->fallback.count > 0 || rule->port != 0 || rule->source.len > 0)) {
        tern->config_error(config, where,
                           "fallback, port and source are for rules with transport or to");
        return false;
    }
    if (rule->port != 0 && rule->to.count == 0) {
        tern->config_error(config, where, "port is for the hosts in to, and there are none");
        return false;
    }
    return true;
}

static bool check_rule(struct tern_config *config, size_t index, struct rule *rule)
{
    char where[64];
    struct tern_list to, fallback;

    (void)snprintf(where, sizeof(where), "rules[%zu]", index);
    if (!read_classes(config, index, rule) || !read_patterns(config, index, rule) ||
        !check_action(config, where, rule))
        return false;
    if (!is_text(config, index, "discard", rule->discard) ||
        !is_text(config, index, "defer", rule->defer) ||
        !is_text(config, index, "bounce", rule->bounce) || !is_address(config, index, rule->source))
        return false;
    rule->named = has_names(rule);
    if (rule->to.count > 0 && rule->transport.len == 0)
        rule->transport = TERN_STR("smtp");
    if (rule->transport.len > 0 && !tern->config_has_transport(config, rule->transport)) {
        (void)snprintf(where, sizeof(where), "rules[%zu].transport", index);
        tern->config_error(config, where,
                           "there is no transport \"%s\" in transports:", rule->transport.ptr);
        return false;
    }
    if (!read_targets(config, index, "to", rule->to, rule->port, &to) ||
        !read_targets(config, index, "fallback", rule->fallback, rule->port, &fallback))
        return false;
    rule->route = (struct tern_route){ .size = sizeof(rule->route),
                                       .transport = rule->transport,
                                       .to = to,
                                       .fallback = fallback,
                                       .source = rule->source,
                                       .discard_reason = rule->discard };
    return true;
}

static int check(void *conf, struct tern_config *config)
{
    struct routes_conf *c = conf;
    struct rule *rules = tern->config_alloc(config, (c->rules.count + 1) * sizeof(*rules));
    bool fine = true, named = false;
    size_t takes_all = SIZE_MAX;

    if (c->rules.count > 0)
        memcpy(rules, c->rules.items, c->rules.count * sizeof(*rules));
    c->rules.items = rules;
    for (size_t i = 0; i < c->rules.count; i++) {
        char where[64];

        fine &= check_rule(config, i, &rules[i]);
        named |= rules[i].named;
        (void)snprintf(where, sizeof(where), "rules[%zu]", i);
        if (takes_all != SIZE_MAX && !rules[i].named)
            tern->config_warning(config, where,
                                 "is never reached: rules[%zu] takes what it could take",
                                 takes_all);
        else if (takes_all == SIZE_MAX && !has_conditions(&rules[i]))
            takes_all = i;
    }
    if (fine && !named)
        tern->config_warning(config, "rules",
                             "no rule names a class, domain, address or pattern: "
                             "what a step claims as local or relay will wait for ever");
    return fine ? 0 : -EINVAL;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    unrouted =
        tern->counter("tern_routes_unrouted_total", "Recipients that no rule of routes: took.");
    *ret_state = NULL;
    return 0;
}

static const struct tern_option rule_options[] = {
    TERN_OPTION_("class", TERN_TYPE_LIST, struct rule, class_, struct tern_list, "", 0, 4,
                 "Any of local, relay, forward, client: what the step that claimed the recipient "
                 "called it."),
    TERN_OPTION_TABLE(struct rule, domain, "", "Domains of recipients."),
    TERN_OPTION_TABLE(struct rule, address, "", "Addresses of recipients, local@domain."),
    TERN_OPTION_LIST(
        struct rule, pattern, "", 0, 100,
        "Patterns over the recipient's address: * is any run of characters, ? is one."),
    TERN_OPTION_TABLE(struct rule, sender, "", "Senders, local@domain; <> is the null sender."),
    TERN_OPTION_TABLE(struct rule, sender_domain, "", "Domains of senders."),
    TERN_OPTION_CIDRS(struct rule, client, "", "Networks of clients."),
    TERN_OPTION_LIST(struct rule, tag, "", 0, 100,
                     "Tags, any of which the recipient or session has."),
    TERN_OPTION_STRING(struct rule, transport, "", "The name of a transport."),
    TERN_OPTION_LIST(struct rule, to, "", 0, TARGETS_MAX,
                     "Next hops instead of the MX: host, host:port, [address]:port, unix:/path."),
    TERN_OPTION_LIST(struct rule, fallback, "", 0, TARGETS_MAX,
                     "Next hops tried when all others failed."),
    TERN_OPTION_UINT(struct rule, port, "", 0, 65535, "The port of next hops that name none."),
    TERN_OPTION_STRING(struct rule, source, "", "Local address to send from."),
    TERN_OPTION_STRING(struct rule, discard, "", "Drop the mail, and why."),
    TERN_OPTION_STRING(struct rule, defer, "", "Keep the mail (451 4.3.2) and the text to log."),
    TERN_OPTION_STRING(struct rule, bounce, "", "Return the mail (550 5.7.1) with this text."),
    TERN_OPTIONS_END,
};

static const struct tern_option options[] = {
    TERN_OPTION_RECORDS(struct routes_conf, rules, rule_options, struct rule, 0, 10000,
                        "The rules; the first that fits decides."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(ROUTE, on_route), .answers = TERN_MAY_ACCEPT | TERN_MAY_REJECT | TERN_MAY_DEFER },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "routes", .summary = "Choose where mail goes, by rules.", .options = options,
            .hooks = hooks, .conf_size = sizeof(struct routes_conf), .init = init, .check = check);
