/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.c - see plan.h.
 *
 * Profiles override the options *as parsed*, and check() runs anew over the result: what
 * a module computed from the policy's options does not survive into a profile's.
 *
 * Reading takes no lock: a plan is found by two indices in rows of atomic pointers. A row is made
 * when its domain profile is first met, a plan when its pair is.
 */
#include "module/plan.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "module/policy_internal.h"

/* Stands for a pair whose options contradict each other: not tried again in this generation. */
static struct plan failed_plan;

static const unsigned late_hooks =
    1u << TERN_HOOK_MESSAGE | 1u << TERN_HOOK_QUEUE | 1u << TERN_HOOK_SIGN;

/* What a profile says of a step: its node, or NULL. */
static const struct yaml_node *layer_node(const struct policies *owner, int profile,
                                          const char *step)
{
    return profile != PROFILE_NONE ? yaml_get(owner->profiles[profile].map, step) : NULL;
}

/* One step under up to two profiles, while it is put together. */
struct making {
    const struct policy *policy;
    unsigned index;
    struct arena *arena;
    struct config_errors *errors;
    struct schema_env env;
    struct settings settings;
    void *conf, *host_conf;             /* NULL until something overrides them */
    const struct yaml_node *options[2]; /* of the layers that counted */
    const struct yaml_node *last;
};

static void *copy_of(struct arena *arena, const void *octets, size_t len)
{
    return memcpy(arena_zalloc(arena, len + 1), octets, len);
}

static bool override_options(struct making *m, const struct yaml_node *options)
{
    const struct step_source *s = &m->policy->sources[m->index];
    const struct tern_module *module = m->policy->steps[m->index].module;

    if (m->conf == NULL) {
        m->conf = copy_of(m->arena, s->raw_conf, module->conf_size);
        if (s->host != NULL)
            m->host_conf = copy_of(m->arena, s->raw_host_conf, s->host->conf_size);
    }
    if (s->host != NULL)
        return schema_override_both(&m->env, options, s->host->options, m->host_conf,
                                    module->options, m->conf, NULL) == 0;
    return schema_override(&m->env, options, module->options, m->conf, NULL) == 0;
}

static bool apply_layer(struct making *m, int profile, unsigned layer, bool mode_only)
{
    const struct step_source *s = &m->policy->sources[m->index];
    const struct yaml_node *node =
        layer_node(m->policy->owner, profile, m->policy->steps[m->index].name.ptr);
    const struct yaml_node *settings, *options;

    if (node == NULL || s->once)
        return true;
    if (node->kind == YAML_SCALAR) {
        m->settings.mode = STEP_OFF;
        return true;
    }
    m->last = node;
    settings_split(m->arena, node, s->host != NULL, &settings, &options);
    struct settings before = m->settings;
    if (settings != NULL &&
        schema_override(&m->env, settings, settings_options, &m->settings, NULL) < 0)
        return false;
    if (mode_only) {
        before.mode = m->settings.mode;
        m->settings = before;
    }
    if (options == NULL || mode_only)
        return true;
    m->options[layer] = options;
    return override_options(m, options);
}

/* Text that is equal for equal options: see `late_id`. Depth is bounded by the YAML's. */
static void describe_node(struct buf *out, const struct yaml_node *node)
{
    if (node->kind == YAML_SCALAR) {
        buf_printf(out, "%zu:", node->text.len);
        buf_add(out, node->text);
        return;
    }
    buf_add_char(out, node->kind == YAML_LIST ? '[' : '{');
    for (unsigned i = 0; i < node->count; i++) {
        if (node->kind == YAML_MAP)
            describe_node(out, node->keys[i]);
        describe_node(out, node->items[i]);
    }
    buf_add_char(out, ']');
}

struct merged {
    const struct yaml_node *key, *value;
};

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct merged *)a)->key->text.ptr,
                  ((const struct merged *)b)->key->text.ptr);
}

/* The YAML of the policy with the profiles' over it, keys in alphabetical order. */
static void describe_options(struct buf *out, const struct making *m)
{
    const struct yaml_node *maps[] = { m->policy->sources[m->index].options, m->options[0],
                                       m->options[1] };
    unsigned size = 1, count = 0;

    for (size_t i = 0; i < 3; i++)
        size += maps[i] != NULL ? maps[i]->count : 0;
    struct merged *all = arena_zalloc(m->arena, size * sizeof(*all));
    for (size_t i = 0; i < 3; i++)
        for (unsigned k = 0; maps[i] != NULL && k < maps[i]->count; k++) {
            unsigned at = 0;

            while (at < count && !slice_equal(all[at].key->text, maps[i]->keys[k]->text))
                at++;
            count += at == count;
            all[at] = (struct merged){ maps[i]->keys[k], maps[i]->items[k] };
        }
    qsort(all, count, sizeof(*all), by_key);
    for (unsigned i = 0; i < count; i++) {
        describe_node(out, all[i].key);
        describe_node(out, all[i].value);
    }
}

