/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_envelope.c - promises: whatever decodes lies inside the input, and encoding it again and
 * decoding that gives the same, octet for octet, from the second time on.
 */
#include <assert.h>

#include "state/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct slice s, struct slice all)
{
    assert(s.len == 0 || (s.ptr >= all.ptr && s.ptr + s.len <= all.ptr + all.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice all = slice_make((const char *)data, size);
    CLEANUP_BUF struct buf first = BUF_INIT, second = BUF_INIT;
    struct envelope e, again;
    struct arena arena;

    arena_init(&arena);
    if (envelope_decode(all, &arena, &e) == 0) {
        inside(e.sender, all);
        inside(e.origin, all);
        for (unsigned i = 0; i < e.rcpt_count; i++) {
            inside(e.rcpts[i].address, all);
            for (unsigned t = 0; t < e.rcpts[i].tag_count; t++)
                inside(e.rcpts[i].tags[t], all);
        }
        for (unsigned i = 0; i < e.var_count; i++)
            inside(e.vars[i].value, all);
        envelope_encode(&e, &first);
        int r = envelope_decode(buf_slice(&first), &arena, &again);
        assert(r == 0 && again.rcpt_count == e.rcpt_count && again.var_count == e.var_count &&
               again.tag_count == e.tag_count && again.arrival_ms == e.arrival_ms);
        envelope_encode(&again, &second);
        assert(slice_equal(buf_slice(&first), buf_slice(&second)));
    }
    arena_fini(&arena);
    return 0;
}
