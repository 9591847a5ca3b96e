/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_step.c - one item of a policy's list: which module, under what name, with which options.
 *
 *     - greylist                                a name
 *     - greylist: { delay: 5m, timeout: 2s }    a name and its options
 *     - greylist: off                           short for { mode: off }
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "module/config_api.h"
#include "module/policy_internal.h"
#include "module/trust.h"

static const char *const mode_names[] = { "enforce", "shadow", "off", NULL };
static const char *const on_error_names[] = { "defer", "skip", "reject", NULL };
static const char *const refuse_at_names[] = { "rcpt", "now", NULL };

/* The last two are for modules that run scripts; settings_split leaves them to the others. */
const struct tern_option settings_options[] = {
    TERN_OPTION_STRING(struct settings, name, "", "The step's name in logs, metrics and profiles."),
    TERN_OPTION_MS(struct settings, timeout, STEP_TIMEOUT_DEFAULT, 1, STEP_TIMEOUT_MS_MAX,
                   "How long the step may take to answer."),
    TERN_OPTION_ENUM(struct settings, on_error, "defer", on_error_names,
                     "What becomes of the mail when the step fails."),
    TERN_OPTION_STRING(struct settings, when, "",
                       "A Lua expression: run the step only if it is true."),
    TERN_OPTION_ENUM(struct settings, mode, "enforce", mode_names,
                     "shadow decides and is logged, but does nothing."),
    TERN_OPTION_ENUM(struct settings, refuse_at, "rcpt", refuse_at_names,
                     "When a refusal from connect, ehlo or mail is given."),
    TERN_OPTION_PATH_READ(struct settings, script, "", "The script."),
    TERN_OPTION_BOOL(struct settings, trusted, "false", "Opens more of the system to the script."),
    TERN_OPTIONS_END,
};

const struct tern_option *policy_step_options(void)
{
    return settings_options;
}

static bool is_setting(struct slice key, bool script)
{
    for (const struct tern_option *o = settings_options; o->size != 0; o++) {
        if (o->offset == offsetof(struct settings, script) && !script)
            return false;
        if (slice_equal(key, slice_cstr(o->key)))
            return true;
    }
    return false;
}

/* The keys of `map` of one kind, as a map; NULL if there are none. */
static const struct yaml_node *pick(struct arena *arena, const struct yaml_node *map, bool script,
                                    bool settings)
{
    struct yaml_node *part = ARENA_NEW(arena, struct yaml_node);

    *part = *map;
    part->count = 0;
    part->keys = arena_zalloc(arena, (map->count + 1) * sizeof(*part->keys));
    part->items = arena_zalloc(arena, (map->count + 1) * sizeof(*part->items));
    for (unsigned i = 0; i < map->count; i++) {
        if (is_setting(map->keys[i]->text, script) != settings)
            continue;
        part->keys[part->count] = map->keys[i];
        part->items[part->count++] = map->items[i];
    }
    return part->count > 0 ? part : NULL;
}

void settings_split(struct arena *arena, const struct yaml_node *map, bool script,
                    const struct yaml_node **ret_settings, const struct yaml_node **ret_options)
{
    *ret_settings = map != NULL ? pick(arena, map, script, true) : NULL;
    *ret_options = map != NULL ? pick(arena, map, script, false) : NULL;
}

/* Tables are resolved while the generation is built; what is asked later is found here. */
static const struct tern_table *resolve_table(void *arg, const struct yaml_node *node)
{
    struct policies *owner = arg;
    struct slice key = slice_make((const char *)&node, sizeof(node));
    const struct tern_table *table = table_get(&owner->table_memo, key);

    if (table == NULL)
        table = tables_resolve(owner->tables, node);
    if (table != NULL)
        (void)table_put(&owner->table_memo, key, (void *)table);
    return table;
}