static void describe_late(struct buf *out, const struct making *m)
{
    const struct settings *s = &m->settings;

    if ((m->policy->sources[m->index].hooks & late_hooks) == 0)
        return;
    buf_printf(out, "#%u mode=%d ", m->index, s->mode);
    if (s->mode == STEP_OFF)
        return;
    buf_printf(out, "on_error=%d timeout=%llu when=%zu:", s->on_error,
               (unsigned long long)s->timeout_ms, s->when.len);
    buf_add(out, slice_of(s->when));
    describe_options(out, m);
}

/* One step of the plan; `late` gets what decides about late_id. */
static bool make_step(struct making *m, int domain, int user, struct plan_step *ret,
                      struct buf *late)
{
    const struct step_source *s = &m->policy->sources[m->index];
    struct policies *owner = m->policy->owner;
    struct step *step = &m->policy->steps[m->index];

    m->settings = s->settings;
    policy_schema_env(owner, m->arena, m->errors, &m->env);
    if (!apply_layer(m, domain, 0, step_is_early(s)) || !apply_layer(m, user, 1, false))
        return false;
    if (m->conf != NULL && m->settings.mode != STEP_OFF &&
        !step_check(owner, m->policy, m->index, m->arena, m->errors, m->conf, m->host_conf, m->last,
                    m->last->place))
        return false;
    *ret = (struct plan_step){
        .step = step,
        .conf = m->conf != NULL ? m->conf : s->conf,
        .host_conf = m->conf != NULL ? m->host_conf : s->host_conf,
        .mode = (enum step_mode)m->settings.mode,
        .on_error = (enum step_on_error)m->settings.on_error,
        .refuse_at = (enum step_refuse_at)m->settings.refuse_at,
        .timeout_ms = m->settings.timeout_ms,
        .when = when_get(owner, m->policy, m->settings.when),
    };
    describe_late(late, m);
    return true;
}

bool plan_try_step(const struct policy *policy, unsigned step, int domain, int user,
                   struct arena *arena, struct config_errors *errors)
{
    struct making m = { .policy = policy, .index = step, .arena = arena, .errors = errors };
    CLEANUP_BUF struct buf late = BUF_INIT;
    struct plan_step unused;

    return make_step(&m, domain, user, &unused, &late);
}

static void make_chain(struct plan *plan, unsigned hook, struct arena *arena)
{
    struct chain *chain = &plan->chains[hook];
    unsigned size = 1;

    for (unsigned i = 0; i < plan->step_count; i++)
        for (const struct tern_hook *h = plan->steps[i].step->module->hooks; h->size != 0; h++)
            size += h->hook == hook;
    struct chain_entry *entries = arena_zalloc(arena, size * sizeof(*entries));
    for (unsigned i = 0; i < plan->step_count; i++) {
        const struct plan_step *s = &plan->steps[i];

        if (s->mode == STEP_OFF)
            continue;
        /* One, but for auth: there a step may have an entry of each form. */
        for (const struct tern_hook *h = s->step->module->hooks; h->size != 0; h++) {
            if (h->hook != hook)
                continue;
            entries[chain->count++] = (struct chain_entry){ s, h };
            if ((h->flags & TERN_CLAIMS) != 0)
                chain->claims_until = chain->count;
        }
    }
    chain->entries = entries;
}

static unsigned late_id(struct policies *owner, const struct buf *late)
{
    uintptr_t known = (uintptr_t)table_get(&owner->late_ids, buf_slice(late));

    if (known != 0)
        return (unsigned)known - 1;
    (void)table_put(&owner->late_ids, buf_slice(late), (void *)(uintptr_t)(owner->late_count + 1));
    return owner->late_count++;
}

static tern_str profiles_text(const struct policies *owner, int domain, int user,
                              struct arena *arena)
{
    CLEANUP_BUF struct buf text = BUF_INIT;

    if (user != PROFILE_NONE) {
        buf_add_cstr(&text, "user:");
        buf_add(&text, owner->profiles[user].name);
    }
    if (domain != PROFILE_NONE) {
        buf_add_cstr(&text, text.len > 0 ? " domain:" : "domain:");
        buf_add(&text, owner->profiles[domain].name);
    }
    return tern_str_dup(arena, buf_slice(&text));
}

struct plan *plan_make(const struct policy *policy, int domain, int user, struct arena *arena,
                       struct config_errors *errors)
{
    CLEANUP_BUF struct buf late = BUF_INIT;
    struct plan *plan = ARENA_NEW(arena, struct plan);
    struct plan_step *steps = arena_zalloc(arena, (policy->step_count + 1) * sizeof(*steps));

    buf_printf(&late, "%s ", policy->name.ptr);
    plan->policy = policy;
    plan->steps = steps;
    plan->step_count = policy->step_count;
    for (unsigned i = 0; i < policy->step_count; i++) {
        struct making m = { .policy = policy, .index = i, .arena = arena, .errors = errors };

        if (!make_step(&m, domain, user, &steps[i], &late))
            return NULL;
    }
    for (unsigned hook = 0; hook < TERN_HOOK_COUNT; hook++)
        make_chain(plan, hook, arena);
    plan->late_id = late_id(policy->owner, &late);
    plan->profiles = profiles_text(policy->owner, domain, user, arena);
    return plan;
}

