/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_template.c - a template that was found good can be filled with any key, and what comes out of the
 * key holds nothing that ends a value of a filter or of a name. Input: kind, length of the template, template, key.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <lib/template.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char out[TEMPLATE_OCTETS_MAX];
    char error[128];

    if (size < 2)
        return 0;
    enum template_kind kind = (data[0] & 1) != 0 ? TEMPLATE_DN : TEMPLATE_FILTER;
    size_t len = data[1] < size - 2 ? data[1] : size - 2;
    char *text = calloc(1, len + 1), *key = calloc(1, size);
    assert(text != NULL && key != NULL);
    memcpy(text, data + 2, len);
    memcpy(key, data + 2 + len, size - 2 - len);
    tern_str t = { text, len }, k = { key, size - 2 - len };

    if (template_check(t, "key", error, sizeof(error)) == 0) {
        int r = template_fill(t, kind, k, out);
        assert(r == 0 || r == -ENOENT || r == -E2BIG);
        assert(r != 0 || strlen(out) < TEMPLATE_OCTETS_MAX);
    } else {
        assert(memchr(error, '\0', sizeof(error)) != NULL);
    }
    if (template_fill(TERN_STR("%{key}"), kind, k, out) == 0) {
        assert(strpbrk(out, "*()\n\"<>;,#") == NULL);
        for (const char *c = strchr(out, '\\'); c != NULL; c = strchr(c + 3, '\\'))
            assert(strspn(c + 1, "0123456789abcdef") >= 2);
    }
    free(text);
    free(key);
    return 0;
}
