/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - modules loaded by the process, and the policies of one generation made of them.
 */
#ifndef TERN_MODULE_POLICY_H
#define TERN_MODULE_POLICY_H

#include <tern/module.h>

#include "base/arena.h"
#include "base/buf.h"
#include "config/schema.h"
#include "config/yaml.h"
#include "local/rules.h"
#include "state/tables.h"

/* ---- the process: every module that was ever loaded, and its state ---- */

struct modules;
struct modules_env {
    const char *path; /* folder of NAME.so */
    /* Tern was *started* without root: the present user may own modules and scripts, and a group
     * that may write them is a warning. False for a worker that root started. */
    bool trust_group;
    /* Descriptors that are linked in, NULL-terminated: the Lua binding. The same checks hold. */
    const struct tern_module *const *builtin;
    const struct tern_api *api; /* module/api.h */
    /* What supervisor.conf allows tern-local; NULL: not known. Lives as long as the modules. */
    const struct local_rules *local;
    uid_t local_own; /* whose process tern-local is, 0 for root's; MODULES_OWN_UNKNOWN */
};
#define MODULES_OWN_UNKNOWN ((uid_t)-1)
struct modules *modules_new(const struct modules_env *env);
void modules_free(struct modules *modules); /* runs fini; never dlclose */
/*
 * Loads NAME.so by descriptor unless it is there. NULL with a sentence that names both sides.
 * With a module `error` is empty, or a warning. The descriptor is a copy in which every entry has
 * our size. One thread at a time: the one that builds generations.
 */
const struct tern_module *modules_get(struct modules *modules, const char *name, char *error,
                                      size_t octets);
void *modules_state(struct modules *modules, const struct tern_module *module);

/* ---- one generation ---- */

struct policies;
struct policy; /* an ordered list of steps with their options; profiles overlay it */

struct policies_env {
    struct modules *modules;
    struct arena *arena; /* the generation's */
    struct config_errors *errors;
    struct tables *tables;
    /* policies:, profiles:, profile_for:, routes: and transports: are read from it. It lives as
     * long as the generation: profiles are laid over policies when they are first needed. */
    const struct yaml_node *root;
    /* Compiles a `when` expression, knowing the declared results and tags of its policy. NULL with
     * a sentence in error. */
    const void *(*when_compile)(struct arena *arena, struct slice text, const struct slice *results,
                                unsigned result_count, const struct slice *tags, unsigned tag_count,
                                char *error, size_t octets);
    /* Whether mail of that policy is never ours to deliver: then what it lacks for that is no mistake. NULL: never. */
    bool (*others_deliver)(void *arg, struct slice policy);
    void *others_deliver_arg;
};
/* NULL after errors were added. Loads what is named; `routes:` becomes each policy's last step. */
struct policies *policies_build(const struct policies_env *env);
void policies_free(struct policies *policies);
/* NULL if there is none; "generated" always exists. */
const struct policy *policies_find(const struct policies *policies, struct slice name);
/* Each step of each policy with its options, without profiles: for commands that need a module's own options. */
void policies_each_step(const struct policies *policies,
                        void (*each)(void *arg, const struct tern_module *module, const void *conf), void *arg);
/* Whether a step of the policy acts at that hook. */
bool policy_acts_at(const struct policy *policy, unsigned hook);
/* The same of any plan of it: a step that is off acts for those whose profile turns it on. */
bool policy_may_act_at(const struct policy *policy, unsigned hook);
/* Its steps that are not off, but for `routes:`; `hooks`: 1 << TERN_HOOK_* of those that it acts at. */
void policy_each_step(const struct policy *policy,
                      void (*tell)(void *arg, const char *step, const struct place *place, unsigned hooks), void *arg);
/* What `tern hooks` prints: per policy and hook the steps in order, with place, flags, modes. */
void policies_print(const struct policies *policies, struct buf *out, bool json);

/* The transports of this generation: `transports:` and the built-in types. */
struct tls_client;
struct transport {
    struct slice name, type;             /* type: smtp, lmtp, or a module's */
    const struct tern_transport *module; /* NULL for smtp and lmtp */
    const void *conf;                    /* of module->options, or struct smtp_transport_conf */
    struct tls_client *tls; /* tls: verify; NULL: not */
    uint64_t timeout_ms;    /* of a module's: for one delivery */
    struct metric *took;    /* from accept to delivery */
    struct place place;
};
/* The options of smtp and lmtp. Also what a route may override. */
struct smtp_auth_conf {
    tern_str user, password;
    struct tern_list mechanisms; /* names that delivery/ knows */
};
enum transport_tls {
    TRANSPORT_TLS_OFF,
    TRANSPORT_TLS_MAY,
    TRANSPORT_TLS_REQUIRED,
    TRANSPORT_TLS_VERIFY,
};
struct smtp_transport_conf {
    struct tern_list to; /* fixed hosts; empty: by MX */
    struct tern_list fallback;
    unsigned port; /* where `to` names none: 25, lmtp 24 */
    tern_address source;
    tern_str helo;            /* empty: hostname */
    unsigned connections_max; /* per site */
    unsigned rcpts_max;       /* per transaction: 100 */
    unsigned messages_max;    /* per connection: 100 */
    uint64_t connect_timeout_ms, command_timeout_ms, data_timeout_ms, idle_ms;
    struct tern_records auth; /* none, or one struct smtp_auth_conf */
    bool auth_plaintext;      /* the password may leave without TLS */
    bool chunking, xforward;
    int tls;       /* enum transport_tls */
    bool implicit; /* TLS before the greeting */
    tern_str ca_file, tls_name;
    uint64_t tls_timeout_ms;
};
const struct transport *policies_transport(const struct policies *policies, struct slice name);

/* For `tern help` and docs/config.md: what every step has, and the transports smtp and lmtp (else NULL). */
const struct tern_option *policy_step_options(void);
const struct tern_option *policy_transport_options(struct slice type);
/* Of every module's transport, beside its own. */
const struct tern_option *policy_transport_common(void);

#endif
