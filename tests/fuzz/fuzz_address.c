/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_address.c - mailboxes and paths: what parses keeps its limits, has a domain in its one
 * spelling, and parses to the same when put together again.
 */
#include <assert.h>

#include "base/utf8.h"
#include "mime/address.h"
#include "mime/domain.h"

static struct slice of(tern_str s)
{
    assert(s.ptr[s.len] == '\0');
    return slice_make(s.ptr, s.len);
}

static void check(const struct tern_mailbox *m, unsigned flags, struct arena *arena)
{
    struct tern_mailbox again;
    tern_str domain;

    assert(m->address.len <= ADDRESS_PATH_OCTETS_MAX - 2);
    assert(m->local.len <= ADDRESS_LOCAL_OCTETS_MAX && m->domain.len <= DOMAIN_OCTETS_MAX);
    assert(utf8_valid(of(m->address)) && slice_is_ascii(of(m->domain)));
    assert((flags & ADDRESS_SMTPUTF8) != 0 || slice_is_ascii(of(m->address)));
    for (size_t i = 0; i < m->address.len; i++)
        assert((unsigned char)m->address.ptr[i] >= 0x20 && m->address.ptr[i] != 0x7f);
    if (m->domain.len > 0) {
        assert(domain_parse(of(m->domain), false, arena, &domain) == 0);
        assert(slice_equal(of(domain), of(m->domain)));
        (void)domain_to_unicode(of(m->domain), arena);
    }
    if (m->address.len == 0)
        return;
    tern_str text = address_compose(of(m->local), of(m->domain), arena);
    int r = address_parse(of(text), flags, arena, &again);
    /* Quoting may be written longer than it came: only then may it not fit. */
    assert(r == 0 || (text.len > m->address.len && m->address.len > 64));
    if (r == 0)
        assert(slice_equal(of(again.local), of(m->local)) &&
               slice_equal(of(again.domain), of(m->domain)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned flags = size > 0 ? data[0] : 0;
    struct slice text = slice_make((const char *)data + (size > 0), size - (size > 0)), rest;
    struct tern_mailbox m;
    struct arena arena;

    arena_init(&arena);
    if (address_parse(text, flags, &arena, &m) == 0)
        check(&m, flags, &arena);
    if (address_parse_path(text, flags, &arena, &m, &rest) == 0) {
        assert(rest.ptr > text.ptr && rest.ptr[-1] == '>' &&
               rest.ptr + rest.len == text.ptr + text.len);
        check(&m, flags, &arena);
    }
    arena_fini(&arena);
    return 0;
}
