/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arc.c - from header fields to a chain. See arc.h. Source: RFC 8617 4, 5.1.1, 5.2.
 */
#include "arc.h"

#include <string.h>

#include "dkim_signature.h"

const char *arc_kind_name(enum arc_kind kind)
{
    static const char *const names[] = { "ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal" };

    return names[kind];
}

enum arc_kind arc_kind_of(const struct dkim_field *field)
{
    for (unsigned k = 0; k < ARC_KIND_COUNT; k++)
        if (dkim_equal_nocase(field->name, dkim_str(arc_kind_name(k), strlen(arc_kind_name(k)))))
            return (enum arc_kind)k;
    return ARC_KIND_COUNT;
}

const char *arc_cv_name(enum arc_cv cv)
{
    static const char *const names[] = { "none", "fail", "pass" };

    return names[cv];
}

/* ---- fields ---- */

static const char instance_wrong[] = "i= is not a number from 1 to 50";

/* A number that is too high is told: a chain that is too long has one. */
static const char *parse_instance(tern_str s, unsigned *ret)
{
    unsigned n = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9' || i == 4)
            return instance_wrong;
        n = n * 10 + (unsigned)(s.ptr[i] - '0');
    }
    if (n == 0)
        return instance_wrong;
    *ret = n;
    return n <= ARC_SETS_MAX ? NULL : instance_wrong;
}

static const char *parse_begin(tern_str value, bool utf8, struct dkim_tags *tags, struct arc_signature *ret)
{
    const char *wrong;

    memset(ret, 0, sizeof(*ret));
    dkim_signature_clear(&ret->s);
    if (value.len > DKIM_SIGNATURE_OCTETS_MAX)
        return "it is too long";
    if ((wrong = dkim_tags_parse(value, tags)) != NULL)
        return wrong;
    const struct dkim_tag *i = dkim_tags_find(tags, "i");
    if (i == NULL)
        return "no i=";
    if ((wrong = parse_instance(i->value, &ret->instance)) != NULL ||
        (wrong = dkim_signature_names(tags, utf8, &ret->s)) != NULL ||
        (wrong = dkim_signature_algorithm(tags, &ret->s)) != NULL)
        return wrong;
    return dkim_signature_b(tags, &ret->s);
}

/* RFC 8617 4.1.2: a seal is made behind the signature, so that the signature cannot be of it. */
static bool names_seal(tern_str headers)
{
    tern_str name;

    while (dkim_list_next(&headers, ':', &name))
        if (dkim_equal_nocase(name, TERN_STR("arc-seal")))
            return true;
    return false;
}

const char *arc_ams_parse(tern_str value, bool utf8, struct arc_signature *ret)
{
    struct dkim_tags tags;
    const char *wrong = parse_begin(value, utf8, &tags, ret);

    if (wrong != NULL)
        return wrong;
    const struct dkim_tag *h = dkim_tags_find(&tags, "h");
    /* An h= that names nothing is one: the body alone is signed, and nobody will trust it for more. */
    if ((h == NULL || h->value.len > 0) &&
        (wrong = dkim_signature_headers(&tags, &ret->s, &ret->signs_from)) != NULL)
        return wrong;
    if (names_seal(ret->s.headers))
        return "h= names ARC-Seal";
    if ((wrong = dkim_signature_canons(&tags, &ret->s)) != NULL ||
        (wrong = dkim_signature_times(&tags, &ret->s)) != NULL || (wrong = dkim_signature_query(&tags)) != NULL)
        return wrong;
    return dkim_signature_body(&tags, &ret->s);
}

const char *arc_seal_parse(tern_str value, bool utf8, struct arc_signature *ret)
{
    struct dkim_tags tags;
    const char *wrong = parse_begin(value, utf8, &tags, ret);

    if (wrong != NULL)
        return wrong;
    const struct dkim_tag *cv = dkim_tags_find(&tags, "cv");
    ret->s.header_relaxed = true;
    if (dkim_tags_find(&tags, "h") != NULL) /* RFC 8617 4.1.3: it must not be there */
        return "a seal has no h=";
    if ((wrong = dkim_signature_times(&tags, &ret->s)) != NULL)
        return wrong;
    for (unsigned i = ARC_CV_NONE; cv != NULL && i <= ARC_CV_PASS; i++) {
        ret->cv = (enum arc_cv)i;
        if (dkim_equal_nocase(cv->value, dkim_str(arc_cv_name(i), strlen(arc_cv_name(i)))))
            return NULL;
    }
    return cv == NULL ? "no cv=" : "cv= is not none, fail or pass";
}

/* ---- the chain ---- */

bool arc_is_there(const struct dkim_field *fields, size_t count)
{
    for (unsigned k = 0; k < ARC_KIND_COUNT; k++)
        if (dkim_fields_named(fields, count, arc_kind_name(k)) > 0)
            return true;
    return false;
}

