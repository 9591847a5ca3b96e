/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_api.h - what a module may ask while a generation is built: errors, memory, transports.
 *
 * api.c puts these functions into struct tern_api; policy_step.c makes a struct
 * tern_config for each call of a module's check(). They are of no use at any other time.
 */
#ifndef TERN_MODULE_CONFIG_API_H
#define TERN_MODULE_CONFIG_API_H

#include <tern/module.h>

#include "base/arena.h"
#include "config/yaml.h"

struct step; /* plan.h */
struct modules_env; /* policy.h */

/* The step being checked. */
struct tern_config {
    struct arena *arena; /* the generation's */
    struct config_errors *errors;
    const char *step;
    const struct yaml_node *map; /* the step's options as written, or NULL */
    struct place place;          /* of the step */
    bool (*has_transport)(void *arg, struct slice name);
    void *has_transport_arg;
    const struct modules_env *modules; /* what tern-local may do; NULL: not known */
    const struct step *before; /* the policy's steps that stand before this one */
    unsigned before_count;
};

void config_api_error(struct tern_config *config, const char *key, const char *format, ...)
    TERN_PRINTF(3, 4);
void config_api_warning(struct tern_config *config, const char *key, const char *format, ...)
    TERN_PRINTF(3, 4);
void *config_api_alloc(struct tern_config *config, size_t octets);
bool config_api_has_transport(struct tern_config *config, tern_str name);
void config_api_local(struct tern_config *config, const char *key, enum tern_local_need need, tern_str name);
bool config_api_has_result(struct tern_config *config, const char *name);
bool config_api_is_given(struct tern_config *config, const char *key);

#endif
