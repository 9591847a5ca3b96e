/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc - whether the domain of From stands behind a message, and what it asks for if not (RFC 9989).
 *
 * At message, once, on the loop, behind spf and dkim_verify, whose results it reads. check.h says what to ask DNS.
 * It refuses nothing unless `enforce` says so; steps behind it read results.dmarc.
 *
 * Not looked at: mail of who has logged in, clients without an address, those in `exempt`.
 */
#include "dmarc.h"

#include <errno.h>
#include <stdio.h>

#include <lib/dmarc_rows.h>

#include "store.h"

const struct tern_api *dmarc_api;
#define tern dmarc_api

#define FIELD_NAME_OCTETS_MAX 76 /* so that it stands in one line */

static void *counters[DMARC_RESULT_COUNT];
static void *dispositions[DMARC_REJECT + 1];

static void on_answer(tern_call *call, const void *conf, const struct tern_dns_answer *answer, void *arg);
static void on_time(tern_call *call, const void *conf);

static void *allocate(void *arg, size_t octets)
{
    return tern->alloc(arg, octets);
}

/* ---- the answer ---- */

static tern_verdict conclude(tern_call *call, const struct dmarc_conf *c, struct dmarc_work *w)
{
    enum dmarc_result result = w->bad_from != NULL ? DMARC_RESULT_PERMERROR : w->check->result;

    w->done = true;
    if (result == DMARC_RESULT_FAIL)
        dmarc_settle(call, c, w);
    dmarc_tell(call, w);
    tern->counter_add(counters[result], 1);
    if (result == DMARC_RESULT_FAIL)
        tern->counter_add(dispositions[w->disposition], 1);
    if (result == DMARC_RESULT_PASS || result == DMARC_RESULT_FAIL)
        dmarc_report(call, c, w);
    return dmarc_apply(call, c, w);
}

/* ---- tables ---- */

static void on_excuse(tern_call *call, const void *conf, const struct tern_table_answer *answer);

static bool take(tern_call *call, struct dmarc_work *w, const struct tern_table_answer *answer)
{
    const struct dmarc_excuse *e = &w->excuses[w->excuse_at++];

    if (answer->status == TERN_FOUND) {
        w->override = e->override;
        w->comment = tern->format(call, "%s: %s", e->name, e->key.ptr);
        tern->note(call, e->name, e->key);
    }
    return answer->status != TERN_FAILED;
}

static tern_verdict ask_tables(tern_call *call, const struct dmarc_conf *c, struct dmarc_work *w)
{
    struct tern_table_answer answer;

    while (w->excuse_at < w->excuse_count && w->override == DMARC_OVERRIDE_NONE) {
        const struct dmarc_excuse *e = &w->excuses[w->excuse_at];
        if (tern->table_peek(call, e->table, e->key, &answer) != 0)
            return tern->table_find(call, e->table, e->key, on_excuse);
        if (!take(call, w, &answer))
            return tern->fail(call, "the table of %s could not be asked", e->name);
    }
    return conclude(call, c, w);
}

static void on_excuse(tern_call *call, const void *conf, const struct tern_table_answer *answer)
{
    struct dmarc_work *w = *tern->slot(call);
    const char *name = w->excuses[w->excuse_at].name;

    if (w->done)
        return;
    tern_verdict verdict = take(call, w, answer) ? ask_tables(call, conf, w)
                                                 : tern->fail(call, "the table of %s could not be asked", name);
    if (verdict != TERN_WAIT)
        tern->complete(call, verdict);
}

/* Nobody can say that a message fails if only one of the two was asked. */
static void doubt(tern_call *call, struct dmarc_work *w)
{
    bool no_spf = w->no_spf && !tern->has_tag(call, "spf_exempt");

    if (w->check->result != DMARC_RESULT_FAIL || (!no_spf && !w->no_dkim))
        return;
    w->check->result = DMARC_RESULT_PERMERROR;
    w->check->where = w->author;
    w->check->reason = no_spf ? "spf has not looked at MAIL FROM" : "dkim_verify has not looked at it";
}

