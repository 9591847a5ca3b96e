/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_fixture.h - a folder of modules in good hands, and a server's functions that do little.
 *
 * Modules are copied to a folder of their own in /tmp: where the sources lie may
 * belong to anyone, and the loader would rightly refuse.
 */
#ifndef TEST_POLICY_FIXTURE_H
#define TEST_POLICY_FIXTURE_H

#include "module/policy.h"

struct fixture {
    char folder[64];
    struct modules *modules;
};

/* Tests add what their modules call. */
extern struct tern_api fixture_api;

void fixture_begin(struct fixture *f, const struct tern_module *const *builtin);
void fixture_end(struct fixture *f);
/* Copies `from`/NAME.so there; false if it is not built. */
bool fixture_copy(const struct fixture *f, const char *from, const char *name);
void fixture_path(const struct fixture *f, const char *name, char ret[160]);

/* A generation built from text; its files lie in the fixture's folder. */
struct generation {
    struct arena arena;
    struct config_errors errors;
    struct tables *tables;
    struct policies *policies; /* NULL after errors */
};
void generation_build(struct generation *g, const struct fixture *f, const char *yaml);
void generation_end(struct generation *g);

#endif
