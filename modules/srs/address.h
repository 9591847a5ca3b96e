/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.h - local parts of the Sender Rewriting Scheme, made and read. Pure.
 *
 *     SRS0=HHHH=TT=domain=local           from local@domain
 *     SRS1=HHHH=first.example=OPAQUE      from SRS0OPAQUE@first.example (OPAQUE begins with its separator)
 *
 * HHHH is the begin of a base64 HMAC-SHA1 over what follows, in lower case; TT a day modulo 1024 in base32. An SRS1
 * address that is forwarded again keeps its first host, so that an address does not grow with each hop. Local parts are
 * as meant, without quotes.
 *
 * Source: Shevek, "The Sender Rewriting Scheme" (2004), and what libsrs2, Mail::SRS and postsrsd make of it.
 */
#ifndef MODULES_SRS_ADDRESS_H
#define MODULES_SRS_ADDRESS_H

#include <tern/module.h>

#define SRS_SECRETS_MAX     8
#define SRS_HASH_LENGTH_MIN 4
#define SRS_HASH_LENGTH_MAX 20
#define SRS_DAYS            1024 /* a time stamp knows the day modulo this */
#define SRS_AGE_DAYS_MAX    1000
#define SRS_LOCAL_OCTETS    256 /* room for a local part; what is longer fits into no path */

enum srs_outcome {
    SRS_OK,
    SRS_NONE,   /* no such address */
    SRS_BROKEN, /* begins like one, and has not its parts */
    SRS_FORGED, /* no secret of ours has made its hash */
    SRS_EXPIRED,
    SRS_TOO_LONG,
    SRS_FAILED, /* no hash could be made */
};

struct srs_keys {
    tern_str secrets[SRS_SECRETS_MAX]; /* the first signs, all verify */
    unsigned secret_count;
    unsigned hash_length, hash_min; /* characters made; at least shown */
    unsigned age_days;
    char separator; /* the one behind SRS0 and SRS1: = - + */
    bool plain;     /* makes hashes with + and /, for hosts that do not take - and _ for them */
};

struct srs_text {
    char text[SRS_LOCAL_OCTETS];
    size_t len;
};

struct srs_mailbox {
    struct srs_text local, domain;
};

/* SRS0 or SRS1 and a separator, in any case. */
bool srs_is_srs(tern_str local);
/* The local part for mail of local@domain that is forwarded on this day (since 1970). */
enum srs_outcome srs_encode(const struct srs_keys *keys, tern_str local, tern_str domain, int64_t day,
                            struct srs_text *ret);
/* Back: one hop. *ret is untouched unless it is SRS_OK. */
enum srs_outcome srs_decode(const struct srs_keys *keys, tern_str local, int64_t day, struct srs_mailbox *ret);

#endif
