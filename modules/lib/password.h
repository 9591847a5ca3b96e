/* SPDX-License-Identifier: Apache-2.0 */
/*
 * password.h - stored passwords: what an entry of a file, a row or a directory may say, and whether a
 * password fits it. Shared by the modules that check passwords, and by `tern passwd`.
 *
 * An entry is text, as Dovecot and crypt(3) write it:
 *
 *   $argon2id$... $argon2i$...  $y$... (yescrypt)  $2y$... $2b$... $2a$... (bcrypt)  $6$... $5$... $1$...
 *   {SCHEME}...  {SCHEME.b64}...  {SCHEME.hex}...      the name in any case
 *   SCRAM-SHA-256$iterations:salt$stored:server         as PostgreSQL and RFC 5803 write it
 *   empty, or a ! or * in front                         locked: nothing fits
 *
 * Without a scheme nothing is taken for a password in clear. Nothing here logs; nothing keeps a password.
 * All functions are for any thread once password_init() has returned.
 *
 * Sources: RFC 5802 and 7677 (SCRAM), RFC 9106 (argon2), crypt(5), Dovecot's page on password schemes.
 */
#ifndef MODULES_LIB_PASSWORD_H
#define MODULES_LIB_PASSWORD_H

#include <tern/module.h>

#define PASSWORD_OCTETS_MAX        511  /* crypt(3) takes no more; a longer one never fits */
#define PASSWORD_STORED_OCTETS_MAX 1024 /* of an entry */
#define PASSWORD_KEY_OCTETS_MAX    64   /* of a digest */
#define PASSWORD_SALT_OCTETS_MAX   64

/* What an entry may make us spend: who can write entries shall not be able to stop the server. */
#define PASSWORD_MEMORY_KIB_MAX    (256u << 10) /* argon2, yescrypt */
#define PASSWORD_ARGON2_PASSES_MAX 16
#define PASSWORD_ARGON2_LANES_MAX  16
#define PASSWORD_CRYPT_ROUNDS_MAX  1000000 /* $5$, $6$ */
#define PASSWORD_BCRYPT_COST_MAX   15
#define PASSWORD_ITERATIONS_MIN    4096 /* SCRAM; RFC 7677 4 */
#define PASSWORD_ITERATIONS_MAX    1000000

enum password_kind {
    PASSWORD_LOCKED,
    PASSWORD_CLEAR,
    PASSWORD_CRYPT,
    PASSWORD_ARGON2,
    PASSWORD_DIGEST,
    PASSWORD_SCRAM,
};

/* An entry, taken apart. Holds secrets: password_wipe() when done. */
struct password_stored {
    enum password_kind kind;
    const char *digest; /* DIGEST, SCRAM: "SHA256", as OpenSSL calls it */
    size_t key_octets;  /* of that digest */
    size_t text_octets;
    char text[PASSWORD_STORED_OCTETS_MAX + 1]; /* CLEAR, CRYPT, ARGON2: with a NUL behind it */
    size_t salt_octets;
    uint8_t salt[PASSWORD_SALT_OCTETS_MAX];
    unsigned iterations;                         /* SCRAM */
    uint8_t key[PASSWORD_KEY_OCTETS_MAX];        /* DIGEST: the digest; SCRAM: StoredKey */
    uint8_t server_key[PASSWORD_KEY_OCTETS_MAX]; /* SCRAM */
};

enum password_answer {
    PASSWORD_WRONG,
    PASSWORD_RIGHT,
    PASSWORD_FAILED, /* could not find out: no memory */
};

/* Once per process, before the rest: libsodium chooses its code. 0, or a negative errno. */
int password_init(void);

/*
 * Takes an entry apart. Pure. 0, or -EINVAL with a sentence in *ret_why, which never holds a part of
 * the entry: unknown scheme, damaged, or costlier than the bounds above.
 */
int password_parse(tern_str entry, struct password_stored *ret, const char **ret_why);
void password_wipe(struct password_stored *stored);

/* Compares in constant time; costs what the entry's scheme costs. May take 100 ms and much memory. */
enum password_answer password_fits(const struct password_stored *stored, tern_str password);
/* The same from the entry's text. An entry that cannot be read: FAILED, and *ret_why. */
enum password_answer password_verify(tern_str entry, tern_str password, const char **ret_why);

/*
 * For users that do not exist: spends what checking a password costs, so that the time of the answer
 * does not tell who exists. A decoy learns from entries that were found, and is one of the scheme (with its
 * costs) that most of them have, not that of the last one; before the first it is an argon2id of usual cost. Zeroed
 * memory is a decoy that has learned nothing.
 */
#define PASSWORD_DECOY_VOTES_MAX 64u /* so many entries of another scheme change its mind */
struct password_decoy {
    _Atomic unsigned busy;
    unsigned votes;
    size_t octets;
    char entry[PASSWORD_STORED_OCTETS_MAX + 1];
};
void password_decoy_learn(struct password_decoy *decoy, tern_str entry);
void password_decoy_spend(struct password_decoy *decoy, tern_str password);

/*
 * Makes an entry of one of password_schemes() (any case) in `out`. 0, or -EINVAL with a sentence in
 * *ret_why; `out` is untouched then.
 */
#define PASSWORD_SCHEME_DEFAULT "ARGON2ID"
const char *const *password_schemes(void); /* NULL-terminated, the default first */
int password_make(const char *scheme, tern_str password, char out[PASSWORD_STORED_OCTETS_MAX + 1],
                  const char **ret_why);

#endif
