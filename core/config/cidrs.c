/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cidrs.c - a set of networks: ranges in order, found by halving.
 *
 * Two networks are apart or one holds the other, so once those inside others are dropped
 * the ranges are disjoint and one comparison at the end decides. 100,000 networks take 17 steps.
 */
#include "config/cidrs.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/schema.h"
#include "config/value.h"

struct range {
    unsigned __int128 first, last;
};

struct family {
    struct range *ranges;
    size_t count;
};

struct tern_cidrs {
    struct family v4, v6;
    size_t size;
    bool finished;
};

struct tern_cidrs *cidrs_new(struct arena *arena, size_t count)
{
    struct tern_cidrs *set = ARENA_NEW(arena, struct tern_cidrs);

    set->size = count;
    set->v4.ranges = arena_alloc(arena, (count + 1) * sizeof(set->v4.ranges[0]));
    set->v6.ranges = set->v4.ranges + count; /* one block: IPv4 grows up, IPv6 down */
    return set;
}

static unsigned __int128 to_wide(const tern_address *a)
{
    unsigned __int128 number = 0;

    for (size_t i = 0; i < (a->family == 4 ? 4u : 16u); i++)
        number = number << 8 | a->octets[i];
    return number;
}

static void print_wide(unsigned __int128 number, uint8_t family, char text[INET6_ADDRSTRLEN])
{
    unsigned char octets[16];
    size_t count = family == 4 ? 4 : 16;

    for (size_t i = count; i-- > 0; number >>= 8)
        octets[i] = (unsigned char)number;
    text[0] = '\0';
    (void)inet_ntop(family == 4 ? AF_INET : AF_INET6, octets, text, INET6_ADDRSTRLEN);
}

/* All ones in the lowest `bits`. */
static unsigned __int128 ones(unsigned bits)
{
    return bits >= 128 ? ~(unsigned __int128)0 : ((unsigned __int128)1 << bits) - 1;
}

static bool parse_prefix(struct slice text, unsigned bits, unsigned *ret)
{
    uint64_t number;

    if (text.len == 0 || text.len > 3 || (text.len > 1 && text.ptr[0] == '0') ||
        !slice_to_u64(text, &number) || number > bits)
        return false;
    *ret = (unsigned)number;
    return true;
}

bool cidrs_add(struct tern_cidrs *set, struct slice text, char error[CIDR_ERROR_OCTETS])
{
    ptrdiff_t slash = slice_find(text, '/');
    tern_address a;

    assert(!set->finished);
    if (!value_host(slash < 0 ? text : slice_head(text, (size_t)slash), &a)) {
        (void)snprintf(error, CIDR_ERROR_OCTETS,
                       "expected a network such as 192.0.2.0/24 or 2001:db8::/32, or an address");
        return false;
    }
    unsigned bits = a.family == 4 ? 32 : 128;
    unsigned prefix = bits;
    if (slash >= 0 && !parse_prefix(slice_from(text, (size_t)slash + 1), bits, &prefix)) {
        (void)snprintf(error, CIDR_ERROR_OCTETS,
                       "expected a prefix length from 0 to %u behind the slash", bits);
        return false;
    }
    unsigned __int128 first = to_wide(&a);
    unsigned __int128 host = ones(bits - prefix);
    if ((first & host) != 0) {
        char network[INET6_ADDRSTRLEN];
        print_wide(first & ~host, a.family, network);
        (void)snprintf(error, CIDR_ERROR_OCTETS,
                       "the address has bits set behind its prefix; the network is %s/%u", network,
                       prefix);
        return false;
    }
    assert(set->v4.count + set->v6.count < set->size);
    struct range range = { first, first | host };
    if (a.family == 4) {
        set->v4.ranges[set->v4.count++] = range;
    } else {
        *--set->v6.ranges = range;
        set->v6.count++;
    }
    return true;
}

/* By first address; of two that begin alike the wider comes first. */
static int compare(const void *left, const void *right)
{
    const struct range *a = left, *b = right;

    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    return (a->last < b->last) - (a->last > b->last);
}

static void finish(struct family *f)
{
    size_t kept = 0;

    if (f->count > 1)
        qsort(f->ranges, f->count, sizeof(f->ranges[0]), compare);
    for (size_t i = 0; i < f->count; i++)
        if (kept == 0 || f->ranges[i].first > f->ranges[kept - 1].last)
            f->ranges[kept++] = f->ranges[i];
    f->count = kept;
}

void cidrs_finish(struct tern_cidrs *set)
{
    finish(&set->v4);
    finish(&set->v6);
    set->finished = true;
}

bool cidrs_match(const struct tern_cidrs *set, const tern_address *address)
{
    if (set == NULL || (address->family != 4 && address->family != 6))
        return false;
    assert(set->finished);
    const struct family *f = address->family == 4 ? &set->v4 : &set->v6;
    unsigned __int128 wanted = to_wide(address);
    size_t low = 0, high = f->count; /* the first range that begins behind `wanted` */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (f->ranges[middle].first <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && wanted <= f->ranges[low - 1].last;
}

bool cidrs_are_none(const struct tern_cidrs *set)
{
    return set == NULL || set->v4.count + set->v6.count == 0;
}
