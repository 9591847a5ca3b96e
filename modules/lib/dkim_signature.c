/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim_signature.c - the DKIM-Signature field. See dkim.h. Sources: RFC 6376 3.5, 6.1.1; RFC 8616 5.
 */
#include "dkim_signature.h"

#include <string.h>

#include "idn.h"

static bool equal(tern_str s, const char *word)
{
    return s.len == strlen(word) && memcmp(s.ptr, word, s.len) == 0;
}

const char *dkim_algorithm_name(enum dkim_algorithm algorithm)
{
    static const char *const names[] = { "rsa-sha256", "ed25519-sha256", "rsa-sha1" };

    return (unsigned)algorithm < DKIM_ALGORITHM_COUNT ? names[algorithm] : "unknown";
}

/* 1 to `digits_max` digits; what does not fit is as much as fits. */
static bool parse_number(tern_str s, size_t digits_max, uint64_t *ret)
{
    uint64_t n = 0;

    if (s.len == 0 || s.len > digits_max)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.ptr[i] - '0');
        n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : n * 10 + digit;
    }
    *ret = n;
    return true;
}

const char *dkim_signature_algorithm(const struct dkim_tags *tags, struct dkim_signature *ret)
{
    const struct dkim_tag *a = dkim_tags_find(tags, "a");

    ret->algorithm = DKIM_ALGORITHM_COUNT;
    for (unsigned i = 0; a != NULL && i < DKIM_ALGORITHM_COUNT; i++)
        if (dkim_equal_nocase(a->value, dkim_str(dkim_algorithm_name(i), strlen(dkim_algorithm_name(i)))))
            ret->algorithm = (enum dkim_algorithm)i;
    if (a == NULL)
        return "no a=";
    return ret->algorithm != DKIM_ALGORITHM_COUNT ? NULL : "a= is not known";
}

static bool parse_canon(tern_str s, bool *ret)
{
    *ret = dkim_equal_nocase(s, TERN_STR("relaxed"));
    return *ret || dkim_equal_nocase(s, TERN_STR("simple"));
}

const char *dkim_signature_canons(const struct dkim_tags *tags, struct dkim_signature *ret)
{
    const struct dkim_tag *c = dkim_tags_find(tags, "c");
    tern_str rest = c != NULL ? c->value : TERN_STR("simple"), item;

    ret->body_relaxed = false; /* RFC 6376 3.5: of the second, if there is but one */
    if (!dkim_list_next(&rest, '/', &item) || !parse_canon(item, &ret->header_relaxed))
        return "c= is not known";
    if (dkim_list_next(&rest, '/', &item) && !parse_canon(item, &ret->body_relaxed))
        return "c= is not known";
    return rest.ptr == NULL ? NULL : "c= is not known";
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* RFC 6376 2.11: "=2E" is an octet, blanks are none. What is too long is no name either way. */
tern_str dkim_decode(tern_str s, char *out, size_t room)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len && n < room; i++) {
        bool coded = s.ptr[i] == '=' && i + 2 < s.len && hex(s.ptr[i + 1]) >= 0 && hex(s.ptr[i + 2]) >= 0;
        if (s.ptr[i] == ' ' || s.ptr[i] == '\t' || s.ptr[i] == '\r' || s.ptr[i] == '\n')
            continue;
        out[n++] = coded ? (char)(hex(s.ptr[i + 1]) << 4 | hex(s.ptr[i + 2])) : s.ptr[i];
        i += coded ? 2 : 0;
    }
    return dkim_str(out, n);
}

/* RFC 8616 5: U-labels where the header may be UTF-8. DNS and all who compare names want A-labels. */
static bool take_name(tern_str name, bool utf8, char out[DKIM_NAME_OCTETS_MAX + 1], tern_str *ret)
{
    if (utf8 && !idn_is_ascii(name) && !idn_to_ascii(name, out, &name))
        return false;
    if (!dkim_name_is_valid(name, 1))
        return false;
    *ret = name;
    return true;
}

static bool is_within(tern_str name, tern_str domain)
{
    size_t above = name.len - domain.len;

    return name.len >= domain.len && dkim_equal_nocase(dkim_str(name.ptr + above, domain.len), domain) &&
           (above == 0 || name.ptr[above - 1] == '.');
}

/* Below d=, which is there. */
static const char *parse_identity(tern_str value, bool utf8, struct dkim_signature *ret)
{
    const char *at = value.len > 0 ? memrchr(value.ptr, '@', value.len) : NULL;

    if (at == NULL)
        return "i= has no domain";
    tern_str of = dkim_str(at + 1, value.len - (size_t)(at + 1 - value.ptr)), name;
    if (memchr(of.ptr, '=', of.len) != NULL)
        of = dkim_decode(of, ret->decoded, sizeof(ret->decoded));
    if (!take_name(of, utf8, ret->decoded, &name) || !is_within(name, ret->domain))
        return "i= is not below d=";
    ret->identity = value;
    ret->identity_domain = name;
    return NULL;
}

const char *dkim_signature_names(const struct dkim_tags *tags, bool utf8, struct dkim_signature *ret)
{
    const struct dkim_tag *d = dkim_tags_find(tags, "d"), *s = dkim_tags_find(tags, "s");

    if (d == NULL || !take_name(d->value, utf8, ret->ascii_domain, &ret->domain))
        return d == NULL ? "no d=" : "d= is no domain name";
    ret->identity_domain = ret->domain;
    if (s == NULL || !take_name(s->value, utf8, ret->ascii_selector, &ret->selector))
        return s == NULL ? "no s=" : "s= is no selector";
    return NULL;
}

