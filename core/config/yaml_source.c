/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_source.c - files, their text and the environment, for the YAML loader.
 *
 * Only regular files are read: a fifo or a device where a file was meant would hang
 * the server at a reload.
 */
#include "config/yaml_source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/utf8.h"
#include "config/paths.h"

static int read_all(int fd, char *data, size_t size, size_t *ret_len)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, data + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *ret_len = len;
    return 0;
}

int source_read(struct arena *arena, const char *path, size_t octets_max, struct slice *ret,
                dev_t *ret_dev, ino_t *ret_ino)
{
    struct stat st;
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return -errno;
    int r = fstat(fd, &st) < 0 ? -errno : 0;
    if (r == 0 && !S_ISREG(st.st_mode))
        r = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if (r == 0 && (uint64_t)st.st_size > octets_max)
        r = -EFBIG;
    if (r == 0) {
        /* One octet more than stat said, so that a file that grows meanwhile is noticed. */
        size_t size = (size_t)st.st_size + 1;
        char *data = arena_alloc(arena, size + 1);
        r = read_all(fd, data, size, &len);
        if (r == 0 && len == size)
            r = -EAGAIN;
        data[len] = '\0';
        if (r == 0)
            *ret = slice_make(data, len);
    }
    (void)close(fd);
    if (r == 0 && ret_dev != NULL && ret_ino != NULL) {
        *ret_dev = st.st_dev;
        *ret_ino = st.st_ino;
    }
    return r;
}

const char *source_error(int negative_errno, size_t octets_max)
{
    switch (negative_errno) {
    case -EFBIG:
        return octets_max == SOURCE_OCTETS_MAX ? "it is longer than 16 MB"
                                               : "it is longer than 64 KB";
    case -EINVAL: return "it is not a regular file";
    case -EAGAIN: return "it changed while it was read";
    default: return strerror(-negative_errno);
    }
}

/* What YAML 1.1 section 5.1 calls printable, less the byte order mark inside the text. */
static bool printable(const char *p, size_t len)
{
    unsigned char c = (unsigned char)p[0];

    if (len == 1)
        return (c >= 0x20 && c != 0x7f) || c == '\t' || c == '\n' || c == '\r';
    if (len == 2 && c == 0xc2 && (unsigned char)p[1] < 0xa0)
        return (unsigned char)p[1] == 0x85; /* C1 controls, of which NEL is a line end */
    if (len == 3 && c == 0xef && (unsigned char)p[1] == 0xbf)
        return (unsigned char)p[2] < 0xbe; /* U+FFFE, U+FFFF */
    return true;
}

bool source_check(struct slice text, const char *name, struct config_errors *e)
{
    struct place place = { name, 1, 1 };

    for (size_t i = 0; i < text.len;) {
        const char *p = text.ptr + i;
        size_t len = utf8_len(slice_from(text, i));
        if (len == 0) {
            config_error_at(e, &place, "octet 0x%02x is not UTF-8 here", (unsigned char)*p);
            return false;
        }
        if (!printable(p, len)) {
            config_error_at(e, &place,
                            len == 1 ? "the file holds the control character 0x%02x"
                                     : "the file holds a control character (0x%02x ...)",
                            (unsigned char)*p);
            return false;
        }
        place.line += *p == '\n';
        place.col = *p == '\n' ? 1 : place.col + 1;
        i += len;
    }
    return true;
}

const char *source_join(struct arena *arena, const char *dir, struct slice path)
{
    while (path.len > 2 && path.ptr[0] == '.' && path.ptr[1] == '/' && path.ptr[2] != '/')
        path = slice_from(path, 2);
    if (dir == NULL || dir[0] == '\0' || (path.len > 0 && path.ptr[0] == '/'))
        return arena_dup(arena, path);
    const char *slash = dir[strlen(dir) - 1] == '/' ? "" : "/";
    return arena_printf(arena, "%s%s%.*s", dir, slash, (int)path.len, path.ptr);
}

const char *source_folder(struct arena *arena, const char *path)
{
    char here[PATH_MAX];
    const char *slash = strrchr(path, '/');
    struct slice dir = slice_make(path, slash != NULL ? (size_t)(slash - path) : 0);

    if (slash == path)
        return "/";
    if (path[0] == '/')
        return arena_dup(arena, dir);
    if (getcwd(here, sizeof(here)) == NULL)
        return dir.len > 0 ? arena_dup(arena, dir)
                           : "."; /* the folder was removed: nothing better */
    return dir.len > 0 ? source_join(arena, here, dir) : arena_dup(arena, slice_cstr(here));
}

static bool read_secret_file(struct arena *arena, struct yaml_node *node, struct slice *ret,
                             struct config_errors *e)
{
    const char *path = source_join(arena, node->dir, node->text);

    config_paths_add(path, false);
    int r = source_read(arena, path, SOURCE_SECRET_OCTETS_MAX, ret, NULL, NULL);

    if (r < 0) {
        config_error_at(e, &node->place, "cannot read !file %s: %s", path,
                        source_error(r, SOURCE_SECRET_OCTETS_MAX));
        return false;
    }
    /* One line end: editors and `echo` write it, no password has it. */
    if (ret->len > 0 && ret->ptr[ret->len - 1] == '\n')
        ret->len--;
    if (ret->len > 0 && ret->ptr[ret->len - 1] == '\r')
        ret->len--;
    if (ret->len == 0)
        config_error_at(e, &node->place, "!file %s is empty", path);
    else if (memchr(ret->ptr, '\0', ret->len) != NULL || !utf8_valid(*ret))
        config_error_at(e, &node->place, "!file %s holds octets that are not text", path);
    else
        return true;
    return false;
}

void source_secret(struct arena *arena, struct yaml_node *node, bool file, struct config_errors *e)
{
    struct slice value = { "", 0 };

    node->secret = true; /* also on failure: nobody shall quote what stands here */
    if (file) {
        if (!read_secret_file(arena, node, &value, e))
            value = SLICE("");
    } else {
        const char *found = getenv(node->text.ptr);
        if (found == NULL || found[0] == '\0')
            config_error_at(e, &node->place, "environment variable %s is %s", node->text.ptr,
                            found == NULL ? "not set" : "empty");
        else if (!utf8_valid(slice_cstr(found)))
            config_error_at(e, &node->place, "environment variable %s is not UTF-8",
                            node->text.ptr);
        else
            value = slice_cstr(found);
    }
    node->text = arena_slice(arena, value);
}
