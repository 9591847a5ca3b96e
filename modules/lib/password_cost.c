/* SPDX-License-Identifier: Apache-2.0 */
/*
 * password_cost.c - are crypt(3) and argon2 strings whole, and what would checking them cost?
 *
 * crypt(3) takes what stands there: `rounds=999999999` is ten minutes of a thread, argon2 with m=4194304
 * is four gigabytes. So the parameters are read here before they are used.
 */
#include <stdlib.h>
#include <string.h>

#include "password_private.h"

static const char *const itoa64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* The last field: exactly so many of crypt's base64. */
static bool ends_in_hash(const char *text, size_t octets)
{
    const char *hash = strrchr(text, '$');

    return hash != NULL && strlen(hash + 1) == octets && strspn(hash + 1, itoa64) == octets;
}

/* Decimal up to `end`, at most `most`; -1 if it is none. */
static long number(const char **at, long most)
{
    long n = 0;
    const char *p = *at;

    if (*p < '0' || *p > '9')
        return -1;
    for (; *p >= '0' && *p <= '9'; p++) {
        n = n * 10 + (*p - '0');
        if (n > most)
            return -1;
    }
    *at = p;
    return n;
}

static const char *sha_trouble(const char *text, size_t hash_octets)
{
    const char *p = text + 3;

    if (strncmp(p, "rounds=", 7) == 0) {
        p += 7;
        if (number(&p, PASSWORD_CRYPT_ROUNDS_MAX) < 0 || *p++ != '$')
            return "has more than 1000000 rounds";
    }
    const char *salt_end = strchr(p, '$');
    if (salt_end == NULL || salt_end != strrchr(p, '$') || strcspn(p, ":\n!*\\") < (size_t)(salt_end - p))
        return "is cut off, or of another scheme";
    return ends_in_hash(text, hash_octets) ? NULL : "is cut off, or of another scheme";
}

static const char *bcrypt_trouble(const char *text)
{
    const char *p = text + 4;
    long cost = number(&p, 99);

    if (strlen(text) != 60 || p != text + 6 || *p != '$' || strspn(p + 1, itoa64) != 53)
        return "is cut off, or of another scheme";
    return cost > PASSWORD_BCRYPT_COST_MAX ? "has a cost of more than 15" : NULL;
}

static int value64(char c)
{
    const char *p = c != '\0' ? strchr(itoa64, c) : NULL;

    return p != NULL ? (int)(p - itoa64) : -1;
}

/* $y$jNR$salt$hash with N and R of one character each: what crypt_gensalt(3) writes. */
static const char *yescrypt_trouble(const char *text)
{
    if (text[3] != 'j' || text[4] == '\0' || text[5] == '\0' || text[6] != '$')
        return "has parameters of yescrypt that are not known here";
    int n_log2 = value64(text[4]) + 1, r = value64(text[5]) + 1;
    if (n_log2 < 1 || r < 1 || n_log2 > 48 || r > 48)
        return "has parameters of yescrypt that are not known here";
    if (n_log2 > 24 || ((uint64_t)r << n_log2) / 8 > PASSWORD_MEMORY_KIB_MAX)
        return "needs more than 256 MB of memory";
    if (!ends_in_hash(text, 43) || strchr(text + 7, '$') != strrchr(text, '$'))
        return "is cut off, or of another scheme";
    return NULL;
}

const char *password_crypt_trouble(const char *text)
{
    if (strncmp(text, "$y$", 3) == 0)
        return yescrypt_trouble(text);
    if (strncmp(text, "$2y$", 4) == 0 || strncmp(text, "$2b$", 4) == 0 || strncmp(text, "$2a$", 4) == 0)
        return bcrypt_trouble(text);
    if (strncmp(text, "$6$", 3) == 0)
        return sha_trouble(text, 86);
    if (strncmp(text, "$5$", 3) == 0)
        return sha_trouble(text, 43);
    if (strncmp(text, "$1$", 3) == 0)
        return sha_trouble(text, 22);
    return text[0] == '$' ? "is of a scheme that is not known here"
                          : "is of the old DES crypt, which knows 8 letters: no longer taken";
}

static bool parameter(const char **at, const char *name, long most, long *ret)
{
    size_t len = strlen(name);

    if (strncmp(*at, name, len) != 0)
        return false;
    *at += len;
    *ret = number(at, most);
    return *ret > 0;
}

const char *password_argon2_trouble(const char *text)
{
    const char *p = text;
    long kib, passes, lanes;

    if (strncmp(p, "$argon2id$v=19$", 15) == 0)
        p += 15;
    else if (strncmp(p, "$argon2i$v=19$", 14) == 0)
        p += 14;
    else
        return "is no argon2id or argon2i of version 19";
    if (!parameter(&p, "m=", 1L << 40, &kib) || !parameter(&p, ",t=", 1L << 40, &passes) ||
        !parameter(&p, ",p=", 1L << 40, &lanes) || *p != '$')
        return "is cut off, or of another scheme";
    if (kib > (long)PASSWORD_MEMORY_KIB_MAX)
        return "needs more than 256 MB of memory";
    if (passes > PASSWORD_ARGON2_PASSES_MAX)
        return "needs more than 16 passes over its memory";
    if (lanes > PASSWORD_ARGON2_LANES_MAX)
        return "has more than 16 lanes";
    const char *salt_end = strchr(p + 1, '$');
    if (kib < 8 * lanes || salt_end == NULL || salt_end - p - 1 < 11 || strlen(salt_end + 1) < 22)
        return "is cut off, or of another scheme";
    return NULL;
}
