/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_owed.c - texts of the queue: what is read points into the text, and is written again as it was. */
#include <assert.h>
#include <stdint.h>

#include "delivery/owed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_BUF struct buf again = BUF_INIT;
    struct slice text = slice_make((const char *)data, size);
    struct owed owed, second;

    if (!owed_decode(text, &owed))
        return 0;
    assert(owed.status.len + owed.host.len + owed.text.len <= size - 2);
    owed_encode(&owed, &again);
    assert(owed_decode(buf_slice(&again), &second));
    assert(second.what == owed.what && slice_equal(second.status, owed.status) &&
           slice_equal(second.host, owed.host) && slice_equal(second.text, owed.text));
    return 0;
}
