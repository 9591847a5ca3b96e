/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay_authenticated - whoever has logged in may send to anywhere.
 *
 * Claims each recipient of such a session with class `client`. Of a session without a user it claims
 * nothing, so that a stranger hears "relaying denied" unless another step takes the recipient.
 */
#include <tern/module.h>

static const struct tern_api *tern;

static tern_verdict on_rcpt(tern_call *call, const void *conf)
{
    (void)conf;
    if (tern->user(call).len > 0 && tern->claim(call, TERN_CLASS_CLIENT) < 0)
        return TERN_ERROR;
    return TERN_NEXT;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return 0;
}

static const struct tern_hook hooks[] = {
    { TERN_HOOK(RCPT, on_rcpt), .flags = TERN_CLAIMS },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "relay_authenticated", .summary = "Let who has logged in send to anywhere.",
            .hooks = hooks, .init = init);
