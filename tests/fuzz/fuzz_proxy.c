/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_proxy.c - PROXY headers: what comes octet by octet ends as what comes at once, and no sooner
 * than its last octet; nothing behind the header changes it; addresses are of a family we know.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole = { .octets = 0 }, part = { .octets = 0 };
    const char *error = NULL;

    if (size > 2 * PROXY_OCTETS_MAX)
        return 0;
    enum proxy_parse r = proxy_parse(slice_make((const char *)data, size), &whole, &error);
    assert(r != PROXY_BAD || error != NULL);
    assert(r != PROXY_MORE || size < PROXY_OCTETS_MAX);
    enum proxy_parse s = PROXY_MORE;
    size_t at = 0;
    for (; at <= size && s == PROXY_MORE; at++) {
        char *copy = malloc(at + 1); /* of its own, so that a read behind the end is seen */
        memcpy(copy, data, at);
        s = proxy_parse(slice_make(copy, at), &part, &error);
        free(copy);
    }
    assert(r == s);
    if (r != PROXY_DONE)
        return 0;
    assert(whole.octets == at - 1 && whole.octets <= PROXY_OCTETS_MAX);
    assert(memcmp(whole.client.octets, part.client.octets, 16) == 0 && whole.client.port == part.client.port);
    assert(!whole.has_addresses ||
           ((whole.client.family == 4 || whole.client.family == 6) && whole.local.family != 0));
    assert(whole.has_addresses || whole.client.family == 0);
    return 0;
}
