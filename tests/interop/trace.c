/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.c - a module for test_hooks.py: is called at every hook, says so in the log, and does what
 * its option `acts` says there. trace.lua is the same as a script.
 *
 * Built out of tree against <tern/module.h>.
 */
#include <tern/module.h>

#include <string.h>

static const struct tern_api *tern;

struct trace_conf {
    struct tern_map acts; /* hook: what to do */
    struct tern_list to;  /* next hops for route and deliver */
    tern_str transport;
};

static bool does(const struct trace_conf *c, const char *hook, const char *act)
{
    for (size_t i = 0; i < c->acts.count; i++)
        if (strcmp(c->acts.keys[i].ptr, hook) == 0 && strcmp(c->acts.values[i].ptr, act) == 0)
            return true;
    return false;
}

static void seen(tern_call *call, const char *hook, const char *what)
{
    tern->log(call, TERN_LOG_INFO, "seen %s %s", hook, what);
}

/* What can be done at several hooks. */
static tern_verdict usual(tern_call *call, const struct trace_conf *c, const char *hook)
{
    if (does(c, hook, "tag") && tern->tag(call, "traced") < 0)
        return TERN_ERROR;
    if (does(c, hook, "result") && tern->set_result(call, "trace", TERN_STR("yes")) < 0)
        return TERN_ERROR;
    if (does(c, hook, "reject"))
        return tern->reply(call, TERN_REJECT, 550, "5.7.1", "trace rejects at %s", hook);
    if (does(c, hook, "defer"))
        return tern->reply(call, TERN_DEFER, 451, "4.7.1", "trace defers at %s", hook);
    if (does(c, hook, "close"))
        return tern->reply(call, TERN_CLOSE, 421, "4.7.0", "trace closes at %s", hook);
    if (does(c, hook, "hold"))
        return tern->hold(call, "trace holds at %s", hook);
    return does(c, hook, "discard") ? TERN_DISCARD : TERN_NEXT;
}

static tern_verdict on_connect(tern_call *call, const void *conf)
{
    seen(call, "connect", tern->client_address_text(call).ptr);
    (void)tern->set_var(call, "from_connect", TERN_STR("remembered"));
    return usual(call, conf, "connect");
}

static tern_verdict on_ehlo(tern_call *call, const void *conf)
{
    seen(call, "ehlo", tern->helo_name(call).ptr);
    if (does(conf, "ehlo", "withhold") && tern->withhold(call, "SIZE") < 0)
        return TERN_ERROR;
    return usual(call, conf, "ehlo");
}

static tern_verdict on_mail(tern_call *call, const void *conf)
{
    seen(call, "mail", tern->sender(call)->address.ptr);
    if (does(conf, "mail", "rewrite") &&
        tern->rewrite_sender(call, TERN_STR("rewritten@home.example")) < 0)
        return TERN_ERROR;
    return usual(call, conf, "mail");
}

static tern_verdict on_rcpt(tern_call *call, const void *conf)
{
    const struct tern_recipient *rcpt = tern->current_rcpt(call);
    int r = 0;

    seen(call, "rcpt", rcpt->mailbox.address.ptr);
    if (does(conf, "rcpt", "claim") && strcmp(rcpt->mailbox.domain.ptr, "claimed.example") == 0)
        r = tern->claim(call, TERN_CLASS_LOCAL);
    if (does(conf, "rcpt", "rewrite"))
        r = tern->rewrite_rcpt(call, TERN_STR("new@home.example"));
    if (does(conf, "rcpt", "expand")) {
        r = tern->expand_rcpt(call, TERN_STR("one@home.example"));
        r = r < 0 ? r : tern->expand_rcpt(call, TERN_STR("two@home.example"));
    }
    return r < 0 ? TERN_ERROR : usual(call, conf, "rcpt");
}

static tern_verdict on_data(tern_call *call, const void *conf)
{
    seen(call, "data", tern->queue_id(call).ptr);
    return usual(call, conf, "data");
}

static int edit(tern_call *call)
{
    int r = tern->header_prepend(call, "X-Top", TERN_STR("first"));

    r = r < 0 ? r : tern->header_append(call, "X-Bottom", TERN_STR("last"));
    r = r < 0 ? r : tern->header_replace(call, "Subject", 0, TERN_STR("replaced"));
    return r < 0 ? r : tern->header_remove(call, "X-Remove", 1);
}

