/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_lookup.h - the key records that a signature asks DNS for, of DKIM and of ARC, and the key among them.
 *
 * What DNS says is copied into the call's memory and noted for the decision record, so that `tern why` shows it.
 */
#ifndef MODULES_LIB_DKIM_LOOKUP_H
#define MODULES_LIB_DKIM_LOOKUP_H

#include "dkim.h"

#define DKIM_LOOKUP_RECORDS_MAX 4 /* of one selector; RFC 6376 3.6.2.2 wants one */

struct dkim_lookup {
    const char *name; /* of the key record */
    tern_str *records;
    unsigned record_count;
    const char *trouble; /* why there is none; NULL: there is */
    bool temporary;      /* DNS did not answer */
};

/* A name longer than DNS has is trouble at once: nobody is to be asked then. */
void dkim_lookup_init(const struct tern_api *api, tern_call *call, const struct dkim_signature *signature,
                      struct dkim_lookup *ret);
void dkim_lookup_answer(const struct tern_api *api, tern_call *call, struct dkim_lookup *lookup,
                        const struct tern_dns_answer *answer);
/*
 * What a signature by that key may cost, beside others: RSA grows with the square of a key's length. Ten of 2048 bits
 * with the longest exponent that is taken are two milliseconds.
 */
#define DKIM_LOOKUP_WORK_ON_LOOP 1700000
uint64_t dkim_lookup_work(const struct dkim_lookup *lookup);
/*
 * The first record that will do: RFC 6376 3.6.2.2 leaves it open which of several counts. NULL with the key, which
 * the caller lets go of, and whether its domain tests (t=y); else why none of them will do.
 */
const char *dkim_lookup_key(const struct dkim_lookup *lookup, const struct dkim_signature *signature,
                            struct dkim_keys *keys, struct dkim_key **ret, bool *ret_testing);

#endif
