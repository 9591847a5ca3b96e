/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batv - senders of our own users are tagged, so that a bounce tells whether the mail was ours (BATV).
 *
 * At `queue` the sender of mail by one who has logged in, or whose client may send anywhere, becomes
 * prvs=...=local@domain. At `rcpt` the tag is taken off again, so that the steps behind see a plain address; of a
 * bounce (null sender) it is verified, and one to an address of ours without a tag answers a mail that was not ours.
 *
 * It claims nothing: the mailbox is for `domains` to claim. It is declared as a step that may, since only such ones
 * are asked about our own notices, whose recipient has a tag as well. It stands behind srs, which decodes addresses
 * that are no mailboxes, and before domains.
 *
 * Sources: tag.h; RFC 5321 4.5.1 (postmaster), 4.5.5 (null sender).
 */
#include <string.h>

#include "../lib/hmac.h"
#include "../lib/secrets.h"
#include "tag.h"

#define DAY_S                 86400
#define SECRET_OCTETS_ADVISED 16
#define RCPTS_LOOKED_UP_MAX   1000 /* of one group, in untagged_to */
#define UNTAGGED_VAR          "batv_untagged"
#define UNTAGGED_OCTETS_MAX   1000

static const struct tern_api *tern;
static void *tagged_count, *pass_count, *invalid_count, *untagged_count;

enum answer { REPORT, REFUSE, REFUSE_AT_DATA };

struct batv_conf {
    const struct tern_table *local, *exclude, *untagged_to;
    tern_str secrets;
    unsigned key_number;
    uint64_t max_age_s;
    int untagged, invalid;
    struct batv_keys *keys; /* by check() */
};

static int64_t today(const tern_call *call)
{
    return tern->now_s(call) / DAY_S;
}

static bool begins_like_srs(tern_str local)
{
    return local.len > 4 && (local.ptr[0] | 32) == 's' && (local.ptr[1] | 32) == 'r' && (local.ptr[2] | 32) == 's' &&
           (local.ptr[3] == '0' || local.ptr[3] == '1') && strchr("=-+", local.ptr[4]) != NULL;
}

/* ---- look-ups: is the domain ours, is the mailbox excluded; at queue also: is a recipient one of untagged_to ---- */

enum stage { LOCAL, EXCLUDED_DOMAIN, EXCLUDED_ADDRESS, RCPT_DOMAIN, RCPT_ADDRESS, DONE };

struct work {
    enum stage stage;
    unsigned rcpt;
    const struct tern_mailbox *mailbox; /* sender at queue, recipient at rcpt */
    tern_verdict (*ours)(tern_call *call, const struct batv_conf *c, const struct tern_mailbox *m);
    bool at_queue;
    bool only_local; /* a tag is taken off whoever is excluded */
};

static const struct tern_table *question(const tern_call *call, const struct batv_conf *c, const struct work *w,
                                         tern_str *key)
{
    const struct tern_mailbox *m = w->mailbox;

    if (w->stage == LOCAL) {
        *key = m->domain;
        return c->local;
    }
    if (w->stage == RCPT_DOMAIN || w->stage == RCPT_ADDRESS)
        m = &tern->rcpt(call, w->rcpt)->mailbox;
    *key = w->stage == EXCLUDED_DOMAIN || w->stage == RCPT_DOMAIN ? m->domain : m->address;
    return w->stage < RCPT_DOMAIN ? c->exclude : c->untagged_to;
}

static void to_next_stage(const tern_call *call, const struct batv_conf *c, struct work *w)
{
    unsigned most = tern->rcpt_count(call) < RCPTS_LOOKED_UP_MAX ? tern->rcpt_count(call) : RCPTS_LOOKED_UP_MAX;

    if (w->only_local) {
        w->stage = DONE;
    } else if (w->stage == RCPT_ADDRESS && w->rcpt + 1 < most) {
        w->rcpt++;
        w->stage = RCPT_DOMAIN;
    } else {
        w->stage++;
    }
    if (w->stage == RCPT_ADDRESS + 1 || (w->stage == RCPT_DOMAIN && (!w->at_queue || c->untagged_to == NULL)))
        w->stage = DONE;
}