static void find_wrong(struct arc_chain *c, const char *wrong, unsigned instance, enum arc_kind kind)
{
    if (c->wrong != NULL)
        return;
    c->wrong = wrong;
    c->wrong_instance = instance;
    c->wrong_kind = kind;
}

static tern_str value_of(const struct dkim_field *field)
{
    const char *colon = memchr(field->whole.ptr, ':', field->whole.len);
    tern_str value = { colon + 1, field->whole.len - (size_t)(colon + 1 - field->whole.ptr) };

    if (value.len >= 2 && memcmp(value.ptr + value.len - 2, "\r\n", 2) == 0)
        value.len -= 2;
    return value;
}

static const char *parse_signature(const struct dkim_field *field, enum arc_kind kind, bool utf8,
                                   struct arc_signature *ret)
{
    return (kind == ARC_AMS ? arc_ams_parse : arc_seal_parse)(value_of(field), utf8, ret);
}

static void put_field(struct arc_chain *c, const struct dkim_field *field, enum arc_kind kind, bool utf8,
                      unsigned instance)
{
    struct arc_set *set = &c->sets[instance - 1];

    if (set->fields[kind] != NULL) {
        find_wrong(c, "it is there twice", instance, kind);
        return;
    }
    set->fields[kind] = field;
    if (kind == ARC_AAR)
        (void)arc_aar_parse(value_of(field), &instance, &set->results);
    else /* again, for a signature may point into itself */
        (void)parse_signature(field, kind, utf8, kind == ARC_AMS ? &set->ams : &set->seal);
}

static void take_field(struct arc_chain *c, const struct dkim_field *field, enum arc_kind kind, bool utf8,
                       struct arc_signature *scratch)
{
    unsigned instance = 0;
    const char *wrong;
    tern_str results;

    if (kind == ARC_AAR) {
        wrong = arc_aar_parse(value_of(field), &instance, &results);
    } else {
        wrong = parse_signature(field, kind, utf8, scratch);
        instance = scratch->instance;
    }
    if (instance > c->count)
        c->count = instance;
    if (wrong != NULL)
        find_wrong(c, wrong, instance, kind);
    else
        put_field(c, field, kind, utf8, instance);
}

static const struct arc_set *newest(const struct arc_chain *c)
{
    return c->count > 0 && c->count <= ARC_SETS_MAX ? &c->sets[c->count - 1] : NULL;
}

/* RFC 8617 5.2 step 3, of fields that are well-formed and not there twice. */
static void check_sets(struct arc_chain *c)
{
    for (unsigned i = c->count; i-- > 0 && c->wrong == NULL;) {
        const struct arc_set *set = &c->sets[i];
        for (unsigned k = 0; k < ARC_KIND_COUNT; k++)
            if (set->fields[k] == NULL)
                find_wrong(c, "it is missing", i + 1, (enum arc_kind)k);
        if (c->wrong == NULL && set->seal.cv != (i == 0 ? ARC_CV_NONE : ARC_CV_PASS))
            find_wrong(c, i == 0 ? "cv= is not none" : "cv= is not pass", i + 1, ARC_SEAL);
    }
}

void arc_chain_read(const struct dkim_field *fields, size_t count, bool utf8, struct arc_set *sets,
                    struct arc_chain *ret)
{
    struct arc_signature scratch;

    *ret = (struct arc_chain){ .sets = sets };
    for (size_t i = 0; i < count; i++) {
        enum arc_kind kind = arc_kind_of(&fields[i]);
        if (kind != ARC_KIND_COUNT)
            take_field(ret, &fields[i], kind, utf8, &scratch);
    }
    const struct arc_set *last = newest(ret);
    ret->ended = last != NULL && last->fields[ARC_SEAL] != NULL && last->seal.cv == ARC_CV_FAIL;
    if (ret->ended) {
        ret->wrong = NULL; /* step 2 comes before the form */
        find_wrong(ret, "cv=fail: the chain was broken before", ret->count, ARC_SEAL);
    }
    if (ret->wrong == NULL)
        check_sets(ret);
}

int arc_seal_hash(const struct arc_set *set, struct dkim_hash *running, uint8_t out[DKIM_HASH_OCTETS])
{
    struct dkim_hash this_one;

    dkim_canon_field(set->fields[ARC_AAR]->whole, true, false, dkim_hash_add, running);
    dkim_canon_field(set->fields[ARC_AMS]->whole, true, false, dkim_hash_add, running);
    int r = dkim_hash_copy(running, &this_one);
    if (r < 0)
        return r;
    dkim_canon_signature(set->fields[ARC_SEAL]->whole, set->seal.s.b_raw, true, dkim_hash_add, &this_one);
    dkim_hash_end(&this_one, out);
    dkim_canon_field(set->fields[ARC_SEAL]->whole, true, false, dkim_hash_add, running);
    return 0;
}
