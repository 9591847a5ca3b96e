/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dnsbl - asks DNS block lists about the client's address, all of them at once.
 *
 * A listed client is refused; by default the core gives the refusal at RCPT, so that the
 * record shows sender and recipient. A list that does not answer does not count unless none
 * answered: then the step has failed and its on_error decides.
 *
 * Source: RFC 5782 (lists by DNS; answers are in 127.0.0.0/8; 2.2 IPv6 by nibbles). Answers in
 * 127.255.255.0/24 are how large lists say "you may not ask" and count as no answer.
 */
#include <tern/module.h>

#include <stdio.h>
#include <string.h>

#include <lib/address.h>

#define ZONES_MAX 32
#define NAME_MAX_ 255

static const struct tern_api *tern;

struct dnsbl_conf {
    struct tern_list zones;
    const struct tern_cidrs *codes, *exempt;
    bool reject;
    tern_str text;
};

struct asked {
    struct fan *fan;
    unsigned zone;
};

struct fan {
    unsigned waiting, answered, failed;
    bool done;
    tern_str error; /* the last one that gave no answer, and why */
    struct asked asked[ZONES_MAX];
};

static bool make_name(const tern_address *client, tern_str zone, char *out, size_t size)
{
    char reversed[ADDRESS_DOTTED_OCTETS];

    (void)address_dotted(client, true, reversed);
    return snprintf(out, size, "%s.%s", reversed, zone.ptr) < (int)size;
}

enum meaning { CLEAR, LISTED, NO_ANSWER };

static enum meaning judge(const struct dnsbl_conf *c, const struct tern_dns_answer *answer, tern_str *ret_code)
{
    enum meaning m = CLEAR;

    if (answer->status == TERN_FAILED)
        return NO_ANSWER;
    for (size_t i = 0; answer->status == TERN_FOUND && i < answer->count; i++) {
        tern_address a;
        if (!address_parse(answer->records[i].text, 4, &a) || a.octets[0] != 127)
            return NO_ANSWER; /* a parked domain answers with any address: not a list any more */
        if (a.octets[1] == 255 && a.octets[2] == 255)
            return NO_ANSWER;
        if (c->codes == NULL || tern->cidrs_match(c->codes, &a)) {
            *ret_code = answer->records[i].text;
            m = LISTED;
        }
    }
    return m;
}

static tern_verdict refuse(tern_call *call, const struct dnsbl_conf *c, tern_str zone)
{
    (void)tern->set_result(call, "dnsbl", TERN_STR("listed"));
    (void)tern->tag(call, "dnsbl_listed");
    if (!c->reject)
        return TERN_NEXT;
    if (c->text.len > 0)
        return tern->reply(call, TERN_REJECT, 550, "5.7.1", "%s", c->text.ptr);
    return tern->reply(call, TERN_REJECT, 550, "5.7.1", "Client [%s] is listed by %s",
                       tern->client_address_text(call).ptr, zone.ptr);
}

static tern_verdict conclude(tern_call *call, const struct fan *fan)
{
    if (fan->answered == 0 && fan->failed > 0)
        return tern->fail(call, "no list could be asked: %s", fan->error.ptr);
    (void)tern->set_result(call, "dnsbl", TERN_STR("clear"));
    return TERN_NEXT;
}

static void on_answer(tern_call *call, const void *conf, const struct tern_dns_answer *answer, void *arg)
{
    const struct dnsbl_conf *c = conf;
    struct asked *asked = arg;
    struct fan *fan = asked->fan;
    tern_str zone = c->zones.items[asked->zone];
    tern_str code = { "", 0 };

    fan->waiting--;
    if (fan->done)
        return;
    switch (judge(c, answer, &code)) {
    case LISTED:
        tern->note(call, zone.ptr, code);
        fan->done = true;
        tern->complete(call, refuse(call, c, zone));
        return;
    case NO_ANSWER:
        fan->failed++;
        fan->error = tern->format(call, "%s: %s", zone.ptr,
                                  answer->status == TERN_FAILED ? answer->error : "not an answer of a list");
        tern->note(call, zone.ptr, TERN_STR("no answer"));
        break;
    case CLEAR: fan->answered++; break;
    }
    if (fan->waiting == 0) {
        fan->done = true;
        tern->complete(call, conclude(call, fan));
    }
}

static tern_verdict on_connect(tern_call *call, const void *conf)
{
    const struct dnsbl_conf *c = conf;
    const tern_address *client = tern->client_address(call);
    struct fan *fan;
    char name[NAME_MAX_ + 1];

    if (client->family == 0 || (c->exempt != NULL && tern->cidrs_match(c->exempt, client)))
        return TERN_NEXT;
    fan = tern->alloc(call, sizeof(*fan));
    /* Counted first: an answer from the cache may come from inside the asking. */
    fan->waiting = (unsigned)c->zones.count;
    for (unsigned i = 0; i < c->zones.count; i++) {
        fan->asked[i] = (struct asked){ fan, i };
        if (make_name(client, c->zones.items[i], name, sizeof(name)) && !fan->done &&
            tern->dns(call, name, TERN_DNS_A, on_answer, &fan->asked[i]) == TERN_WAIT)
            continue;
        if (fan->done)
            break;
        fan->waiting--;
        fan->failed++;
        if (fan->waiting == 0)
            return conclude(call, fan);
    }
    return TERN_WAIT;
}

static int check(void *conf, struct tern_config *config)
{
    const struct dnsbl_conf *c = conf;

    for (size_t i = 0; i < c->zones.count; i++)
        if (c->zones.items[i].len == 0 || c->zones.items[i].len > NAME_MAX_ - 65 ||
            strchr(c->zones.items[i].ptr, '.') == NULL || strpbrk(c->zones.items[i].ptr, ":/@ ") != NULL)
            tern->config_error(config, "zones", "\"%s\" is no domain name such as zen.spamhaus.org",
                               c->zones.items[i].ptr);
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return 0;
}

static const char *const dnsbl_values[] = { "listed", "clear", NULL };

static const struct tern_option options[] = {
    TERN_OPTION_LIST(struct dnsbl_conf, zones, NULL, 1, ZONES_MAX, "Block lists to ask."),
    TERN_OPTION_CIDRS(struct dnsbl_conf, codes, "",
                      "Answers that count as listed; default: any in 127.0.0.0/8."),
    TERN_OPTION_CIDRS(struct dnsbl_conf, exempt,
                      "[127.0.0.0/8, \"::1\", 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, \"fc00::/7\"]",
                      "Clients that are not asked about."),
    TERN_OPTION_BOOL(struct dnsbl_conf, reject, "true",
                     "Refuse a listed client; false: only set results.dnsbl and the tag dnsbl_listed."),
    TERN_OPTION_STRING(struct dnsbl_conf, text, "", "Text of the refusal; default: address and list."),
    TERN_OPTIONS_END,
};

static const struct tern_note notes[] = {
    TERN_RESULT("dnsbl", dnsbl_values, "What the block lists say of the client."),
    TERN_TAG("dnsbl_listed", "The client is on a block list."),
    TERN_NOTES_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(CONNECT, on_connect), .answers = TERN_MAY_REJECT },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "dnsbl", .summary = "Refuse clients that DNS block lists name.", .options = options,
            .hooks = hooks, .notes = notes, .conf_size = sizeof(struct dnsbl_conf), .init = init,
            .check = check)
