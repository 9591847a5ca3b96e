/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_verify - checks the DKIM signatures of a message, and says what came of each.
 *
 * It looks at the message as the client sent it: our Received and what steps before changed cannot break
 * a signature. It refuses nothing by itself: results are for steps behind it.
 *
 * On the loop: reading the fields and asking DNS for all keys at once. The arithmetic of a small message stays
 * there; hashing a large one, and long keys, go to the pool. What is looked up is copied into the call's memory,
 * so that there is nothing to give back when a client leaves.
 *
 * Sources: RFC 6376 (6), RFC 8301 (weak keys, rsa-sha1), RFC 8463 (Ed25519), RFC 8601 2.7.1 (names of results).
 */
#include <tern/module.h>

#include "verify.h"

const struct tern_api *verify_api;
#define tern verify_api

#define SIGNATURES_MAX    VERIFY_SIGNATURES_MAX
#define KEYS_MAX          4096  /* public keys that are kept */
#define LOOP_OCTETS_MAX   65536 /* hashed on the loop: well below its millisecond */

static void *counters[VERIFY_OUTCOME_COUNT];

/* ---- what the fields say, before anybody is asked ---- */

static void judge(struct verify_look *look, enum verify_outcome outcome, const char *reason)
{
    look->outcome = outcome;
    look->reason = reason;
}

static void look_at_field(struct verify_look *look, const struct dkim_field *field, bool utf8)
{
    const char *colon = memchr(field->whole.ptr, ':', field->whole.len);
    tern_str value = { colon + 1, field->whole.len - (size_t)(colon + 1 - field->whole.ptr) };

    if (value.len >= 2 && memcmp(value.ptr + value.len - 2, "\r\n", 2) == 0)
        value.len -= 2;
    look->field = field;
    const char *wrong = dkim_signature_parse(value, utf8, &look->signature);
    if (wrong != NULL)
        judge(look, VERIFY_NEUTRAL, wrong);
}

/* By the signature alone: RFC 6376 6.1.1. */
static void check_signature(struct verify_look *look, const struct verify_conf *c, int64_t now_s)
{
    const struct dkim_signature *s = &look->signature;
    int64_t skew_s = (int64_t)c->clock_skew_s;

    if (look->outcome != VERIFY_NONE)
        return;
    if (s->algorithm == DKIM_RSA_SHA1)
        judge(look, VERIFY_PERMERROR, "rsa-sha1 proves nothing any more");
    else if (!dkim_name_is_valid(s->domain, 2))
        judge(look, VERIFY_POLICY, "signed by a top-level domain");
    else if (s->expires >= 0 && now_s > s->expires + skew_s)
        judge(look, VERIFY_PERMERROR, "expired");
    else if (s->time > now_s + skew_s)
        judge(look, VERIFY_POLICY, "signed in the future");
}

/* RFC 6376 3.8, 8.15: with two of them, readers are shown the one that nobody signed. */
static const char *header_trouble(const struct verify_work *w)
{
    unsigned from = dkim_fields_named(w->fields, w->field_count, "from");

    return from == 1 ? NULL : from == 0 ? "the message has no From" : "the message has several From";
}

/* ---- the answer ---- */

static tern_verdict answer(tern_call *call, const struct verify_conf *c, const struct verify_work *w)
{
    verify_tell(call, w);
    for (unsigned i = 0; i < w->look_count; i++)
        tern->counter_add(counters[w->looks[i].outcome], 1);
    if (verify_sum(w) == VERIFY_TEMPERROR && c->temperror == VERIFY_DEFER)
        return tern->reply(call, TERN_DEFER, 451, "4.7.5", "The key of a DKIM signature cannot be looked up now");
    return TERN_NEXT;
}

static tern_verdict evaluate(tern_call *call, const void *conf)
{
    struct verify_work *w = *tern->slot(call);
    int r = verify_evaluate(call, conf, w);

    if (r < 0)
        return tern->fail(call, "the message could not be read: errno %d", -r);
    return answer(call, conf, w);
}

