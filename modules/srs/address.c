/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.c - see address.h.
 *
 * Other hosts change the case of local parts, and a slash in one offends some of them: the alphabet is that of URLs
 * (- and _), as postsrsd 2 has it, unless the operator shares secrets with an older one. When hashes are compared both
 * are the same, and case does not count. Of four characters some 20 bits remain, which is why a shorter hash is never
 * taken.
 */
#include "address.h"

#include <string.h>

#include "../lib/hmac.h"

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

static char url_safe(char c)
{
    return c == '+' ? '-' : c == '/' ? '_' : c;
}

static bool is_separator(char c)
{
    return c == '=' || c == '-' || c == '+';
}

/* '0' or '1'; '\0': it is none. */
static char kind_of(tern_str local)
{
    if (local.len < 5 || lower(local.ptr[0]) != 's' || lower(local.ptr[1]) != 'r' || lower(local.ptr[2]) != 's' ||
        (local.ptr[3] != '0' && local.ptr[3] != '1') || !is_separator(local.ptr[4]))
        return '\0';
    return local.ptr[3];
}

bool srs_is_srs(tern_str local)
{
    return kind_of(local) != '\0';
}

static tern_str from(tern_str s, size_t at)
{
    return (tern_str){ s.ptr + at, s.len - at };
}

/* Up to the next '='; false: there is none, or nothing before or behind it. */
static bool cut(tern_str *rest, tern_str *ret)
{
    const char *at = memchr(rest->ptr, '=', rest->len);

    if (at == NULL || at == rest->ptr || at + 1 == rest->ptr + rest->len)
        return false;
    *ret = (tern_str){ rest->ptr, (size_t)(at - rest->ptr) };
    *rest = from(*rest, ret->len + 1);
    return true;
}

static bool put(struct srs_text *t, tern_str s)
{
    if (s.len >= sizeof(t->text) - t->len)
        return false;
    memcpy(t->text + t->len, s.ptr, s.len);
    t->len += s.len;
    t->text[t->len] = '\0';
    return true;
}

static bool put_char(struct srs_text *t, char c)
{
    return put(t, (tern_str){ &c, 1 });
}

/* ---- hashes ---- */

static bool add_lower(struct srs_text *t, tern_str s)
{
    size_t begin = t->len;

    if (!put(t, s))
        return false;
    for (size_t i = begin; i < t->len; i++)
        t->text[i] = lower(t->text[i]);
    return true;
}

static enum srs_outcome make_hash(tern_str secret, const tern_str *parts, unsigned count, char *out, unsigned length)
{
    struct srs_text text = { .len = 0 };
    uint8_t digest[HMAC_SHA1_OCTETS];
    tern_str all;

    for (unsigned i = 0; i < count; i++)
        if (!add_lower(&text, parts[i]))
            return SRS_TOO_LONG;
    all = (tern_str){ text.text, text.len };
    if (hmac_sha1(secret, &all, 1, digest) < 0)
        return SRS_FAILED;
    for (unsigned i = 0; i < length; i++) { /* six bits each */
        unsigned bit = i * 6, octet = bit / 8;
        unsigned two = (unsigned)digest[octet] << 8 | digest[octet + 1];
        out[i] = base64[two >> (10 - bit % 8) & 63];
    }
    return SRS_OK;
}

static char same(char c)
{
    return lower(url_safe(c));
}

/* In the time of its length, whatever it holds. */
static bool is_hash(tern_str shown, const char *made, unsigned length)
{
    unsigned differ = 0;

    for (unsigned i = 0; i < length; i++)
        differ |= (unsigned)(same(shown.ptr[i]) ^ same(made[i]));
    return differ == 0;
}

/* A hash longer than ours is compared as far as ours goes: other hosts may have made it. */
static enum srs_outcome check_hash(const struct srs_keys *keys, tern_str shown, const tern_str *parts, unsigned count)
{
    unsigned length = shown.len < keys->hash_length ? (unsigned)shown.len : keys->hash_length;
    enum srs_outcome outcome = SRS_FORGED;
    char made[SRS_HASH_LENGTH_MAX];

    if (length < keys->hash_min)
        return SRS_FORGED;
    for (unsigned i = 0; i < keys->secret_count; i++) {
        enum srs_outcome r = make_hash(keys->secrets[i], parts, count, made, length);
        if (r != SRS_OK)
            return r;
        if (is_hash(shown, made, length))
            outcome = SRS_OK;
    }
    return outcome;
}

/* ---- days ---- */

static void make_stamp(int64_t day, char out[2])
{
    out[0] = base32[day >> 5 & 31];
    out[1] = base32[day & 31];
}

