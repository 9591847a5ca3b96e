/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generation.h - one loaded configuration: immutable, counted, freed with the last
 * session, call or delivery that saw it.
 */
#ifndef TERN_SERVER_GENERATION_H
#define TERN_SERVER_GENERATION_H

#include <stdatomic.h>

#include "base/arena.h"
#include "config/yaml.h"
#include "module/policy.h"
#include "server/conf.h"
#include "state/tables.h"
#include "tls/tls.h"

struct generation {
    _Atomic unsigned refs;
    _Atomic uint64_t retired_ms; /* monotonic; 0 while it is the present one */
    uint64_t number;
    struct arena arena;
    struct server_conf conf;
    struct tables *tables;
    bool tables_empty; /* set before it is built, by `tern test`: no server of a table is asked */
    struct policies *policies;
    const struct policy **listener_policies; /* one per listener */
    const struct tern_kv_store *kv_store;    /* NULL: memory */
    void *kv_conf;
    struct tls_certificate **certificates;
    unsigned certificate_count;
    struct tls_server **tls_servers; /* one per listener, NULL where tls is off; NULL: not loaded */
};

/*
 * Reads the file and builds all of it. NULL after errors were added to `errors`, which also
 * holds the warnings of a good one. Loads modules that are named for the first time.
 */
struct generation *generation_build(const char *path, struct modules *modules, uint64_t number,
                                    struct config_errors *errors);
/* The same from text: `tern test`. */
struct generation *generation_build_node(struct generation *g, const struct yaml_node *root,
                                         struct modules *modules, struct config_errors *errors);
struct generation *generation_new(uint64_t number);
/*
 * certificates.c: reads certificates and keys, which a generation that serves needs and one of `tern test` does not.
 * 0, or -EINVAL after errors were added; warns of what expires or is for another name.
 */
struct generation_tls {
    struct tls_opener opener;
    struct tls_tickets *tickets; /* outlive all generations; NULL: no resumption */
    bool only_check; /* `tern check`: a key that only root may read is no error */
};
int generation_load_tls(struct generation *g, const struct generation_tls *options, struct config_errors *errors);
void generation_free_tls(struct generation *g);
/* Only what must be known before modules are loaded: module_path, log. */
int generation_peek(const char *path, struct arena *arena, struct server_conf *ret,
                    struct config_errors *errors);

struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g); /* any thread; NULL is allowed */
/*
 * After generations were freed: gives their pages back to the system. Each was built among
 * others' memory, so that without this the heap keeps the holes. Takes milliseconds: not for loops.
 */
void generation_give_back(void);
/* NULL: it has no TLS. */
struct tls_server *generation_tls_server(const struct generation *g, const struct listener_conf *listener);
const struct listener_conf *generation_listener(const struct generation *g, struct slice name,
                                                const struct policy **ret_policy);

/* The present one, any thread; the caller gets a reference. */
struct generation *generation_present(void);
/* Takes over the caller's reference; the old one retires. */
void generation_set_present(struct generation *g);

#endif
