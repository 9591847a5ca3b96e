/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spf - whether a domain lets the client send mail in its name (RFC 7208).
 *
 * At MAIL, on the loop: check.h says what to ask DNS, one question at a time, the core asks. It refuses nothing
 * unless an option says so; steps behind it read results.spf. A refusal is given where refuse_at says, at RCPT
 * by default.
 *
 * Not asked about: who has logged in, a client without an address, those in `exempt` and `forwarders`.
 */
#include "spf.h"

#include <errno.h>
#include <stdio.h>

const struct tern_api *spf_api;
#define tern spf_api

static void *counters[SPF_RESULT_COUNT];

static void on_answer(tern_call *call, const void *conf, const struct tern_dns_answer *answer, void *arg);
static void on_time(tern_call *call, const void *conf);

static void *allocate(void *arg, size_t octets)
{
    return tern->alloc(arg, octets);
}

/* ---- one identity ---- */

static bool start(tern_call *call, const struct spf_conf *c, struct spf_work *w, bool helo)
{
    const struct tern_mailbox *sender = tern->sender_original(call);
    bool by_helo = helo || sender->domain.len == 0; /* RFC 7208 2.4 */
    int refused = helo && c->identity == SPF_IDENTITY_BOTH ? c->helo_fail : c->fail;
    struct spf_input in = {
        .client = *tern->client_address(call),
        .domain = by_helo ? tern->helo_name(call) : sender->domain,
        .local = by_helo ? TERN_STR("postmaster") : sender->local,
        .sender_domain = by_helo ? tern->helo_name(call) : sender->domain,
        .helo = tern->helo_name(call),
        .receiver = tern->hostname(),
        .now_s = tern->now_s(call),
        .voids_max = c->void_lookups,
        .explain = c->explanation && refused == SPF_REFUSE,
        .alloc = allocate,
        .arg = call,
    };

    w->is_helo = helo;
    w->check = tern->alloc(call, sizeof(*w->check));
    return spf_start(w->check, &in);
}

static void end(tern_call *call, struct spf_work *w)
{
    const struct spf_outcome *outcome = spf_outcome_new(call, w->check);

    if (w->is_helo)
        w->helo = outcome;
    else
        w->mail = outcome;
}

static void count(const struct spf_outcome *outcome)
{
    if (outcome != NULL)
        tern->counter_add(counters[outcome->result], 1);
}

static tern_verdict conclude(tern_call *call, const struct spf_conf *c, struct spf_work *w)
{
    tern_verdict verdict = TERN_NEXT;

    w->done = true;
    count(w->helo);
    count(w->mail);
    spf_tell(call, w);
    if (w->helo != NULL && c->identity == SPF_IDENTITY_BOTH)
        verdict = spf_judge(call, c, w->helo, true);
    if (verdict == TERN_NEXT && (w->mail != NULL || w->helo != NULL))
        verdict = spf_judge(call, c, w->mail != NULL ? w->mail : w->helo, false);
    return verdict;
}

static tern_verdict conclude_anew(tern_call *call, const struct spf_conf *c, struct spf_work *w)
{
    tern_verdict verdict = conclude(call, c, w);

    spf_keep(call, c, w);
    return verdict;
}

/* ---- questions ---- */

/* Puts the question. False: the check has an answer to it already, and *more says whether there is another. */
static bool ask(tern_call *call, const struct spf_conf *c, struct spf_work *w, bool *more)
{
    struct tern_dns_answer none = { .status = TERN_ABSENT, .error = "NXDOMAIN" };
    struct tern_dns_answer failed = { .status = TERN_FAILED, .error = "not asked" };

    if (strchr(w->check->name, ' ') != NULL) { /* a macro has made it; nobody has such a name */
        *more = spf_answer(w->check, &none);
        return false;
    }
    if (!w->timed)
        w->timed = tern->after_ms(call, c->lookup_time_ms, on_time) == TERN_WAIT;
    if (tern->dns(call, w->check->name, w->check->type, on_answer, NULL) == TERN_WAIT)
        return true;
    w->until_ms = OUTCOME_NOT_KEPT;
    *more = spf_answer(w->check, &failed);
    return false;
}

