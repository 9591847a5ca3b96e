/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_profile.c - profiles: { NAME: { STEP: { options } | off } } and profile_for:.
 *
 * A profile is laid over every policy that has a step of that name. All of it is tried out
 * here, once for each policy it touches, so that a mistake is an error of the file and not
 * a refusal of somebody's mail. What two profiles together make of a step is found out at run time.
 */
#include <string.h>

#include "module/policy_internal.h"

void profiles_read(struct building *b)
{
    struct policies *out = b->out;
    const struct yaml_node *map = yaml_get(b->env->root, "profiles");
    unsigned count = map != NULL && map->kind == YAML_MAP ? map->count : 0;

    if (map != NULL && map->kind != YAML_MAP)
        config_error_at(b->env->errors, &map->place,
                        "profiles: expected a map of profiles by name");
    if (count > PROFILES_MAX) {
        config_error_at(b->env->errors, &map->place, "profiles: more than %u", PROFILES_MAX);
        count = PROFILES_MAX;
    }
    out->profiles = arena_zalloc(b->env->arena, (count + 1) * sizeof(*out->profiles));
    for (unsigned i = 0; i < count; i++) {
        const struct yaml_node *name = map->keys[i];

        if (map->items[i]->kind != YAML_MAP) {
            config_error_at(b->env->errors, &map->items[i]->place,
                            "profile %s: expected a map: step: { options } or step: off",
                            name->text.ptr);
            continue;
        }
        out->profiles[out->profile_count++] =
            (struct profile){ .name = name->text, .place = name->place, .map = map->items[i] };
        (void)table_put(&out->profile_names, name->text, (void *)(uintptr_t)out->profile_count);
    }
}

static const char **profile_names(struct building *b)
{
    const struct policies *out = b->out;
    const char **names = arena_zalloc(b->env->arena, (out->profile_count + 1) * sizeof(*names));

    for (unsigned i = 0; i < out->profile_count; i++)
        names[i] = out->profiles[i].name.ptr;
    return names;
}

/* Its contents are not the configuration's. */
static bool is_table(const struct yaml_node *node)
{
    return node->kind != YAML_MAP || tables_is_elsewhere(node);
}

/* The values of an inline map are names of profiles; a named table is read at run time. */
static void check_inline(struct building *b, const struct yaml_node *node, bool domain)
{
    struct policies *out = b->out;

    if (is_table(node))
        return;
    for (unsigned i = 0; i < node->count; i++) {
        const struct yaml_node *value = node->items[i];
        uintptr_t index = 0;

        if (value->kind == YAML_SCALAR)
            index = (uintptr_t)table_get(&out->profile_names, value->text);
        if (index == 0) {
            const char *meant =
                config_did_you_mean(value->text, profile_names(b), out->profile_count);

            config_error_at(b->env->errors, &value->place, "there is no profile \"%.*s\"%s%s%s",
                            (int)value->text.len, value->text.ptr,
                            meant != NULL ? "; did you mean " : "", meant != NULL ? meant : "",
                            meant != NULL ? "?" : "");
        } else if (domain) {
            out->profiles[index - 1].for_domain = true;
        }
    }
}

static void read_profile_for(struct building *b)
{
    const struct yaml_node *map = yaml_get(b->env->root, "profile_for");

    if (map == NULL)
        return;
    if (map->kind != YAML_MAP) {
        config_error_at(b->env->errors, &map->place,
                        "profile_for: expected a map with domain: and user:");
        return;
    }
    for (unsigned i = 0; i < map->count; i++) {
        const struct yaml_node *key = map->keys[i], *value = map->items[i];
        bool domain = slice_equal(key->text, SLICE("domain"));

        if (slice_equal(key->text, SLICE("tenant"))) {
            config_error_at(b->env->errors, &key->place,
                            "profile_for.tenant: is not supported yet");
        } else if (!domain && !slice_equal(key->text, SLICE("user"))) {
            config_error_at(b->env->errors, &key->place,
                            "profile_for: unknown key \"%s\"; there are domain and user",
                            key->text.ptr);
        } else {
            check_inline(b, value, domain);
            b->out->domain_by_table |= domain && is_table(value);
            *(domain ? &b->out->by_domain : &b->out->by_user) =
                tables_resolve(b->env->tables, value);
        }
    }
}

