/* SPDX-License-Identifier: Apache-2.0 */
/*
 * testplan.h - plans made by hand from static descriptors, for tests of the engine.
 *
 * Defines policy_plan(), plan_for(), policy_name_of() and policy_owner() in place of
 * module/plan.c and
 * policy.c, so that the runner is tested without YAML. Link it before tern_module.
 */
#ifndef TERN_TESTS_TESTPLAN_H
#define TERN_TESTS_TESTPLAN_H

#include "module/plan.h"

#define TESTPLAN_STEPS_MAX    32
#define TESTPLAN_PROFILES_MAX 40

struct policy *testplan_new(const char *name);
void testplan_free(struct policy *policy);
/* One more step; the caller may change what comes back before testplan_build(). */
struct plan_step *testplan_add(struct policy *policy, const char *step,
                               const struct tern_module *module, const void *conf);
void testplan_build(struct policy *policy);
/* A profile for one recipient address, after testplan_build(): a copy whose steps may be
 * changed, then
 * testplan_rebuild(). `late_id` decides about groups. */
struct plan *testplan_profile(struct policy *policy, const char *address, unsigned late_id);
struct plan_step *testplan_profile_step(struct plan *plan, const char *step);
void testplan_rebuild(struct plan *plan);
/* plan_for() of this address fails with -EAGAIN; "" is the look-up for the user. */
void testplan_break(struct policy *policy, const char *address);

#endif
