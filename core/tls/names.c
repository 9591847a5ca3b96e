/* SPDX-License-Identifier: Apache-2.0 */
/* names.c - host names of certificates (RFC 6125 6.4). Pure. */
#include "tls/private.h"

/* `*` stands for the whole first label and for one label only: 6.4.3. */
bool tls_name_matches(struct slice pattern, struct slice name)
{
    if (pattern.len < 3 || pattern.ptr[0] != '*' || pattern.ptr[1] != '.')
        return slice_equal(pattern, name);
    ptrdiff_t dot = slice_find(name, '.');
    struct slice rest = slice_from(pattern, 1);

    /* "*.example" would be a whole top level domain. */
    return dot > 0 && slice_find(slice_from(rest, 1), '.') > 0 && slice_equal(rest, slice_from(name, (size_t)dot));
}

bool tls_name_fold(const char *name, char out[TLS_HOST_OCTETS_MAX])
{
    size_t len = strlen(name);

    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0 || len >= TLS_HOST_OCTETS_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (name[i] <= ' ' || name[i] >= 0x7f)
            return false;
        out[i] = ascii_lower(name[i]);
    }
    out[len] = '\0';
    return true;
}
