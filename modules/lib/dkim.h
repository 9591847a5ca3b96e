/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim.h - DKIM signatures (RFC 6376, 8301, 8463): reading them, the octets they cover, the arithmetic.
 *
 * Shared by dkim_verify, dkim_sign and `tern dkim`. Nothing here asks DNS, reads a file or knows a mail server:
 * octets in, an answer or a sentence out. Any thread; functions that take a struct by pointer want it for themselves.
 * A tern_str is borrowed here and has no NUL behind it unless said.
 */
#ifndef MODULES_LIB_DKIM_H
#define MODULES_LIB_DKIM_H

#include <tern/module.h>

#include <openssl/evp.h>

#define DKIM_TAGS_MAX             64    /* of one list */
#define DKIM_SIGNATURE_OCTETS_MAX 32768 /* of one DKIM-Signature field */
#define DKIM_RECORD_OCTETS_MAX    8192  /* of a key record */
#define DKIM_NAME_OCTETS_MAX      253   /* of a domain, a selector, and of both together */
#define DKIM_SIGNED_NAMES_MAX     512   /* names in h= */
#define DKIM_FIELDS_MAX           10000 /* of a header; what the server looks at, too */
#define DKIM_B_OCTETS_MAX         1024  /* a signature of RSA 8192 */
#define DKIM_RSA_BITS_MIN         1024  /* RFC 8301 3.2: less never verifies */
#define DKIM_RSA_BITS_GOOD        2048  /* less is told */
#define DKIM_RSA_BITS_MAX         8192  /* RFC 8301 3.2: 4096 at least */
#define DKIM_EXPONENT_BITS_MAX    64    /* a longer one makes verifying slow, and nobody has one */
#define DKIM_HASH_OCTETS          32

static inline tern_str dkim_str(const char *ptr, size_t len)
{
    return (tern_str){ ptr, len };
}
bool dkim_equal_nocase(tern_str a, tern_str b);

/* ---- tag lists: RFC 6376 3.2 ---- */

struct dkim_tag {
    tern_str name, value; /* value without the blanks around it; folding inside is kept */
    tern_str raw;         /* all between "=" and ";" */
};
struct dkim_tags {
    struct dkim_tag items[DKIM_TAGS_MAX];
    unsigned count;
};
/* NULL, or what is wrong with it. Blanks at the end are taken, as most others do. */
const char *dkim_tags_parse(tern_str text, struct dkim_tags *ret);
/* NULL if it is not there. */
const struct dkim_tag *dkim_tags_find(const struct dkim_tags *tags, const char *name);
/* The next item of a list with `separator`, blanks around it cut; false at the end. */
bool dkim_list_next(tern_str *rest, char separator, tern_str *ret);
/* Base64 with folding inside, of no secret. The octets, at most `octets`; negative: it is none, or too long. */
int dkim_base64_decode(tern_str text, uint8_t *out, size_t octets);
/* dkim-quoted-printable (RFC 6376 2.11), blanks left out, into `out`, which has no NUL; cut at `room`. */
tern_str dkim_decode(tern_str s, char *out, size_t room);
/* A domain name of letters, digits, "-", "_" and dots, with `labels_min` labels. */
bool dkim_name_is_valid(tern_str name, unsigned labels_min);

/* ---- the signature field ---- */

enum dkim_algorithm { DKIM_RSA_SHA256, DKIM_ED25519_SHA256, DKIM_RSA_SHA1, DKIM_ALGORITHM_COUNT };
const char *dkim_algorithm_name(enum dkim_algorithm algorithm);

struct dkim_signature {
    enum dkim_algorithm algorithm;
    bool header_relaxed, body_relaxed;
    tern_str domain, selector; /* as written; A-labels if that was more than ASCII */
    tern_str identity;         /* i= as written, or empty */
    tern_str identity_domain;  /* that of i=, or d= */
    /* Where they are if they had to be decoded, or made A-labels. */
    char decoded[DKIM_NAME_OCTETS_MAX + 1], ascii_domain[DKIM_NAME_OCTETS_MAX + 1];
    char ascii_selector[DKIM_NAME_OCTETS_MAX + 1];
    tern_str headers;          /* h= as written */
    bool has_length;
    uint64_t length;       /* l= */
    int64_t time, expires; /* t=, x=; -1: not there */
    uint8_t body_hash[DKIM_HASH_OCTETS];
    uint8_t b[DKIM_B_OCTETS_MAX];
    unsigned b_octets;
    tern_str b_text, b_raw; /* b= as written; with all blanks around it, for dkim_hash_signature() */
};
/*
 * `value`: what stands behind the colon; `utf8`: of a message by SMTPUTF8, where d=, s= and i= may be more than ASCII
 * (RFC 8616 5). NULL, or what is wrong: then what was found so far is in *ret, empty otherwise, so that it can be told
 * whose signature it is. Dates are not compared with the clock. *ret points into itself: it is not to be copied.
 */
const char *dkim_signature_parse(tern_str value, bool utf8, struct dkim_signature *ret);

/* ---- the key record: RFC 6376 3.6.1, RFC 8463 ---- */

struct dkim_record {
    bool ed25519, sha256, testing, strict; /* k=, h= allows it, t=y, t=s */
    bool email;                            /* s= allows it */
    bool revoked;                          /* p= is empty */
    tern_str key;                          /* p= as written */
};
const char *dkim_record_parse(tern_str text, struct dkim_record *ret);

