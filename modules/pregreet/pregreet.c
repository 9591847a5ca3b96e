/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pregreet - finds clients that talk before they were greeted.
 *
 * RFC 5321 3.1 lets the server speak first. Programs that send spam often do not wait, so the greeting is held back
 * for a moment, and whoever has said something by then is refused, or only marked. Nobody waits with it: the
 * session costs a timer. A client that was quiet once is remembered and not kept waiting again.
 *
 * Nothing of what it said is read for that; the core counts the octets that have come. On a listener with TLS from
 * the start the client speaks first by right, and none are counted.
 */
#include <tern/module.h>

static const struct tern_api *tern;
static void *talked_count;

enum action { ACTION_REFUSE, ACTION_CLOSE, ACTION_NONE };

struct pregreet_conf {
    uint64_t wait_ms, remember_s;
    int action; /* enum action */
    const struct tern_cidrs *exempt;
};

static const char too_early[] = "SMTP synchronization error: you spoke before the greeting";

static tern_verdict judge(tern_call *call, const struct pregreet_conf *c)
{
    tern->counter_add(talked_count, 1);
    (void)tern->set_result(call, "pregreet", TERN_STR("talked"));
    switch ((enum action)c->action) {
    case ACTION_REFUSE:
        return tern->reply(call, TERN_REJECT, 554, "5.5.1", "%s", too_early);
    case ACTION_CLOSE:
        return tern->reply(call, TERN_CLOSE, 421, "4.5.1", "%s", too_early);
    case ACTION_NONE: break;
    }
    return TERN_NEXT;
}

static void remembered(tern_call *call, const void *conf, const struct tern_kv_answer *answer)
{
    (void)conf;
    (void)answer; /* a store that is down costs the next greeting a moment, and nobody his mail */
    tern->complete(call, TERN_NEXT);
}

static void waited(tern_call *call, const void *conf)
{
    const struct pregreet_conf *c = conf;
    uint64_t octets = tern->early_octets(call);

    if (octets > 0) {
        tern->note(call, "octets", tern->format(call, "%llu", (unsigned long long)octets));
        tern->complete(call, judge(call, c));
        return;
    }
    (void)tern->set_result(call, "pregreet", TERN_STR("quiet"));
    if (c->remember_s == 0 || tern->kv_put(call, "pregreet", tern->client_address_text(call), 1, TERN_STR(""),
                                           c->remember_s, remembered) != TERN_WAIT)
        tern->complete(call, TERN_NEXT);
}

static void looked_up(tern_call *call, const void *conf, const struct tern_kv_answer *answer)
{
    const struct pregreet_conf *c = conf;

    if (answer->status != TERN_FOUND) {
        if (tern->after_ms(call, c->wait_ms, waited) != TERN_WAIT)
            tern->complete(call, TERN_ERROR);
        return;
    }
    (void)tern->set_result(call, "pregreet", TERN_STR("known"));
    tern->complete(call, TERN_NEXT);
}

static tern_verdict on_connect(tern_call *call, const void *conf)
{
    const struct pregreet_conf *c = conf;

    if (c->exempt != NULL && tern->cidrs_match(c->exempt, tern->client_address(call)))
        return TERN_NEXT;
    if (c->remember_s > 0)
        return tern->kv_get(call, "pregreet", tern->client_address_text(call), looked_up);
    return tern->after_ms(call, c->wait_ms, waited);
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    talked_count = tern->counter("tern_pregreet_talked_total", "Clients that spoke before they were greeted.");
    return 0;
}

static const char *const actions[] = { "refuse", "close", "none", NULL };
static const char *const results[] = { "talked", "quiet", "known", NULL };

static const struct tern_option options[] = {
    TERN_OPTION_MS(struct pregreet_conf, wait, "3s", 0, 20000, "How long the greeting is held back."),
    TERN_OPTION_ENUM(struct pregreet_conf, action, "refuse", actions,
                     "What becomes of who talked: refuse with 554, close with 421, or none (the result alone)."),
    TERN_OPTION_SECONDS(struct pregreet_conf, remember, "1d", 0, 2592000,
                        "An address that was quiet is greeted at once for so long; 0: it waits each time."),
    TERN_OPTION_CIDRS(struct pregreet_conf, exempt, "", "Clients that are greeted at once."),
    TERN_OPTIONS_END,
};

static const struct tern_note notes[] = {
    TERN_RESULT("pregreet", results, "Whether the client spoke before the greeting; known: it was quiet before."),
    TERN_NOTES_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(CONNECT, on_connect), .answers = TERN_MAY_REJECT | TERN_MAY_CLOSE },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "pregreet", .summary = "Find clients that talk before they are greeted.", .options = options,
            .notes = notes, .hooks = hooks, .conf_size = sizeof(struct pregreet_conf), .init = init)
