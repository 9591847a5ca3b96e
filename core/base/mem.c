/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *p, size_t octets)
{
    if (p == NULL) {
        (void)fprintf(stderr, "tern: out of memory (%zu octets wanted)\n", octets);
        abort();
    }
    return p;
}

void *mem_alloc(size_t octets)
{
    return checked(malloc(octets > 0 ? octets : 1), octets);
}

void *mem_zalloc(size_t octets)
{
    return checked(calloc(1, octets > 0 ? octets : 1), octets);
}

void *mem_realloc(void *old, size_t octets)
{
    return checked(realloc(old, octets > 0 ? octets : 1), octets);
}

char *mem_strdup(const char *text)
{
    return mem_dup(text, strlen(text));
}

char *mem_dup(const void *octets, size_t len)
{
    char *copy = mem_alloc(len + 1);

    if (len > 0)
        memcpy(copy, octets, len);
    copy[len] = '\0';
    return copy;
}

void mem_cleanup_free(void *pointer_to_pointer)
{
    free(*(void **)pointer_to_pointer);
}
