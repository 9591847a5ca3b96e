/* SPDX-License-Identifier: Apache-2.0 */
/*
 * srs - mail that is forwarded gets a sender of ours, and its bounces find the way back (SRS).
 *
 * A next hop that looks at SPF refuses what we forward under another's name. So, at `queue`, group by group, the sender
 * becomes SRS0=...@domain; at `rcpt` a bounce to such an address is decoded and claimed. The address is signed: who has
 * none of ours gets 550, so that this is no way to relay. It stands before `domains`, for which an SRS address were a
 * mailbox that is not there; a bounce that turns out to be for a mailbox of ours is left for it to claim.
 *
 * Sources: address.h; RFC 5321 4.5.3.1 (lengths), RFC 3464 (bounces).
 */
#include <string.h>

#include "../lib/hmac.h"
#include "../lib/mailbox.h"
#include "../lib/secrets.h"
#include "address.h"

#define DAY_S                 86400
#define SECRET_OCTETS_ADVISED 16
#define DECODED_MAX           3 /* an address may have come by us before: SRS1 in our own domain */

static const struct tern_api *tern;
static void *rewritten_count, *kept_count, *decoded_count, *refused_count;

enum too_long { KEEP, REWRITE };

struct srs_conf {
    tern_str domain, secrets;
    uint64_t max_age_s;
    unsigned hash_length, hash_min;
    int separator, alphabet, too_long;
    struct tern_list classes;
    const struct tern_table *local, *exclude;
    bool bounces_only;
    /* by check() */
    struct srs_keys *keys;
    unsigned class_bits;
};

