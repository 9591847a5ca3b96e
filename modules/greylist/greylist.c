/* SPDX-License-Identifier: Apache-2.0 */
/*
 * greylist - puts off a sender that was never seen, and takes it when it comes again.
 *
 * The triplet of client network, sender and recipient is remembered in kv. A first try
 * gets 451 4.7.1; a try after `delay` passes and is remembered for `keep`. A client whose network
 * sends from many hosts comes back from another one, hence the masks.
 *
 * Stored number: seconds since 1970 of the first try, negative once the triplet has passed
 * (then of the last renewal, which is written at most once a day, or twice in `keep` if that is shorter).
 *
 * Source: RFC 6647 (section 4.1 on masks, 5 on times).
 */
#include <tern/module.h>

#include <string.h>

#define RENEW_S_MAX 86400

static const struct tern_api *tern;
static void *deferred_count, *passed_count;

struct greylist_conf {
    uint64_t delay_s, retry_s, keep_s;
    unsigned ipv4_mask, ipv6_mask;
    const struct tern_cidrs *exempt;
    tern_str text;
};

static void mask(tern_address *a, unsigned bits)
{
    unsigned octets = a->family == 4 ? 4 : 16;

    for (unsigned i = 0; i < octets; i++) {
        unsigned keep = bits > i * 8 ? bits - i * 8 : 0;
        if (keep < 8)
            a->octets[i] &= (uint8_t)(0xff00 >> keep);
    }
}

/* The length before each part keeps a sender from imitating another triplet. */
static tern_str triplet(tern_call *call, const struct greylist_conf *c)
{
    tern_address net = *tern->client_address(call);
    tern_str sender = tern->sender(call)->address;
    tern_str rcpt = tern->current_rcpt(call)->original.address;
    unsigned octets = net.family == 4 ? 4 : 16;
    char hex[33];

    mask(&net, net.family == 4 ? c->ipv4_mask : c->ipv6_mask);
    for (unsigned i = 0; i < 16; i++) {
        hex[i * 2] = "0123456789abcdef"[i < octets ? net.octets[i] >> 4 : 0];
        hex[i * 2 + 1] = "0123456789abcdef"[i < octets ? net.octets[i] & 15 : 0];
    }
    hex[32] = '\0';
    return tern->format(call, "%s/%zu:%s/%s", hex, sender.len, sender.ptr, rcpt.ptr);
}

static tern_verdict defer(tern_call *call, const struct greylist_conf *c, uint64_t wait_s)
{
    tern->counter_add(deferred_count, 1);
    if (c->text.len > 0)
        return tern->reply(call, TERN_DEFER, 451, "4.7.1", "%s", c->text.ptr);
    return tern->reply(call, TERN_DEFER, 451, "4.7.1", "Greylisted, please try again in %llu seconds",
                       (unsigned long long)wait_s);
}

static void renewed(tern_call *call, const void *conf, const struct tern_kv_answer *answer)
{
    (void)conf;
    (void)answer; /* it has passed whether or not the store keeps it */
    tern->complete(call, TERN_NEXT);
}

static void pass(tern_call *call, const struct greylist_conf *c, int64_t number)
{
    int64_t now = tern->now_s(call);
    uint64_t renew_s = c->keep_s / 2 < RENEW_S_MAX ? c->keep_s / 2 : RENEW_S_MAX;

    tern->counter_add(passed_count, 1);
    if (number < 0 && now + number < (int64_t)renew_s) {
        tern->complete(call, TERN_NEXT);
        return;
    }
    if (tern->kv_put(call, "greylist", triplet(call, c), -now, TERN_STR(""), c->keep_s, renewed) != TERN_WAIT)
        tern->complete(call, TERN_NEXT);
}

static void seen(tern_call *call, const void *conf, const struct tern_kv_answer *answer)
{
    const struct greylist_conf *c = conf;
    int64_t age = tern->now_s(call) - answer->number;

    if (answer->status == TERN_FAILED)
        tern->complete(call, tern->fail(call, "the kv store did not answer"));
    else if (answer->status == TERN_FOUND && (answer->number < 0 || age >= (int64_t)c->delay_s))
        pass(call, c, answer->number);
    else
        tern->complete(call, defer(call, c, answer->status == TERN_FOUND && age > 0
                                                ? c->delay_s - (uint64_t)age : c->delay_s));
}

static tern_verdict on_rcpt(tern_call *call, const void *conf)
{
    const struct greylist_conf *c = conf;

    if (c->exempt != NULL && tern->cidrs_match(c->exempt, tern->client_address(call)))
        return TERN_NEXT;
    if (tern->user(call).len > 0)
        return TERN_NEXT; /* who logged in is no stranger */
    return tern->kv_put_new(call, "greylist", triplet(call, c), tern->now_s(call), c->retry_s, seen);
}

static int check(void *conf, struct tern_config *config)
{
    const struct greylist_conf *c = conf;

    if (c->retry_s <= c->delay_s)
        tern->config_error(config, "retry", "must be longer than delay, or nobody ever passes");
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    deferred_count = tern->counter("tern_greylist_deferred_total", "Recipients put off by greylisting.");
    passed_count = tern->counter("tern_greylist_passed_total", "Recipients that came again and passed.");
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_SECONDS(struct greylist_conf, delay, "5m", 1, 86400, "Least time between first try and acceptance."),
    TERN_OPTION_SECONDS(struct greylist_conf, retry, "2d", 60, 2592000, "A first try is forgotten after."),
    TERN_OPTION_SECONDS(struct greylist_conf, keep, "35d", 3600, 31536000, "A triplet that passed is remembered for."),
    TERN_OPTION_UINT(struct greylist_conf, ipv4_mask, "24", 8, 32, "Bits of an IPv4 client that count."),
    TERN_OPTION_UINT(struct greylist_conf, ipv6_mask, "64", 16, 128, "Bits of an IPv6 client that count."),
    TERN_OPTION_CIDRS(struct greylist_conf, exempt, "", "Clients that are never put off."),
    TERN_OPTION_STRING(struct greylist_conf, text, "", "Text of the 451; default: the seconds to wait."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(RCPT, on_rcpt), .answers = TERN_MAY_DEFER },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "greylist", .summary = "Put off unknown senders for a few minutes.", .options = options,
            .hooks = hooks, .conf_size = sizeof(struct greylist_conf), .init = init, .check = check)