void policy_schema_env(struct policies *owner, struct arena *arena, struct config_errors *errors,
                       struct schema_env *ret)
{
    *ret = (struct schema_env){ arena, errors, resolve_table, owner };
}

/* ---- scripts ---- */

/* The file's name without folder and ending, as a step's name. */
static tern_str script_step_name(struct arena *arena, tern_str path)
{
    const char *slash = strrchr(path.ptr, '/');
    const char *name = slash != NULL ? slash + 1 : path.ptr;
    size_t len = strlen(name);

    if (len > 4 && strcmp(name + len - 4, ".lua") == 0)
        len -= 4;
    return tern_str_dup(arena, slice_make(name, len));
}

static struct script *script_load(struct building *b, const struct tern_module *host,
                                  const struct settings *settings, struct place place)
{
    char text[SENTENCE_MAX];
    const struct tern_module *raw = NULL;
    struct policies *owner = b->out;

    for (struct script *s = owner->scripts; s != NULL; s = s->next)
        if (s->host == host && s->trusted == settings->trusted &&
            slice_equal(slice_of(s->path), slice_of(settings->script)))
            return s;
    int fd =
        trust_open(settings->script.ptr, modules_trust_group(owner->modules), text, sizeof(text));
    if (fd < 0) {
        config_error_at(b->env->errors, &place, "script: %s", text);
        return NULL;
    }
    (void)close(fd);
    if (text[0] != '\0')
        config_warning_at(b->env->errors, &place, "script: %s", text);
    text[0] = '\0';
    if (host->script(settings->script, settings->trusted, &raw, text, sizeof(text)) < 0) {
        config_error_at(b->env->errors, &place, "%s", text);
        return NULL;
    }
    struct script *s = ARENA_NEW(owner->arena, struct script);
    *s = (struct script){ owner->scripts, host, settings->script, settings->trusted, raw, NULL };
    owner->scripts = s; /* from here on policies_free gives it back */
    s->module = descriptor_read(owner->arena, raw, NULL, text, sizeof(text));
    if (s->module == NULL)
        config_error_at(b->env->errors, &place, "script %s: %s", settings->script.ptr, text);
    return s->module != NULL ? s : NULL;
}

/* ---- the step ---- */

static void note_hooks(const struct tern_module *m, struct step_source *s)
{
    for (const struct tern_hook *h = m->hooks; h->size != 0; h++) {
        s->hooks |= 1u << h->hook;
        s->claims |= (h->flags & TERN_CLAIMS) != 0;
        s->once |= (h->flags & TERN_ONCE) != 0;
        s->blocking |= (h->flags & TERN_BLOCKING) != 0;
    }
}

bool step_is_early(const struct step_source *source)
{
    unsigned early = 1u << TERN_HOOK_CONNECT | 1u << TERN_HOOK_TLS | 1u << TERN_HOOK_EHLO |
                     1u << TERN_HOOK_AUTH | 1u << TERN_HOOK_MAIL;

    return (source->hooks & early) != 0;
}

/* 5 minutes for most replies, 2 for DATA's, 10 for the dot's: RFC 5321 4.5.3.2. */
static void warn_of_patience(struct config_errors *errors, const struct step_source *s,
                             const struct settings *settings, struct place place)
{
    static const struct {
        unsigned hooks;
        uint64_t ms;
        const char *what;
    } patience[] = {
        { 1u << TERN_HOOK_DATA, 120000, "2 minutes for the reply to DATA" },
        { 1u << TERN_HOOK_CONNECT | 1u << TERN_HOOK_EHLO | 1u << TERN_HOOK_MAIL |
              1u << TERN_HOOK_RCPT | 1u << TERN_HOOK_VRFY,
          300000, "5 minutes for a reply" },
        { 1u << TERN_HOOK_MESSAGE, 600000, "10 minutes for the reply to the dot" },
    };

    for (size_t i = 0; i < sizeof(patience) / sizeof(patience[0]); i++)
        if ((s->hooks & patience[i].hooks) != 0 && settings->timeout_ms > patience[i].ms) {
            config_warning_at(errors, &place, "timeout: clients wait %s (RFC 5321 4.5.3.2)",
                              patience[i].what);
            return;
        }
}

