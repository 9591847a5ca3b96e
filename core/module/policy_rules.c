/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_rules.c - what must hold between the steps of a policy, and their `when`.
 *
 * The order in the YAML is the law: where it cannot work it is refused, with both places,
 * never re-sorted.
 */
#include <stdio.h>
#include <string.h>

#include "module/engine_auth.h"
#include "module/policy_internal.h"

static bool lists(const char *const *names, const char *name)
{
    for (; names != NULL && *names != NULL; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

static void check_order(struct config_errors *errors, const struct policy *policy)
{
    for (unsigned first = 0; first < policy->step_count; first++)
        for (unsigned second = first + 1; second < policy->step_count; second++) {
            const struct step *a = &policy->steps[first], *b = &policy->steps[second];
            const char *a_name = policy->sources[first].module_name;
            const char *b_name = policy->sources[second].module_name;
            bool after = lists(a->module->after, b_name);

            if (!after && !lists(b->module->before, a_name))
                continue;
            config_error_at(errors, &b->place,
                            "step %s must stand before step %s (at %s:%u): %s says so", b->name.ptr,
                            a->name.ptr, a->place.file, a->place.line, after ? a_name : b_name);
        }
}

/* A ONCE step works on the whole transaction; behind a per-group step there is no such thing. */
static void check_once(struct config_errors *errors, const struct policy *policy)
{
    const struct step *per_group = NULL;

    for (unsigned i = 0; i < policy->step_count; i++) {
        const struct step_source *s = &policy->sources[i];
        const struct step *st = &policy->steps[i];

        if ((s->hooks & (1u << TERN_HOOK_MESSAGE)) == 0 || s->settings.mode == STEP_OFF)
            continue;
        if (!s->once)
            per_group = per_group != NULL ? per_group : st;
        else if (per_group != NULL)
            config_error_at(
                errors, &st->place,
                "step %s runs once for the whole message, so it must stand before step %s "
                "(at %s:%u), which runs for each group of recipients",
                st->name.ptr, per_group->name.ptr, per_group->place.file, per_group->place.line);
    }
}

static bool is_delivered_by_others(const struct building *b, const struct policy *policy)
{
    return b->env->others_deliver != NULL && b->env->others_deliver(b->env->others_deliver_arg, slice_of(policy->name));
}

static void warn_of_holes(struct building *b, const struct policy *policy)
{
    struct config_errors *errors = b->env->errors;
    unsigned hooks = 0;
    bool claims = false;

    for (unsigned i = 0; i < policy->step_count; i++) {
        if (policy->sources[i].settings.mode == STEP_OFF)
            continue;
        claims |= policy->sources[i].claims;
        hooks |= policy->sources[i].hooks;
    }
    bool generated = strcmp(policy->name.ptr, "generated") == 0;
    if (is_delivered_by_others(b, policy))
        return;
    if (!claims && !generated)
        config_warning_at(errors, &policy->place,
                          "policy %s accepts no recipient: none of its steps claims any",
                          policy->name.ptr);
    if ((hooks & (1u << TERN_HOOK_ROUTE)) == 0 && (claims || (generated && !policy->implicit)))
        config_warning_at(
            errors, &policy->place,
            "mail of policy %s goes nowhere: there is no routes: and no step that routes",
            policy->name.ptr);
}

static bool has_module(const struct policy *policy, const char *name)
{
    for (unsigned i = 0; i < policy->step_count; i++)
        if (strcmp(policy->sources[i].module_name, name) == 0)
            return true;
    return false;
}

/*
 * A policy for one's own customers that does not know one's own mailboxes takes mail for those
 * that do not exist, and bounces it later.
 */
void policies_rules(struct building *b)
{
    const struct policies *out = b->out;
    const struct policy *knows = NULL;

    for (unsigned i = 0; i < out->count && knows == NULL; i++)
        if (has_module(out->list[i], "domains"))
            knows = out->list[i];
    for (unsigned i = 0; i < out->count && knows != NULL; i++) {
        const struct policy *p = out->list[i];
        bool claims = false;

        for (unsigned k = 0; k < p->step_count; k++)
            claims |= p->sources[k].claims;
        if (claims && !has_module(p, "domains") && !is_delivered_by_others(b, p))
            config_warning_at(
                b->env->errors, &p->place,
                "policy %s takes recipients without a step domains, which %s has: mail "
                "for mailboxes that do not exist will bounce instead of being refused",
                p->name.ptr, knows->name.ptr);
    }
}

void policy_rules(struct building *b, const struct policy *policy)
{
    check_order(b->env->errors, policy);
    check_once(b->env->errors, policy);
    warn_of_holes(b, policy);
    for (unsigned i = 0; i < policy->step_count; i++)
        (void)policy_when_compile(b, policy, policy->sources[i].settings.when,
                                  policy->steps[i].place);
}

bool policy_may_act_at(const struct policy *policy, unsigned hook)
{
    for (unsigned i = 0; i < policy->step_count; i++)
        if ((policy->sources[i].hooks & (1u << hook)) != 0)
            return true;
    return false;
}

void policy_each_step(const struct policy *policy,
                      void (*tell)(void *arg, const char *step, const struct place *place, unsigned hooks), void *arg)
{
    for (unsigned i = 0; i < policy->step_count; i++)
        if (policy->sources[i].settings.mode != STEP_OFF && strcmp(policy->sources[i].module_name, "routes") != 0)
            tell(arg, policy->steps[i].name.ptr, &policy->steps[i].place, policy->sources[i].hooks);
}

/* ---- when ---- */

static struct slice when_key(const struct policy *policy, tern_str text, char *buffer,
                             size_t octets)
{
    int len = snprintf(buffer, octets, "%s/%s", policy->name.ptr, text.ptr);

    return slice_make(buffer, (size_t)len);
}

#define WHEN_OCTETS_MAX 1024

const void *when_get(const struct policies *owner, const struct policy *policy, tern_str text)
{
    char buffer[WHEN_OCTETS_MAX + 80];

    if (text.len == 0 || text.len > WHEN_OCTETS_MAX)
        return NULL;
    return table_get(&owner->when_memo, when_key(policy, text, buffer, sizeof(buffer)));
}

/* All results, or all tags, that steps of the policy declare. */
static struct slice *declared(struct arena *arena, const struct policy *policy, unsigned kind,
                              unsigned *ret_count)
{
    struct slice *names =
        arena_zalloc(arena, (policy->step_count * DESCRIPTOR_NOTES_MAX + 2) * sizeof(*names));
    unsigned count = 0;

    if (kind == TERN_NOTE_RESULT)
        names[count++] = SLICE(AUTH_RESULT); /* the core's own */

    for (unsigned i = 0; i < policy->step_count; i++)
        for (const struct tern_note *n = policy->steps[i].module->notes; n->size != 0; n++)
            if (n->kind == kind)
                names[count++] = slice_cstr(n->name);
    *ret_count = count;
    return names;
}

bool policy_when_compile(struct building *b, const struct policy *policy, tern_str text,
                         struct place place)
{
    char buffer[WHEN_OCTETS_MAX + 80], error[SENTENCE_MAX] = "";
    struct arena scratch;
    unsigned result_count, tag_count;

    if (text.len == 0 || when_get(b->out, policy, text) != NULL)
        return true;
    if (text.len > WHEN_OCTETS_MAX) {
        config_error_at(b->env->errors, &place, "when: is longer than %u octets", WHEN_OCTETS_MAX);
        return false;
    }
    if (b->env->when_compile == NULL) {
        config_error_at(b->env->errors, &place, "when: is not supported without Lua");
        return false;
    }
    arena_init(&scratch);
    struct slice *results = declared(&scratch, policy, TERN_NOTE_RESULT, &result_count);
    struct slice *tags = declared(&scratch, policy, TERN_NOTE_TAG, &tag_count);
    const void *compiled =
        b->env->when_compile(b->env->arena, slice_of(text), results, result_count, tags, tag_count,
                             error, sizeof(error));
    arena_fini(&scratch);
    if (compiled == NULL) {
        config_error_at(b->env->errors, &place, "when: %s", error);
        return false;
    }
    struct slice key = when_key(policy, text, buffer, sizeof(buffer));
    (void)table_put(&b->out->when_memo, key, (void *)compiled);
    return true;
}
