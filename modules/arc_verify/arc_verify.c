/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arc_verify - checks the Authenticated Received Chain of a message, and says whether its sealers are trusted.
 *
 * As dkim_verify: it looks at the message as the client sent it, reads the fields and asks DNS for all keys at once on
 * the loop, does the arithmetic of a short chain and a small message there, and all else on the pool. It refuses
 * nothing by itself. What is looked up is copied into the call's memory, so that there is nothing to give back when
 * a client leaves.
 *
 * A chain is trusted if every sealer is: each of them could have changed the message and sealed that, and those behind
 * would have found its chain in order. So what the first one has found counts for what all of them are worth.
 *
 * Sources: RFC 8617 (5.2), RFC 8301 (weak keys, rsa-sha1), RFC 8463 (Ed25519), RFC 8601 (words of results).
 */
#include <tern/module.h>

#include "verify.h"

const struct tern_api *verify_api;
#define tern verify_api

#define KEYS_MAX        4096  /* public keys that are kept */
#define LOOP_OCTETS_MAX 65536 /* hashed on the loop: well below its millisecond */
#define LOOP_SETS_MAX   4     /* verified there: eight signatures of RSA */

static void *counters[ARC_CV_PASS + 1];

/* ---- the answer ---- */

static void set_word(tern_call *call, const char *name, const char *word)
{
    (void)tern->set_result(call, name, word[0] != '\0' ? dkim_str(word, strlen(word)) : TERN_STR("none"));
}

static tern_verdict answer(tern_call *call, const struct verify_conf *c, const struct verify_work *w)
{
    const char *result = arc_cv_name(w->result);

    (void)tern->set_result(call, "arc", dkim_str(result, strlen(result)));
    (void)tern->set_result(call, "arc_detail", verify_detail(call, w));
    (void)tern->set_result(call, "arc_domains", verify_domains(call, w));
    (void)tern->set_result(call, "arc_trusted",
                           w->result == ARC_CV_PASS && w->distrust == NULL ? TERN_STR("yes") : TERN_STR("no"));
    set_word(call, "arc_dmarc", w->words[VERIFY_DMARC]);
    set_word(call, "arc_spf", w->words[VERIFY_SPF]);
    set_word(call, "arc_dkim", w->words[VERIFY_DKIM]);
    verify_note(call, w);
    tern->counter_add(counters[w->result], 1);
    if (w->result == ARC_CV_FAIL && w->temporary &&
        (c->temperror == VERIFY_DEFER || (c->temperror == VERIFY_DEFER_TRUSTED && w->distrust == NULL)))
        return tern->reply(call, TERN_DEFER, 451, "4.7.5", "The key of an ARC set cannot be looked up now");
    return TERN_NEXT;
}

/* ---- who is trusted ---- */

/* 1: in the table. 0: not. -EAGAIN: not to be known on the loop. */
static int find_trusted(tern_call *call, const struct verify_conf *c, const struct verify_work *w, tern_str domain)
{
    struct tern_table_answer found;
    int r = w->on_pool ? tern->table_find_sync(call, c->trusted_sealers, domain, &found)
                       : tern->table_peek(call, c->trusted_sealers, domain, &found);

    if (r == -EAGAIN && !w->on_pool)
        return r;
    if (r < 0 || found.status == TERN_FAILED)
        return -EIO;
    return found.status == TERN_FOUND;
}

/*
 * 0, -EAGAIN, or -EIO, told: a table that cannot be asked is no word on anybody, so that whoever is refused for want
 * of trust would be refused for good without certainty.
 */
static int judge_sealers(tern_call *call, const struct verify_conf *c, struct verify_work *w)
{
    if (w->distrust != NULL)
        return 0;
    if (tern->table_empty(c->trusted_sealers)) {
        w->distrust = "nobody is";
        return 0;
    }
    for (unsigned i = w->chain.count; i-- > 0;) {
        tern_str d = w->chain.sets[i].seal.s.domain;
        tern_str name = tern->format(call, "%.*s", (int)d.len, d.ptr);
        int r = find_trusted(call, c, w, name);
        if (r == -EIO)
            (void)tern->fail(call, "the table of trusted sealers could not be asked about %s", name.ptr);
        if (r < 0)
            return r;
        if (r > 0)
            continue;
        w->distrust = tern->format(call, "not %s", name.ptr).ptr;
        return 0;
    }
    return 0;
}