bool settings_allowed(struct config_errors *errors, const struct policy *policy, unsigned step,
                      const struct settings *settings, struct place place)
{
    const struct step_source *s = &policy->sources[step];
    const char *name = policy->steps[step].name.ptr;
    bool yes_sayer = s->claims || (s->hooks & (1u << TERN_HOOK_AUTH)) != 0;
    const char *what = s->claims ? "claims recipients" : "answers auth";
    unsigned keeps = 1u << TERN_HOOK_CONNECT | 1u << TERN_HOOK_EHLO | 1u << TERN_HOOK_MAIL;

    warn_of_patience(errors, s, settings, place);
    if (settings->refuse_at == STEP_REFUSE_NOW && (s->hooks & keeps) == 0) {
        config_error_at(errors, &place,
                        "refuse_at: is for steps that act at connect, ehlo or mail; %s does not",
                        name);
        return false;
    }
    if (!yes_sayer || settings->mode == STEP_OFF)
        return true;
    if (settings->on_error == STEP_ERROR_SKIP) {
        config_error_at(
            errors, &place,
            "%s %s, so on_error: skip is not allowed: a failure would become a permanent no", name,
            what);
        return false;
    }
    if (settings->on_error == STEP_ERROR_REJECT && !s->claims) {
        config_error_at(
            errors, &place,
            "%s %s, so on_error: reject is not allowed: a failure would become a permanent no", name,
            what);
        return false;
    }
    if (settings->mode == STEP_SHADOW) {
        config_error_at(errors, &place, "%s %s, so mode: shadow is not allowed", name, what);
        return false;
    }
    return true;
}

bool step_check(struct policies *owner, const struct policy *policy, unsigned step,
                struct arena *arena, struct config_errors *errors, void *conf, void *host_conf,
                const struct yaml_node *map, struct place place)
{
    const struct step_source *s = &policy->sources[step];
    const struct tern_module *m = policy->steps[step].module;
    unsigned before = errors->errors;
    struct tern_config config = {
        .arena = arena,
        .errors = errors,
        .step = policy->steps[step].name.ptr,
        .map = map,
        .place = place,
        .has_transport = policies_has_transport,
        .has_transport_arg = owner,
        .modules = modules_of(owner->modules),
        .before = policy->steps,
        .before_count = step,
    };

    if (s->host != NULL && s->host->check != NULL && s->host->check(host_conf, &config) < 0 &&
        errors->errors == before)
        config_api_error(&config, NULL, "its options were refused");
    if (m->check != NULL && m->check(conf, &config) < 0 && errors->errors == before)
        config_api_error(&config, NULL, "its options were refused");
    return errors->errors == before;
}

/* Options of module and script: parsed, kept as they are for profiles, then checked in a copy. */
static bool parse_options(struct building *b, struct policy *policy, unsigned step)
{
    struct step_source *s = &policy->sources[step];
    struct step *st = &policy->steps[step];
    const struct tern_module *host = s->host, *m = st->module;
    struct arena *arena = b->env->arena;
    struct schema_env env;
    void *conf = arena_zalloc(arena, m->conf_size + 1);
    void *host_conf = host != NULL ? arena_zalloc(arena, host->conf_size + 1) : NULL;
    int r;

    policy_schema_env(b->out, arena, b->env->errors, &env);
    if (host != NULL)
        r = schema_parse(&env, s->options, st->place, host->options, host_conf, m->options, conf,
                         NULL);
    else
        r = schema_parse(&env, s->options, st->place, m->options, conf, NULL, NULL, NULL);
    if (r < 0)
        return false;
    s->raw_conf = memcpy(arena_zalloc(arena, m->conf_size + 1), conf, m->conf_size);
    if (host != NULL)
        s->raw_host_conf =
            memcpy(arena_zalloc(arena, host->conf_size + 1), host_conf, host->conf_size);
    s->conf = conf;
    s->host_conf = host_conf;
    return step_check(b->out, policy, step, arena, b->env->errors, conf, host_conf, s->map,
                      st->place);
}