/* A public key, ready to verify. Counted; any thread. */
struct dkim_key;
const char *dkim_key_make(const struct dkim_record *record, struct dkim_key **ret);
/* Keys of records seen before: kept by the text of the record, so that none is ever stale. */
struct dkim_keys;
struct dkim_keys *dkim_keys_new(unsigned entries_max);
void dkim_keys_free(struct dkim_keys *keys);
/* NULL: it is not kept. Else counted for the caller, and what the record says in *ret, without its p=. */
struct dkim_key *dkim_keys_find(struct dkim_keys *keys, tern_str text, struct dkim_record *ret);
/* As dkim_key_make(), of the record that `text` is; the key is kept. */
const char *dkim_keys_make(struct dkim_keys *keys, tern_str text, const struct dkim_record *record,
                           struct dkim_key **ret);
void dkim_key_unref(struct dkim_key *key); /* NULL is allowed */
unsigned dkim_key_bits(const struct dkim_key *key);
bool dkim_key_is_ed25519(const struct dkim_key *key);

/* ---- what is signed: RFC 6376 3.4, 3.7, 5.4 ---- */

struct dkim_field {
    tern_str whole; /* as in the message, with the final CRLF if that is there */
    tern_str name;
    uint32_t hash; /* of the name in lower case */
};
/* How many array elements dkim_fields_cut() needs at most. */
size_t dkim_fields_count(tern_str header);
/* Cuts a header into fields, as the server does: what is none is passed over. -E2BIG: more than `max`. */
int dkim_fields_cut(tern_str header, struct dkim_field *fields, size_t max);
unsigned dkim_fields_named(const struct dkim_field *fields, size_t count, const char *name);

/* Where canonical octets go. */
typedef void (*dkim_sink)(void *arg, const char *octets, size_t count);

/* One field; without the final CRLF if `last`. */
void dkim_canon_field(tern_str whole, bool relaxed, bool last, dkim_sink sink, void *arg);
/* All that the names in `headers` (h=) select, from the bottom up. `used`: count zeroed octets for its notes. */
void dkim_canon_headers(const struct dkim_field *fields, size_t count, tern_str headers, bool relaxed,
                        uint8_t *used, dkim_sink sink, void *arg);
/* A signature field with the value of b= left out: `cut` is a part of `whole`. */
void dkim_canon_signature(tern_str whole, tern_str cut, bool relaxed, dkim_sink sink, void *arg);

#define DKIM_BODY_BUFFER_OCTETS 2048
struct dkim_body {
    bool relaxed;
    uint64_t limit; /* l=: octets that go to the sink; UINT64_MAX: all */
    uint64_t total; /* canonical octets there were */
    uint64_t line_ends;
    bool blank, cr;
    dkim_sink sink;
    void *arg;
    size_t buffered;
    char buffer[DKIM_BODY_BUFFER_OCTETS];
};
void dkim_body_init(struct dkim_body *body, bool relaxed, uint64_t limit, dkim_sink sink, void *arg);
/* In pieces of any size. */
void dkim_body_add(struct dkim_body *body, const char *octets, size_t count);
void dkim_body_end(struct dkim_body *body);

/* ---- SHA-256 and signatures ---- */

/* Fetches what OpenSSL has to be asked for once. 0, or -ENOSYS. Called again it does nothing. */
int dkim_crypto_init(void);
struct dkim_hash {
    EVP_MD_CTX *ctx;
};
int dkim_hash_init(struct dkim_hash *hash);
/* What was added to `hash` so far, to go on with on its own. */
int dkim_hash_copy(const struct dkim_hash *hash, struct dkim_hash *ret);
void dkim_hash_add(void *hash, const char *octets, size_t count); /* a dkim_sink */
void dkim_hash_end(struct dkim_hash *hash, uint8_t out[DKIM_HASH_OCTETS]); /* frees */
bool dkim_verify_hash(struct dkim_key *key, const uint8_t hash[DKIM_HASH_OCTETS], const uint8_t *b, size_t octets);

/* A private key. Wiped when freed. Counted; any thread. */
struct dkim_private;
/* Of PEM text (PKCS#8, PKCS#1 for RSA), or the 32 octets of an Ed25519 seed in base64. */
const char *dkim_private_parse(tern_str text, struct dkim_private **ret);
/* bits: of RSA; 0: Ed25519. */
const char *dkim_private_generate(unsigned bits, struct dkim_private **ret);
struct dkim_private *dkim_private_ref(struct dkim_private *key);
void dkim_private_unref(struct dkim_private *key); /* NULL is allowed */
enum dkim_algorithm dkim_private_algorithm(const struct dkim_private *key);
unsigned dkim_private_bits(const struct dkim_private *key);
/* Octets of the signature; negative: it could not be made. */
int dkim_sign_hash(const struct dkim_private *key, const uint8_t hash[DKIM_HASH_OCTETS],
                   uint8_t out[DKIM_B_OCTETS_MAX]);
/* p= in base64 with NUL, for the record; PEM with NUL, which the caller wipes. Negative if it does not fit. */
int dkim_private_public(const struct dkim_private *key, char *out, size_t octets);
int dkim_private_pem(const struct dkim_private *key, char *out, size_t octets);
int dkim_base64_encode(const uint8_t *octets, size_t count, char *out, size_t room);

#endif
