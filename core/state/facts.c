/* SPDX-License-Identifier: Apache-2.0 */
#include "state/facts.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

struct shared_arena *shared_arena_new(size_t octets)
{
    size_t first = octets + ARENA_LENT_OVERHEAD;
    struct shared_arena *a = mem_alloc(sizeof(*a) + first);

    atomic_init(&a->refs, 1);
    arena_init_in(&a->arena, a->first, first);
    return a;
}

struct shared_arena *shared_arena_ref(struct shared_arena *a)
{
    atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
    return a;
}

/* All but the count: that is the others' to change while we copy. */
static void copy_behind(void *to, const void *from, size_t count_octets, size_t octets)
{
    memcpy((char *)to + count_octets, (const char *)from + count_octets, octets - count_octets);
}

/* True when the caller held the last reference; then all earlier writes are visible to it. */
static bool drop(_Atomic unsigned *refs)
{
    unsigned before = atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel);

    assert(before > 0);
    return before == 1;
}

void shared_arena_unref(struct shared_arena *a)
{
    if (a == NULL || !drop(&a->refs))
        return;
    arena_fini(&a->arena);
    free(a);
}

tern_str tern_str_dup(struct arena *arena, struct slice s)
{
    return s.len > 0 ? (tern_str){ arena_dup(arena, s), s.len } : (tern_str){ "", 0 };
}

tern_str notes_get(const struct note *first, struct slice name)
{
    for (const struct note *n = first; n != NULL; n = n->next)
        if (slice_equal(slice_of(n->name), name))
            return n->value;
    return (tern_str){ NULL, 0 };
}

const struct note *notes_add(struct arena *arena, const struct note *first, struct slice name,
                             struct slice value)
{
    tern_str now = notes_get(first, name);

    /* Said again, as a step does at each EHLO: nothing new, and nothing that may pile up. */
    if (now.ptr != NULL && slice_equal(slice_of(now), value))
        return first;
    struct note *n = ARENA_NEW(arena, struct note);
    n->next = first;
    n->name = tern_str_dup(arena, name);
    n->value = tern_str_dup(arena, value);
    n->names = notes_names(first) + (now.ptr == NULL);
    return n;
}

static const struct handshake_facts no_handshake = {
    .version = { "", 0 }, .cipher = { "", 0 },      .sni = { "", 0 },   .client = { "", 0 },
    .subject = { "", 0 }, .fingerprint = { "", 0 }, .error = { "", 0 },
};

static const struct relayed_facts not_relayed = { .client_name = { "", 0 }, .via = { "", 0 } };

struct session_facts *session_facts_new(void)
{
    struct session_facts *f = mem_zalloc(sizeof(*f));

    atomic_init(&f->refs, 1);
    f->memory = shared_arena_new(SESSION_MEMORY_FIRST);
    f->handshake = &no_handshake;
    f->relayed = &not_relayed;
    return f;
}

struct session_facts *session_facts_ref(struct session_facts *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void session_facts_unref(struct session_facts *f)
{
    if (f == NULL || !drop(&f->refs))
        return;
    shared_arena_unref(f->memory);
    free(f);
}

struct session_facts *session_facts_own(struct session_facts *f)
{
    if (atomic_load_explicit(&f->refs, memory_order_acquire) == 1)
        return f;
    struct session_facts *mine = mem_alloc(sizeof(*mine));
    copy_behind(mine, f, offsetof(struct session_facts, memory), sizeof(*mine));
    atomic_init(&mine->refs, 1);
    (void)shared_arena_ref(mine->memory);
    session_facts_unref(f);
    return mine;
}

struct txn_facts *txn_facts_new(void)
{
    struct txn_facts *f = mem_zalloc(sizeof(*f));

    atomic_init(&f->refs, 1);
    f->memory = shared_arena_new(TXN_MEMORY_FIRST);
    return f;
}

struct txn_facts *txn_facts_ref(struct txn_facts *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void txn_facts_unref(struct txn_facts *f)
{
    if (f == NULL || !drop(&f->refs))
        return;
    free(f->rcpts);
    shared_arena_unref(f->memory);
    free(f);
}

struct txn_facts *txn_facts_own(struct txn_facts *f)
{
    if (atomic_load_explicit(&f->refs, memory_order_acquire) == 1)
        return f;
    struct txn_facts *mine = mem_alloc(sizeof(*mine));
    copy_behind(mine, f, offsetof(struct txn_facts, memory), sizeof(*mine));
    atomic_init(&mine->refs, 1);
    (void)shared_arena_ref(mine->memory);
    mine->rcpts = NULL;
    mine->rcpt_size = f->rcpt_count;
    if (f->rcpt_count > 0) {
        mine->rcpts = mem_alloc(f->rcpt_count * sizeof(mine->rcpts[0]));
        memcpy(mine->rcpts, f->rcpts, f->rcpt_count * sizeof(mine->rcpts[0]));
    }
    txn_facts_unref(f);
    return mine;
}

void txn_facts_add_rcpt(struct txn_facts *f, const struct rcpt_facts *rcpt)
{
    assert(atomic_load(&f->refs) == 1);
    if (f->rcpt_count == f->rcpt_size) {
        f->rcpt_size = f->rcpt_size > 0 ? f->rcpt_size * 2 : 4;
        f->rcpts = mem_realloc(f->rcpts, f->rcpt_size * sizeof(f->rcpts[0]));
    }
    f->rcpts[f->rcpt_count++] = rcpt;
}
