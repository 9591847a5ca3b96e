/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem.h - malloc that ends the process when memory is gone.
 *
 * Everything a client can make us hold has a bound, so running out is an operator's
 * mistake or a bug; the supervisor restarts the worker and no accepted mail is lost.
 */
#ifndef TERN_BASE_MEM_H
#define TERN_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t octets);  /* never NULL */
void *mem_zalloc(size_t octets); /* zeroed */
void *mem_realloc(void *old, size_t octets);
char *mem_strdup(const char *text);
char *mem_dup(const void *octets, size_t len); /* with a NUL behind it */

#define CLEANUP_FREE __attribute__((cleanup(mem_cleanup_free)))
void mem_cleanup_free(void *pointer_to_pointer);

#endif