/* True: it goes on to the next stage. Else *ret is the answer. */
static bool take(tern_call *call, const struct batv_conf *c, struct work *w, unsigned status, tern_verdict *ret)
{
    static const char *const what[] = { "local", "exclude", "exclude", "untagged_to", "untagged_to" };

    if (status == TERN_FAILED) {
        *ret = tern->fail(call, "the table of %s did not answer", what[w->stage]);
        return false;
    }
    *ret = TERN_NEXT; /* not ours; or ours, and excluded */
    if ((status == TERN_FOUND) != (w->stage == LOCAL)) {
        if (w->stage != LOCAL && w->at_queue)
            tern->note(call, "untagged", (tern_str){ what[w->stage], strlen(what[w->stage]) });
        return false;
    }
    to_next_stage(call, c, w);
    return true;
}

static tern_verdict advance(tern_call *call, const struct batv_conf *c, struct work *w);

static void on_looked_up(tern_call *call, const void *conf, const struct tern_table_answer *answer)
{
    struct work *w = *tern->slot(call);
    tern_verdict v;

    if (take(call, conf, w, answer->status, &v))
        v = advance(call, conf, w);
    if (v != TERN_WAIT)
        tern->complete(call, v);
}

/* Three look-ups, and two for each of RCPTS_LOOKED_UP_MAX recipients. */
static tern_verdict advance(tern_call *call, const struct batv_conf *c, struct work *w)
{
    tern_verdict v;

    while (w->stage != DONE) {
        struct tern_table_answer answer = { .status = TERN_ABSENT };
        tern_str key;
        const struct tern_table *table = question(call, c, w, &key);
        if (table != NULL && tern->table_peek(call, table, key, &answer) < 0)
            return tern->table_find(call, table, key, on_looked_up);
        if (!take(call, c, w, answer.status, &v))
            return v;
    }
    return w->ours(call, c, w->mailbox);
}

static tern_verdict look_up(tern_call *call, const struct batv_conf *c, const struct work *begin)
{
    struct work *w = tern->alloc(call, sizeof(*w));

    *w = *begin;
    *tern->slot(call) = w;
    return advance(call, c, w);
}

/* ---- queue: our own senders ---- */

static tern_verdict tag_sender(tern_call *call, const struct batv_conf *c, const struct tern_mailbox *m)
{
    struct mailbox_text made;

    if (!batv_fits(m->local, m->domain)) {
        tern->note(call, "untagged", TERN_STR("with a tag the local part would be longer than 64 octets"));
        return TERN_NEXT;
    }
    if (batv_make(c->keys, m->local, m->domain, today(call), &made) != BATV_OK)
        return tern->fail(call, "no hash could be made");
    if (tern->rewrite_sender(call, (tern_str){ made.text, made.len }) < 0)
        return TERN_ERROR;
    tern->counter_add(tagged_count, 1);
    tern->note(call, "sender", (tern_str){ made.text, made.len });
    return TERN_NEXT;
}

/* Who has logged in, or whose client may send anywhere: a stranger's mail under our name is not to be vouched for. */
static bool is_by_ours(const tern_call *call)
{
    const struct tern_recipient *rcpt = tern->rcpt(call, 0);

    return tern->user(call).len > 0 || (rcpt != NULL && rcpt->class_ == TERN_CLASS_CLIENT);
}

static tern_verdict on_queue(tern_call *call, const void *conf)
{
    const struct tern_mailbox *sender = tern->sender(call);
    struct batv_tag tag;

    if (sender->local.len == 0 || sender->domain.len == 0 || !is_by_ours(call) || begins_like_srs(sender->local) ||
        batv_split(sender->local, &tag))
        return TERN_NEXT;
    return look_up(call, conf, &(struct work){ .mailbox = sender, .ours = tag_sender, .at_queue = true });
}

/* ---- rcpt: bounces ---- */

static tern_verdict refuse(tern_call *call, const char *text)
{
    return tern->reply(call, TERN_REJECT, 550, "5.7.1", "<%s>: %s", tern->current_rcpt(call)->mailbox.address.ptr,
                       text);
}

static int found(tern_call *call, const char *result)
{
    return tern->set_result(call, "batv", (tern_str){ result, strlen(result) });
}

static tern_verdict refuse_untagged(tern_call *call)
{
    return refuse(call, "no mail left here with this sender, so that none can bounce to it");
}

