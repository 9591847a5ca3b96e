/* SPDX-License-Identifier: Apache-2.0 */
/*
 * late.c - a module for test_hooks.py that acts on whole messages only, so that a profile of a
 * domain may change all of it. late.lua is the same as a script.
 */
#include <tern/module.h>

#include <string.h>

static const struct tern_api *tern;

struct late_conf {
    tern_str act;
};

static tern_verdict on_message(tern_call *call, const void *conf)
{
    const char *act = ((const struct late_conf *)conf)->act.ptr;

    tern->log(call, TERN_LOG_INFO, "seen message %u", tern->rcpt_count(call));
    if (strcmp(act, "edit") == 0)
        return tern->header_prepend(call, "X-Top", TERN_STR("first")) < 0 ? TERN_ERROR : TERN_NEXT;
    if (strcmp(act, "reject") == 0)
        return tern->reply(call, TERN_REJECT, 550, "5.7.1", "late rejects");
    if (strcmp(act, "defer") == 0)
        return tern->reply(call, TERN_DEFER, 451, "4.7.1", "late defers");
    return strcmp(act, "hold") == 0 ? tern->hold(call, "late holds") : TERN_NEXT;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_STRING(struct late_conf, act, "", "What to do."),
    TERN_OPTIONS_END,
};

static const struct tern_hook hooks[] = {
    { TERN_HOOK(MESSAGE, on_message), .answers = TERN_MAY_REJECT | TERN_MAY_DEFER | TERN_MAY_HOLD },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "late", .summary = "Acts on whole messages.", .options = options,
            .conf_size = sizeof(struct late_conf), .hooks = hooks, .init = init);
