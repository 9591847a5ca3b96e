/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_zone.h - a zone in memory, and a DMARC check that is answered from it.
 */
#ifndef TERN_TESTS_DMARC_ZONE_H
#define TERN_TESTS_DMARC_ZONE_H

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "dmarc/check.h"

#define DMARC_ZONE_ROWS_MAX 64

struct dmarc_zone_row {
    tern_str name, text; /* text: of TXT, else empty */
    bool fails, other;   /* every question for it fails; it has records of another type */
};

struct dmarc_zone {
    struct dmarc_zone_row rows[DMARC_ZONE_ROWS_MAX];
    unsigned count, asked;
    struct arena arena;
};

static inline tern_str dmarc_zone_str(const char *s)
{
    return (tern_str){ s, strlen(s) };
}

/* "name text", "! name" that fails, "A name", "MX name": one that has records of that type. */
static inline void dmarc_zone_put(struct dmarc_zone *z, const char *row)
{
    const char *blank = strchr(row, ' ');
    struct dmarc_zone_row *r = &z->rows[z->count++];

    assert(blank != NULL && z->count <= DMARC_ZONE_ROWS_MAX);
    bool special = memchr(row, '.', (size_t)(blank - row)) == NULL;
    *r = (struct dmarc_zone_row){ .name = { row, (size_t)(blank - row) }, .text = dmarc_zone_str(blank + 1) };
    if (special)
        *r = (struct dmarc_zone_row){ .name = r->text, .fails = row[0] == '!', .other = row[0] != '!' };
}

static inline void *dmarc_zone_alloc(void *arg, size_t octets)
{
    struct dmarc_zone *z = arg;
    void *at = arena_alloc(&z->arena, octets);

    memset(at, 0, octets);
    return at;
}

static inline struct tern_dns_answer dmarc_zone_answer(struct dmarc_zone *z, const char *name, unsigned type,
                                                       struct tern_dns_record records[DMARC_ZONE_ROWS_MAX])
{
    struct tern_dns_answer a = { .status = TERN_ABSENT, .error = "NXDOMAIN", .records = records };

    z->asked++;
    for (unsigned i = 0; i < z->count; i++) {
        const struct dmarc_zone_row *r = &z->rows[i];
        if (!dmarc_equal_nocase(r->name, dmarc_zone_str(name)))
            continue;
        a.error = r->fails ? "timeout" : "NODATA";
        if (r->fails)
            a.status = TERN_FAILED;
        else if (type == TERN_DNS_TXT && !r->other)
            records[a.count++] = (struct tern_dns_record){ .text = r->text };
    }
    if (a.count > 0)
        a.status = TERN_FOUND;
    return a;
}

/* From begin to end. */
static inline enum dmarc_result dmarc_zone_check(struct dmarc_zone *z, struct dmarc_check *check, struct dmarc_input in)
{
    struct tern_dns_record records[DMARC_ZONE_ROWS_MAX];

    memset(check, 0, sizeof(*check));
    in.alloc = dmarc_zone_alloc;
    in.arg = z;
    z->asked = 0;
    for (bool more = dmarc_start(check, &in); more;) {
        struct tern_dns_answer a = dmarc_zone_answer(z, check->name, check->type, records);
        assert(z->asked <= DMARC_QUESTIONS_MAX);
        more = dmarc_answer(check, &a);
    }
    return check->result;
}

#endif
