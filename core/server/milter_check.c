/* SPDX-License-Identifier: Apache-2.0 */
#include "server/milter_check.h"

#include <stdio.h>

#include "module/descriptor.h"

/* Logins, routes and deliveries are the mail server's; VRFY is not among what it asks a milter. */
static const struct {
    unsigned point;
    const char *whose;
} theirs[] = {
    { TERN_HOOK_AUTH, "it logs its clients in, and steps see as whom" },
    { TERN_HOOK_VRFY, "it answers VRFY" },
    { TERN_HOOK_ROUTE, "it knows where mail goes" },
    { TERN_HOOK_DELIVER, "it delivers" },
    { TERN_HOOK_RESULT, "it delivers" },
};

bool milter_is_all_of(void *arg, struct slice policy)
{
    const struct generation *g = arg;
    bool any = false;

    for (unsigned i = 0; i < g->conf.listener_count; i++) {
        const struct listener_conf *l = &g->conf.listeners[i];
        if (!slice_equal(slice_make(l->policy.ptr, l->policy.len), policy))
            continue;
        if (l->protocol != LISTENER_MILTER)
            return false;
        any = true;
    }
    return any;
}

struct check {
    const struct listener_conf *listener;
    struct config_errors *errors;
};

static void look(void *arg, const char *step, const struct place *place, unsigned hooks)
{
    const struct check *c = arg;
    const unsigned seldom = 1u << TERN_HOOK_TLS | 1u << TERN_HOOK_CLOSE; /* reports: of no use alone */
    unsigned lost = 0;

    for (size_t i = 0; i < sizeof(theirs) / sizeof(theirs[0]); i++)
        lost |= 1u << theirs[i].point;
    for (size_t i = 0; i < sizeof(theirs) / sizeof(theirs[0]); i++) {
        bool nothing = (hooks & ~lost & ~seldom) == 0;
        if ((hooks & (1u << theirs[i].point)) == 0 || (theirs[i].point == TERN_HOOK_VRFY && !nothing))
            continue; /* who answers VRFY beside something else is missed by nobody */
        config_warning_at(c->errors, place, "step %s is not asked at hook %s for listener \"%.*s\" (protocol: "
                          "milter): that is the mail server's, %s%s", step, descriptor_hook_name(theirs[i].point),
                          (int)c->listener->name.len, c->listener->name.ptr, theirs[i].whose,
                          nothing ? "; it does nothing there" : "");
    }
}

void milter_check(const struct generation *g, struct config_errors *errors)
{
    for (unsigned i = 0; i < g->conf.listener_count; i++) {
        struct check c = { &g->conf.listeners[i], errors };
        if (c.listener->protocol == LISTENER_MILTER && g->listener_policies[i] != NULL)
            policy_each_step(g->listener_policies[i], look, &c);
    }
}
