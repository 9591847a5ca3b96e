/* SPDX-License-Identifier: Apache-2.0 */
#include "testplan.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

struct profile_plan {
    struct plan plan;
    const char *address;
    struct plan_step steps[TESTPLAN_STEPS_MAX];
    struct chain_entry entries[TERN_HOOK_COUNT][TESTPLAN_STEPS_MAX];
};

struct policy {
    tern_str name;
    struct step steps[TESTPLAN_STEPS_MAX];
    struct profile_plan base;
    struct profile_plan *profiles[TESTPLAN_PROFILES_MAX];
    unsigned profile_count;
    const char *broken;
};

struct policy *testplan_new(const char *name)
{
    struct policy *p = mem_zalloc(sizeof(*p));

    p->name = (tern_str){ name, strlen(name) };
    p->base.plan.policy = p;
    p->base.plan.steps = p->base.steps;
    return p;
}

void testplan_free(struct policy *p)
{
    for (unsigned i = 0; i < p->profile_count; i++)
        free(p->profiles[i]);
    free(p);
}

struct plan_step *testplan_add(struct policy *p, const char *name, const struct tern_module *module,
                               const void *conf)
{
    unsigned at = p->base.plan.step_count++;

    assert(at < TESTPLAN_STEPS_MAX);
    p->steps[at].index = at;
    p->steps[at].name = (tern_str){ name, strlen(name) };
    p->steps[at].module = module;
    p->steps[at].place = (struct place){ "test.yaml", 10 + at, 5 };
    p->steps[at].pool_share = 4;
    p->base.steps[at] =
        (struct plan_step){ .step = &p->steps[at], .conf = conf, .timeout_ms = 30000 };
    return &p->base.steps[at];
}

static void build(struct profile_plan *made)
{
    struct plan *plan = &made->plan;

    for (unsigned hook = 0; hook < TERN_HOOK_COUNT; hook++) {
        struct chain *chain = &plan->chains[hook];
        *chain = (struct chain){ .entries = made->entries[hook] };
        for (unsigned i = 0; i < plan->step_count; i++) {
            const struct plan_step *step = &made->steps[i];
            for (const struct tern_hook *h = step->step->module->hooks; h != NULL && h->size != 0;
                 h++) {
                if (h->hook != hook || step->mode == STEP_OFF)
                    continue;
                made->entries[hook][chain->count++] = (struct chain_entry){ step, h };
                if ((h->flags & TERN_CLAIMS) != 0)
                    chain->claims_until = chain->count;
            }
        }
    }
}

void testplan_build(struct policy *p)
{
    build(&p->base);
}

struct plan *testplan_profile(struct policy *p, const char *address, unsigned late_id)
{
    struct profile_plan *made = mem_zalloc(sizeof(*made));

    assert(p->profile_count < TESTPLAN_PROFILES_MAX);
    memcpy(made->steps, p->base.steps, sizeof(made->steps));
    made->address = address;
    made->plan = p->base.plan;
    made->plan.steps = made->steps;
    made->plan.late_id = late_id;
    build(made);
    p->profiles[p->profile_count++] = made;
    return &made->plan;
}

struct plan_step *testplan_profile_step(struct plan *plan, const char *step)
{
    for (unsigned i = 0; i < plan->step_count; i++)
        if (slice_equal(slice_of(plan->steps[i].step->name), slice_cstr(step)))
            return (struct plan_step *)&plan->steps[i];
    return NULL;
}

void testplan_rebuild(struct plan *plan)
{
    build((struct profile_plan *)plan);
}

void testplan_break(struct policy *p, const char *address)
{
    p->broken = address;
}

tern_str policy_name_of(const struct policy *policy)
{
    return policy->name;
}

const struct plan *policy_plan(const struct policy *policy)
{
    return &policy->base.plan;
}

void plan_profile_tables(const struct policy *policy, const struct tern_table **ret_domain,
                         const struct tern_table **ret_user)
{
    *ret_domain = *ret_user = NULL;
}

int plan_for(const struct policy *policy, struct slice user, const struct tern_mailbox *rcpt,
             const struct plan **ret)
{
    struct slice address = rcpt != NULL ? slice_of(rcpt->address) : SLICE("");

    (void)user;
    if (policy->broken != NULL && slice_equal(address, slice_cstr(policy->broken)))
        return -EAGAIN;
    *ret = &policy->base.plan;
    for (unsigned i = 0; i < policy->profile_count; i++)
        if (slice_equal(address, slice_cstr(policy->profiles[i]->address)))
            *ret = &policy->profiles[i]->plan;
    return 0;
}

const struct policies *policy_owner(const struct policy *policy)
{
    (void)policy;
    return NULL;
}
