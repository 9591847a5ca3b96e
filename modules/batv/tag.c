/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tag.c - see tag.h.
 *
 * What is signed is the address in lower case: other hosts change the case of local parts, and mailboxes of ours do not
 * differ by it. Exim signs it as it is written, so that is tried as well.
 */
#include "tag.h"

#include <stdio.h>
#include <string.h>

#include "../lib/hmac.h"

#define HASH_OCTETS 3

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool batv_split(tern_str local, struct batv_tag *ret)
{
    static const char head[] = "prvs=";

    if (local.len <= BATV_TAG_OCTETS || local.ptr[BATV_TAG_OCTETS - 1] != '=')
        return false;
    for (unsigned i = 0; i < BATV_TAG_OCTETS - 1; i++) {
        char c = lower(local.ptr[i]);
        if (i < 5 ? c != head[i] : !is_digit(c) && (i < 9 || c < 'a' || c > 'f'))
            return false;
    }
    ret->day = (tern_str){ local.ptr + 5, 4 };
    ret->hash = (tern_str){ local.ptr + 9, 6 };
    ret->core = (tern_str){ local.ptr + BATV_TAG_OCTETS, local.len - BATV_TAG_OCTETS };
    return true;
}

static bool compose(const char *tag, tern_str local, tern_str domain, struct mailbox_text *ret)
{
    char text[MAILBOX_OCTETS_MAX];

    if (local.len > sizeof(text) - BATV_TAG_OCTETS)
        return false;
    memcpy(text, tag, BATV_TAG_OCTETS);
    memcpy(text + BATV_TAG_OCTETS, local.ptr, local.len);
    return mailbox_compose((tern_str){ text, BATV_TAG_OCTETS + local.len }, domain, ret);
}

bool batv_fits(tern_str local, tern_str domain)
{
    struct mailbox_text m;

    return compose("prvs=0000000000=", local, domain, &m) && m.local_len <= MAILBOX_LOCAL_OCTETS_MAX;
}

/* In hex, with a NUL. */
static bool make_hash(tern_str secret, tern_str day, tern_str address, char out[2 * HASH_OCTETS + 1])
{
    uint8_t digest[HMAC_SHA1_OCTETS];
    tern_str parts[] = { day, address };

    if (hmac_sha1(secret, parts, 2, digest) < 0)
        return false;
    for (unsigned i = 0; i < HASH_OCTETS; i++) {
        out[i * 2] = "0123456789abcdef"[digest[i] >> 4];
        out[i * 2 + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    out[2 * HASH_OCTETS] = '\0';
    return true;
}

static void fold(struct mailbox_text *m)
{
    for (size_t i = 0; i < m->len; i++)
        m->text[i] = lower(m->text[i]);
}

enum batv_outcome batv_make(const struct batv_keys *keys, tern_str local, tern_str domain, int64_t today,
                            struct mailbox_text *ret)
{
    char day[8], hash[2 * HASH_OCTETS + 1], tag[BATV_TAG_OCTETS + 8];
    unsigned expires = (unsigned)((today + keys->age_days) % BATV_DAYS);
    struct mailbox_text plain;

    (void)snprintf(day, sizeof(day), "%u%03u", keys->number % 10, expires);
    if (!mailbox_compose(local, domain, &plain))
        return BATV_FAILED;
    fold(&plain);
    if (!make_hash(keys->secrets[0], (tern_str){ day, 4 }, (tern_str){ plain.text, plain.len }, hash))
        return BATV_FAILED;
    (void)snprintf(tag, sizeof(tag), "prvs=%s%s=", day, hash);
    return compose(tag, local, domain, ret) ? BATV_OK : BATV_FAILED;
}

/* In the time of its length, whatever it holds. */
static bool is_hash(tern_str shown, const char *made)
{
    unsigned differ = 0;

    for (unsigned i = 0; i < 2 * HASH_OCTETS; i++)
        differ |= (unsigned)(lower(shown.ptr[i]) ^ made[i]);
    return differ == 0;
}

static enum batv_outcome check_hash(const struct batv_keys *keys, const struct batv_tag *tag,
                                    const struct mailbox_text *address)
{
    enum batv_outcome outcome = BATV_FORGED;
    char made[2 * HASH_OCTETS + 1];

    for (unsigned i = 0; i < keys->secret_count; i++) {
        if (!make_hash(keys->secrets[i], tag->day, (tern_str){ address->text, address->len }, made))
            return BATV_FAILED;
        if (is_hash(tag->hash, made))
            outcome = BATV_OK;
    }
    return outcome;
}

/* A host of ours whose clock is ahead may have made it tomorrow. */
static enum batv_outcome check_day(const struct batv_keys *keys, const struct batv_tag *tag, int64_t today)
{
    int64_t expires = (tag->day.ptr[1] - '0') * 100 + (tag->day.ptr[2] - '0') * 10 + (tag->day.ptr[3] - '0');
    int64_t left = (expires - today % BATV_DAYS + BATV_DAYS) % BATV_DAYS;

    return left <= keys->age_days + 1 ? BATV_OK : BATV_EXPIRED;
}

enum batv_outcome batv_check(const struct batv_keys *keys, const struct batv_tag *tag, tern_str domain, int64_t today)
{
    struct mailbox_text address;

    if (!mailbox_compose(tag->core, domain, &address))
        return BATV_FORGED;
    enum batv_outcome outcome = check_hash(keys, tag, &address);
    if (outcome == BATV_FORGED) {
        fold(&address);
        outcome = check_hash(keys, tag, &address);
    }
    return outcome == BATV_OK ? check_day(keys, tag, today) : outcome;
}
