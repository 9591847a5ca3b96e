/* SPDX-License-Identifier: Apache-2.0 */
/* password.c - does a password fit an entry? And what it costs when there is no entry. */
#include "password.h"

#include <crypt.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "password_private.h"

/* Of nobody's password, at the cost of password_make()'s argon2id. */
#define DECOY_ENTRY \
    "$argon2id$v=19$m=65536,t=2,p=1$dGVybiBkZWNveSBzYWx0IQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

int password_init(void)
{
    return sodium_init() < 0 ? -EIO : 0;
}

static enum password_answer equal(const void *a, const void *b, size_t octets)
{
    return sodium_memcmp(a, b, octets) == 0 ? PASSWORD_RIGHT : PASSWORD_WRONG;
}

/* Both are hashed first, so that neither length nor contents show in the time. */
static enum password_answer fits_clear(const struct password_stored *s, tern_str password)
{
    uint8_t key[crypto_generichash_KEYBYTES], a[32], b[32];

    randombytes_buf(key, sizeof(key));
    (void)crypto_generichash(a, sizeof(a), (const uint8_t *)s->text, s->text_octets, key, sizeof(key));
    (void)crypto_generichash(b, sizeof(b), (const uint8_t *)password.ptr, password.len, key, sizeof(key));
    enum password_answer answer = equal(a, b, sizeof(a));
    sodium_memzero(key, sizeof(key));
    return answer;
}

static enum password_answer fits_crypt(const struct password_stored *s, tern_str password)
{
    struct crypt_data *data = calloc(1, sizeof(*data)); /* 32 KB: not on a stack */
    enum password_answer answer = PASSWORD_FAILED;
    char text[PASSWORD_OCTETS_MAX + 1];

    if (data == NULL)
        return PASSWORD_FAILED;
    memcpy(text, password.ptr, password.len);
    text[password.len] = '\0';
    const char *hash = crypt_r(text, s->text, data);
    if (hash != NULL && hash[0] != '*')
        answer = strlen(hash) == s->text_octets ? equal(hash, s->text, s->text_octets) : PASSWORD_WRONG;
    sodium_memzero(text, sizeof(text));
    sodium_memzero(data, sizeof(*data));
    free(data);
    return answer;
}

static enum password_answer fits_argon2(const struct password_stored *s, tern_str password)
{
    errno = 0;
    if (crypto_pwhash_str_verify(s->text, password.ptr, password.len) == 0)
        return PASSWORD_RIGHT;
    return errno == EINVAL ? PASSWORD_WRONG : PASSWORD_FAILED; /* EINVAL: libsodium's word for a mismatch */
}

static enum password_answer fits_digest(const struct password_stored *s, tern_str password)
{
    uint8_t both[PASSWORD_OCTETS_MAX + PASSWORD_SALT_OCTETS_MAX], got[EVP_MAX_MD_SIZE];
    const EVP_MD *md = EVP_get_digestbyname(s->digest);
    unsigned len = 0;

    memcpy(both, password.ptr, password.len);
    memcpy(both + password.len, s->salt, s->salt_octets);
    bool ok = md != NULL && EVP_Digest(both, password.len + s->salt_octets, got, &len, md, NULL) == 1 &&
              len == s->key_octets;
    sodium_memzero(both, sizeof(both));
    return ok ? equal(got, s->key, s->key_octets) : PASSWORD_FAILED;
}

static enum password_answer fits_scram(const struct password_stored *s, tern_str password)
{
    uint8_t stored[PASSWORD_KEY_OCTETS_MAX], server[PASSWORD_KEY_OCTETS_MAX];

    if (!password_scram_keys(s, password, stored, server))
        return PASSWORD_FAILED;
    enum password_answer answer = equal(stored, s->key, s->key_octets);
    sodium_memzero(stored, sizeof(stored));
    sodium_memzero(server, sizeof(server));
    return answer;
}

