/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_xclient.c - attributes of XCLIENT and XFORWARD: what comes out was asked for, is printable, and
 * within its bound; addresses are of a family we know.
 */
#include <assert.h>

#include "base/utf8.h"
#include "smtp/xclient.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned allowed = size > 0 && (data[0] & 1) != 0 ? SMTP_XFORWARD_ATTRS : SMTP_XCLIENT_ATTRS;
    struct slice in = slice_make((const char *)data + (size > 0), size - (size > 0));
    struct smtp_xattrs x = { .given = 4242 };
    struct smtp_xclient c = { .given = 4242 };
    struct arena memory;

    arena_init(&memory);
    if (smtp_xattrs_parse(in, allowed, &memory, &x)) {
        assert(x.given != 0 && (x.given & ~allowed) == 0 && (x.unavailable & ~x.given) == 0);
        for (unsigned i = 0; i < SMTP_XATTR_COUNT; i++) {
            bool there = (x.given & ~x.unavailable & 1u << i) != 0;
            assert((x.text[i].len > 0) == there && x.text[i].len <= SMTP_XATTR_OCTETS_MAX);
            assert(x.text[i].ptr[x.text[i].len] == '\0' && utf8_valid(x.text[i]));
            for (size_t k = 0; k < x.text[i].len; k++)
                assert((unsigned char)x.text[i].ptr[k] > 0x20 && x.text[i].ptr[k] != 0x7f);
        }
        if (smtp_xclient_read(&x, &c))
            assert(c.client.family == 0 || c.client.family == 4 || c.client.family == 6);
        else
            assert(c.given == 4242);
    } else {
        assert(x.given == 4242);
    }
    arena_fini(&memory);
    return 0;
}
