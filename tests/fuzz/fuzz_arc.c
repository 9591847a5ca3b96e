/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_arc.c - a header with an ARC chain.
 *
 * Promises: a chain with nothing wrong has all fields of all its sets, each in its place; what is found lies inside
 * of what was given; the same header is the same chain again; and what seals sign can be hashed.
 */
#include <assert.h>
#include <string.h>

#include <lib/arc.h>

#define FIELDS_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_inside(tern_str part, tern_str whole)
{
    assert(part.len == 0 || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len));
}

static void check_set(const struct arc_set *set, unsigned instance, tern_str header)
{
    for (unsigned k = 0; k < ARC_KIND_COUNT; k++) {
        assert(set->fields[k] != NULL && arc_kind_of(set->fields[k]) == (enum arc_kind)k);
        is_inside(set->fields[k]->whole, header);
    }
    assert(set->ams.instance == instance && set->seal.instance == instance);
    assert(set->seal.cv == (instance == 1 ? ARC_CV_NONE : ARC_CV_PASS));
    assert(dkim_name_is_valid(set->seal.s.domain, 1) && dkim_name_is_valid(set->ams.s.domain, 1));
    is_inside(set->seal.s.b_raw, set->fields[ARC_SEAL]->whole);
    is_inside(set->results, set->fields[ARC_AAR]->whole);
}

static void check_chain(const struct arc_chain *chain, tern_str header)
{
    uint8_t digest[DKIM_HASH_OCTETS];
    struct dkim_hash hash;

    if (chain->wrong != NULL)
        return;
    assert(chain->count <= ARC_SETS_MAX && !chain->ended);
    assert(dkim_hash_init(&hash) == 0);
    for (unsigned i = 0; i < chain->count; i++) {
        check_set(&chain->sets[i], i + 1, header);
        assert(arc_seal_hash(&chain->sets[i], &hash, digest) == 0);
    }
    dkim_hash_end(&hash, digest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct dkim_field fields[FIELDS_MAX];
    static struct arc_set sets[ARC_SETS_MAX];
    struct arc_chain chain, again;
    bool utf8 = size > 0 && data[0] % 2 == 0;

    assert(dkim_crypto_init() == 0);
    if (size < 2)
        return 0;
    tern_str header = { (const char *)data + 1, size - 1 };
    int count = dkim_fields_cut(header, fields, FIELDS_MAX);
    if (count < 0)
        return 0;
    memset(sets, 0, sizeof(sets));
    arc_chain_read(fields, (size_t)count, utf8, sets, &chain);
    assert(arc_is_there(fields, (size_t)count) || (chain.count == 0 && chain.wrong == NULL));
    check_chain(&chain, header);
    memset(sets, 0, sizeof(sets));
    arc_chain_read(fields, (size_t)count, utf8, sets, &again);
    assert(again.count == chain.count && again.wrong == chain.wrong && again.ended == chain.ended);
    return 0;
}