/* Whether the step may bear its name: a proper one, and the only one of the policy. */
static bool name_is_free(struct building *b, const struct policy *policy, struct slice name,
                         struct place place)
{
    bool proper = name.len > 0 && name.len <= 64 && name.ptr[0] >= 'a' && name.ptr[0] <= 'z';

    for (size_t i = 0; proper && i < name.len; i++)
        proper = strchr("abcdefghijklmnopqrstuvwxyz0123456789_-", name.ptr[i]) != NULL;
    if (!proper) {
        config_error_at(
            b->env->errors, &place,
            "\"%.*s\" is no name of a step: a small letter, then small letters, digits, _ and -; "
            "give it one by name:",
            (int)name.len, name.ptr);
        return false;
    }
    for (unsigned i = 0; i < policy->step_count; i++) {
        const struct step *other = &policy->steps[i];

        if (!slice_equal(slice_of(other->name), name))
            continue;
        config_error_at(
            b->env->errors, &place,
            "policy %s has a step %.*s already, at %s:%u; give one of them another name by name:",
            policy->name.ptr, (int)name.len, name.ptr, other->place.file, other->place.line);
        return false;
    }
    return true;
}

/* Module and, if it runs scripts, the script; name and settings. */
static bool identify(struct building *b, struct policy *policy, const struct yaml_node *map,
                     bool off, struct step *st, struct step_source *s)
{
    char text[SENTENCE_MAX];
    struct schema_env env;
    const struct yaml_node *settings;
    struct config_errors *errors = b->env->errors;
    const struct tern_module *m = modules_get(b->out->modules, s->module_name, text, sizeof(text));

    if (m == NULL) {
        config_error_at(errors, &st->place, "%s", text);
        return false;
    }
    if (text[0] != '\0')
        config_warning_at(errors, &st->place, "%s", text);
    bool scripted = m->script != NULL;
    policy_schema_env(b->out, b->env->arena, errors, &env);
    settings_split(b->env->arena, map, scripted, &settings, &s->options);
    if (schema_parse(&env, settings, st->place, settings_options, &s->settings, NULL, NULL, NULL) <
        0)
        return false;
    if (off)
        s->settings.mode = STEP_OFF;
    st->state = modules_state(b->out->modules, m);
    st->module = m;
    st->name = s->settings.name;
    if (scripted && s->settings.script.len == 0) {
        config_error_at(errors, &st->place, "%s needs script: and the path of a script",
                        s->module_name);
        return false;
    }
    if (scripted) {
        struct script *script = script_load(b, m, &s->settings, st->place);
        if (script == NULL)
            return false;
        s->host = m;
        st->module = script->module;
        if (st->name.len == 0)
            st->name = script_step_name(b->env->arena, s->settings.script);
    }
    if (st->name.len == 0)
        st->name = tern_str_dup(b->env->arena, slice_cstr(s->module_name));
    return name_is_free(b, policy, slice_of(st->name), st->place);
}