static const char *parse_ascii(tern_str identity)
{
    for (size_t i = 0; i < identity.len; i++)
        if ((unsigned char)identity.ptr[i] > 126)
            return "i= is more than ASCII";
    return NULL;
}

const char *dkim_signature_headers(const struct dkim_tags *tags, struct dkim_signature *ret, bool *ret_from)
{
    const struct dkim_tag *h = dkim_tags_find(tags, "h");
    unsigned count = 0;
    bool from = false;

    if (h == NULL)
        return "no h=";
    tern_str rest = h->value, name;
    while (dkim_list_next(&rest, ':', &name)) {
        if (name.len == 0 || ++count > DKIM_SIGNED_NAMES_MAX)
            return name.len == 0 ? "h= has an empty name" : "h= has too many names";
        for (size_t i = 0; i < name.len; i++)
            if (name.ptr[i] < 33 || name.ptr[i] > 126)
                return "h= has a name that is none";
        from |= dkim_equal_nocase(name, TERN_STR("from"));
    }
    ret->headers = h->value;
    *ret_from = from;
    return NULL;
}

const char *dkim_signature_times(const struct dkim_tags *tags, struct dkim_signature *ret)
{
    const struct dkim_tag *t = dkim_tags_find(tags, "t"), *x = dkim_tags_find(tags, "x");
    uint64_t n = 0;

    if (t != NULL) {
        if (!parse_number(t->value, 12, &n))
            return "t= is no time";
        ret->time = (int64_t)n;
    }
    if (x != NULL) {
        if (!parse_number(x->value, 12, &n))
            return "x= is no time";
        ret->expires = (int64_t)n;
    }
    return t != NULL && x != NULL && ret->expires <= ret->time ? "x= is not after t=" : NULL;
}

const char *dkim_signature_query(const struct dkim_tags *tags)
{
    const struct dkim_tag *q = dkim_tags_find(tags, "q");
    tern_str rest, item;

    if (q == NULL)
        return NULL;
    rest = q->value;
    while (dkim_list_next(&rest, ':', &item))
        if (dkim_equal_nocase(item, TERN_STR("dns/txt")))
            return NULL;
    return "q= is not dns/txt";
}

const char *dkim_signature_b(const struct dkim_tags *tags, struct dkim_signature *ret)
{
    const struct dkim_tag *b = dkim_tags_find(tags, "b");

    if (b == NULL)
        return "no b=";
    int n = dkim_base64_decode(b->value, ret->b, sizeof(ret->b));
    if (n <= 0)
        return "b= is no base64, or too long";
    ret->b_octets = (unsigned)n;
    ret->b_text = b->value;
    ret->b_raw = b->raw;
    return NULL;
}

const char *dkim_signature_body(const struct dkim_tags *tags, struct dkim_signature *ret)
{
    const struct dkim_tag *bh = dkim_tags_find(tags, "bh"), *l = dkim_tags_find(tags, "l");

    if (bh == NULL)
        return "no bh=";
    int n = dkim_base64_decode(bh->value, ret->body_hash, sizeof(ret->body_hash));
    if (n != DKIM_HASH_OCTETS && !(n == 20 && ret->algorithm == DKIM_RSA_SHA1))
        return "bh= is no hash of that length";
    if (l == NULL)
        return NULL;
    ret->has_length = true;
    return parse_number(l->value, 76, &ret->length) ? NULL : "l= is no number";
}

void dkim_signature_clear(struct dkim_signature *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->domain = ret->selector = ret->identity = ret->identity_domain = ret->headers = TERN_STR("");
    ret->b_text = ret->b_raw = TERN_STR("");
    ret->time = ret->expires = -1;
    ret->algorithm = DKIM_ALGORITHM_COUNT;
}

const char *dkim_signature_parse(tern_str value, bool utf8, struct dkim_signature *ret)
{
    struct dkim_tags tags;
    const char *wrong;
    bool from = false;

    dkim_signature_clear(ret);
    if (value.len > DKIM_SIGNATURE_OCTETS_MAX)
        return "it is too long";
    if ((wrong = dkim_tags_parse(value, &tags)) != NULL)
        return wrong;
    const struct dkim_tag *v = dkim_tags_find(&tags, "v");
    if (v == NULL || !equal(v->value, "1"))
        return v == NULL ? "no v=" : "v= is not 1";
    const struct dkim_tag *i = dkim_tags_find(&tags, "i");
    if ((wrong = dkim_signature_names(&tags, utf8, ret)) != NULL ||
        (i != NULL && (wrong = parse_identity(i->value, utf8, ret)) != NULL) ||
        (wrong = dkim_signature_algorithm(&tags, ret)) != NULL || (wrong = dkim_signature_canons(&tags, ret)) != NULL ||
        (wrong = dkim_signature_headers(&tags, ret, &from)) != NULL)
        return wrong;
    if (!from)
        return "h= does not name From";
    if ((!utf8 && (wrong = parse_ascii(ret->identity)) != NULL) ||
        (wrong = dkim_signature_times(&tags, ret)) != NULL || (wrong = dkim_signature_query(&tags)) != NULL ||
        (wrong = dkim_signature_b(&tags, ret)) != NULL)
        return wrong;
    return dkim_signature_body(&tags, ret);
}
