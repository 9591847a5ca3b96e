/* SPDX-License-Identifier: Apache-2.0 */
#include <lib/template.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What stands at a place of the template. */
enum piece { LITERAL, PERCENT, WHOLE, LOCAL, DOMAIN_, WRONG };

/* The piece at `at`; *ret_len octets of the template are it. Any %{word} but two is the whole key. */
static enum piece piece_at(tern_str t, size_t at, size_t *ret_len, tern_str *ret_word)
{
    *ret_len = 1;
    if (t.ptr[at] != '%')
        return LITERAL;
    if (at + 1 < t.len && t.ptr[at + 1] == '%') {
        *ret_len = 2;
        return PERCENT;
    }
    const char *close = at + 1 < t.len && t.ptr[at + 1] == '{' ? memchr(t.ptr + at, '}', t.len - at) : NULL;
    if (close == NULL)
        return WRONG;
    *ret_word = (tern_str){ t.ptr + at + 2, (size_t)(close - t.ptr) - at - 2 };
    *ret_len = (size_t)(close - t.ptr) + 1 - at;
    if (ret_word->len == 5 && memcmp(ret_word->ptr, "local", 5) == 0)
        return LOCAL;
    if (ret_word->len == 6 && memcmp(ret_word->ptr, "domain", 6) == 0)
        return DOMAIN_;
    return WHOLE;
}

static bool is_word(tern_str s, const char *word)
{
    return s.len == strlen(word) && memcmp(s.ptr, word, s.len) == 0;
}

int template_check(tern_str t, const char *word, char *error, size_t octets)
{
    size_t places = 0, len;
    tern_str name = { "", 0 };

    for (size_t at = 0; at < t.len; at += len) {
        enum piece p = piece_at(t, at, &len, &name);
        if (t.ptr[at] == '\0' || p == WRONG || (p == WHOLE && !is_word(name, word))) {
            (void)snprintf(error, octets,
                           "at \"%.20s\": there are %%{%s}, %%{local}, %%{domain}, and %%%% for a percent sign",
                           t.ptr + at, word);
            return -EINVAL;
        }
        places += p == WHOLE || p == LOCAL || p == DOMAIN_;
    }
    if (places > 0)
        return 0;
    (void)snprintf(error, octets, "there is no %%{%s} in it", word);
    return -EINVAL;
}

static bool is_plain(enum template_kind kind, unsigned char c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    if (c == '@' || c == '.' || c == '-' || c == '_')
        return true;
    return kind == TEMPLATE_FILTER && (c == '+' || c == '=' || c == ' ' || c == '\'');
}

struct writing {
    char *out;
    size_t len;
};

static int put(struct writing *w, char c)
{
    if (w->len + 1 >= TEMPLATE_OCTETS_MAX)
        return -E2BIG;
    w->out[w->len++] = c;
    return 0;
}

static int put_escaped(struct writing *w, enum template_kind kind, tern_str value)
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        int r = 0;

        if (is_plain(kind, c))
            r = put(w, (char)c);
        else if (put(w, '\\') < 0 || put(w, hex[c >> 4]) < 0 || put(w, hex[c & 15]) < 0)
            r = -E2BIG;
        if (r < 0)
            return r;
    }
    return 0;
}

int template_fill(tern_str t, enum template_kind kind, tern_str key, char *out)
{
    const char *sign = key.len > 0 ? memrchr(key.ptr, '@', key.len) : NULL;
    tern_str local = sign != NULL ? (tern_str){ key.ptr, (size_t)(sign - key.ptr) } : key;
    tern_str domain = sign != NULL ? (tern_str){ sign + 1, key.len - local.len - 1 } : (tern_str){ "", 0 };
    struct writing w = { out, 0 };
    tern_str name;
    size_t len;

    for (size_t at = 0; at < t.len; at += len) {
        int r = 0;
        switch (piece_at(t, at, &len, &name)) {
        case LITERAL: r = put(&w, t.ptr[at]); break;
        case PERCENT: r = put(&w, '%'); break;
        case WHOLE: r = put_escaped(&w, kind, key); break;
        case LOCAL: r = put_escaped(&w, kind, local); break;
        case DOMAIN_: r = domain.len > 0 ? put_escaped(&w, kind, domain) : -ENOENT; break;
        case WRONG: r = -EINVAL; break;
        }
        if (r < 0)
            return r;
    }
    out[w.len] = '\0';
    return 0;
}
