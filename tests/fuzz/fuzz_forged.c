/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_forged.c - which fields of a header are taken for ours: in bounds, every field found once, and none that our
 * own strict reader would say is ours is left.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <lib/authres.h>

#include "../../modules/auth_results/forged.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool names_us(tern_str value)
{
    struct authres_reader r;
    unsigned version;
    char id[64];
    tern_str written;
    size_t len;

    return authres_open(&r, value, true, false, &written, &version) &&
           authres_unquote(written, id, sizeof(id), &len) && strcasecmp(id, "mx.example") == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tern_str others[] = { TERN_STR("*.example.org"), TERN_STR("mx2.example") };
    struct tern_list list = { others, 2 };
    struct forged_names names = { TERN_STR("mx.example"), &list };
    char *copy = malloc(size + 1);
    size_t end = 0;
    tern_str value;

    memcpy(copy, data, size);
    tern_str rest = { copy, size }, whole = rest;
    while (forged_next(&rest, &value)) {
        size_t at = (size_t)(value.ptr - copy);
        assert(at > end && at + value.len <= size && rest.ptr + rest.len == copy + size);
        end = at + value.len;
        if (names_us(value))
            assert(forged_is_ours(value, &names));
    }
    assert(rest.len == 0);
    bool ours = forged_is_ours(whole, &names);
    assert(ours || !names_us(whole));
    free(copy);
    return 0;
}
