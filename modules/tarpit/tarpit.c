/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarpit - lets a client wait for its replies.
 *
 * For whom is what `when:` says: a step before it has found something, which is too little to refuse. Each wait is
 * a timer, no thread and no buffer: the client's session lasts longer, and nothing else does. It decides nothing.
 */
#include <tern/module.h>

static const struct tern_api *tern;
static void *count;

struct tarpit_conf {
    uint64_t connect_ms, ehlo_ms, mail_ms, rcpt_ms, data_ms;
};

static void over(tern_call *call, const void *conf)
{
    (void)conf;
    tern->complete(call, TERN_NEXT);
}

static tern_verdict wait_for(tern_call *call, uint64_t ms)
{
    if (ms == 0)
        return TERN_NEXT;
    tern->counter_add(count, 1);
    return tern->after_ms(call, ms, over);
}

static tern_verdict on_connect(tern_call *call, const void *conf)
{
    return wait_for(call, ((const struct tarpit_conf *)conf)->connect_ms);
}

static tern_verdict on_ehlo(tern_call *call, const void *conf)
{
    return wait_for(call, ((const struct tarpit_conf *)conf)->ehlo_ms);
}

static tern_verdict on_mail(tern_call *call, const void *conf)
{
    return wait_for(call, ((const struct tarpit_conf *)conf)->mail_ms);
}

static tern_verdict on_rcpt(tern_call *call, const void *conf)
{
    return wait_for(call, ((const struct tarpit_conf *)conf)->rcpt_ms);
}

static tern_verdict on_data(tern_call *call, const void *conf)
{
    return wait_for(call, ((const struct tarpit_conf *)conf)->data_ms);
}

static int check(void *conf, struct tern_config *config)
{
    const struct tarpit_conf *c = conf;

    if (c->connect_ms + c->ehlo_ms + c->mail_ms + c->rcpt_ms + c->data_ms == 0)
        tern->config_error(config, NULL, "nobody waits: say how long at connect, ehlo, mail, rcpt or data");
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    count = tern->counter("tern_tarpit_waits_total", "Replies that were held back.");
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_MS(struct tarpit_conf, connect, "0s", 0, 25000, "Wait before the greeting."),
    TERN_OPTION_MS(struct tarpit_conf, ehlo, "0s", 0, 25000, "Wait before the reply to EHLO or HELO."),
    TERN_OPTION_MS(struct tarpit_conf, mail, "0s", 0, 25000, "Wait before the reply to MAIL."),
    TERN_OPTION_MS(struct tarpit_conf, rcpt, "0s", 0, 25000, "Wait before the reply to each RCPT."),
    TERN_OPTION_MS(struct tarpit_conf, data, "0s", 0, 25000, "Wait before the reply to DATA."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(CONNECT, on_connect) }, { TERN_HOOK(EHLO, on_ehlo) }, { TERN_HOOK(MAIL, on_mail) },
    { TERN_HOOK(RCPT, on_rcpt) },       { TERN_HOOK(DATA, on_data) }, TERN_HOOKS_END,
};

TERN_MODULE(.name = "tarpit", .summary = "Let a client wait for its replies.", .options = options, .hooks = hooks,
            .conf_size = sizeof(struct tarpit_conf), .init = init, .check = check)