/* What a profile may say of this step, whatever the values are. */
static bool allowed(struct building *b, const struct profile *profile, const struct policy *policy,
                    unsigned step, const struct yaml_node *node)
{
    static const char *const fixed[] = { "name", "script", "trusted" };
    const struct step_source *s = &policy->sources[step];
    const char *name = policy->steps[step].name.ptr;
    const struct yaml_node *settings, *options;
    struct config_errors *errors = b->env->errors;

    if (s->once) {
        config_error_at(
            errors, &node->place,
            "profile %s: step %s runs once for the whole message, so no profile may change it",
            profile->name.ptr, name);
        return false;
    }
    if (node->kind != YAML_MAP)
        return true;
    settings_split(b->env->arena, node, s->host != NULL, &settings, &options);
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        const struct yaml_node *bad = settings != NULL ? yaml_get(settings, fixed[i]) : NULL;

        if (bad == NULL)
            continue;
        config_error_at(errors, &bad->place,
                        "profile %s: %s: of step %s cannot differ between profiles",
                        profile->name.ptr, fixed[i], name);
        return false;
    }
    bool mode_only =
        options == NULL &&
        (settings == NULL || (settings->count == 1 && yaml_get(settings, "mode") != NULL));
    if (mode_only || !step_is_early(s))
        return true;
    if (profile->for_domain)
        config_error_at(errors, &node->place,
                        "profile %s: step %s acts before the recipient is known, so the profile of "
                        "a domain may set its mode only",
                        profile->name.ptr, name);
    else if (b->out->domain_by_table)
        config_warning_at(errors, &node->place,
                          "profile %s: step %s acts before the recipient is known; where a domain "
                          "has this profile only its mode counts",
                          profile->name.ptr, name);
    return !profile->for_domain;
}

/* The settings as they come out: what a policy may not say a profile may not either. */
static bool check_settings(struct building *b, const struct policy *policy, unsigned step,
                           const struct yaml_node *node)
{
    const struct step_source *s = &policy->sources[step];
    struct settings merged = s->settings;
    const struct yaml_node *settings = NULL, *options;
    struct schema_env env;

    policy_schema_env(b->out, b->env->arena, b->env->errors, &env);
    if (node->kind == YAML_MAP)
        settings_split(b->env->arena, node, s->host != NULL, &settings, &options);
    if (settings == NULL)
        return true;
    return schema_override(&env, settings, settings_options, &merged, NULL) == 0 &&
           settings_allowed(b->env->errors, policy, step, &merged, node->place) &&
           policy_when_compile(b, policy, merged.when, node->place);
}

/* Tries the profile on one policy; false after errors, which other policies would only repeat. */
static bool try_on(struct building *b, int index, struct policy *policy, const char *step_name,
                   const struct yaml_node *node, bool *found)
{
    const struct profile *profile = &b->out->profiles[index];

    for (unsigned i = 0; i < policy->step_count; i++) {
        struct arena scratch;

        if (strcmp(policy->steps[i].name.ptr, step_name) != 0)
            continue;
        *found = true;
        policy->touched[index] = true;
        if (!allowed(b, profile, policy, i, node) || !check_settings(b, policy, i, node))
            return false;
        if (policy->sources[i].raw_conf == NULL)
            return false; /* the policy's own options are wrong already */
        arena_init(&scratch);
        bool fine = plan_try_step(policy, i, PROFILE_NONE, index, &scratch, b->env->errors);
        arena_fini(&scratch);
        return fine;
    }
    return true;
}

static void unknown_step(struct building *b, const struct profile *profile,
                         const struct yaml_node *key)
{
    const struct policies *out = b->out;
    struct arena scratch;
    unsigned count = 0, size = 1;

    for (unsigned i = 0; i < out->count; i++)
        size += out->list[i]->step_count;
    arena_init(&scratch);
    const char **names = arena_zalloc(&scratch, size * sizeof(*names));
    for (unsigned i = 0; i < out->count; i++)
        for (unsigned k = 0; k < out->list[i]->step_count; k++)
            names[count++] = out->list[i]->steps[k].name.ptr;
    const char *meant = config_did_you_mean(key->text, names, count);
    config_error_at(b->env->errors, &key->place, "profile %s: no policy has a step \"%s\"%s%s%s",
                    profile->name.ptr, key->text.ptr, meant != NULL ? "; did you mean " : "",
                    meant != NULL ? meant : "", meant != NULL ? "?" : "");
    arena_fini(&scratch);
}

static void check_profile(struct building *b, int index)
{
    const struct profile *profile = &b->out->profiles[index];

    for (unsigned k = 0; k < profile->map->count; k++) {
        const struct yaml_node *key = profile->map->keys[k], *node = profile->map->items[k];
        bool found = false, fine = true;

        if (node->kind == YAML_LIST ||
            (node->kind == YAML_SCALAR && !slice_equal(node->text, SLICE("off")))) {
            config_error_at(b->env->errors, &node->place,
                            "profile %s: expected options for step %s, or off", profile->name.ptr,
                            key->text.ptr);
            continue;
        }
        for (unsigned i = 0; i < b->out->count && fine; i++)
            fine = try_on(b, index, b->out->list[i], key->text.ptr, node, &found);
        if (!found && table_get(&b->out->failed, key->text) == NULL)
            unknown_step(b, profile, key);
    }
}

void profiles_check(struct building *b)
{
    struct policies *out = b->out;

    for (unsigned i = 0; i < out->count; i++)
        out->list[i]->touched = arena_zalloc(b->env->arena, out->profile_count + 1);
    read_profile_for(b);
    for (unsigned i = 0; i < out->profile_count; i++)
        check_profile(b, (int)i);
}
