/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define CHUNK_OCTETS_MIN 512
#define MORE_OCTETS_MIN  224 /* of a chunk behind one that was lent */
#define CHUNK_OCTETS_MAX 65536

/* Small, as the first one of an idle session counts: no single allocation comes near 2 GB. */
struct arena_chunk {
    struct arena_chunk *next;
    uint32_t used;     /* from the front: what must be aligned */
    uint32_t end : 31; /* strings lie behind it, without gaps; between the two all is free */
    uint32_t lent : 1; /* arena_init_in(): not ours to free */
    alignas(16) char data[];
};
_Static_assert(sizeof(struct arena_chunk) == ARENA_LENT_OVERHEAD, "arena.h says so");

struct arena_cleanup {
    struct arena_cleanup *next;
    void (*run)(void *arg);
    void *arg;
};

void arena_init(struct arena *arena)
{
    *arena = (struct arena){ NULL, NULL, 0 };
}

void arena_init_in(struct arena *arena, void *memory, size_t octets)
{
    struct arena_chunk *chunk = memory;

    assert((uintptr_t)memory % 16 == 0 && octets > sizeof(*chunk) && octets <= CHUNK_OCTETS_MAX);
    *chunk = (struct arena_chunk){ .end = (uint32_t)(octets - sizeof(*chunk)) & ~15u, .lent = 1 };
    *arena = (struct arena){ chunk, NULL, 0 };
}

void arena_fini(struct arena *arena)
{
    for (struct arena_cleanup *c = arena->cleanups; c != NULL; c = c->next)
        c->run(c->arg);
    for (struct arena_chunk *chunk = arena->chunk; chunk != NULL;) {
        struct arena_chunk *next = chunk->next;
        if (!chunk->lent)
            free(chunk);
        chunk = next;
    }
    arena_init(arena);
}

static struct arena_chunk *chunk_new(struct arena *arena, size_t octets)
{
    size_t size = arena->octets * 2, least = MORE_OCTETS_MIN;

    if (arena->chunk == NULL)
        least = CHUNK_OCTETS_MIN - sizeof(struct arena_chunk);
    if (size < least)
        size = least;
    if (size > CHUNK_OCTETS_MAX)
        size = CHUNK_OCTETS_MAX;
    if (size < octets)
        size = octets;
    size = (size + 15) & ~(size_t)15;
    assert(size <= INT32_MAX);
    struct arena_chunk *chunk = mem_alloc(sizeof(*chunk) + size);
    *chunk = (struct arena_chunk){ .next = arena->chunk, .end = (uint32_t)size & INT32_MAX };
    arena->chunk = chunk;
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t octets)
{
    size_t rounded = (octets + 15) & ~(size_t)15;
    struct arena_chunk *chunk = arena->chunk;

    if (chunk == NULL || chunk->end - chunk->used < rounded)
        chunk = chunk_new(arena, rounded);
    void *p = chunk->data + chunk->used;
    chunk->used += (uint32_t)rounded;
    arena->octets += rounded;
    return p;
}

/* Needs no alignment, and ends where the one before it begins. */
static char *alloc_text(struct arena *arena, size_t octets)
{
    struct arena_chunk *chunk = arena->chunk;

    if (chunk == NULL || chunk->end - chunk->used < octets)
        chunk = chunk_new(arena, octets);
    chunk->end = (chunk->end - (uint32_t)octets) & INT32_MAX;
    arena->octets += octets;
    return chunk->data + chunk->end;
}

void *arena_zalloc(struct arena *arena, size_t octets)
{
    return memset(arena_alloc(arena, octets), 0, octets);
}

char *arena_dup(struct arena *arena, struct slice s)
{
    char *copy = alloc_text(arena, s.len + 1);

    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

struct slice arena_slice(struct arena *arena, struct slice s)
{
    return slice_make(arena_dup(arena, s), s.len);
}

char *arena_vprintf(struct arena *arena, const char *format, va_list args)
{
    char guess[256]; /* most texts are short: formatted once */
    va_list again;

    va_copy(again, args);
    guess[0] = '\0';
    int len = vsnprintf(guess, sizeof(guess), format, args);
    size_t size = len > 0 ? (size_t)len + 1 : 1;
    char *text = alloc_text(arena, size);
    if (size <= sizeof(guess))
        memcpy(text, guess, size - 1);
    else
        (void)vsnprintf(text, size, format, again);
    text[size - 1] = '\0';
    va_end(again);
    return text;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    char *text = arena_vprintf(arena, format, args);
    va_end(args);
    return text;
}

void arena_on_fini(struct arena *arena, void (*run)(void *arg), void *arg)
{
    struct arena_cleanup *c = arena_alloc(arena, sizeof(*c));

    *c = (struct arena_cleanup){ arena->cleanups, run, arg };
    arena->cleanups = c;
}
