/* SPDX-License-Identifier: Apache-2.0 */
#include "question.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* ---- what is asked ---- */

static void add(struct question *q, const char *text, size_t octets)
{
    if (octets > QUESTION_OCTETS_MAX - q->octets) {
        q->bad = true;
        return;
    }
    memcpy(q->text + q->octets, text, octets);
    q->octets += octets;
    q->text[q->octets] = '\0';
}

static void add_char(struct question *q, char c)
{
    add(q, &c, 1);
}

/* Octets of the UTF-8 sequence at p, 0: none. No surrogates, nothing overlong (RFC 3629). */
static size_t utf8_octets(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3
             : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;

    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

static void add_escaped(struct question *q, tern_str s)
{
    char hex[8];
    size_t n;

    add_char(q, '"');
    for (size_t i = 0; i < s.len; i += n) {
        unsigned char c = (unsigned char)s.ptr[i];
        n = utf8_octets((const unsigned char *)s.ptr + i, s.len - i);
        if (n == 0) {
            q->bad = true;
            return;
        }
        if (c == '"' || c == '\\')
            add_char(q, '\\');
        if (c < 0x20 || c == 0x7f) {
            (void)snprintf(hex, sizeof(hex), "\\u%04x", c);
            add(q, hex, 6);
        } else {
            add(q, s.ptr + i, n);
        }
    }
    add_char(q, '"');
}

void question_begin(struct question *q)
{
    q->octets = 0;
    q->bad = false;
    add_char(q, '{');
}

static void add_key(struct question *q, const char *key)
{
    if (q->octets > 1)
        add_char(q, ',');
    add_escaped(q, (tern_str){ key, strlen(key) });
    add_char(q, ':');
}

void question_text(struct question *q, const char *key, tern_str value)
{
    add_key(q, key);
    add_escaped(q, value);
}

void question_bool(struct question *q, const char *key, bool value)
{
    add_key(q, key);
    add(q, value ? "true" : "false", value ? 4 : 5);
}

void question_end(struct question *q)
{
    add_char(q, '}');
}

void question_form(struct question *q, const char *key, tern_str value)
{
    char hex[4];

    if (q->octets > 0)
        add_char(q, '&');
    add(q, key, strlen(key));
    add_char(q, '=');
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                     c == '.' || c == '_' || c == '~';
        (void)snprintf(hex, sizeof(hex), "%%%02X", c);
        add(q, plain ? value.ptr + i : hex, plain ? 1 : 3);
    }
}

void question_wipe(struct question *q)
{
    explicit_bzero(q, sizeof(*q));
}

/* ---- what is answered ---- */

/* The text of a member as a name: false if it is none. */
static bool copy_name(const json_t *value, char ret[QUESTION_LOGIN_OCTETS_MAX + 1])
{
    const char *s = json_string_value(value);
    size_t octets = json_string_length(value);

    if (s == NULL || octets == 0 || octets > QUESTION_LOGIN_OCTETS_MAX)
        return false;
    for (size_t i = 0; i < octets; i++)
        if ((unsigned char)s[i] < ' ' || s[i] == 0x7f)
            return false;
    memcpy(ret, s, octets + 1);
    return true;
}

static json_t *load_object(const char *body, size_t octets)
{
    json_error_t ignored;
    json_t *root = json_loadb(body, octets, JSON_REJECT_DUPLICATES, &ignored);

    if (root != NULL && !json_is_object(root)) {
        json_decref(root);
        root = NULL;
    }
    return root;
}

static bool is_blank(const char *body, size_t octets)
{
    return strspn(body, " \t\r\n") == octets;
}

bool answer_read(const char *body, size_t octets, char ret_login[QUESTION_LOGIN_OCTETS_MAX + 1])
{
    ret_login[0] = '\0';
    if (is_blank(body, octets))
        return true;
    json_t *root = load_object(body, octets);
    const json_t *user = root != NULL ? json_object_get(root, "user") : NULL;
    bool ok = root != NULL && (user == NULL || copy_name(user, ret_login));
    json_decref(root);
    return ok;
}

/* Whether `scope` is one of the words (RFC 6749 3.3). */
static bool has_scope(const char *words, const char *scope)
{
    size_t len = strlen(scope);

    for (const char *p = words; p != NULL && *p != '\0'; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        if (n == len && memcmp(p, scope, n) == 0)
            return true;
        p += n;
    }
    return false;
}

static enum token_answer read_token(const json_t *root, const char *claim, const char *scope, int64_t now_s,
                                    struct token *ret)
{
    const json_t *active = json_object_get(root, "active"), *exp = json_object_get(root, "exp");

    if (!json_is_boolean(active))
        return TOKEN_RUBBISH;
    if (json_is_false(active))
        return TOKEN_INACTIVE;
    if (exp != NULL && !json_is_integer(exp))
        return TOKEN_RUBBISH;
    ret->expires_s = exp != NULL ? json_integer_value(exp) : 0;
    if (exp != NULL && ret->expires_s <= now_s)
        return TOKEN_INACTIVE;
    if (scope[0] != '\0' && !has_scope(json_string_value(json_object_get(root, "scope")), scope))
        return TOKEN_INACTIVE;
    return copy_name(json_object_get(root, claim), ret->login) ? TOKEN_ACTIVE : TOKEN_RUBBISH;
}

enum token_answer token_read(const char *body, size_t octets, const char *claim, const char *scope, int64_t now_s,
                             struct token *ret)
{
    struct token got = { .expires_s = 0 };
    json_t *root = load_object(body, octets);
    enum token_answer answer = root != NULL ? read_token(root, claim, scope, now_s, &got) : TOKEN_RUBBISH;

    json_decref(root);
    if (answer == TOKEN_ACTIVE)
        *ret = got;
    return answer;
}