static int digit32(char c)
{
    const char *at = memchr(base32, upper(c), 32);

    return at != NULL ? (int)(at - base32) : -1;
}

/* A host of ours whose clock is ahead may have made it tomorrow. */
static enum srs_outcome check_stamp(const struct srs_keys *keys, tern_str stamp, int64_t day)
{
    int high = digit32(stamp.ptr[0]), low = digit32(stamp.ptr[1]);

    if (high < 0 || low < 0)
        return SRS_BROKEN;
    int64_t age = (day - (high << 5 | low)) & (SRS_DAYS - 1);
    return age <= keys->age_days || age == SRS_DAYS - 1 ? SRS_OK : SRS_EXPIRED;
}

/* ---- making ---- */

static enum srs_outcome compose(const struct srs_keys *keys, char kind, const tern_str *parts, unsigned count,
                                struct srs_text *t)
{
    char hash[SRS_HASH_LENGTH_MAX];
    enum srs_outcome r = make_hash(keys->secrets[0], parts, count, hash, keys->hash_length);
    bool fits = r == SRS_OK && put(t, TERN_STR("SRS")) && put_char(t, kind) && put_char(t, keys->separator);

    for (unsigned i = 0; i < keys->hash_length && fits; i++)
        fits = put_char(t, keys->plain ? hash[i] : url_safe(hash[i]));
    for (unsigned i = 0; i < count && fits; i++)
        fits = put_char(t, '=') && put(t, parts[i]);
    return r != SRS_OK || fits ? r : SRS_TOO_LONG;
}

/* Whether SRS1=hash=host=opaque has its parts. */
static bool split_guarded(tern_str local, tern_str *hash, tern_str parts[2])
{
    tern_str rest = from(local, 5);

    if (!cut(&rest, hash) || !cut(&rest, &parts[0]) || !is_separator(rest.ptr[0]))
        return false;
    parts[1] = rest;
    return true;
}

enum srs_outcome srs_encode(const struct srs_keys *keys, tern_str local, tern_str domain, int64_t day,
                            struct srs_text *ret)
{
    struct srs_text made = { .len = 0 };
    char stamp[2], kind = '1';
    tern_str parts[3], hash;
    unsigned count = 2;

    if (kind_of(local) == '0') {
        parts[0] = domain;
        parts[1] = from(local, 4);
    } else if (kind_of(local) != '1' || !split_guarded(local, &hash, parts)) {
        kind = '0';
        count = 3;
        make_stamp(day, stamp);
        parts[0] = (tern_str){ stamp, 2 };
        parts[1] = domain;
        parts[2] = local;
    }
    enum srs_outcome outcome = compose(keys, kind, parts, count, &made);
    if (outcome == SRS_OK)
        *ret = made;
    return outcome;
}

/* ---- reading ---- */

static enum srs_outcome decode_first(const struct srs_keys *keys, tern_str local, int64_t day, struct srs_mailbox *ret)
{
    tern_str rest = from(local, 5), hash, parts[3];
    struct srs_mailbox made = { .local.len = 0 };

    if (!cut(&rest, &hash) || !cut(&rest, &parts[0]) || parts[0].len != 2 || !cut(&rest, &parts[1]))
        return SRS_BROKEN;
    parts[2] = rest;
    enum srs_outcome outcome = check_hash(keys, hash, parts, 3);
    if (outcome == SRS_OK)
        outcome = check_stamp(keys, parts[0], day);
    if (outcome != SRS_OK)
        return outcome;
    if (!put(&made.local, parts[2]) || !put(&made.domain, parts[1]))
        return SRS_TOO_LONG;
    *ret = made;
    return SRS_OK;
}

/* It has no day: the host that made the first address looks at that one's. */
static enum srs_outcome decode_guarded(const struct srs_keys *keys, tern_str local, struct srs_mailbox *ret)
{
    struct srs_mailbox made = { .local.len = 0 };
    tern_str hash, parts[2];

    if (!split_guarded(local, &hash, parts))
        return SRS_BROKEN;
    enum srs_outcome outcome = check_hash(keys, hash, parts, 2);
    if (outcome != SRS_OK)
        return outcome;
    if (!put(&made.local, TERN_STR("SRS0")) || !put(&made.local, parts[1]) || !put(&made.domain, parts[0]))
        return SRS_TOO_LONG;
    *ret = made;
    return SRS_OK;
}

enum srs_outcome srs_decode(const struct srs_keys *keys, tern_str local, int64_t day, struct srs_mailbox *ret)
{
    switch (kind_of(local)) {
    case '0': return decode_first(keys, local, day, ret);
    case '1': return decode_guarded(keys, local, ret);
    default: return SRS_NONE;
    }
}