/* All keys are there. */
static tern_verdict conclude(tern_call *call, const void *conf)
{
    const struct verify_work *w = *tern->slot(call);
    uint64_t octets = 0, work = 0, body = tern->body_octets(call);

    for (unsigned i = 0; i < w->look_count; i++)
        if (w->looks[i].outcome == VERIFY_NONE) {
            octets += body + w->header.len;
            work += dkim_lookup_work(&w->looks[i].lookup);
        }
    if (octets <= LOOP_OCTETS_MAX && work <= DKIM_LOOKUP_WORK_ON_LOOP)
        return evaluate(call, conf);
    if (tern->offload(call, evaluate) == TERN_WAIT)
        return TERN_WAIT;
    return tern->fail(call, "the pool of threads is full");
}

/* ---- the keys ---- */

static void on_key(tern_call *call, const void *conf, const struct tern_dns_answer *got, void *arg)
{
    struct verify_work *w = *tern->slot(call);
    struct verify_look *look = arg;

    if (!look->waits) /* it came too late */
        return;
    look->waits = false;
    dkim_lookup_answer(tern, call, &look->lookup, got);
    if (look->lookup.trouble != NULL)
        judge(look, look->lookup.temporary ? VERIFY_TEMPERROR : VERIFY_PERMERROR, look->lookup.trouble);
    if (--w->waiting > 0)
        return;
    tern_verdict verdict = conclude(call, conf);
    if (verdict != TERN_WAIT)
        tern->complete(call, verdict);
}

/* The signatures whose keys have come are decided; the others cannot be, now. */
static void on_time(tern_call *call, const void *conf)
{
    struct verify_work *w = *tern->slot(call);

    if (w->waiting == 0)
        return;
    for (unsigned i = 0; i < w->look_count; i++) {
        struct verify_look *look = &w->looks[i];
        if (!look->waits)
            continue;
        look->waits = false;
        judge(look, VERIFY_TEMPERROR, "DNS took too long");
        tern->note(call, look->lookup.name, TERN_STR("DNS took too long"));
    }
    w->waiting = 0;
    tern_verdict verdict = conclude(call, conf);
    if (verdict != TERN_WAIT)
        tern->complete(call, verdict);
}

static void ask(tern_call *call, struct verify_work *w, struct verify_look *look)
{
    dkim_lookup_init(tern, call, &look->signature, &look->lookup);
    if (look->lookup.trouble != NULL) {
        judge(look, VERIFY_NEUTRAL, look->lookup.trouble);
        return;
    }
    w->waiting++;
    look->waits = true;
    if (tern->dns(call, look->lookup.name, TERN_DNS_TXT, on_key, look) == TERN_WAIT)
        return;
    w->waiting--;
    look->waits = false;
    judge(look, VERIFY_TEMPERROR, "DNS could not be asked");
}

/* ---- the handler ---- */

static int cut_header(tern_call *call, struct verify_work *w)
{
    int r = dkim_header_cut(tern, call, true, &w->fields, &w->header);

    w->field_count = r < 0 ? 0 : (size_t)r;
    return r < 0 ? r : 0;
}

static void look_at_fields(tern_call *call, const struct verify_conf *c, struct verify_work *w)
{
    const char *trouble = header_trouble(w);
    unsigned count = dkim_fields_named(w->fields, w->field_count, "dkim-signature");

    count = count < c->signatures ? count : c->signatures;
    w->looks = tern->alloc(call, count * sizeof(w->looks[0]));
    for (size_t i = 0; w->look_count < count; i++) {
        if (!dkim_equal_nocase(w->fields[i].name, TERN_STR("dkim-signature")))
            continue;
        struct verify_look *look = &w->looks[w->look_count++];
        look_at_field(look, &w->fields[i], tern->is_smtputf8(call));
        check_signature(look, c, tern->now_s(call));
        if (look->outcome == VERIFY_NONE && trouble != NULL)
            judge(look, VERIFY_PERMERROR, trouble);
    }
}

