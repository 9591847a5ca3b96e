/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_field.c - a field found by its name is the one that DKIM's way of cutting a header finds.
 *
 * The first octet of the input chooses the name; the rest is the header.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <lib/dkim.h>
#include <lib/field.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = { "from", "f", "list-id" };
    static struct dkim_field fields[DKIM_FIELDS_MAX];

    if (size == 0)
        return 0;
    const char *name = names[data[0] % 3];
    char *copy = malloc(size);
    assert(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    tern_str header = { copy, size - 1 }, got = { NULL, 0 };
    int count = dkim_fields_cut(header, fields, DKIM_FIELDS_MAX), found = field_only(header, name, &got);
    assert((count < 0) == (found < 0));
    if (count >= 0) {
        int named = (int)dkim_fields_named(fields, (size_t)count, name);
        assert(found == (named < 2 ? named : 2));
        for (int i = 0; i < count && found > 0; i++)
            if (dkim_equal_nocase(fields[i].name, (tern_str){ name, strlen(name) })) {
                assert(fields[i].whole.ptr == got.ptr && fields[i].whole.len == got.len);
                break;
            }
    }
    free(copy);
    return 0;
}