static tern_verdict judge_on_pool(tern_call *call, const void *conf)
{
    struct verify_work *w = *tern->slot(call);

    w->on_pool = true;
    return judge_sealers(call, conf, w) < 0 ? TERN_ERROR : answer(call, conf, w);
}

static tern_verdict to_pool(tern_call *call, tern_handler run)
{
    return tern->offload(call, run) == TERN_WAIT ? TERN_WAIT : tern->fail(call, "the pool of threads is full");
}

/* ---- the chain ---- */

static tern_verdict evaluate(tern_call *call, const void *conf)
{
    const struct verify_conf *c = conf;
    struct verify_work *w = *tern->slot(call);
    int r = verify_evaluate(call, c, w);

    if (r < 0)
        return tern->fail(call, "the message could not be read: errno %d", -r);
    /* Of a chain that fails the names are anybody's word, which is enough to ask him for patience. */
    if (w->result == ARC_CV_PASS || (w->temporary && c->temperror == VERIFY_DEFER_TRUSTED))
        r = judge_sealers(call, c, w);
    if (r == -EAGAIN)
        return to_pool(call, judge_on_pool);
    return r < 0 ? TERN_ERROR : answer(call, c, w);
}

static tern_verdict evaluate_on_pool(tern_call *call, const void *conf)
{
    struct verify_work *w = *tern->slot(call);

    w->on_pool = true;
    return evaluate(call, conf);
}

/* All keys are there. */
static tern_verdict conclude(tern_call *call, const void *conf)
{
    const struct verify_work *w = *tern->slot(call);
    uint64_t octets = tern->body_octets(call) + (uint64_t)w->header.len * (w->chain.count + 1), work = 0;

    for (unsigned i = 0; i < w->chain.count; i++)
        work += dkim_lookup_work(w->ams[i].lookup) + dkim_lookup_work(w->seals[i].lookup);
    if (octets <= LOOP_OCTETS_MAX && w->chain.count <= LOOP_SETS_MAX && work <= DKIM_LOOKUP_WORK_ON_LOOP)
        return evaluate(call, conf);
    return to_pool(call, evaluate_on_pool);
}

/* ---- the keys ---- */

static void on_key(tern_call *call, const void *conf, const struct tern_dns_answer *got, void *arg)
{
    struct verify_work *w = *tern->slot(call);

    dkim_lookup_answer(tern, call, arg, got);
    if (--w->waiting > 0)
        return;
    tern_verdict verdict = conclude(call, conf);
    if (verdict != TERN_WAIT)
        tern->complete(call, verdict);
}

static struct dkim_lookup *lookup_for(tern_call *call, struct verify_work *w, const struct dkim_signature *s)
{
    struct dkim_lookup *lookup = &w->lookups[w->lookup_count];

    dkim_lookup_init(tern, call, s, lookup);
    for (unsigned i = 0; i < w->lookup_count; i++)
        if (strcasecmp(w->lookups[i].name, lookup->name) == 0)
            return &w->lookups[i];
    w->lookup_count++;
    return lookup;
}

static void ask(tern_call *call, struct verify_work *w, struct dkim_lookup *lookup)
{
    if (lookup->trouble != NULL)
        return;
    w->waiting++;
    if (tern->dns(call, lookup->name, TERN_DNS_TXT, on_key, lookup) == TERN_WAIT)
        return;
    w->waiting--;
    lookup->trouble = "DNS could not be asked";
    lookup->temporary = true;
}

static tern_verdict ask_for_keys(tern_call *call, const void *conf, struct verify_work *w)
{
    for (unsigned i = 0; i < w->chain.count; i++) {
        struct arc_set *set = &w->chain.sets[i];
        w->ams[i] = (struct verify_look){ .signature = &set->ams, .lookup = lookup_for(call, w, &set->ams.s) };
        w->seals[i] = (struct verify_look){ .signature = &set->seal, .lookup = lookup_for(call, w, &set->seal.s) };
    }
    w->waiting = 1; /* an answer may come from inside the asking */
    for (unsigned i = 0; i < w->lookup_count; i++)
        ask(call, w, &w->lookups[i]);
    return --w->waiting > 0 ? TERN_WAIT : conclude(call, conf);
}

