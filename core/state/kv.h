/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv.h - the key-value store of greylisting, limits and scripts: a sharded table in
 * memory with expiry, and below it what must survive a restart (struct tern_kv_store).
 *
 * Any thread. Answers are immediate here, yet callers use the callback form, so that a
 * store on another machine can come later.
 */
#ifndef TERN_STATE_KV_H
#define TERN_STATE_KV_H

#include <tern/module.h>

#include "base/slice.h"

struct kv;

enum kv_op { KV_GET, KV_PUT, KV_PUT_NEW, KV_ADD, KV_REMOVE };

#define KV_KEY_OCTETS_MAX   1024 /* space and key together */
#define KV_VALUE_OCTETS_MAX 65536

struct kv_request {
    enum kv_op op;
    struct slice space, key;
    int64_t number;
    struct slice value;
    uint64_t expire_s; /* 0: never */
};

/*
 * GET, PUT_NEW and REMOVE answer what was there before (FOUND) or ABSENT; PUT and ADD answer
 * FOUND with what is there now. PUT_NEW and ADD leave the expiry of an entry that is there. A
 * sum stops at the ends of int64_t. FAILED: empty or too long a key, or a value past its bound.
 * `done` runs before kv_do() returns, without a lock; answer->value is borrowed during the call.
 */
typedef void (*kv_fn)(void *arg, const struct tern_kv_answer *answer);

/*
 * `store` may be NULL: memory only. entries_max (at least 1) bounds the memory, with 512 octets a
 * mean entry, so that a few long values count for many: of a sample the entry that expires
 * first goes. On failure a negative errno and a sentence in `error`.
 */
int kv_open(const struct tern_kv_store *store, const void *conf, uint64_t entries_max,
            struct kv **ret, char *error, size_t error_octets);
void kv_close(struct kv *kv); /* writes what is left */
void kv_do(struct kv *kv, const struct kv_request *request, kv_fn done, void *arg);
uint64_t kv_count(const struct kv *kv);

#endif
