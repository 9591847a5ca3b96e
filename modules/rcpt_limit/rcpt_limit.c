/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rcpt_limit - refuse the recipient that goes past a per-message limit.
 *
 * The refusal is 452, not 552: RFC 5321 4.5.3.1.10 wants a temporary code, so
 * that a sender with a longer list sends the rest in a second transaction
 * instead of bouncing it. The default is the least that 4.5.3.1.8 allows.
 */
#include <tern/module.h>

static const struct tern_api *tern;

struct rcpt_limit_conf {
    unsigned max; /* recipients per transaction */
};

static tern_verdict on_rcpt(tern_call *call, const void *conf)
{
    const struct rcpt_limit_conf *c = conf;

    if (tern->rcpt_count(call) < c->max)
        return TERN_NEXT;
    return tern->reply(call, TERN_DEFER, 452, "4.5.3",
                       "Too many recipients, send the rest in another message");
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL; /* nothing to keep between generations */
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_UINT(struct rcpt_limit_conf, max, "100", 1, 10000,
                     "Recipients a message may have before the rest is put off."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(RCPT, on_rcpt), .answers = TERN_MAY_DEFER },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "rcpt_limit", .summary = "Limit the recipients of a message.",
            .options = options, .hooks = hooks, .conf_size = sizeof(struct rcpt_limit_conf),
            .init = init);