/* ---- the handler ---- */

static int cut_header(tern_call *call, struct verify_work *w)
{
    int r = dkim_header_cut(tern, call, true, &w->fields, &w->header);

    w->field_count = r < 0 ? 0 : (size_t)r;
    return r < 0 ? r : 0;
}

static tern_verdict on_message(tern_call *call, const void *conf)
{
    struct verify_work *w = tern->alloc(call, sizeof(*w));
    int r = cut_header(call, w);

    *tern->slot(call) = w;
    if (r < 0 && r != -E2BIG)
        return tern->fail(call, "the header could not be read: errno %d", -r);
    if (r == 0 && !arc_is_there(w->fields, w->field_count))
        return answer(call, conf, w);
    w->result = ARC_CV_FAIL;
    if (r == -E2BIG) { /* what is not looked at cannot be vouched for */
        w->fields = NULL;
        return answer(call, conf, w);
    }
    arc_chain_read(w->fields, w->field_count, tern->is_smtputf8(call),
                   tern->alloc(call, ARC_SETS_MAX * sizeof(struct arc_set)), &w->chain);
    return w->chain.wrong != NULL ? answer(call, conf, w) : ask_for_keys(call, conf, w);
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    if (dkim_crypto_init() < 0)
        return -ENOSYS;
    verify_keys = dkim_keys_new(KEYS_MAX);
    if (verify_keys == NULL)
        return -ENOMEM;
    counters[ARC_CV_NONE] = api->counter("tern_arc_verify_none_total", "messages without an ARC chain");
    counters[ARC_CV_FAIL] = api->counter("tern_arc_verify_fail_total", "ARC chains that were broken");
    counters[ARC_CV_PASS] = api->counter("tern_arc_verify_pass_total", "ARC chains that were good");
    *ret_state = NULL;
    return 0;
}

static void fini(void *state)
{
    (void)state;
    dkim_keys_free(verify_keys);
    verify_keys = NULL;
}

static const char *const temperror_values[] = { "next", "trusted", "defer", NULL };
static const char *const arc_values[] = { "none", "fail", "pass", NULL };
static const char *const trusted_values[] = { "yes", "no", NULL };

static const struct tern_option options[] = {
    TERN_OPTION_TABLE(struct verify_conf, trusted_sealers, "",
                      "Domains (d=) whose seals are believed; a chain is trusted if all its sealers are."),
    TERN_OPTION_UINT(struct verify_conf, min_bits, "1024", DKIM_RSA_BITS_MIN, 4096,
                     "Bits an RSA key must have; a set with fewer fails."),
    TERN_OPTION_SECONDS(struct verify_conf, clock_skew, "5m", 0, 86400,
                        "How far other people's clocks may be off, for x=."),
    TERN_OPTION_ENUM(struct verify_conf, temperror, "trusted", temperror_values,
                     "Whose chain is put off (451) when it fails because a key could not be looked up: nobody's, that "
                     "of trusted sealers, or everybody's (defer)."),
    TERN_OPTIONS_END,
};

static const struct tern_note notes[] = {
    TERN_RESULT("arc", arc_values, "Whether the chain is good; none: there is no chain."),
    TERN_RESULT("arc_detail", NULL, "The same in the words of RFC 8601."),
    TERN_RESULT("arc_domains", NULL, "Sealers (d=) of a chain that passes, the first one first, a blank between them."),
    TERN_RESULT("arc_trusted", trusted_values, "yes: the chain passes, and all its sealers are in `trusted_sealers`."),
    TERN_RESULT("arc_dmarc", NULL, "Of a chain that passes: what its first sealer had found for DMARC; else none."),
    TERN_RESULT("arc_spf", NULL, "The same for SPF."),
    TERN_RESULT("arc_dkim", NULL, "The same for DKIM; pass if one of several signatures passed."),
    TERN_NOTES_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(MESSAGE, on_message), .answers = TERN_MAY_DEFER, .flags = TERN_ONCE },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "arc_verify", .summary = "Check the ARC chain of a message.", .options = options, .hooks = hooks,
            .notes = notes, .conf_size = sizeof(struct verify_conf), .init = init, .fini = fini)