/* ---- at run time ---- */

tern_str policy_name_of(const struct policy *policy)
{
    return policy->name;
}

bool policy_acts_at(const struct policy *policy, unsigned hook)
{
    return policy->base->chains[hook].count > 0;
}

const struct plan *policy_plan(const struct policy *policy)
{
    return policy->base;
}

const struct policies *policy_owner(const struct policy *policy)
{
    return policy->owner;
}

/* The profile that `table` gives `key`, of those that change this policy. 0, or -EAGAIN. */
static int find_profile(const struct policy *policy, const struct tern_table *table,
                        struct slice key, int *ret)
{
    struct policies *owner = policy->owner;
    struct table_hold *hold = NULL;
    tern_str name;
    int r = 0;

    *ret = PROFILE_NONE;
    if (key.len == 0 || table_is_empty(table))
        return 0;
    enum tern_status status = table_lookup(table, key, &name, &hold);
    if (status == TERN_ABSENT)
        return 0;
    if (status == TERN_FAILED)
        return -EAGAIN;
    uintptr_t index = (uintptr_t)table_get(&owner->profile_names, slice_of(name));
    if (index == 0) {
        /* A file may name what `tern check` could not see. Without it the mail would pass
         * under options that nobody wrote for it, so it waits. */
        log_event(LOG_ERROR, LOG_EV_table, NULL,
                  "profile_for: \"%.*s\" has profile \"%.*s\", which does not exist", (int)key.len,
                  key.ptr, (int)name.len, name.ptr);
        r = -EAGAIN;
    } else if (policy->touched[index - 1]) {
        *ret = (int)index - 1;
    }
    table_hold_release(hold);
    return r;
}

static struct plan *plan_build(const struct policy *policy, int domain, int user)
{
    struct config_errors errors = { .text = BUF_INIT };
    struct plan *plan = plan_make(policy, domain, user, &policy->owner->plan_arena, &errors);

    if (plan == NULL) {
        tern_str names = profiles_text(policy->owner, domain, user, &policy->owner->plan_arena);

        log_event(LOG_ERROR, LOG_EV_config, NULL, "profiles %s cannot be used together: %.*s",
                  names.ptr, (int)errors.text.len, errors.text.data);
        plan = &failed_plan;
    }
    config_errors_free(&errors);
    return plan;
}

static const struct plan *plan_slow(const struct policy *policy, int domain, int user)
{
    struct policies *owner = policy->owner;
    _Atomic(struct plan *) *row;
    struct plan *plan;
    int r = pthread_mutex_lock(&owner->lock);

    assert(r == 0);
    row = atomic_load_explicit(&policy->rows[domain + 1], memory_order_relaxed);
    if (row == NULL) {
        row = arena_zalloc(&owner->plan_arena, (owner->profile_count + 1) * sizeof(*row));
        atomic_store_explicit(&policy->rows[domain + 1], row, memory_order_release);
    }
    plan = atomic_load_explicit(&row[user + 1], memory_order_relaxed);
    if (plan == NULL) {
        plan = plan_build(policy, domain, user);
        atomic_store_explicit(&row[user + 1], plan, memory_order_release);
    }
    r = pthread_mutex_unlock(&owner->lock);
    assert(r == 0);
    return plan;
}

void plan_profile_tables(const struct policy *policy, const struct tern_table **ret_domain,
                         const struct tern_table **ret_user)
{
    *ret_domain = policy->owner->by_domain;
    *ret_user = policy->owner->by_user;
}

int plan_for(const struct policy *policy, struct slice user, const struct tern_mailbox *rcpt,
             const struct plan **ret)
{
    const struct policies *owner = policy->owner;
    const struct plan *plan = NULL;
    int by_domain = PROFILE_NONE, by_user = PROFILE_NONE;
    struct slice who = user;

    /* Who logged in is the user; of a stranger's mail it is the mailbox it is for. */
    if (who.len == 0 && rcpt != NULL)
        who = slice_of(rcpt->address);
    if (rcpt != NULL &&
        find_profile(policy, owner->by_domain, slice_of(rcpt->domain), &by_domain) < 0)
        return -EAGAIN;
    if (find_profile(policy, owner->by_user, who, &by_user) < 0)
        return -EAGAIN;
    if (by_domain == PROFILE_NONE && by_user == PROFILE_NONE) {
        *ret = policy->base;
        return 0;
    }
    _Atomic(struct plan *) *row =
        atomic_load_explicit(&policy->rows[by_domain + 1], memory_order_acquire);
    if (row != NULL)
        plan = atomic_load_explicit(&row[by_user + 1], memory_order_acquire);
    if (plan == NULL)
        plan = plan_slow(policy, by_domain, by_user);
    if (plan == &failed_plan)
        return -EAGAIN;
    *ret = plan;
    return 0;
}
