/* SPDX-License-Identifier: Apache-2.0 */
#include "server/generation.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "lua/when.h"
#include "server/milter_check.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct generation *present;
static _Atomic bool any_freed;

static struct metric *alive(void)
{
    return metric_gauge("tern_generations", "", "Configurations in memory; old ones end with their last session.");
}

struct generation *generation_new(uint64_t number)
{
    struct generation *g = mem_zalloc(sizeof(*g));

    atomic_init(&g->refs, 1);
    g->number = number;
    arena_init(&g->arena);
    metric_shift(alive(), 1);
    return g;
}

struct generation *generation_ref(struct generation *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

void generation_unref(struct generation *g)
{
    if (g == NULL || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
        return;
    generation_free_tls(g);
    if (g->policies != NULL)
        policies_free(g->policies);
    if (g->tables != NULL)
        tables_free(g->tables);
    arena_fini(&g->arena);
    free(g);
    metric_shift(alive(), -1);
    atomic_store(&any_freed, true);
}

void generation_give_back(void)
{
    if (atomic_exchange(&any_freed, false))
        (void)malloc_trim(0);
}

/* By the file alone, so that this mistake is told along with all others. */
static void check_listener_policies(const struct generation *g, const struct yaml_node *root,
                                    struct config_errors *errors)
{
    const struct yaml_node *policies = yaml_get(root, "policies");

    for (unsigned i = 0; i < g->conf.listener_count; i++) {
        const struct listener_conf *l = &g->conf.listeners[i];
        if (l->policy.len > 0 && yaml_get(policies, l->policy.ptr) == NULL)
            config_error_at(errors, &l->place, "listener \"%.*s\": there is no policy \"%s\"",
                            (int)l->name.len, l->name.ptr, l->policy.ptr);
    }
}

/* Could this rule of routes: take a recipient of that class? */
static bool may_take(const struct yaml_node *rule, struct slice class)
{
    static const char *const by_name[] = { "domain", "address", "pattern" };
    const struct yaml_node *classes = yaml_get(rule, "class");

    for (size_t i = 0; classes == NULL && i < sizeof(by_name) / sizeof(by_name[0]); i++)
        if (yaml_get(rule, by_name[i]) != NULL)
            return true;
    for (unsigned i = 0; classes != NULL && classes->kind == YAML_LIST && i < classes->count; i++)
        if (slice_equal(classes->items[i]->text, class))
            return true;
    return classes != NULL && classes->kind == YAML_SCALAR && slice_equal(classes->text, class);
}

static bool is_taken(const struct yaml_node *routes, struct slice class)
{
    for (unsigned i = 0; i < routes->count; i++)
        if (may_take(routes->items[i], class))
            return true;
    return false;
}

struct other_routes {
    bool any;
};

static void look_for_routes(void *arg, const char *step, const struct place *place, unsigned hooks)
{
    struct other_routes *o = arg;

    (void)step;
    (void)place;
    o->any |= (hooks & 1u << TERN_HOOK_ROUTE) != 0;
}

/* What `domains` claims as `local` or `relay` no rule takes that does not name it: such mail would wait for ever. */
static void check_routes(const struct generation *g, const struct yaml_node *root, struct config_errors *errors)
{
    static const char *const classes[] = { "local", "relay" };
    const struct yaml_node *routes = yaml_get(root, "routes"), *policies = yaml_get(root, "policies");
    bool names = false; /* else module routes has said it */

    if (routes == NULL || routes->kind != YAML_LIST || policies == NULL || policies->kind != YAML_MAP)
        return; /* there is none, or what is wrong with it has been said */
    for (unsigned i = 0; i < routes->count; i++)
        names |= yaml_get(routes->items[i], "class") != NULL;
    for (unsigned i = 0; names && i < policies->count; i++) {
        const struct policy *policy = policies_find(g->policies, policies->keys[i]->text);
        struct other_routes other = { false };
        if (policy != NULL)
            policy_each_step(policy, look_for_routes, &other);
        for (unsigned k = 0; !other.any && k < policies->items[i]->count; k++) {
            const struct yaml_node *step = yaml_get(policies->items[i]->items[k], "domains");
            const struct yaml_node *mode = yaml_get(step, "mode");
            bool off = mode != NULL && slice_equal(mode->text, SLICE("off"));
            for (size_t n = 0; step != NULL && !off && n < sizeof(classes) / sizeof(classes[0]); n++) {
                const struct yaml_node *option = yaml_get(step, classes[n]);
                if (option != NULL && !is_taken(routes, slice_cstr(classes[n])))
                    config_warning_at(errors, &option->place,
                                      "no rule of routes: takes class %s, nor names a domain, address or pattern: "
                                      "what is claimed here would wait for ever", classes[n]);
            }
        }
    }
}

static void find_listener_policies(struct generation *g, struct config_errors *errors)
{
    unsigned n = g->conf.listener_count;

    g->listener_policies = arena_zalloc(&g->arena, (n + 1) * sizeof(g->listener_policies[0]));
    for (unsigned i = 0; i < n; i++) {
        const struct listener_conf *l = &g->conf.listeners[i];

        g->listener_policies[i] = policies_find(g->policies, slice_of(l->policy));
        if (l->auth == LISTENER_AUTH_REQUIRED && g->listener_policies[i] != NULL &&
            !policy_acts_at(g->listener_policies[i], TERN_HOOK_AUTH))
            config_error_at(errors, &l->place,
                            "listener \"%.*s\": auth: required, but no step of policy \"%s\" can say who somebody is",
                            (int)l->name.len, l->name.ptr, l->policy.ptr);
        if ((l->vrfy == LISTENER_VRFY_POLICY || l->expn == LISTENER_EXPN_POLICY) && g->listener_policies[i] != NULL &&
            !policy_acts_at(g->listener_policies[i], TERN_HOOK_VRFY))
            config_warning_at(errors, &l->place,
                              "listener \"%.*s\": %s: policy, but no step of policy \"%s\" answers at hook vrfy",
                              (int)l->name.len, l->name.ptr, l->vrfy == LISTENER_VRFY_POLICY ? "vrfy" : "expn",
                              l->policy.ptr);
    }
}

static void find_kv_store(struct generation *g, const struct schema_env *env, struct modules *modules)
{
    const struct yaml_node *node = g->conf.kv_node;
    const char *name = g->conf.kv.provider.ptr;
    struct kv_conf again;
    char error[512];

    if (strcmp(name, "memory") == 0 || strcmp(name, "kv_memory") == 0) {
        if (node != NULL)
            (void)schema_parse(env, node, node->place, server_conf_kv_options(), &again, NULL, NULL, NULL);
        return;
    }
    const struct tern_module *m = modules_get(modules, name, error, sizeof(error));
    if (m == NULL || m->kv_store == NULL) {
        config_error_at(env->errors, &node->place, "kv: provider: %s",
                        m == NULL ? error : "this module is no store for kv");
        return;
    }
    g->kv_store = m->kv_store;
    g->kv_conf = arena_zalloc(&g->arena, m->kv_store->conf_size + 1);
    (void)schema_parse(env, node, node->place, server_conf_kv_options(), &again, m->kv_store->options,
                       g->kv_conf, NULL);
}

/* Tables by sql are served by the module table_sql, and so on. */
static const struct tern_table_provider *find_provider(void *arg, const char *word, char *error, size_t octets)
{
    char name[80];

    if (snprintf(name, sizeof(name), "table_%s", word) >= (int)sizeof(name)) {
        (void)snprintf(error, octets, "there is no such module");
        return NULL;
    }
    const struct tern_module *m = modules_get(arg, name, error, octets);
    for (unsigned i = 0; m != NULL && m->tables != NULL && m->tables[i] != NULL; i++)
        if (strcmp(m->tables[i]->type, word) == 0)
            return m->tables[i];
    if (m != NULL)
        (void)snprintf(error, octets, "module %s serves no such tables", name);
    return NULL;
}

struct generation *generation_build_node(struct generation *g, const struct yaml_node *root,
                                         struct modules *modules, struct config_errors *errors)
{
    const struct tables_env tenv = { .provider = find_provider, .arg = modules, .empty = g->tables_empty };

    g->tables = tables_new(&g->arena, yaml_get(root, "tables"), &tenv, errors);
    struct schema_env env = { .arena = &g->arena, .errors = errors, .table = tables_resolve,
                              .table_arg = g->tables };
    struct policies_env penv = { .modules = modules, .arena = &g->arena, .errors = errors,
                                 .tables = g->tables, .root = root, .when_compile = when_compile,
                                 .others_deliver = milter_is_all_of, .others_deliver_arg = g };

    bool ok = server_conf_parse(&env, root, &g->conf) == 0;
    if (g->tables != NULL)
        g->policies = policies_build(&penv);
    check_listener_policies(g, root, errors);
    if (ok && g->policies != NULL) {
        find_listener_policies(g, errors);
        check_routes(g, root, errors);
        find_kv_store(g, &env, modules);
        milter_check(g, errors);
    }
    if (errors->errors == 0 && ok && g->policies != NULL) {
        tables_quiet(g->tables); /* `errors` is the caller's and goes away */
        return g;
    }
    generation_unref(g);
    return NULL;
}

struct generation *generation_build(const char *path, struct modules *modules, uint64_t number,
                                    struct config_errors *errors)
{
    struct generation *g = generation_new(number);
    struct yaml_node *root = yaml_load_file(&g->arena, path, errors);

    if (root == NULL) {
        generation_unref(g);
        return NULL;
    }
    return generation_build_node(g, root, modules, errors);
}

int generation_peek(const char *path, struct arena *arena, struct server_conf *ret,
                    struct config_errors *errors)
{
    struct yaml_node *root = yaml_load_file(arena, path, errors);
    struct schema_env env = { .arena = arena, .errors = errors };

    return root != NULL ? server_conf_parse(&env, root, ret) : -1;
}

const struct listener_conf *generation_listener(const struct generation *g, struct slice name,
                                                const struct policy **ret_policy)
{
    for (unsigned i = 0; i < g->conf.listener_count; i++) {
        if (!slice_equal(g->conf.listeners[i].name, name))
            continue;
        *ret_policy = g->listener_policies[i];
        return &g->conf.listeners[i];
    }
    return NULL;
}

struct generation *generation_present(void)
{
    (void)pthread_mutex_lock(&lock);
    struct generation *g = present != NULL ? generation_ref(present) : NULL;
    (void)pthread_mutex_unlock(&lock);
    return g;
}

void generation_set_present(struct generation *g)
{
    (void)pthread_mutex_lock(&lock);
    struct generation *old = present;
    present = g;
    (void)pthread_mutex_unlock(&lock);
    if (old != NULL)
        atomic_store(&old->retired_ms, clock_now_ms());
    generation_unref(old);
}
