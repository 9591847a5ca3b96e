/* SPDX-License-Identifier: Apache-2.0 */
/* password_parse.c - the text of an entry into its parts. No secret is copied into a message. */
#include <ctype.h>
#include <sodium.h>
#include <string.h>
#include <strings.h>

#include "password_private.h"

enum encoding { AS_IS, BASE64, HEX };

static const struct scheme {
    const char *name;
    enum password_kind kind;
    const char *digest;
    size_t key_octets;
    bool salted;
    enum encoding encoding;
} schemes[] = {
    { "ARGON2ID", PASSWORD_ARGON2, NULL, 0, false, AS_IS },
    { "ARGON2I", PASSWORD_ARGON2, NULL, 0, false, AS_IS },
    { "CRYPT", PASSWORD_CRYPT, NULL, 0, false, AS_IS },
    { "SHA512-CRYPT", PASSWORD_CRYPT, NULL, 0, false, AS_IS },
    { "SHA256-CRYPT", PASSWORD_CRYPT, NULL, 0, false, AS_IS },
    { "BLF-CRYPT", PASSWORD_CRYPT, NULL, 0, false, AS_IS },
    { "MD5-CRYPT", PASSWORD_CRYPT, NULL, 0, false, AS_IS },
    { "SCRAM-SHA-256", PASSWORD_SCRAM, "SHA256", 32, false, AS_IS },
    { "SCRAM-SHA-1", PASSWORD_SCRAM, "SHA1", 20, false, AS_IS },
    { "PLAIN", PASSWORD_CLEAR, NULL, 0, false, AS_IS },
    { "CLEAR", PASSWORD_CLEAR, NULL, 0, false, AS_IS },
    { "CLEARTEXT", PASSWORD_CLEAR, NULL, 0, false, AS_IS },
    { "SSHA", PASSWORD_DIGEST, "SHA1", 20, true, BASE64 },
    { "SSHA256", PASSWORD_DIGEST, "SHA256", 32, true, BASE64 },
    { "SSHA512", PASSWORD_DIGEST, "SHA512", 64, true, BASE64 },
    { "SMD5", PASSWORD_DIGEST, "MD5", 16, true, BASE64 },
    { "SHA", PASSWORD_DIGEST, "SHA1", 20, false, BASE64 },
    { "SHA1", PASSWORD_DIGEST, "SHA1", 20, false, BASE64 },
    { "SHA256", PASSWORD_DIGEST, "SHA256", 32, false, BASE64 },
    { "SHA512", PASSWORD_DIGEST, "SHA512", 64, false, BASE64 },
    { "LDAP-MD5", PASSWORD_DIGEST, "MD5", 16, false, BASE64 },
    { "PLAIN-MD5", PASSWORD_DIGEST, "MD5", 16, false, HEX },
    { "MD5", PASSWORD_DIGEST, "MD5", 16, false, BASE64 }, /* with $1$ it is MD5-CRYPT, as Dovecot has it */
};

bool password_base64(tern_str text, void *out, size_t octets, size_t *ret_len)
{
    static const int variants[] = { sodium_base64_VARIANT_ORIGINAL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING };

    for (unsigned i = 0; i < 2; i++)
        if (sodium_base642bin(out, octets, text.ptr, text.len, NULL, ret_len, NULL, variants[i]) == 0)
            return true;
    return false;
}

static bool decode(enum encoding how, tern_str text, void *out, size_t octets, size_t *ret_len)
{
    if (how == BASE64)
        return password_base64(text, out, octets, ret_len);
    if (how == HEX)
        return text.len % 2 == 0 &&
               sodium_hex2bin(out, octets, text.ptr, text.len, NULL, ret_len, NULL) == 0;
    if (text.len > octets)
        return false;
    memcpy(out, text.ptr, text.len);
    *ret_len = text.len;
    return true;
}

static bool is_hex(tern_str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!isxdigit((unsigned char)text.ptr[i]))
            return false;
    return true;
}

/* Text that a function of C reads to its NUL: there is none inside. */
static bool take_text(enum encoding how, tern_str text, struct password_stored *ret)
{
    if (!decode(how, text, ret->text, PASSWORD_STORED_OCTETS_MAX, &ret->text_octets))
        return false;
    ret->text[ret->text_octets] = '\0';
    return memchr(ret->text, '\0', ret->text_octets) == NULL;
}

static const char *take_digest(const struct scheme *s, enum encoding how, tern_str text, struct password_stored *ret)
{
    uint8_t both[PASSWORD_KEY_OCTETS_MAX + PASSWORD_SALT_OCTETS_MAX];
    size_t len = 0;

    if (how == BASE64 && !s->salted && text.len == s->key_octets * 2 && is_hex(text))
        how = HEX;
    if (!decode(how, text, both, sizeof(both), &len))
        return "is no base64 or hex of a digest";
    if (len < s->key_octets || (!s->salted && len != s->key_octets))
        return "is cut off, or of another scheme";
    if (s->salted && len == s->key_octets)
        return "has no salt";
    memcpy(ret->key, both, s->key_octets);
    ret->salt_octets = len - s->key_octets;
    if (ret->salt_octets > PASSWORD_SALT_OCTETS_MAX)
        return "has a salt of more than 64 octets";
    memcpy(ret->salt, both + s->key_octets, ret->salt_octets);
    return NULL;
}

