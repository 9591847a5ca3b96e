/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.c - the policies of one generation, from `policies:`, `routes:`, `profiles:`.
 *
 * Everything is read before anything is refused, so that the operator gets all errors at once; one
 * error and there is no generation.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "module/policy_internal.h"

/* `routes:` is the option `rules` of a step that nobody has to write. */
static void add_routes(struct building *b, struct policy *policy)
{
    const struct yaml_node *routes = yaml_get(b->env->root, "routes");
    struct arena *arena = b->env->arena;

    if (routes == NULL)
        return;
    if (routes->kind != YAML_LIST) {
        if (policy->implicit)
            config_error_at(b->env->errors, &routes->place, "routes: expected a list of rules");
        return;
    }
    struct yaml_node *map = ARENA_NEW(arena, struct yaml_node);
    struct yaml_node *key = ARENA_NEW(arena, struct yaml_node);
    *key = (struct yaml_node){
        .kind = YAML_SCALAR, .place = routes->place, .text = SLICE("rules"), .dir = routes->dir
    };
    *map = (struct yaml_node){
        .kind = YAML_MAP, .place = routes->place, .count = 1, .dir = routes->dir
    };
    map->keys = arena_zalloc(arena, sizeof(*map->keys));
    map->items = arena_zalloc(arena, sizeof(*map->items));
    map->keys[0] = key;
    map->items[0] = (struct yaml_node *)routes;
    (void)step_add(b, policy, "routes", map, routes->place, false);
}

static struct policy *policy_new(struct building *b, struct slice name, struct place place,
                                 unsigned steps)
{
    struct policy *p = ARENA_NEW(b->env->arena, struct policy);

    p->owner = b->out;
    p->name = tern_str_dup(b->env->arena, name);
    p->place = place;
    p->steps = arena_zalloc(b->env->arena, steps * sizeof(*p->steps));
    p->sources = arena_zalloc(b->env->arena, steps * sizeof(*p->sources));
    b->out->list[b->out->count++] = p;
    return p;
}

/* Names go into labels, logs and the spool. */
static bool is_policy_name(struct slice name)
{
    if (name.len == 0 || name.len > 64)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = ascii_lower(name.ptr[i]);

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.'))
            return false;
    }
    return true;
}

static void policy_build(struct building *b, const struct yaml_node *name,
                         const struct yaml_node *list)
{
    struct config_errors *errors = b->env->errors;
    bool empty = list->kind == YAML_SCALAR && list->text.len == 0;

    if (!is_policy_name(name->text)) {
        config_error_at(errors, &name->place,
                        "\"%s\" is no name of a policy: letters, digits, _ - and . up to 64",
                        name->text.ptr);
        return;
    }
    if (list->kind != YAML_LIST && !empty) {
        config_error_at(errors, &list->place, "policy %s: expected a list of steps",
                        name->text.ptr);
        return;
    }
    unsigned count = empty ? 0 : list->count;
    if (count >= STEPS_MAX) {
        config_error_at(errors, &list->place, "policy %s has %u steps, at most %u are allowed",
                        name->text.ptr, count, STEPS_MAX - 1);
        return;
    }
    struct policy *policy = policy_new(b, name->text, name->place, count + 1);
    for (unsigned i = 0; i < count; i++)
        (void)step_build(b, policy, list->items[i]);
    add_routes(b, policy);
    policy_rules(b, policy);
}

static void policies_read(struct building *b)
{
    const struct yaml_node *map = yaml_get(b->env->root, "policies");
    unsigned count = map != NULL && map->kind == YAML_MAP ? map->count : 0;

    if (map != NULL && map->kind != YAML_MAP)
        config_error_at(b->env->errors, &map->place, "policies: expected a map of lists of steps");
    if (count > POLICIES_MAX) {
        config_error_at(b->env->errors, &map->place, "policies: more than %u", POLICIES_MAX);
        count = POLICIES_MAX;
    }
    b->out->list = arena_zalloc(b->env->arena, (count + 1) * sizeof(*b->out->list));
    for (unsigned i = 0; i < count; i++)
        policy_build(b, map->keys[i], map->items[i]);
    if (map != NULL && yaml_get(map, "generated") != NULL)
        return;
    struct policy *generated =
        policy_new(b, SLICE("generated"), (struct place){ "built-in", 0, 0 }, 1);
    generated->implicit = true;
    add_routes(b, generated);
    policy_rules(b, generated);
}

static void refuse_later_keys(struct building *b)
{
    const struct yaml_node *node = yaml_get(b->env->root, "tenants");

    if (node != NULL)
        config_error_at(b->env->errors, &node->place, "tenants: is not supported yet");
}

/* The plans without profiles, and the empty place of all others. */
static void plans_begin(struct building *b)
{
    struct policies *out = b->out;

    for (unsigned i = 0; i < out->count; i++) {
        struct policy *p = out->list[i];

        p->rows = arena_zalloc(out->arena, (out->profile_count + 1) * sizeof(*p->rows));
        p->base = plan_make(p, PROFILE_NONE, PROFILE_NONE, out->arena, b->env->errors);
    }
}

struct policies *policies_build(const struct policies_env *env)
{
    struct policies *out = mem_zalloc(sizeof(*out));
    struct building b = { env, out };
    unsigned before = env->errors->errors;

    out->modules = env->modules;
    out->tables = env->tables;
    out->arena = env->arena;
    table_init(&out->table_memo);
    table_init(&out->when_memo);
    table_init(&out->failed);
    table_init(&out->late_ids);
    table_init(&out->profile_names);
    arena_init(&out->plan_arena);
    int r = pthread_mutex_init(&out->lock, NULL);
    assert(r == 0);
    refuse_later_keys(&b);
    transports_build(&b);
    profiles_read(&b);
    policies_read(&b);
    policies_rules(&b);
    profiles_check(&b);
    if (env->errors->errors == before)
        plans_begin(&b);
    if (env->errors->errors == before)
        return out;
    policies_free(out);
    return NULL;
}

void policies_free(struct policies *policies)
{
    if (policies == NULL)
        return;
    for (struct script *s = policies->scripts; s != NULL; s = s->next)
        if (s->host->script_free != NULL)
            s->host->script_free(s->raw);
    transports_free(policies);
    table_free(&policies->table_memo, NULL);
    table_free(&policies->when_memo, NULL);
    table_free(&policies->failed, NULL);
    table_free(&policies->late_ids, NULL);
    table_free(&policies->profile_names, NULL);
    arena_fini(&policies->plan_arena);
    (void)pthread_mutex_destroy(&policies->lock);
    mem_cleanup_free(&policies);
}

void policies_each_step(const struct policies *policies,
                        void (*each)(void *arg, const struct tern_module *module, const void *conf), void *arg)
{
    for (unsigned i = 0; i < policies->count; i++) {
        const struct plan *plan = policy_plan(policies->list[i]);
        for (unsigned k = 0; k < plan->step_count; k++)
            each(arg, plan->steps[k].step->module, plan->steps[k].conf);
    }
}

const struct policy *policies_find(const struct policies *policies, struct slice name)
{
    for (unsigned i = 0; i < policies->count; i++)
        if (slice_equal(slice_of(policies->list[i]->name), name))
            return policies->list[i];
    return NULL;
}
