/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bind.h"

#include <stdio.h>
#include <string.h>

#include "net/conn.h"

#define SCHEME "unix:"

/* Absolute, and a name in a folder: no "..", which would say another folder than the one that is looked at. */
static bool is_path(struct slice path)
{
    if (path.len < 2 || path.len >= BIND_PATH_OCTETS || path.ptr[0] != '/' || path.ptr[path.len - 1] == '/')
        return false;
    for (size_t i = 0; i < path.len; i++)
        if ((unsigned char)path.ptr[i] < ' ' || path.ptr[i] == 0x7f)
            return false;
    return memmem(path.ptr, path.len, "/../", 4) == NULL && !slice_equal(slice_from(path, path.len - 2), SLICE("/.")) &&
           (path.len < 3 || !slice_equal(slice_from(path, path.len - 3), SLICE("/..")));
}

bool bind_parse(struct slice text, struct bind_address *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (slice_starts_nocase(text, SLICE(SCHEME))) {
        struct slice path = slice_from(text, strlen(SCHEME));
        if (!is_path(path))
            return false;
        memcpy(ret->path, path.ptr, path.len);
        return true;
    }
    return net_address_parse(text, 0, &ret->address) && ret->address.port != 0;
}

bool bind_is_sane(const struct bind_address *a)
{
    if (memchr(a->path, '\0', sizeof(a->path)) == NULL || memchr(a->group, '\0', sizeof(a->group)) == NULL)
        return false;
    if (a->address.family == 4 || a->address.family == 6)
        return a->address.port != 0 && a->path[0] == '\0';
    return a->address.family == 0 && a->address.port == 0 && is_path(slice_cstr(a->path)) && (a->mode & ~0777u) == 0;
}

bool bind_is_same(const struct bind_address *a, const struct bind_address *b)
{
    return net_address_equal(&a->address, &b->address) && strcmp(a->path, b->path) == 0;
}

void bind_print(const struct bind_address *a, char out[BIND_TEXT_MAX])
{
    if (a->address.family == 0)
        (void)snprintf(out, BIND_TEXT_MAX, SCHEME "%s", a->path);
    else
        net_address_print(&a->address, true, out);
}

bool bind_parse_mode(struct slice text, uint32_t *ret)
{
    uint32_t mode = 0;

    if (text.len < 3 || text.len > 4 || (text.len == 4 && text.ptr[0] != '0'))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '7')
            return false;
        mode = mode << 3 | (uint32_t)(text.ptr[i] - '0');
    }
    *ret = mode;
    return (mode & 0600) == 0600;
}
