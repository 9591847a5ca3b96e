/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_client_sasl.c - challenges of a server, one a line, to each mechanism. Promises: responses are
 * bounded; SCRAM does not end without the server's proof, which cannot be guessed; base64 that was
 * read is written the same.
 */
#include <assert.h>

#include "delivery/client_sasl.h"

#define CHALLENGES_MAX 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void converse(enum client_mechanism mechanism, struct slice input)
{
    struct client_sasl *c = client_sasl_new(mechanism, SLICE("user"), SLICE("secret"), "abc");
    struct buf out CLEANUP_BUF = BUF_INIT;
    const char *error = NULL;
    bool fine = true;

    (void)client_sasl_first(c, &out);
    for (unsigned i = 0; i < CHALLENGES_MAX && fine; i++) {
        ptrdiff_t lf = slice_find(input, '\n');
        struct slice line = lf >= 0 ? slice_head(input, (size_t)lf) : input;
        input = slice_from(input, line.len + 1);
        buf_clear(&out);
        fine = client_sasl_step(c, line, &out, &error);
        assert(fine || error != NULL);
        assert(out.len <= line.len + 100);
    }
    assert(!fine);
    assert(mechanism != CLIENT_SASL_SCRAM_SHA_256 || !client_sasl_may_end(c));
    client_sasl_free(c);
}

static void round_trip(struct slice text)
{
    struct buf octets CLEANUP_BUF = BUF_INIT, again CLEANUP_BUF = BUF_INIT, back CLEANUP_BUF = BUF_INIT;

    if (!client_base64_decode(text, &octets))
        return;
    assert(octets.len <= text.len / 4 * 3);
    client_base64_add(&again, buf_slice(&octets));
    assert(again.len == text.len);
    assert(client_base64_decode(buf_slice(&again), &back));
    assert(slice_equal(buf_slice(&octets), buf_slice(&back)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_make((const char *)data, size);

    round_trip(input);
    for (unsigned m = 0; m < CLIENT_SASL_COUNT; m++)
        converse((enum client_mechanism)m, input);
    return 0;
}