static bool wants_mail(tern_call *call, const struct spf_conf *c)
{
    if (c->identity == SPF_IDENTITY_BOTH)
        return tern->sender_original(call)->domain.len > 0; /* else it would be the same once more */
    return c->identity == SPF_IDENTITY_MAIL;
}

/* What is not known yet is temperror: 4.6.4. */
static void give_up(tern_call *call, struct spf_work *w)
{
    w->check->result = SPF_TEMPERROR;
    w->check->reason = "DNS took too long";
    memcpy(w->check->where, w->check->name, sizeof(w->check->where));
    w->until_ms = OUTCOME_NOT_KEPT;
    end(call, w);
}

static void on_time(tern_call *call, const void *conf)
{
    struct spf_work *w = *tern->slot(call);

    if (w->done)
        return;
    give_up(call, w);
    if (w->is_helo && wants_mail(call, conf)) {
        if (start(call, conf, w, false))
            give_up(call, w);
        else
            end(call, w);
    }
    tern->complete(call, conclude(call, conf, w));
}

static tern_verdict go_on(tern_call *call, const struct spf_conf *c, struct spf_work *w, bool more)
{
    for (;;) {
        while (more)
            if (ask(call, c, w, &more))
                return TERN_WAIT;
        end(call, w);
        if (!w->is_helo || !wants_mail(call, c))
            return conclude_anew(call, c, w);
        /* 2.3 would let a refusal by the HELO name do; but a recipient's profile may not want it. */
        more = start(call, c, w, false);
    }
}

static void on_answer(tern_call *call, const void *conf, const struct tern_dns_answer *answer, void *arg)
{
    struct spf_work *w = *tern->slot(call);

    (void)arg;
    if (w->done)
        return;
    spf_outcome_answer(call, w, answer);
    tern_verdict verdict = go_on(call, conf, w, spf_answer(w->check, answer));
    if (verdict != TERN_WAIT)
        tern->complete(call, verdict);
}

/* ---- who is asked about ---- */

static tern_verdict begin(tern_call *call, const struct spf_conf *c)
{
    struct spf_work *w = tern->alloc(call, sizeof(*w));
    bool helo = c->identity != SPF_IDENTITY_MAIL;

    *tern->slot(call) = w;
    if (spf_known(call, c, w))
        return conclude(call, c, w);
    return go_on(call, c, w, start(call, c, w, helo));
}

static tern_verdict spare(tern_call *call, const char *why)
{
    tern->note(call, "exempt", spf_str(why, strlen(why)));
    (void)tern->tag(call, "spf_exempt");
    return TERN_NEXT;
}

static tern_verdict by_table(tern_call *call, const struct spf_conf *c, const struct tern_table_answer *answer)
{
    if (answer->status == TERN_FAILED)
        return tern->fail(call, "the table of forwarders could not be asked");
    return answer->status == TERN_FOUND ? spare(call, "forwarders") : begin(call, c);
}

static void on_forwarder(tern_call *call, const void *conf, const struct tern_table_answer *answer)
{
    tern_verdict verdict = by_table(call, conf, answer);

    if (verdict != TERN_WAIT)
        tern->complete(call, verdict);
}

static tern_verdict on_mail(tern_call *call, const void *conf)
{
    const struct spf_conf *c = conf;
    const tern_address *client = tern->client_address(call);
    struct tern_table_answer answer;

    if (client->family == 0 || tern->user(call).len > 0)
        return TERN_NEXT;
    if (c->exempt != NULL && tern->cidrs_match(c->exempt, client))
        return spare(call, "exempt");
    if (tern->table_empty(c->forwarders))
        return begin(call, c);
    tern_str key = tern->client_address_text(call);
    int r = tern->table_peek(call, c->forwarders, key, &answer);
    if (r == 0)
        return by_table(call, c, &answer);
    return tern->table_find(call, c->forwarders, key, on_forwarder);
}

static int check(void *conf, struct tern_config *config)
{
    struct spf_conf *c = conf;

    if (c->helo_fail == SPF_REFUSE && c->identity != SPF_IDENTITY_BOTH)
        tern->config_error(config, "helo_fail", "the HELO name is looked at by itself with identity: both only");
    return spf_outcomes_check(c);
}

