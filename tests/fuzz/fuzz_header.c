/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_header.c - header blocks: fields lie in order inside the block, decoded values are bounded
 * UTF-8 without line breaks, mailboxes are addresses.
 */
#include <assert.h>
#include <errno.h>

#include "base/utf8.h"
#include "mime/address.h"
#include "mime/header.h"

#define BOUND 300

static void check_decoded(struct slice value)
{
    CLEANUP_BUF struct buf out = BUF_INIT;

    header_decode(value, &out, BOUND);
    assert(out.len <= BOUND && utf8_valid(buf_slice(&out)));
    for (size_t i = 0; i < out.len; i++)
        assert(out.data[i] == '\t' || ((unsigned char)out.data[i] >= 0x20 && out.data[i] != 0x7f));
}

static void check_mailboxes(struct slice value)
{
    struct tern_mailbox m[3], again;
    struct arena arena;

    arena_init(&arena);
    int count = header_mailboxes(value, &arena, m, 3);
    assert(count <= 3 && (count >= 0 || count == -EBADMSG || count == -E2BIG));
    for (int i = 0; i < count; i++)
        assert(address_parse(slice_make(m[i].address.ptr, m[i].address.len), ADDRESS_SMTPUTF8,
                             &arena, &again) == 0);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice all = slice_make((const char *)data, size), rest;
    struct header_field f;
    size_t header, body;

    bool found = header_end(all, &header, &body);
    assert(header <= body && body <= size && (found || (header == size && body == size)));
    rest = slice_head(all, header);
    for (const char *at = rest.ptr; header_next(&rest, &f);) {
        assert(f.whole.ptr >= at && f.whole.ptr + f.whole.len == rest.ptr);
        assert(f.name.ptr == f.whole.ptr && header_name_is_valid(f.name));
        assert(f.value.ptr > f.name.ptr && f.value.ptr + f.value.len <= rest.ptr);
        at = rest.ptr;
        check_decoded(f.value);
        check_mailboxes(f.value);
        (void)header_value_is_valid(f.value);
    }
    assert(rest.len == 0);
    check_decoded(all);
    check_mailboxes(all);
    return 0;
}
