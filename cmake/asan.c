/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asan.c - what AddressSanitizer is told by every program that is built with it.
 *
 * Its runtime, up to that of GCC 13 and clang 16, takes a block of thread-local storage that begins 16 octets behind
 * the beginning of a page for one of glibc before 2.25, and two words before it, which are malloc's now, for its
 * address and length. The search for leaks at exit then reads there and dies: "Tracer caught signal 11". A module with
 * a _Thread_local variable is enough. Blocks are found without it, through their thread's table.
 */
__attribute__((weak, visibility("default"))) const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "intercept_tls_get_addr=0";
}
