/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spf_zone.h - a zone in memory, and a check that is answered from it.
 */
#ifndef TERN_TESTS_SPF_ZONE_H
#define TERN_TESTS_SPF_ZONE_H

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "spf/check.h"

#define ZONE_ROWS_MAX      2000
#define ZONE_QUESTIONS_MAX 500 /* far above what the limits of SPF allow */
#define ZONE_TIMEOUT       0   /* type of a row: every question for the name that no other row answers fails */

struct zone_row {
    tern_str name, text;
    unsigned type;
};

struct zone {
    struct zone_row rows[ZONE_ROWS_MAX];
    unsigned count, asked;
    bool talk;
    struct arena arena;
};

static inline tern_str zone_str(const char *s)
{
    return (tern_str){ s, strlen(s) };
}

static inline void zone_add(struct zone *z, tern_str name, unsigned type, tern_str text)
{
    assert(z->count < ZONE_ROWS_MAX);
    if (text.len > 0 && text.ptr[text.len - 1] == '.' && type != TERN_DNS_TXT)
        text.len--;
    z->rows[z->count++] = (struct zone_row){ name, text, type };
}

/* Follows aliases as a resolver does: a chain that is too long fails. */
static inline struct tern_dns_answer zone_answer(struct zone *z, const char *asked, unsigned type,
                                                 struct tern_dns_record records[ZONE_ROWS_MAX])
{
    struct tern_dns_answer a = { .status = TERN_ABSENT, .error = "NXDOMAIN", .records = records };
    tern_str name = zone_str(asked);

    z->asked++;
    for (unsigned chain = 0;; chain++) {
        const struct zone_row *alias = NULL;
        bool fails = chain > 8;
        for (unsigned i = 0; i < z->count; i++) {
            const struct zone_row *r = &z->rows[i];
            if (!spf_equal_nocase(r->name, name))
                continue;
            if (r->type == type)
                records[a.count++] = (struct tern_dns_record){ .text = r->text };
            alias = r->type == TERN_DNS_CNAME ? r : alias;
            fails = fails || r->type == ZONE_TIMEOUT;
        }
        if (a.count == 0 && alias != NULL && !fails) {
            name = alias->text;
            continue;
        }
        if (a.count > 0)
            a.status = TERN_FOUND;
        else if (fails)
            a.status = TERN_FAILED, a.error = "timeout";
        if (z->talk)
            fprintf(stderr, "    %s %u: status %u, %zu\n", asked, type, a.status, a.count);
        return a;
    }
}

static inline void *zone_alloc(void *arg, size_t octets)
{
    struct zone *z = arg;
    void *at = arena_alloc(&z->arena, octets);

    memset(at, 0, octets);
    return at;
}

/* check_host() from begin to end. */
static inline enum spf_result zone_check(struct zone *z, struct spf_check *check, struct spf_input in)
{
    static struct tern_dns_record records[ZONE_ROWS_MAX];

    memset(check, 0, sizeof(*check));
    in.alloc = zone_alloc;
    in.arg = z;
    z->asked = 0;
    for (bool more = spf_start(check, &in); more;) {
        struct tern_dns_answer a = zone_answer(z, check->name, check->type, records);
        assert(z->asked < ZONE_QUESTIONS_MAX);
        more = spf_answer(check, &a);
    }
    return check->result;
}

#endif
