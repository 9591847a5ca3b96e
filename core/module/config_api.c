/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_api.c - a module's words about its options, put where the operator wrote them.
 *
 * A key is "delay", "rules[2].host" or "zones[1]": the walk goes as deep as the YAML has
 * nodes, so that an error about a record without that key points at the record.
 */
#include "module/config_api.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "module/plan.h"

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

void *config_api_alloc(struct tern_config *config, size_t octets)
{
    return arena_zalloc(config->arena, octets);
}

bool config_api_has_transport(struct tern_config *config, tern_str name)
{
    return config->has_transport(config->has_transport_arg, slice_make(name.ptr, name.len));
}

bool config_api_has_result(struct tern_config *config, const char *name)
{
    for (unsigned i = 0; i < config->before_count; i++)
        for (const struct tern_note *n = config->before[i].module->notes; n->size != 0; n++)
            if (n->kind == TERN_NOTE_RESULT && strcmp(n->name, name) == 0)
                return true;
    return false;
}