static void make_metrics(const struct policy *policy, struct step *st)
{
    char labels[256];
    unsigned answers = TERN_MAY_REJECT | TERN_MAY_DEFER | 1u << TERN_NEXT;

    for (const struct tern_hook *h = st->module->hooks; h->size != 0; h++) {
        (void)snprintf(labels, sizeof(labels), "policy=\"%s\",step=\"%s\",hook=\"%s\"",
                       policy->name.ptr, st->name.ptr, descriptor_hook_name(h->hook));
        st->runs[h->hook] =
            metric_histogram("tern_step_microseconds", labels, "Time a step took to answer.");
        answers |= h->answers;
    }
    for (unsigned v = 0; v < sizeof(st->verdicts) / sizeof(st->verdicts[0]); v++) {
        if ((answers & (1u << v)) == 0)
            continue;
        (void)snprintf(labels, sizeof(labels), "policy=\"%s\",step=\"%s\",verdict=\"%s\"",
                       policy->name.ptr, st->name.ptr, descriptor_verdict_name(v));
        st->verdicts[v] = metric_counter("tern_step_verdicts_total", labels, "Answers of a step.");
    }
    (void)snprintf(labels, sizeof(labels), "policy=\"%s\",step=\"%s\"", policy->name.ptr,
                   st->name.ptr);
    st->errors = metric_counter("tern_step_errors_total", labels,
                                "Calls of a step that failed or timed out.");
}

/* Under every name it may have been meant to have. */
static void remember_failed(struct building *b, const struct step *st, const struct step_source *s)
{
    tern_str script = s->settings.script;

    (void)table_put(&b->out->failed, slice_cstr(s->module_name), b);
    if (st->name.len > 0)
        (void)table_put(&b->out->failed, slice_of(st->name), b);
    if (script.len == 0)
        return;
    script = script_step_name(b->env->arena, script);
    (void)table_put(&b->out->failed, slice_of(script), b);
}

bool step_add(struct building *b, struct policy *policy, const char *module_name,
              const struct yaml_node *map, struct place place, bool off)
{
    unsigned index = policy->step_count;
    struct step *st = &policy->steps[index];
    struct step_source *s = &policy->sources[index];

    assert(index < STEPS_MAX);
    *s = (struct step_source){ .module_name = module_name, .map = map };
    st->index = index;
    st->place = place;
    st->pool_share = STEP_POOL_SHARE;
    if (!identify(b, policy, map, off, st, s)) {
        remember_failed(b, st, s);
        return false;
    }
    st->host = s->host;
    note_hooks(st->module, s);
    if (s->hooks == 0) {
        config_error_at(b->env->errors, &place,
                        "%s acts on no hook, so it is no step of a policy%s", st->name.ptr,
                        st->module->transports != NULL && st->module->transports[0] != NULL
                            ? "; a transport is named by type: in transports:"
                            : "");
        return false;
    }
    policy->step_count++;
    bool fine = settings_allowed(b->env->errors, policy, index, &s->settings, place);
    fine &= parse_options(b, policy, index);
    make_metrics(policy, st);
    return fine;
}

bool step_build(struct building *b, struct policy *policy, const struct yaml_node *node)
{
    struct config_errors *errors = b->env->errors;
    const struct yaml_node *name = node, *value = NULL;
    bool off = false;

    if (node->kind == YAML_MAP && node->count == 1) {
        name = node->keys[0];
        value = node->items[0];
    } else if (node->kind == YAML_MAP && node->count > 1) {
        config_error_at(
            errors, &node->keys[1]->place,
            "a step has one name: \"%s\" stands beside \"%s\"; its options are indented below it",
            node->keys[1]->text.ptr, node->keys[0]->text.ptr);
        return false;
    } else if (node->kind != YAML_SCALAR) {
        config_error_at(errors, &node->place, "expected a step: a name, or name: { options }");
        return false;
    }
    if (value != NULL && value->kind == YAML_SCALAR) {
        off = slice_equal(value->text, SLICE("off"));
        if (!off && value->text.len > 0 && !slice_equal(value->text, SLICE("~"))) {
            config_error_at(errors, &value->place, "expected a map of options for step %s, or off",
                            name->text.ptr);
            return false;
        }
        value = NULL;
    }
    if (value != NULL && value->kind != YAML_MAP) {
        config_error_at(errors, &value->place, "expected a map of options for step %s, or off",
                        name->text.ptr);
        return false;
    }
    return step_add(b, policy, name->text.ptr, value, name->place, off);
}