static tern_verdict judge(tern_call *call, const struct dmarc_conf *c, struct dmarc_work *w)
{
    const struct dmarc_check *check = w->check;

    doubt(call, w);
    w->disposition = check->result == DMARC_RESULT_FAIL ? check->policy : DMARC_NONE;
    if (w->disposition <= DMARC_NONE) {
        w->disposition = DMARC_NONE;
        return conclude(call, c, w);
    }
    dmarc_excuses(call, c, w);
    return ask_tables(call, c, w);
}

/* ---- authors ---- */

static tern_verdict next_author(tern_call *call, const struct dmarc_conf *c, struct dmarc_work *w);

/* Of several domains of From the one that counts: the strictest policy of those that fail; a pass only if all pass. */
static unsigned weight(const struct dmarc_check *check)
{
    switch (check->result) {
    case DMARC_RESULT_FAIL: return check->asked > DMARC_NONE ? 4 + check->asked : 3;
    case DMARC_RESULT_TEMPERROR: return 4;
    case DMARC_RESULT_PERMERROR: return 2;
    case DMARC_RESULT_NONE: return 1;
    default: return 0;
    }
}

/* The check of one author has ended. RFC 9989 11.5: each is judged by itself. */
static tern_verdict settle_author(tern_call *call, const struct dmarc_conf *c, struct dmarc_work *w)
{
    if (w->author_count > 1)
        tern->note(call, "author",
                   tern->format(call, "%s: %s", w->author.ptr, dmarc_result_name(w->check->result).ptr));
    if (w->worst == NULL || weight(w->check) > weight(w->worst))
        w->worst = w->check;
    if (w->author_at < w->author_count)
        return next_author(call, c, w);
    w->check = w->worst;
    w->author = w->check->in.author;
    return judge(call, c, w);
}

/* ---- questions ---- */

static tern_verdict go_on(tern_call *call, const struct dmarc_conf *c, struct dmarc_work *w, bool more)
{
    struct tern_dns_answer failed = { .status = TERN_FAILED, .error = "not asked" };

    while (more) {
        if (!w->timed)
            w->timed = tern->after_ms(call, c->lookup_time_ms, on_time) == TERN_WAIT;
        if (tern->dns(call, w->check->name, w->check->type, on_answer, NULL) == TERN_WAIT)
            return TERN_WAIT;
        w->until_ms = OUTCOME_NOT_KEPT;
        more = dmarc_answer(w->check, &failed);
    }
    dmarc_outcome_keep(call, w);
    return settle_author(call, c, w);
}

/* DMARC_AUTHORS_MAX times at most, however it comes about. */
static tern_verdict next_author(tern_call *call, const struct dmarc_conf *c, struct dmarc_work *w)
{
    w->in.author = w->author = w->authors[w->author_at++];
    w->check = tern->alloc(call, sizeof(*w->check));
    w->notes = (struct outcome_octets){ .at = NULL };
    if (dmarc_outcome_known(call, c, w, &w->in))
        return settle_author(call, c, w);
    return go_on(call, c, w, dmarc_start(w->check, &w->in));
}

static void on_answer(tern_call *call, const void *conf, const struct tern_dns_answer *answer, void *arg)
{
    struct dmarc_work *w = *tern->slot(call);

    (void)arg;
    if (w->done || w->check->phase == DMARC_PHASE_END)
        return;
    dmarc_outcome_answer(call, w, answer);
    tern_verdict verdict = go_on(call, conf, w, dmarc_answer(w->check, answer));
    if (verdict != TERN_WAIT)
        tern->complete(call, verdict);
}

static void on_time(tern_call *call, const void *conf)
{
    struct dmarc_work *w = *tern->slot(call);

    if (w->done || w->check->phase == DMARC_PHASE_END)
        return;
    dmarc_give_up(w->check, "DNS took too long");
    w->author_at = w->author_count;
    tern->complete(call, settle_author(call, conf, w));
}

/* ---- the handler ---- */

