/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iprev - whether the client's address has a name that has the address (RFC 8601 3).
 *
 * At connect, on the loop: the PTR records, then the addresses of all their names at once, ten at most. The first name
 * in the order of DNS that leads back is the client's. It refuses nothing unless an option says so; a refusal is given
 * where refuse_at says, at RCPT by default.
 *
 * Not asked about: a client without an address, those in `exempt`.
 */
#include <tern/module.h>

#include <stdio.h>
#include <string.h>

#include <lib/address.h>
#include <lib/authres.h>

#define NAMES_MAX     ADDRESS_CLIENT_NAMES_MAX
#define DETAIL_OCTETS (AUTHRES_COMMENT_OCTETS_MAX + 2 * AUTHRES_VALUE_OCTETS_MAX)

static const struct tern_api *tern;

/* RFC 8601 2.7.3. */
enum result { PASS, FAIL, TEMPERROR, PERMERROR, RESULT_COUNT };
static const char *const result_values[] = { "pass", "fail", "temperror", "permerror", NULL };
static void *counters[RESULT_COUNT];

enum { GO_ON, DEFER, REJECT }; /* as the values of the options stand */

struct iprev_conf {
    int fail, permerror, temperror; /* enums */
    const struct tern_cidrs *exempt;
    uint64_t lookup_time_ms;
};

/* A name of the client, and what came of it. */
struct candidate {
    tern_str name;
    enum { ASKED, LEADS_BACK, LEADS_ELSEWHERE, UNANSWERED } state;
};

struct work {
    struct candidate names[NAMES_MAX];
    unsigned count;
    bool done;
};

/* ---- the end ---- */

static void tell(tern_call *call, enum result result, tern_str name, const char *reason)
{
    struct authres_text t = { .at = tern->alloc(call, DETAIL_OCTETS), .room = DETAIL_OCTETS };
    const char *word = result_values[result];

    (void)authres_result(&t, "iprev", word);
    (void)authres_comment(&t, reason != NULL ? (tern_str){ reason, strlen(reason) } : name);
    (void)authres_property(&t, "policy.iprev", tern->client_address_text(call), false);
    (void)tern->set_result(call, "iprev", (tern_str){ word, strlen(word) });
    (void)tern->set_result(call, "iprev_name", name);
    (void)tern->set_result(call, "iprev_detail", (tern_str){ t.at, t.len });
    tern->note(call, "result", (tern_str){ t.at, t.len });
    tern->counter_add(counters[result], 1);
}

static tern_verdict refuse(tern_call *call, int how, const char *reason)
{
    const char *client = tern->client_address_text(call).ptr;

    if (how == REJECT)
        return tern->reply(call, TERN_REJECT, 550, "5.7.25", "Client [%s]: %s", client, reason);
    if (how == DEFER)
        return tern->reply(call, TERN_DEFER, 451, "4.7.25", "Client [%s]: %s", client, reason);
    return TERN_NEXT;
}

/* `name`: of PASS. `reason`: of all others. */
static tern_verdict conclude(tern_call *call, const struct iprev_conf *c, struct work *w, enum result result,
                             tern_str name, const char *reason)
{
    w->done = true;
    tell(call, result, name, reason);
    switch (result) {
    case FAIL: return refuse(call, c->fail, reason);
    case PERMERROR: return refuse(call, c->permerror, reason);
    case TEMPERROR: return refuse(call, c->temperror, reason);
    default: return TERN_NEXT;
    }
}

/* WAIT while a name that may be the first to lead back has no answer. */
static tern_verdict look(tern_call *call, const struct iprev_conf *c, struct work *w)
{
    bool unanswered = false;

    for (unsigned i = 0; i < w->count; i++) {
        if (w->names[i].state == ASKED)
            return TERN_WAIT;
        if (w->names[i].state == LEADS_BACK)
            return conclude(call, c, w, PASS, w->names[i].name, NULL);
        unanswered |= w->names[i].state == UNANSWERED;
    }
    if (unanswered)
        return conclude(call, c, w, TEMPERROR, TERN_STR(""), "DNS does not say now whether its name has this address");
    return conclude(call, c, w, FAIL, TERN_STR(""), "its name in DNS does not have this address");
}

/* ---- questions ---- */

static void note_answer(tern_call *call, tern_str name, const char *type, const struct tern_dns_answer *answer)
{
    const char *text = answer->status != TERN_FOUND || answer->count == 0 ? answer->error : answer->records[0].text.ptr;

    if (text == NULL)
        text = "";
    tern->note(call, tern->format(call, "%s %s", name.ptr, type).ptr,
               answer->status == TERN_FOUND && answer->count > 1
                   ? tern->format(call, "%s and %zu more", text, answer->count - 1)
                   : (tern_str){ text, strlen(text) });
}

static void on_address(tern_call *call, const void *conf, const struct tern_dns_answer *answer, void *arg)
{
    struct work *w = *tern->slot(call);
    struct candidate *candidate = arg;

    if (w->done)
        return;
    note_answer(call, candidate->name, tern->client_address(call)->family == 4 ? "A" : "AAAA", answer);
    if (answer->status == TERN_FAILED)
        candidate->state = UNANSWERED;
    else
        candidate->state = address_is_among(tern->client_address(call), answer) ? LEADS_BACK : LEADS_ELSEWHERE;
    tern_verdict verdict = look(call, conf, w);
    if (verdict != TERN_WAIT)
        tern->complete(call, verdict);
}