static tern_verdict on_message(tern_call *call, const void *conf)
{
    const struct verify_conf *c = conf;
    struct verify_work *w = tern->alloc(call, sizeof(*w));
    int r = cut_header(call, w);

    *tern->slot(call) = w;
    if (r == -E2BIG) { /* what is not looked at cannot be vouched for */
        w->sum = VERIFY_PERMERROR;
        return answer(call, c, w);
    }
    if (r < 0)
        return tern->fail(call, "the header could not be read: errno %d", -r);
    look_at_fields(call, c, w);
    if (w->look_count == 0)
        return answer(call, c, w);
    w->waiting = 1; /* an answer may come from inside the asking */
    for (unsigned i = 0; i < w->look_count; i++)
        if (w->looks[i].outcome == VERIFY_NONE)
            ask(call, w, &w->looks[i]);
    if (--w->waiting == 0)
        return conclude(call, conf);
    (void)tern->after_ms(call, c->lookup_time_ms, on_time);
    return TERN_WAIT;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    if (dkim_crypto_init() < 0)
        return -ENOSYS;
    verify_keys = dkim_keys_new(KEYS_MAX);
    if (verify_keys == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < VERIFY_OUTCOME_COUNT; i++) {
        static const char *const names[] = { "none", "pass", "fail", "policy", "neutral", "temperror", "permerror" };
        static char name[VERIFY_OUTCOME_COUNT][64];
        (void)snprintf(name[i], sizeof(name[i]), "tern_dkim_verify_%s_total", names[i]);
        counters[i] = api->counter(name[i], "DKIM signatures looked at, by what came of them");
    }
    *ret_state = NULL;
    return 0;
}

static void fini(void *state)
{
    (void)state;
    dkim_keys_free(verify_keys);
    verify_keys = NULL;
}

static const char *const partial_values[] = { "policy", "pass", NULL };
static const char *const temperror_values[] = { "next", "defer", NULL };
static const char *const dkim_values[] = {
    "none", "pass", "fail", "policy", "neutral", "temperror", "permerror", NULL,
};

static const struct tern_option options[] = {
    TERN_OPTION_UINT(struct verify_conf, signatures, "8", 1, SIGNATURES_MAX,
                     "Signatures of a message that are looked at, from the top; more are passed over."),
    TERN_OPTION_UINT(struct verify_conf, min_bits, "1024", DKIM_RSA_BITS_MIN, 4096,
                     "Bits an RSA key must have; one with fewer is `policy`."),
    TERN_OPTION_ENUM(struct verify_conf, partial_body, "policy", partial_values,
                     "What a good signature is whose l= leaves the end of the body unsigned."),
    TERN_OPTION_SECONDS(struct verify_conf, clock_skew, "5m", 0, 86400,
                        "How far other people's clocks may be off, for t= and x=."),
    TERN_OPTION_ENUM(struct verify_conf, temperror, "next", temperror_values,
                     "defer: 451 when no signature passes and a key could not be looked up."),
    TERN_OPTION_MS(struct verify_conf, lookup_time, "20s", 1000, 300000,
                   "How long the keys of a message may take; then signatures without theirs are temperror."),
    TERN_OPTIONS_END,
};

static const struct tern_note notes[] = {
    TERN_RESULT("dkim", dkim_values, "The best of the message's signatures."),
    TERN_RESULT("dkim_domains", NULL, "Domains (d=) whose signatures pass, in lower case, a blank between them."),
    TERN_RESULT("dkim_detail", NULL, "Each signature in the words of RFC 8601, `; ` between them."),
    TERN_NOTES_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(MESSAGE, on_message), .answers = TERN_MAY_DEFER, .flags = TERN_ONCE },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "dkim_verify", .summary = "Check the DKIM signatures of a message.", .options = options,
            .hooks = hooks, .notes = notes, .conf_size = sizeof(struct verify_conf), .init = init, .fini = fini)
