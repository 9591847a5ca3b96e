/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_asan.c - the search for leaks at the end of a program survives a module's thread-local storage.
 *
 * Only where it is built with AddressSanitizer. What it is told for that: cmake/asan.c.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS     200
#define PAGE_OCTETS 4096
#define OLD_HEADER  16 /* of a block, before glibc 2.25 */

static char *(*thread_block)(void);
static pthread_barrier_t all_have_theirs;
static _Atomic unsigned misread;

static void *take(void *unused)
{
    char *block = thread_block();
    misread += (uintptr_t)block % PAGE_OCTETS == OLD_HEADER;
    pthread_barrier_wait(&all_have_theirs);
    pause(); /* alive while leaks are looked for */
    return block;
}

int main(void)
{
    void *module = dlopen(THREAD_BLOCK, RTLD_NOW);
    if (module)
        *(void **)&thread_block = dlsym(module, "thread_block");
    if (!thread_block) {
        fprintf(stderr, "%s\n", dlerror());
        return EXIT_FAILURE;
    }
    pthread_barrier_init(&all_have_theirs, NULL, THREADS + 1);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, take, NULL) != 0)
            return EXIT_FAILURE;
    }
    pthread_barrier_wait(&all_have_theirs);
    printf("%u of %d blocks would be misread\n", misread, THREADS);
    return misread ? EXIT_SUCCESS : EXIT_FAILURE;
}
