/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_dkim.c - tag lists, key records, header fields and bodies of DKIM.
 *
 * Promises: what is found lies inside of what was given; a body in pieces is the same as in one; canonical
 * octets are their own canonical form; a selected field is selected once; an A-label is its own A-label.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <lib/dkim.h>
#include <lib/idn.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
    char *at;
    size_t len, room;
};

static void collect(void *arg, const char *octets, size_t count)
{
    struct text *t = arg;

    assert(count > 0);
    if (t->len + count > t->room) {
        t->room = (t->len + count) * 2;
        t->at = realloc(t->at, t->room);
        assert(t->at != NULL);
    }
    memcpy(t->at + t->len, octets, count);
    t->len += count;
}

static void is_inside(tern_str part, tern_str whole)
{
    assert(part.len == 0 || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len));
}

static struct text body_of(tern_str octets, bool relaxed, size_t step, uint64_t limit)
{
    static struct dkim_body body;
    struct text t = { 0 };

    dkim_body_init(&body, relaxed, limit, collect, &t);
    for (size_t at = 0; at < octets.len; at += step)
        dkim_body_add(&body, octets.ptr + at, octets.len - at < step ? octets.len - at : step);
    dkim_body_end(&body);
    assert(limit == UINT64_MAX ? body.total == t.len : t.len == (limit < body.total ? limit : body.total));
    return t;
}

static void check_body(tern_str octets)
{
    for (unsigned relaxed = 0; relaxed < 2; relaxed++) {
        struct text whole = body_of(octets, relaxed != 0, octets.len + 1, UINT64_MAX);
        for (size_t step = 1; step < 4; step++) {
            struct text pieces = body_of(octets, relaxed != 0, step, UINT64_MAX);
            assert(pieces.len == whole.len && (whole.len == 0 || memcmp(pieces.at, whole.at, whole.len) == 0));
            free(pieces.at);
        }
        struct text again = body_of(dkim_str(whole.at, whole.len), relaxed != 0, 7, UINT64_MAX);
        assert(again.len == whole.len && (whole.len == 0 || memcmp(again.at, whole.at, whole.len) == 0));
        struct text begin = body_of(octets, relaxed != 0, 5, 3);
        assert(begin.len == 0 || memcmp(begin.at, whole.at, begin.len) == 0);
        free(begin.at);
        free(again.at);
        free(whole.at);
    }
}

static void check_header(tern_str octets, tern_str names)
{
    static struct dkim_field fields[64];
    uint8_t used[64] = { 0 };
    int count = dkim_fields_cut(octets, fields, 64);
    size_t signed_octets = 0;

    assert(count <= 64 && (count < 0 || (size_t)count <= dkim_fields_count(octets)));
    for (int i = 0; i < count; i++) {
        struct text once = { 0 }, twice = { 0 };
        is_inside(fields[i].whole, octets);
        is_inside(fields[i].name, fields[i].whole);
        signed_octets += fields[i].whole.len + 3;
        dkim_canon_field(fields[i].whole, true, false, collect, &once);
        dkim_canon_field(dkim_str(once.at, once.len), true, false, collect, &twice);
        assert(once.len == twice.len && memcmp(once.at, twice.at, once.len) == 0);
        free(once.at);
        free(twice.at);
    }
    struct text all = { 0 };
    if (count > 0)
        dkim_canon_headers(fields, (size_t)count, names, false, used, collect, &all);
    assert(all.len <= signed_octets); /* none twice */
    free(all.at);
}

static void check_name(tern_str text)
{
    char ascii[IDN_NAME_OCTETS_MAX + 1], again[IDN_NAME_OCTETS_MAX + 1];
    tern_str name, same;

    if (!idn_to_ascii(text, ascii, &name))
        return;
    assert(idn_is_ascii(name) && name.len <= IDN_NAME_OCTETS_MAX && name.ptr[name.len] == '\0');
    assert(idn_to_ascii(name, again, &same) && same.len == name.len && memcmp(same.ptr, name.ptr, name.len) == 0);
}

static void check_signature(tern_str text)
{
    static struct dkim_signature s;
    struct text t = { 0 };
    char *whole = malloc(text.len + 3);

    memcpy(whole, "D: ", 3);
    memcpy(whole + 3, text.ptr, text.len);
    tern_str value = { whole + 2, text.len + 1 };
    if (dkim_signature_parse(value, text.len % 2 == 0, &s) == NULL) {
        assert(s.b_octets > 0 && s.b_octets <= DKIM_B_OCTETS_MAX && dkim_name_is_valid(s.domain, 1));
        is_inside(s.b_raw, value);
        is_inside(s.headers, value);
        assert(dkim_name_is_valid(s.selector, 1) && dkim_name_is_valid(s.identity_domain, 1));
        dkim_canon_signature(dkim_str(whole, text.len + 3), s.b_raw, true, collect, &t);
        dkim_canon_signature(dkim_str(whole, text.len + 3), s.b_raw, false, collect, &t);
    }
    free(t.at);
    free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dkim_record record;
    struct dkim_key *key = NULL;
    tern_str text = { (const char *)data, size };

    assert(dkim_crypto_init() == 0);
    check_name(text);
    check_signature(text);
    if (dkim_record_parse(text, &record) == NULL) {
        is_inside(record.key, text);
        if (dkim_key_make(&record, &key) == NULL)
            assert(dkim_key_bits(key) <= DKIM_RSA_BITS_MAX);
        dkim_key_unref(key);
    }
    check_body(text);
    check_header(text, size > 8 ? dkim_str(text.ptr, 8) : text);
    return 0;
}