static tern_verdict on_message(tern_call *call, const void *conf)
{
    const struct tern_header *subject = tern->header(call, "subject", 0);
    char body[8] = "";

    seen(call, "message", subject != NULL ? subject->value.ptr : "none");
    if (tern->body_read(call, 0, body, 5) < 0 ||
        strcmp(tern->var(call, "from_connect").ptr, "remembered") != 0)
        return TERN_ERROR;
    tern->note(call, "body begins", (tern_str){ body, strlen(body) });
    if (does(conf, "message", "edit") && edit(call) < 0)
        return TERN_ERROR;
    if (does(conf, "message", "add") && tern->add_rcpt(call, TERN_STR("added@home.example")) < 0)
        return TERN_ERROR;
    return usual(call, conf, "message");
}

static tern_verdict on_queue(tern_call *call, const void *conf)
{
    seen(call, "queue", tern->sender(call)->address.ptr);
    if (does(conf, "queue", "edit") && edit(call) < 0)
        return TERN_ERROR;
    return usual(call, conf, "queue");
}

static tern_verdict on_sign(tern_call *call, const void *conf)
{
    seen(call, "sign", tern->queue_id(call).ptr);
    if (does(conf, "sign", "header") &&
        tern->header_prepend(call, "X-Signature", TERN_STR("signed")) < 0)
        return TERN_ERROR;
    return usual(call, conf, "sign");
}

static tern_verdict on_route(tern_call *call, const void *conf)
{
    const struct trace_conf *c = conf;
    const struct tern_route route = { .size = sizeof(route),
                                      .transport = c->transport,
                                      .to = c->to };
    const struct tern_route drop = { .size = sizeof(drop),
                                     .discard_reason = TERN_STR("trace drops it") };

    seen(call, "route", tern->rcpt(call, 0)->mailbox.address.ptr);
    if (does(conf, "route", "route") || does(conf, "route", "drop"))
        return tern->set_route(call, does(conf, "route", "drop") ? &drop : &route) < 0
                   ? TERN_ERROR
                   : TERN_ACCEPT;
    return usual(call, conf, "route");
}

static tern_verdict on_deliver(tern_call *call, const void *conf)
{
    const struct trace_conf *c = conf;
    const struct tern_route route = { .size = sizeof(route),
                                      .transport = c->transport,
                                      .to = c->to };

    seen(call, "deliver", tern->rcpt(call, 0)->mailbox.address.ptr);
    if (does(conf, "deliver", "route") && tern->set_route(call, &route) < 0)
        return TERN_ERROR;
    return usual(call, conf, "deliver");
}

static tern_verdict on_result(tern_call *call, const void *conf)
{
    (void)conf;
    seen(call, "result", tern->outcome(call).ptr);
    return TERN_NEXT;
}

static tern_verdict on_close(tern_call *call, const void *conf)
{
    (void)conf;
    seen(call, "close", tern->helo_name(call).ptr);
    return TERN_NEXT;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_MAP(struct trace_conf, acts, "", "hook: what to do there."),
    TERN_OPTION_LIST(struct trace_conf, to, "", 0, 4, "Next hops for route and deliver."),
    TERN_OPTION_STRING(struct trace_conf, transport, "", "Transport for route and deliver."),
    TERN_OPTIONS_END,
};

static const struct tern_note notes[] = {
    TERN_TAG("traced", "Seen by trace."),
    TERN_RESULT("trace", NULL, "Set by trace."),
    TERN_NOTES_END,
};

#define REFUSE (TERN_MAY_REJECT | TERN_MAY_DEFER | TERN_MAY_CLOSE)
#define SORT   (TERN_MAY_REJECT | TERN_MAY_DEFER | TERN_MAY_HOLD | TERN_MAY_DISCARD)

static const struct tern_hook hooks[] = {
    { TERN_HOOK(CONNECT, on_connect), .answers = REFUSE },
    { TERN_HOOK(EHLO, on_ehlo), .answers = REFUSE },
    { TERN_HOOK(MAIL, on_mail), .answers = REFUSE },
    { TERN_HOOK(RCPT, on_rcpt), .answers = SORT | TERN_MAY_CLOSE, .flags = TERN_CLAIMS },
    { TERN_HOOK(DATA, on_data), .answers = REFUSE },
    { TERN_HOOK(MESSAGE, on_message), .answers = SORT },
    { TERN_HOOK(QUEUE, on_queue), .answers = SORT },
    { TERN_HOOK(SIGN, on_sign), .answers = TERN_MAY_DEFER },
    { TERN_HOOK(ROUTE, on_route), .answers = TERN_MAY_ACCEPT | TERN_MAY_REJECT | TERN_MAY_DEFER },
    { TERN_HOOK(DELIVER, on_deliver), .answers = TERN_MAY_REJECT | TERN_MAY_DEFER | TERN_MAY_HOLD },
    { TERN_HOOK(RESULT, on_result) },
    { TERN_HOOK(CLOSE, on_close) },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "trace", .summary = "Tells of every hook.", .options = options,
            .conf_size = sizeof(struct trace_conf), .hooks = hooks, .notes = notes, .init = init);
