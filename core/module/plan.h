/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h - a policy with the profiles of one recipient laid over it: what the chain runner walks.
 *
 * Inside module/ only: policy.c and plan.c make it, chain.c and engine.c read it.
 * Plans are immutable, belong to the generation, are interned by (policy, profiles) and
 * built on first use, from any loop (plan_for takes a lock only when it has to build).
 */
#ifndef TERN_MODULE_PLAN_H
#define TERN_MODULE_PLAN_H

#include <tern/module.h>

#include "base/metrics.h"
#include "config/yaml.h"
#include "module/policy.h"
#include "state/facts.h"

enum step_mode { STEP_ENFORCE, STEP_SHADOW, STEP_OFF };
enum step_on_error { STEP_ERROR_DEFER, STEP_ERROR_SKIP, STEP_ERROR_REJECT };
enum step_refuse_at { STEP_REFUSE_RCPT, STEP_REFUSE_NOW };

/* What is the same in all plans of a policy. */
struct step {
    unsigned index; /* its place in the policy */
    tern_str name;
    const struct tern_module *module;     /* the script's descriptor for a script */
    const struct tern_module *host;       /* of a script: the module that runs it; else NULL */
    void *state;                          /* of the module; of a script: of its host */
    struct place place;                   /* where it stands in the YAML */
    struct metric *runs[TERN_HOOK_COUNT]; /* histogram tern_step_microseconds{policy,step,hook} */
    struct metric *errors;
    struct metric *verdicts[8];      /* tern_step_verdicts_total{policy,step,verdict} */
    _Atomic uint64_t slow_logged_ms; /* when a plain call of it was last logged as slow */
    unsigned pool_share;             /* BLOCKING calls of this step at once */
    _Atomic unsigned in_pool;
    _Atomic uint32_t call_octets;    /* memory that a call of it has needed, to have it at once */
};

/* A step as one plan has it. */
struct plan_step {
    struct step *step;
    const void *conf;      /* of the module, or of the script: what the handler is given */
    const void *host_conf; /* of a script: the options of the module that runs it; else NULL */
    enum step_mode mode;
    enum step_on_error on_error;
    enum step_refuse_at refuse_at;
    uint64_t timeout_ms; /* 30 s unless said */
    const void *when;    /* compiled, or NULL */
};

/* One of the steps that registered for a hook, in the policy's order; mode off is left out. */
struct chain_entry {
    const struct plan_step *step;
    const struct tern_hook *hook;
};
struct chain {
    const struct chain_entry *entries;
    unsigned count;
    unsigned claims_until; /* rcpt: index behind the last entry that may claim */
};

struct plan {
    const struct policy *policy;
    const struct plan_step *steps;
    unsigned step_count;
    struct chain chains[TERN_HOOK_COUNT];
    /* Equal for plans whose options of all message, queue and sign steps are equal (groups). */
    unsigned late_id;
    tern_str profiles; /* "user:bulk domain:strict", for the record; empty without */
};

tern_str policy_name_of(const struct policy *policy);
const struct plan *policy_plan(const struct policy *policy); /* without profiles: connect, ehlo */
/* The tables of profile_for:, or NULL. */
void plan_profile_tables(const struct policy *policy, const struct tern_table **ret_domain,
                         const struct tern_table **ret_user);
/*
 * The plan for a user (may be empty) and a recipient address as given (may be NULL: mail, data).
 * 0, or -EAGAIN: a profile table could not be asked (451 for that recipient).
 */
int plan_for(const struct policy *policy, struct slice user, const struct tern_mailbox *rcpt,
             const struct plan **ret);
/* Where a policy of that name lives in a generation: for route, deliver, result. */
const struct policies *policy_owner(const struct policy *policy);

#endif
