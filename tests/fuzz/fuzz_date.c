/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_date.c - dates: what parses is printed and parses to the same; any number prints in its
 * room.
 */
#include <assert.h>

#include "mime/date.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char out[DATE_SIZE];
    int64_t s, again;
    int offset, offset_again;

    if (size >= 12) {
        memcpy(&s, data, 8);
        memcpy(&offset, data + 8, 4);
        assert(date_print(out, s, offset) < DATE_SIZE);
    }
    if (!date_parse(slice_make((const char *)data, size), &s, &offset))
        return 0;
    size_t len = date_print(out, s, offset);
    assert(len == strlen(out) && len < DATE_SIZE);
    assert(date_parse(slice_make(out, len), &again, &offset_again));
    assert(again == s && offset_again == offset);
    return 0;
}
