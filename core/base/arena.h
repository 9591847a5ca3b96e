/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - memory of one lifetime: process, generation, session, transaction.
 *
 * Nobody frees singly; files and sockets register a cleanup. An arena is used by one
 * thread at a time. Chunks begin small and double, so that an idle session is cheap.
 */
#ifndef TERN_BASE_ARENA_H
#define TERN_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "base/slice.h"

struct arena_chunk;
struct arena_cleanup;

struct arena {
    struct arena_chunk *chunk; /* newest */
    struct arena_cleanup *cleanups;
    size_t octets; /* handed out in all */
};

void arena_init(struct arena *arena);
/*
 * The first chunk lies in `memory`, aligned to 16 and the caller's, of which ARENA_LENT_OVERHEAD is the arena's own. It
 * outlives the arena; used again behind arena_fini() the arena knows it no more.
 */
#define ARENA_LENT_OVERHEAD 16
void arena_init_in(struct arena *arena, void *memory, size_t octets);
/* Runs the cleanups, newest first, and frees all; the arena may be used again. */
void arena_fini(struct arena *arena);

void *arena_alloc(struct arena *arena, size_t octets); /* aligned to 16, never NULL */
void *arena_zalloc(struct arena *arena, size_t octets);
/* Text needs no alignment, and gets none. */
char *arena_dup(struct arena *arena, struct slice s); /* with a NUL behind it */
struct slice arena_slice(struct arena *arena, struct slice s);
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *arena, const char *format, va_list args);
void arena_on_fini(struct arena *arena, void (*run)(void *arg), void *arg);

#define ARENA_NEW(arena, type) ((type *)arena_zalloc((arena), sizeof(type)))

#endif