static tern_verdict on_message(tern_call *call, const void *conf)
{
    const struct dmarc_conf *c = conf;
    const tern_address *client = tern->client_address(call);
    struct dmarc_work *w = tern->alloc(call, sizeof(*w));

    if (client->family == 0 || tern->user(call).len > 0)
        return TERN_NEXT;
    if (c->exempt != NULL && tern->cidrs_match(c->exempt, client)) {
        tern->note(call, "exempt", tern->client_address_text(call));
        return TERN_NEXT;
    }
    *tern->slot(call) = w;
    w->disposition = DMARC_NONE;
    w->bad_from = dmarc_authors(call, c->bad_from == DMARC_BAD_FROM_NEXT, w);
    if (w->bad_from != NULL)
        return conclude(call, c, w);
    w->in = (struct dmarc_input){ .registrable = c->compat == DMARC_RFC7489 ? dmarc_registrable : NULL,
                                  .alloc = allocate, .arg = call };
    dmarc_gather(call, &w->in, w);
    if (w->no_spf && w->no_dkim)
        return tern->fail(call, "neither spf nor dkim_verify has looked at the message before this step");
    return next_author(call, c, w);
}

static bool is_field_name(tern_str name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] <= ' ' || name.ptr[i] > '~' || name.ptr[i] == ':')
            return false;
    return name.len <= FIELD_NAME_OCTETS_MAX;
}

static int check(void *conf, struct tern_config *config)
{
    struct dmarc_conf *c = conf;
    const char *trouble = c->compat == DMARC_RFC7489 ? dmarc_suffixes_load(NULL) : NULL;

    if (trouble != NULL)
        tern->config_error(config, "compat", "rfc7489 %s", trouble);
    if (c->quarantine == DMARC_QUARANTINE_HOLD && !c->enforce)
        tern->config_error(config, "quarantine", "hold needs enforce: true");
    if (c->enforce && !tern->config_is_given(config, "bad_from"))
        tern->config_warning(config, "bad_from",
                             "enforce does not reach a From that cannot be judged (none, two, or no address), and "
                             "who writes one evades it: say `bad_from: reject` to refuse such mail, "
                             "`bad_from: next` to let it in");
    if (!is_field_name(c->header))
        tern->config_error(config, "header", "is no name of a header field");
    bool spf = tern->config_has_result(config, "spf"), dkim = tern->config_has_result(config, "dkim");
    if (!spf && !dkim)
        tern->config_error(config, NULL, "needs spf and dkim_verify before it: it compares From with what they find");
    else if (!spf || !dkim)
        tern->config_warning(config, NULL, "without %s before it no message ever fails", spf ? "dkim_verify" : "spf");
    dmarc_collect_check(c, config);
    return dmarc_outcomes_check(c);
}

static int init(const struct tern_api *api, void **ret_state)
{
    static char names[DMARC_RESULT_COUNT][64], done[DMARC_REJECT + 1][64];

    tern = api;
    if (dmarc_outcomes_init(api) < 0)
        return -ENOMEM;
    for (unsigned i = 0; i < DMARC_RESULT_COUNT; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "tern_dmarc_%s_total", dmarc_result_name(i).ptr);
        counters[i] = api->counter(names[i], "Messages that were checked by DMARC, by what came of it");
    }
    for (unsigned i = DMARC_NONE; i <= DMARC_REJECT; i++) {
        (void)snprintf(done[i], sizeof(done[i]), "tern_dmarc_disposition_%s_total", dmarc_policy_name(i));
        dispositions[i] = api->counter(done[i], "Messages that failed DMARC, by what was done to them");
    }
    dmarc_collect_init(api);
    *ret_state = NULL;
    return 0;
}

static void fini(void *state)
{
    (void)state;
    store_close();
    dmarc_outcomes_fini();
}

static const char *const quarantine_values[] = { "none", "hold", NULL };
static const char *const defer_values[] = { "next", "defer", NULL };
static const char *const reject_values[] = { "next", "reject", NULL };
static const char *const list_values[] = { "enforce", "quarantine", "none", NULL };
static const char *const compat_values[] = { "rfc9989", "rfc7489", NULL };
static const char *const result_values[] = { "none", "pass", "fail", "temperror", "permerror", NULL };
static const char *const policy_values[] = { "none", "quarantine", "reject", NULL };
static const char *const override_values[] = {
    "", "local_policy", "mailing_list", "policy_test_mode", "trusted_forwarder", "sampled_out", NULL,
};

