/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_internal.h - what the files of policy*.c and plan.c share. Nobody else includes it.
 *
 *   policy.c            a generation: policies, the order of their steps, free
 *   policy_step.c       one step: its module, script and options
 *   policy_rules.c      what must hold between the steps of a policy
 *   policy_profile.c    profiles: and profile_for:, checked against all policies
 *   policy_transport.c  transports:
 *   policy_print.c      `tern hooks`
 *   plan.c              a policy with profiles laid over it
 */
#ifndef TERN_MODULE_POLICY_INTERNAL_H
#define TERN_MODULE_POLICY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/table.h"
#include "module/descriptor.h"
#include "module/plan.h"
#include "module/policy.h"

#define POLICIES_MAX         100
#define STEPS_MAX            100 /* of one policy */
#define PROFILES_MAX         1000
#define TRANSPORTS_MAX       1000
#define STEP_TIMEOUT_DEFAULT "30s"
#define STEP_TIMEOUT_MS_MAX  3600000
#define STEP_POOL_SHARE      8 /* BLOCKING calls of one step at once */
#define SENTENCE_MAX         1024

/* The keys that the chain runner reads, of a step or in a profile. */
struct settings {
    tern_str name;
    uint64_t timeout_ms;
    int on_error; /* enum step_on_error */
    tern_str when;
    int mode;      /* enum step_mode */
    int refuse_at; /* enum step_refuse_at */
    tern_str script;
    bool trusted;
};

/* A script file of this generation: one descriptor for all steps that name it. */
struct script {
    struct script *next;
    const struct tern_module *host; /* the module that runs it */
    tern_str path;
    bool trusted;
    const struct tern_module *raw;    /* for script_free */
    const struct tern_module *module; /* our copy */
};

/* What the build knows of a step beside what plans need. */
struct step_source {
    const char *module_name;
    const struct tern_module *host;  /* the module of a script; NULL: no script */
    const struct yaml_node *map;     /* as written, or NULL */
    const struct yaml_node *options; /* without the reserved keys, or NULL */
    struct settings settings;
    /* As parsed, before check() wrote to them: what profiles override. */
    const void *raw_conf, *raw_host_conf;
    const void *conf, *host_conf; /* the same after check() */
    unsigned hooks;               /* a bit per hook it acts on */
    bool claims, once, blocking;
};

struct profile {
    struct slice name;
    struct place place;
    const struct yaml_node *map; /* step name -> options, or off */
    bool for_domain;             /* an inline profile_for: names it under domain */
};

struct policy {
    struct policies *owner;
    tern_str name;
    struct place place;
    bool implicit; /* `generated`, not written */
    struct step *steps;
    struct step_source *sources; /* the same indices */
    unsigned step_count;
    struct plan *base;
    bool *touched; /* by profile: whether it changes a step of this policy */
    /* plans[domain profile + 1][user profile + 1]; rows are made on first use. */
    _Atomic(_Atomic(struct plan *) *) *rows;
};

struct policies {
    struct modules *modules;
    struct tables *tables;
    struct arena *arena;
    struct policy **list;
    unsigned count;
    struct transport *transports;
    unsigned transport_count;
    struct profile *profiles;
    unsigned profile_count;
    struct table profile_names; /* name -> its index + 1 */
    const struct tern_table *by_domain, *by_user;
    struct script *scripts;
    struct table table_memo; /* yaml node -> table: resolved once, while the generation is built */
    struct table failed;     /* names of steps that were refused: what misses them is no news */
    bool domain_by_table;   /* profile_for.domain is a file: which profiles it names is not known */
    struct table when_memo; /* policy/expression -> compiled */

    pthread_mutex_t lock; /* below: plans made after the build */
    struct arena plan_arena;
    struct table late_ids; /* what late steps are given, as text -> its number + 1 */
    unsigned late_count;
};

struct building {
    const struct policies_env *env;
    struct policies *out;
};

/* policy_step.c */
extern const struct tern_option settings_options[];
/* The error is added; false. `node`: an item of the policy's list. */
bool step_build(struct building *b, struct policy *policy, const struct yaml_node *node);
bool step_add(struct building *b, struct policy *policy, const char *module_name,
              const struct yaml_node *map, struct place place, bool off);
/* Splits what the runner reads from what the module reads; either may come out NULL. */
void settings_split(struct arena *arena, const struct yaml_node *map, bool script,
                    const struct yaml_node **ret_settings, const struct yaml_node **ret_options);
/* What the runner allows for this step; false with the error at `place`. */
bool settings_allowed(struct config_errors *errors, const struct policy *policy, unsigned step,
                      const struct settings *settings, struct place place);
/* Calls check() of module and script; false after errors. */
bool step_check(struct policies *owner, const struct policy *policy, unsigned step,
                struct arena *arena, struct config_errors *errors, void *conf, void *host_conf,
                const struct yaml_node *map, struct place place);
void policy_schema_env(struct policies *owner, struct arena *arena, struct config_errors *errors,
                       struct schema_env *ret);
/* Compiles a `when` of this policy unless it is known; empty is fine. All its steps are there. */
bool policy_when_compile(struct building *b, const struct policy *policy, tern_str text,
                         struct place place);
/* A compiled one, or NULL for none. */
const void *when_get(const struct policies *owner, const struct policy *policy, tern_str text);

/* policy_rules.c */
void policy_rules(struct building *b, const struct policy *policy);
/* What must hold between policies; only warnings. */
void policies_rules(struct building *b);

/* policy_profile.c */
void profiles_read(struct building *b);
void profiles_check(struct building *b);

/* policy_transport.c */
void transports_build(struct building *b);
void transports_free(struct policies *policies);
bool policies_has_transport(void *policies, struct slice name);

/* loader.c */
bool modules_trust_group(const struct modules *modules);
const struct modules_env *modules_of(const struct modules *modules); /* as given to modules_new() */

/* plan.c */
#define PROFILE_NONE (-1)
/*
 * Makes the plan of a policy under two profiles (index or PROFILE_NONE); NULL after errors.
 * Caller holds owner->lock, or builds the generation.
 */
struct plan *plan_make(const struct policy *policy, int domain, int user, struct arena *arena,
                       struct config_errors *errors);
/* One step of such a plan, thrown away: whether its options hold together. */
bool plan_try_step(const struct policy *policy, unsigned step, int domain, int user,
                   struct arena *arena, struct config_errors *errors);
/* A step that acts before rcpt: of a domain profile it takes `mode` only. */
bool step_is_early(const struct step_source *source);

#endif
