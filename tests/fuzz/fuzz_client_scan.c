/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_client_scan.c - where a message has octets above 127. The first octet says how the rest is cut. Promises: the same
 * answer however it is cut; no answer for ASCII, one for all else; where there are no parts the header ends at the
 * first empty line, and what is over does not change any more.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "delivery/client_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned answer(struct slice text, size_t step)
{
    struct client_scan scan;

    client_scan_begin(&scan);
    for (size_t at = 0; at < text.len; at += step) {
        bool over = client_scan_is_over(&scan), header = scan.header;
        client_scan_add(&scan, slice_head(slice_from(text, at), step));
        assert(!over || (client_scan_is_over(&scan) && scan.header == header));
    }
    return scan.header ? 2 : scan.body;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice text = slice_make((const char *)data + 1, size - 1);
    unsigned whole = answer(text, size);

    assert(whole == answer(text, 1) && whole == answer(text, data[0] + 1u));
    assert((whole == 0) == slice_is_ascii(text));
    const char *end = memmem(text.ptr, text.len, "\r\n\r\n", 4);
    if (end != NULL && !slice_starts_nocase(text, SLICE("\r\n")) &&
        !slice_is_ascii(slice_head(text, (size_t)(end - text.ptr))))
        assert(whole == 2);
    return 0;
}