static const char *take(const struct scheme *s, enum encoding how, tern_str text, struct password_stored *ret)
{
    const char *why = NULL;

    ret->kind = s->kind;
    ret->digest = s->digest;
    ret->key_octets = s->key_octets;
    if (s->kind == PASSWORD_DIGEST)
        return take_digest(s, how, text, ret);
    if (!take_text(how, text, ret))
        return how == AS_IS ? "has a NUL in it, or is too long" : "is no base64 or hex";
    if (s->kind == PASSWORD_CLEAR)
        return ret->text_octets == 0 ? "is empty" : ret->text_octets > PASSWORD_OCTETS_MAX ? "is too long" : NULL;
    if (s->kind == PASSWORD_CRYPT)
        return password_crypt_trouble(ret->text);
    if (s->kind == PASSWORD_ARGON2)
        return password_argon2_trouble(ret->text);
    tern_str inner = { ret->text, ret->text_octets };
    if (password_scram_parse(inner, ret, &why) < 0)
        return why;
    sodium_memzero(ret->text, sizeof(ret->text));
    ret->text_octets = 0;
    return NULL;
}

static const struct scheme *find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
        if (strlen(schemes[i].name) == len && strncasecmp(schemes[i].name, name, len) == 0)
            return &schemes[i];
    return NULL;
}

/* {SCHEME}, {SCHEME.b64}, {SCHEME.hex} */
static const char *take_prefixed(tern_str entry, struct password_stored *ret)
{
    const char *end = memchr(entry.ptr, '}', entry.len);
    const char *why = "has a { without }";

    if (end == NULL)
        return why;
    const char *name = entry.ptr + 1;
    const char *dot = memchr(name, '.', (size_t)(end - name));
    tern_str suffix = { dot != NULL ? dot + 1 : end, dot != NULL ? (size_t)(end - dot) - 1 : 0 };
    const struct scheme *s = find(name, (size_t)((dot != NULL ? dot : end) - name));
    tern_str text = { end + 1, entry.len - (size_t)(end + 1 - entry.ptr) };

    if (s == NULL)
        return "is of a scheme that is not known here";
    enum encoding how = s->encoding;
    if (suffix.len == 3 && strncasecmp(suffix.ptr, "b64", 3) == 0)
        how = BASE64;
    else if (suffix.len == 6 && strncasecmp(suffix.ptr, "base64", 6) == 0)
        how = BASE64;
    else if (suffix.len == 3 && strncasecmp(suffix.ptr, "hex", 3) == 0)
        how = HEX;
    else if (dot != NULL)
        return "has an encoding that is none of .b64, .base64, .hex";
    if (strcmp(s->name, "MD5") == 0 && text.len > 3 && strncmp(text.ptr, "$1$", 3) == 0)
        return take(find("MD5-CRYPT", 9), AS_IS, text, ret);
    return take(s, how, text, ret);
}

static bool begins(tern_str s, const char *prefix)
{
    size_t len = strlen(prefix);

    return s.len >= len && strncasecmp(s.ptr, prefix, len) == 0;
}

static const char *take_entry(tern_str entry, struct password_stored *ret)
{
    static const char *const scram[] = { "SCRAM-SHA-256", "SCRAM-SHA-1" };

    if (entry.len > PASSWORD_STORED_OCTETS_MAX)
        return "is longer than 1024 octets";
    if (entry.len == 0 || entry.ptr[0] == '!' || entry.ptr[0] == '*') {
        ret->kind = PASSWORD_LOCKED;
        return NULL;
    }
    if (entry.ptr[0] == '{')
        return take_prefixed(entry, ret);
    for (unsigned i = 0; i < 2; i++) {
        size_t len = strlen(scram[i]);
        if (begins(entry, scram[i]) && entry.len > len && entry.ptr[len] == '$')
            return take(find(scram[i], len), AS_IS, (tern_str){ entry.ptr + len + 1, entry.len - len - 1 }, ret);
    }
    if (begins(entry, "$argon2"))
        return take(find("ARGON2ID", 8), AS_IS, entry, ret);
    if (entry.ptr[0] == '$')
        return take(find("CRYPT", 5), AS_IS, entry, ret);
    return "names no scheme: write {PLAIN} in front of a password in clear";
}

int password_parse(tern_str entry, struct password_stored *ret, const char **ret_why)
{
    struct password_stored got = { .kind = PASSWORD_LOCKED };
    const char *why = take_entry(entry, &got);

    if (why == NULL)
        *ret = got;
    else
        *ret_why = why;
    password_wipe(&got);
    return why == NULL ? 0 : -EINVAL;
}

void password_wipe(struct password_stored *stored)
{
    sodium_memzero(stored, sizeof(*stored));
}
