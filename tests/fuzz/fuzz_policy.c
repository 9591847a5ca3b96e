/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_policy.c - any YAML in; policies or errors out, and never both.
 *
 * Promises: a generation comes out exactly when no error was added; then every policy has a plan, every
 * chain's steps act on its hook and are not off, asking for plans twice gives the same ones, and
 * both ways of printing work.
 */
#include <assert.h>
#include <string.h>

#include "module/config_api.h"
#include "module/plan.h"

static tern_verdict run(tern_call *call, const void *conf)
{
    (void)call;
    (void)conf;
    return TERN_NEXT;
}

struct conf {
    unsigned max;
    tern_str word;
    struct tern_list list;
    const struct tern_table *names;
};
static const struct tern_option options[] = {
    TERN_OPTION_UINT(struct conf, max, "10", 1, 100, "A number."),
    TERN_OPTION_STRING(struct conf, word, "plain", "A word."),
    TERN_OPTION_LIST(struct conf, list, "", 0, 4, "A list."),
    TERN_OPTION_TABLE(struct conf, names, "", "Names."),
    TERN_OPTIONS_END,
};

static int check(void *conf, struct tern_config *config)
{
    const struct conf *c = conf;

    if (c->list.count == 3)
        config_api_error(config, "list[2]", "three are too many");
    return c->list.count == 3 ? -EINVAL : 0;
}

#define MODULE(id, module_name, ...)                                                               \
    static const struct tern_hook id##_hooks[] = { __VA_ARGS__, TERN_HOOKS_END };                  \
    static const struct tern_module id = { .magic = TERN_ABI_MAGIC,                                \
                                           .size = sizeof(id),                                     \
                                           .abi_major = TERN_ABI_MAJOR,                            \
                                           .name = module_name,                                    \
                                           .options = options,                                     \
                                           .check = check,                                         \
                                           .conf_size = sizeof(struct conf),                       \
                                           .hooks = id##_hooks }

MODULE(claimer, "claimer", { TERN_HOOK(RCPT, run), .flags = TERN_CLAIMS });
MODULE(early, "early", { TERN_HOOK(CONNECT, run), .answers = TERN_MAY_CLOSE });
MODULE(once, "once", { TERN_HOOK(MESSAGE, run), .flags = TERN_ONCE });
MODULE(filter, "filter", { TERN_HOOK(MESSAGE, run) }, { TERN_HOOK(QUEUE, run) });
MODULE(routes, "routes", { TERN_HOOK(ROUTE, run), .answers = TERN_MAY_ACCEPT });

static const struct tern_module *const builtin[] = {
    &claimer, &early, &once, &filter, &routes, NULL
};

static const void *when_any(struct arena *arena, struct slice text, const struct slice *results,
                            unsigned result_count, const struct slice *tags, unsigned tag_count,
                            char *error, size_t octets)
{
    (void)results;
    (void)result_count;
    (void)tags;
    (void)tag_count;
    if (text.len == 13)
        strncpy(error, "bad luck", octets);
    return text.len == 13 ? NULL : arena_dup(arena, text);
}

static void check_plan(const struct plan *plan)
{
    for (unsigned hook = 0; hook < TERN_HOOK_COUNT; hook++) {
        const struct chain *c = &plan->chains[hook];

        assert(c->claims_until <= c->count && c->count <= plan->step_count);
        for (unsigned i = 0; i < c->count; i++) {
            assert(c->entries[i].hook->hook == hook);
            assert(c->entries[i].step->mode != STEP_OFF);
            assert(c->entries[i].step->conf != NULL);
        }
    }
}

static void check_policy(const struct policy *policy)
{
    static const char *const domains[] = { "a.example", "b.example", "" };
    static const char *const users[] = { "", "joe" };

    check_plan(policy_plan(policy));
    for (size_t d = 0; d < 3; d++)
        for (size_t u = 0; u < 2; u++) {
            struct tern_mailbox m = { .address = TERN_STR("x@a.example"), .local = TERN_STR("x") };
            const struct plan *first = NULL, *second = NULL;

            m.domain = (tern_str){ domains[d], strlen(domains[d]) };
            int r = plan_for(policy, slice_cstr(users[u]), &m, &first);
            assert(r == plan_for(policy, slice_cstr(users[u]), &m, &second) && first == second);
            assert((r == 0) == (first != NULL) && (r == 0 || r == -EAGAIN));
            if (r == 0)
                check_plan(first);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tern_api api = { .size = sizeof(api), .abi_major = 1 };
    struct modules_env menv = {
        .path = "/nonexistent", .trust_group = true, .builtin = builtin, .api = &api
    };
    struct config_errors errors = { .text = BUF_INIT };
    struct arena arena;

    arena_init(&arena);
    struct modules *modules = modules_new(&menv);
    struct slice text = slice_make((const char *)data, size);
    struct yaml_node *root = yaml_load_text(&arena, text, "f.yaml", "/nonexistent", &errors);
    struct tables *tables = root != NULL ? tables_new(&arena, NULL, NULL, &errors) : NULL;
    struct policies_env env = { modules, &arena, &errors, tables, root, when_any };
    unsigned before = errors.errors;
    struct policies *p = tables != NULL ? policies_build(&env) : NULL;

    assert(tables == NULL || (p != NULL) == (errors.errors == before));
    if (p != NULL) {
        CLEANUP_BUF struct buf out = BUF_INIT;
        const struct policy *in = policies_find(p, SLICE("in"));

        check_policy(policies_find(p, SLICE("generated")));
        if (in != NULL)
            check_policy(in);
        policies_print(p, &out, false);
        policies_print(p, &out, true);
        assert(policies_transport(p, SLICE("smtp")) != NULL);
    }
    policies_free(p);
    if (tables != NULL)
        tables_free(tables);
    config_errors_free(&errors);
    modules_free(modules);
    arena_fini(&arena);
    return 0;
}
