/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arc.h - the Authenticated Received Chain (RFC 8617): its three header fields, and how they make sets.
 *
 * A chain is read here and its form is judged; signatures are verified by who knows keys. Nothing here asks DNS.
 * Any thread; a tern_str is borrowed and has no NUL behind it.
 */
#ifndef MODULES_LIB_ARC_H
#define MODULES_LIB_ARC_H

#include "dkim.h"

#define ARC_SETS_MAX          50 /* RFC 8617 4.2.1 */
#define ARC_COMMENTS_DEEP_MAX 10

enum arc_kind { ARC_AAR, ARC_AMS, ARC_SEAL, ARC_KIND_COUNT };
const char *arc_kind_name(enum arc_kind kind); /* "ARC-Seal" */
/* ARC_KIND_COUNT: it is another field. */
enum arc_kind arc_kind_of(const struct dkim_field *field);

enum arc_cv { ARC_CV_NONE, ARC_CV_FAIL, ARC_CV_PASS };
const char *arc_cv_name(enum arc_cv cv);

/* An ARC-Message-Signature or an ARC-Seal. */
struct arc_signature {
    struct dkim_signature s;
    unsigned instance; /* i=; 0: unknown. Above ARC_SETS_MAX only where that is what is wrong */
    enum arc_cv cv;    /* of a seal */
    bool signs_from;   /* h= names From */
};
/* As dkim_signature_parse(). */
const char *arc_ams_parse(tern_str value, bool utf8, struct arc_signature *ret);
const char *arc_seal_parse(tern_str value, bool utf8, struct arc_signature *ret);
/* `ret_results`: what stands behind the instance, as in an Authentication-Results field. */
const char *arc_aar_parse(tern_str value, unsigned *ret_instance, tern_str *ret_results);

struct arc_set {
    const struct dkim_field *fields[ARC_KIND_COUNT];
    struct arc_signature ams, seal;
    tern_str results; /* of the ARC-Authentication-Results field */
};
struct arc_chain {
    struct arc_set *sets;
    unsigned count;    /* the highest instance: of sets if nothing is wrong; it may be above ARC_SETS_MAX else */
    bool ended;        /* the newest seal says cv=fail: nobody seals on top of that */
    const char *wrong; /* with its form: RFC 8617 5.2 steps 1 to 3. NULL: nothing, or there is no chain */
    unsigned wrong_instance; /* 0: unknown */
    enum arc_kind wrong_kind;
};
bool arc_is_there(const struct dkim_field *fields, size_t count);
/* `sets`: ARC_SETS_MAX of them, zeroed; they live as long as the chain. */
void arc_chain_read(const struct dkim_field *fields, size_t count, bool utf8, struct arc_set *sets,
                    struct arc_chain *ret);

/*
 * What seal number `instance` signs (5.1.1): the sets up to it. Call it for 1, 2, ... with the same hash: it adds
 * what is new, and copies the hash where the digest of that seal is wanted. 0, or -ENOMEM.
 */
int arc_seal_hash(const struct arc_set *set, struct dkim_hash *running, uint8_t out[DKIM_HASH_OCTETS]);

#endif
