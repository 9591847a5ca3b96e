/* SPDX-License-Identifier: Apache-2.0 */
#include "protocol.h"

#include <sodium.h>
#include <string.h>

/* The next word, cut off in place; false at the end. */
static bool next(char **at, char *end, tern_str *ret)
{
    char *start = *at;

    if (start > end)
        return false;
    char *tab = memchr(start, '\t', (size_t)(end - start));
    char *stop = tab != NULL ? tab : end;
    *ret = (tern_str){ start, (size_t)(stop - start) };
    *at = stop + 1; /* behind `end` once the last word was given */
    return true;
}

static bool is(tern_str s, const char *word)
{
    return s.len == strlen(word) && memcmp(s.ptr, word, s.len) == 0;
}

static bool number(tern_str s, unsigned *ret)
{
    unsigned long n = 0;

    if (s.len == 0 || s.len > 10)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        n = n * 10 + (unsigned long)(s.ptr[i] - '0');
    }
    *ret = (unsigned)n;
    return n <= 0xffffffffu;
}

/* In place; false for an escape that is none. */
static bool unescape(tern_str *s)
{
    static const char from[] = "01trn", to[] = "\0\001\t\r\n";
    char *text = (char *)s->ptr;
    size_t n = 0;

    for (size_t i = 0; i < s->len; i++) {
        if (text[i] != '\001') {
            text[n++] = text[i];
            continue;
        }
        const char *p = ++i < s->len && text[i] != '\0' ? strchr(from, text[i]) : NULL;
        if (p == NULL)
            return false;
        text[n++] = to[p - from];
    }
    s->len = n;
    return true;
}

/* A name for logs and later steps: no controls, as auth_login() wants it. */
static bool is_name(tern_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < ' ' || s.ptr[i] == 0x7f)
            return false;
    return s.len > 0 && s.len <= DOVECOT_USER_OCTETS_MAX;
}

static bool begins(tern_str s, const char *prefix, tern_str *ret_rest)
{
    size_t len = strlen(prefix);

    if (s.len < len || memcmp(s.ptr, prefix, len) != 0)
        return false;
    *ret_rest = (tern_str){ s.ptr + len, s.len - len };
    return true;
}

static bool take_ok(char *at, char *end, struct dovecot_line *ret)
{
    tern_str word, rest;

    while (next(&at, end, &word)) {
        if (begins(word, "user=", &rest)) {
            ret->user = rest;
            if (!unescape(&ret->user) || !is_name(ret->user))
                return false;
        }
        ret->no_login |= is(word, "nologin");
    }
    return ret->user.len > 0;
}

static bool take_fail(char *at, char *end, struct dovecot_line *ret)
{
    tern_str word;

    while (next(&at, end, &word))
        ret->temporary |= is(word, "temp") || is(word, "code=temp_fail");
    return true;
}

/* Decoded over itself: base64 is longer than what it stands for. */
static bool take_cont(char *at, char *end, struct dovecot_line *ret)
{
    tern_str word = { at, 0 };
    size_t len = 0;

    (void)next(&at, end, &word); /* none: an empty challenge */
    uint8_t decoded[DOVECOT_CHALLENGE_OCTETS_MAX];
    if (sodium_base642bin(decoded, sizeof(decoded), word.ptr, word.len, NULL, &len, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        return false;
    memcpy((char *)word.ptr, decoded, len);
    ret->challenge = (tern_str){ word.ptr, len };
    return true;
}

int dovecot_parse(char *line, size_t octets, struct dovecot_line *ret)
{
    struct dovecot_line got = { .word = DOVECOT_OTHER };
    char *at = line, *end = line + octets;
    tern_str word, first = { "", 0 };
    bool ok = true;

    if (octets > DOVECOT_LINE_OCTETS_MAX || !next(&at, end, &word))
        return -EINVAL;
    if (word.len == 0 || word.len > 32)
        return -EINVAL;
    for (size_t i = 0; i < word.len; i++)
        if (word.ptr[i] < 'A' || word.ptr[i] > 'Z')
            return -EINVAL;
    got.word = is(word, "VERSION") ? DOVECOT_VERSION
               : is(word, "MECH")  ? DOVECOT_MECH
               : is(word, "DONE")  ? DOVECOT_DONE
               : is(word, "OK")    ? DOVECOT_OK
               : is(word, "CONT")  ? DOVECOT_CONT
               : is(word, "FAIL")  ? DOVECOT_FAIL
                                   : DOVECOT_OTHER;
    bool has_first = got.word != DOVECOT_OTHER && got.word != DOVECOT_DONE && next(&at, end, &first);
    if (got.word == DOVECOT_MECH)
        ok = has_first && first.len > 0;
    else if (got.word != DOVECOT_OTHER && got.word != DOVECOT_DONE)
        ok = has_first && number(first, &got.number);
    got.name = first;
    if (ok && got.word == DOVECOT_OK)
        ok = take_ok(at, end, &got);
    else if (ok && got.word == DOVECOT_FAIL)
        ok = take_fail(at, end, &got);
    else if (ok && got.word == DOVECOT_CONT)
        ok = take_cont(at, end, &got);
    if (!ok)
        return -EINVAL;
    *ret = got;
    return 0;
}