static int init(const struct tern_api *api, void **ret_state)
{
    static char names[SPF_RESULT_COUNT][64];

    tern = api;
    if (spf_outcomes_init(api) < 0)
        return -ENOMEM;
    for (unsigned i = 0; i < SPF_RESULT_COUNT; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "tern_spf_%s_total", spf_result_name(i).ptr);
        counters[i] = api->counter(names[i], "Identities that were checked by SPF, by what came of it");
    }
    *ret_state = NULL;
    return 0;
}

static void fini(void *state)
{
    (void)state;
    spf_outcomes_fini();
}

static const char *const identity_values[] = { "both", "mail", "helo", NULL };
static const char *const reject_values[] = { "next", "reject", NULL };
static const char *const defer_values[] = { "next", "defer", NULL };
static const char *const spf_values[] = {
    "none", "neutral", "pass", "fail", "softfail", "temperror", "permerror", NULL,
};
static const char *const identity_results[] = { "mailfrom", "helo", NULL };

static const struct tern_option options[] = {
    TERN_OPTION_ENUM(struct spf_conf, identity, "both", identity_values,
                     "Whose policy is asked for: that of the sender's domain, of the HELO name, or of both."),
    TERN_OPTION_ENUM(struct spf_conf, fail, "next", reject_values, "reject: 550 5.7.23 when the result is fail."),
    TERN_OPTION_ENUM(struct spf_conf, softfail, "next", reject_values,
                     "reject: 550 5.7.23 when the result is softfail; RFC 7208 advises against it."),
    TERN_OPTION_ENUM(struct spf_conf, permerror, "next", reject_values,
                     "reject: 550 5.7.24 when the domain's record is broken."),
    TERN_OPTION_ENUM(struct spf_conf, temperror, "next", defer_values, "defer: 451 4.7.24 when DNS does not answer."),
    TERN_OPTION_ENUM(struct spf_conf, helo_fail, "next", reject_values,
                     "reject: 550 5.7.23 when the domain of the HELO name says fail, whoever the sender is."),
    TERN_OPTION_CIDRS(struct spf_conf, exempt,
                      "[127.0.0.0/8, \"::1\", 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, \"fc00::/7\"]",
                      "Clients that are not checked: your own networks and relays."),
    TERN_OPTION_TABLE(struct spf_conf, forwarders, "",
                      "Addresses of clients that forward mail for your users; they are not checked."),
    TERN_OPTION_BOOL(struct spf_conf, explanation, "true",
                     "Tell a client that is refused what the domain has published as an explanation."),
    TERN_OPTION_BOOL(struct spf_conf, header, "false", "Add a field Received-SPF."),
    TERN_OPTION_UINT(struct spf_conf, void_lookups, "2", 0, SPF_TERMS_MAX,
                     "Terms of a record that DNS may have nothing for; one more is permerror."),
    TERN_OPTION_MS(struct spf_conf, lookup_time, "20s", 1000, 300000,
                   "How long the checks of a sender may take; then they are temperror."),
    TERN_OPTION_UINT(struct spf_conf, cache, "4096", 0, OUTCOMES_ENTRIES_MAX,
                     "Outcomes that are kept while what DNS has said to them is valid; 0: none."),
    TERN_OPTIONS_END,
};

static const struct tern_note notes[] = {
    TERN_RESULT("spf", spf_values, "Whether the sender's domain lets the client send."),
    TERN_RESULT("spf_identity", identity_results, "What results.spf is about."),
    TERN_RESULT("spf_domain", NULL, "Whose policy results.spf comes from, in lower case."),
    TERN_RESULT("spf_mechanism", NULL, "The term of the record that decided; empty if none did."),
    TERN_RESULT("spf_helo", spf_values, "The same for the HELO name by itself."),
    TERN_RESULT("spf_detail", NULL, "All that was checked in the words of RFC 8601, `; ` between them."),
    TERN_TAG("spf_exempt", "The client is one that SPF is not asked about."),
    TERN_NOTES_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(MAIL, on_mail), .answers = TERN_MAY_REJECT | TERN_MAY_DEFER },
    { TERN_HOOK(MESSAGE, spf_write_header), .flags = TERN_ONCE },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "spf", .summary = "Check whether the sender's domain lets the client send (SPF).",
            .options = options, .hooks = hooks, .notes = notes, .conf_size = sizeof(struct spf_conf), .init = init,
            .fini = fini, .check = check)
