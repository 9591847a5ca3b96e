/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_api.c - a module's words about its options, put where the operator wrote them.
 *
 * A key is "delay", "rules[2].host" or "zones[1]": the walk goes as deep as the YAML has
 * nodes, so that an error about a record without that key points at the record.
 */
#include "module/config_api.h"

#include <assert.h>
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "module/plan.h"
#include "module/policy.h"

/* One step of "name" or "[7]" from `node`; moves *path behind it. NULL: not there. */
static const struct yaml_node *descend(const struct yaml_node *node, const char **path)
{
    const char *p = *path;

    if (*p == '[') {
        char *end;
        unsigned long index = strtoul(p + 1, &end, 10);

        if (*end != ']' || node->kind != YAML_LIST || index >= node->count)
            return NULL;
        *path = end + 1;
        return node->items[index];
    }
    if (*p == '.')
        p++;
    size_t len = strcspn(p, ".[");
    if (len == 0 || node->kind != YAML_MAP)
        return NULL;
    *path = p + len;
    for (unsigned i = 0; i < node->count; i++)
        if (slice_equal(node->keys[i]->text, slice_make(p, len)))
            return node->items[i];
    return NULL;
}

static struct place find_place(const struct tern_config *config, const char *key)
{
    const struct yaml_node *node = config->map;
    struct place place = config->place;

    while (node != NULL && key != NULL && *key != '\0') {
        node = descend(node, &key);
        if (node != NULL)
            place = node->place;
    }
    return place;
}

/* 512 octets hold any sentence worth reading; a longer one is cut, never refused. */
#define SENTENCE_OCTETS_MAX 512

static void say(struct tern_config *config, bool error, const char *key, const char *format,
                va_list args)
{
    char text[SENTENCE_OCTETS_MAX];
    const struct place place = find_place(config, key);
    const char *dot = key != NULL ? "." : "";

    (void)vsnprintf(text, sizeof(text), format, args);
    (error ? config_error_at : config_warning_at)(config->errors, &place, "%s%s%s: %s",
                                                  config->step, dot, key != NULL ? key : "", text);
}

void config_api_error(struct tern_config *config, const char *key, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(config, true, key, format, args);
    va_end(args);
}

void config_api_warning(struct tern_config *config, const char *key, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(config, false, key, format, args);
    va_end(args);
}

bool config_api_is_given(struct tern_config *config, const char *key)
{
    const struct yaml_node *node = config->map;

    while (node != NULL && *key != '\0')
        node = descend(node, &key);
    return node != NULL;
}

void *config_api_alloc(struct tern_config *config, size_t octets)
{
    return arena_zalloc(config->arena, octets);
}

bool config_api_has_transport(struct tern_config *config, tern_str name)
{
    return config->has_transport(config->has_transport_arg, slice_make(name.ptr, name.len));
}

/* ---- what tern-local may do ---- */

#define PASSWD_OCTETS 16384

/* NULL: it may, or that cannot be found out. */
static const char *refuse_user(const struct modules_env *env, const char *name)
{
    static const char none[] = "there is no such user";
    struct passwd pw, *found = NULL;

    if (env->local_own == MODULES_OWN_UNKNOWN || strchr(name, '%') != NULL)
        return NULL;
    char *buffer = mem_alloc(PASSWD_OCTETS);
    int r = getpwnam_r(name, &pw, buffer, PASSWD_OCTETS, &found);
    const char *why = found == NULL ? (r == 0 || r == ENOENT || r == ESRCH ? none : NULL)
                                    : local_rules_refuse_user(env->local, pw.pw_uid, pw.pw_gid, env->local_own);
    free(buffer);
    return why;
}

void config_api_local(struct tern_config *config, const char *key, enum tern_local_need need, tern_str name)
{
    const struct modules_env *env = config->modules;
    const char *why = NULL;

    if (env == NULL || env->local == NULL || name.len == 0)
        return;
    switch (need) {
    case TERN_LOCAL_USER: why = refuse_user(env, name.ptr); break;
    case TERN_LOCAL_COMMAND:
        if (!local_rules_allow_command(env->local, name.ptr))
            why = "the program is not among the `commands` of supervisor.conf";
        break;
    case TERN_LOCAL_SERVICE:
        if (!local_rules_allow_service(env->local, name.ptr))
            why = "the service is not among those of `pam` in supervisor.conf";
        break;
    }
    if (why != NULL)
        config_api_warning(config, key, "tern-local will not do it: \"%s\": %s", name.ptr, why);
}

bool config_api_has_result(struct tern_config *config, const char *name)
{
    for (unsigned i = 0; i < config->before_count; i++)
        for (const struct tern_note *n = config->before[i].module->notes; n->size != 0; n++)
            if (n->kind == TERN_NOTE_RESULT && strcmp(n->name, name) == 0)
                return true;
    return false;
}