static bool equal(tern_str a, tern_str b)
{
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static tern_str text_of(const struct srs_text *t)
{
    return (tern_str){ t->text, t->len };
}

/* ---- queue: the sender of what is forwarded ---- */

/* One that a step has added may be of another class than the rest: then the sender stays as it is. */
static bool is_forwarded(const tern_call *call, const struct srs_conf *c)
{
    const struct tern_recipient *rcpt;

    for (unsigned i = 0; (rcpt = tern->rcpt(call, i)) != NULL; i++)
        if ((c->class_bits >> rcpt->class_ & 1) == 0)
            return false;
    return tern->rcpt_count(call) > 0;
}

static tern_verdict keep(tern_call *call, const char *why)
{
    tern->counter_add(kept_count, 1);
    tern->note(call, "kept", (tern_str){ why, strlen(why) });
    return TERN_NEXT;
}

static tern_verdict rewrite(tern_call *call, const struct srs_conf *c)
{
    const struct tern_mailbox *sender = tern->sender(call);
    struct mailbox_text made;
    struct srs_text local;

    enum srs_outcome r = srs_encode(c->keys, sender->local, sender->domain, tern->now_s(call) / DAY_S, &local);
    if (r == SRS_FAILED)
        return tern->fail(call, "no hash could be made");
    if (r != SRS_OK || !mailbox_compose(text_of(&local), c->domain, &made))
        return keep(call, "the SRS address would be too long for a path");
    if (made.local_len > MAILBOX_LOCAL_OCTETS_MAX && c->too_long == KEEP)
        return keep(call, "the local part of the SRS address would be longer than 64 octets");
    if (tern->rewrite_sender(call, (tern_str){ made.text, made.len }) < 0)
        return TERN_ERROR;
    tern->counter_add(rewritten_count, 1);
    tern->note(call, "sender", (tern_str){ made.text, made.len });
    return TERN_NEXT;
}

enum stage { LOCAL, EXCLUDED_DOMAIN, EXCLUDED_ADDRESS, REWRITTEN };

static tern_verdict advance(tern_call *call, const struct srs_conf *c, enum stage stage);

static tern_verdict looked_up(tern_call *call, const struct srs_conf *c, enum stage stage, unsigned status)
{
    static const char *const why[] = { "the sender's domain is one of ours", "the sender's domain is excluded",
                                       "the sender is excluded" };

    if (status == TERN_FAILED)
        return tern->fail(call, "the table of %s did not answer", stage == LOCAL ? "local" : "exclude");
    return status == TERN_FOUND ? keep(call, why[stage]) : advance(call, c, stage + 1);
}

static void on_looked_up(tern_call *call, const void *conf, const struct tern_table_answer *answer)
{
    enum stage *stage = *tern->slot(call);
    tern_verdict v = looked_up(call, conf, *stage, answer->status);

    if (v != TERN_WAIT)
        tern->complete(call, v);
}

/* Each stage leads to the next: three look-ups at most. */
static tern_verdict advance(tern_call *call, const struct srs_conf *c, enum stage stage)
{
    const struct tern_mailbox *sender = tern->sender(call);
    const struct tern_table *table = stage == LOCAL ? c->local : c->exclude;
    tern_str key = stage == EXCLUDED_ADDRESS ? sender->address : sender->domain;
    struct tern_table_answer answer = { .status = TERN_ABSENT };
    enum stage *slot;

    if (stage == REWRITTEN)
        return rewrite(call, c);
    if (table == NULL || tern->table_peek(call, table, key, &answer) == 0)
        return looked_up(call, c, stage, answer.status);
    slot = tern->alloc(call, sizeof(*slot));
    *slot = stage;
    *tern->slot(call) = slot;
    return tern->table_find(call, table, key, on_looked_up);
}

static tern_verdict on_queue(tern_call *call, const void *conf)
{
    const struct srs_conf *c = conf;
    const struct tern_mailbox *sender = tern->sender(call);

    if (sender->local.len == 0 || sender->domain.len == 0 || equal(sender->domain, c->domain) ||
        !is_forwarded(call, c))
        return TERN_NEXT;
    return advance(call, c, LOCAL);
}

/* ---- rcpt: bounces come back ---- */

static tern_verdict refuse(tern_call *call, const char *enhanced, const char *text)
{
    tern->counter_add(refused_count, 1);
    tern->note(call, "srs", (tern_str){ text, strlen(text) });
    return tern->reply(call, TERN_REJECT, 550, enhanced, "<%s>: %s", tern->current_rcpt(call)->mailbox.address.ptr,
                       text);
}

static tern_verdict refuse_for(tern_call *call, enum srs_outcome why)
{
    switch (why) {
    case SRS_FORGED: return refuse(call, "5.7.1", "this SRS address was not made here");
    case SRS_EXPIRED: return refuse(call, "5.7.1", "this SRS address has expired");
    case SRS_FAILED: return tern->fail(call, "no hash could be made");
    default: return refuse(call, "5.1.1", "this is no SRS address");
    }
}

/* domains claims what is for a mailbox of ours, if there is such a mailbox. */
static tern_verdict claim(tern_call *call, unsigned status)
{
    if (status == TERN_FAILED)
        return tern->fail(call, "the table of local did not answer");
    tern->counter_add(decoded_count, 1);
    if (status == TERN_ABSENT && tern->claim(call, TERN_CLASS_FORWARD) < 0)
        return TERN_ERROR;
    return TERN_NEXT;
}

static void on_owner(tern_call *call, const void *conf, const struct tern_table_answer *answer)
{
    (void)conf;
    tern->complete(call, claim(call, answer->status));
}

static enum srs_outcome decode(const tern_call *call, const struct srs_conf *c, struct srs_mailbox *m)
{
    int64_t day = tern->now_s(call) / DAY_S;
    enum srs_outcome r = srs_decode(c->keys, tern->current_rcpt(call)->mailbox.local, day, m);

    for (unsigned i = 1; r == SRS_OK && i < DECODED_MAX && equal(text_of(&m->domain), c->domain); i++) {
        struct srs_mailbox inner;
        r = srs_decode(c->keys, text_of(&m->local), day, &inner);
        if (r == SRS_OK)
            *m = inner;
    }
    return r;
}

static tern_verdict on_rcpt(tern_call *call, const void *conf)
{
    const struct srs_conf *c = conf;
    const struct tern_mailbox *rcpt = &tern->current_rcpt(call)->mailbox;
    struct tern_table_answer answer = { .status = TERN_ABSENT };
    struct mailbox_text made;
    struct srs_mailbox m;

    if (!equal(rcpt->domain, c->domain) || !srs_is_srs(rcpt->local))
        return TERN_NEXT;
    if (c->bounces_only && tern->sender(call)->address.len > 0)
        return refuse(call, "5.7.1", "this SRS address takes bounces only");
    enum srs_outcome r = decode(call, c, &m);
    if (r != SRS_OK)
        return refuse_for(call, r);
    if (!mailbox_compose(text_of(&m.local), text_of(&m.domain), &made) ||
        tern->rewrite_rcpt(call, (tern_str){ made.text, made.len }) < 0)
        return refuse_for(call, SRS_BROKEN);
    tern->note(call, "decoded", (tern_str){ made.text, made.len });
    tern_str key = text_of(&m.domain);
    if (c->local == NULL || tern->table_peek(call, c->local, key, &answer) == 0)
        return claim(call, answer.status);
    return tern->table_find(call, c->local, key, on_owner);
}

/* ---- options ---- */

static void check_secrets(const struct srs_conf *c, struct srs_keys *keys, struct tern_config *config)
{
    keys->secret_count = secrets_split(c->secrets, keys->secrets, SRS_SECRETS_MAX);
    if (keys->secret_count == 0)
        tern->config_error(config, "secrets", "expected a secret on each line; there is none");
    if (keys->secret_count > SRS_SECRETS_MAX) {
        tern->config_error(config, "secrets", "expected at most %d secrets, one a line", SRS_SECRETS_MAX);
        keys->secret_count = SRS_SECRETS_MAX;
    }
    for (unsigned i = 0; i < keys->secret_count; i++)
        if (keys->secrets[i].len < SECRET_OCTETS_ADVISED) {
            tern->config_warning(config, "secrets", "secret %u is shorter than %d octets: it may be guessed", i + 1,
                                 SECRET_OCTETS_ADVISED);
            break;
        }
}

static void check_classes(struct srs_conf *c, struct tern_config *config)
{
    static const struct {
        const char *name;
        unsigned class_;
    } known[] = { { "local", TERN_CLASS_LOCAL }, { "relay", TERN_CLASS_RELAY }, { "forward", TERN_CLASS_FORWARD },
                  { "client", TERN_CLASS_CLIENT } };

    for (size_t i = 0; i < c->classes.count; i++) {
        size_t k = 0;
        while (k < sizeof(known) / sizeof(known[0]) && strcmp(known[k].name, c->classes.items[i].ptr) != 0)
            k++;
        if (k < sizeof(known) / sizeof(known[0]))
            c->class_bits |= 1u << known[k].class_;
        else
            tern->config_error(config, "classes", "expected local, relay, forward or client, not \"%s\"",
                               c->classes.items[i].ptr);
    }
}

/* Compared with what RCPT was given, which is in lower case and A-labels. */
static void check_domain(struct srs_conf *c, struct tern_config *config)
{
    char *own = tern->config_alloc(config, c->domain.len + 1);
    bool dotted = false;

    for (size_t i = 0; i < c->domain.len; i++) {
        char ch = c->domain.ptr[i];
        own[i] = ch >= 'A' && ch <= 'Z' ? (char)(ch + 32) : ch;
        dotted |= ch == '.' && i > 0 && i + 1 < c->domain.len;
        if (strchr("abcdefghijklmnopqrstuvwxyz0123456789.-", own[i]) == NULL)
            dotted = false, i = c->domain.len;
    }
    if (!dotted)
        tern->config_error(config, "domain", "expected a domain in ASCII, such as srs.example.org");
    c->domain.ptr = own;
}

static int check(void *conf, struct tern_config *config)
{
    struct srs_conf *c = conf;
    struct srs_keys *keys = tern->config_alloc(config, sizeof(*keys));

    c->keys = keys;
    c->class_bits = 0;
    check_domain(c, config);
    check_secrets(c, keys, config);
    check_classes(c, config);
    if (c->hash_min > c->hash_length)
        tern->config_error(config, "hash_min", "is above hash_length: no address made here would be taken");
    keys->hash_length = c->hash_length;
    keys->hash_min = c->hash_min;
    keys->age_days = (unsigned)(c->max_age_s / DAY_S);
    keys->separator = "=-+"[c->separator];
    keys->plain = c->alphabet == 1;
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    rewritten_count = tern->counter("tern_srs_rewritten_total", "Senders that srs has rewritten.");
    kept_count = tern->counter("tern_srs_kept_total", "Senders of forwarded mail that srs has left as they are.");
    decoded_count = tern->counter("tern_srs_decoded_total", "Recipients that were SRS addresses of ours.");
    refused_count = tern->counter("tern_srs_refused_total", "SRS addresses in our domain that were refused.");
    return hmac_init();
}

static const char *const separators[] = { "=", "-", "+", NULL };
static const char *const alphabets[] = { "url", "base64", NULL };
static const char *const too_long[] = { "keep", "rewrite", NULL };

static const struct tern_option options[] = {
    TERN_OPTION_STRING(struct srs_conf, domain, NULL,
                       "The domain of SRS addresses: its mail comes here, and its SPF record lets this server send."),
    TERN_OPTION_SECRET(struct srs_conf, secrets, NULL, "Secrets, one a line: the first signs, all verify."),
    TERN_OPTION_SECONDS(struct srs_conf, max_age, "21d", DAY_S, (int64_t)SRS_AGE_DAYS_MAX * DAY_S,
                        "How old an address may be when a bounce comes; whole days."),
    TERN_OPTION_UINT(struct srs_conf, hash_length, "4", SRS_HASH_LENGTH_MIN, SRS_HASH_LENGTH_MAX,
                     "Characters of the hash in addresses that are made."),
    TERN_OPTION_UINT(struct srs_conf, hash_min, "4", SRS_HASH_LENGTH_MIN, SRS_HASH_LENGTH_MAX,
                     "Characters of the hash that an address must have to be taken."),
    TERN_OPTION_ENUM(struct srs_conf, separator, "=", separators, "The character behind SRS0 and SRS1."),
    TERN_OPTION_ENUM(struct srs_conf, alphabet, "url", alphabets,
                     "Hashes with - and _ (url), or + and / (base64) as older programs want them; both are taken."),
    TERN_OPTION_LIST(struct srs_conf, classes, "[forward]", 1, 4,
                     "Mail of these classes is forwarded: local, relay, forward, client."),
    TERN_OPTION_TABLE(struct srs_conf, local, "",
                      "Our domains: their senders are left as they are, and bounces for them are claimed by domains."),
    TERN_OPTION_TABLE(struct srs_conf, exclude, "", "Senders, by domain or address, that are left as they are."),
    TERN_OPTION_BOOL(struct srs_conf, bounces_only, "true",
                     "SRS addresses take mail of the null sender only; false: of anybody who has one."),
    TERN_OPTION_ENUM(struct srs_conf, too_long, "keep", too_long,
                     "What becomes of a sender whose SRS address has a local part above 64 octets."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(RCPT, on_rcpt), .answers = TERN_MAY_REJECT, .flags = TERN_CLAIMS },
    { TERN_HOOK(QUEUE, on_queue) },
    TERN_HOOKS_END,
};

static const char *const before[] = { "domains", NULL };

TERN_MODULE(.name = "srs", .summary = "Forwarded mail gets a sender of ours, whose bounces find the way back.",
            .options = options, .hooks = hooks, .conf_size = sizeof(struct srs_conf), .init = init, .check = check,
            .before = before)
