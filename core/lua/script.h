/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script.h - one .lua file of one generation: its text, and the descriptor made of it.
 *
 * The text of the file and of all that it requires is kept, so that every loop runs what was
 * checked when
 * the configuration was loaded, even if the file has changed since.
 */
#ifndef TERN_LUA_SCRIPT_H
#define TERN_LUA_SCRIPT_H

#include <stdatomic.h>

#include <tern/module.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"

#define SCRIPT_FILES_MAX       64
#define SCRIPT_FILE_OCTETS_MAX (1u << 20)
#define SCRIPT_OPTIONS_MAX     64
#define SCRIPT_NOTES_MAX       32
#define SCRIPT_VALUES_MAX      64 /* of an enum or a declared result */
#define SCRIPT_NAME_OCTETS_MAX 64
#define SCRIPT_ERROR_OCTETS    512

struct script_file {
    const char *name;  /* as required; the first is the script's own */
    const char *chunk; /* "@policy.lua" */
    struct slice text;
};

/* The options that every script step has, before the script's own. */
struct lua_conf {
    unsigned instructions;
    uint64_t memory;
    uint64_t memory_per_call;
    uint64_t time_ms;
    unsigned script_id;        /* says which script; see script.c */
    struct lua_script *script; /* put here by check() */
};

struct lua_script {
    struct list link; /* all scripts, under a lock */
    _Atomic unsigned refs;
    _Atomic bool gone; /* its generation is: loops close their states */
    unsigned id;
    bool trusted;
    bool sealed; /* the descriptor is made: declarations are checked against it */
    const char *dir;
    const char *name;     /* file name without .lua */
    const char *kv_space; /* "lua.<name>" */
    struct arena arena;
    struct script_file files[SCRIPT_FILES_MAX];
    unsigned file_count;
    struct tern_option options[SCRIPT_OPTIONS_MAX + 8];
    unsigned option_count, own_options; /* all; index of the script's first */
    struct tern_hook hooks[TERN_HOOK_COUNT + 1];
    unsigned hook_count;
    struct tern_note notes[SCRIPT_NOTES_MAX + 1];
    unsigned note_count;
    struct tern_module module;
};

/* Reads the script and runs its top level once. NULL with "policy.lua:3: ..." in error. */
struct lua_script *lua_script_new(tern_str path, bool trusted, char *error, size_t octets);
void lua_script_ref(struct lua_script *script);
void lua_script_unref(struct lua_script *script);
/* tern_module.script_free: the generation is gone. */
void lua_script_retire(struct lua_script *script);
/* The script of a step's options; never NULL for options that passed check(). */
struct lua_script *lua_script_of(const struct lua_conf *conf);
/* tern_module.check of every script. */
int lua_script_check(void *conf, struct tern_config *config);

/* A file beside the script, by the name in require(); read while the script is loaded, else only
 * found.
 * NULL with a sentence. */
const struct script_file *lua_script_file(struct lua_script *script, const char *name, char *error,
                                          size_t octets);
/* The notes and options that it declared; NULL if there is none. */
const struct tern_note *lua_script_note(const struct lua_script *script, unsigned kind,
                                        const char *name);
const struct tern_option *lua_script_option(const struct lua_script *script, const char *key);

#endif