/* For hook data: <address> of each that is taken without a tag. More than a few are no bounce: refused at once. */
static tern_verdict note_untagged(tern_call *call)
{
    tern_str so_far = tern->var(call, UNTAGGED_VAR), address = tern->current_rcpt(call)->original.address;

    if (so_far.len + address.len + 2 > UNTAGGED_OCTETS_MAX)
        return refuse_untagged(call);
    tern_str more = tern->format(call, "%s<%s>", so_far.len > 0 ? so_far.ptr : "", address.ptr);
    return tern->set_var(call, UNTAGGED_VAR, more) < 0 ? TERN_ERROR : TERN_NEXT;
}

/* Ours without a tag. Some have none by right: whoever could not be tagged, and postmaster. */
static tern_verdict on_untagged(tern_call *call, const struct batv_conf *c, const struct tern_mailbox *m)
{
    if (!batv_fits(m->local, m->domain) || (m->local.len == 10 && strncasecmp(m->local.ptr, "postmaster", 10) == 0))
        return TERN_NEXT;
    tern->counter_add(untagged_count, 1);
    if (found(call, "untagged") < 0)
        return TERN_ERROR;
    if (c->untagged == REFUSE)
        return refuse_untagged(call);
    return c->untagged == REFUSE_AT_DATA ? note_untagged(call) : TERN_NEXT;
}

static tern_verdict take_off(tern_call *call, const struct batv_tag *tag, tern_str domain)
{
    struct mailbox_text plain;

    if (!mailbox_compose(tag->core, domain, &plain) ||
        tern->rewrite_rcpt(call, (tern_str){ plain.text, plain.len }) < 0)
        return refuse(call, "this is no address");
    return TERN_NEXT;
}

static tern_verdict check_bounce(tern_call *call, const struct batv_conf *c, const struct batv_tag *tag,
                                 tern_str domain)
{
    enum batv_outcome outcome = batv_check(c->keys, tag, domain, today(call));

    if (outcome == BATV_FAILED)
        return tern->fail(call, "no hash could be made");
    tern->note(call, "tag", tag->day);
    tern->counter_add(outcome == BATV_OK ? pass_count : invalid_count, 1);
    if (found(call, outcome == BATV_OK ? "pass" : outcome == BATV_EXPIRED ? "expired" : "fail") < 0)
        return TERN_ERROR;
    if (outcome != BATV_OK && c->invalid == REFUSE)
        return refuse(call, outcome == BATV_EXPIRED ? "this bounce address has expired"
                                                    : "this bounce address was not made here");
    return take_off(call, tag, domain);
}

/* A tag of ours; whoever else writes to it gets the mailbox, as he would without the tag. */
static tern_verdict on_tagged(tern_call *call, const struct batv_conf *c, const struct tern_mailbox *m)
{
    struct batv_tag tag;

    (void)batv_split(m->local, &tag);
    if (tern->sender(call)->address.len > 0)
        return take_off(call, &tag, m->domain);
    return check_bounce(call, c, &tag, m->domain);
}

/* Our own notices answer mail that was ours; a recipient whom a step has added is nobody's bounce. */
static bool is_from_outside(const tern_call *call)
{
    const struct tern_recipient *rcpt = tern->current_rcpt(call);

    return tern->session_id(call).len > 0 && (rcpt->class_ != TERN_CLASS_NONE || rcpt->claimed_by.len == 0);
}

static tern_verdict on_rcpt(tern_call *call, const void *conf)
{
    const struct tern_mailbox *rcpt = &tern->current_rcpt(call)->mailbox;
    struct work w = { .mailbox = rcpt, .ours = on_untagged };
    struct batv_tag tag;

    if (rcpt->domain.len == 0)
        return TERN_NEXT;
    if (batv_split(rcpt->local, &tag)) {
        w.ours = on_tagged;
        w.only_local = true;
    } else if (tern->sender(call)->address.len > 0 || !is_from_outside(call)) {
        return TERN_NEXT;
    }
    return look_up(call, conf, &w);
}

/* ---- data: who only asks whether an address takes mail has gone by now ---- */

/* Of the recipients, for some may have been refused since. A name that is within another's makes no difference. */
static bool are_all_untagged(tern_call *call)
{
    tern_str noted = tern->var(call, UNTAGGED_VAR);
    const struct tern_recipient *rcpt;

    if (noted.len == 0 || tern->rcpt_count(call) > UNTAGGED_OCTETS_MAX)
        return false;
    for (unsigned i = 0; (rcpt = tern->rcpt(call, i)) != NULL; i++)
        if (strstr(noted.ptr, tern->format(call, "<%s>", rcpt->original.address.ptr).ptr) == NULL)
            return false;
    return true;
}

