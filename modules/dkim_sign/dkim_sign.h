/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_sign.h - who signs with what (who.c), the field itself (sign.c).
 */
#ifndef MODULES_DKIM_SIGN_DKIM_SIGN_H
#define MODULES_DKIM_SIGN_DKIM_SIGN_H

#include <tern/module.h>

#include <stdio.h>
#include <string.h>

#include <lib/dkim_files.h>
#include <lib/dkim_message.h>
#include <lib/dkim_write.h>

#define SIGN_SIGNATURES_MAX    8     /* of a message */
#define SIGN_PARENTS_MAX       8     /* domains above one that a wildcard is looked for at */

enum { SIGN_BY_FROM, SIGN_BY_SENDER, SIGN_BY_USER };
enum { SIGN_MISSING_DEFER, SIGN_MISSING_SKIP };

struct sign_also {
    tern_str selector, key;
};
struct sign_conf {
    int by, canonicalization, missing_key; /* enums */
    tern_str selector, key, folder;
    struct tern_records also;
    const struct tern_table *signers, *keys;
    struct tern_list headers, oversign;
    uint64_t expire_s;
    uint64_t generation; /* counted by check(): keys are looked at again when it grows */
};

/* One signature to be made. */
struct sign_spec {
    tern_str domain, selector;
    const char *path;
};

extern const struct tern_api *sign_api;

/* Fills at most SIGN_SIGNATURES_MAX; how many. Negative: tern->fail() was told why. Pool thread. */
int sign_who(tern_call *call, const struct sign_conf *c, struct sign_spec *ret);

/* The value of a DKIM-Signature field; ptr NULL: it could not be made. */
tern_str sign_field(tern_call *call, const struct sign_conf *c, const struct dkim_message *m,
                    const struct sign_spec *spec, const struct dkim_private *key);
static inline bool sign_header_relaxed(const struct sign_conf *c)
{
    return c->canonicalization < 2;
}
static inline bool sign_body_relaxed(const struct sign_conf *c)
{
    return c->canonicalization % 2 == 0;
}

#endif
