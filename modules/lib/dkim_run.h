/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_run.h - text that stays as it is, 16 octets at a time: what relaxed canonical forms (RFC 6376 3.4.2, 3.4.4)
 * leave alone, what a value of a tag list may hold. Plain C by vector types: any processor.
 */
#ifndef MODULES_LIB_DKIM_RUN_H
#define MODULES_LIB_DKIM_RUN_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DKIM_RUN_STEP 16
typedef uint8_t dkim_run_vector __attribute__((vector_size(DKIM_RUN_STEP)));

static inline dkim_run_vector dkim_run_load(const char *p)
{
    dkim_run_vector v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* The first octet of `v` that is not zero; DKIM_RUN_STEP: none. */
static inline size_t dkim_run_first(dkim_run_vector v)
{
    uint64_t halves[2];

    memcpy(halves, &v, sizeof(halves));
    if ((halves[0] | halves[1]) == 0)
        return DKIM_RUN_STEP;
    return halves[0] != 0 ? (size_t)__builtin_ctzll(htole64(halves[0])) / 8
                          : 8 + (size_t)__builtin_ctzll(htole64(halves[1])) / 8;
}

/* ---- canonical forms ---- */

static inline bool dkim_run_ends(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* A blank between two others is not the end: so a line is one piece, and not each of its words. */
static inline bool dkim_run_goes_on(const char *p, size_t count, size_t n)
{
    return !dkim_run_ends(p[n]) || (p[n] == ' ' && n + 1 < count && !dkim_run_ends(p[n + 1]));
}

/*
 * Copies octets from `p` to `out`, which has room for `count` of them, up to a CR, a tab, or a blank that is no single
 * one. How many: 0 only if there is one of these at once. Behind them `out` may be written to as well.
 */
static inline size_t dkim_run_copy(char *out, const char *p, size_t count)
{
    size_t n = 0;

    if (count == 0 || dkim_run_ends(*p))
        return 0;
    while (n + DKIM_RUN_STEP < count) {
        dkim_run_vector here = dkim_run_load(p + n), next = dkim_run_load(p + n + 1);
        /* More than what ends it, for that takes fewer steps: the others are rare. */
        size_t stop = dkim_run_first((dkim_run_vector)((here < ' ') | ((here == ' ') & (next <= ' '))));
        memcpy(out + n, &here, sizeof(here));
        n += stop;
        if (stop == DKIM_RUN_STEP)
            continue;
        if (!dkim_run_goes_on(p, count, n))
            return n;
        n++;
    }
    for (; n < count && dkim_run_goes_on(p, count, n); n++)
        out[n] = p[n];
    return n;
}

/* ---- tag lists ---- */

/* Octets from `p` on that are no controls, at most `count`. */
static inline size_t dkim_run_printable(const char *p, size_t count)
{
    size_t n = 0;

    for (; n + DKIM_RUN_STEP <= count; n += DKIM_RUN_STEP) {
        dkim_run_vector here = dkim_run_load(p + n);
        size_t stop = dkim_run_first((dkim_run_vector)((here < ' ') | (here == 0x7f)));
        if (stop < DKIM_RUN_STEP)
            return n + stop;
    }
    while (n < count && (unsigned char)p[n] >= ' ' && p[n] != 0x7f)
        n++;
    return n;
}

#endif