static tern_verdict on_data(tern_call *call, const void *conf)
{
    const struct batv_conf *c = conf;

    if (c->untagged != REFUSE_AT_DATA || tern->sender(call)->address.len > 0 || !are_all_untagged(call))
        return TERN_NEXT;
    return tern->reply(call, TERN_REJECT, 550, "5.7.1",
                       "No mail left here with this sender, so that none can bounce to it");
}

/* ---- options ---- */

static int check(void *conf, struct tern_config *config)
{
    struct batv_conf *c = conf;
    struct batv_keys *keys = tern->config_alloc(config, sizeof(*keys));
    bool short_one = false;

    c->keys = keys;
    keys->number = c->key_number;
    keys->age_days = (unsigned)(c->max_age_s / DAY_S);
    keys->secret_count = secrets_split(c->secrets, keys->secrets, BATV_SECRETS_MAX);
    if (keys->secret_count == 0)
        tern->config_error(config, "secrets", "expected a secret on each line; there is none");
    if (keys->secret_count > BATV_SECRETS_MAX) {
        tern->config_error(config, "secrets", "expected at most %d secrets, one a line", BATV_SECRETS_MAX);
        keys->secret_count = BATV_SECRETS_MAX;
    }
    for (unsigned i = 0; i < keys->secret_count; i++)
        short_one |= keys->secrets[i].len < SECRET_OCTETS_ADVISED;
    if (short_one)
        tern->config_warning(config, "secrets", "a secret is shorter than %d octets: it may be guessed",
                             SECRET_OCTETS_ADVISED);
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    tagged_count = tern->counter("tern_batv_tagged_total", "Senders that batv has tagged.");
    pass_count = tern->counter("tern_batv_pass_total", "Bounces to an address with a good tag.");
    invalid_count = tern->counter("tern_batv_invalid_total", "Bounces to an address with a bad tag.");
    untagged_count = tern->counter("tern_batv_untagged_total", "Bounces to an address of ours without a tag.");
    return hmac_init();
}

static const char *const answers[] = { "report", "refuse", NULL };
static const char *const untagged_answers[] = { "report", "refuse", "refuse_at_data", NULL };

static const struct tern_option options[] = {
    TERN_OPTION_TABLE(struct batv_conf, local, NULL, "Our domains: senders in them are tagged, bounces checked."),
    TERN_OPTION_SECRET(struct batv_conf, secrets, NULL, "Secrets, one a line: the first signs, all verify."),
    TERN_OPTION_UINT(struct batv_conf, key_number, "0", 0, 9, "The number in the tag that tells keys apart."),
    TERN_OPTION_SECONDS(struct batv_conf, max_age, "7d", DAY_S, (int64_t)BATV_AGE_DAYS_MAX *DAY_S,
                        "How long after the mail a bounce may come; whole days."),
    TERN_OPTION_ENUM(struct batv_conf, untagged, "report", untagged_answers,
                     "A bounce to an address of ours without a tag: results.batv says so, or 550 to RCPT, or to DATA."),
    TERN_OPTION_ENUM(struct batv_conf, invalid, "refuse", answers,
                     "A bounce to a tag that is not ours or has expired: 550, or results.batv says so."),
    TERN_OPTION_TABLE(struct batv_conf, exclude, "",
                      "Our addresses, or domains, that are not tagged and whose bounces need no tag."),
    TERN_OPTION_TABLE(struct batv_conf, untagged_to, "",
                      "Recipients, by address or domain, to whom mail goes without a tag, such as mailing lists."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(RCPT, on_rcpt), .answers = TERN_MAY_REJECT, .flags = TERN_CLAIMS },
    { TERN_HOOK(DATA, on_data), .answers = TERN_MAY_REJECT },
    { TERN_HOOK(QUEUE, on_queue) },
    TERN_HOOKS_END,
};

static const char *const results[] = { "pass", "fail", "expired", "untagged", NULL };
static const struct tern_note notes[] = {
    TERN_RESULT("batv", results, "What a bounce to one of ours was: with a good tag, a bad one, or none."),
    TERN_NOTES_END,
};
static const char *const after[] = { "srs", NULL };
static const char *const before[] = { "domains", NULL };

TERN_MODULE(.name = "batv", .summary = "Tags senders of ours, and tells bounces to them from others.",
            .options = options, .hooks = hooks, .notes = notes, .conf_size = sizeof(struct batv_conf), .init = init,
            .check = check, .after = after, .before = before)