enum password_answer password_fits(const struct password_stored *stored, tern_str password)
{
    /* A NUL would end it for crypt(3) but not for others: "secret\0x" is not "secret". */
    if (password.len == 0 || password.len > PASSWORD_OCTETS_MAX || memchr(password.ptr, '\0', password.len) != NULL)
        return PASSWORD_WRONG;
    switch (stored->kind) {
    case PASSWORD_LOCKED: return PASSWORD_WRONG;
    case PASSWORD_CLEAR: return fits_clear(stored, password);
    case PASSWORD_CRYPT: return fits_crypt(stored, password);
    case PASSWORD_ARGON2: return fits_argon2(stored, password);
    case PASSWORD_DIGEST: return fits_digest(stored, password);
    case PASSWORD_SCRAM: return fits_scram(stored, password);
    }
    return PASSWORD_FAILED;
}

enum password_answer password_verify(tern_str entry, tern_str password, const char **ret_why)
{
    struct password_stored stored;

    if (password_parse(entry, &stored, ret_why) < 0)
        return PASSWORD_FAILED;
    enum password_answer answer = password_fits(&stored, password);
    password_wipe(&stored);
    if (answer == PASSWORD_FAILED)
        *ret_why = "cannot be checked now: no memory";
    return answer;
}

/* ---- decoys ---- */

/* Who finds it busy does without: a decoy is a likeness, not a record. */
static bool enter(struct password_decoy *decoy)
{
    unsigned idle = 0;

    return atomic_compare_exchange_strong(&decoy->busy, &idle, 1);
}

static size_t cut_segments(tern_str entry, unsigned count)
{
    size_t len = entry.len;

    for (unsigned i = 0; i < count; i++) {
        while (len > 0 && entry.ptr[len - 1] != '$')
            len--;
        len -= len > 0;
    }
    return len;
}

/* Scheme and costs, without salt and hash: what decides how long a check takes. */
static tern_str shape_of(tern_str entry)
{
    const char *brace = memchr(entry.ptr, '}', entry.len);
    size_t scheme = entry.ptr[0] == '{' && brace != NULL ? (size_t)(brace + 1 - entry.ptr) : 0;
    tern_str rest = { entry.ptr + scheme, entry.len - scheme };
    const char *comma = memchr(rest.ptr, ',', rest.len);

    if (rest.len > 0 && rest.ptr[0] == '$') /* bcrypt has salt and hash in one */
        return (tern_str){ entry.ptr, scheme + cut_segments(rest, rest.len > 1 && rest.ptr[1] == '2' ? 1 : 2) };
    if (strncmp(entry.ptr, "{SCRAM-", 7) == 0 && comma != NULL)
        return (tern_str){ entry.ptr, (size_t)(comma - entry.ptr) };
    return (tern_str){ entry.ptr, scheme };
}

static bool is_alike(const struct password_decoy *decoy, tern_str entry)
{
    tern_str mine = shape_of((tern_str){ decoy->entry, decoy->octets }), its = shape_of(entry);

    return mine.len == its.len && memcmp(mine.ptr, its.ptr, its.len) == 0;
}

/* Boyer and Moore's vote: who is in the majority stays, in whatever order they come. */
void password_decoy_learn(struct password_decoy *decoy, tern_str entry)
{
    if (entry.len == 0 || entry.len > PASSWORD_STORED_OCTETS_MAX || !enter(decoy))
        return;
    if (decoy->votes > 0 && is_alike(decoy, entry)) {
        decoy->votes += decoy->votes < PASSWORD_DECOY_VOTES_MAX;
    } else if (decoy->votes > 0) {
        decoy->votes--;
    } else {
        memcpy(decoy->entry, entry.ptr, entry.len);
        decoy->entry[entry.len] = '\0';
        decoy->octets = entry.len;
        decoy->votes = 1;
    }
    atomic_store(&decoy->busy, 0);
}

void password_decoy_spend(struct password_decoy *decoy, tern_str password)
{
    char entry[PASSWORD_STORED_OCTETS_MAX + 1] = DECOY_ENTRY;
    tern_str use = { entry, sizeof(DECOY_ENTRY) - 1 };
    const char *why = NULL;

    if (decoy != NULL && enter(decoy)) {
        if (decoy->octets > 0) {
            memcpy(entry, decoy->entry, decoy->octets);
            use.len = decoy->octets;
        }
        atomic_store(&decoy->busy, 0);
    }
    (void)password_verify(use, password, &why); /* whatever it says: nobody has this entry */
    sodium_memzero(entry, sizeof(entry));
}
