/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sasl.h - the SASL mechanisms that Tern speaks, and what both ends of SCRAM compute.
 *
 * Pure: octets in, octets out; random numbers are the only thing taken from outside. Not here: base64,
 * which is SMTP's (base64.h); who may log in (the steps of hook auth); which may be used without
 * TLS is said here, obeyed above.
 *
 * Sources: RFC 4422 (SASL), RFC 4616 (PLAIN), RFC 2195 (CRAM-MD5), RFC 5802 and 7677 (SCRAM), RFC
 * 7628 (OAUTHBEARER), draft-murchison-sasl-login.
 */
#ifndef TERN_SASL_SASL_H
#define TERN_SASL_SASL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/slice.h"

#define SASL_USER_OCTETS_MAX     512
#define SASL_PASSWORD_OCTETS_MAX 4096 /* tokens: as long as the line allows */
#define SASL_NONCE_OCTETS_MAX    256  /* of the client's */
#define SASL_SALT_OCTETS_MAX     1024
#define SASL_HASH_OCTETS_MAX     32
#define SASL_BINDING_OCTETS_MAX  64
/* RFC 7677 4 wants 4096 at least. As a client more than the upper one would be the server's way to
 * keep us busy. */
#define SASL_ITERATIONS_DEFAULT  4096
#define SASL_ITERATIONS_MAX      10000000
#define SASL_CLIENT_ITERATIONS_MAX 100000 /* some 50 ms of a thread of the pool */

/* In the order in which EHLO announces them: the strongest first. */
enum sasl_mechanism {
    SASL_SCRAM_SHA_256_PLUS,
    SASL_SCRAM_SHA_1_PLUS,
    SASL_SCRAM_SHA_256,
    SASL_SCRAM_SHA_1,
    SASL_EXTERNAL,
    SASL_CRAM_MD5,
    SASL_OAUTHBEARER,
    SASL_XOAUTH2,
    SASL_PLAIN,
    SASL_LOGIN,
    SASL_MECHANISM_COUNT,
};

const char *sasl_mechanism_name(enum sasl_mechanism mechanism);
/* By its name in upper case; SASL_MECHANISM_COUNT if it is none of these. */
enum sasl_mechanism sasl_mechanism_find(struct slice name);
bool sasl_is_scram(enum sasl_mechanism mechanism);
bool sasl_is_plus(enum sasl_mechanism mechanism);
/*
 * Whether who listens learns what is enough to log in: PLAIN, LOGIN, tokens, and every mechanism
 * that is not known to be better.
 */
bool sasl_is_plaintext(struct slice name);

/* ---- strings ---- */

/*
 * SASLprep (RFC 4013): NFKC, odd blanks become a blank, what is mapped to nothing goes. False: empty
 * afterwards, longer than octets_max, not UTF-8, with a control or another prohibited character, or with
 * writing directions mixed. *out, as it was if false, is wiped by the caller.
 */
bool sasl_prep(struct slice text, size_t octets_max, struct buf *out);
/* Whether there is a code point that Unicode 3.2 had not assigned, or no UTF-8: not to be stored (RFC 3454 7). */
bool sasl_has_unassigned(struct slice text);
/*
 * Appends the name as a directory compares it that heeds neither case nor blanks (RFC 4518 2.2 to 2.4, 2.6.1): case
 * folded, none in front and behind, one between. What is no UTF-8 has its ASCII folded.
 */
void sasl_name_fold(struct slice name, struct buf *out);
/* UTF-8 of 1 to octets_max octets without controls: a password as it is checked against a hash. */
bool sasl_text_is_fit(struct slice text, size_t octets_max);

/* ---- SCRAM, RFC 5802 3 ---- */

enum sasl_hash { SASL_SHA_1, SASL_SHA_256 };
size_t sasl_hash_octets(enum sasl_hash hash);
enum sasl_hash sasl_scram_hash(enum sasl_mechanism mechanism);

struct sasl_keys {
    unsigned char salt[SASL_SALT_OCTETS_MAX];
    size_t salt_octets;
    unsigned iterations;
    unsigned char stored_key[SASL_HASH_OCTETS_MAX], server_key[SASL_HASH_OCTETS_MAX];
};

/* Stored and server key of `password`, salted with what `keys` has. The password is prepared. */
bool sasl_scram_keys(enum sasl_hash hash, struct slice password, struct sasl_keys *keys);
/* SaltedPassword, from which a client computes the rest. */
bool sasl_scram_salted(enum sasl_hash hash, struct slice password, struct slice salt,
                       unsigned iterations, unsigned char out[SASL_HASH_OCTETS_MAX]);
void sasl_hmac(enum sasl_hash hash, struct slice key, struct slice data,
               unsigned char out[SASL_HASH_OCTETS_MAX]);
void sasl_digest(enum sasl_hash hash, struct slice data, unsigned char out[SASL_HASH_OCTETS_MAX]);
/* "n=" and "a=": ',' and '=' are written =2C and =3D. */
void sasl_name_add(struct buf *out, struct slice name);
bool sasl_name_decode(struct slice text, struct buf *out);
/* The value of `X=...` at the front of *rest, up to the next comma, which goes along. */
bool sasl_attribute(struct slice *rest, char name, struct slice *ret);
/* Printable octets without comma, fresh ones. False: no random numbers are to be had. */
bool sasl_nonce(struct buf *out);
/* HMAC-MD5 in lower-case hex: CRAM-MD5. */
void sasl_cram_digest(struct slice password, struct slice challenge, char out[33]);
/* In constant time. */
bool sasl_equal(const void *a, const void *b, size_t octets);

#endif
