/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.c - DMARC policy records. See check.h. Source: RFC 9989 4.7, 4.8, 4.10.1.
 *
 * A tag that stands there twice has no value: RFC 6376 3.2 calls the whole list invalid, and what is invalid behind
 * the version is as if it was not there (4.8).
 */
#include "check.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool dmarc_equal_nocase(tern_str a, tern_str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return false;
    return true;
}

const char *dmarc_policy_name(enum dmarc_policy policy)
{
    return policy == DMARC_REJECT ? "reject" : policy == DMARC_QUARANTINE ? "quarantine" : "none";
}

static tern_str trim(tern_str s)
{
    while (s.len > 0 && is_blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* Up to the separator; *rest goes behind it, and is NULL behind the last. */
static tern_str cut(tern_str *rest, char separator)
{
    const char *end = rest->len > 0 ? memchr(rest->ptr, separator, rest->len) : NULL;
    tern_str head = { rest->ptr, end != NULL ? (size_t)(end - rest->ptr) : rest->len };

    *rest = end != NULL ? dmarc_str(end + 1, rest->len - head.len - 1) : dmarc_str(NULL, 0);
    return head;
}

/* One "name = value"; false: it is none. */
static bool split(tern_str spec, tern_str *ret_name, tern_str *ret_value)
{
    const char *equals = spec.len > 0 ? memchr(spec.ptr, '=', spec.len) : NULL;

    if (equals == NULL)
        return false;
    *ret_name = trim(dmarc_str(spec.ptr, (size_t)(equals - spec.ptr)));
    *ret_value = trim(dmarc_str(equals + 1, spec.len - (size_t)(equals + 1 - spec.ptr)));
    return true;
}

bool dmarc_is_record(tern_str text)
{
    tern_str rest = text, name, value;

    return text.len > 0 && split(cut(&rest, ';'), &name, &value) && dmarc_equal_nocase(name, TERN_STR("v")) &&
           value.len == 6 && memcmp(value.ptr, "DMARC1", 6) == 0;
}

/* ---- values ---- */

static enum dmarc_policy read_policy(tern_str value)
{
    for (enum dmarc_policy p = DMARC_NONE; p <= DMARC_REJECT; p++)
        if (dmarc_equal_nocase(value, dmarc_str(dmarc_policy_name(p), strlen(dmarc_policy_name(p)))))
            return p;
    return DMARC_UNSET;
}

static unsigned read_percent(tern_str value)
{
    unsigned n = 0;

    if (value.len == 0 || value.len > 3)
        return 100;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return 100;
        n = 10 * n + (unsigned)(value.ptr[i] - '0');
    }
    return n <= 100 ? n : 100;
}

static char read_letter(tern_str value, const char *letters, char other)
{
    char c = value.len == 1 ? lower(value.ptr[0]) : '\0';

    return c != '\0' && strchr(letters, c) != NULL ? c : other;
}

/* ---- URIs ---- */

static bool is_scheme(tern_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = lower(s.ptr[i]);
        bool letter = c >= 'a' && c <= 'z';
        if (!letter && (i == 0 || ((c < '0' || c > '9') && strchr("+-.", c) == NULL)))
            return false;
    }
    return s.len > 0;
}

/* "!" and a number, perhaps with a unit: obsolete, and to be ignored (4.8). */
static bool cut_size(tern_str *uri)
{
    const char *mark = memchr(uri->ptr, '!', uri->len);

    if (mark == NULL)
        return true;
    tern_str size = { mark + 1, uri->len - (size_t)(mark + 1 - uri->ptr) };
    uri->len = (size_t)(mark - uri->ptr);
    if (size.len > 1 && strchr("kmgt", lower(size.ptr[size.len - 1])) != NULL)
        size.len--;
    for (size_t i = 0; i < size.len; i++)
        if (size.ptr[i] < '0' || size.ptr[i] > '9')
            return false;
    return size.len > 0;
}

static bool is_uri(tern_str *uri)
{
    const char *colon;

    if (uri->len == 0 || !cut_size(uri) || uri->len == 0 || (colon = memchr(uri->ptr, ':', uri->len)) == NULL)
        return false;
    tern_str scheme = { uri->ptr, (size_t)(colon - uri->ptr) };
    tern_str rest = { colon + 1, uri->len - scheme.len - 1 };
    for (size_t i = 0; i < uri->len; i++)
        if (uri->ptr[i] <= ' ' || uri->ptr[i] > '~' || strchr("<>\"\\^`{|}", uri->ptr[i]) != NULL)
            return false;
    if (!is_scheme(scheme) || rest.len == 0)
        return false;
    if (!dmarc_equal_nocase(scheme, TERN_STR("mailto")))
        return true;
    const char *at = memchr(rest.ptr, '@', rest.len);
    return at != NULL && at > rest.ptr && at + 1 < rest.ptr + rest.len;
}