static const struct tern_option options[] = {
    TERN_OPTION_BOOL(struct dmarc_conf, enforce, "false",
                     "Refuse what fails where the domain of From asks for it (p=reject): 550 5.7.1."),
    TERN_OPTION_ENUM(struct dmarc_conf, quarantine, "none", quarantine_values,
                     "hold: what the domain wants in quarantine is held in the queue; with enforce."),
    TERN_OPTION_STRING(struct dmarc_conf, header, "X-DMARC-Quarantine",
                       "A field that mail gets which the domain wants in quarantine; empty: none."),
    TERN_OPTION_ENUM(struct dmarc_conf, temperror, "next", defer_values,
                     "defer: 451 4.7.1 when DNS does not answer."),
    TERN_OPTION_ENUM(struct dmarc_conf, bad_from, "next", reject_values,
                     "reject: 550 5.7.1 for a message without exactly one From of one domain."),
    TERN_OPTION_CIDRS(struct dmarc_conf, exempt,
                      "[127.0.0.0/8, \"::1\", 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, \"fc00::/7\"]",
                      "Clients that are not checked: your own networks and relays."),
    TERN_OPTION_TABLE(struct dmarc_conf, forwarders, "",
                      "Addresses of clients that forward mail for your users; nothing of theirs is refused."),
    TERN_OPTION_TABLE(struct dmarc_conf, domains, "", "Domains of From, or of their record, that are not enforced."),
    TERN_OPTION_TABLE(struct dmarc_conf, lists, "",
                      "Domains of mailing lists; mail that passes SPF or DKIM as one of them is not refused."),
    TERN_OPTION_ENUM(struct dmarc_conf, list_id, "enforce", list_values,
                     "What is done at most to mail with a List-Id, which anybody can write."),
    TERN_OPTION_BOOL(struct dmarc_conf, arc, "true",
                     "Take mail of which trusted ARC sealers say that it passed DMARC."),
    TERN_OPTION_ENUM(struct dmarc_conf, compat, "rfc9989", compat_values,
                     "rfc7489: organizational domains by the public suffix list, and pct=."),
    TERN_OPTION_MS(struct dmarc_conf, lookup_time, "20s", 1000, 300000,
                   "How long the questions of a message may take; then it is temperror."),
    TERN_OPTION_UINT(struct dmarc_conf, cache, "4096", 0, OUTCOMES_ENTRIES_MAX,
                     "Outcomes that are kept while what DNS has said to them is valid; 0: none."),
    TERN_OPTION_RECORDS(struct dmarc_conf, reports, dmarc_reports_options, struct dmarc_reports_conf, 0, 1,
                        "Collect what aggregate reports say; `tern dmarc send` sends them."),
    TERN_OPTIONS_END,
};

static const struct tern_note notes[] = {
    TERN_RESULT("dmarc", result_values, "Whether the domain of From stands behind the message."),
    TERN_RESULT("dmarc_policy", policy_values, "What the domain asks for if it does not."),
    TERN_RESULT("dmarc_disposition", policy_values, "What is done because of it."),
    TERN_RESULT("dmarc_override", override_values, "Why that is not what the domain asks for; empty if it is."),
    TERN_RESULT("dmarc_domain", NULL, "The domain of From, in A-labels and lower case."),
    TERN_RESULT("dmarc_policy_domain", NULL, "Where the record is."),
    TERN_RESULT("dmarc_detail", NULL, "All of it in the words of RFC 8601."),
    TERN_NOTES_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(MESSAGE, on_message), .answers = TERN_MAY_REJECT | TERN_MAY_DEFER | TERN_MAY_HOLD,
      .flags = TERN_ONCE },
    TERN_HOOKS_END,
};

static const char *const after[] = { "spf", "dkim_verify", "arc_verify", NULL };

TERN_MODULE(.name = "dmarc", .summary = "Check whether the domain of From stands behind a message (DMARC).",
            .options = options, .hooks = hooks, .notes = notes, .conf_size = sizeof(struct dmarc_conf), .init = init,
            .fini = fini,            .check = check, .after = after)