static void keep_name(tern_call *call, struct work *w, tern_str name)
{
    char *lower = tern->alloc(call, name.len + 1);

    for (size_t i = 0; i < name.len; i++)
        lower[i] = name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? (char)(name.ptr[i] + 32) : name.ptr[i];
    w->names[w->count++].name = (tern_str){ lower, name.len };
}

static tern_verdict ask_names(tern_call *call, const struct iprev_conf *c, struct work *w,
                              const struct tern_dns_answer *answer)
{
    unsigned type = address_record_type(tern->client_address(call));

    if (answer->status == TERN_FAILED)
        return conclude(call, c, w, TEMPERROR, TERN_STR(""), "DNS does not say now which name it has");
    for (size_t i = 0; answer->status == TERN_FOUND && i < answer->count && w->count < NAMES_MAX; i++)
        if (address_name_is_valid(answer->records[i].text))
            keep_name(call, w, answer->records[i].text);
    if (w->count == 0)
        return conclude(call, c, w, PERMERROR, TERN_STR(""), "it has no name in DNS");
    for (unsigned i = 0; i < w->count; i++)
        if (tern->dns(call, w->names[i].name.ptr, type, on_address, &w->names[i]) != TERN_WAIT)
            w->names[i].state = UNANSWERED;
    return look(call, c, w);
}

static void on_names(tern_call *call, const void *conf, const struct tern_dns_answer *answer, void *arg)
{
    struct work *w = *tern->slot(call);

    if (w->done)
        return;
    (void)arg;
    note_answer(call, tern->client_address_text(call), "PTR", answer);
    tern_verdict verdict = ask_names(call, conf, w, answer);
    if (verdict != TERN_WAIT)
        tern->complete(call, verdict);
}

static void on_time(tern_call *call, const void *conf)
{
    struct work *w = *tern->slot(call);

    if (!w->done)
        tern->complete(call, conclude(call, conf, w, TEMPERROR, TERN_STR(""), "DNS does not say its name in time"));
}

static tern_verdict on_connect(tern_call *call, const void *conf)
{
    const struct iprev_conf *c = conf;
    const tern_address *client = tern->client_address(call);
    char name[ADDRESS_REVERSE_OCTETS];
    struct work *w;

    if (client == NULL || client->family == 0)
        return TERN_NEXT;
    if (c->exempt != NULL && tern->cidrs_match(c->exempt, client)) {
        tern->note(call, "exempt", TERN_STR("exempt"));
        return TERN_NEXT;
    }
    *tern->slot(call) = w = tern->alloc(call, sizeof(*w));
    address_reverse_name(client, name);
    if (tern->after_ms(call, c->lookup_time_ms, on_time) == TERN_WAIT &&
        tern->dns(call, name, TERN_DNS_PTR, on_names, NULL) == TERN_WAIT)
        return TERN_WAIT;
    return conclude(call, c, w, TEMPERROR, TERN_STR(""), "DNS could not be asked for its name");
}

/* ---- the module ---- */

static int init(const struct tern_api *api, void **ret_state)
{
    static char names[RESULT_COUNT][64];

    tern = api;
    for (unsigned i = 0; i < RESULT_COUNT; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "tern_iprev_%s_total", result_values[i]);
        counters[i] = api->counter(names[i], "Clients whose name was looked for, by what came of it");
    }
    *ret_state = NULL;
    return 0;
}

static const char *const refuse_values[] = { "next", "defer", "reject", NULL };
static const char *const defer_values[] = { "next", "defer", NULL };

static const struct tern_option options[] = {
    TERN_OPTION_ENUM(struct iprev_conf, fail, "next", refuse_values,
                     "reject: 550 5.7.25, defer: 451 4.7.25 when no name of the client leads back to it."),
    TERN_OPTION_ENUM(struct iprev_conf, permerror, "next", refuse_values, "The same when the client has no name."),
    TERN_OPTION_ENUM(struct iprev_conf, temperror, "next", defer_values,
                     "defer: 451 4.7.25 when DNS does not answer."),
    TERN_OPTION_CIDRS(struct iprev_conf, exempt,
                      "[127.0.0.0/8, \"::1\", 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, \"fc00::/7\"]",
                      "Clients that are not asked about: your own networks and relays."),
    TERN_OPTION_MS(struct iprev_conf, lookup_time, "10s", 500, 60000,
                   "How long it may take, while the client waits for its greeting; then it is temperror."),
    TERN_OPTIONS_END,
};

static const struct tern_note notes[] = {
    TERN_RESULT("iprev", result_values, "Whether the client's address has a name that has the address."),
    TERN_RESULT("iprev_name", NULL, "That name, in lower case; empty unless results.iprev is pass."),
    TERN_RESULT("iprev_detail", NULL, "The same in the words of RFC 8601."),
    TERN_NOTES_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(CONNECT, on_connect), .answers = TERN_MAY_REJECT | TERN_MAY_DEFER },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "iprev", .summary = "Look for the client's name by its address, and whether that leads back.",
            .options = options, .hooks = hooks, .notes = notes, .conf_size = sizeof(struct iprev_conf), .init = init)