bool dmarc_uri_next(tern_str *rest, tern_str *ret)
{
    while (rest->ptr != NULL) {
        tern_str uri = trim(cut(rest, ','));
        if (is_uri(&uri)) {
            *ret = uri;
            return true;
        }
    }
    return false;
}

/* ---- the record ---- */

enum tag { TAG_P, TAG_SP, TAG_NP, TAG_ADKIM, TAG_ASPF, TAG_PSD, TAG_T, TAG_RUA, TAG_RUF, TAG_FO, TAG_PCT, TAG_COUNT };

/* The known tags, each once. */
struct tags {
    tern_str values[TAG_COUNT];
    unsigned seen, twice; /* bits */
};

static enum tag tag_of(tern_str name)
{
    static const char *const names[TAG_COUNT] = { "p", "sp", "np", "adkim", "aspf", "psd", "t", "rua", "ruf", "fo",
                                                  "pct" };
    enum tag tag = 0;

    while (tag < TAG_COUNT && !dmarc_equal_nocase(name, dmarc_str(names[tag], strlen(names[tag]))))
        tag++;
    return tag;
}

static const char *read_tags(tern_str text, struct tags *tags)
{
    tern_str rest = text, name, value;

    for (unsigned count = 0; rest.ptr != NULL; count++) {
        tern_str spec = cut(&rest, ';');
        if (count == DMARC_TAGS_MAX)
            return "it has too many tags";
        if (!split(spec, &name, &value))
            continue;
        enum tag tag = tag_of(name);
        if (tag == TAG_COUNT)
            continue;
        tags->twice |= tags->seen & (1u << tag);
        tags->seen |= 1u << tag;
        tags->values[tag] = value;
    }
    for (enum tag tag = 0; tag < TAG_COUNT; tag++)
        if ((tags->twice & (1u << tag)) != 0)
            tags->values[tag] = dmarc_str("", 0);
    return NULL;
}

static bool has(const struct tags *tags, enum tag tag)
{
    return (tags->seen & (1u << tag)) != 0;
}

static const char *policy_trouble(const struct tags *tags, const struct dmarc_record *r)
{
    if (!has(tags, TAG_P))
        return "it has no p=";
    if (r->p == DMARC_UNSET)
        return "its p= is malformed";
    if (has(tags, TAG_SP) && r->sp == DMARC_UNSET)
        return "its sp= is malformed";
    return has(tags, TAG_NP) && r->np == DMARC_UNSET ? "its np= is malformed" : NULL;
}

/* 4.10.1: who wants reports and has no valid policy is taken for one with p=none. */
static void settle_policy(const struct tags *tags, struct dmarc_record *r)
{
    tern_str rest = r->rua, uri;
    const char *trouble = policy_trouble(tags, r);

    if (trouble == NULL)
        return;
    r->sp = r->np = DMARC_UNSET;
    r->p = DMARC_NONE;
    if (!dmarc_uri_next(&rest, &uri))
        r->wrong = trouble;
}

void dmarc_record_parse(tern_str text, struct dmarc_record *ret)
{
    struct tags tags = { .seen = 0 };

    *ret = (struct dmarc_record){ .psd = 'u', .pct = 100, .p = DMARC_NONE };
    if (text.len > DMARC_RECORD_OCTETS_MAX)
        ret->wrong = "it is too long";
    else
        ret->wrong = read_tags(text, &tags);
    if (ret->wrong != NULL)
        return;
    ret->p = read_policy(tags.values[TAG_P]);
    ret->sp = read_policy(tags.values[TAG_SP]);
    ret->np = read_policy(tags.values[TAG_NP]);
    ret->dkim_strict = read_letter(tags.values[TAG_ADKIM], "rs", 'r') == 's';
    ret->spf_strict = read_letter(tags.values[TAG_ASPF], "rs", 'r') == 's';
    ret->psd = read_letter(tags.values[TAG_PSD], "ynu", 'u');
    ret->testing = read_letter(tags.values[TAG_T], "yn", 'n') == 'y';
    ret->pct = read_percent(tags.values[TAG_PCT]);
    ret->rua = tags.values[TAG_RUA];
    ret->ruf = tags.values[TAG_RUF];
    ret->fo = tags.values[TAG_FO];
    settle_policy(&tags, ret);
}
