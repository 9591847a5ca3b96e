/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_from.c - From fields for sender_login: what is handed on is one address, in bounds. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../../modules/lib/from.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool each(void *arg, tern_str address)
{
    unsigned *count = arg;

    assert(++*count <= FROM_ADDRESSES_MAX && address.len >= 3 && address.len <= FROM_ADDRESS_OCTETS_MAX);
    assert(memchr(address.ptr, '@', address.len) != NULL && address.ptr[address.len] == '\0');
    for (size_t i = 0; i < address.len; i++)
        assert(address.ptr[i] != '\r' && address.ptr[i] != '\n');
    (void)from_is_allowed((tern_str){ "*a*b*@*c*", 9 }, address);
    assert(from_is_allowed((tern_str){ "*", 1 }, address));
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned count = 0;
    char *copy = malloc(size + 1);

    memcpy(copy, data, size);
    copy[size] = '\0';
    (void)from_each((tern_str){ copy, size }, each, &count);
    (void)from_is_allowed((tern_str){ copy, size }, (tern_str){ "alice@b.example", 15 });
    free(copy);
    return 0;
}
